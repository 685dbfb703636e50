"""Where a frozen hand net's points lie on the hand model of a training, from its features."""

from dataclasses import replace

import numpy as np
import torch

from idhand.hand import FittableHand
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import from_crop
from idhand.nets.marks import MarkedHands, Marks, fit_marks, marks_keypoints
from idhand.records import FLIP, Sample
from idhand.refinement.observing import mirrored_intrinsics, observed
from idhand.training.examples import CropConfig, training_view
from idhand.training.features import FeatureExamples, crop_rng

MOST = 2000
"""Examples that are looked at, from all over the set."""


def training_marks(
    backbone: HandBackbone, model: FittableHand, examples: FeatureExamples, crops: CropConfig
) -> Marks | None:
    """Fit where the net's points lie; None: they are keypoints of the model or of no hand at all.

    No picture is read: what the net marks is among its features. None also if no label says where
    its hand is.

    Args:
        backbone: Whose features the examples have.
        model: Of the labels, float64.
        examples: Of the training.
        crops: By which they were cut.
    """
    if not backbone.predicts_keypoints or marks_keypoints(backbone, model):
        return None
    views = examples.about["views"]
    rows = np.unique(np.linspace(0, len(examples) - 1, min(MOST, len(examples))).round())
    labels, points_px = [], []
    for row in rows.astype(int).tolist():
        place, view = divmod(row, views)
        label = examples.samples.label(place)
        if label.wrist_cam is None or not np.isfinite(label.K).all():
            continue
        rng = crop_rng(crops, int(examples.numbers[place]), view)
        roi = replace(training_view(label, crops, rng).roi, is_mirrored=False)
        features = torch.from_numpy(examples.features[row][None]).double()
        in_crop = backbone.landmarks_px(features)[0].numpy()
        points_px.append(from_crop(in_crop, roi, label.is_right))
        labels.append(label)
    return fit_marks(model, marked_hands(labels, points_px)) if labels else None


def marked_hands(labels: list[Sample], points_px: list[np.ndarray]) -> MarkedHands:
    """Labels with pose, shape and position, and points in their pictures, as right hands."""
    flips = [np.ones(3) if label.is_right else FLIP for label in labels]
    rows = list(zip(labels, points_px, strict=True))
    K = [label.K if label.is_right else mirrored_intrinsics(label.K) for label in labels]
    seen = [observed(points, label.K, label.dist, label.is_right) for label, points in rows]
    wrists = [flip * _given(label.wrist_cam) for flip, label in zip(flips, labels, strict=True)]
    return MarkedHands(
        rotations=_stacked([_given(label.rotations) for label in labels]),
        betas=_stacked([_given(label.betas) for label in labels]),
        wrist_cam=_stacked(wrists),
        points_px=_stacked(seen),
        K=_stacked(K),
        subject=[label.subject or "" for label in labels],
    )


def _given(array: np.ndarray | None) -> np.ndarray:
    assert array is not None
    return array


def _stacked(rows: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float64))
