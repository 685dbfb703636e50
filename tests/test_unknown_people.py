"""Pictures of people whom nobody names, as FreiHAND's: what goes on, and what is refused."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from idhand.cli import main
from idhand.data import Shards, encode_sample, write_shards
from idhand.experiments.reproduce import ReproduceConfig, chosen_pictures
from idhand.nets.files import save_net
from idhand.predictions import Predictions
from tests.test_cli_predict import Demo
from tests.test_data_shards import jpeg_of
from tests.test_experiments_predict import demo_samples, small_net


@dataclass(frozen=True)
class Unnamed(Demo):
    """The bundled pictures, without the names of their people."""

    def entry(self, index: int) -> dict[str, bytes]:
        sample = replace(demo_samples()[index], subject=None)
        return encode_sample(sample, jpeg_of(sample))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, a network, and its predictions."""
    folder = tmp_path_factory.mktemp("unnamed")
    write_shards(Unnamed(count=5), folder / "data", workers=1)
    save_net(small_net(), folder / "small.safetensors", {})
    files = ["--out", str(folder / "p.npz"), "--detections", str(folder / "l.npz")]
    net = str(folder / "small.safetensors")
    assert main(["predict", net, "--data", str(folder / "data"), *files]) == 0
    return folder


def told(folder: Path, capsys: pytest.CaptureFixture[str], verb: str, *arguments: str) -> str:
    """What a command that is refused says."""
    assert main([verb, *arguments, "--data", str(folder / "data")]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_predictions_and_intervals_are_of_pictures(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    assert set(Predictions.load(folder / "p.npz").subject) == {""}
    assert main(["evaluate", str(folder / "p.npz"), "--data", str(folder / "data")]) == 0
    title = capsys.readouterr().out.splitlines()[0]
    assert title.startswith("**5 pictures of unknown people")
    assert title.endswith("mean [95 % interval over pictures]**")


def test_true_shapes_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    files = ("--out", str(folder / "q.npz"), "--detections", str(folder / "l.npz"))
    net = str(folder / "small.safetensors")
    said = told(folder, capsys, "predict", net, *files, "--shapes", "true")
    assert "its subject is unknown" in said
    assert "true shapes need data that names its subjects" in said
    assert not (folder / "q.npz").exists()
    stored = str(folder / "p.npz")
    assert "do not say whose hand they show" in told(
        folder, capsys, "predict", net, *files, "--shapes", stored
    )


def test_calibration_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    files = ["--predictions", str(folder / "p.npz"), "--out", str(folder / "people")]
    assert main(["calibrate", *files]) == 2
    assert "do not say whose hand they show" in capsys.readouterr().err
    assert not list(folder.glob("people/*.json"))


def test_the_experiment_is_refused(folder: Path):
    with pytest.raises(ValueError, match="5 of 5 pictures do not say whose hand they show"):
        chosen_pictures(Shards(folder / "data"), ReproduceConfig())
