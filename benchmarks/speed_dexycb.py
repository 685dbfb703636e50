"""How fast DexYCB is listed, read and prepared: on a tree of its size, made of hard links.

python benchmarks/speed_dexycb.py FOLDER [--sequences 100] [--prepare 4000]

The folder gets a fixture, of whose files the tree consists (1,000 sequences, 581,968 frames; 1.2
million links, some 300 MB of folders), the cache of the labels, and shards. The hands that the
labels state are therefore a few, over and over. Seconds by the clock, and the peak of memory.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import cv2
import torch
from tables import table

from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.data import Subset, write_shards
from idhand.data.dexycb import DexYcb
from idhand.data.dexycb.layout import SERIALS
from idhand.data.prepared import Prepared
from idhand.data.trees import LabelHands
from idhand.fixtures.dexycb import DexYcbFixture, write_dexycb
from idhand.fixtures.dexycb_scene import SUBJECT_FOLDERS

LENGTHS = (72, 72, 74, 72, 74, 72, 74, 72)
"""Frames of the sequences, in turns; the last ones are made to fit."""
TOTAL_FRAMES = 72_746
"""Of the release, a camera."""
MAX_LINKS = 60_000
"""File systems allow some 65,000 to a file."""


def main() -> None:
    """Make the tree if it is not there, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sequences", type=int, default=100, help="of each subject")
    parser.add_argument("--prepare", type=int, default=4000, help="pictures to prepare")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    root = options.folder / "tree"
    rows: list[tuple[str, str]] = []
    if not root.is_dir():
        with timed(rows, "making the tree"):
            make_tree(options.folder, root, options.sequences)
    measure(root, options, rows)
    print(table(("step", "time"), rows))


def measure(root: Path, options: argparse.Namespace, rows: list[tuple[str, str]]) -> None:
    """List, read and prepare."""
    tree = DexYcb(root, cache=options.folder / "cache")
    with timed(rows, "listing the files"):
        layout = tree.layout
    num_pictures = sum(int(s.pictures.sum()) for s in layout.sequences)
    with timed(rows, f"labels of {num_pictures:,} pictures, first time"):
        num_labelled = sum(int(labels.labelled.sum()) for _, labels in tree.labels())
    again = DexYcb(root, cache=options.folder / "cache")
    with timed(rows, f"list of the protocol 'paper', from the cache ({num_labelled:,} labelled)"):
        lists = again.lists("paper")
    hands = LabelHands(
        right=mano_hand(resampled_hand()), left=mano_hand(resampled_hand(is_right=False))
    )
    with timed(rows, f"its training set as data ({len(lists['train']):,} samples)"):
        data = again.data(lists["train"], hands)
    with timed(rows, "its labels as samples"):
        num_labels = sum(1 for _ in data.labels())
    assert num_labels == len(data)
    step = max(1, len(data) // options.prepare)
    source = Prepared(Subset(data, range(0, step * options.prepare, step)))
    with cpu_time(rows, "preparing a picture, CPU time", 500):
        for index in range(min(500, len(source))):
            source.entry(index)
    began = time.perf_counter()
    write_shards(source, options.folder / f"shards-{time.time():.0f}", workers=options.workers)
    each = len(source) / (time.perf_counter() - began) / options.workers
    rows.append((f"preparing by {options.workers} processes", f"{each:.0f} a second and process"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    rows.append(("peak of memory", f"{peak:.2f} GB, of a worker {children:.2f} GB"))


@contextmanager
def timed(rows: list[tuple[str, str]], what: str) -> Iterator[None]:
    """Add a row with the seconds of the block."""
    began = time.perf_counter()
    yield
    rows.append((what, f"{time.perf_counter() - began:.1f} s"))
    print(*rows[-1], flush=True)


@contextmanager
def cpu_time(rows: list[tuple[str, str]], what: str, times: int) -> Iterator[None]:
    """Add a row with a part of the block's CPU time, of one thread: others may use the machine."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    began = time.process_time()
    yield
    rows.append((what, f"{1e3 * (time.process_time() - began) / times:.1f} ms"))


def make_tree(folder: Path, root: Path, sequences: int) -> None:
    """The tree: folders and calibration of a fixture, all other files links to its files."""
    fixture = folder / "fixture"
    write_dexycb(fixture, DexYcbFixture(sequences=1))
    pictures, labels = (_linker(fixture, kind) for kind in ("color_*.jpg", "labels_*.npz"))
    lengths = list(_lengths(10 * sequences))
    for subject, name in enumerate(SUBJECT_FOLDERS):
        (source,) = (p.parent for p in (fixture / name).glob("*/meta.yml"))
        for number in range(sequences):
            target = root / name / f"20200101_{number // 60:02d}{number % 60:02d}00"
            frames = lengths[subject * sequences + number]
            _make_sequence(source, target, frames, number, pictures, labels)
    for path in (fixture / "calibration").rglob("*.yml"):
        target = root / path.relative_to(fixture)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def _lengths(sequences: int) -> Iterator[int]:
    """Frames of each sequence, the release's number together if these are all."""
    total = round(TOTAL_FRAMES * sequences / 1000)
    turns = cycle(LENGTHS)
    for left in range(sequences, 0, -1):
        length = next(turns) if left > 1 else total
        yield length
        total -= length


def _make_sequence(
    source: Path,
    target: Path,
    frames: int,
    number: int,
    link_picture: Callable[[Path], None],
    link_labels: Callable[[Path], None],
) -> None:
    """One sequence; sides change as in the release."""
    target.mkdir(parents=True)
    side = "right" if number % 5 < 2 or number % 10 == 4 else "left"
    lines = (source / "meta.yml").read_text().replace("_right", f"_{side}")
    lines = lines.replace("- right\n", f"- {side}\n")
    kept = [line for line in lines.splitlines() if not line.startswith("num_frames")]
    (target / "meta.yml").write_text("\n".join([*kept, f"num_frames: {frames}", ""]))
    for serial in SERIALS:
        folder = target / serial
        folder.mkdir()
        for frame in range(frames):
            link_picture(folder / f"color_{frame:06d}.jpg")
            link_labels(folder / f"labels_{frame:06d}.npz")


def _linker(fixture: Path, pattern: str) -> Callable[[Path], None]:
    """What makes links to files of a fixture, in turns, no more to each than allowed."""
    files = sorted(fixture.rglob(pattern))[1::7]  # without the damaged one's neighbours in a row
    sizes = sorted(files, key=lambda path: path.stat().st_size)
    turns = cycle(sizes[-24:])

    def link(path: Path) -> None:
        target = next(turns)
        assert target.stat().st_nlink < MAX_LINKS
        os.link(target, path)

    return link


if __name__ == "__main__":
    main()
