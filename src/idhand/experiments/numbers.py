"""What the experiment must show, statement by statement, with the numbers that decide. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from idhand.evaluation import METRICS, Interval, Report, difference, mean_interval, ratio
from idhand.experiments.curve import Point
from idhand.experiments.presets import Row, RowNetwork, ShapeName, SolverName
from idhand.experiments.reproduce import Results

WITHIN = 1.10
"""Calibrated shapes are as good as true ones if errors are at most this many times as large."""
COVERAGE = (0.90, 0.98)
"""Of intervals that state 95 %."""
MIN_PEOPLE = 100
"""For the coverage to mean something."""
RAW, SCALE_FREE = ("mpjpe_root", "mpvpe_root"), ("mpjpe_scale", "mpvpe_scale")
FAMILIES: tuple[tuple[RowNetwork, SolverName], ...] = (
    ("identity", "none"),
    ("identity_film", "none"),
    ("identity_film", "second_order"),
)
"""Networks whose rows statement 1 is about, each against the baseline with the same solver."""
MOST_PEOPLE = 10_000
"""Of more, "more than so many" is answer enough."""
FEWEST_PEOPLE = 10
"""That an interval over people needs."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison."""

    text: str
    """With its numbers."""
    holds: bool | None
    """None: it only informs, or it cannot be decided with so few people."""
    people_needed: int | None = None
    """About how many people would decide it, where the set has too few."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing that must be seen."""

    number: int
    title: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool | None:
        """No if a check fails; yes if all that decide hold; None if some or all cannot decide."""
        decided = [check.holds for check in self.checks if check.holds is not None]
        if not all(decided):
            return False
        return None if not decided or self.people_needed is not None else True

    @property
    def people_needed(self) -> int | None:
        """About how many people would decide every check; None if they are all decided."""
        return max(
            (c.people_needed for c in self.checks if c.people_needed is not None), default=None
        )

    def answer(self, num_people: int) -> str:
        """Yes, no, or why it is undecided.

        Args:
            num_people: Of the set.
        """
        if self.holds is not None:
            return "yes" if self.holds else "no"
        if self.people_needed is None:
            return "cannot be said here"
        people = "1 person" if num_people == 1 else f"{num_people} people"
        return f"cannot be said with {people}; {people_text(self.people_needed)} are needed"


def people_text(needed: int) -> str:
    """`about 90`."""
    return f"more than {MOST_PEOPLE:,}" if needed > MOST_PEOPLE else f"about {needed:,}"


def statements(results: Results) -> tuple[Statement, ...]:
    """All six, in order."""
    parts = (
        ("A known shape beats an anonymous network", _known_shapes(results)),
        ("Giving the shape to the features is better than to the hand layer alone", _film(results)),
        ("Calibration error falls with the number of pictures", _curve(results)),
        ("Refinement helps most when the shape is right", _refinement(results)),
        ("95 % intervals cover the truth", _coverage(results)),
        ("The same table on another renderer", _other_renderer(results)),
    )
    return tuple(
        Statement(number=number, title=title, checks=tuple(checks))
        for number, (title, checks) in enumerate(parts, 1)
    )


def shown(interval: Interval, unit: str = "mm", decimals: int = 2) -> str:
    """`1.23 [1.11, 1.35] mm`."""
    text = f"{interval.estimate:.{decimals}f}"
    if interval.is_bounded:
        text += f" [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"
    return f"{text} {unit}".rstrip()


def is_below(gap: Interval) -> bool:
    """The interval is clear of zero, or there is none and the estimate is below."""
    return gap.high < 0 if gap.is_bounded else gap.estimate < 0


def is_not_above(gap: Interval) -> bool:
    """The interval does not show that it is above zero."""
    return gap.low <= 0 if gap.is_bounded else gap.estimate <= 0


def check_below(text: str, gap: Interval, num_people: int) -> Check:
    """Whether a difference is below zero; undecided where its interval covers zero.

    The width of an interval falls with the root of the number of people, which shows about how many
    would bring it clear of zero with the same estimate.
    """
    if gap.is_bounded and (gap.high < 0 or gap.low > 0):
        return Check(text=text, holds=gap.high < 0)
    return Check(text=text, holds=None, people_needed=_people_needed(gap, 0.0, num_people))


