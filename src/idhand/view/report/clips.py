"""A video's overlay clip, made small enough to be part of a page."""

import tempfile
from pathlib import Path

from idhand.media import VideoReader, scaled_down
from idhand.view.clip import VideoWriter

MAX_SIDE_PX = 640
CRF = "27"
MIN_KBPS = 200
"""Below this rate hands blur; a longer video is cut instead."""


def small_clip(path: str | Path, max_bytes: int) -> tuple[bytes, float]:
    """The clip as an MP4 of about at most so many bytes, and how many seconds of it there are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read.
    """
    reader = VideoReader(path)
    frames = reader.num_frames_estimate or 1
    seconds = min(frames / reader.fps, max_bytes * 8 / 1e3 / MIN_KBPS)
    kbps = max(MIN_KBPS, int(max_bytes * 8 / 1e3 / max(seconds, 1e-3)))
    last_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "clip.mp4"
        with VideoWriter(small, reader.fps, crf=CRF, max_kbps=kbps) as writer:
            for frame in reader:
                if frame.time_s > seconds:
                    break
                writer.add(scaled_down(frame.rgb, MAX_SIDE_PX)[0], frame.time_s)
                last_s = frame.time_s
        return small.read_bytes(), last_s + 1 / reader.fps
