"""`idhand.files`: a file is there whole or as it was, and every fault is a sentence."""

import errno
import json
import multiprocessing
import os
import re
import signal
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from idhand import files
from idhand.files import (
    FileKind,
    existing_file,
    parse_json,
    read_arrays,
    read_headed_arrays,
    read_json,
    remove_abandoned,
    remove_leftovers,
    replacing,
)

KIND = FileKind(format="idhand tests", version=3, name="file of tests", remedy="test again")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def raises_in_the_middle(path: Path, error: BaseException, **options: Any) -> None:
    with replacing(path, **options) as temporary:
        temporary.write_text("half")
        raise error


# ----------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("mode", [None, 0o600])
@pytest.mark.parametrize(
    "error", [OSError("broken"), KeyboardInterrupt(), SystemExit(1), MemoryError(), ValueError("x")]
)
def test_a_block_that_fails_changes_nothing(tmp_path: Path, error: BaseException, mode: int | None):
    path = tmp_path / "a.txt"
    with pytest.raises(type(error)):
        raises_in_the_middle(path, error, mode=mode)
    assert names(tmp_path) == []
    path.write_text("old")
    with pytest.raises(type(error)):
        raises_in_the_middle(path, error, mode=mode)
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"
    with replacing(path, mode=mode) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "new"


