"""The lines that take a researcher from a data set of others to a score, as people type them."""

import json
import zipfile
from functools import partial
from pathlib import Path

import pytest

from idhand.cli import main
from idhand.fixtures import freihand, humbi
from idhand.predictions import Predictions


def run(line: str) -> int:
    """`idhand LINE`."""
    return main(line.split())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with hand models of its own."""
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_from_freihand_to_its_score(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    small = partial(freihand.FreihandFixture, bases=5, evaluation=2)
    monkeypatch.setattr(freihand, "FreihandFixture", small)
    assert run("assets export --format mano --out F/mano") == 0
    assert run("assets mano F/mano") == 0
    assert run("data fixture freihand --blank --out F/freihand") == 0
    assert run("data check F/freihand --deep") == 0
    told = capsys.readouterr().out
    assert "at most 0.000 mm from the hand model's" in told
    prepare = "data prepare F/freihand --protocol freihand --mano F/mano --out W --workers 1"
    assert run(f"{prepare} --size 224") == 0
    train = "train baseline --data W/train --val W/val --steps 3 --out W/run --workers 1"
    assert run(train) == 0
    assert "there are only 16 pictures, so one batch has 16 of them" in capsys.readouterr().err
    assert run("predict W/run/baseline.safetensors --data W/test --out p.npz") == 0
    assert run("evaluate p.npz --data W/test --protocol freihand --write pred.zip") == 0
    assert "freihand as its own evaluation scores it, 2 pictures" in capsys.readouterr().out
    with zipfile.ZipFile("pred.zip") as archive:
        joints, verts = json.loads(archive.read("pred.json"))
    assert (len(joints), len(verts), len(verts[0])) == (2, 2, 778)
    assert run("convert p.npz --to openxr --out hand.json") == 0
    document = json.loads((here / "hand.json").read_text())
    found = Predictions.load("p.npz")
    names = [name for name, there in zip(found.sample_id, found.found, strict=True) if there]
    assert names
    assert [hand["name"] for hand in document["hands"]] == names
    assert len(document["hands"][0]["frames"][0]["positions"]) == 26


def test_humbi_is_prepared(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    small = partial(humbi.HumbiFixture, subjects=(1, 4), times=1, cameras=2)
    monkeypatch.setattr(humbi, "HumbiFixture", small)
    assert run("assets export --format mano --out F/mano") == 0
    assert run("data fixture humbi --blank --out F/humbi") == 0
    prepare = "data prepare F/humbi --protocol paper-humbi --mano F/mano --out W --workers 1"
    assert run(f"{prepare} --size 96") in (0, 1)  # lists name crops that are not there
    told = capsys.readouterr().out
    assert "paper-humbi train: " in told
    assert "paper-humbi test: " in told
    assert run("data shapes W/train --mano F/mano --out W/true") == 0
