"""Covariances calibrated on people of known shape: maximum likelihood, checked in folds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from idhand.fusion.covariance_calibration import CovarianceCalibration
from idhand.fusion.fusing import (
    FusionConfig,
    agreement,
    likelihoods,
    posterior,
    summed,
    whitened,
)
from idhand.hand import HandModel, ShapePrior

NUM_FOLDS = 5
"""Of people."""
FEWEST_PEOPLE = NUM_FOLDS
"""On whom covariances can be calibrated."""


def fit_covariance_calibration(
    people: Sequence[tuple[Float[Tensor, "photos betas"], Float[Tensor, "photos betas betas"]]],
    truth: Float[Tensor, "people betas"],
    prior: ShapePrior,
    model: HandModel,
    *,
    sizes: Sequence[int] = (1, 2, 5, 10, 20),
    seed: int = 0,
) -> CovarianceCalibration:
    """Find the scale and the shared error under which true shapes are most likely.

    The likelihood is that of the fused shapes of random photos, as many as each of `sizes` where
    the person has them. The shared error's directions are those in which fused shapes are off;
    its size along each follows, with the scale, by maximum likelihood. People who had no part in
    a fit (in folds) then show by how much covariances are still too small.

    Args:
        people: Betas and covariances that the network states for each person's photos.
        truth: Each person's shape. These people must not have been trained on.
        prior: Population.
        model: Of the betas.
        sizes: Numbers of photos.
        seed: Of the draws.

    Raises:
        ValueError: If there are too few people.
    """
    if len(people) < FEWEST_PEOPLE:
        raise ValueError(
            f"covariances are calibrated on {FEWEST_PEOPLE} people or more, there are {len(people)}"
        )
    root, goal = whitened(truth, prior)
    groups = _groups(people, goal, prior, sizes, torch.Generator().manual_seed(seed))
    distances: list[Tensor] = []
    for fold in range(NUM_FOLDS):
        inside = groups.person % NUM_FOLDS != fold
        scale, shared = _most_likely(groups, inside)
        distances.append(_normal_errors(groups, ~inside, scale, shared)[0].square().flatten())
    scale, shared = _most_likely(groups, torch.ones_like(groups.is_largest))
    shared = root @ shared @ root.mT
    return CovarianceCalibration(
        model=model.name,
        scale=float(scale),
        shared=(shared + shared.mT) / 2,
        inflation=max(1.0, float(torch.cat(distances).mean())),
    )


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """Photos of one person taken together, many times over, whitened."""

    information: Float[Tensor, "groups betas betas"]
    vector: Float[Tensor, "groups betas"]
    goal: Float[Tensor, "groups betas"]
    """The person's shape."""
    person: Int[Tensor, " groups"]
    is_largest: Bool[Tensor, " groups"]
    """Of the person's groups."""


def _groups(
    people: Sequence[tuple[Tensor, Tensor]],
    goal: Float[Tensor, "people betas"],
    prior: ShapePrior,
    sizes: Sequence[int],
    rng: torch.Generator,
) -> _Groups:
    """One group of random photos for each person and size."""
    rows: list[tuple[Tensor, Tensor, int, bool]] = []
    for person, (betas, covs) in enumerate(people):
        photos = likelihoods(betas, covs, prior)
        order = torch.randperm(len(betas), generator=rng)
        counts = sorted({min(size, len(betas)) for size in sizes})
        for count in counts:
            drawn = photos[order[:count]]
            weights = agreement(drawn, FusionConfig(), 1.0, torch.zeros_like(prior.covariance))
            rows.append((*summed(drawn, weights, 1.0), person, count == counts[-1]))
    information, vector, person, is_largest = zip(*rows, strict=True)
    return _Groups(
        information=torch.stack(information),
        vector=torch.stack(vector),
        goal=goal[list(person)],
        person=torch.tensor(person, device=goal.device),
        is_largest=torch.tensor(is_largest, device=goal.device),
    )


def _directions(groups: _Groups, chosen: Bool[Tensor, " groups"]) -> Float[Tensor, "betas betas"]:
    """Principal axes of the errors of fused shapes, the smallest first, as columns."""
    some = chosen & groups.is_largest
    still = torch.zeros_like(groups.information[0])
    mean, _ = posterior(groups.information[some], groups.vector[some], still)
    off = mean - groups.goal[some]
    return torch.linalg.eigh(off.mT @ off)[1]


def _most_likely(
    groups: _Groups, chosen: Bool[Tensor, " groups"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "betas betas"]]:
    """Scale and shared error of some groups."""
    axes = _directions(groups, chosen)
    logs = axes.new_zeros(1 + len(axes)).requires_grad_()

    def closure() -> Tensor:
        """Negative log-likelihood per group; a weak pull keeps unseen directions finite."""
        optimiser.zero_grad()
        shared = (axes * logs[1:].exp()) @ axes.mT
        normal, factor = _normal_errors(groups, chosen, logs[0].exp(), shared)
        volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        cost = (normal.square().sum(-1) / 2 + volume).mean() + 1e-3 * logs.square().sum()
        cost.backward()
        return cost

    optimiser = torch.optim.LBFGS([logs], max_iter=60, line_search_fn="strong_wolfe")
    optimiser.step(closure)  # pyright: ignore[reportArgumentType]
    final = logs.detach().exp()
    return final[0], (axes * final[1:]) @ axes.mT


def _normal_errors(
    groups: _Groups,
    chosen: Bool[Tensor, " groups"],
    scale: Float[Tensor, ""],
    shared: Float[Tensor, "betas betas"],
) -> tuple[Float[Tensor, "chosen betas"], Float[Tensor, "chosen betas betas"]]:
    """Errors in units of the stated covariances, and those covariances' Cholesky factors."""
    information, vector = groups.information[chosen] / scale, groups.vector[chosen] / scale
    mean, covariance = posterior(information, vector, shared)
    factor = torch.linalg.cholesky(covariance)
    off = (groups.goal[chosen] - mean)[..., None]
    return torch.linalg.solve_triangular(factor, off, upper=False)[..., 0], factor
