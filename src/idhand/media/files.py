"""Which pictures and videos there are among files and folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_HEIF_SUFFIXES = (".heic", ".heif", ".hif", ".avif")
IMAGE_SUFFIXES = frozenset(
    (*_JPEG_SUFFIXES, *_HEIF_SUFFIXES, ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
)
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".mts", ".m2ts")
)


@dataclass(frozen=True, kw_only=True)
class MediaFile:
    """A file that looks like a picture or a video; it may still turn out to be damaged."""

    path: Path
    kind: Literal["image", "video"]


@dataclass(frozen=True, kw_only=True)
class FoundMedia:
    """What a list of files and folders holds."""

    files: tuple[MediaFile, ...]
    """In the order of the inputs, folders by name; each file once."""
    skipped: tuple[Path, ...]
    """Files in the folders that are neither pictures nor videos. Hidden files are not counted."""


def find_media(inputs: Sequence[str | Path]) -> FoundMedia:
    """Pictures and videos among files and folders. Folders inside of folders are not entered.

    The content tells what a file is, and where it does not, its extension. A file that was named
    itself is always kept (as an image if nothing is known), so that reading it says what is wrong.
    """
    files: dict[Path, MediaFile] = {}
    skipped = []
    for name in inputs:
        path = Path(name)
        folder = path.is_dir()
        visible = (p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        for file in sorted(visible) if folder else [path]:
            kind = _kind(file)
            if kind is None and folder:
                skipped.append(file)
            else:
                files.setdefault(file.resolve(), MediaFile(path=file, kind=kind or "image"))
    return FoundMedia(files=tuple(files.values()), skipped=tuple(skipped))


def _kind(path: Path) -> Literal["image", "video"] | None:
    """By the first bytes, else by the extension, else None."""
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        head = b""
    if head[4:8] == b"ftyp":
        still = head[8:11] in (b"hei", b"hev", b"mif", b"msf", b"avi")
        return "image" if still else "video"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")):
        return "image"
    if head.startswith(b"RIFF") and head[8:12] in (b"WEBP", b"AVI "):
        return "image" if head[8:12] == b"WEBP" else "video"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video"
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else "video" if suffix in VIDEO_SUFFIXES else None
