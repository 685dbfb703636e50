"""A video's hands under names that stay: found in all frames, then fitted frame by frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idhand.cli.boxes import Box
from idhand.cli.common import Camera, progress, shown
from idhand.media import VideoFrame, VideoReader
from idhand.tracking import FoundHand, TrackedHand, Tracker
from idhand.view import HandMotion, ImageHands, MotionRecorder, ReportVideo


@dataclass(frozen=True, kw_only=True)
class FollowedFrame:
    """One frame of a video with its hands."""

    frame: VideoFrame
    K: Float[np.ndarray, "3 3"] | None
    """As the user gave it; None: guessed."""
    hands: tuple[TrackedHand, ...]

    def record(self, path: Path, name: str, camera: Camera, *, mirrored: bool) -> ImageHands:
        """The frame's line in `hands.jsonl`.

        Args:
            path: The video.
            name: Of its output files.
            camera: The user's.
            mirrored: Whether the video is a mirror image.
        """
        height, width = self.frame.rgb.shape[:2]
        return ImageHands(
            file=shown(path),
            name=shown(name),
            width=width,
            height=height,
            K=self.K,
            dist=camera.dist,
            mirrored=mirrored,
            hands=tuple(one.hand for one in self.hands),
            names=tuple(one.name for one in self.hands),
            frame=self.frame.index,
            time_s=self.frame.time_s,
        )


@dataclass(kw_only=True)
class SeenInVideo:
    """What has been seen of a video, frame by frame."""

    known: MotionRecorder = field(default_factory=MotionRecorder)
    """Of the hands as they were fitted."""
    alone: MotionRecorder = field(default_factory=MotionRecorder)
    """Of the same hands without a known person, for comparison."""
    num_frames: int = 0
    num_with_hands: int = 0
    last_s: float = 0.0
    """Time of the last frame."""

    def add(self, followed: FollowedFrame, alone: Sequence[TrackedHand]) -> None:
        """Add the next frame, and its hands without a known person."""
        frame = followed.frame
        self.num_frames, self.last_s = self.num_frames + 1, frame.time_s
        self.num_with_hands += bool(followed.hands)
        self.known.add(frame.index, frame.time_s, followed.hands)
        self.alone.add(frame.index, frame.time_s, alone)

    @cached_property
    def motions(self) -> tuple[HandMotion, ...]:
        """Of the hands as they were fitted, once all frames were added."""
        return tuple(self.known.motions())

    def for_report(self, path: Path, clip: Path, fps: float, camera: Camera) -> ReportVideo:
        """The video's part of the report.

        Args:
            path: The video.
            clip: The one that the hands are drawn on.
            fps: Of both.
            camera: The user's.
        """
        return ReportVideo(
            name=shown(path),
            motions=self.motions,
            anonymous=self.alone.motions(),
            clip=clip,
            num_frames=self.num_frames,
            duration_s=self.last_s + 1 / fps,
            K_known=camera.is_given,
        )


class FollowedVideo:
    """The frames of a video with their hands, each hand with one side in all frames.

    The video is read twice, because all frames vote on the sides before the first one is fitted.

    Args:
        path: The video.
        tracker: A new one.
        camera: The user's.
        boxes: Index of the frame → boxes of its hands, where they are known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a video; while iterating: if no frame can be decoded, or if the
            camera is not one of its frames.
    """

    reader: VideoReader
    """Of the video; after iterating it has what could not be read."""

    def __init__(
        self,
        path: Path,
        tracker: Tracker,
        camera: Camera,
        boxes: Mapping[int, tuple[Box, ...]],
    ):
        self.reader = VideoReader(path)
        self._tracker, self._camera, self._boxes = tracker, camera, boxes

    def __iter__(self) -> Iterator[FollowedFrame]:
        """Find the hands of all frames, then fit them."""
        found, name = self._found(), self.reader.path.name
        frames = progress(self.reader, self.reader.num_frames_estimate, f"{name}, fitting")
        num_fitted = 0
        for frame, seen in zip(frames, found, strict=False):
            num_fitted += 1
            K = self._intrinsics(frame)
            dist = None if K is None else self._camera.dist
            hands = self._tracker.fit(frame.rgb, seen, K, dist)
            yield FollowedFrame(frame=frame, K=K, hands=tuple(hands))
        if num_fitted < len(found) and not self.reader.problem:
            self.reader.problem = (
                f"{self.reader.path} changed while it was read: it had {len(found)} frames, then "
                f"{num_fitted}; those were done"
            )

    def _found(self) -> list[list[FoundHand]]:
        """Where the hands are in each frame."""
        found, name = [], self.reader.path.name
        for frame in progress(self.reader, self.reader.num_frames_estimate, f"{name}, finding"):
            self._intrinsics(frame)  # refuses a wrong camera before the work
            boxes_px = self._boxes.get(frame.index)
            found.append(self._tracker.find(frame.rgb, frame.time_s, boxes_px=boxes_px))
        return found

    def _intrinsics(self, frame: VideoFrame) -> Float[np.ndarray, "3 3"] | None:
        height, width = frame.rgb.shape[:2]
        return self._camera.intrinsics(width, height)
