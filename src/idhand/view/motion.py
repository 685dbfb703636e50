"""Hands of a photo or of a video's frames → one record per hand over time: what exports write.

A photo is a motion of one frame. Motions hold no meshes: an hour of video at 30 frames a second
takes 0.20 GB per hand, while it is recorded and afterwards (measured by tests/test_motion.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from idhand.records import HandResult

MAX_GAP_S = 1.0
"""A hand that was out of sight for longer begins a new motion: it may be another person's."""
SAME_HAND = 1.0
"""A hand goes on where the last one was, within this part of its box's longer side."""
MIN_STEP_S = 1e-3
"""From frame to frame where a video's times do not increase; single precision still tells such
times apart two hours into a video."""
MAX_TIME_S = 1e9
"""Thirty years; later times are no times."""

_BY_FRAME = ("betas", "rotations", "keypoints_cam", "score", "residual_px", "depth_std_m")
"""What a motion takes from each frame's result, and all that is kept of it."""
_MIN_BLOCK, _MAX_BLOCK = 16, 1024
"""Frames that a motion makes room for at a time: as many as it has, within these limits."""


@dataclass(frozen=True, kw_only=True)
class HandMotion:
    """One hand over time, in the camera frame; frames without it are missing."""

    name: str
    """E.g. `hand_0_right`: its number among the photo's results or the video's motions."""
    is_right: bool
    frame: Int[np.ndarray, " frames"]
    """Index in the video, increasing; 0 for photos."""
    time_s: Float[np.ndarray, " frames"]
    """Since the video's first frame; increasing."""
    betas: Float[np.ndarray, "frames betas"]
    """Shape in standard deviations; all rows are equal where the person was known."""
    rotations: Float[np.ndarray, "frames 16 3 3"]
    """As in `HandResult`; left: of the mirrored, right hand."""
    wrist_cam: Float[np.ndarray, "frames 3"]
    """Metres; of the real hand, as are the keypoints."""
    keypoints_cam: Float[np.ndarray, "frames 21 3"]
    score: Float[np.ndarray, " frames"]
    """Probability that a hand is there, 0..1."""
    residual_px: Float[np.ndarray, " frames"]
    depth_std_m: Float[np.ndarray, " frames"]

    @staticmethod
    def of(hand: HandResult, index: int = 0) -> "HandMotion":
        """A photo's hand as a motion of one frame.

        Args:
            hand: A hand whose fit has a meaning.
            index: Its place in the photo's results, for the name.

        Raises:
            ValueError: If the fit diverged.
        """
        if hand.status == "diverged":
            raise ValueError(f"the fit of hand {index} diverged; leave it out of the exports")
        recorder = MotionRecorder()
        recorder.add(0, 0.0, [hand])
        return replace(recorder.motions()[0], name=hand_name(index, hand.is_right))

    @property
    def num_frames(self) -> int:
        """Number of frames that show the hand."""
        return len(self.frame)

    @property
    def mean_betas(self) -> Float[np.ndarray, " betas"]:
        """The one shape of the whole motion: each beta's median over the frames.

        Frames that agree give exactly what they agree on.
        """
        return np.median(self.betas, axis=0)


def hand_name(index: int, is_right: bool) -> str:
    """What a hand is called in every file."""
    return f"hand_{index}_{'right' if is_right else 'left'}"


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


class _Rows:
    """One hand's frames as records, in blocks, so that nothing is copied while they grow."""

    def __init__(self, num_betas: int):
        shapes = ((num_betas,), (16, 3, 3), (21, 3), (), (), ())
        fields = [(n, np.float64, shape) for n, shape in zip(_BY_FRAME, shapes, strict=True)]
        self._dtype = np.dtype([("frame", np.int64), ("time_s", np.float64), *fields])
        self._blocks: list[np.ndarray] = []
        self._num, self._free = 0, 0

    def add(self, frame: int, time_s: float, hand: HandResult) -> None:
        """Copy what is kept of a result; nothing of it stays alive."""
        if not self._free:
            self._free = min(max(self._num, _MIN_BLOCK), _MAX_BLOCK)
            self._blocks.append(np.empty(self._free, self._dtype))
        row = (frame, time_s, *(getattr(hand, name) for name in _BY_FRAME))
        self._blocks[-1][-self._free] = row
        self._num, self._free = self._num + 1, self._free - 1

    def merged(self) -> np.ndarray:
        """All of them as one array, in which the rows added later are not.

        Each block is given up as soon as it is copied, so that they are not in memory twice; the
        last one first, because that memory goes back to the system.
        """
        if self._free or len(self._blocks) > 1:
            rows, end = np.empty(self._num, self._dtype), self._num + self._free
            while self._blocks:
                block = self._blocks.pop()
                end -= len(block)
                rows[end : end + len(block)] = block[: self._num - end]
            self._blocks, self._free = [rows], 0
        return self._blocks[0]


