"""The pipeline with a trained network: what it reads, and what it does without."""

import json
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import torch

import idhand
from idhand.assets.nets import shipped_networks
from idhand.experiments.shapes import shape_errors_mm
from idhand.nets import regressor as presets
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import keypoint_net_on, load_keypoint_net, load_regressor, save_net
from idhand.nets.reading import Reader
from idhand.pipeline import Pipeline, PipelineConfig
from idhand.records import Camera, Detection, HandInImage, HandResult
from idhand.refinement import (
    STATUS_NAMES,
    Objective,
    RefinementConfig,
    closed_form_start,
    network_noise,
    observations,
)
from idhand.refinement.network import MAX_DEPTH_RATIO, solve_near
from idhand.view.results import ImageHands, read_hands, write_hands


@pytest.fixture(scope="module")
def shots() -> list[tuple[np.ndarray, np.ndarray, dict]]:
    truth = json.loads((files("idhand.assets") / "data/demo/truth.json").read_text())
    out = []
    for entry in truth["photos"]:
        with as_file(files("idhand.assets") / "data/demo" / entry["file"]) as path:
            out.append((idhand.read_image(path)[0], np.array(entry["K"], np.float64), entry))
    return out


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return idhand.load()


def in_image(detections: list[Detection], K: np.ndarray) -> list[HandInImage]:
    return [HandInImage(detection=d, camera=Camera(K=K)) for d in detections]


def root_error_mm(hand: HandResult, entry: dict) -> float:
    truth = np.array(entry["keypoints_cam_m"])
    off = (hand.keypoints_cam - hand.keypoints_cam[0]) - (truth - truth[0])
    return 1e3 * float(np.linalg.norm(off, axis=1).mean())


