"""When each hand of a file is in view, so that formats can hide it at other times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from idhand.view.motion import HandMotion


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Of one hand: a step function of time."""

    time_s: Float[np.ndarray, " switches"]
    """Increasing; the first is the video's start. Empty if the hand is there all the time."""
    there: Bool[np.ndarray, " switches"]
    """From each of the times to the next."""


def presences(motions: Sequence[HandMotion]) -> list[Presence]:
    """When each hand is there, from the video's start to the last frame of any of them.

    A frame shows its hand from half a frame before it to half a frame after, so that all agree at
    the frames themselves, however times are rounded. The frames' usual distance is taken from those
    that show any hand: of a video of which every third frame was done it is three.
    """
    frame, first = np.unique(np.concatenate([m.frame for m in motions]), return_index=True)
    time_s = np.concatenate([m.time_s for m in motions])[first]
    if len(frame) == 1:  # a still picture
        return [Presence(time_s=np.empty(0), there=np.empty(0, bool)) for _ in motions]
    step = int(np.diff(frame).min())
    half_s = max(step * float(np.median(np.diff(time_s) / np.diff(frame))) / 2, 0.0)
    start_s = min(0.0, float(time_s.min()))
    return [_presence(m, step, half_s, start_s, float(time_s.max())) for m in motions]


def _presence(
    motion: HandMotion, step: int, half_s: float, start_s: float, end_s: float
) -> Presence:
    """Of one hand, with its file's usual distance of frames, half of that in seconds, and span."""
    before = np.flatnonzero(np.diff(motion.frame) > step)
    lost, found = motion.time_s[before], motion.time_s[before + 1]
    edge_s = np.minimum(half_s, (found - lost) / 4)  # where times are uneven
    gaps = np.stack((lost + edge_s, found - edge_s), 1).ravel()
    appears, vanishes = motion.time_s[0] - half_s, motion.time_s[-1] + half_s
    late, early = appears > start_s, vanishes < end_s
    if not (late or early or len(gaps)):
        return Presence(time_s=np.empty(0), there=np.empty(0, bool))
    times = [[start_s], [appears] if late else [], gaps, [vanishes] if early else []]
    time_s = np.concatenate(times)
    return Presence(time_s=time_s, there=(np.arange(len(time_s)) % 2 == 1) == late)
