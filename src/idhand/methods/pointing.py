"""Predicted hands and points in the picture from another network: placed by them, fitted to them.

The points are keypoints, such as the 2D network's, or what a hand net marks. They take the landmark
net's place, so that nothing is detected.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from idhand.hand import FittableHand
from idhand.methods.detections import DetectedHands, check_camera, undetected
from idhand.methods.rows import (
    HAND_NET,
    KEYPOINTS,
    NetworkPoints,
    flips,
    of_same_points,
    wrists,
)
from idhand.predictions import Predictions
from idhand.records import Sample
from idhand.refinement.points import keypoints

BATCH = 512
"""Hands whose shapes are in memory at a time."""
PX_PER_M = 1e3
"""Of `landmarks_z_px`, which only directions are taken from."""


def with_points(
    predictions: Predictions, points: Predictions, labels: Iterable[Sample], model: FittableHand
) -> tuple[Predictions, DetectedHands]:
    """Predictions whose points are those of another network, and these points as detected hands.

    What points in the picture do not show (the third dimension, the hand's size) is that of the
    predictions. Pictures in which one of the two found no hand count as not found.

    Args:
        predictions: With rotations and betas.
        points: Predictions with a network's own points, of these pictures and maybe of more.
        labels: Samples of these pictures, for their cameras.
        model: The hand model of the predictions.

    Raises:
        ValueError: If the predictions have no poses or the points are no keypoints, or points or
            samples of some picture are missing, or a picture has no camera.
    """
    predictions.check_poses("refinement")
    check_points(points, model)
    seen = points.select(_rows(predictions, points.sample_id, "points"))
    assert seen.points_px is not None
    found = predictions.found & seen.found
    own_points = np.where(found[:, None, None], seen.points_px, np.nan)
    confidence = np.ones(own_points.shape[:2]) if seen.points_conf is None else seen.points_conf
    by_id = {sample.id: sample for sample in labels}
    samples = [by_id[name] for name in _known(predictions, by_id)]
    for sample in samples:
        check_camera(sample)
    world = np.where(found[:, None, None], _about_centre(predictions, model), np.nan)
    header = {**predictions.header, "points": seen.header["points"], "points of": points.method}
    detected = replace(
        undetected(samples),
        found=found,
        is_right=predictions.is_right,
        score=np.where(found, 1.0, np.nan),
        landmarks_px=own_points,
        landmarks_z_px=world[..., 2] * PX_PER_M,
        landmarks_world=world,
        landmark_conf=np.where(found[:, None], confidence, np.nan),
        R_cam_view=np.where(found[:, None, None], np.eye(3), np.nan),
    )
    pointed = replace(
        predictions, header=header, found=found, points_px=own_points,
        points_conf=np.where(found[:, None], confidence, np.nan),
        points_offsets=seen.points_offsets,
    )  # fmt: skip
    return pointed, detected


def placed(predictions: Predictions, detected: DetectedHands, model: FittableHand) -> Predictions:
    """The same hands where their points project best on those seen in the pictures, in closed form.

    Args:
        predictions: Of the detected hands' pictures, in the same order.
        detected: Landmarks; the predictions' own keypoints count instead, if they have any.
        model: The hand model of the predictions.
    """
    assert predictions.sample_id == detected.sample_id
    assert predictions.rotations is not None
    assert predictions.betas is not None
    found = predictions.found & detected.found
    hits = np.flatnonzero(found)
    wrist_cam = np.full((len(predictions), 3), np.nan)
    for own in of_same_points(predictions, hits):
        for start in range(0, len(own), BATCH):
            rows = own[start : start + BATCH]
            wrist_cam[rows] = wrists(
                detected.select(rows), predictions.rotations[rows], predictions.betas[rows], model,
                NetworkPoints.of(predictions.select(rows), model),
            )  # fmt: skip
    return replace(predictions, found=found, wrist_cam=wrist_cam)


def check_points(points: Predictions, model: FittableHand) -> None:
    """Make sure that it is known where on the hand model the points lie.

    Raises:
        ValueError: If they are not a network's, or lie on another hand model.
    """
    if points.points_px is None or points.header.get("points") not in (KEYPOINTS, HAND_NET):
        raise ValueError(
            f"'{points.method}' has no keypoints in the picture; name what `idhand predict` has "
            "written for a 2D network (paper_heatmaps)"
        )
    if points.header["points"] == HAND_NET and points.model != model.name:
        raise ValueError(
            f"'{points.method}' says where its points lie on the hand model '{points.model}', and "
            f"the predictions are of '{model.name}'; name points of a network for this one"
        )


def _rows(predictions: Predictions, names: tuple[str, ...], what: str) -> list[int]:
    """Where these pictures are among others."""
    places = {name: row for row, name in enumerate(names)}
    missing = [name for name in predictions.sample_id if name not in places]
    if missing:
        raise ValueError(
            f"{len(missing):,} of the {len(predictions):,} pictures of '{predictions.method}' have "
            f"no {what} (first: {missing[0]}); predict both for the same data set"
        )
    return [places[name] for name in predictions.sample_id]


def _known(predictions: Predictions, by_id: dict[str, Sample]) -> tuple[str, ...]:
    """The predictions' pictures, if all of them are in the data set."""
    _rows(predictions, tuple(by_id), "sample in the data set")
    return predictions.sample_id


def _about_centre(predictions: Predictions, model: FittableHand) -> np.ndarray:
    """Keypoints of the predicted hands as they are, about their centres, metres; NaN without."""
    rotations, betas = predictions.rotations, predictions.betas
    assert rotations is not None
    assert betas is not None
    points = np.full((len(predictions), 21, 3), np.nan)
    hits = np.flatnonzero(predictions.found)
    for start in range(0, len(hits), BATCH):
        rows = hits[start : start + BATCH]
        R = torch.from_numpy(rotations[rows]).double()
        hands = model.with_shape(torch.from_numpy(betas[rows]).double())
        points[rows] = keypoints(hands, R, torch.zeros_like(R[:, 0, 0])).numpy()
    points -= points.mean(1, keepdims=True)
    return points * flips(predictions.is_right)[:, None]
