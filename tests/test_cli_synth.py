"""`idhand synth`: flags, sentences, what lies in the folder afterwards."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numba.core.config
import numpy as np
import pytest
from PIL import Image

import idhand.cli.synth
import idhand.data.manifest
from idhand.cli import main
from idhand.cli.synth import Command, configured
from idhand.data import Shards, decode_sample
from idhand.records import Sample
from idhand.synth.compiled import code_folder, compiled, is_compiled, is_kept
from idhand.view.gallery import PART_COLOURS, TILE_PX, contact_sheet, with_truth
from tests.test_data_shards import Fake, be_alone, group_is_gone, make_sample, wait_until


class FakeStudio(Fake, Sequence[Sample]):
    """Looks like a studio from outside."""

    config = SimpleNamespace(frames=1)

    def __getitem__(self, index: Any) -> Any:
        return decode_sample(self.entry(index))


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the renderer, which needs numba's compiler."""
    monkeypatch.setattr(idhand.data.manifest, "SHARD_SAMPLES", 10)

    def opened(command: Command) -> Any:
        return FakeStudio(count=command.images or 30, seed=command.seed)

    monkeypatch.setattr(idhand.cli.synth, "open_studio", opened)


def synth(*arguments: str | Path) -> int:
    return main(["synth", *map(str, arguments)])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("form", ["--population {}", "--population={}"])
@pytest.mark.parametrize(
    ("name", "population"),
    [("mixture", "all"), ("men", "male"), ("women", "female"), ("female", "female")],
)
def test_populations_have_one_name_and_the_old_ones_work(
    form: str, name: str, population: str, tmp_path: Path, studio, monkeypatch: pytest.MonkeyPatch
):
    taken: list[str] = []
    opened = idhand.cli.synth.open_studio
    monkeypatch.setattr(
        idhand.cli.synth,
        "open_studio",
        lambda command: taken.append(command.population) or opened(command),
    )
    flags = ("--images", "5", *form.format(name).split(), "--workers", "1")
    assert synth(*flags, "--out", tmp_path) == 0
    assert taken == [population]


def test_a_set_and_its_gallery(studio: None, tmp_path: Path, capsys):
    assert synth("--images", "25", "--out", tmp_path, "--gallery", "--workers", "2") == 0
    told = capsys.readouterr()
    assert "25 pictures in 3 shards, 0.2 MB (25 rendered now, " in told.out
    assert f" a second). Written to {tmp_path}\n25 pictures on {tmp_path}/gallery.jpg" in told.out
    assert files(tmp_path) == [
        "gallery.jpg", "gallery_truth.jpg", "manifest.json",
        *(f"shard-{number:05d}.tar" for number in range(3)),
    ]  # fmt: skip
    assert len(Shards(tmp_path)) == 25
    assert synth("--images", "25", "--out", tmp_path, "--workers", "1") == 0
    assert "0.2 MB (all were there already). Written to" in capsys.readouterr().out
    assert synth("--images", "25", "--out", tmp_path, "--seed", "1") == 2
    assert "config.seed is 0 there and 1 now. Use the same settings" in capsys.readouterr().err


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another folder for machine code."""
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", str(tmp_path / "code"))
    for cached in (code_folder, is_kept):
        cached.cache_clear()
    yield tmp_path / "code"
    for cached in (code_folder, is_kept):
        cached.cache_clear()


def test_compiling_is_announced_once(studio: None, code: Path, tmp_path: Path, capsys):
    flags = ("--images", "10", "--out", tmp_path / "set", "--workers", "1")
    assert synth(*flags) == 0
    assert "compiling the renderer: about 30 s of one core, the first" in capsys.readouterr().err
    assert compiled(_twice)(4) == 8
    assert [path.name for path in code.iterdir()] == [code_folder().name]
    assert is_compiled()
    assert synth(*flags) == 0
    assert "compiling" not in capsys.readouterr().err


def test_code_that_cannot_be_kept_is_compiled_at_every_start(
    studio: None, code: Path, tmp_path: Path, capsys
):
    code.touch()  # no folder can be made there
    assert compiled(_twice)(4) == 8
    assert not is_compiled()
    assert synth("--images", "10", "--out", tmp_path / "set", "--workers", "1") == 0
    assert "at every start, because" in capsys.readouterr().err


def _twice(x):
    return 2 * x


def test_a_gallery_alone(studio: None, tmp_path: Path, capsys):
    assert synth("--gallery", "--out", tmp_path / "new") == 0
    assert files(tmp_path / "new") == ["gallery.jpg", "gallery_truth.jpg"]
    with Image.open(tmp_path / "new" / "gallery.jpg") as sheet:
        assert sheet.size == (10 * 228 + 4, 3 * 228 + 4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give --images N, or --gallery for a sheet alone"),
        (["--images", "0"], "--images must be at least 1, got 0"),
        (["--images", "5", "--subjects", "0"], "--subjects must be at least 1, got 0"),
        (["--images", "5", "--workers", "-1"], "--workers must be at least 1, got -1"),
        (["--images", "5", "--seed", "-1"], "--seed must not be negative"),
        (["--images", "5", "--size", "32"], "--size must be 64 to 1024, got 32"),
    ],
)
def test_impossible_wishes(arguments: list[str], sentence: str, tmp_path: Path, capsys):
    assert synth(*arguments, "--out", tmp_path / "new") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_flags_that_do_not_exist(capsys):
    assert synth("--images", "5") == 2, "--out is required"
    assert synth("--images", "5", "--out", "x", "--preset", "nonsense") == 2


def test_without_numba_there_is_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    for name in [name for name in sys.modules if name.startswith("idhand.synth")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert synth("--images", "5", "--out", tmp_path) == 2
    assert "needs numba; install it: pip install 'idhand[synth]'" in capsys.readouterr().err


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The fields that the command sets."""

    frames: int
    split: str = "train"
    population: str = "all"
    num_subjects: int = 7
    num_images: int = 7
    size_px: int = 7
    seed: int = 7
    depth: bool = False