def check_not_above(text: str, gap: Interval, num_people: int) -> Check:
    """Whether a difference is not shown to be above zero; undecided without an interval."""
    if gap.is_bounded:
        return Check(text=text, holds=is_not_above(gap))
    return Check(text=text, holds=None, people_needed=_people_needed(gap, 0.0, num_people))


def check_within(text: str, factor: Interval, limit: float, num_people: int) -> Check:
    """Whether a ratio is at most the limit; one above is undecided while its interval covers it."""
    if factor.is_bounded and (factor.estimate <= limit or factor.low > limit):
        return Check(text=text, holds=factor.estimate <= limit)
    return Check(text=text, holds=None, people_needed=_people_needed(factor, limit, num_people))


def _people_needed(interval: Interval, limit: float, num_people: int) -> int:
    """About how many people would bring an interval clear of a limit."""
    if not interval.is_bounded:
        return FEWEST_PEOPLE
    distance = abs(interval.estimate - limit)
    reach = interval.high - interval.estimate
    if interval.estimate > limit:
        reach = interval.estimate - interval.low
    if not distance > 0 or not math.isfinite(reach / distance):
        return MOST_PEOPLE + 1
    needed = num_people * (reach / distance) ** 2
    if needed > MOST_PEOPLE:
        return MOST_PEOPLE + 1
    digits = 10 if needed < 100 else 100
    return max(FEWEST_PEOPLE, digits * math.ceil(needed / digits))


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Comparisons of rows of one network and solver."""

    results: Results
    net: RowNetwork
    solver: SolverName

    def report(self, shape: ShapeName) -> Report:
        return self.results.reports[Row(net=self.net, shape=shape, solver=self.solver)]

    @property
    def baseline(self) -> Report:
        return self.results.reports[Row(net="baseline", shape="own", solver=self.solver)]

    @property
    def name(self) -> str:
        return self.net if self.solver == "none" else f"{self.net}, refined"

    @property
    def num_people(self) -> int:
        return self.baseline.num_subjects

    def below(self, label: str, gap: Interval, metric: str) -> Check:
        return check_below(self._text(label, gap, metric), gap, self.num_people)

    def not_above(self, label: str, gap: Interval, metric: str) -> Check:
        return check_not_above(self._text(label, gap, metric), gap, self.num_people)

    def _text(self, label: str, gap: Interval, metric: str) -> str:
        unit = METRICS[metric].unit
        return f"{self.name}: {METRICS[metric].label}, {label}: {shown(gap, unit)}"

    def ratio(self, ours: ShapeName, metric: str) -> Check:
        factor = ratio(self.report(ours), self.report("true"), metric)
        label = f"{self.name}: {METRICS[metric].label}, {_name_of(ours)} over true shape: "
        text = label + shown(factor, "", 3)
        return check_within(text, factor, WITHIN, self.num_people)


def _name_of(shape: ShapeName) -> str:
    return "calibrated with length" if shape == "calibrated_length" else shape


def _known_shapes(results: Results) -> list[Check]:
    if not results.reports:
        return []
    checks: list[Check] = []
    for net, solver in FAMILIES:
        of = _Rows(results=results, net=net, solver=solver)
        true, ours, anchored = map(of.report, ("true", "calibrated", "calibrated_length"))
        for metric in (*RAW, *SCALE_FREE):
            gap = difference(true, ours, metric)
            checks.append(of.not_above("true − calibrated", gap, metric))
        for metric in RAW:
            gap = difference(ours, of.baseline, metric)
            label = "calibrated − baseline, not worse"
            checks.append(of.not_above(label, gap, metric))
            gap = difference(anchored, of.baseline, metric)
            label = "calibrated with length − baseline"
            checks.append(of.below(label, gap, metric))
            checks.append(of.ratio("calibrated_length", metric))
            checks.append(_against_ruler(of, metric))
        for metric in SCALE_FREE:
            gap = difference(ours, of.baseline, metric)
            checks.append(of.below("calibrated − baseline", gap, metric))
            checks.append(of.ratio("calibrated", metric))
    return checks


def _against_ruler(of: _Rows, metric: str) -> Check:
    """The fair comparison: what calibrating adds to the ruler alone. Decides nothing."""
    ruler = of.results.reports[Row(net="baseline", shape="own_length")]
    gap = difference(of.report("calibrated_length"), ruler, metric)
    label = f"{of.name}: {METRICS[metric].label}, calibrated with length − baseline with length"
    return Check(text=f"{label}: {shown(gap)}", holds=None)


def _film(results: Results) -> list[Check]:
    if not results.reports:
        return []
    checks: list[Check] = []
    for shape, metric in product(("true", "calibrated"), ("mpjpe_root", *SCALE_FREE)):
        film = _Rows(results=results, net="identity_film", solver="none").report(shape)
        layer_report = _Rows(results=results, net="identity", solver="none").report(shape)
        gap = difference(film, layer_report, metric)
        label = f"{METRICS[metric].label}, {shape} shape, identity_film − identity: {shown(gap)}"
        checks.append(check_below(label, gap, layer_report.num_subjects))
    layer, film = (results.pose_change_deg[net] for net in ("identity", "identity_film"))
    label = "joints turn by {:.3f}° on average when the true shape replaces the mean one"
    checks.append(Check(text=f"identity: {label.format(layer)}", holds=layer < 1e-3))
    checks.append(Check(text=f"identity_film: {label.format(film)}", holds=film > 1e-3))
    return checks


def _curve(results: Results) -> list[Check]:
    points = {(point.method, point.num_pictures): point for point in results.curve}
    sizes = sorted({size for method, size in points if method == "ours"})
    if len(sizes) < 2:
        return []
    checks: list[Check] = []
    num_people = len(points["ours", sizes[0]].subject)
    for error, label in (("rest_verts", "rest vertices"), ("rest_verts_scaled", "scale-free")):

        def gap(ours: tuple[str, int], theirs: tuple[str, int], error: str = error) -> Interval:
            return _paired(points[ours], points[theirs], error)

        fall = gap(("ours", sizes[-1]), ("ours", sizes[0]))
        text = f"{label}: ours, {sizes[-1]} pictures − {sizes[0]}: {shown(fall)}"
        checks.append(check_below(text, fall, num_people))
        if len(sizes) > 2:
            checks.append(_steps([points["ours", size] for size in sizes], error, label))
        middle = max(size for size in sizes if size <= 10)
        for method, decides in (("weighted", True), ("top half", False)):
            name = f"baseline: {method} by confidence"
            better = gap((name, middle), ("baseline: plain mean", middle))
            text = f"{label}: {middle} pictures, {method} by confidence − plain mean"
            text = f"{text}: {shown(better)}"
            check = check_below(text, better, num_people)
            checks.append(check if decides else Check(text=text, holds=None))
        few, many = (max(size for size in sizes if size <= most) for most in (5, 20))
        better = gap(("ours", few), ("plain mean", many))
        text = f"{label}: ours with {few} − plain mean of {many}: {shown(better)}"
        checks.append(check_below(text, better, num_people))
    return checks


def _steps(points: Sequence[Point], error: str, label: str) -> Check:
    """Whether the first further pictures improve the error more than the last ones."""
    first, last = _gaps(points[1], points[0], error), _gaps(points[-1], points[-2], error)
    both = {who: first[who] - last[who] for who in first if who in last}
    text = f"{label}: ours, the first step changes {shown(_mean(first))}, the last "
    text += f"{shown(_mean(last))}; first − last: {shown(_mean(both))}"
    return check_below(text, _mean(both), len(both))


def _paired(ours: Point, theirs: Point, error: str) -> Interval:
    """Difference over the people that both have."""
    return _mean(_gaps(ours, theirs, error))


def _gaps(ours: Point, theirs: Point, error: str) -> dict[str, float]:
    """Difference of each person that both have."""
    first, second = (
        dict(zip(point.subject, point.errors_mm[error].tolist(), strict=True))
        for point in (ours, theirs)
    )
    return {who: first[who] - second[who] for who in first if who in second}


def _mean(gaps: Mapping[str, float]) -> Interval:
    """Of numbers by person."""
    return mean_interval(np.array([*gaps.values()]), list(gaps), np.random.default_rng(0))


def _refinement(results: Results) -> list[Check]:
    if not results.reports:
        return []
    checks: list[Check] = []
    plain = _Rows(results=results, net="identity_film", solver="none")
    refined = _Rows(results=results, net="identity_film", solver="second_order")
    gains: dict[tuple[ShapeName, str], np.ndarray] = {}
    shapes: Sequence[ShapeName] = ("true", "calibrated", "calibrated_length", "mean")
    for shape, metric in product(shapes, ("mpjpe_root", "mpjpe_camera")):
        after, before = refined.report(shape), plain.report(shape)
        gap = difference(after, before, metric)
        gains[shape, metric] = after.values[metric] - before.values[metric]
        label = f"{_name_of(shape)} shape, refined − not"
        decides = shape == "true"
        text = f"identity_film: {METRICS[metric].label}, {label}: {shown(gap)}"
        check = check_below(text, gap, plain.num_people)
        checks.append(check if decides else Check(text=text, holds=None))
    for metric in ("mpjpe_root", "mpjpe_camera"):
        more = mean_interval(
            gains["true", metric] - gains["mean", metric],
            plain.report("true").subject,
            np.random.default_rng(0),
        )
        label = f"{METRICS[metric].label}, gain with the true shape beyond that with the mean one"
        checks.append(check_not_above(f"{label}: {shown(more)}", more, plain.num_people))
        after = difference(refined.report("true"), refined.report("mean"), metric)
        label = f"{METRICS[metric].label}, refined, true − mean shape"
        checks.append(check_below(f"{label}: {shown(after)}", after, plain.num_people))
    return checks + _solvers(results)


def _solvers(results: Results) -> list[Check]:
    """Ours against the paper's 300 steps of Adam, where both start alike and keep the shape."""
    checks: list[Check] = []
    for shape in ("true", "calibrated"):
        ours, paper = (
            Row(net="identity", shape=shape, solver=solver)
            for solver in ("second_order", "paper_adam")
        )
        for metric in ("mpjpe_root", "mpjpe_camera"):
            gap = difference(results.reports[ours], results.reports[paper], metric)
            label = f"identity, {shape} shape: {METRICS[metric].label}, ours − paper's Adam"
            num_people = results.reports[ours].num_subjects
            checks.append(check_not_above(f"{label}: {shown(gap)}", gap, num_people))
        times = results.seconds[paper], results.seconds[ours]
        label = "paper's Adam {:.2f} ms a hand, ours {:.2f} ms: {:.1f} times"
        text = label.format(times[0] * 1e3, times[1] * 1e3, times[0] / times[1])
        checks.append(Check(text=f"identity, {shape} shape: {text}", holds=None))
    return checks


