"""Two cameras see one person's hands: does each, alone, tell the same hand?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from real_data import RealData, ShotSet, calibrated, fit_all, identity_of
from real_shape import bone_lengths
from tables import section, table

from idhand import Identity, Pipeline
from idhand.geometry import procrustes
from idhand.lens import undistorted_px
from idhand.records import FLIP, Detection, HandResult
from idhand.refinement import hand_size_px
from idhand.refinement.points import posed_points

MIDDLE = slice(8, 12)
"""Bones from the wrist along the middle finger to its tip."""
MAX_RESIDUAL = 0.1
"""Two hands are one if their landmarks meet within this, over hand size, in both images."""

Points = Float[np.ndarray, "21 3"]


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Two cameras; x_cam1 = R x_cam0 + t, in squares of the calibration board."""

    K: tuple[np.ndarray, np.ndarray]
    dist: tuple[np.ndarray, np.ndarray]
    R: Float[np.ndarray, "3 3"]
    t: Float[np.ndarray, " 3"]

    def triangulate(self, a: Detection, b: Detection) -> tuple[Points, float]:
        """The landmarks in camera 0, and how far off they are, over hand size."""
        seen = [
            undistorted_px(d.landmarks_px, self.K[i], self.dist[i]) for i, d in enumerate((a, b))
        ]
        P = [self.K[0] @ np.eye(3, 4), self.K[1] @ np.hstack((self.R, self.t[:, None]))]
        homogeneous = cv2.triangulatePoints(P[0], P[1], seen[0].T, seen[1].T)
        points = (homogeneous[:3] / homogeneous[3]).T
        off = 0.0
        for i, hand in enumerate((a, b)):
            uvw = np.concatenate((points, np.ones((21, 1))), 1) @ P[i].T
            error = np.linalg.norm(uvw[:, :2] / uvw[:, 2:] - seen[i], axis=1)
            off = max(off, float(np.sqrt((error**2).mean())) / hand_size_px(hand))
        return points, off


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One hand in both images of a moment."""

    frame: int
    hands: tuple[int, int]
    """Index among the hands of each image."""
    points: Points
    """Triangulated landmarks, camera 0, board squares."""
    off: float


def read_rig(folder: Path) -> Rig:
    """The calibration files that come with the clips."""
    cameras = [_numbers((folder / f"c{i}.dat").read_text()) for i in (0, 1)]
    motion = _numbers((folder / "rot_trans_c1.dat").read_text().split("#below")[1])
    return Rig(
        K=(cameras[0][:9].reshape(3, 3), cameras[1][:9].reshape(3, 3)),
        dist=(cameras[0][9:14], cameras[1][9:14]),
        R=motion[:9].reshape(3, 3),
        t=motion[9:12],
    )


def _numbers(text: str) -> np.ndarray:
    words = re.findall(r"(?<![\w#])-?\d+\.\d+(?:e-?\d+)?", text)
    return np.array([float(word) for word in words])


def matched(rig: Rig, sets: Sequence[ShotSet]) -> tuple[list[Pair], int]:
    """The same hand in both images; and how many such pairs were called left once, right once."""
    pairs, other_side = [], 0
    for frame, (a, b) in enumerate(zip(sets[0].shots, sets[1].shots, strict=False)):
        tried = []
        for i, left in enumerate(a.hands):
            for j, right in enumerate(b.hands):
                points, off = rig.triangulate(left, right)
                tried.append(Pair(frame=frame, hands=(i, j), points=points, off=off))
        taken = list[Pair]()
        for pair in sorted(tried, key=lambda p: p.off):
            free = all(p.hands[k] != pair.hands[k] for p in taken for k in (0, 1))
            if pair.off < MAX_RESIDUAL and free and (pair.points[:, 2] > 0).all():
                taken.append(pair)
        for pair in taken:
            same = a.hands[pair.hands[0]].is_right == b.hands[pair.hands[1]].is_right
            other_side += not same
            pairs += [pair] if same else []
    return pairs, other_side


def landmark_points(pipe: Pipeline, hand: HandResult) -> Points:
    """The fitted points that the landmark net marks, camera frame: not the joints."""
    fitted = pipe.model.with_shape(torch.from_numpy(hand.betas[None]))
    flip = np.ones(3) if hand.is_right else FLIP
    wrist = torch.from_numpy(hand.keypoints_cam[0] * flip)
    R = torch.from_numpy(hand.rotations)
    return posed_points(pipe.model.landmarks, fitted, R[None], wrist[None])[0].numpy() * flip


# ---------------------------------------------------------------- errors


def aligned_error_mm(a: np.ndarray, b: np.ndarray, with_scale: bool = True) -> np.ndarray:
    """Mean distance after the best similarity (or rigid motion) of a onto b: one per hand."""
    source, target = torch.from_numpy(a), torch.from_numpy(b)
    scale, R, t = procrustes(source, target, with_scale=with_scale)
    moved = scale[:, None, None] * (source @ R.mT) + t[:, None]
    return 1e3 * (moved - target).norm(dim=-1).mean(-1).numpy()


def at_size_of(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Points scaled to the reference's size, so that all methods are measured in one unit."""
    scale, _, _ = procrustes(torch.from_numpy(points), torch.from_numpy(reference))
    return points * scale.numpy()[:, None, None]


