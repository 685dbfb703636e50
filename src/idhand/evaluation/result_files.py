"""The result files of the benchmarks: those of others read, and the same written from ours.

DexYCB: text, 64 numbers a line: the picture's number, then x, y, z of 21 joints in mm.
FreiHAND: `pred.json`, a list of all pictures' joints and a list of all pictures' vertices in m, by
itself or in a zip. All in the camera frame.
"""

import json
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from idhand.files import existing_file, parse_json, replacing

MAX_BYTES = 1 << 29
"""Of a result file, unpacked: FreiHAND's are some 150 MB, DexYCB's some 60 MB."""
MAX_VERTS = 10_000
"""Of a mesh; MANO has 778."""
NUM_JOINTS, NUMBERS_A_LINE = 21, 64
MM_DECIMALS, M_DECIMALS = 4, 7
"""Of what is written: a tenth of a micrometre."""
JSON_NAME = "pred.json"
"""In the zip."""
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip can state: the same results, the same bytes."""


@dataclass(frozen=True, kw_only=True)
class FreihandResults:
    """What a FreiHAND result file holds: entry i belongs to evaluation picture i."""

    joints: Float[np.ndarray, "images 21 3"]
    """Camera frame, m."""
    verts: Float[np.ndarray, "images verts 3"]


def read_dexycb_results(path: Path) -> dict[int, Float[np.ndarray, "21 3"]]:
    """Joints by number of the picture, mm; of a number that occurs twice the last line counts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, too large, or holds what is no number.
    """
    _check_size(existing_file(path).stat().st_size, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy only warns of a file without lines
            numbers = np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8", comments=None)
    except (ValueError, UserWarning, MemoryError) as error:
        raise ValueError(
            f"{path} is no result file of DexYCB ({error}); it has {NUMBERS_A_LINE} numbers a "
            "line, with commas between: the picture's number, then 21 joints in mm"
        ) from error
    if numbers.shape[1] != NUMBERS_A_LINE:
        raise ValueError(
            f"{path} has {numbers.shape[1]} numbers a line; a result file of DexYCB has "
            f"{NUMBERS_A_LINE}: the picture's number, then 21 joints in mm"
        )
    whole = np.isfinite(numbers).all(1) & (numbers[:, 0] >= 0) & (numbers[:, 0] % 1 == 0)
    if not whole.all():
        raise ValueError(
            f"{path}, line {int(np.argmin(whole)) + 1}: a picture's number that is not whole, or "
            "a coordinate that is not finite; give a joint for every picture"
        )
    joints = numbers[:, 1:].reshape(-1, NUM_JOINTS, 3)
    return dict(zip(numbers[:, 0].astype(int).tolist(), joints, strict=True))


def write_dexycb_results(path: Path, rows: Mapping[int, Float[np.ndarray, "21 3"]]) -> None:
    """Write joints by number of the picture, mm; a file of that name is replaced in one step."""
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as out:
        for number, joints in sorted(rows.items()):
            values = ",".join(f"{value:.{MM_DECIMALS}f}" for value in joints.ravel().tolist())
            out.write(f"{number},{values}\n")


def dexycb_in_order(
    rows: Mapping[int, Float[np.ndarray, "21 3"]], wanted: Int[np.ndarray, " images"], where: object
) -> Float[np.ndarray, "images 21 3"]:
    """Joints of the pictures that are scored, in their order.

    Args:
        rows: By number of the picture; others are left out, as in the benchmark's evaluation.
        wanted: Numbers of the pictures.
        where: What to call the rows in an error.

    Raises:
        ValueError: If a picture is missing.
    """
    missing = [number for number in wanted.tolist() if number not in rows]
    if missing:
        raise ValueError(
            f"{where} is not complete: {len(missing):,} of {len(wanted):,} pictures have no line "
            f"(first: number {missing[0]}); predict every labelled picture of the protocol"
        )
    return np.stack([rows[number] for number in wanted.tolist()])


def read_freihand_results(path: Path, num_images: int) -> FreihandResults:
    """The joints and meshes of all evaluation pictures, from `pred.json` or a zip of it.

    Args:
        path: The file; in a zip any single .json will do.
        num_images: Of the evaluation set, 3,960 in the release.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else, too large, not complete or not finite.
    """
    data = _json_bytes(existing_file(path))
    num_lists = 3 + num_images * (2 + NUM_JOINTS + MAX_VERTS)
    if data.count(b"[") > num_lists or data.count(b",") > 3 * num_lists:
        raise ValueError(
            f"{path} holds more than {num_images:,} pictures' joints and {MAX_VERTS:,} vertices "
            "each; name the results of this evaluation set"
        )
    document = parse_json(data, path, "write it again")
    if not isinstance(document, list) or len(document) != 2:
        raise ValueError(
            f"{path} is no result file of FreiHAND; it is a list of two lists: every picture's "
            "21 joints, then every picture's vertices"
        )
    joints, verts = (
        _points(part, num_images, what, path)
        for part, what in zip(document, ("joints", "vertices"), strict=True)
    )
    if joints.shape[1] != NUM_JOINTS:
        raise ValueError(f"{path} has {joints.shape[1]} joints a picture; {NUM_JOINTS} are needed")
    return FreihandResults(joints=joints, verts=verts)


def write_freihand_results(path: Path, results: FreihandResults) -> None:
    """Write `pred.json`, or a zip that holds it; a file of that name is replaced in one step.

    Raises:
        ValueError: If the name ends in neither .json nor .zip.
    """
    if path.suffix not in (".json", ".zip"):
        raise ValueError(f"{path}: FreiHAND's result files are pred.json or pred.zip; name one")
    with replacing(path) as temporary:
        if path.suffix == ".json":
            with temporary.open("wb") as out:
                out.writelines(_json_parts(results))
            return
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            member = zipfile.ZipInfo(JSON_NAME, _ZIP_DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as out:
                for part in _json_parts(results):
                    out.write(part)


def _json_parts(results: FreihandResults) -> Iterable[bytes]:
    """The document, a picture at a time."""
    for opening, arrays in (("[[", results.joints), ("],[", results.verts)):
        for place, points in enumerate(arrays):
            text = json.dumps((np.round(points, M_DECIMALS) + 0.0).tolist(), separators=(",", ":"))
            yield f"{opening if place == 0 else ','}{text}".encode()
    yield b"]]"


def _json_bytes(path: Path) -> bytes:
    """The JSON of a result file, no more of it than `MAX_BYTES` whatever its header says."""
    with path.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"
    if not is_zip:
        _check_size(path.stat().st_size, path)
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            name = JSON_NAME if JSON_NAME in names else names[0] if len(names) == 1 else None
            if name is None:
                raise ValueError(
                    f"{path} holds {len(names)} .json files and none called {JSON_NAME}; zip "
                    f"{JSON_NAME} alone"
                )
            with archive.open(name) as stream:
                data = stream.read(MAX_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({error}); write it again") from error
    _check_size(len(data), path)
    return data


def _check_size(size: int, path: Path) -> None:
    if size > MAX_BYTES:
        raise ValueError(
            f"{path} holds more than {MAX_BYTES >> 20:,} MiB, far more than results of any "
            "benchmark; name the result file"
        )


def _points(
    part: Any, num_images: int, what: str, path: Path
) -> Float[np.ndarray, "images points 3"]:
    """One of the two lists as an array.

    Raises:
        ValueError: If it is no list of as many lists of points, or a number is not finite.
    """
    if not isinstance(part, Sequence) or len(part) != num_images:
        found = f"{len(part):,}" if isinstance(part, Sequence) else "no list"
        raise ValueError(
            f"{path} has {what} of {found} pictures, the evaluation set has {num_images:,}; "
            "predict every picture of it"
        )
    try:
        points = np.array(part, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: the {what} are not the same number of points for each picture ({error}); "
            "give x, y and z in metres of each"
        ) from error
    if points.ndim != 3 or points.shape[1] == 0 or points.shape[2] != 3:
        raise ValueError(
            f"{path}: the {what} have the shape {points.shape}; give x, y and z in metres of each"
        )
    finite = np.isfinite(points).all((1, 2))
    if not finite.all():
        raise ValueError(
            f"{path}: the {what} of picture {int(np.argmin(finite))} are not finite; give a hand "
            "for every picture"
        )
    return points
