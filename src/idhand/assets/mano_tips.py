"""Which vertices of MANO's mesh are the fingertips: the conventions of other software, by name.

MANO has 16 joints and no fingertips. Everybody chose vertices of his own; the choices lie up to
6 mm apart on the mean hand, so a data set's labels are compared with the choice they were made by.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.assets.mano_file import NUM_VERTS
from idhand.files import existing_file
from idhand.hand import HandModel

TipConvention = Literal["manopth", "freihand", "cmr", "smplx", "metro", "boukhayma"]
TipVerts = tuple[int, int, int, int, int]
Model = TypeVar("Model", bound=HandModel)

TIP_VERTS: Mapping[TipConvention, TipVerts] = {
    "manopth": (745, 317, 444, 556, 673),
    "freihand": (744, 320, 443, 555, 672),
    "cmr": (744, 333, 444, 555, 672),
    "smplx": (744, 320, 443, 554, 671),
    "metro": (745, 317, 445, 556, 673),
    "boukhayma": (745, 333, 444, 555, 672),
}
"""Thumb, index, middle, ring and little finger. `manopth`: DexYCB's labels and Kong et al.'s joints
on DexYCB. `freihand`: FreiHAND's toolbox and Kong et al.'s joints on HUMBI. `smplx`: HaMeR and
WiLoR."""
MANOPTH_LEFT: TipVerts = (745, 317, 445, 556, 673)
"""manopth takes another vertex of the left middle finger."""
DEFAULT_TIPS: TipConvention = "manopth"
SUM_TOLERANCE = 1e-3
"""Of a regressor's rows, which sum to one."""
_NAME = re.compile(r"mano-(left-)?[0-9a-f]{8}(-.+)?")


def tip_verts(tips: str | tuple[int, ...], *, is_right: bool = True) -> TipVerts:
    """The five vertices that a convention means.

    Args:
        tips: A convention's name, five vertices, or these as text: `745,317,444,556,673`.
        is_right: Of the file: manopth's left middle fingertip is another.

    Raises:
        ValueError: If there is no such convention, or the numbers are no five vertices.
    """
    if tips == "manopth" and not is_right:
        return MANOPTH_LEFT
    if isinstance(tips, str):
        named = {str(name): verts for name, verts in TIP_VERTS.items()}
        verts = named.get(tips) or _numbers(tips)
    else:
        verts = tuple(tips)
    if len(verts) != 5 or len(set(verts)) != 5 or not all(0 <= v < NUM_VERTS for v in verts):
        known = ", ".join(get_args(TipConvention))
        raise ValueError(
            f"fingertips are one of {known}, or five different vertices of MANO's mesh, 0 to "
            f"{NUM_VERTS - 1}, from the thumb to the little finger, e.g. 745,317,444,556,673"
        )
    thumb, index, middle, ring, little = verts
    return thumb, index, middle, ring, little


def _numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas or dots between them; of any other text none."""
    parts = text.replace(".", ",").split(",")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def with_tips(model: Model, tips: str | tuple[int, ...]) -> Model:
    """A hand of MANO's with the fingertips of another convention, and the name that says so.

    Its betas mean the same hands as before, so profiles serve both.

    Raises:
        ValueError: As `tip_verts`.
    """
    base = base_name(model.name)
    chosen = tip_verts(tips, is_right=not is_left_name(base))
    name = name_with_tips(base, chosen)
    betas_of = base if name != base else None
    return replace(model, name=name, tip_verts=chosen, betas_of=betas_of)


def is_mano_name(name: str) -> bool:
    """Whether a hand of that name is one of MANO's."""
    return _NAME.fullmatch(name) is not None


def is_left_name(name: str) -> bool:
    """Whether a hand of that name came of MANO's left file."""
    return name.startswith("mano-left-")


def name_with_tips(base: str, chosen: TipVerts) -> str:
    """The name of a hand of MANO's with these fingertips; those of `DEFAULT_TIPS` go without."""
    is_right = not is_left_name(base)
    for convention in TIP_VERTS:
        if tip_verts(convention, is_right=is_right) == chosen:
            return base if convention == DEFAULT_TIPS else f"{base}-{convention}"
    return f"{base}-{'.'.join(map(str, chosen))}"


def base_name(name: str) -> str:
    """The name without the fingertips: `mano-1a2b3c4d` of `mano-1a2b3c4d-freihand`."""
    parts = name.split("-")
    return "-".join(parts[: 3 if is_left_name(name) else 2])


def tips_of_name(name: str) -> str:
    """What the name of a hand of MANO's says of its fingertips."""
    return name[len(base_name(name)) + 1 :] or DEFAULT_TIPS


def read_keypoint_regressor(path: Path) -> Float[Tensor, "21 778"]:
    """A matrix that takes MANO's vertices to 21 keypoints in our order, from a .npy.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is something else, or its rows do not sum to one.
    """
    try:
        array = np.load(existing_file(path), allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no array of numbers ({error}); name a .npy") from None
    shape = getattr(array, "shape", None)
    if shape != (21, NUM_VERTS) or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{path} has the shape {shape}, but a regressor of 21 keypoints from {NUM_VERTS} "
            "vertices is needed; name another file"
        )
    regressor = np.array(array, np.float64)
    worst = np.abs(regressor.sum(1) - 1).max()
    if not worst <= SUM_TOLERANCE:
        raise ValueError(
            f"{path} has rows that do not sum to one (off by {worst:.2g}), so it moves points when "
            "the hand moves; name another file"
        )
    return torch.from_numpy(regressor)
