"""Hand models by name: the built-in open hand, and those in the user's folder.

A hand model is asked for by its name everywhere: networks, predictions, profiles and data sets say
which one they belong to. Another one is added once, as a file, and is then there for every command
and every process.
"""

import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from platformdirs import user_data_path
from torch import Tensor

from idhand.assets.children import child_prior
from idhand.files import replacing
from idhand.hand import (
    BonePoints,
    FittableHand,
    HandModel,
    Measures,
    PoseSpace,
    ShapePrior,
    landmark_points,
)

DATA = files("idhand.assets") / "data"
OPEN_HAND = "idhand-open-1"
"""Name of the built-in hand model."""
FOLDER_VARIABLE = "IDHAND_HANDS"
"""Environment variable that names another folder for the user's hand models."""
FORMAT, VERSION = "idhand hand", 1

Population = Literal["all", "male", "female", "child"]


def hand(name: str = OPEN_HAND) -> FittableHand:
    """The hand model of that name, float64.

    Args:
        name: The built-in `OPEN_HAND`, or one that `add_hand` has put into `hands_folder()`.

    Raises:
        ValueError: If there is none of that name here, or its file is damaged.
    """
    if name == OPEN_HAND:
        return open_hand()
    path = _file_of(name, hands_folder())
    if not path.is_file():
        raise ValueError(
            f"the hand model '{name}' is not here; there {_listed(hand_names())}. Add it with "
            f"idhand.assets.add_hand, or use what belongs to one of these"
        )
    return _read_hand(path, path.stat().st_mtime_ns)


def hand_names() -> tuple[str, ...]:
    """Names of all hand models that are here, the built-in one first."""
    return (OPEN_HAND, *sorted(path.stem for path in hands_folder().glob("*.npz")))


def hands_folder() -> Path:
    """Where the user's hand models lie: NAME.npz each. `IDHAND_HANDS` names another folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else user_data_path("idhand", appauthor=False) / "hands"


def add_hand(model: FittableHand) -> Path:
    """Write a hand model into the user's folder, so that `hand` finds it by its name.

    Returns:
        The file; one of that name is replaced in one step.

    Raises:
        ValueError: If the name cannot be a file's, or is the built-in model's.
    """
    if model.name == OPEN_HAND:
        raise ValueError(f"'{OPEN_HAND}' is the built-in hand model; give yours another name")
    folder = hands_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = _file_of(model.name, folder)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **_stored(model))
    return path


def _file_of(name: str, folder: Path) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(
            f"a hand model's name has letters, digits, dots, hyphens and underscores, got {name!r}"
        )
    return folder / f"{name}.npz"


def _listed(names: tuple[str, ...]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names)
    return f"{'is' if len(names) == 1 else 'are'} {quoted}"


_PARTS: Mapping[str, type] = {
    "pose_space": PoseSpace,
    "landmarks": BonePoints,
    "measures": Measures,
    "prior": ShapePrior,
}
_OWN = tuple(f.name for f in fields(HandModel) if f.name not in ("name", "is_right"))
_TUPLES = ("parents", "tip_verts", "names")
"""Fields that are tuples, not tensors."""


def _stored(model: FittableHand) -> dict[str, np.ndarray]:
    """A model as arrays: its own fields by name, those of its parts as PART.FIELD."""
    records: dict[str, Any] = {part: getattr(model, part) for part in _PARTS}
    records |= {f"populations.{name}": prior for name, prior in model.populations.items()}
    values = {name: getattr(model, name) for name in _OWN}
    for part, record in records.items():
        values |= {f"{part}.{f.name}": getattr(record, f.name) for f in fields(record)}
    arrays = {
        name: value.cpu().numpy() if torch.is_tensor(value) else np.array(value)
        for name, value in values.items()
        if value is not None
    }
    header = json.dumps({"format": FORMAT, "version": VERSION, "name": model.name})
    return {"header": np.array(header), **arrays}


@cache
def _read_hand(path: Path, changed_ns: int) -> FittableHand:
    """The model in a file, read once as long as the file does not change."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            values = {name: _value(name, archive[name]) for name in archive.files}
        header = json.loads(values.pop("header"))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or no hand model ({error}); add it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is no hand model of idhand's; remove it, or add the model again")
    if header.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {header.get('version')}, this idhand reads version {VERSION}; "
            "update idhand, or add the model again"
        )
    try:
        populations = sorted({key.split(".")[1] for key in values if key.startswith("populations")})
        return FittableHand(
            name=str(header["name"]),
            populations={name: _part(values, f"populations.{name}") for name in populations},
            **{name: values.get(name) for name in _OWN},
            **{part: _part(values, part) for part in _PARTS},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is incomplete ({error}); add the hand model again") from error


def _value(name: str, array: np.ndarray) -> Any:
    """An array as the field of that name holds it."""
    if name == "header":
        return str(array)
    if name.split(".")[-1] in _TUPLES:
        return tuple(array.tolist())
    return _int(array) if array.dtype.kind in "iu" else _float(array)


def _part(values: Mapping[str, Any], part: str) -> Any:
    kind = _PARTS.get(part, ShapePrior)
    return kind(**{f.name: values[f"{part}.{f.name}"] for f in fields(kind)})


def _arrays(name: str) -> dict[str, np.ndarray]:
    with (DATA / name).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))


