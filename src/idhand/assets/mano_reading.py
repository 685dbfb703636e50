"""MANO's files as people have them: pickle, npz with the same keys, the folder or the zip of both.

Pickles are read by `idhand.assets.unpickling`, so nothing of theirs is run; archives are read in
memory, file by file, up to a size, and never unpacked.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from idhand.assets.mano_file import NUM_BETAS, NUM_FACES, NUM_VERTS, ManoFile
from idhand.assets.pickle_names import MANO_NAMES, Shell, bytes_text
from idhand.assets.unpickling import MAX_BYTES, read_pickle, unpickled
from idhand.files import existing_file

RIGHT_FILE, LEFT_FILE = "MANO_RIGHT", "MANO_LEFT"
"""What the publishers call the two, without the suffix."""
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Of each joint, in MANO's own order."""
MODELS_FOLDER = "models"
"""Where the publishers' archive has them."""
CLEARLY = 0.5
"""Cosine between the fingers and the x axis from which on the mesh tells its side."""
SIZE_M = (0.05, 0.5)
"""Longest extent of a hand; beyond are millimetres, or no hand."""
SUM_TOLERANCE = 1e-3
"""Of weights that sum to one."""
REMEDY = "name MANO_RIGHT.pkl or MANO_LEFT.pkl as the publishers give them"
_SUFFIXES = (".pkl", ".npz")
_ZIP_START = b"PK\x03\x04"
"""Of archives and npz."""
_OTHERS = {6890: "SMPL's body", 10475: "SMPL-X's body", 5023: "FLAME's head"}
"""Vertices of models that come in files of the same form."""
_FINGER_ENDS = (3, 6, 9, 12)
"""The last joints of the four fingers."""
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "v_template": (NUM_VERTS, 3),
    "shapedirs": (NUM_VERTS, 3, NUM_BETAS),
    "posedirs": (NUM_VERTS, 3, 135),
    "J_regressor": (16, NUM_VERTS),
    "weights": (NUM_VERTS, 16),
    "f": (NUM_FACES, 3),
    "hands_mean": (45,),
    "hands_components": (45, 45),
    "kintree_table": (2, 16),
}
_FIELDS = {
    "v_template": "template",
    "shapedirs": "shape_basis",
    "posedirs": "pose_basis",
    "J_regressor": "joint_regressor",
    "weights": "skinning",
    "hands_mean": "pose_mean",
    "hands_components": "pose_components",
}
"""Arrays of the file that a `ManoFile` holds as they are."""


def read_mano(path: Path) -> tuple[ManoFile, ...]:
    """The hands in a file, a folder or an archive; of a side that is there twice the pickle.

    Args:
        path: MANO_RIGHT.pkl or MANO_LEFT.pkl, an npz with the same keys, the publishers' folder or
            zip `mano_v1_2`, or any folder that has the files in itself or under `models`.

    Returns:
        The right hand, the left one, or both in this order.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If it holds no hand of MANO's, is damaged, or does what such a file need not.
    """
    if path.is_dir():
        hands = [_read_file(file) for file in mano_files(path)]
    elif zipfile.is_zipfile(existing_file(path)) and path.suffix.lower() != ".npz":
        hands = list(_in_archive(path))
    else:
        hands = [_read_file(path)]
    by_side = {hand.is_right: hand for hand in reversed(hands)}
    if not by_side:
        raise ValueError(f"{path} has neither {RIGHT_FILE}.pkl nor {LEFT_FILE}.pkl; {REMEDY}")
    return tuple(by_side[side] for side in (True, False) if side in by_side)


def mano_files(folder: Path) -> tuple[Path, ...]:
    """MANO's files in a folder, or in its folder `models`; pickles first."""
    places = (
        (place / name).with_suffix(suffix)
        for suffix in _SUFFIXES
        for name in (RIGHT_FILE, LEFT_FILE)
        for place in (folder, folder / MODELS_FOLDER)
    )
    return tuple(path for path in places if path.is_file())


def _read_file(path: Path) -> ManoFile:
    if zipfile.is_zipfile(existing_file(path)):
        with path.open("rb") as stream:
            return _checked(_npz_arrays(stream, path), path, path.stem)
    with path.open("rb") as stream:
        if stream.read(len(_ZIP_START)) == _ZIP_START:
            raise ValueError(
                f"{path} is an archive whose end is missing or damaged, as after a download that "
                "was interrupted; get it again"
            )
    return _checked(read_pickle(path, MANO_NAMES), path, path.stem)


