"""What the experiment must show, statement by statement, with the numbers that decide. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from idhand.evaluation import METRICS, Interval, Report, difference, mean_interval, ratio
from idhand.experiments.curve import Point
from idhand.experiments.presets import NetName, Row, ShapeName, SolverName
from idhand.experiments.reproduce import Results

WITHIN = 1.10
"""Calibrated shapes are as good as true ones if errors are at most this many times as large."""
COVERAGE = (0.90, 0.98)
"""Of intervals that state 95 %."""
MIN_PEOPLE = 100
"""For the coverage to mean something."""
RAW, SCALE_FREE = ("mpjpe_root", "mpvpe_root"), ("mpjpe_scale", "mpvpe_scale")
FAMILIES: tuple[tuple[NetName, SolverName], ...] = (
    ("identity", "none"),
    ("identity_film", "none"),
    ("identity_film", "second_order"),
)
"""Networks whose rows statement 1 is about, each against the baseline with the same solver."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison."""

    text: str
    """With its numbers."""
    holds: bool | None
    """None: only told, or it cannot be decided on this set."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing that must be seen."""

    number: int
    title: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool | None:
        """Whether all that could be decided holds; None if nothing could."""
        decided = [check.holds for check in self.checks if check.holds is not None]
        return all(decided) if decided else None


