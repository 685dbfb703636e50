"""Tables of hands, one row per hand and frame, as JSON or npz with a header; nothing is pickled."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from idhand import __version__
from idhand.files import replacing
from idhand.view.motion import HandMotion

FORMAT_VERSION = 1
_DECIMALS = 9
"""Kept digits in JSON: 1 nm, or a billionth of a radian."""


def moments(motions: Sequence[HandMotion]) -> dict[str, np.ndarray]:
    """Which hand each row is, of which side, and when: hands after one another."""
    names = [np.array([motion.name] * motion.num_frames) for motion in motions]
    sides = [np.full(motion.num_frames, motion.is_right) for motion in motions]
    return {
        "hand": np.concatenate(names),
        "is_right": np.concatenate(sides),
        "frame": np.concatenate([motion.frame for motion in motions]),
        "time_s": np.concatenate([motion.time_s for motion in motions]),
    }


def header_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says of itself first: `format`, `version`, and what the numbers mean."""
    return {"format": about["format"], "version": FORMAT_VERSION, "idhand": __version__, **about}


def write_rows(
    path: str | Path, about: Mapping[str, Any], rows: Mapping[str, np.ndarray], **others: np.ndarray
) -> None:
    """Write a table.

    Args:
        path: .npz, with arrays named as the rows' columns and the header as JSON in `header`; or
            .json, the header's entries and `hands`, a list of rows, one line each.
        about: The header: `format` and what the numbers mean.
        rows: Column → array with one entry per row.
        others: Arrays that belong to all rows; left out of JSON.

    Raises:
        ValueError: If the name ends in neither.
    """
    path = Path(path)
    header = header_of(about)
    match path.suffix:
        case ".npz":
            text = np.array(json.dumps(header))
            with replacing(path) as temporary:
                np.savez(temporary, allow_pickle=False, header=text, **others, **rows)
        case ".json":
            _write_json(path, header, rows)
        case _:
            raise ValueError(f"{path}: numbers of hands are .json or .npz; give such a name")


def _write_json(path: Path, header: Mapping[str, Any], rows: Mapping[str, np.ndarray]) -> None:
    columns = {name: _listed(array) for name, array in rows.items()}
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header, ensure_ascii=False)[:-1] + ', "hands": [')
        for k, row in enumerate(zip(*columns.values(), strict=True)):
            entry = dict(zip(columns, row, strict=True))
            text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
            file.write((",\n" if k else "\n") + text)
        file.write("\n]}\n")


def _listed(array: np.ndarray) -> list[Any]:
    """One entry per row; numbers that are not finite become null."""
    if array.dtype.kind != "f":
        return array.tolist()
    rounded = np.round(array.astype(np.float64), _DECIMALS)
    entries = rounded.astype(object)
    entries[~np.isfinite(rounded)] = None
    return entries.tolist()
