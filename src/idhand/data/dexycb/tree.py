"""A DexYCB folder as a `Tree`: its protocols' lists, its pictures as a data set, its faults."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from idhand.data.dexycb.labels import LabelCache, SequenceLabels
from idhand.data.dexycb.layout import (
    HEIGHT_PX,
    NUM_SEQUENCES,
    WIDTH_PX,
    Layout,
    Sequence,
    gaps,
    is_inside,
    scan,
    subject_folders,
)
from idhand.data.dexycb.protocols import PROTOCOLS, Choice, OfficialOrder, Protocol
from idhand.data.dexycb.samples import DexYcbData
from idhand.data.sample_list import Count, Part, SampleList
from idhand.data.trees import LabelHands, TreeReport

KIND = "dexycb"
SHOWN = 3
"""Subjects in a sentence."""
PARTIAL = "-partial"
"""Ends the name of a protocol's lists that were made of an incomplete tree."""


def open_dexycb(root: Path) -> "DexYcb | None":
    """The tree in a folder; None if there is none of DexYCB's.

    Raises:
        ValueError: If the folder is above the root, or inside of it.
    """
    if is_inside(root.resolve()):
        raise ValueError(
            f"{root} is a part of DexYCB; name the folder that holds the ten subjects' folders and "
            "`calibration`"
        )
    if subject_folders(root):
        return DexYcb(root)
    below = [
        f for f in sorted(root.iterdir()) if f.is_dir() and _may_list(f) and subject_folders(f)
    ]
    if below:
        raise ValueError(f"{root} is above DexYCB's root; name {below[0]}")
    return None


