"""Closed-form starts: palm alignment, joint angles from bone directions, translation."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import back_project, procrustes, rotation_from_vector
from idhand.refinement.objective import Objective
from idhand.refinement.problem import Observations, State

PALM = (0, 5, 9, 13, 17)
"""Landmarks that move as one rigid body."""


def closed_form_start(
    objective: Objective,
    seen: Observations,
    betas: Float[Tensor, "batch betas"],
) -> State:
    """A state near the answer, without iterating.

    The wrist's rotation aligns the palm with the net's world points; each joint then turns its
    bone towards the seen direction, as far as its axes and limits allow; the position is the
    least-squares solution of the projection, which is linear in it.
    """
    rest = objective.model.landmarks.at_rest(betas)
    palms = rest[:, PALM], seen.world[:, PALM]
    _, R, _ = procrustes(*(palm.nan_to_num() for palm in palms))  # an SVD of NaN raises
    R = R + 0.0 * (palms[0] + palms[1]).sum((1, 2))[:, None, None]  # and NaN stays NaN
    angles = _angles_from_directions(objective, seen, rest, R)
    state = State(R=R, wrist=torch.zeros_like(R[..., 0]), angles=angles, betas=betas)
    *_, points = objective.kinematics(state)
    return State(R=R, wrist=translation(points, seen), angles=angles, betas=betas)


def _angles_from_directions(
    objective: Objective, seen: Observations, rest: Tensor, R: Tensor
) -> Float[Tensor, "batch dofs"]:
    space = objective.model.pose_space
    bones = rest.unflatten(1, (-1,)) if rest.dim() == 2 else rest
    ends = torch.arange(2, 22, device=R.device).unflatten(0, (5, 4))[:, :3]
    bones = bones[:, ends] - bones[:, ends - 1]
    bones = bones / bones.norm(dim=-1, keepdim=True)
    wanted = seen.directions[:, ends - 1]
    angles = space.mean.expand(len(R), -1).clone()
    parent = R[:, None].expand(-1, 5, 3, 3)
    for k in range(3):
        target = (parent.mT @ wanted[:, :, k, :, None])[..., 0]
        turn = _shortest_turn(bones[:, :, k], target)
        vectors = torch.zeros_like(turn)
        for f in range(5):
            dofs = (space.joint == 1 + 3 * f + k).nonzero()[:, 0]
            values = turn[:, f] @ space.axis[dofs].T
            values = values.clamp(space.lower[dofs], space.upper[dofs])
            angles[:, dofs] = values
            vectors[:, f] = values @ space.axis[dofs]
        parent = parent @ rotation_from_vector(vectors)
    return angles


def _shortest_turn(start: Tensor, end: Tensor) -> Tensor:
    """Rotation vector of the smallest rotation from one unit vector to another."""
    axis = torch.linalg.cross(start, end)
    sine = axis.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sine, (start * end).sum(-1, keepdim=True))
    return axis * angle / sine.clamp_min(1e-8)


def translation(
    points: Float[Tensor, "batch points 3"], seen: Observations
) -> Float[Tensor, "batch 3"]:
    """Shift that brings the points onto the seen ones under weak perspective, weighted.

    Depth is the ratio of the two spreads (the reduced-major-axis least-squares line), not the
    solution linear in the shift: that one shrinks the depth as soon as the pose is a little wrong.
    """
    xy = back_project(seen.points_px, seen.K)
    weight = seen.sigma_px.square().reciprocal()[..., None]
    weight = weight / weight.sum(1, keepdim=True)
    mean_xy, mean = (weight * xy).sum(1), (weight * points).sum(1)
    off_xy, off = xy - mean_xy[:, None], points - mean[:, None]
    seen_spread = (weight * off_xy.square()).sum((1, 2)).clamp_min(1e-12)
    depth = ((weight * off[..., :2].square()).sum((1, 2)) / seen_spread).sqrt().clamp_min(0.05)
    return torch.cat((mean_xy * depth[:, None] - mean[:, :2], (depth - mean[:, 2])[:, None]), -1)
