"""The exceptions that Pillow's readers raise on damaged files."""

import struct
import zlib

from PIL import Image

ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError),
    *(OverflowError, struct.error, zlib.error, Image.DecompressionBombError),
)