def _in_archive(path: Path) -> Iterator[ManoFile]:
    """The hands of an archive.

    Raises:
        ValueError: If a file's path leaves the archive, or a hand is larger than it can be.
    """
    with zipfile.ZipFile(path) as archive:
        names = {name: PurePosixPath(name.replace("\\", "/")) for name in archive.namelist()}
        for name, inner in names.items():
            leaves = inner.is_absolute() or ".." in inner.parts
            if leaves or any(":" in part for part in inner.parts[:1]):
                raise ValueError(
                    f"{path} has a file whose path leaves the archive ({name[:80]!r}); nothing of "
                    "it was read; get it again from its publishers"
                )
        for suffix in _SUFFIXES:
            for name, inner in names.items():
                if inner.suffix == suffix and inner.stem in (RIGHT_FILE, LEFT_FILE):
                    where, data = f"{path}/{name}", _member(archive, name, path)
                    value = (
                        unpickled(data, MANO_NAMES, where)
                        if suffix == ".pkl"
                        else _npz_arrays(io.BytesIO(data), where)
                    )
                    yield _checked(value, where, inner.stem)


def _member(archive: zipfile.ZipFile, name: str, where: object) -> bytes:
    """A file of an archive, no larger than a hand can be whatever the archive says."""
    try:
        with archive.open(name) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{where} is damaged at {name} ({error}); get it again") from None
    if len(data) > MAX_BYTES:
        raise ValueError(
            f"{where} is refused: {name} unpacks to more than {bytes_text(MAX_BYTES)}, which no "
            "hand has; get it again from its publishers"
        )
    return data


def _npz_arrays(stream: BinaryIO, where: object) -> dict[str, np.ndarray]:
    """The arrays of an npz; the size that each claims is checked before it is made."""
    arrays: dict[str, np.ndarray] = {}
    total = 0
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{where} is damaged ({error}); get it again") from None
    with archive:
        for name in archive.namelist():
            if name.removesuffix(".npy") not in _SHAPES:
                continue
            data = _member(archive, name, where)
            total += len(data)
            if total > MAX_BYTES:
                raise ValueError(f"{where} is refused: it has too many arrays; get it again")
            arrays[name.removesuffix(".npy")] = _npy_array(data, f"{where}, {name}")
    return arrays


