"""DexYCB's labels: half a million small files, read once and then from a cache.

A file has five arrays. The object poses are never read, and the segmentation, by far the largest,
only where masks are asked for.
"""

import hashlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from idhand.assets.models import cache_folder
from idhand.data.dexycb.layout import HEIGHT_PX, REMEDY, SERIALS, WIDTH_PX, Sequence
from idhand.files import FileKind, read_headed_arrays, replacing
from idhand.records import OTHER_PART, UNPARTED_HAND

KIND = FileKind(
    format="idhand dexycb labels",
    version=1,
    name="cache of DexYCB's labels",
    remedy="delete it, it is made again",
)
SHAPES = {"pose_m": (1, 51), "joint_3d": (1, 21, 3), "joint_2d": (1, 21, 2)}
MAX_MEMBER_BYTES = 4096
"""Of these arrays, header included; they have at most 380."""
MAX_SEG_BYTES = 4 * WIDTH_PX * HEIGHT_PX
MAX_FILE_BYTES = 16_000_000
ABSENT = -1.0
"""All joints of a frame without a hand."""
MAX_DEPTH_M = 10.0
MAX_BOX = 4.0
"""Of a hand's box, in widths of the picture: a hand 5 cm from the camera."""
MAX_ANGLE_RAD = 100.0
"""Of a wrist's rotation vector and of PCA coefficients, in absolute value."""
HAND_SEG = 255
"""Of `seg`; 1 to 21 are the objects."""

_FAULTS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, KeyError, ValueError, RuntimeError,
    NotImplementedError, OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SequenceLabels:
    """The labels of a sequence; zeros where there is no hand."""

    pose_m: Float[np.ndarray, "cameras frames 51"]
    """Rotation vector of the wrist, 45 coefficients, translation in metres; MANO's conventions."""
    joint_3d: Float[np.ndarray, "cameras frames 21 3"]
    """Metres, in the camera's frame."""
    joint_2d: Float[np.ndarray, "cameras frames 21 2"]
    """Pixels; may leave the picture."""
    labelled: Bool[np.ndarray, "cameras frames"]
    """Where there is a hand."""
    problems: tuple[str, ...]
    """Files that are damaged or absurd, a sentence each; they count as without a hand."""


class LabelCache:
    """Labels of whole sequences, kept in a file each.

    A file of labels is read again when its size or its time of change is another one. Where the
    cache cannot be written, labels are read from their files every time.

    Args:
        root: Of the tree.
        folder: For the cache; by default one for this tree in the user's cache folder.
    """

    def __init__(self, root: Path, folder: Path | None = None):
        self.root = root
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
        self.folder = folder or cache_folder() / "dexycb" / name

    def read(self, sequence: Sequence) -> SequenceLabels:
        """A sequence's labels, from the cache where it is up to date."""
        stamps = self._stamps(sequence)
        kept = self._kept(sequence, stamps.shape)
        if kept is not None and np.array_equal(kept["stamps"], stamps):
            return _labels(kept, ())
        arrays = {
            name: np.zeros((*sequence.labels.shape, *shape[1:]), np.float32)
            for name, shape in SHAPES.items()
        }
        arrays["labelled"] = np.zeros(sequence.labels.shape, bool)
        arrays["stamps"] = stamps
        problems: list[str] = []
        for camera, frame in np.argwhere(sequence.labels).tolist():
            if kept is not None and np.array_equal(
                kept["stamps"][camera, frame], stamps[camera, frame]
            ):
                for name in (*SHAPES, "labelled"):
                    arrays[name][camera, frame] = kept[name][camera, frame]
                continue
            path = self.root / f"{sequence.stem('labels', camera, frame)}.npz"
            try:
                values = read_label(path)
            except (ValueError, OSError) as error:
                problems.append(str(error))
                arrays["stamps"][camera, frame] = 0  # so that it is looked at, and told, again
                continue
            if values is not None:
                arrays["labelled"][camera, frame] = True
                for name, value in values.items():
                    arrays[name][camera, frame] = value
        self._keep(sequence, arrays)
        return _labels(arrays, tuple(problems))

    def _stamps(self, sequence: Sequence) -> Int[np.ndarray, "cameras frames 2"]:
        """Size and time of change of each file; zeros where there is none."""
        stamps = np.zeros((*sequence.labels.shape, 2), np.int64)
        for camera, serial in enumerate(SERIALS):
            if not sequence.labels[camera].any():
                continue
            with os.scandir(self.root / sequence.folder / serial) as entries:
                files = {e.name: e for e in entries if e.name.startswith("labels_")}
            for frame in np.flatnonzero(sequence.labels[camera]).tolist():
                status = files[f"labels_{frame:06d}.npz"].stat()
                stamps[camera, frame] = status.st_size, status.st_mtime_ns
        return stamps

    def _file(self, sequence: Sequence) -> Path:
        return self.folder / f"{sequence.folder.replace('/', '-')}.npz"

    def _kept(self, sequence: Sequence, shape: tuple[int, ...]) -> dict[str, np.ndarray] | None:
        """What the cache has of a sequence; None if nothing of use."""
        try:
            _, arrays = read_headed_arrays(self._file(sequence), KIND)
        except (ValueError, OSError):
            return None
        needed = {name: (*shape[:2], *s[1:]) for name, s in SHAPES.items()}
        needed |= {"labelled": shape[:2], "stamps": shape}
        fits = all(n in arrays and arrays[n].shape == s for n, s in needed.items())
        return arrays if fits else None

    def _keep(self, sequence: Sequence, arrays: dict[str, np.ndarray]) -> None:
        header = np.frombuffer(json.dumps(KIND.header).encode(), np.uint8)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._file(sequence)) as temporary, temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, header=header, **arrays)
        except OSError:
            return  # a full disk or a folder that may not be written to: no cache, nothing lost


