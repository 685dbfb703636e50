"""What a player does between decoding a frame and showing it."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import av.filter
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from jaxtyping import Shaped, UInt8

MAX_PIXEL_ASPECT = 8
"""Pixels more than this many times as wide as high, or as high as wide, are a damaged file's."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How a stored picture is laid: swapped axes first, then flips."""

    transposed: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    @staticmethod
    def of(frame: av.VideoFrame) -> "Orientation":
        """By the frame's display matrix; other angles than quarter turns go to the nearest one.

        Source: FFmpeg, libavutil/display.h: (x, y) is shown at (a x + c y, b x + d y).
        """
        entries: Any = frame.side_data  # its type says mapping, but it iterates over the entries
        for data in entries:
            if data.type == Type.DISPLAYMATRIX:
                a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
                if abs(b) + abs(c) > abs(a) + abs(d):
                    return Orientation(transposed=True, flipped_x=c < 0, flipped_y=b < 0)
                return Orientation(flipped_x=a < 0, flipped_y=d < 0)
        return Orientation()

    def applied(self, stored: Shaped[np.ndarray, "h w 3"]) -> Shaped[np.ndarray, "height width 3"]:
        """The picture as it is shown."""
        shown = stored.transpose(1, 0, 2) if self.transposed else stored
        return np.ascontiguousarray(
            shown[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]
        )


def square_pixels_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height with square pixels; the side whose pixels are longer grows.

    Args:
        width: Stored, px.
        height: Stored, px.
        aspect: Width of a stored pixel over its height; None where unknown.
    """
    if not aspect or not 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def fitted(
    rgb: UInt8[np.ndarray, "h w 3"], width: int, height: int
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture as large as it fits into that size, in the middle, on black."""
    factor = min(width / rgb.shape[1], height / rgb.shape[0])
    size = (max(round(rgb.shape[1] * factor), 1), max(round(rgb.shape[0] * factor), 1))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = np.asarray(cv2.resize(rgb, size, interpolation=method))
    if size == (width, height):
        return scaled
    shown = np.zeros((height, width, 3), np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    shown[top : top + size[1], left : left + size[0]] = scaled
    return shown


class Deinterlacer:
    """Interlaced frames → whole pictures of their first field, by FFmpeg's bwdif.

    Frames that are not interlaced pass unchanged. As many come out as go in, in the same order,
    but later: `flush` gives the last ones.
    """

    def __init__(self):
        self._graph: av.filter.Graph | None = None
        self._form: object = None

    def add(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """The frames that are ready; starts to work at the first interlaced frame."""
        form = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and form != self._form:
            yield from self.flush()
        if self._graph is None and not frame.interlaced_frame:
            yield frame
            return
        if self._graph is None:
            self._graph, self._form = _graph_of(frame), form
        self._graph.vpush(frame)
        yield from self._ready()

    def flush(self) -> Iterator[av.VideoFrame]:
        """What is still held back."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()
            self._graph = None

    def _ready(self) -> Iterator[av.VideoFrame]:
        assert self._graph is not None
        while True:
            try:
                yield self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return


def _graph_of(frame: av.VideoFrame) -> av.filter.Graph:
    """A filter graph for frames of this form."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 90_000),
    )
    chain = [
        source,
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*chain).configure()
    return graph
