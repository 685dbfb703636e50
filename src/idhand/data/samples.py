"""A `Sample` as a few small files, and back: a JPEG, a JSON of plain numbers, PNGs of pixels."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import roma
import torch
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

from idhand.files import FileKind, parse_json
from idhand.geometry import rotation_from_vector
from idhand.records import Sample

KIND = FileKind(format="", version=1, name="sample", remedy="render the set again")
"""Of the JSON; a change that older readers would misread raises it."""

DECIMALS = {
    "K": 6,
    "dist": 9,
    "bbox_px": 4,
    "betas": 7,
    "wrist_cam": 7,
    "keypoints_px": 4,
    "keypoints_cam": 7,
}
"""How the fields that are arrays of numbers are rounded: far below what anybody can measure."""
VECTOR_DECIMALS = 8
"""Of `rotation_vectors`; the matrices come back to within 1e-7."""
FLAGS = ("valid", "visible")
"""Fields that are arrays of booleans, written as 1 and 0."""
PLAIN = ("is_right", "subject", "model", "dataset", "id", "sequence", "time_s")
"""Fields that JSON can hold as they are."""

PARTS_PNG = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Labels come in long runs: smaller than zlib's default at any level, and as fast."""
DEPTH_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)
NEAR_HALF_TURN_RAD = 3.0
DEPTH_STEP_M = 1e-4
"""Of depth.png, which ends at 6.55 m."""


def encode_sample(
    sample: Sample, jpeg: bytes, *, depth_m: Float[np.ndarray, "height width"] | None = None
) -> dict[str, bytes]:
    """A sample's files: suffix → bytes, with `parts.png` and `depth.png` if these are known.

    Args:
        sample: Its `rgb` is not used.
        jpeg: The encoded picture.
        depth_m: z in the camera frame; infinite where there is nothing.
    """
    numbers: dict[str, Any] = KIND.header
    for name in PLAIN:
        numbers[name] = getattr(sample, name)
    for name, decimals in DECIMALS.items():
        numbers[name] = _as_lists(getattr(sample, name), decimals)
    numbers["rotation_vectors"] = _as_lists(_vectors(sample.rotations), VECTOR_DECIMALS)
    for name in FLAGS:
        flags = getattr(sample, name)
        numbers[name] = None if flags is None else flags.astype(int).tolist()
    text = json.dumps(numbers, separators=(",", ":"), allow_nan=False)
    files = {"jpg": jpeg, "json": text.encode()}
    if sample.parts is not None:
        files["parts.png"] = _png(sample.parts, PARTS_PNG)
    if depth_m is not None:
        files["depth.png"] = _png(_depth_steps(depth_m), DEPTH_PNG)
    return files


