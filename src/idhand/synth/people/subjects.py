"""People who do not exist: the shape, skin and jewellery of subject i of each split."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from idhand.assets import open_hand

Split = Literal["train", "val", "test"]
Sex = Literal["male", "female"]
Population = Literal["all", "male", "female"]
OldPopulation = Literal["mixture", "men", "women"]
"""The same three under the names that they had before, which are still taken."""
Wristwear = Literal["none", "watch", "bracelet"]
Tone = tuple[float, float, float]
"""Linear RGB reflectance."""

NUM_SUBJECTS: Mapping[Split, int] = MappingProxyType({"train": 5000, "val": 100, "test": 200})
"""People of each split by default; there are as many as are asked for."""

MAX_SHAPE_NORM = 5.85
"""Mahalanobis norm within which 99.5 % of shapes lie: root of that quantile of chi-square(16)."""

SKIN_GROUPS_ITA_DEG = ((55, 68), (41, 55), (28, 41), (10, 28), (-30, 10), (-58, -30))
"""Individual typology angle from very light to dark, each drawn equally often. Source: Del Bino
and Bernerd, "Variations in skin colour", Br J Dermatol 2013; the outer ends are ours."""

POLISH: tuple[Tone, ...] = (
    (0.42, 0.01, 0.02),  # red
    (0.16, 0.005, 0.02),  # wine
    (0.70, 0.22, 0.30),  # pink
    (0.62, 0.40, 0.34),  # nude
    (0.75, 0.74, 0.72),  # white
    (0.01, 0.01, 0.012),  # black
    (0.02, 0.05, 0.25),  # blue
    (0.03, 0.22, 0.18),  # green
    (0.30, 0.18, 0.42),  # lilac
)
METALS: tuple[Tone, ...] = (
    (0.85, 0.58, 0.20),  # gold
    (0.75, 0.73, 0.70),  # silver
    (0.80, 0.47, 0.35),  # rose gold
    (0.10, 0.10, 0.11),  # blackened steel
)
STRAPS: tuple[Tone, ...] = (
    (0.012, 0.012, 0.014),  # black
    (0.09, 0.035, 0.015),  # brown leather
    (0.25, 0.12, 0.05),  # tan leather
    (0.02, 0.04, 0.12),  # navy
    (0.65, 0.64, 0.62),  # white rubber
    (0.55, 0.55, 0.56),  # steel
)
HAIR: tuple[Tone, ...] = (
    (0.010, 0.008, 0.007),  # black
    (0.035, 0.020, 0.012),  # dark brown
    (0.090, 0.050, 0.027),  # brown
    (0.300, 0.190, 0.090),  # blond
    (0.220, 0.075, 0.025),  # red
)
GREY_HAIR: Tone = (0.45, 0.44, 0.42)


@dataclass(frozen=True, kw_only=True)
class SkinTraits:
    """What the skin of a person's hand looks like."""

    melanin: float
    """0 palest … 1 darkest human skin, linear in the typology angle of the back of the hand."""
    blood: float
    """Redness, about 1."""
    warmth: float
    """Undertone, −1 rosy … 1 golden."""
    age: float
    """0 at 20 years … 1 at 80."""
    creases: float
    """Depth, 0.4 … 1.5."""
    veins: float
    """0 … 1.3."""
    freckles: float
    """0 … 1."""
    blotches: float
    """0 … 1."""
    hair: float
    """Density on the back of hand and forearm, 0 … 1."""
    hair_tone: Tone
    shine: float
    """0 dry … 1 moist."""
    nail_tone: Tone | None
    """Of nail polish; None for bare nails."""
    nail_length_m: float
    """Free edge beyond the fingertip, metres."""
    seed: int
    """Of everything that has a course or a place: lines, veins, spots."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A person: the same in every picture."""

    name: str
    """Such as `train-00042`."""
    split: Split
    index: int
    population: Sex
    betas: Float[np.ndarray, " betas"]
    """Of the open hand."""
    skin: SkinTraits
    ring_fingers: tuple[int, ...]
    """0 thumb … 4 little finger; mostly none."""
    ring_tone: Tone
    wristwear: Wristwear
    wristwear_tone: Tone


def subject(
    split: Split, index: int, seed: int = 0, population: Population | OldPopulation = "all"
) -> Subject:
    """Person number `index` of a split; no two of all splits share their random numbers.

    Of all people half are men and half women; those are the same people in sets of one sex, too.

    Raises:
        ValueError: If there is no such split or population, or the index is negative.
    """
    splits = get_args(Split)
    if split not in splits:
        raise ValueError(f"there is no split '{split}'; take one of {', '.join(splits)}")
    if index < 0:
        raise ValueError(f"people are numbered from 0, got {index}")
    rng = np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(splits.index(split), index))
    )
    sex = _sex(population, rng.random())
    betas = _draw_betas(rng, sex)
    skin = _draw_skin(rng, sex)
    wristwear, wristwear_tone = _draw_wristwear(rng, sex)
    return Subject(
        name=f"{split}-{index:05d}",
        split=split,
        index=index,
        population=sex,
        betas=betas,
        skin=skin,
        ring_fingers=_draw_ring_fingers(rng, sex),
        ring_tone=_pick(rng, METALS),
        wristwear=wristwear,
        wristwear_tone=wristwear_tone,
    )


