"""Intervals by bootstrap over people: pictures of one person are not independent, people are.

A picture of an unknown person is drawn by itself. Intervals over
pictures are too narrow if pictures share people, so tables name what they are over (`drawn_over`).

Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, ch. 13 (percentiles); with
whole people drawn, as is usual for clustered data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES, LEVEL = 2000, 0.95
MANY = 2000
"""Of more clusters than this, places are drawn one resample after another, to save memory."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and the interval that holds the truth in 95 of 100 cases."""

    estimate: float
    """NaN if there is nothing to estimate it from."""
    low: float
    """NaN, as `high`, if there are fewer than two people (or, of unknown people, pictures): nothing
    is known of the scatter."""
    high: float

    @property
    def is_bounded(self) -> bool:
        """Whether there is an interval, not an estimate alone."""
        return not math.isnan(self.low)


def clusters(subjects: Sequence[str]) -> list[str]:
    """What is drawn together: the person, or the picture by itself where that is unknown."""
    return [subject or f"\0{place}" for place, subject in enumerate(subjects)]


def drawn_over(subjects: Sequence[str]) -> str:
    """What intervals on these pictures are over, for a table's title."""
    num_unknown = sum(not subject for subject in subjects)
    if not num_unknown:
        return "people"
    if num_unknown == len(subjects):
        return "pictures"
    return f"people, and over {num_unknown:,} pictures of unknown people"


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
        subjects: Whose picture each is; people are drawn, not pictures. Pictures whose subject is
            empty, for unknown, are drawn by themselves.
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
    assert len(values) == len(others) == len(subjects), "one value and one subject per picture"
    both = ~(np.isnan(values) | np.isnan(others))
    names = np.asarray(clusters(subjects), dtype=str)
    people, group = np.unique(names[both], return_inverse=True)
    if not len(people):
        return Interval(estimate=math.nan, low=math.nan, high=math.nan)
    sums = np.bincount(group, values[both]), np.bincount(group, others[both])
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = float(sums[0].sum() / sums[1].sum())
        if len(people) < 2:
            return Interval(estimate=estimate, low=math.nan, high=math.nan)
        first, second = _resampled(sums, rng, resamples)
        rates = first / second
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high))


def _resampled(
    sums: tuple[Float[np.ndarray, " clusters"], Float[np.ndarray, " clusters"]],
    rng: np.random.Generator,
    resamples: int,
) -> Float[np.ndarray, "2 resamples"]:
    """Totals of as many clusters as there are, drawn with replacement."""
    both = np.stack(sums)
    num = both.shape[1]
    if num <= MANY:
        counts = rng.multinomial(num, np.full(num, 1 / num), resamples)
        return np.stack([counts @ row for row in both])
    return np.stack([both[:, rng.integers(num, size=num)].sum(1) for _ in range(resamples)], 1)
