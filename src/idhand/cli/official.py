"""`idhand evaluate --protocol`: the benchmarks' own scores, and their result files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from idhand.assets import hand
from idhand.cli.common import count, say
from idhand.data import DataSet, models
from idhand.evaluation.official import (
    DistanceScore,
    FreihandScores,
    dexycb_scores,
    freihand_scores,
)
from idhand.evaluation.official_hands import (
    OfficialHands,
    OfficialTruth,
    freihand_regressor,
    official_hands,
    official_truth,
)
from idhand.evaluation.result_files import (
    FreihandResults,
    dexycb_in_order,
    read_dexycb_results,
    read_freihand_results,
    write_dexycb_results,
    write_freihand_results,
)
from idhand.evaluation.tables import Column, Table
from idhand.files import replacing
from idhand.predictions import Predictions
from idhand.records import Sample

Benchmark = Literal["dexycb-s0", "dexycb-s1", "dexycb-s2", "dexycb-s3", "freihand"]
MM_PER_M = 1e3
FIRST_NUMBERS = "first_numbers"
"""In a DexYCB set's description: the folder of a sequence's camera → the toolkit's number of its
first frame."""
OURS = ".npz"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The pictures of a benchmark's test set."""

    benchmark: Benchmark
    samples: tuple[Sample, ...]
    """Without pixels, by number."""
    numbers: Int[np.ndarray, " images"]
    """What the benchmark calls them by."""

    @property
    def has_truth(self) -> bool:
        """Whether they can be scored."""
        return all(sample.keypoints_cam is not None for sample in self.samples)


def main(
    paths: Sequence[Path], data: DataSet, benchmark: Benchmark, write: Path | None, out: Path | None
) -> None:
    """Score files, print the table, write what was asked for.

    Args:
        paths: Predictions of ours, or the benchmark's result files.
        data: The benchmark's test set.
        benchmark: Whose scores.
        write: Where to write the only file's hands as the benchmark's result file.
        out: Where to write the numbers.

    Raises:
        ValueError: If there is nothing to do, or files and data do not fit.
    """
    pictures = benchmark_pictures(data, benchmark)
    if write is not None and (len(paths) != 1 or paths[0].suffix != OURS):
        raise ValueError(
            "--write takes one predictions file of idhand (.npz) and writes its hands as the "
            "benchmark's result file; name one"
        )
    if not pictures.has_truth and write is None:
        raise ValueError(
            f"the {len(pictures.samples):,} pictures have no 3D truth to score with; add --write "
            "FILE for a result file, or prepare a set with the published truth"
        )
    truth = _truth(pictures) if pictures.has_truth else None
    scores: dict[str, Any] = {}
    for path in paths:
        hands = _hands(path, pictures)
        if write is not None:
            _write(write, hands, pictures)
            print(f"{write} holds {count(len(pictures.samples), 'hand')}, one for each picture")
        if truth is not None:
            scores[_name(path, scores)] = _scores(hands, truth, pictures)
    if truth is None:
        say("these pictures have no 3D truth, so there are no scores")
        return
    table = scores_table(scores, len(pictures.samples), benchmark)
    print(table.markdown())
    if out is not None:
        _write_scores(scores, table, out)


def benchmark_pictures(data: DataSet, benchmark: Benchmark) -> Pictures:
    """The labels of a test set by the benchmark's numbers.

    Raises:
        ValueError: If the set does not say the numbers, or has a number twice.
    """
    samples = list(data.labels())
    first = _first_numbers(data.description(), benchmark) if benchmark != "freihand" else {}
    numbers = [_number(sample, benchmark, first) for sample in samples]
    if len(set(numbers)) != len(numbers):
        raise ValueError(
            f"two pictures of the data set have the same number in {benchmark}; name its test set"
        )
    if benchmark == "freihand" and sorted(numbers) != list(range(len(numbers))):
        raise ValueError(
            f"the data set has {len(numbers):,} evaluation pictures, but not numbers 0 to "
            f"{len(numbers) - 1:,}; FreiHAND's results are complete: prepare the whole evaluation"
        )
    order = np.argsort(numbers)
    return Pictures(
        benchmark=benchmark,
        samples=tuple(samples[place] for place in order.tolist()),
        numbers=np.array(numbers)[order],
    )


