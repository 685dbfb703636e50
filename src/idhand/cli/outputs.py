"""Where a command's files go: their names, a folder per kind, and what they would replace."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from idhand.cli.common import count, real_path, shown, writable_folder
from idhand.files import remove_abandoned
from idhand.view import Format

OVERLAYS, MESHES, POSES = "overlays", "meshes", "poses"
"""Folders in the one of `--out`."""
FOLDER_OF: dict[Format, str] = {
    **dict.fromkeys(("glb", "obj", "ply", "usd"), MESHES),
    **dict.fromkeys(("npz", "bvh", "openxr", "mano"), POSES),
}
"""Which of them a format's files go to."""
MAX_NAME_BYTES = 200
"""Of an output's name before its ending; file systems take 255 bytes."""


def by_folder(out: Path, formats: Sequence[Format]) -> Iterator[tuple[Path, list[Format]]]:
    """Each folder, made, with the formats that go into it."""
    for kind in (MESHES, POSES):
        own: list[Format] = [form for form in formats if FOLDER_OF[form] == kind]
        if own:
            yield made(out / kind), own


def made(folder: Path) -> Path:
    """The folder, after making it."""
    folder.mkdir(exist_ok=True)
    return folder


def output_names(paths: Sequence[Path], out: Path) -> list[str]:
    """A name for each input's output files: its stem, numbered where that is taken.

    Names that differ only in case count as equal, as some file systems do, and no output may
    replace an input. Bytes that are not UTF-8 become question marks, and long names are cut, so
    that endings such as `_hand_0_right.bvh` fit.
    """
    inputs = {real_path(path) for path in paths}
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = _fitting(shown(path.stem))
        name, number = stem, 1
        while name.lower() in taken or any(
            real_path(out / OVERLAYS / f"{name}_overlay{suffix}") in inputs
            for suffix in (".jpg", ".png", ".mp4")
        ):
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _fitting(stem: str) -> str:
    """As much of a name as `MAX_NAME_BYTES` hold."""
    return stem.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore")


def result_folder(path: Path) -> Path:
    """`writable_folder` with folders in it: leftovers of killed runs are removed from all.

    Raises:
        ValueError: As `writable_folder`.
    """
    out = writable_folder(path)
    for kind in (OVERLAYS, MESHES, POSES):
        remove_abandoned(out / kind)
    return out


class Earlier:
    """The files in an output folder before a run, to list afterwards which were replaced."""

    def __init__(self, out: Path):
        self._out = out
        self._stamps = dict(self._files())

    def replaced(self) -> list[Path]:
        """The files that are others now, relative to the folder."""
        now = dict(self._files())
        others = [path for path, stamp in self._stamps.items() if now.get(path, stamp) != stamp]
        return sorted(others, key=lambda path: (len(path.parts), path))

    def sentence(self) -> str | None:
        """What was replaced; None if nothing was."""
        names = [shown(path) for path in self.replaced()]
        if not names:
            return None
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        files = count(names, "file")
        return f"Replaced {files} of an earlier run: {', '.join(names[:3])}{more}"

    def _files(self) -> Iterable[tuple[Path, tuple[int, int]]]:
        for folder in (self._out, *(self._out / kind for kind in (OVERLAYS, MESHES, POSES))):
            for entry in os.scandir(folder) if folder.is_dir() else ():
                if entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    place = Path(entry.path).relative_to(self._out)
                    yield place, (status.st_ino, status.st_mtime_ns)
