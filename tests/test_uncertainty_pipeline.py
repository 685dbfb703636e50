"""Deviations, residuals and intervals of the pipeline: by direct formula, and how often they hold.

Where pictures are rendered, the bounds are about what was measured, on both sides, so that
deviations that become 1.5 times smaller or larger fail. They record today's coverage; they do not
say that it is good.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import idhand
from idhand.assets import open_hand
from idhand.identity import Identity
from idhand.pipeline import Pipeline, PipelineConfig
from idhand.records import FLIP, Camera, Detection, HandInImage, HandResult
from idhand.refinement import Objective, RefinementConfig, State, observations
from idhand.refinement.deviations import DeviationCalibration, Widening
from idhand.refinement.points import posed_points
from idhand.synth import Studio, StudioConfig

from .test_uncertainty import fused

DEMO = Path(str(files("idhand.assets"))) / "data" / "demo"
NUM_POSE, NUM_BETAS = 32, 16


@cache
def truth() -> dict[str, Any]:
    return json.loads((DEMO / "truth.json").read_text())


@cache
def photos() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Pictures and intrinsics of the demo person."""
    return tuple(
        (idhand.read_image(DEMO / photo["file"])[0], np.array(photo["K"], np.float64))
        for photo in truth()["photos"]
    )


@cache
def pipe() -> Pipeline:
    return idhand.load()


@cache
def landmarks_alone() -> Pipeline:
    """Without a network, so that the observations follow from the detection alone."""
    return PipelineConfig(network=None).build()


@cache
def detection(*, is_right: bool) -> tuple[Detection, np.ndarray]:
    """Of the first demo photo, or of its mirror image."""
    rgb, K = photos()[0]
    if truth()["photos"][0]["is_right"] != is_right:
        rgb, K = np.ascontiguousarray(rgb[:, ::-1]), K.copy()
        K[0, 2] = rgb.shape[1] - 1 - K[0, 2]
    (hand,) = pipe().detector.detect(rgb, max_hands=1)
    assert hand.is_right == is_right
    assert hand.outside is not None
    assert not hand.outside.any()
    return hand, K


def state_of(hand: HandResult) -> State:
    rotations = torch.from_numpy(hand.rotations)[None]
    return State(
        R=rotations[:, 0],
        wrist=torch.from_numpy(hand.keypoints_cam[0] * (1 if hand.is_right else FLIP))[None],
        angles=open_hand().pose_space.angles(rotations[:, 1:]),
        betas=torch.from_numpy(hand.betas)[None],
    )


def known_person() -> Identity:
    shape = 0.5 * torch.randn(NUM_BETAS, generator=torch.Generator().manual_seed(1)).double()
    root = torch.randn(NUM_BETAS, NUM_BETAS, generator=torch.Generator().manual_seed(2)).double()
    return Identity(
        model=open_hand().name,
        betas=shape.numpy(),
        covariance=(0.01 * root @ root.mT + 0.01 * torch.eye(NUM_BETAS)).numpy(),
        measurements={},
    )


@pytest.mark.parametrize("is_right", [True, False])
def test_the_residual_in_pixels_is_that_of_the_result(is_right: bool) -> None:
    found, K = detection(is_right=is_right)
    (hand,) = landmarks_alone().fit([found], K)
    state, model = state_of(hand), open_hand()
    rotations = torch.from_numpy(hand.rotations)[None]
    points = posed_points(model.landmarks, model.with_shape(state.betas), rotations, state.wrist)
    uvw = (points[0].numpy() * (1 if is_right else FLIP)) @ K.T
    distances = np.linalg.norm(uvw[:, :2] / uvw[:, 2:] - found.landmarks_px, axis=1)
    assert hand.residual_px == pytest.approx(float(np.sqrt((distances**2).mean())), rel=1e-6)
    assert hand.residual_px > 0.5, "a photo's landmarks are never fitted exactly"


