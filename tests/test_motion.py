from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.records import HandResult
from idhand.view import HandMotion, MotionRecorder
from idhand.view.motion import MAX_GAP_S

from .test_view import broken_hand, make_hand

FPS = 30.0


def shifted(hand: HandResult, dx_px: float) -> HandResult:
    """The same hand elsewhere in the picture."""
    step = np.array([dx_px, 0.0])
    return replace(
        hand, keypoints_px=hand.keypoints_px + step, bbox_px=hand.bbox_px + np.tile(step, 2)
    )


def box_px(hand: HandResult) -> float:
    return float((hand.bbox_px[2:] - hand.bbox_px[:2]).max())


# ------------------------------------------------------------------------------------- pose angles


@given(seed=st.integers(0, 2**31))
def test_angles_are_the_opposite_of_rotations(seed: int):
    space = open_hand().pose_space
    assert space is not None
    share = torch.rand(
        3, 2, space.num_dofs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    angles = space.lower + share * (space.upper - space.lower)
    assert_close(space.angles(space.rotations(angles)), angles, atol=1e-6, rtol=0)


def test_angles_at_the_limits_and_at_rest():
    space = open_hand().pose_space
    assert space is not None
    for angles in (space.lower, space.upper, torch.zeros_like(space.lower)):
        assert_close(space.angles(space.rotations(angles)), angles, atol=1e-6, rtol=0)


def test_what_a_joint_has_no_axis_for_is_left_out():
    space = open_hand().pose_space
    assert space is not None
    angles = torch.full((space.num_dofs,), 0.3, dtype=torch.float64)
    vectors = space.vectors(angles)
    hinge = int(space.joint[space.names.index("index_pip_flexion")])
    axis = space.axis[space.names.index("index_pip_flexion")]
    aside = torch.linalg.cross(axis, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    vectors[hinge - 1] += 0.1 * aside
    assert_close(space.angles(roma.rotvec_to_rotmat(vectors)), angles, atol=1e-6, rtol=0)


# ----------------------------------------------------------------------------------------- motions


@pytest.mark.parametrize("is_right", [True, False])
def test_a_photo_is_a_motion_of_one_frame(is_right: bool):
    hand = make_hand(is_right=is_right)
    motion = HandMotion.of(hand, index=3)
    assert motion.name == ("hand_3_right" if is_right else "hand_3_left")
    assert (motion.num_frames, motion.is_right) == (1, is_right)
    assert (motion.frame[0], motion.time_s[0]) == (0, 0.0)
    np.testing.assert_array_equal(motion.rotations[0], hand.rotations)
    np.testing.assert_array_equal(motion.keypoints_cam[0], hand.keypoints_cam)
    np.testing.assert_array_equal(motion.wrist_cam[0], hand.keypoints_cam[0])
    np.testing.assert_array_equal(motion.mean_betas, hand.betas)
    assert motion.residual_px[0] == hand.residual_px


def test_a_failed_fit_is_no_motion():
    with pytest.raises(ValueError, match="hand 2 diverged"):
        HandMotion.of(broken_hand(), index=2)
    recorder = MotionRecorder()
    recorder.add(0, 0.0, [broken_hand(), make_hand()])
    (motion,) = recorder.motions()
    assert motion.name == "hand_0_right"


@given(seed=st.integers(0, 2**31), frames=st.integers(1, 12))
def test_one_shape_of_all_frames(seed: int, frames: int):
    rows = np.random.default_rng(seed).normal(size=(frames, 16))
    various, same = MotionRecorder(), MotionRecorder()
    for i, betas in enumerate(rows):
        various.add(i, i / FPS, [replace(make_hand(), betas=betas)])
        same.add(i, i / FPS, [replace(make_hand(), betas=rows[0])])
    np.testing.assert_allclose(various.motions()[0].mean_betas, np.median(rows, 0))
    np.testing.assert_array_equal(same.motions()[0].mean_betas, rows[0])


def test_hands_keep_their_motion_whatever_their_order():
    left, right = make_hand(is_right=False, centre=(-0.05, 0, 0.5)), make_hand()
    recorder = MotionRecorder()
    for i in range(6):
        pair = [shifted(left, 3.0 * i), shifted(right, -3.0 * i)]
        recorder.add(i, i / FPS, pair if i % 2 == 0 else pair[::-1])
    first, second = recorder.motions()
    assert [m.name for m in (first, second)] == ["hand_0_left", "hand_1_right"]
    assert first.num_frames == second.num_frames == 6
    np.testing.assert_array_equal(first.frame, np.arange(6))
    np.testing.assert_allclose(first.time_s, np.arange(6) / FPS)


def test_two_hands_of_one_side_go_to_the_nearest():
    near, far = make_hand(), make_hand(centre=(0.06, 0, 0.5))
    recorder = MotionRecorder()
    for i in range(4):
        recorder.add(i, i / FPS, [near, far] if i % 2 == 0 else [far, near])
    for motion, hand in zip(recorder.motions(), (near, far), strict=True):
        np.testing.assert_array_equal(motion.wrist_cam, np.tile(hand.keypoints_cam[0], (4, 1)))


@pytest.mark.parametrize(
    ("after_s", "boxes", "motions"),
    [(MAX_GAP_S - 0.1, 0.5, 1), (MAX_GAP_S + 0.1, 0.0, 2), (0.1, 1.5, 2)],
)
def test_a_hand_out_of_sight_goes_on_or_begins_anew(after_s: float, boxes: float, motions: int):
    hand = make_hand()
    recorder = MotionRecorder()
    recorder.add(0, 0.0, [hand])
    frame = round(after_s * FPS)
    recorder.add(frame, after_s, [shifted(hand, boxes * box_px(hand))])
    found = recorder.motions()
    assert len(found) == motions
    assert [m.frame[0] for m in found] == [0, frame][:motions]


def test_another_side_is_another_hand():
    recorder = MotionRecorder()
    recorder.add(0, 0.0, [make_hand()])
    recorder.add(1, 1 / FPS, [make_hand(is_right=False)])
    assert [m.name for m in recorder.motions()] == ["hand_0_right", "hand_1_left"]


def test_frames_come_in_order():
    recorder = MotionRecorder()
    assert recorder.motions() == ()
    recorder.add(4, 0.1, [])
    with pytest.raises(ValueError, match="frame 4 came after frame 4"):
        recorder.add(4, 0.2, [])


def test_an_hour_fits_in_memory():
    motion = HandMotion.of(make_hand())
    size = sum(v.nbytes for v in vars(motion).values() if isinstance(v, np.ndarray))
    assert size * 3600 * FPS < 0.25e9, "bytes of an hour at 30 frames a second"
