"""What a hand model needs to be fitted: how joints bend, points on bones, lengths, the shape prior.

Each is a part of `idhand.hand.FittableHand`, in the model's rest frame. Pure; knows no file.
"""

from dataclasses import dataclass
from functools import cached_property

import roma
import torch
from jaxtyping import Float, Int
from torch import Tensor

from idhand.geometry import rotation_from_vector

HAND_LENGTH = "hand_length"
"""The measure that a ruler gives: from the crease at the wrist to the tip of the middle finger."""


@dataclass(frozen=True, kw_only=True)
class PoseSpace:
    """Which ways the joints bend, how far, and how they go together.

    One angle per anatomical degree of freedom; each joint's rotation vector is the sum of its
    angles times their axes. Angles are in radians, zero is the model's rest pose.
    """

    names: tuple[str, ...]
    """E.g. `index_pip_flexion`; flexion is towards the palm, abduction away from the middle."""
    joint: Int[Tensor, " dofs"]
    """The joint that each angle turns."""
    axis: Float[Tensor, "dofs 3"]
    """Unit axes in the rest frame."""
    mean: Float[Tensor, " dofs"]
    covariance: Float[Tensor, "dofs dofs"]
    """Synergies: how the angles vary together over everyday poses."""
    lower: Float[Tensor, " dofs"]
    upper: Float[Tensor, " dofs"]
    """Anatomical limits."""
    components: Float[Tensor, "components dofs"] | None = None
    """Principal components that poses are also told by, a row each, times their deviations."""

    @property
    def num_dofs(self) -> int:
        """Number of angles."""
        return len(self.names)

    @cached_property
    def precision(self) -> Float[Tensor, "dofs dofs"]:
        """Inverse of the covariance."""
        return torch.linalg.inv(self.covariance.double()).to(self.covariance.dtype)

    def angles_of(
        self, coefficients: Float[Tensor, "*batch some"], *, about_mean: bool = True
    ) -> Float[Tensor, "*batch dofs"]:
        """The angles that coefficients of the first principal components stand for.

        Args:
            coefficients: In standard deviations; as many as there are, or fewer.
            about_mean: They are counted from the mean pose, not from the rest pose.

        Raises:
            ValueError: If there are more coefficients than components.
        """
        number = 0 if self.components is None else len(self.components)
        if self.components is None or coefficients.shape[-1] > number:
            raise ValueError(
                f"poses of this hand have {number} principal components, got "
                f"{coefficients.shape[-1]} coefficients; give at most as many"
            )
        angles = coefficients @ self.components[: coefficients.shape[-1]]
        return angles + self.mean if about_mean else angles

    def vectors(self, angles: Float[Tensor, "*batch dofs"]) -> Float[Tensor, "*batch 15 3"]:
        """Rotation vectors of the 15 finger joints."""
        terms = angles[..., None] * self.axis
        return angles.new_zeros(*angles.shape[:-1], 15, 3).index_add(-2, self.joint - 1, terms)

    def rotations(self, angles: Float[Tensor, "*batch dofs"]) -> Float[Tensor, "*batch 15 3 3"]:
        """Rotations of the 15 finger joints relative to their parents."""
        return rotation_from_vector(self.vectors(angles))

    @cached_property
    def _angles_of_vectors(self) -> Float[Tensor, "dofs vectors"]:
        """Least squares: the 45 numbers of 15 rotation vectors → angles."""
        eye = torch.eye(self.num_dofs, dtype=self.axis.dtype, device=self.axis.device)
        return torch.linalg.pinv(self.vectors(eye).flatten(-2).mT)

    def angles(self, rotations: Float[Tensor, "*batch 15 3 3"]) -> Float[Tensor, "*batch dofs"]:
        """The opposite of `rotations`: the angles that come nearest to given joint rotations.

        Exact for what `rotations` made of angles, while no joint turns by half a turn or more.
        What a joint has no axis for is left out: least squares on its rotation vector.
        """
        vectors = roma.rotmat_to_rotvec(rotations)
        return vectors.flatten(-2) @ self._angles_of_vectors.mT


