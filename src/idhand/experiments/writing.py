"""The experiment's results as files: tables, curves, JSON, and a summary to read."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from idhand.assets import hand
from idhand.evaluation import (
    METRICS,
    Chart,
    Column,
    Curve,
    Interval,
    Report,
    Table,
    coverage,
    difference,
    mean_interval,
)
from idhand.evaluation.shapes import measure_errors_mm, measure_sigmas_mm
from idhand.evaluation.tables import Cell
from idhand.experiments.numbers import Check, Statement, people_text, statements
from idhand.experiments.presets import BASELINE, SHAPE_LABELS, Row
from idhand.experiments.reproduce import Results
from idhand.experiments.shapes import PersonShape, shape_errors_mm
from idhand.files import replacing
from idhand.identity import Z95

COLUMNS = (
    "mpjpe_root", "mpvpe_root", "mpjpe_scale", "mpvpe_scale", "mpjpe_procrustes",
    "mpvpe_procrustes", "mpjpe_camera", "auc_root", "bones",
)  # fmt: skip
"""Of the main table."""
SHAPE_COLUMNS = {
    "rest_verts": "rest vertices",
    "rest_verts_scaled": "rest vertices, scale-free",
    "bones": "bones",
    "hand_length": "hand length",
}
YES_NO = {True: "yes", False: "**no**", None: "–"}
PCK_LIMIT_MM = 50


def write(results: Results, out: Path) -> tuple[Statement, ...]:
    """Write everything into a folder and return the statements.

    Raises:
        ValueError: If matplotlib, which draws the curves, is missing; the other files are there.
    """
    decided, found = statements(results), tables(results)
    texts = {
        "results.json": json.dumps(document(results, decided), indent=1, allow_nan=False) + "\n"
    }
    for name, table in found.items():
        texts[f"{name}.md"], texts[f"{name}.csv"] = table.markdown(), table.csv()
        texts[f"{name}.tex"] = table.latex()
    texts["summary.md"] = summary(results, decided, found)
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for name, chart in charts(results).items():
        chart.save(out / f"{name}.png")
    return decided


def tables(results: Results) -> dict[str, Table]:
    """File name → table."""
    about = results.about
    protocol = "overlap" if about["overlap"] else "calibration pictures apart"
    title = f"{about['dataset']}, {protocol}; mean [95 % interval over people]"
    found: dict[str, Table] = {}
    if results.reports:
        found["table"] = _rows_table(results.reports, title)
        found["gaps"] = _gaps_table(results.reports, f"Difference to the baseline: {title}")
        found["solvers"] = _solver_table(results, title)
        found["shapes"] = _shape_table(results, f"Shapes of {about['dataset']}; {title}")
        found["curve"] = _curve_table(results, title)
    if results.reports_all:
        what = "also people whose shape is not known in this hand model, keypoints only for them"
        found["table_all"] = _rows_table(results.reports_all, f"{title}; {what}")
        found["gaps_all"] = _gaps_table(
            results.reports_all, f"Difference to the baseline: {title}; {what}"
        )
    return found


def _columns(names: Sequence[str]) -> tuple[Column, ...]:
    metrics = [METRICS[name] for name in names]
    return tuple(Column(name=m.label, unit=m.unit, decimals=m.decimals) for m in metrics)


def _shown(reports: Mapping[Row, Report]) -> list[str]:
    return [name for name in COLUMNS if any(name in report.values for report in reports.values())]


def _rows_table(reports: Mapping[Row, Report], title: str) -> Table:
    names, first = _shown(reports), next(iter(reports.values()))
    rows: list[tuple[Cell, ...]] = [
        (row.name, *(report.interval(name) if name in report.values else None for name in names))
        for row, report in reports.items()
    ]
    people = len(set(first.subject))
    what = f"{len(first):,} pictures of {people} people, {first.num_missed} hands missed; {title}"
    return Table(title=what, columns=(Column(name="row"), *_columns(names)), rows=tuple(rows))


def _gaps_table(reports: Mapping[Row, Report], title: str) -> Table:
    names, baseline = _shown(reports), reports[BASELINE]
    rows: list[tuple[Cell, ...]] = []
    for row, report in reports.items():
        if row != BASELINE:
            both = [name in report.values and name in baseline.values for name in names]
            gaps = [
                difference(report, baseline, name) if has else None
                for name, has in zip(names, both, strict=True)
            ]
            rows.append((row.name, *gaps))
    return Table(title=title, columns=(Column(name="row"), *_columns(names)), rows=tuple(rows))


def _solver_table(results: Results, title: str) -> Table:
    """Rows with a solver beside those without."""
    names = ("mpjpe_root", "mpjpe_scale", "mpjpe_camera")
    columns = (*_columns(names), Column(name="time per hand", unit="ms"))
    rows: list[tuple[Cell, ...]] = [
        (
            row.name,
            *(difference(report, results.reports[_unrefined(row)], name) for name in names),
            results.seconds[row] * 1e3,
        )
        for row, report in results.reports.items()
        if row.solver != "none"
    ]
    what = f"What solvers change (negative is better); {title}"
    return Table(title=what, columns=(Column(name="row"), *columns), rows=tuple(rows))


def _unrefined(row: Row) -> Row:
    return Row(net=row.net, shape=row.shape)


def _shape_table(results: Results, title: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, shapes in results.shapes.items():
        people = [who for who in results.truth if who in shapes]
        if name == "true" or not people:
            continue
        errors = _errors(results, shapes, people)
        cells = [_over_people(errors[key], people) for key in SHAPE_COLUMNS]
        held = _coverage_of(results, shapes, people)
        rows.append((SHAPE_LABELS[name], len(people), *cells, held))
    columns = (
        Column(name="shape"),
        Column(name="people"),
        *(Column(name=name, unit="mm") for name in SHAPE_COLUMNS.values()),
        Column(name="coverage of 95 % intervals", decimals=3),
    )
    return Table(title=title, columns=columns, rows=tuple(rows))


def _stacked(shapes: Mapping[str, PersonShape], people: Sequence[str]) -> torch.Tensor:
    return torch.from_numpy(np.stack([shapes[who].betas for who in people]))


def _errors(
    results: Results, shapes: Mapping[str, PersonShape], people: Sequence[str]
) -> dict[str, np.ndarray]:
    ours, theirs = _stacked(shapes, people), _stacked(results.truth, people)
    return shape_errors_mm(hand(results.about["model"]), ours, theirs)


def _coverage_of(
    results: Results, shapes: Mapping[str, PersonShape], people: Sequence[str]
) -> float | None:
    """Pooled over people and measures; None of shapes that state no covariance."""
    stated = [cov for who in people if (cov := shapes[who].covariance) is not None]
    if len(stated) < len(people):
        return None
    model = hand(results.about["model"])
    ours, theirs = _stacked(shapes, people), _stacked(results.truth, people)
    sigmas = measure_sigmas_mm(model, ours, torch.from_numpy(np.stack(stated))).numpy()
    off = measure_errors_mm(model, ours, theirs).numpy()
    truth = np.zeros_like(off)
    return coverage(off - Z95 * sigmas, off + Z95 * sigmas, truth, model.measures.names).pooled


def _over_people(values: np.ndarray, people: Sequence[str]) -> Interval:
    return mean_interval(values, people, np.random.default_rng(0))


def _curve_table(results: Results, title: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for point in results.curve:
        cells = [_over_people(point.errors_mm[key], point.subject) for key in SHAPE_COLUMNS]
        held = None if point.covered is None else float(point.covered.mean())
        first = (point.method, point.num_pictures, point.num_used, len(point.subject))
        rows.append((*first, *cells, held))
    columns = (
        Column(name="method"),
        Column(name="pictures"),
        Column(name="with a hand found", decimals=1),
        Column(name="people"),
        *(Column(name=name, unit="mm") for name in SHAPE_COLUMNS.values()),
        Column(name="coverage of 95 % intervals", decimals=3),
    )
    draws = results.about["draws"]
    what = f"Shapes against the number of pictures, {draws} random draws each; {title}"
    return Table(title=what, columns=columns, rows=tuple(rows))


def charts(results: Results) -> dict[str, Chart]:
    """File name → chart."""
    found: dict[str, Chart] = {}
    methods = list(dict.fromkeys(point.method for point in results.curve))
    for key, label in SHAPE_COLUMNS.items() if methods else ():
        curves = []
        for method in methods:
            points = [point for point in results.curve if point.method == method]
            values = [_over_people(point.errors_mm[key], point.subject) for point in points]
            sizes = [point.num_pictures for point in points]
            curves.append(Curve.of_intervals(method, sizes, values))
        found[f"curve_{key}"] = Chart(
            title=f"Shape error against the number of pictures ({results.about['dataset']})",
            x_label="calibration pictures",
            y_label=f"{label} (mm)",
            curves=tuple(curves),
            log_x=True,
        )
    reports = results.reports or results.reports_all
    limits = np.arange(0.0, PCK_LIMIT_MM + 1)
    kept = [row for row in reports if row.solver == "none" and row.net != "identity"]
    found["pck"] = Chart(
        title=f"Correct keypoints ({results.about['dataset']})",
        x_label="threshold (mm), wrist on wrist",
        y_label="fraction of keypoints",
        curves=tuple(
            Curve(name=row.name, x=limits, y=reports[row].pck(limits)) for row in kept[:7]
        ),
        y_limits=(0.0, 1.0),
    )
    return found


def document(results: Results, decided: Sequence[Statement]) -> dict[str, Any]:
    """All numbers, as JSON can hold them."""
    return {
        "about": results.about,
        "rows": _row_numbers(results.reports, results.seconds),
        "rows_all": _row_numbers(results.reports_all, results.seconds),
        "pose_change_deg": results.pose_change_deg,
        "shapes": _shape_numbers(results),
        "curve": _curve_numbers(results),
        "statements": [
            {
                "number": statement.number,
                "title": statement.title,
                "holds": statement.holds,
                "people_needed": statement.people_needed,
                "checks": [
                    {"text": c.text, "holds": c.holds, "people_needed": c.people_needed}
                    for c in statement.checks
                ],
            }
            for statement in decided
        ],
        "left_out": results.left_out,
    }


def _shape_numbers(results: Results) -> dict[str, Any]:
    """Of each source of shapes, over all people and person by person."""
    numbers: dict[str, Any] = {}
    for name, shapes in results.shapes.items():
        people = [who for who in results.truth if who in shapes]
        if not people:
            continue
        errors = _errors(results, shapes, people)
        numbers[name] = {
            "mean_mm": {key: float(values.mean()) for key, values in errors.items()},
            "per_person_mm": {
                who: {key: round(float(values[i]), 4) for key, values in errors.items()}
                for i, who in enumerate(people)
            },
            "coverage": _coverage_of(results, shapes, people),
        }
    return numbers


def _curve_numbers(results: Results) -> list[dict[str, Any]]:
    return [
        {
            "method": point.method,
            "num_pictures": point.num_pictures,
            "num_used": point.num_used,
            "num_people": len(point.subject),
            "errors_mm": {
                key: _numbers(_over_people(values, point.subject))
                for key, values in point.errors_mm.items()
            },
            "coverage": None if point.covered is None else float(point.covered.mean()),
        }
        for point in results.curve
    ]


def _row_numbers(
    reports: Mapping[Row, Report], seconds: Mapping[Row, float]
) -> dict[str, dict[str, Any]]:
    if not reports:
        return {}
    baseline, numbers = reports[BASELINE], {}
    for row, report in reports.items():
        metrics = {}
        for name in report.values:
            metrics[name] = _numbers(report.interval(name))
            if name in baseline.values:
                metrics[name]["gap"] = _numbers(difference(report, baseline, name))
        numbers[row.name] = {
            "net": row.net,
            "shape": row.shape,
            "solver": row.solver,
            "num_pictures": len(report),
            "num_missed": report.num_missed,
            "seconds_per_hand": seconds.get(row),
            "metrics": metrics,
        }
    return numbers


def _numbers(interval: Interval) -> dict[str, Any]:
    values = {"mean": interval.estimate, "low": interval.low, "high": interval.high}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _answer(check: Check) -> str:
    """What stands before a check's text."""
    if check.people_needed is not None:
        return f"undecided ({people_text(check.people_needed)} people are needed)"
    return YES_NO[check.holds]


