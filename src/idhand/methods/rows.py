"""What the makers of predictions share: whose shape belongs to a picture, results as rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from idhand.hand import BonePoints, FittableHand, Hand
from idhand.methods.detections import DetectedHands, observations_of
from idhand.nets.crops import in_camera
from idhand.nets.estimate import Estimate
from idhand.nets.marks import Marks
from idhand.nets.regressor import Regressor
from idhand.predictions import Predictions
from idhand.records import FLIP
from idhand.refinement import ObjectiveConfig, State
from idhand.refinement.observing import observed
from idhand.refinement.points import keypoints, posed_points
from idhand.refinement.start import translation

KnownBetas = Mapping[str, Float[np.ndarray, " betas"]]
"""Each person's betas, by `subject`."""


KEYPOINTS, HAND_NET = "keypoints", "hand net"
"""In a header's `points`: the predictions' points are keypoints of the hand model that a network
marks, or other points that a hand net marks. Without it they are those of the landmark net."""


@dataclass(frozen=True, kw_only=True)
class NetworkPoints:
    """What a network itself marks in pictures."""

    points_px: Float[np.ndarray, "hands 21 2"]
    """In the real pictures."""
    lie_on: BonePoints | None = None
    """Where they lie on the hand model; None: they are its keypoints."""

    @staticmethod
    def of(predictions: Predictions, model: FittableHand) -> "NetworkPoints | None":
        """Those of predictions of which all have the same offsets; None: there are none.

        Args:
            predictions: Whose points they are stands in the header.
            model: Of the predictions.
        """
        points_px, offsets = predictions.points_px, predictions.points_offsets
        match predictions.header.get("points"):
            case "keypoints" if points_px is not None:
                return NetworkPoints(points_px=points_px)
            case "hand net" if points_px is not None and offsets is not None:
                marks = Marks(offsets=torch.from_numpy(offsets[0].astype(np.float64)))
                return NetworkPoints(points_px=points_px, lie_on=marks.on(model))
        return None

    def posed(
        self,
        hand: Hand,
        rotations: Float[Tensor, "hands 16 3 3"],
        wrist_cam: Float[Tensor, "hands 3"],
    ) -> Float[Tensor, "hands 21 3"]:
        """The points on hands in a pose; arguments as in `posed_points`."""
        if self.lie_on is None:
            return keypoints(hand, rotations, wrist_cam)
        return posed_points(self.lie_on, hand, rotations, wrist_cam)


def of_same_points(
    predictions: Predictions, rows: Int[np.ndarray, " hands"]
) -> list[Int[np.ndarray, " part"]]:
    """Rows parted by where the network's points lie: networks differ, e.g. those of folds."""
    offsets = predictions.points_offsets
    if offsets is None or not len(rows):
        return [rows]
    _, kind = np.unique(offsets[rows].reshape(len(rows), -1), axis=0, return_inverse=True)
    return [rows[kind.ravel() == k] for k in range(int(kind.max()) + 1)]


def found_rows(detected: DetectedHands) -> Int[np.ndarray, " hands"]:
    """Where hands were found.

    Raises:
        ValueError: If nowhere.
    """
    hits = np.flatnonzero(detected.found)
    if not len(hits):
        raise ValueError(
            f"no hand was found in any of the {len(detected):,} pictures; see whether the data "
            "set's boxes hold hands"
        )
    return hits


def shapes_for(
    net: Regressor, subjects: Sequence[str], shapes: KnownBetas | None
) -> tuple[Float[Tensor, "hands betas"] | None, Bool[Tensor, " hands"] | None]:
    """What is given to a network of each picture's person: betas, and where they count (`film`).

    Raises:
        ValueError: If the network takes no shapes, or needs one that is not there.
    """
    use, num_betas = net.config.identity, net.config.num_betas
    if shapes is None:
        return None, None
    match use:
        case "predicted":
            raise ValueError(
                "this network predicts every shape itself and takes none; leave the shapes out, "
                "or name an identity-aware network"
            )
        case "given":
            return torch.from_numpy(all_shapes(subjects, shapes, num_betas)).float(), None
        case "film":
            mean = np.zeros(num_betas)
            betas = _stacked([shapes.get(subject, mean) for subject in subjects], num_betas)
            known = torch.tensor([subject in shapes for subject in subjects])
            return torch.from_numpy(betas).float(), known


