"""Pictures of data sets: read whole or refused, because decoders make up what a file lacks."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from idhand.files import existing_file

TAIL_BYTES = 64
"""At the end of a file, within which its last mark must stand."""
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""The last mark of a whole file."""


def read_picture(path: Path, width_px: int, height_px: int) -> UInt8[np.ndarray, "height width 3"]:
    """A JPEG or PNG as RGB, as it is stored: Exif's orientation is not looked at.

    Args:
        path: The file.
        width_px: That all pictures of the data set have.
        height_px: The same.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or cut off, or has another size.
    """
    data = existing_file(path).read_bytes()
    end = _ENDS["PNG"] if data.startswith(b"\x89PNG") else _ENDS["JPEG"]
    pixels = None
    if end in data[-TAIL_BYTES:]:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError(f"{path} is damaged or cut off; copy or unpack it again")
    if pixels.shape[:2] != (height_px, width_px):
        raise ValueError(
            f"{path} has {pixels.shape[1]} × {pixels.shape[0]} pixels instead of {width_px} × "
            f"{height_px}; copy or unpack it again"
        )
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def picture_fault(path: Path) -> str | None:
    """What is wrong with a picture as far as its first and last bytes tell; None if nothing.

    A sentence without its end. A tenth of the time that decoding takes.
    """
    try:
        with path.open("rb") as stream, Image.open(stream) as picture:
            end = _ENDS.get(picture.format or "")
            if end is None:
                return f"{path} is a picture of another kind ({picture.format})"
            size = stream.seek(0, 2)
            stream.seek(max(0, size - TAIL_BYTES))
            return None if end in stream.read() else f"{path} is cut off"
    except FileNotFoundError:
        return f"{path} is missing"
    except UnidentifiedImageError:
        return f"{path} is damaged: it is no picture"
    except (OSError, ValueError, SyntaxError) as error:
        return f"{path} is damaged ({error})"
