"""Intrinsics, and the check that they fit a picture."""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MIN_FOCAL_PER_SIDE = 0.13
"""Focal length over the longer side of the picture: 150°; below it K is not in pixels."""
COMMON_SCALES = (4 / 3, 3 / 2, 2.0, 9 / 4, 8 / 3, 3.0, 4.0, 6.0, 8.0)
"""By which pictures are made smaller: 1440 to 1080 rows, 1080 to 720, 1080 to 480, ..."""
LIKELY_MISMATCH = 1.05
"""A principal point this near to the centre of such a size, in both axes, is likely of it."""
EXACT_MISMATCH_PX = 1.0
"""This near it is certain: K was computed for that size."""


class IntrinsicsWarning(UserWarning):
    """K may belong to another picture."""


@dataclass(frozen=True, kw_only=True)
class IntrinsicsDoubt:
    """Why a K may not be that of a picture."""

    is_certain: bool
    """K cannot be used. If False, that is only likely: a crop could have the same K."""
    sentence: str
    """What is wrong, what was found and what to do."""


def check_intrinsics(
    K: object, width: int | None = None, height: int | None = None
) -> Float[np.ndarray, "3 3"]:
    """Intrinsics as float64, if they can be those of a picture of that size.

    Without a size only the matrix itself is checked. The principal point may lie outside the
    picture, as it does where a picture was cut out of a larger one.

    Raises:
        ValueError: If K cannot be used; the message says why.

    Warns:
        IntrinsicsWarning: If K is likely that of another size or way up; see `intrinsics_doubt`.
    """
    try:
        K_px = np.asarray(K, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("K must be a 3×3 matrix of numbers") from error
    if K_px.shape != (3, 3):
        raise ValueError(f"K must be a 3×3 matrix, got shape {K_px.shape}")
    if not np.isfinite(K_px).all():
        raise ValueError("K holds NaN or infinite numbers; calibrate the camera again")
    fx, fy = K_px[0, 0], K_px[1, 1]
    if not np.allclose(K_px[2], (0, 0, 1)) or K_px[1, 0] != 0:
        advice = "is it transposed?" if np.allclose(K_px[:2, 2], 0) else "give it in pixels"
        raise ValueError(f"K must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]]; {advice}")
    if fx <= 0 or fy <= 0:
        raise ValueError(f"K's focal lengths must be positive, got fx {fx:g} and fy {fy:g}")
    if width is not None and height is not None:
        doubt = intrinsics_doubt(K_px, width, height)
        if doubt is not None and doubt.is_certain:
            raise ValueError(doubt.sentence)
        if doubt is not None:
            warnings.warn(doubt.sentence, IntrinsicsWarning, stacklevel=2)
    return K_px


def intrinsics_doubt(
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    size_px: tuple[int, int] | None = None,
) -> IntrinsicsDoubt | None:
    """Whether K is that of another picture; None if nothing speaks for that.

    Certain: focal lengths that are not in pixels; a principal point in the exact centre of the
    picture made larger or smaller by a common factor, or turned by 90°; a stated size that is the
    picture's by another scale or turned. Likely: nearly such a principal point, or a stated size
    of another shape. Any other principal point is taken for that of a crop.

    Args:
        K: Intrinsics, px.
        width: Of the picture, px.
        height: Of the picture, px.
        size_px: Width and height of the pictures that K was made for, where the camera file
            states them.
    """
    picture, longer = f"a {width}×{height} picture", max(width, height)
    if max(K[0, 0], K[1, 1]) < MIN_FOCAL_PER_SIDE * longer:
        found = f"K's focal length of {max(K[0, 0], K[1, 1]):g} px is too short for {picture}"
        return IntrinsicsDoubt(is_certain=True, sentence=f"{found}; is it in px?")
    if size_px is not None:
        return _stated_size_doubt(size_px, width, height)
    centre = 2 * K[:2, 2] + 1
    found = (
        f"its principal point ({K[0, 2]:g}, {K[1, 2]:g}) fits about "
        f"{centre[0]:.0f}×{centre[1]:.0f}; scale or turn K as the picture was"
    )
    others = [(width * s, height * s) for k in COMMON_SCALES for s in (k, 1 / k)]
    if width != height:
        others.append((height, width))
    sizes = np.array(others)
    off_px = np.abs(centre - sizes).max(1) / 2
    if (off_px <= EXACT_MISMATCH_PX).any():
        return IntrinsicsDoubt(is_certain=True, sentence=f"K is not of {picture}: {found}")
    off = np.abs(np.log(np.maximum(centre, 1e-9) / sizes)).max(1)
    nearest = int(off.argmin())
    centred = np.abs(np.log(np.maximum(centre, 1e-9) / (width, height))).max()
    if off[nearest] < min(math.log(LIKELY_MISMATCH), centred):
        sentence = f"K may not be of {picture}: {found}, unless the picture is a crop"
        return IntrinsicsDoubt(is_certain=False, sentence=sentence)
    return None


def _stated_size_doubt(size_px: tuple[int, int], width: int, height: int) -> IntrinsicsDoubt | None:
    """The doubt about a picture whose size differs from the one that a camera file states."""
    stated_width, stated_height = size_px
    if size_px == (width, height):
        return None
    found = f"K is of {stated_width}×{stated_height} pictures, this one has {width}×{height}"
    scale_x, scale_y = width / stated_width, height / stated_height
    if size_px == (height, width):
        return IntrinsicsDoubt(is_certain=True, sentence=f"{found}; turn K as the picture was")
    if abs(width - stated_width * scale_y) <= 1 or abs(height - stated_height * scale_x) <= 1:
        todo = f"multiply K's first two rows by {scale_x:.6g}, if the picture was scaled"
        return IntrinsicsDoubt(is_certain=True, sentence=f"{found}; {todo}")
    todo = "if it was cut out of such a picture, subtract its corner from the principal point"
    return IntrinsicsDoubt(is_certain=False, sentence=f"{found}; {todo}")