def _labels(arrays: dict[str, np.ndarray], problems: tuple[str, ...]) -> SequenceLabels:
    values: dict[str, Any] = {name: arrays[name] for name in (*SHAPES, "labelled")}
    return SequenceLabels(**values, problems=problems)


def read_label(path: Path) -> dict[str, Float[np.ndarray, "*shape"]] | None:
    """`pose_m`, `joint_3d` and `joint_2d` of a picture; None if it has no labelled hand.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or its numbers cannot be a hand's.
    """
    arrays = read_members(path, SHAPES, MAX_MEMBER_BYTES)
    for name, shape in SHAPES.items():
        if arrays[name].shape != shape or arrays[name].dtype.kind != "f":
            raise ValueError(
                f"{path} is damaged ('{name}' is of shape {arrays[name].shape} and type "
                f"{arrays[name].dtype}, not {shape} and float32); {REMEDY}"
            )
    if (arrays["joint_3d"] == ABSENT).all():
        return None
    fault = _fault(arrays["pose_m"], arrays["joint_3d"], arrays["joint_2d"])
    if fault:
        raise ValueError(f"{path} cannot be a hand's: {fault}; {REMEDY}")
    return {name: array[0] for name, array in arrays.items()}


def _fault(
    pose_m: Float[np.ndarray, "1 51"],
    joint_3d: Float[np.ndarray, "1 21 3"],
    joint_2d: Float[np.ndarray, "1 21 2"],
) -> str | None:
    """What is absurd about the numbers of a hand."""
    numbers = np.concatenate([a.ravel() for a in (pose_m, joint_3d, joint_2d)])
    if not np.isfinite(numbers).all():
        return "it has numbers that are not finite"
    depth = joint_3d[..., 2]
    if depth.min() <= 0 or depth.max() > MAX_DEPTH_M:
        return f"its joints are {depth.min():.3g} to {depth.max():.3g} m before the camera"
    side = float(np.ptp(joint_2d[0], axis=0).max())
    if side > MAX_BOX * WIDTH_PX or np.abs(joint_2d).max() > 2 * MAX_BOX * WIDTH_PX:
        return f"its box has a side of {side:.4g} px, or lies far outside the picture"
    if np.abs(pose_m).max() > MAX_ANGLE_RAD:
        return f"a number of its pose is {np.abs(pose_m).max():.3g}"
    return None


def read_parts(path: Path) -> UInt8[np.ndarray, "height width"]:
    """What each pixel shows, as in `Sample.parts`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    seg = read_members(path, ("seg",), MAX_SEG_BYTES)["seg"]
    if seg.shape != (HEIGHT_PX, WIDTH_PX) or seg.dtype != np.uint8:
        raise ValueError(f"{path} is damaged (its 'seg' is no picture); {REMEDY}")
    parts = np.where(seg == 0, 0, OTHER_PART).astype(np.uint8)
    parts[seg == HAND_SEG] = UNPARTED_HAND
    return parts


def read_members(path: Path, names: Iterable[str], max_bytes: int) -> dict[str, np.ndarray]:
    """Some arrays of an `.npz`; nothing is unpickled, and nothing large comes into memory.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or an array has more bytes than that.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        with zipfile.ZipFile(BytesIO(path.read_bytes())) as archive:
            arrays = {}
            for name in names:
                info = archive.getinfo(f"{name}.npy")
                if info.file_size > max_bytes:
                    raise ValueError(f"'{name}' has {info.file_size:,} bytes")
                arrays[name] = _array(archive.read(info))
            return arrays
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; {REMEDY}") from None
    except _FAULTS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged ({reason}); {REMEDY}") from None


def _array(npy: bytes) -> np.ndarray:
    """The array of a `.npy` in memory, without taking memory that its header merely claims."""
    stream = BytesIO(npy)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(np.lib.format.read_magic(stream))
    if header is None:
        raise ValueError("an array of an unknown version")
    shape, is_fortran, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which are never loaded")
    flat = np.frombuffer(npy, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if is_fortran else "C")