def stereo_report(data: RealData, sets: Sequence[ShotSet]) -> str:
    """Agreement between the cameras, and with what both cameras see together."""
    rig = read_rig(data.root / "stereo")
    pipe = data.pipe
    pairs, other_side = matched(rig, sets)
    people = [calibrated(pipe, s) for s in sets]
    shared = _shared_identity(pipe, sets)
    seen = np.stack([p.points for p in pairs])
    length = shared.measurements["hand_length"].value_mm / 1e3
    unit = length / float(np.median(bone_lengths(seen)[:, MIDDLE].sum(1)))
    seen = unit * seen
    rows, depth_rows = [], []
    for name, identities in (
        ("anonymous", (None, None)),
        ("calibrated, each camera alone", people),
        ("calibrated, one profile for both", (shared, shared)),
    ):
        fits = [fit_all(pipe, s, i) for s, i in zip(sets, identities, strict=True)]
        hands = [[fits[k][p.frame][p.hands[k]] for p in pairs] for k in (0, 1)]
        joints = [np.stack([h.keypoints_cam for h in hands[k]]) for k in (0, 1)]
        marks = [np.stack([landmark_points(pipe, h) for h in hands[k]]) for k in (0, 1)]
        rows.append((name, *_agreement(joints, marks, seen)))
        depth_rows.append((name, *_camera_space(rig, joints, marks, seen, unit)))
    world = [
        np.stack([sets[k].shots[p.frame].hands[p.hands[k]].landmarks_world for p in pairs])
        for k in (0, 1)
    ]
    rows.insert(0, ("the net's world points", *_agreement(world, world, seen)))
    text = _stereo_text(pairs, other_side, unit, length, people, rows, depth_rows)
    return text if pipe.reader is None else f"{text}\n{_seen_table(rig, pipe, sets, pairs)}"


def _seen_table(rig: Rig, pipe: Pipeline, sets: Sequence[ShotSet], pairs: Sequence[Pair]) -> str:
    """How well what is marked in one image meets the other's, before any fit."""
    assert pipe.reader is not None
    hands = [[sets[k].shots[p.frame].hands[p.hands[k]] for p in pairs] for k in (0, 1)]
    marked = [pipe.reader.points_px(own) for own in hands]
    rows = []
    for name, weight in (("landmark net", 0.0), ("network's keypoints", 1.0), ("mean", 0.5)):
        points, off = [], []
        for i in range(len(pairs)):
            seen = []
            for k in (0, 1):
                own = marked[k]
                assert own is not None
                mixed = (1 - weight) * hands[k][i].landmarks_px + weight * own[i]
                seen.append(replace(hands[k][i], landmarks_px=mixed))
            triangulated, residual = rig.triangulate(*seen)
            points.append(triangulated)
            off.append(residual)
        low, middle, high = np.percentile(bone_lengths(np.stack(points)), (16, 50, 84), axis=0)
        spread = float(((high - low) / 2 / middle).mean())
        rows.append((name, 100 * float(np.median(off)), 100 * spread))
    head = ("marked by", "meet within, % of hand size", "spread of bone lengths %")
    return table(head, rows, 2)


