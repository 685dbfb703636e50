"""Video files → upright frames, one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from jaxtyping import UInt8

from idhand.files import existing_file


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One picture of a video, upright."""

    index: int
    time_s: float
    """Since the first frame."""
    rgb: UInt8[np.ndarray, "height width 3"]


class VideoReader:
    """The frames of a video in order, upright, one at a time.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no video; while iterating: if there is no frame in it.
    """

    path: Path
    fps: float
    """Mean frame rate; 30 where the file does not tell."""
    num_frames_estimate: int | None
    """What the file says of itself, if it does."""
    problem: str
    """A sentence, after iterating, if parts of the video could not be decoded; else empty."""

    def __init__(self, path: str | Path):
        self.path, self.problem = existing_file(path), ""
        try:
            with av.open(str(self.path), metadata_errors="replace") as container:
                if not container.streams.video:
                    raise ValueError(f"{self.path} has no video in it (sound only?)")
                stream = container.streams.video[0]
                self.fps = float(stream.average_rate or 30)
                self._declared = stream.frames
                seconds = (container.duration or 0) / av.time_base
        except av.error.FFmpegError as error:
            fault = f"not a video, or broken off before its index ({error.strerror})"
            raise ValueError(f"{self.path} cannot be read: {fault}; copy it again") from error
        self.num_frames_estimate = self._declared or round(seconds * self.fps) or None

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode from the start; what cannot be decoded is left out and told in `problem`."""
        self.problem, self._num_errors = "", 0
        count, start_s = 0, None
        with av.open(str(self.path), metadata_errors="replace") as container:
            for frame in self._decoded(container):
                time_s = count / self.fps if frame.time is None else frame.time
                start_s = time_s if start_s is None else start_s
                rgb = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                rgb = np.ascontiguousarray(rgb)
                yield VideoFrame(index=count, time_s=time_s - start_s, rgb=rgb)
                count += 1
        if not count:
            raise ValueError(f"{self.path} holds no frame that can be decoded; copy it again")
        short = count < self._declared - max(3, self._declared // 100)
        if self._num_errors or short:
            of = f"of {self._declared} " if self._declared else ""
            self.problem = f"{self.path} is damaged or breaks off: {count} {of}frames could be read"

    def _decoded(self, container: InputContainer) -> Iterator[av.VideoFrame]:
        """The frames that can be decoded; counts errors."""
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self._num_errors += 1
                break
            if packet is None:
                break
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self._num_errors += 1