def keypoint_slopes(o: Objective, state: State) -> Tensor:
    """Derivatives of the keypoints about the wrist by every unknown, by differences."""
    model, rows = o.model, []
    for step in 1e-5 * torch.eye(NUM_POSE + NUM_BETAS).double():
        ends = []
        for sign in (1, -1):
            s = o.moved(state, sign * step[None])
            rotations = torch.cat((s.R[:, None], model.pose_space.rotations(s.angles)), 1)
            shaped = model.with_shape(s.betas)
            ends.append(posed_points(model.keypoints_on_bones, shaped, rotations, s.wrist)[0])
        slope = (ends[0] - ends[1]) / 2e-5
        rows.append(slope - slope[:1])
    return torch.stack(rows, -1)


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("person", [None, known_person()], ids=["unknown", "known"])
def test_deviations_follow_from_the_information(person: Identity | None, is_right: bool) -> None:
    """Of an unknown person from all unknowns together; a known one's own covariance moves the pose
    along (pose given shape is Gaussian about −A⁻¹B times the change of shape)."""
    found, K = detection(is_right=is_right)
    (hand,) = landmarks_alone().fit([found], K, identity=person)
    config = RefinementConfig().objective
    o = Objective(model=open_hand(), config=config, prior=open_hand().prior)
    seen, state = (
        observations([HandInImage(detection=found, camera=Camera(K=K))], config),
        state_of(hand),
    )
    H, J = o.linearise(state, seen, shape=True).hessian[0], keypoint_slopes(o, state)
    depth = torch.eye(NUM_POSE + NUM_BETAS).double()[5].expand(1, 1, -1)
    limits = o.limit_hessian(state.angles) * o.unseen_angles(seen)
    assert not limits.any(), "all is seen, so the limits keep their information"
    stated = [torch.from_numpy(hand.keypoints_std_m), torch.tensor([hand.depth_std_m]).double()]
    for slopes, deviation in zip((J, depth), stated, strict=True):
        if person is None:
            covariance = slopes @ torch.linalg.inv(H) @ slopes.mT
        else:
            A, B = H[:NUM_POSE, :NUM_POSE], H[:NUM_POSE, NUM_POSE:]
            of_pose, of_shape = slopes[..., :NUM_POSE], slopes[..., NUM_POSE:]
            along = of_shape - of_pose @ torch.linalg.solve(A, B)
            covariance = of_pose @ torch.linalg.inv(A) @ of_pose.mT
            covariance = covariance + along @ torch.from_numpy(person.covariance) @ along.mT
        expected = covariance.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()
        torch.testing.assert_close(deviation, expected, rtol=1e-3, atol=1e-7)


def test_a_profile_is_what_the_photos_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    """Betas, covariance, intervals (1.96 deviations, slopes by differences), weights, reasons."""
    hand, K = detection(is_right=True)
    root = torch.randn(NUM_BETAS, NUM_BETAS, generator=torch.Generator().manual_seed(3)).double()
    found = replace(
        fused([0.9, 0.2, 0.0], fit=[1.0, 5.5, 1.2], disagreement=[0.5, 1.0, 4.5]),
        betas=0.1 * root[0],
        covariance=0.02 * root @ root.mT,
    )
    answers = iter(["no hand found", hand, hand, hand])
    monkeypatch.setattr(Pipeline, "_one_hand", lambda *_: next(answers))
    monkeypatch.setattr(Pipeline, "fuse", lambda *_: found)
    me = pipe().calibrate([photos()[0][0]] * 4, K=K)
    np.testing.assert_array_equal(me.betas, found.betas.numpy())
    np.testing.assert_array_equal(me.covariance, found.covariance.numpy())
    measures, step = open_hand().measures, 1e-5 * torch.eye(NUM_BETAS).double()
    lengths = 1e3 * measures.lengths(found.betas)
    slopes = 1e3 * (measures.lengths(found.betas + step) - measures.lengths(found.betas - step))
    slopes = slopes.mT / 2e-5
    half = 1.96 * (slopes @ found.covariance * slopes).sum(-1).sqrt()
    for i, name in enumerate(measures.names):
        m = me.measurements[name]
        assert m.value_mm == pytest.approx(float(lengths[i]))
        assert m.low_mm == pytest.approx(float(lengths[i] - half[i]), abs=1e-3 * float(half[i]))
        assert m.high_mm == pytest.approx(float(lengths[i] + half[i]), abs=1e-3 * float(half[i]))
    assert [photo.weight for photo in me.photos] == pytest.approx([0.0, 0.9, 0.2, 0.0])
    assert [photo.reason for photo in me.photos] == [
        "no hand found",
        "",
        "doubtful pose (fits 5.5 times worse than usual)",
        "another shape than the other photos (4.5 times the usual disagreement)",
    ]


def test_hands_of_several_pictures_are_fitted_each_by_itself() -> None:
    """Together, and with their deviations, as alone; of one shape, and of estimated ones."""
    hands = [
        HandInImage(
            detection=detection(is_right=side)[0], camera=Camera(K=detection(is_right=side)[1])
        )
        for side in (True, False)
    ]
    own, person = landmarks_alone(), known_person()
    betas, covariance = torch.from_numpy(person.betas), torch.from_numpy(person.covariance)
    for identity in (None, person):
        known = () if identity is None else (betas.expand(2, -1), covariance)
        for hand, result in zip(hands, own.fit_all(hands, *known), strict=True):
            (alone,) = own.fit([hand.detection], hand.camera.K, identity=identity)
            np.testing.assert_allclose(result.keypoints_cam, alone.keypoints_cam, atol=1e-6)
            np.testing.assert_allclose(result.keypoints_std_m, alone.keypoints_std_m, rtol=1e-4)
            assert result.depth_std_m == pytest.approx(alone.depth_std_m, rel=1e-4)


