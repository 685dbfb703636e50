"""Looks or pictures → predictions: by networks, and by the landmark fit that they must beat."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from idhand.assets import hand
from idhand.experiments.looks import Looks, blind, check_camera, evidence
from idhand.experiments.rows import (
    KnownBetas,
    all_shapes,
    estimate_fields,
    found_rows,
    predictions_of,
    shapes_for,
    state_fields,
    wrists,
)
from idhand.hand import FittableHand
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import View, box_roi, crop_of, landmark_roi, view_of
from idhand.nets.estimate import Estimate
from idhand.nets.reading import network_keypoints_px
from idhand.nets.regressor import Regressor
from idhand.predictions import Predictions
from idhand.records import Sample
from idhand.refinement import Objective, RefinementConfig, closed_form_start, solve

BATCH = 512
"""Hands whose poses are estimated together."""
CROP_BATCH = 32
"""Crops that go through a backbone together."""
FIT_BATCH = 256

Cut = Literal["box", "landmark"]


def predict(
    net: Regressor,
    looks: Looks,
    betas: KnownBetas | None = None,
    *,
    model: FittableHand | None = None,
    method: str | None = None,
    batch: int = BATCH,
) -> Predictions:
    """Run a network's heads on the features of a set.

    The network says how the hand is turned and bent; where it is follows from the landmarks in the
    picture, in closed form. `betas_cov` belongs to predicted shapes: None where `betas` are given.

    Args:
        net: With the backbone that the features are of.
        looks: With features.
        betas: Each person's shape. A network with `film` takes other persons for unknown.
        model: The hand model of the network; the one that it names if None.
        method: Name for the header; if None, how the network uses shapes.
        batch: Hands at a time.

    Raises:
        ValueError: If net, features, model and betas do not belong together, or no hand was found.
    """
    model = _checked_model(net, model)
    features = looks.features
    if features is None or features.shape[1] != net.num_features:
        found = "none" if features is None else str(features.shape[1])
        raise ValueError(
            f"this network takes the {net.num_features} features of '{net.config.backbone}', but "
            f"the looks have {found}; look again for this network"
        )
    assert isinstance(net.backbone, HandBackbone)
    if looks.header.get("features", net.backbone.label) != net.backbone.label:
        raise ValueError(
            f"this network takes features of '{net.backbone.label}', but the looks have those of "
            f"'{looks.header['features']}'; look again for this network"
        )
    hits = found_rows(looks)
    estimates: list[Estimate] = []
    for start in range(0, len(hits), batch):
        rows = hits[start : start + batch]
        told, known = shapes_for(net, [looks.subject[row] for row in rows], betas)
        with torch.inference_mode():
            inputs = torch.from_numpy(features[rows]).float()
            estimates.append(net.from_features(inputs, told, known))
    seen = looks.select(hits)
    fields = estimate_fields(estimates, seen.R_cam_view, with_cov=betas is None)
    if net.backbone.predicts_keypoints:
        fields["points_px"] = network_keypoints_px(
            net.backbone, features[hits], seen.landmarks_px, seen.is_right
        )
    fields["wrist_cam"] = wrists(
        seen, fields["rotations"], fields["betas"], model, fields.get("points_px")
    )
    return predictions_of(looks, hits, fields, model, method or _method(net, betas))


def predict_images(
    net: Regressor,
    samples: Iterable[Sample],
    *,
    cut: Cut = "box",
    betas: KnownBetas | None = None,
    points: Looks | None = None,
    model: FittableHand | None = None,
    method: str | None = None,
) -> Predictions:
    """Run a whole network, backbone and all, on crops of the pictures.

    Args:
        net: Of any kind; those with a residual network for a backbone cannot start from looks.
        samples: Gone through once, few crops in memory at a time.
        cut: Where the crops lie: about the data set's box, as the paper's, or about the landmarks.
        betas: As in `predict`.
        points: Landmarks in the pictures; without them nobody knows where the hands are
            (`wrist_cam` is None). Hands that they lack count as not found.
        model: As in `predict`.
        method: As in `predict`.

    Raises:
        ValueError: As `predict`, or if crops shall lie about landmarks that are not given.
    """
    model = _checked_model(net, model)
    if cut == "landmark" and points is None:
        raise ValueError("crops about landmarks need the looks at the pictures; give them too")
    seen: list[Sample] = []
    places = {} if points is None else {name: row for row, name in enumerate(points.sample_id)}
    run = _Run(net, betas)
    for sample in samples:
        check_camera(sample)
        seen.append(replace(sample, rgb=sample.rgb[:1, :1].copy(), parts=None))
        roi = box_roi(sample.bbox_px)
        if points is not None:
            (row,) = points.rows_of([sample.id], places)
            if not points.found[row]:
                continue
            if cut == "landmark":
                roi = landmark_roi(points.landmarks_px[row])
        run.add(sample, view_of(roi, sample.K, sample.dist, sample.is_right), len(seen) - 1)
    estimates = run.finished()
    looks = blind(seen) if points is None else points.of([sample.id for sample in seen])
    hits = np.array(run.places)
    R_cam_view = np.stack([view.R_cam_view for view in run.views])
    fields = estimate_fields(estimates, R_cam_view, with_cov=betas is None)
    if points is not None:
        there = looks.select(hits)
        fields["wrist_cam"] = wrists(there, fields["rotations"], fields["betas"], model)
    return predictions_of(looks, hits, fields, model, method or _method(net, betas))


def landmark_fit(
    looks: Looks,
    betas: KnownBetas | None = None,
    *,
    model: FittableHand,
    config: RefinementConfig | None = None,
    batch: int = FIT_BATCH,
) -> Predictions:
    """Fit the hand model to the landmarks alone, as `Pipeline.fit` does; no trained network.

    Args:
        looks: Features are not needed.
        betas: Each person's shape, which then stays; None estimates one for each picture under the
            population's prior, with its covariance.
        model: The hand model to fit.
        config: Of the solver.
        batch: Hands at a time.

    Raises:
        ValueError: If no hand was found, or a person has no betas.
    """
    config = config or RefinementConfig()
    hits = found_rows(looks)
    objective = Objective(model=model, config=config.objective, prior=model.prior)
    n = model.num_betas
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(hits), batch):
        part = looks.select(hits[start : start + batch])
        seen, _ = evidence(part, config.objective)
        shapes = objective.prior.mean.expand(len(part), -1)
        if betas is not None:
            shapes = torch.from_numpy(all_shapes(part.subject, betas, n))
        begin = closed_form_start(objective, seen, shapes)
        solution = solve(objective, seen, begin, config, shape=betas is None)
        fields = state_fields(solution.state, model, part.is_right)
        if betas is None:
            fields["betas_cov"] = torch.linalg.inv(solution.hessian)[:, -n:, -n:].numpy()
        parts.append(fields)
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    method = f"landmarks ({_told(betas)})"
    return predictions_of(looks, hits, fields, model, method)


def _checked_model(net: Regressor, model: FittableHand | None) -> FittableHand:
    model = model or hand(net.config.hand_model)
    if net.config.hand_model != model.name or net.config.num_betas != model.num_betas:
        raise ValueError(
            f"this network was trained for the hand model '{net.config.hand_model}' "
            f"({net.config.num_betas} betas), here is '{model.name}' ({model.num_betas}); betas of "
            "one model mean nothing to another: name a network trained for this one"
        )
    return model


def _method(net: Regressor, betas: KnownBetas | None) -> str:
    return f"{net.config.identity} ({_told(betas)})"


def _told(betas: KnownBetas | None) -> str:
    return "anonymous" if betas is None else "known shapes"


class _Run:
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
            raise ValueError("no picture shows a hand that can be used; look at the data set")
        return self._estimates

    def _flush(self) -> None:
        told, known = shapes_for(self._net, self._subjects, self._betas)
        with torch.inference_mode():
            images = torch.from_numpy(np.stack(self._crops)).permute(0, 3, 1, 2).float() / 255
            self._estimates.append(self._net(images, told, known))
        self._crops.clear()
        self._subjects.clear()
