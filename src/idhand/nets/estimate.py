"""What a network predicts from a batch of crops."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One right hand per crop, in the view's frame (see `idhand.nets.crops`)."""

    sixd: Float[Tensor, "batch 16 6"]
    """The last stage's state as it is: its rows have unit length only if updates multiply."""
    rotations: Float[Tensor, "batch 16 3 3"]
    """Each joint relative to its parent, the wrist's to the view."""
    betas: Float[Tensor, "batch betas"]
    """The shape that the hand has: the given one where it is known, else the predicted one."""
    betas_image: Float[Tensor, "batch betas"] | None
    """The shape that the picture alone shows; None if the network does not predict shapes."""
    betas_cov: Float[Tensor, "batch betas betas"] | None
    """Covariance of `betas_image`."""
    confidence: Float[Tensor, " batch"] | None
    """Larger is better, unbounded; only the order has a meaning."""


@dataclass(frozen=True, kw_only=True)
class CameraEstimate:
    """One right hand per image, in the frame of its camera, mirrored for left hands; float64."""

    rotations: Float[Tensor, "batch 16 3 3"]
    """Each joint relative to its parent, the wrist's to the camera; orthonormal in double."""
    betas: Float[Tensor, "batch betas"]
    """As `Estimate.betas`."""
    betas_cov: Float[Tensor, "batch betas betas"] | None
    """As `Estimate.betas_cov`."""
