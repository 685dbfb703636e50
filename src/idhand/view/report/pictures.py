"""Photos and drawings → what a page carries: JPEG and transparent WebP as data URIs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from idhand.drawing.overlay import OverlayStyle, overlay
from idhand.lens import Distortion, straightened
from idhand.media import scaled_down
from idhand.records import HandResult

SIDES_PX = (1280, 1024, 800, 640, 480, 360, 240)
"""Longer sides that are tried, until a photo fits its share of the page."""
JPEG_QUALITY, WEBP_QUALITY = 82, 80
LAYER_SIDE_PX = 640
"""Longer side of the drawings; where more is looked for, the page's script draws the hands."""
LAYER_STYLE = OverlayStyle(box=False, label=False, mesh_opacity=0.8)


@dataclass(frozen=True, kw_only=True)
class PagePhoto:
    """A photo as it stands in the page."""

    uri: str
    width: int
    height: int
    """px, of the picture in the page."""
    scale: Float[np.ndarray, "3 3"]
    """Pixels of the original → pixels of the picture in the page."""


def data_uri(kind: str, data: bytes) -> str:
    """Bytes as an address that a page can use offline."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def page_photo(
    rgb: UInt8[np.ndarray, "height width 3"],
    max_bytes: int,
    K: Float[np.ndarray, "3 3"] | None = None,
    dist: Distortion = None,
) -> PagePhoto:
    """The largest of the standard sizes that fits into so many bytes; the smallest if none does.

    With lens distortion the picture is straightened first, because pages draw with pinholes.
    """
    if dist is not None and K is not None:
        rgb = straightened(rgb, K, dist)
    largest = min(max(rgb.shape[:2]), SIDES_PX[0])
    small, scale = scaled_down(rgb, largest)
    data = _encoded(small, "JPEG", quality=JPEG_QUALITY)
    for side in (side for side in SIDES_PX if side < largest):
        if len(data) <= max_bytes:
            break
        small, scale = scaled_down(rgb, side)
        data = _encoded(small, "JPEG", quality=JPEG_QUALITY)
    height, width = small.shape[:2]
    return PagePhoto(uri=data_uri("image/jpeg", data), width=width, height=height, scale=scale)


def layer_uri(photo: PagePhoto, hands: Sequence[HandResult]) -> str:
    """The hands' drawing alone, transparent, to be laid over the photo; empty if there is none.

    What is see-through follows from drawing on black and on white.
    """
    factor = min(LAYER_SIDE_PX / max(photo.width, photo.height), 1.0)
    shift = (factor - 1) / 2  # centres of pixels at integers
    S = np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1]]) @ photo.scale
    size = (max(round(photo.height * factor), 1), max(round(photo.width * factor), 1), 3)
    scaled = [hand.moved(S) for hand in hands]
    black = np.zeros(size, np.uint8)
    on_black = overlay(black, scaled, style=LAYER_STYLE).astype(np.float32)
    on_white = overlay(black + np.uint8(255), scaled, style=LAYER_STYLE).astype(np.float32)
    alpha = (1 - (on_white - on_black).mean(2, keepdims=True) / 255).clip(0, 1)
    if not alpha.any():
        return ""
    colour = np.divide(on_black, alpha, out=np.zeros_like(on_black), where=alpha > 0.004)
    rgba = np.concatenate((colour, alpha * 255), 2).round().clip(0, 255).astype(np.uint8)
    return data_uri("image/webp", _encoded(rgba, "WEBP", quality=WEBP_QUALITY, method=3))


def _encoded(picture: UInt8[np.ndarray, "height width channels"], form: str, **options: int):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=form, **options)
    return stream.getvalue()
