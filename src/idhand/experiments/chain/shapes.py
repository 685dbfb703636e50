"""Stage `shapes`: each test person's shape from many pictures, in the paper's ways and in ours.

The paper averages the baseline's shapes of all pictures, of some random ones, or of those of which
the confidence branch is surest. Ours fuses them by their covariances.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from idhand.data.people import rows_by_subject as rows_of_people
from idhand.experiments.chain.config import OURS, RANDOM_NUMBERS, TOP_K, ChainConfig, Use
from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.sets import Sets
from idhand.experiments.profiles import by_number
from idhand.experiments.shapes import fused_shapes, random_rows, shape_errors_mm, true_shapes
from idhand.files import read_json, replacing
from idhand.fusion import CovarianceCalibration, FusionConfig
from idhand.hand import FittableHand
from idhand.methods.rows import KnownBetas
from idhand.predictions import Predictions
from idhand.records import Sample

SHAPES, MESHES = "shapes.json", "rest_meshes.npz"
SINGLE = "single pictures"
"""The baseline's own shape of each picture: what calibration must beat."""
AVERAGE = "average"
"""The hand model's mean shape for everybody: what is known of a person without a picture."""


@dataclass(frozen=True, kw_only=True)
class CalibrationSplit:
    """Which pictures of the test people calibrate, and which are evaluated, as sample ids."""

    use: Use
    calibration: Mapping[str, tuple[str, ...]]
    """By person."""
    evaluated: tuple[str, ...]
    """Of people with pictures to calibrate from."""
    left_out: tuple[str, ...] = ()
    """Sentences on people who have too few."""


def overlapping(labels: Sequence[Sample]) -> CalibrationSplit:
    """All pictures both calibrate and are evaluated, as in the paper."""
    people = rows_of_people([sample.subject for sample in labels], purpose="calibration")
    return CalibrationSplit(
        use="overlap",
        calibration={who: tuple(labels[row].id for row in rows) for who, rows in people.items()},
        evaluated=tuple(sample.id for sample in labels),
    )


def kept_apart(
    labels: Sequence[Sample], seed: int, calibration_ids: frozenset[str] | None = None
) -> CalibrationSplit:
    """One half of each person's recordings calibrates, the other is evaluated.

    Args:
        labels: Of the test people.
        seed: A person's halves do not depend on who else is in the set.
        calibration_ids: Pictures that calibrate, if the protocol names them.
    """
    people = rows_of_people([sample.subject for sample in labels], purpose="calibration")
    calibration: dict[str, tuple[str, ...]] = {}
    evaluated: set[str] = set()
    left_out: list[str] = []
    for who, rows in people.items():
        own = [labels[row] for row in rows]
        chosen = calibration_ids
        if chosen is None:
            chosen = frozenset(_half(own, np.random.default_rng([seed, *who.encode()])))
        first = tuple(sorted(sample.id for sample in own if sample.id in chosen))
        others = {sample.id for sample in own} - chosen
        if first and others:
            calibration[who] = first
            evaluated |= others
        else:
            left_out.append(f"{who} has only one recording, so there is none to keep apart")
    return CalibrationSplit(
        use="apart",
        calibration=calibration,
        evaluated=tuple(sample.id for sample in labels if sample.id in evaluated),
        left_out=tuple(left_out),
    )


