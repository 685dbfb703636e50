"""Every field of the configurations of pipeline, refinement, calibration and fusion does something.

For each class: what it configures is run with a base and with one field changed, and the numbers
must differ. A field without an entry fails, and so does an entry without a field.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache, wraps
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import pytest
import torch

import idhand
from idhand.assets import hand as hand_model
from idhand.calibration import CalibrationConfig, calibrate_shape
from idhand.detection import HandDetector
from idhand.fusion import CovarianceCalibration, FusionConfig, fuse
from idhand.geometry import intrinsics_from_fov
from idhand.pipeline import Pipeline, PipelineConfig
from idhand.records import Camera, Detection, HandInImage, SeenKeypoints
from idhand.refinement import (
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    Trust,
    both_nets,
    closed_form_start,
    hand_size_px,
    observations,
)
from idhand.refinement.objective import Objective
from idhand.refinement.official import OfficialConfig, fit_officially
from idhand.refinement.photo_noise import PhotoNoise

from .test_calibration import ZERO_BIAS, photos

MODEL = hand_model("idhand-open-1")
Change = tuple[Any, str, Any]
"""The base, the field and its other value."""


@cache
def pipe() -> Pipeline:
    return idhand.load()


@cache
def hands() -> tuple[HandInImage, ...]:
    """Hands of the demo pictures with a network's features."""
    folder, own = files("idhand.assets") / "data/demo", pipe()
    assert own.reader is not None
    truth, found = json.loads((folder / "truth.json").read_text()), []
    for entry in truth["photos"][:5]:
        with as_file(folder / entry["file"]) as path:
            rgb, _ = idhand.read_image(path)
        seen = own.reader.with_features(rgb, own.detector.detect(rgb, max_hands=1))
        camera = Camera(K=np.array(entry["K"], np.float64))
        found += [HandInImage(detection=replace(d, keypoints=None), camera=camera) for d in seen]
    return tuple(found)


def cut_hands() -> list[HandInImage]:
    """The same, the first one's fingertips beyond the picture's border."""
    first, *others = hands()
    beyond = replace(first.detection, outside=np.isin(np.arange(21), (8, 12, 16, 20)))
    return [replace(first, detection=beyond), *others]


def without_features(seen: Sequence[HandInImage]) -> list[HandInImage]:
    return [replace(h, detection=replace(h.detection, features=None)) for h in seen]


def with_keypoints(seen: Sequence[HandInImage]) -> list[HandInImage]:
    """The same, as a keypoint network sees them a little elsewhere, a tenth larger."""
    out = []
    for hand in seen:
        d, rng = hand.detection, np.random.default_rng(0)
        size_px = hand_size_px(d)
        keypoints = SeenKeypoints(
            points_px=d.landmarks_px + 0.02 * size_px * rng.normal(size=(21, 2)),
            cov_px=np.tile((0.01 * size_px) ** 2 * np.eye(2), (21, 1, 1)),
            visible=np.ones(21),
            directions=np.tile([0.0, 0, 1], (20, 1)),
            directions_std=np.full(20, 0.2),
            log_length_px=float(np.log(1.1 * size_px)),
            log_length_std=0.03,
        )
        out.append(replace(hand, detection=replace(d, keypoints=keypoints)))
    return out


WALKED: set[type] = set()
"""Whose fields the tests of this file change, see `walks`."""
checked: set[type] = set()
"""What the running test has checked."""


