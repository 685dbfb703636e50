"""Where the points that a hand net marks lie on another hand model than the one it has learnt.

The shipped hand net (`hand_studio`) marks the keypoints of the open hand. Another model's joints
are other points, up to a centimetre away; but what the net marks is fixed to the bones all the
same, at offsets that are fitted on the pictures of a training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.assets.carrying import carried_keypoints
from idhand.assets.models import OPEN_HAND
from idhand.hand import KEYPOINT_JOINT, BonePoints, FittableHand, landmark_points
from idhand.nets.backbones import HandBackbone

REWEIGHTINGS = 5
ROBUST_M = 0.01
"""Points that are farther off than this, seen at the hand's distance, count less (Cauchy)."""
PULL = 0.1
"""Of the offsets to those of the open hand's keypoints, in pictures: keeps those finite that no
picture shows."""
FEWEST_PEOPLE, FEWEST_PICTURES = 5, 10
"""People who tell how the points differ between people, and pictures of each that are needed."""
PERSON_PULL = 5.0
"""Of one person's offsets to everybody's, in pictures: a point is some 5 mm off in a picture, and
the bias of a person some 2.3 mm."""
PRIOR_PEOPLE = 10.0
"""People for whom the landmark net's biases count among those of the training."""
DIGITS = 4
"""Of millimetres in files: the same fit gives the same bytes, whatever the number of threads."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Where the points lie on a hand model that a hand net marks."""

    offsets: Float[Tensor, "21 3"]
    """From the model's keypoints, in the bones' frames at rest, metres on the mean hand; they grow
    with the hand's length."""
    bias_covariance: Float[Tensor, "63 63"] | None = None
    """See `BonePoints`; None: as the landmark net's."""

    def on(self, model: FittableHand) -> BonePoints:
        """The points on the hand model that the marks are of."""
        covariance = self.bias_covariance
        if covariance is None:
            covariance = model.landmarks.bias_covariance
        return landmark_points(model, model.measures.growth, self.offsets, covariance)

    def as_json(self) -> dict[str, Any]:
        """In JSON's types, millimetres."""
        covariance = self.bias_covariance
        return {
            "offsets_mm": _rounded(1e3 * self.offsets),
            "bias_covariance_mm2": None if covariance is None else _rounded(1e6 * covariance),
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Marks":
        """What `as_json` gave.

        Raises:
            ValueError: If it is something else, or holds numbers that are not finite.
        """
        offsets = _tensor(values.get("offsets_mm"), (21, 3)) / 1e3
        covariance = values.get("bias_covariance_mm2")
        if covariance is None:
            return Marks(offsets=offsets)
        return Marks(offsets=offsets, bias_covariance=_tensor(covariance, (63, 63)) / 1e6)


def _rounded(values: Tensor) -> list[list[float]]:
    return np.round(values.double().numpy(), DIGITS).tolist()


def _tensor(values: object, shape: tuple[int, int]) -> Tensor:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"where its points lie is not given by numbers ({error})") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"where its points lie is not given by {shape[0]} × {shape[1]} numbers")
    return torch.from_numpy(array)


def marks_keypoints(backbone: HandBackbone, model: FittableHand) -> bool:
    """Whether what a hand net marks in the picture are the keypoints of this hand model.

    The shipped one has learnt those of the open hand; one that was trained on with the network's
    own data marks that data's.
    """
    own = backbone.is_trained or model.name == OPEN_HAND
    return backbone.predicts_keypoints and own


def marks_of(
    backbone: HandBackbone, fitted: Marks | None, model: FittableHand
) -> BonePoints | None:
    """Where on the hand model the points lie that a hand net marks; None: they are its keypoints.

    Args:
        backbone: One that marks keypoints, of this model or of the open hand.
        fitted: What a training has found; without it the open hand's keypoints are taken over by
            the correspondence of the surfaces.
        model: The hand model.
    """
    if marks_keypoints(backbone, model):
        return None
    return (fitted or Marks(offsets=carried_keypoints(model))).on(model)


