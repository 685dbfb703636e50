"""What the keypoint network minimises: likelihoods of what it says with its own deviations."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.nets.backbones import CROP_SIDE_PX
from idhand.nets.keypoints import KeypointEstimate
from idhand.training.batches import SeenLabels

DEGREES = 5.0
"""Of freedom of Student's distribution: its tails are those of hidden and mistaken points."""
HEAT_SIGMA = 1.2
"""Of a keypoint's target, in cells."""
FARTHEST = 1.0
"""Keypoints farther outside the crop, in its sides, are not learnt from."""


@dataclass(frozen=True, kw_only=True)
class KeypointLossConfig:
    """Weight of each term.

    Raises:
        ValueError: If one is negative or no number.
    """

    points: float = 1.0
    """Negative log-likelihood of a keypoint, per axis."""
    distance: float = 5.0
    """Mean absolute error of keypoints, in sides of the crop."""
    heat: float = 0.3
    """Cross entropy of a keypoint's cell."""
    visible: float = 0.5
    directions: float = 0.3
    """Negative log-likelihood of a bone's direction, per axis."""
    size: float = 1.0
    """Negative log-likelihood of the logarithm of the hand's size."""
    parts: float = 0.5
    """Cross entropy of what each cell shows."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"loss weight '{field.name}' must be 0 or more, got {value}")


def sides_of(points_px: Float[Tensor, "batch 21 2"]) -> Float[Tensor, "batch 21 2"]:
    """Pixels of the crop → its sides from the corner."""
    return (points_px + 0.5) / CROP_SIDE_PX


def keypoint_terms(
    estimate: KeypointEstimate,
    points: Float[Tensor, "batch 21 2"],
    directions: Float[Tensor, "batch 20 3"],
    seen: SeenLabels,
    loss: KeypointLossConfig,
) -> dict[str, Float[Tensor, ""]]:
    """The terms of a batch, weighted, by name.

    Args:
        estimate: Of the batch.
        points: True keypoints in sides of the crop; NaN where one is not known.
        directions: True directions of the bones in the view.
        seen: The other labels.
        loss: Weights.
    """
    near = (points > -FARTHEST).all(-1) & (points < 1 + FARTHEST).all(-1)
    true = torch.where(near[..., None], points, 0.5)
    off = estimate.points - true
    terms = {
        "points": _mean(student_nll(off, estimate.root_cov) / 2, near),
        "distance": _mean(off.abs().mean(-1), near),
        "heat": _heat_loss(estimate.heat, true, near),
        "visible": F.binary_cross_entropy_with_logits(estimate.visible, seen.visible),
        "directions": direction_nll(estimate, directions).mean(),
        "size": student_nll(
            (estimate.log_size - seen.log_size)[..., None], estimate.log_size_std[..., None, None]
        ).mean(),
        "parts": F.cross_entropy(estimate.parts, seen.parts.long()),
    }
    return {name: getattr(loss, name) * value for name, value in terms.items()}


def student_nll(
    residual: Float[Tensor, "*batch axes"], root: Float[Tensor, "*batch axes axes"]
) -> Float[Tensor, "*batch"]:
    """Negative log-likelihood under Student's distribution, without its constant.

    Args:
        residual: Estimate less truth.
        root: Lower triangular root of the scale matrix.
    """
    white = torch.linalg.solve_triangular(root, residual[..., None], upper=False)[..., 0]
    axes = residual.shape[-1]
    tails = 0.5 * (DEGREES + axes) * torch.log1p(white.square().sum(-1) / DEGREES)
    return tails + root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def direction_nll(
    estimate: KeypointEstimate, directions: Float[Tensor, "batch 20 3"]
) -> Float[Tensor, "batch 20"]:
    """Of the bones' true directions, per axis."""
    eye = torch.eye(3, device=directions.device)
    root = estimate.directions_std[..., None, None] * eye
    return student_nll(estimate.directions - directions, root) / 3


def _heat_loss(
    heat: Float[Tensor, "batch 21 h w"],
    points: Float[Tensor, "batch 21 2"],
    near: Bool[Tensor, "batch 21"],
) -> Float[Tensor, ""]:
    """Cross entropy against a Gaussian about the keypoint, of those inside the crop."""
    side = heat.shape[-1]
    cells = torch.arange(side, device=heat.device) + 0.5
    off = cells - side * points[..., None]
    x, y = torch.exp(-off.square() / (2 * HEAT_SIGMA**2)).unbind(-2)
    target = (y[..., :, None] * x[..., None, :]).flatten(2)
    inside = near & ((points > 0) & (points < 1)).all(-1)
    target = target / target.sum(-1, keepdim=True).clamp_min(1e-9)
    loss = -(target * heat.flatten(2).log_softmax(-1)).sum(-1)
    return _mean(loss, inside)


def _mean(values: Float[Tensor, "*batch"], counts: Bool[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Of those that count."""
    return torch.where(counts, values, 0).sum() / counts.sum().clamp_min(1)
