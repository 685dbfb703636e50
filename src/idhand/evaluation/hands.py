"""Predictions and samples as the same thing: points of real hands in the camera frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.hand import HandModel
from idhand.lens import project_px
from idhand.predictions import Predictions
from idhand.records import FLIP, Sample

NUM_KEYPOINTS = 21


@dataclass(frozen=True, kw_only=True)
class Hands:
    """A batch of hands as they are, left ones left, in metres. What is not known is NaN."""

    keypoints_cam: Float[Tensor, "batch 21 3"]
    verts_cam: Float[Tensor, "batch verts 3"]
    origin_cam: Float[Tensor, "batch 3"]
    """Of the model's frame: where the rest hand's zero went; only translation separates the two."""
    has_position: Bool[Tensor, " batch"]
    """Whether all this stands where the hand is; otherwise only differences mean anything."""
    betas: Float[Tensor, "batch betas"]
    keypoints_px: Float[Tensor, "batch 21 2"]

    @property
    def has_mesh(self) -> Bool[Tensor, " batch"]:
        """Whose vertices are known."""
        return ~self.verts_cam[:, 0, 0].isnan()

    @property
    def valid(self) -> Bool[Tensor, "batch 21"]:
        """Which keypoints are known."""
        return ~self.keypoints_cam.isnan().any(-1)


def predicted_points(rows: Predictions, model: HandModel) -> Hands:
    """Keypoints in the picture alone, as hands of which nothing else is known."""
    assert rows.points_px is not None
    return _only_points(rows.points_px, model)


def true_points(samples: Sequence[Sample], model: HandModel) -> Hands:
    """Labelled keypoints in the picture alone: enough for predictions of points."""
    return _only_points(np.stack([_labelled_pixels(sample) for sample in samples]), model)


def _only_points(points_px: Float[np.ndarray, "batch 21 2"], model: HandModel) -> Hands:
    num = len(points_px)
    unknown = torch.full((num, 1, 3), torch.nan).to(model.template)
    return Hands(
        keypoints_cam=unknown.expand(num, NUM_KEYPOINTS, 3),
        verts_cam=unknown.expand(num, len(model.template), 3),
        origin_cam=unknown[:, 0],
        has_position=torch.zeros(num, dtype=torch.bool),
        betas=unknown[:, 0, :1].expand(num, model.num_betas),
        keypoints_px=_tensor(points_px, model),
    )


def predicted_hands(
    rows: Predictions,
    samples: Sequence[Sample],
    model: HandModel,
    regressor: Float[Tensor, "21 verts"] | None,
) -> Hands:
    """What a method predicts, of pictures in which it found a hand.

    Args:
        rows: Those pictures.
        samples: The same pictures; only their lens distortion is used.
        model: Of the betas.
        regressor: Keypoints from vertices; None for the joints that the hand turns about.
    """
    flip = _flips(rows.is_right, model)
    has_position = torch.full((len(rows),), rows.wrist_cam is not None)
    wrist = np.zeros((len(rows), 3)) if rows.wrist_cam is None else rows.wrist_cam
    if rows.verts_cam is not None:
        assert regressor is not None
        verts = _tensor(rows.verts_cam, model)
        keypoints = regressor @ verts
        unknown = torch.nan if rows.wrist_cam is not None else 0.0
        origin = torch.full((len(rows), 3), unknown).to(verts)
        joints = torch.full_like(keypoints, torch.nan)
        betas = torch.full((len(rows), model.num_betas), torch.nan).to(verts)
    else:
        assert rows.rotations is not None
        assert rows.betas is not None
        betas, R = _tensor(rows.betas, model), _tensor(rows.rotations, model)
        verts, joints, origin = _posed(model, betas, R, _tensor(wrist, model), flip)
        keypoints = joints if regressor is None else regressor @ verts
    return Hands(
        keypoints_cam=keypoints,
        verts_cam=verts,
        origin_cam=origin,
        has_position=has_position,
        betas=betas,
        keypoints_px=_pixels(rows, joints, samples),
    )


def true_hands(
    samples: Sequence[Sample], model: HandModel, regressor: Float[Tensor, "21 verts"] | None
) -> Hands:
    """What is true; hands of another model than this have no vertices.

    Raises:
        ValueError: If a sample has no 3D truth.
    """
    for sample in samples:
        if sample.keypoints_cam is None and not has_pose(sample, model):
            raise ValueError(
                f"sample {sample.id} of {sample.dataset} has no 3D truth (keypoints_cam, or betas "
                f"and rotations of hand model '{model.name}'); evaluate on a data set that has it"
            )
    known = np.array([has_pose(sample, model) for sample in samples])
    labels = np.stack([_labelled_keypoints(sample) for sample in samples])
    wrists, has_position = _wrists(samples, labels)
    betas, R = _poses(samples, known, model)
    flip = _flips(np.array([sample.is_right for sample in samples]), model)
    verts, joints, origin = _posed(model, betas, R, _tensor(wrists, model), flip)
    if regressor is None:
        labelled = torch.tensor([sample.keypoints_cam is not None for sample in samples])
        keypoints = torch.where(labelled[:, None, None], _tensor(labels, model), joints)
    else:
        keypoints = _only(regressor @ verts, known)
    return Hands(
        keypoints_cam=keypoints,
        verts_cam=_only(verts, known),
        origin_cam=_only(origin, known),
        has_position=torch.from_numpy(has_position),
        betas=_only(betas, known),
        keypoints_px=_tensor(np.stack([_labelled_pixels(sample) for sample in samples]), model),
    )


def _wrists(
    samples: Sequence[Sample], labels: Float[np.ndarray, "batch 21 3"]
) -> tuple[Float[np.ndarray, "batch 3"], Bool[np.ndarray, " batch"]]:
    """True wrists, from the keypoints where there is nothing else; zero where unknown."""
    known = [
        s.wrist_cam if s.wrist_cam is not None else k[0]
        for s, k in zip(samples, labels, strict=True)
    ]
    wrists = np.stack(known)
    has_position = np.isfinite(wrists.sum(1))
    return np.where(has_position[:, None], wrists, 0.0), has_position


def _poses(
    samples: Sequence[Sample], known: Bool[np.ndarray, " batch"], model: HandModel
) -> tuple[Float[Tensor, "batch betas"], Float[Tensor, "batch 16 3 3"]]:
    """True shapes and rotations; the mean hand at rest for those that are not known."""
    betas = np.zeros((len(samples), model.num_betas))
    R = np.tile(np.eye(3), (len(samples), 16, 1, 1))
    for index in np.flatnonzero(known).tolist():
        betas[index], R[index] = samples[index].betas, samples[index].rotations
    return _tensor(betas, model), _tensor(R, model)


def has_pose(sample: Sample, model: HandModel) -> bool:
    """Whether the sample is labelled with this model's shape and pose."""
    return sample.model == model.name and sample.betas is not None and sample.rotations is not None


