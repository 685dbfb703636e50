"""Predictions + what was seen in the pictures → better predictions: our solver, and the paper's."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from idhand.assets import hand
from idhand.geometry import sixd_from_rotation
from idhand.hand import FittableHand
from idhand.methods.detections import DetectedHands, hands_of, observations_of
from idhand.methods.rows import (
    NetworkPoints,
    flips,
    found_rows,
    observed_rows,
    of_same_points,
    predictions_of,
    state_fields,
)
from idhand.predictions import Predictions
from idhand.refinement import Objective, RefinementConfig, network_only
from idhand.refinement.network import network_keypoints, solve_near, with_network
from idhand.refinement.official import OfficialConfig, fit_officially

Solver = Literal["second_order", "paper_adam"]
ShapeUse = Literal["given", "free"]


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """How predictions are refined."""

    solver: Solver = "second_order"
    """`paper_adam` fits points in the picture and nothing else, by 300 steps of Adam."""
    shape: ShapeUse = "given"
    """`given`: the predictions' betas stay. `free`: they start there and are estimated under the
    population's prior; not with `paper_adam`."""
    refinement: RefinementConfig = field(default_factory=network_only)
    """The second-order solver, the noise of the observations, and how much the predictions' network
    counts beside the landmark net. `paper_adam` fits one kind of points: the network's own,
    if it has any."""
    official: OfficialConfig = field(default_factory=OfficialConfig)
    """The schedule of `paper_adam`."""
    batch: int = 256
    """Hands at a time."""

    def __post_init__(self):
        choices = {"solver": Solver, "shape": ShapeUse}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ValueError(f"{name} must be one of {known}; got '{getattr(self, name)}'")
        if self.solver == "paper_adam" and self.shape == "free":
            raise ValueError("paper_adam keeps the shape as it is; use shape='given'")
        if self.batch < 1:
            raise ValueError(f"batch must be 1 or more, got {self.batch}")


def refine(
    predictions: Predictions,
    detected: DetectedHands,
    model: FittableHand | None = None,
    config: RefineConfig | None = None,
) -> Predictions:
    """Move predicted hands so that they agree with what was seen in their pictures.

    Hands that one of the two lacks, and those whose refinement diverged, count as not found. Hands
    whose landmarks fit no hand keep their form, and are placed in closed form. The header's method
    records what was done.

    Args:
        predictions: With rotations and betas.
        detected: At the same pictures, and maybe at more.
        model: The hand model of the predictions; the one that they name if None.
        config: How.

    Raises:
        ValueError: If the predictions belong to another hand model or other pictures, or are
            meshes or points alone, or no hand is left.
    """
    predictions.check_poses("refinement")
    model, config = model or hand(predictions.model), config or RefineConfig()
    _check_model(predictions, model)
    seen = detected.of(predictions.sample_id)
    both = replace(seen, found=seen.found & predictions.found, is_right=predictions.is_right)
    hits = found_rows(both)
    step = (
        _second_order(model, config) if config.solver == "second_order" else _paper(model, config)
    )
    batches = [
        rows[start : start + config.batch]
        for rows in of_same_points(predictions, hits)
        for start in range(0, len(rows), config.batch)
    ]
    hits = np.concatenate(batches)
    parts = [step(predictions.select(rows), both.select(rows)) for rows in batches]
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    finite = np.isfinite(fields["wrist_cam"]).all(-1) & np.isfinite(fields["betas"]).all(-1)
    finite &= np.isfinite(fields["rotations"]).all((-1, -2, -3))
    if not finite.any():
        raise ValueError(
            "no hand is left: every refinement ended in numbers that are not finite; check the "
            "predictions and the cameras"
        )
    hits, fields = hits[finite], {name: values[finite] for name, values in fields.items()}
    if config.shape == "given" and predictions.betas_cov is not None:
        fields["betas_cov"] = predictions.betas_cov[hits]
    if predictions.confidence is not None:
        fields["confidence"] = predictions.confidence[hits]
    if "points" in predictions.header:
        for name in ("points_px", "points_conf", "points_offsets"):
            if (points := getattr(predictions, name)) is not None:
                fields[name] = points[hits]
    refined = predictions_of(both, hits, fields, model, predictions.method)
    how = "paper's Adam" if config.solver == "paper_adam" else "refined"
    free = ", free shape" if config.shape == "free" else ""
    header = {**predictions.header, "method": f"{predictions.method} + {how}{free}"}
    return replace(refined, header=header)


Step = Callable[[Predictions, DetectedHands], dict[str, np.ndarray]]
"""Refines a batch in which every hand was found."""


def _check_model(predictions: Predictions, model: FittableHand) -> None:
    assert predictions.betas is not None
    if predictions.model != model.name or predictions.betas.shape[1] != model.num_betas:
        raise ValueError(
            f"these predictions were made with hand model '{predictions.model}' "
            f"({predictions.betas.shape[1]} betas), but '{model.name}' ({model.num_betas}) is in "
            "use; predict again with it"
        )


def _second_order(model: FittableHand, config: RefineConfig) -> Step:
    """Ours: robust, with priors, from the network's pose."""
    how, n = config.refinement, model.num_betas

    def step(predictions: Predictions, detected: DetectedHands) -> dict[str, np.ndarray]:
        seen = observations_of(detected, how.objective)
        R, betas = _tensor(predictions.rotations), _tensor(predictions.betas)
        network = NetworkPoints.of(predictions, model)
        lie_on = None if network is None else network.lie_on
        seen_px = None if network is None else observed_rows(network.points_px, detected)
        fitted = model
        if lie_on is not None and how.trust.points == "network":
            fitted = replace(model, landmarks=lie_on)  # nothing else is fitted to
        objective = Objective(model=fitted, config=how.objective, prior=model.prior)
        keypoints = None if network is None else network_keypoints(hands_of(detected))
        start, seen = with_network(fitted, R, betas, seen, seen_px, how.trust, lie_on, keypoints)
        solution = solve_near(objective, seen, start, how, shape=config.shape == "free")
        fields = state_fields(solution.state, model, detected.is_right)
        if config.shape == "free":
            fields["betas_cov"] = torch.linalg.inv(solution.hessian)[:, -n:, -n:].numpy()
        return fields

    return step


def _paper(model: FittableHand, config: RefineConfig) -> Step:
    """The authors' optimisation."""

    def step(predictions: Predictions, detected: DetectedHands) -> dict[str, np.ndarray]:
        seen = observations_of(detected, config.refinement.objective)
        R, betas = _tensor(predictions.rotations), _tensor(predictions.betas)
        network = NetworkPoints.of(predictions, model)
        points_px, marks = (
            (seen.points_px, model.landmarks)
            if network is None
            else (observed_rows(network.points_px, detected), network.lie_on)
        )
        hand, sixd = model.with_shape(betas), sixd_from_rotation(R)
        fit = fit_officially(hand, sixd, points_px, seen.K, config.official, marks)
        return {
            "rotations": fit.rotations.numpy(),
            "betas": betas.numpy(),
            "wrist_cam": fit.wrist_cam.numpy() * flips(detected.is_right),
        }

    return step


def _tensor(array: np.ndarray | None) -> Tensor:
    assert array is not None
    return torch.from_numpy(array.astype(np.float64))
