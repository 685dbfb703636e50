"""The keypoint network's numbers in files of detected hands, in methods and in the pipeline."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.data import MemoryData
from idhand.geometry import project
from idhand.identity import Identity
from idhand.methods import DetectedHands, DetectionCache, MethodOptions, method
from idhand.methods import detections as detections_module
from idhand.methods.detections import SEEN_SHAPES, detect_hands
from idhand.methods.predicting import predict
from idhand.methods.refining import RefineConfig, refine
from idhand.methods.registry import KeypointMethod
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import box_roi, crop_of, landmark_roi, view_of
from idhand.nets.files import save_net
from idhand.nets.keypoints import KeypointNet
from idhand.nets.reading import keypoints_in_picture
from idhand.pipeline import PipelineConfig
from idhand.refinement import network_only
from tests.test_experiments_predict import (
    demo_samples,
    detector,
    keypoints_cam,
    scene,
    small_net,
    true_keypoints,
)
from tests.test_nets_keypoints import SMALL, small, small_keypoint_net

Ships = Callable[[KeypointNet | None], None]


@cache
def on_full() -> KeypointNet:
    """Of the hand net that finds the landmarks."""
    return small_keypoint_net(replace(SMALL, backbone="hand_full"))


PICTURES = (1, 3, 4)
"""A picture, the same in a mirror, and a black one."""


@cache
def seen_demo() -> DetectedHands:
    samples = [demo_samples()[index] for index in PICTURES]
    header = {"data": MemoryData(samples).fingerprint()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detections_module, "keypoint_net_on", lambda backbone: on_full())
        return detect_hands(samples, detector(), HandBackbone("hand_full"), header=header)


def test_detected_hands_have_what_the_network_sees(tmp_path: Path):
    """In the crop of the features; of a mirrored picture the mirrored; nothing without a hand."""
    detected = seen_demo()
    assert detected.header["keypoints"] == on_full().label
    assert detected.found.tolist() == [True, True, False]
    sample = demo_samples()[PICTURES[0]]
    roi = landmark_roi(detected.landmarks_px[0])
    view = view_of(roi, sample.K, sample.dist, sample.is_right)
    images = torch.from_numpy(crop_of(sample.rgb, view)[None]).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        (expected,) = keypoints_in_picture(on_full()(images), [view.roi])
    assert expected is not None
    first, second = (detected.detection(row) for row in range(2))
    assert first is not None
    assert second is not None
    seen, mirrored = first.keypoints, second.keypoints
    assert seen is not None
    assert mirrored is not None
    for name in SEEN_SHAPES:
        np.testing.assert_allclose(
            getattr(seen, name), getattr(expected, name), rtol=1e-3, atol=1e-4, err_msg=name
        )
    width = sample.rgb.shape[1]
    points = mirrored.points_px * (-1, 1) + (width - 1, 0)
    assert np.median(np.abs(points - seen.points_px)) < 0.02 * view.roi.size_px
    assert mirrored.log_length_px == pytest.approx(seen.log_length_px, abs=0.1)
    assert detected.detection(2) is None
    assert detected.keypoints is not None
    assert np.isnan(detected.keypoints["points_px"][2]).all()

    detected.save(tmp_path / "d.npz")
    read = DetectedHands.load(tmp_path / "d.npz")
    assert read.keypoints is not None
    assert read.header == detected.header
    for name in SEEN_SHAPES:
        np.testing.assert_array_equal(read.keypoints[name], detected.keypoints[name])
    turned = read.select([1, 0])
    assert turned.keypoints is not None
    np.testing.assert_array_equal(turned.keypoints["cov_px"], detected.keypoints["cov_px"][[1, 0]])
    again = turned.detection(1)
    assert again is not None
    assert again.keypoints is not None
    np.testing.assert_array_equal(again.keypoints.points_px, seen.points_px)


def test_damaged_and_older_files(tmp_path: Path):
    path = tmp_path / "d.npz"
    seen_demo().save(path)
    with np.load(path) as stored:
        arrays = dict(stored)
    for name in SEEN_SHAPES:
        key = f"keypoints.{name}"
        for odd in ({}, {key: arrays[key][:2]}):
            np.savez(path, **{k: v for k, v in arrays.items() if k != key}, **odd)
            with pytest.raises(ValueError, match=rf"is damaged: {key} is missing or has another"):
                DetectedHands.load(path)
    np.savez(path, **{k: v for k, v in arrays.items() if not k.startswith("keypoints.")})
    older = DetectedHands.load(path)
    assert older.keypoints is None
    first = older.detection(0)
    assert first is not None
    assert first.keypoints is None
    assert older.select([0]).keypoints is None


def test_kept_hands_belong_to_one_keypoint_network(ships: Ships, tmp_path: Path):
    """Others are refused, and those of a run itself made anew."""
    ships(on_full())
    detected = seen_demo()
    samples = MemoryData([demo_samples()[index] for index in PICTURES])
    backbone, path = HandBackbone("hand_full"), tmp_path / "d.npz"
    sentence = "holds no keypoints, or those of another keypoint network than is needed; name anot"

    def kept(hands: DetectedHands) -> DetectionCache:
        hands.save(path)
        return DetectionCache(path=path)

    assert kept(detected).of(samples, backbone).keypoints is not None
    header = {name: value for name, value in detected.header.items() if name != "keypoints"}
    without = replace(detected, header=header, keypoints=None)
    other = replace(detected, header={**header, "keypoints": "0123456789ab"})
    lost = replace(detected, keypoints=None)
    for hands in (without, other, lost):
        with pytest.raises(ValueError, match=sentence):
            kept(hands).of(samples, backbone)
        assert len(kept(hands).of(samples, None)) == 3, "where nobody needs them they may stay"
    ships(None)
    assert kept(without).of(samples, backbone).keypoints is None
    with pytest.raises(ValueError, match=sentence):
        kept(detected).of(samples, backbone)
    ships(on_full())
    told: list[str] = []
    one = MemoryData([demo_samples()[1]])
    mine = replace(without.select([0]), header={**header, "data": one.fingerprint()})
    mine.save(path)
    found = DetectionCache(path=path, is_own=True, note=told.append).of(one, backbone)
    assert told == [
        f"{path} holds no keypoints, or those of another keypoint network than is needed; hands "
        "are detected again"
    ]
    assert found.keypoints is not None
    assert DetectedHands.load(path).header["keypoints"] == on_full().label


def test_features_alone_are_as_without_the_network(ships: Ships):
    ships(None)
    bare = detect_hands([demo_samples()[1]], detector(), HandBackbone("hand_full"))
    assert bare.keypoints is None
    assert "keypoints" not in bare.header
    np.testing.assert_array_equal(bare.features, seen_demo().features[:1])  # pyright: ignore


# ----------------------------------------------------------------------------------------- methods


def test_a_keypoint_network_is_a_method_from_a_file(tmp_path: Path):
    """It finds points in the crops that its file tells of, mirrored for left hands."""
    path = tmp_path / "dots.safetensors"
    save_net(small(), path, {}, cut="box")
    samples = demo_samples()[:4]
    found = method(path, MethodOptions(name="dots")).predict(MemoryData(samples))
    assert (found.kind, found.method) == ("points", "dots")
    assert found.points_px is not None
    assert found.points_conf is not None
    for row in (1, 3):
        sample = samples[row]
        roi = replace(box_roi(sample.bbox_px), is_mirrored=not sample.is_right)
        view = view_of(box_roi(sample.bbox_px), sample.K, sample.dist, sample.is_right)
        images = torch.from_numpy(crop_of(sample.rgb, view)[None]).permute(0, 3, 1, 2)
        with torch.inference_mode():
            out = small()(images.float() / 255)
        expected = roi.to_image(out.points[0].double().numpy())
        np.testing.assert_allclose(found.points_px[row], expected, atol=roi.size_px / 500)
        np.testing.assert_allclose(found.points_conf[row], out.visible[0].sigmoid(), atol=1e-3)
    width = samples[1].rgb.shape[1]
    mirrored = found.points_px[3] * (-1, 1) + (width - 1, 0)
    side_px = box_roi(samples[1].bbox_px).size_px
    assert np.median(np.abs(mirrored - found.points_px[1])) < 0.02 * side_px
    with pytest.raises(ValueError, match="finds keypoints in the picture and takes no shapes"):
        method(path, MethodOptions(shapes=lambda model: {}))
    save_net(small(), path, {}, cut="landmark")
    about_landmarks = method(path)
    assert isinstance(about_landmarks, KeypointMethod)
    assert about_landmarks.cut == "landmark"


def seen_exactly(
    *, off_px: float = 0.0, std_px: float = 1.0, size: float = 1.0, std: float = 0.3
) -> DetectedHands:
    """The exact scene as a keypoint network sees it, its size larger by a factor."""
    exact = scene()
    points = true_keypoints(exact)
    flip = np.where(exact.detected.is_right[:, None, None], 1.0, np.array([-1.0, 1, 1]))
    cam = points * flip
    pixels = project(torch.from_numpy(cam), torch.from_numpy(exact.detected.K)).numpy()
    model = open_hand()
    length = model.relative_size(exact.betas).numpy() * model.mean_length_m
    ray = np.linalg.norm(cam[:, 9], axis=-1) / cam[:, 9, 2]
    n = len(pixels)
    keypoints = {
        "points_px": pixels + off_px,
        "cov_px": np.tile(std_px**2 * np.eye(2), (n, 21, 1, 1)),
        "visible": np.ones((n, 21)),
        "directions": np.tile([0.0, 0, 1], (n, 20, 1)),
        "directions_std": np.full((n, 20), 0.2),
        "log_length_px": np.log(600 * length / cam[:, 9, 2] * np.sqrt(ray) * size),
        "log_length_std": np.full(n, std),
    }
    return replace(exact.detected, keypoints=keypoints)


def test_a_prediction_lies_where_the_keypoint_network_sees_it():
    """Not where the hand net's own features have the points."""
    net = small_net(backbone="hand_studio")
    features = np.random.default_rng(0).normal(size=(6, net.num_features)).astype(np.float16)
    seen = replace(seen_exactly(off_px=3.0), features=features)
    found = predict(net, seen)
    assert found.points_px is not None
    assert seen.keypoints is not None
    np.testing.assert_array_equal(found.points_px, seen.keypoints["points_px"])
    assert found.header["points"] == "keypoints"
    own = predict(net, replace(seen, keypoints=None))
    assert own.points_px is not None
    assert np.abs(own.points_px - found.points_px).max() > 10


