"""How large adults' hands are: the measures of a population, for comparison with a person's."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from idhand.hand import FittableHand, ShapePrior

Sex = Literal["women", "men"]

_ANSUR_MM: Mapping[str, Mapping[Sex, tuple[float, float]]] = {
    "hand_length": {"women": (181.08, 10.06), "men": (193.28, 9.95)},
    "palm_length": {"women": (108.70, 5.94), "men": (116.46, 6.23)},
    "hand_breadth": {"women": (78.15, 3.84), "men": (88.26, 4.39)},
    "hand_circumference": {"women": (186.55, 8.82), "men": (212.28, 10.24)},
}
"""Mean and standard deviation. Source: ANSUR II, US Army Natick 2012, 1986 women, 4082 men."""
_POPULATIONS: Mapping[Sex, str] = {"women": "female", "men": "male"}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a measure is distributed among adults, in mm, taken as normal.

    Either among women and among men, or among all adults, where these have no separate values.
    """

    women: NormalDist | None = None
    men: NormalDist | None = None
    adults: NormalDist | None = None
    measured: bool
    """Of measured people (ANSUR II); otherwise it follows from the hand model's prior."""

    @property
    def groups(self) -> dict[str, NormalDist]:
        """What is known, by group: women and men, or adults."""
        every = {"women": self.women, "men": self.men, "adults": self.adults}
        return {name: spread for name, spread in every.items() if spread is not None}


def population_spreads(model: FittableHand) -> dict[str, Spread]:
    """The distribution of each measure of a hand model.

    ANSUR II for the four that it has: measures of these names mean the same in every model. The
    others come from the shape prior, to first order, so exact enough for percentiles; the open
    hand's proportions are those of the literature (docs/method.md). Only of a model with the
    populations `female` and `male` are women and men known apart.
    """
    apart = all(name in model.populations for name in _POPULATIONS.values())
    of_priors: dict[str, list[NormalDist]] = (
        {sex: _spreads(model, model.populations[name]) for sex, name in _POPULATIONS.items()}
        if apart
        else {"adults": _spreads(model, model.prior)}
    )
    spreads = {}
    for k, name in enumerate(model.measures.names):
        measured = name in _ANSUR_MM
        groups = (
            {sex: NormalDist(*numbers) for sex, numbers in _ANSUR_MM[name].items()}
            if measured
            else {group: lengths[k] for group, lengths in of_priors.items()}
        )
        spreads[name] = Spread(**groups, measured=measured)
    return spreads


def _spreads(model: FittableHand, prior: ShapePrior) -> list[NormalDist]:
    """Each measure of people of that prior, in mm."""
    lengths = model.measures.lengths(prior.mean) * 1e3
    sigmas = model.measures.deviations(prior.mean, prior.covariance) * 1e3
    return [NormalDist(*pair) for pair in zip(lengths.tolist(), sigmas.tolist(), strict=True)]
