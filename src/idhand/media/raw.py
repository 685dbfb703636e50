"""Raw photos: a TIFF with several pictures, of which the first is often a thumbnail.

Sensor data are not developed here; cameras put a finished picture beside them.
Source: TIFF 6.0, TIFF/EP (ISO 12234-2) and Adobe's DNG 1.7 specification.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from PIL import Image

from idhand.media.decoding import ERRORS

MIN_PREVIEW_SIDE_PX = 1024
"""A finished picture that is smaller than this, and than half of the sensor's, is a thumbnail."""
_SUBFILE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 259, 262
_STRIPS, _STRIP_BYTES, _SUB_IFDS, _JPEG, _JPEG_BYTES = 273, 279, 330, 513, 514
_DNG_VERSION = 50706
_SENSOR = (32803, 34892)
"""Photometric interpretations: colour filter array, linear raw."""
_JPEG_COMPRESSIONS = (6, 7, 99)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I"}
_MAX_DIRECTORIES, _MAX_ENTRIES, _MAX_VALUES = 64, 1024, 4096


@dataclass(frozen=True, kw_only=True)
class _Directory:
    """One picture of the file, by its integer tags."""

    offset: int
    tags: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def first(self, tag: int) -> int:
        """The tag's first value, 0 where it is missing."""
        return (self.tags.get(tag) or (0,))[0]

    @property
    def is_sensor(self) -> bool:
        return self.first(_PHOTOMETRIC) in _SENSOR

    @property
    def side_px(self) -> int:
        return max(self.first(_WIDTH), self.first(_HEIGHT))


def largest_picture(
    stream: BinaryIO, opened: Callable[[BytesIO], Image.Image]
) -> Image.Image | None:
    """The largest finished picture of a raw photo, decoded; None if the file is an ordinary TIFF.

    A file is taken for a raw photo if it holds sensor data or a DNG version, or if its first
    picture is marked as a reduced one.

    Args:
        stream: Of the whole file.
        opened: Opens a picture without reading its pixels.

    Raises:
        ValueError: If no finished picture in it is large enough.
    """
    directories = list(_directories(stream))
    if not directories:
        return None
    is_raw = any(d.is_sensor or _DNG_VERSION in d.tags for d in directories)
    if not is_raw and not directories[0].first(_SUBFILE) & 1:
        return None
    sensor = max(directory.side_px for directory in directories)
    candidates = [c for d in directories for c in _finished(stream, d)]
    largest = 0
    for side, data in sorted(candidates, key=lambda c: -c[0]):
        if largest or side < min(MIN_PREVIEW_SIDE_PX, sensor / 2):
            largest = max(largest, side)
            continue
        try:
            picture = opened(data if isinstance(data, BytesIO) else _as_first(stream, data))
            picture.load()
        except ERRORS:
            continue
        return picture
    found = f"only {largest} px across" if largest else "missing"
    raise ValueError(
        f"it is a raw photo of {sensor} px across, and the finished picture in it is {found}; "
        "export it as JPEG or TIFF"
    )


def _finished(
    stream: BinaryIO, directory: _Directory
) -> Iterator[tuple[int, BytesIO | _Directory]]:
    """Longer side and data of the pictures of a directory that need no developing."""
    if directory.is_sensor:
        return
    start, length = directory.first(_JPEG), directory.first(_JPEG_BYTES)
    if not start and directory.first(_COMPRESSION) in _JPEG_COMPRESSIONS:
        strips = directory.tags.get(_STRIPS, ())
        if len(strips) == 1:
            start, length = strips[0], directory.first(_STRIP_BYTES)
    if start and length:
        stream.seek(start)
        data = stream.read(length)
        if data.startswith(b"\xff\xd8"):
            side = _jpeg_side(data)
            if side:
                yield side, BytesIO(data)
            return
    if directory.side_px:
        yield directory.side_px, directory


def _as_first(stream: BinaryIO, directory: _Directory) -> BytesIO:
    """The file as if this directory were its first one, which is what readers open."""
    stream.seek(0)
    data = bytearray(stream.read())
    data[4:8] = struct.pack(("<" if data[:2] == b"II" else ">") + "I", directory.offset)
    return BytesIO(data)


def _jpeg_side(data: bytes) -> int:
    """Longer side of a JPEG, px; 0 for its lossless form, in which cameras keep sensor data."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):
            return max(struct.unpack(">HH", data[at + 5 : at + 9]))
        if 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return 0
        at += 2 + length
    return 0


def _directories(stream: BinaryIO) -> Iterator[_Directory]:
    """All directories of a TIFF: the chain of the main ones, each with its inner ones."""
    stream.seek(0)
    head = stream.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None or len(head) < 8:
        return
    waiting, seen = [struct.unpack(order + "I", head[4:])[0]], set()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        offset = waiting.pop(0)
        if offset in seen or not offset:
            continue
        seen.add(offset)
        tags, following = _tags(stream, offset, order)
        yield _Directory(offset=offset, tags=tags)
        waiting += [*tags.get(_SUB_IFDS, ()), following]


def _tags(stream: BinaryIO, offset: int, order: str) -> tuple[dict[int, tuple[int, ...]], int]:
    """A directory's integer tags and the offset of the next one; what is cut off is left out."""
    stream.seek(offset)
    count_bytes = stream.read(2)
    if len(count_bytes) < 2:
        return {}, 0
    count = min(struct.unpack(order + "H", count_bytes)[0], _MAX_ENTRIES)
    body = stream.read(12 * count + 4)
    tags = {}
    for at in range(0, min(12 * count, len(body) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", body, at)
        size = _SIZES.get(kind, 0) * number
        if kind not in _INTEGERS or not 0 < number <= _MAX_VALUES:
            continue
        values = body[at + 8 : at + 12]
        if size > 4:
            stream.seek(struct.unpack(order + "I", values)[0])
            values = stream.read(size)
        if len(values) >= size:
            tags[tag] = struct.unpack_from(f"{order}{number}{_INTEGERS[kind]}", values)
    following = body[12 * count : 12 * count + 4]
    return tags, struct.unpack(order + "I", following)[0] if len(following) == 4 else 0
