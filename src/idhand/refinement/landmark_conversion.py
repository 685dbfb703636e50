"""A hand model's pose ↔ MediaPipe's 21 points in space."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import procrustes, rotation_from_vector
from idhand.hand import FittableHand, Hand

POINT_DEVIATION_M = 0.004
"""Of the given points: what the landmark net guesses for the third dimension is no better."""
ROUNDS = 12
STEP = 1e-6
"""Of finite differences."""
_PALM = [0, 5, 9, 13, 17]
"""Points that hardly move against each other."""


def landmarks_of(
    hand: Hand,
    rotations: Float[Tensor, "*#batch 16 3 3"],
    wrist_cam: Float[Tensor, "*#batch 3"],
) -> Float[Tensor, "*batch 21 3"]:
    """MediaPipe's 21 points on a posed right hand, in the frame of its wrist position, metres.

    Args:
        hand: Of a `FittableHand`.
        rotations: As in `Hand.posed`.
        wrist_cam: Position of the wrist joint.

    Raises:
        ValueError: If the hand's model has no landmarks.
    """
    model = hand.model
    if not isinstance(model, FittableHand):
        raise ValueError(f"hand model '{model.name}' has no landmarks; give a FittableHand")
    R, joints = hand.chain(rotations, wrist_cam)
    points, of = model.landmarks, model.landmarks.joint
    offsets = points.at_rest(hand.betas) - hand.rest_joints[..., of, :]
    return joints[..., of, :] + (R[..., of, :, :] @ offsets[..., None])[..., 0]


def pose_of_landmarks(
    points: Float[Tensor, "21 3"],
    model: FittableHand,
    betas: Float[Tensor, " betas"] | None = None,
) -> tuple[Float[Tensor, "16 3 3"], Float[Tensor, " 3"], Float[Tensor, " betas"]]:
    """The pose of a right hand whose landmarks come nearest to 21 points, if it is a likely one.

    Args:
        points: MediaPipe's `world_landmarks` or the like, metres, y down and z forward; of a left
            hand, with x negated.
        model: A hand model.
        betas: Of the person; by default they are fitted, too, under the model's prior.

    Returns:
        Rotations, wrist position and betas.
    """
    start = model.prior.mean if betas is None else betas
    palm = model.landmarks.at_rest(start)[_PALM]
    scale, R, _ = procrustes(palm, points[_PALM], with_scale=True)
    if betas is None:
        start = model.resized(start, scale * model.relative_size(start))
    space, num = model.pose_space, model.pose_space.num_dofs
    of_poses = torch.linalg.cholesky(space.precision).mT
    of_shapes = torch.linalg.cholesky(model.prior.precision).mT

    def posed(x: Tensor) -> tuple[Hand, Tensor, Tensor]:
        wrist = R @ rotation_from_vector(x[..., num : num + 3])
        rotations = torch.cat((wrist[..., None, :, :], space.rotations(x[..., :num])), -3)
        own = start if betas is not None else x[..., num + 6 :]
        return model.with_shape(own), rotations, x[..., num + 3 : num + 6]

    def residuals(x: Tensor) -> Tensor:
        apart = (landmarks_of(*posed(x)) - points) / POINT_DEVIATION_M
        parts = [apart.flatten(1), (x[:, :num] - space.mean) @ of_poses.mT]
        if betas is None:
            parts.append((x[:, num + 6 :] - model.prior.mean) @ of_shapes.mT)
        return torch.cat(parts, 1)

    x = torch.cat((space.mean, points.new_zeros(3), points[0]))
    x = x if betas is not None else torch.cat((x, start))
    eye = torch.eye(len(x), dtype=points.dtype, device=points.device)
    for _ in range(ROUNDS):
        rows = residuals(torch.cat((x[None], x + STEP * eye)))
        J = (rows[1:] - rows[0]) / STEP
        x = x - torch.linalg.solve(J @ J.mT, J @ rows[0])
        x = torch.cat((x[:num].clamp(space.lower, space.upper), x[num:]))
    hand, rotations, wrist = posed(x)
    return rotations, wrist, hand.betas
