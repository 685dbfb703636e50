"""The command `idhand`: the verb is chosen first, and only its module is imported."""

import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from idhand import __version__

VERBS = {
    "run": "photos, folders and videos -> 3D hands: a report, overlays, meshes, numbers",
    "calibrate": "photos of one person -> that person's hand profile, measured in mm",
    "demo": "run and calibrate on the bundled pictures, compared with the truth",
    "synth": "a data set of labelled photos of people who do not exist",
    "data": "public data sets: check, list, prepare for training, true shapes, fixtures",
    "train": "a data set -> a trained network: baseline, identity-aware or the paper's",
    "predict": "a method and a data set -> the hand in each picture, in one file",
    "refine": "predictions -> predictions fitted to the points observed in the pictures",
    "evaluate": "predictions and a data set's truth -> errors in mm, tables, intervals",
    "convert": "hands in files -> MANO's parameters, OpenXR's or MediaPipe's joints, and back",
    "reproduce": "a data set -> the paper's whole experiment: every row, curve and statement",
    "assets": "MANO's files -> hand models that every verb knows by name",
}
"""Verb → what it does. Its module has the same name, with a `Command` and a `main`."""

EXIT_FINE, EXIT_PROBLEMS, EXIT_USAGE, EXIT_FAULT, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
"""Everything was done; some inputs had problems, the others were done; nothing could be done; a
fault in idhand itself; Ctrl-C."""
DEBUG, MANO = "--debug", "--mano"
"""Flags of every verb, which may stand anywhere."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's) and return its exit code."""
    arguments, debug = _without_debug(list(sys.argv[1:] if argv is None else argv))
    arguments, mano = _without_mano(arguments)
    verb = arguments.pop(0) if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        print(_help())
        return EXIT_FINE
    if verb in ("-V", "--version"):
        print(f"idhand {__version__}")
        return EXIT_FINE
    if verb not in VERBS:
        known = ", ".join(VERBS)
        print(f"idhand: there is no verb '{verb}'; use one of: {known}", file=sys.stderr)
        return EXIT_USAGE
    return _run(verb, arguments, debug, mano)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, which may stand anywhere, and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != DEBUG]
    return kept + arguments[end:], len(kept) < end


def _without_mano(arguments: list[str]) -> tuple[list[str], str | None]:
    """The arguments without `--mano PATH`, and the path; empty if none follows."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for k, argument in enumerate(arguments[:end]):
        if argument == MANO:
            path = arguments[k + 1] if k + 1 < end else ""
            return arguments[:k] + arguments[k + 2 :], path
        if argument.startswith(f"{MANO}="):
            return arguments[:k] + arguments[k + 1 :], argument.removeprefix(f"{MANO}=")
    return arguments, None


@contextmanager
def _using_mano(path: str | None, verb: str) -> Iterator[None]:
    """Let `--mano` name the files of MANO in the block.

    Raises:
        ValueError: If there is nothing of that name; `assets` may name a folder that is to be made.
    """
    if path is None:
        yield
        return
    from pathlib import Path

    from idhand.assets.registry import using_mano

    if not path or not (verb == "assets" or Path(path).exists()):
        raise ValueError(
            f"{MANO} {path}: there is no such file or folder; name MANO_RIGHT.pkl, the folder with "
            "it, or a folder that `idhand assets mano` wrote"
        )
    with using_mano(Path(path)):
        yield


def _help() -> str:
    """What `idhand --help` prints."""
    lines = [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "idhand: from ordinary photos to a person's own 3D hand.",
            "",
            "usage: idhand VERB [ARGUMENTS] [--mano PATH] [--debug]",
            "       idhand VERB --help    idhand --version",
            "",
            *lines,
            "",
            "Exit codes: 0 everything was done; 1 some inputs had problems, the others were done;",
            "2 nothing could be done; 3 a fault in idhand itself; 130 interrupted.",
            "With --mano, MANO is that of a file or folder, as `idhand assets mano` takes them.",
            "With --debug, an error shows where in the program it happened.",
        ]
    )


def _run(verb: str, arguments: list[str], debug: bool, mano: str | None) -> int:
    """Parse a verb's arguments and do it; no error gets past here except as a sentence."""
    try:
        import tyro

        module = import_module(f"idhand.cli.{verb}")
        prepared = getattr(module, "prepared", list)(arguments)
        with warnings.catch_warnings(), _using_mano(mano, verb):  # a verb's filters end with it
            return module.main(tyro.cli(module.Command, prog=f"idhand {verb}", args=prepared))
    except SystemExit as stop:  # from tyro: 0 after --help, 2 after a wrong flag
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        kept = "finished files are kept, and no file is half-written"
        print(f"\nidhand: interrupted; {kept}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        sentence, code = _explained(error, verb, debug)
        print(f"idhand: {sentence}", file=sys.stderr)
        return code


def _explained(error: Exception, verb: str, debug: bool) -> tuple[str, int]:
    """The sentence for an error, and the exit code."""
    if isinstance(error, MemoryError):
        advice = "close other programs, or use fewer or smaller inputs"
        return f"there is not enough memory; {advice}", EXIT_USAGE
    if isinstance(error, OSError):
        from idhand.files import file_fault

        return file_fault(error), EXIT_USAGE
    if isinstance(error, ValueError):
        return str(error), EXIT_USAGE
    kind, text = type(error).__name__, " ".join(str(error).split())
    fault = f"{kind}: {text}" if text else kind
    where = "the lines above" if debug else f"what `idhand {verb} ... {DEBUG}` prints"
    return (
        f"an error that should not happen ({fault}). This is a fault in idhand, not in what you "
        f"did: please report it, with your command and {where}. Finished files are kept",
        EXIT_FAULT,
    )