@pytest.mark.parametrize("mode", [None, 0o600])
def test_a_block_that_writes_nothing_changes_nothing(tmp_path: Path, mode: int | None):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path, mode=mode):
        pass
    assert (names(tmp_path), path.read_text()) == (["a.txt"], "old")


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_changes_nothing_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int
):
    """Disks with delayed allocation say so when the bytes are synchronised, not when written."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match=os.strerror(code)) as caught, replacing(path) as temporary:
        temporary.write_text("new")
    monkeypatch.undo()
    assert caught.value.errno == code
    assert (caught.value.filename == str(path)) == (code == errno.ENOSPC)
    assert (names(tmp_path), path.read_text()) == (["a.txt"], "old")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".npz"])
def test_writers_leave_nothing_on_a_disk_that_fills_up(tmp_path: Path, suffix: str):
    """Of a picture and of arrays: /dev/full takes no byte, as a full disk does."""
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)

    def write() -> None:
        with replacing(path) as temporary:
            temporary.symlink_to("/dev/full")
            if suffix == ".npz":
                with temporary.open("wb") as stream:
                    np.savez(stream, noise=noise)
            else:
                Image.fromarray(noise).save(temporary)

    with pytest.raises(OSError, match="No space left"):
        write()
    assert names(tmp_path) == []


def test_bytes_are_on_the_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    events: list[str] = []
    sync, rename = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        events.append("name")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert events == ["file", "name", "folder"]


def test_folders_that_cannot_be_synchronised_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")  # some network file systems
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "a").read_text() == "x"


@given(
    stem=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1),
    suffix=st.sampled_from(["", ".jpg", ".hand.json", ".p", ".\u00e4" * 3, "." + "x" * 90]),
    fill=st.sampled_from(["", "a", "\u00e9", "\u624b"]),
)
@settings(max_examples=60)
def test_every_name_that_a_file_can_have_works(
    tmp_path_factory: pytest.TempPathFactory, stem: str, suffix: str, fill: str
):
    """Up to 255 bytes; the temporary name stays short, hidden and keeps a usual suffix."""
    room = 255 - len(suffix.encode())
    stem = (stem + fill * 255).encode()[:room].decode("utf-8", "ignore")
    name = stem + suffix
    if name in ("", ".", ".."):
        return
    folder = tmp_path_factory.mktemp("names")
    with replacing(folder / name) as temporary:
        assert temporary.parent == folder
        assert temporary.name.startswith(".")
        assert len(temporary.name.encode()) < 100
        usual = 0 < len(Path(name).suffix.encode()) <= 16
        assert temporary.suffix == (Path(name).suffix if usual else ".part")
        temporary.write_text("x")
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_name_of_bytes_that_are_no_text_works(tmp_path: Path):
    path = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.jpg"))
    with replacing(path) as temporary:
        assert temporary.name.encode("utf-8")
        temporary.write_text("x")
    assert [os.fsencode(file.name) for file in tmp_path.iterdir()] == [b"caf\xe9.jpg"]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_permissions_hold_from_the_first_byte(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        for name, mode in {"private": 0o600, "open": 0o644}.items():
            with replacing(tmp_path / name, mode=mode) as temporary:
                assert stat.S_IMODE(temporary.stat().st_mode) & ~mode == 0
                temporary.write_text("x")
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
        with replacing(tmp_path / "usual") as temporary:
            temporary.write_text("x")
        assert stat.S_IMODE((tmp_path / "usual").stat().st_mode) == 0o666 & ~umask
    finally:
        os.umask(before)


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as caught:
        raises_in_the_middle(tmp_path / "nowhere" / "a.txt", AssertionError())
    assert caught.value.filename == str(tmp_path / "nowhere" / "a.txt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), replacing(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == ["folder"]


def test_leftovers_of_killed_writers_go_and_nothing_else(tmp_path: Path):
    kept = ["shard-00001.tar", ".other.tar.0123abcd.part", ".shard-00001.tar", ".a.part", "b.part"]
    left = [".shard-00001.0123abcd.part.tar", ".shard-00002.tar.0123abcd.part"]  # of both forms
    with replacing(tmp_path / "shard-00007.tar") as temporary:
        left.append(temporary.name)
    for name in (*kept, *left):
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path, "shard-*.tar", "manifest.json")
    assert names(tmp_path) == sorted(kept)


def die_while_writing(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere leftovers go by their age")
def test_leftovers_go_when_their_writer_has_died_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    writer = multiprocessing.get_context("fork").Process(
        target=die_while_writing, args=(tmp_path / "clip_overlay.mp4",)
    )
    writer.start()
    writer.join(20)
    (left,) = names(tmp_path)
    assert re.fullmatch(rf"\.clip_overlay\.\w{{4}}-{writer.pid}-\w{{8}}\.part\.mp4", left)
    others = [
        ".a.0123abcd.part.mp4",
        f".a.0000-{writer.pid}-0123abcd.part.mp4",
        ".a.part",
        "b.part",
    ]
    for name in others:
        (tmp_path / name).write_text("x")
    with replacing(tmp_path / "mine.mp4") as temporary:
        temporary.write_text("x")
        remove_abandoned(tmp_path)
        assert names(tmp_path) == sorted([*others, temporary.name])
    monkeypatch.setattr("idhand.files.ABANDONED_S", -1.0)  # a week later
    remove_abandoned(tmp_path)
    assert names(tmp_path) == [".a.part", "b.part", "mine.mp4"]
    remove_abandoned(tmp_path / "nowhere")


# ----------------------------------------------------------------------------------------- reading


def test_files_that_are_there(tmp_path: Path):
    (tmp_path / "full").write_bytes(b"x")
    (tmp_path / "empty").touch()
    assert existing_file(str(tmp_path / "full")) == tmp_path / "full"
    with pytest.raises(FileNotFoundError, match="nothing: no such file; check the name"):
        existing_file(tmp_path / "nothing")
    with pytest.raises(ValueError, match="empty is empty"):
        existing_file(tmp_path / "empty")
    with pytest.raises(ValueError, match="is a folder; a file is needed"):
        existing_file(tmp_path)
    with pytest.raises(ValueError, match="cannot be read: File name too long"):
        existing_file(tmp_path / ("a" * 300))


def test_a_header_is_checked_for_format_and_version():
    assert KIND.check({**KIND.header, "more": 1}, "a")["more"] == 1
    for odd in ({}, {"format": "idhand features", "version": 3}, [1], None, "idhand tests", 3):
        with pytest.raises(ValueError, match=r"^a\.x is no file of tests; name another file$"):
            KIND.check(odd, "a.x")
    sentence = r"^a\.x has version {}, this idhand reads version 3; update idhand, or test again$"
    for version in (4, 2, None, "3", 3.5, [3], {}):
        found = sentence.format(str(version).replace("[", r"\[").replace("]", r"\]"))
        with pytest.raises(ValueError, match=found):
            KIND.check({"format": "idhand tests", "version": version}, "a.x")
    with pytest.raises(ValueError, match="has version True, this idhand reads version 1"):
        FileKind(format="", version=1, name="x", remedy="y").check({"version": True}, "a")
    older = replace(KIND, old_formats=("idhand trials",))
    assert older.check({"format": "idhand trials", "version": 3}, "a")["version"] == 3
    assert older.header["format"] == "idhand tests"
    bare = FileKind(format="", version=1, name="x", remedy="y")
    assert bare.check(bare.header, "a") == {"version": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"nothing",
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b"1" * 6_000,
        b'{"a": "\xe9"}',
    ],
)
def test_json_that_cannot_be_read_is_a_sentence(tmp_path: Path, content: bytes):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is not readable as JSON \(.+\); test again"):
        read_json(path, "test again")
    assert json.loads(parse_json(b'"{}"', "a", "b")) == {}


def test_json_without_enough_memory_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    def full(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(files.json, "loads", full)
    with pytest.raises(ValueError, match="does not fit into memory"):
        parse_json("{}", "a", "b")


def npz(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return path


def pickled(path: Path) -> None:
    npz(path, a=np.array([{}, print], dtype=object))


def encrypted(path: Path) -> None:
    data = bytearray(npz(path, a=np.arange(3)).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


def strange(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00\xff\xff")


def cut(path: Path) -> None:
    path.write_bytes(npz(path, a=np.arange(1000)).read_bytes()[:-90])


@pytest.mark.parametrize("make", [pickled, encrypted, strange, cut])
def test_damaged_arrays_are_a_sentence(tmp_path: Path, make: Callable[[Path], None]):
    make(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz is damaged \(.+\); test again"):
        read_arrays(tmp_path / "a.npz", KIND)


def test_arrays_with_a_header(tmp_path: Path):
    path = tmp_path / "a.npz"
    header = json.dumps({**KIND.header, "by": "me"}).encode()
    npz(path, header=np.frombuffer(header, np.uint8), a=np.arange(3))
    about, arrays = read_headed_arrays(path, KIND)
    assert about["by"] == "me"
    assert arrays.keys() == {"a"}
    np.testing.assert_array_equal(arrays["a"], np.arange(3))
    with pytest.raises(ValueError, match="is no file of tests"):
        read_headed_arrays(npz(path, a=np.arange(3)), KIND)
    with pytest.raises(ValueError, match="is not readable as JSON"):
        read_headed_arrays(npz(path, header=np.frombuffer(b"{", np.uint8)), KIND)
    path.write_bytes(b"\x93NUMPY no archive")
    with pytest.raises(ValueError, match="is no file of tests"):
        read_arrays(path, KIND)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="is a pipe or device"):
        existing_file(path)
