"""The built-in open hand; `idhand.assets.registry` has others beside it."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from idhand.assets.children import child_prior
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

Population = Literal["all", "male", "female", "child"]


def cache_folder() -> Path:
    """Where things lie that can be made again, such as the studio's machine code."""
    return user_cache_path("idhand", appauthor=False)


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
