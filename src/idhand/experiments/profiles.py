"""Predictions of a data set → a hand profile for each person in it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from idhand.assets import hand
from idhand.calibration import FULL_WEIGHT
from idhand.experiments.shapes import (
    PersonShape,
    fused_shapes,
    random_rows,
    rows_by_subject,
    with_lengths,
)
from idhand.fusion import FusionConfig
from idhand.hand import FittableHand
from idhand.identity import Identity, PhotoUse, measure
from idhand.predictions import Predictions

Side = Literal["left", "right"]

WIDE_BELOW = 3
"""With fewer pictures nothing averages out, and an outlier cannot be recognised."""


@dataclass(frozen=True, kw_only=True)
class RandomPictures:
    """Take only some pictures of each person, drawn at random, see `random_rows`."""

    number: int
    seed: int = 0

    def __post_init__(self):
        if self.number < 1:
            raise ValueError(f"the number of pictures must be 1 or more, got {self.number}")


def profiles(
    predictions: Predictions,
    fusion: FusionConfig,
    ruler_mm: tuple[float, float] | None = None,
    draw: RandomPictures | None = None,
) -> tuple[dict[str, Identity], tuple[str, ...]]:
    """Fuse each person's shapes.

    Args:
        predictions: With betas that the method estimated picture by picture.
        fusion: How.
        ruler_mm: Hand length and its standard deviation, of the only person.
        draw: Which pictures; all of them if None.

    Returns:
        Profiles by subject, and the subjects without a usable picture; both by name, numbers in
        names as numbers.

    Raises:
        ValueError: If the predictions or the calibrated covariances are of another hand model or
            have no shapes, nobody has a usable picture, or a length is given for several people.
    """
    predictions.check_poses("calibration")
    model = hand(predictions.model)
    _check(predictions, fusion, model)
    rows = rows_by_subject(predictions.subject)
    usable = {who: [row for row in own if predictions.found[row]] for who, own in rows.items()}
    usable = {who: own for who, own in usable.items() if own}
    without = tuple(sorted((who for who in rows if who not in usable), key=by_number))
    if not usable:
        raise ValueError(
            f"no hand was found in any of the {len(predictions):,} pictures of "
            f"'{predictions.method}', so there is nothing to calibrate from"
        )
    found = usable
    if draw is not None:
        usable = {w: sorted(random_rows(w, r, draw.number, draw.seed)) for w, r in usable.items()}
    fused: Mapping[str, PersonShape] = fused_shapes(predictions, usable, model.prior, fusion)
    shapes = fused
    if ruler_mm is not None:
        if len(rows) > 1:
            raise ValueError(
                f"--hand-length-mm is one person's, and these pictures are of {len(rows)} people; "
                "leave it out"
            )
        length_mm, sigma_mm = ruler_mm
        lengths_m = dict.fromkeys(fused, length_mm / 1e3)
        shapes = with_lengths(fused, lengths_m, model, sigma_m=sigma_mm / 1e3)
    people: dict[str, Identity] = {}
    for who, own in sorted(usable.items(), key=lambda item: by_number(item[0])):
        uses = _uses(rows[who], own, fused[who], found[who])
        sides = _sides(predictions.is_right[own])
        people[who] = _profile(shapes[who], uses, sides, model, ruler_mm)
    return people, without


def by_number(name: str) -> list[tuple[int, int, str]]:
    """A key to sort names by, in which person-2 comes before person-10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def profile_names(subjects: Sequence[str]) -> dict[str, str]:
    """A file name for each person; what cannot be in one becomes an underscore.

    Raises:
        ValueError: If two people get the same.
    """
    names = {who: re.sub(r"[^\w.-]+", "_", who).lstrip(".") or "_" for who in subjects}
    taken: dict[str, str] = {}
    for who, name in names.items():
        other = taken.setdefault(name.lower(), who)
        if other != who:
            raise ValueError(
                f"the subjects '{other}' and '{who}' would both be written to {name}.hand.json; "
                "rename one of them in the data set"
            )
    return {who: f"{name}.hand.json" for who, name in names.items()}


def _check(predictions: Predictions, fusion: FusionConfig, model: FittableHand) -> None:
    assert predictions.betas is not None
    in_use = f"'{model.name}' is in use"
    if predictions.model != model.name or predictions.betas.shape[1] != model.num_betas:
        raise ValueError(
            f"these predictions were made with hand model '{predictions.model}', but {in_use}; "
            "predict again with it"
        )
    if fusion.covariance_calibration is not None:
        fusion.covariance_calibration.check_model(model.name)


def _uses(
    rows: Sequence[int], usable: Sequence[int], shape: PersonShape, found: Sequence[int]
) -> tuple[PhotoUse, ...]:
    """How each of a person's pictures was used."""
    assert shape.weights is not None
    weights = dict(zip(usable, shape.weights.tolist(), strict=True))
    seen = set(found)
    uses = []
    for row in rows:
        weight = float(weights.get(row, 0.0))
        reason = "" if weight >= FULL_WEIGHT else "agrees less with the other pictures"
        if row not in weights:
            reason = "not drawn" if row in seen else "no hand found"
        uses.append(PhotoUse(weight=weight, reason=reason))
    return tuple(uses)


def _profile(
    shape: PersonShape,
    uses: tuple[PhotoUse, ...],
    sides: tuple[Side, ...],
    model: FittableHand,
    ruler_mm: tuple[float, float] | None,
) -> Identity:
    assert shape.covariance is not None
    return Identity(
        model=model.shape_name,
        betas=shape.betas,
        covariance=shape.covariance,
        measurements=measure(model, shape.betas, shape.covariance),
        photos=uses,
        K_known="all",
        sides=sides,
        hand_length_mm=None if ruler_mm is None else ruler_mm[0],
        hand_length_sigma_mm=None if ruler_mm is None else ruler_mm[1],
    )


def _sides(is_right: Bool[np.ndarray, " pictures"]) -> tuple[Side, ...]:
    seen: dict[Side, bool] = {"left": not is_right.all(), "right": bool(is_right.any())}
    return tuple(side for side, was_seen in seen.items() if was_seen)
