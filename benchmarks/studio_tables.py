"""The tables of studio_realism.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from studio_judge import (
    FOUND_WITHIN,
    MAX_COVERED,
    MIN_VISIBLE,
    NUM_POSE_FEATURES,
    NUM_SKIN_FEATURES,
    Readings,
    together,
)
from studio_statistics import Spread, kernel_distance, mean, median, share
from tables import section, table

FOUND_AIM, RATIO_AIM = 0.95, 1.3
"""Of the unoccluded hands; of the residual's medians, renders over real."""
MIN_HANDS = 50
"""A kernel distance of fewer hands says nothing."""
FEATURES = ("pose_features", "skin_features")
"""Columns of `Readings` that are compared."""


@dataclass(frozen=True, kw_only=True)
class Sets:
    """What the judge said of the pictures with truth, and of the real photos by source."""

    made: dict[str, Readings]
    real: dict[str, Readings]

    @property
    def pooled(self) -> Readings | None:
        """All real hands; None without any."""
        return together(self.real) if self.real else None


# ---------------------------------------------------------------- found


def found_table(sets: Sets) -> str:
    """Whether the hands are found, and called by their side."""
    rows = [_found_row(f"real: {name}", readings) for name, readings in sets.real.items()]
    for name, readings in sets.made.items():
        rows += [
            _found_row(f"{name}: unoccluded", readings[readings.unoccluded]),
            _found_row(f"{name}: under nothing else", readings[readings.uncovered]),
            _found_row(f"{name}: all", readings),
        ]
    text = (
        f"Unoccluded: {MIN_VISIBLE} of 21 keypoints visible, and at most {100 * MAX_COVERED:.0f} % "
        "of the hand under other things; under nothing else: it may hide its own keypoints. Found: "
        f"the landmarks lie within {FOUND_WITHIN} hand sizes of the keypoints on average (real "
        "photos have no truth: anything found counts, and in four of cam0's frames no hand is in "
        "the picture). Right side: of all hands. Wilson's intervals. Aim: "
        f"{100 * FOUND_AIM:.0f} % of the unoccluded ones."
    )
    head = ("hands", "n", "found %", "found by the right side %")
    return section("Is it found?", text, table(head, rows))


def _found_row(name: str, readings: Readings) -> tuple:
    known = ~np.isnan(readings.same_side) | ~readings.detected
    right = readings.found & (readings.same_side == 1)
    sides_known = known.all() and readings.detected.any()
    return (
        name,
        len(readings),
        share(readings.found).times(100).text(1),
        share(right).times(100).text(1) if sides_known else None,
    )


# ---------------------------------------------------------------- residual


def residual_table(sets: Sets) -> str:
    """How well the hand model fits the landmarks, against real photos."""
    every = [(f"real: {name}", readings) for name, readings in sets.real.items()]
    pooled = sets.pooled
    if pooled is not None:
        every.append(("real: all", pooled))
    for name, readings in sets.made.items():
        every.append((f"{name}: unoccluded", readings[readings.unoccluded]))
        every.append((f"{name}: all", readings))
    rows = []
    for name, readings in every:
        middle, average = residuals(readings)
        ratios = (None, None)
        if pooled is not None and not name.startswith("real"):
            reference = residuals(pooled)
            ratios = (middle.over(reference[0]).text(2), average.over(reference[1]).text(2))
        num = int(readings.detected.sum())
        rows.append((name, num, _percent(middle), _percent(average), *ratios))
    text = (
        "Root mean square distance of the fitted landmark points to the seen ones, % of the hand's "
        "length in the image, of every hand that anything was found of, each photo alone. Ratios "
        f"to all real hands; aim: at most {RATIO_AIM}."
    )
    head = ("hands", "n", "median", "mean", "ratio of medians", "ratio of means")
    return section("Does the hand model fit?", text, table(head, rows))


def residuals(readings: Readings) -> tuple[Spread, Spread]:
    """Median and mean of the residual, as a share of hand size."""
    seen = readings[readings.detected]
    return median(seen.residual, seen.group), mean(seen.residual, seen.group)


def _percent(spread: Spread) -> str:
    return spread.estimate.times(100).text(2)


# ---------------------------------------------------------------- truth