def _int(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


@cache
def open_hand() -> FittableHand:
    """The built-in right hand, float64: 1159 vertices, 16 joints, 16 betas in standard deviations.

    The left hand is its mirror image, `open_hand().mirrored()`. Its prior is that of adults, men
    and women in equal parts. Source: tools/build_hand.py, from WebXR's generic hand (MIT) and
    ANSUR II (4082 men, 1986 women); landmark points from tools/build_landmarks.py.
    """
    a = _arrays("open_hand.npz")
    num_betas = a["shape_basis"].shape[-1]
    skin = HandModel(
        name=str(a["name"]),
        template=_float(a["template"]),
        shape_basis=_float(a["shape_basis"]),
        pose_basis=None,
        joint_regressor=_float(a["joint_regressor"]),
        skinning=_float(a["skinning"]),
        parents=tuple(a["parents"].tolist()),
        faces=_int(a["faces"]),
        tip_verts=tuple(a["tip_verts"].tolist()),
    )
    measures = Measures(
        names=tuple(a["measure_names"].tolist()),
        points=_float(a["measure_points"]),
        shape_basis=_float(a["measure_basis"]),
        segments=_int(a["measure_segments"]),
        coefficients=_float(a["measure_coefficients"]),
    )
    marks = json.loads((DATA / "landmark_points.json").read_text("utf-8"))
    adults = FittableHand(
        **{f.name: getattr(skin, f.name) for f in fields(skin)},
        pose_space=PoseSpace(
            names=tuple(a["pose_names"].tolist()),
            joint=_int(a["pose_joint"]),
            axis=_float(a["pose_axis"]),
            mean=_float(a["pose_mean"]),
            covariance=_float(a["pose_covariance"]),
            lower=_float(a["pose_lower"]),
            upper=_float(a["pose_upper"]),
        ),
        landmarks=landmark_points(
            skin,
            measures.growth,
            torch.tensor(marks["offsets_mm"], dtype=torch.float64) / 1e3,
            torch.tensor(marks["bias_covariance_mm2"], dtype=torch.float64) / 1e6,
            float(marks["shape_gain"]),
        ),
        measures=measures,
        prior=ShapePrior(
            mean=torch.zeros(num_betas, dtype=torch.float64),
            covariance=torch.eye(num_betas, dtype=torch.float64),
        ),
        populations={
            name: ShapePrior(
                mean=_float(a[f"prior_{name}_mean"]),
                covariance=_float(a[f"prior_{name}_covariance"]),
            )
            for name in ("male", "female")
        },
    )
    return replace(adults, populations={**adults.populations, "child": child_prior(adults)})


def with_landmarks(model: FittableHand, offsets: Tensor, gain: float = 1.0) -> FittableHand:
    """The model with other points for the landmark net's, see `idhand.hand.landmark_points`."""
    points = landmark_points(
        model, model.measures.growth, offsets, model.landmarks.bias_covariance, gain
    )
    return replace(model, landmarks=points)
