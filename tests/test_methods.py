"""Methods by name, keypoints of the 2D network, and the file of detected hands."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.assets import open_hand
from idhand.cli import main
from idhand.data import DataSet, MemoryData, write_shards
from idhand.detection.roi import CROP_SIZE_PX
from idhand.evaluation import evaluate, paper
from idhand.experiments.profiles import profiles
from idhand.fusion import FusionConfig
from idhand.methods import (
    DetectedHands,
    DetectionCache,
    Method,
    MethodOptions,
    add_method,
    method,
    method_names,
)
from idhand.methods.pictures import predict_keypoints
from idhand.methods.predicting import landmark_fit
from idhand.methods.refining import refine
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import box_roi
from idhand.nets.files import save_net
from idhand.nets.heatmaps import Decoding, HeatmapNet, target_heatmaps
from idhand.predictions import Predictions
from idhand.records import Sample
from tests.test_cli_predict import Demo
from tests.test_experiments_predict import demo_detected, demo_samples, small_net

NUM_FOUND = 4


class Perfect(HeatmapNet):
    """Draws the true keypoints of the crops that it will be shown."""

    def __init__(self, samples: Sequence[Sample]):
        torch.nn.Module.__init__(self)
        self.points = []
        for sample in samples:
            square = replace(box_roi(sample.bbox_px), is_mirrored=not sample.is_right)
            self.points.append(square.from_image(sample.keypoints_px) * CROP_SIZE_PX - 0.5)

    def forward(self, images01: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        assert images01.shape[1:] == (3, CROP_SIZE_PX, CROP_SIZE_PX)
        shown, self.points = self.points[: len(images01)], self.points[len(images01) :]
        heatmaps = target_heatmaps(torch.from_numpy(np.stack(shown)))
        return [torch.logit(heatmaps.clamp(1e-9, 1 - 1e-9))]


@pytest.mark.parametrize(("decoding", "most_cells"), [("taylor", 0.15), ("argmax", 0.8)])
def test_keypoints_come_back_to_the_picture(decoding: Decoding, most_cells: float):
    """Left hands are shown mirrored; a crop's cell is as many pixels as the square is larger."""
    samples = demo_samples()
    found = predict_keypoints(Perfect(samples), samples, decoding=decoding)
    assert {sample.is_right for sample in samples} == {True, False}
    assert found.kind == "points"
    assert found.points_px is not None
    for sample, points in zip(samples, found.points_px, strict=True):
        cell_px = 2 * box_roi(sample.bbox_px).size_px / CROP_SIZE_PX
        off_cells = np.linalg.norm(points - sample.keypoints_px, axis=-1) / cell_px
        assert off_cells.max() < most_cells
    report = evaluate(found, samples, open_hand())
    assert set(report.values) == {"pixels", "pck_2d"}
    assert report.mean("pck_2d") > 0.95


def test_points_need_no_camera_and_are_evaluated_against_points():
    bare = [
        replace(s, K=np.full((3, 3), np.nan), keypoints_cam=None, betas=None, rotations=None)
        for s in demo_samples()
    ]
    found = predict_keypoints(Perfect(bare), bare)
    missed = replace(found, found=np.array([True, True, True, True, False]))
    report = evaluate(missed, bare, open_hand())
    assert report.mean("pck_2d") == pytest.approx(0.8, abs=0.01), "a missed hand counts 0"
    assert report.mean("pixels") < 1
    with pytest.raises(ValueError, match="no vertices to regress joints from"):
        evaluate(found, bare, open_hand(), paper())


def test_what_cannot_serve_is_refused_by_name(tmp_path: Path):
    samples = demo_samples()
    found = predict_keypoints(Perfect(samples), samples, method="dots")
    found.save(tmp_path / "points.npz")
    read = Predictions.load(tmp_path / "points.npz")
    assert (read.kind, read.model, read.method) == ("points", "", "dots")
    with pytest.raises(ValueError, match="'dots' predicts points in the picture alone, and refine"):
        refine(read, demo_detected())
    with pytest.raises(ValueError, match="and calibration needs poses and shapes"):
        profiles(read, FusionConfig())
    mesh = replace(
        read, points_px=None, points_conf=None, verts_cam=np.zeros((5, 1159, 3)),
        header={"model": open_hand().name, "method": "mesh"}, K=np.tile(np.eye(3), (5, 1, 1)),
    )  # fmt: skip
    assert mesh.kind == "meshes"
    with pytest.raises(ValueError, match="'mesh' predicts meshes alone"):
        mesh.check_poses("refinement")


def test_the_2d_network_of_a_training_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_shards(Demo(count=2), tmp_path / "data", workers=1)
    net = tmp_path / "heatmaps.safetensors"
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        save_net(HeatmapNet(), net, {}, dtype="float16", cut="box")
    data = ["--data", str(tmp_path / "data")]
    points = {}
    for decoding in ("taylor", "argmax"):
        out = tmp_path / f"{decoding}.npz"
        flags = ["--out", str(out), "--decoding", decoding]
        assert main(["predict", str(net), *data, *flags]) == 0
        stored = Predictions.load(out)
        assert (stored.kind, stored.method) == ("points", "heatmaps")
        assert stored.header["decoding"] == decoding
        points[decoding] = stored.points_px
    assert np.abs(points["taylor"] - points["argmax"]).max() > 0.01
    out = str(tmp_path / "argmax.npz")
    assert main(["evaluate", out, *data, "--out", str(tmp_path / "table")]) == 0
    assert "2D error" in capsys.readouterr().out
    (report,) = json.loads((tmp_path / "table" / "report.json").read_text())
    assert set(report["metrics"]) == {"pixels", "pck_2d"}
    assert main(["refine", out, *data, "--out", str(tmp_path / "r.npz")]) == 2
    assert "refinement needs poses and shapes" in capsys.readouterr().err
    assert main(["predict", str(net), *data, "--out", out, "--shapes", "true"]) == 2
    assert "takes no shapes" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- by name