def test_the_network_makes_the_demo_better(
    pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:
    alone = PipelineConfig(network=None).build()
    assert alone.reader is None
    with_network, without = [], []
    for rgb, K, entry in shots:
        (hand,) = pipe(rgb, K, max_hands=1)
        with_network.append(root_error_mm(hand, entry))
        (seen,) = [replace(hand.detection, features=None)]
        (plain,) = pipe.fit([seen], K)
        (same,) = alone.fit([hand.detection], K)
        np.testing.assert_array_equal(plain.keypoints_cam, same.keypoints_cam)
        without.append(root_error_mm(plain, entry))
    assert np.mean(with_network) < 0.8 * np.mean(without)


def test_calibration_reads_with_the_network(
    pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:
    """The person's fingers are long for the palm: more of it is seen with the network."""
    assert pipe.reader is not None
    truth = json.loads((files("idhand.assets") / "data/demo/truth.json").read_text())
    hands, blank = [], []
    for rgb, K, _ in shots[::2]:
        found = pipe.reader.with_features(rgb, pipe.detector.detect(rgb, max_hands=1))
        hands += in_image(found, K)
        blank += in_image([replace(hand, features=None) for hand in found], K)
    with_network, without = pipe.fuse(hands), pipe.fuse(blank)
    alone = PipelineConfig(network=None).build().fuse(hands)
    torch.testing.assert_close(without.betas, alone.betas, rtol=0, atol=0)
    true = torch.tensor(truth["betas"], dtype=torch.float64)[None]
    errors = [
        shape_errors_mm(pipe.model, fused.betas[None], true)["rest_verts_scaled"][0]
        for fused in (with_network, without)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_keypoints_lie_in_the_real_picture(
    pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:
    assert pipe.reader is not None
    off = []
    for rgb, _, entry in shots[:6]:
        (seen,) = pipe.reader.with_features(rgb, pipe.detector.detect(rgb, max_hands=1))
        points = pipe.reader.points_px([seen])
        assert points is not None
        truth = np.array(entry["keypoints_px"])
        off.append(
            [np.linalg.norm(p - truth, axis=1).mean() for p in (points[0], seen.landmarks_px)]
        )
    network, landmarks = np.mean(off, axis=0)
    assert network < 0.8 * landmarks


def test_a_mirrored_detection_reads_as_the_mirrored_hand(
    pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:
    rgb, K, _ = shots[0]
    assert pipe.reader is not None
    (seen,) = pipe.detector.detect(rgb, max_hands=1)
    last = rgb.shape[1] - 1
    points = seen.landmarks_px * [-1, 1] + [last, 0]
    other = replace(seen, is_right=not seen.is_right, landmarks_px=points)
    K_mirror = K.copy()
    K_mirror[0, 2] = last - K[0, 2]
    pair = [
        pipe.reader.read(in_image(pipe.reader.with_features(picture, [hand]), camera), None)
        for picture, hand, camera in (
            (rgb, seen, K),
            (np.ascontiguousarray(rgb[:, ::-1]), other, K_mirror),
        )
    ]
    # The crops differ by the rounding of the warp alone.
    np.testing.assert_allclose(pair[0].rotations, pair[1].rotations, atol=0.02)


def test_rotations_are_orthonormal_to_double_precision(
    pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:
    rgb, K, _ = shots[1]
    assert pipe.reader is not None
    seen = pipe.reader.with_features(rgb, pipe.detector.detect(rgb, max_hands=1))
    R = pipe.reader.read(in_image(seen, K), torch.zeros(1, 16, dtype=torch.float64)).rotations
    torch.testing.assert_close(
        R @ R.mT, torch.eye(3, dtype=torch.float64).expand_as(R), atol=1e-12, rtol=0
    )


def test_features_are_not_written_to_files(
    tmp_path: Path, pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:
    rgb, K, _ = shots[0]
    hands = pipe(rgb, K, max_hands=1)
    assert hands[0].detection.features is not None
    height, width = rgb.shape[:2]
    write_hands(
        tmp_path / "hands.json",
        [ImageHands(file="a.jpg", name="a", K=K, width=width, height=height, hands=tuple(hands))],
    )
    assert "features" not in (tmp_path / "hands.json").read_text()
    assert read_hands(tmp_path / "hands.json")[0].hands[0].detection.features is None


def test_networks_that_need_a_shape_or_their_own_backbone_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.safetensors"
    save_net(presets.identity_network("idhand-open-1", 16).build(), path, {})
    with pytest.raises(ValueError, match="also serves unknown people"):
        Reader.load(path, "idhand-open-1")
    with pytest.raises(ValueError, match="hand model"):
        Reader.load(shipped_networks() / "identity_film.safetensors", "mano")
    with pytest.raises(FileNotFoundError):
        PipelineConfig(network=tmp_path / "none.safetensors").build()


def test_the_shipped_networks_are_small_and_for_the_open_hand() -> None:
    paths = {path.stem: path for path in shipped_networks().glob("*.safetensors")}
    poses = {"baseline", "identity", "identity_film"}
    assert poses <= paths.keys() <= poses | {"keypoints"}
    assert sum(path.stat().st_size for path in paths.values()) < 9e6
    for name in poses:
        assert load_regressor(paths[name], hand_model="idhand-open-1").is_frozen
    if "keypoints" in paths:
        net = load_keypoint_net(paths["keypoints"])
        assert keypoint_net_on(HandBackbone("hand_studio")) is not None
        assert net.config.backbone == "hand_studio"


def test_a_hand_that_went_astray_stays_where_it_started(
    pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:

    rgb, K, _ = shots[0]
    seen = observations(in_image(pipe.detector.detect(rgb, max_hands=1), K), network_noise())
    objective = Objective(model=pipe.model, config=network_noise(), prior=pipe.prior)
    right = closed_form_start(objective, seen, pipe.prior.mean[None])
    far = replace(right, wrist=right.wrist * 3 * MAX_DEPTH_RATIO)
    config = RefinementConfig(objective=network_noise())
    kept = solve_near(objective, seen, far, config, shape=False)
    torch.testing.assert_close(kept.state.wrist, far.wrist, atol=0, rtol=0)
    assert STATUS_NAMES[int(kept.status)] == "astray"
    there = objective.linearise(far, seen, shape=False)
    torch.testing.assert_close(kept.hessian, there.hessian)
    torch.testing.assert_close(kept.cost, there.cost)
    good = solve_near(objective, seen, right, config, shape=False)
    assert STATUS_NAMES[int(good.status)] == "converged"
    blind = replace(seen, points_px=seen.points_px * torch.nan)
    failed = solve_near(objective, blind, right, config, shape=False)
    assert STATUS_NAMES[int(failed.status)] == "diverged"


def test_numbers_that_are_not_finite_end_as_a_diverged_hand(
    pipe: Pipeline, shots: list[tuple[np.ndarray, np.ndarray, dict]]
) -> None:
    """NaN in the network's features, or in a known shape: never a hand that looks usable."""
    rgb, K, _ = shots[0]
    assert pipe.reader is not None
    (seen,) = pipe.reader.with_features(rgb, pipe.detector.detect(rgb, max_hands=1))
    assert seen.features is not None
    (hand,) = pipe.fit([replace(seen, features=seen.features * np.nan)], K)
    assert hand.status == "diverged"
    true = idhand.Identity(
        model=pipe.model.name,
        betas=np.full(16, np.nan),
        covariance=np.eye(16),
        measurements={},
        photos=(),
        K_known="all",
        sides=("right",),
    )
    for detection in (seen, replace(seen, features=None)):
        (hand,) = pipe.fit([detection], K, identity=true)
        assert hand.status == "diverged"
