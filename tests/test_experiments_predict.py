"""Detected hands, predictions, their refinement: exact scenes, and the bundled pictures."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.cli.demo import read_demo
from idhand.detection import HandDetector
from idhand.geometry import project, rotation_from_vector, sixd_from_rotation
from idhand.methods.detections import DetectedHands, detect_hands
from idhand.methods.pictures import predict_images
from idhand.methods.predicting import landmark_fit, predict
from idhand.methods.refining import RefineConfig, refine
from idhand.methods.rows import wrists
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import box_roi, crop_of, landmark_roi, view_of
from idhand.nets.regressor import Regressor, RegressorConfig
from idhand.pipeline import load
from idhand.predictions import Predictions
from idhand.records import Sample
from idhand.refinement import Objective, ObjectiveConfig, State, Trust, network_only
from idhand.refinement.official import OfficialConfig, fit_officially
from idhand.refinement.points import keypoints, posed_points
from tests.conftest import toy_hand

FLIP = np.array([-1.0, 1.0, 1.0])
NUM_DEMO = 3


def small_net(**changes: Any) -> Regressor:
    """Random weights that do say something."""
    config = RegressorConfig(
        hand_model="idhand-open-1", num_betas=16,
        backbone="hand_full", identity="film", trunk=16, hidden=(16,), shape_hidden=(16,),
        shape_cov=True, init="plain",
    )  # fmt: skip
    config = replace(config, **changes)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return config.build().eval()


@cache
def detector() -> HandDetector:
    return HandDetector()


@cache
def demo_samples() -> tuple[Sample, ...]:
    """Bundled pictures as a data set; the second person's is in a mirror, the last is black."""
    truth, pictures = read_demo()
    samples = []
    for index, picture in enumerate(pictures[:NUM_DEMO]):
        record = truth["photos"][index]
        pixels = np.array(record["keypoints_px"])
        samples.append(
            Sample(
                rgb=picture.rgb,
                K=picture.K,
                dist=np.zeros(5),
                is_right=bool(record["is_right"]),
                bbox_px=np.concatenate((pixels.min(0), pixels.max(0))),
                subject="someone",
                model=truth["model"],
                betas=np.array(truth["betas"]),
                rotations=np.array(record["rotations"]),
                wrist_cam=np.array(record["wrist_cam_m"]),
                keypoints_px=pixels,
                keypoints_cam=picture.keypoints_cam,
                valid=np.ones(21, bool),
                visible=None,
                parts=None,
                dataset="demo",
                id=picture.name,
                sequence=None,
                time_s=None,
            )
        )
    mirror = replace(samples[1].mirrored(), id="mirror", subject="other")
    black = replace(samples[2], rgb=np.zeros_like(samples[2].rgb), id="black", subject="other")
    return (*samples, mirror, black)


