"""Hand models by name: the built-in open hand, those in the user's folder, and MANO.

Networks, predictions, profiles and data sets name the hand model that they belong to. Another model
is added once, as a file, and is then available to every command and every process. Files of MANO's
become such models: once by `idhand assets mano`, or at first use if `IDHAND_MANO` names them.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from platformdirs import user_data_path

from idhand.assets.carrying import carried_over
from idhand.assets.hand_files import read_hand, write_hand
from idhand.assets.mano import mano_hand, mano_name
from idhand.assets.mano_file import ManoFile
from idhand.assets.mano_reading import mano_files, read_mano
from idhand.assets.mano_tips import base_name, is_left_name, is_mano_name, tips_of_name, with_tips
from idhand.assets.models import OPEN_HAND, open_hand
from idhand.hand import FittableHand

FOLDER_VARIABLE = "IDHAND_HANDS"
"""Environment variable that names another folder for the user's hand models."""
MANO_VARIABLE = "IDHAND_MANO"
"""Environment variable that names MANO's files, or another folder for what they become."""
LEFT_NOTICE = (
    "labels of left hands that were fitted with MANO_LEFT as it is shipped (DexYCB's) mean a hand "
    "of their own: the file lacks the change of sign in x of its shape basis, so the same betas "
    "give other lengths on the left than on the right (171.8 and 180.6 mm of the middle finger's "
    "chain for DexYCB's first subject). Betas of the two are therefore never put together"
)
"""What people should know about left hands."""
_CONVERTED = "mano-*.npz"


@dataclass(frozen=True, kw_only=True)
class ManoHands:
    """The hands of MANO that labels mean; None where the file is not here."""

    right: FittableHand | None = None
    """Of right hands; also, mirrored, of left ones in new work and in mended labels."""
    left: FittableHand | None = None
    """Of labels of left hands that were fitted with MANO_LEFT as it is shipped: mirrored, so a
    right hand like all others, whose shape basis has the other sign in x."""


def hand(name: str) -> FittableHand:
    """The hand model of that name, float64.

    Args:
        name: The built-in `OPEN_HAND`, one that `add_hand` has put into `hands_folder()`, or one of
            MANO's, also with the fingertips of a convention: `mano-1a2b3c4d-freihand`.

    Raises:
        ValueError: If there is none of that name here, or its file is damaged.
    """
    if name == OPEN_HAND:
        return open_hand()
    path = _file_of(name)
    if path is None and is_mano_name(name):
        base, place = base_name(name), _own_files()
        path = _file_of(base)
        if path is None and place is not None:
            convert_mano(place)
            path = _file_of(base)
        if path is not None:
            return _read(path) if base == name else _read_with_tips(path, tips_of_name(name))
    if path is None:
        advice = (
            "Convert MANO's files with `idhand assets mano`, or name them with --mano"
            if is_mano_name(name)
            else "Add it with idhand.assets.add_hand"
        )
        raise ValueError(
            f"the hand model '{name}' is not here; there {_listed(hand_names())}. {advice}, or use "
            "what belongs to one of these"
        )
    return _read(path)


def hand_names() -> tuple[str, ...]:
    """Names of all hand models that are here, the built-in one first."""
    paths = [path for folder in _folders() for path in folder.glob("*.npz")]
    own = (path.stem for path in paths if path.parent == hands_folder() or _is_converted(path))
    return (OPEN_HAND, *sorted(set(own)))


