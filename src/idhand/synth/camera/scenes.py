"""How a hand stands before the camera, what is cut out of the photo, and what is seen of it.

A scene belongs to one right hand in the frame of the camera that takes the picture; pictures of
left hands are mirrored at the very end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from idhand.detection.roi import Roi, roi_from_landmarks
from idhand.hand import KEYPOINT_JOINT, BonePoints, FittableHand, Hand, PosedHand
from idhand.records import FOREARM_PART
from idhand.synth.poses.views import View

FULL_WIDTH, FULL_HEIGHT = 1280, 960
"""Of the photo that the picture is cut out of, px; only its field of view matters."""
WRIST_FLEXION_DEG, WRIST_DEVIATION_DEG = (-55.0, 45.0), (-22.0, 15.0)
"""How far the forearm turns against the hand. Ryu et al., "Functional ranges of motion of the wrist
joint", 1991, give 40° of flexion and of extension and 40° of deviation in all for most tasks; the
ranges are ours."""
CUT_SHIFT, CUT_LOG_SIZE, CUT_TURN_RAD = 0.035, 0.09, 0.14
"""Deviations of the cut from the landmark net's own square: shift over its size, log of its size,
and turn; about what its first look at a palm is off by."""
LEVEL_SIZES = (0.75, 1.6)
"""Range of a level cut's size, over the landmark net's square."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a picture is cut out of the full photo: jitter on the landmark net's square."""

    shift: Float[np.ndarray, " 2"]
    scale: float
    turn_rad: float
    is_level: bool
    """The camera is not rolled to put the fingers up."""


def draw_cut(rng: np.random.Generator, *, is_level: bool) -> Cut:
    """Jitter for one picture or one sequence."""
    scale = rng.uniform(*LEVEL_SIZES) if is_level else math.exp(rng.normal(0, CUT_LOG_SIZE))
    return Cut(
        shift=rng.normal(0, CUT_SHIFT, 2),
        scale=float(scale),
        turn_rad=0.0 if is_level else float(rng.normal(0, CUT_TURN_RAD)),
        is_level=is_level,
    )


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A posed hand before the camera of the finished picture."""

    rotations: Float[np.ndarray, "16 3 3"]
    wrist_cam: Float[np.ndarray, " 3"]
    R_joints: Float[np.ndarray, "16 3 3"]
    """Orientation of every joint in the camera frame."""
    posed: PosedHand
    K: Float[np.ndarray, "3 3"]
    """Of the finished picture."""
    up_cam: Float[np.ndarray, " 3"]
    """Against gravity."""


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A posed hand before the full camera, before a picture is cut out."""

    rotations: Float[np.ndarray, "16 3 3"]
    R_joints: Float[np.ndarray, "16 3 3"]
    wrist_cam: Float[np.ndarray, " 3"]
    up_cam: Float[np.ndarray, " 3"]
    focal_px: float
    square: Roi
    """The landmark net's own square round it, px of the full photo."""


PRINCIPAL_PX = np.array([(FULL_WIDTH - 1) / 2, (FULL_HEIGHT - 1) / 2])


def stand(model: FittableHand, hand: Hand, angles: Float[np.ndarray, " dofs"], view: View) -> Stand:
    """Pose a hand and put it before the full camera."""
    fingers = model.pose_space.rotations(torch.from_numpy(angles))
    turns = torch.cat((torch.from_numpy(view.R_cam_wrist)[None], fingers))
    R_joints, joints = (t.numpy() for t in hand.chain(turns, torch.zeros(3).double()))
    middle = (joints.min(0) + joints.max(0)) / 2
    f = FULL_WIDTH / 2 / math.tan(math.radians(view.fov_deg) / 2)
    target = np.array([view.at[0] * FULL_WIDTH - 0.5, view.at[1] * FULL_HEIGHT - 0.5])
    wrist = np.append((target - PRINCIPAL_PX) / f, 1.0) * view.distance_m - middle
    marks = _landmark_points(model.landmarks, hand, R_joints, joints + wrist)
    return Stand(
        rotations=turns.numpy(),
        R_joints=R_joints,
        wrist_cam=wrist,
        up_cam=view.up_cam,
        focal_px=f,
        square=roi_from_landmarks(f * marks[:, :2] / marks[:, 2:] + PRINCIPAL_PX),
    )