def _posed(
    model: HandModel,
    betas: Float[Tensor, "batch betas"],
    rotations: Float[Tensor, "batch 16 3 3"],
    wrist_cam: Float[Tensor, "batch 3"],
    flip: Float[Tensor, "batch 1 3"],
) -> tuple[Float[Tensor, "batch verts 3"], Float[Tensor, "batch 21 3"], Float[Tensor, "batch 3"]]:
    """Vertices and kinematic keypoints of real hands, and the origin of the model's frame."""
    hand = model.with_shape(betas)
    posed = hand.posed(rotations, wrist_cam * flip[:, 0])
    return (
        posed.verts * flip,
        posed.keypoints * flip,
        wrist_cam - hand.rest_joints[:, 0] * flip[:, 0],
    )


def _pixels(
    rows: Predictions, joints_cam: Float[Tensor, "batch 21 3"], samples: Sequence[Sample]
) -> Float[Tensor, "batch 21 2"]:
    """Where a method sees the keypoints in the picture, or else where its hand would be seen.

    Labels in pictures are kinematic: a mesh alone has no such points, whatever is regressed.
    """
    if rows.points_px is not None and rows.has_keypoints_px:
        return torch.from_numpy(rows.points_px).to(joints_cam)
    if rows.wrist_cam is None or rows.rotations is None:
        return torch.full_like(joints_cam[..., :2], torch.nan)
    points = joints_cam.numpy()
    points = points * np.where(points[..., 2:] < 0, -1.0, 1.0)  # lines through the camera's centre
    pixels = [
        project_px(p, K, sample.dist) for p, K, sample in zip(points, rows.K, samples, strict=True)
    ]
    return torch.from_numpy(np.stack(pixels)).to(joints_cam)


def _labelled_keypoints(sample: Sample) -> Float[np.ndarray, "21 3"]:
    if sample.keypoints_cam is None:
        return np.full((NUM_KEYPOINTS, 3), np.nan)
    return np.where(sample.valid[:, None], sample.keypoints_cam, np.nan)


def _labelled_pixels(sample: Sample) -> Float[np.ndarray, "21 2"]:
    return np.where(sample.valid[:, None], sample.keypoints_px, np.nan)


def _flips(is_right: Bool[np.ndarray, " batch"], model: HandModel) -> Float[Tensor, "batch 1 3"]:
    """What turns the right hands of the model into the real ones."""
    return _tensor(np.where(is_right[:, None, None], 1.0, FLIP), model)


def _tensor(array: Float[np.ndarray, "*axes"], model: HandModel) -> Float[Tensor, "*axes"]:
    return torch.from_numpy(array).to(model.template.dtype)


def _only(
    values: Float[Tensor, "*axes"], known: Bool[np.ndarray, " batch"]
) -> Float[Tensor, "*axes"]:
    """NaN where it is not known."""
    where = torch.from_numpy(known).view(-1, *[1] * (values.ndim - 1))
    return torch.where(where, values, torch.full_like(values, torch.nan))
