"""Intervals by bootstrap over people: pictures of one person are not independent, people are.

Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, ch. 13 (percentiles); with
whole people drawn, as is usual for clustered data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and the interval that holds the truth in 95 of 100 cases."""

    estimate: float
    """NaN if there is nothing to estimate it from."""
    low: float
    """NaN, as `high`, if there are fewer than two people: nothing is known of the scatter."""
    high: float

    @property
    def is_bounded(self) -> bool:
        """Whether there is an interval, not an estimate alone."""
        return not math.isnan(self.low)


def mean_interval(
    values: Float[np.ndarray, " pictures"],
    subjects: Sequence[str],
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Of the mean over all pictures. NaN is undefined and left out.

    Args:
        values: One per picture.
        subjects: Whose picture each is; people are drawn, not pictures.
        rng: Equal states give equal intervals.
        resamples: How often as many people as there are are drawn, with replacement.
        level: Probability that the interval holds the truth; it is a little narrow for few
            people (with 10 about 0.90 instead of 0.95).
    """
    ones = np.where(np.isnan(values), np.nan, 1.0)
    return ratio_interval(values, ones, subjects, rng, resamples=resamples, level=level)


def difference_interval(
    values: Float[np.ndarray, " pictures"],
    others: Float[np.ndarray, " pictures"],
    subjects: Sequence[str],
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Of the mean of `values − others`, two methods on the same pictures."""
    gaps = values - others
    return mean_interval(gaps, subjects, rng, resamples=resamples, level=level)


def ratio_interval(
    values: Float[np.ndarray, " pictures"],
    others: Float[np.ndarray, " pictures"],
    subjects: Sequence[str],
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Of the mean of `values` divided by the mean of `others`, on pictures that have both.

    Infinite or NaN where the mean of `others` is zero.
    """
    assert len(values) == len(others) == len(subjects), "one value and one name per picture"
    both = ~(np.isnan(values) | np.isnan(others))
    people, group = np.unique(np.asarray(subjects, dtype=str)[both], return_inverse=True)
    if not len(people):
        return Interval(estimate=math.nan, low=math.nan, high=math.nan)
    sums = np.bincount(group, values[both]), np.bincount(group, others[both])
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = float(sums[0].sum() / sums[1].sum())
        if len(people) < 2:
            return Interval(estimate=estimate, low=math.nan, high=math.nan)
        drawn = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), resamples)
        rates = (drawn @ sums[0]) / (drawn @ sums[1])
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high))