def cut_square(squares: Sequence[Roi], cut: Cut) -> Roi:
    """The square that is cut out of all frames: one camera for a whole sequence.

    Turned as the first frame wants it, large enough for the hand in all of them, and jittered.
    """
    first = squares[0]
    centres = np.stack([square.center_px for square in squares])
    low, high = centres.min(0), centres.max(0)
    size = max(square.size_px for square in squares) + float((high - low).max())
    return replace(
        first,
        center_px=(low + high) / 2 + size * (first.axes_image_roi @ cut.shift),
        size_px=size * cut.scale,
        angle_rad=0.0 if cut.is_level else first.angle_rad + cut.turn_rad,
    )


def place_hand(hand: Hand, before: Stand, square: Roi, size_px: int) -> Placement:
    """Cut a square out of the full photo.

    A square that is turned in the full photo is the picture of a camera rolled about its optical
    axis, with another focal length and principal point; the returned hand is in its frame.
    """
    # Pixels of the square are S Rᵀ (u − centre): a roll by Rᵀ, and K with S f.
    S = size_px / square.size_px
    roll = np.eye(3)
    roll[:2, :2] = square.axes_image_roi.T
    K = np.diag([S * before.focal_px, S * before.focal_px, 1.0])
    off = PRINCIPAL_PX - square.center_px
    K[:2, 2] = S * square.axes_image_roi.T @ off + (size_px - 1) / 2
    rotations = before.rotations.copy()
    rotations[0] = roll @ rotations[0]
    wrist_cam = roll @ before.wrist_cam
    return Placement(
        rotations=rotations,
        wrist_cam=wrist_cam,
        R_joints=roll @ before.R_joints,
        posed=hand.posed(torch.from_numpy(rotations), torch.from_numpy(wrist_cam)),
        K=K,
        up_cam=roll @ before.up_cam,
    )


def _landmark_points(
    marks: BonePoints,
    hand: Hand,
    R_joints: Float[np.ndarray, "16 3 3"],
    joints_cam: Float[np.ndarray, "16 3"],
) -> Float[np.ndarray, "21 3"]:
    """What the landmark net would mark on a posed hand, camera frame."""
    rest = (marks.at_rest(hand.betas) - hand.rest_joints[marks.joint]).numpy()
    of = marks.joint.numpy()
    return (R_joints[of] @ rest[..., None])[..., 0] + joints_cam[of]


def draw_wrist_bend(rng: np.random.Generator) -> tuple[float, float]:
    """Flexion and deviation of the wrist in radians, mostly small."""
    bends = []
    for low, high in (WRIST_FLEXION_DEG, WRIST_DEVIATION_DEG):
        bends.append(math.radians(float(np.clip(rng.normal(0, (high - low) / 5), low, high))))
    return bends[0], bends[1]


def visible_keypoints(
    keypoints_cam: Float[np.ndarray, "21 3"],
    K: Float[np.ndarray, "3 3"],
    parts: UInt8[np.ndarray, "height width"],
    depth_m: Float[np.ndarray, "height width"],
) -> Bool[np.ndarray, " 21"]:
    """Which keypoints are in the picture with nothing before them but the skin over the joint.

    At the wrist this may be a sleeve, too.

    The skin in front must be of the keypoint's own part or one of its neighbours, and no more
    than the joint's own thickness nearer; one of the 3×3 pixels is enough, since fingertips lie on
    the outline.
    """
    pixels = (keypoints_cam @ K.T)[:, :2] / keypoints_cam[:, 2:]
    middle = np.rint(pixels).astype(int)
    height, width = parts.shape
    inside = ((middle >= 0) & (middle < (width, height))).all(1)
    column, row = np.clip(middle[:, None] + AROUND, 0, (width - 1, height - 1)).T
    own = OWN_PARTS[np.arange(21), parts[row, column]]
    near = keypoints_cam[:, 2] - depth_m[row, column] < THICKNESS_M
    return np.asarray(inside & (own & near).any(0))


AROUND = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2)
"""A pixel and its neighbours."""


def _own_parts() -> Bool[np.ndarray, "21 256"]:
    """May this part lie over this keypoint?"""
    parents = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
    own = np.zeros((21, 256), bool)
    for k, joint in enumerate(KEYPOINT_JOINT):
        near = {joint, parents[joint], *(j for j in range(16) if parents[j] == joint)} - {-1}
        if joint == 0:
            near = {0, 1}
        own[k, [j + 1 for j in near]] = True
    own[0, FOREARM_PART] = True
    return own


OWN_PARTS = _own_parts()
THICKNESS_M = np.array([0.032] + [0.028, 0.018, 0.015, 0.012] + [0.024, 0.014, 0.012, 0.011] * 4)
"""How far under the skin a keypoint may lie: half a wrist, a palm, a finger; a whole fingertip,
whose keypoint is on the skin at its end."""
