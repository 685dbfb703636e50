"""Frames → an H.264 clip that browsers play."""

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from jaxtyping import UInt8

from idhand.files import replacing

QUALITY_CRF = "20"
"""Constant rate factor of x264: lower is better and larger; 17 to 28 is sane."""
TICKS_PER_S = 90_000
"""Of the clip's clock, as MPEG's."""
_BT709 = 1
"""In H.264's tables of primaries, transfer and matrix; what players assume for HD."""


class VideoWriter:
    """Writes frames to an MP4 file: `with VideoWriter(path, fps) as clip: clip.add(rgb)`.

    The file appears when the block ends well. If the block fails or is interrupted, or if no frame
    was added, there is no file. Odd sizes are padded by repeating the last row or column, because
    the pixel format (yuv420p) needs even ones.
    """

    def __init__(
        self, path: str | Path, fps: float, *, crf: str = QUALITY_CRF, max_kbps: int | None = None
    ):
        if not 0 < fps <= 1000:
            raise ValueError(f"frames per second must be in 0..1000, got {fps}")
        self._path, self._rate = Path(path), Fraction(fps).limit_denominator(1001)
        self._options: dict[str, object] = {"crf": crf, "preset": "veryfast"}
        if max_kbps is not None:
            self._options |= {"maxrate": f"{max_kbps}k", "bufsize": f"{2 * max_kbps}k"}
        self._opened: tuple[OutputContainer, VideoStream] | None = None
        self._size = (0, 0)
        self._pts = -max(1, round(TICKS_PER_S / self._rate))
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        """Choose a temporary name."""
        self._temporary = self._stack.enter_context(replacing(self._path))
        self._stack.push(self._finish)
        return self

    def add(self, rgb: UInt8[np.ndarray, "height width 3"], time_s: float | None = None) -> None:
        """Append a frame.

        Args:
            rgb: The frame.
            time_s: When it is shown, since the first frame; without it one step of `fps` after the
                last one. A time that does not increase is put just after the last one.

        Raises:
            ValueError: If its size is not that of the first frame.
        """
        height, width = rgb.shape[:2]
        container, stream = self._opened = self._opened or self._open(width, height)
        if self._size != (width, height):
            first = f"{self._size[0]}×{self._size[1]}"
            raise ValueError(f"all frames of a clip need one size: {first}, then {width}×{height}")
        even = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        for plane in frame.planes:  # the encoder reads beyond the last column
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            rows[:, plane.width :] = 0
        last, step = self._pts, max(1, round(TICKS_PER_S / self._rate))
        wished = last + step if time_s is None else round(time_s * TICKS_PER_S)
        self._pts = frame.pts = max(wished, last + 1)
        frame.time_base = Fraction(1, TICKS_PER_S)
        container.mux(stream.encode(frame))

    def _open(self, width: int, height: int) -> tuple[OutputContainer, VideoStream]:
        """Start the file for frames of that size."""
        self._size = (width, height)
        container = av.open(
            str(self._temporary.absolute()), "w", format="mp4", options={"movflags": "faststart"}
        )
        stream = container.add_stream("libx264", rate=self._rate)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = self._options
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS_PER_S)
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        return container, stream

    def _finish(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what the encoder still holds, unless something went wrong, and close."""
        if self._opened is None:
            return
        container, stream = self._opened
        try:
            if error is None:
                container.mux(stream.encode())
        finally:
            container.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file and give it its name, or remove it."""
        self._stack.__exit__(kind, error, trace)
