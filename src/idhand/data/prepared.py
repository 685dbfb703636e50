"""A data set's pictures cut to squares about the hand, as a source of shards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from idhand.data.dataset import DataSet, Subset
from idhand.data.picture_files import picture_fault
from idhand.data.sample_list import SampleList
from idhand.data.samples import encode_sample
from idhand.records import Sample

SIZE_PX = 320
"""Side of the squares: crops of twice the keypoints' box have 213 px in them, as networks take."""
SMALLEST_PX, LARGEST_PX = 64, 2048
BOX_SCALE = 3.0
"""Side of a square over the longer one of the keypoints' box: room for the box of twice its side,
turned and moved as training does."""
JPEG_QUALITY = 95


@runtime_checkable
class PictureFiles(Protocol):
    """A data set each of whose samples has a picture file of its own."""

    def picture_path(self, index: int) -> Path:
        """The file of a sample's picture."""
        ...


@runtime_checkable
class Listed(Protocol):
    """A data set of the samples of a list, in its order."""

    @property
    def chosen(self) -> SampleList:
        """The list."""
        ...


def sample_ids(data: DataSet) -> Sequence[str]:
    """`Sample.id` of all samples; of a data set on disk without decoding its labels."""
    if isinstance(data, Listed):
        return data.chosen.ids
    if isinstance(data, Subset):
        ids = sample_ids(data.data)
        return [ids[index] for index in data.indices]
    return [sample.id for sample in data.labels()]


def without_damaged(data: DataSet) -> tuple[DataSet, tuple[str, ...]]:
    """The samples whose picture files are whole, and a sentence on each of the others.

    The first and last bytes of each file are read; 100,000 files take some 15 s. A set without
    files of its own is returned as it is.
    """
    if not isinstance(data, PictureFiles):
        return data, ()
    faults = {i: picture_fault(data.picture_path(i)) for i in range(len(data))}
    problems = tuple(
        f"{fault}; it is left out, copy or unpack it again" for fault in faults.values() if fault
    )
    if not problems:
        return data, ()
    return Subset(data, [i for i, fault in faults.items() if fault is None]), problems


@dataclass(frozen=True, kw_only=True)
class Square:
    """A level square of whole pixels in a picture; may leave it."""

    left_px: int
    """The first column."""
    top_px: int
    side_px: int

    @staticmethod
    def about(bbox_px: Float[np.ndarray, " 4"], scale: float = BOX_SCALE) -> "Square":
        """The square about an xyxy box's centre, `scale` times its longer side, rounded up."""
        low, high = bbox_px[:2], bbox_px[2:]
        side = max(1, math.ceil(scale * float((high - low).max())))
        left, top = np.rint((low + high) / 2 - (side - 1) / 2).astype(int).tolist()
        return Square(left_px=left, top_px=top, side_px=side)

    def to_size(self, size_px: int) -> Float[np.ndarray, "3 3"]:
        """Pixels of the picture → pixels of the square at another size; homogeneous."""
        s = size_px / self.side_px
        shift = 0.5 * (s - 1)  # the corners of pixels, not their centres, are mapped by s
        return np.array(
            [[s, 0.0, shift - s * self.left_px], [0.0, s, shift - s * self.top_px], [0, 0, 1.0]]
        )

    def cut(self, pixels: UInt8[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape2"]:
        """What the picture shows there; zeros outside it."""
        height, width = pixels.shape[:2]
        out = np.zeros((self.side_px, self.side_px, *pixels.shape[2:]), pixels.dtype)
        x0, x1 = np.clip((self.left_px, self.left_px + self.side_px), 0, width).tolist()
        y0, y1 = np.clip((self.top_px, self.top_px + self.side_px), 0, height).tolist()
        inside = pixels[y0:y1, x0:x1]
        out[y0 - self.top_px : y1 - self.top_px, x0 - self.left_px : x1 - self.left_px] = inside
        return out


def cut_sample(sample: Sample, size_px: int | None) -> Sample:
    """The sample in a square about its hand, with the K that belongs to it.

    Args:
        sample: Its whole picture.
        size_px: Side of the square that comes out; None keeps the pixels as they are. Larger ones
            are shrunk by areas, so that nothing aliases.
    """
    square = Square.about(sample.bbox_px)
    side = size_px or square.side_px
    A = square.to_size(side)
    factor, shift = A[[0, 1], [0, 1]], A[:2, 2]
    parts = None if sample.parts is None else square.cut(sample.parts)
    return replace(
        sample,
        rgb=_resized(square.cut(sample.rgb), side, "area"),
        parts=None if parts is None else _resized(parts, side, "nearest"),
        K=A @ sample.K,
        bbox_px=sample.bbox_px * np.tile(factor, 2) + np.tile(shift, 2),
        keypoints_px=sample.keypoints_px * factor + shift,
    )


def _resized(pixels: np.ndarray, size_px: int, how: str) -> np.ndarray:
    side = len(pixels)
    if side == size_px:
        return pixels
    if how == "nearest":
        filter = cv2.INTER_NEAREST_EXACT
    else:
        filter = cv2.INTER_AREA if size_px < side else cv2.INTER_LINEAR
    return cv2.resize(pixels, (size_px, size_px), interpolation=filter)


class Prepared:
    """A `Source` of a data set's samples, cut to squares, people mixed.

    Args:
        data: Whole pictures; of each, one is read.
        size_px: Side of the squares; None keeps the pixels, so that sides differ.
        seed: Of the order, which is shuffled before it is cut into shards.

    Raises:
        ValueError: If the size is none, or two samples have the same name.
    """

    def __init__(self, data: DataSet, *, size_px: int | None = SIZE_PX, seed: int = 0):
        if size_px is not None and not SMALLEST_PX <= size_px <= LARGEST_PX:
            raise ValueError(f"the size must be {SMALLEST_PX} to {LARGEST_PX} px, got {size_px}")
        self.data, self.size_px, self.seed = data, size_px, seed
        self.order = np.random.default_rng(seed).permutation(len(data))
        self._fingerprint = data.fingerprint()
        self._keys = tuple(map(_key, sample_ids(data)))
        if len(set(self._keys)) != len(self._keys):
            raise ValueError("two samples of the data set have the same name; give each its own")

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        """A sample as it will be in the shards, before JPEG."""
        return cut_sample(self.data[int(self.order[index])], self.size_px)

    def entry(self, index: int) -> Mapping[str, bytes]:
        """See `Source.entry`."""
        sample = self[index]
        options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR), options)
        assert done, "OpenCV cannot write JPEG"
        return encode_sample(sample, jpeg.tobytes())

    def key(self, index: int) -> str:
        """See `Source.key`."""
        return self._keys[int(self.order[index])]

    def description(self) -> dict[str, Any]:
        """What is prepared, and how."""
        return {
            "set": "prepared",
            "of": self.data.description(),
            "labels": self._fingerprint,
            "size_px": self.size_px,
            "box_scale": BOX_SCALE,
            "jpeg_quality": JPEG_QUALITY,
            "seed": self.seed,
        }


def _key(name: str) -> str:
    """A name for the sample's files, from its id."""
    return name.replace("/", "-").replace(".", "-")
