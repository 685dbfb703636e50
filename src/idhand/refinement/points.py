"""Points on posed hands without the mesh: points fixed to bones, and the 21 keypoints."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import KEYPOINT_ORDER, BonePoints, Hand


def posed_points(
    points: BonePoints,
    hand: Hand,
    rotations: Float[Tensor, "batch 16 3 3"],
    wrist_cam: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch 21 3"]:
    """Points fixed to bones, such as the landmark net's, in the camera frame, metres.

    Args:
        points: Of the hand's model.
        hand: One shape for each pose.
        rotations: As in `Hand.posed`; unlike `Objective.kinematics`, of any kind.
        wrist_cam: As in `Hand.posed`.
    """
    R, t = hand.chain(rotations, wrist_cam)
    offsets = points.at_rest(hand.betas) - hand.rest_joints[:, points.joint]
    return t[:, points.joint] + (R[:, points.joint] @ offsets[..., None])[..., 0]


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
        eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        features = (rotations[:, 1:] - eye).flatten(1)
        rest = rest + torch.einsum("vap,bp->bva", model.pose_basis[tips], features)
    R, joints = hand.chain(rotations, wrist_cam)
    offsets = rest[:, :, None] - hand.rest_joints[:, None]
    moved = joints[:, None] + (R[:, None] @ offsets[..., None])[..., 0]
    skinned = (model.skinning[tips][..., None] * moved).sum(2)
    return torch.cat((joints, skinned), 1)[:, list(KEYPOINT_ORDER)]