def decode_sample(files: Mapping[str, bytes]) -> Sample:
    """The sample that `encode_sample` made these files of, with the picture as JPEG left it.

    Raises:
        ValueError: If a file is missing or damaged, or was written by a newer version.
    """
    fields = _fields(files)
    rgb = _decoded(files, "jpg", cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    cv2.cvtColor(rgb, cv2.COLOR_BGR2RGB, dst=rgb)
    parts = _decoded(files, "parts.png", cv2.IMREAD_UNCHANGED) if "parts.png" in files else None
    return Sample(rgb=rgb, parts=parts, **fields)


def decode_labels(files: Mapping[str, bytes]) -> Sample:
    """The sample without its pixels: far faster, for whoever needs the truth alone.

    `rgb` is black and of the right size, takes no memory and cannot be written to; `parts` is None.

    Raises:
        ValueError: As `decode_sample`, but of the picture no more than its size is read.
    """
    fields = _fields(files)
    try:
        with Image.open(BytesIO(files["jpg"])) as picture:
            width, height = picture.size
    except OSError as error:
        raise ValueError("its .jpg cannot be decoded") from error
    return Sample(rgb=np.broadcast_to(np.uint8(0), (height, width, 3)), parts=None, **fields)


def decode_depth(files: Mapping[str, bytes]) -> Float[np.ndarray, "height width"] | None:
    """The depth beside a sample: z in metres, infinite where nothing is seen; None if not kept.

    Raises:
        ValueError: If the file is damaged.
    """
    if "depth.png" not in files:
        return None
    steps = _decoded(files, "depth.png", cv2.IMREAD_UNCHANGED)
    return np.where(steps == 0, np.inf, steps * DEPTH_STEP_M).astype(np.float32)


def _fields(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Everything in the JSON, as fields of a sample."""
    numbers = _numbers(files)
    try:
        fields = {name: numbers[name] for name in PLAIN}
        fields |= {name: _as_array(numbers[name], np.float64) for name in DECIMALS}
        fields |= {name: _as_array(numbers[name], np.bool_) for name in FLAGS}
        vectors = _as_array(numbers["rotation_vectors"], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its JSON is not that of a sample ({error!r})") from error
    if vectors is not None:
        fields["rotations"] = rotation_from_vector(torch.from_numpy(vectors)).numpy()
    else:
        fields["rotations"] = None
    return fields


def _numbers(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The JSON, if this version can read it."""
    missing = [suffix for suffix in ("jpg", "json") if suffix not in files]
    if missing:
        raise ValueError(f"it has no .{missing[0]}, only {', '.join(sorted(files)) or 'nothing'}")
    return KIND.check(parse_json(files["json"], "its JSON", KIND.remedy), "its JSON")


def _as_lists(array: Float[np.ndarray, "*axes"] | None, decimals: int) -> list | None:
    """Rounded numbers; what is not finite becomes null."""
    if array is None:
        return None
    rounded = np.round(array.astype(np.float64), decimals) + 0.0  # −0 becomes 0
    finite = np.isfinite(rounded)
    if not finite.all():
        rounded = np.where(finite, rounded.astype(object), np.array(None))
    return rounded.tolist()


def _as_array(lists: list | None, dtype: type[np.generic]) -> np.ndarray | None:
    """The opposite; null inside an array becomes NaN."""
    return None if lists is None else np.array(lists, dtype)


def _vectors(
    rotations: Float[np.ndarray, "16 3 3"] | None,
) -> Float[np.ndarray, "16 3"] | None:
    """Rotation matrices → rotation vectors, radians."""
    if rotations is None:
        return None
    R = rotations.astype(np.float64)
    double = np.stack(
        (R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]), 1
    )
    sine, cosine = np.linalg.norm(double, axis=1) / 2, (np.trace(R, axis1=1, axis2=2) - 1) / 2
    angle = np.arctan2(sine, cosine)
    vectors = double * (0.5 * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 1.0))[:, None]
    turned = angle > NEAR_HALF_TURN_RAD
    if turned.any():  # there the axis is lost in the differences; roma is more accurate
        vectors[turned] = roma.rotmat_to_rotvec(torch.from_numpy(R[turned])).numpy()
    return vectors


def _depth_steps(depth_m: Float[np.ndarray, "height width"]) -> UInt16[np.ndarray, "height width"]:
    """Depth in steps; 0 for nothing; what is too far gets the farthest step."""
    farthest = np.iinfo(np.uint16).max
    seen = np.isfinite(depth_m)
    steps = np.rint(np.where(seen, depth_m, 0.0) / DEPTH_STEP_M).clip(1, farthest)
    return np.where(seen, steps, 0).astype(np.uint16)


def _png(
    pixels: UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"],
    options: tuple[int, ...],
) -> bytes:
    """A lossless picture file."""
    done, png = cv2.imencode(".png", pixels, options)
    assert done, "OpenCV cannot write PNG"
    return png.tobytes()


def _decoded(files: Mapping[str, bytes], suffix: str, flags: int) -> np.ndarray:
    """The pixels of one file."""
    raw = np.frombuffer(files[suffix], np.uint8)
    pixels = cv2.imdecode(raw, flags) if len(raw) else None
    if pixels is None:
        raise ValueError(f"its .{suffix} cannot be decoded")
    return pixels
