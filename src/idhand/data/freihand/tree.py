"""A FreiHAND folder as a `Tree`: its protocol's lists, its pictures as a data set, its faults."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Bool

from idhand.assets.mano_tips import TipConvention, with_tips
from idhand.data.freihand.labels import REMEDY, Labels, Split, poses, read_labels
from idhand.data.freihand.samples import FreihandData, Place, distances_mm
from idhand.data.picture_files import picture_fault
from idhand.data.sample_list import Count, Part, SampleList
from idhand.data.trees import LabelHands, TreeReport

KIND = PROTOCOL = "freihand"
TIPS: TipConvention = "freihand"
PARTIAL = "-partial"
"""Ends the name of lists that were made of an incomplete tree."""
NUM_TRAINING, NUM_EVALUATION, NUM_BACKGROUNDS = 32_560, 3_960, 4
"""Of the release: base pictures of each split, and versions of each training picture: green screen,
homogenised, colourised from sample points and automatically."""
TRAIN_PART = 0.9
"""Of the base pictures, the first; neighbours are alike, so the two parts are not mixed."""
EXPECTED_APART_MM = 1.0
SPLITS: tuple[Split, ...] = get_args(Split)
_RGB = ("rgb", "rgb2")
"""Folders of pictures; the second where CMR's instructions put them."""
_SPLIT_FOLDERS = tuple((split,) for split in SPLITS)
_INSIDE = ("rgb", "rgb2", "mask", "mesh", "anno")
SHOWN = 3
"""Names in a sentence."""


def open_freihand(root: Path) -> "Freihand | None":
    """The tree in a folder; None if there is none of FreiHAND's.

    Raises:
        ValueError: If the folder is above the root or inside of it, or holds version 1.
    """
    where = root.resolve()
    for folder in (where.parent, where.parent.parent):
        part = where.relative_to(folder).parts  # none of `/`, which is its own parent
        inside = part[:1] in _SPLIT_FOLDERS and (len(part) == 1 or part[1] in _INSIDE)
        if inside and _has_labels(folder):
            raise ValueError(
                f"{root} is a part of FreiHAND; name {folder}, which holds training_K.json"
            )
    if _has_labels(root):
        if "pub_v1" in where.name.lower():
            raise ValueError(
                f"{root} is FreiHAND v1, whose labels were fitted with an older MANO; download "
                "FreiHAND v2 (or rename the folder, if it is not v1)"
            )
        return Freihand(root)
    below = [f for f in sorted(root.iterdir()) if f.is_dir() and _has_labels(f)]
    if below:
        raise ValueError(f"{root} is above FreiHAND's root; name {below[0]}")
    return None


def _has_labels(folder: Path) -> bool:
    with suppress(PermissionError):  # e.g. `lost+found` beside it
        return any((folder / f"{split}_K.json").is_file() for split in SPLITS)
    return False


