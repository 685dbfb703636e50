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
from idhand.tracking import MAX_GAP_S as MAX_GAP_S
from idhand.tracking import MAX_JUMP, Clock, TrackedHand, assigned
from idhand.tracking import MIN_STEP_S as MIN_STEP_S
from idhand.tracking import apart as apart
from idhand.tracking import hand_name as hand_name

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
    model: str
    """Name of the hand model that betas and rotations belong to."""
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

    def __init__(self, hand: HandResult, number: int):
        self.is_right, self.number, self._num_betas = hand.is_right, number, len(hand.betas)
        self.model = hand.model
        self._rows = {hand.is_right: _Rows(len(hand.betas))}
        self.last_s, self.last_px = -math.inf, hand.keypoints_px

    def add(self, frame: int, time_s: float, hand: HandResult) -> None:
        """Go on with what one frame shows; copies, because arrays may be views of large ones."""
        self.is_right, self.last_s, self.last_px = hand.is_right, time_s, hand.keypoints_px.copy()
        if hand.is_right not in self._rows:
            self._rows[hand.is_right] = _Rows(self._num_betas)
        self._rows[hand.is_right].add(frame, time_s, hand)

    def motion(self) -> HandMotion:
        """All frames of the last side as arrays."""
        rows = self._rows[self.is_right].merged()
        return HandMotion(
            name=hand_name(self.number, self.is_right),
            is_right=self.is_right,
            model=self.model,
            frame=rows["frame"],
            time_s=rows["time_s"],
            wrist_cam=rows["keypoints_cam"][:, 0],
            **{name: rows[name] for name in _BY_FRAME},
        )


class MotionRecorder:
    """Sorts the hands of a video, frame by frame, into motions: one per hand that is followed.

    Hands of a `Tracker` keep their names. A motion has one side, the last one that the tracker
    gave: frames that were fitted as the other side are left out of it (`Tracker.fit` after all
    frames were found leaves none). Plain results are assigned as a tracker does it, by place among
    those of their side: a hand goes on with the nearest motion, if its keypoints lie within
    `MAX_JUMP` of its box from where that motion was last seen, and this is at most `MAX_GAP_S` ago.
    Otherwise it begins a new motion. Fits that diverged are left out. Of what is added only copies
    are kept. A motion's times increase also where the video's do not, see `idhand.tracking.Clock`.
    """

    def __init__(self):
        self._tracks: list[_Track] = []
        self._by_number: dict[int, _Track] = {}
        self._last_frame, self._clock = -1, Clock()

    def add(self, frame: int, time_s: float, hands: Sequence[HandResult | TrackedHand]) -> None:
        """Add what one frame shows.

        Args:
            frame: Index of the frame; must increase from call to call.
            time_s: Since the video's first frame; should increase, see above.
            hands: The frame's results, all of a tracker or none.

        Raises:
            ValueError: If the frame is not later than the last one, or if results of a tracker
                and others are mixed.
        """
        if frame <= self._last_frame:
            raise ValueError(
                f"frame {frame} came after frame {self._last_frame}; add them in order"
            )
        tracked = [hand for hand in hands if isinstance(hand, TrackedHand)]
        plain = [hand for hand in hands if isinstance(hand, HandResult)]
        if (tracked and (plain or len(self._by_number) < len(self._tracks))) or (
            plain and self._by_number
        ):
            raise ValueError(
                "hands of a Tracker and plain results are mixed; give one kind to each recorder"
            )
        self._last_frame, time_s = frame, self._clock.increasing(time_s)
        numbered = [(hand.track, hand.hand) for hand in tracked if hand.hand.status != "diverged"]
        for number, hand in numbered:
            self._numbered(number, hand).add(frame, time_s, hand)
        plain = [hand for hand in plain if hand.status != "diverged"]
        for hand, track in zip(plain, self._assigned(plain, time_s), strict=True):
            track.add(frame, time_s, hand)

    def _numbered(self, number: int, hand: HandResult) -> _Track:
        """The motion of a tracker's hand."""
        if number not in self._by_number:
            self._by_number[number] = _Track(hand, number)
            self._tracks.append(self._by_number[number])
        return self._by_number[number]

    def _assigned(self, hands: Sequence[HandResult], time_s: float) -> list[_Track]:
        """The motion that each hand goes on with, or a new one."""
        recent = [track for track in self._tracks if time_s - track.last_s <= MAX_GAP_S]
        costs = np.full((len(recent), len(hands)), np.inf)
        for i, track in enumerate(recent):
            for k, hand in enumerate(hands):
                if track.is_right == hand.is_right:
                    distance = apart(hand.keypoints_px, track.last_px, hand.bbox_px)
                    costs[i, k] = distance if distance < MAX_JUMP else np.inf
        of = {k: recent[i] for i, k in assigned(costs).items()}
        for k, hand in enumerate(hands):
            if k not in of:
                of[k] = _Track(hand, len(self._tracks))
                self._tracks.append(of[k])
        return [of[k] for k in range(len(hands))]

    def motions(self) -> tuple[HandMotion, ...]:
        """The motions so far, in the order of their first frames.

        Their arrays share memory with the recorder's and with those of later calls: do not change
        them.
        """
        return tuple(track.motion() for track in self._tracks)
