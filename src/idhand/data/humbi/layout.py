"""How HUMBI's hand session lies on disk: subjects, times, sides and crops.

Of labels nothing is read here but whether they are there.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from idhand.data.humbi.text import Crop, read_crops

SIDES = {"right": True, "left": False}
LETTERS = {True: "r", False: "l"}
"""Of a side in names of files."""
SHOWN = 3
"""Names in a sentence."""
_SUBJECT = re.compile(r"subject_(\d+)")
_TIME = re.compile(r"\d{8}")
_CROP = re.compile(r"image(\d+)\.png")


@dataclass(frozen=True, kw_only=True)
class HandShot:
    """One hand at one time, seen by many cameras."""

    subject: int
    folder: Path
    """Of the time, e.g. `.../subject_1/hand/00000025`."""
    is_right: bool
    crops: tuple[Crop, ...]
    """With a picture and a sound box, by camera."""

    @property
    def name(self) -> str:
        """Beginning of its samples' ids, e.g. `subject_1/00000025/right`."""
        side = "right" if self.is_right else "left"
        return f"subject_{self.subject}/{self.folder.name}/{side}"

    def label_path(self, what: str) -> Path:
        """A file of the fitted hand: `mano_params`, `keypoints` or `vertices`."""
        return self.folder / "reconstruction" / f"{what}_{LETTERS[self.is_right]}.txt"

    def picture_path(self, camera: int) -> Path:
        """The file of a crop."""
        side = "right" if self.is_right else "left"
        return self.folder / "image_cropped" / side / f"image{camera:07d}.png"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What is there."""

    subjects: dict[int, Path]
    """Number → its `hand`."""
    shots: tuple[HandShot, ...]
    """With label and at least one crop; by subject, time, and the right hand first."""
    num_crops: int
    """Lines of all `list.txt`."""
    problems: tuple[str, ...]
    """A sentence each."""


def subject_folders(root: Path) -> dict[int, list[Path]]:
    """Number → folders of that subject in a folder, or in bundles within it."""
    found: dict[int, list[Path]] = {}
    for folder in (root, *_folders(root)):
        for inner in _folders(folder):
            match = _SUBJECT.fullmatch(inner.name)
            if match and (inner / "hand").is_dir():
                found.setdefault(int(match[1]), []).append(inner / "hand")
    return found


def is_inside(folder: Path) -> bool:
    """Whether a folder is a subject's, or within one."""
    return any(_SUBJECT.fullmatch(part) for part in folder.parts)


def scan(root: Path) -> Layout:
    """Look at all folders; what cannot be used is left out and named in `problems`."""
    subjects: dict[int, Path] = {}
    shots: list[HandShot] = []
    problems: list[str] = []
    num_crops = 0
    for subject, folders in sorted(subject_folders(root).items()):
        subjects[subject] = folders[0]
        if len(folders) > 1:
            problems.append(
                f"subject_{subject} is there twice, in {folders[0]} and {folders[1]}; the first is "
                "used, move the other elsewhere"
            )
        own, lines, faults = _subject_shots(subject, folders[0])
        shots += own
        num_crops += lines
        problems += faults
        if not own:
            problems.append(
                f"{folders[0]} has no hand with picture and label; the subject is left out (in the "
                "release subject_52 is empty)"
            )
    return Layout(
        subjects=subjects, shots=tuple(shots), num_crops=num_crops, problems=tuple(problems)
    )


def _subject_shots(subject: int, folder: Path) -> tuple[list[HandShot], int, list[str]]:
    """A subject's hands, the number of its crops' lines, and what is wrong."""
    shots: list[HandShot] = []
    problems: list[str] = []
    num_crops = 0
    for time in _folders(folder):
        if not _TIME.fullmatch(time.name):
            continue
        for side, is_right in SIDES.items():
            pictures = time / "image_cropped" / side
            if not pictures.is_dir():
                continue
            try:
                lines = read_crops(pictures / "list.txt")
            except (ValueError, FileNotFoundError) as error:
                problems.append(str(error))
                continue
            num_crops += len(lines)
            crops = tuple(_sound(pictures, lines, problems))
            shot = HandShot(subject=subject, folder=time, is_right=is_right, crops=crops)
            labelled = all(shot.label_path(w).is_file() for w in ("mano_params", "keypoints"))
            if crops and not labelled:
                problems.append(
                    f"{shot.label_path('mano_params')} or keypoints beside it is missing; "
                    f"{len(crops)} pictures without a label are left out"
                )
            if crops and labelled:
                shots.append(shot)
    return shots, num_crops, problems


def _sound(folder: Path, lines: tuple[Crop, ...], problems: list[str]) -> Iterator[Crop]:
    """Crops with a picture and a box that can be used; a sentence on the others."""
    names = os.listdir(folder)  # noqa: PTH208 (half a million names in all, no paths)
    there = {int(match[1]) for match in map(_CROP.fullmatch, names) if match}
    missing: list[int] = []
    bad: list[str] = []
    seen: set[int] = set()
    for crop in sorted(lines, key=lambda line: line.camera):
        if crop.fault:
            bad.append(f"that of camera {crop.camera} {crop.fault}")
        elif crop.camera not in there:
            missing.append(crop.camera)
        elif crop.camera not in seen:
            seen.add(crop.camera)
            yield crop
    if missing:
        problems.append(
            f"{folder / 'list.txt'} names pictures that are not there, of cameras "
            f"{_some(map(str, missing))}; they are left out"
        )
    if bad:
        problems.append(f"{folder / 'list.txt'} has bad boxes: {_some(bad)}; they are left out")
    extra = sorted(there - {crop.camera for crop in lines})
    if extra:
        problems.append(
            f"{folder} has pictures that list.txt does not name, of cameras "
            f"{_some(map(str, extra))}; they are left out"
        )


def _some(names: "Iterator[str] | list[str] | map[str]") -> str:
    every = list(names)
    return ", ".join(every[:SHOWN]) + (", ..." if len(every) > SHOWN else "")


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
