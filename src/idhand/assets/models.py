"""Hand models from files: the built-in open hand."""

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from idhand.hand import (
    KEYPOINT_JOINT,
    KEYPOINT_ORDER,
    BonePoints,
    HandModel,
    Measures,
    PoseSpace,
)

DATA = files("idhand.assets") / "data"

Population = Literal["all", "male", "female"]


def _arrays(name: str) -> dict[str, np.ndarray]:
    with (DATA / name).open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _float(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))


def _int(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))


@cache
def open_hand() -> HandModel:
    """The built-in right hand, float64: 1159 vertices, 16 joints, 16 betas in standard deviations.

    The left hand is its mirror image, `open_hand().mirrored()`. Source: tools/build_hand.py, from
    WebXR's generic hand (MIT) and ANSUR II; landmark points from tools/build_landmarks.py.
    """
    a = _arrays("open_hand.npz")
    model = HandModel(
        name=str(a["name"]),
        template=_float(a["template"]),
        shape_basis=_float(a["shape_basis"]),
        pose_basis=None,
        joint_regressor=_float(a["joint_regressor"]),
        skinning=_float(a["skinning"]),
        parents=tuple(a["parents"].tolist()),
        faces=_int(a["faces"]),
        tip_verts=tuple(a["tip_verts"].tolist()),
        pose_space=PoseSpace(
            names=tuple(a["pose_names"].tolist()),
            joint=_int(a["pose_joint"]),
            axis=_float(a["pose_axis"]),
            mean=_float(a["pose_mean"]),
            covariance=_float(a["pose_covariance"]),
            lower=_float(a["pose_lower"]),
            upper=_float(a["pose_upper"]),
        ),
        measures=Measures(
            names=tuple(a["measure_names"].tolist()),
            points=_float(a["measure_points"]),
            shape_basis=_float(a["measure_basis"]),
            segments=_int(a["measure_segments"]),
            coefficients=_float(a["measure_coefficients"]),
        ),
    )
    points = _landmark_points()
    return with_landmarks(model, points["offsets"], float(points["gain"]))


@cache
def _landmark_points() -> dict[str, Tensor]:
    """The shipped numbers of tools/build_landmarks.py, metres."""
    path = DATA / "landmark_points.json"
    if not path.is_file():
        return {
            "offsets": torch.zeros(21, 3).double(),
            "bias": 0.003**2 * torch.eye(63).double(),
            "gain": torch.ones(()),
        }
    numbers = json.loads(path.read_text())
    return {
        "gain": torch.tensor(numbers["shape_gain"]),
        "offsets": torch.tensor(numbers["offsets_mm"], dtype=torch.float64) / 1e3,
        "bias": torch.tensor(numbers["bias_covariance_mm2"], dtype=torch.float64) / 1e6,
    }


def landmark_bias_covariance() -> Tensor:
    """How the landmark net's marks differ from person to person: (63, 63), metres squared.

    In the rest frame, landmark-major; what stays the same in all photos of a person.
    """
    return _landmark_points()["bias"]


def with_landmarks(model: HandModel, offsets: Tensor, gain: float = 1.0) -> HandModel:
    """Give the model the points that the landmark net marks.

    Args:
        model: Any hand with measures.
        offsets: (21, 3) metres from each keypoint in the model's rest frame, for the mean hand;
            they grow with the hand's length.
        gain: How much of a person's proportions the net shows; below one it draws everybody nearer
            to the average hand. Size is not affected.
    """
    assert model.measures is not None
    tips = list(model.tip_verts)
    order = list(KEYPOINT_ORDER)
    template = torch.cat((model.joint_template, model.template[tips]))[order]
    basis = torch.cat((model.joint_basis, model.shape_basis[tips]))[order]
    scaling = template[..., None] * model.measures.growth
    points = BonePoints(
        template=template + offsets,
        shape_basis=scaling + gain * (basis - scaling) + offsets[..., None] * model.measures.growth,
        joint=torch.tensor(KEYPOINT_JOINT),
    )
    return replace(model, landmarks=points)


def shape_prior(population: Population = "all") -> tuple[Tensor, Tensor]:
    """Mean and covariance of the open hand's betas over a population.

    Source: ANSUR II, 4082 men and 1986 women; "all" holds men and women in equal parts.
    """
    if population == "all":
        return torch.zeros(16, dtype=torch.float64), torch.eye(16, dtype=torch.float64)
    a = _arrays("open_hand.npz")
    mean, covariance = (a[f"prior_{population}_{part}"] for part in ("mean", "covariance"))
    return _float(mean), _float(covariance)