def _half(own: Sequence[Sample], rng: np.random.Generator) -> list[str]:
    """The pictures of one half of a person's recordings."""
    recordings: dict[str, list[str]] = {}
    for sample in own:
        recordings.setdefault(recording_of(sample), []).append(sample.id)
    names = sorted(recordings)
    half = rng.permutation(len(names))[: len(names) // 2]
    return [name for place in half for name in recordings[names[place]]]


def recording_of(sample: Sample) -> str:
    """Name of what must stay together: a sequence, seen by all of its cameras.

    Where one recording has several cameras, its sequences are called RECORDING/CAMERA. A picture
    without a sequence is one by itself.
    """
    if sample.sequence is None:
        return f"picture {sample.id}"
    return sample.sequence.rpartition("/")[0] or sample.sequence


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Shapes of one split: name of the rule → person → betas, and how many pictures."""

    split: CalibrationSplit
    betas: dict[str, dict[str, Float[np.ndarray, " betas"]]]
    num_pictures: dict[str, dict[str, int]]


def calibrated(
    baseline: Predictions,
    split: CalibrationSplit,
    model: FittableHand,
    calibration: CovarianceCalibration | None,
    seed: int,
) -> Calibrated:
    """The shapes by every rule.

    Random pictures are drawn once for each person, as the authors do, and the first so many of them
    are taken: the draws are nested.
    """
    assert baseline.betas is not None
    places = {name: row for row, name in enumerate(baseline.sample_id)}
    betas: dict[str, dict[str, np.ndarray]] = {}
    numbers: dict[str, dict[str, int]] = {}

    def note(rule: str, who: str, rows: Sequence[int], shape: np.ndarray | None = None) -> None:
        mean = baseline.betas[list(rows)].mean(0) if shape is None else shape  # pyright: ignore
        betas.setdefault(rule, {})[who] = mean
        numbers.setdefault(rule, {})[who] = len(rows)

    fusion = FusionConfig(covariance_calibration=calibration)
    for who, ids in split.calibration.items():
        rows = [places[name] for name in ids if name in places]
        rows = sorted(row for row in rows if baseline.found[row])
        if not rows:
            continue
        note(AVERAGE, who, [], model.prior.mean.numpy())
        note("all", who, rows)
        for number in RANDOM_NUMBERS:
            note(f"random_{number}", who, random_rows(who, rows, number, seed))
        if baseline.confidence is not None:
            order = np.argsort(-baseline.confidence[rows], kind="stable")[:TOP_K]
            note(f"top_{TOP_K}", who, [rows[place] for place in order])
        fused = fused_shapes(baseline, {who: rows}, model.prior, fusion)
        note(OURS, who, rows, fused[who].betas)
    return Calibrated(split=split, betas=betas, num_pictures=numbers)


@dataclass(frozen=True, kw_only=True)
class ShapeStage:
    """The stage's results, as its files have them."""

    truth: KnownBetas
    uses: dict[Use, Calibrated]
    document: dict[str, Any] = field(repr=False)
    """Of shapes.json."""
    done: Done


def keep_shapes(
    stages: Stages,
    sets: Sets,
    baseline: Predictions,
    uses: Sequence[Use],
    config: ChainConfig,
    calibration: CovarianceCalibration | None,
    needs: Sequence[Done],
) -> ShapeStage:
    """All shapes, their errors, and meshes at rest."""
    known = true_shapes(sets.labels, sets.model)
    truth = {who: known[who].betas for who in sorted(known, key=by_number)}
    splits: dict[Use, CalibrationSplit] = {
        use: overlapping(sets.labels)
        if use == "overlap"
        else kept_apart(sets.labels, config.seed, sets.calibration_ids)
        for use in uses
    }

    def make(folder: Path) -> list[str]:
        found: dict[Use, Calibrated] = {
            use: calibrated(baseline, split, sets.model, calibration, config.seed)
            for use, split in splits.items()
        }
        text = json.dumps(_document(found, truth, baseline, sets.model), indent=1)
        with replacing(folder / SHAPES) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
        _write_meshes(folder / MESHES, found, truth, sets.model)
        return [SHAPES, MESHES]

    about = {"uses": list(uses), "seed": config.seed}
    done = stages.keep("shapes", about, needs, make)
    document = read_json(done.folder / SHAPES, "run the stage 'shapes' again")
    return ShapeStage(truth=truth, uses=_read(document, splits), document=document, done=done)


def _document(
    found: Mapping[Use, Calibrated],
    truth: KnownBetas,
    baseline: Predictions,
    model: FittableHand,
) -> dict[str, Any]:
    """All shapes and errors, as JSON can hold them."""
    uses: dict[str, Any] = {}
    for use, each in found.items():
        rules = {
            rule: {
                who: {
                    "pictures": each.num_pictures[rule][who],
                    "betas": shape.tolist(),
                    **_errors(model, shape[None], truth[who][None]),
                }
                for who, shape in shapes.items()
            }
            for rule, shapes in each.betas.items()
        }
        uses[use] = {SINGLE: _single(each.split, truth, baseline, model), **rules}
    return {"true": {who: betas.tolist() for who, betas in truth.items()}, "uses": uses}


def _single(
    split: CalibrationSplit, truth: KnownBetas, baseline: Predictions, model: FittableHand
) -> dict[str, Any]:
    """Mean errors of the baseline's shape of one picture, over the pictures that are evaluated."""
    assert baseline.betas is not None
    wanted = set(split.evaluated)
    rows: dict[str, list[int]] = {}
    for row, (name, who) in enumerate(zip(baseline.sample_id, baseline.subject, strict=True)):
        if name in wanted and baseline.found[row]:
            rows.setdefault(who, []).append(row)
    return {
        who: {
            "pictures": 1,
            **_errors(model, baseline.betas[own], np.tile(truth[who], (len(own), 1))),
        }
        for who, own in rows.items()
    }


def _errors(
    model: FittableHand,
    ours: Float[np.ndarray, "shapes betas"],
    theirs: Float[np.ndarray, "shapes betas"],
) -> dict[str, float]:
    """Means over shapes: see `shape_errors_mm`; `betas` is the mean absolute difference."""
    errors = shape_errors_mm(model, torch.from_numpy(ours), torch.from_numpy(theirs))
    means = {f"{name}_mm": float(values.mean()) for name, values in errors.items()}
    return {"betas_error": float(np.abs(ours - theirs).mean()), **means}


def _write_meshes(
    path: Path, found: Mapping[Use, Calibrated], truth: KnownBetas, model: FittableHand
) -> None:
    """Vertices at rest: USE/RULE → people × vertices × 3, metres; people as listed under `people`.

    A person without a shape by a rule has NaN.
    """
    people = list(truth)
    arrays: dict[str, np.ndarray] = {"people": np.array(people, dtype=str)}
    tables = {f"{use}/{rule}": s for use, each in found.items() for rule, s in each.betas.items()}
    for name, shapes in {"true": truth, **tables}.items():
        unknown = np.full(model.num_betas, np.nan)
        betas = torch.from_numpy(np.stack([shapes.get(who, unknown) for who in people]))
        arrays[name] = model.with_shape(betas).rest_verts.float().numpy()
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def _read(
    document: Mapping[str, Any], splits: Mapping[Use, CalibrationSplit]
) -> dict[Use, Calibrated]:
    """The shapes of a document, numbers as they were."""
    found: dict[Use, Calibrated] = {}
    for use, split in splits.items():
        rules = {k: v for k, v in document["uses"][use].items() if k != SINGLE}
        found[use] = Calibrated(
            split=split,
            betas={r: {w: np.array(p["betas"]) for w, p in s.items()} for r, s in rules.items()},
            num_pictures={r: {w: p["pictures"] for w, p in s.items()} for r, s in rules.items()},
        )
    return found
