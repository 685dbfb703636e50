"""Many photos of one person → one hand shape with a calibrated covariance.

One shape and one set of landmark biases are shared by all photos, a pose belongs to each; all are
solved together (the poses eliminated by a Schur complement). A landmark
that the net misplaces on this person is misplaced in every photo: this is the bias, and because it
is an unknown with a prior of its own, more photos do not average it away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import HAND_LENGTH, FittableHand, ShapePrior
from idhand.identity import Identity, PhotoUse
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    Trust,
    closed_form_start,
    network_noise,
    solve,
)
from idhand.refinement.photo_noise import PhotoNoise
from idhand.refinement.problem import Linearisation, check_settings
from idhand.refinement.robust import redescending


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How photos of one person are fused."""

    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    trust: Trust = field(default_factory=Trust)
    """Of photos with a network's estimate; used before, by the pipeline."""
    max_iterations: int = 30
    tolerance: float = 1e-5
    """Converged once the cost falls by less than this share."""
    reweightings: int = 4
    """Rounds of weighing the photos by how well they agree."""
    disagreement: float = 2.0
    """A photo has half its weight if the common shape costs this many times the usual on it."""
    usual_cost: float = 2.0
    """Lower bound of the usual cost: a photo's own shape always fits a little better."""
    poor_fit: float = 3.0
    """A pose is doubtful if its own best fit costs this many times the median photo's."""
    drop_below: float = 0.15
    """Photos with less weight than this are dropped."""
    noise: PhotoNoise | None = None
    """Measured errors of a photo's points; None: independent errors of the objective's size."""
    network: "CalibrationConfig | None" = None
    """How the network's own points are fitted first, if it marks any; what comes out is the prior
    of the fit to landmarks. None: both nets' points are one, see `trust`."""

    def __post_init__(self):
        positive = ("tolerance", "disagreement", "usual_cost", "poor_fit")
        not_negative = ("max_iterations", "reweightings", "drop_below")
        check_settings(self, positive=positive, not_negative=not_negative)
        if self.drop_below > 1:
            raise ValueError(f"drop_below must be 1 or less, as weights are; got {self.drop_below}")


def calibration_with_network() -> CalibrationConfig:
    """How photos are fused where a network estimates each one's pose and shape.

    The network's shapes are fused first and are the prior of the fit to the landmarks, whose errors
    and their correlations were measured on real and on rendered people (tools/build_noise.py). A
    photo's are taken fourfold: by how much tells students 0 to 69 apart without making the
    studio's validation people worse than the shapes alone. The network's own points take no part:
    on renders they help, on people who were not learned from they make it worse
    (docs/results.md).
    """
    return CalibrationConfig(
        trust=Trust(points="landmarks", directions="landmarks"),
        noise=PhotoNoise.shipped("landmarks").inflated(photo=4.0, bias=1.0),
    )


def calibration_with_both_nets() -> CalibrationConfig:
    """As `calibration_with_network`, but the network's own points are fitted before the landmarks.

    For networks whose points real photos confirm.
    """
    keypoints = PhotoNoise.shipped("network").inflated(photo=2.0, bias=2.0)
    first = CalibrationConfig(objective=network_noise(), noise=keypoints)
    return replace(calibration_with_network(), network=first)


MIN_HAND_LENGTH_M, MAX_HAND_LENGTH_M = 0.08, 0.3
"""From children of two years (about 100 mm, with a fifth to spare) to the longest adult hands (the
tallest living man's: 285 mm)."""
FULL_WEIGHT = 0.7
"""Photos that count less than this get a reason."""
SURPRISING_SD = 3.0
"""A length this many standard deviations from what is expected is spoken of."""


