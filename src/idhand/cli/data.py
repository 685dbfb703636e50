"""`idhand data`: public data sets as their publishers unpack them → checked, listed, prepared."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from idhand.cli.common import num_cores
from idhand.data.sample_list import Part

Kind = Literal["dexycb", "freihand", "humbi"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Look at a data set: what is there, what is missing, what is damaged.

    Counts stand beside those of the published release; an exclamation mark follows where they
    differ. Every fault names the file, the cause and the remedy; the exit code is then 1.
    """

    root: Positional[Path]
    """Folder that the publishers' archive unpacks to; its kind is recognised."""
    deep: bool = False
    """Also read all labels and the pictures' first and last bytes, and compare labels with the hand
    models (MANO's, --mano)."""


@dataclass(frozen=True, kw_only=True)
class List:
    """List the pictures of a protocol's parts: counts, a hash to compare, and files with the names.

    The hash is the SHA-256 of the sorted names, each with a line feed.
    """

    root: Positional[Path]
    """Folder of the data set."""
    protocol: Annotated[str, arg(metavar="NAME")]
    """Which pictures: paper, dexycb-s0, freihand, paper-humbi or another of docs/datasets.md."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path()
    """Folder for PROTOCOL_PART.txt; by default the current one."""
    partial: bool = False
    """Go on with an incomplete tree; the protocol's name then ends in -partial."""


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """Cut a protocol's pictures to squares about the hand and write them as shards.

    Writes FOLDER/train, val and test, which `idhand train`, `predict` and `evaluate` read, and the
    lists of the pictures. Squares have three times the keypoints' box, are black outside the
    picture and never mirrored. After an interruption, the same command resumes. Pose and shape
    need MANO (--mano); without it, samples have keypoints alone.
    """

    root: Positional[Path]
    """Folder of the data set."""
    protocol: Annotated[str, arg(metavar="NAME")]
    """Which pictures: paper, dexycb-s0, freihand, paper-humbi or another of docs/datasets.md."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for the shards."""
    size: Annotated[int, arg(metavar="PX")] = 320
    """Side of the squares."""
    native: bool = False
    """Keep the pixels as they are, so that the squares' sides differ."""
    only: Part | None = None
    """One part instead of all."""
    masks: bool = False
    """Also write what each pixel shows, where the data set knows it."""
    partial: bool = False
    """Go on with an incomplete tree; the protocol's name then ends in -partial."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Of the order, which mixes people."""
    workers: Annotated[int | None, arg(metavar="N")] = None
    """Processes; by default one for each core. The files do not depend on it."""

    def __post_init__(self):
        _check_numbers(workers=self.workers, size=self.size)


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Write the true hand of each person in a prepared set: a profile, and the hand at rest."""

    data: Positional[Path]
    """Prepared shards, e.g. FOLDER/test."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for NAME.hand.json, NAME.obj and NAME.ply."""


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """Write a small set in a data set's format, with people who do not exist and exact truth.

    To try the commands, and for tests. Its hand model is that of `idhand assets export --format
    mano`.
    """

    kind: Positional[Kind]
    """Whose format."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for the set."""
    sequences: Annotated[int | None, arg(metavar="N")] = None
    """DexYCB alone: sequences of each of the ten subjects, 4 by default; 100 for protocols that
    count positions."""
    blank: bool = False
    """Grey pictures, where labels alone matter: far faster."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Another seed gives other people."""
    workers: Annotated[int | None, arg(metavar="N")] = None
    """Processes, for dexycb; by default one for each core."""

    def __post_init__(self):
        _check_numbers(workers=self.workers, sequences=self.sequences)
        if self.sequences is not None and self.kind != "dexycb":
            raise ValueError(f"--sequences is for dexycb, not for {self.kind}; leave it out")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Public data sets as their publishers unpack them: DexYCB, FreiHAND, HUMBI's hands."""

    todo: Annotated[
        OmitSubcommandPrefixes[
            Annotated[Check, subcommand("check", prefix_name=False)]
            | Annotated[List, subcommand("list", prefix_name=False)]
            | Annotated[Prepare, subcommand("prepare", prefix_name=False)]
            | Annotated[Shapes, subcommand("shapes", prefix_name=False)]
            | Annotated[Fixture, subcommand("fixture", prefix_name=False)]
        ],
        arg(name=""),
    ]


def _check_numbers(**numbers: int | None) -> None:
    for flag, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"--{flag} must be at least 1, got {number}")


def main(command: Command) -> int:
    """Do it, print a summary and return the exit code."""
    from idhand.cli import data_sets

    match command.todo:
        case Check() as todo:
            return data_sets.check(todo.root, deep=todo.deep)
        case List() as todo:
            return data_sets.write_lists(todo.root, todo.protocol, todo.out, partial=todo.partial)
        case Prepare() as todo:
            return data_sets.prepare(todo)
        case Shapes() as todo:
            return data_sets.write_shapes(todo.data, todo.out)
        case Fixture() as todo:
            return data_sets.write_fixture(todo, todo.workers or num_cores())
