"""Boxes of hands that the user already knows: a JSON or CSV file → the boxes of each picture."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idhand.cli.common import count, say, shown
from idhand.detection.roi import checked_box
from idhand.files import existing_file, parse_json

COLUMNS = ("file", "frame", "left", "top", "right", "bottom")
FORM = (
    'give JSON {"photo.jpg": [[left, top, right, bottom], ...], "clip.mp4": {"0": [[...]], ...}} '
    f"or CSV with the columns {','.join(COLUMNS)} (frame empty for photos)"
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Which boxes a file of boxes gives for which picture; none where no file was given."""

    path: Path | None = None
    of_file: Mapping[str, Mapping[int | None, tuple[Box, ...]]] = field(default_factory=dict)
    """Name of the photo or video → index of the frame (None: a photo) → xyxy boxes, px."""

    @staticmethod
    def load(path: Path | None) -> "Boxes":
        """Read `--boxes`, if it is given.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not of either form, or a box in it is none.
        """
        if path is None:
            return Boxes()
        data = existing_file(path).read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not text in UTF-8; {FORM}") from error
        rows = _csv_rows if path.suffix.lower() == ".csv" else _json_rows
        of_file: dict[str, dict[int | None, list[Box]]] = {}
        for name, frame, box in rows(path, text):
            boxes = of_file.setdefault(name, {}).setdefault(frame, [])
            if box is not None:
                place = "" if frame is None else f", frame {frame}"
                checked = checked_box(box, f"{path}: box {len(boxes)} of {name}{place}")
                boxes.append(tuple(checked.tolist()))
        return Boxes(
            path=path,
            of_file={
                name: {frame: tuple(boxes) for frame, boxes in frames.items()}
                for name, frames in of_file.items()
            },
        )

    def check_inputs(self, paths: Iterable[Path]) -> None:
        """Tell of names that are none of the inputs.

        Raises:
            ValueError: If no name is one.
        """
        if self.path is None:
            return
        names = {name for path in paths for name in (shown(path), path.name)}
        others = [name for name in self.of_file if name not in names]
        if len(others) == len(self.of_file):
            found = f"it names {', '.join(others[:3])}" if others else "it is empty"
            raise ValueError(f"{self.path} has boxes of none of the inputs ({found}); {FORM}")
        if others:
            say(f"{self.path} has boxes of {count(others, 'file')} beside the inputs: {others[0]}")

    def of_photo(self, path: Path) -> tuple[Box, ...] | None:
        """The photo's boxes; None where the file has none of it, so that hands are looked for.

        Raises:
            ValueError: If the file has frames of it.
        """
        frames = self._frames(path)
        if any(frame is not None for frame in frames):
            raise ValueError(f"{self.path} has frames of {path}, which is a photo; {FORM}")
        return frames.get(None)

    def of_video(self, path: Path) -> Mapping[int, tuple[Box, ...]]:
        """Index of the frame → boxes; frames that are missing are searched as without a file.

        Raises:
            ValueError: If the file has boxes without a frame for it.
        """
        frames = self._frames(path)
        if None in frames:
            raise ValueError(f"{self.path} has boxes of {path}, a video, without a frame; {FORM}")
        return {frame: boxes for frame, boxes in frames.items() if frame is not None}

    def _frames(self, path: Path) -> Mapping[int | None, tuple[Box, ...]]:
        return self.of_file.get(shown(path), self.of_file.get(path.name, {}))


Row = tuple[str, int | None, Any]
"""Name, frame and box; without a box the picture shows no hand."""


def _json_rows(path: Path, text: str) -> Iterable[Row]:
    record = parse_json(text, path, FORM)
    if not isinstance(record, dict):
        raise ValueError(f"{path} holds no object of files and boxes; {FORM}")
    for name, value in record.items():
        frames = value if isinstance(value, dict) else {None: value}
        for frame, boxes in frames.items():
            index = None if frame is None else _frame(path, name, frame)
            if not isinstance(boxes, list):
                raise ValueError(f"{path}: {name} has {boxes!r} for a list of boxes; {FORM}")
            yield from ((name, index, box) for box in boxes or [None])


def _csv_rows(path: Path, text: str) -> Iterable[Row]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)} in its first line; {FORM}")
    for line, row in enumerate(_csv_lines(path, rows), 2):
        name, frame = (row["file"] or "").strip(), (row["frame"] or "").strip()
        try:
            box = [float(row[side]) for side in COLUMNS[2:]]
        except (TypeError, ValueError):
            raise ValueError(
                f"{path}, line {line}: a side of the box is not a number; {FORM}"
            ) from None
        if not name:
            raise ValueError(f"{path}, line {line}: there is no file's name; {FORM}")
        yield name, _frame(path, name, frame) if frame else None, box


def _csv_lines(path: Path, rows: "csv.DictReader[str]") -> Iterable[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise ValueError(f"{path} is not readable as CSV ({error}); {FORM}") from error


def _frame(path: Path, name: str, frame: str) -> int:
    """An index of a frame."""
    if not (frame.isascii() and frame.isdigit() and len(frame) < 10):
        raise ValueError(f"{path}: {name} has frame {frame!r}, but frames are 0, 1, 2, ...; {FORM}")
    return int(frame)
