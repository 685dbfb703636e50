"""The tools of the test set "photoreal", as far as they need neither Blender nor a download."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.records import Sample
from idhand.synth.people.body import FOREARM_RINGS_M, rotation_about, unit

TOOLS = Path(__file__).parents[1] / "tools"
if not TOOLS.is_dir():
    pytest.skip("the tools are not part of the package", allow_module_level=True)
sys.path.insert(0, str(TOOLS))

import build_photoreal as build  # noqa: E402
import photoreal_people as people  # noqa: E402
import photoreal_places as places  # noqa: E402
import photoreal_shots as shots  # noqa: E402
import photoreal_truth as truth  # noqa: E402
import soma_hand as soma  # noqa: E402
from demo_skin import Look  # noqa: E402

IDENTITY = torch.eye(3, dtype=torch.float64).expand(16, 3, 3)


def toy_rig() -> soma.Rig:
    """A stick hand with SOMA-X's joints: straight fingers in a fan, points about the bones."""
    joints = np.zeros((25, 3))
    for f in range(5):
        first = (1, 5, 10, 15, 20)[f]
        angle = 0.7 - 0.35 * f
        along = np.array([np.sin(angle), -np.cos(angle), 0.0])
        reach = (0.03, 0.065, 0.095, 0.12) if f == 0 else (0.03, 0.09, 0.13, 0.155, 0.175)
        for k, r in enumerate(reach):
            joints[first + k] = r * along
    direction = np.zeros((25, 3))
    direction[0] = (0, -1, 0)
    for j in range(1, 25):
        child = next((c for c in range(25) if soma.PARENTS[c] == j), None)
        parent = direction[soma.PARENTS[j]]
        direction[j] = parent if child is None else unit(joints[child] - joints[j])
    rng = np.random.default_rng(5)
    roots = np.repeat(np.arange(25), 12)
    verts = joints[roots] + direction[roots] * rng.uniform(0, 0.02, (300, 1))
    verts = np.concatenate([verts + rng.normal(0, 0.006, (300, 3)), rng.normal(0, 0.02, (40, 3))])
    verts[300:, 1] = np.linspace(0.02, 0.25, 40)
    weights = np.zeros((340, 26))
    weights[np.arange(300), roots] = 1
    weights[300:, 25] = 1
    return soma.Rig(
        verts=verts,
        faces=np.arange(339).reshape(-1, 3),
        weights=weights,
        joints=joints,
        direction=direction,
        palmar=np.tile((0.0, 0.0, -1.0), (25, 1)),
        forearm=np.array([0.0, 1.0, 0.0]),
    )


def someone(model=None, betas=16) -> people.Person:
    """A person with the coarse mesh for skin."""
    model = model or open_hand()
    hand = model.with_shape(torch.zeros(betas, dtype=torch.float64))

    def skin(posed, rotations, wrist_cam, bend_deg):
        ring = np.array([[0.03, 0.0, 0], [0, 0, 0.03], [-0.03, 0, 0], [0, 0, -0.03]])
        heights = 0.03 + np.array((0.0, *FOREARM_RINGS_M))
        rings = ring + heights[:, None, None] * np.array([0.0, 1.0, 0.0])
        return posed.verts.numpy(), rings @ rotations[0].numpy().T + wrist_cam

    body = SimpleNamespace(hand=hand, model=model, skin=skin)
    return people.Person(
        name="photoreal-00",
        subject=people.subject("test", 0),
        is_soma=model.name == soma.MODEL_NAME,
        body=body,
        hand=hand,
        part=np.ones(len(model.faces), np.uint8),
        look=Look(),
        hair=None,
    )


def test_straightened_fingers_point_and_bend_like_the_open_hands():
    rig = soma.straightened(toy_rig())
    model = open_hand()
    joints = model.joint_template.numpy()
    for k in (4, 5, 7, 8, 10, 11, 13, 14, 1, 2):
        along = unit(rig.joints[soma.KEPT[k] + 1] - rig.joints[soma.KEPT[k]])
        assert np.allclose(along, unit(joints[k + 1] - joints[k]), atol=1e-9)
    ours, theirs = model.pose_space, soma.hand_model(rig).pose_space
    assert ours.names == theirs.names
    flexion = [k for k, name in enumerate(ours.names) if name.endswith("flexion")]
    cosines = (ours.axis[flexion] * theirs.axis[flexion]).sum(1)
    assert cosines.min() > np.cos(np.radians(12))


def test_joints_of_a_person_are_exact_and_carry_the_truth():
    rig = soma.person_rig(soma.straightened(toy_rig()), np.random.default_rng(1), "female")
    hand = soma.hand_model(rig).with_shape(torch.zeros(0, dtype=torch.float64))
    assert np.allclose(hand.rest_joints.numpy(), rig.joints[list(soma.KEPT)], atol=1e-12)
    posed = hand.posed(IDENTITY, hand.rest_joints[0])
    assert np.allclose(posed.verts.numpy(), rig.verts, atol=1e-12)