def walks(*configs: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test checks these; it fails if it leaves one out."""
    WALKED.update(configs)

    def decorated(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def run(*args: Any, **settings: Any) -> None:
            checked.clear()
            test(*args, **settings)
            assert checked == set(configs)

        return run

    return decorated


def check(cls: type, changes: Sequence[Change], run: Callable[[Any], np.ndarray]) -> None:
    checked.add(cls)
    assert {name for _, name, _ in changes} == {field.name for field in fields(cls)}
    for base, name, value in changes:
        before, after = run(base), run(replace(base, **{name: value}))
        same = before.shape == after.shape and np.array_equal(before, after)
        assert not same, f"{cls.__name__}.{name} changes nothing"


def fitted(own: Pipeline, seen: Sequence[HandInImage]) -> np.ndarray:
    found = own.fit([h.detection for h in seen], seen[0].camera.K)
    return np.stack([hand.keypoints_cam for hand in found])


def with_settings(**settings: Any) -> Pipeline:
    return replace(pipe(), config=PipelineConfig(**settings))


@walks(RefinementConfig, Trust)
def test_refinement_and_trust() -> None:
    def run(config: RefinementConfig) -> np.ndarray:
        return fitted(with_settings(refinement=config), cut_hands()[:2])

    adam = RefinementConfig(method="adam", adam_steps=(3, 3))
    changes: list[Change] = [
        (both_nets(), "objective", ObjectiveConfig()),
        (both_nets(), "trust", Trust(directions="network")),
        (both_nets(), "method", "adam"),
        (both_nets(), "max_iterations", 1),
        (both_nets(), "tolerance", 0.1),
        (adam, "adam_steps", (4, 3)),
        (adam, "adam_rates", (2e-2, 1e-3)),
    ]
    check(RefinementConfig, changes, run)

    def with_trust(trust: Trust) -> np.ndarray:
        """Of hands without the keypoint network and with it."""
        own = with_settings(refinement=replace(both_nets(), trust=trust))
        some = cut_hands()[:2]
        return np.concatenate((fitted(own, some), fitted(own, with_keypoints(some[:1]))))

    base = Trust()
    check(
        Trust,
        [
            (base, "directions", "landmarks"),
            (base, "points", "network"),
            *(
                (base, field.name, 2 * getattr(base, field.name))
                for field in fields(Trust)
                if field.name.endswith("direction_weight")
            ),
            (base, "point_weight", 1.0),
            (base, "unseen_point_weight", 1.0),
            (base, "keypoint_factor", 2.0),
            (base, "landmark_factor", 2.0),
            (base, "direction_factor", 2.0),
            (base, "spreads_points", False),
            (base, "scale_std", 0.1),
            (base, "size_factor", 2.0),
        ],
        with_trust,
    )


@walks(ObjectiveConfig)
def test_objective() -> None:
    def run(config: ObjectiveConfig) -> np.ndarray:
        own = with_settings(refinement=RefinementConfig(objective=config))
        return fitted(own, with_keypoints(cut_hands()[:3]))

    base = ObjectiveConfig(pose_weight=0.02)  # weak, so that joints reach their limits
    changes: list[Change] = [
        (base, field.name, 1.5 * getattr(base, field.name)) for field in fields(ObjectiveConfig)
    ]
    check(ObjectiveConfig, changes, run)


@pytest.mark.slow
@walks(CalibrationConfig)
def test_calibration() -> None:
    base = CalibrationConfig()
    unsettled = replace(base, disagreement=0.3, usual_cost=0.1)
    changes: list[Change] = [
        (base, "objective", ObjectiveConfig(sigma_px=0.03)),
        (base, "trust", Trust(directions="landmarks")),
        (base, "max_iterations", 1),
        (base, "tolerance", 0.3),
        (unsettled, "reweightings", 1),
        (base, "disagreement", 0.5),
        (base, "usual_cost", 20.0),
        (base, "poor_fit", 0.8),
        (base, "drop_below", 0.9),
        (base, "noise", PhotoNoise.shipped("landmarks")),
        (base, "network", CalibrationConfig(noise=PhotoNoise.shipped("network"))),
    ]

    rng = torch.Generator().manual_seed(4)
    own, _ = photos(rng, 8, torch.zeros(16).double(), ZERO_BIAS)
    odd_betas = torch.zeros(16).double()
    odd_betas[1:7] = torch.tensor([4.0, -3, 3, 5, -5, 5]).double()
    odd, _ = photos(rng, 1, odd_betas, ZERO_BIAS)
    several = {k: torch.cat((v, vars(odd)[k])) for k, v in vars(own).items() if v is not None}
    seen = Observations(**several)

    def run(config: CalibrationConfig) -> np.ndarray:
        found = calibrate_shape(MODEL, seen, config=config)
        pictures = with_settings(calibration=config).fuse(hands()[:2])
        numbers = (found.betas, found.weights, found.disagreement, pictures.betas)
        return torch.cat(numbers).numpy()

    check(CalibrationConfig, changes, run)


@walks(FusionConfig)
def test_fusion() -> None:
    rng = torch.Generator().manual_seed(0)
    betas = 0.3 * torch.randn(6, 16, generator=rng, dtype=torch.float64)
    betas[0] += 3.0
    covs = 0.2 * torch.eye(16, dtype=torch.float64).expand(6, 16, 16)
    confidence = torch.arange(6).double()
    shared = 0.1 * torch.eye(16, dtype=torch.float64)
    calibration = CovarianceCalibration(model=MODEL.name, scale=2.0, shared=shared)

    def run(config: FusionConfig) -> np.ndarray:
        found = fuse(betas, covs, confidence, MODEL.prior, config)
        return np.concatenate((found.betas.numpy(), found.weights.numpy()))

    base = FusionConfig()
    changes: list[Change] = [
        (base, "mode", "mean"),
        (FusionConfig(mode="top_k"), "top_k", 2),
        (FusionConfig(mode="softmax"), "temperature", 3.0),
        (base, "covariance_calibration", calibration),
        (base, "reweightings", 1),
        (base, "disagreement", 0.5),
        (base, "drop_below", 0.999),
    ]
    check(FusionConfig, changes, run)


@walks(OfficialConfig)
def test_official() -> None:
    seen = observations(hands()[:1], ObjectiveConfig())
    objective = Objective(model=MODEL, config=ObjectiveConfig(), prior=MODEL.prior)
    start = closed_form_start(objective, seen, MODEL.prior.mean[None])
    fingers = MODEL.pose_space.rotations(start.angles)
    sixd = torch.cat((start.R[:, None], fingers), 1)[..., :2, :].flatten(-2)
    base = OfficialConfig(steps=(3, 3))

    def run(config: OfficialConfig) -> np.ndarray:
        hand = MODEL.with_shape(start.betas)
        found = fit_officially(hand, sixd, seen.points_px, seen.K, config)
        return torch.cat((found.rotations.flatten(), found.wrist_cam.flatten())).numpy()

    changes: list[Change] = [
        (base, "steps", (4, 3)),
        (base, "rates", (1e-2, 2e-3)),
        (base, "start_depth_m", 0.6),
    ]
    check(OfficialConfig, changes, run)


asked: list[int] = []
"""Views that `OneHand` was asked for."""


class OneHand(HandDetector):
    """A detector that finds one hand, and keeps how many views it was asked for."""

    def __init__(self):
        """No nets."""

    def detect(self, rgb: np.ndarray, **settings: Any) -> list[Detection]:
        asked.append(settings["views"])
        return [replace(hands()[0].detection, features=None, score=0.7)]


@pytest.mark.slow
@walks(PipelineConfig)
def test_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'nobody'"):
        PipelineConfig(hand="nobody").build()
    bare = replace(MODEL, name="bare")
    monkeypatch.setattr(
        "idhand.pipeline.hand_model", lambda name: bare if name == "bare" else MODEL
    )
    rgb = np.zeros((240, 320, 3), np.uint8)

    def run(config: PipelineConfig) -> np.ndarray:
        own = replace(config.build(), detector=OneHand())
        numbers = [*fitted(own, hands()[:1]).flatten(), *own.fuse(hands()[:2]).betas.tolist()]
        asked.clear()
        try:
            name = own.calibrate([rgb], [intrinsics_from_fov(320, 240).numpy()]).model
        except ValueError as error:  # not sure enough, see min_presence
            name = str(error)
        return np.array([*numbers, *asked, name], dtype=object)

    base = PipelineConfig()
    alone = PipelineConfig(network=None)
    changes: list[Change] = [
        (base, "refinement", RefinementConfig()),
        (base, "calibration", CalibrationConfig()),
        (alone, "hand", "bare"),
        (alone, "population", "male"),
        (alone, "calibration_views", 3),
        (alone, "min_presence", 0.9),
        (base, "network", None),
    ]
    check(PipelineConfig, changes, run)
