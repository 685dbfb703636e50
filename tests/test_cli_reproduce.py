"""`idhand reproduce` and `idhand calibrate --predictions`: files and sentences."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from idhand.assets import open_hand
from idhand.cli import main
from idhand.data import write_shards
from idhand.experiments.profiles import profile_names
from idhand.identity import Identity
from idhand.nets.files import save_net
from idhand.predictions import Predictions
from tests.test_experiments_reproduce import NUM_PEOPLE, NUM_PICTURES, Scenes, guesses, nets


def calibrate(predictions: Predictions, folder: Path, *flags: str | Path) -> int:
    predictions.save(folder / "said.npz")
    arguments = ["calibrate", "--predictions", folder / "said.npz", "--out", folder / "people"]
    return main([*map(str, arguments), *map(str, flags)])


def profile(folder: Path, subject: str) -> Identity:
    return Identity.load(folder / "people" / f"{subject}.hand.json")


def test_a_profile_for_each_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    predictions, truth = guesses(3, 8)
    assert calibrate(predictions, tmp_path) == 0
    told = capsys.readouterr()
    assert "person-1: 8 of 8 pictures, hand length " in told.out
    assert f"3 profiles written to {tmp_path / 'people'}" in told.out
    assert "give --covariance-calibration FILE" in told.err
    for subject, shape in truth.items():
        me = profile(tmp_path, subject)
        me.check_model(open_hand())
        assert np.abs(me.betas - shape.betas).mean() < 0.6
        assert me.sides == ("right",)
        assert [photo.weight > 0.1 for photo in me.photos] == [True] * 8
        length = me.measurements["hand_length"]
        assert length.low_mm < length.value_mm < length.high_mm
    assert len(list((tmp_path / "people").iterdir())) == 3


def test_one_picture_works_and_is_wide(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    many, _ = guesses(1, 20)
    assert calibrate(many, tmp_path) == 0
    narrow = profile(tmp_path, "person-0").measurements["index_length"]
    assert calibrate(many.select([0]), tmp_path) == 0
    told = capsys.readouterr().err
    assert "person-0 has only 1 picture, so the intervals are wide" in told
    wide = profile(tmp_path, "person-0").measurements["index_length"]
    assert wide.high_mm - wide.low_mm > 1.5 * (narrow.high_mm - narrow.low_mm)


def test_a_person_without_a_hand_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    predictions, _ = guesses(3, 4)
    found = np.array([subject != "person-1" for subject in predictions.subject])
    found[0] = False
    assert calibrate(replace(predictions, found=found), tmp_path) == 1
    assert "person-1 has no usable picture and gets no profile" in capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "people").iterdir())
    assert names == ["person-0.hand.json", "person-2.hand.json"]
    first = profile(tmp_path, "person-0").photos[0]
    assert (first.weight, first.reason) == (0.0, "no hand found")
    assert calibrate(replace(predictions, found=np.zeros(12, bool)), tmp_path) == 2
    assert "no hand was found in any of the 12 pictures" in capsys.readouterr().err


def test_people_are_listed_by_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    predictions, _ = guesses(3, 2)
    names = {"person-0": "person-10", "person-1": "person-2", "person-2": "anna"}
    shuffled = replace(predictions, subject=tuple(names[who] for who in predictions.subject))
    assert calibrate(shuffled, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:3]] == ["anna", "person-2", "person-10"]
    unknown = replace(predictions, subject=("",) * len(predictions))
    assert calibrate(unknown, tmp_path) == 2
    assert "do not say whose hand they show" in capsys.readouterr().err


def test_modes_and_a_ruler(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    predictions, _ = guesses(1, 6)
    assert predictions.betas is not None
    assert predictions.confidence is not None
    assert calibrate(predictions, tmp_path, "--mode", "mean") == 0
    np.testing.assert_allclose(
        profile(tmp_path, "person-0").betas, predictions.betas.mean(0), rtol=1e-6
    )
    assert calibrate(predictions, tmp_path, "--mode", "top-k", "--top-k", "1") == 2
    assert calibrate(predictions, tmp_path, "--mode", "top_k", "--top-k", "1") == 0
    best = predictions.betas[predictions.confidence.argmax()]
    me = profile(tmp_path, "person-0")
    np.testing.assert_allclose(me.betas, best, rtol=1e-6)
    assert sum(photo.weight for photo in me.photos) == 1
    assert calibrate(predictions, tmp_path, "--hand-length-mm", "190") == 0
    me = profile(tmp_path, "person-0")
    assert me.measurements["hand_length"].value_mm == pytest.approx(190, abs=2)
    assert (me.hand_length_mm, me.hand_length_sigma_mm) == (190.0, 2.0)
    capsys.readouterr()
    unsure = replace(predictions, confidence=None)
    assert calibrate(unsure, tmp_path, "--mode", "softmax") == 2
    assert "mode 'softmax' needs a confidence" in capsys.readouterr().err
    two, _ = guesses(2, 6)
    assert calibrate(two, tmp_path, "--hand-length-mm", "190") == 2
    assert "these pictures are of 2 people" in capsys.readouterr().err


def test_calibrate_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    predictions, _ = guesses(1, 3)
    assert calibrate(predictions, tmp_path, "--top-k", "0") == 2
    assert calibrate(predictions, tmp_path, "a.jpg") == 2
    assert "not both" in capsys.readouterr().err
    other = replace(predictions, header={"model": "mano", "method": "theirs"})
    assert calibrate(other, tmp_path) == 2
    assert "the hand model 'mano' is not here" in capsys.readouterr().err
    assert calibrate(predictions, tmp_path, "--honesty", tmp_path / "none.json") == 2
    assert "none.json: no such file" in capsys.readouterr().err
    assert main(["calibrate", "--out", str(tmp_path / "me.hand.json")]) == 2
    assert "no input" in capsys.readouterr().err
    (tmp_path / "file").touch()
    said = ["--predictions", str(tmp_path / "said.npz"), "--out", str(tmp_path / "file")]
    assert main(["calibrate", *said]) == 2
    assert "name a folder" in capsys.readouterr().err


def test_profile_names_are_file_names():
    assert profile_names(["a/b", "..c", "Ünal 1"]) == {
        "a/b": "a_b.hand.json",
        "..c": "c.hand.json",
        "Ünal 1": "Ünal_1.hand.json",
    }
    with pytest.raises(ValueError, match="'a b' and 'a/b' would both be written"):
        profile_names(["a b", "a/b"])


def test_reproduce_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = tmp_path / "data"
    write_shards(Scenes(count=NUM_PEOPLE * NUM_PICTURES), data, workers=1)

    def reproduce(*flags: str | Path) -> str:
        arguments = ["reproduce", "--data", data, "--out", tmp_path / "out", *flags]
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "no hand was found" in reproduce()  # with the shipped networks
    folder = tmp_path / "nets"
    folder.mkdir()
    save_net(nets().identity, folder / "identity.safetensors", {})
    told = reproduce("--nets", folder)
    assert "has no baseline.safetensors, identity_film.safetensors; train them" in told
    assert "people must be 1 or more" in reproduce("--nets", folder, "--people", "0")
    for name in ("baseline", "identity_film", "confidence"):
        save_net(getattr(nets(), name), folder / f"{name}.safetensors", {})
    assert "no identity_film.covariance.json beside the networks; give --validation" in reproduce(
        "--nets", folder
    )