def statements(results: Results) -> tuple[Statement, ...]:
    """All six, in order."""
    parts = (
        ("A known shape beats an anonymous network", _known_shapes(results)),
        ("Features that know the person beat a hand layer that does", _film(results)),
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


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Comparisons of rows of one network and solver."""

    results: Results
    net: NetName
    solver: SolverName

    def report(self, shape: ShapeName) -> Report:
        return self.results.reports[Row(net=self.net, shape=shape, solver=self.solver)]

    @property
    def baseline(self) -> Report:
        return self.results.reports[Row(net="baseline", shape="own", solver=self.solver)]

    @property
    def name(self) -> str:
        return self.net if self.solver == "none" else f"{self.net}, refined"

    def check(self, told: str, gap: Interval, metric: str, holds: bool) -> Check:
        unit = METRICS[metric].unit
        text = f"{self.name}: {METRICS[metric].label}, {told}: {shown(gap, unit)}"
        return Check(text=text, holds=holds)

    def ratio(self, ours: ShapeName, metric: str) -> Check:
        factor = ratio(self.report(ours), self.report("true"), metric)
        told = f"{self.name}: {METRICS[metric].label}, {_said(ours)} over true shape: "
        text = told + shown(factor, "", 3)
        return Check(text=text, holds=factor.estimate <= WITHIN)


def _said(shape: ShapeName) -> str:
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
            checks.append(of.check("true − calibrated", gap, metric, is_not_above(gap)))
        for metric in RAW:
            gap = difference(ours, of.baseline, metric)
            told = "calibrated − baseline, not worse"
            checks.append(of.check(told, gap, metric, is_not_above(gap)))
            gap = difference(anchored, of.baseline, metric)
            told = "calibrated with length − baseline"
            checks.append(of.check(told, gap, metric, is_below(gap)))
            checks.append(of.ratio("calibrated_length", metric))
            checks.append(_against_ruler(of, metric))
        for metric in SCALE_FREE:
            gap = difference(ours, of.baseline, metric)
            checks.append(of.check("calibrated − baseline", gap, metric, is_below(gap)))
            checks.append(of.ratio("calibrated", metric))
    return checks


def _against_ruler(of: _Rows, metric: str) -> Check:
    """The fair comparison: what calibrating adds to the ruler alone. Only told."""
    ruler = of.results.reports[Row(net="baseline", shape="own_length")]
    gap = difference(of.report("calibrated_length"), ruler, metric)
    told = f"{of.name}: {METRICS[metric].label}, calibrated with length − baseline with length"
    return Check(text=f"{told}: {shown(gap)}", holds=None)


def _film(results: Results) -> list[Check]:
    if not results.reports:
        return []
    checks: list[Check] = []
    for shape, metric in product(("true", "calibrated"), ("mpjpe_root", *SCALE_FREE)):
        film = _Rows(results=results, net="identity_film", solver="none").report(shape)
        layer = _Rows(results=results, net="identity", solver="none").report(shape)
        gap = difference(film, layer, metric)
        told = f"{METRICS[metric].label}, {shape} shape, identity_film − identity: {shown(gap)}"
        checks.append(Check(text=told, holds=is_below(gap)))
    layer, film = (results.pose_change_deg[net] for net in ("identity", "identity_film"))
    told = "joints turn by {:.3f}° on average when the true shape replaces the mean one"
    checks.append(Check(text=f"identity: {told.format(layer)}", holds=layer < 1e-3))
    checks.append(Check(text=f"identity_film: {told.format(film)}", holds=film > 1e-3))
    return checks


def _curve(results: Results) -> list[Check]:
    points = {(point.method, point.num_pictures): point for point in results.curve}
    sizes = sorted({size for method, size in points if method == "ours"})
    if len(sizes) < 2:
        return []
    checks: list[Check] = []
    for error, told in (("rest_verts", "rest vertices"), ("rest_verts_scaled", "scale-free")):

        def gap(ours: tuple[str, int], theirs: tuple[str, int], error: str = error) -> Interval:
            return _paired(points[ours], points[theirs], error)

        fall = gap(("ours", sizes[-1]), ("ours", sizes[0]))
        text = f"{told}: ours, {sizes[-1]} pictures − {sizes[0]}: {shown(fall)}"
        checks.append(Check(text=text, holds=is_below(fall)))
        if len(sizes) > 2:
            first = gap(("ours", sizes[1]), ("ours", sizes[0]))
            last = gap(("ours", sizes[-1]), ("ours", sizes[-2]))
            text = f"{told}: ours, the first step changes {shown(first)}, the last {shown(last)}"
            checks.append(Check(text=text, holds=last.estimate > first.estimate))
        middle = max(size for size in sizes if size <= 10)
        for method, decides in (("weighted", True), ("top half", False)):
            name = f"baseline: {method} by confidence"
            better = gap((name, middle), ("baseline: plain mean", middle))
            text = f"{told}: {middle} pictures, {method} by confidence − plain mean"
            holds = is_below(better) if decides else None
            checks.append(Check(text=f"{text}: {shown(better)}", holds=holds))
        few, many = (max(size for size in sizes if size <= most) for most in (5, 20))
        better = gap(("ours", few), ("plain mean", many))
        text = f"{told}: ours with {few} − plain mean of {many}: {shown(better)}"
        checks.append(Check(text=text, holds=is_below(better)))
    return checks


def _paired(ours: Point, theirs: Point, error: str) -> Interval:
    """Difference over the people that both have."""
    first, second = (
        dict(zip(point.subject, point.errors_mm[error].tolist(), strict=True))
        for point in (ours, theirs)
    )
    both = [who for who in ours.subject if who in second]
    gaps = np.array([first[who] - second[who] for who in both], dtype=np.float64)
    return mean_interval(gaps, both, np.random.default_rng(0))


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
        told = f"{_said(shape)} shape, refined − not"
        decides = shape == "true"
        text = f"identity_film: {METRICS[metric].label}, {told}: {shown(gap)}"
        checks.append(Check(text=text, holds=is_below(gap) if decides else None))
    for metric in ("mpjpe_root", "mpjpe_camera"):
        more = mean_interval(
            gains["true", metric] - gains["mean", metric],
            plain.report("true").subject,
            np.random.default_rng(0),
        )
        told = f"{METRICS[metric].label}, gain with the true shape beyond that with the mean one"
        checks.append(Check(text=f"{told}: {shown(more)}", holds=is_not_above(more)))
        after = difference(refined.report("true"), refined.report("mean"), metric)
        told = f"{METRICS[metric].label}, refined, true − mean shape"
        checks.append(Check(text=f"{told}: {shown(after)}", holds=is_below(after)))
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
            told = f"identity, {shape} shape: {METRICS[metric].label}, ours − paper's Adam"
            checks.append(Check(text=f"{told}: {shown(gap)}", holds=is_not_above(gap)))
        times = results.seconds[paper], results.seconds[ours]
        told = "paper's Adam {:.2f} ms a hand, ours {:.2f} ms: {:.1f} times"
        text = told.format(times[0] * 1e3, times[1] * 1e3, times[0] / times[1])
        checks.append(Check(text=f"identity, {shape} shape: {text}", holds=None))
    return checks


def _coverage(results: Results) -> list[Check]:
    checks: list[Check] = []
    for point in results.curve:
        if point.covered is None:
            continue
        rate, people = float(point.covered.mean()), len(point.subject)
        text = f"{point.method}, {point.num_pictures} pictures, {people} people: {rate:.1%}"
        decides = people >= MIN_PEOPLE and point.method == "ours"
        holds = COVERAGE[0] <= rate <= COVERAGE[1] if decides else None
        checks.append(Check(text=text, holds=holds))
    return checks


def _other_renderer(results: Results) -> list[Check]:
    """What can be said on one set: the numbers that the other set's are laid beside."""
    name = results.about["dataset"]
    reports = results.reports or results.reports_all
    checks = []
    for row in reports:
        if row.net != "landmarks" and row.solver == "none":
            means = [reports[row].mean(metric) for metric in (*RAW, *SCALE_FREE)]
            told = ", ".join(
                f"{METRICS[metric].label} {mean:.2f} mm"
                for metric, mean in zip((*RAW, *SCALE_FREE), means, strict=True)
                if math.isfinite(mean)
            )
            checks.append(Check(text=f"{name}: {row.name}: {told}", holds=None))
    return checks
