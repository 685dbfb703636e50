"""Predictions and labels as the benchmarks' evaluations take them: a hand for every picture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.anatomy import palm_axes
from idhand.assets.mano_file import NUM_VERTS
from idhand.assets.mano_tips import TIP_VERTS
from idhand.evaluation.hands import NUM_KEYPOINTS, predicted_hands, true_hands
from idhand.hand import FittableHand, HandModel
from idhand.lens import project_px
from idhand.predictions import KIND_NAMES, Predictions
from idhand.records import FLIP, Sample

BATCH = 64
"""Pictures whose meshes are posed at a time."""
PLACING_STEPS = 12
"""Each takes a hand about ten times nearer to its box."""
MIN_BOX_PX = 1.0


@dataclass(frozen=True, kw_only=True)
class OfficialHands:
    """Predicted hands of all pictures of a set, in its order; camera frame, m."""

    joints: Float[np.ndarray, "images 21 3"]
    verts: Float[np.ndarray, "images verts 3"]
    filled: Bool[np.ndarray, " images"]
    """Missed, or not predicted at all: the mean hand stands in, at the labelled box."""
    placed: Bool[np.ndarray, " images"]
    """Found without a position: put where the hand fills the labelled box."""


@dataclass(frozen=True, kw_only=True)
class OfficialTruth:
    """Labels of the pictures that are scored; camera frame, m."""

    joints: Float[np.ndarray, "images 21 3"]
    verts: Float[np.ndarray, "images verts 3"] | None
    """None if the labels have no pose and shape of a hand model that is here."""


def freihand_regressor(model: HandModel) -> Float[Tensor, "21 verts"]:
    """FreiHAND's joints as weighted sums of vertices: MANO's own and FreiHAND's fingertips.

    A mesh other than MANO's keeps the fingertips of its model.
    """
    if len(model.template) == NUM_VERTS:
        model = replace(model, tip_verts=TIP_VERTS["freihand"])
    return model.keypoint_regressor


def official_hands(
    predictions: Predictions,
    samples: Sequence[Sample],
    model: FittableHand,
    regressor: Float[Tensor, "21 verts"] | None,
) -> OfficialHands:
    """One predicted hand for each picture.

    Args:
        predictions: Poses or meshes, by `Sample.id`; of other pictures they are left out.
        samples: All pictures of the set, without pixels; their boxes and K place what has no
            position.
        model: Of the predictions.
        regressor: Joints from vertices; None for those that the hand turns about.

    Raises:
        ValueError: If the predictions are points alone, or meshes without a regressor.
    """
    _check(predictions, regressor)
    rows = {name: row for row, name in enumerate(predictions.sample_id)}
    places = np.array([rows.get(sample.id, -1) for sample in samples])
    found = (places >= 0) & predictions.found[places]
    num = len(samples)
    joints = np.zeros((num, NUM_KEYPOINTS, 3))
    verts = np.zeros((num, len(model.template), 3))
    seen = np.flatnonzero(found).tolist()
    for start in range(0, len(seen), BATCH):
        batch = seen[start : start + BATCH]
        hands = predicted_hands(
            predictions.select(places[batch]), [samples[i] for i in batch], model, regressor
        )
        joints[batch], verts[batch] = hands.keypoints_cam.numpy(), hands.verts_cam.numpy()
    mean_joints, mean_verts = _mean_hand(model, regressor)
    for index in np.flatnonzero(~found).tolist():
        side = 1.0 if samples[index].is_right else FLIP
        joints[index], verts[index] = mean_joints * side, mean_verts * side
    placed = found & (predictions.wrist_cam is None)
    for index in np.flatnonzero(~found | placed).tolist():
        shift = shift_to_box(joints[index], samples[index])
        joints[index] += shift
        verts[index] += shift
    return OfficialHands(joints=joints, verts=verts, filled=~found, placed=placed)


def official_truth(samples: Sequence[Sample], model: FittableHand | None) -> OfficialTruth:
    """What is labelled of pictures that have a 3D truth.

    Args:
        samples: Each with all keypoints.
        model: Of their poses and shapes; without it there are no vertices.

    Raises:
        ValueError: If a picture has not all its keypoints.
    """
    joints = []
    for sample in samples:
        if sample.keypoints_cam is None or not sample.valid.all():
            raise ValueError(
                f"sample {sample.id} of {sample.dataset} has not all 21 keypoints, which the "
                "benchmark scores; take the benchmark's own pictures"
            )
        joints.append(sample.keypoints_cam)
    if model is None:
        return OfficialTruth(joints=np.stack(joints), verts=None)
    verts = [
        true_hands(samples[start : start + BATCH], model, None).verts_cam.numpy()
        for start in range(0, len(samples), BATCH)
    ]
    all_verts = np.concatenate(verts)
    known = np.isfinite(all_verts).all()
    return OfficialTruth(joints=np.stack(joints), verts=all_verts if known else None)


def shift_to_box(points: Float[np.ndarray, "points 3"], sample: Sample) -> Float[np.ndarray, " 3"]:
    """The translation after which a hand's points fill the labelled box.

    Args:
        points: Camera axes, anywhere, m.
        sample: Its box, K and lens.
    """
    left, top, right, bottom = sample.bbox_px
    centre = np.array([left + right, top + bottom]) / 2
    side = max(right - left, bottom - top, MIN_BOX_PX)
    focal = np.array([sample.K[0, 0], sample.K[1, 1]])
    extent = np.ptp(points[:, :2], axis=0).max()
    nearest = points[:, 2].min()
    shift = np.array([0.0, 0.0, float(focal.mean()) * extent / side - nearest])
    for _ in range(PLACING_STEPS):
        low, high = _box(points + shift, sample)
        z = shift[2] + nearest
        shift[2] += z * ((high - low).max() / side - 1)
        low, high = _box(points + shift, sample)
        shift[:2] += (centre - (low + high) / 2) * (shift[2] + nearest) / focal
    return shift


def _box(
    points: Float[np.ndarray, "points 3"], sample: Sample
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    pixels = project_px(points, sample.K, sample.dist)
    return pixels.min(0), pixels.max(0)


def _mean_hand(
    model: FittableHand, regressor: Float[Tensor, "21 verts"] | None
) -> tuple[Float[np.ndarray, "21 3"], Float[np.ndarray, "verts 3"]]:
    """The prior's mean hand in the mean pose, a right one with its palm to the camera."""
    hand = model.with_shape(model.prior.mean)
    fingers = model.pose_space.rotations(model.pose_space.mean)
    rotations = torch.cat((palm_axes(hand)[None], fingers))
    posed = hand.posed(rotations, rotations.new_zeros(3))
    joints = posed.keypoints if regressor is None else regressor @ posed.verts
    return joints.numpy(), posed.verts.numpy()


def _check(predictions: Predictions, regressor: Float[Tensor, "21 verts"] | None) -> None:
    if predictions.kind == "points":
        predictions.check_poses("official scoring")
    if predictions.kind == "meshes" and regressor is None:
        raise ValueError(
            f"'{predictions.method}' predicts {KIND_NAMES['meshes']}; DexYCB scores the joints "
            "that a hand turns about, so predict poses, or score it with --protocol freihand"
        )
