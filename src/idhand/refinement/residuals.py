"""Residuals of landmark points in standard deviations, their derivatives, and the robust cost."""

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.hand import KEYPOINT_PARENTS
from idhand.refinement.problem import Observations

BONE_START = torch.tensor(KEYPOINT_PARENTS[1:])
BONE_END = torch.arange(1, len(KEYPOINT_PARENTS))


def cauchy(
    squared: Float[Tensor, "..."], width: float
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Robust cost of a squared residual, and the weight of its square (half the derivative)."""
    ratio = squared / width**2
    return 0.5 * width**2 * torch.log1p(ratio), 0.5 / (1 + ratio)


def in_sigmas(off_px: Float[Tensor, "batch 21 2"], seen: Observations) -> Tensor:
    """Differences in pixels → independent ones of deviation one (batch, 21, 2)."""
    if seen.whiten_px is None:
        return off_px / seen.sigma_px[..., None]
    return (seen.whiten_px @ off_px.flatten(1)[..., None])[..., 0].unflatten(1, (-1, 2))


def reprojection(points: Tensor, jacobian: Tensor, seen: Observations) -> tuple[Tensor, Tensor]:
    """Pixel residuals in sigmas (batch, 21, 2) and their derivative."""
    uvw = points @ seen.K.mT
    depth = uvw[..., 2:].clamp_min(1e-3)
    pixels = uvw[..., :2] / depth
    slope = (seen.K[:, None, :2] - pixels[..., None] * seen.K[:, None, 2:]) / depth[..., None]
    residual = in_sigmas(pixels - seen.points_px, seen)
    if seen.whiten_px is None:
        return residual, (slope / seen.sigma_px[..., None, None]) @ jacobian
    moved = (slope @ jacobian).flatten(1, 2)
    return residual, (seen.whiten_px @ moved).unflatten(1, (-1, 2))


def bone_directions(points: Tensor, jacobian: Tensor, seen: Observations) -> tuple[Tensor, Tensor]:
    """Residuals of unit bone directions in sigmas (batch, 20, 3) and their derivative."""
    bones = points[:, BONE_END] - points[:, BONE_START]
    length = bones.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    units = bones / length
    scale = 1 / seen.sigma_direction[..., None]
    across = (
        torch.eye(3, dtype=points.dtype, device=points.device)
        - units[..., None] * units[..., None, :]
    )
    moved = jacobian[:, BONE_END] - jacobian[:, BONE_START]
    return (units - seen.directions) * scale, (across * (scale / length)[..., None]) @ moved