def _may_list(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except OSError:
        return False
    return True


class DexYcb:
    """DexYCB on disk. What is there is looked at when it is first needed.

    Args:
        root: Folder of the subjects' folders and of `calibration`.
        cache: Folder for what was read of the labels; by default in the user's cache folder.
    """

    def __init__(self, root: Path, *, cache: Path | None = None):
        self.root = root
        self.cache = LabelCache(root, cache)

    def __repr__(self) -> str:
        return f"DexYcb('{self.root}')"

    @property
    def kind(self) -> str:
        """`dexycb`."""
        return KIND

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of its protocols."""
        return tuple(PROTOCOLS)

    @cached_property
    def layout(self) -> Layout:
        """Which files are there."""
        return scan(self.root)

    def labels(
        self, sequences: Iterable[Sequence] | None = None
    ) -> Iterator[tuple[Sequence, SequenceLabels]]:
        """Sequences with their labels; from the cache after the first time.

        Args:
            sequences: Of this tree; by default all.
        """
        for sequence in self.layout.sequences if sequences is None else sequences:
            yield sequence, self.cache.read(sequence)

    def lists(self, protocol: str, *, partial: bool = False) -> Mapping[Part, SampleList]:
        """See `Tree.lists`: in the toolkit's order, without frames that show no labelled hand."""
        settings = _protocol(protocol)
        faults = self._faults(settings)
        if faults and not partial:
            raise ValueError(
                f"{self.root} is not complete: {faults}. The protocol '{protocol}' would take "
                "other pictures than everybody else's; unpack what is missing, or go on with "
                "--partial under another name"
            )
        name = protocol + PARTIAL if faults else protocol
        return {part: self._list(name, protocol, part) for part in settings.parts}

    def data(
        self, chosen: SampleList, hands: LabelHands | None = None, *, masks: bool = False
    ) -> DexYcbData:
        """See `Tree.data`.

        Args:
            chosen: Of this tree.
            hands: For pose and shape.
            masks: Also read what each pixel shows, into `Sample.parts`.

        Raises:
            ValueError: If a picture of the list is not here or has no label.
            FileNotFoundError: If a camera's intrinsics are missing.
        """
        return DexYcbData.of(self, chosen, hands, masks=masks)

    def official_order(self, protocol: str, part: Part) -> OfficialOrder:
        """Numbers of a part's pictures in the toolkit's result files.

        Raises:
            ValueError: If there is no such protocol or part, or the tree is not complete.
        """
        settings = _protocol(protocol)
        missing = self.layout.missing_sequences()
        if missing:
            raise ValueError(
                f"{self.root} is not complete ({_missing(missing)}), so the official numbers of "
                "its pictures are not known; unpack what is missing"
            )
        if part not in settings.parts:
            raise ValueError(f"the protocol '{protocol}' has no part '{part}'")
        return OfficialOrder.of(self.layout, settings.parts[part])

    def check(self, *, deep: bool = False, hands: LabelHands | None = None) -> TreeReport:
        """See `Tree.check`."""
        from idhand.data.dexycb.checking import check  # which imports this module's protocols

        return check(self, deep=deep, hands=hands)

    def _faults(self, settings: Protocol) -> str:
        """Why the protocol's lists would not be everybody's; empty if they would."""
        missing = self.layout.missing_sequences()
        needed = sorted(set().union(*(choice.subjects for choice in settings.parts.values())))
        names = {f"subject-{k + 1:02d}" for k in needed}
        counted = {
            name: n
            for name, n in missing.items()
            if name in names and (settings.counts_positions or n == NUM_SEQUENCES)
        }
        return _missing(counted)

    def _list(self, name: str, protocol: str, part: Part) -> SampleList:
        settings = PROTOCOLS[protocol]
        choice = settings.parts[part]
        ids: list[str] = []
        problems = list(self.layout.left_out)
        num_labelled = 0
        sequences = chosen_sequences(self.layout, choice, settings)
        for sequence, labels in self.labels(sequences):
            problems += [*gaps(self.root, sequence, choice.cameras), *labels.problems]
            usable = labels.labelled & sequence.pictures
            num_labelled += int(usable[list(choice.cameras)].sum())
            if settings.is_filtered:
                usable = usable & within_picture(labels)
            ids += [
                sequence.stem("color", camera, frame)
                for camera in choice.cameras
                for frame in np.flatnonzero(usable[camera]).tolist()
            ]
        side = "right hands, labelled" if settings.is_filtered else "labelled hands"
        published = choice.num_published(right_alone=settings.is_filtered)
        counts = [
            Count(what="sequences", found=len(sequences), expected=published),
            Count(what=side, found=num_labelled, expected=settings.labelled.get(part)),
        ]
        if settings.is_filtered:
            counts.append(Count(what="with all 21 points in the picture", found=len(ids)))
        return SampleList(
            protocol=name, part=part, ids=tuple(ids), counts=tuple(counts), problems=tuple(problems)
        )


def _protocol(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise ValueError(f"DexYCB has no protocol '{name}'; it has {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def _missing(counts: Mapping[str, int]) -> str:
    """What is missing of each subject that lacks sequences, as a part of a sentence."""
    texts = [
        f"{name} is missing"
        if n == NUM_SEQUENCES
        else f"{name} has {NUM_SEQUENCES - n} sequences instead of {NUM_SEQUENCES}"
        for name, n in counts.items()
    ]
    more = f" and so on, {len(texts)} subjects" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def chosen_sequences(layout: Layout, choice: Choice, settings: Protocol) -> list[Sequence]:
    """The sequences of a part, in order."""
    sequences = [s for s in choice.sequences(layout) if s.is_right or not settings.is_filtered]
    if choice.half is None:
        return sequences
    chosen: list[Sequence] = []
    for subject in sorted(choice.subjects):
        own = [s for s in sequences if s.subject == subject]
        chosen += own[choice.half :: 2]
    return chosen


def within_picture(labels: SequenceLabels) -> Bool[np.ndarray, "cameras frames"]:
    """Where all 21 points lie within the picture as the paper counts it: 0 to width and height."""
    points = labels.joint_2d
    inside = (points >= 0) & (points <= np.array([WIDTH_PX, HEIGHT_PX]))
    return np.all(inside, axis=(-1, -2), keepdims=False).astype(bool)
