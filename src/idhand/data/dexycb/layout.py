"""How DexYCB lies on disk: which subjects, sequences, cameras and frames are there.

Nothing but names of files and the sequences' meta.yml is read. Chao et al., "DexYCB", CVPR 2021.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from idhand.data.safe_yaml import read_yaml

SERIALS = (
    "836212060125", "839512060362", "840412060917", "841412060263",
    "932122060857", "932122060861", "932122061900", "932122062010",
)  # fmt: skip
"""The cameras, in the order in which the toolkit counts them."""
NUM_SUBJECTS = 10
NUM_SEQUENCES = 100
"""Of every subject."""
MAX_FRAMES = 10_000
"""Of a sequence; the release's have 68 to 76."""
WIDTH_PX, HEIGHT_PX = 640, 480
FPS = 30.0
"""Of the cameras, by their specification."""
REMEDY = "unpack the publishers' archive again"
META, POSE = "meta.yml", "pose.npz"
CALIBRATION = "calibration"
"""Folder of the cameras and of the hands' shapes, beside the subjects."""
SHOWN = 3
"""Names in a sentence."""

_SUBJECT = re.compile(r"\d{8}-(subject-(\d\d))")
_SEQUENCE = re.compile(r"\d{8}_\d{6}")
_FRAME = re.compile(r"(color|labels)_(\d{6})\.(jpg|npz)")
_KINDS = {("color", "jpg"): 0, ("labels", "npz"): 1}


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """One recording: one hand of one person, seen by eight cameras."""

    folder: str
    """Relative to the root, e.g. `20200709-subject-01/20200709_141754`."""
    subject: int
    """From 0, as the toolkit counts."""
    position: int
    """Among the subject's sequences, from 0."""
    num_frames: int
    """Of each camera."""
    is_right: bool
    mano_calib: str
    """Names the folder with the hand's shape: `calibration/mano_...`."""
    extrinsics: str
    """Names the folder of the cameras' places: `calibration/extrinsics_...`."""
    pictures: Bool[np.ndarray, "cameras frames"]
    """Which are there; cameras as in `SERIALS`."""
    labels: Bool[np.ndarray, "cameras frames"]
    """Which files of labels are there."""

    @property
    def name(self) -> str:
        """Of the subject, e.g. `subject-01`."""
        return f"subject-{self.subject + 1:02d}"

    def stem(self, kind: str, camera: int, frame: int) -> str:
        """A file's path relative to the root, without its ending.

        Args:
            kind: `color` or `labels`.
            camera: Its place in `SERIALS`.
            frame: From 0.
        """
        return f"{self.folder}/{SERIALS[camera]}/{kind}_{frame:06d}"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What is there."""

    root: Path
    sequences: tuple[Sequence, ...]
    """By subject, then by name: the toolkit's order."""
    problems: tuple[str, ...]
    """A sentence each."""
    left_out: tuple[str, ...] = ()
    """Those of the problems for which sequences are left out."""

    def of_subject(self, subject: int) -> tuple[Sequence, ...]:
        """A person's sequences, in order."""
        return tuple(s for s in self.sequences if s.subject == subject)

    def missing_sequences(self) -> dict[str, int]:
        """How many sequences each subject lacks, where any are missing."""
        there = np.bincount([s.subject for s in self.sequences], minlength=NUM_SUBJECTS)
        return {
            f"subject-{k + 1:02d}": int(NUM_SEQUENCES - n)
            for k, n in enumerate(there)
            if n != NUM_SEQUENCES
        }


def subject_folders(root: Path) -> dict[int, str]:
    """Folders of subjects in a folder: the subject's number from 0 → name."""
    return {subject: names[0] for subject, names in _subject_names(root).items()}


def _subject_names(root: Path) -> dict[int, list[str]]:
    """All folders of each subject; there should be one."""
    found = (_SUBJECT.fullmatch(path.name) for path in sorted(root.iterdir()))
    names: dict[int, list[str]] = {}
    for m in found:
        if m and 1 <= int(m[2]) <= NUM_SUBJECTS:
            names.setdefault(int(m[2]) - 1, []).append(m[0])
    return names


def is_inside(folder: Path) -> bool:
    """Whether a folder is one of a subject, sequence or camera instead of the whole set."""
    return bool(
        _SUBJECT.fullmatch(folder.name)
        or (_SEQUENCE.fullmatch(folder.name) and (folder / META).is_file())
        or (folder.name in SERIALS and (folder.parent / META).is_file())
        or (folder.name == CALIBRATION and (folder / "intrinsics").is_dir())
    )


def scan(root: Path) -> Layout:
    """Look at all folders of the tree; 1,000 sequences take some ten seconds.

    What cannot be used is left out and named in `problems`.
    """
    sequences: list[Sequence] = []
    problems: list[str] = []
    left_out: list[str] = []
    for subject, (folder, *others) in sorted(_subject_names(root).items()):
        if others:
            left_out.append(
                f"{root} has two folders of one subject, {folder} and {others[0]}; the first is "
                "used, move the other elsewhere"
            )
        names = _sequence_names(root / folder, problems)
        for position, name in enumerate(names):
            place = f"{folder}/{name}"
            try:
                meta = _Meta.read(root / place / META)
            except (ValueError, FileNotFoundError) as error:
                left_out.append(f"{error}; the sequence is left out")
                continue
            sequences.append(_sequence(root, place, subject, position, meta, problems))
    return Layout(
        root=root,
        sequences=tuple(sequences),
        problems=(*left_out, *problems),
        left_out=tuple(left_out),
    )


