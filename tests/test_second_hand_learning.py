"""A second hand model is learnt, predicted, refined, evaluated and calibrated as the open one is.

The bundled photos, of both sides, are labelled with the second hand's pose and shape; nothing here
names it but the labels.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from idhand.assets import add_hand, open_hand
from idhand.cli import main
from idhand.cli.demo import read_demo
from idhand.data import Shards, encode_sample, write_shards
from idhand.geometry import project, rotation_from_vector
from idhand.identity import Identity
from idhand.nets.files import saved_config
from idhand.predictions import Predictions
from idhand.records import Sample
from tests.second_hand import NAME, NUM_BETAS, second_betas, second_hand, second_rotations
from tests.test_data_shards import Fake, jpeg_of

FLIP = np.array([-1.0, 1.0, 1.0])
NUM_PHOTOS, STEPS = 12, 20
PRESETS = ("baseline", "identity", "identity_film")


@cache
def labelled() -> tuple[Sample, ...]:
    """Photos of one person, four a subject, every second subject in a mirror."""
    truth, pictures = read_demo()
    model = second_hand()
    betas = second_betas(torch.tensor(truth["betas"], dtype=torch.float64))
    samples = []
    for index, (picture, record) in enumerate(zip(pictures, truth["photos"], strict=True)):
        is_right = bool(record["is_right"])
        rotations = second_rotations(torch.tensor(record["rotations"], dtype=torch.float64))
        wrist_cam = np.array(record["wrist_cam_m"])
        flip = np.ones(3) if is_right else FLIP
        posed = model.with_shape(betas).posed(rotations, torch.from_numpy(wrist_cam * flip))
        keypoints = posed.keypoints.numpy() * flip
        pixels = project(torch.from_numpy(keypoints), torch.from_numpy(picture.K)).numpy()
        sample = Sample(
            rgb=picture.rgb,
            K=picture.K,
            dist=np.zeros(5),
            is_right=is_right,
            bbox_px=np.concatenate((pixels.min(0), pixels.max(0))),
            subject=f"person-{index // 4}",
            model=NAME,
            betas=betas.numpy(),
            rotations=rotations.numpy(),
            wrist_cam=wrist_cam,
            keypoints_px=pixels,
            keypoints_cam=keypoints,
            valid=np.ones(21, bool),
            visible=None,
            parts=None,
            dataset="demo of the second hand",
            id=picture.name,
            sequence=None,
            time_s=None,
        )
        samples.append(sample.mirrored() if index // 4 % 2 else sample)
    return tuple(samples[:NUM_PHOTOS])


@dataclass(frozen=True)
class Photos(Fake):
    """The labelled photos as a source of shards."""

    def entry(self, index: int) -> dict[str, bytes]:
        sample = labelled()[index]
        return encode_sample(sample, jpeg_of(sample))


def idhand(*arguments: str | Path) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, and networks trained on it for 20 steps, in `nets`."""
    folder = tmp_path_factory.mktemp("second")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDHAND_HANDS", str(folder / "hands"))
        add_hand(second_hand())
        write_shards(Photos(count=NUM_PHOTOS), folder / "data", workers=1)
        (folder / "nets").mkdir()
        for preset in PRESETS:
            train(folder, preset)
        train(folder, "confidence", "--start", folder / "nets" / "baseline.safetensors")
    return folder


def train(folder: Path, preset: str, *flags: str | Path) -> None:
    run = folder / "runs" / preset
    sizes = ("--steps", str(STEPS), "--batch", "8", "--workers", "0", "--lr", "0.001")
    data = ("--data", folder / "data", "--val", folder / "data")
    assert idhand("train", preset, *data, "--out", run, *sizes, *flags) == 0
    (run / f"{preset}.safetensors").rename(folder / "nets" / f"{preset}.safetensors")


