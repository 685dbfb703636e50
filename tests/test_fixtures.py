"""Fixtures' truth and pictures: MANO's layer in plain steps, motions, what a camera sees."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.detection import HandDetector
from idhand.fixtures.layer import posed_mano
from idhand.fixtures.motions import Lab, ManoMotion, draw_motion
from idhand.fixtures.pictures import (
    HAND_LABEL,
    FixtureThing,
    draw_place,
    fixture_person,
    fixture_picture,
)
from idhand.geometry import rotation_from_vector
from idhand.synth.camera.raster import rasterize
from idhand.synth.things.solids import Box, Material
from tests.mano_files import wave_file
from tests.test_hand import mano_pose, wave

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mano_layer.json").read_text())
K = np.array([[613.0, 0, 313], [0, 612, 245], [0, 0, 1]])
UP, AHEAD = np.array([0, -0.8, -0.6]), np.array([0, -0.6, 0.8])
KEYPOINTS = [0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20]
TIPS = [745, 317, 444, 556, 673]


def lab(rng: np.random.Generator) -> Lab:
    """A person somewhere round the table before the camera."""
    angle = rng.uniform(0, 2 * np.pi)
    ahead = np.cos(angle) * AHEAD + np.sin(angle) * np.cross(AHEAD, UP)
    return Lab(centre_m=np.array([0, 0, 0.75]), ahead=ahead, up=UP)


def motion(seed: int, *, is_right: bool, num_frames: int = 72) -> ManoMotion:
    rng = np.random.default_rng(seed)
    betas = fixture_person(seed).betas
    return draw_motion(rng, resampled_hand(is_right=is_right), betas, lab(rng), num_frames)


@pytest.mark.parametrize("num_components", [None, 12])
@pytest.mark.parametrize("flat", [True, False])
def test_the_plain_layer_agrees_with_an_independent_one(num_components: int | None, flat: bool):
    case = GOLDEN[f"num_pca_comps={num_components},flat_hand_mean={flat}"]
    pose, shift = mano_pose(num_components, flat=flat).numpy(), wave("transl", (2, 3), 0.4).numpy()
    orient, betas = wave("global_orient", (2, 3), 1.2).numpy(), wave("betas", (2, 10), 1.5).numpy()
    posed = [
        posed_mano(wave_file(), betas[k], orient[k, None], pose[k, None], shift[k, None])
        for k in range(2)
    ]
    for name, values in zip(("vertices", "joints"), zip(*posed, strict=True), strict=True):
        flat_values = np.concatenate(values).ravel()
        assert flat_values.mean() == pytest.approx(case[name]["mean"], abs=1e-7)
        np.testing.assert_allclose(flat_values[:9], case[name]["first"], atol=1e-7, rtol=0)
        np.testing.assert_allclose(flat_values[-9:], case[name]["last"], atol=1e-7, rtol=0)


@pytest.mark.parametrize("is_right", [True, False])
def test_a_motions_truth_is_what_the_hand_model_makes_of_it(is_right: bool):
    file, moves = resampled_hand(is_right=is_right), motion(1, is_right=is_right, num_frames=4)
    verts, joints = moves.posed(file)
    hand = mano_hand(file).with_shape(torch.from_numpy(moves.betas))
    flip = torch.tensor([1.0 if is_right else -1.0, 1, 1]).double()
    vectors = np.concatenate([moves.global_orient, moves.hand_pose(file)], 1).reshape(-1, 16, 3)
    order = [0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]
    R = rotation_from_vector(torch.from_numpy(vectors[:, order])) * flip[:, None] * flip
    posed = hand.posed(R, torch.from_numpy(joints[:, 0]) * flip)
    np.testing.assert_allclose(posed.verts * flip, verts, atol=1e-9)
    np.testing.assert_allclose(posed.joints * flip, joints[:, order], atol=1e-9)


def test_motions_are_smooth_stay_near_and_differ():
    for seed, is_right in ((0, True), (1, False)):
        moves = motion(seed, is_right=is_right)
        verts, joints = moves.posed(resampled_hand(is_right=is_right))
        speed = np.linalg.norm(np.diff(verts, axis=0), axis=-1) * 30
        assert speed.max() < 3.0  # m/s
        assert speed.mean() > 0.05
        assert np.linalg.norm(joints.mean(1) - [0, 0, 0.75], axis=1).max() < 0.4
        assert np.abs(moves.coefficients).max() < 6
        assert np.abs(moves.coefficients).std() > 0.2
    again, other = motion(1, is_right=False), motion(2, is_right=False)
    np.testing.assert_array_equal(again.coefficients, moves.coefficients)
    assert np.abs(other.transl - moves.transl).max() > 0.01


def test_the_same_motion_in_another_frame_of_reference():
    file, moves = resampled_hand(is_right=False), motion(1, is_right=False, num_frames=3)
    R = rotation_from_vector(torch.tensor([0.3, -2.0, 0.7]).double()).numpy()
    shift = np.array([0.1, -0.2, 0.9])
    moved = moves.moved(file, R, shift)
    np.testing.assert_allclose(moved.posed(file)[0], moves.posed(file)[0] @ R.T + shift, atol=1e-9)
    np.testing.assert_array_equal(moved.coefficients, moves.coefficients)


def test_a_picture_shows_the_hand_where_it_is_and_things_before_it():
    for seed, is_right in ((0, True), (1, False)):
        verts, _ = motion(seed, is_right=is_right, num_frames=2).posed(
            resampled_hand(is_right=is_right)
        )
        rng = np.random.default_rng(seed)
        person, place = fixture_person(seed), draw_place(rng, K, 640, 480, UP)
        picture = fixture_picture(verts[1], person, place, rng, is_right=is_right)
        faces = resampled_hand(is_right=is_right).faces
        seen = rasterize(verts[1], faces, K, 640, 480, samples=1, cull=True).face >= 0
        is_hand = picture.labels == HAND_LABEL
        assert (is_hand & seen).sum() / (is_hand | seen).sum() > 0.85
        nothing = place.behind.mean((0, 1))
        assert np.isfinite(nothing).all()
        assert picture.rgb.shape == (480, 640, 3)
        assert picture.rgb[is_hand].std() > 5
    wall = Box(
        half=(0.3, 0.3, 0.01), bevel=0.001, material=Material(tone=(0.1, 0.5, 0.1), gloss=0.0)
    )
    solid = wall.solid().moved(np.eye(3), np.array([0, 0, 0.3]))
    hidden = fixture_picture(
        verts[1], person, place, rng, is_right=False, things=[FixtureThing(solid=solid, label=7)]
    )
    assert (hidden.labels == 7).mean() > 0.9
    assert (hidden.labels == HAND_LABEL).sum() < 0.05 * is_hand.sum()


def test_pictures_are_the_same_for_the_same_numbers():
    verts, _ = motion(0, is_right=True, num_frames=1).posed(resampled_hand())
    made = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        place = draw_place(rng, K, 640, 480, UP)
        made.append(fixture_picture(verts[0], fixture_person(0), place, rng))
    np.testing.assert_array_equal(made[0].rgb, made[1].rgb)
    assert np.abs(fixture_person(0).betas - fixture_person(1).betas).max() > 0.3
    assert np.abs([fixture_person(i).betas for i in range(5)]).max() < 4


def test_the_shipped_hand_net_finds_four_of_five_hands():
    detector, found, right_side = HandDetector(), 0, 0
    for seed in range(10):
        is_right = seed % 2 == 0
        file, rng = resampled_hand(is_right=is_right), np.random.default_rng(seed)
        verts, joints = (x[-1] for x in motion(seed, is_right=is_right, num_frames=20).posed(file))
        place = draw_place(rng, K, 640, 480, UP)
        picture = fixture_picture(verts, fixture_person(seed), place, rng, is_right=is_right)
        points = np.concatenate([joints, verts[TIPS]])[KEYPOINTS] @ K.T
        pixels = points[:, :2] / points[:, 2:]
        for hand in detector.detect(picture.rgb):
            apart = np.linalg.norm(hand.landmarks_px - pixels, axis=1).mean()
            if apart < 0.2 * np.ptp(pixels, axis=0).max():
                found += 1
                right_side += hand.is_right == is_right
                break
    assert found >= 8
    assert right_side >= found - 1
