"""What small, correlated samples allow to say: intervals by groups, kernel inception distance.

A group is what is alike for another reason than the one asked about: the pictures of one person, or
one second of a clip. Whole groups are drawn again for the intervals, and a distribution is never
compared with itself through two pictures of one group.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

DRAWS = 2000
"""Bootstrap samples; the ends of a 95 % interval then move by about 2 % of its width."""
KID_DRAWS = 500
"""Of the kernel inception distance, of which only the deviation is told."""
SEED = 0
LEVEL = 0.95
"""Of all intervals."""
NORMAL_QUANTILE = 1.959964
"""Of (1 + LEVEL) / 2."""
KERNEL_DEGREE = 3
"""Source: Bińkowski et al., "Demystifying MMD GANs", ICLR 2018."""

Groups = np.ndarray
"""One label per value."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Estimate":
        """In another unit."""
        return Estimate(value=factor * self.value, low=factor * self.low, high=factor * self.high)

    def text(self, digits: int) -> str:
        """`1.23 [1.20, 1.26]`; a dash for what is not known."""
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def share(hits: np.ndarray) -> Estimate:
    """Share of hits with Wilson's interval, which does not shrink to nothing at 100 %.

    Takes the pictures as independent. Source: Wilson, JASA 22, 1927.
    """
    n = len(hits)
    if n == 0:
        return Estimate(value=np.nan, low=np.nan, high=np.nan)
    p, z2 = float(hits.mean()), NORMAL_QUANTILE**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_QUANTILE * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(value=p, low=max(middle - half, 0.0), high=min(middle + half, 1.0))


# ---------------------------------------------------------------- bootstrap by groups


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A statistic of one sample, and of the samples drawn again from it."""

    value: float
    draws: Float[np.ndarray, " draws"]

    @property
    def estimate(self) -> Estimate:
        """With the percentile interval."""
        return _interval(self.value, self.draws)

    def over(self, other: "Spread") -> Estimate:
        """Ratio to the same statistic of an independent sample."""
        # Both were drawn from one seed: turned round, draw i of the one knows nothing of the other.
        return _interval(self.value / other.value, self.draws / other.draws[::-1])


def _interval(value: float, draws: np.ndarray) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value=np.nan, low=np.nan, high=np.nan)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def _group_draws(
    groups: Groups, num_draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """How often each group is drawn (draws, groups), and the group of each value."""
    names, index = np.unique(groups, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), num_draws)
    return counts, index


def median(values: Float[np.ndarray, " n"], groups: Groups) -> Spread:
    """The median and its bootstrap by groups; where two values are the middle, the lower one."""
    if len(values) == 0:
        return Spread(value=np.nan, draws=np.full(DRAWS, np.nan))
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    counts, index = _group_draws(groups, DRAWS, np.random.default_rng(SEED))
    below = np.cumsum(counts[:, index[order]], axis=1)
    middle = np.argmax(2 * below >= below[:, -1:], axis=1)
    return Spread(value=float(ranked[(len(ranked) - 1) // 2]), draws=ranked[middle])


def mean(values: Float[np.ndarray, " n"], groups: Groups) -> Spread:
    """The mean and its bootstrap by groups."""
    if len(values) == 0:
        return Spread(value=np.nan, draws=np.full(DRAWS, np.nan))
    counts, index = _group_draws(groups, DRAWS, np.random.default_rng(SEED))
    weights = counts[:, index]
    return Spread(value=float(values.mean()), draws=(weights @ values) / weights.sum(1))


# ---------------------------------------------------------------- kernel inception distance


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Squared maximum mean discrepancy and its standard deviation."""

    value: float
    deviation: float

    def text(self) -> str:
        """In thousandths, as it is usually told."""
        return f"{1e3 * self.value:.1f} ± {1e3 * self.deviation:.1f}"


def polynomial_kernel(
    a: Float[np.ndarray, "n features"], b: Float[np.ndarray, "m features"]
) -> Float[np.ndarray, "n m"]:
    """(⟨a, b⟩ / features + 1)³."""
    return (a.astype(np.float64) @ b.T.astype(np.float64) / a.shape[1] + 1) ** KERNEL_DEGREE


def kernel_distance(
    a: Float[np.ndarray, "n features"],
    b: Float[np.ndarray, "m features"],
    groups_a: Groups,
    groups_b: Groups,
) -> Distance:
    """Kernel inception distance: unbiased MMD² between two sets of features.

    With one picture per group this is the usual estimator on the whole sets. The deviation is that
    of whole groups drawn again.

    Raises:
        ValueError: If a set has fewer than two groups.
    """
    within_a = _group_sums(a, a, groups_a, groups_a)
    within_b = _group_sums(b, b, groups_b, groups_b)
    across = _group_sums(a, b, groups_a, groups_b)
    for sums, pairs in (within_a, within_b):
        if len(sums) < 2:
            raise ValueError("a kernel distance needs pictures of at least two groups in each set")
        np.fill_diagonal(sums, 0)
        np.fill_diagonal(pairs, 0)
    rng = np.random.default_rng(SEED)
    sides = [np.unique(groups).size for groups in (groups_a, groups_b)]
    u, v = (
        np.concatenate((np.ones((1, n)), rng.multinomial(n, np.full(n, 1 / n), KID_DRAWS)))
        for n in sides
    )
    values = (
        _weighted_mean(within_a, u, u)
        + _weighted_mean(within_b, v, v)
        - 2 * _weighted_mean(across, u, v)
    )
    drawn = values[1:][np.isfinite(values[1:])]
    return Distance(value=float(values[0]), deviation=float(drawn.std()))


def _group_sums(
    a: np.ndarray, b: np.ndarray, groups_a: Groups, groups_b: Groups
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the kernel over the pairs of each two groups, and the number of these pairs."""
    member = []
    for groups in (groups_a, groups_b):
        names, index = np.unique(groups, return_inverse=True)
        member.append(np.eye(len(names))[index])
    sums = member[0].T @ polynomial_kernel(a, b) @ member[1]
    return sums, np.outer(member[0].sum(0), member[1].sum(0))


def _weighted_mean(
    sums_pairs: tuple[np.ndarray, np.ndarray], u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Mean of the kernel for each draw of the groups; NaN where a draw holds a single group."""
    total, pairs = (np.einsum("dg,gh,dh->d", u, part, v, optimize=True) for part in sums_pairs)
    with np.errstate(invalid="ignore"):
        return total / pairs
