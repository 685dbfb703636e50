"""Errors and stated variances of people of known pose → how much larger true variances are.

Errors are taken for Student's, so that a few gross ones do not set the core's width; then the width
grows until intervals of one, two and three deviations hold what they should.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.refinement.deviations import (
    Cue,
    CueName,
    DeviationCalibration,
    Stated,
    Widening,
    on_mean_hand,
    relative_depth,
)

DEPTH_CUES: tuple[CueName, ...] = ("misfit", "hidden")
KEYPOINT_CUES: tuple[CueName, ...] = ("misfit", "hidden", "hidden_point")
WANTED: tuple[tuple[float, float], ...] = ((1.0, 0.683), (1.959964, 0.95), (3.0, 0.99))
"""Deviations, and the least share of errors within them."""
DEGREES = 5.0
"""Of freedom of Student's distribution."""
STEPS = 200
START_POWER = 0.1
RANGE = (0.01, 1.0)
"""Quantiles between which a cue counts."""
FEWEST = 200
"""Hands that a fit needs."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Absolute errors of one kind."""

    off: Float[Tensor, "batch points"]
    variance: Float[Tensor, "batch points"]
    """As stated, in the square of the errors' unit."""
    cues: dict[CueName, Float[Tensor, "batch points"]]

    def __post_init__(self):
        if len(self.off) < FEWEST:
            raise ValueError(
                f"{len(self.off)} hands are too few to fit deviations to; give {FEWEST} or more"
            )
        for name, values in {"off": self.off, "variance": self.variance, **self.cues}.items():
            if not bool((torch.isfinite(values) & (values >= 0)).all()):
                raise ValueError(f"{name} must be finite numbers of 0 or more")


def fitted_calibration(
    stated: Stated, depth_off_m: Float[Tensor, " batch"], keypoints_off_m: Float[Tensor, "batch 21"]
) -> DeviationCalibration:
    """A calibration by hands of known shape and pose.

    Args:
        stated: What the posterior states.
        depth_off_m: By how much wrists are too far or too near.
        keypoints_off_m: Distances of the keypoints about the wrist; the wrist's does not matter.

    Raises:
        ValueError: If there are too few, or some are not finite.
    """
    depth = Errors(
        off=(depth_off_m.abs() / stated.depth_m)[:, None],
        variance=relative_depth(stated)[:, None],
        cues={name: stated.cue(name) for name in DEPTH_CUES},
    )
    keypoints = Errors(
        off=(keypoints_off_m / stated.size[:, None])[:, 1:],
        variance=on_mean_hand(stated)[:, 1:],
        cues={name: stated.cue(name).expand(-1, 21)[:, 1:] for name in KEYPOINT_CUES},
    )
    return DeviationCalibration(depth=fitted(depth), keypoints=fitted(keypoints))


def fitted(errors: Errors) -> Widening:
    """The widening by which errors are as likely as can be, and covered as `WANTED`."""
    blank: dict[CueName, Cue] = {name: _cue(values) for name, values in errors.cues.items()}
    growths = [
        (values.clamp(blank[name].least, blank[name].most) / blank[name].usual).log()
        for name, values in errors.cues.items()
    ]
    grown = torch.stack([growth.expand_as(errors.off) for growth in growths], -1)
    usual = errors.off.median().clamp_min(1e-9)
    factor = usual / errors.variance.median().sqrt().clamp_min(1e-12)
    powers = errors.off.new_full((len(blank),), START_POWER)
    logs = torch.cat((torch.stack((factor, usual / 2)), powers)).log().requires_grad_(True)
    optimiser = torch.optim.LBFGS([logs], max_iter=STEPS, line_search_fn="strong_wolfe")

    def variance() -> Tensor:
        growth = torch.exp(2 * (grown @ logs[2:].exp()))
        return (2 * logs[0]).exp() * growth * errors.variance + (2 * logs[1]).exp()

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = _student(errors.off, variance())
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        wider = _missing(errors.off / variance().sqrt())
        factor, floor, *powers = logs.exp().tolist()
    cues: dict[CueName, Cue] = {
        name: replace(cue, power=round(power, 3))
        for (name, cue), power in zip(blank.items(), powers, strict=True)
    }
    return Widening(factor=_plain(wider * factor), floor=_plain(wider * floor), cues=cues)


def _cue(values: Float[Tensor, "batch points"]) -> Cue:
    """Range and median."""
    numbers = values.numpy()
    least, most = np.quantile(numbers, RANGE)
    usual = float(np.clip(np.median(numbers), least, most))
    return Cue(power=0.0, usual=_plain(usual), least=_plain(least), most=_plain(most))


def _student(off: Tensor, variance: Tensor) -> Tensor:
    """Negative logarithm of Student's density, up to a constant; the variance is of its core."""
    squared = off.square() / (DEGREES * variance)
    return (0.5 * variance.log() + 0.5 * (DEGREES + 1) * torch.log1p(squared)).mean()


def _missing(z: Float[Tensor, "batch points"]) -> float:
    """By how much deviations must grow, or may shrink, to hold what is wanted."""
    return max(float(np.quantile(z.numpy(), share)) / limit for limit, share in WANTED)


def _plain(value: float | np.floating) -> float:
    """Four significant digits: more than is known."""
    return float(f"{value:.4g}")


def covered(z: np.ndarray, limits: Sequence[float] = (1.0, 1.959964, 3.0)) -> tuple[float, ...]:
    """Shares of standardised errors within so many deviations."""
    return tuple(float((np.abs(z) <= limit).mean()) for limit in limits)
