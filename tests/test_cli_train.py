"""`idhand train`: flags, sentences, what lies in the folder afterwards."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from idhand.cli import main
from idhand.cli.train import Command, Preset, make_training
from idhand.data import write_shards
from idhand.nets.files import load_regressor
from idhand.training import PRESETS, Trained, Training
from idhand.training.processes import Group
from tests.test_training_data import HandSource


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for name, source in (("train", HandSource(10)), ("val", HandSource(4, first=100))):
        write_shards(source, folder / name, workers=1)
    return folder


def train(*arguments: str | Path) -> int:
    return main(["train", *map(str, arguments)])


def test_a_network_from_a_folder(sets: Path, tmp_path: Path, capsys):
    flags = ("debug", "--data", sets / "train", "--val", sets / "val", "--workers", "1")
    assert train(*flags, "--out", tmp_path, "--resume") == 2
    assert "holds no checkpoint; leave out --resume" in capsys.readouterr().err
    assert train(*flags, "--out", tmp_path) == 0
    told = capsys.readouterr()
    assert told.out.startswith("6 steps, mpjpe_mm ")
    assert told.out.endswith(f". Written to {tmp_path}/debug.safetensors\n")
    assert "step 6 of 6 | loss " in told.err
    net = load_regressor(tmp_path / "debug.safetensors").state_dict()
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoints", "commit.txt", "config.json", "debug.safetensors", "log.txt", "tensorboard",
    }  # fmt: skip
    assert len(list((sets / "train" / "features").iterdir())) == 2
    shutil.rmtree(tmp_path / "tensorboard")
    assert train(*flags, "--out", tmp_path, "--resume") == 0
    assert "going on after step 6" in capsys.readouterr().err
    again = load_regressor(tmp_path / "debug.safetensors").state_dict()
    assert all(torch.equal(net[name], again[name]) for name in net)
    before = (tmp_path / "config.json").read_text()
    assert train(*flags, "--out", tmp_path, "--seed", "1") == 2
    assert "training.loop.seed is 0 there and 1 now" in capsys.readouterr().err
    assert (tmp_path / "config.json").read_text() == before


def test_a_loss_that_is_no_number(
    sets: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    def stopped(run: Training) -> tuple[Trained, Path]:
        raise FloatingPointError("training stopped in step 5: mesh not finite")

    monkeypatch.setattr(Training, "__call__", stopped)
    assert train("debug", "--data", sets / "train", "--out", tmp_path) == 2
    assert "idhand: training stopped in step 5: mesh not finite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["debug", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["debug", "--seed", "-1"], "--seed must not be negative"),
        (["debug", "--batch", "11"], "one batch takes 11 examples, but there are only 10"),
        (["confidence"], "trains a branch of a trained network; name its file: --start"),
        (["identity", "--in-memory"], "--in-memory is for presets that learn poses from pictures"),
        (["paper_heatmaps", "--in-memory"], "'paper_heatmaps' does not, so leave it out"),
        (["paper_baseline", "--views", "2"], "'paper_baseline' learns from pictures; --views is"),
        (["debug", "--device", "cuda:77"], "there is no device 'cuda:77' here"),
        (["debug", "--device", "quantum"], "there is no device 'quantum' here"),
        (["debug", "--start", "no.safetensors"], "no.safetensors: no such file"),
    ],
)
def test_impossible_wishes(arguments: list[str], sentence: str, sets: Path, tmp_path: Path, capsys):
    assert train(*arguments, "--data", sets / "train", "--out", tmp_path) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))


def test_data_that_is_not_there(sets: Path, tmp_path: Path, capsys):
    assert train("debug", "--data", tmp_path / "nowhere", "--out", tmp_path) == 2
    assert "holds no manifest.json" in capsys.readouterr().err
    assert train("debug", "--out", tmp_path) == 2, "--data is required"
    assert train("nonsense", "--data", sets / "train", "--out", tmp_path) == 2


def test_data_without_labels(sets: Path, tmp_path: Path, capsys):
    class Bare(HandSource):
        def entry(self, index: int) -> Any:
            from idhand.data import decode_sample, encode_sample

            files = super().entry(index)
            sample = replace(decode_sample(files), betas=None)
            return encode_sample(sample, files["jpg"])

    write_shards(Bare(8), tmp_path / "bare", workers=1)
    assert train("debug", "--data", tmp_path / "bare", "--out", tmp_path / "run") == 2
    assert "has no betas, which this network learns; use a data set" in capsys.readouterr().err


def test_flags_reach_the_training(sets: Path, tmp_path: Path):
    command = Command(
        preset="paper_identity", data=sets / "train", out=tmp_path, steps=7, batch=3, lr=0.5,
        seed=9, amp=True, workers=0, cache=tmp_path / "kept",
    )  # fmt: skip
    run = make_training(command, Group())
    loop = run.config.loop
    assert (loop.steps, loop.epochs, loop.batch, loop.lr) == (7, None, 3, 0.5)
    assert (loop.seed, loop.amp, loop.num_workers) == (9, "bf16", 0)
    assert (run.cache, run.workers, run.val) == (tmp_path / "kept", 1, None)
    views = make_training(
        Command(preset="debug", data=sets / "train", out=tmp_path, views=3), Group()
    )
    assert views.config.views == 3


def test_every_preset_can_be_named():
    assert list(get_args(Preset)) == list(PRESETS)