def test_people_of_the_second_family_differ_bone_by_bone_and_are_as_large_as_people():
    rig = soma.straightened(toy_rig())
    lengths, bones = [], []
    for seed in range(60):
        person = soma.person_rig(rig, np.random.default_rng(seed), "male")
        lengths.append(soma.hand_length_m(person.joints))
        steps = np.linalg.norm(
            person.joints[[6, 7, 11, 12]] - person.joints[[7, 8, 12, 13]], axis=1
        )
        bones.append(np.log(steps))
    mean, spread = soma.HAND_LENGTH_M["male"]
    assert abs(np.mean(lengths) - mean) < 4 * spread / np.sqrt(60)
    assert 0.6 < np.std(lengths) / spread < 1.5
    ratios = np.diff(bones, axis=1).std(0)
    assert (ratios > 0.03).all()
    again = soma.person_rig(rig, np.random.default_rng(7), "male")
    assert soma.hand_length_m(again.joints) == lengths[7]


def test_a_bent_wrist_moves_the_arm_only():
    verts = np.array([[0.01, -0.05, 0.0], [0.01, -0.011, 0.0], [0.0, 0.2, 0.0]])
    R = rotation_about((1.0, 0.0, 0.0), 0.5)
    bent = soma.bent_arm(verts, R)
    assert np.array_equal(bent[:2], verts[:2])
    assert np.allclose(bent[2], R @ verts[2])


