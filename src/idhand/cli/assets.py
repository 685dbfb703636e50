"""`idhand assets`: hand models beside the built-in one, such as MANO, and what is here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from idhand.assets import hand_names
from idhand.assets.registry import LEFT_NOTICE, convert_mano, is_left_name
from idhand.cli import EXIT_FINE
from idhand.cli.assets_export import Export, export
from idhand.cli.common import Outcome, say
from idhand.hand import HAND_LENGTH, FittableHand


@dataclass(frozen=True, kw_only=True)
class Mano:
    """Make hand models of MANO's files, which you have from https://mano.is.tue.mpg.de.

    Do it once: all other commands then find them by their names. Nothing in the files is run.
    """

    files: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH...", help_behavior_hint="")]
    """MANO_RIGHT.pkl, MANO_LEFT.pkl, an npz with the same keys, or the folder or zip with them
    (mano_v1_2)."""


@dataclass(frozen=True, kw_only=True)
class List:
    """Name the hand models that are here."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """Hand models beside the built-in one."""

    todo: Annotated[
        OmitSubcommandPrefixes[
            Annotated[Mano, subcommand("mano", prefix_name=False)]
            | Annotated[List, subcommand("list", prefix_name=False)]
            | Annotated[Export, subcommand("export", prefix_name=False)]
        ],
        arg(name=""),
    ]


def main(command: Command) -> int:
    """Do it, print what is here and return the exit code."""
    match command.todo:
        case Mano():
            return _convert(command.todo.files)
        case Export():
            return export(command.todo)
        case List():
            for name in hand_names():
                print(name)
            return EXIT_FINE


def _convert(paths: tuple[Path, ...]) -> int:
    """Convert each file, and tell what came of it."""
    if not paths:
        raise ValueError("there is no input; name MANO_RIGHT.pkl, MANO_LEFT.pkl or their folder")
    outcome, notice = Outcome(), False
    for path in paths:
        with outcome.guard(path):
            for model in convert_mano(path, again=True):
                print(_described(model))
                notice |= is_left_name(model.name)
    if notice:
        say(LEFT_NOTICE)
    return outcome.exit_code


def _described(model: FittableHand) -> str:
    """A line on a model that was made."""
    zero = model.prior.mean
    length = model.measures.lengths(zero)[model.measures.names.index(HAND_LENGTH)]
    side = "left as shipped, mirrored" if is_left_name(model.name) else "right"
    return f"{model.name}: {side}, hand length {1e3 * float(length):.0f} mm at zero betas"
