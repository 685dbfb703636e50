"""The lines that take a researcher from a data set of others to a score, as people type them."""

import json
import zipfile
from functools import partial
from pathlib import Path

import pytest

from idhand.cli import main
from idhand.fixtures import dexycb, freihand, humbi
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
    assert "Nothing is damaged; counts marked ! are not those of the release." in told
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


# ---------------------------------------------------------------- DexYCB and the paper's chain

PEOPLE = (0, 6, 7, 8)
"""Of DexYCB's: one who trains, one who validates and two to test on, by the paper's protocol."""


@pytest.fixture(scope="module")
def small_dexycb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the people, two recordings of the right hand of each, seen by two cameras."""
    root = tmp_path_factory.mktemp("small") / "dexycb"
    config = dexycb.DexYcbFixture()
    dexycb.begin_dexycb(root, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dexycb, "SERIALS", dexycb.SERIALS[:2])
        for subject in PEOPLE:
            for number in range(2):
                dexycb.write_sequence(root, config, subject, number)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "rows"), [("paper", 6), ("dexycb-loso", 4)])
def test_the_chain_on_dexycb(here: Path, small_dexycb: Path, protocol: str, rows: int):
    assert run("assets export --format mano --out M") == 0
    line = f"reproduce --data {small_dexycb} --protocol {protocol} --partial --mano M"
    assert run(f"{line} --recipe hand --steps 2 --workers 1 --out R") == 0
    text = (here / "R" / "summary.md").read_text("utf-8")
    assert "## 1. A calibrated shape is at most 0.7 times" in text
    assert len(list((here / "R" / "evaluated").iterdir())) == rows
    assert len(list((here / "R" / "optimised").iterdir())) == 2 * rows
    people = "2 people: too few" if protocol == "paper" else "4 people"
    assert people in text


@pytest.mark.slow
def test_the_chain_on_humbi(here: Path, monkeypatch: pytest.MonkeyPatch):
    small = partial(humbi.HumbiFixture, subjects=(1, 2, 4), times=2, cameras=2)
    monkeypatch.setattr(humbi, "HumbiFixture", small)
    assert run("assets export --format mano --out M") == 0
    assert run("data fixture humbi --out F/humbi") == 0
    line = "reproduce --data F/humbi --protocol paper-humbi --mano M --recipe hand --steps 2"
    assert run(f"{line} --workers 1 --out H") == 0
    shapes = json.loads((here / "H" / "shapes" / "shapes.json").read_text("utf-8"))
    assert {"top_10", "ours"} <= set(shapes["uses"]["overlap"])
    (ours,) = shapes["uses"]["apart"]["ours"].values()
    assert ours["pictures"] <= 2, "one of two times"
