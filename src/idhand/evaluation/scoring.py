"""Every metric of a batch of hands. Pure: predicted hands and true ones in, numbers out."""

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from idhand.evaluation.hands import Hands
from idhand.evaluation.metrics import (
    F_THRESHOLDS_MM,
    MIN_ALIGNED,
    Alignment,
    aligned_to,
    auc,
    bone_errors_mm,
    depth_errors_mm,
    distances_mm,
    f_scores,
    known_mean,
    pck_2d,
    pixel_errors,
)

Scores = dict[str, Float[Tensor, " batch"]]
"""Name of a metric → one number per picture, NaN where it is not defined."""

ALIGNMENTS: tuple[Alignment, ...] = get_args(Alignment)
F_SCORES = tuple(f"f{limit_mm:.0f}" for limit_mm in F_THRESHOLDS_MM)
"""Their names."""


def point_scores(predicted: Hands, truth: Hands, *, has_f_scores: bool = True) -> Scores:
    """Of keypoints and vertices, in 3D and in the picture; F-scores if they are wanted."""
    meshes = _mesh_scores(predicted, truth, has_f_scores=has_f_scores)
    scores = {**_keypoint_scores(predicted, truth), **meshes}
    valid, placed = truth.valid, predicted.has_position & truth.has_position
    ours, theirs = predicted.keypoints_cam, truth.keypoints_cam
    scores["bones"] = bone_errors_mm(ours, theirs, valid)
    scores["depth"] = _where(placed, depth_errors_mm(ours[:, 0], theirs[:, 0]))
    return {**scores, **picture_scores(predicted, truth)}


def picture_scores(predicted: Hands, truth: Hands) -> Scores:
    """Metrics of keypoints in the picture, the only ones for points alone."""
    scores: Scores = {}
    seen = ~truth.keypoints_px.isnan().any(-1)
    has_pixels = ~predicted.keypoints_px.isnan().any(-1).any(-1)
    off_px = pixel_errors(predicted.keypoints_px, truth.keypoints_px)
    scores["pixels"] = known_mean(off_px, seen)
    scores["pck_2d"] = _where(has_pixels, pck_2d(predicted.keypoints_px, truth.keypoints_px, seen))
    return scores


def _keypoint_scores(predicted: Hands, truth: Hands) -> Scores:
    scores, valid = {}, truth.valid
    placed = predicted.has_position & truth.has_position
    for alignment in ALIGNMENTS:
        errors = distances_mm(
            aligned_to(
                predicted.keypoints_cam,
                truth.keypoints_cam,
                alignment,
                root_shift=_root_shift(predicted, truth),
                valid=valid,
            ),
            truth.keypoints_cam,
        )
        defined = placed if alignment == "camera" else torch.ones_like(placed)
        scores[f"mpjpe_{alignment}"] = _where(defined, known_mean(errors, valid))
        scores[f"auc_{alignment}"] = _where(defined, auc(errors, valid=valid))
    return scores


def _mesh_scores(predicted: Hands, truth: Hands, *, has_f_scores: bool) -> Scores:
    has_mesh, scores = truth.has_mesh, {}
    placed = predicted.has_position & truth.has_position
    valid = has_mesh[:, None].expand(truth.verts_cam.shape[:2])
    ours, theirs = predicted.verts_cam, truth.verts_cam
    for alignment in ALIGNMENTS:
        shift = _root_shift(predicted, truth)
        moved = aligned_to(ours, theirs, alignment, root_shift=shift, valid=valid)
        errors = distances_mm(moved, theirs).mean(1)
        scores[f"mpvpe_{alignment}"] = _where(placed, errors) if alignment == "camera" else errors
        if alignment == "procrustes" and has_f_scores:
            similar = f_scores(moved, theirs)
            for limit_mm, column in zip(F_THRESHOLDS_MM, similar.unbind(1), strict=True):
                scores[f"f{limit_mm:.0f}"] = _where(has_mesh, column)
    at_origin = ours - predicted.origin_cam[:, None], theirs - truth.origin_cam[:, None]
    scores["mpvpe_model"] = distances_mm(*at_origin).mean(1)
    return scores


def missed_scores(truth: Hands, *, has_position: bool, has_pixels: bool) -> Scores:
    """What hands count that a method did not find: 0 where right points are counted.

    Args:
        truth: Those hands.
        has_position: Whether the method predicts where hands are.
        has_pixels: Whether it predicts where they are in the picture.
    """
    num_valid = truth.valid.sum(1)
    zero = torch.zeros_like(truth.origin_cam[:, 0])
    scores = {}
    for alignment in ALIGNMENTS:
        enough = MIN_ALIGNED if alignment in ("scale", "rigid", "procrustes") else 1
        defined = num_valid >= enough
        if alignment == "root":
            defined &= truth.valid[:, 0]
        if alignment == "camera":
            defined &= truth.has_position & has_position
        scores[f"auc_{alignment}"] = _where(defined, zero)
    for limit_mm in F_THRESHOLDS_MM:
        scores[f"f{limit_mm:.0f}"] = _where(truth.has_mesh, zero)
    seen = ~truth.keypoints_px.isnan().any(-1)
    scores["pck_2d"] = _where(seen.any(1) & has_pixels, zero)
    return scores


def root_errors_mm(predicted: Hands, truth: Hands) -> Float[Tensor, "batch 21"]:
    """Distance of each keypoint, wrist on wrist; NaN where it is not known."""
    shift = _root_shift(predicted, truth)
    return distances_mm(predicted.keypoints_cam + shift[:, None], truth.keypoints_cam)


def _root_shift(predicted: Hands, truth: Hands) -> Float[Tensor, "batch 3"]:
    return truth.keypoints_cam[:, 0] - predicted.keypoints_cam[:, 0]


def _where(defined: Tensor, values: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    return torch.where(defined, values, torch.full_like(values, torch.nan))
