"""Photos of any kind → upright uint8 RGB, with the intrinsics that the camera wrote down."""

import math
import threading
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError

from idhand.files import existing_file
from idhand.media.decoding import ERRORS
from idhand.media.files import RAW_SUFFIXES
from idhand.media.levels import eight_bits, has_sixteen_bits
from idhand.media.raw import largest_picture

MAX_PIXELS = 200_000_000
"""Largest picture that is read: what the largest phone sensors deliver."""

FILM_DIAGONAL_MM = math.hypot(36, 24)
"""43.27 mm: the 35-mm equivalent focal length keeps the diagonal angle of view (CIPA DCG-001)."""
MIN_FOV_DEG, MAX_FOV_DEG = 4.0, 150.0
"""Across the longer side; a lens outside this range is taken for an error in the file."""
MAX_ASPECT_CHANGE = 0.02
"""The picture was cropped if its aspect ratio differs by more than this from the recorded one."""
_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769  # Exif 2.32 (CIPA DC-008), tables 4 and 7 to 11
_FOCAL_MM, _FOCAL_35, _ZOOM = 0x920A, 0xA405, 0xA404
_SIZE_X, _SIZE_Y, _PLANE_X, _PLANE_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210
_UNIT_MM = {1: 25.4, 2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # 2 and 3: Exif; the others: TIFF/EP
_PILLOW_LIMIT = threading.Lock()


def read_image(
    path: str | Path,
) -> tuple[UInt8[np.ndarray, "height width 3"], Float[np.ndarray, "3 3"] | None]:
    """Read a photo upright, with its intrinsics if the camera wrote its focal length down.

    JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF; the first picture of an animation. Of raw photos
    that are TIFF inside (DNG, NEF, CR2, ARW, ...) the largest finished picture in
    them, unless it is a thumbnail. Grey becomes RGB, transparent parts become white. More than 8
    bits are scaled by the white level of `idhand.media.levels`: cameras and infrared sensors store
    10 to 14 bits in 16. Colour profiles are not applied.

    Returns:
        The picture and K in px of the upright picture: square pixels, centred principal point,
        focal length from `FocalLengthIn35mmFilm`, else from the focal plane's resolution. None if
        the file has no such value, an implausible one, or was visibly cropped after the shot.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, damaged, not a picture, larger than `MAX_PIXELS`, or a raw
            photo without a finished picture of some size.
    """
    path = existing_file(path)
    with path.open("rb") as stream, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # odd palettes, damaged metadata
        try:
            inner = largest_picture(stream, lambda data: _open_image(path, data))
        except ValueError as error:
            raise ValueError(f"{path} cannot be used: {error}") from error
        image = inner or _open_image(path, stream)
        deep = stream if inner is None and has_sixteen_bits(image) else None
        try:
            image.load()
            rgb = _rgb(image, deep)
        except ERRORS as error:
            fault = f"it is damaged or breaks off ({str(error).strip()})"
            raise ValueError(f"{path} cannot be decoded: {fault}; copy it again") from error
        orientation, tags = _metadata(image, None if inner is None else stream)
    rgb = _upright(rgb, orientation)
    return rgb, _intrinsics_from_exif(tags, rgb.shape[1], rgb.shape[0])


def scaled_down(
    rgb: UInt8[np.ndarray, "height width 3"], max_side_px: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "3 3"]]:
    """The picture with no side longer than that, and S with which K becomes `S @ K`.

    S moves pixel coordinates; it is the identity where nothing had to be done.
    """
    height, width = rgb.shape[:2]
    factor = min(max_side_px / max(height, width), 1.0)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    if size == (width, height):
        return rgb, np.eye(3)
    sx, sy = size[0] / width, size[1] / height
    S = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])  # centres at integers
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)), S


def _open_image(path: Path, stream: BinaryIO | BytesIO) -> Image.Image:
    """Pillow's lazy image: the header is read, the pixels are not."""
    if stream.read(12)[4:8] == b"ftyp":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    stream.seek(0)
    try:
        with _PILLOW_LIMIT:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(stream)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError as error:
        kinds = "JPEG, PNG, WebP, HEIC, TIFF, BMP or GIF"
        if path.suffix.lower() in RAW_SUFFIXES:
            kinds = "the JPEG or TIFF that the camera or its program makes of it"
        raise ValueError(f"{path} is not a picture that can be read; give {kinds}") from error
    except ERRORS as error:
        raise ValueError(f"{path} is damaged ({error}); copy it again") from error
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width}×{image.height} = {image.width * image.height / 1e6:.0f} megapixels"
        most = f"{MAX_PIXELS / 1e6:.0f} megapixels"
        raise ValueError(f"{path} has {size}; at most {most} are read: make it smaller first")
    return image


