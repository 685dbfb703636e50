"""What a tracker needs of a pipeline, and what it hands on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from idhand.identity import Identity
from idhand.lens import Distortion
from idhand.records import Detection, HandResult


@runtime_checkable
class FrameDetector(Protocol):
    """What a tracker needs of a detector, see `HandDetector`."""

    def detect(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        *,
        max_hands: int = 2,
        mirrored: bool = False,
    ) -> list[Detection]:
        """Find the hands of an image, surest first."""
        ...

    def track(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        previous: Sequence[Detection],
        *,
        mirrored: bool = False,
    ) -> list[Detection | None]:
        """Find hands again, each in its place."""
        ...

    def in_boxes(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        boxes_px: Sequence[Any] | np.ndarray,
        *,
        mirrored: bool = False,
    ) -> list[Detection | None]:
        """Read the hands in known boxes, each in its place."""
        ...


@runtime_checkable
class FramePipeline(Protocol):
    """What a tracker needs of a pipeline, see `Pipeline`."""

    @property
    def detector(self) -> FrameDetector:
        """Image → detections."""
        ...

    def estimate(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        detections: Sequence[Detection],
        K: Float[np.ndarray, "3 3"] | None = None,
        dist: Distortion = None,
        identity: Identity | None = None,
    ) -> list[HandResult]:
        """Detections → hands, one each."""
        ...


@dataclass(frozen=True, kw_only=True)
class FoundHand:
    """A hand of one frame before its fit."""

    track: int
    """The hand's number, by first appearance; the same in all frames."""
    detection: Detection
    """What the frame shows; its side is the frame's own, not the voted one."""
    age_s: float
    """Since the hand's first frame."""
    is_new: bool
    """The hand was not seen in the frame before: it entered, or came back."""


@dataclass(frozen=True, kw_only=True)
class TrackedHand:
    """A hand of one frame, and which hand of the video it is."""

    track: int
    """The hand's number, by first appearance; the same in all frames."""
    hand: HandResult
    """Fitted with the side as voted when it was fitted."""
    age_s: float
    """Since the hand's first frame."""
    is_new: bool
    """The hand was not seen in the frame before: it entered, or came back."""

    @property
    def name(self) -> str:
        """Number and side, such as `hand_0_right`.

        The number stays. The side is the voted one, so it may change while few frames have voted.
        """
        return hand_name(self.track, self.hand.is_right)


def hand_name(index: int, is_right: bool) -> str:
    """What a hand is called in every file."""
    return f"hand_{index}_{'right' if is_right else 'left'}"
