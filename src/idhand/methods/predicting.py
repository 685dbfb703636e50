"""Detected hands → predictions: by networks, and by the landmark fit that they must beat."""

import numpy as np
import torch

from idhand.assets import hand
from idhand.hand import FittableHand
from idhand.methods.detections import DetectedHands, observations_of
from idhand.methods.rows import (
    KnownBetas,
    NetworkPoints,
    all_shapes,
    estimate_fields,
    found_rows,
    predictions_of,
    shapes_for,
    state_fields,
    wrists,
)
from idhand.nets.backbones import HandBackbone
from idhand.nets.estimate import Estimate
from idhand.nets.marks import marks_of
from idhand.nets.reading import network_points_px
from idhand.nets.regressor import Regressor
from idhand.predictions import Predictions
from idhand.refinement import Objective, RefinementConfig, closed_form_start, solve

BATCH = 512
"""Hands whose poses are estimated together."""
FIT_BATCH = 256


def predict(
    net: Regressor,
    detected: DetectedHands,
    betas: KnownBetas | None = None,
    *,
    model: FittableHand | None = None,
    method: str | None = None,
    batch: int = BATCH,
) -> Predictions:
    """Run a network's heads on the features of a set.

    The network predicts how the hand is turned and bent; where it is follows from what its hand net
    marks in the picture, or else from the landmarks, in closed form. `betas_cov` belongs to
    predicted shapes: None where `betas` are given.

    Args:
        net: With the backbone that the features are of.
        detected: With features.
        betas: Each person's shape. A network with `film` takes other persons for unknown.
        model: The hand model of the network; the one that it names if None.
        method: Name for the header; if None, how the network uses shapes.
        batch: Hands at a time.

    Raises:
        ValueError: If net, features, model and betas do not belong together, or no hand was found.
    """
    model = checked_model(net, model)
    features = detected.features
    if features is None or features.shape[1] != net.num_features:
        found = "none" if features is None else str(features.shape[1])
        raise ValueError(
            f"this network takes the {net.num_features} features of '{net.config.backbone}', but "
            f"the detected hands have {found}; detect again for this network"
        )
    assert isinstance(net.backbone, HandBackbone)
    if detected.header.get("features", net.backbone.label) != net.backbone.label:
        raise ValueError(
            f"this network takes features of '{net.backbone.label}', but the detected hands have "
            f"those of '{detected.header['features']}'; detect again for this network"
        )
    hits = found_rows(detected)
    estimates: list[Estimate] = []
    for start in range(0, len(hits), batch):
        rows = hits[start : start + batch]
        given, known = shapes_for(net, [detected.subject[row] for row in rows], betas)
        with torch.inference_mode():
            inputs = torch.from_numpy(features[rows]).float()
            estimates.append(net.from_features(inputs, given, known))
    seen = detected.select(hits)
    fields = estimate_fields(estimates, seen.R_cam_view, with_cov=betas is None)
    network = None
    if net.backbone.predicts_keypoints:
        if seen.keypoints is None:
            marked_px = network_points_px(
                net.backbone, features[hits], seen.landmarks_px, seen.is_right
            )
        else:
            marked_px = seen.keypoints["points_px"].astype(np.float64)
        network = NetworkPoints(
            points_px=marked_px, lie_on=marks_of(net.backbone, net.marks, model)
        )
        fields |= _point_fields(network, model)
    fields["wrist_cam"] = wrists(seen, fields["rotations"], fields["betas"], model, network)
    return predictions_of(detected, hits, fields, model, method or method_name(net, betas))


def _point_fields(network: NetworkPoints, model: FittableHand) -> dict[str, np.ndarray]:
    """A network's points as fields of `Predictions`."""
    fields = {"points_px": network.points_px}
    if network.lie_on is not None:
        offsets = (network.lie_on.template - model.keypoint_template).numpy()
        fields["points_offsets"] = np.tile(offsets, (len(network.points_px), 1, 1))
    return fields


def landmark_fit(
    detected: DetectedHands,
    betas: KnownBetas | None = None,
    *,
    model: FittableHand,
    config: RefinementConfig | None = None,
    batch: int = FIT_BATCH,
) -> Predictions:
    """Fit the hand model to the landmarks alone, as `Pipeline.fit` does; no trained network.

    Args:
        detected: Features are not needed.
        betas: Each person's shape, which then stays; None estimates one for each picture under the
            population's prior, with its covariance.
        model: The hand model to fit.
        config: Of the solver.
        batch: Hands at a time.

    Raises:
        ValueError: If no hand was found, or a person has no betas.
    """
    config = config or RefinementConfig()
    hits = found_rows(detected)
    objective = Objective(model=model, config=config.objective, prior=model.prior)
    n = model.num_betas
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, len(hits), batch):
        part = detected.select(hits[start : start + batch])
        seen = observations_of(part, config.objective)
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
    method = f"landmarks ({_shapes(betas)})"
    return predictions_of(detected, hits, fields, model, method)


def checked_model(net: Regressor, model: FittableHand | None) -> FittableHand:
    """The hand model of a network.

    Raises:
        ValueError: If another one is given.
    """
    model = model or hand(net.config.hand_model)
    if net.config.hand_model != model.name or net.config.num_betas != model.num_betas:
        raise ValueError(
            f"this network was trained for the hand model '{net.config.hand_model}' "
            f"({net.config.num_betas} betas), here is '{model.name}' ({model.num_betas}); betas of "
            "one model mean nothing to another: name a network trained for this one"
        )
    return model


def method_name(net: Regressor, betas: KnownBetas | None) -> str:
    """How a network uses shapes, as a method's name."""
    return f"{net.config.identity} ({_shapes(betas)})"


def _shapes(betas: KnownBetas | None) -> str:
    return "anonymous" if betas is None else "known shapes"