@cache
def demo_detected() -> DetectedHands:
    return detect_hands(
        demo_samples(), detector(), HandBackbone("hand_full"), header={"data": "hash"}
    )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Hands whose landmarks are seen without error, left and right in turn."""

    rotations: Tensor
    betas: Tensor
    wrist: Tensor
    """Of the mirrored right hand."""
    detected: DetectedHands

    def predictions(self, turn_rad: float = 0.0) -> Predictions:
        """A method that sees each joint turned by about so much, and the true shapes."""
        rng = torch.Generator().manual_seed(5)
        n = len(self.detected)
        turns = turn_rad * torch.randn(n, 16, 3, generator=rng, dtype=torch.float64)
        return Predictions(
            header={"model": open_hand().name, "method": "guess"},
            sample_id=self.detected.sample_id,
            subject=self.detected.subject,
            is_right=self.detected.is_right,
            found=self.detected.found,
            K=self.detected.K,
            rotations=(rotation_from_vector(turns) @ self.rotations).numpy(),
            betas=self.betas.numpy(),
            confidence=np.arange(float(n)),
        )


@cache
def scene(n: int = 6) -> Scene:
    rng = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    model = open_hand()
    space = model.pose_space
    angles = space.mean + 0.5 * draw(n, space.num_dofs) @ torch.linalg.cholesky(space.covariance).T
    R = rotation_from_vector(draw(n, 3))
    fingers = space.rotations(angles.clamp(space.lower, space.upper))
    rotations, betas = torch.cat((R[:, None], fingers), 1), 0.7 * draw(n, 16)
    wrist = torch.tensor([0.02, 0.03, 0.5]) + 0.03 * draw(n, 3)
    points = posed_points(model.landmarks, model.with_shape(betas), rotations, wrist).numpy()
    K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
    is_right = np.arange(n) % 2 == 0
    cam = points * np.where(is_right[:, None, None], 1.0, FLIP)
    pixels = project(torch.from_numpy(cam), torch.from_numpy(K)).numpy()
    z_px = 600 * (cam[..., 2] - cam[:, :1, 2]) / cam[:, :1, 2]
    detected = DetectedHands(
        header={"dataset": "exact"},
        sample_id=tuple(f"{i:02d}" for i in range(n)),
        subject=tuple(f"person-{i // 2}" for i in range(n)),
        is_right=is_right,
        found=np.ones(n, bool),
        K=np.tile(K, (n, 1, 1)),
        dist=np.zeros((n, 5)),
        score=np.ones(n),
        landmarks_px=pixels,
        landmarks_z_px=z_px,
        landmarks_world=cam - cam.mean(1, keepdims=True),
        landmark_conf=np.ones((n, 21)),
        landmark_outside=np.zeros((n, 21), bool),
        R_cam_view=np.tile(np.eye(3), (n, 1, 1)),
        features=None,
    )
    return Scene(rotations=rotations, betas=betas, wrist=wrist, detected=detected)


def keypoints_cam(predictions: Predictions, rows: Any = slice(None)) -> np.ndarray:
    """Of the mirrored right hands."""
    assert predictions.rotations is not None
    assert predictions.betas is not None
    assert predictions.wrist_cam is not None
    wrist = predictions.wrist_cam * np.where(predictions.is_right[:, None], 1.0, FLIP)
    hand = open_hand().with_shape(torch.from_numpy(predictions.betas[rows]))
    R = torch.from_numpy(predictions.rotations[rows])
    return hand.posed(R, torch.from_numpy(wrist[rows])).keypoints.numpy()


def true_keypoints(exact: Scene) -> np.ndarray:
    hand = open_hand().with_shape(exact.betas)
    return hand.posed(exact.rotations, exact.wrist).keypoints.numpy()


# ------------------------------------------------------------------------------- points


def test_keypoints_are_those_of_the_whole_mesh() -> None:
    rng = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, 16, 3, generator=rng, dtype=torch.float64)
    betas = torch.randn(3, 4, generator=rng, dtype=torch.float64)
    hand, R, wrist = toy_hand().with_shape(betas), rotation_from_vector(vectors), vectors[:, 0]
    assert_close(keypoints(hand, R, wrist), hand.posed(R, wrist).keypoints)


def test_landmark_points_are_those_of_the_objective() -> None:
    exact, model = scene(), open_hand()
    space = model.pose_space
    objective = Objective(model=model, config=ObjectiveConfig(), prior=model.prior)
    angles = space.angles(exact.rotations[:, 1:])
    state = State(R=exact.rotations[:, 0], wrist=exact.wrist, angles=angles, betas=exact.betas)
    *_, points = objective.kinematics(state)
    ours = posed_points(
        model.landmarks, model.with_shape(exact.betas), exact.rotations, exact.wrist
    )
    assert_close(ours, points)


# ------------------------------------------------------------------------------- the paper's Adam


def official_scene(turn_rad: float) -> dict[str, Any]:
    exact = scene()
    hand = open_hand().with_shape(exact.betas)
    K = torch.from_numpy(exact.detected.K)
    pixels = project(hand.posed(exact.rotations, exact.wrist).keypoints, K)
    R = torch.from_numpy(exact.predictions(turn_rad).rotations)
    return {"hand": hand, "sixd": sixd_from_rotation(R), "points_px": pixels, "K": K}


def test_the_papers_adam_places_a_hand_of_known_form() -> None:
    fit = fit_officially(**official_scene(0.0), config=OfficialConfig(steps=(600, 0)))
    assert_close(fit.wrist_cam, scene().wrist, atol=2e-3, rtol=0)
    assert_close(fit.rotations, scene().rotations)


def test_the_papers_adam_moves_the_pose_in_its_second_stage() -> None:
    parts = official_scene(0.1)
    placed = fit_officially(**parts, config=OfficialConfig(steps=(200, 1)))
    posed = fit_officially(**parts)
    assert (posed.loss_px2 < 0.6 * placed.loss_px2).all()
    assert (posed.rotations - placed.rotations).abs().max() > 0.01
    assert not parts["sixd"].requires_grad


def test_the_papers_adam_does_not_mix_hands() -> None:
    parts = official_scene(0.1)
    whole = fit_officially(**parts)
    one = {name: value[2:3] for name, value in parts.items() if name != "hand"}
    alone = fit_officially(open_hand().with_shape(scene().betas[2:3]), **one)
    assert_close(alone.wrist_cam, whole.wrist_cam[2:3])
    assert_close(alone.rotations, whole.rotations[2:3])


def test_official_config_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="positive"):
        OfficialConfig(rates=(0.0, 1e-3))


# ------------------------------------------------------------------------------- detected


def test_a_known_box_needs_no_palm() -> None:
    sample = demo_samples()[0]
    hand = detector().in_box(sample.rgb, sample.bbox_px, is_right=sample.is_right)
    assert hand is not None
    size = np.ptp(sample.keypoints_px, axis=0).max()
    off = np.linalg.norm(hand.landmarks_px - sample.keypoints_px, axis=1).mean()
    assert off < 0.08 * size
    assert hand.is_right == sample.is_right
    other = detector().in_box(sample.rgb, sample.bbox_px, is_right=not sample.is_right)
    assert other is not None
    assert other.is_right != sample.is_right
    assert np.array_equal(other.landmarks_px, hand.landmarks_px)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("row", [0, 2])
def test_a_hand_is_read_however_it_is_turned(row: int, quarters: int) -> None:
    """Lying on its side, each of them has an upright reading that is sure and 0.3 sizes off."""
    sample = demo_samples()[row]
    h, w = sample.rgb.shape[:2]
    points = sample.keypoints_px
    for _ in range(quarters):
        points = np.stack((points[:, 1], w - 1 - points[:, 0]), 1)
        h, w = w, h
    turned = np.ascontiguousarray(np.rot90(sample.rgb, quarters))
    hand = detector().in_box(turned, np.concatenate((points.min(0), points.max(0))))
    assert hand is not None
    off = np.linalg.norm(hand.landmarks_px - points, axis=1).mean()
    assert off < 0.1 * np.ptp(points, axis=0).max()


def test_a_box_that_is_none_is_refused() -> None:
    rgb = demo_samples()[0].rgb
    for box in ([5, 5, 5, 9], [0, 0, np.nan, 9]):
        with pytest.raises(ValueError, match="give left, top, right and bottom"):
            detector().in_box(rgb, np.array(box, float))


def test_looks_hold_what_the_net_saw() -> None:
    detected, samples = demo_detected(), demo_samples()
    assert detected.found.tolist() == [True, True, True, True, False]
    label = HandBackbone("hand_full").label
    assert detected.header == {"dataset": "demo", "data": "hash", "features": label}
    assert detected.features is not None
    for name in ("landmarks_px", "R_cam_view", "score", "features"):
        assert np.isnan(getattr(detected, name)[-1]).all()
    hand = detected.detection(1)
    assert hand is not None
    assert detected.detection(4) is None
    again = detector().in_box(samples[1].rgb, samples[1].bbox_px, is_right=samples[1].is_right)
    assert again is not None
    assert all(np.array_equal(getattr(hand, name), value) for name, value in vars(again).items())
    view = view_of(landmark_roi(hand.landmarks_px), samples[1].K, None, samples[1].is_right)
    image = torch.from_numpy(crop_of(samples[1].rgb, view)).permute(2, 0, 1)[None] / 255
    alone = HandBackbone("hand_full")(image)[0].numpy()
    assert np.allclose(detected.features[1], alone, rtol=2e-3, atol=2e-3)
    assert np.array_equal(detected.R_cam_view[1], view.R_cam_view)


def test_looks_come_back_from_disk_and_say_what_is_wrong(tmp_path: Path) -> None:
    detected = demo_detected()
    detected.save(tmp_path / "a.npz")
    detected.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = DetectedHands.load(tmp_path / "a.npz")
    for name, value in vars(detected).items():
        same = getattr(back, name)
        if isinstance(value, np.ndarray):
            assert same.dtype == value.dtype
            assert np.array_equal(same, value, equal_nan=True)
        else:
            assert same == value
    with pytest.raises(ValueError, match=r"\.npz"):
        detected.save(tmp_path / "a.txt")
    (tmp_path / "half.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged"):
        DetectedHands.load(tmp_path / "half.npz")
    scene().predictions().save(tmp_path / "predictions.npz")
    with pytest.raises(ValueError, match="no file of detected"):
        DetectedHands.load(tmp_path / "predictions.npz")
    with pytest.raises(FileNotFoundError):
        DetectedHands.load(tmp_path / "nothing.npz")


def test_looks_are_chosen_by_person_and_by_picture() -> None:
    detected = demo_detected()
    people = detected.by_subject()
    assert list(people) == ["someone", "other"]
    assert people["other"].sample_id == ("mirror", "black")
    unknown = replace(detected, subject=("", *detected.subject[1:]))
    with pytest.raises(ValueError, match=r"1 of \d pictures do not say whose hand they show"):
        unknown.by_subject()
    assert detected.of(["black", detected.sample_id[0]]).found.tolist() == [False, True]
    with pytest.raises(ValueError, match="another data set"):
        detected.of(["stranger"])


def test_pictures_without_a_camera_are_refused() -> None:
    lost = replace(demo_samples()[0], K=np.full((3, 3), np.nan))
    with pytest.raises(ValueError, match="has no camera"):
        detect_hands([lost], detector(), None)
    boxless = replace(demo_samples()[0], bbox_px=np.zeros(4))
    with pytest.raises(ValueError, match="of 'demo': the box"):
        detect_hands([boxless], detector(), None)
    with pytest.raises(ValueError, match="no pictures"):
        detect_hands([], detector(), None)


# ------------------------------------------------------------------------------- predictions


def test_predictions_are_the_networks_in_the_camera_frame() -> None:
    net, detected = small_net(), demo_detected()
    found = predict(net, detected)
    assert detected.features is not None
    hits = np.flatnonzero(detected.found)
    with torch.inference_mode():
        estimate = net.from_features(torch.from_numpy(detected.features[hits]).float())
    assert found.rotations is not None
    assert found.betas is not None
    assert found.betas_cov is not None
    assert found.found.tolist() == detected.found.tolist()
    wrist = detected.R_cam_view[hits] @ estimate.rotations[:, 0].double().numpy()
    assert np.allclose(found.rotations[hits, 0], wrist, atol=1e-6)
    assert np.allclose(found.rotations[hits, 1:], estimate.rotations[:, 1:], atol=1e-6)
    assert np.allclose(found.betas[hits], estimate.betas, atol=1e-6)
    assert (found.points_px == detected.landmarks_px)[hits].all()
    assert found.header == {
        "model": open_hand().name, "method": "film (anonymous)", "dataset": "demo", "data": "hash"
    }  # fmt: skip
    batched = predict(net, detected, batch=3)
    assert batched.wrist_cam is not None
    assert found.wrist_cam is not None
    assert np.allclose(batched.wrist_cam, found.wrist_cam, atol=1e-5, equal_nan=True)


def test_the_wrist_of_a_known_form_is_where_it_must_be() -> None:
    exact = scene()
    placed = wrists(exact.detected, exact.rotations.numpy(), exact.betas.numpy(), open_hand())
    truth = exact.wrist.numpy() * np.where(exact.detected.is_right[:, None], 1.0, FLIP)
    # Weak perspective: exact but for the hand's own depth.
    assert np.allclose(placed, truth, atol=0.03)


def test_a_known_person_changes_what_the_network_says_and_others_stay_unknown() -> None:
    net, detected = small_net(), demo_detected()
    betas = {"someone": np.linspace(-1, 1, 16)}
    anonymous, known = predict(net, detected), predict(net, detected, betas)
    assert known.betas is not None
    assert known.betas_cov is None
    assert np.allclose(known.betas[:3], betas["someone"], atol=1e-6)
    for name in ("rotations", "betas"):
        ours, theirs = getattr(known, name), getattr(anonymous, name)
        assert np.allclose(ours[3], theirs[3], atol=1e-6)
        assert not np.allclose(ours[0], theirs[0], atol=1e-4)


def test_shapes_that_do_not_fit_are_refused() -> None:
    detected, zero = demo_detected(), np.zeros(16)
    given = small_net(identity="given", shape_cov=False)
    with pytest.raises(ValueError, match=r"1 of 2 persons have no shape \(first: other\)"):
        predict(given, detected, {"someone": zero})
    with pytest.raises(ValueError, match="give it each person's betas"):
        predict(given, detected)
    with pytest.raises(ValueError, match="takes none"):
        predict(small_net(identity="predicted"), detected, {"someone": zero})
    with pytest.raises(ValueError, match="have 16 betas, one of 10"):
        predict(small_net(), detected, {"someone": np.zeros(10)})
    with pytest.raises(ValueError, match="the hand model 'mano' is not here"):
        predict(small_net(hand_model="mano"), detected)


def test_features_and_hands_must_be_there() -> None:
    detected = demo_detected()
    with pytest.raises(ValueError, match="the detected hands have none"):
        predict(small_net(), replace(detected, features=None))
    with pytest.raises(ValueError, match="'hand_lite', but the detected hands have 1279"):
        predict(small_net(backbone="hand_lite"), detected)
    with pytest.raises(ValueError, match="no hand was found in any of the 1 pictures"):
        predict(small_net(), detected.select([4]))


def test_a_network_with_its_own_backbone_sees_the_crops() -> None:
    net = small_net(backbone="resnet18", identity="predicted")
    samples = demo_samples()
    alone = predict_images(net, samples)
    assert alone.found.all()
    assert alone.wrist_cam is None
    assert alone.points_px is None
    view = view_of(box_roi(samples[3].bbox_px), samples[3].K, None, samples[3].is_right)
    image = torch.from_numpy(crop_of(samples[3].rgb, view)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        rotations = net(image).rotations[0].double().numpy()
    assert alone.rotations is not None
    assert np.allclose(alone.rotations[3], view.to_camera(rotations), atol=1e-4)
    with pytest.raises(ValueError, match="need the hands detected"):
        predict_images(net, samples, cut="landmark")


def test_crops_about_landmarks_and_features_say_the_same() -> None:
    net, detected = small_net(), demo_detected()
    by_crop = predict_images(net, demo_samples(), cut="landmark", points=detected)
    by_feature = predict(net, detected)
    assert by_crop.found.tolist() == detected.found.tolist()
    assert by_crop.wrist_cam is not None
    assert by_feature.rotations is not None
    assert by_crop.rotations is not None
    assert np.allclose(by_crop.rotations, by_feature.rotations, atol=0.02, equal_nan=True)
    with pytest.raises(ValueError, match="another data set"):
        predict_images(net, demo_samples(), points=detected.select([0]))


def test_the_landmark_fit_is_the_pipelines() -> None:
    detected, pipe = demo_detected(), load()
    fitted = landmark_fit(detected, model=open_hand(), batch=2)
    hand = detected.detection(3)
    assert hand is not None
    (result,) = pipe.fit([hand], detected.K[3])
    assert fitted.rotations is not None
    assert fitted.wrist_cam is not None
    assert np.allclose(fitted.rotations[3], result.rotations, atol=1e-6)
    assert np.allclose(keypoints_cam(fitted)[3] * FLIP, result.keypoints_cam, atol=1e-6)
    assert fitted.betas_cov is not None
    variances = np.linalg.eigvalsh(fitted.betas_cov[3])
    assert variances.min() > 0
    assert variances.max() < 1.2  # no wider than the population
    shapes = {name: np.full(16, 0.1) for name in ("someone", "other")}
    known = landmark_fit(detected, shapes, model=open_hand())
    assert known.betas_cov is None
    assert known.betas is not None
    assert np.allclose(known.betas[detected.found], 0.1)
    with pytest.raises(ValueError, match="no shape"):
        landmark_fit(detected, {"someone": np.zeros(16)}, model=open_hand())


# ------------------------------------------------------------------------------- refinement


@pytest.mark.parametrize("directions", ["landmarks", "network", "both"])
def test_refining_brings_hands_nearer_to_the_truth(directions: Any) -> None:
    exact = scene()
    before = exact.predictions(0.12)
    placed = wrists(exact.detected, before.rotations, before.betas, open_hand())  # pyright: ignore
    start = replace(before, wrist_cam=placed)
    after = refine(
        before,
        exact.detected,
        config=RefineConfig(refinement=replace(network_only(), trust=Trust(directions=directions))),
    )
    truth = true_keypoints(exact)
    errors = [
        np.linalg.norm(keypoints_cam(each) - truth, axis=-1).mean() for each in (start, after)
    ]
    assert errors[1] < 0.6 * errors[0]
    assert np.allclose(after.betas, before.betas)  # pyright: ignore[reportArgumentType]
    assert np.array_equal(after.confidence, before.confidence)  # pyright: ignore
    assert after.method == "guess + refined"


def test_a_network_s_own_keypoints_are_fitted() -> None:
    """The landmark net is off to one side; the network marks the keypoints where they are."""
    exact = scene()
    off = replace(exact.detected, landmarks_px=exact.detected.landmarks_px + 8.0)
    truth, right = true_keypoints(exact), exact.predictions()
    zero = np.zeros(3)
    pixels = [
        cv2.projectPoints(points * (1.0 if is_right else FLIP), zero, zero, K, dist)[0][:, 0]
        for points, is_right, K, dist in zip(
            truth, exact.detected.is_right, exact.detected.K, exact.detected.dist, strict=True
        )
    ]
    marked = replace(
        right,
        points_px=np.stack(pixels),
        header={**right.header, "points": "keypoints"},
    )
    errors = {}
    for points in ("landmarks", "network", "both"):
        trust = Trust(points=points)  # pyright: ignore[reportArgumentType]
        after = refine(
            marked, off, config=RefineConfig(refinement=replace(network_only(), trust=trust))
        )
        errors[points] = np.linalg.norm(keypoints_cam(after) - truth, axis=-1).mean()
    assert errors["network"] < 0.8 * errors["both"] < 0.4 * errors["landmarks"]
    by_adam = refine(marked, off, config=RefineConfig(solver="paper_adam"))
    without = refine(right, off, config=RefineConfig(solver="paper_adam"))
    wrong = [
        np.linalg.norm(keypoints_cam(each) - truth, axis=-1).mean() for each in (by_adam, without)
    ]
    assert wrong[0] < wrong[1]


def test_predictions_hold_the_keypoints_that_the_net_marks() -> None:
    samples = demo_samples()
    detected = detect_hands(samples, detector(), HandBackbone("hand_studio"))
    marked = predict(small_net(backbone="hand_studio"), detected)
    assert marked.header["points"] == "keypoints"
    assert marked.points_px is not None
    found = detected.found
    off = {
        name: np.linalg.norm(points[found] - true_points(samples)[found], axis=-1).mean()
        for name, points in (("network", marked.points_px), ("landmarks", detected.landmarks_px))
    }
    assert off["network"] < 0.8 * off["landmarks"]
    with pytest.raises(ValueError, match="detect again for this network"):
        predict(small_net(), detected)


def true_points(samples: Any) -> np.ndarray:
    return np.stack([sample.keypoints_px for sample in samples])


def test_directions_of_the_network_hold_its_pose() -> None:
    """Where the landmark net errs in depth, only the network's word keeps the fingers in place."""
    exact = scene()
    flat = replace(
        exact.detected,
        landmarks_z_px=0 * exact.detected.landmarks_z_px,
        landmarks_world=exact.detected.landmarks_world * np.array([1.0, 1.0, 0.0]),
    )
    truth = true_keypoints(exact)
    errors = {}
    for directions in ("landmarks", "network"):
        trust = Trust(directions=directions)  # pyright: ignore[reportArgumentType]
        config = RefineConfig(refinement=replace(network_only(), trust=trust))
        after = refine(exact.predictions(), flat, config=config)
        errors[directions] = np.linalg.norm(keypoints_cam(after) - truth, axis=-1).mean()
    assert errors["network"] < 0.004
    assert errors["network"] < 0.3 * errors["landmarks"]