@pytest.mark.parametrize(
    ("frames", "flags", "images", "subjects"),
    [
        (1, {"images": 200_000}, 200_000, 5000),
        (1, {"images": 200_000, "split": "val"}, 200_000, 100),
        (1, {"images": 6}, 6, 6),
        (1, {"images": 6, "subjects": 2}, 6, 2),
        (1, {"images": 2, "subjects": 6}, 2, 6),  # the studio refuses
        (32, {"images": 64}, 64, 2),
        (32, {"images": 16}, 16, 1),  # the studio refuses
        (1, {"gallery": True}, 100, 100),
        (32, {"gallery": True}, 3200, 100),
        (1, {"gallery": True, "subjects": 8}, 100, 8),
    ],
)
def test_people_and_pictures(frames: int, flags: dict[str, Any], images: int, subjects: int):
    command = Command(out=Path("x"), size=96, seed=3, depth=True, **flags)
    config = configured(command, Preset(frames=frames))
    assert (config.num_images, config.num_subjects) == (images, subjects)
    assert (config.size_px, config.seed, config.depth) == (96, 3, True)
    assert (config.frames, config.split) == (frames, command.split)


def run_alone(out: Path) -> None:
    """The command in a process of its own."""
    be_alone()
    # Where the tests run in the background of a shell, it has told them to ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os._exit(synth("--images", "4000", "--out", out, "--workers", "2"))


@pytest.mark.skipif(sys.platform != "linux", reason="forks the command")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal(how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(idhand.data.manifest, "SHARD_SAMPLES", 10)
    slow = FakeStudio(count=4000, delay_s=0.005)  # ten seconds, if nobody stops it
    monkeypatch.setattr(idhand.cli.synth, "open_studio", lambda command: slow)
    command = multiprocessing.get_context("fork").Process(target=run_alone, args=(tmp_path,))
    command.start()
    assert command.pid
    wait_until((tmp_path / "shard-00000.tar").exists)
    os.killpg(command.pid, how) if how == signal.SIGINT else os.kill(command.pid, how)
    command.join(60)
    assert command.exitcode == 130
    wait_until(lambda: group_is_gone(command.pid or 0))
    assert not list(tmp_path.glob(".*")), "nothing half-written"
    shards = Shards(tmp_path)
    shards.verify()
    assert len(shards) < 4000


def test_the_real_studio_is_connected(tmp_path: Path):
    flags = ("--images", "6", "--subjects", "2", "--size", "64", "--depth", "--workers", "1")
    assert synth(*flags, "--out", tmp_path) == 0
    shards = Shards(tmp_path)
    assert len({sample.subject for sample in shards}) == 2
    assert {sample.rgb.shape for sample in shards} == {(64, 64, 3)}
    assert "depth.png" in shards.entry(0)
    assert synth(*flags, "--out", tmp_path / "new", "--backgrounds", tmp_path / "nowhere") == 2
    config = json.loads((tmp_path / "manifest.json").read_text())["source"]["config"]
    assert (config["num_images"], config["num_subjects"], config["split"]) == (6, 2, "train")


# ------------------------------------------------------------------------------------- the gallery


def test_a_sheet_holds_every_picture_in_order():
    colours = [(k * 10, 255 - k * 10, 40) for k in range(12)]
    shapes = [(64, 64), (300, 150), (224, 224)] * 4
    pictures = [np.full((*s, 3), c, np.uint8) for s, c in zip(shapes, colours, strict=True)]
    sheet = contact_sheet(pictures)
    step = TILE_PX + 4
    assert sheet.shape == (2 * step + 4, 10 * step + 4, 3)
    for number, colour in enumerate(colours):
        row, column = divmod(number, 10)
        middle = sheet[4 + row * step + TILE_PX // 2, 4 + column * step + TILE_PX // 2]
        np.testing.assert_array_equal(middle, colour)
    assert (sheet[step:, 3 * step :] == 255).all(), "the rest is paper"


def test_the_truth_is_drawn_where_it_is():
    parts = np.zeros((224, 224), np.uint8)
    parts[100:, :] = 5
    points = np.full((21, 2), 20.0)
    points[8] = 200, 60
    points[12] = np.nan
    hidden, known = np.ones(21, bool), np.ones(21, bool)
    hidden[8], known[12] = False, False
    grey = np.full((224, 224, 3), 100, np.uint8)
    sample = replace(
        make_sample(0), rgb=grey, parts=parts, keypoints_px=points, visible=hidden, valid=known
    )
    drawn = with_truth(sample)
    assert (drawn[:90, :10] == 100).all(), "the background stays"
    tinted = np.rint(0.4 * 100 + 0.6 * PART_COLOURS[5].astype(float))
    np.testing.assert_allclose(drawn[150, 100], tinted, atol=1)
    assert drawn[60, 200].max() < 40, "a hidden keypoint is dark"
    assert drawn[20, 20].max() > 150, "a visible one is bright"
    bare = with_truth(replace(sample, parts=None, visible=None))
    assert bare[60, 200].max() > 150
    assert (bare[150, 100] == 100).all()
    assert (grey == 100).all(), "the sample itself is not drawn on"
