"""Many photos of one person → one hand shape with an honest covariance.

One shape and one set of landmark biases are shared by all photos, a pose belongs to each; all are
solved together (the poses eliminated by a Schur complement). What the landmark net marks wrongly
on this person it marks wrongly in every photo: that is the bias, and since it is an unknown with
a prior of its own, more photos do not average it away.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import HAND_LENGTH, FittableHand, ShapePrior
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    closed_form_start,
    solve,
)


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How photos of one person are fused."""

    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    max_iterations: int = 30
    tolerance: float = 1e-5
    """Converged once the cost falls by less than this share."""
    reweightings: int = 4
    """Rounds of weighing the photos by how well they agree."""
    disagreement: float = 2.0
    """A photo counts half once forcing the common shape on it costs this many times the usual."""
    usual_cost: float = 2.0
    """Least cost that counts as usual: a shape of one's own always fits a little better."""
    poor_fit: float = 3.0
    """A pose is doubtful once its own best fit costs this many times the median photo's."""
    drop_below: float = 0.15
    """Photos with less weight than this are dropped."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A hand length from a ruler, metres."""

    hand_length: float
    sigma: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The fused shape and what each photo contributed."""

    betas: Float[Tensor, " betas"]
    covariance: Float[Tensor, "betas betas"]
    bias: Float[Tensor, "21 3"]
    """Of the landmark points on a mean-sized hand at rest, metres."""
    bias_covariance: Float[Tensor, "63 63"]
    weights: Float[Tensor, " photos"]
    disagreement: Float[Tensor, " photos"]
    """Cost of the common shape over the photo's own, in units of the usual."""
    fit: Float[Tensor, " photos"]
    """Cost of the photo's own best fit over the median photo's."""
    fit_cost: Float[Tensor, " photos"]
    """Cost of each photo under the common shape, without the shared priors."""
    states: State
    iterations: int


def calibrate_shape(
    model: FittableHand,
    seen: Observations,
    world: Float[Tensor, "photos 21 3"],
    prior: ShapePrior | None = None,
    anchor: Anchor | None = None,
    config: CalibrationConfig | None = None,
    start: State | None = None,
) -> Calibration:
    """Estimate one shape from photos of one hand.

    Args:
        model: Float64.
        seen: Evidence of each photo.
        world: The net's world points, for the closed-form start.
        prior: Of the person's shape; the model's if None.
        anchor: Hand length by ruler, if known.
        config: Robustness and iterations.
        start: Of each photo, such as a network says it; None: the closed form.
    """
    config = config or CalibrationConfig()
    objective = Objective(
        model=model,
        config=config.objective,
        prior=prior or model.prior,
    )
    n = len(world)
    if start is None:
        start = closed_form_start(objective, seen, world, objective.prior.mean.expand(n, -1))
    refinement = RefinementConfig(objective=config.objective)
    own = solve(objective, seen, start, refinement, shape=True)
    own_cost = _photo_cost(objective, own.state, seen)
    fit = own_cost / own_cost.median().clamp_min(1e-9)
    weights = _falloff(fit / config.poor_fit)
    states = _share(own.state, own.state.betas.median(0).values)
    disagreement = torch.zeros_like(weights)
    iterations = 0
    problem = _Problem(objective=objective, anchor=anchor, config=config)
    for _ in range(config.reweightings):
        states, steps = problem.solve(states, seen, weights)
        iterations += steps
        excess = (_photo_cost(objective, states, seen) - own_cost).clamp_min(0)
        usual = _weighted_median(excess, weights).clamp_min(config.usual_cost)
        disagreement = excess / usual
        new = _falloff(fit / config.poor_fit) * _falloff(disagreement / config.disagreement)
        new = torch.where(new < config.drop_below, torch.zeros_like(new), new)
        if not bool((new > 0).any()):
            break  # none agrees with any other: nothing tells which one to trust
        settled = float((new - weights).abs().max()) < 0.02
        weights = new
        if settled:
            break
    covariance = problem.covariance(states, seen, weights)
    n = model.num_betas
    assert states.bias is not None
    return Calibration(
        betas=states.betas[0],
        covariance=covariance[:n, :n],
        bias=states.bias[0],
        bias_covariance=covariance[n:, n:],
        weights=weights,
        disagreement=disagreement,
        fit=fit,
        fit_cost=_photo_cost(objective, states, seen),
        states=states,
        iterations=iterations,
    )


def _falloff(ratio: Float[Tensor, " photos"]) -> Float[Tensor, " photos"]:
    """1 for small ratios, one half at 1, falling with the fourth power (redescending)."""
    return 1 / (1 + ratio**4)


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    order = values.argsort()
    half = weights.sum() / 2
    at = int((weights[order].cumsum(0) < half).sum().clamp_max(len(values) - 1))
    return values[order[at]]


def _share(states: State, betas: Tensor) -> State:
    n = len(states.R)
    bias = betas.new_zeros(n, 21, 3)
    return replace(states, betas=betas.expand(n, -1).clone(), bias=bias)


