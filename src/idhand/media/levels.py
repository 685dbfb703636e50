"""More than 8 bits → 8: which value is white."""

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

BRIGHTEST_PART = 0.999
"""This part of the values is at or below white; single hot pixels and reflections may be above."""
_INTEGER_WHITES = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Of 8, 10, 12, 14 and 16 bits."""
_LARGEST_SAMPLE, _BITS = (341, 281), 258  # TIFF 6.0: SMaxSampleValue, MaxSampleValue


def eight_bits(
    values: Shaped[np.ndarray, "*picture"], image: Image.Image
) -> UInt8[np.ndarray, "*picture"]:
    """Values scaled to 0..255 by the picture's white level.

    The white level is the first of these that is known: the largest sample value that a TIFF
    states, if no value is above; the largest value of the TIFF's bits where they are fewer than
    16; else the smallest of 1 (floats only) and the largest values of 8, 10, 12, 14 and 16 bits
    that holds 99.9 % of the values, so that 10 or 12 bits stored in 16 come out as bright as they
    were; where none does, the largest value. 0 stays black; negative and not finite values are
    black.
    """
    values = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.rint(values.clip(0) * (255.0 / _white(values, image))).clip(0, 255).astype(np.uint8)


def has_sixteen_bits(image: Image.Image) -> bool:
    """Whether a colour picture that was not loaded yet has 16 bits a channel.

    Pillow keeps the upper 8 of them.
    """
    parts = [str(tile[3]) for tile in getattr(image, "tile", ())]
    deep = any(";16" in part for part in parts)
    bits = _number(getattr(image, "tag_v2", {}).get(_BITS))
    return image.mode in ("RGB", "RGBA", "LA") and (deep or bits == 16)


def _white(values: Shaped[np.ndarray, "*picture"], image: Image.Image) -> float:
    """The value that becomes 255."""
    tags = getattr(image, "tag_v2", {})
    is_float = image.mode == "F"
    top = float(values.max(initial=0.0))
    for tag in _LARGEST_SAMPLE:
        stated = _number(tags.get(tag))
        if top <= stated and stated > 0:
            return stated
    bits = int(_number(tags.get(_BITS)))
    if 8 < bits < 16:
        return 2.0**bits - 1
    whites = (1.0, *_INTEGER_WHITES) if is_float else _INTEGER_WHITES
    most = top
    if top <= _INTEGER_WHITES[-1] and values.size:
        most = float(np.quantile(values, BRIGHTEST_PART, method="higher"))
    return next((white for white in whites if most <= white), max(most, 1.0))


def _number(value: object) -> float:
    """A tag's first number; 0 where it has none."""
    first = value[0] if isinstance(value, tuple) and value else value
    try:
        return float(first)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return 0.0
