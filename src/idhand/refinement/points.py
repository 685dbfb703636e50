"""Points on posed hands without the mesh: what a landmark net marks, and the 21 keypoints."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import KEYPOINT_ORDER, Hand


def landmark_points(
    hand: Hand,
    rotations: Float[Tensor, "batch 16 3 3"],
    wrist_cam: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch 21 3"]:
    """The points that the landmark net marks, in the camera frame, metres.

    Args:
        hand: One shape for each pose; of a model with landmark points.
        rotations: As in `Hand.posed`; unlike `Objective.kinematics`, of any kind.
        wrist_cam: As in `Hand.posed`.
    """
    marks = hand.model.landmarks
    assert marks is not None
    rest = marks.template + torch.einsum("pak,bk->bpa", marks.shape_basis, hand.betas)
    R, t = hand.chain(rotations, wrist_cam)
    offsets = rest - hand.rest_joints[:, marks.joint]
    return t[:, marks.joint] + (R[:, marks.joint] @ offsets[..., None])[..., 0]


def keypoints(
    hand: Hand,
    rotations: Float[Tensor, "batch 16 3 3"],
    wrist_cam: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch 21 3"]:
    """`Hand.posed(...).keypoints`, skinning the five fingertips alone."""
    model = hand.model
    tips = list(model.tip_verts)
    rest = hand.rest_verts[..., tips, :]
    if model.pose_basis is not None:
        eye = torch.eye(3, dtype=rotations.dtype)
        features = (rotations[:, 1:] - eye).flatten(1)
        rest = rest + torch.einsum("vap,bp->bva", model.pose_basis[tips], features)
    R, joints = hand.chain(rotations, wrist_cam)
    offsets = rest[:, :, None] - hand.rest_joints[:, None]
    moved = joints[:, None] + (R[:, None] @ offsets[..., None])[..., 0]
    skinned = (model.skinning[tips][..., None] * moved).sum(2)
    return torch.cat((joints, skinned), 1)[:, list(KEYPOINT_ORDER)]
