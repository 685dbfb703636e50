"""`idhand evaluate`: predictions and the truth of a data set → one table with intervals."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from tyro.conf import Positional, arg

from idhand.assets import hand
from idhand.assets.mano_tips import read_keypoint_regressor
from idhand.cli import EXIT_FINE, official
from idhand.cli.common import count, labelled_model, progress, say, writable_folder
from idhand.data import DataSet, Shards
from idhand.data.kong import read_predictions
from idhand.evaluation import (
    METRICS,
    Column,
    Report,
    Table,
    difference,
    evaluate,
    on_same_pictures,
    paper,
    standard,
)
from idhand.evaluation.bootstrap import Interval
from idhand.evaluation.tables import Cell
from idhand.experiments.numbers import FEWEST_PEOPLE
from idhand.files import replacing
from idhand.predictions import Predictions
from idhand.records import Sample

PICTURE_METRICS = ("pixels", "pck_2d")
"""Also shown in the terminal, where a method predicts points alone."""
MAIN_METRICS = ("mpjpe_root", "mpvpe_root", "mpvpe_scale", "mpjpe_procrustes", "rest_verts")
"""That the terminal shows; the files have all."""
PAPERS_METRICS = ("mpjpe_root", "mpvpe_model", "mpvpe_root")
"""The same with --protocol paper: what its authors' code prints."""
SEED = 0
"""Of the people drawn for the intervals."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """Compare predictions with the truth of a data set.

    Prints a row for each file: mean errors over pictures, in mm, and 95 % intervals over people
    if there are ten or more (over pictures, if the people are unknown). Several files are compared
    on the pictures that they share, each with the first.
    """

    predictions: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="PREDICTIONS...", help_behavior_hint="")
    ]
    """Files that `idhand predict` or `idhand refine` has written, or `predictions_on_test_set.pkl`
    of the ECCV 2022 paper's code; with --protocol dexycb-... or freihand also the benchmark's
    result files: text of 64 numbers a line, pred.json or pred.zip."""
    data: Annotated[Path, arg(metavar="FOLDER")]
    """The data set that they were predicted for, shards as `idhand synth` writes them."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder for report.json and the full table: table.md, table.csv, table.tex."""
    joints: Literal["kinematic", "regressed"] = "kinematic"
    """kinematic: the joints of the hand model; regressed: joints from the vertices, as in the paper
    and for methods that predict only a mesh."""
    protocol: Literal["standard", "paper", official.Benchmark] = "standard"
    """standard: all our metrics; paper: the same with regressed joints; dexycb-s0 to s3, freihand:
    the benchmark's own scores, on its test set."""
    regressor: Annotated[Path | None, arg(metavar="FILE")] = None
    """With regressed joints: a .npy that takes MANO's 778 vertices to 21 keypoints, instead of the
    hand model's own, e.g. that of the ECCV 2022 paper's code."""
    write: Annotated[Path | None, arg(metavar="FILE")] = None
    """With --protocol dexycb-... or freihand: also write the hands as the benchmark's result file
    (text; pred.json or pred.zip)."""

    @property
    def benchmark(self) -> official.Benchmark | None:
        """Whose own scores are asked for, if any's."""
        return next((name for name in get_args(official.Benchmark) if name == self.protocol), None)

    @property
    def is_regressed(self) -> bool:
        """Whether joints come from the vertices."""
        return self.joints == "regressed" or self.protocol == "paper"

    def __post_init__(self):
        if self.regressor is not None and (self.benchmark is not None or not self.is_regressed):
            raise ValueError(
                "--regressor is for joints from the vertices; add --protocol paper or --joints "
                "regressed, or leave it out"
            )
        if self.write is not None and self.benchmark is None:
            raise ValueError(
                "--write writes a benchmark's result file; name the benchmark with --protocol "
                f"{', '.join(get_args(official.Benchmark))}"
            )
        if not self.predictions:
            raise ValueError(
                "there are no predictions; name the .npz files that `idhand predict` has written"
            )