class RareHandWarning(UserWarning):
    """A ruler's reading that hardly any hand has."""


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """A hand length from a ruler, metres.

    Raises:
        ValueError: If no person's hand is so long, or the deviation is not positive.
    """

    hand_length: float
    """Distal wrist crease to the tip of the middle finger, hand flat."""
    sigma: float = 0.002
    """Standard deviation of the reading."""

    def __post_init__(self):
        low_mm, high_mm = 1e3 * MIN_HAND_LENGTH_M, 1e3 * MAX_HAND_LENGTH_M
        if not MIN_HAND_LENGTH_M <= self.hand_length <= MAX_HAND_LENGTH_M:
            raise ValueError(
                f"a hand length of {1e3 * self.hand_length:g} mm cannot be; from the wrist crease "
                f"to the tip of the middle finger hands are {low_mm:g} to {high_mm:g} mm long, "
                "most adults' 150 to 230; check the number and that it is in millimetres"
            )
        if not 0 < self.sigma < 0.1:
            raise ValueError(
                "the standard deviation of the hand length must be more than 0 and less than "
                f"100 mm, got {1e3 * self.sigma:g} mm"
            )

    @staticmethod
    def from_mm(hand_length_mm: float | None, sigma_mm: float = 2.0) -> "Anchor | None":
        """Of a reading in millimetres, if there is one; the deviation is checked in any case.

        Raises:
            ValueError: As the class.
        """
        if hand_length_mm is None:
            Anchor(hand_length=MAX_HAND_LENGTH_M, sigma=sigma_mm / 1e3)
            return None
        return Anchor(hand_length=hand_length_mm / 1e3, sigma=sigma_mm / 1e3)

    def surprise(self, model: FittableHand, prior: ShapePrior) -> tuple[float, float, float]:
        """How far the reading is from what is expected of an unknown person.

        Returns:
            The distance in standard deviations (of people and of the reading together), and the
            expected length with its standard deviation among people, metres.
        """
        at = model.measures.names.index(HAND_LENGTH)
        expected = float(model.measures.lengths(prior.mean)[at])
        slope = model.measures.derivatives(prior.mean)[at]
        spread = float((slope @ prior.covariance @ slope).sqrt())
        off = abs(self.hand_length - expected) / (spread**2 + self.sigma**2) ** 0.5
        return off, expected, spread


def surprise_at(
    anchor: Anchor, model: FittableHand, prior: ShapePrior, person: Identity
) -> str | None:
    """A sentence if hands of the ruler's length are very rare under the prior, else None.

    Args:
        anchor: The reading.
        model: Of the person's betas.
        prior: Under which the person was fitted.
        person: What came out.
    """
    off, expected, spread = anchor.surprise(model, prior)
    if off <= SURPRISING_SD:
        return None
    found = person.measurements[HAND_LENGTH]
    return (
        f"a hand length of {1e3 * anchor.hand_length:g} mm is {off:.1f} standard deviations from "
        f"the mean of people's hands ({1e3 * expected:.0f} ± {1e3 * spread:.0f} mm); the profile "
        f"has {found.value_mm:.0f} mm ({found.low_mm:.0f} to {found.high_mm:.0f}). Check the "
        "reading: wrist crease to the tip of the middle finger, hand flat, in millimetres"
    )


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

    def reason(self, photo: int) -> str:
        """Why a photo has a reduced weight; empty if it has not."""
        if float(self.weights[photo]) >= FULL_WEIGHT:
            return ""
        fit, odd = float(self.fit[photo]), float(self.disagreement[photo])
        if fit > odd:
            return f"doubtful pose (fits {fit:.1f} times worse than usual)"
        return f"another shape than the other photos ({odd:.1f} times the usual disagreement)"


def calibrate_shape(
    model: FittableHand,
    seen: Observations,
    prior: ShapePrior | None = None,
    anchor: Anchor | None = None,
    config: CalibrationConfig | None = None,
    start: State | None = None,
) -> Calibration:
    """Estimate one shape from photos of one hand.

    Args:
        model: Float64.
        seen: Of each photo.
        prior: Of the person's shape; the model's if None.
        anchor: Hand length by ruler, if known.
        config: Robustness and iterations.
        start: Of each photo, such as a network estimates it; None: the closed form.
    """
    config = config or CalibrationConfig()
    objective = Objective(
        model=model,
        config=config.objective,
        prior=prior or model.prior,
    )
    n = len(seen.K)
    if start is None:
        start = closed_form_start(objective, seen, objective.prior.mean.expand(n, -1))
    refinement = RefinementConfig(objective=config.objective)
    own = solve(objective, seen, start, refinement, shape=True)
    own_cost = _photo_cost(objective, own.state, seen)
    fit = own_cost / own_cost.median().clamp_min(1e-9)
    states = _share(own.state, own.state.betas.median(0).values)
    problem = _Problem(objective=objective, anchor=anchor, config=config)
    states, weights, disagreement, iterations = _reweighted(problem, states, seen, own_cost, fit)
    if config.noise is not None:
        states = problem.stepped(states, seen, weights)
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


