"""OpenXR's hand joints → a hand model's pose and shape."""

import numpy as np
import torch
from jaxtyping import Float

from idhand.hand import FittableHand
from idhand.records import FLIP
from idhand.view.export.openxr import SAME_JOINT, TIPS, openxr_rotations
from idhand.view.mesh import GLTF_FROM_CAM

DEVIATION_M = 0.001
"""Of the joints' places from the model's."""
ROUNDS = 4
"""The bones' directions at rest depend on the shape, a little."""
_PLACES = [
    *SAME_JOINT[:4], TIPS[0],
    *(j for f in range(4) for j in (*SAME_JOINT[4 + 3 * f : 7 + 3 * f], TIPS[1 + f])),
]  # fmt: skip
"""Of the 26, the one at each of the 21 keypoints."""


def openxr_hand(
    positions: Float[np.ndarray, "frames 26 3"],
    orientations_xyzw: Float[np.ndarray, "frames 26 4"],
    model: FittableHand,
    *,
    is_right: bool,
) -> tuple[
    Float[np.ndarray, "frames 16 3 3"], Float[np.ndarray, "frames 3"], Float[np.ndarray, " betas"]
]:
    """One person's hand over time from OpenXR's joints.

    Orientations give the pose. The shape is the likeliest one by the joints' places, least squares
    under the model's prior.

    Args:
        positions: Metres, in OpenXR's frame (x right, y up, −z forward).
        orientations_xyzw: As in `OpenXRJoints`.
        model: A right-hand model.
        is_right: Side of the real hand.

    Returns:
        Rotations and wrist positions as in `HandResult`, and the betas.
    """
    side = np.ones(3) if is_right else FLIP
    wrist_cam = positions[:, _PLACES[0]] * GLTF_FROM_CAM
    points = torch.from_numpy((positions[:, _PLACES] * GLTF_FROM_CAM - wrist_cam[:, None]) * side)
    precision, mean = model.prior.precision, model.prior.mean
    steps = torch.cat((torch.zeros(1, model.num_betas), torch.eye(model.num_betas))).double()
    betas = mean
    rotations = openxr_rotations(orientations_xyzw, model, betas.numpy(), is_right=is_right)
    for _ in range(ROUNDS):
        normal, right = precision.clone(), precision @ mean
        for turns, seen in zip(torch.from_numpy(rotations), points, strict=True):
            moved = _keypoints(model, steps, turns).flatten(1)  # affine in the betas
            A = (moved[1:] - moved[0]) / DEVIATION_M
            normal += A @ A.mT
            right = right + A @ (seen.flatten() - moved[0]) / DEVIATION_M
        betas = torch.linalg.solve(normal, right)
        rotations = openxr_rotations(orientations_xyzw, model, betas.numpy(), is_right=is_right)
    return rotations, wrist_cam, betas.numpy()


def _keypoints(
    model: FittableHand, betas: Float[torch.Tensor, "batch betas"], turns: torch.Tensor
) -> Float[torch.Tensor, "batch 21 3"]:
    """Keypoints about the wrist, without pose correctives."""
    hand, points = model.with_shape(betas), model.keypoints_on_bones
    R, joints = hand.chain(turns, torch.zeros(3, dtype=turns.dtype))
    of = points.joint
    offsets = points.at_rest(betas) - hand.rest_joints[:, of]
    return joints[:, of] + (R[:, of] @ offsets[..., None])[..., 0]