def test_methods_have_names(tmp_path: Path):
    assert method_names()[:4] == ("landmarks", "baseline", "identity", "identity_film")
    with pytest.raises(ValueError, match="there is no method 'magic'; use one of landmarks, base"):
        method("magic")
    with pytest.raises(FileNotFoundError, match="no such file"):
        method(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="needs everybody's"):
        method("identity")
    with pytest.raises(ValueError, match="predicts every shape itself and takes none"):
        method("baseline", MethodOptions(shapes=lambda model: {}))
    with pytest.raises(ValueError, match="there is a method 'landmarks' already"):
        add_method("landmarks", lambda options: method("baseline", options))


def test_the_landmark_fit_is_a_method(tmp_path: Path):
    samples = MemoryData(demo_samples())
    cache = kept(tmp_path / "d.npz", samples)
    options = MethodOptions(hand_model=open_hand().name, detections=cache, name="fit")
    found = method("landmarks", options).predict(samples)
    expected = landmark_fit(demo_detected(), model=open_hand())
    assert found.method == "fit"
    np.testing.assert_array_equal(found.betas, expected.betas)  # pyright: ignore
    with pytest.raises(ValueError, match="needs a hand model"):
        method("landmarks")


def test_others_bring_their_own(monkeypatch: pytest.MonkeyPatch):
    class Nothing:
        name = "nothing"

        def predict(self, samples: DataSet) -> Predictions:
            detected = demo_detected()
            return replace(
                landmark_fit(detected, model=open_hand()), header={"model": "x", "method": "y"}
            )

    monkeypatch.setattr("idhand.methods.registry._builders", {})
    add_method("nothing", lambda options: Nothing())
    assert isinstance(method("nothing"), Method)
    assert method_names() == ("nothing",)


# ----------------------------------------------------------------------------- detected hands


def kept(path: Path, samples: DataSet, **changes: object) -> DetectionCache:
    """A cache whose file holds the hands of these samples."""
    header = {**demo_detected().header, "data": samples.fingerprint()}
    replace(demo_detected(), header=header, **changes).save(path)
    return DetectionCache(path=path)


def test_a_file_of_other_pictures_is_refused_everywhere(tmp_path: Path):
    samples = MemoryData(demo_samples())
    cache = kept(tmp_path / "d.npz", samples)
    backbone = HandBackbone("hand_full")
    np.testing.assert_array_equal(
        cache.of(samples, backbone).landmarks_px, demo_detected().landmarks_px
    )
    fewer = MemoryData(demo_samples()[:2])
    with pytest.raises(ValueError, match=r"d\.npz holds the hands of another data set, or of othe"):
        cache.of(fewer, backbone)
    with pytest.raises(ValueError, match=r"features of 'hand_full.*', and those of 'hand_lit"):
        cache.of(samples, HandBackbone("hand_lite"))
    assert len(cache.of(samples, None)) == len(samples), "features that nobody needs may stay"
    kept(tmp_path / "d.npz", samples, features=None)
    with pytest.raises(ValueError, match="holds no features"):
        cache.of(samples, backbone)


def test_a_runs_own_file_is_replaced_and_says_so(tmp_path: Path):
    samples = MemoryData(demo_samples())
    kept(tmp_path / "d.npz", samples)
    sentences: list[str] = []
    own = DetectionCache(path=tmp_path / "d.npz", is_own=True, note=sentences.append)
    first = MemoryData(demo_samples()[:1])
    assert len(own.of(first, None)) == 1
    assert sentences[0].endswith("of other pictures of this one; hands are detected again")
    assert DetectedHands.load(tmp_path / "d.npz").header["data"] == first.fingerprint()
    own.of(first, None)
    assert len(sentences) == 1
    with pytest.raises(ValueError, match="holds no picture"):
        own.of(MemoryData([]), None)


def test_small_net_is_a_method_from_a_file(tmp_path: Path):
    samples = MemoryData(demo_samples())
    cache = kept(tmp_path / "d.npz", samples)
    save_net(small_net(), tmp_path / "small.safetensors", {})
    found = method(tmp_path / "small.safetensors", MethodOptions(detections=cache)).predict(samples)
    assert (found.method, found.model, found.kind) == ("small", open_hand().name, "poses")
    assert len(found.header["network"]) == 64
    assert found.found.sum() == NUM_FOUND


def test_older_files_of_detected_hands_are_read(tmp_path: Path):
    detected, path = demo_detected(), tmp_path / "detections.npz"
    detected.save(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    about = json.loads(arrays["header"].tobytes())
    assert about["format"] == "idhand detected hands"
    text = json.dumps({**about, "format": "idhand looks"})
    arrays["header"] = np.frombuffer(text.encode(), np.uint8)
    np.savez(path, **arrays)
    assert DetectedHands.load(path).sample_id == detected.sample_id
