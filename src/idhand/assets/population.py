"""How large adults' hands are: the measures of a population, for comparison with a person's."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Literal

import torch

from idhand.assets.models import open_hand
from idhand.hand import FittableHand

Sex = Literal["women", "men"]

_ANSUR_MM: Mapping[str, Mapping[Sex, tuple[float, float]]] = {
    "hand_length": {"women": (181.08, 10.06), "men": (193.28, 9.95)},
    "palm_length": {"women": (108.70, 5.94), "men": (116.46, 6.23)},
    "hand_breadth": {"women": (78.15, 3.84), "men": (88.26, 4.39)},
    "hand_circumference": {"women": (186.55, 8.82), "men": (212.28, 10.24)},
}
"""Mean and standard deviation. Source: ANSUR II, US Army Natick 2012, 1986 women, 4082 men."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a measure is distributed among women and among men, in mm, taken as normal."""

    women: NormalDist
    men: NormalDist
    measured: bool
    """Of measured people (ANSUR II); otherwise it follows from the hand model's prior."""


@cache
def population_spreads(model: FittableHand | None = None) -> dict[str, Spread]:
    """The distribution of each measure of a hand model, the built-in one if None.

    ANSUR II for the four that it has. The others come from the shape prior, whose proportions are
    those of the literature (docs/method.md): to first order, so exact enough for percentiles. Of a
    model that does not know women's and men's hands apart, both are those of its whole population.
    """
    model = model or open_hand()
    names = model.measures.names
    spreads: dict[Sex, list[NormalDist]] = {}
    priors: Mapping[Sex, str] = {"women": "female", "men": "male"}
    for sex, population in priors.items():
        prior = model.populations.get(population, model.prior)
        lengths = model.measures.lengths(prior.mean) * 1e3
        D = model.measures.derivatives(prior.mean) * 1e3
        sigmas = torch.einsum("mk,kl,ml->m", D, prior.covariance, D).sqrt()
        spreads[sex] = [
            NormalDist(*_ANSUR_MM[name][sex]) if name in _ANSUR_MM else NormalDist(mu, sigma)
            for name, mu, sigma in zip(names, lengths.tolist(), sigmas.tolist(), strict=True)
        ]
    return {
        name: Spread(women=women, men=men, measured=name in _ANSUR_MM)
        for name, women, men in zip(names, spreads["women"], spreads["men"], strict=True)
    }