def _npy_array(data: bytes, where: object) -> np.ndarray:
    """An array as `numpy.save` writes it."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read[version[0]](stream)
    except (ValueError, KeyError) as error:
        raise ValueError(f"{where} is no array of numbers ({error}); get it again") from None
    rest = memoryview(data)[stream.tell() :]
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size != len(rest):
        raise ValueError(
            f"{where} claims an array of {bytes_text(size)} of the type {dtype}, of which "
            f"{bytes_text(len(rest))} are there; get it again"
        )
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if is_fortran else "C")


def _checked(value: Any, where: object, stem: str) -> ManoFile:
    """What was read as the hand that it must be.

    Raises:
        ValueError: Saying what is missing, of another size, or against what the name says.
    """
    if not isinstance(value, dict) or "v_template" not in value:
        raise ValueError(f"{where} is no hand of MANO's: it has no 'v_template'; {REMEDY}")
    arrays = {
        name: _numbers(value[name], name, where) if name in value else None for name in _SHAPES
    }
    template = arrays["v_template"]
    if template is not None and len(template) != NUM_VERTS:
        other = _OTHERS.get(len(template), "of something else")
        raise ValueError(
            f"{where} has {len(template)} vertices ({other}), MANO's hand has {NUM_VERTS}; {REMEDY}"
        )
    for name, needed in _SHAPES.items():
        array = arrays[name]
        if array is None:
            raise ValueError(f"{where} has no '{name}'; {REMEDY}")
        if array.shape != needed:
            raise ValueError(
                f"{where} has '{name}' of shape {array.shape}, MANO's has {needed}; {REMEDY}"
            )
    return _hand({name: array for name, array in arrays.items() if array is not None}, where, stem)


def _hand(arrays: Mapping[str, np.ndarray], where: object, stem: str) -> ManoFile:
    """Arrays of the right sizes as a hand, if they make one."""
    parents = arrays["kintree_table"][0, 1:]
    if parents.tolist() != list(PARENTS[1:]):
        raise ValueError(
            f"{where} has joints in another order than MANO's ('kintree_table'); {REMEDY}"
        )
    faces = arrays["f"]
    if not ((faces >= 0) & (faces < NUM_VERTS) & (faces % 1 == 0)).all():
        raise ValueError(f"{where} has 'f' with other vertices than 0 to {NUM_VERTS - 1}; {REMEDY}")
    for name in ("J_regressor", "weights"):
        worst = np.abs(arrays[name].sum(1) - 1).max()
        if worst > SUM_TOLERANCE:
            raise ValueError(
                f"{where} has '{name}' whose rows do not sum to one (off by {worst:.2g}); {REMEDY}"
            )
    template = arrays["v_template"]
    size_m = float(np.ptp(template, 0).max())
    if not SIZE_M[0] < size_m < SIZE_M[1]:
        raise ValueError(f"{where} has a hand of {size_m:.3g} m; metres are needed; {REMEDY}")
    return ManoFile(
        is_right=_is_right(arrays["J_regressor"] @ template, where, stem),
        faces=faces.astype(np.int64),
        **{field: arrays[name] for name, field in _FIELDS.items()},
    )


def _is_right(joints: np.ndarray, where: object, stem: str) -> bool:
    """The side, by the direction of the fingers at rest, and by the file's name.

    Raises:
        ValueError: If the two contradict each other, or neither tells.
    """
    fingers = joints[list(_FINGER_ENDS)].mean(0) - joints[0]
    cosine = float(fingers[0] / np.linalg.norm(fingers))
    by_mesh = None if abs(cosine) < CLEARLY else cosine < 0
    name = stem.upper()
    by_name = {(True, False): True, (False, True): False}.get(("RIGHT" in name, "LEFT" in name))
    if by_mesh is None and by_name is None:
        raise ValueError(
            f"{where} does not tell its side: its fingers point neither to −x nor to +x; call it "
            f"{RIGHT_FILE} or {LEFT_FILE}"
        )
    if by_mesh is not None and by_name is not None and by_mesh != by_name:
        says, is_in_truth = ("right", "left") if by_name else ("left", "right")
        raise ValueError(
            f"{where} says that it is the {says} hand, but holds a {is_in_truth} one, whose "
            f"fingers point to {'−' if by_mesh else '+'}x; get it again, or give it its own name"
        )
    return bool(by_name if by_mesh is None else by_mesh)


def _numbers(value: Any, name: str, where: object) -> np.ndarray:
    """An array of the file as float64: as it is, sparse, or one of chumpy's.

    Raises:
        ValueError: If it is none of these, or has a number that is not finite.
    """
    try:
        array = _dense(value)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError):
        array = None
    if array is None or array.dtype.kind not in "biuf":
        raise ValueError(f"{where} has '{name}' that is no array of numbers; {REMEDY}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{where} has '{name}' with numbers that are not finite; {REMEDY}")
    return array


def _dense(value: Any) -> np.ndarray | None:
    """The array that a value of a pickle stands for; None if it is none."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, Shell):
        return None
    parts = value.attributes
    match value.name:
        case "chumpy.ch.Ch":
            return parts["x"] if isinstance(parts["x"], np.ndarray) else None
        case "chumpy.reordering.Select":
            whole = parts["a"]
            whole = whole.attributes["x"] if isinstance(whole, Shell) else whole
            return whole.ravel()[parts["idxs"]].reshape(parts["preferred_shape"])
        case "scipy.sparse.csc.csc_matrix":
            return _from_columns(parts)
    return None


def _from_columns(parts: Mapping[str, Any]) -> np.ndarray | None:
    """A sparse matrix of compressed columns, dense."""
    shape = parts.get("_shape", parts.get("shape"))
    if shape != (16, NUM_VERTS):
        return None
    starts, rows, data = parts["indptr"], parts["indices"], parts["data"]
    counts = np.diff(starts)
    fits = starts[0] == 0 and (counts >= 0).all() and counts.sum() == len(rows) == len(data)
    if not fits or (rows < 0).any():
        return None
    dense = np.zeros(shape)
    np.add.at(dense, (rows, np.repeat(np.arange(NUM_VERTS), counts)), data)
    return dense