def main(command: Command) -> int:
    """Do it, print the table and return the exit code."""
    shards = Shards(command.data)
    if command.benchmark is not None:
        out = None if command.out is None else writable_folder(command.out)
        official.main(command.predictions, shards, command.benchmark, command.write, out)
        return EXIT_FINE
    loaded = [_loaded(path, shards) for path in command.predictions]
    out = None if command.out is None else writable_folder(command.out)
    regressor = None if command.regressor is None else read_keypoint_regressor(command.regressor)
    protocol = paper(regressor) if command.is_regressed else standard()
    models = [hand(each.model or labelled_model(shards)) for each in loaded]
    reports = [
        evaluate(each, _labels(shards, each), model, protocol)
        for each, model in zip(loaded, models, strict=True)
    ]
    names = row_names(command.predictions, reports)
    _tell_counts(names, reports)
    compared = on_same_pictures(reports) if len(reports) > 1 else tuple(reports)
    some_points = any(each.kind == "points" for each in loaded)
    metrics = PAPERS_METRICS if command.protocol == "paper" else MAIN_METRICS
    metrics = (*metrics, *PICTURE_METRICS) if some_points else metrics
    print(results_table(names, compared, metrics).markdown())
    if out is not None:
        write_results(names, compared, out)
        print(f"All metrics are in {out}: table.md, table.csv, table.tex, report.json")
    return EXIT_FINE


def _loaded(path: Path, data: DataSet) -> Predictions:
    """Predictions of ours, or of the code of the ECCV 2022 paper."""
    if path.suffix == ".pkl":
        return read_predictions(path, data.labels(), labelled_model(data))
    return Predictions.load(path)


def _labels(samples: DataSet, predictions: Predictions) -> Iterator[Sample]:
    """The truth of a set, with a progress bar."""
    yield from progress(samples.labels(), len(samples), predictions.method)


def row_names(paths: Sequence[Path], reports: Sequence[Report]) -> list[str]:
    """Each file's method, with the file's name where one method made several."""
    methods = [report.header["method"] for report in reports]
    uses = Counter(methods)
    return [
        method if uses[method] == 1 else f"{method} ({path.stem})"
        for method, path in zip(methods, paths, strict=True)
    ]


def results_table(names: Sequence[str], reports: Sequence[Report], metrics: Sequence[str]) -> Table:
    """A row for each report, and one for the difference of each to the first."""
    shown = [name for name in metrics if any(name in report.values for report in reports)]
    first, protocol = reports[0], reports[0].protocol
    people = count(first.num_subjects, "person", "people")
    if not first.num_subjects:
        people = "unknown people"
    is_few = 0 < first.num_subjects < FEWEST_PEOPLE and first.intervals_over == "people"

    def shown_as(interval: Interval) -> Interval:
        return replace(interval, low=math.nan, high=math.nan) if is_few else interval

    columns = [Column(name="method"), Column(name="missed")]
    columns += [
        Column(name=METRICS[name].label, unit=METRICS[name].unit, decimals=METRICS[name].decimals)
        for name in shown
    ]
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            report.num_missed,
            *(shown_as(report.interval(m, SEED)) if m in report.values else None for m in shown),
        )
        for name, report in zip(names, reports, strict=True)
    ]
    for name, report in list(zip(names, reports, strict=True))[1:]:
        both = [m in report.values and m in first.values for m in shown]
        gaps = [
            shown_as(difference(report, first, m, SEED)) if has else None
            for m, has in zip(shown, both, strict=True)
        ]
        rows.append((f"{name} − {names[0]}", None, *gaps))
    mean = f"mean [95 % interval over {first.intervals_over}]"
    if is_few:
        mean = "mean; too few people for an interval"
    title = f"{count(len(first), 'picture')} of {people}, {protocol}; {mean}"
    return Table(title=title, columns=tuple(columns), rows=tuple(rows))


def write_results(names: Sequence[str], reports: Sequence[Report], out: Path) -> None:
    """report.json and the table of all metrics in three forms."""
    table = results_table(names, reports, tuple(METRICS))
    document = [
        {"name": name, **report.summary(SEED)} for name, report in zip(names, reports, strict=True)
    ]
    texts = {
        "report.json": json.dumps(document, indent=1, allow_nan=False) + "\n",
        "table.md": table.markdown(),
        "table.csv": table.csv(),
        "table.tex": table.latex(),
    }
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _tell_counts(names: Sequence[str], reports: Sequence[Report]) -> None:
    """Sentences on what is not in the table."""
    for name, report in zip(names, reports, strict=True):
        has_points_alone = not any(name.startswith("mpjpe") for name in report.values)
        numbers = {
            "pictures of the data set have no prediction": report.num_unpredicted,
            "predictions are of pictures that the data set lacks": report.num_unknown,
            "pictures have no vertices to compare with": 0
            if has_points_alone
            else report.num_without_mesh,
            "hands were taken for the other side": report.num_wrong_side,
        }
        for what, number in numbers.items():
            if number:
                say(f"{name}: {number:,} {what}")
    common = set.intersection(*(set(report.sample_id) for report in reports))
    if any(len(report) > len(common) for report in reports):
        total = len(set.union(*(set(report.sample_id) for report in reports)))
        say(f"compared on the {len(common):,} of {total:,} pictures that all files have")
