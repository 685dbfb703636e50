"""Levenberg–Marquardt over batches of hands, and the ECCV 2022 paper's Adam schedule beside it."""

from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from idhand.geometry import rotation_from_vector
from idhand.records import Status
from idhand.refinement.config import RefinementConfig
from idhand.refinement.objective import Objective
from idhand.refinement.problem import Linearisation, Observations, State

STATUS_NAMES: tuple[Status, ...] = get_args(Status)
CONVERGED, MAX_ITERATIONS, DIVERGED, STALLED, ASTRAY = range(len(STATUS_NAMES))

STALLED_ABOVE = 10.0
"""A hand that stopped has stalled if an undamped step promises more than this many tolerances. On
the demo pictures, with the network and without, all 32 fits ended below 0.3."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Where the solver stopped."""

    state: State
    cost: Float[Tensor, " batch"]
    status: Int[Tensor, " batch"]
    """Index into `STATUS_NAMES`."""
    iterations: int
    hessian: Float[Tensor, "batch unknowns unknowns"]
    """At the solution: its inverse is the posterior covariance (Laplace approximation)."""


def solve(
    objective: Objective,
    seen: Observations,
    start: State,
    config: RefinementConfig,
    *,
    shape: bool,
) -> Solution:
    """Minimise the objective for every hand of a batch by itself.

    Args:
        objective: The cost.
        seen: The observations of each hand.
        start: See `closed_form_start`.
        config: Method and its settings.
        shape: Estimate the betas under their prior; otherwise they stay as they are.
    """
    if config.method == "adam":
        return _adam(objective, seen, start, config, shape=shape)
    return _levenberg_marquardt(objective, seen, start, config, shape=shape)


def _levenberg_marquardt(
    objective: Objective, seen: Observations, state: State, config: RefinementConfig, *, shape: bool
) -> Solution:
    """Marquardt's scaled damping, each hand with its own; finished hands leave the batch.

    Source: Madsen, Nielsen, Tingleff, "Methods for non-linear least squares problems", 2004, 3.2.
    """
    n = len(state.R)
    best = objective.linearise(state, seen, shape=shape)
    final_state, final = state, best
    active = torch.arange(n, device=best.cost.device)
    status = torch.full_like(active, MAX_ITERATIONS)
    damping = torch.full_like(best.cost, 1e-3)
    iterations = 0
    for iterations in range(1, config.max_iterations + 1):
        step, promised = damped_step(best, damping)
        trial_state = objective.moved(state, step)
        trial = objective.linearise(trial_state, seen, shape=shape)
        gain = best.cost - trial.cost
        better = gain > 0
        state = trial_state.where(better, state)
        best = _select(better, trial, best)
        damping = torch.where(better, (damping / 5).clamp_min(1e-7), (damping * 8).clamp_max(1e8))
        small = promised < config.tolerance * (best.cost.abs() + 1e-3)
        done = (better & (gain < config.tolerance * (best.cost.abs() + 1e-3))) | small
        done = done | (damping > 1e7)
        if iterations == config.max_iterations or bool(done.any()):
            final_state = final_state.combined(state, partial(_put, active))
            final = _scatter(final, active, best)
            status[active[done]] = CONVERGED
            keep = ~done
            active, state, best = active[keep], state[keep], _take(best, keep)
            seen, damping = seen[keep], damping[keep]
            if len(active) == 0:
                break
    return Solution(
        state=final_state,
        cost=final.cost,
        status=_judged(status, final, config.tolerance),
        iterations=iterations,
        hessian=final.hessian,
    )


def _judged(
    status: Int[Tensor, " batch"], final: Linearisation, tolerance: float
) -> Int[Tensor, " batch"]:
    """How each hand ended: one that stopped where the slope still promises much has stalled."""
    _, promised = damped_step(final, torch.zeros_like(final.cost))
    flat = promised < STALLED_ABOVE * tolerance * (final.cost.abs() + 1e-3)
    stalled = (status == CONVERGED) & ~flat
    status = torch.where(stalled, torch.full_like(status, STALLED), status)
    return torch.where(final.cost.isfinite(), status, torch.full_like(status, DIVERGED))


def damped_step(
    model: Linearisation, damping: Float[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch unknowns"], Float[Tensor, " batch"]]:
    """The Levenberg–Marquardt step and the decrease of cost that the quadratic model promises."""
    diagonal = model.hessian.diagonal(dim1=-2, dim2=-1)
    H = model.hessian + torch.diag_embed(damping[:, None] * diagonal)
    factor, info = torch.linalg.cholesky_ex(H)
    if bool(info.any()):
        floor = diagonal.mean(-1, keepdim=True).clamp_min(1e-6)
        factor, _ = torch.linalg.cholesky_ex(H + torch.diag_embed(floor.expand_as(diagonal)))
    step = -torch.cholesky_solve(model.gradient[..., None], factor)[..., 0]
    promised = -0.5 * (step * model.gradient).sum(-1) + 0.5 * (
        damping[:, None] * diagonal * step.square()
    ).sum(-1)
    return step, promised


def _select(keep: Tensor, a: Linearisation, b: Linearisation) -> Linearisation:
    return Linearisation(
        cost=torch.where(keep, a.cost, b.cost),
        gradient=torch.where(keep[:, None], a.gradient, b.gradient),
        hessian=torch.where(keep[:, None, None], a.hessian, b.hessian),
    )


def _put(index: Tensor, whole: Tensor, part: Tensor) -> Tensor:
    return whole.index_copy(0, index, part)


def _take(x: Linearisation, keep: Tensor) -> Linearisation:
    return Linearisation(cost=x.cost[keep], gradient=x.gradient[keep], hessian=x.hessian[keep])


def _scatter(whole: Linearisation, index: Tensor, part: Linearisation) -> Linearisation:
    items = vars(whole).items()
    return Linearisation(**{k: v.index_copy(0, index, vars(part)[k]) for k, v in items})


def _adam(
    objective: Objective, seen: Observations, start: State, config: RefinementConfig, *, shape: bool
) -> Solution:
    """The published schedule on our objective; docs/method.md lists how it differs from theirs."""
    wrist = start.wrist.clone().requires_grad_(True)
    turn = torch.zeros_like(start.wrist).requires_grad_(True)
    angles = start.angles.clone().requires_grad_(True)
    betas = start.betas.clone().requires_grad_(shape)

    def state() -> State:
        R = rotation_from_vector(turn) @ start.R
        return State(R=R, wrist=wrist, angles=angles, betas=betas)

    pose = [wrist, turn, angles, *([betas] if shape else [])]
    stages = zip(([wrist], pose), config.adam_steps, config.adam_rates, strict=True)
    for unknowns, steps, rate in stages:
        optimiser = torch.optim.Adam(unknowns, lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            objective.cost(state(), seen).sum().backward()
            optimiser.step()
    with torch.no_grad():
        now = state()
        end = State(R=now.R, wrist=wrist.detach(), angles=angles.detach(), betas=betas.detach())
        final = objective.linearise(end, seen, shape=shape)
    status = final.cost.new_full(final.cost.shape, MAX_ITERATIONS, dtype=torch.long)
    status = torch.where(final.cost.isfinite(), status, torch.full_like(status, DIVERGED))
    return Solution(
        state=end,
        cost=final.cost,
        status=status,
        iterations=sum(config.adam_steps),
        hessian=final.hessian,
    )
