"""Files on disk: written completely or not at all, and read with a clear error for every fault.

One way for all files of idhand: `replacing` writes, `FileKind` checks format and version,
`read_json` and `read_arrays` read.
"""

import errno
import hashlib
import json
import os
import platform
import re
import stat
import struct
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOCK = ".idhand.lock"
"""The file that `only_writer` holds."""
LOCK_WAIT_S = 2.0
"""The workers of a process that was killed end within this."""
MAX_STEM_BYTES, MAX_SUFFIX_BYTES = 40, 16
"""Of a temporary name, so that it stays far below the 255 bytes that file systems allow."""
ABANDONED_S = 7 * 24 * 3600.0
"""A temporary file that nobody has written to for so long has no writer."""
_TEMPORARY = re.compile(r"\.(.+?)\.(?:([0-9a-f]{4})-(\d+)-)?[0-9a-f]{8}\.part(\.[^.]*)?")
_CANNOT_SYNC = (errno.EINVAL, errno.EACCES, errno.EPERM, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: str | os.PathLike[str], *, mode: int | None = None) -> Iterator[Path]:
    """A temporary name in the same folder, renamed to `path` when the block ends well.

    The bytes are on the disk before they get their name, so that not even a power cut leaves half
    a file of that name. If the block fails or is interrupted, what it wrote is removed and `path`
    is as it was; so it is too if the block wrote nothing. The temporary name is hidden, keeps the
    suffix and is short however long `path` is.

    Args:
        path: The final name, in a folder that exists.
        mode: Permissions of the file, from its first byte on, e.g. 0o600; None leaves them to the
            process's umask.

    Raises:
        OSError: If the file cannot be written; a full disk names `path`.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        if mode is not None:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        yield temporary
        if temporary.exists() and (mode is None or temporary.stat().st_size):
            if mode is not None:
                temporary.chmod(mode)  # the umask took some, or the writer made its own file
            _sync_file(temporary)
            temporary.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        ours = error.filename is None and error.errno in _FULL
        if ours or error.filename in (temporary, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, *patterns: str) -> None:
    """Delete the temporary files that a killed writer of files of these names left behind.

    Args:
        folder: Where they are.
        patterns: Names as in `fnmatch`, e.g. `shard-*.tar`. Nobody may be writing such a file.
    """
    for path, _ in _temporaries(folder, patterns):
        path.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files of any name whose writer no longer runs; others may be writing there.

    Temporary names have the writer's computer and process. Files of other computers go after
    `ABANDONED_S`, as do all where a process cannot be asked for. What cannot be removed stays.
    """
    with suppress(OSError):
        for path, (computer, process) in _temporaries(folder, ("*",)):
            with suppress(OSError):
                ended = computer == _computer() and not _runs(int(process))
                if ended or time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink(missing_ok=True)


def _temporaries(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[Path, tuple[str, str]]]:
    """Temporary files of files of these names; each with its writer's computer and process."""
    for path in folder.iterdir():
        parts = _TEMPORARY.fullmatch(path.name)
        name = parts[1] + (parts[4] or "") if parts else ""
        if parts and any(fnmatchcase(name, pattern) for pattern in patterns):
            yield path, (parts[2] or "", parts[3] or "")


