"""One person's shape as predicted from single photos → one shape with a calibrated covariance.

For shapes that a network predicts photo by photo; `idhand.calibration` fits photos together
instead. Every photo's Gaussian already contains the prior, since the network was trained on the
population, so only what a photo adds to the prior is summed. Photos of one person share an error
(same hand, same network), which more photos do not average away.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.fusion.covariance_calibration import CovarianceCalibration
from idhand.hand import HAND_LENGTH, FittableHand, ShapePrior
from idhand.refinement.problem import check_settings
from idhand.refinement.robust import redescending

FusionMode = Literal["mean", "median", "top_k", "softmax", "covariance"]
"""`mean`, `median` and `top_k` (the most confident, unweighted) as Kong et al., ECCV 2022;
`softmax` weighs by confidence; `covariance`, ours, by what each photo shows, and doubts the odd
ones out."""

MIN_GAIN = 1e-3
"""A photo adds nothing in directions in which its precision exceeds the prior's by less than this
share."""


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How photos of one person are fused."""

    mode: FusionMode = "covariance"
    top_k: int = 10
    temperature: float = 1.0
    """Of the softmax, in units of the confidence."""
    covariance_calibration: CovarianceCalibration | None = None
    """None: predicted covariances are used unchanged, and no error is shared."""
    reweightings: int = 4
    """Rounds of weighing the photos by how well they agree."""
    disagreement: float = 2.0
    """A photo has half its weight if it is this many times as far off as usual."""
    drop_below: float = 0.15
    """Photos with less weight than this are dropped."""

    def __post_init__(self):
        if self.mode not in get_args(FusionMode):
            known = ", ".join(get_args(FusionMode))
            raise ValueError(f"mode must be one of {known}; got '{self.mode}'")
        if self.top_k < 1:
            raise ValueError(f"top_k must be 1 or more, got {self.top_k}")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        not_negative = ("reweightings", "drop_below")
        check_settings(self, positive=("disagreement",), not_negative=not_negative)
        if self.drop_below > 1:
            raise ValueError(f"drop_below must be 1 or less, as weights are; got {self.drop_below}")


@dataclass(frozen=True, kw_only=True)
class Fused:
    """One shape per person."""

    betas: Float[Tensor, "*batch betas"]
    covariance: Float[Tensor, "*batch betas betas"]
    weights: Float[Tensor, "*batch photos"]
    """Of each photo, 0 (dropped) to 1."""


@dataclass(frozen=True, kw_only=True)
class Likelihoods:
    """What photos add to the prior, in coordinates in which the prior is the unit Gaussian."""

    betas: Float[Tensor, "*batch photos betas"]
    """As the network predicted them, in the same coordinates."""
    information: Float[Tensor, "*batch photos betas betas"]
    vector: Float[Tensor, "*batch photos betas"]
    """Information times the shape that the photo alone would measure."""
    root: Float[Tensor, "*batch photos betas betas"]
    """R with R Rᵀ the pseudo-inverse of the information."""

    def __getitem__(self, chosen: Tensor) -> "Likelihoods":
        """These photos of one person: an index for each, in any batch of draws."""
        return Likelihoods(**{name: value[chosen] for name, value in vars(self).items()})


def likelihoods(
    betas: Float[Tensor, "*batch photos betas"],
    covs: Float[Tensor, "*batch photos betas betas"] | None,
    prior: ShapePrior,
) -> Likelihoods:
    """Take the prior out of each photo's Gaussian.

    Where a photo is less sure than the prior it adds nothing.

    Args:
        betas: Mean of each photo's Gaussian.
        covs: Its covariance; None: all photos have their scatter about the person's mean, with
            the prior as one photo more.
        prior: That the network was trained under.
    """
    root, white = whitened(betas, prior)
    if covs is None:
        off = white - white.mean(-2, keepdim=True)
        eye = torch.eye(white.shape[-1], dtype=white.dtype, device=white.device)
        scatter = (off.mT @ off + eye) / white.shape[-2]
        precision = torch.linalg.inv(scatter)[..., None, :, :].expand(*white.shape, -1)
    else:
        precision = root.mT @ torch.linalg.inv(covs) @ root
    total, axes = torch.linalg.eigh((precision + precision.mT) / 2)
    gain = total - 1
    seen = gain > MIN_GAIN
    gain = torch.where(seen, gain, torch.zeros_like(gain))
    along = (axes.mT @ white[..., None])[..., 0]
    root_gain = torch.where(seen, gain.clamp_min(MIN_GAIN).rsqrt(), torch.zeros_like(gain))
    return Likelihoods(
        betas=white,
        information=(axes * gain[..., None, :]) @ axes.mT,
        vector=(axes @ torch.where(seen, total * along, torch.zeros_like(along))[..., None])[
            ..., 0
        ],
        root=axes * root_gain[..., None, :],
    )


