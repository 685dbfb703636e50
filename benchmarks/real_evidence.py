"""What a calibration is made from: the nets' evidence, taken in or left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from real_data import Cameras, fuse
from real_shape import bone_lengths

from idhand import Pipeline
from idhand.calibration import CalibrationConfig, calibration_with_both_nets
from idhand.hand import HandModel
from idhand.records import Camera, Detection, HandInImage
from idhand.refinement import Trust, network_noise

LANDMARKS = CalibrationConfig(trust=Trust(points="landmarks", directions="landmarks"))
POINTS = CalibrationConfig(objective=replace(network_noise(), observation_weight=0.3))
"""Network's points and directions beside the landmarks, with the noise that renders show."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a calibration tells of a person."""

    betas: Float[np.ndarray, " betas"]
    covariance: Float[np.ndarray, "betas betas"]
    bones: Float[np.ndarray, " 20"]
    """Of the calibrated hand at rest, metres."""


Calibrator = Callable[[Pipeline, Sequence[Detection], Cameras], Shape]


def _with(
    calibration: CalibrationConfig | None = None, *, network: bool = True, shapes: bool = True
) -> Calibrator:
    """A calibration by other settings, without the network, or without its shapes."""

    def calibrated(pipe: Pipeline, hands: Sequence[Detection], K: Cameras) -> Shape:
        chosen = replace(
            pipe,
            config=replace(pipe.config, calibration=calibration or pipe.config.calibration),
            reader=pipe.reader if network else None,
            covariance_calibration=pipe.covariance_calibration if shapes else None,
        )
        fused = fuse(chosen, hands, K)
        return shape(pipe.model, fused.betas, fused.covariance)

    return calibrated


def _shapes_alone(pipe: Pipeline, hands: Sequence[Detection], K: Cameras) -> Shape:
    Ks = [K] * len(hands) if isinstance(K, np.ndarray) else K
    rows = zip(hands, Ks, strict=True)
    fused = pipe.prior_with_network(
        [HandInImage(detection=hand, camera=Camera(K=k)) for hand, k in rows]
    )
    return shape(pipe.model, fused.mean, fused.covariance)


EVIDENCE: Mapping[str, Calibrator] = {
    "default": _with(),
    "points_shapes": _with(POINTS),
    "points": _with(POINTS, shapes=False),
    "shapes": _shapes_alone,
    "landmarks": _with(CalibrationConfig(), network=False),
    "landmarks_shapes": _with(LANDMARKS),
    "both_measured": _with(calibration_with_both_nets()),
}
"""Name → how a person is calibrated."""
MEANING: Mapping[str, str] = {
    "default": "as `idhand calibrate` does it",
    "points_shapes": "network's points and directions beside the landmarks, its shapes as prior",
    "points": "the same without its shapes",
    "shapes": "the network's fused shapes alone",
    "landmarks": "landmarks alone",
    "landmarks_shapes": "landmarks, the network's fused shapes as prior",
    "both_measured": "shapes, then the network's own points, then landmarks, by measured errors",
}


def shape(model: HandModel, betas: torch.Tensor, covariance: torch.Tensor) -> Shape:
    """With the bones of the hand at rest."""
    return Shape(betas=betas.numpy(), covariance=covariance.numpy(), bones=rest_bones(model, betas))


def rest_bones(model: HandModel, betas: torch.Tensor) -> Float[np.ndarray, " 20"]:
    """Lengths of the bones of a hand at rest, metres."""
    hand = model.with_shape(betas)
    still = torch.eye(3, dtype=betas.dtype).expand(16, 3, 3)
    return bone_lengths(hand.posed(still, hand.rest_joints[0]).keypoints.numpy())
