"""A person's measures beside the population's: the rows of the report's table."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from idhand.assets import Spread, hand, population_spreads
from idhand.hand import FittableHand
from idhand.identity import Identity, Measurement

SHOWN_SIGMAS = 3.0
"""The scale of a row reaches this many standard deviations beyond the means."""
Z90 = 1.644854
"""Between the 5th and the 95th percentile of a normal distribution."""
HEADLINE = (
    *("hand_length", "palm_length", "hand_breadth", "hand_circumference"),
    *(f"{finger}_length" for finger in ("thumb", "index", "middle", "ring", "little")),
)
"""Shown at once; the bones are folded."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A part of a row's scale, in % of its width."""

    left: float
    width: float


@dataclass(frozen=True, kw_only=True)
class MeasureRow:
    """One measure as the page shows it."""

    name: str
    label: str
    value: str
    """E.g. `201.7 ± 3.9 mm`; the interval is the 95 % one."""
    interval: str
    """E.g. `197.8 to 205.6`."""
    groups: Mapping[str, Bar]
    """5th to 95th percentile of `women` and `men`, or of `adults` if these have no values."""
    own: Bar
    """The person's 95 % interval."""
    dot: float
    """The person's value, % of the width."""
    truth: float | None
    """The true value, where it is known, % of the width."""
    truth_mm: str
    scale_mm: tuple[str, str]
    """At the left and the right end."""
    percentiles: str
    """E.g. `women 96 (89 to 99), men 79 (62 to 90)`."""
    measured: bool
    """The population was measured; otherwise it follows from the hand model."""
    headline: bool


def measure_rows(
    person: Identity,
    truth_mm: Mapping[str, float] | None = None,
    model: FittableHand | None = None,
) -> list[MeasureRow]:
    """The rows, in the order of the profile; measures that the model lacks are left out.

    Args:
        person: Whose hand.
        truth_mm: The true measures, if they are known (of invented people).
        model: The person's hand model; if None, the one that the person names.
    """
    spreads = population_spreads(model or hand(person.model))
    return [
        _row(name, measure, spreads[name], (truth_mm or {}).get(name))
        for name, measure in person.measurements.items()
        if name in spreads
    ]


def _row(name: str, own: Measurement, spread: Spread, truth_mm: float | None) -> MeasureRow:
    groups = spread.groups
    ends = [d.mean + s * SHOWN_SIGMAS * d.stdev for d in groups.values() for s in (-1, 1)]
    values = [*ends, own.low_mm, own.high_mm, *([] if truth_mm is None else [truth_mm])]
    low, high = min(values), max(values)

    def at(mm: float) -> float:
        return round(100 * (mm - low) / (high - low), 2)

    def bar(a: float, b: float) -> Bar:
        return Bar(left=at(a), width=round(at(b) - at(a), 2))

    def common(d: NormalDist) -> Bar:
        return bar(d.mean - Z90 * d.stdev, d.mean + Z90 * d.stdev)

    half = (own.high_mm - own.low_mm) / 2
    return MeasureRow(
        name=name,
        label=name.replace("_", " "),
        value=f"{own.value_mm:.1f} ± {half:.1f}",
        interval=f"{own.low_mm:.1f} to {own.high_mm:.1f}",
        groups={who: common(d) for who, d in groups.items()},
        own=bar(own.low_mm, own.high_mm),
        dot=at(own.value_mm),
        truth=None if truth_mm is None else at(truth_mm),
        truth_mm="" if truth_mm is None else f"{truth_mm:.1f}",
        scale_mm=(f"{low:.0f}", f"{high:.0f}"),
        percentiles=", ".join(
            f"{who} {_percent(d, own.value_mm)} ({_percent(d, own.low_mm)} to "
            f"{_percent(d, own.high_mm)})"
            for who, d in groups.items()
        ),
        measured=spread.measured,
        headline=name in HEADLINE,
    )


def _percent(population: NormalDist, mm: float) -> str:
    """Share of the population that is below, in whole percent from 1 to 99."""
    return str(min(max(round(100 * population.cdf(mm)), 1), 99))
