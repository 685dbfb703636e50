"""Shapes that a network predicts under one population's prior → under another's."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import FittableHand, ShapePrior


def under_population(
    model: FittableHand, posterior: ShapePrior, trained: ShapePrior, prior: ShapePrior
) -> ShapePrior:
    """The posterior that pictures would have led to under another prior.

    Pictures show proportions, not size, and a network predicts hands of the size that it was
    trained on. The priors are therefore exchanged for shapes scaled to the mean hand's size, with
    the size itself kept separate.

    Args:
        model: Of the betas.
        posterior: After the pictures, under `trained`.
        trained: The prior that `posterior` contains; of the mean hand's size.
        prior: The prior to have in its place.
    """
    if prior is trained:
        return posterior
    own = _at_mean_size(model, prior)
    precision = posterior.precision - trained.precision + own.precision
    vector = (
        posterior.precision @ posterior.mean
        - trained.precision @ trained.mean
        + own.precision @ own.mean
    )
    covariance = torch.linalg.inv(precision)
    mean, slope = _derivative(lambda x: _at_own_size(model, x), covariance @ vector)
    covariance = slope @ covariance @ slope.mT
    return ShapePrior(mean=mean, covariance=(covariance + covariance.mT) / 2)


def _proportions(model: FittableHand, betas: Float[Tensor, " betas"]) -> Float[Tensor, " betas"]:
    """A shape as its proportions on a hand of the mean size, with the size beside them."""
    size = model.relative_size(betas)
    return model.resized(betas, torch.ones_like(size)) + (size - 1) * model.uniform_growth


def _at_own_size(model: FittableHand, x: Float[Tensor, " betas"]) -> Float[Tensor, " betas"]:
    """The opposite of `_proportions`."""
    size = model.relative_size(x)
    return model.resized(x - (size - 1) * model.uniform_growth, size)


def _at_mean_size(model: FittableHand, prior: ShapePrior) -> ShapePrior:
    mean, slope = _derivative(lambda betas: _proportions(model, betas), prior.mean)
    return ShapePrior(mean=mean, covariance=slope @ prior.covariance @ slope.mT)


def _derivative(function, at: Float[Tensor, " betas"]) -> tuple[Tensor, Tensor]:
    """Value and Jacobian."""
    slope = torch.autograd.functional.jacobian(function, at)
    assert isinstance(slope, Tensor)
    return function(at), slope
