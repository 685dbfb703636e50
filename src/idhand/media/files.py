"""Which pictures and videos there are among files and folders."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
_HEIF_SUFFIXES = (".heic", ".heif", ".hif", ".avif")
IMAGE_SUFFIXES = frozenset(
    (*_JPEG_SUFFIXES, *_HEIF_SUFFIXES, ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
)
RAW_SUFFIXES = frozenset(
    (
        *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".sr2", ".srf", ".orf", ".rw2"),
        *(".raf", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".kdc", ".dcr", ".mos", ".mef", ".x3f"),
    )
)
"""Of cameras' raw photos; most are TIFF inside."""
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".3gp", ".mts"),
        *(".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".mxf", ".vob", ".m2v", ".3g2"),
        *(".divx", ".y4m"),
    )
)
"""Files of these names are videos whatever is in them; others if FFmpeg finds a video in them."""
VIDEO_FORMATS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "asf", "asf_o", "flv"),
    *("live_flv", "ogg", "mxf", "gxf", "nut", "nsv", "rm", "wtv", "dv", "ivf", "swf", "pva", "ty"),
    *("yuv4mpegpipe", "mpegvideo", "m4v", "h261", "h263", "h264", "hevc", "vvc", "evc", "av1"),
    *("obu", "vc1", "vc1test", "avs2", "avs3", "cavsvideo", "dirac", "dnxhd", "apv", "mjpeg"),
    *("mpjpeg", "smjpeg", "mjpeg_2000", "nuv", "dhav", "cine", "r3d", "mlv", "lxf", "ifv", "kux"),
    *("amv", "roq", "flic", "smk", "bink", "vivo", "thp", "usm", "xmv", "film_cpk", "filmstrip"),
    *("anm", "rpl", "nc", "ser", "ingenient", "mtv", "moflex", "msnwctcp", "lmlm4", "sga", "rl2"),
)
"""FFmpeg's readers of recorded video. Others read sound, single pictures, subtitles, text drawn as
a terminal would, devices, or playlists that name other files and addresses; they are not used."""


@dataclass(frozen=True, kw_only=True)
class MediaFile:
    """A file that seems to be a picture or a video; it may still be damaged."""

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
    """Pictures and videos among files and folders. Folders inside folders are not entered.

    A file is recognised by its first bytes, else by its extension, else by FFmpeg: any file in
    which it finds a video is one. A file that was named itself is always kept (as an image if
    nothing is known), so that reading it reports what is wrong.
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
                files.setdefault(
                    Path(os.path.realpath(file)), MediaFile(path=file, kind=kind or "image")
                )
    return FoundMedia(files=tuple(files.values()), skipped=tuple(skipped))


def _kind(path: Path) -> Literal["image", "video"] | None:
    """By the first bytes, else by the extension, else None."""
    head = b""
    if path.is_file():  # opening a pipe would wait until somebody writes into it
        with suppress(OSError), path.open("rb") as stream:
            head = stream.read(12)
    suffix = path.suffix.lower()
    if head[4:8] == b"ftyp":
        still = head[8:11] in (b"hei", b"hev", b"mif", b"msf", b"avi", b"crx")
        return "image" if still else "video"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*")):
        return "image"
    if head.startswith(b"RIFF") and head[8:12] in (b"WEBP", b"AVI "):
        return "image" if head[8:12] == b"WEBP" else "video"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video"
    if suffix in IMAGE_SUFFIXES | RAW_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES or (head and _holds_video(path)) else None


def video_options() -> dict[str, str]:
    """FFmpeg's settings for a file from outside: it may open this file only, as a video."""
    return {"protocol_whitelist": "file", "format_whitelist": ",".join(VIDEO_FORMATS)}


def _holds_video(path: Path) -> bool:
    """Whether FFmpeg finds a video in a file; pictures that belong to sound are none."""
    import av
    import av.error
    from av.stream import Disposition

    try:
        name = str(path.absolute())
        with av.open(name, metadata_errors="replace", options=video_options()) as container:
            videos = container.streams.video
            return any(v.width and not v.disposition & Disposition.attached_pic for v in videos)
    except (av.error.FFmpegError, ValueError):
        return False
