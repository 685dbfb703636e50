"""How far a predicted shape is from the true one, and whether its stated intervals hold. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.evaluation.metrics import MM_PER_M
from idhand.hand import FittableHand
from idhand.identity import Z95


def rest_errors_mm(
    model: FittableHand, betas: Float[Tensor, "batch betas"], truth: Float[Tensor, "batch betas"]
) -> Float[Tensor, " batch"]:
    """Mean distance of the vertices at rest, wrist on wrist: what the shape alone does wrong."""
    ours, theirs = model.with_shape(betas), model.with_shape(truth)
    moved = ours.rest_verts - ours.rest_joints[:, :1] + theirs.rest_joints[:, :1]
    return MM_PER_M * (moved - theirs.rest_verts).norm(dim=-1).mean(1)


def measure_errors_mm(
    model: FittableHand, betas: Float[Tensor, "batch betas"], truth: Float[Tensor, "batch betas"]
) -> Float[Tensor, "batch measures"]:
    """Signed errors of the model's measures; positive where the prediction is too long."""
    return MM_PER_M * (model.measures.lengths(betas) - model.measures.lengths(truth))


def measure_sigmas_mm(
    model: FittableHand,
    betas: Float[Tensor, "batch betas"],
    covariance: Float[Tensor, "batch betas betas"],
) -> Float[Tensor, "batch measures"]:
    """Standard deviation of each measure by first-order propagation of the betas' covariance."""
    return MM_PER_M * model.measures.deviations(betas, covariance)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How often the truth lay in the stated intervals."""

    pooled: float
    """Over everybody and every measure, 0..1."""
    per_measure: dict[str, float]
    num_intervals: int


def coverage(
    low: Float[np.ndarray, "people measures"],
    high: Float[np.ndarray, "people measures"],
    truth: Float[np.ndarray, "people measures"],
    names: Sequence[str],
) -> Coverage:
    """Coverage of intervals, in any unit; a value exactly on an end is covered.

    Where the truth is NaN there is nothing to cover.
    """
    return coverage_of((low <= truth) & (truth <= high), np.isfinite(truth), names)


def coverage_of(
    covered: Bool[np.ndarray, "people measures"],
    known: Bool[np.ndarray, "people measures"],
    names: Sequence[str],
) -> Coverage:
    """The same of what is already known to be covered or not."""
    counts, hits = known.sum(0), (covered & known).sum(0)
    rates = [
        hit / count if count else float("nan") for hit, count in zip(hits, counts, strict=True)
    ]
    total = int(counts.sum())
    return Coverage(
        pooled=float(hits.sum() / total) if total else float("nan"),
        per_measure={name: float(rate) for name, rate in zip(names, rates, strict=True)},
        num_intervals=total,
    )


def covered(
    errors_mm: Float[Tensor, "batch measures"], sigmas_mm: Float[Tensor, "batch measures"]
) -> Bool[Tensor, "batch measures"]:
    """Whether the 95 % intervals of a normal distribution hold the truth."""
    return errors_mm.abs() <= Z95 * sigmas_mm
