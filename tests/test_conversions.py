"""Poses in other software's terms and back: OpenXR's orientations, MediaPipe's points."""

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.assets.carrying import carried_over
from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.geometry import rotation_angle, rotation_from_vector
from idhand.hand import FittableHand
from idhand.records import FLIP
from idhand.refinement.landmark_conversion import landmarks_of, pose_of_landmarks
from idhand.view.export import openxr_joints, openxr_rotations
from idhand.view.motion import HandMotion


def pose(model: FittableHand, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Likely betas, rotations and wrist position."""
    rng = np.random.default_rng(seed)
    space = model.pose_space
    root = np.linalg.cholesky(space.covariance.numpy())
    angles = space.mean.numpy() + 0.7 * root @ rng.normal(size=space.num_dofs)
    fingers = space.rotations(torch.from_numpy(angles).clamp(space.lower, space.upper))
    wrist = rotation_from_vector(torch.from_numpy(rng.normal(size=3)))
    betas = torch.from_numpy(0.7 * rng.normal(size=model.num_betas))
    return betas, torch.cat((wrist[None], fingers)), torch.tensor([0.05, -0.1, 0.6]).double()


def models() -> dict[str, FittableHand]:
    return {"open": open_hand(), "mano": mano_hand(resampled_hand(), carried_over)}


def motion_of(
    model: FittableHand, betas: torch.Tensor, R: torch.Tensor, at: torch.Tensor, is_right: bool
) -> HandMotion:
    sided = model if is_right else model.mirrored()
    turns = R.numpy() if is_right else FLIP[:, None] * R.numpy() * FLIP
    keypoints = sided.with_shape(betas).posed(torch.from_numpy(turns), at).keypoints
    one = np.ones(1)
    return HandMotion(
        name="hand_0", is_right=is_right, model=model.name, frame=np.zeros(1, np.int64),
        time_s=0 * one, betas=betas.numpy()[None], rotations=R.numpy()[None],
        wrist_cam=at.numpy()[None], keypoints_cam=keypoints.numpy()[None], score=one,
        residual_px=one, depth_std_m=one,
    )  # fmt: skip


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("name", ["open", "mano"])
def test_openxr_and_back(name: str, is_right: bool):
    model = models()[name]
    betas, R, at = pose(model, 1)
    joints = openxr_joints(motion_of(model, betas, R, at, is_right), model)
    back = openxr_rotations(joints.orientations_xyzw, model, betas.numpy(), is_right=is_right)
    np.testing.assert_allclose(back[0], R.numpy(), atol=1e-9)
    # OpenXR's wrist has our wrist's place, in its own frame.
    np.testing.assert_allclose(joints.positions[0, 1] * [1, -1, -1], at, atol=1e-9)


def test_openxrs_rest_is_ours():
    model = open_hand()
    betas = torch.zeros(16).double()
    still = torch.eye(3).double().repeat(16, 1, 1)
    joints = openxr_joints(motion_of(model, betas, still, torch.ones(3).double(), True), model)
    turns = joints.orientations_xyzw.copy()
    # Turn everything beyond the index knuckle by a right angle about its own x: it bends down.
    half = np.array([-np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    for j in (7, 8, 9, 10):
        x, y, z, w = turns[0, j]
        a, b, c, d = half
        turns[0, j] = (
            w * a + x * d + y * c - z * b, w * b - x * c + y * d + z * a,
            w * c + x * b - y * a + z * d, w * d - x * a - y * b - z * c,
        )  # fmt: skip
    back = openxr_rotations(turns, model, betas.numpy(), is_right=True)[0]
    angle = rotation_angle(torch.from_numpy(back))
    assert float(angle[4]) == pytest.approx(np.pi / 2, abs=1e-6)
    bone = model.joint_template[5] - model.joint_template[4]
    assert float((torch.from_numpy(back[4]) @ bone)[2]) < -0.9 * float(bone.norm())  # to the palm


@pytest.mark.parametrize("name", ["open", "mano"])
def test_mediapipes_points_and_back(name: str):
    model = models()[name]
    betas, R, at = pose(model, 2)
    hand = model.with_shape(betas)
    points = landmarks_of(hand, R, at)
    # At rest they are the model's landmarks.
    still = torch.eye(3).double().repeat(16, 1, 1)
    rest = landmarks_of(hand, still, hand.rest_joints[0])
    torch.testing.assert_close(rest, model.landmarks.at_rest(betas))
    back, wrist, _ = pose_of_landmarks(points, model, betas)
    apart_mm = 1e3 * (landmarks_of(hand, back, wrist) - points).norm(dim=-1)
    assert apart_mm.mean() < 1.0
    keypoints = hand.posed(R, at).keypoints
    assert 1e3 * (hand.posed(back, wrist).keypoints - keypoints).norm(dim=-1).mean() < 2.0
    _, _, guessed = pose_of_landmarks(points, model)
    length = model.measures.lengths(torch.stack([betas, guessed]))[:, 0]
    assert float(length[1] / length[0]) == pytest.approx(1, abs=0.06)
