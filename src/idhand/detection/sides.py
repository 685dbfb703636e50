"""Left or right: the sides of several hands in one image, decided together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float

Side = Literal["left", "right"]


@dataclass(frozen=True, kw_only=True)
class SideConfig:
    """What is known of the sides of two hands before looking at them."""

    same_side: float = 0.2
    """Probability that two hands which could be one person's are of the same side, so of two
    people; above 0, at most 0.5, which means that nothing is known. An assumption: of two right
    hands, the less sure one becomes a left hand where its probability is below 1 - same_side. The
    landmark net gives 99 % of the hands that it reads rightly more than 0.8 (sign digits)."""
    reach: float = 10.0
    """Hands farther apart than this are of two people; distance of the centres over the size of the
    larger hand. The span of the arms is some nine hand lengths (ANSUR II), and a flat hand's size
    is a little below its length."""
    size_ratio: float = 3.0
    """Hands of which one looks this many times larger are of two people. An assumption: one hand
    at arm's length from the camera (0.6 m), the other near it (0.2 m)."""

    def __post_init__(self):
        if not 0 < self.same_side <= 0.5:
            raise ValueError(f"same_side must be above 0 and at most 0.5, got {self.same_side}")
        if not self.reach > 0:
            raise ValueError(f"reach must be positive, got {self.reach}")
        if not self.size_ratio >= 1:
            raise ValueError(f"size_ratio must be at least 1, got {self.size_ratio}")


def decide_sides(
    right: Sequence[float],
    centers_px: Float[np.ndarray, "hands 2"],
    sizes_px: Float[np.ndarray, " hands"],
    *,
    known: Sequence[bool | None] | None = None,
    config: SideConfig | None = None,
) -> list[bool]:
    """Which of an image's hands are right ones, most probably.

    Hands are taken in pairs that could be one person's: each hand is the other's nearest. A pair
    has the sides of the largest posterior, whose prior is `same_side`; a hand without a partner has
    the more probable one of its own.

    Args:
        right: Each hand's own probability of being a right one, 0..1.
        centers_px: Centres of the hands in the image.
        sizes_px: Sizes of the hands in the image.
        known: Sides that are known beforehand (right: true); None where unknown.
        config: The prior.
    """
    config = config or SideConfig()
    fixed = list(known) if known is not None else [None] * len(right)
    sides = [p > 0.5 if side is None else side for p, side in zip(right, fixed, strict=True)]
    for i, j in person_pairs(centers_px, sizes_px, config):
        best = most_probable_sides((right[i], right[j]), (fixed[i], fixed[j]), config.same_side)
        sides[i], sides[j] = best
    return sides


def most_probable_sides(
    right: tuple[float, float], known: tuple[bool | None, bool | None], same_side: float
) -> tuple[bool, bool]:
    """The sides of two hands, P(sides) ∝ p(first) p(second) × the prior; ties keep the own ones.

    Args:
        right: Each hand's own probability of being a right one.
        known: Sides that are known beforehand; None where unknown.
        same_side: Prior probability that both are of one side.
    """
    own = tuple(p > 0.5 for p in right)
    best, most = (own[0], own[1]), 0.0
    for first, second in ((own[0], own[1]), *product((False, True), repeat=2)):
        weight = same_side if first == second else 1 - same_side
        for p, side, fixed in zip(right, (first, second), known, strict=True):
            weight *= (p if side else 1 - p) if fixed is None else float(side == fixed)
        if weight > most:
            best, most = (first, second), weight
    return best


def person_pairs(
    centers_px: Float[np.ndarray, "hands 2"],
    sizes_px: Float[np.ndarray, " hands"],
    config: SideConfig,
) -> list[tuple[int, int]]:
    """Hands that are each other's nearest and could be one person's."""
    count = len(sizes_px)
    larger = np.maximum(sizes_px[:, None], sizes_px)
    smaller = np.minimum(sizes_px[:, None], sizes_px)
    apart = np.linalg.norm(centers_px[:, None] - centers_px, axis=2) / larger
    apart[(apart > config.reach) | (larger > config.size_ratio * smaller)] = np.inf
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(1) if count > 1 else np.zeros(count, int)
    return [
        (i, int(j))
        for i, j in enumerate(nearest)
        if i < j and nearest[j] == i and np.isfinite(apart[i, j])
    ]


def checked_sides(sides: object, count: int) -> list[bool | None]:
    """Sides as `is_right`, one per hand; None where unknown.

    Args:
        sides: Of all hands, or one per hand.
        count: How many hands there are.

    Raises:
        ValueError: If a side is neither left nor right, or their number is another.
    """
    if sides is None or isinstance(sides, str):
        return [checked_side(sides)] * count
    if not isinstance(sides, Sequence):
        raise ValueError(f'sides must be "left", "right" or a list of them, got {sides!r}')
    if len(sides) != count:
        raise ValueError(f"sides is a list of {len(sides)}, but there are {count} hands or boxes")
    return [checked_side(side) for side in sides]


def checked_side(side: object) -> bool | None:
    """A side as `is_right`; None if unknown.

    Raises:
        ValueError: If it is neither left nor right.
    """
    if side not in ("left", "right", None):
        raise ValueError(
            f'the side of a hand must be "left" or "right", got {side!r}; a list of sides needs '
            "boxes or hands that are followed, so that it is clear which is whose"
        )
    return None if side is None else side == "right"