class _Track:
    """A hand that is being followed."""

    def __init__(self, hand: HandResult):
        self.is_right, self._rows = hand.is_right, _Rows(len(hand.betas))
        self.last_s, self.last_px = -math.inf, hand.keypoints_px

    def add(self, frame: int, time_s: float, hand: HandResult) -> None:
        """Go on with what one frame shows; copies, because arrays may be views of large ones."""
        self.last_s, self.last_px = time_s, hand.keypoints_px.copy()
        self._rows.add(frame, time_s, hand)

    def motion(self, index: int) -> HandMotion:
        """All frames as arrays."""
        rows = self._rows.merged()
        return HandMotion(
            name=hand_name(index, self.is_right),
            is_right=self.is_right,
            frame=rows["frame"],
            time_s=rows["time_s"],
            wrist_cam=rows["keypoints_cam"][:, 0],
            **{name: rows[name] for name in _BY_FRAME},
        )


class MotionRecorder:
    """Sorts the hands of a video, frame by frame, into motions: one per hand that is followed.

    A hand goes on with the nearest motion of its side, if its keypoints lie within `SAME_HAND` of
    its box from where that motion was last seen, and this is at most `MAX_GAP_S` ago. Otherwise it
    begins a new motion. Fits that diverged are left out. Of what is added only copies are kept.

    Times of damaged videos may stand still, go back or be no times at all. A motion's times
    increase all the same: such a frame comes as long after the last one as the video says, within
    `MIN_STEP_S` and `MAX_GAP_S`, until the video's own time has caught up.
    """

    def __init__(self):
        self._tracks: list[_Track] = []
        self._last_frame, self._last_s, self._last_told_s = -1, -math.inf, 0.0

    def add(self, frame: int, time_s: float, hands: Sequence[HandResult]) -> None:
        """Add what one frame shows.

        Args:
            frame: Index of the frame; must increase from call to call.
            time_s: Since the video's first frame; should increase, see above.
            hands: The frame's results.

        Raises:
            ValueError: If the frame is not later than the last one.
        """
        if frame <= self._last_frame:
            raise ValueError(
                f"frame {frame} came after frame {self._last_frame}; add them in order"
            )
        self._last_frame, time_s = frame, self._increasing(time_s)
        usable = [hand for hand in hands if hand.status != "diverged"]
        for hand, track in zip(usable, self._assigned(usable, time_s), strict=True):
            track.add(frame, time_s, hand)

    def _increasing(self, told_s: float) -> float:
        """The frame's time, after the last frame's in any case."""
        if not abs(told_s) < MAX_TIME_S:  # as for NaN
            told_s = self._last_told_s
        time_s = told_s
        if time_s <= self._last_s:
            step_s = told_s - self._last_told_s
            time_s = self._last_s + min(max(step_s, MIN_STEP_S), MAX_GAP_S)
        self._last_s, self._last_told_s = time_s, told_s
        return time_s

    def _assigned(self, hands: Sequence[HandResult], time_s: float) -> list[_Track]:
        """The motion that each hand goes on with, or a new one; the nearest pairs come first."""
        pairs = sorted(
            (distance, i, k)
            for i, hand in enumerate(hands)
            for k, track in enumerate(self._tracks)
            if track.is_right == hand.is_right
            and time_s - track.last_s <= MAX_GAP_S
            and (distance := apart(hand.keypoints_px, track.last_px, hand.bbox_px)) < SAME_HAND
        )
        found: dict[int, int] = {}
        for _, i, k in pairs:
            if i not in found and k not in found.values():
                found[i] = k
        assigned = []
        for i, hand in enumerate(hands):
            if i not in found:
                self._tracks.append(_Track(hand))
            assigned.append(self._tracks[found.get(i, -1)])
        return assigned

    def motions(self) -> tuple[HandMotion, ...]:
        """The motions so far, in the order of their first frames and numbered so.

        Their arrays share memory with the recorder's and with those of later calls: do not change
        them.
        """
        return tuple(track.motion(index) for index, track in enumerate(self._tracks))
