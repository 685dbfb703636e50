"""Hands in MANO's form → files in the original's form: pickles as Python 2 wrote them, and npz.

The pickles name classes of chumpy and scipy, neither of which is needed to write them: protocol 2
is written here by hand. Nothing is ever unpickled. Source of the protocol: Python's `pickletools`.
"""

import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from idhand.assets.mano_file import ManoFile
from idhand.assets.mano_reading import PARENTS
from idhand.assets.resampled import resampled_hand
from idhand.files import replacing

FILE_STEMS = ("MANO_RIGHT", "MANO_LEFT")
NO_PARENT = 4294967295
"""Of the wrist, in `kintree_table`: −1 as an unsigned number of 32 bits."""
NUM_SCANS = 1554
"""Rows of `hands_coeffs`: the scans that MANO's poses come from."""
SPARE_BETAS = 2
"""Columns of the array behind `shapedirs` that its selection leaves out, as chumpy's may."""


def write_resampled(folder: Path) -> tuple[Path, ...]:
    """Write the resampled hand as MANO_RIGHT and MANO_LEFT, as pickle and as npz.

    Returns:
        The files; those of these names are replaced in one step.

    Raises:
        OSError: If they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for stem, is_right in zip(FILE_STEMS, (True, False), strict=True):
        file = resampled_hand(is_right=is_right)
        out += [folder / f"{stem}.pkl", folder / f"{stem}.npz"]
        write_pickle(out[-2], file)
        write_npz(out[-1], file)
    return tuple(out)


def write_pickle(path: Path, file: ManoFile) -> None:
    """Write a hand as the original's pickle; a file of that name is replaced in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(pickled(file))


def write_npz(path: Path, file: ManoFile) -> None:
    """Write a hand with the original's keys; a file of that name is replaced in one step."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **_arrays(file))


def pickled(file: ManoFile) -> bytes:
    """A hand as the bytes of the original's pickle."""
    arrays = _arrays(file)
    shape_basis = arrays["shapedirs"]
    wider = np.concatenate([shape_basis, np.zeros((*shape_basis.shape[:2], SPARE_BETAS))], -1)
    chosen = np.arange(wider.size).reshape(wider.shape)[..., : shape_basis.shape[-1]]
    behind = _Object(
        "chumpy.ch", "Ch", {"x": np.ascontiguousarray(wider), "_dirty_vars": _Set(("x",))}
    )
    select = _Object(
        "chumpy.reordering",
        "Select",
        {
            "a": behind,
            "idxs": chosen.ravel(),
            "preferred_shape": shape_basis.shape,
            "_dirty_vars": _Set(()),
        },
    )
    regressor = _Object(
        "scipy.sparse.csc", "csc_matrix", _columns(np.asarray(arrays["J_regressor"]))
    )
    return _Writer().dumped({**arrays, "shapedirs": select, "J_regressor": regressor})


def _arrays(file: ManoFile) -> dict[str, Any]:
    """What a file holds, by the original's keys."""
    parents = np.array([NO_PARENT, *PARENTS[1:]], np.int64)
    coefficients = np.random.default_rng(0).standard_normal((NUM_SCANS, len(file.pose_mean)))
    return {
        "hands_components": file.pose_components,
        "f": file.faces.astype(np.uint32),
        "J_regressor": file.joint_regressor,
        "kintree_table": np.stack([parents, np.arange(len(parents))]),
        "J": file.joint_regressor @ file.template,
        "bs_style": "lbs",
        "hands_coeffs": coefficients,
        "weights": file.skinning,
        "posedirs": file.pose_basis,
        "hands_mean": file.pose_mean,
        "v_template": file.template,
        "shapedirs": file.shape_basis,
        "bs_type": "lrotmin",
    }


def _columns(matrix: Float[np.ndarray, "rows columns"]) -> dict[str, Any]:
    """A sparse matrix by columns, as scipy keeps it."""
    column, row = np.nonzero(matrix.T)
    starts = np.searchsorted(column, np.arange(matrix.shape[1] + 1)).astype(np.int32)
    return {
        "_shape": matrix.shape,
        "maxprint": 50,
        "indices": row.astype(np.int32),
        "indptr": starts,
        "data": matrix[row, column],
        "format": "csc",
    }


@dataclass(frozen=True)
class _Object:
    """An instance of a class of that name."""

    module: str
    name: str
    state: Mapping[str, Any]


@dataclass(frozen=True)
class _Set:
    """A Python 2 set."""

    items: Sequence[str]


class _Writer:
    """Values → the opcodes of pickle's protocol 2, texts and bytes as Python 2's `str`."""

    def __init__(self):
        self.out = bytearray(pickle.PROTO + b"\x02")

    def dumped(self, value: Any) -> bytes:
        """The whole pickle."""
        self._put(value)
        return bytes(self.out + pickle.STOP)

    def _put(self, value: Any) -> None:
        match value:
            case None:
                self.out += pickle.NONE
            case bool():
                self.out += pickle.NEWTRUE if value else pickle.NEWFALSE
            case int():
                self.out += pickle.BININT + struct.pack("<i", value)
            case str():
                self._text(value.encode("ascii"))
            case bytes():
                self._text(value)
            case tuple():
                self.out += pickle.MARK
                for item in value:
                    self._put(item)
                self.out += pickle.TUPLE
            case _Set():
                self._call("__builtin__", "set", (_List(value.items),))
            case _List():
                self.out += pickle.EMPTY_LIST + pickle.MARK
                for item in value.items:
                    self._put(item)
                self.out += pickle.APPENDS
            case Mapping():
                self.out += pickle.EMPTY_DICT + pickle.MARK
                for key, item in value.items():
                    self._put(key)
                    self._put(item)
                self.out += pickle.SETITEMS
            case _Object():
                self._global(value.module, value.name)
                self.out += pickle.EMPTY_TUPLE + pickle.NEWOBJ
                self._put(value.state)
                self.out += pickle.BUILD
            case np.ndarray():
                self._array(value)
            case _:
                raise AssertionError(f"there is no way to write {type(value)}")

    def _text(self, value: bytes) -> None:
        if len(value) < 256:
            self.out += pickle.SHORT_BINSTRING + struct.pack("<B", len(value))
        else:
            self.out += pickle.BINSTRING + struct.pack("<i", len(value))
        self.out += value

    def _global(self, module: str, name: str) -> None:
        self.out += pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii")

    def _call(self, module: str, name: str, arguments: tuple[Any, ...]) -> None:
        self._global(module, name)
        self._put(arguments)
        self.out += pickle.REDUCE

    def _array(self, array: np.ndarray) -> None:
        """As `numpy.ndarray.__reduce__` has it: an empty array, then its state."""
        self._global("numpy.core.multiarray", "_reconstruct")
        self.out += pickle.MARK
        self._global("numpy", "ndarray")
        self._put((0,))
        self._put("b")
        self.out += pickle.TUPLE + pickle.REDUCE + pickle.MARK
        self._put(1)
        self._put(array.shape)
        self._call("numpy", "dtype", (array.dtype.str[1:], 0, 1))
        self._put((3, "<", None, None, None, -1, -1, 0))
        self.out += pickle.BUILD
        self._put(False)
        self._put(array.astype(array.dtype.newbyteorder("<")).tobytes())
        self.out += pickle.TUPLE + pickle.BUILD


@dataclass(frozen=True)
class _List:
    items: Sequence[Any]
