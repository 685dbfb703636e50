import inspect
import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.synth import Studio
from idhand.synth.config import StudioConfig
from idhand.synth.people.subjects import MAX_SHAPE_NORM, SKIN_GROUPS_ITA_DEG, subject
from idhand.synth.poses.capsules import (
    CAPSULE_NAMES,
    MAX_PENETRATION_M,
    PAIRS,
    CapsuleRig,
    HandCapsules,
    penetration_m,
)
from idhand.synth.poses.gestures import GESTURES
from idhand.synth.poses.motion import minimum_jerk, wander
from idhand.synth.poses.sampler import PoseSampler
from idhand.synth.poses.views import View, draw_view, view_sequence

MODEL = open_hand()
SPACE = MODEL.pose_space
assert SPACE is not None
DOFS, finger_rotations = SPACE.names, SPACE.rotations
LOWER, UPPER = SPACE.lower.numpy(), SPACE.upper.numpy()
SAMPLER = PoseSampler(MODEL)
NUM_PEOPLE = 8
BETAS = [torch.from_numpy(subject("test", i).betas) for i in range(NUM_PEOPLE)]
PEOPLE = [SAMPLER.capsules(MODEL.with_shape(betas)) for betas in BETAS]
NO_TOUCHES = np.empty((0, 2), np.int64)


def mean_capsules() -> HandCapsules:
    return CapsuleRig(model=MODEL).capsules(MODEL.with_shape(torch.zeros(16).double()))


def angle_of(name: str) -> np.ndarray:
    return np.radians(np.array(sum(GESTURES[name].degrees, ()), float))