def _number(sample: Sample, benchmark: Benchmark, first: Mapping[str, int]) -> int:
    *folders, last = sample.id.split("/")
    digits = last.rsplit("_", 1)[-1]
    place = "/".join(folders)
    fits = place == "evaluation" if benchmark == "freihand" else place in first
    if not fits or not digits.isdecimal():
        raise ValueError(
            f"sample {sample.id} of {sample.dataset} is no test picture of {benchmark}; name the "
            f"test set of `idhand data prepare --protocol {benchmark}`"
        )
    return first.get(place, 0) + int(digits)


def _first_numbers(description: Any, benchmark: Benchmark) -> dict[str, int]:
    """Where the toolkit's numbering begins, by the folder of a sequence's camera.

    Raises:
        ValueError: If the set does not say it, or is another one than the benchmark's test set:
            each has numbers of its own.
    """
    remedy = f"name the test set of `idhand data prepare --protocol {benchmark}` of a complete tree"
    numbered = _numbered(description)
    if numbered is None:
        raise ValueError(
            "the data set does not say by which numbers the toolkit of DexYCB knows its pictures; "
            f"{remedy}"
        )
    said = numbered.get("protocol", benchmark), numbered.get("part", "test")
    if said != (benchmark, "test"):
        raise ValueError(
            f"the data set is {said[0]} {said[1]}, whose pictures have other numbers than those of "
            f"{benchmark}'s test; {remedy}"
        )
    return dict(numbered[FIRST_NUMBERS])


def _numbered(description: Any) -> Mapping[str, Any] | None:
    """The part of a description that has the toolkit's numbers, wherever it stands."""
    if not isinstance(description, Mapping):
        return None
    if isinstance(description.get(FIRST_NUMBERS), Mapping):
        return description
    found = (_numbered(part) for part in description.values())
    return next((each for each in found if each is not None), None)


def _hands(path: Path, pictures: Pictures) -> OfficialHands:
    """One hand for each picture: from a file of ours or one of others."""
    num = len(pictures.samples)
    if path.suffix != OURS:
        joints, verts = _foreign(path, pictures)
        none = np.zeros(num, bool)
        return OfficialHands(joints=joints, verts=verts, filled=none, placed=none)
    predictions = Predictions.load(path)
    model = hand(predictions.model)
    regressor = freihand_regressor(model) if pictures.benchmark == "freihand" else None
    hands = official_hands(predictions, pictures.samples, model, regressor)
    if hands.filled.any():
        say(
            f"{path}: {int(hands.filled.sum()):,} of {num:,} pictures have no hand of "
            f"'{predictions.method}'; the mean hand at the labelled box stands in, since results "
            "must be complete"
        )
    if hands.placed.any():
        say(
            f"{path}: '{predictions.method}' predicts no positions; hands are put where they fill "
            "the labelled box, so numbers without alignment are not the method's"
        )
    return hands


def _foreign(
    path: Path, pictures: Pictures
) -> tuple[Float[np.ndarray, "images 21 3"], Float[np.ndarray, "images verts 3"]]:
    """Joints and vertices of a benchmark's result file, m."""
    num = len(pictures.samples)
    if pictures.benchmark == "freihand":
        results = read_freihand_results(path, num)
        return results.joints, results.verts
    joints_mm = dexycb_in_order(read_dexycb_results(path), pictures.numbers, path)
    return joints_mm / MM_PER_M, np.zeros((num, 0, 3))


