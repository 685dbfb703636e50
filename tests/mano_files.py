"""Files in MANO's form, written for tests: pickles as Python 2 wrote them, opcode by opcode.

No code of chumpy's or SciPy's is needed, nor any file of MANO's.
"""

import struct
import zlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from idhand.assets.mano import MANO_JOINTS
from idhand.assets.mano_file import ManoFile
from tests.second_hand import second_hand

BACK = np.argsort(MANO_JOINTS)
"""For each joint of MANO's its place among ours."""
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)


@dataclass(frozen=True)
class Named:
    """An object of another's class: made of arguments by REDUCE, or by NEWOBJ, with a state."""

    module: str
    name: str
    state: Any = None
    arguments: tuple[Any, ...] = ()
    step: bytes = b"\x81"


@dataclass(frozen=True)
class Global:
    """A name alone."""

    module: str
    name: str


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2 as Python 2 wrote it: texts of bytes, old names of NumPy."""
    return b"\x80\x02" + _emitted(value) + b"."


def _emitted(value: Any) -> bytes:
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"J" + struct.pack("<i", value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return _emitted(value.encode("latin-1"))
        case bytes():
            return b"T" + struct.pack("<i", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(_emitted, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_emitted, value)) + b"e"
        case dict():
            pairs = b"".join(_emitted(k) + _emitted(v) for k, v in value.items())
            return b"}(" + pairs + b"u"
        case Global():
            return f"c{value.module}\n{value.name}\n".encode()
        case Named():
            made = _emitted(Global(value.module, value.name)) + _emitted(value.arguments)
            state = b"" if value.state is None else _emitted(value.state) + b"b"
            return made + value.step + state
        case np.ndarray():
            return _emitted(_array(value))
    raise TypeError(type(value))


def _array(array: np.ndarray) -> Named:
    kind = Named(
        "numpy",
        "dtype",
        (3, "<", None, None, None, -1, -1, 0),
        (array.dtype.str[1:], 0, 1),
        b"R",
    )
    is_fortran = not array.flags.c_contiguous
    state = (1, array.shape, kind, is_fortran, array.tobytes("F" if is_fortran else "C"))
    start = (Global("numpy", "ndarray"), (0,), "b")
    return Named("numpy.core.multiarray", "_reconstruct", state, start, b"R")


def columns(matrix: np.ndarray) -> Named:
    """A sparse matrix of SciPy's, compressed by columns."""
    across, rows = np.nonzero(matrix.T)
    starts = np.concatenate(([0], np.cumsum((matrix != 0).sum(0))))
    state = {
        "_shape": matrix.shape,
        "maxprint": 50,
        "data": matrix[rows, across],
        "indices": rows.astype(np.int32),
        "indptr": starts.astype(np.int32),
        "format": "csc",
    }
    return Named("scipy.sparse.csc", "csc_matrix", state)


def selected(array: np.ndarray) -> Named:
    """The first columns of a larger array of chumpy's, as MANO's `shapedirs` are stored."""
    more = np.concatenate((array, array[..., :3] + 1.0), -1)
    index = np.arange(more.size).reshape(more.shape)[..., : array.shape[-1]].ravel()
    dirty = Named("__builtin__", "set", None, ([],), b"R")
    whole = Named("chumpy.ch", "Ch", {"x": more, "_dirty_vars": dirty, "_itr": None})
    state = {"a": whole, "idxs": index, "preferred_shape": array.shape, "_dirty_vars": dirty}
    return Named("chumpy.reordering", "Select", state)


def contents(file: ManoFile) -> dict[str, Any]:
    """What MANO's pickle of that hand holds, under its own names."""
    joints = file.joint_regressor @ file.template
    tree = np.array([[4294967295, *PARENTS[1:]], range(16)], np.int64)
    return {
        "hands_components": file.pose_components,
        "f": file.faces.astype(np.uint32),
        "J_regressor": columns(file.joint_regressor),
        "kintree_table": tree,
        "J": joints,
        "bs_style": "lbs",
        "hands_coeffs": np.zeros((20, 45)),
        "weights": file.skinning,
        "posedirs": file.pose_basis,
        "hands_mean": file.pose_mean,
        "v_template": file.template,
        "shapedirs": selected(file.shape_basis),
        "bs_type": "lrotmin",
    }


