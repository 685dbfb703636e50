"""Nothing of the user's is lost, and every failure is told as one."""

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import idhand
import idhand.cli.run
from idhand.cli import EXIT_FAULT, main
from idhand.cli.boxes import Boxes
from idhand.cli.outputs import Earlier, output_names
from idhand.cli.run import prepared
from idhand.files import replacing
from idhand.identity import PhotoUse
from idhand.media import find_media
from idhand.view import read_hands
from tests.test_cli import OF_A, FakePipe, clip, names, person, photo
from tests.test_predictions import make_predictions


@pytest.fixture(name="pipe")
def fake_pipe(monkeypatch: pytest.MonkeyPatch) -> FakePipe:
    fake = FakePipe()
    monkeypatch.setitem(vars(idhand), "load", lambda: fake)
    return fake


@pytest.fixture(autouse=True)
def _calibrate(monkeypatch: pytest.MonkeyPatch) -> None:
    def calibrate(pipe: Any, images: Any, *, progress: Any, **settings: Any) -> Any:
        return person(tuple(PhotoUse(weight=1.0) for _ in progress(list(images))))

    monkeypatch.setitem(vars(idhand), "calibrate", calibrate)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


# ------------------------------------------------------------------------- inputs are not replaced


def test_a_photo_in_the_place_of_the_output_is_not_replaced(tmp_path: Path, pipe, capsys):
    """`idhand calibrate --out p/*.jpg`, as the shell expands it."""
    photos = [str(photo(tmp_path / f"{name}.jpg")) for name in "abc"]
    before = contents(tmp_path)
    for verb in ("calibrate", "run"):
        assert main([verb, "--out", *photos]) == 2
        assert "a.jpg has the name of a picture, which would be replaced" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert pipe.calls == []


