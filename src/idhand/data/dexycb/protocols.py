"""DexYCB's protocols as values: which subjects, cameras, sequences and frames each part takes.

`dexycb-s0` to `dexycb-s3` are the benchmark's setups (Chao et al., "DexYCB", CVPR 2021), `paper`
and its folds those of Kong et al., ECCV 2022, after their released code.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from idhand.data.dexycb.layout import (
    NUM_SEQUENCES,
    NUM_SUBJECTS,
    SERIALS,
    Layout,
    Sequence,
)
from idhand.data.sample_list import Part

EVERYONE = frozenset(range(NUM_SUBJECTS))
EVERY_CAMERA = tuple(range(len(SERIALS)))
TRIALS = 5
"""In a row of each subject, with the same object."""
NUM_RIGHT = {subject: 51 if subject == 7 else 50 for subject in EVERYONE}
"""Sequences of right hands of each subject in the published release."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one part of a protocol takes; frames without a hand are left out later."""

    subjects: frozenset[int] = EVERYONE
    cameras: tuple[int, ...] = EVERY_CAMERA
    positions: frozenset[int] | None = None
    """Of sequences among the subject's; None for all."""
    half: int | None = None
    """Every other one of the subject's sequences that the protocol can use: the first, third and so
    on (0), or the second, fourth (1)."""

    def sequences(self, layout: Layout) -> tuple[Sequence, ...]:
        """Those that it takes, before `half`, in the toolkit's order."""
        return tuple(
            s
            for s in layout.sequences
            if s.subject in self.subjects
            and (self.positions is None or s.position in self.positions)
        )

    def num_published(self, *, right_alone: bool) -> int:
        """How many sequences it takes of the published release.

        Args:
            right_alone: Of right hands; not of a choice by positions.
        """
        own = NUM_SEQUENCES if self.positions is None else len(self.positions)
        each = [NUM_RIGHT[k] if right_alone else own for k in self.subjects]
        return sum(each if self.half is None else (len(range(self.half, n, 2)) for n in each))


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol's parts, and which of their frames count."""

    parts: Mapping[Part, Choice]
    is_filtered: bool = False
    """As the paper does: right hands alone, all 21 points within the picture, its border included.
    Else every labelled frame of both hands counts."""
    labelled: Mapping[Part, int] = field(default_factory=dict)
    """Labelled frames of the published release, where they are known; of right hands alone where
    the protocol takes these, before the points are looked at."""

    @property
    def counts_positions(self) -> bool:
        """Whether a missing sequence would move others to another part."""
        return any(choice.positions is not None for choice in self.parts.values())


def _subjects(test: set[int], val: set[int]) -> dict[Part, Choice]:
    """Parts by people: whoever is neither tested nor validated is trained on."""
    return {
        "train": Choice(subjects=EVERYONE - test - val),
        "val": Choice(subjects=frozenset(val)),
        "test": Choice(subjects=frozenset(test)),
    }


def _positions(wanted: Callable[[int], bool]) -> frozenset[int]:
    return frozenset(k for k in range(NUM_SEQUENCES) if wanted(k))


def _counts(train: int, val: int, test: int) -> dict[Part, int]:
    return {"train": train, "val": val, "test": test}


_LAST_TRIAL = _positions(lambda k: k % TRIALS == TRIALS - 1)
_S3_VAL, _S3_TEST = (3, 19), (7, 11, 15)
"""Blocks of trials, i.e. grasped objects."""
_S1 = _subjects({7, 8}, {6})
_FOLDS: Mapping[int, tuple[set[int], set[int]]] = {
    5: ({0, 1}, {3}),
    6: ({4, 5}, {9}),
    7: ({2, 9}, {5}),
    9: ({4, 9}, {5}),
    10: ({2, 3}, {0}),
    11: ({0, 2}, {3}),
}
"""Of the paper's cross-validation: subjects of test and of val; its code has no s8."""

PROTOCOLS: Mapping[str, Protocol] = {
    "paper": Protocol(parts=_S1, is_filtered=True, labelled=_counts(177_656, 23_848, 52_496)),
    **{
        f"paper-s{fold}": Protocol(parts=_subjects(test, val), is_filtered=True)
        for fold, (test, val) in _FOLDS.items()
    },
    "dexycb-s0": Protocol(
        parts={
            "train": Choice(positions=_positions(lambda k: k not in _LAST_TRIAL)),
            "val": Choice(subjects=frozenset({0, 1}), positions=_LAST_TRIAL),
            "test": Choice(subjects=EVERYONE - {0, 1}, positions=_LAST_TRIAL),
        },
        labelled=_counts(406_888, 22_728, 78_768),
    ),
    "dexycb-s1": Protocol(parts=_S1, labelled=_counts(356_600, 47_656, 104_128)),
    "dexycb-s2": Protocol(
        parts={
            "train": Choice(cameras=EVERY_CAMERA[:6]),
            "val": Choice(cameras=EVERY_CAMERA[6:7]),
            "test": Choice(cameras=EVERY_CAMERA[7:]),
        },
        labelled=_counts(381_288, 63_548, 63_548),
    ),
    "dexycb-s3": Protocol(
        parts={
            "train": Choice(positions=_positions(lambda k: k // TRIALS not in _S3_VAL + _S3_TEST)),
            "val": Choice(positions=_positions(lambda k: k // TRIALS in _S3_VAL)),
            "test": Choice(positions=_positions(lambda k: k // TRIALS in _S3_TEST)),
        },
        labelled=_counts(381_288, 50_736, 76_360),
    ),
    "dexycb-loso": Protocol(
        parts={"calibration": Choice(half=0), "test": Choice(half=1)}, is_filtered=True
    ),
}
"""By name."""


@dataclass(frozen=True, kw_only=True)
class OfficialOrder:
    """The toolkit's numbers of a part's pictures, in which frames without a hand count, too.

    By subject, sequence, camera and frame, the last one fastest.
    """

    sequences: tuple[Sequence, ...]
    cameras: tuple[int, ...]

    @staticmethod
    def of(layout: Layout, choice: Choice) -> "OfficialOrder":
        """The order of a part."""
        return OfficialOrder(sequences=choice.sequences(layout), cameras=choice.cameras)

    def __len__(self) -> int:
        return self._ends[-1] if self.sequences else 0

    @property
    def _ends(self) -> list[int]:
        return list(accumulate(s.num_frames * len(self.cameras) for s in self.sequences))

    def first_numbers(self) -> dict[str, int]:
        """Folder of a sequence's camera → number of its first frame."""
        starts = [0, *self._ends]
        return {
            f"{s.folder}/{SERIALS[camera]}": start + place * s.num_frames
            for s, start in zip(self.sequences, starts, strict=False)
            for place, camera in enumerate(self.cameras)
        }

    def ids(self) -> list[str]:
        """Of all pictures, in order: the place of an id is its number."""
        return [
            s.stem("color", camera, frame)
            for s in self.sequences
            for camera in self.cameras
            for frame in range(s.num_frames)
        ]

    def id_of(self, index: int) -> str:
        """The picture of a number.

        Raises:
            IndexError: If the part has no such picture.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self):,} pictures, from 0; asked for {index:,}")
        ends = self._ends
        at = bisect_right(ends, index)
        sequence = self.sequences[at]
        before = ends[at - 1] if at else 0
        camera, frame = divmod(index - before, sequence.num_frames)
        return sequence.stem("color", self.cameras[camera], frame)
