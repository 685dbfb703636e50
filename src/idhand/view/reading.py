"""Files of hands in any of the forms that we write, and others' with the same columns → motions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from idhand.assets import OPEN_HAND
from idhand.assets import hand as hand_named
from idhand.files import FileKind, existing_file, parse_json, read_arrays, read_json
from idhand.hand import FittableHand
from idhand.predictions import KIND as PREDICTIONS
from idhand.predictions import Predictions
from idhand.tracking import Clock, hand_name
from idhand.view.export.openxr import FORMAT as OPENXR
from idhand.view.hand_tables import HandTable, SourceForm, motion_of
from idhand.view.motion import HandMotion
from idhand.view.results import ImageHands, read_hands

KIND = FileKind(
    format="",
    version=1,
    name="file of hands",
    remedy="name predictions, hands.json or a table of hands (docs/output.md)",
)


@dataclass(frozen=True, kw_only=True)
class HandsRead:
    """The hands of a file."""

    motions: tuple[HandMotion, ...]
    model: FittableHand
    """The one that they all belong to."""
    notes: tuple[str, ...] = field(default=())
    """What was left out or assumed, a sentence each."""


def read_motions(
    path: str | Path, form: SourceForm | None = None, progress: Callable[[Any], Any] = iter
) -> HandsRead:
    """The hands of a file, one motion per hand or picture.

    Args:
        path: Predictions, hands.json, hands.jsonl, what `idhand run --export` writes as npz, mano
            or openxr, or a table with the columns of one of these.
        form: What a table means that does not say so.
        progress: Wraps the hands while those of landmarks are fitted, e.g. with a bar.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no hands that can be read, or hands of several hand models.
    """
    path, form = existing_file(path), form or SourceForm()
    if path.suffix == ".jsonl":
        return _of_images(read_hands(path))
    if path.suffix == ".npz":
        return _of_npz(path, form, progress)
    content = read_json(path, KIND.remedy)
    if isinstance(content, dict) and "images" in content:
        return _of_images(read_hands(path))
    header, columns = _json_table(content, path)
    return _of_table(HandTable(path=path, header=header, columns=columns, form=form), progress)


def _of_npz(path: Path, form: SourceForm, progress: Callable[[Any], Any]) -> HandsRead:
    """Predictions or a table."""
    arrays = read_arrays(path, KIND)
    stored = arrays.pop("header", None)
    header: Any = {}
    if stored is not None:
        text = str(stored) if stored.dtype.kind == "U" else stored.tobytes()
        header = parse_json(text, path, KIND.remedy)
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no {KIND.name}; {KIND.remedy}")
    if header.get("format") == PREDICTIONS.format:
        return _of_predictions(Predictions.load(path))
    return _of_table(HandTable(path=path, header=header, columns=arrays, form=form), progress)


def _of_predictions(predictions: Predictions) -> HandsRead:
    """One motion for each picture with a hand."""
    predictions.check_poses("a conversion")
    found = np.flatnonzero(predictions.found)
    model = hand_named(predictions.model)
    notes = []
    missing = len(predictions) - len(found)
    if missing:
        notes.append(f"{missing} of {len(predictions)} pictures have no hand; they are left out")
    wrist_cam = predictions.wrist_cam
    if wrist_cam is None:
        wrist_cam = np.zeros((len(predictions), 3))
        notes.append(f"'{predictions.method}' predicts no position, so wrists are at the origin")
    assert predictions.rotations is not None
    assert predictions.betas is not None
    motions = tuple(
        motion_of(
            predictions.sample_id[k],
            predictions.rotations[k : k + 1],
            wrist_cam[k : k + 1],
            predictions.betas[k],
            model,
            is_right=bool(predictions.is_right[k]),
        )
        for k in found.tolist()
    )
    return HandsRead(motions=motions, model=model, notes=tuple(notes))


def _of_images(images: Sequence[ImageHands]) -> HandsRead:
    """One motion for each hand of a photo or video; fits that diverged are left out."""
    models = sorted({hand.model for image in images for hand in image.hands})
    if len(models) > 1:
        raise ValueError(f"the hands are of several hand models ({', '.join(models)})")
    model = hand_named(models[0] if models else OPEN_HAND)
    rows: dict[str, list[tuple[int, float, Any]]] = {}
    clocks: dict[str, Clock] = {}
    diverged = 0
    for image in images:
        clock = clocks.setdefault(image.name, Clock())
        frame = image.frame or 0
        time_s = 0.0 if image.time_s is None else clock.increasing(image.time_s)
        for k, found in enumerate(image.hands):
            name = image.names[k] if image.names else hand_name(k, found.is_right)
            diverged += found.status == "diverged"
            if found.status != "diverged":
                rows.setdefault(f"{image.name}/{name}", []).append((frame, time_s, found))
    motions = tuple(_recorded(name, frames, model.name) for name, frames in rows.items())
    notes = (f"{diverged} hands whose fit failed are left out",) if diverged else ()
    return HandsRead(motions=motions, model=model, notes=notes)


def _recorded(name: str, frames: Sequence[tuple[int, float, Any]], model: str) -> HandMotion:
    """One hand's results over time."""

    def stacked(what: str) -> np.ndarray:
        return np.array([getattr(found, what) for _, _, found in frames], dtype=np.float64)

    keypoints = stacked("keypoints_cam")
    return HandMotion(
        name=name,
        is_right=frames[0][2].is_right,
        model=model,
        frame=np.array([frame for frame, _, _ in frames], dtype=np.int64),
        time_s=np.array([time_s for _, time_s, _ in frames]),
        betas=stacked("betas"),
        rotations=stacked("rotations"),
        wrist_cam=keypoints[:, 0],
        keypoints_cam=keypoints,
        score=stacked("score"),
        residual_px=stacked("residual_px"),
        depth_std_m=stacked("depth_std_m"),
    )


def _of_table(table: HandTable, progress: Callable[[Any], Any]) -> HandsRead:
    """One motion for each hand that the rows name, or for each row."""
    model = table.model
    motions = tuple(table.motion(name, at, model) for name, at in progress(table.groups()))
    return HandsRead(motions=motions, model=model)


def _json_table(content: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and columns of a JSON table: rows under `hands`, a list of rows, or columns."""
    header: dict[str, Any] = {}
    if isinstance(content, dict) and isinstance(content.get("hands"), list):
        header = {name: value for name, value in content.items() if name != "hands"}
        content = content["hands"]
        if header.get("format") == OPENXR:
            content = [
                {"hand": hand.get("name"), "is_right": hand.get("is_right"), **frame}
                for hand in content
                if isinstance(hand, dict)
                for frame in hand.get("frames", [])
            ]
    if isinstance(content, dict):
        return header, content
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError(f"{path} is no {KIND.name}; {KIND.remedy}")
    if not content:
        raise ValueError(f"{path} holds no hands")
    names = [name for name in content[0] if all(name in row for row in content)]
    return header, {name: [row[name] for row in content] for name in names}