def _sex(population: Population | OldPopulation, chance: float) -> Sex:
    """A person's sex from an even chance, drawn whether it is needed or not."""
    match population:
        case "all" | "mixture":
            return "male" if chance < 0.5 else "female"
        case "male" | "men":
            return "male"
        case "female" | "women":
            return "female"
        case _:
            known = ", ".join(get_args(Population))
            raise ValueError(f"there is no population '{population}'; take one of {known}")


@cache
def _prior(population: Sex) -> tuple[Float[np.ndarray, " betas"], Float[np.ndarray, "betas betas"]]:
    """Mean, and the lower triangular root of the covariance."""
    prior = open_hand().of_population(population).prior
    return prior.mean.numpy(), np.linalg.cholesky(prior.covariance.numpy())


def _draw_betas(rng: np.random.Generator, population: Sex) -> Float[np.ndarray, " betas"]:
    """Normal as the prior, without the few shapes that are farther out than people."""
    mean, root = _prior(population)
    while True:
        standard = rng.standard_normal(len(mean))
        if np.linalg.norm(standard) <= MAX_SHAPE_NORM:
            return mean + root @ standard


def _pick(rng: np.random.Generator, tones: tuple[Tone, ...], spread: float = 0.15) -> Tone:
    """One of the tones, with brightness and hue a little its own."""
    tone = np.array(tones[rng.integers(len(tones))])
    return _tone(tone * np.exp(rng.normal(0.0, spread) + rng.normal(0.0, spread / 3, 3)))


def _tone(rgb: Float[np.ndarray, " 3"]) -> Tone:
    """As a tuple of reflectances that a thing can have."""
    red, green, blue = np.clip(rgb, 0.002, 0.95).tolist()
    return red, green, blue


def _draw_skin(rng: np.random.Generator, population: Sex) -> SkinTraits:
    """The shares and strengths are ours, chosen by eye, after no census."""
    is_male = population == "male"
    palest, darkest = SKIN_GROUPS_ITA_DEG[0][1], SKIN_GROUPS_ITA_DEG[-1][0]
    group = SKIN_GROUPS_ITA_DEG[rng.integers(len(SKIN_GROUPS_ITA_DEG))]
    melanin = (palest - rng.uniform(*group)) / (palest - darkest)
    age = float(rng.beta(1.2, 1.7))
    has_polish = bool(rng.random() < (0.03 if is_male else 0.35))
    longest_m = 0.004 if has_polish and not is_male else 0.0012 if is_male else 0.0025
    freckled = 0.5 * max(0.0, 1 - 2.2 * melanin) + 0.04
    return SkinTraits(
        melanin=melanin,
        blood=float(np.exp(rng.normal(0.0, 0.22))),
        warmth=float(np.clip(rng.normal(0.0, 0.45), -1, 1)),
        age=age,
        creases=float(np.clip(rng.normal(0.75 + 0.4 * age, 0.18), 0.4, 1.5)),
        veins=float(np.clip(rng.gamma(2.0, 0.17) * (1.2 if is_male else 0.8) + 0.4 * age, 0, 1.3)),
        freckles=float(rng.beta(1.2, 1.6)) if rng.random() < freckled else 0.0,
        blotches=float(rng.beta(2.0, 2.5)),
        hair=float(rng.beta(1.6, 1.8) if is_male else 0.25 * rng.beta(1.0, 3.0)),
        hair_tone=_draw_hair_tone(rng, melanin, age),
        shine=float(rng.beta(1.7, 2.3)),
        nail_tone=_pick(rng, POLISH) if has_polish else None,
        nail_length_m=float(longest_m * rng.beta(1.2, 1.6)),
        seed=int(rng.integers(2**31)),
    )


def _draw_hair_tone(rng: np.random.Generator, melanin: float, age: float) -> Tone:
    """Dark with dark skin, any colour with pale skin, greying with age."""
    lightest = len(HAIR) if melanin < 0.3 else 3 if melanin < 0.5 else 1
    tone = np.array(_pick(rng, HAIR[:lightest]))
    grey = float(np.clip(rng.normal(1.6 * age - 0.7, 0.25), 0, 0.9))
    return _tone((1 - grey) * tone + grey * np.array(GREY_HAIR))


def _draw_ring_fingers(rng: np.random.Generator, population: Sex) -> tuple[int, ...]:
    """Mostly none; else mostly one, on the ring finger."""
    if rng.random() >= (0.12 if population == "male" else 0.28):
        return ()
    first = int(rng.choice(5, p=(0.04, 0.12, 0.16, 0.6, 0.08)))
    if rng.random() < 0.8:
        return (first,)
    return tuple(sorted({first, int(rng.integers(1, 5))}))


def _draw_wristwear(rng: np.random.Generator, population: Sex) -> tuple[Wristwear, Tone]:
    chance = rng.random()
    if chance < 0.16:
        return "watch", _pick(rng, STRAPS)
    if chance < (0.2 if population == "male" else 0.32):
        return "bracelet", _pick(rng, METALS if rng.random() < 0.6 else STRAPS)
    return "none", _pick(rng, STRAPS)
