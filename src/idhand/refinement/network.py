"""A network's estimate beside the landmark net's: a start, bone directions, points."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.geometry import project
from idhand.hand import BonePoints, FittableHand
from idhand.refinement.config import ObservationSource, RefinementConfig, Trust
from idhand.refinement.objective import Objective
from idhand.refinement.observing import unit_bones
from idhand.refinement.points import keypoints, posed_points
from idhand.refinement.problem import Observations, State
from idhand.refinement.residuals import BONE_END, BONE_START
from idhand.refinement.solver import ASTRAY, DIVERGED, Solution, solve
from idhand.refinement.start import translation

MAX_DEPTH_RATIO = 1.5
"""A solution that is nearer or farther than the closed form by more than this went astray."""


def with_network(
    model: FittableHand,
    rotations: Float[Tensor, "batch 16 3 3"],
    betas: Float[Tensor, "batch betas"],
    seen: Observations,
    network_px: Float[Tensor, "batch 21 2"] | None = None,
    trust: Trust | None = None,
    marks: BonePoints | None = None,
) -> tuple[State, Observations]:
    """A network's estimate as a start and as observations.

    The start is its pose, as near as the model's joints can take it, where the points project best.
    The landmark net's points are others than the network's; at the network's pose both are known,
    and their difference takes the network's points to where that net would see them.

    Args:
        model: Float64.
        rotations: Each joint relative to its parent, the wrist's to the camera.
        betas: Shapes to start from.
        seen: The landmark net's.
        network_px: Points as the network sees them, in the pixels of `seen`; None: it has none.
        trust: How much each counts.
        marks: Where these points lie on the hand model; None: they are its keypoints.
    """
    trust = trust or Trust()
    point_weight = torch.full_like(seen.sigma_px, trust.point_weight)
    direction_weight = torch.full_like(seen.sigma_direction, trust.direction_weight)
    guessed = seen.unseen[:, BONE_END] | seen.unseen[:, BONE_START]
    point_weight[seen.unseen] = trust.unseen_point_weight
    direction_weight[guessed] = trust.unseen_direction_weight
    space = model.pose_space
    hand, at_origin = model.with_shape(betas), torch.zeros_like(rotations[:, 0, 0])
    points = posed_points(model.landmarks, hand, rotations, at_origin)
    if network_px is not None and trust.points != "landmarks":
        own = (
            keypoints(hand, rotations, at_origin)
            if marks is None
            else posed_points(marks, hand, rotations, at_origin)
        )
        wrist = translation(own, replace(seen, points_px=network_px))[:, None]
        shift = project(points + wrist, seen.K) - project(own + wrist, seen.K)
        seen = replace(
            seen,
            points_px=_mixed(
                seen.points_px, network_px + shift, trust.points, point_weight[..., None]
            ),
        )
    directions = _mixed(
        seen.directions, unit_bones(points), trust.directions, direction_weight[..., None]
    )
    seen = replace(seen, directions=torch.nn.functional.normalize(directions, dim=-1))
    angles = space.angles(rotations[:, 1:]).clamp(space.lower, space.upper)
    wrist = translation(points, seen)
    return State(R=rotations[:, 0], wrist=wrist, angles=angles, betas=betas), seen


def _mixed(landmarks: Tensor, network: Tensor, source: ObservationSource, weight: Tensor) -> Tensor:
    match source:
        case "landmarks":
            return landmarks
        case "network":
            return network
        case "both":
            return (landmarks + weight * network) / (1 + weight)


def solve_near(
    objective: Objective,
    seen: Observations,
    start: State,
    config: RefinementConfig,
    *,
    shape: bool,
) -> Solution:
    """As `solve`, but a hand that went astray is put back to its start.

    Its cost and Hessian are then those of the start. Astray is what lies nearer or farther than the
    start by more than `MAX_DEPTH_RATIO`. A hand that
    diverged stays so: neither its numbers nor those of its start mean anything.
    """
    solution = solve(objective, seen, start, config, shape=shape)
    ratio = solution.state.wrist[:, 2] / start.wrist[:, 2]
    kept = (ratio > 1 / MAX_DEPTH_RATIO) & (ratio < MAX_DEPTH_RATIO)
    kept |= solution.status == DIVERGED
    if bool(kept.all()):
        return solution
    status = torch.where(kept, solution.status, torch.full_like(solution.status, ASTRAY))
    there = objective.linearise(start, seen, shape=shape)
    return replace(
        solution,
        state=solution.state.where(kept, start),
        status=status,
        cost=torch.where(kept, solution.cost, there.cost),
        hessian=torch.where(kept[:, None, None], solution.hessian, there.hessian),
    )
