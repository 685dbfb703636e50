import tracemalloc
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
from idhand.view.motion import MAX_GAP_S, MIN_STEP_S, apart

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
    share = torch.rand(
        3, 2, space.num_dofs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    angles = space.lower + share * (space.upper - space.lower)
    assert_close(space.angles(space.rotations(angles)), angles, atol=1e-6, rtol=0)


def test_angles_at_the_limits_and_at_rest():
    space = open_hand().pose_space
    for angles in (space.lower, space.upper, torch.zeros_like(space.lower)):
        assert_close(space.angles(space.rotations(angles)), angles, atol=1e-6, rtol=0)


def test_what_a_joint_has_no_axis_for_is_left_out():
    space = open_hand().pose_space
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


def test_hands_apart_as_seen_from_their_size():
    hand = make_hand()
    size = box_px(hand)
    other = shifted(hand, 0.4 * size)
    assert apart(hand.keypoints_px, hand.keypoints_px, hand.bbox_px) == 0
    np.testing.assert_allclose(apart(hand.keypoints_px, other.keypoints_px, hand.bbox_px), 0.4)
    doubled = np.concatenate((other.bbox_px[:2], other.bbox_px[:2] + 2 * size))
    both = apart(hand.keypoints_px, other.keypoints_px, hand.bbox_px, doubled)
    np.testing.assert_allclose(both, 0.2, err_msg="the larger box counts")
    point = np.zeros(4)
    np.testing.assert_allclose(apart(hand.keypoints_px, other.keypoints_px, point), 0.4 * size)


# ------------------------------------------------------------------------------------------- times


def recorded_s(times_s: list[float]) -> np.ndarray:
    """What becomes of a video's times."""
    recorder = MotionRecorder()
    for i, time_s in enumerate(times_s):
        recorder.add(i, time_s, [make_hand()])
    return np.concatenate([motion.time_s for motion in recorder.motions()])


@given(st.lists(st.floats() | st.floats(0, 10), min_size=1, max_size=12))
def test_times_increase_whatever_the_video_says(times_s: list[float]):
    recorded = recorded_s(times_s)
    assert np.isfinite(recorded).all()
    assert (np.diff(recorded) > 0).all()


@given(st.sets(st.floats(0, 1e5), min_size=1, max_size=20))
def test_increasing_times_stay_as_they_are(times_s: set[float]):
    np.testing.assert_array_equal(recorded_s(sorted(times_s)), sorted(times_s))


def test_times_that_stand_still_or_go_back():
    still = [0.0, 0.04, 0.04, 0.08]
    np.testing.assert_allclose(recorded_s(still), [0, 0.04, 0.04 + MIN_STEP_S, 0.08])
    back = [0.0, 0.04, 0.02, 0.08]
    np.testing.assert_allclose(recorded_s(back), [0, 0.04, 0.04 + MIN_STEP_S, 0.08])
    none = [0.0, 0.04, float("nan"), 0.08, float("inf")]
    np.testing.assert_allclose(
        recorded_s(none), [0, 0.04, 0.04 + MIN_STEP_S, 0.08, 0.08 + MIN_STEP_S]
    )


def test_a_clock_that_starts_anew_goes_on_at_its_rate():
    times_s = [9.96, 10.0, 0.0, 0.04, 0.08, 0.12]
    expected = np.array([9.96, 10, 10, 10.04, 10.08, 10.12]) + np.repeat([0, MIN_STEP_S], [2, 4])
    recorder = MotionRecorder()
    for i, time_s in enumerate(times_s):
        recorder.add(i, time_s, [make_hand()])
    (motion,) = recorder.motions()
    np.testing.assert_allclose(motion.time_s, expected)


# ------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("num", [1, 15, 16, 17, 300])
def test_recording_goes_on_after_a_look(num: int):
    """What was handed out stays as it was, and is all of it in order."""
    recorder = MotionRecorder()
    looks = []
    for i in range(2 * num):
        recorder.add(i, i / FPS, [replace(make_hand(), score=i / 1e3)])
        if i in (num // 2, num - 1):
            looks.append((i + 1, recorder.motions()[0]))
    looks.append((2 * num, recorder.motions()[0]))
    for count, motion in looks:
        np.testing.assert_array_equal(motion.frame, np.arange(count))
        np.testing.assert_array_equal(motion.score, np.arange(count) / 1e3)
        np.testing.assert_array_equal(motion.wrist_cam, motion.keypoints_cam[:, 0])


def in_a_batch(hand: HandResult) -> HandResult:
    """The same hand as views of arrays that hold many."""
    names = ("betas", "rotations", "keypoints_cam", "keypoints_px", "bbox_px")
    return replace(hand, **{name: np.stack([getattr(hand, name)] * 64)[7] for name in names})


@pytest.mark.slow
def test_an_hour_fits_in_memory():
    """0.20 GB, as the module says; what is added may be views of large arrays."""
    hand, num = make_hand(), 3000
    hour_gb = 3600 * FPS / num / 1e9
    recorder = MotionRecorder()
    tracemalloc.start()
    for i in range(num):
        recorder.add(i, i / FPS, [in_a_batch(hand)])
    while_recording = tracemalloc.get_traced_memory()[0]
    (motion,) = recorder.motions()
    afterwards = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert motion.num_frames == num
    # Blocks are filled in part: up to 1024 frames more than there are.
    assert while_recording * hour_gb < 0.2 * (num + 1024) / num
    assert 0.15 < afterwards * hour_gb < 0.205


def test_hands_that_come_and_go_take_little_memory():
    tracemalloc.start()
    recorder = MotionRecorder()
    for i in range(300):
        recorder.add(i, 2.0 * i, [in_a_batch(make_hand())])
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(recorder.motions()) == 300
    assert size / 300 < 40e3, "bytes of a hand that was seen once"