def _shared_identity(pipe: Pipeline, sets: Sequence[ShotSet]) -> Identity:
    """The person from both cameras' frames, each with its own K and distortion."""
    hands = [[s.careful for s in shots.shots if s.careful is not None] for shots in sets]
    return identity_of(
        pipe,
        [h for own in hands for h in own],
        [shots.K for shots, own in zip(sets, hands, strict=True) for _ in own],
        [shots.dist for shots, own in zip(sets, hands, strict=True) for _ in own],
    )


def _agreement(
    joints: Sequence[np.ndarray], marks: Sequence[np.ndarray], seen: np.ndarray
) -> tuple[float, ...]:
    """Between the cameras (with and without scale), then against the triangulated points."""
    sums = bone_lengths(seen).sum(1)
    reference = seen * (np.median(sums) / sums)[:, None, None]
    both = aligned_error_mm(joints[1], at_size_of(joints[0], reference))
    rigid = aligned_error_mm(joints[1], joints[0], with_scale=False)
    truth = [aligned_error_mm(p, reference) for p in marks]
    own = [aligned_error_mm(p, reference) for p in joints]
    return (
        float(both.mean()),
        float(np.median(both)),
        float(rigid.mean()),
        float(np.mean(truth)),
        float(np.median(truth)),
        float(np.mean(own)),
    )


def _camera_space(
    rig: Rig,
    joints: Sequence[np.ndarray],
    marks: Sequence[np.ndarray],
    seen: np.ndarray,
    unit: float,
) -> tuple[float, ...]:
    """In the cameras' own frames: against the triangulated points, and against each other, mm."""
    in_cam1 = seen @ rig.R.T + unit * rig.t
    off = [marks[0] - seen, marks[1] - in_cam1]
    whole = np.mean([np.linalg.norm(o, axis=-1).mean() for o in off])
    depth = np.concatenate([o[..., 2].mean(1) for o in off])
    centred = [o - o.mean(1, keepdims=True) for o in off]
    about = np.mean([np.linalg.norm(o, axis=-1).mean() for o in centred])
    across = np.linalg.norm(joints[0] @ rig.R.T + unit * rig.t - joints[1], axis=-1).mean()
    return (*(1e3 * float(x) for x in (whole, depth.mean(), depth.std(), about, across)),)


def _stereo_text(
    pairs: Sequence[Pair],
    other_side: int,
    unit: float,
    length: float,
    people: Sequence[Identity],
    rows: Sequence[tuple],
    depth_rows: Sequence[tuple],
) -> str:
    per_mm = 1e-3 * float(np.mean([p.points[:, 2].mean() for p in pairs]))
    lengths = " and ".join(f"{p.measurements['hand_length'].value_mm:.0f}" for p in people)
    residual = 100 * np.median([p.off for p in pairs])
    text = (
        f"{len(pairs)} pairs of one hand in both images (landmarks meet within "
        f"{100 * MAX_RESIDUAL:.0f} % of hand size; median {residual:.1f} %); {other_side} more "
        "were called left in one image and right in the other and are left out. Each camera is "
        "alone with its K and distortion. Hand lengths calibrated by each, unanchored: "
        f"{lengths} mm. One square of the board is taken as {1e3 * unit:.2f} mm: then the "
        "triangulated landmarks from the wrist along the middle finger to its tip measure what the "
        f"person's hand length is calibrated to, {1e3 * length:.0f} mm.\n\n"
        "Left part: keypoints of camera 1 on those of camera 0, mean distance in mm after "
        "Procrustes with scale (at the size of the triangulated hand), and without scale "
        "(as they are). Right part: against the landmarks triangulated from both views, with "
        "scale: the fitted landmark points, and the joints (which are other points by definition)."
    )
    head = ("", "cameras", "median", "no scale", "landmarks", "median", "joints")
    depth_text = (
        "In the cameras' frames, mm: the fitted landmark points against the triangulated ones; "
        "mean and deviation of the depth error; the same points with the mean offset removed; and "
        "one camera's joints against the other's. The size of the board's squares is not on "
        "record, so all but the deviation and the fourth column hang on the size taken above: "
        "1 mm more per square moves the triangulated hand away by "
        f"{1e3 * per_mm:.0f} mm."
    )
    depth_head = ("", "error", "depth bias", "depth deviation", "offset removed", "other camera")
    parts = (table(head, rows, 2), f"{depth_text}\n", table(depth_head, depth_rows))
    return section("Stereo", text, *parts)