@dataclass(frozen=True, kw_only=True)
class MarkedHands:
    """Right hands whose place is known, and what a hand net marks in their pictures."""

    rotations: Float[Tensor, "hands 16 3 3"]
    betas: Float[Tensor, "hands betas"]
    wrist_cam: Float[Tensor, "hands 3"]
    """Left hands mirrored, as everything here."""
    points_px: Float[Tensor, "hands 21 2"]
    """Without lens distortion, as `Observations` have points."""
    K: Float[Tensor, "hands 3 3"]
    subject: Sequence[str]
    """The person in each picture; empty where unknown."""


def fit_marks(model: FittableHand, hands: MarkedHands) -> Marks:
    """Offsets by linear least squares, and how they differ between people if there are enough.

    Each point's distance from the ray through the pixel, in metres at the hand's depth, is linear
    in its offset: two equations a picture for three numbers. Weights fall with the distance.

    Args:
        model: Of the labels, float64.
        hands: Of the training's pictures.
    """
    design, target = _equations(model, hands)
    start = carried_keypoints(model)
    offsets, weight = start, torch.ones(target.shape[:2], dtype=target.dtype)
    for _ in range(1 + REWEIGHTINGS):
        offsets = _solved(design, target, weight, start, PULL)
        off = (design @ offsets[..., None])[..., 0] - target
        weight = 1 / (1 + off.square().sum(-1) / ROBUST_M**2)
    own = []
    for rows in _people(hands.subject):
        theirs = _solved(design[rows], target[rows], weight[rows], offsets, PERSON_PULL)
        own.append((theirs - offsets).flatten())
    if len(own) < FEWEST_PEOPLE:
        return Marks(offsets=offsets)
    scatter = torch.stack(own).mT @ torch.stack(own)
    prior = PRIOR_PEOPLE * model.landmarks.bias_covariance
    covariance = (scatter + prior) / (len(own) + PRIOR_PEOPLE)
    return Marks(offsets=offsets, bias_covariance=covariance)


def _people(subject: Sequence[str]) -> list[list[int]]:
    """Rows of each known person of whom there are enough pictures."""
    rows: dict[str, list[int]] = {}
    for row, who in enumerate(subject):
        if who:
            rows.setdefault(who, []).append(row)
    return [own for own in rows.values() if len(own) >= FEWEST_PICTURES]


def _solved(
    design: Float[Tensor, "hands 21 2 3"],
    target: Float[Tensor, "hands 21 2"],
    weight: Float[Tensor, "hands 21"],
    middle: Float[Tensor, "21 3"],
    pull: float,
) -> Float[Tensor, "21 3"]:
    """Weighted least squares for the offsets, pulled to a middle by so many pictures."""
    A = torch.einsum("npua,np,npub->pab", design, weight, design)
    b = torch.einsum("npua,np,npu->pa", design, weight, target)
    eye = torch.eye(3, dtype=design.dtype)
    return torch.linalg.solve(A + pull * eye, b + pull * middle)


def _equations(
    model: FittableHand, hands: MarkedHands
) -> tuple[Float[Tensor, "hands 21 2 3"], Float[Tensor, "hands 21 2"]]:
    """Design and target, metres at the depth of the hand: x − u z and y − v z are zero."""
    rays = torch.cat((hands.points_px, torch.ones_like(hands.points_px[..., :1])), -1)
    rays = rays @ torch.linalg.inv(hands.K).mT
    u = rays[..., :2] / rays[..., 2:]
    hand = model.with_shape(hands.betas)
    turn, t = hand.chain(hands.rotations, hands.wrist_cam)
    joint = list(KEYPOINT_JOINT)
    at_rest = model.keypoint_template + torch.einsum(
        "pak,nk->npa", model.keypoint_basis, hands.betas
    )
    arms = at_rest - hand.rest_joints[:, joint]
    points = t[:, joint] + (turn[:, joint] @ arms[..., None])[..., 0]
    columns = turn[:, joint] * model.relative_size(hands.betas)[:, None, None, None]
    design = columns[..., :2, :] - u[..., None] * columns[..., 2:, :]
    return design, u * points[..., 2:] - points[..., :2]