def test_batches_do_not_change_refinement() -> None:
    exact = scene()
    for solver in ("second_order", "paper_adam"):
        whole, parts = (
            refine(
                exact.predictions(0.1),
                exact.detected,
                config=RefineConfig(solver=solver, batch=batch),  # pyright: ignore
            )
            for batch in (256, 4)
        )
        assert np.allclose(whole.wrist_cam, parts.wrist_cam, atol=1e-4)  # pyright: ignore
        assert np.allclose(whole.rotations, parts.rotations, atol=1e-3)  # pyright: ignore


def test_a_free_shape_says_how_sure_it_is() -> None:
    exact = scene()
    free = refine(exact.predictions(0.1), exact.detected, config=RefineConfig(shape="free"))
    assert free.betas is not None
    assert free.betas_cov is not None
    assert not np.allclose(free.betas, exact.betas)
    assert np.linalg.eigvalsh(free.betas_cov).min() > 0
    assert free.method == "guess + refined, free shape"


def test_the_papers_adam_refines_predictions() -> None:
    exact = scene()
    config = RefineConfig(solver="paper_adam")
    after = refine(exact.predictions(0.1), exact.detected, config=config)
    assert after.rotations is not None
    assert after.wrist_cam is not None
    wrist = after.wrist_cam * np.where(after.is_right[:, None], 1.0, FLIP)
    hand = open_hand().with_shape(exact.betas)
    points = posed_points(
        open_hand().landmarks, hand, torch.from_numpy(after.rotations), torch.from_numpy(wrist)
    )
    real = points.numpy() * np.where(after.is_right[:, None, None], 1.0, FLIP)
    pixels = project(torch.from_numpy(real), torch.from_numpy(exact.detected.K)).numpy()
    assert np.linalg.norm(pixels - exact.detected.landmarks_px, axis=-1).mean() < 6
    assert after.method == "guess + paper's Adam"


