"""Lengths on the hand: where they start and end on the mesh; for `build_hand.py`."""

from dataclasses import dataclass

import numpy as np
from hand_rig import FINGERS, RIG_FINGER, TIP_RIG_JOINTS, Rig, bone_directions, unit
from scipy.spatial import ConvexHull

MEASURE_NAMES = ("hand_length", "palm_length", "hand_breadth", "hand_circumference")
"""In the order of the first four ANSUR measures."""


@dataclass(frozen=True, kw_only=True)
class MeasurePoints:
    """Points of the measures as weights over [vertices, 25 joints], and how they are summed."""

    names: tuple[str, ...]
    weights: np.ndarray
    segments: np.ndarray
    coefficients: np.ndarray

    def lengths(self, verts: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Lengths in metres."""
        p = self.weights @ np.concatenate((verts, joints))
        d = np.linalg.norm(p[self.segments[:, 0]] - p[self.segments[:, 1]], axis=1)
        return self.coefficients @ d


def palm_section(rig: Rig) -> np.ndarray:
    """Convex loop around the knuckles as weights over the vertices, in order around the palm.

    The plane holds the knuckles of index and little finger and the palm's normal, as where ANSUR
    measures hand breadth and circumference (metacarpale II to V).
    """
    a, b = rig.joints[6], rig.joints[21]
    across = unit(np.array([a[0] - b[0], a[1] - b[1], 0]))
    normal = np.array([-across[1], across[0], 0])
    height = (rig.verts - a) @ normal
    palm = rig.weights[:, [0, 5, 10, 15, 20, 6, 11, 16, 21]].sum(1) > 0.5
    edges = np.unique(
        np.sort(np.concatenate([rig.faces[:, [i, j]] for i, j in ((0, 1), (1, 2), (2, 0))]), 1),
        axis=0,
    )
    crossing = (height[edges[:, 0]] * height[edges[:, 1]] < 0) & palm[edges].all(1)
    edges = edges[crossing]
    t = height[edges[:, 0]] / (height[edges[:, 0]] - height[edges[:, 1]])
    W = np.zeros((len(edges), len(rig.verts)))
    W[np.arange(len(edges)), edges[:, 0]] = 1 - t
    W[np.arange(len(edges)), edges[:, 1]] = t
    points = W @ rig.verts
    flat = np.stack((points @ across, points[:, 2]), 1)
    return W[ConvexHull(flat).vertices]


CREASE_FRACTION = 0.03
"""Distal wrist crease, as a fraction of the way from the wrist joint to the middle knuckle."""
DIGIT_CREASE_FRACTION = 0.5
"""Crease at the root of the middle finger, as a fraction of its proximal phalanx."""
BONE_NAMES = (
    *("thumb_carpal", "thumb_metacarpal", "thumb_proximal", "thumb_distal"),
    *(f"{f}_{b}" for f in FINGERS[1:] for b in ("metacarpal", "proximal", "middle", "distal")),
)


def measure_points(rig: Rig, tips: list[int]) -> MeasurePoints:
    """All measures of the hand: ANSUR's four, then each finger, then each bone."""
    num_verts = len(rig.verts)
    section = palm_section(rig)
    keypoints = np.zeros((21, num_verts + 25))
    for f in range(5):
        chain = [j for j in range(25) if RIG_FINGER[j] == f and j not in TIP_RIG_JOINTS]
        for k, j in enumerate(chain[-3:]):
            keypoints[1 + 4 * f + k, num_verts + j] = 1
        keypoints[4 + 4 * f, tips[f]] = 1
    keypoints[0, num_verts] = 1
    crease = (1 - CREASE_FRACTION) * keypoints[:1] + CREASE_FRACTION * keypoints[9:10]
    loop = np.pad(section, ((0, 0), (0, 25)))
    x = section @ rig.verts[:, 0]
    first = 22
    right, left = first + int(x.argmax()), first + int(x.argmin())
    weights = np.concatenate((keypoints, crease, loop))
    rows: dict[str, list[tuple[int, int, float]]] = {}
    middle = [(9, 10), (10, 11), (11, 12)]
    rows["hand_length"] = [(21, 9, 1.0), *((a, b, 1.0) for a, b in middle)]
    rows["palm_length"] = [(21, 9, 1.0), (9, 10, DIGIT_CREASE_FRACTION)]
    rows["hand_breadth"] = [(right, left, 1.0)]
    n = len(section)
    rows["hand_circumference"] = [(first + k, first + (k + 1) % n, 1.0) for k in range(n)]
    for f, finger in enumerate(FINGERS):
        base = 1 + 4 * f + (1 if f == 0 else 0)
        rows[f"{finger}_length"] = [(k, k + 1, 1.0) for k in range(base, 4 + 4 * f)]
    for k, name in enumerate(BONE_NAMES):
        end = k + 1
        rows[name] = [(0 if k % 4 == 0 else end - 1, end, 1.0)]
    segments = sorted({(a, b) for row in rows.values() for a, b, _ in row})
    coefficients = np.zeros((len(rows), len(segments)))
    for i, row in enumerate(rows.values()):
        for a, b, c in row:
            coefficients[i, segments.index((a, b))] += c
    return MeasurePoints(
        names=tuple(rows), weights=weights, segments=np.array(segments), coefficients=coefficients
    )


def fingertips(rig: Rig) -> list[int]:
    """The vertex of each fingertip: farthest along the last bone, near its axis."""
    tips = []
    directions = bone_directions(rig.joints)
    for tip in TIP_RIG_JOINTS:
        local = rig.verts - rig.joints[tip]
        along = local @ directions[tip]
        off = np.linalg.norm(local - along[:, None] * directions[tip], axis=1)
        score = along - 0.5 * off - 10.0 * (rig.weights[:, tip - 1] < 0.9)
        tips.append(int(score.argmax()))
    return tips
