"""A video's times: how long a hand may be out of sight; times that do not increase."""

import math

MAX_GAP_S = 1.0
"""A hand that was out of sight for longer is another hand: it may be another person's."""
MIN_STEP_S = 1e-3
"""From frame to frame where a video's times do not increase; single precision still distinguishes
such times two hours into a video."""
MAX_TIME_S = 1e9
"""Thirty years; later times are errors."""


class Clock:
    """A video's times, made to increase.

    Times of damaged videos may stand still, go back or be invalid. Such a frame comes as long
    after the last one as the video states, within `MIN_STEP_S` and `MAX_GAP_S`, until the
    video's own time has caught up.
    """

    def __init__(self):
        self._last_s, self._last_stated_s = -math.inf, 0.0

    def increasing(self, stated_s: float) -> float:
        """The next frame's time, after the last frame's in any case."""
        if not abs(stated_s) < MAX_TIME_S:  # as for NaN
            stated_s = self._last_stated_s
        time_s = stated_s
        if time_s <= self._last_s:
            step_s = stated_s - self._last_stated_s
            time_s = self._last_s + min(max(step_s, MIN_STEP_S), MAX_GAP_S)
        self._last_s, self._last_stated_s = time_s, stated_s
        return time_s