def _sequence_names(folder: Path, problems: list[str]) -> list[str]:
    with os.scandir(folder) as entries:
        there = sorted((entry.name, entry.is_dir()) for entry in entries)
    names = [name for name, is_dir in there if is_dir and _SEQUENCE.fullmatch(name)]
    others = [name for name, _ in there if name not in names and not name.startswith(".")]
    if others:
        problems.append(
            f"{folder} holds {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}, which is "
            "no sequence of DexYCB's; it is ignored, move it elsewhere"
        )
    return names


@dataclass(frozen=True, kw_only=True)
class _Meta:
    """What of a meta.yml is used."""

    num_frames: int
    side: str
    mano_calib: str
    extrinsics: str
    serials: frozenset[str]

    @staticmethod
    def read(path: Path) -> "_Meta":
        values = read_yaml(path, REMEDY)
        try:
            (side,) = values["mano_sides"]
            (mano_calib,) = values["mano_calib"]
            meta = _Meta(
                num_frames=values["num_frames"],
                side=side,
                mano_calib=_file_name(mano_calib),
                extrinsics=_file_name(values["extrinsics"]),
                serials=frozenset(map(str, values["serials"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            fault = f"has no {error}" if isinstance(error, KeyError) else f"is unusable ({error})"
            raise ValueError(f"{path} {fault}; {REMEDY}") from None
        if type(meta.num_frames) is not int or not 1 <= meta.num_frames <= MAX_FRAMES:
            raise ValueError(f"{path} says that there are {meta.num_frames!r} frames; {REMEDY}")
        if meta.side not in ("right", "left"):
            raise ValueError(f"{path} names the side {meta.side!r}, not left or right; {REMEDY}")
        return meta


def _file_name(value: Any) -> str:
    """A text that can be a part of a folder's name."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ValueError(f"{value!r} is no part of a folder's name")
    return value


def _sequence(
    root: Path, folder: str, subject: int, position: int, meta: _Meta, problems: list[str]
) -> Sequence:
    """A sequence with the files that are there."""
    there = np.zeros((2, len(SERIALS), meta.num_frames), bool)
    extra: list[str] = []
    for camera, serial in enumerate(SERIALS):
        if not (root / folder / serial).is_dir():
            problems.append(f"{root / folder} has no camera {serial}; {REMEDY}")
            continue
        for kind, frame, name in _frames(root / folder / serial):
            if frame < meta.num_frames:
                there[kind, camera, frame] = True
            else:
                extra.append(f"{serial}/{name}")
    with os.scandir(root / folder) as entries:
        serials = {entry.name for entry in entries if entry.is_dir()} | meta.serials
    unknown = sorted(serials - set(SERIALS))
    if unknown:
        problems.append(
            f"{root / folder} has a camera {unknown[0]} that DexYCB does not have; it is ignored"
        )
    if extra:
        problems.append(
            f"{root / folder} has files beyond its {meta.num_frames} frames ({len(extra)}, e.g. "
            f"{extra[0]}); they are ignored"
        )
    return Sequence(
        folder=folder,
        subject=subject,
        position=position,
        num_frames=meta.num_frames,
        is_right=meta.side == "right",
        mano_calib=meta.mano_calib,
        extrinsics=meta.extrinsics,
        pictures=there[0],
        labels=there[1],
    )


def _frames(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Pictures (0) and files of labels (1) in a camera's folder, with their frames."""
    for name in os.listdir(folder):  # noqa: PTH208
        match = _FRAME.fullmatch(name)
        if match and (match[1], match[3]) in _KINDS:
            yield _KINDS[match[1], match[3]], int(match[2]), name


def gaps(root: Path, sequence: Sequence, cameras: Iterable[int]) -> Iterator[str]:
    """Sentences on files of a sequence that should be there or have no partner.

    Args:
        root: Of the tree.
        sequence: Of this tree.
        cameras: Places in `SERIALS`; the others are not looked at.
    """
    asked = np.zeros((len(SERIALS), 1), bool)
    asked[list(cameras)] = True
    pictures, labels = sequence.pictures, sequence.labels
    found = {
        "pictures without labels": ("color", pictures & ~labels),
        "labels without pictures": ("labels", labels & ~pictures),
        "missing frames": ("color", ~labels & ~pictures),
    }
    for what, (kind, where) in found.items():
        places = np.argwhere(where & asked).tolist()
        if places:
            names = ", ".join(sequence.stem(kind, *at) for at in places[:SHOWN])
            more = ", ..." if len(places) > SHOWN else ""
            yield f"{root / sequence.folder}: {len(places)} {what} ({names}{more}); unpack it again"
