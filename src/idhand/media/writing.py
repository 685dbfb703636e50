"""Pictures → files that are whole: encoded in memory first."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idhand.files import replacing


def write_image(
    path: str | os.PathLike[str],
    rgb: UInt8[np.ndarray, "height width 3"],
    **options: Any,
) -> None:
    """Write a picture in the format of its suffix; a file of that name is replaced in one step.

    Pillow's encoders write to the file themselves and overlook a disk that takes only a part of
    their last bytes, so the picture is encoded in memory.

    Args:
        path: Ends in `.jpg` or `.png`, or what else Pillow writes.
        rgb: The picture.
        options: Of Pillow's writer, such as `quality`.

    Raises:
        ValueError: If the suffix names no format.
        OSError: If the file cannot be written; nothing half-written stays.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: '{path.suffix}' names no kind of picture; use .jpg or .png")
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, kind, **options)
    with replacing(path) as temporary:
        temporary.write_bytes(data.getbuffer())