def fuse(
    betas: Float[Tensor, "*batch photos betas"],
    covs: Float[Tensor, "*batch photos betas betas"] | None,
    confidence: Float[Tensor, "*batch photos"] | None,
    prior: ShapePrior,
    config: FusionConfig,
) -> Fused:
    """One shape from the photos of one person, or of each of a batch of people.

    Args:
        betas: What the network predicts from each photo.
        covs: Their covariances; `covariance` is at its best with them, see `likelihoods`.
        confidence: Larger is better; for `top_k` and `softmax`.
        prior: Population.
        config: Mode and robustness.

    Raises:
        ValueError: If there is no photo, the mode needs a confidence and there is none, or the
            covariance calibration is of other shapes.
    """
    return combine(likelihoods(betas, covs, prior), confidence, prior, config)


def combine(
    photos: Likelihoods,
    confidence: Float[Tensor, "*batch photos"] | None,
    prior: ShapePrior,
    config: FusionConfig,
) -> Fused:
    """The same as `fuse`, from what the photos add to the prior: many draws of the same photos."""
    if photos.betas.shape[-2] == 0:
        raise ValueError("there are no photos to fuse; at least one is needed")
    root = torch.linalg.cholesky(prior.covariance)
    scale, shared, inflation = _covariance_terms(config, root)
    weights = _weights(photos, confidence, config, scale, shared)
    mean, covariance = posterior(*summed(photos, weights, scale), shared)
    match config.mode:
        case "mean" | "top_k" | "softmax":
            mean = (weights[..., None] * photos.betas).sum(-2) / weights.sum(-1, keepdim=True)
        case "median":
            mean = photos.betas.quantile(0.5, dim=-2)
        case "covariance":
            pass
    return Fused(
        betas=prior.mean + mean @ root.mT,
        covariance=inflation * root @ covariance @ root.mT,
        weights=weights,
    )


def with_hand_length(
    betas: Float[Tensor, "*batch betas"],
    covariance: Float[Tensor, "*batch betas betas"],
    model: FittableHand,
    length_m: Float[Tensor, "*#batch"],
    *,
    sigma_m: float = 0.002,
    iterations: int = 2,
) -> tuple[Float[Tensor, "*batch betas"], Float[Tensor, "*batch betas betas"]]:
    """Shape and covariance once the hand's length is known from a ruler.

    The iterated Kalman update: lengths are nearly linear in the shape, so two rounds do.

    Args:
        betas: Shape before.
        covariance: Its covariance.
        model: Of the betas.
        length_m: From the crease at the wrist to the tip of the middle finger, metres.
        sigma_m: Standard deviation of that reading.
        iterations: Linearisations.
    """
    at = model.measures.names.index(HAND_LENGTH)
    moved, gain, slope = betas, torch.zeros_like(betas), torch.zeros_like(betas)
    for _ in range(iterations):
        here = moved.detach().requires_grad_()
        with torch.enable_grad():
            length = model.measures.lengths(here)[..., at]
            (slope,) = torch.autograd.grad(length.sum(), here)
        spread = (covariance @ slope[..., None])[..., 0]
        gain = spread / ((slope * spread).sum(-1, keepdim=True) + sigma_m**2)
        expected = length.detach() + (slope * (betas - moved)).sum(-1)
        moved = betas + gain * (length_m - expected)[..., None]
    left = covariance - gain[..., :, None] * (covariance @ slope[..., None]).mT
    return moved, (left + left.mT) / 2


def whitened(
    betas: Float[Tensor, "*batch betas"], prior: ShapePrior
) -> tuple[Float[Tensor, "betas betas"], Float[Tensor, "*batch betas"]]:
    """The prior's Cholesky factor, and shapes in coordinates in which the prior is a unit one."""
    root = torch.linalg.cholesky(prior.covariance)
    off = (betas - prior.mean)[..., None]
    return root, torch.linalg.solve_triangular(root, off, upper=False)[..., 0]


