"""Video files → frames as players show them, one at a time."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import UInt8

from idhand.files import existing_file
from idhand.media.display import Deinterlacer, Orientation, fitted, square_pixels_size
from idhand.media.files import video_options

MAX_STEP_BACK_S = 0.1
"""Where a video's clock goes back by more, another recording was appended, and it runs on."""
STATE_DURATION = ("matroska", "webm", "flv", "asf")
"""Containers whose header has a duration; that of others is an estimate from what there is."""
MISSING_SHARE, MISSING_FRAMES = 0.1, 3
"""A file breaks off if it ends earlier than its header says by more than both: some writers round
up, or let the last frame stand for a while."""


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One picture of a video, as players show it."""

    index: int
    time_s: float
    """Since the first frame."""
    rgb: UInt8[np.ndarray, "height width 3"]


class VideoReader:
    """The frames of a video in order, one at a time, as players show them.

    Turned and mirrored by the display matrix, with square pixels, deinterlaced, without frames that
    an edit list leaves out, and all of the first frame's size: later ones of another size are
    scaled to fit, with black bars where their shape is another.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a video; while iterating: if there is no frame in it.
    """

    path: Path
    fps: float
    """Mean frame rate; 30 if the file has none."""
    num_frames_estimate: int | None
    """Number of frames according to the file, if it has one."""
    problem: str
    """A sentence, after iterating, if parts of the video could not be decoded; else empty."""
    note: str
    """A sentence, after iterating, if frames were changed in size; else empty."""

    def __init__(self, path: str | Path):
        self.path, self.problem, self.note = existing_file(path), "", ""
        try:
            with self._opened() as container:
                stream = video_stream(container)
                if stream is None:
                    raise ValueError(f"{self.path} has no video in it (sound only?)")
                self.fps = float(stream.average_rate or 30)
                self._declared = _num_shown(stream)
                seconds = (container.duration or 0) / av.time_base
                states = set(container.format.name.split(",")) & set(STATE_DURATION)
                self._stated_s = seconds if states and not self._declared else 0.0
        except av.error.FFmpegError as error:
            fault = f"not a video, or broken off before its index ({error.strerror})"
            raise ValueError(f"{self.path} cannot be read: {fault}; copy it again") from error
        self.num_frames_estimate = self._declared or round(seconds * self.fps) or None

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode from the start; what cannot be decoded is left out and reported in `problem`."""
        self.problem, self.note, self._num_errors, self._end_s = "", "", 0, 0.0
        count, size, clock = 0, None, _Clock(self.fps)
        with self._opened() as container:
            for frame, time_s, orientation in self._shown(container):
                rgb = orientation.applied(_square(frame, self._pixel_aspect))
                height, width = rgb.shape[:2]
                size = size or (width, height)
                if (width, height) != size:
                    self._note_size(size, (width, height))
                    rgb = fitted(rgb, *size)
                yield VideoFrame(index=count, time_s=clock.time_s(time_s), rgb=rgb)
                count += 1
        if not count:
            raise ValueError(f"{self.path} holds no frame that can be decoded; copy it again")
        self.problem = self._fault(count)

    def _fault(self, count: int) -> str:
        """The sentence on a broken file, of which so many frames could be read; else empty."""
        of = f"of {self._declared} " if self._declared else ""
        fault = f"{self.path} is damaged or breaks off: {count} {of}frames could be read"
        missing_s = max(MISSING_SHARE * self._stated_s, MISSING_FRAMES / self.fps)
        if self._end_s < self._stated_s - missing_s:
            return f"{fault}, and it ends at {self._end_s:.2f} of {self._stated_s:.2f} s"
        short = count < self._declared - max(MISSING_FRAMES, self._declared // 100)
        return fault if self._num_errors or short else ""

    def _opened(self) -> InputContainer:
        """The container; an absolute name cannot be taken for a protocol's."""
        return av.open(
            str(self.path.absolute()), metadata_errors="replace", options=video_options()
        )

    def _note_size(self, first: tuple[int, int], now: tuple[int, int]) -> None:
        """Remember the first change of size."""
        if not self.note:
            sizes = f"{first[0]}×{first[1]}, then {now[0]}×{now[1]}"
            self.note = (
                f"{self.path}: the picture's size changes ({sizes}); all frames are taken as "
                f"{first[0]}×{first[1]}"
            )

    def _shown(
        self, container: InputContainer
    ) -> Iterator[tuple[av.VideoFrame, float | None, Orientation]]:
        """Deinterlaced frames, with the times and orientations of those that they were made of."""
        deinterlacer, waiting = Deinterlacer(), deque()
        for frame in self._decoded(container):
            waiting.append((frame.time, Orientation.of(frame)))
            for ready in deinterlacer.add(frame):
                yield ready, *waiting.popleft()
        for ready in deinterlacer.flush():
            yield ready, *waiting.popleft()

    def _decoded(self, container: InputContainer) -> Iterator[av.VideoFrame]:
        """The frames that can be decoded; errors are counted, and the end of all streams noted."""
        stream = video_stream(container)
        assert stream is not None
        stream.thread_type = "AUTO"
        self._pixel_aspect = stream.sample_aspect_ratio
        packets = container.demux()
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self._num_errors += 1
                break
            if packet is None:
                break
            self._end_s = max(self._end_s, _end_s(packet))
            if packet.stream.index != stream.index:
                continue  # sound may be longer than the pictures
            try:
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        yield frame
            except av.error.FFmpegError:
                self._num_errors += 1


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first video that is not a cover picture or a thumbnail; None if there is none."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = (s for s in container.streams.video if not s.disposition & covers)
    return next(streams, None)


def _end_s(packet: av.Packet) -> float:
    """When a packet's picture or sound ends, by the file's clock; 0 if it has no time."""
    start = packet.dts if packet.pts is None else packet.pts
    if start is None or packet.time_base is None:
        return 0.0
    return float((start + (packet.duration or 0)) * packet.time_base)


def _num_shown(stream: VideoStream) -> int:
    """Number of frames that players show, according to the file; 0 if it has none."""
    entries = stream.index_entries
    hidden = sum(entry.is_discard for entry in entries)
    return min(stream.frames, len(entries) - hidden) if hidden else stream.frames


def _square(frame: av.VideoFrame, aspect: Fraction | None) -> UInt8[np.ndarray, "height width 3"]:
    """The frame's pixels, resampled to square ones."""
    width, height = square_pixels_size(frame.width, frame.height, aspect)
    return frame.to_ndarray(format="rgb24", width=width, height=height)


class _Clock:
    """Times since the first frame, of frames that may have none."""

    def __init__(self, fps: float):
        self._step_s, self._zero_s, self._last_s = 1 / fps, None, None

    def time_s(self, file_s: float | None) -> float:
        """Time of the next frame, from the one that the file states."""
        last_s = -self._step_s if self._last_s is None else self._last_s
        if file_s is None:
            self._last_s = last_s + self._step_s
            return self._last_s
        if self._zero_s is None or file_s - self._zero_s < last_s - MAX_STEP_BACK_S:
            self._zero_s = file_s - last_s - self._step_s
        self._last_s = file_s - self._zero_s
        return self._last_s
