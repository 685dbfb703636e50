"""Camera files → intrinsics and distortion, and the check that they fit a picture."""

import json
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idhand.files import existing_file

MIN_FOCAL_PER_SIDE = 0.13
"""Focal length over the longer side of the picture: 150°; below it K is not in pixels."""
MAX_SIZE_MISMATCH = 1.25
"""A principal point off the centre by this factor in both axes belongs to another picture size."""


def read_camera(
    path: str | Path,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 5"] | None]:
    """Read intrinsics: JSON `{"K": [[...]], "dist": [...]}` or a 3×3 `.npy`.

    Returns:
        K in px of the full picture and OpenCV's five distortion coefficients, None if not given.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not of either kind or its numbers are no camera.
    """
    path = existing_file(path)
    data = path.read_bytes()
    try:
        if data.startswith(b"\x93NUMPY"):
            return check_intrinsics(np.load(path, allow_pickle=False)), None
        record = json.loads(data)
        if not isinstance(record, dict) or "K" not in record:
            raise ValueError('there is no "K" in it')
        return check_intrinsics(record["K"]), _distortion(record.get("dist"))
    except (ValueError, EOFError, RecursionError, MemoryError) as error:  # not UTF-8, not JSON
        form = '{"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], "dist": [k1, k2, p1, p2, k3]}'
        fault = "it is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ValueError(f"{path} is no camera file: {fault}; give JSON {form}") from error


def _distortion(values: object) -> Float[np.ndarray, " 5"] | None:
    """OpenCV's k1, k2, p1, p2 and k3 (0 if left out)."""
    if values is None:
        return None
    try:
        dist = np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError('"dist" must be a list of numbers') from error
    if len(dist) not in (4, 5) or not np.isfinite(dist).all():
        raise ValueError(f'"dist" must be 4 or 5 finite numbers, got {dist.tolist()}')
    return np.pad(dist, (0, 5 - len(dist)))


def check_intrinsics(
    K: object, width: int | None = None, height: int | None = None
) -> Float[np.ndarray, "3 3"]:
    """Intrinsics as float64, if they can be those of an uncropped picture of that size.

    Without a size only the matrix itself is checked. With one, the principal point must lie in the
    picture and near enough to its centre that K is not one of another size.

    Raises:
        ValueError: With a sentence that says what is wrong with K.
    """
    try:
        K_px = np.asarray(K, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("K must be a 3×3 matrix of numbers") from error
    if K_px.shape != (3, 3):
        raise ValueError(f"K must be a 3×3 matrix, got shape {K_px.shape}")
    if not np.isfinite(K_px).all():
        raise ValueError("K holds NaN or infinite numbers; calibrate the camera again")
    fx, fy, cx, cy = K_px[0, 0], K_px[1, 1], K_px[0, 2], K_px[1, 2]
    if not np.allclose(K_px[2], (0, 0, 1)) or K_px[1, 0] != 0:
        advice = "is it transposed?" if np.allclose(K_px[:2, 2], 0) else "give it in pixels"
        raise ValueError(f"K must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]]; {advice}")
    if fx <= 0 or fy <= 0:
        raise ValueError(f"K's focal lengths must be positive, got fx {fx:g} and fy {fy:g}")
    if width is not None and height is not None:
        _check_size(fx, fy, cx, cy, width, height)
    return K_px


def _check_size(fx: float, fy: float, cx: float, cy: float, width: int, height: int) -> None:
    """Refuse intrinsics that cannot be those of an uncropped picture of that size."""
    picture = f"a {width}×{height} picture"
    if max(fx, fy) < MIN_FOCAL_PER_SIDE * max(width, height):
        raise ValueError(f"K's focal length of {fx:g} px is too short for {picture}; is it in px?")
    size_x, size_y = 2 * cx + 1, 2 * cy + 1
    fits = 0 <= cx < width and 0 <= cy < height
    if fits:
        ratio_x, ratio_y = math.log(size_x / width), math.log(size_y / height)
        turned = max(abs(math.log(size_x / height)), abs(math.log(size_y / width)))
        limit = math.log(MAX_SIZE_MISMATCH)
        scaled = min(ratio_x, ratio_y) > limit or max(ratio_x, ratio_y) < -limit
        fits = not scaled and not (abs(ratio_x - ratio_y) > limit and turned < limit / 2)
    if not fits:
        found = f"its principal point ({cx:g}, {cy:g}) fits about {size_x:.0f}×{size_y:.0f}"
        todo = "scale or turn K as the picture was"
        raise ValueError(f"K is not of {picture}: {found}; {todo}")