def hands_folder() -> Path:
    """Where the user's hand models lie: NAME.npz each. `IDHAND_HANDS` names another folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else user_data_path("idhand", appauthor=False) / "hands"


def add_hand(model: FittableHand) -> Path:
    """Write a hand model into the user's folder, so that `hand` finds it by its name.

    Returns:
        The file; one of that name is replaced in one step.

    Raises:
        ValueError: If the name cannot be a file's or is the built-in model's, or the model's arrays
            do not fit each other or are not finite.
        OSError: If the file cannot be written.
    """
    if model.name == OPEN_HAND:
        raise ValueError(f"'{OPEN_HAND}' is the built-in hand model; give yours another name")
    return _written(model, hands_folder())


def mano_hands(place: Path | None = None) -> ManoHands:
    """The hands of MANO that are here, for the labels of data sets.

    Args:
        place: MANO's files as `idhand assets mano` takes them, which are converted if they have not
            been, a folder of converted ones, or one converted file; None: what `IDHAND_MANO` names,
            or else `hands_folder()`.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If the files are none of MANO's, or there are several right or left hands.
    """
    place = place or _named()
    if place is None:
        return _of_sides([hand(path.stem) for path in sorted(hands_folder().glob(_CONVERTED))])
    if not place.exists():
        raise FileNotFoundError(f"there is no {place}; name MANO's files, or the folder with them")
    if _is_converted(place):
        return _of_sides([_read(place)])
    if place.is_dir() and not mano_files(place):
        return _of_sides([_read(path) for path in sorted(place.glob(_CONVERTED))])
    return _of_sides(convert_mano(place))


@contextmanager
def using_mano(place: Path) -> Iterator[None]:
    """Let `IDHAND_MANO` name a file or folder in the block, also in processes started there."""
    before = os.environ.get(MANO_VARIABLE)
    os.environ[MANO_VARIABLE] = str(place.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[MANO_VARIABLE]
        else:
            os.environ[MANO_VARIABLE] = before


def convert_mano(path: Path, *, again: bool = False) -> tuple[FittableHand, ...]:
    """Make hand models of MANO's files and write them where `hand` finds them.

    That is the folder that `IDHAND_MANO` names, if it names one without files of MANO's, and
    `hands_folder()` otherwise.

    Args:
        path: As in `idhand.assets.mano_reading.read_mano`.
        again: Also if there is a model of the same name, made before.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If it holds no hand of MANO's, or a left one that somebody has mended.
        OSError: If the models cannot be written.
    """
    files = read_mano(path)
    _check_left(files, path)
    folder = _store()
    hands = []
    for file in files:
        target = folder / f"{mano_name(file)}.npz"
        if again or not target.is_file():
            _written(mano_hand(file, carried_over), folder)
        hands.append(_read(target))
    return tuple(hands)


def _check_left(files: tuple[ManoFile, ...], path: Path) -> None:
    """Refuse a left hand whose shape basis has been mended: labels mean the one as shipped."""
    by_side = {file.is_right: file.shape_basis[:, 0] for file in files}
    if len(by_side) < 2:
        return
    right, left = by_side[True], by_side[False]
    if np.linalg.norm(left + right) < np.linalg.norm(left - right):
        raise ValueError(
            f"{path} has a MANO_LEFT whose shape basis somebody has mended (the other sign in x); "
            "labels were made with it as it is shipped: give that file, or the right one alone, "
            "which serves both sides in new work"
        )


def _of_sides(hands: "list[FittableHand] | tuple[FittableHand, ...]") -> ManoHands:
    """The one right and the one left hand.

    Raises:
        ValueError: If there are several of a side.
    """
    sides: dict[str, list[FittableHand]] = {"right": [], "left": []}
    for model in hands:
        sides["left" if is_left_name(model.name) else "right"].append(model)
    for side, models in sides.items():
        if len(models) > 1:
            names = ", ".join(model.name for model in models)
            raise ValueError(
                f"there are several {side} hands of MANO here ({names}); say which with "
                "--mano MANO_RIGHT.pkl, or the folder of the two files"
            )
    return ManoHands(**{side: models[0] for side, models in sides.items() if models})


def _named() -> Path | None:
    """What `IDHAND_MANO` names."""
    named = os.environ.get(MANO_VARIABLE)
    return Path(named) if named else None


def _own_files() -> Path | None:
    """What `IDHAND_MANO` names, if these are MANO's own files."""
    place = _named()
    if place is None or _is_converted(place):
        return None
    return place if place.is_file() or (place.is_dir() and mano_files(place)) else None


def _store() -> Path:
    """Where converted hands of MANO are written."""
    place = _named()
    is_folder = place is not None and _own_files() is None and not _is_converted(place)
    return place if place is not None and is_folder else hands_folder()


def _folders() -> tuple[Path, ...]:
    """Where hand models may lie."""
    place = _named()
    place = place.parent if place is not None and _is_converted(place) else place
    return (hands_folder(),) if place is None else (hands_folder(), place)


def _is_converted(path: Path) -> bool:
    """Whether a file is one that `convert_mano` wrote, by its name."""
    return path.suffix == ".npz" and is_mano_name(path.stem)


def _written(model: FittableHand, folder: Path) -> Path:
    path = _file_in(folder, model.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_hand(path, model)
    return path


def _read(path: Path) -> FittableHand:
    """The model in a file of its name."""
    model = _read_hand(path, path.stat().st_mtime_ns)
    if model.name != path.stem:
        raise ValueError(
            f"{path} holds the hand model '{model.name}'; call the file {model.name}.npz, or add "
            "the hand model again with idhand.assets.add_hand"
        )
    return model


def _file_of(name: str) -> Path | None:
    """The file of a hand model of that name, if there is one."""
    paths = (_file_in(folder, name) for folder in _folders())
    return next((path for path in paths if path.is_file()), None)


def _file_in(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(
            f"a hand model's name has letters, digits, dots, hyphens and underscores, got {name!r}"
        )
    return folder / f"{name}.npz"


def _listed(names: tuple[str, ...]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names)
    return f"{'is' if len(names) == 1 else 'are'} {quoted}"


@cache
def _read_hand(path: Path, changed_ns: int) -> FittableHand:
    """The model in a file, read once as long as the file does not change."""
    return read_hand(path)


def _read_with_tips(path: Path, tips: str) -> FittableHand:
    return _hand_with_tips(path, path.stat().st_mtime_ns, tips)


@cache
def _hand_with_tips(path: Path, changed_ns: int, tips: str) -> FittableHand:
    """The model in a file with other fingertips, made once as long as the file does not change."""
    return with_tips(_read_hand(path, changed_ns), tips)