def plain_contents(file: ManoFile) -> dict[str, np.ndarray]:
    """The same as arrays, for an npz."""
    arrays = {k: v for k, v in contents(file).items() if isinstance(v, np.ndarray)}
    return arrays | {"J_regressor": file.joint_regressor, "shapedirs": file.shape_basis}


def save_npz(path: Path, file: ManoFile, *, packed: bool = False) -> None:
    """Write that hand as an npz with MANO's keys."""
    arrays: dict[str, Any] = plain_contents(file)
    (np.savez_compressed if packed else np.savez)(path, **arrays)


def wave(name: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """The formula of the golden numbers, rounded to float32."""
    i = np.arange(np.prod(shape), dtype=np.float64)
    phase = zlib.crc32(name.encode()) % 1000 / 100
    numbers = (scale * np.sin(phase + 0.7 * i + 0.0131 * i**2)).astype(np.float32)
    return numbers.astype(np.float64).reshape(shape)


def wave_file() -> ManoFile:
    """The synthetic hand of the golden numbers; no hand at all to look at."""

    def normalised(array: np.ndarray) -> np.ndarray:
        return (array / array.sum(1, keepdims=True)).astype(np.float32).astype(np.float64)

    j = np.arange(1538)
    return ManoFile(
        is_right=True,
        template=wave("v_template", (778, 3), 0.08),
        shape_basis=wave("shapedirs", (778, 3, 10), 0.004),
        pose_basis=wave("posedirs", (778, 3, 135), 0.0005),
        joint_regressor=normalised(np.abs(wave("J_regressor", (16, 778), 1.0)) ** 8),
        skinning=normalised(np.abs(wave("weights", (778, 16), 1.0)) ** 6),
        faces=np.stack((7 * j % 778, (7 * j + 1 + j % 5) % 778, (7 * j + 13 + j % 7) % 778), 1),
        pose_mean=wave("hands_mean", (45,), 0.2),
        pose_components=wave("hands_components", (45, 45), 0.3),
    )


@cache
def hand_file() -> ManoFile:
    """A hand that looks like one, in MANO's form and rest frame: that of tests/second_hand.py."""
    model = second_hand()
    space = model.pose_space
    vectors = space.vectors(torch.eye(45, dtype=torch.float64)).flatten(1).numpy()
    turn = vectors[:, (BACK[1:, None] * 3 - 3 + np.arange(3)).ravel()]
    root = np.linalg.cholesky(space.covariance.numpy())
    columns9 = (BACK[1:, None] * 9 - 9 + np.arange(9)).ravel()
    assert model.pose_basis is not None
    return ManoFile(
        is_right=True,
        template=model.template.numpy(),
        shape_basis=model.shape_basis.numpy(),
        pose_basis=model.pose_basis.numpy()[..., columns9],
        joint_regressor=model.joint_regressor.numpy()[BACK],
        skinning=model.skinning.numpy()[:, BACK],
        faces=model.faces.numpy()[:1538],
        pose_mean=space.mean.numpy() @ turn,
        pose_components=root.T @ turn,
    )


def left_as_shipped(right: ManoFile) -> ManoFile:
    """The left hand as the publishers ship it: mirrored, but for the sign of its shape basis."""
    flip, turn = np.array([-1.0, 1, 1]), np.array([1.0, -1, -1])
    signs = np.tile(np.outer(flip, flip).ravel(), 15)
    return replace(
        right,
        is_right=False,
        template=right.template * flip,
        shape_basis=right.shape_basis * np.array([1.0, 1, 1])[:, None],
        pose_basis=right.pose_basis * flip[:, None] * signs,
        faces=right.faces[:, ::-1].copy(),
        pose_mean=right.pose_mean * np.tile(turn, 15),
        pose_components=right.pose_components * np.tile(turn, 15),
    )
