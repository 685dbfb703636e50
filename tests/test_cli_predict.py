"""`idhand predict` and `idhand refine`: from a data set to files, and sentences."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from idhand.assets import open_hand
from idhand.cli import main
from idhand.data import encode_sample, write_shards
from idhand.identity import Identity, measure
from idhand.methods.detections import DetectedHands
from idhand.nets.files import save_net
from idhand.predictions import Predictions
from tests.test_data_shards import Fake, jpeg_of
from tests.test_experiments_predict import demo_samples, small_net


@dataclass(frozen=True)
class Demo(Fake):
    """The bundled pictures as a source; the last one is black."""

    def entry(self, index: int) -> dict[str, bytes]:
        sample = demo_samples()[index]
        if self.seed:
            sample = replace(sample, id=f"other-{index}")
        return encode_sample(sample, jpeg_of(sample))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(Demo(count=5), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nets") / "small.safetensors"
    save_net(small_net(), path, {})
    return path


@pytest.fixture(scope="module")
def detected(data: Path, net: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hand net sees, written by the first prediction."""
    folder = tmp_path_factory.mktemp("detected")
    assert (
        predict(net, "--data", data, "--out", folder / "p.npz", "--detections", folder / "l.npz")
        == 0
    )
    return folder / "l.npz"


def predict(*arguments: str | Path) -> int:
    return main(["predict", *map(str, arguments)])


def refine(*arguments: str | Path) -> int:
    return main(["refine", *map(str, arguments)])


def test_a_network_and_a_set_give_a_file(
    data: Path, net: Path, detected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = DetectedHands.load(detected).features
    assert kept is not None
    assert predict(net, "--data", data, "--out", tmp_path / "p.npz", "--detections", detected) == 0
    assert "4 hands in 5 pictures of 2 people" in capsys.readouterr().out
    found = Predictions.load(tmp_path / "p.npz")
    assert found.method == "small"
    assert found.header["dataset"] == "demo"
    missed = [name for name, hit in zip(found.sample_id, found.found, strict=True) if not hit]
    assert missed == ["black"]
    assert (tmp_path / "p.npz").read_bytes() == (detected.parent / "p.npz").read_bytes()


def test_shapes_come_from_everywhere(
    data: Path, net: Path, detected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, betas = open_hand(), np.linspace(-1, 1, 16)
    profile = Identity(
        model=model.name,
        betas=betas,
        covariance=np.eye(16),
        measurements=measure(model, betas, np.eye(16)),
    )
    (tmp_path / "profiles").mkdir()
    profile.save(tmp_path / "profiles" / "someone.hand.json")
    anonymous = Predictions.load(detected.parent / "p.npz")
    assert anonymous.betas is not None
    mine = [row for row, subject in enumerate(anonymous.subject) if subject == "someone"]
    wanted = {
        "true": demo_samples()[0].betas,
        "mean": np.zeros(16),
        str(tmp_path / "profiles"): betas,
        str(detected.parent / "p.npz"): anonymous.betas[mine].mean(0),
    }
    for source, shape in wanted.items():
        out = tmp_path / "out.npz"
        flags = ("--data", data, "--out", out, "--detections", detected, "--shapes", source)
        assert predict(net, *flags) == 0
        known = Predictions.load(out)
        assert known.betas is not None
        assert np.allclose(known.betas[mine], shape, atol=1e-5)
    assert "1 person has no shape (e.g. other)" in capsys.readouterr().err


def test_predictions_are_refined(data: Path, detected: Path, tmp_path: Path) -> None:
    for solver in ("second_order", "paper_adam"):
        out = tmp_path / f"{solver}.npz"
        start = detected.parent / "p.npz"
        flags = ("--data", data, "--out", out, "--detections", detected, "--solver", solver)
        assert refine(start, *flags) == 0
        assert Predictions.load(out).found.sum() == 4
    free = tmp_path / "free.npz"
    flags = ("--data", data, "--out", free, "--shape", "free", "--directions", "both")
    assert refine(detected.parent / "p.npz", *flags) == 0
    assert Predictions.load(free).method == "small + refined, free shape"


def test_mistakes_end_as_sentences(
    data: Path, net: Path, detected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(code: int) -> str:
        assert code == 2
        return capsys.readouterr().err

    flags = ("--data", data, "--detections", detected, "--out", tmp_path / "p.npz")
    capsys.readouterr()
    assert "no such file" in told(predict(tmp_path / "none.safetensors", *flags))
    assert "no such file" in told(predict(net, *flags, "--shapes", tmp_path / "none.npz"))
    assert "holds no profile" in told(predict(net, *flags, "--shapes", tmp_path))
    assert ".npz" in told(predict(net, "--data", data, "--out", tmp_path / "p.json"))
    assert "--batch" in told(predict(net, *flags, "--batch", "0"))
    foreign = tmp_path / "mano.safetensors"
    save_net(small_net(hand_model="mano"), foreign, {})
    assert "hand model 'mano'" in told(predict(foreign, *flags))
    given = tmp_path / "given.safetensors"
    save_net(small_net(identity="given", shape_cov=False), given, {})
    new = ("--data", data, "--detections", tmp_path / "l.npz", "--out", tmp_path / "p.npz")
    assert "needs everybody's" in told(predict(given, *new))
    assert not (tmp_path / "l.npz").exists(), "nobody looked at anything before"
    write_shards(Demo(count=1, seed=1), tmp_path / "other", workers=1)
    other = ("--data", tmp_path / "other", "--out", tmp_path / "p.npz")
    assert "holds the hands of another data set" in told(
        predict(net, *other, "--detections", detected)
    )
    assert "another data set" in told(refine(detected.parent / "p.npz", *other))
    assert not (tmp_path / "p.npz").exists()
