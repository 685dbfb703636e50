"""The scores of the benchmarks' own evaluations, to their last digit. Pure: points in, numbers out.

They differ from ours (`metrics`): the area under the curve is a sum of trapezoids over 100
thresholds, the similarity alignment may reflect, and joints and vertices are aligned apart.
Sources: Zimmermann et al., "FreiHAND", ICCV 2019, and Chao et al., "DexYCB", CVPR 2021, with their
evaluations.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

NUM_THRESHOLDS = 100
"""Evenly spaced from 0 to the limit, both included."""
LIMIT_MM, LIMIT_M = 50.0, 0.05
"""Of the curves of DexYCB, in mm, and of FreiHAND, in m: each compares in its own unit."""
NORM_EPS = 1e-8
"""Added to the size that centred points are divided by, in the points' unit."""
F_THRESHOLDS_M = (0.005, 0.015)
"""A vertex is matched if its nearest partner is strictly nearer than this."""
CM_PER_M = 100.0
NOT_COMPARED = -1.0
"""What FreiHAND's evaluation states where meshes cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class DistanceScore:
    """Errors of one kind of points after one alignment."""

    mean: float
    """Mean distance, in the unit of the benchmark: mm for DexYCB, cm for FreiHAND."""
    auc: float
    """Of the curve of correct points, by trapezoids, 0..1."""
    auc_exact: float
    """The exact integral instead, as `metrics.auc`."""


@dataclass(frozen=True, kw_only=True)
class FreihandScores:
    """What FreiHAND's server states; means in cm."""

    joints: DistanceScore
    joints_aligned: DistanceScore
    mesh: DistanceScore | None
    """None if the predicted meshes are not of the truth's number of vertices."""
    mesh_aligned: DistanceScore | None
    f: tuple[float, float]
    """At 5 and 15 mm."""
    f_aligned: tuple[float, float]

    @property
    def official(self) -> dict[str, float]:
        """The numbers under the names of the server's `scores.txt`, in its order."""
        return {
            **_named("xyz", self.joints, self.joints_aligned),
            **_named("mesh", self.mesh, self.mesh_aligned),
            "f_score_5": self.f[0],
            "f_al_score_5": self.f_aligned[0],
            "f_score_15": self.f[1],
            "f_al_score_15": self.f_aligned[1],
        }

    @property
    def text(self) -> str:
        """The server's `scores.txt`."""
        return "".join(f"{name}: {value:f}\n" for name, value in self.official.items())


def _named(kind: str, raw: DistanceScore | None, aligned: DistanceScore | None) -> dict[str, float]:
    numbers = {}
    for infix, score in (("", raw), ("_al", aligned)):
        mean, auc = (NOT_COMPARED * CM_PER_M, NOT_COMPARED)
        if score is not None:
            mean, auc = score.mean, score.auc
        numbers[f"{kind}{infix}_mean3d"], numbers[f"{kind}{infix}_auc3d"] = mean, auc
    return numbers


def dexycb_scores(
    predicted_mm: Float[np.ndarray, "images 21 3"], truth_mm: Float[np.ndarray, "images 21 3"]
) -> dict[str, DistanceScore]:
    """DexYCB's hand pose evaluation: a row for each alignment, means in mm.

    Args:
        predicted_mm: Joints in the camera frame, float64.
        truth_mm: Of the same pictures.
    """
    from_wrist = predicted_mm - predicted_mm[:, :1], truth_mm - truth_mm[:, :1]
    pairs = {
        "absolute": (predicted_mm, truth_mm),
        "root-relative": from_wrist,
        "procrustes": (aligned(predicted_mm, truth_mm), truth_mm),
    }
    return {
        name: distance_score(np.linalg.norm(points - truth, axis=-1), LIMIT_MM)
        for name, (points, truth) in pairs.items()
    }


def freihand_scores(
    joints: Float[np.ndarray, "images 21 3"],
    verts: Float[np.ndarray, "images verts 3"],
    truth_joints: Float[np.ndarray, "images 21 3"],
    truth_verts: Float[np.ndarray, "images verts2 3"],
) -> FreihandScores:
    """FreiHAND's evaluation of meshes and joints.

    Meshes of another number of vertices than the truth's are aligned by the joints, and are scored
    by F alone.

    Args:
        joints: In the camera frame, m, float64; so are the others.
        verts: Predicted.
        truth_joints: Of the same pictures.
        truth_verts: MANO's.
    """
    is_mano = verts.shape[1] == truth_verts.shape[1]
    joints_aligned = aligned(joints, truth_joints)
    verts_aligned = (
        aligned(verts, truth_verts) if is_mano else moved_by_joints(verts, joints, truth_joints)
    )

    def score(points: np.ndarray, truth: np.ndarray) -> DistanceScore:
        in_m = distance_score(np.linalg.norm(points - truth, axis=-1), LIMIT_M)
        return DistanceScore(mean=CM_PER_M * in_m.mean, auc=in_m.auc, auc_exact=in_m.auc_exact)

    return FreihandScores(
        joints=score(joints, truth_joints),
        joints_aligned=score(joints_aligned, truth_joints),
        mesh=score(verts, truth_verts) if is_mano else None,
        mesh_aligned=score(verts_aligned, truth_verts) if is_mano else None,
        f=f_scores(verts, truth_verts),
        f_aligned=f_scores(verts_aligned, truth_verts),
    )