class Freihand:
    """FreiHAND v2 on disk. What is there is looked at when it is first needed.

    Args:
        root: Folder with `training_K.json`, `evaluation_K.json` or both, and `training`,
            `evaluation`. The truth of the evaluation, published later, is found there or in a
            folder beside it of the same name with `_eval` at its end.
    """

    def __init__(self, root: Path):
        self.root = root
        self._labels: dict[Split, Labels] = {}
        self._pictures: dict[Split, Bool[np.ndarray, " pictures"]] = {}

    def __repr__(self) -> str:
        return f"Freihand('{self.root}')"

    @property
    def kind(self) -> str:
        """`freihand`."""
        return KIND

    @property
    def protocols(self) -> tuple[str, ...]:
        """Its only protocol."""
        return (PROTOCOL,)

    @property
    def splits(self) -> tuple[Split, ...]:
        """Those that are there."""
        return tuple(s for s in SPLITS if (self.root / f"{s}_K.json").is_file())

    def truth_folder(self, split: Split) -> Path | None:
        """Where a split's joints and MANO parameters lie; None if there are none."""
        beside = self.root.resolve()
        for folder in (self.root, beside.with_name(f"{beside.name}_eval")):
            if (folder / f"{split}_xyz.json").is_file():
                return folder
        if split == "training":
            return self.root  # where its absence is an error
        return None

    def labels(self, split: Split) -> Labels:
        """A split's annotations, read once.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file cannot be used.
        """
        if split not in self._labels:
            self._labels[split] = read_labels(self.root, split, self.truth_folder(split))
        return self._labels[split]

    def picture_path(self, split: Split, number: int) -> Path:
        """The file of a picture."""
        return self._rgb(split) / f"{number:08d}.jpg"

    def mask_path(self, base: int) -> Path:
        """The mask of a training picture, the same for all its backgrounds."""
        return self.root / "training" / "mask" / f"{base:08d}.jpg"

    def _rgb(self, split: Split) -> Path:
        folders = [self.root / split / name for name in _RGB]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def pictures(self, split: Split) -> Bool[np.ndarray, " pictures"]:
        """Which of the pictures that the labels ask for are there, by number.

        Raises:
            FileNotFoundError: If a file of labels is missing.
            ValueError: If one cannot be used.
        """
        if split not in self._pictures:
            count = len(self.labels(split)) * (NUM_BACKGROUNDS if split == "training" else 1)
            there = np.zeros(count, bool)
            there[[n for n in _numbers(self._rgb(split)) if n < count]] = True
            self._pictures[split] = there
        return self._pictures[split]

    def place(self, name: str) -> Place:
        """Where a picture of a list is.

        Raises:
            ValueError: If it is not here.
        """
        split, _, digits = name.partition("/")
        number = int(digits) if digits.isdecimal() else -1
        for known in self.splits:
            if known == split and 0 <= number < len(self.pictures(known)):
                return Place(split=known, number=number, base=number % len(self.labels(known)))
        raise ValueError(f"{self.root} has no picture {name}; make the list of this tree again")

    def lists(self, protocol: str, *, partial: bool = False) -> Mapping[Part, SampleList]:
        """See `Tree.lists`: training pictures by base into train and val, evaluation as test.

        All backgrounds of a base are in the same part.
        """
        if protocol != PROTOCOL:
            raise ValueError(f"FreiHAND has no protocol '{protocol}'; it has {PROTOCOL}")
        faults = [fault for split in self.splits for fault in self._missing(split)]
        faults += self._unlabelled()
        if faults and not partial:
            raise ValueError(
                f"{self.root} is not complete: {faults[0]}, or go on with --partial under another "
                "name"
            )
        name = PROTOCOL + PARTIAL if faults else PROTOCOL
        parts: dict[Part, SampleList] = {}
        if "training" in self.splits:
            labels = self.labels("training")
            num_train = int(TRAIN_PART * len(labels))
            bases = np.arange(len(labels) * NUM_BACKGROUNDS) % len(labels)
            expected = int(TRAIN_PART * NUM_TRAINING)
            halves: tuple[tuple[Part, Bool[np.ndarray, " pictures"], int], ...] = (
                ("train", bases < num_train, expected),
                ("val", bases >= num_train, NUM_TRAINING - expected),
            )
            for part, own, release in halves:
                wanted = own & self.pictures("training") & labels.usable[bases]
                parts[part] = _list(
                    name, part, "training", wanted, NUM_BACKGROUNDS * release, labels
                )
        if "evaluation" in self.splits:
            labels = self.labels("evaluation")
            wanted = self.pictures("evaluation") & labels.usable
            parts["test"] = _list(name, "test", "evaluation", wanted, NUM_EVALUATION, labels)
        return {part: chosen for part, chosen in parts.items() if len(chosen)}

    def data(
        self, chosen: SampleList, hands: LabelHands | None = None, *, masks: bool = False
    ) -> FreihandData:
        """See `Tree.data`.

        Args:
            chosen: Of this tree.
            hands: For pose and shape; all hands are right ones.
            masks: Also read the masks of training pictures, into `Sample.parts`.

        Raises:
            ValueError: If a picture of the list is not here, or the labels were fitted with
                another hand model.
        """
        right = None if hands is None else hands.right
        model = None if right is None else with_tips(right, TIPS)
        return FreihandData.of(self, chosen, model, masks=masks)

    def check(self, *, deep: bool = False, hands: LabelHands | None = None) -> TreeReport:
        """See `Tree.check`."""
        problems = list(self._unlabelled())
        counts: list[Count] = []
        notes: list[str] = []
        for split in self.splits:
            try:
                labels = self.labels(split)
            except (ValueError, FileNotFoundError) as error:
                problems.append(_with_remedy(error))
                continue
            counts += self._counts(split)
            problems += [*self._missing(split), *labels.problems, *self._extra(split)]
            if labels.joints is None:
                notes.append(
                    f"The {split} pictures have no truth: they can be predicted and not scored."
                )
            if deep:
                problems += self._damaged(split)
                for sentence, is_problem in self._agreement(split, hands):
                    (problems if is_problem else notes).append(sentence)
        if not deep:
            notes.append("Pictures were not opened; --deep looks at them all.")
        return TreeReport(counts=tuple(counts), problems=tuple(problems), notes=tuple(notes))

    def _agreement(self, split: Split, hands: LabelHands | None) -> Iterator[tuple[str, bool]]:
        """How far the labelled joints are from the hand model's, and whether that is too far."""
        labels, model = self.labels(split), None if hands is None else hands.right
        if model is None or labels.mano is None or labels.joints is None:
            return
        good = labels.usable
        found = poses(labels.mano[good], labels.K[good], model)
        apart = float(distances_mm(found, labels.joints[good], model).max(initial=0.0))
        yield f"Joints of {split} are at most {apart:.3f} mm from the hand model's.", False
        if apart > EXPECTED_APART_MM:
            yield (
                f"{self.root}: joints of {split} are up to {apart:.1f} mm from those of hand model "
                f"'{model.name}'; take the MANO of FreiHAND v2",
                True,
            )

    def _counts(self, split: Split) -> Iterator[Count]:
        bases = {"training": NUM_TRAINING, "evaluation": NUM_EVALUATION}[split]
        copies = NUM_BACKGROUNDS if split == "training" else 1
        yield Count(what=f"{split} labels", found=len(self.labels(split)), expected=bases)
        found = int(self.pictures(split).sum())
        yield Count(what=f"{split} pictures", found=found, expected=bases * copies)
        if split == "training":
            masks = len(_numbers(self.mask_path(0).parent))
            yield Count(what="training masks", found=masks, expected=bases)

    def _missing(self, split: Split) -> Iterator[str]:
        """What the labels ask for and the folder lacks."""
        pictures = self.pictures(split)
        absent = np.flatnonzero(~pictures)
        if len(absent):
            names = ", ".join(f"{number:08d}.jpg" for number in absent[:SHOWN].tolist())
            more = ", ..." if len(absent) > SHOWN else ""
            yield (
                f"{self._rgb(split)} lacks {len(absent):,} of {len(pictures):,} pictures "
                f"({names}{more}); {REMEDY}"
            )

    def _unlabelled(self) -> Iterator[str]:
        """Splits whose pictures are there and whose list of cameras, with which all begins, is not.

        A tree of one split alone is complete.
        """
        for split in SPLITS:
            if split not in self.splits and self._rgb(split).is_dir():
                yield (
                    f"{self.root / f'{split}_K.json'} is missing, so the {split} pictures that are "
                    f"there cannot be used; {REMEDY}"
                )

    def _extra(self, split: Split) -> Iterator[str]:
        """Pictures that have no label."""
        known = len(self.pictures(split))
        extra = sorted(n for n in _numbers(self._rgb(split)) if n >= known)
        if extra:
            yield (
                f"{self._rgb(split)} has {len(extra):,} pictures without a label (first: "
                f"{extra[0]:08d}.jpg); {REMEDY}"
            )

    def _damaged(self, split: Split) -> Iterator[str]:
        for number in np.flatnonzero(self.pictures(split)).tolist():
            fault = picture_fault(self.picture_path(split, number))
            if fault:
                yield f"{fault}; {REMEDY}"


def _numbers(folder: Path) -> list[int]:
    """Numbers of the pictures in a folder."""
    if not folder.is_dir():
        return []
    names = os.listdir(folder)  # noqa: PTH208 (130,240 names, no paths)
    stems = (name.removesuffix(".jpg") for name in names if name.endswith(".jpg"))
    return [int(stem) for stem in stems if len(stem) == 8 and stem.isdecimal()]


def _list(
    name: str,
    part: Part,
    split: Split,
    wanted: Bool[np.ndarray, " pictures"],
    expected: int,
    labels: Labels,
) -> SampleList:
    ids = tuple(f"{split}/{number:08d}" for number in np.flatnonzero(wanted).tolist())
    counts = (Count(what="pictures", found=len(ids), expected=expected),)
    return SampleList(protocol=name, part=part, ids=ids, counts=counts, problems=labels.problems)


def _with_remedy(error: ValueError | FileNotFoundError) -> str:
    text = str(error)
    return text if REMEDY in text else f"{text}; {REMEDY}"
