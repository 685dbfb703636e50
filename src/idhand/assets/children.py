"""The shapes of children's hands, from published anthropometry: a prior of the hand model."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import FittableHand, ShapePrior

_STATURE_MM = {
    "boys": (865, 1022, 1154, 1279, 1386, 1490, 1638, 1735),
    "girls": (850, 1008, 1147, 1276, 1380, 1512, 1604, 1626),
}
"""Median at 2, 4, ... 16 years. Source: Kuczmarski et al., 2000 CDC growth charts for the United
States, Vital and Health Statistics 11 (246), 2002, table of stature for age."""
_LENGTH_OF_STATURE = {
    "boys": (0.113, 0.113, 0.111, 0.109, 0.109, 0.109, 0.110, 0.108),
    "girls": (0.113, 0.113, 0.109, 0.109, 0.109, 0.109, 0.107, 0.106),
}
"""Median hand length over stature at the same ages. Source: individual records of Snyder et al.,
Anthropometry of infants, children, and youths to age 18 for product safety design, UM-HSRI-77-17,
1977 (3,900 children of the United States), by public analyses of them."""
_BREADTH_OF_STATURE = {
    "boys": (0.0565, 0.054, 0.052, 0.051, 0.051, 0.050, 0.051, 0.050),
    "girls": (0.0546, 0.053, 0.0505, 0.050, 0.0485, 0.048, 0.047, 0.047),
}
"""The same of hand breadth."""
MEASURES = ("hand_length", "palm_length", "hand_breadth", "hand_circumference")


def child_prior(model: FittableHand) -> ShapePrior:
    """The shapes of children from two to seventeen years, boys and girls of all ages alike.

    One Gaussian. Its mean and its spread with age are those of the typical hands of boys and girls
    at 2, 4, ... 16 years; about these, children of an age differ as adults of a sex do, relative
    to their size (the records' hand lengths vary by 5 to 6 % at an age, adults' by 5.5 % within a
    sex). What the records do not have is taken to be as in adults: palm length over hand length,
    circumference over breadth.

    Args:
        model: With the four ANSUR measures, and with populations `male` and `female`.
    """
    typical = torch.stack(
        [
            _hand_of(model, stature * length / 1e3, stature * breadth / 1e3)
            for sex in ("boys", "girls")
            for stature, length, breadth in zip(
                _STATURE_MM[sex], _LENGTH_OF_STATURE[sex], _BREADTH_OF_STATURE[sex], strict=True
            )
        ]
    )
    mean = typical.mean(0)
    by_age = (typical - mean).mT @ (typical - mean) / len(typical)
    adults = (model.populations["male"].covariance + model.populations["female"].covariance) / 2
    return ShapePrior(mean=mean, covariance=by_age + model.relative_size(mean) ** 2 * adults)


def _hand_of(model: FittableHand, length_m: float, breadth_m: float) -> Float[Tensor, " betas"]:
    """The shape nearest to the scaled mean adult's with this hand length and breadth."""
    measures = model.measures
    at = [measures.names.index(name) for name in MEASURES]
    adult = measures.lengths(torch.zeros_like(measures.growth))[at]
    scales = torch.tensor([length_m / adult[0], breadth_m / adult[2]], dtype=adult.dtype)
    wanted = adult * scales[[0, 0, 1, 1]]
    betas = model.resized(torch.zeros_like(measures.growth), scales[0])
    for _ in range(3):
        slope = measures.derivatives(betas)[at]
        off = wanted - measures.lengths(betas)[at]
        betas = betas + slope.mT @ torch.linalg.solve(slope @ slope.mT, off)
    return betas
