"""Refinement: Levenberg–Marquardt on landmark points against the published Adam schedule."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from timing import Row
from torch import Tensor
from torch.nn import functional as F

from idhand.assets import open_hand
from idhand.geometry import project, rotation_from_vector
from idhand.hand import FittableHand
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    Solution,
    State,
    closed_form_start,
    solve,
)
from idhand.refinement.residuals import BONE_END, BONE_START

BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Hands of random people in random poses, marked with the noise that the objective expects."""

    objective: Objective
    seen: Observations
    start: State
    """From the closed form, with mean betas."""
    known_start: State
    """The same with the true betas."""


class ThroughMesh(Objective):
    """The same cost, of landmark points after skinning every vertex, as the authors' optimiser."""

    def cost(self, state: State, seen: Observations) -> Tensor:
        """As `Objective.cost`, and many times as slow."""
        return self.cost_of_points(_points_through_mesh(self, state), state, seen)


def _points_through_mesh(objective: Objective, state: State) -> Float[Tensor, "batch 21 3"]:
    """The same landmark points, after skinning every vertex as a mesh-based optimiser does."""
    model, space, marks = objective.model, objective.model.pose_space, objective.model.landmarks
    hand = model.with_shape(state.betas)
    rotations = torch.cat((state.R[:, None], space.rotations(state.angles)), 1)
    posed = hand.posed(rotations, state.wrist)
    R, _ = hand.chain(rotations, state.wrist)
    offsets = marks.at_rest(state.betas) - hand.rest_joints[:, marks.joint]
    offsets = (R[:, marks.joint] @ offsets[..., None])[..., 0]
    # The mesh takes part in the gradient with weight zero: its cost is what is being compared.
    return posed.joints[:, marks.joint] + offsets + 0.0 * posed.verts.sum((1, 2))[:, None, None]


def _draw(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def scene(num: int, seed: int = 0, model: FittableHand | None = None) -> Scene:
    """Synthetic observations of `num` hands about 0.5 m away, float64 like the pipeline.

    Args:
        num: Hands.
        seed: Of shapes, poses and noise.
        model: The open hand if None.
    """
    model = model or open_hand()
    rng = torch.Generator().manual_seed(seed)
    config = ObjectiveConfig()
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
    objective = Objective(
        model=model,
        config=config,
        prior=model.prior,
    )
    space = objective.model.pose_space
    spread = torch.linalg.cholesky(space.covariance)
    angles = space.mean + 0.7 * _draw(rng, num, space.num_dofs) @ spread.T
    betas = 0.7 * _draw(rng, num, model.num_betas)
    truth = State(
        R=rotation_from_vector(_draw(rng, num, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]) + 0.04 * _draw(rng, num, 3),
        angles=angles.clamp(space.lower, space.upper),
        betas=betas,
    )
    *_, points = objective.kinematics(truth)
    sigma = (config.sigma_px * 600 / truth.wrist[:, 2] * 0.187)[:, None].expand(num, 21)
    bones = F.normalize(points[:, BONE_END] - points[:, BONE_START], dim=-1)
    seen = Observations(
        points_px=project(points, K) + sigma[..., None] * _draw(rng, num, 21, 2),
        sigma_px=sigma,
        directions=F.normalize(bones + config.sigma_direction * _draw(rng, num, 20, 3), dim=-1),
        sigma_direction=torch.full((num, 20), config.sigma_direction, dtype=torch.float64),
        K=K.expand(num, 3, 3),
        world=points,
    )
    start = closed_form_start(objective, seen, torch.zeros_like(betas))
    known = closed_form_start(objective, seen, betas)
    return Scene(objective=objective, seen=seen, start=start, known_start=known)


def refinement(repeats: int, num: int = BATCH) -> list[Row]:
    """Levenberg–Marquardt against the Adam preset, betas free and fixed."""
    s = scene(num)
    return [
        *_compared("betas free", s, s.start, repeats, shape=True),
        *_compared("betas fixed", s, s.known_start, repeats, shape=False),
    ]


def _compared(what: str, s: Scene, start: State, repeats: int, *, shape: bool) -> list[Row]:
    """Ours is timed before and after the slow ones, so that all share the machine's mood."""
    adam = RefinementConfig(method="adam")
    configs = {
        "lm": RefinementConfig(),
        "landmarks": adam,
        "mesh": adam,
    }
    objectives = dict.fromkeys(configs, s.objective)
    objectives["mesh"] = ThroughMesh(
        **{f.name: getattr(s.objective, f.name) for f in fields(s.objective)}
    )
    seconds: dict[str, list[float]] = {name: [] for name in configs}
    found = dict[str, Solution]()
    for name in ("lm", *["lm"] * repeats, "landmarks", "mesh", *["lm"] * repeats):
        begin = time.perf_counter()
        found[name] = solve(objectives[name], s.seen, start, configs[name], shape=shape)
        seconds[name].append(time.perf_counter() - begin)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return _refinement_rows(what, len(start.R), medians, found)


def _refinement_rows(
    what: str, num: int, seconds: Mapping[str, float], found: Mapping[str, Solution]
) -> list[Row]:
    name = f"refinement of {num} hands, {what}"
    costs = {key: solution.cost for key, solution in found.items()}
    told = {key: f"mean {c.mean():.3f}, median {c.median():.3f}" for key, c in costs.items()}
    lower = float((costs["lm"] <= costs["mesh"] + 1e-3).double().mean())
    gap = float((costs["lm"] - costs["mesh"]).mean())
    return [
        Row(
            name=name,
            value=1e3 * seconds["lm"] / num,
            unit="ms per hand",
            target=2,
            note=f"float64; objective: {told['lm']}",
        ),
        Row(
            name=f"{name}: Adam on the mesh over ours",
            value=seconds["mesh"] / seconds["lm"],
            unit="×",
            target=5,
            at_most=False,
            note=f"Adam's objective: {told['mesh']}",
        ),
        Row(
            name=f"{name}: Adam on landmarks over ours",
            value=seconds["landmarks"] / seconds["lm"],
            unit="×",
        ),
        Row(
            name=f"{name}: mean objective above Adam's",
            value=gap,
            unit="",
            target=0,
            note=f"{100 * lower:.1f} % of hands at or below Adam's (within 0.001)",
        ),
    ]
