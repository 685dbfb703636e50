"""The command `idhand`: the verb is chosen first, and only its module is imported."""

import sys
from collections.abc import Sequence
from importlib import import_module

from idhand import __version__

VERBS = {
    "run": "photos, folders and videos -> 3D hands: overlays, meshes, hands.json",
    "calibrate": "photos of one person -> that person's hand profile, measured in mm",
    "demo": "both of them on the bundled pictures, compared with the truth",
    "synth": "labelled photos of people who do not exist: a data set to train and test with",
    "train": "a data set -> a network: baseline, identity-aware, confidence, the paper's",
    "predict": "a network and a data set -> pose and shape in each of its pictures",
    "refine": "predictions -> predictions that agree with what is seen in the pictures",
    "evaluate": "predictions against a data set's truth -> errors in mm, tables, intervals",
    "reproduce": "a data set -> the paper's whole experiment: every row, curve and statement",
}
"""Verb → what it does. Its module has the same name, with a `Command` and a `main`."""

EXIT_FINE, EXIT_PROBLEMS, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
"""All fine; some inputs had problems, others were done; nothing could be done; Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (default: the process's) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
    return _run(verb, arguments)


def _help() -> str:
    """What `idhand --help` prints."""
    lines = [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "idhand: from ordinary photos to a person's own 3D hand.",
            "",
            "usage: idhand VERB [ARGUMENTS]     idhand VERB --help     idhand --version",
            "",
            *lines,
            "",
            "Exit codes: 0 all fine; 1 some inputs had problems, the others were done;",
            "2 nothing could be done; 130 interrupted.",
        ]
    )


def _run(verb: str, arguments: list[str]) -> int:
    """Parse a verb's arguments and do it; the user's mistakes end as sentences."""
    try:
        import tyro

        module = import_module(f"idhand.cli.{verb}")
        return module.main(tyro.cli(module.Command, prog=f"idhand {verb}", args=arguments))
    except SystemExit as stop:  # from tyro: 0 after --help, 2 after a wrong flag
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        kept = "files that were finished are kept, nothing half-written is left"
        print(f"\nidhand: interrupted; {kept}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"idhand: {error}", file=sys.stderr)
        return EXIT_USAGE