def _photo_cost(objective: Objective, states: State, seen: Observations) -> Tensor:
    """What a photo says against its state: evidence and pose prior, without the shared priors."""
    return _unshared(objective).cost(states, seen)


def _unshared(objective: Objective) -> Objective:
    """The objective without the priors of what the photos share."""
    return replace(objective, shared_priors=False)


@dataclass(frozen=True, kw_only=True)
class _Problem:
    """The joint problem: shared unknowns (betas, bias) first eliminated from, then solved for."""

    objective: Objective
    anchor: Anchor | None
    config: CalibrationConfig

    def solve(self, states: State, seen: Observations, weights: Tensor) -> tuple[State, int]:
        """Levenberg–Marquardt on all photos at once; the poses of unused photos follow too."""
        damping = 1e-4
        cost, parts, shared = self._linearise(states, seen, weights)
        for iteration in range(1, self.config.max_iterations + 1):
            step, shared_step = self._step(parts, shared, damping)
            trial = self._moved(states, step, shared_step)
            trial_cost, trial_parts, trial_shared = self._linearise(trial, seen, weights)
            gain = cost - trial_cost
            if gain > 0:
                states, cost, parts, shared = trial, trial_cost, trial_parts, trial_shared
                damping = max(damping / 5, 1e-8)
                if gain < self.config.tolerance * abs(cost):
                    return states, iteration
            else:
                damping *= 8
                if damping > 1e6:
                    return states, iteration
        return states, self.config.max_iterations

    def covariance(self, states: State, seen: Observations, weights: Tensor) -> Tensor:
        """Posterior covariance of betas and bias, poses marginalised (Laplace approximation)."""
        _, parts, shared = self._linearise(states, seen, weights)
        H, _ = self._reduced(parts, shared, 0.0)
        return torch.linalg.inv(H)

    def _linearise(self, states: State, seen: Observations, weights: Tensor):
        photos = _unshared(self.objective).linearise(states, seen, shape=True, bias=True)
        pose = 6 + states.angles.shape[-1]
        weights = weights.clamp_min(1e-6)
        g, H = photos.gradient * weights[:, None], photos.hessian * weights[:, None, None]
        shared_g, shared_H, shared_cost = self._shared_terms(states)
        parts = (g[:, :pose], H[:, :pose, :pose], H[:, :pose, pose:])
        shared = (g[:, pose:].sum(0) + shared_g, H[:, pose:, pose:].sum(0) + shared_H)
        return float((weights * photos.cost).sum() + shared_cost), parts, shared

    def _shared_terms(self, states: State) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient, Hessian and cost of the shared priors and the anchor."""
        o = self.objective
        assert states.bias is not None
        off, slope = (x[0] for x in o.shape_residual(states.betas[:1]))
        bias = states.bias[0].flatten()
        weighted = slope.mT @ o.shape_precision
        g = torch.cat((weighted @ off, o.bias_precision @ bias))
        H = torch.block_diag(weighted @ slope, o.bias_precision)
        cost = 0.5 * (off @ o.shape_precision @ off + bias @ o.bias_precision @ bias)
        if self.anchor is not None:
            measures = o.model.measures
            at = measures.names.index(HAND_LENGTH)
            residual = measures.lengths(states.betas[0])[at] - self.anchor.hand_length
            residual = residual / self.anchor.sigma
            J = torch.zeros_like(g)
            J[: len(off)] = measures.derivatives(states.betas[0])[at] / self.anchor.sigma
            g, H, cost = g + J * residual, H + J[:, None] * J, cost + 0.5 * residual**2
        return g, H, cost

    def _reduced(self, parts, shared, damping: float) -> tuple[Tensor, Tensor]:
        """Hessian and gradient of the shared unknowns once the poses are eliminated."""
        g, H, cross = parts
        shared_g, shared_H = shared
        H = H + torch.diag_embed(damping * H.diagonal(dim1=-2, dim2=-1))
        solved = torch.linalg.solve(H, torch.cat((cross, g[..., None]), -1))
        reduced_H = shared_H + damping * torch.diag(shared_H.diagonal())
        reduced_H = reduced_H - (cross.mT @ solved[..., :-1]).sum(0)
        reduced_g = shared_g - (cross.mT @ solved[..., -1:]).sum(0)[..., 0]
        return reduced_H, reduced_g

    def _step(self, parts, shared, damping: float) -> tuple[Tensor, Tensor]:
        reduced_H, reduced_g = self._reduced(parts, shared, damping)
        shared_step = -torch.linalg.solve(reduced_H, reduced_g)
        g, H, cross = parts
        H = H + torch.diag_embed(damping * H.diagonal(dim1=-2, dim2=-1))
        return -torch.linalg.solve(H, g + cross @ shared_step), shared_step

    def _moved(self, states: State, step: Tensor, shared_step: Tensor) -> State:
        return self.objective.moved(
            states, torch.cat((step, shared_step.expand(len(step), -1)), -1)
        )
