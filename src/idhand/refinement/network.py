"""A network's pose as a start, and as evidence of the dimension that pictures do not show."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import HandModel
from idhand.refinement.evidence import unit_bones
from idhand.refinement.objective import Objective, ObjectiveConfig, Observations, State
from idhand.refinement.points import landmark_points
from idhand.refinement.solver import (
    DIVERGED,
    MAX_ITERATIONS,
    RefinementConfig,
    Solution,
    solve,
)
from idhand.refinement.start import translation

Directions = Literal["landmarks", "network", "both"]
"""Whose bone directions are the evidence of the third dimension."""
MAX_DEPTH_RATIO = 1.5
"""A solution that is nearer or farther than the closed form by more than this went astray."""


def network_noise() -> ObjectiveConfig:
    """Noise of a network's bone directions beside landmarks.

    The directions are a network's whole word on the pose, so they hold firmly and count almost
    without robustness: a landmark that contradicts them is wrong more often. Chosen on 456 pictures
    of the studio's validation people with `identity_film` and true shapes: root-relative vertices
    16.7 mm before, 16.6 after (16.9 with a noise of 0.1; 26.7 with the landmark net's directions),
    keypoints in the camera's frame 46.6 and 35.9 (medians).
    """
    return ObjectiveConfig(
        sigma_px=0.015, sigma_direction=0.05, robust_direction=6.0, pose_weight=1.0
    )


def mixed_noise() -> ObjectiveConfig:
    """Noise of directions that the landmark net and a network say together, for photos.

    A network that was trained on renders alone is to be believed less on photos: with both nets'
    directions the stereo clip's cameras and its landmarks agree best (docs/results.md).
    """
    return ObjectiveConfig(
        sigma_px=0.015, sigma_direction=0.1, robust_direction=4.0, pose_weight=1.5
    )


def network_start(
    model: HandModel,
    rotations: Float[Tensor, "batch 16 3 3"],
    betas: Float[Tensor, "batch betas"],
    seen: Observations,
) -> tuple[State, Float[Tensor, "batch 20 3"]]:
    """The pose as near as the model's joints can take it, and the unit bone directions it means.

    The position is where the pose's landmark points project best.

    Args:
        model: With landmark points and a pose space; float64.
        rotations: Each joint relative to its parent, the wrist's to the camera.
        betas: Shapes to start from.
        seen: The evidence.
    """
    space = model.pose_space
    assert space is not None
    at_origin = torch.zeros_like(rotations[:, 0, 0])
    points = landmark_points(model.with_shape(betas), rotations, at_origin)
    angles = space.angles(rotations[:, 1:]).clamp(space.lower, space.upper)
    state = State(R=rotations[:, 0], wrist=translation(points, seen), angles=angles, betas=betas)
    return state, unit_bones(points)


def with_directions(
    seen: Observations,
    network: Float[Tensor, "batch 20 3"],
    whose: Directions = "network",
    weight: float = 6.0,
) -> Observations:
    """The evidence with these bone directions; of both, the network's count `weight` times."""
    match whose:
        case "landmarks":
            return seen
        case "network":
            return replace(seen, directions=network)
        case "both":
            mixed = seen.directions + weight * network
            return replace(seen, directions=torch.nn.functional.normalize(mixed, dim=-1))


def solve_near(
    objective: Objective,
    seen: Observations,
    start: State,
    config: RefinementConfig,
    *,
    shape: bool,
) -> Solution:
    """As `solve`, but hands that went astray stay where they started and count as not converged.

    Astray is what diverged, or lies nearer or farther than the start by `MAX_DEPTH_RATIO`.
    """
    solution = solve(objective, seen, start, config, shape=shape)
    ratio = solution.state.wrist[:, 2] / start.wrist[:, 2]
    kept = (ratio > 1 / MAX_DEPTH_RATIO) & (ratio < MAX_DEPTH_RATIO)
    kept &= solution.status != DIVERGED
    status = torch.where(kept, solution.status, torch.full_like(solution.status, MAX_ITERATIONS))
    return replace(solution, state=solution.state.where(kept, start), status=status)