def all_shapes(
    subjects: Sequence[str], shapes: KnownBetas, num_betas: int
) -> Float[np.ndarray, "hands betas"]:
    """Each picture's betas.

    Raises:
        ValueError: If a person has none, or some are of another hand model.
    """
    missing = sorted(set(subjects) - set(shapes))
    if missing:
        raise ValueError(
            f"{len(missing):,} of {len(set(subjects)):,} persons have no shape (first: "
            f"{missing[0]}); give everybody's, or leave their pictures out"
        )
    return _stacked([shapes[subject] for subject in subjects], num_betas)


def _stacked(
    rows: Sequence[Float[np.ndarray, " _"]], num_betas: int
) -> Float[np.ndarray, "hands betas"]:
    odd = [row for row in rows if row.shape != (num_betas,)]
    if odd:
        raise ValueError(
            f"shapes of this hand model have {num_betas} betas, one of {len(odd[0])} was given; "
            "calibrate with the same model"
        )
    return np.stack(rows).astype(np.float64)


def estimate_fields(
    estimates: Sequence[Estimate], R_cam_view: Float[np.ndarray, "hands 3 3"], *, with_cov: bool
) -> dict[str, np.ndarray]:
    """A network's estimates as fields of `Predictions`, wrists turned from views to cameras."""
    fields: dict[str, np.ndarray] = {}
    for name in ("rotations", "betas", "betas_cov", "confidence"):
        values = [getattr(estimate, name) for estimate in estimates]
        if values[0] is not None and (with_cov or name != "betas_cov"):
            fields[name] = torch.cat(values).double().numpy()
    fields["rotations"] = in_camera(fields["rotations"], R_cam_view)
    return fields


def state_fields(
    state: State, model: FittableHand, is_right: Bool[np.ndarray, " hands"]
) -> dict[str, np.ndarray]:
    """A solver's state as fields of `Predictions`."""
    rotations = torch.cat((state.R[:, None], model.pose_space.rotations(state.angles)), 1)
    return {
        "rotations": rotations.numpy(),
        "betas": state.betas.numpy().copy(),
        "wrist_cam": state.wrist.numpy() * flips(is_right),
    }


def flips(is_right: Bool[np.ndarray, " hands"]) -> Float[np.ndarray, "hands 3"]:
    """What takes points of mirrored right hands to those of the real hands, and back."""
    return np.where(is_right[:, None], 1.0, FLIP)


def wrists(
    detected: DetectedHands,
    rotations: Float[np.ndarray, "hands 16 3 3"],
    betas: Float[np.ndarray, "hands betas"],
    model: FittableHand,
    network: NetworkPoints | None = None,
) -> Float[np.ndarray, "hands 3"]:
    """Where hands of known form are, in closed form.

    Their points project best on what a network marks in the picture, or, without it, their landmark
    points on the landmark net's.
    """
    seen = observations_of(detected, ObjectiveConfig())
    R, hand = torch.from_numpy(rotations), model.with_shape(torch.from_numpy(betas))
    at_origin = torch.zeros_like(R[:, 0, 0])
    if network is None:
        about_wrist = posed_points(model.landmarks, hand, R, at_origin)
    else:
        about_wrist = network.posed(hand, R, at_origin)
        seen = replace(seen, points_px=observed_rows(network.points_px, detected))
    return translation(about_wrist, seen).numpy() * flips(detected.is_right)


def observed_rows(
    points_px: Float[np.ndarray, "hands 21 2"], detected: DetectedHands
) -> Float[Tensor, "hands 21 2"]:
    """Points in the pictures, as `Observations` have them."""
    rows = zip(points_px, detected.K, detected.dist, detected.is_right, strict=True)
    return torch.from_numpy(
        np.stack([observed(points, K, dist, bool(right)) for points, K, dist, right in rows])
    )


def predictions_of(
    detected: DetectedHands,
    hits: Int[np.ndarray, " hands"],
    fields: Mapping[str, np.ndarray],
    model: FittableHand,
    method: str,
) -> Predictions:
    """A row for each picture; what was not computed is NaN and not found."""
    rows: dict[str, Any] = {}
    if detected.found.any():
        rows = {"points_px": detected.landmarks_px, "points_conf": detected.landmark_conf}
    for name, values in fields.items():
        rows[name] = np.full((len(detected), *values.shape[1:]), np.nan)
        rows[name][hits] = values
    found = np.zeros(len(detected), bool)
    found[hits] = True
    kept = {name: detected.header[name] for name in ("dataset", "data") if name in detected.header}
    if "points_px" in fields:
        kept["points"] = HAND_NET if "points_offsets" in fields else KEYPOINTS
    return Predictions(
        header={"model": model.name, "method": method, **kept},
        sample_id=detected.sample_id,
        subject=detected.subject,
        is_right=detected.is_right,
        found=found,
        K=detected.K,
        **rows,
    )
