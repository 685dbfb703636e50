"""Hand models as files: NAME.npz, in which every array is checked before it becomes a model."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from idhand.files import FileKind, read_headed_arrays, replacing
from idhand.hand import (
    JOINT_NAMES,
    BonePoints,
    FittableHand,
    HandModel,
    Measures,
    PoseSpace,
    ShapePrior,
)

KIND = FileKind(
    format="idhand hand",
    version=1,
    name="hand model of idhand's",
    remedy="add the hand model again with idhand.assets.add_hand",
)
PARENTS = (-1, *(0 if k % 3 == 1 else k - 1 for k in range(1, len(JOINT_NAMES))))
"""Of the 16 joints, in the order of `JOINT_NAMES`."""

_PARTS: Mapping[str, type] = {
    "pose_space": PoseSpace,
    "landmarks": BonePoints,
    "measures": Measures,
    "prior": ShapePrior,
}
_OWN = tuple(f.name for f in fields(HandModel) if f.name not in ("name", "is_right", "betas_of"))
_TUPLES = ("parents", "tip_verts", "names")
"""Fields that are tuples, not tensors."""
_OPTIONAL = ("pose_basis", "pose_space.components")
_PRIOR = {"mean": ("betas",), "covariance": ("betas", "betas")}
_SHAPES: Mapping[str, tuple[str | int, ...]] = {
    "template": ("vertices", 3),
    "shape_basis": ("vertices", 3, "betas"),
    "pose_basis": ("vertices", 3, 135),
    "joint_regressor": (16, "vertices"),
    "skinning": ("vertices", 16),
    "parents": (16,),
    "faces": ("faces", 3),
    "tip_verts": (5,),
    "pose_space.joint": ("angles",),
    "pose_space.names": ("angles",),
    "pose_space.axis": ("angles", 3),
    "pose_space.mean": ("angles",),
    "pose_space.covariance": ("angles", "angles"),
    "pose_space.lower": ("angles",),
    "pose_space.upper": ("angles",),
    "pose_space.components": ("components", "angles"),
    "landmarks.template": (21, 3),
    "landmarks.shape_basis": (21, 3, "betas"),
    "landmarks.joint": (21,),
    "landmarks.bias_covariance": (63, 63),
    "measures.names": ("measures",),
    "measures.points": ("points", 3),
    "measures.shape_basis": ("points", 3, "betas"),
    "measures.segments": ("segments", 2),
    "measures.coefficients": ("measures", "segments"),
    **{f"prior.{name}": shape for name, shape in _PRIOR.items()},
}
"""Of every array of a file; equal words are equal sizes."""
_INDICES: Mapping[str, tuple[int, str | int]] = {
    "faces": (0, "vertices"),
    "tip_verts": (0, "vertices"),
    "pose_space.joint": (1, 16),
    "landmarks.joint": (0, 16),
    "measures.segments": (0, "points"),
}
"""Arrays of whole numbers: the first that is allowed, and the first beyond."""


def write_hand(path: Path, model: FittableHand) -> None:
    """Write a hand model; a file of that name is replaced in one step.

    Raises:
        ValueError: If its arrays do not fit each other or are not finite.
        OSError: If the file cannot be written.
    """
    arrays = _stored(model)
    _check(arrays, f"hand model '{model.name}'")
    header = json.dumps({**KIND.header, "name": model.name}).encode()
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, header=np.frombuffer(header, np.uint8), **arrays)


def read_hand(path: Path) -> FittableHand:
    """The hand model in a file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is something else, damaged, of another version, or its arrays do not fit
            each other.
    """
    header, arrays = read_headed_arrays(path, KIND)
    try:
        _check(arrays, str(path))
    except ValueError as error:
        raise ValueError(f"{error}; {KIND.remedy}") from None
    if not isinstance(header.get("name"), str):
        raise ValueError(f"{path} does not name its hand model; {KIND.remedy}")
    values = {name: _value(name, array) for name, array in arrays.items()}
    populations = {name: _part(values, f"populations.{name}") for name in _populations(arrays)}
    try:
        return FittableHand(
            name=header["name"],
            populations=populations,
            **{name: values.get(name) for name in _OWN},
            **{part: _part(values, part) for part in _PARTS},
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _stored(model: FittableHand) -> dict[str, np.ndarray]:
    """A model as arrays: its own fields by name, those of its parts as PART.FIELD."""
    records: dict[str, Any] = {part: getattr(model, part) for part in _PARTS}
    records |= {f"populations.{name}": prior for name, prior in model.populations.items()}
    values = {name: getattr(model, name) for name in _OWN}
    for part, record in records.items():
        values |= {f"{part}.{f.name}": getattr(record, f.name) for f in fields(record)}
    return {
        name: value.cpu().numpy() if torch.is_tensor(value) else np.array(value)
        for name, value in values.items()
        if value is not None
    }


def _populations(arrays: Mapping[str, np.ndarray]) -> list[str]:
    keys = (key.split(".") for key in arrays)
    return sorted({parts[1] for parts in keys if parts[0] == "populations" and len(parts) == 3})


def _check(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse arrays that make no hand model.

    Raises:
        ValueError: Naming the array, what was found and what is needed.
    """
    shapes = dict(_SHAPES)
    for name in _populations(arrays):
        shapes |= {f"populations.{name}.{key}": shape for key, shape in _PRIOR.items()}
    sizes: dict[str, int] = {}
    for name, dims in shapes.items():
        array = arrays.get(name)
        if array is None:
            if name in _OPTIONAL:
                continue
            raise ValueError(f"{where} has no '{name}'")
        if len(dims) == array.ndim:
            pairs = zip(dims, array.shape, strict=True)
            sizes = {dim: size for dim, size in pairs if isinstance(dim, str)} | sizes
        needed = tuple(sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in dims)
        if array.shape != needed:
            raise ValueError(
                f"{where} has '{name}' of shape {array.shape}, but {needed} is needed "
                f"({' × '.join(map(str, dims))})"
            )
        _check_values(name, array, sizes, where)


def _check_values(name: str, array: np.ndarray, sizes: Mapping[str, int], where: str) -> None:
    if name == "parents":
        if array.tolist() != list(PARENTS):
            raise ValueError(
                f"{where} has 'parents' {array.tolist()}, but the 16 joints must be the wrist, "
                f"then three each of thumb, index, middle, ring and little: {list(PARENTS)}"
            )
    elif name in _INDICES:
        first, end = _INDICES[name]
        end = sizes[end] if isinstance(end, str) else end
        whole = array.dtype.kind in "iu"
        if not whole or (array.size and not first <= array.min() <= array.max() < end):
            raise ValueError(
                f"{where} has '{name}' with other values than whole numbers {first} to {end - 1}"
            )
    elif name.endswith(".names"):
        if array.dtype.kind != "U":
            raise ValueError(f"{where} has '{name}' that are not texts")
    elif array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(f"{where} has '{name}' with numbers that are not finite")


def _value(name: str, array: np.ndarray) -> Any:
    """An array as the field of that name holds it."""
    if name.split(".")[-1] in _TUPLES:
        return tuple(array.tolist())
    return torch.from_numpy(array.astype(np.int64 if name in _INDICES else np.float64))


def _part(values: Mapping[str, Any], part: str) -> Any:
    kind = _PARTS.get(part, ShapePrior)
    names = {f.name: f"{part}.{f.name}" for f in fields(kind)}
    return kind(**{key: values[name] for key, name in names.items() if name in values})