def test_what_cannot_be_refined_is_refused() -> None:
    exact = scene()
    good = exact.predictions()
    with pytest.raises(ValueError, match="another data set"):
        refine(replace(good, sample_id=tuple("abcdef")), exact.detected)
    with pytest.raises(ValueError, match="hand model 'mano'"):
        refine(replace(good, header={"model": "mano", "method": "x"}), exact.detected)
    mesh = replace(good, rotations=None, betas=None, verts_cam=np.zeros((6, 5, 3)))
    with pytest.raises(ValueError, match="meshes alone"):
        refine(mesh, exact.detected)
    with pytest.raises(ValueError, match="no hand was found"):
        refine(replace(good, found=np.zeros(6, bool)), exact.detected)
    with pytest.raises(ValueError, match="keeps the shape"):
        RefineConfig(solver="paper_adam", shape="free")
    with pytest.raises(ValueError, match="must be positive"):
        Trust(direction_weight=0.0)


def test_hands_that_one_of_both_lacks_stay_missed() -> None:
    exact = scene()
    some = replace(exact.predictions(), found=np.arange(6) != 1)
    detected = replace(exact.detected, found=np.arange(6) != 4)
    after = refine(some, detected)
    assert np.flatnonzero(~after.found).tolist() == [1, 4]
    assert after.rotations is not None
    assert np.isnan(after.rotations[[1, 4]]).all()