@dataclass(frozen=True, kw_only=True)
class BonePoints:
    """Points fixed to bones, linear in the shape, such as those of a landmark net."""

    template: Float[Tensor, "points 3"]
    """At rest, mean shape, metres."""
    shape_basis: Float[Tensor, "points 3 betas"]
    joint: Int[Tensor, " points"]
    """The joint that carries each point."""
    bias_covariance: Float[Tensor, "coordinates coordinates"]
    """How the points differ from person to person beyond the shape: (3 points, 3 points), metres
    squared, at rest, point-major; what stays the same in all pictures of a person."""

    def at_rest(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch points 3"]:
        """The points of people of these shapes, at rest, metres."""
        return self.template + torch.einsum("pak,...k->...pa", self.shape_basis, betas)


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Lengths on the hand at rest, each a weighted sum of distances between surface points."""

    names: tuple[str, ...]
    points: Float[Tensor, "points 3"]
    """At rest, mean shape, metres."""
    shape_basis: Float[Tensor, "points 3 betas"]
    segments: Int[Tensor, "segments 2"]
    """Pairs of points."""
    coefficients: Float[Tensor, "measures segments"]

    def lengths(self, betas: Float[Tensor, "*batch betas"]) -> Float[Tensor, "*batch measures"]:
        """Lengths in metres; differentiable."""
        points = self.points + torch.einsum("pak,...k->...pa", self.shape_basis, betas)
        first, second = self.segments.unbind(-1)
        distances = (points[..., first, :] - points[..., second, :]).norm(dim=-1)
        return torch.einsum("ms,...s->...m", self.coefficients, distances)

    def derivatives(
        self, betas: Float[Tensor, "*batch betas"]
    ) -> Float[Tensor, "*batch measures betas"]:
        """Change of each length in metres per standard deviation of each beta."""
        points = self.points + torch.einsum("pak,...k->...pa", self.shape_basis, betas)
        first, second = self.segments.unbind(-1)
        apart = points[..., first, :] - points[..., second, :]
        along = torch.nn.functional.normalize(apart, dim=-1)
        basis = self.shape_basis[first] - self.shape_basis[second]
        return self.coefficients @ torch.einsum("...sa,sak->...sk", along, basis)

    def deviations(
        self,
        betas: Float[Tensor, "*batch betas"],
        covariance: Float[Tensor, "*#batch betas betas"],
    ) -> Float[Tensor, "*batch measures"]:
        """Standard deviation of each length in metres, by first-order propagation.

        Args:
            betas: Shapes.
            covariance: Of the betas.
        """
        D = self.derivatives(betas)
        return ((D @ covariance) * D).sum(-1).clamp_min(0).sqrt()

    def path(self, name: str, betas: Float[Tensor, " betas"]) -> Float[Tensor, "points 3"]:
        """Where a measure runs over the hand at rest, from end to end, in metres.

        A part with a weight below one is cut there; a loop ends where it began.

        Raises:
            ValueError: If the model has no measure of that name.
        """
        if name not in self.names:
            raise ValueError(f"there is no measure '{name}'; there are {', '.join(self.names)}")
        points = self.points + torch.einsum("pak,k->pa", self.shape_basis, betas)
        weights = self.coefficients[self.names.index(name)].tolist()
        parts = zip(self.segments.tolist(), weights, strict=True)
        after = {first: (second, weight) for (first, second), weight in parts if weight}
        starts = set(after) - {second for second, _ in after.values()}
        here = min(starts or after)
        path = [points[here]]
        for _ in after:
            there, weight = after[here]
            path.append(points[here] + weight * (points[there] - points[here]))
            here = there
        return torch.stack(path)

    @cached_property
    def growth(self) -> Float[Tensor, " betas"]:
        """Relative change of the hand's length per standard deviation of each beta."""
        zero = self.points.new_zeros(self.shape_basis.shape[-1])
        at = self.names.index(HAND_LENGTH)
        return self.derivatives(zero)[at] / self.lengths(zero)[at]


@dataclass(frozen=True, kw_only=True)
class ShapePrior:
    """What is known of a person's shape before any picture: a Gaussian over the betas."""

    mean: Float[Tensor, " betas"]
    covariance: Float[Tensor, "betas betas"]

    @cached_property
    def precision(self) -> Float[Tensor, "betas betas"]:
        """Inverse of the covariance."""
        return torch.linalg.inv(self.covariance)
