"""Hand models by name: the built-in open hand, and those in the user's folder.

Networks, predictions, profiles and data sets name the hand model that they belong to. Another model
is added once, as a file, and is then available to every command and every process.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from platformdirs import user_cache_path, user_data_path
from torch import Tensor

from idhand.assets.children import child_prior
from idhand.assets.hand_files import read_hand, write_hand
from idhand.hand import (
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

Population = Literal["all", "male", "female", "child"]


def hand(name: str) -> FittableHand:
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
    model = _read_hand(path, path.stat().st_mtime_ns)
    if model.name != name:
        raise ValueError(
            f"{path} holds the hand model '{model.name}'; call the file {model.name}.npz, or add "
            "the hand model again with idhand.assets.add_hand"
        )
    return model


def hand_names() -> tuple[str, ...]:
    """Names of all hand models that are here, the built-in one first."""
    return (OPEN_HAND, *sorted(path.stem for path in hands_folder().glob("*.npz")))


def hands_folder() -> Path:
    """Where the user's hand models lie: NAME.npz each. `IDHAND_HANDS` names another folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else user_data_path("idhand", appauthor=False) / "hands"


def cache_folder() -> Path:
    """Where things lie that can be made again, such as the studio's machine code."""
    return user_cache_path("idhand", appauthor=False)


def add_hand(model: FittableHand) -> Path:
    """Write a hand model into the user's folder, so that `hand` finds it by its name.

    Returns:
        The file; one of that name is replaced in one step.

    Raises:
        ValueError: If the name cannot be a file's or is the built-in model's, or the model's arrays
            do not fit each other or are not finite.
        OSError: If the file cannot be written.
    """
    if model.name == OPEN_HAND:
        raise ValueError(f"'{OPEN_HAND}' is the built-in hand model; give yours another name")
    folder = hands_folder()
    path = _file_of(model.name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_hand(path, model)
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


@cache
def _read_hand(path: Path, changed_ns: int) -> FittableHand:
    """The model in a file, read once as long as the file does not change."""
    return read_hand(path)


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
    skin, measures = _open_skin(a), _open_measures(a)
    marks = json.loads((DATA / "landmark_points.json").read_text("utf-8"))
    adults = FittableHand(
        **{f.name: getattr(skin, f.name) for f in fields(skin)},
        pose_space=_open_pose_space(a),
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


def _open_skin(a: Mapping[str, np.ndarray]) -> HandModel:
    return HandModel(
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


def _open_measures(a: Mapping[str, np.ndarray]) -> Measures:
    return Measures(
        names=tuple(a["measure_names"].tolist()),
        points=_float(a["measure_points"]),
        shape_basis=_float(a["measure_basis"]),
        segments=_int(a["measure_segments"]),
        coefficients=_float(a["measure_coefficients"]),
    )


def _open_pose_space(a: Mapping[str, np.ndarray]) -> PoseSpace:
    return PoseSpace(
        names=tuple(a["pose_names"].tolist()),
        joint=_int(a["pose_joint"]),
        axis=_float(a["pose_axis"]),
        mean=_float(a["pose_mean"]),
        covariance=_float(a["pose_covariance"]),
        lower=_float(a["pose_lower"]),
        upper=_float(a["pose_upper"]),
    )


def with_landmarks(model: FittableHand, offsets: Tensor, gain: float = 1.0) -> FittableHand:
    """The model with other points for the landmark net's, see `idhand.hand.landmark_points`."""
    points = landmark_points(
        model, model.measures.growth, offsets, model.landmarks.bias_covariance, gain
    )
    return replace(model, landmarks=points)
