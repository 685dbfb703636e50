"""Pictures that are frames of videos, put in order again: how much the points jitter. Pure."""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from idhand.evaluation.metrics import accelerations_mm

GAP_STEPS = 1.5
"""Frames farther apart than this many steps are not neighbours."""


def frame_accelerations_mm(
    points: Float[np.ndarray, "pictures points 3"],
    sequences: Sequence[Hashable | None],
    times_s: Float[np.ndarray, " pictures"],
) -> Float[np.ndarray, " pictures"]:
    """`accelerations_mm` of each picture between its two neighbours in time.

    NaN for pictures of no sequence, at the ends of a sequence and beside a gap: a frame that is
    missing, or whose points are NaN. The step of a sequence is its smallest difference in time.

    Args:
        points: Metres, in any order.
        sequences: Name of each picture's sequence, or None.
        times_s: Within the sequence.
    """
    out = np.full(len(points), np.nan)
    rows: dict[Hashable, list[int]] = {}
    for index, sequence in enumerate(sequences):
        if sequence is not None:
            rows.setdefault(sequence, []).append(index)
    for indices in rows.values():
        order = np.array(indices)[np.argsort(times_s[indices], kind="stable")]
        gaps = np.diff(times_s[order])
        if not len(gaps):
            continue
        breaks = np.flatnonzero(gaps > GAP_STEPS * gaps.min()) + 1
        for run in np.split(order, breaks):
            out[run] = accelerations_mm(torch.from_numpy(points[run])).numpy()
    return out