def _rgb(image: Image.Image, deep: BinaryIO | None) -> UInt8[np.ndarray, "height width 3"]:
    """Any of Pillow's modes as 8-bit RGB; `deep` is the file, if its colours have 16 bits."""
    if image.mode.startswith(("I", "F")):
        grey = eight_bits(np.asarray(image), image)
        return np.repeat(grey[..., None], 3, axis=2)
    if deep is not None:
        deep.seek(0)
        data = np.frombuffer(deep.read(), np.uint8)
        values = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
        if values is not None and values.dtype == np.uint16 and values.ndim == 3:
            colours = eight_bits(values[..., 2::-1], image)
            if values.shape[2] == 4:
                opaque = values[..., 3:] / np.float32(65535)
                colours = np.rint(colours * opaque + 255 * (1 - opaque)).astype(np.uint8)
            return np.ascontiguousarray(colours)
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", colour.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, colour).convert("RGB"))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _metadata(image: Image.Image, raw: BinaryIO | None) -> tuple[object, Mapping[int, object]]:
    """Orientation and Exif tags; of a raw photo those of the file, unless the picture has its own.

    Damaged metadata are ignored.
    """
    try:
        exif = image.getexif()
        orientation, tags = exif.get(_ORIENTATION), exif.get_ifd(_EXIF_IFD)
        if raw is not None:
            raw.seek(0)
            exif = Image.Exif()
            exif.load_from_fp(raw)
            orientation = exif.get(_ORIENTATION, 1) if orientation is None else orientation
            tags = tags or exif.get_ifd(_EXIF_IFD)
    except ERRORS:
        return 1, {}
    return 1 if orientation is None else orientation, tags


def _upright(rgb: UInt8[np.ndarray, "h w 3"], orientation: object) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Undo the camera's rotation. Source: Exif 2.32, tag Orientation."""
    match orientation:
        case 2:
            rgb = rgb[:, ::-1]
        case 3:
            rgb = rgb[::-1, ::-1]
        case 4:
            rgb = rgb[::-1]
        case 5:
            rgb = rgb.transpose(1, 0, 2)
        case 6:
            rgb = np.rot90(rgb, -1)
        case 7:
            rgb = rgb[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            rgb = np.rot90(rgb)
    return np.ascontiguousarray(rgb)


def _intrinsics_from_exif(
    tags: Mapping[int, object], width: int, height: int
) -> Float[np.ndarray, "3 3"] | None:
    """K of the upright picture, or None where the tags do not give a credible one."""

    def number(tag: int) -> float:
        value = tags.get(tag)
        try:
            value = float(value)  # pyright: ignore[reportArgumentType]
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return 0.0
        return value if math.isfinite(value) and value > 0 else 0.0

    shot_long, shot_short = sorted((number(_SIZE_X), number(_SIZE_Y)), reverse=True)
    if shot_short:
        aspect = max(width, height) / min(width, height)
        if abs(aspect * shot_short / shot_long - 1) > MAX_ASPECT_CHANGE and shot_short > 1:
            return None
    diagonal_px = math.hypot(width, height)
    f = number(_FOCAL_35) / FILM_DIAGONAL_MM * diagonal_px
    if not f and number(_ZOOM) <= 1:
        unit_mm = _UNIT_MM.get(round(number(_PLANE_UNIT)) or 2, 0.0)
        density_px_mm = number(_PLANE_X) / unit_mm if unit_mm else 0.0
        resized = diagonal_px / math.hypot(shot_long, shot_short) if shot_short else 1.0
        f = number(_FOCAL_MM) * density_px_mm * resized
    fov_deg = 2 * math.degrees(math.atan2(max(width, height) / 2, f))
    if not MIN_FOV_DEG <= fov_deg <= MAX_FOV_DEG:
        return None
    return np.array([[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]])