def _write(path: Path, hands: OfficialHands, pictures: Pictures) -> None:
    if pictures.benchmark == "freihand":
        write_freihand_results(path, FreihandResults(joints=hands.joints, verts=hands.verts))
        return
    numbers = pictures.numbers.tolist()
    write_dexycb_results(path, dict(zip(numbers, MM_PER_M * hands.joints, strict=True)))


def _truth(pictures: Pictures) -> OfficialTruth:
    """The labels; for FreiHAND with meshes."""
    names = [name for name in models(pictures.samples) if name is not None]
    needs_mesh = pictures.benchmark == "freihand"
    truth = official_truth(
        pictures.samples, hand(names[0]) if needs_mesh and len(names) == 1 else None
    )
    if needs_mesh and truth.verts is None:
        raise ValueError(
            "FreiHAND scores meshes, and not all pictures have pose and shape of a hand model; "
            "prepare the set again with --mano"
        )
    return truth


def _scores(
    hands: OfficialHands, truth: OfficialTruth, pictures: Pictures
) -> FreihandScores | dict[str, DistanceScore]:
    if pictures.benchmark != "freihand":
        return dexycb_scores(MM_PER_M * hands.joints, MM_PER_M * truth.joints)
    assert truth.verts is not None
    return freihand_scores(hands.joints, hands.verts, truth.joints, truth.verts)


def scores_table(
    scores: Mapping[str, FreihandScores | dict[str, DistanceScore]], num: int, benchmark: Benchmark
) -> Table:
    """The benchmark's numbers, a row for each file and alignment."""
    unit = "cm" if benchmark == "freihand" else "mm"
    columns = [
        Column(name="results"),
        Column(name="points"),
        Column(name="alignment"),
        Column(name="mean error", unit=unit, decimals=4),
        Column(name="AUC", decimals=4),
        Column(name="AUC exact", decimals=4),
        Column(name="F@5 mm", decimals=3),
        Column(name="F@15 mm", decimals=3),
    ]
    rows = []
    for name, each in scores.items():
        if not isinstance(each, FreihandScores):
            rows += [(name, "joints", how, s.mean, s.auc, s.auc_exact) for how, s in each.items()]
            continue
        for how, joints in (("none", each.joints), ("procrustes", each.joints_aligned)):
            rows.append(
                (name, "joints", how, joints.mean, joints.auc, joints.auc_exact, None, None)
            )
        meshes = (("none", each.mesh, each.f), ("procrustes", each.mesh_aligned, each.f_aligned))
        for how, mesh, f in meshes:
            numbers = (None,) * 3 if mesh is None else (mesh.mean, mesh.auc, mesh.auc_exact)
            rows.append((name, "mesh", how, *numbers, *f))
    width = 8 if benchmark == "freihand" else 6
    title = f"{benchmark} as its own evaluation scores it, {count(num, 'picture')}"
    return Table(title=title, columns=tuple(columns[:width]), rows=tuple(rows))


def _write_scores(scores: Mapping[str, Any], table: Table, out: Path) -> None:
    """official.json, the table, and `scores.txt` of the only file."""
    texts = {
        "official.json": json.dumps({name: _plain(each) for name, each in scores.items()}, indent=1)
        + "\n",
        "official.md": table.markdown(),
        "official.csv": table.csv(),
    }
    only = next(iter(scores.values()))
    if len(scores) == 1 and isinstance(only, FreihandScores):
        texts["scores.txt"] = only.text
    for name, text in texts.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"The numbers are in {out}: {', '.join(texts)}")


def _plain(scores: FreihandScores | dict[str, DistanceScore]) -> dict[str, Any]:
    if isinstance(scores, FreihandScores):
        return {**asdict(scores), "scores.txt": scores.official}
    return {name: asdict(score) for name, score in scores.items()}


def _name(path: Path, taken: Mapping[str, Any]) -> str:
    return path.name if path.name not in taken else str(path)
