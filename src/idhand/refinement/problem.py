"""The problem that the solver is given: noise and priors, observations, unknowns.

All hands here are right hands (left ones are mirrored before). Batches are one-dimensional.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def check_settings(config: object, *, positive: tuple[str, ...], not_negative: tuple[str, ...]):
    """Check numbers of a configuration.

    Raises:
        ValueError: If one is not finite or out of its range.
    """
    for name in (*positive, *not_negative):
        value = getattr(config, name)
        if not math.isfinite(value) or value < 0 or (value == 0 and name in positive):
            kind = "positive" if name in positive else "0 or more"
            raise ValueError(f"{name} must be {kind}, got {value}")


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Noise of the observations and strength of the priors."""

    sigma_px: float = 0.02
    """Deviation of a landmark, as a share of the hand's length in the image."""
    sigma_direction: float = 0.22
    """Deviation of a unit bone direction of the net's world points, per axis."""
    unseen_sigma_px: float = 0.3
    """As `sigma_px`, of landmarks outside the picture, which the net infers from the others. They
    are 0.10 to 0.13 off per axis, all of a hand in the same direction, so that together they have
    the information of one (docs/results.md)."""
    unseen_sigma_direction: float = 1.0
    """As `sigma_direction`, of bones with an end outside the picture."""
    robust_px: float = 3.0
    """Residuals beyond this many sigmas have less and less weight (Cauchy)."""
    robust_direction: float = 2.0
    """The same for directions."""
    robust_size: float = 3.0
    """The same for the hand's size in the picture."""
    pose_weight: float = 2.0
    """Strength of the pose prior; above 1, because the errors of landmarks are not independent."""
    limit_sigma: float = 0.05
    """Softness of the joint limits in radians."""
    observation_weight: float = 1.0
    """Weight of all observations against the priors; below 1 if residuals are not independent."""

    def __post_init__(self):
        names = tuple(vars(self))
        check_settings(self, positive=names, not_negative=())


@dataclass(frozen=True, kw_only=True)
class Observations:
    """What is observed of a batch of right hands."""

    points_px: Float[Tensor, "batch 21 2"]
    sigma_px: Float[Tensor, "batch 21"]
    directions: Float[Tensor, "batch 20 3"]
    """Unit bone directions in camera axes, parent keypoint to child."""
    sigma_direction: Float[Tensor, "batch 20"]
    K: Float[Tensor, "batch 3 3"]
    world: Float[Tensor, "batch 21 3"]
    """The landmark net's metric points, in camera axes about any origin, for the closed-form start;
    no part of the cost."""
    unseen: Bool[Tensor, "batch 21"] = None  # pyright: ignore[reportAssignmentType]
    """Landmarks outside the picture, which the net guessed; by default there are none."""
    whiten_px: Float[Tensor, "batch 42 42"] | None = None
    """Takes differences in pixels, x and y of each point in turn, to independent ones of deviation
    one; None: they are independent with the deviations `sigma_px`."""
    log_size: Float[Tensor, " batch"] = None  # pyright: ignore[reportAssignmentType]
    """Logarithm of the hand's length over the depth of its middle knuckle."""
    log_size_std: Float[Tensor, " batch"] = None  # pyright: ignore[reportAssignmentType]
    """Its deviation; infinite, as by default, where nothing is known of the size."""

    def __post_init__(self):
        if self.unseen is None:
            object.__setattr__(self, "unseen", torch.zeros_like(self.sigma_px, dtype=torch.bool))
        if self.log_size is None:
            nothing = torch.zeros_like(self.sigma_px[:, 0])
            object.__setattr__(self, "log_size", nothing)
            object.__setattr__(self, "log_size_std", torch.full_like(nothing, math.inf))

    def __getitem__(
        self, index: Int[Tensor, " chosen"] | Bool[Tensor, " batch"] | slice
    ) -> "Observations":
        """Some of the batch."""
        return self._each(lambda values: values[index])

    def to(self, dtype: torch.dtype) -> "Observations":
        """The same in another floating-point type."""
        return self._each(lambda values: values.to(dtype) if values.is_floating_point() else values)

    def _each(self, f: Callable[[Tensor], Tensor]) -> "Observations":
        """A function of every tensor."""
        values = vars(self).items()
        changed: dict[str, Any] = {k: None if v is None else f(v) for k, v in values}
        return Observations(**changed)


@dataclass(frozen=True, kw_only=True)
class State:
    """The unknowns: a pose per hand, its shape, and how its landmarks sit on it."""

    R: Float[Tensor, "batch 3 3"]
    """Wrist to camera."""
    wrist: Float[Tensor, "batch 3"]
    """Wrist joint in the camera frame, metres."""
    angles: Float[Tensor, "batch dofs"]
    betas: Float[Tensor, "batch betas"]
    bias: Float[Tensor, "batch 21 3"] | None = None
    """The person's own displacement of the landmark points at rest, metres on a mean hand."""

    def __getitem__(self, index: Tensor | slice) -> "State":
        """Some of the batch."""
        return self.combined(self, lambda mine, _: mine[index])

    def where(self, keep: Bool[Tensor, " batch"], other: "State") -> "State":
        """This state where `keep`, the other elsewhere."""

        def pick(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(keep.reshape(-1, *[1] * (mine.dim() - 1)), mine, theirs)

        return self.combined(other, pick)

    def combined(self, other: "State", f: Callable[[Tensor, Tensor], Tensor]) -> "State":
        """A function of both states' tensors, pair by pair."""
        bias = None if self.bias is None or other.bias is None else f(self.bias, other.bias)
        return State(
            R=f(self.R, other.R),
            wrist=f(self.wrist, other.wrist),
            angles=f(self.angles, other.angles),
            betas=f(self.betas, other.betas),
            bias=bias,
        )


@dataclass(frozen=True, kw_only=True)
class Linearisation:
    """Cost and its second-order model: cost(x + d) ≈ cost + gᵀd + ½ dᵀHd."""

    cost: Float[Tensor, " batch"]
    gradient: Float[Tensor, "batch unknowns"]
    hessian: Float[Tensor, "batch unknowns unknowns"]
