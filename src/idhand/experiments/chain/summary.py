"""Stage `summary`: summary.md to read first, and its tables as CSV and LaTeX."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from idhand.evaluation import METRICS, Column, Table
from idhand.evaluation.tables import Cell
from idhand.experiments.chain.config import IMAGENET_NETS, Use
from idhand.experiments.chain.findings import USE_LABELS, Findings, statements
from idhand.experiments.chain.kept import Stages
from idhand.experiments.chain.lists import COUNTS
from idhand.experiments.chain.networks import PRESET_OF
from idhand.experiments.chain.rows import SOLVER_LABELS, SOLVERS, rule_label
from idhand.experiments.chain.scores import OTHERS, PAPER_PREFIX, PAPERS, Scores, over_people
from idhand.experiments.chain.shapes import SINGLE
from idhand.experiments.numbers import FEWEST_PEOPLE
from idhand.experiments.profiles import by_number
from idhand.files import read_json, replacing

FILE = "summary.md"
SHAPE_COLUMNS: Mapping[str, str] = {
    "betas_error": "betas",
    "rest_verts_mm": "rest vertices",
    "rest_verts_scaled_mm": "rest vertices, scaled",
    "bones_mm": "bone lengths",
    "hand_length_mm": "hand length",
}
MOST_COLUMNS = 12
"""People of a table with a column for each."""


def write_summary(stages: Stages, findings: Findings) -> Path:
    """Write everything; the same findings, the same bytes."""
    out = stages.root
    found = tables(findings)
    texts = {FILE: text(findings, found)}
    (out / "tables").mkdir(exist_ok=True)
    for name, table in found.items():
        texts[f"tables/{name}.csv"] = table.csv()
        texts[f"tables/{name}.tex"] = table.latex()
    for name, content in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return out / FILE


def tables(findings: Findings) -> dict[str, Table]:
    """File name → table."""
    found: dict[str, Table] = {}
    for use in findings.uses:
        how = USE_LABELS[use]
        found[f"paper_{use}"] = _errors_table(
            findings, use, [PAPER_PREFIX + n for n in PAPERS], f"The paper's metrics; {how}"
        )
        found[f"ours_{use}"] = _errors_table(findings, use, OTHERS, f"Other metrics; {how}")
        found[f"shapes_{use}"] = _shapes_table(findings, use, f"Shapes at rest; {how}")
    people = sorted(findings.shapes.truth, key=by_number)
    if len(people) <= MOST_COLUMNS:
        found["people"] = _people_table(findings, people)
    return found


def _lines(findings: Findings, use: Use) -> list[tuple[str, str, Scores]]:
    """Row, solver and scores of each line of a table."""
    lines = []
    for solver in (None, *SOLVERS):
        for row in findings.rows(use):
            name = "none" if solver is None else SOLVER_LABELS[solver]
            lines.append((row.label, name, findings.of(row, solver, use)))
    return lines


def _errors_table(
    findings: Findings, use: Use, names: list[str] | tuple[str, ...], title: str
) -> Table:
    lines = _lines(findings, use)
    shown = [name for name in names if any(name in scores.values for *_, scores in lines)]
    columns = [Column(name="network and shape"), Column(name="optimised"), Column(name="missed")]
    columns += [_column(name) for name in shown]
    rows: list[tuple[Cell, ...]] = [
        (label, solver, int((~scores.found).sum()), *(scores.interval(name) for name in shown))
        for label, solver, scores in lines
    ]
    pictures = len(lines[0][2].sample_id)
    title = f"{title}; {pictures:,} pictures, {_people(findings)}"
    return Table(title=title, columns=tuple(columns), rows=tuple(rows))


def _people(findings: Findings) -> str:
    """How many people, and what that means for intervals."""
    number = len(findings.shapes.truth)
    people = "1 person" if number == 1 else f"{number} people"
    if number < FEWEST_PEOPLE:
        return f"{people}: too few for an interval over people"
    return f"{people}; mean [95 % interval over people]"


def _column(name: str) -> Column:
    metric = METRICS[name.removeprefix(PAPER_PREFIX)]
    return Column(name=metric.label, unit=metric.unit, decimals=metric.decimals)


def _shapes_table(findings: Findings, use: Use, title: str) -> Table:
    rules: Mapping[str, Mapping[str, Mapping[str, float]]] = findings.shapes.document["uses"][use]
    rows: list[tuple[Cell, ...]] = []
    for rule, people in rules.items():
        cells: list[Cell] = []
        for name in SHAPE_COLUMNS:
            errors = findings.shape_errors(use, rule, name)
            cells.append(over_people(np.array([*errors.values()]), [*errors]))
        used = float(np.mean([values["pictures"] for values in people.values()]))
        label = "baseline, each picture alone" if rule == SINGLE else rule_label(rule)
        rows.append((label, len(people), used, *cells))
    columns = [Column(name="shape"), Column(name="people"), Column(name="pictures", decimals=0)]
    columns += [
        Column(name=label, unit="mm" if name.endswith("_mm") else "", decimals=2)
        for name, label in SHAPE_COLUMNS.items()
    ]
    return Table(title=f"{title}; {_people(findings)}", columns=tuple(columns), rows=tuple(rows))


def _people_table(findings: Findings, people: list[str]) -> Table:
    """The main metric of each person."""
    use = findings.uses[-1]
    name = PAPER_PREFIX + PAPERS[0]
    rows: list[tuple[Cell, ...]] = []
    for label, solver, scores in _lines(findings, use):
        own = scores.per_person(name)
        rows.append((label, solver, *(own.get(who) for who in people)))
    columns = [Column(name="network and shape"), Column(name="optimised")]
    columns += [Column(name=who, unit="mm") for who in people]
    title = f"{_column(name).name} of each person; {USE_LABELS[use]}"
    return Table(title=title, columns=tuple(columns), rows=tuple(rows))


def text(findings: Findings, found: Mapping[str, Table]) -> str:
    """What to read first."""
    lines = [f"# The paper's chain: {findings.name}", ""]
    lines += [*_about(findings), ""]
    for number, statement in enumerate(statements(findings), 1):
        lines += [f"## {number}. {statement.title}: {_answer(statement.holds)}", ""]
        lines += [f"- {_answer(check.holds)}: {check.text}" for check in statement.checks]
        lines += [""]
    lines += ["## Tables", "", *_notes(findings), ""]
    lines += [table.markdown() for table in found.values()]
    return "\n".join(lines)


def _answer(holds: bool | None) -> str:
    return "yes" if holds else "no"


def _about(findings: Findings) -> list[str]:
    """Data, networks, and what took no part."""
    sets, config = findings.sets, findings.config
    counts = ", ".join(
        f"{part} {pictures:,} pictures of {people} {'person' if people == 1 else 'people'}"
        for part, (pictures, people) in sets.counts.items()
    )
    lines = [f"- Data: {counts}; hand model '{sets.model.name}'."]
    for part, about in read_json(findings.lists / COUNTS, "run without --only").items():
        lines.append(
            f"- List of {part}: {about['pictures']:,} pictures, SHA-256 {about['sha256']}."
        )
    if sets.leaves_one_out:
        lines.append(
            f"- Each of {len(sets.folds)} people is left out once: networks are trained on the "
            f"{len(sets.folds) - 1} others, and one half of the person's sequences calibrates, the "
            "other is evaluated. What the hand net sees is computed once for all trainings."
        )
    presets = ", ".join(PRESET_OF[config.recipe].values())
    steps = "their own numbers of steps" if config.steps is None else f"{config.steps:,} steps each"
    lines.append(f"- Recipe '{config.recipe}': presets {presets}, {steps}, seed {config.seed}.")
    lines += [f"- {sentence}" for sentence in _weights(findings)]
    lines.append(f"- Ours, calibration: {findings.trust}.")
    lines += [f"- {sentence}." for sentence in findings.left_out]
    for use in findings.uses:
        lines += [f"- {sentence}." for sentence in findings.shapes.uses[use].split.left_out]
    return lines


def _weights(findings: Findings) -> list[str]:
    """What the networks start from, and where the points come from."""
    config = findings.config
    if config.recipe == "hand":
        points = "The points in the picture are those of the shipped hand net"
        if findings.has_marks:
            points += (
                "; on this hand model they are other points than its joints, and where they lie "
                "was fitted on pictures of the training people"
            )
        return [f"{points}."]
    return [
        *(f"{sentence}." for sentence in from_scratch(findings.config.imagenet)),
        "The points in the picture are those of the 2D network, arg-max as published.",
    ]


def from_scratch(imagenet: tuple[Path, ...]) -> list[str]:
    """Sentences on networks that do not start from ImageNet, unlike the paper's."""
    return [
        f"NOT AS PUBLISHED: {net} starts from scratch, because no ImageNet file was given "
        f"(--imagenet {net}-….pth); expect larger errors"
        for net in IMAGENET_NETS
        if not any(net in path.name for path in imagenet)
    ]


def _notes(findings: Findings) -> list[str]:
    """How to read the tables."""
    return [
        "The paper's metrics are on joints regressed from the vertices, on both sides; 'model "
        "frame' removes the translation and nothing else. The others are on the joints that the "
        "data set labels: 'root' about the wrist, 'PA' after Procrustes alignment, 'abs.' in the "
        "camera's frame. A missed hand has no error and is counted. Without optimisation, hands "
        "are placed in closed form.",
        "",
        "Shapes at rest: mean errors of the shapes that each rule finds; 'pictures' is how many of "
        "a person it uses. Betas are in standard deviations; 'scaled' is after the size is taken "
        "out.",
    ]
