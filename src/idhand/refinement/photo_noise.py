"""The errors of a photo's points and directions with their correlations, as they were measured."""

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.refinement.objective import Objective
from idhand.refinement.problem import Linearisation, Observations, State
from idhand.refinement.residuals import bone_directions, cauchy, reprojection

FILE = "photo_noise.json"
NUM_RESIDUALS = 21 * 2 + 20 * 3

Net = Literal["landmarks", "network"]
"""Whose points: the landmark net's, or the trained network's keypoints."""


@dataclass(frozen=True, kw_only=True)
class PhotoNoise:
    """What is known of a net's errors on people: those of one photo, and those that all share.

    Errors of points that are seen together are not independent: a finger that is seen too long is
    so at all its points. Residuals are those of the 21 points, x and y, then of the 20 bone
    directions, x, y and z, in units of their stated deviations, in axes that are turned about the
    camera's axis until straight fingers point along x.

    Raises:
        ValueError: If a covariance has another size, or is none.
    """

    covariance: Float[Tensor, "102 102"]
    """Of one photo's residuals, the joint limits and the pose prior left out."""
    bias_covariance: Float[Tensor, "63 63"]
    """Of how a person's points lie apart from everybody's, see `BonePoints`."""

    def __post_init__(self):
        sizes = {"covariance": NUM_RESIDUALS, "bias_covariance": 63}
        for name, size in sizes.items():
            value = getattr(self, name)
            symmetric = value.shape == (size, size) and torch.allclose(value, value.mT)
            if not symmetric or torch.linalg.eigvalsh(value).min() <= 0:
                raise ValueError(
                    f"the {name.replace('_', ' ')} of points must be a positive definite matrix of "
                    f"{size} × {size}, got one of {' × '.join(map(str, value.shape))}"
                )

    @staticmethod
    def shipped(net: Net) -> "PhotoNoise":
        """Of the shipped nets; source: tools/build_noise.py."""
        document = json.loads((files("idhand.assets") / "data" / FILE).read_text("utf-8"))
        return PhotoNoise.from_json(document[net])

    def inflated(self, *, photo: float, bias: float) -> "PhotoNoise":
        """The same with larger covariances, by what other evidence has in common with this."""
        return PhotoNoise(
            covariance=photo * self.covariance, bias_covariance=bias * self.bias_covariance
        )

    @staticmethod
    def from_json(document: dict) -> "PhotoNoise":
        """What `as_json` gave."""
        return PhotoNoise(
            covariance=_symmetric(document["covariance"]),
            bias_covariance=_symmetric(document["bias_covariance_mm2"]) / 1e6,
        )

    def as_json(self) -> dict[str, list[list[float]]]:
        """The lower triangles, row by row; biases in square millimetres."""
        return {
            "covariance": _triangle(self.covariance),
            "bias_covariance_mm2": _triangle(1e6 * self.bias_covariance),
        }

    @cached_property
    def precision(self) -> Float[Tensor, "102 102"]:
        """Inverse covariance of one photo's residuals."""
        return torch.linalg.inv(self.covariance)

    def linearise(self, objective: Objective, state: State, seen: Observations) -> Linearisation:
        """As `Objective.linearise` with shape and bias free, their priors left out.

        Outliers have the weights of the objective's robust cost at this state.
        """
        r, J = residuals(objective, state, seen)
        gradient = (J.mT @ (self.precision @ r[..., None]))[..., 0]
        hessian = J.mT @ self.precision @ J
        cost = 0.5 * (r[:, None] @ self.precision @ r[..., None])[:, 0, 0]
        prior = pose_prior(objective, state, seen)
        pose = slice(6, 6 + objective.model.pose_space.num_dofs)
        gradient[:, pose] += prior.gradient
        hessian[:, pose, pose] += prior.hessian
        return Linearisation(cost=cost + prior.cost, gradient=gradient, hessian=hessian)


def pose_prior(objective: Objective, state: State, seen: Observations) -> Linearisation:
    """What the prior of the angles and the joint limits add, by the angles alone."""
    space = objective.model.pose_space
    precision, limits = objective.pose_precision(seen), objective.limit_hessian(state.angles)
    beyond = state.angles - state.angles.clamp(space.lower, space.upper)
    off = state.angles - space.mean
    pull = (precision @ off[..., None])[..., 0]
    return Linearisation(
        cost=0.5 * (pull * off + limits * beyond.square()).sum(-1),
        gradient=pull + limits * beyond,
        hessian=precision + torch.diag_embed(limits),
    )


def residuals(
    objective: Objective, state: State, seen: Observations
) -> tuple[Float[Tensor, "photos 102"], Float[Tensor, "photos 102 unknowns"]]:
    """In the order and the axes of `PhotoNoise`, outliers weighted down, and their derivative."""
    c = objective.config
    points, jacobian = objective.point_jacobian(state, shape=True, bias=True)
    turn = upright(state.R)
    parts, slopes = [], []
    for (r, J), width in (
        (reprojection(points, jacobian, seen), c.robust_px),
        (bone_directions(points, jacobian, seen), c.robust_direction),
    ):
        root = (2 * cauchy(r.square().sum(-1), width)[1]).sqrt()
        axes = turn[:, None, : r.shape[-1], : r.shape[-1]] * root[..., None, None]
        parts.append((axes @ r[..., None])[..., 0].flatten(1))
        slopes.append((axes @ J).flatten(1, 2))
    return torch.cat(parts, 1), torch.cat(slopes, 1)


def upright(R: Float[Tensor, "photos 3 3"]) -> Float[Tensor, "photos 3 3"]:
    """Turns about the camera's axis after which fingers of a straight hand point along x."""
    along = -R[:, :2, 1]
    c, s = (along / along.norm(dim=1, keepdim=True).clamp_min(1e-9)).unbind(1)
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    return torch.stack((c, s, zero, -s, c, zero, zero, zero, one), 1).unflatten(1, (3, 3))


def _triangle(matrix: Tensor) -> list[list[float]]:
    rounded = np.round(matrix.numpy(), 5).tolist()
    return [row[: k + 1] for k, row in enumerate(rounded)]


def _symmetric(rows: list[list[float]]) -> Tensor:
    matrix = np.zeros((len(rows), len(rows)))
    for k, row in enumerate(rows):
        matrix[k, : k + 1] = matrix[: k + 1, k] = row
    return torch.from_numpy(matrix)