def distance_score(errors: Float[np.ndarray, "images points"], limit: float) -> DistanceScore:
    """Mean and curve of distances; a point exactly on a threshold counts as correct.

    All points are labelled, so means of points' means are the mean of all.

    Args:
        errors: Distances.
        limit: Largest threshold, in the unit of the errors.
    """
    thresholds = np.linspace(0.0, limit, NUM_THRESHOLDS)
    correct = np.searchsorted(np.sort(errors, axis=None), thresholds, side="right") / errors.size
    return DistanceScore(
        mean=float(errors.mean()),
        auc=float(np.trapezoid(correct, thresholds) / limit),
        auc_exact=float(np.maximum(0.0, 1 - errors / limit).mean()),
    )


def aligned(
    predicted: Float[np.ndarray, "images points 3"], truth: Float[np.ndarray, "images points 3"]
) -> Float[np.ndarray, "images points 3"]:
    """Predictions moved onto the truth by the best similarity, which may be a reflection.

    `geometry.procrustes` never reflects: there a mirrored hand has an error, here it has none.
    """
    Q, scale, size = _similarity(predicted, truth)
    centred, predicted_size = _normalised(predicted)
    shape = (scale * size / predicted_size)[:, None, None]
    return shape * (centred @ Q) + truth.mean(1, keepdims=True)


def moved_by_joints(
    verts: Float[np.ndarray, "images verts 3"],
    joints: Float[np.ndarray, "images 21 3"],
    truth_joints: Float[np.ndarray, "images 21 3"],
) -> Float[np.ndarray, "images verts 3"]:
    """What FreiHAND's evaluation makes of meshes with another number of vertices.

    It turns them about their own centre by the joints' alignment and shifts them by the difference
    of the joints' centres; their size is multiplied by the true joints' size without being divided
    by the predicted ones', so they come out far too small. Kept as it is: scores are to agree.
    """
    Q, scale, size = _similarity(joints, truth_joints)
    centre = verts.mean(1, keepdims=True)
    shift = truth_joints.mean(1, keepdims=True) - joints.mean(1, keepdims=True)
    return (scale * size)[:, None, None] * ((verts - centre) @ Q) + shift + centre


def _similarity(
    predicted: Float[np.ndarray, "images points 3"], truth: Float[np.ndarray, "images points 3"]
) -> tuple[
    Float[np.ndarray, "images 3 3"], Float[np.ndarray, " images"], Float[np.ndarray, " images"]
]:
    """The orthogonal matrix and scale between points of norm one, and the norm of the truth."""
    p, p_size = _normalised(predicted)
    t, t_size = _normalised(truth)
    product = (p / p_size[:, None, None]).swapaxes(1, 2) @ (t / t_size[:, None, None])
    U, singular, Vh = np.linalg.svd(product)
    return U @ Vh, singular.sum(1), t_size


def _normalised(
    points: Float[np.ndarray, "images points 3"],
) -> tuple[Float[np.ndarray, "images points 3"], Float[np.ndarray, " images"]]:
    """Points about their centre, and what to divide them by."""
    centred = points - points.mean(1, keepdims=True)
    return centred, np.linalg.norm(centred, axis=(1, 2)) + NORM_EPS


def f_scores(
    predicted: Float[np.ndarray, "images verts 3"], truth: Float[np.ndarray, "images verts2 3"]
) -> tuple[float, float]:
    """Means over pictures of the F-scores at 5 and 15 mm; distances are to the nearest vertex."""
    scores = []
    for to_truth, to_predicted in _nearest(predicted, truth):
        near = [
            [(distances < limit).mean() for distances in (to_truth, to_predicted)]
            for limit in F_THRESHOLDS_M
        ]
        scores.append([2 * p * r / (p + r) if p + r > 0 else 0.0 for p, r in near])
    at_5, at_15 = np.mean(scores, axis=0).tolist()
    return at_5, at_15


def _nearest(
    predicted: Float[np.ndarray, "images verts 3"], truth: Float[np.ndarray, "images verts2 3"]
) -> Iterator[tuple[Float[np.ndarray, " verts"], Float[np.ndarray, " verts2"]]]:
    """Of each picture: how far each vertex is from the other surface's nearest one.

    The nearest is found by a product of matrices and its distance then taken by itself, exactly.
    """
    for ours, theirs in zip(predicted, truth, strict=True):
        p, t = (torch.from_numpy(points - theirs.mean(0)) for points in (ours, theirs))
        apart2 = (p * p).sum(1)[:, None] + (t * t).sum(1) - 2 * p @ t.mT
        yield (
            np.linalg.norm(ours - theirs[apart2.argmin(1).numpy()], axis=1),
            np.linalg.norm(theirs - ours[apart2.argmin(0).numpy()], axis=1),
        )