def test_the_pipeline_states_calibrated_deviations() -> None:
    """Of a known shape three times the posterior's, with floors; the shape's part stays."""
    found, K = detection(is_right=True)
    widened = Widening(factor=3.0, floor=0.02, cues={})
    calibration = DeviationCalibration(depth=widened, keypoints=widened)
    person = known_person()
    exact = replace(person, covariance=np.zeros_like(person.covariance))
    own = landmarks_alone()
    for identity in (exact, person):
        (plain,) = own.fit([found], K, identity=identity)
        (calibrated,) = replace(own, deviations=calibration).fit([found], K, identity=identity)
        (pose,) = own.fit([found], K, identity=exact)
        size = float(open_hand().relative_size(torch.from_numpy(plain.betas)[None]))
        of_shape = plain.depth_std_m**2 - pose.depth_std_m**2
        floor = (0.02 * plain.keypoints_cam[0, 2]) ** 2
        expected = np.sqrt(9 * pose.depth_std_m**2 + floor + of_shape)
        assert calibrated.depth_std_m == pytest.approx(expected, rel=1e-6)
        of_shape = plain.keypoints_std_m**2 - pose.keypoints_std_m**2
        expected = np.sqrt(9 * pose.keypoints_std_m**2 + (0.02 * size) ** 2 + of_shape)
        np.testing.assert_allclose(calibrated.keypoints_std_m[1:], expected[1:], rtol=1e-6)
        assert calibrated.keypoints_std_m[0] == pytest.approx(0.0, abs=1e-12)
        np.testing.assert_array_equal(calibrated.keypoints_cam, plain.keypoints_cam)


# ------------------------------------------------------------------------- coverage on renders


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Errors over predicted deviations: root mean squares, and shares within."""

    hands: int
    keypoints: float
    keypoints_within_2: float
    depth: float


def coverage(pairs: list[tuple[HandResult, np.ndarray]]) -> Coverage:
    of_keypoints, of_depth = [], []
    for hand, keypoints_cam in pairs:
        off = (hand.keypoints_cam - hand.keypoints_cam[0]) - (keypoints_cam - keypoints_cam[0])
        of_keypoints.append(np.linalg.norm(off, axis=1)[1:] / hand.keypoints_std_m[1:])
        of_depth.append((hand.keypoints_cam[0, 2] - keypoints_cam[0, 2]) / hand.depth_std_m)
    z = np.array(of_keypoints)
    return Coverage(
        hands=len(pairs),
        keypoints=float(np.sqrt((z**2).mean())),
        keypoints_within_2=float((z < 2).mean()),
        depth=float(np.sqrt(np.square(of_depth).mean())),
    )


def test_coverage_on_the_demo_photos() -> None:
    """Photoreal pictures of one person, 16 hands: keypoints are 0.96 times as far off as stated
    (1.27 before deviations were calibrated), 99 % are within two deviations; depths are 0.59 times
    as far off (one person, of a size that happens to be near the estimates: the prior of the size
    makes up most of that deviation)."""
    pairs = []
    for (rgb, K), photo in zip(photos(), truth()["photos"], strict=True):
        (hand,) = pipe()(rgb, K=K, max_hands=1)
        assert hand.is_right == photo["is_right"]
        pairs.append((hand, np.array(photo["keypoints_cam_m"])))
    found = coverage(pairs)
    assert found.hands == 16
    assert 0.8 < found.keypoints < 1.2
    assert found.keypoints_within_2 > 0.95
    assert 0.45 < found.depth < 0.8


def test_coverage_on_people_of_the_studio() -> None:
    """Ten pictures of the studio's validation people, of which eight have a hand that is found on
    the right side: keypoints are 1.18 times as far off as stated (91 % within two deviations; 2.6
    times and 64 % before deviations were calibrated) and depths 1.29 times."""
    pairs, studio = [], Studio(StudioConfig(split="val"))
    for i in range(10):
        sample = studio[i]
        assert sample.keypoints_cam is not None
        for hand in pipe()(sample.rgb, K=sample.K, max_hands=1):
            if hand.is_right == sample.is_right:
                pairs.append((hand, sample.keypoints_cam))
    found = coverage(pairs)
    assert found.hands >= 7
    assert 0.95 < found.keypoints < 1.45
    assert 0.83 < found.keypoints_within_2 < 0.98
    assert 1.0 < found.depth < 1.6


@pytest.mark.parametrize(("with_ruler", "measured"), [(False, 1.13), (True, 1.01)])
def test_coverage_of_the_demo_persons_measures(with_ruler: bool, measured: float) -> None:
    """All 29 measures lie in their 95 % intervals. In units of the deviations they are off by 1.13
    (root mean square; 1.01 with a ruler): one person and correlated measures, so 1 is not expected
    exactly."""
    me = pipe().calibrate(
        [rgb for rgb, _ in photos()],
        K=[K for _, K in photos()],
        hand_length_mm=truth()["hand_length_mm"] if with_ruler else None,
    )
    right = truth()["measurements_mm"]
    assert set(right) == set(me.measurements)
    off = np.array([m.value_mm - right[name] for name, m in me.measurements.items()])
    half = np.array([(m.high_mm - m.low_mm) / 2 for m in me.measurements.values()])
    assert (np.abs(off) <= half).mean() > 0.93
    z = off / (half / 1.96)
    assert measured / 1.3 < float(np.sqrt((z**2).mean())) < 1.3 * measured
    weights = np.array([photo.weight for photo in me.photos])
    assert 0.4 < weights.min() < 0.55, "measured 0.48"
    assert all(bool(p.reason) == (p.weight < 0.7) for p in me.photos)
