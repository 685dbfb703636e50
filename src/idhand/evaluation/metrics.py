"""How far a predicted hand is from the true one. Pure; metres in, one number per picture out.

Every metric is that of one picture, so that means over pictures are exact, and people can be
resampled. Points are paired; `valid` is True for known points; a picture without any gives NaN.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.geometry import procrustes
from idhand.hand import KEYPOINT_PARENTS

Alignment = Literal["camera", "root", "scale", "rigid", "procrustes"]
"""What is forgiven before distances are taken: nothing; the wrist's position; size and position of
the whole; its rotation and position; all three."""

MM_PER_M = 1e3
AUC_LIMIT_MM = 50.0
F_THRESHOLDS_MM = (5.0, 15.0)
PCK_FRACTION = 0.1
"""Of the hand's size in the picture."""
MIN_ALIGNED = 3
"""Fewer points than this can be laid onto any others by a similarity."""


def aligned_to(
    predicted: Float[Tensor, "batch points 3"],
    truth: Float[Tensor, "batch points 3"],
    alignment: Alignment,
    *,
    root_shift: Float[Tensor, "batch 3"],
    valid: Bool[Tensor, "batch points"] | None = None,
) -> Float[Tensor, "batch points 3"]:
    """Predicted points, moved onto the true ones as far as the alignment allows.

    Args:
        predicted: Camera frame.
        truth: Camera frame; where it is not valid it may be NaN.
        alignment: What is forgiven.
        root_shift: True minus predicted wrist, for the alignment at the root.
        valid: Which true points are known; all if None.
    """
    if alignment == "camera":
        return predicted
    if alignment == "root":
        return predicted + root_shift[:, None]
    known = torch.ones_like(predicted[..., 0]) if valid is None else valid.to(predicted.dtype)
    enough = known.sum(1) >= MIN_ALIGNED
    target = torch.where(known[..., None] > 0, truth, torch.zeros_like(truth))
    known = torch.where(enough[:, None], known, torch.ones_like(known))
    if alignment == "scale":
        moved = _scaled(predicted, target, known)
    else:
        with_scale = alignment == "procrustes"
        scale, R, t = procrustes(predicted, target, known, with_scale=with_scale)
        moved = scale[:, None, None] * (predicted @ R.mT) + t[:, None]
    # a prediction that is one point has no size to change: the best is to lie at the centre
    centre = (known[..., None] * target).sum(1, keepdim=True) / known.sum(1)[:, None, None]
    moved = torch.where(moved.isnan(), centre, moved)
    return torch.where(enough[:, None, None], moved, torch.full_like(moved, torch.nan))


def _scaled(
    predicted: Float[Tensor, "batch points 3"],
    truth: Float[Tensor, "batch points 3"],
    weights: Float[Tensor, "batch points"],
) -> Float[Tensor, "batch points 3"]:
    """Size and position by least squares, without rotation; the scale is never negative."""
    w = (weights / weights.sum(1, keepdim=True))[..., None]
    centre_p, centre_t = (w * predicted).sum(1, keepdim=True), (w * truth).sum(1, keepdim=True)
    p, t = predicted - centre_p, truth - centre_t
    scale = (w * p * t).sum((1, 2)) / (w * p * p).sum((1, 2))
    return scale.clamp_min(0)[:, None, None] * p + centre_t


