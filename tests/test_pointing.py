"""Points of another network: hands placed by them and fitted to them; a hand net's points found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.cli import main
from idhand.data import write_shards
from idhand.experiments.profiles import RandomPictures
from idhand.experiments.shapes import random_rows
from idhand.geometry import project
from idhand.identity import Identity
from idhand.methods.pointing import placed, with_points
from idhand.methods.refining import RefineConfig, refine
from idhand.nets.files import save_net
from idhand.predictions import Predictions
from idhand.records import FLIP, Sample
from tests.test_cli_predict import Demo
from tests.test_cli_reproduce import calibrate
from tests.test_experiments_predict import (
    demo_samples,
    keypoints_cam,
    scene,
    small_net,
    true_keypoints,
)
from tests.test_experiments_reproduce import guesses


def labels() -> list[Sample]:
    """The samples of the exact scene; only their cameras are of interest."""
    seen = scene().detected
    return [
        replace(demo_samples()[0], id=name, K=seen.K[k], is_right=bool(seen.is_right[k]))
        for k, name in enumerate(seen.sample_id)
    ]


def exact_points(noise_px: float = 0.0) -> Predictions:
    """Where the keypoints of the exact scene are seen."""
    exact = scene()
    flip = np.where(exact.detected.is_right[:, None, None], 1.0, FLIP)
    cam = torch.from_numpy(true_keypoints(exact) * flip)
    pixels = project(cam, torch.from_numpy(exact.detected.K)).numpy()
    rng = np.random.default_rng(0)
    return Predictions(
        header={"method": "2D", "points": "keypoints"},
        sample_id=exact.detected.sample_id,
        subject=exact.detected.subject,
        is_right=exact.detected.is_right,
        found=exact.detected.found,
        K=exact.detected.K,
        points_px=pixels + noise_px * rng.normal(size=pixels.shape),
        points_conf=np.ones((len(cam), 21)),
    )


def test_hands_are_placed_by_points_alone():
    """True hands, left and right, come back to where they are, but for the weak perspective."""
    pointed, detected = with_points(scene().predictions(), exact_points(), labels(), open_hand())
    there = placed(pointed, detected, open_hand())
    off = np.linalg.norm(keypoints_cam(there) - true_keypoints(scene()), axis=-1)
    assert off.max() < 0.03
    assert off.mean() < 0.02
    assert there.header["points of"] == "2D"


@pytest.mark.parametrize("solver", ["paper_adam", "second_order"])
def test_hands_are_fitted_to_points_alone(solver: Any):
    start = scene().predictions(0.1)
    pointed, detected = with_points(start, exact_points(), labels(), open_hand())
    before = placed(pointed, detected, open_hand())
    after = refine(pointed, detected, None, RefineConfig(solver=solver))
    truth = true_keypoints(scene())
    errors = [
        np.linalg.norm(keypoints_cam(each) - truth, axis=-1).mean() for each in (before, after)
    ]
    assert errors[1] < errors[0]
    assert after.betas is not None
    assert start.betas is not None
    np.testing.assert_allclose(after.betas, start.betas)


def test_pictures_without_points_count_as_missed():
    points = exact_points()
    found = np.array([True, False, *([True] * 4)])
    order = np.arange(6)[::-1]
    pointed, detected = with_points(
        scene().predictions(), replace(points, found=found).select(order), labels(), open_hand()
    )
    assert pointed.found.tolist() == found.tolist()
    assert refine(pointed, detected).found.tolist() == found.tolist()
    with pytest.raises(ValueError, match=r"1 of the 6 pictures .* have no points"):
        with_points(scene().predictions(), points.select(range(5)), labels(), open_hand())
    with pytest.raises(ValueError, match="have no sample in the data set"):
        with_points(scene().predictions(), points, labels()[:5], open_hand())
    other = replace(points, header={"method": "landmarks"})
    with pytest.raises(ValueError, match="'landmarks' has no keypoints in the picture"):
        with_points(scene().predictions(), other, labels(), open_hand())


# ------------------------------------------------------------------------------------------- verbs


def test_random_pictures_of_each_person(tmp_path: Path):
    predictions, _ = guesses(2, 9)
    assert predictions.betas is not None
    flags = ("--mode", "random", "--number", "4")
    assert calibrate(predictions, tmp_path, *flags) == 0
    for who in ("person-0", "person-1"):
        own = [row for row, name in enumerate(predictions.subject) if name == who]
        drawn = random_rows(who, own, 4, 0)
        me = Identity.load(tmp_path / "people" / f"{who}.hand.json")
        np.testing.assert_allclose(me.betas, predictions.betas[drawn].mean(0), rtol=1e-6)
        used = [own[k] for k, photo in enumerate(me.photos) if photo.weight > 0]
        assert used == sorted(drawn)
        assert {photo.reason for photo in me.photos if not photo.weight} == {"not drawn"}
    assert calibrate(predictions, tmp_path, *flags, "--seed", "1") == 0
    other = Identity.load(tmp_path / "people" / "person-0.hand.json")
    assert [p.weight for p in other.photos] != [p.weight for p in me.photos]
    assert calibrate(predictions, tmp_path, "--mode", "random", "--number", "0") == 2
    with pytest.raises(ValueError, match="number of pictures must be 1 or more"):
        RandomPictures(number=0)


def test_points_in_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`predict` and `refine` with points of a file: every box is a hand, nothing is detected."""
    write_shards(Demo(count=5), tmp_path / "data", workers=1)
    samples = demo_samples()
    points = Predictions(
        header={"method": "2D", "points": "keypoints"},
        sample_id=tuple(sample.id for sample in samples),
        subject=tuple(sample.subject or "" for sample in samples),
        is_right=np.array([sample.is_right for sample in samples]),
        found=np.ones(5, bool),
        K=np.stack([sample.K for sample in samples]),
        points_px=np.stack([sample.keypoints_px for sample in samples]),
    )
    points.save(tmp_path / "points.npz")
    net = small_net(backbone="resnet18", trunk=None)
    save_net(net, tmp_path / "box.safetensors", {}, cut="box")
    data = ["--data", str(tmp_path / "data"), "--points", str(tmp_path / "points.npz")]
    first, last = str(tmp_path / "p.npz"), str(tmp_path / "r.npz")
    assert main(["predict", str(tmp_path / "box.safetensors"), *data, "--out", first]) == 0
    found = Predictions.load(first)
    assert found.found.all(), "also in the black picture"
    assert found.wrist_cam is not None
    assert main(["refine", first, *data, "--solver", "paper_adam", "--out", last]) == 0
    refined = Predictions.load(last)
    assert refined.method == "box + paper's Adam"
    assert refined.header["points of"] == "2D"
    capsys.readouterr()
    both = [*data, "--detections", str(tmp_path / "d.npz"), "--out", last]
    assert main(["refine", first, *both]) == 2
    assert "nothing is detected; leave --detections out" in capsys.readouterr().err
    assert main(["refine", first, *data, "--directions", "both", "--out", last]) == 2
    assert "which --points does without" in capsys.readouterr().err
    save_net(small_net(), tmp_path / "hand.safetensors", {})
    assert main(["predict", str(tmp_path / "hand.safetensors"), *data, "--out", first]) == 2
    assert "leave the points out" in capsys.readouterr().err