def photo_uses(photos: Sequence[object | str], fused: Calibration) -> tuple[PhotoUse, ...]:
    """Each photo's weight, and the reason if it is small.

    Args:
        photos: For each photo its hand, or why it has none.
        fused: From the hands, in their order.
    """
    uses: list[PhotoUse] = []
    used = 0
    for photo in photos:
        if isinstance(photo, str):
            uses.append(PhotoUse(weight=0.0, reason=photo))
        else:
            uses.append(PhotoUse(weight=float(fused.weights[used]), reason=fused.reason(used)))
            used += 1
    return tuple(uses)


def _reweighted(
    problem: "_Problem",
    states: State,
    seen: Observations,
    own_cost: Float[Tensor, " photos"],
    fit: Float[Tensor, " photos"],
) -> tuple[State, Float[Tensor, " photos"], Float[Tensor, " photos"], int]:
    """Solve for the common shape and weigh the photos by how well it suits them, in turn.

    Args:
        problem: The joint fit.
        states: To start from.
        seen: Of each photo.
        own_cost: Of each photo's own best fit.
        fit: The same over the median photo's.

    Returns:
        The states, each photo's weight and disagreement, and the iterations.
    """
    config, iterations = problem.config, 0
    weights, disagreement = redescending(fit / config.poor_fit), torch.zeros_like(fit)
    for _ in range(config.reweightings):
        states, steps = problem.solve(states, seen, weights)
        iterations += steps
        excess = (_photo_cost(problem.objective, states, seen) - own_cost).clamp_min(0)
        usual = _weighted_median(excess, weights).clamp_min(config.usual_cost)
        disagreement = excess / usual
        new = redescending(fit / config.poor_fit) * redescending(disagreement / config.disagreement)
        new = torch.where(new < config.drop_below, torch.zeros_like(new), new)
        if not bool((new > 0).any()):
            break  # none agrees with any other, so there is no reason to prefer one
        settled = float((new - weights).abs().max()) < 0.02
        weights = new
        if settled:
            break
    return states, weights, disagreement, iterations


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
    """Cost of each photo's observations and pose prior, without the shared priors."""
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

    def stepped(self, states: State, seen: Observations, weights: Tensor) -> State:
        """One Gauss–Newton step under the noise as it was measured, outliers as they are now."""
        parts, shared = self._parts(self._measured(states, seen), states, weights)
        return self._moved(states, *self._step(parts, shared, 0.0))

    def covariance(self, states: State, seen: Observations, weights: Tensor) -> Tensor:
        """Posterior covariance of betas and bias, poses marginalised (Laplace approximation)."""
        parts, shared = self._parts(self._measured(states, seen), states, weights)
        H, _ = self._reduced(parts, shared, 0.0)
        return torch.linalg.inv(H)

    def _measured(self, states: State, seen: Observations) -> Linearisation:
        """Of each photo without what is shared, under the measured noise if there is one."""
        objective = _unshared(self.objective)
        if self.config.noise is None:
            return objective.linearise(states, seen, shape=True, bias=True)
        return self.config.noise.linearise(objective, states, seen)

    def _linearise(self, states: State, seen: Observations, weights: Tensor):
        photos = _unshared(self.objective).linearise(states, seen, shape=True, bias=True)
        parts, shared = self._parts(photos, states, weights)
        cost = float((weights.clamp_min(1e-6) * photos.cost).sum() + self._shared_terms(states)[2])
        return cost, parts, shared

    def _parts(self, photos: Linearisation, states: State, weights: Tensor):
        """Gradient, Hessian and cross terms of the poses; gradient and Hessian of the shared."""
        pose = 6 + states.angles.shape[-1]
        weights = weights.clamp_min(1e-6)
        g, H = photos.gradient * weights[:, None], photos.hessian * weights[:, None, None]
        shared_g, shared_H, _ = self._shared_terms(states)
        parts = (g[:, :pose], H[:, :pose, :pose], H[:, :pose, pose:])
        return parts, (g[:, pose:].sum(0) + shared_g, H[:, pose:, pose:].sum(0) + shared_H)

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
