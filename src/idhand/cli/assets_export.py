"""`idhand assets export`: the open hand in the form of other people's files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from idhand.assets.mano_writing import write_resampled
from idhand.cli import EXIT_FINE
from idhand.cli.common import writable_folder


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write the open hand in the form of MANO's files, for try-outs without MANO.

    It has MANO's sizes, order of joints, frame and keys, and none of its contents. Right and left,
    each as a pickle in the original's form and as npz.
    """

    format: Literal["mano"]
    """Whose form: mano for MANO_RIGHT and MANO_LEFT; the left with the published fault."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for the files."""


def export(command: Export) -> int:
    """Write the files, print their names and return the exit code."""
    for path in write_resampled(writable_folder(command.out)):
        print(path)
    return EXIT_FINE