def distances_mm(
    predicted: Float[Tensor, "batch points 3"], truth: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch points"]:
    """Distance of each point to its partner."""
    return MM_PER_M * (predicted - truth).norm(dim=-1)


def known_mean(
    values: Float[Tensor, "batch points"], valid: Bool[Tensor, "batch points"] | None = None
) -> Float[Tensor, " batch"]:
    """Mean over the points that are known: of distances, the mean per-joint or per-vertex error."""
    if valid is None:
        return values.mean(1)
    kept = torch.where(valid, values, torch.zeros_like(values))
    return kept.sum(1) / valid.sum(1)


def auc(
    errors_mm: Float[Tensor, "batch points"],
    limit_mm: float = AUC_LIMIT_MM,
    valid: Bool[Tensor, "batch points"] | None = None,
) -> Float[Tensor, " batch"]:
    """Area under the curve of correct keypoints over thresholds of 0 to the limit, 0..1.

    The exact integral: a point at distance d is correct at every threshold from d on, so it
    counts max(0, 1 − d / limit). The usual evaluation (Zimmermann and Brox, ICCV 2017; FreiHAND;
    DexYCB) sums trapezoids over 100 thresholds instead: the same but for half a step, 0.005.
    """
    return known_mean((1 - errors_mm / limit_mm).clamp_min(0), valid)


def correct_within(
    errors: Float[Tensor, "batch points"],
    thresholds: Float[Tensor, " thresholds"],
) -> Float[Tensor, " thresholds"]:
    """Fraction of all known points within each threshold (PCK), over all pictures.

    Args:
        errors: NaN for unknown points, infinite for those of a hand that was not found.
        thresholds: In the unit of the errors; a point exactly on it is within.
    """
    known = errors[~errors.isnan()].sort().values
    within = torch.searchsorted(known, thresholds.to(known), right=True)
    return within.to(known.dtype) / len(known)


def f_scores(
    predicted: Float[Tensor, "batch verts 3"],
    truth: Float[Tensor, "batch verts2 3"],
    thresholds_mm: Sequence[float] = F_THRESHOLDS_MM,
    *,
    chunk: int = 2,
) -> Float[Tensor, "batch thresholds"]:
    """Harmonic mean of precision and recall of the surface at distance thresholds, 0..1.

    Precision is the fraction of predicted vertices with a true one nearer than the threshold,
    recall the fraction of true vertices with a predicted one. Source: Knapitsch et al., "Tanks
    and temples", 2017, as in FreiHAND's evaluation, which also aligns by Procrustes before.

    Args:
        predicted: Already aligned.
        truth: Metres.
        thresholds_mm: 5 and 15 in the field.
        chunk: Pictures at a time; each needs verts × verts numbers; larger chunks are not faster.
    """
    limits = torch.tensor(thresholds_mm, dtype=truth.dtype, device=truth.device) / MM_PER_M
    scores = []
    for ours, theirs in zip(predicted.split(chunk), truth.split(chunk), strict=True):
        apart2 = _squared_distances(ours, theirs)
        near_p = (apart2.amin(2)[..., None] < limits**2).to(truth.dtype).mean(1)
        near_t = (apart2.amin(1)[..., None] < limits**2).to(truth.dtype).mean(1)
        both = near_p + near_t
        scores.append(2 * near_p * near_t / torch.where(both > 0, both, torch.ones_like(both)))
    return torch.cat(scores)


def _squared_distances(
    first: Float[Tensor, "batch verts 3"], second: Float[Tensor, "batch verts2 3"]
) -> Float[Tensor, "batch verts verts2"]:
    """Of each to each as one product of matrices, in less than half of `torch.cdist`'s time."""
    centre = second.mean(1, keepdim=True)  # near the origin, where the product loses no digits
    p, q = first - centre, second - centre
    one_p, one_q = torch.ones_like(p[..., :1]), torch.ones_like(q[..., :1])
    rows = torch.cat((-2 * p, (p * p).sum(-1, keepdim=True), one_p), -1)
    columns = torch.cat((q, one_q, (q * q).sum(-1, keepdim=True)), -1)
    return rows @ columns.mT


def bone_lengths(keypoints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 20"]:
    """Distance of each keypoint to its parent, without the wrist, in the unit of the points."""
    return (keypoints[:, 1:] - keypoints[:, KEYPOINT_PARENTS[1:]]).norm(dim=-1)


def bone_errors_mm(
    predicted: Float[Tensor, "batch 21 3"],
    truth: Float[Tensor, "batch 21 3"],
    valid: Bool[Tensor, "batch 21"] | None = None,
) -> Float[Tensor, " batch"]:
    """Mean absolute error of the bone lengths whose two ends are known."""
    errors = MM_PER_M * (bone_lengths(predicted) - bone_lengths(truth)).abs()
    ends = None if valid is None else valid[:, 1:] & valid[:, KEYPOINT_PARENTS[1:]]
    return known_mean(errors, ends)


def depth_errors_mm(
    predicted_cam: Float[Tensor, "batch 3"], truth_cam: Float[Tensor, "batch 3"]
) -> Float[Tensor, " batch"]:
    """Absolute error of the distance along the optical axis."""
    return MM_PER_M * (predicted_cam[:, 2] - truth_cam[:, 2]).abs()


def accelerations_mm(points: Float[Tensor, "frames points 3"]) -> Float[Tensor, " frames"]:
    """Mean size of the second difference in time at each frame, mm per frame², NaN at both ends.

    Jitter is its mean over a sequence; that of the truth is how much the hand really moved.
    """
    still = torch.full((len(points),), torch.nan, dtype=points.dtype, device=points.device)
    if len(points) >= 3:
        second = points[2:] - 2 * points[1:-1] + points[:-2]
        still[1:-1] = MM_PER_M * second.norm(dim=-1).mean(1)
    return still


def pixel_errors(
    predicted_px: Float[Tensor, "batch points 2"], truth_px: Float[Tensor, "batch points 2"]
) -> Float[Tensor, "batch points"]:
    """Distance of each point in the picture, px."""
    return (predicted_px - truth_px).norm(dim=-1)


def pck_2d(
    predicted_px: Float[Tensor, "batch points 2"],
    truth_px: Float[Tensor, "batch points 2"],
    valid: Bool[Tensor, "batch points"] | None = None,
    *,
    fraction: float = PCK_FRACTION,
) -> Float[Tensor, " batch"]:
    """Fraction of keypoints not farther off than a fraction of the true hand's size, 0..1.

    The size is the longer side of the box of the known true keypoints. Source: Yang and Ramanan,
    "Articulated human detection with flexible mixtures of parts", PAMI 2013, whose fraction is 0.1.
    """
    known = torch.ones_like(truth_px[..., 0], dtype=torch.bool) if valid is None else valid
    inside = known[..., None]
    lowest = torch.where(inside, truth_px, torch.full_like(truth_px, torch.inf)).amin(1)
    highest = torch.where(inside, truth_px, torch.full_like(truth_px, -torch.inf)).amax(1)
    size_px = (highest - lowest).amax(1, keepdim=True)
    right = pixel_errors(predicted_px, truth_px) <= fraction * size_px
    return known_mean(right.to(truth_px.dtype), known)