def refined(seen: DetectedHands, **how: Any) -> np.ndarray:
    """Keypoints in the camera of hands whose joints were turned by a tenth of a radian."""
    start = scene().predictions(0.1)
    assert seen.keypoints is not None
    start = replace(
        start, header={**start.header, "points": "keypoints"},
        points_px=seen.keypoints["points_px"], wrist_cam=np.zeros((6, 3)),
    )  # fmt: skip
    return keypoints_cam(refine(start, seen, open_hand(), RefineConfig(**how)))


def test_a_refined_hand_is_where_points_and_size_put_it():
    exact = true_keypoints(scene())
    right = refined(seen_exactly())
    off_mm = 1e3 * np.linalg.norm(right - exact, axis=-1)
    assert np.median(off_mm) < 8
    depths = exact[:, 9, 2]
    unsure = refined(seen_exactly(size=0.8, std=3.0))[:, 9, 2]
    np.testing.assert_allclose(unsure, depths, rtol=0.03)
    trust = replace(network_only().trust, spreads_points=False)
    how = replace(network_only(), trust=trust)
    sure = refined(seen_exactly(std_px=30.0, size=1.1, std=0.02), refinement=how)[:, 9, 2]
    np.testing.assert_allclose(sure, depths / 1.1, rtol=0.02)