@pytest.mark.parametrize("name", ["me.JPEG", "me.mov"])
@pytest.mark.parametrize(
    "command",
    [
        ["calibrate", "a.png"], ["run", "a.png"], ["demo"], ["refine", "p.npz", "--data", "."],
        ["predict", "n.safetensors", "--data", "."], ["reproduce", "--data", "."],
        ["evaluate", "p.npz", "--data", "."], ["synth", "--images", "1"],
        ["train", "debug", "--data", "."],
    ],
)  # fmt: skip
def test_outputs_with_a_pictures_or_clips_name_are_refused(
    tmp_path: Path, pipe, capsys, monkeypatch: pytest.MonkeyPatch, command: list[str], name: str
):
    monkeypatch.chdir(tmp_path)
    photo(Path("a.png"))
    make_predictions().save("p.npz")
    before = names(tmp_path)
    assert main([*command, "--out", name]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert names(tmp_path) == before


@pytest.mark.parametrize("name", ["me.mp4", "me.png", "me.dng"])
def test_verbs_that_write_folders_say_why(tmp_path: Path, capsys, name: str):
    assert main(["demo", "--out", str(tmp_path / name)]) == 2
    kind = "clip" if name.endswith("mp4") else "picture"
    assert f"{name} has the name of a {kind}, which would be replaced" in capsys.readouterr().err


def test_an_output_that_is_an_input_is_refused(tmp_path: Path, pipe, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = photo(Path("odd"), format="PNG")  # a photo without a suffix
    Path("camera").write_text(json.dumps({"K": [[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]}))
    Path("hands.json").write_text(Path("camera").read_text())
    make_predictions().save("p.npz")
    before = contents(tmp_path)
    for command in (
        ["calibrate", "odd", "--out", "../" + tmp_path.name + "/odd"],
        ["calibrate", ".", "--out", "odd"],
        ["calibrate", "odd", "--k", "camera", "--out", "camera"],
        ["run", "odd", "--k", "hands.json", "--out", "."],
        ["refine", "p.npz", "--data", ".", "--out", "p.npz"],
    ):
        assert main(command) == 2, command
        assert "is also an input and would be replaced" in capsys.readouterr().err, command
    assert contents(tmp_path) == before
    assert odd.is_file()


# ------------------------------------------------------------------------------ a second run


@pytest.mark.parametrize("flat", [False, True])
def test_a_second_run_beside_the_photos_takes_no_overlay_for_a_photo(
    tmp_path: Path, pipe: FakePipe, capsys, flat: bool
):
    photo(tmp_path / "a.jpg")
    photo(tmp_path / "my_overlay.jpg")
    clip(tmp_path / "c.mp4", [1, 1])
    run = ["run", str(tmp_path), "--out", str(tmp_path)]
    assert main(run) == 0
    assert "Replaced" not in capsys.readouterr().out
    first = [image.file for image in read_hands(tmp_path / "hands.json")]
    assert first == [str(tmp_path / name) for name in ("a.jpg", "my_overlay.jpg")]
    (tmp_path / "my_overlay.jpg").rename(tmp_path / "mine.jpg")
    made = names(tmp_path)
    if flat:  # as versions before 1.0 wrote them
        for path in (tmp_path / "overlays").iterdir():
            path.rename(tmp_path / path.name)
        photo(tmp_path / "a_before_after.jpg")
    assert main(run) == 0
    text = capsys.readouterr()
    again = [image.file for image in read_hands(tmp_path / "hands.json")]
    assert again == [str(tmp_path / name) for name in ("a.jpg", "mine.jpg")]
    assert ("skipped 4 pictures and clips that idhand drew" in text.err) == flat
    assert "other file" not in text.err, "its own results are none of the user's files"
    assert f"Replaced {8 - 2 * flat} files of an earlier run: hands.json, " in text.out
    if not flat:
        extra = {"meshes/mine.glb", "meshes/mine.obj", "overlays/mine_overlay.jpg"}
        assert set(names(tmp_path)) == {*made, *extra}
    named = ["run", str(tmp_path / "overlays" / "a_overlay.jpg"), "--out", str(tmp_path / "other")]
    assert main(named) == 0, "what is named itself is taken"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere leftovers go by their age")
def test_a_run_removes_what_a_killed_one_left(tmp_path: Path, pipe: FakePipe):
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    out, left = tmp_path / "out", []
    (out / "overlays").mkdir(parents=True)
    for path in (out / "hands.jsonl", out / "overlays" / "clip_overlay.mp4"):
        with replacing(path) as temporary:  # of this process, which runs
            name = temporary.name
        for process in (os.getpid(), killed.pid):
            left.append(path.parent / name.replace(f"-{os.getpid()}-", f"-{process}-"))
            left[-1].write_text("x")
    photo(tmp_path / "a.jpg")
    assert main(["run", str(tmp_path / "a.jpg"), "--out", str(out)]) == 0
    assert [path.exists() for path in left] == [True, False, True, False]


def test_what_was_replaced_is_said(tmp_path: Path):
    for kind in ("overlays", "meshes"):
        (tmp_path / kind).mkdir()
    for name in ("hands.json", "overlays/a.jpg", "overlays/b.jpg", "meshes/a.glb", "mine.txt"):
        (tmp_path / name).write_text("1")
    earlier = Earlier(tmp_path)
    assert earlier.sentence() is None
    (tmp_path / "overlays" / "new.jpg").write_text("1")
    assert earlier.sentence() is None
    for name in ("hands.json", "overlays/a.jpg", "overlays/b.jpg", "meshes/a.glb"):
        (tmp_path / "part").write_text("2")
        (tmp_path / "part").replace(tmp_path / name)
    assert {path.as_posix() for path in earlier.replaced()} == {
        *("hands.json", "overlays/a.jpg", "overlays/b.jpg", "meshes/a.glb")
    }
    sentence = earlier.sentence()
    assert sentence is not None
    assert sentence.startswith("Replaced 4 files of an earlier run: hands.json, ")
    assert sentence.endswith(" and 1 more")


def test_an_unreadable_clip_keeps_yesterdays_hands(tmp_path: Path, pipe, capsys):
    out = tmp_path / "out"
    assert main(["run", str(clip(tmp_path / "c.mp4", [1, 1])), "--out", str(out)]) == 0
    good = (out / "hands.jsonl").read_bytes()
    (tmp_path / "c.mp4").write_text("no video any more")
    assert main(["run", str(tmp_path / "c.mp4"), "--out", str(out)]) == 2
    assert "not a video" in capsys.readouterr().err
    assert (out / "hands.jsonl").read_bytes() == good
    assert [frame.frame for frame in read_hands(out / "hands.jsonl")] == [0, 1]


# --------------------------------------------------------------------- one bad input ends nothing


@pytest.mark.parametrize("verb", ["run", "calibrate"])
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_photo_that_does_not_fit_into_memory(
    tmp_path: Path, pipe, capsys, monkeypatch: pytest.MonkeyPatch, verb: str, error: Exception
):
    real = idhand.read_image

    def read(path: Path) -> Any:
        if path.name == "huge.jpg":
            raise error
        return real(path)

    monkeypatch.setattr(f"idhand.cli.{verb}.read_image", read)
    photo(tmp_path / "huge.jpg")
    photo(tmp_path / "small.jpg")
    out = tmp_path / ("out" if verb == "run" else "me.hand.json")
    assert main([verb, str(tmp_path), "--out", str(out)]) == 1
    sentence = "huge.jpg: there is not enough memory for it"
    assert sentence in capsys.readouterr().err
    page = out / "report.html" if verb == "run" else tmp_path / "me.report.html"
    assert "small.jpg" in page.read_text("utf-8")


def test_a_folder_that_cannot_be_read(tmp_path: Path, pipe, capsys, monkeypatch):
    (tmp_path / "closed").mkdir()
    real = Path.iterdir

    def iterdir(self: Path) -> Any:
        if self.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    inputs = [str(photo(tmp_path / "a.jpg")), str(tmp_path / "closed")]
    assert main(["run", *inputs, "--out", str(tmp_path / "out")]) == 1
    assert "closed cannot be read: Permission denied" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["hands.json", *OF_A, "report.html"]
    assert "closed cannot be read" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert main(["run", inputs[1], "--out", str(tmp_path / "out")]) == 2


@pytest.mark.parametrize("hands", [0, 1])
def test_names_as_long_as_they_can_be(tmp_path: Path, pipe, hands: int):
    """Of 255 bytes with the suffix, alike but for their ends."""
    for end in "ab":
        photo(tmp_path / ("\u00e9" * 124 + "xx" + end + ".jpg"), hands=hands)
    out = tmp_path / "out"
    formats = ["glb", "obj", "ply", "npz", "bvh", "openxr"]
    code = main(["run", str(tmp_path), "--out", str(out), "--export", *formats])
    assert code == (0 if hands else 1)
    assert len(names(out / "overlays") if hands else []) == 2 * hands
    assert len(names(out)) == 2 + 2 * hands * (1 + len(formats))
    assert len({image.name for image in read_hands(out / "hands.json")}) == 2


@pytest.mark.parametrize("fault", ["empty", "no hand", "fine"])
def test_names_that_are_no_text_end_neither_folder_nor_report(
    tmp_path: Path, pipe, capsys, fault: str
):
    odd = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    try:
        photo(odd, hands=0 if fault == "no hand" else 1)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    if fault == "empty":
        odd.write_bytes(b"")
    photo(tmp_path / "fine.jpg")
    out = tmp_path / os.fsdecode(b"\xe9")
    assert main(["run", str(tmp_path), "--out", str(out)]) == (0 if fault == "fine" else 1)
    page = (out / "report.html").read_text("utf-8")
    assert "fine.jpg" in page
    assert "caf\ufffd.jpg" in page
    made = names(out)
    assert ("overlays/caf\ufffd_overlay.jpg" in made) == (fault == "fine")
    assert "Written to" in capsys.readouterr().out


def test_output_names_fit_and_differ(tmp_path: Path):
    long = [Path("d" * n + "/" + "x" * 249 + ".jpg") for n in (1, 2, 3)]
    made = output_names(long, tmp_path)
    assert len(set(made)) == 3
    assert all(len(f"{name}_hand_10_right.bvh".encode()) <= 255 for name in made)
    with_dots = Path("a.b" * 80 + ".jpg")
    assert output_names([with_dots], tmp_path)[0] == ("a.b" * 80)[:200]


def test_a_full_disk_leaves_no_overlay(tmp_path: Path, pipe, capsys, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["run", str(photo(tmp_path / "a.jpg")), "--out", str(tmp_path / "out")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert names(tmp_path / "out") == []


def test_a_folder_in_the_place_of_a_result_is_a_sentence(tmp_path: Path, pipe, capsys):
    (tmp_path / "hands.json").mkdir()
    assert main(["run", str(photo(tmp_path / "a.jpg")), "--out", str(tmp_path)]) == 2
    text = capsys.readouterr().err
    assert "hands.json is a folder; move it away, or name another folder" in text


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path: Path, pipe, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "overlays").write_text("mine")
    assert main(["run", str(photo(tmp_path / "a.jpg")), "--out", str(out)]) == 2
    text = capsys.readouterr().err
    assert f"{out / 'overlays'} cannot be used: there is a file where a folder is needed" in text
    assert "Errno" not in text
    assert (out / "overlays").read_text() == "mine"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EISDIR, errno.ENOENT, errno.EIO])
def test_what_the_system_refuses_says_what_to_do(
    tmp_path: Path, pipe, capsys, monkeypatch: pytest.MonkeyPatch, code: int
):
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code), "hands.json")

    monkeypatch.setattr(idhand.cli.run, "write_hands", refused)
    assert main(["run", str(photo(tmp_path / "a.jpg")), "--out", str(tmp_path / "out")]) == 2
    text = capsys.readouterr().err
    assert "idhand: hands.json " in text
    assert "Errno" not in text
    assert any(advice in text for advice in ("make room", "name another", "check", "try again"))


