"""A small tree in DexYCB's form for tests: every subject once, two with a left hand, too."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.data.dexycb import DexYcb
from idhand.data.trees import LabelHands
from idhand.fixtures.dexycb import DexYcbFixture, begin_dexycb, write_sequence

LEFT = ((0, 2), (8, 2))
"""Sequences of left hands: subject and number."""


@cache
def fixture_root() -> Path:
    """The tree, made once for each process; nobody may change it."""
    root = Path(mkdtemp()) / "dexycb"
    config = DexYcbFixture(is_blank=True)
    begin_dexycb(root, config)
    for subject, number in [*((k, 0) for k in range(10)), *LEFT]:
        write_sequence(root, config, subject, number)
    return root


@cache
def hands() -> LabelHands:
    """Models of the fixture's labels."""
    return LabelHands(
        right=mano_hand(resampled_hand()), left=mano_hand(resampled_hand(is_right=False))
    )


def opened(root: Path, folder: Path) -> DexYcb:
    """The tree with its cache in a folder of its own."""
    return DexYcb(root, cache=folder / "cache")


def copied(folder: Path, *subjects: int) -> Path:
    """A copy of some subjects' folders and the calibration, to be damaged."""
    root = folder / "copy"
    shutil.copytree(fixture_root() / "calibration", root / "calibration")
    for name in sorted(path.name for path in fixture_root().glob("*-subject-*")):
        if int(name[-2:]) - 1 in subjects:
            shutil.copytree(fixture_root() / name, root / name)
    return root