# ------------------------------------------------------------------------------------- the pipeline


def test_a_hand_in_a_photo_is_fitted_with_it(ships: Ships):
    """A known hand that is seen a tenth larger is a tenth nearer."""
    sample = demo_samples()[0]
    plain = PipelineConfig().build()
    (bare,) = plain.detector.detect(sample.rgb, max_hands=1)
    assert plain.reader is not None
    (before,) = plain.reader.with_features(sample.rgb, [bare])
    assert before.keypoints is None
    ships(small())
    trust = replace(network_only().trust, spreads_points=False)
    own = PipelineConfig(refinement=replace(network_only(), trust=trust)).build()
    assert own.reader is not None
    (seen,) = own.reader.with_features(sample.rgb, [bare])
    np.testing.assert_array_equal(seen.features, before.features)  # pyright: ignore
    assert seen.keypoints is not None
    assert sample.betas is not None
    assert sample.keypoints_cam is not None
    person = Identity(
        model=own.model.name, betas=sample.betas, covariance=1e-6 * np.eye(16), measurements={},
        photos=(), K_known="all", sides=("right",),
    )  # fmt: skip
    size = float(own.model.relative_size(torch.from_numpy(sample.betas)))
    true = sample.keypoints_cam[9]
    stretch = math.sqrt(np.linalg.norm(true) / true[2])
    length_px = sample.K[0, 0] * size * own.model.mean_length_m / true[2] * stretch
    for larger in (1.0, 1.1):
        keypoints = replace(
            seen.keypoints, points_px=sample.keypoints_px, log_length_std=0.02,
            cov_px=np.tile(900 * np.eye(2), (21, 1, 1)), log_length_px=math.log(larger * length_px),
        )  # fmt: skip
        (hand,) = own.fit([replace(seen, keypoints=keypoints)], sample.K, identity=person)
        assert hand.status == "converged"
        assert hand.keypoints_cam[9, 2] == pytest.approx(true[2] / larger, rel=0.02)