def truth_table(sets: Sets) -> str:
    """Errors against the exact truth."""
    rows = []
    for name, readings in sets.made.items():
        for kind, keep in (("unoccluded", readings.unoccluded), ("all", readings.detected)):
            part = readings[keep]
            rows.append((f"{name}: {kind}", int(part.found.sum()), *_errors(part)))
    text = (
        "Of the hands that were found. Landmarks: mean distance of 21 landmarks to the true points "
        "that the net marks, % of the true hand's length in the image; only for people with our "
        "own hand model. Aligned, to the wrist: mean error of the 21 keypoints of the fit in mm, "
        "each photo alone, after Procrustes with scale or relative to the wrist; of the hands "
        "found by their right side."
    )
    head = ("hands", "n", "landmarks: median", "mean", "aligned: median", "mean", "to the wrist")
    return section("How far from the truth?", text, table(head, rows))


def _errors(readings: Readings) -> tuple:
    cells = []
    for values, scale, digits, statistics in (
        (readings.landmark_error, 100, 2, (median, mean)),
        (readings.aligned_mm, 1, 1, (median, mean)),
        (readings.rooted_mm, 1, 1, (median,)),
    ):
        known = ~np.isnan(values)
        for statistic in statistics:
            estimate = statistic(values[known], readings.group[known]).estimate
            cells.append(estimate.times(scale).text(digits))
    return tuple(cells)


# ---------------------------------------------------------------- kernel distance


def distance_tables(sets: Sets) -> str:
    """Kernel inception distance of everything to every real source, by pose and by look."""
    text = (
        "Kernel inception distance (squared maximum mean discrepancy, cubic kernel, unbiased) of "
        "features of the landmark net on its own upright crop of each hand found, left hands "
        "mirrored; in thousandths ± one standard deviation (people and seconds drawn again). Pairs "
        "of one person or of one second of a clip are left out within a set. A real source's "
        "distance to all real hands is that to the other sources: the yardstick. Halves: one "
        "source's people against its other people, where nothing but chance differs. First the "
        f"{NUM_POSE_FEATURES} pooled features that all outputs of the net are read from: they tell "
        f"poses and views apart more than looks. Then {NUM_SKIN_FEATURES} early features (edges, "
        "colours) averaged along the bones of the hand: they see skin and light, hardly the pose. "
        f"Sets of fewer than {MIN_HANDS} hands are in 'all' only."
    )
    return section(
        "Do the nets see the same?",
        text,
        *(distance_table(sets, features) for features in FEATURES),
    )


def distance_table(sets: Sets, features: str) -> str:
    """Kernel distances by one kind of features."""
    real = {name: r for name, r in sets.real.items() if r.detected.sum() >= MIN_HANDS}
    second = dict(list(sets.made.items())[1:])
    columns = real | second
    rows = []
    for name, own in (sets.made | real).items():
        others = {other: r for other, r in sets.real.items() if other != name}
        cells = [None if c == name else _distance(own, columns[c], features) for c in columns]
        rest = _distance(own, together(others), features) if others else None
        rows.append((f"real: {name}" if name in real else name, *cells, rest))
    for name in list(real)[:1]:
        half = np.isin(real[name].group, np.unique(real[name].group)[::2])
        cell = _distance(real[name][half], real[name][~half], features)
        rows.append((f"real: {name}, halves", cell, *[None] * len(columns)))
    head = ("pose" if features == "pose_features" else "skin", *(f"to {c}" for c in columns))
    return table((*head, "to all real"), rows)


def _distance(a: Readings, b: Readings, features: str) -> str | None:
    """Kernel distance of the hands that were found, as it stands in a table; None for too few."""
    a, b = a[a.detected], b[b.detected]
    if any(len(part) < MIN_HANDS or len(set(part.group)) < 2 for part in (a, b)):
        return None
    return kernel_distance(getattr(a, features), getattr(b, features), a.group, b.group).text()


# ---------------------------------------------------------------- ablations


def ablation_table(parts: Mapping[str, Readings], real: Readings | None) -> str:
    """What each factor costs or brings."""
    rows = []
    for name, readings in parts.items():
        clear = readings[readings.unoccluded]
        middle, average = residuals(clear)
        ratios: Sequence[str | None] = (None, None)
        if real is not None:
            reference = residuals(real)
            ratios = [a.over(b).text(2) for a, b in zip((middle, average), reference, strict=True)]
        rows.append(
            (
                name,
                len(clear),
                share(clear.found).times(100).text(1),
                *ratios,
                *(None if real is None else _distance(readings, real, kind) for kind in FEATURES),
                _errors(clear)[0],
            )
        )
    text = (
        "The same studio with one factor switched off. Found, residual and landmark error of the "
        "unoccluded hands as above; kernel distance of all found hands to all real ones."
    )
    head = (
        "switched off",
        "n",
        "found %",
        "ratio of medians",
        "of means",
        "KID pose",
        "KID skin",
        "landmarks %",
    )
    return section("Which factor costs most?", text, table(head, rows))