def _covariance_terms(
    config: FusionConfig, root: Float[Tensor, "betas betas"]
) -> tuple[float, Float[Tensor, "betas betas"], float]:
    """Scale, shared error in the whitened coordinates, and inflation."""
    calibration = config.covariance_calibration
    if calibration is None:
        return 1.0, torch.zeros_like(root), 1.0
    if calibration.shared.shape != root.shape:
        raise ValueError(
            f"the covariance calibration is of shapes with {len(calibration.shared)} betas, and "
            f"these have {len(root)}; fit it again"
        )
    inverse = torch.linalg.inv(root)
    return (
        calibration.scale,
        inverse @ calibration.shared.to(root) @ inverse.mT,
        calibration.inflation,
    )


def summed(
    photos: Likelihoods, weights: Float[Tensor, "*batch photos"], scale: float
) -> tuple[Float[Tensor, "*batch betas betas"], Float[Tensor, "*batch betas"]]:
    """Information and vector of all photos together."""
    return (
        (weights[..., None, None] * photos.information).sum(-3) / scale,
        (weights[..., None] * photos.vector).sum(-2) / scale,
    )


def posterior(
    information: Float[Tensor, "*batch betas betas"],
    vector: Float[Tensor, "*batch betas"],
    shared: Float[Tensor, "betas betas"],
) -> tuple[Float[Tensor, "*batch betas"], Float[Tensor, "*batch betas betas"]]:
    """Mean and covariance under the unit prior, the shared error S integrated out.

    The photos together measure the shape with error L⁻¹ + S, so the precision is
    1 + (L⁻¹ + S)⁻¹ = (1 + L S)⁻¹ (1 + L S + L); no L is inverted, which may be singular.
    """
    eye = torch.eye(shared.shape[-1], dtype=shared.dtype, device=shared.device)
    inflated = eye + information @ shared
    solved = torch.linalg.solve(
        inflated + information, torch.cat((inflated, vector[..., None]), -1)
    )
    covariance = solved[..., :-1]
    return solved[..., -1], (covariance + covariance.mT) / 2


def _weights(
    photos: Likelihoods,
    confidence: Float[Tensor, "*batch photos"] | None,
    config: FusionConfig,
    scale: float,
    shared: Float[Tensor, "betas betas"],
) -> Float[Tensor, "*batch photos"]:
    """The weight of each photo."""
    ones = torch.ones_like(photos.betas[..., 0])
    match config.mode:
        case "mean" | "median":
            return ones
        case "covariance":
            return agreement(photos, config, scale, shared)
        case "top_k":
            best = _needed(confidence, config).topk(min(config.top_k, ones.shape[-1]), dim=-1)
            return torch.zeros_like(ones).scatter(-1, best.indices, 1.0)
        case "softmax":
            known = _needed(confidence, config)
            return ((known - known.amax(-1, keepdim=True)) / config.temperature).exp()


def _needed(
    confidence: Float[Tensor, "*batch photos"] | None, config: FusionConfig
) -> Float[Tensor, "*batch photos"]:
    if confidence is None:
        raise ValueError(
            f"mode '{config.mode}' needs a confidence for each photo, and these predictions "
            "have none; use a network with a confidence branch, or another mode"
        )
    return confidence


def agreement(
    photos: Likelihoods, config: FusionConfig, scale: float, shared: Float[Tensor, "betas betas"]
) -> Float[Tensor, "*batch photos"]:
    """Weights that fall with the distance from the others' shape (redescending).

    Of two photos that disagree, neither can be preferred, so both keep their weight.
    """
    weights = torch.ones_like(photos.betas[..., 0])
    if weights.shape[-1] < 3:
        return weights
    precision = torch.linalg.inv(
        torch.eye(shared.shape[-1], dtype=shared.dtype, device=shared.device) + shared
    )
    common = photos.betas.quantile(0.5, dim=-2)
    for _ in range(config.reweightings):
        off = photos.vector - (photos.information @ common[..., None, :, None])[..., 0]
        distance = (photos.root.mT @ off[..., None])[..., 0].square().sum(-1) / scale
        usual = distance.quantile(0.5, dim=-1, keepdim=True).clamp_min(shared.shape[-1])
        weights = redescending(distance / usual / config.disagreement, config.drop_below)
        information, vector = summed(photos, weights, scale)
        common = torch.linalg.solve(precision + information, vector[..., None])[..., 0]
    return weights