def test_plans_show_the_whole_hand_and_no_end_of_an_arm():
    person = someone()
    sampler = shots.PoseSampler(person.hand.model)
    for seed in range(15):
        plan = shots.draw_plan(person, sampler, 1, np.random.default_rng(seed))
        (frame,) = plan.frames
        px = places.pixels(frame.posed.keypoints.numpy(), plan.camera.K)
        assert (px > -0.5).all()
        assert (px < shots.SIZE_PX - 0.5).all()
        assert shots.arm_is_whole(person, frame, plan.camera, plan.bend_deg)
        assert np.allclose(plan.axes @ plan.axes.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(plan.axes) == pytest.approx(1)
        hand = (frame.skin, person.hand.model.faces.numpy(), person.part)
        about = [
            (p.solid.verts, p.solid.faces, np.full(len(p.solid.faces), 99, np.uint8))
            for p in plan.props
            if not p.is_held
        ]
        alone, _ = truth.seen([hand], plan.camera)
        among, _ = truth.seen([hand, *about], plan.camera)
        assert (among[alone > 0] != 99).all()
        if plan.table:
            up, point = np.array(plan.table["normal_cam"]), np.array(plan.table["point_cam"])
            assert ((frame.skin - point) @ up > 0).all()
            assert np.allclose(up, plan.axes[:, 2])


def test_plans_repeat_themselves():
    person = someone()
    plans = [list(shots.draw_plans(person, 3, 2, (3,), 11)) for _ in range(2)]
    assert [len(plan.frames) for plan in plans[0]] == [1, 1, 3]
    for one, other in zip(*plans, strict=True):
        assert np.array_equal(one.frames[-1].skin, other.frames[-1].skin)
        assert np.array_equal(one.camera.K, other.camera.K)
        assert (one.light, one.sleeve_colour) == (other.light, other.sleeve_colour)


def test_a_cut_is_a_camera():
    """A pixel of the cut looks where the same place of the whole photo looks."""
    person = someone()
    view = shots.draw_view(np.random.default_rng(2))
    hand = shots.placed_hand(person, np.zeros(26), view)
    K = shots.full_camera(view.fov_deg)
    cut = shots.cut_camera([hand], K, np.random.default_rng(3))
    scale = cut.K[0, 0] / K[0, 0]
    points = hand.posed.keypoints.numpy()
    whole, part = places.pixels(points, K), places.pixels(points, cut.K)
    assert np.allclose(np.diff(part, axis=0), scale * np.diff(whole, axis=0))
    # Corners of pixels, half a pixel before their centres, are what a cut keeps.
    corner = (whole + 0.5) - (part + 0.5) / scale
    assert np.ptp(corner, axis=0).max() < 1e-9
    assert scale == pytest.approx(cut.K[1, 1] / K[1, 1])


def test_an_arm_that_ends_in_the_picture_is_refused():
    person = someone()
    view = shots.draw_view(np.random.default_rng(0))
    across = replace(view, R_cam_wrist=np.eye(3), distance_m=0.6, at=(0.5, 0.5), fov_deg=60.0)
    hand = shots.placed_hand(person, np.zeros(26), across)
    K = shots.full_camera(60.0)
    narrow = shots.cut_camera([hand], K, np.random.default_rng(0))
    wide = replace(narrow, K=np.array([[250.0, 0, 160], [0, 250.0, 100], [0, 0, 1]]))
    assert shots.arm_is_whole(person, hand, narrow, (0.0, 0.0))
    assert not shots.arm_is_whole(person, hand, wide, (0.0, 0.0))


def sample() -> Sample:
    """A right hand somewhere in a picture of noise."""
    rng = np.random.default_rng(4)
    K = np.array([[300.0, 0, 70.2], [0, 300.0, 31.0], [0, 0, 1]])
    keypoints = rng.uniform(-0.05, 0.05, (21, 3)) + np.array([0.02, 0.01, 0.4])
    px = (keypoints @ K.T)[:, :2] / keypoints[:, 2:]
    return Sample(
        rgb=rng.integers(0, 255, (80, 120, 3), dtype=np.uint8),
        K=K,
        dist=np.zeros(5),
        is_right=True,
        bbox_px=np.concatenate([px.min(0), px.max(0)]),
        subject="photoreal-00",
        model=soma.MODEL_NAME,
        betas=None,
        rotations=None,
        wrist_cam=keypoints[0],
        keypoints_px=px,
        keypoints_cam=keypoints,
        valid=np.ones(21, bool),
        visible=np.ones(21, bool),
        parts=rng.integers(0, 18, (80, 120), dtype=np.uint8),
        dataset="photoreal",
        id="x",
        sequence=None,
        time_s=None,
    )


def test_mirrored_pictures_keep_pixels_and_truth_together():
    right = sample()
    left = truth.mirrored(right)
    assert not left.is_right
    assert left.keypoints_cam is not None
    projected = left.keypoints_cam @ left.K.T
    assert np.allclose(projected[:, :2] / projected[:, 2:], left.keypoints_px)
    assert np.allclose(left.bbox_px[:2], left.keypoints_px.min(0))
    assert np.allclose(left.bbox_px[2:], left.keypoints_px.max(0))
    row, column = 11, 23
    assert np.array_equal(left.rgb[row, column], right.rgb[row, 119 - column])
    back = truth.mirrored(left)
    assert np.array_equal(back.rgb, right.rgb)
    assert np.allclose(back.keypoints_px, right.keypoints_px)
    assert np.allclose(back.K, right.K)


def test_darker_people_have_darker_skin_and_paler_palms():
    tones = [people.skin_tone(ita, 1.0, 0.0) for ita in np.linspace(68, -58, 15)]
    luma = np.array(tones) @ build.LUMA
    assert (np.diff(luma) < 0).all()
    assert 0.5 < luma[0] < 0.7
    assert 0.02 < luma[-1] < 0.1
    for number in range(12):
        look = people.look_of(people.subject("test", number).skin)
        red, green, blue = look.back_tone
        assert red > green > blue > 0
        if people.subject("test", number).skin.melanin > 0.6:
            assert np.dot(look.palm_tone, build.LUMA) > 1.5 * np.dot(look.back_tone, build.LUMA)


def test_the_twenty_are_of_all_skin_tones_and_both_sexes():
    chosen = people.chosen_subjects()
    assert len(set(chosen)) == people.NUM_PEOPLE
    subjects = [people.subject("test", index) for index in chosen]
    for family in (subjects[::2], subjects[1::2]):
        melanin = np.sort([s.skin.melanin for s in family])
        assert melanin[0] < 0.11
        assert melanin[-1] > 0.77
        assert np.diff(melanin).max() < 0.35
        assert {s.population for s in family} == {"male", "female"}


def test_hair_is_rooted_in_the_skin_and_moves_with_it():
    rng = np.random.default_rng(3)
    verts, faces = rng.normal(0, 0.05, (30, 3)), rng.permutation(30).reshape(10, 3)
    strands = np.zeros((8, people.HAIR_POINTS, 3))
    strands[:, :, 0] = np.linspace(0, 0.01, people.HAIR_POINTS)
    strands[:, :, 2] = np.linspace(0, 0.002, people.HAIR_POINTS)
    hair = people.Hair(face=rng.integers(0, 10, 8), strands=strands)
    on = hair.on(verts, faces)
    assert np.allclose(on[:, 0], verts[faces[hair.face]].mean(1))
    R = rotation_about((0.3, 0.5, 0.8), 1.1)
    assert np.allclose(hair.on(verts @ R.T + 0.1, faces), on @ R.T + 0.1)
    assert np.allclose(np.linalg.norm(on[:, -1] - on[:, 0], axis=1), np.hypot(0.01, 0.002))


def test_things_stand_clear_of_the_hand():
    person = someone()
    frame = shots.draw_plan(
        person, shots.PoseSampler(person.hand.model), 1, np.random.default_rng(1)
    )
    skin = frame.frames[0].skin
    touching = places.box(np.eye(3), skin[0], (0.01, 0.01, 0.01))
    before = places.box(np.eye(3), skin.mean(0) * 0.5, (0.001, 0.001, 0.001))
    behind = places.box(np.eye(3), skin.mean(0) * 3, (0.1, 0.1, 0.1))
    assert not places.is_clear(touching.verts, skin, frame.camera)
    assert not places.is_clear(before.verts, skin, frame.camera)
    assert places.is_clear(behind.verts, skin, frame.camera)


def test_boxes_are_closed_and_look_outward():
    solid = places.box(rotation_about((0.0, 1.0, 1.0), 0.4), np.array([1.0, 2, 3]), (1.0, 2, 0.5))
    a, b, c = (solid.verts[solid.faces[:, k]] - np.array([1.0, 2, 3]) for k in range(3))
    volume = (np.cross(a, b) * c).sum() / 6
    assert volume == pytest.approx(8 * 1.0 * 2 * 0.5)