# ------------------------------------------------------------------------------------ the last gate


@pytest.mark.parametrize("argv", [["run"], ["--debug", "run"], ["run", "--debug"]])
def test_an_unexpected_error_is_a_sentence(
    tmp_path: Path, pipe, capsys, monkeypatch, argv: list[str]
):
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("of\nours")

    monkeypatch.setattr(idhand.cli.run, "overlay", broken)
    file = str(photo(tmp_path / "a.jpg"))
    assert main([*argv, file, "--out", str(tmp_path / "out")]) == EXIT_FAULT == 3
    text = capsys.readouterr()
    last = text.err.rstrip().splitlines()[-1]
    assert "idhand: an error that should not happen (KeyError: 'of\\nours')" in last
    assert "please report it" in last
    assert ("Traceback" in text.err) == ("--debug" in argv)
    assert ("`idhand run ... --debug`" in last) == ("--debug" not in argv)


def test_debug_shows_where_a_users_mistake_was_found(tmp_path: Path, pipe, capsys):
    assert main(["run", str(tmp_path / "nothing"), "--fov", "200", "--debug"]) == 2
    text = capsys.readouterr().err
    assert "Traceback" in text
    assert text.rstrip().endswith("--fov must be between 1 and 179 degrees, got 200")


def test_a_full_memory_is_no_fault_of_idhand(tmp_path: Path, pipe, capsys, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(idhand.cli.run, "write_hands", full)
    assert main(["run", str(photo(tmp_path / "a.jpg")), "--out", str(tmp_path / "out")]) == 2
    assert "idhand: there is not enough memory" in capsys.readouterr().err


def test_the_package_is_the_command(capsys):
    command = [sys.executable, "-m", "idhand", "nonsense"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == main(["nonsense"]) == 2
    assert ended.stderr == capsys.readouterr().err


def test_help_knows_the_exit_codes(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "3 a fault in idhand itself" in text
    assert "--debug" in text
    assert main(["--debug", "--version"]) == 0


# ----------------------------------------------------------------------------------------- friction


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--export glb obj a.jpg", "a.jpg --export glb obj"),
        ("b.jpg --export ply c.jpg --out o", "b.jpg c.jpg --out o --export ply"),
        ("--export glb ./folder --k k.json", "./folder --k k.json --export glb"),
        ("--export glb fbx a.jpg", "a.jpg --export glb fbx"),
        ("--export --out o a.jpg", "--out o a.jpg --export"),
        ("a.jpg --export glb -- -b.jpg", "a.jpg --export glb -- -b.jpg"),
        ("a.jpg --out o", "a.jpg --out o"),
    ],
)
def test_photos_may_follow_the_formats(given: str, meant: str):
    assert prepared(given.split()) == meant.split()


def test_photos_after_the_formats_are_done(tmp_path: Path, pipe, capsys):
    file, out = str(photo(tmp_path / "a.jpg")), tmp_path / "out"
    assert main(["run", "--export", "ply", file, "--out", str(out), "--no-report"]) == 0
    assert names(out) == ["hands.json", "meshes/a.ply", "overlays/a_overlay.jpg"]
    assert main(["run", "--export", "ply", "fbx", file, "--out", str(out)]) == 2
    assert "fbx" in capsys.readouterr().err


def test_a_guessed_camera_is_said(tmp_path: Path, pipe, capsys, monkeypatch):
    from dataclasses import replace

    real = FakePipe.__call__

    def guessing(self: FakePipe, rgb: np.ndarray, **settings: Any) -> Any:
        hands = real(self, rgb, **settings)
        return [replace(hand, K_is_guess=settings["K"] is None) for hand in hands]

    monkeypatch.setattr(FakePipe, "__call__", guessing)
    inputs = [str(photo(tmp_path / "a.jpg")), str(photo(tmp_path / "wall.jpg", hands=0))]
    out = ["--out", str(tmp_path / "out")]
    assert main(["run", *inputs, str(clip(tmp_path / "c.mp4", [1, 1])), *out]) == 1
    sentence = "the camera of 2 inputs is not known: a field of view of 60 degrees is assumed"
    assert sentence in capsys.readouterr().err
    assert main(["run", inputs[0], "--fov", "70", *out]) == 0
    assert "is assumed" not in capsys.readouterr().err


def test_reports_are_as_private_as_profiles(tmp_path: Path, pipe):
    photo(tmp_path / "a.jpg")
    assert main(["calibrate", str(tmp_path), "--out", str(tmp_path / "me.hand.json")]) == 0
    assert main(["run", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    for path in ("me.hand.json", "me.report.html", "out/report.html"):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o600, path


def test_a_read_only_data_set_asks_for_a_cache_before_the_work(tmp_path: Path, monkeypatch):
    from idhand.cli.train import _check_cache

    def refuse(self: Path) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(ValueError, match=r"features would be kept in .*features.*give --cache"):
        _check_cache(tmp_path / "data" / "features", is_given=False)
    with pytest.raises(ValueError, match="Read-only file system; choose another --cache"):
        _check_cache(tmp_path / "mine", is_given=True)
    (tmp_path / "data" / "features" / "0123").mkdir()
    _check_cache(tmp_path / "data" / "features", is_given=False)


def test_a_device_that_is_not_there(tmp_path: Path, capsys):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    command = ["train", "debug", "--data", str(tmp_path), "--out", str(tmp_path / "o")]
    assert main([*command, "--device", "cuda"]) == 2
    text = capsys.readouterr().err
    assert "there is no device 'cuda' here" in text
    assert text.rstrip().endswith("; use cpu")


def test_a_loop_of_symbolic_links_is_left_out(tmp_path: Path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    assert output_names([tmp_path / "a.jpg"], tmp_path / "out") == ["a"]
    found = find_media([tmp_path])
    assert {file.path.name for file in found.files} <= {"a.jpg", "b.jpg"}


def test_boxes_in_a_damaged_csv_file_are_a_sentence(tmp_path: Path):
    path = tmp_path / "boxes.csv"
    path.write_text("file,frame,left,top,right,bottom\na.jpg,," + "1" * 200_000 + ",2,3,4\n")
    with pytest.raises(ValueError, match=r"boxes.csv is not readable as CSV"):
        Boxes.load(path)
