"""Pictures → predictions, by networks that see crops: pose networks, and the 2D network."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import nn

from idhand.detection.roi import CROP_SIZE_PX, Roi, crop
from idhand.hand import FittableHand
from idhand.methods.detections import DetectedHands, check_camera, undetected
from idhand.methods.predicting import checked_model, method_name
from idhand.methods.rows import (
    KEYPOINTS,
    KnownBetas,
    estimate_fields,
    predictions_of,
    shapes_for,
    wrists,
)
from idhand.nets.crops import Cut, View, box_roi, crop_of, from_crop, landmark_roi, view_of
from idhand.nets.estimate import Estimate
from idhand.nets.heatmaps import Decoding, HeatmapNet, Keypoints2D, keypoints_from_heatmaps
from idhand.nets.keypoints import KeypointNet
from idhand.nets.regressor import Regressor
from idhand.predictions import Predictions
from idhand.records import Sample

CROP_BATCH = 32
"""Crops that go through a backbone together."""
NO_HAND = "no picture shows a hand that can be used; see whether the data set's boxes hold hands"


def predict_images(
    net: Regressor,
    samples: Iterable[Sample],
    *,
    cut: Cut = "box",
    betas: KnownBetas | None = None,
    points: DetectedHands | None = None,
    model: FittableHand | None = None,
    method: str | None = None,
) -> Predictions:
    """Run a whole network, backbone and all, on crops of the pictures.

    Args:
        net: Of any kind, on any device; one on a residual network can start from nothing but
            pictures.
        samples: Gone through once, few crops in memory at a time.
        cut: Where the crops lie: about the data set's box, as the paper's, or about the landmarks.
        betas: As in `predict`.
        points: Landmarks in the pictures; without them it is unknown where the hands are
            (`wrist_cam` is None). Hands that they lack count as not found.
        model: As in `predict`.
        method: As in `predict`.

    Raises:
        ValueError: As `predict`, or if crops shall lie about landmarks that are not given.
    """
    model = checked_model(net, model)
    seen: list[Sample] = []
    squares, batches = _Squares(cut, points), _RegressorBatches(net, betas)
    for sample in samples:
        check_camera(sample)
        seen.append(replace(sample, rgb=sample.rgb[:1, :1].copy(), parts=None))
        roi = squares.of(sample)
        if roi is not None:
            view = view_of(roi, sample.K, sample.dist, sample.is_right)
            batches.add(sample, view, len(seen) - 1)
    estimates = batches.finished()
    detected = undetected(seen) if points is None else points.of([sample.id for sample in seen])
    hits = np.array(batches.places)
    R_cam_view = np.stack([view.R_cam_view for view in batches.views])
    fields = estimate_fields(estimates, R_cam_view, with_cov=betas is None)
    if points is not None:
        there = detected.select(hits)
        fields["wrist_cam"] = wrists(there, fields["rotations"], fields["betas"], model)
    return predictions_of(detected, hits, fields, model, method or method_name(net, betas))


def predict_keypoints(
    net: HeatmapNet | KeypointNet,
    samples: Iterable[Sample],
    *,
    cut: Cut = "box",
    decoding: Decoding = "taylor",
    points: DetectedHands | None = None,
    method: str = "heatmaps",
) -> Predictions:
    """Find keypoints in the pictures with a 2D network: predictions of points alone.

    Args:
        net: In evaluation mode.
        samples: Gone through once; cameras are not needed.
        cut: Which crops the network takes.
        decoding: The middle of the highest cell, or the peak between cells.
        points: Landmarks, which crops may lie about; hands that they lack count as not found.
        method: Name for the header.

    Raises:
        ValueError: If no hand can be used, a box is not finite, or crops shall lie about landmarks
            that are not given.
    """
    seen: list[Sample] = []
    squares, batches = _Squares(cut, points), _KeypointBatches(net, decoding)
    for sample in samples:
        seen.append(replace(sample, rgb=sample.rgb[:1, :1].copy(), parts=None))
        roi = squares.of(sample)
        if roi is not None:
            batches.add(sample, roi, len(seen) - 1)
    points_px, confidence = batches.finished()
    found = np.zeros(len(seen), bool)
    found[batches.places] = True
    every_px, every_conf = np.full((len(seen), 21, 2), np.nan), np.full((len(seen), 21), np.nan)
    every_px[batches.places], every_conf[batches.places] = points_px, confidence
    datasets = ", ".join(sorted({sample.dataset for sample in seen}))
    return Predictions(
        header={"method": method, "dataset": datasets, "points": KEYPOINTS},
        sample_id=tuple(sample.id for sample in seen),
        subject=tuple(sample.subject or "" for sample in seen),
        is_right=np.array([sample.is_right for sample in seen]),
        found=found,
        K=np.stack([sample.K for sample in seen]).astype(np.float64),
        points_px=every_px,
        points_conf=every_conf,
    )


class _Squares:
    """Which square of each picture goes through a network."""

    def __init__(self, cut: Cut, points: DetectedHands | None):
        if cut == "landmark" and points is None:
            raise ValueError(
                "crops about landmarks need the hands detected in the pictures; give them too"
            )
        self._cut, self._points = cut, points
        names = () if points is None else points.sample_id
        self._places = {name: row for row, name in enumerate(names)}

    def of(self, sample: Sample) -> Roi | None:
        """The square, not mirrored; None where no hand was found."""
        if self._points is not None:
            (row,) = self._points.rows_of([sample.id], self._places)
            if not self._points.found[row]:
                return None
            if self._cut == "landmark":
                return landmark_roi(self._points.landmarks_px[row])
        if not np.isfinite(sample.bbox_px).all():
            raise ValueError(
                f"sample {sample.id} of '{sample.dataset}' has no box (it is "
                f"{sample.bbox_px.tolist()}), by which its crop is cut; use a data set with boxes"
            )
        return box_roi(sample.bbox_px)


class _RegressorBatches:
    """Crops on their way through a network, a batch at a time."""

    def __init__(self, net: Regressor, betas: KnownBetas | None):
        self._net, self._betas = net, betas
        self._crops: list[UInt8[np.ndarray, "224 224 3"]] = []
        self._subjects: list[str] = []
        self._estimates: list[Estimate] = []
        self.views: list[View] = []
        self.places: list[int] = []

    def add(self, sample: Sample, view: View, place: int) -> None:
        """One more hand, of the picture at this place."""
        self._crops.append(crop_of(sample.rgb, view))
        self._subjects.append(sample.subject or "")
        self.views.append(view)
        self.places.append(place)
        if len(self._crops) == CROP_BATCH:
            self._flush()

    def finished(self) -> Sequence[Estimate]:
        """Of all that were added.

        Raises:
            ValueError: If nothing was.
        """
        if self._crops:
            self._flush()
        if not self._estimates:
            raise ValueError(NO_HAND)
        return self._estimates

    def _flush(self) -> None:
        given, known = shapes_for(self._net, self._subjects, self._betas)
        with torch.inference_mode():
            images = torch.from_numpy(np.stack(self._crops)).permute(0, 3, 1, 2).float() / 255
            device = _device_of(self._net)
            inputs = [
                value if value is None else value.to(device) for value in (images, given, known)
            ]
            self._estimates.append(_on_cpu(self._net(*inputs)))
        self._crops.clear()
        self._subjects.clear()


class _KeypointBatches:
    """Crops on their way through the 2D network, a batch at a time."""

    def __init__(self, net: HeatmapNet | KeypointNet, decoding: Decoding):
        self._net = net
        self._decoding: Decoding = decoding
        self._waiting: list[tuple[UInt8[np.ndarray, "224 224 3"], Roi, bool]] = []
        self._points_px: list[Float[np.ndarray, "21 2"]] = []
        self._confidence: list[Float[np.ndarray, "batch 21"]] = []
        self.places: list[int] = []

    def add(self, sample: Sample, roi: Roi, place: int) -> None:
        """One more hand, of the picture at this place."""
        right_hand = replace(roi, is_mirrored=not sample.is_right)
        self._waiting.append((crop(sample.rgb, right_hand), roi, sample.is_right))
        self.places.append(place)
        if len(self._waiting) == CROP_BATCH:
            self._flush()

    def finished(self) -> tuple[Float[np.ndarray, "hands 21 2"], Float[np.ndarray, "hands 21"]]:
        """Points in the pictures and their confidences, of all that were added.

        Raises:
            ValueError: If nothing was.
        """
        if self._waiting:
            self._flush()
        if not self._points_px:
            raise ValueError(NO_HAND)
        return np.stack(self._points_px), np.concatenate(self._confidence)

    def _flush(self) -> None:
        crops, rois, sides = zip(*self._waiting, strict=True)
        images01 = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            found = _points_of(self._net, images01.to(_device_of(self._net)), self._decoding)
        rows = zip(found.points_px.double().numpy(), rois, sides, strict=True)
        self._points_px += [from_crop(points, roi, is_right) for points, roi, is_right in rows]
        self._confidence.append(found.confidence.double().numpy())
        self._waiting.clear()


def _points_of(
    net: HeatmapNet | KeypointNet, images01: Float[torch.Tensor, "batch 3 224 224"],
    decoding: Decoding,
) -> Keypoints2D:  # fmt: skip
    """What a network sees in crops; the keypoint network is as sure of a point as it sees it."""
    if isinstance(net, HeatmapNet):
        return keypoints_from_heatmaps(net(images01)[-1].sigmoid().cpu(), decoding)
    seen = net(images01)
    points_px = seen.points.cpu() * CROP_SIZE_PX - 0.5
    return Keypoints2D(points_px=points_px, confidence=seen.visible.sigmoid().cpu())


def _device_of(net: nn.Module) -> torch.device:
    """Where a network is; one without weights is on the CPU."""
    weight = next(net.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def _on_cpu(estimate: Estimate) -> Estimate:
    values = {name: value for name, value in vars(estimate).items() if value is not None}
    return replace(estimate, **{name: value.cpu() for name, value in values.items()})