def _computer() -> str:
    """A short hash of this computer's name."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:4]


def _runs(process: int) -> bool:
    """Whether there may be a process of that number on this computer."""
    if os.name != "posix":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other processes from writing a folder's files meanwhile, where the system can do that.

    Whoever is killed lets go of the folder with its end. A hidden file stays in it.

    Args:
        folder: Exists.

    Raises:
        ValueError: If another process is writing there.
    """
    if fcntl is None:
        yield
        return
    with (folder / LOCK).open("ab") as stream:
        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    break  # a file system without locks
                if time.monotonic() > until:
                    raise ValueError(
                        f"another process is writing into {folder}; wait until it has ended, or "
                        "name another folder"
                    ) from None
                time.sleep(0.1)
        yield


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path, if there is a file with something in it.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If it is a folder, a pipe or device, empty or may not be read.
    """
    path = Path(path)
    with suppress(OSError):  # which opening the file explains
        mode = path.stat().st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode):
            raise ValueError(f"{path} is a pipe or device; save what it holds in a file first")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file; check the name") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path} is a folder; a file is needed here") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if empty:
        raise ValueError(f"{path} is empty (0 bytes); copy it again from where it came from")
    return path


def file_fault(error: OSError) -> str:
    """A sentence on what the system refused, and what to do; of other errors, their own text."""
    if error.errno is None or not error.strerror:
        return str(error)
    place = "a file" if error.filename is None else os.fsdecode(error.filename)
    reason = error.strerror
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"{place} cannot be written, the disk is full ({reason}); make room on it"
        case errno.EEXIST | errno.ENOTDIR:
            fault = "there is a file where a folder is needed"
            return f"{place} cannot be used: {fault}; move it away, or name another folder"
        case errno.EISDIR:
            fault = "there is a folder where a file is needed"
            return f"{place} cannot be used: {fault}; move it away, or name another file"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            advice = "change its permissions, or name another file or folder"
            return f"{place} may not be read or written ({reason}); {advice}"
        case errno.ENOENT:
            return f"{place} is not there; check the name, and that nobody moved it meanwhile"
    return f"{place} cannot be read or written ({reason}); try again, or on another disk"


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """One kind of file that idhand writes: its header, and what to do if a file is broken."""

    format: str
    """In the header as `format`; empty if the header has a version alone."""
    version: int
    """The one that this idhand writes and reads."""
    name: str
    """With its article, as in "a.json is no ...": "an idhand profile" without "an"."""
    remedy: str
    """How to come by a good file, as in "update idhand, or ...": "calibrate again"."""
    old_formats: tuple[str, ...] = ()
    """Names of the format in older files, which are read like the others."""

    @property
    def header(self) -> dict[str, Any]:
        """The first entries of what is written."""
        version = {"version": self.version}
        return {"format": self.format, **version} if self.format else version

    def check(self, header: object, where: object) -> dict[str, Any]:
        """The header, if it is one of this kind and version.

        Args:
            header: What was read.
            where: What to call the file, usually its path.

        Raises:
            ValueError: Saying what was found, what this idhand reads and what to do.
        """
        formats = (self.format, *self.old_formats)
        if not isinstance(header, dict) or (self.format and header.get("format") not in formats):
            raise ValueError(f"{where} is no {self.name}; name another file")
        version = header.get("version")
        if version != self.version or isinstance(version, bool):
            raise ValueError(
                f"{where} has version {version}, this idhand reads version {self.version}; "
                f"update idhand, or {self.remedy}"
            )
        return header


def read_json(path: str | os.PathLike[str], remedy: str) -> Any:
    """What a JSON file holds.

    Args:
        path: The file.
        remedy: What to do if it cannot be read, e.g. "calibrate again".

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it cannot be read, is empty or is no JSON in UTF-8.
    """
    return parse_json(existing_file(path).read_bytes(), path, remedy)


def parse_json(data: bytes | str, where: object, remedy: str) -> Any:
    """What JSON from outside holds.

    Args:
        data: The text, or its bytes in UTF-8.
        where: What to call it in a sentence, usually a file's path.
        remedy: As in `read_json`.

    Raises:
        ValueError: If it is no JSON, or too deep or too large to be read.
    """
    try:
        return json.loads(data if isinstance(data, str) else data.decode("utf-8"))
    except UnicodeDecodeError:
        fault = "it is not text in UTF-8"
    except RecursionError:
        fault = "it is nested too deeply"
    except MemoryError:
        fault = "it does not fit into memory"
    except ValueError as error:
        fault = str(error)
    raise ValueError(f"{where} is not readable as JSON ({fault}); {remedy}")


def read_arrays(path: str | os.PathLike[str], kind: FileKind) -> dict[str, np.ndarray]:
    """All arrays of an `.npz`; nothing is unpickled.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is something else or damaged.
    """
    path = existing_file(path)
    with path.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            raise ValueError(f"{path} is no {kind.name}; name another file")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except MemoryError:
            fault = "it does not fit into memory"
        except _NPZ_FAULTS as error:
            fault = str(error) or type(error).__name__
    raise ValueError(f"{path} is damaged ({fault}); {kind.remedy}")


def read_headed_arrays(
    path: str | os.PathLike[str], kind: FileKind
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """An `.npz` whose array `header` is JSON that names kind and version: the header, the others.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is something else, damaged or of another version.
    """
    arrays = read_arrays(path, kind)
    header = arrays.pop("header", None)
    if header is None:
        raise ValueError(f"{path} is no {kind.name}; name another file")
    return kind.check(parse_json(header.tobytes(), path, kind.remedy), path), arrays


_NPZ_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    KeyError,
    ValueError,
    OverflowError,
    RuntimeError,  # an encrypted member; a compression that is not known
)


def _temporary(path: Path) -> Path:
    """A hidden name that nobody uses, in UTF-8 whatever the bytes of the final one are."""
    stem = os.fsencode(path.stem)[:MAX_STEM_BYTES].decode("utf-8", "ignore") or "file"
    suffix = os.fsencode(path.suffix).decode("utf-8", "ignore")
    suffix = suffix if len(suffix.encode()) <= MAX_SUFFIX_BYTES else ""
    writer = f"{_computer()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{stem}.{writer}.part{suffix}")


def _sync_file(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    """So that the new name outlives a power cut, where folders can be opened and synchronised."""
    if os.name != "posix":
        return
    try:
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
