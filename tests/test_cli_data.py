"""`idhand data`: check, list, prepare and shapes on a fixture, as people type them."""

import json
from pathlib import Path

import numpy as np
import pytest

import idhand.data.dexycb.labels as labels_module
from idhand.assets import add_hand
from idhand.assets.resampled import resampled_hand
from idhand.cli import main
from idhand.cli.data import Fixture, Prepare
from idhand.data import Shards
from idhand.fixtures.dexycb_scene import true_betas
from idhand.identity import Identity
from tests.dexycb_tree import fixture_root, hands


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path_factory.getbasetemp() / "kept"
    monkeypatch.setattr(labels_module, "cache_folder", lambda: kept / "cache")
    monkeypatch.setenv("IDHAND_HANDS", str(kept / "hands"))
    if not (kept / "hands").is_dir():
        for model in (hands().right, hands().left):
            assert model is not None
            add_hand(model)


def test_prepare_and_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "W"
    arguments = ["data", "prepare", str(fixture_root()), "--protocol", "paper"]
    arguments += ["--out", str(out), "--size", "96", "--workers", "1"]
    assert main([*arguments, "--only", "test"]) == 1  # one picture is damaged
    told = capsys.readouterr()
    assert "(in the release 52,496)" in told.out
    assert "cut off; it is left out" in told.err
    assert "subject-09" in (out / "left_out.txt").read_text()
    shards = Shards(out / "test")
    names = (out / "lists" / "paper_test.txt").read_text().split()
    assert len(shards) == len(names) - 1
    sample = shards[0]
    right = hands().right
    assert right is not None
    assert sample.rgb.shape == (96, 96, 3)
    assert sample.model == right.name
    assert sample.is_right
    before = (out / "test" / "shard-00000.tar").read_bytes()
    assert main([*arguments, "--only", "test"]) == 1
    assert "all were there already" in capsys.readouterr().out
    assert (out / "test" / "shard-00000.tar").read_bytes() == before
    assert main([*arguments, "--only", "test", "--native"]) == 2
    assert "made in another way" in capsys.readouterr().err

    shapes = tmp_path / "true"
    assert main(["data", "shapes", str(out / "test"), "--out", str(shapes)]) == 0
    assert sorted(path.name for path in shapes.glob("*.json")) == [
        "subject-08.hand.json",
        "subject-09.hand.json",
    ]
    me = Identity.load(shapes / "subject-09.hand.json")
    assert np.abs(me.betas - true_betas(8)).max() < 1e-6
    lines = (shapes / "subject-08.obj").read_text().splitlines()
    verts = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    file = resampled_hand()
    assert np.abs(verts - file.template - file.shape_basis @ true_betas(7)).max() < 1e-6
    assert sum(line.startswith("f ") for line in lines) == 1538
    assert (shapes / "subject-08.ply").read_bytes().startswith(b"ply")


def test_both_sides_have_models_of_their_own(tmp_path: Path) -> None:
    out = tmp_path / "W"
    arguments = ["--protocol", "dexycb-s1", "--only", "test", "--masks"]
    arguments += ["--out", str(out), "--size", "64", "--workers", "1"]
    assert main(["data", "prepare", str(fixture_root()), *arguments]) == 1
    shards = Shards(out / "test")
    right, left = hands().right, hands().left
    assert right is not None
    assert left is not None
    found = {(s.is_right, s.model) for s in shards.labels()}
    assert found == {(True, right.name), (False, left.name)}
    assert shards[0].parts is not None
    assert main(["data", "shapes", str(out / "test"), "--out", str(tmp_path / "true")]) == 0
    names = sorted(path.name for path in (tmp_path / "true").glob("*.json"))
    assert names == sorted(
        [f"subject-0{k}_{right.name}.hand.json" for k in (8, 9)]
        + [f"subject-09_{left.name}.hand.json"]
    )


def test_without_mano_there_are_keypoints_alone_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "none"))
    arguments = ["--protocol", "paper", "--only", "val", "--out", str(tmp_path / "W")]
    assert main(["data", "prepare", str(fixture_root()), *arguments, "--size", "64"]) == 0
    assert "labels have keypoints alone" in capsys.readouterr().err
    assert {s.model for s in Shards(tmp_path / "W" / "val").labels()} == {None}
    folder = str(tmp_path / "W" / "val")
    assert main(["data", "shapes", folder, "--out", str(tmp_path / "true")]) == 2
    assert "prepare it again with --mano" in capsys.readouterr().err


def test_list_prints_counts_and_hashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(fixture_root())
    assert main(["data", "list", root, "--protocol", "paper-s5", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    names = (tmp_path / "paper-s5_test.txt").read_text().split()
    assert f"paper-s5 test: {len(names)} pictures, sha256 " in told
    assert {name[9:19] for name in names} == {"subject-01", "subject-02"}
    assert main(["data", "list", root, "--protocol", "dexycb-s3"]) == 2
    assert "go on with --partial" in capsys.readouterr().err
    partial = ["--partial", "--out", str(tmp_path)]
    assert main(["data", "list", root, "--protocol", "dexycb-s3", *partial]) == 0
    assert (tmp_path / "dexycb-s3-partial_train.txt").is_file()


def test_check_prints_counts_beside_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(fixture_root()), "--deep"]) == 1
    told = capsys.readouterr()
    assert " 508,384  !" in told.out
    assert "mm from the model's joints" in told.out
    assert "cut off" in told.err
    assert "has 1 usable sequences of subject-02 instead of 100" in told.err


def test_fixture_writes_trees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"x")
    assert main(["data", "fixture", "dexycb", "--out", str(tmp_path / "mine")]) == 2
    assert "not empty and no fixture" in capsys.readouterr().err
    assert main(["data", "fixture", "dexycb", "--out", str(fixture_root()), "--seed", "3"]) == 2
    assert "holds another fixture" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--sequences is for dexycb"):
        Fixture(kind="humbi", out=tmp_path, sequences=3)
    with pytest.raises(ValueError, match="--workers must be at least 1"):
        Prepare(root=tmp_path, protocol="paper", out=tmp_path, workers=0)


def test_manifest_says_where_official_numbers_begin(tmp_path: Path) -> None:
    # the fixture is incomplete, so its pictures have no official numbers
    arguments = ["--protocol", "dexycb-s1", "--only", "val", "--out", str(tmp_path)]
    assert main(["data", "prepare", str(fixture_root()), *arguments, "--size", "64"]) == 0
    manifest = json.loads((tmp_path / "val" / "manifest.json").read_text())
    assert manifest["source"]["of"]["protocol"] == "dexycb-s1"
    assert "first_numbers" not in manifest["source"]["of"]


@pytest.mark.parametrize("place", [".", "W", "calibration/W"])
@pytest.mark.parametrize("verb", [["data", "prepare"], ["reproduce", "--data"]])
def test_nothing_is_written_into_the_data_set(
    verb: list[str], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = fixture_root()
    before = sorted(root.iterdir())
    arguments = ["--protocol", "paper", "--out", str(root / place)]
    assert main([*verb, str(root), *arguments]) == 2
    said = capsys.readouterr().err
    assert f"--out {root / place} lies in the data set {root}; name a folder beside it" in said
    assert sorted(root.iterdir()) == before