def _coverage(results: Results) -> list[Check]:
    checks: list[Check] = []
    for point in results.curve:
        if point.covered is None:
            continue
        rate, people = float(point.covered.mean()), len(point.subject)
        text = f"{point.method}, {point.num_pictures} pictures, {people} people: {rate:.1%}"
        if point.method != "ours":
            checks.append(Check(text=text, holds=None))
        elif people < MIN_PEOPLE:
            checks.append(Check(text=text, holds=None, people_needed=MIN_PEOPLE))
        else:
            checks.append(Check(text=text, holds=COVERAGE[0] <= rate <= COVERAGE[1]))
    return checks


def _other_renderer(results: Results) -> list[Check]:
    """The numbers of this set, to be laid beside those of another."""
    name = results.about["dataset"]
    reports = results.reports or results.reports_all
    checks = []
    for row in reports:
        if row.net != "landmarks" and row.solver == "none":
            means = [reports[row].mean(metric) for metric in (*RAW, *SCALE_FREE)]
            label = ", ".join(
                f"{METRICS[metric].label} {mean:.2f} mm"
                for metric, mean in zip((*RAW, *SCALE_FREE), means, strict=True)
                if math.isfinite(mean)
            )
            checks.append(Check(text=f"{name}: {row.name}: {label}", holds=None))
    return checks
