"""Which hand of a frame is which hand of the frames before."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

MAX_JUMP = 1.0
"""A hand goes on where it is expected, within this part of its box's longer side."""


def apart(
    keypoints_px: Float[np.ndarray, "points 2"],
    others_px: Float[np.ndarray, "points 2"],
    *boxes_px: Float[np.ndarray, " 4"],
) -> float:
    """How far two hands are apart in the picture, as seen from their size.

    Args:
        keypoints_px: Of one hand.
        others_px: Of the other, or of the same one earlier.
        boxes_px: xyxy boxes of one of them or of both.

    Returns:
        Mean distance of their keypoints, in parts of the longest side of the boxes.
    """
    size_px = max(float((box[2:] - box[:2]).max()) for box in boxes_px)
    return float(np.linalg.norm(keypoints_px - others_px, axis=1).mean()) / max(size_px, 1.0)


def assigned(costs: Float[np.ndarray, "tracks hands"]) -> dict[int, int]:
    """Which track goes on with which hand: the cheapest pairs first, then `improved`.

    Args:
        costs: Of each pair; infinite where it cannot be.
    """
    possible = np.argwhere(np.isfinite(costs)).tolist()
    found: dict[int, int] = {}
    for i, k in sorted(possible, key=lambda pair: costs[pair[0], pair[1]]):
        if i not in found and k not in found.values():
            found[i] = k
    return improved(costs, found)


def improved(costs: Float[np.ndarray, "tracks hands"], found: Mapping[int, int]) -> dict[int, int]:
    """The assignment with pairs exchanged, and hands given to free tracks, while that is cheaper.

    Args:
        costs: Of each pair; infinite where it cannot be, also for pairs of `found`.
        found: Track → hand.
    """
    found, tracks = dict(found), range(len(costs))
    changed = True
    while changed:
        changed = False
        for i in tracks:
            for j in tracks:
                if i not in found or i == j:
                    continue
                now, then = costs[i, found[i]], costs[j, found[i]]
                if j in found:
                    now, then = now + costs[j, found[j]], then + costs[i, found[j]]
                if then < now - 1e-12:
                    hand, other = found.pop(i), found.pop(j, None)
                    found[j] = hand
                    if other is not None:
                        found[i] = other
                    changed = True
    return dict(sorted(found.items()))