def posed(betas: torch.Tensor, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turns = torch.cat((torch.eye(3).double()[None], finger_rotations(torch.from_numpy(angles))))
    hand = MODEL.with_shape(betas).posed(turns, torch.zeros(3).double())
    return hand.verts.numpy(), hand.joints.numpy()


# --- an independent measure of self-intersection: winding numbers on the mesh -------------------

FACES = MODEL.faces.numpy()
vertex_part = np.array([-1, -1, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])[MODEL.skinning.argmax(1)]
"""−1 palm with the ball of the thumb, 0 thumb … 4 little finger."""
is_base = np.isin(MODEL.skinning.argmax(1).numpy(), (1, 2, 4, 7, 10, 13))
CORNERS = np.array([(a, b, 4 - a - b) for a in range(5) for b in range(5 - a)]) / 4


def closed(faces: np.ndarray) -> np.ndarray:
    """The faces with a fan over each hole."""
    half = {(a, b) for face in faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    after = {a: b for a, b in half if (b, a) not in half}
    lids = []
    while after:
        loop = [min(after)]
        while (there := after.pop(loop[-1])) != loop[0]:
            loop.append(there)
        lids += [(loop[0], b, a) for a, b in pairwise(loop[1:])]
    return np.concatenate([faces, np.array(lids)])


PARTS = {p: closed(FACES[(vertex_part[FACES] == p).all(1)]) for p in range(-1, 5)}


def winding(points: np.ndarray, verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Source: Jacobson et al., "Robust inside-outside segmentation", 2013, eq. 6."""
    a, b, c = (verts[faces[:, k]] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2((a * np.cross(b, c)).sum(-1), below).sum(1) / (2 * math.pi)


def mesh_depth_m(verts: np.ndarray) -> float:
    """How deep the deepest vertex of one part lies inside another part."""
    deepest_m = 0.0
    for part, faces in PARTS.items():
        surface = np.einsum("wk,fkx->fwx", CORNERS, verts[faces]).reshape(-1, 3)
        for other in set(range(5)) - {part}:
            points = verts[(vertex_part == other) & ~(is_base & (part == -1))]
            near = (points > surface.min(0)).all(1) & (points < surface.max(0)).all(1)
            inside = points[near][winding(points[near], verts, faces) > 0.5]
            if len(inside):
                away = np.linalg.norm(inside[:, None] - surface, axis=-1).min(1)
                deepest_m = max(deepest_m, float(away.max()))
    return deepest_m


def test_drawn_poses_hardly_intersect_themselves_on_the_mesh() -> None:
    rng = np.random.default_rng(2)
    depths_m = []
    for n in range(32):
        pose = SAMPLER.draw(rng, PEOPLE[n % NUM_PEOPLE])
        depths_m.append(mesh_depth_m(posed(BETAS[n % NUM_PEOPLE], pose.angles)[0]))
    assert np.quantile(depths_m, 0.9) <= MAX_PENETRATION_M
    assert max(depths_m) <= 2.5 * MAX_PENETRATION_M


def test_the_mesh_measure_and_the_capsules_see_a_finger_in_the_palm() -> None:
    angles = angle_of("fist")
    angles[DOFS.index("middle_mcp_flexion")] += 0.5
    assert mesh_depth_m(posed(torch.zeros(16).double(), angles)[0]) > MAX_PENETRATION_M
    assert penetration_m(mean_capsules(), angles) > MAX_PENETRATION_M


# --- capsules -----------------------------------------------------------------------------------


def test_capsules_are_carried_by_the_joints_of_the_model() -> None:
    rng = np.random.default_rng(0)
    person, betas = PEOPLE[0], BETAS[0]
    angles = rng.uniform(LOWER, UPPER)
    turns = torch.cat((torch.eye(3).double()[None], finger_rotations(torch.from_numpy(angles))))
    R, t = (x.numpy() for x in MODEL.with_shape(betas).chain(turns, torch.zeros(3).double()))
    rest = person.ends - person.rest_joints[np.r_[1:16, 0, 0, 0, 0, 1]][:, None]
    joints = np.r_[1:16, 0, 0, 0, 0, 1]
    moved = (
        np.einsum("kij,kej->kei", R[joints], rest)
        + (t - t[0] + person.rest_joints[0])[joints][:, None]
    )
    moved[19] = (moved[19] + person.ends[19]) / 2
    np.testing.assert_allclose(person.posed(angles), moved, atol=1e-9)


def test_depths_agree_with_densely_sampled_spheres() -> None:
    rng = np.random.default_rng(1)
    person = PEOPLE[1]
    for _ in range(4):
        angles = rng.uniform(LOWER, UPPER)
        share = np.linspace(0, 1, 81)[:, None]
        ends = person.posed(angles)
        centres = ends[:, :1] + share * (ends[:, 1:] - ends[:, :1])
        radii_m = person.radii_m[:, :1] + share.T * (person.radii_m[:, 1:] - person.radii_m[:, :1])
        for (i, j), depth_m in zip(PAIRS, person.depths_m(angles), strict=True):
            away = np.linalg.norm(centres[i][:, None] - centres[j], axis=-1)
            plain_m = (radii_m[i][:, None] + radii_m[j] - away).max()
            assert depth_m < plain_m + 1e-4  # up to the samples' spacing, the plain one is exact
            if plain_m > -0.002:
                assert depth_m > plain_m - 0.0015


def test_a_capsule_holds_the_finger_it_stands_for() -> None:
    verts, person = MODEL.template.numpy(), mean_capsules()
    for k in range(3, 15):
        own = verts[MODEL.skinning[:, k + 1].numpy() > 0.9]
        first, last = person.ends[k]
        share = ((own - first) @ (last - first) / ((last - first) @ (last - first))).clip(0, 1)
        away = np.linalg.norm(own - first - share[:, None] * (last - first), axis=1)
        radius_m = person.radii_m[k, 0] + share * (person.radii_m[k, 1] - person.radii_m[k, 0])
        assert np.abs(away - radius_m).mean() < 0.0015
        assert 0.003 < radius_m.min() < radius_m.max() < 0.013


def test_settling_closes_a_pinch_and_leaves_an_open_hand_alone() -> None:
    pinch = np.array([[CAPSULE_NAMES.index("thumb_ip"), CAPSULE_NAMES.index("index_dip")]])
    at = PAIRS.tolist().index(pinch[0].tolist())
    for person in PEOPLE:
        angles = person.settled(angle_of("pinch"), (LOWER, UPPER), pinch)
        assert person.depths_m(angles)[at] == pytest.approx(0.001, abs=5e-4)
        open_hand_angles = angle_of("open")
        settled = person.settled(open_hand_angles, (LOWER, UPPER), NO_TOUCHES)
        np.testing.assert_array_equal(settled, open_hand_angles)


# --- poses --------------------------------------------------------------------------------------


def test_library_poses_are_possible_and_free() -> None:
    assert len(GESTURES) >= 45
    person = mean_capsules()
    for name in GESTURES:
        angles = angle_of(name)
        assert (angles >= LOWER).all(), name
        assert (angles <= UPPER).all(), name
        assert penetration_m(person, angles) <= MAX_PENETRATION_M, name
    assert max(penetration_m(p, angle_of("open")) for p in PEOPLE) < 0.001


def test_draws_respect_joints_and_flesh() -> None:
    rng = np.random.default_rng(3)
    spans, names = [], Counter()
    for n in range(200):
        person = PEOPLE[n % NUM_PEOPLE]
        pose = SAMPLER.draw(rng, person)
        lower, upper = SAMPLER.limits(pose.angles)
        assert (pose.angles >= LOWER).all()
        assert (pose.angles <= UPPER).all()
        assert (pose.angles >= lower - 0.2).all()  # settling moves the angles they hang on
        assert (pose.angles <= upper + 0.2).all()
        assert penetration_m(person, pose.angles) <= MAX_PENETRATION_M
        spans.append(pose.angles)
        names[pose.name] += 1
    flexion = [k for k, name in enumerate(DOFS) if "flexion" in name]
    assert (np.ptp(spans, axis=0)[flexion] > 0.6 * (UPPER - LOWER)[flexion]).all()
    assert names["blend"] > 10
    assert names["open"] < 12  # the library's own, and what cannot be freed


def test_only_the_asked_kinds_are_drawn() -> None:
    rng = np.random.default_rng(4)
    for _ in range(30):
        name = SAMPLER.draw(rng, PEOPLE[0], {"grasp"}).name
        assert name in ("blend", "open") or GESTURES[name].kind == "grasp"


def test_no_kind_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="kinds is empty"):
        SAMPLER.draw(np.random.default_rng(0), PEOPLE[0], set())


def test_the_same_generator_gives_the_same_poses() -> None:
    first, second = (
        (
            SAMPLER.draw(rng, PEOPLE[0]).angles,
            SAMPLER.sequence(rng, PEOPLE[0], 20, 30.0),
            draw_view(rng).R_cam_wrist,
        )
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_sequences_move_smoothly_and_freely() -> None:
    fps, travelled = 60.0, []
    for n in range(6):
        angles = SAMPLER.sequence(np.random.default_rng(n), PEOPLE[n], 120, fps)
        assert angles.shape == (120, 26)
        assert (angles >= LOWER).all()
        assert (angles <= UPPER).all()
        assert penetration_m(PEOPLE[n], angles) <= MAX_PENETRATION_M
        assert np.abs(np.diff(angles, axis=0)).max() * fps < 12.0  # rad/s
        assert np.abs(np.diff(angles, 2, axis=0)).max() * fps**2 < 120.0  # rad/s²
        assert np.abs(np.diff(angles, axis=0)).max(1).min() > 0  # never stone-still
        travelled.append(np.ptp(angles, axis=0).max())
    assert np.median(travelled) > 0.5


def test_sequences_need_frames_and_time() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="0 frames at 30"):
        SAMPLER.sequence(rng, PEOPLE[0], 0, 30.0)
    with pytest.raises(ValueError, match="3 frames at 0"):
        view_sequence(rng, 3, 0.0)


def test_motion_starts_and_ends_at_rest() -> None:
    share = np.linspace(-0.5, 1.5, 401)
    way = minimum_jerk(share)
    assert way[0] == 0.0
    assert way[-1] == 1.0
    assert way[200] == pytest.approx(0.5)
    assert (np.diff(way) >= 0).all()
    times_s = np.linspace(0, 60, 20001)
    path = wander(np.random.default_rng(0), times_s, 5, (0.2, 2.0))
    assert (path[0] == 0).all()
    assert np.abs(path).max() <= 1
    assert np.abs(np.diff(path, axis=0)).max() / times_s[1] <= math.pi * 2.0


# --- subjects -----------------------------------------------------------------------------------


def test_people_are_reproducible_and_splits_apart() -> None:
    again = subject("train", 7)
    np.testing.assert_array_equal(again.betas, subject("train", 7).betas)
    assert again.skin == subject("train", 7).skin
    assert again.name == "train-00007"
    everybody = [subject(s, i).betas for s in ("train", "val", "test") for i in range(30)]
    assert len({betas.tobytes() for betas in everybody}) == 90
    assert subject("train", 7, seed=1).skin != again.skin


def test_a_population_of_one_sex_keeps_the_people_of_that_sex():
    for index in range(12):
        someone = subject("train", index)
        same = subject("train", index, population=someone.population)
        assert same.skin == someone.skin
        np.testing.assert_array_equal(same.betas, someone.betas)
        assert subject("train", index, population="female").population == "female"


def test_populations_under_their_old_names_are_the_same():
    old_names: list[tuple[Any, Any]] = [("mixture", "all"), ("men", "male"), ("women", "female")]
    for old, new in old_names:
        for i in range(4):
            before, now = (subject("val", i, population=name) for name in (old, new))
            np.testing.assert_array_equal(before.betas, now.betas)
            assert (before.skin, before.population) == (now.skin, now.population)
        old_config, config = (StudioConfig(population=name) for name in (old, new))
        assert old_config == config
        assert Studio(old_config).fingerprint() == Studio(config).fingerprint()


def test_people_vary_as_people_do() -> None:
    people = [subject("train", i) for i in range(1500)]
    men = [p for p in people if p.population == "male"]
    assert 0.45 < len(men) / len(people) < 0.55
    measures = MODEL.measures
    assert measures is not None
    lengths_mm = measures.lengths(torch.tensor(np.array([p.betas for p in men]))).numpy() * 1e3
    length_mm = lengths_mm[:, measures.names.index("hand_length")]
    assert length_mm.mean() == pytest.approx(193.3, abs=1.5)  # ANSUR II, men
    assert length_mm.std() == pytest.approx(9.95, abs=1.0)
    palest, darkest = SKIN_GROUPS_ITA_DEG[0][1], SKIN_GROUPS_ITA_DEG[-1][0]
    ita = palest - np.array([p.skin.melanin for p in people]) * (palest - darkest)
    shares = [np.mean((ita > low) & (ita <= high)) for low, high in SKIN_GROUPS_ITA_DEG]
    assert np.allclose(shares, 1 / 6, atol=0.04)
    hairy = {
        s: np.mean([p.skin.hair for p in people if p.population == s]) for s in ("male", "female")
    }
    assert hairy["male"] > 2 * hairy["female"]
    for p in people:
        skin = p.skin
        assert 0 <= skin.melanin <= 1
        assert 0 <= skin.age <= 1
        assert 0.4 <= skin.creases <= 1.5
        assert 0 <= skin.nail_length_m <= 0.004
        assert all(0 < c < 1 for c in (*skin.hair_tone, *p.ring_tone, *p.wristwear_tone))


def test_no_triangle_turns_inside_out_on_anybody() -> None:
    def normals(verts: torch.Tensor) -> torch.Tensor:
        a, b, c = (verts[..., MODEL.faces[:, k], :] for k in range(3))
        return torch.linalg.cross(b - a, c - a)

    betas = torch.tensor(np.array([subject("train", i).betas for i in range(200)]))
    assert betas.norm(dim=-1).max() > 4  # beyond what the model's own test looks at
    verts = MODEL.with_shape(betas).rest_verts
    assert (normals(verts) * normals(MODEL.template)).sum(-1).min() > 0
    assert MAX_SHAPE_NORM < 6


def test_who_does_not_exist_is_told_so() -> None:
    with pytest.raises(ValueError, match="no split 'dev'; take one of train, val, test"):
        inspect.unwrap(subject)("dev", 0)  # past the type checks
    with pytest.raises(ValueError, match="from 0, got -1"):
        subject("val", -1)


# --- views --------------------------------------------------------------------------------------


def views(seed: int, count: int) -> list[View]:
    rng = np.random.default_rng(seed)
    return [draw_view(rng) for _ in range(count)]


def test_cameras_stand_everywhere_about_the_hand() -> None:
    from_wrist = np.array([v.R_cam_wrist[2] for v in views(0, 1500)])
    octants = Counter(tuple(d > 0) for d in from_wrist)
    assert len(octants) == 8
    assert min(octants.values()) > 60
    towards = [np.array([x, y, z]) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)]
    for direction in (d / np.linalg.norm(d) for d in towards if d.any()):
        assert (from_wrist @ direction > math.cos(math.radians(22.5))).sum() > 8


def test_views_are_proper() -> None:
    for v in views(1, 200):
        np.testing.assert_allclose(v.R_cam_wrist @ v.R_cam_wrist.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(v.R_cam_wrist) == pytest.approx(1)
        assert np.linalg.norm(v.up_cam) == pytest.approx(1)
        assert v.up_cam[1] < 0  # no camera is upside down
        assert 0.25 <= v.distance_m <= 1.5
        assert 55 <= v.fov_deg <= 120
        assert all(0.2 <= share <= 0.8 for share in v.at)


def test_egocentric_hands_point_away_and_selfies_up() -> None:
    by_kind: dict[str, list[np.ndarray]] = {}
    for v in views(2, 800):
        by_kind.setdefault(v.kind, []).append(-v.R_cam_wrist[:, 1])  # the fingers' direction
    assert np.mean(by_kind["egocentric"], 0)[2] > 0.3
    assert np.mean(by_kind["selfie"], 0)[1] < -0.5
    assert np.abs(np.mean(by_kind["any"], 0)).max() < 0.2


def test_films_are_smooth_and_keep_the_lens() -> None:
    fps, turned = 30.0, []
    for seed in range(20):
        film = view_sequence(np.random.default_rng(seed), 60, fps)
        assert len(film) == 60
        assert len({v.fov_deg for v in film}) == 1
        R = np.stack([v.R_cam_wrist for v in film])
        cosine = (np.einsum("nij,nij->n", R[:-1], R[1:]) - 1) / 2
        speed = np.degrees(np.arccos(cosine.clip(-1, 1))) * fps
        assert speed.max() < 360
        assert np.abs(np.diff([v.distance_m for v in film])).max() * fps < 3
        assert np.abs(np.diff([v.at for v in film], axis=0)).max() * fps < 1
        turned.append(speed.sum() / fps)
    assert max(turned) > 30
