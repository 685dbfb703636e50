"""A video's hands under names that stay: found in all frames, then fitted frame by frame."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idhand.cli.boxes import Box
from idhand.cli.common import Camera, progress
from idhand.media import VideoFrame, VideoReader
from idhand.tracking import FoundHand, TrackedHand, Tracker


@dataclass(frozen=True, kw_only=True)
class FollowedFrame:
    """One frame of a video with its hands."""

    frame: VideoFrame
    K: Float[np.ndarray, "3 3"] | None
    """As the user gave it; None: guessed."""
    hands: tuple[TrackedHand, ...]


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
