"""Hands of a photo or of a video's frames → one record per hand over time: what exports write.

A photo is a motion of one frame. Motions hold no meshes: an hour of video at 30 frames a second
takes about 0.2 GB per hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from idhand.records import HandResult

MAX_GAP_S = 1.0
"""A hand that was out of sight for longer begins a new motion: it may be another person's."""
SAME_HAND = 1.0
"""A hand goes on where the last one was, within this part of its box's longer side."""

_BY_FRAME = ("betas", "rotations", "keypoints_cam", "score", "residual_px", "depth_std_m")
"""What a motion takes from each frame's result, and all that is kept of it."""


@dataclass(frozen=True, kw_only=True)
class HandMotion:
    """One hand over time, in the camera frame; frames without it are missing."""

    name: str
    """E.g. `hand_0_right`: its number among the photo's results or the video's motions."""
    is_right: bool
    frame: Int[np.ndarray, " frames"]
    """Index in the video, increasing; 0 for photos."""
    time_s: Float[np.ndarray, " frames"]
    """Since the video's first frame."""
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


@dataclass(kw_only=True)
class _Track:
    """A hand that is being followed."""

    is_right: bool
    last_px: Float[np.ndarray, "21 2"]
    """Keypoints when it was last seen."""
    frames: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    values: list[dict[str, np.ndarray]] = field(default_factory=list)

    def add(self, frame: int, time_s: float, hand: HandResult) -> None:
        """Go on with what one frame shows."""
        self.last_px = hand.keypoints_px
        self.frames.append(frame)
        self.times_s.append(time_s)
        self.values.append({name: np.array(getattr(hand, name), float) for name in _BY_FRAME})

    def apart(self, hand: HandResult) -> float:
        """Mean distance of the keypoints from where they were, relative to the hand's box."""
        size_px = float((hand.bbox_px[2:] - hand.bbox_px[:2]).max())
        apart_px = np.linalg.norm(hand.keypoints_px - self.last_px, axis=1).mean()
        return float(apart_px) / max(size_px, 1.0)

    def motion(self, index: int) -> HandMotion:
        """All frames as arrays."""
        stacked = {name: np.stack([row[name] for row in self.values]) for name in _BY_FRAME}
        return HandMotion(
            name=hand_name(index, self.is_right),
            is_right=self.is_right,
            frame=np.array(self.frames),
            time_s=np.array(self.times_s, float),
            wrist_cam=stacked["keypoints_cam"][:, 0],
            **stacked,
        )


class MotionRecorder:
    """Sorts the hands of a video, frame by frame, into motions: one per hand that is followed.

    A hand goes on with the nearest motion of its side, if its keypoints lie within `SAME_HAND` of
    its box from where that motion was last seen, and this is at most `MAX_GAP_S` ago. Otherwise it
    begins a new motion. Fits that diverged are left out.
    """

    def __init__(self):
        self._tracks: list[_Track] = []
        self._last_frame = -1

    def add(self, frame: int, time_s: float, hands: Sequence[HandResult]) -> None:
        """Add what one frame shows.

        Args:
            frame: Index of the frame; must increase from call to call.
            time_s: Since the video's first frame.
            hands: The frame's results.

        Raises:
            ValueError: If the frame is not later than the last one.
        """
        if frame <= self._last_frame:
            raise ValueError(
                f"frame {frame} came after frame {self._last_frame}; add them in order"
            )
        self._last_frame = frame
        usable = [hand for hand in hands if hand.status != "diverged"]
        for hand, track in zip(usable, self._assigned(usable, time_s), strict=True):
            track.add(frame, time_s, hand)

    def _assigned(self, hands: Sequence[HandResult], time_s: float) -> list[_Track]:
        """The motion that each hand goes on with, or a new one; the nearest pairs come first."""
        pairs = sorted(
            (apart, i, k)
            for i, hand in enumerate(hands)
            for k, track in enumerate(self._tracks)
            if track.is_right == hand.is_right
            and time_s - track.times_s[-1] <= MAX_GAP_S
            and (apart := track.apart(hand)) < SAME_HAND
        )
        found: dict[int, int] = {}
        for _, i, k in pairs:
            if i not in found and k not in found.values():
                found[i] = k
        assigned = []
        for i, hand in enumerate(hands):
            if i not in found:
                self._tracks.append(_Track(is_right=hand.is_right, last_px=hand.keypoints_px))
            assigned.append(self._tracks[found.get(i, -1)])
        return assigned

    def motions(self) -> tuple[HandMotion, ...]:
        """The motions so far, in the order of their first frames and numbered so."""
        return tuple(track.motion(index) for index, track in enumerate(self._tracks))