@pytest.fixture(autouse=True)
def hands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry knows the second hand."""
    monkeypatch.setenv("IDHAND_HANDS", str(folder / "hands"))


def test_the_labels_are_the_photos_hands():
    """The second hand's keypoints lie where the open hand's do, up to the betas that it lacks."""
    truth, _ = read_demo()
    photos = {record["file"].rpartition(".")[0]: record for record in truth["photos"]}
    for sample in labelled():
        record = photos[sample.id]
        known = np.array(record["keypoints_cam_m"])
        if sample.is_right != record["is_right"]:
            known = known * FLIP
        assert sample.keypoints_cam is not None
        assert np.linalg.norm(sample.keypoints_cam - known, axis=-1).max() < 0.006
    assert {sample.is_right for sample in labelled()} == {True, False}


@pytest.mark.parametrize("preset", [*PRESETS, "confidence"])
def test_networks_take_the_hand_model_of_the_data(folder: Path, preset: str):
    config = saved_config(folder / "nets" / f"{preset}.safetensors")
    assert (config.hand_model, config.num_betas) == (NAME, NUM_BETAS)


def test_predict_refine_evaluate_calibrate(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = ("--data", folder / "data", "--detections", folder / "detections.npz")
    names = ("network", "refined_network", "fit", "turned", "refined")
    network, refined_network, fit, turned, refined = (tmp_path / f"{n}.npz" for n in names)
    film = folder / "nets" / "identity_film.safetensors"
    assert idhand("predict", film, *data, "--out", network, "--shapes", "true") == 0
    assert idhand("predict", "landmarks", *data, "--out", fit, "--shapes", "true") == 0
    assert idhand("refine", network, *data, "--out", refined_network) == 0
    with_turned_joints(fit).save(turned)
    assert idhand("refine", turned, *data, "--out", refined, "--directions", "both") == 0
    files = (network, refined_network, fit, turned, refined)
    for path in files:
        found = Predictions.load(path)
        assert found.model == NAME
        assert found.betas is not None
        assert found.betas.shape[1] == NUM_BETAS
        assert found.found.sum() == NUM_PHOTOS
        truth = np.stack([sample.betas for sample in labelled()])  # pyright: ignore
        np.testing.assert_allclose(found.betas, truth, atol=1e-4)
    out = tmp_path / "table"
    data_flag = ("--data", folder / "data")
    assert idhand("evaluate", *files, *data_flag, "--out", out) == 0
    reports = json.loads((out / "report.json").read_text())
    errors_mm = [report["metrics"]["mpjpe_root"]["mean"] for report in reports]
    assert errors_mm[2] < 30, "a hand that was fitted lies on the hand in the photo"
    assert errors_mm[4] < errors_mm[3], "refinement brings joints back"
    assert max(report["metrics"]["rest_verts"]["mean"] for report in reports) < 0.01, "true shape"
    capsys.readouterr()
    assert idhand("calibrate", "--predictions", tmp_path / "own.npz", "--out", tmp_path) == 2
    assert idhand("predict", film, *data, "--out", tmp_path / "own.npz") == 0
    people = tmp_path / "people"
    assert idhand("calibrate", "--predictions", tmp_path / "own.npz", "--out", people) == 0
    me = Identity.load(people / "person-1.hand.json")
    assert (me.model, me.sides, len(me.betas)) == (NAME, ("left",), NUM_BETAS)
    assert "first_digit" in me.measurements, "its own measures"
    by_profile = tmp_path / "by_profile.npz"
    assert idhand("predict", film, *data, "--out", by_profile, "--shapes", people) == 0
    betas = Predictions.load(by_profile).betas
    assert betas is not None
    np.testing.assert_allclose(betas[4], me.betas, atol=1e-5)


def with_turned_joints(path: Path) -> Predictions:
    """Predictions whose finger joints are turned by some 10° each."""
    fit = Predictions.load(path)
    assert fit.rotations is not None
    vectors = torch.randn(len(fit), 15, 3, generator=torch.Generator().manual_seed(0)).double()
    turned = fit.rotations.copy()
    turned[:, 1:] = turned[:, 1:] @ rotation_from_vector(0.1 * vectors).numpy()
    return replace(fit, rotations=turned)


@pytest.mark.slow
def test_reproduce(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shared = {"shared": (0.05 * torch.eye(NUM_BETAS)).tolist(), "scale": 1.0, "inflation": 1.0}
    about = {"format": "idhand covariance calibration", "version": 1, "model": NAME}
    write_calibration(folder / "nets" / "honesty.json", {**about, **shared})
    flags = ("--data", folder / "data", "--nets", folder / "nets", "--draws", "2")
    assert idhand("reproduce", *flags, "--out", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["about"]["model"] == NAME
    assert results["about"]["num_people_with_shape"] == 3
    assert f"the hand model '{NAME}'" in (tmp_path / "summary.md").read_text()
    assert results["shapes"]["true"]["mean_mm"]["rest_verts"] == 0
    answers = capsys.readouterr().out
    assert (
        "5. 95 % intervals cover the truth: cannot be said with 3 people; about 100 are" in answers
    )
    shipped = idhand("reproduce", "--data", folder / "data", "--out", tmp_path / "other")
    assert shipped == 2
    told = capsys.readouterr().err
    assert f"of the hand model '{open_hand().name}', and the data is labelled with '{NAME}'" in told


def write_calibration(path: Path, document: Mapping[str, object]) -> None:
    path.write_text(json.dumps(document))


def test_data_of_another_model_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    samples = Shards(folder / "data")

    @dataclass(frozen=True)
    class Mixed(Fake):
        def entry(self, index: int) -> dict[str, bytes]:
            sample = samples[index]
            if index:
                sample = replace(sample, model=open_hand().name, betas=np.zeros(16))
            return encode_sample(sample, jpeg_of(sample))

    write_shards(Mixed(count=3), tmp_path / "mixed", workers=1)
    flags = ("--steps", "2", "--batch", "2", "--workers", "0")
    mixed = ("--data", tmp_path / "mixed", "--out", tmp_path / "run")
    assert idhand("train", "debug", *mixed, *flags) == 2
    both = f"{open_hand().name}, {NAME}"
    assert f"the data set is labelled with the hand models {both}; keep" in capsys.readouterr().err