def summary(results: Results, decided: Sequence[Statement], found: Mapping[str, Table]) -> str:
    """What to read first."""
    about = results.about
    pictures = about["calibration_pictures"]
    lines = [
        f"# The experiment on {about['dataset']}",
        "",
        f"{about['num_people']} people, {about['num_evaluated']:,} evaluated pictures; a hand was "
        f"found in {about['num_found']:,} of all {about['num_pictures']:,}. Shapes are calibrated "
        f"from {pictures['min']} to {pictures['max']} pictures a person "
        f"({pictures['mean']:.1f} on average), "
        + ("which are also evaluated." if about["overlap"] else "none of which is evaluated."),
        "",
        f"The shape of {about['num_people_with_shape']} people is known in the hand model "
        f"'{about['model']}'; rows that need a shape are about these people. Every number is "
        "followed by its 95 % interval, by bootstrap over people. Differences are paired by "
        "picture; negative is better.",
        "",
    ]
    if results.left_out:
        lines += [f"{len(results.left_out)} people are left out:", ""]
        lines += [f"- {why}" for why in results.left_out.values()] + [""]
    for statement in decided:
        answer = statement.answer(about["num_people_with_shape"])
        lines += [f"## {statement.number}. {statement.title}: {answer}", ""]
        if not statement.checks:
            lines += ["This cannot be decided: no person's shape is known.", ""]
            continue
        lines += [f"- {_answer(check)}: {check.text}" for check in statement.checks] + [""]
    lines += ["## Tables", ""]
    lines += [table.markdown() for table in found.values()]
    return "\n".join(lines)
