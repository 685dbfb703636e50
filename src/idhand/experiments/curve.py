"""The calibration curve: how far a person's shape is off against the number of pictures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from idhand.evaluation.shapes import covered, measure_errors_mm, measure_sigmas_mm
from idhand.experiments.shapes import (
    PersonShapes,
    rows_by_subject,
    shape_errors_mm,
)
from idhand.fusion import Fused, FusionConfig, Likelihoods, combine, likelihoods, with_hand_length
from idhand.hand import FittableHand, ShapePrior
from idhand.predictions import Predictions

PEOPLE_AT_ONCE = 20
"""Whose draws are fused together."""
ENOUGH = 0.75
"""A person counts at a number of pictures if this share of it has a hand found."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One line of the curve."""

    name: str
    predictions: Predictions
    """Of a network's own shapes."""
    fusion: FusionConfig
    with_length: bool = False
    """The hand's length is known from a ruler."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method with one number of pictures. Rows are people, means over their draws."""

    method: str
    num_pictures: int
    num_used: float
    """Mean over people: some have a few pictures less in which a hand is found."""
    subject: tuple[str, ...]
    errors_mm: dict[str, Float[np.ndarray, " people"]]
    """Names as in `shape_errors_mm`."""
    covered: Float[np.ndarray, " people"] | None
    """Share of the measures whose stated 95 % interval holds the truth; None of a method whose
    covariance is not its own."""


def calibration_curve(
    variants: Sequence[Variant],
    truth: PersonShapes,
    lengths_m: dict[str, float],
    prior: ShapePrior,
    model: FittableHand,
    *,
    sizes: Sequence[int],
    draws: int,
    ruler_sigma_m: float,
    seed: int,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> list[Point]:
    """Fuse random pictures of each person, many times over.

    Variants see the same draws. Numbers of pictures that fewer than half of the people have are
    left out.

    Args:
        variants: Lines of the curve.
        truth: PersonShapes of those people who count.
        lengths_m: Hand lengths by ruler.
        prior: Population.
        model: Of the betas.
        sizes: Numbers of pictures.
        draws: Per person and number.
        ruler_sigma_m: Error of the lengths.
        seed: Of the draws; a person's do not depend on who else is in the set.
        progress: Wraps the variants, e.g. `tqdm`.
    """
    points: list[Point] = []
    for variant in progress(variants) if progress else variants:
        photos = _photos(variant, prior)
        rows = {
            subject: [row for row in own if variant.predictions.found[row]]
            for subject, own in rows_by_subject(variant.predictions.subject).items()
            if subject in truth
        }
        for size in sizes:
            enough = {who: own for who, own in rows.items() if len(own) >= max(1, ENOUGH * size)}
            if not enough or 2 * len(enough) < len(rows):
                continue
            drawn = {who: _draws(who, own, size, draws, seed) for who, own in enough.items()}
            fused = _fuse_all(variant, photos, drawn, prior)
            points.append(
                _point(variant, size, drawn, fused, truth, lengths_m, model, ruler_sigma_m)
            )
    return points


def _photos(variant: Variant, prior: ShapePrior) -> Likelihoods:
    """What every picture adds to the prior; those without a hand are never drawn."""
    betas, covs = variant.predictions.betas, variant.predictions.betas_cov
    assert betas is not None
    assert covs is not None
    found = variant.predictions.found
    eye = np.eye(betas.shape[1])
    safe = np.where(found[:, None], betas, 0.0), np.where(found[:, None, None], covs, eye)
    return likelihoods(
        torch.from_numpy(safe[0]).double(), torch.from_numpy(safe[1]).double(), prior
    )


def _draws(
    subject: str, rows: Sequence[int], size: int, draws: int, seed: int
) -> Int[np.ndarray, "draws chosen"]:
    """Rows of each draw; if all are needed there is but one draw."""
    if size >= len(rows):
        return np.array([rows])
    rng = np.random.default_rng([seed, size, *subject.encode()])
    return np.stack([rng.permutation(rows)[:size] for _ in range(draws)])


def _fuse_all(
    variant: Variant,
    photos: Likelihoods,
    drawn: dict[str, Int[np.ndarray, "draws chosen"]],
    prior: ShapePrior,
) -> dict[str, Fused]:
    """Each person's shapes, draws first; people with equal numbers together."""
    alike: dict[tuple[int, ...], list[str]] = {}
    for subject, rows in drawn.items():
        alike.setdefault(rows.shape, []).append(subject)
    fused: dict[str, Fused] = {}
    confidence = variant.predictions.confidence
    for shape, subjects in alike.items():
        config = variant.fusion
        if config.mode == "top_k":
            config = replace(config, top_k=min(config.top_k, max(1, shape[1] // 2)))
        for start in range(0, len(subjects), PEOPLE_AT_ONCE):
            some = subjects[start : start + PEOPLE_AT_ONCE]
            rows = torch.from_numpy(np.stack([drawn[who] for who in some]))
            sure = None if confidence is None else torch.from_numpy(confidence).double()[rows]
            result = combine(photos[rows], sure, prior, config)
            for place, who in enumerate(some):
                fused[who] = Fused(**{name: value[place] for name, value in vars(result).items()})
    return fused


def _point(
    variant: Variant,
    size: int,
    drawn: dict[str, Int[np.ndarray, "draws chosen"]],
    fused: dict[str, Fused],
    truth: PersonShapes,
    lengths_m: dict[str, float],
    model: FittableHand,
    ruler_sigma_m: float,
) -> Point:
    """Errors of all draws, then the mean of each person's."""
    subjects = list(drawn)
    counts = [len(fused[who].betas) for who in subjects]
    betas = torch.cat([fused[who].betas for who in subjects])
    covariance = torch.cat([fused[who].covariance for who in subjects])
    owner = np.repeat(np.arange(len(subjects)), counts)
    if variant.with_length:
        length = torch.tensor([lengths_m[who] for who in subjects], dtype=betas.dtype)[owner]
        betas, covariance = with_hand_length(
            betas, covariance, model, length, sigma_m=ruler_sigma_m
        )
    goal = torch.from_numpy(np.stack([truth[who].betas for who in subjects]))[owner]

    def per_person(values: Float[np.ndarray, " draws"]) -> Float[np.ndarray, " people"]:
        return np.bincount(owner, values) / np.bincount(owner)

    errors = shape_errors_mm(model, betas, goal)
    inside = None
    if variant.fusion.mode == "covariance":
        inside = per_person(_covered(model, betas, covariance, goal).double().mean(1).numpy())
    return Point(
        method=variant.name,
        num_pictures=size,
        num_used=float(np.mean([rows.shape[1] for rows in drawn.values()])),
        subject=tuple(subjects),
        errors_mm={name: per_person(values) for name, values in errors.items()},
        covered=inside,
    )


def _covered(
    model: FittableHand, betas: Tensor, covariance: Tensor, truth: Tensor
) -> Bool[Tensor, "draws measures"]:
    """Whether each measure's stated interval holds the truth."""
    sigmas = measure_sigmas_mm(model, betas, covariance)
    return covered(measure_errors_mm(model, betas, truth), sigmas)
