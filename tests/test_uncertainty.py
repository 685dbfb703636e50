"""Stated deviations are those of the errors: with noise drawn from the stated covariance."""

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import idhand
from idhand.assets import open_hand
from idhand.assets.children import child_prior
from idhand.calibration import Anchor, Calibration, calibrate_shape, photo_uses
from idhand.detection import HandDetector
from idhand.geometry import project, rotation_from_vector
from idhand.hand import ShapePrior
from idhand.pipeline import PipelineConfig
from idhand.records import Camera, Detection, HandInImage
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    observations,
    solve,
)
from idhand.refinement.populations import under_population
from idhand.refinement.residuals import BONE_END, BONE_START
from idhand.refinement.uncertainty import residual_px, uncertainty

K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
HANDS = 200
DEMO = Path(str(files("idhand.assets"))) / "data" / "demo"


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def objective() -> Objective:
    """All noise Gaussian and no limits, so that the model's own statement is exact to first
    order."""
    config = ObjectiveConfig(
        sigma_px=0.005,
        sigma_direction=0.05,
        robust_px=1e3,
        robust_direction=1e3,
        pose_weight=1.0,
        limit_sigma=1e3,
    )
    return Objective(model=open_hand(), config=config, prior=open_hand().prior)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Hands drawn from the priors, seen with the stated noise, and fitted."""

    truth: State
    seen: Observations
    fitted: State
    spread: Tensor
    depth: Tensor
    known_shape: bool


@cache
def drawn(known_shape: bool = False, unseen: tuple[int, ...] = ()) -> Drawn:
    rng = torch.Generator().manual_seed(5)
    o = objective()
    space, n = o.model.pose_space, HANDS
    shape_cov = 0.3**2 * torch.eye(16, dtype=torch.float64)
    betas = normal(rng, n, 16) * (0.3 if known_shape else 1.0)
    truth = State(
        R=rotation_from_vector(0.7 * normal(rng, n, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]) + 0.03 * normal(rng, n, 3),
        angles=space.mean + normal(rng, n, 26) @ torch.linalg.cholesky(space.covariance).T,
        betas=betas,
    )
    *_, points = o.kinematics(truth)
    hidden = torch.zeros(n, 21, dtype=torch.bool)
    hidden[:, list(unseen)] = True
    ends = hidden[:, BONE_END] | hidden[:, BONE_START]
    size_px = (600 / truth.wrist[:, 2] * 0.187)[:, None]
    sigma_px = torch.where(hidden, o.config.unseen_sigma_px, o.config.sigma_px) * size_px
    sigma_direction = torch.where(ends, o.config.unseen_sigma_direction, o.config.sigma_direction)
    bones = points[:, BONE_END] - points[:, BONE_START]
    units = bones / bones.norm(dim=-1, keepdim=True)
    seen = Observations(
        points_px=project(points, K) + sigma_px[..., None] * normal(rng, n, 21, 2),
        sigma_px=sigma_px.double(),
        directions=units + sigma_direction[..., None] * normal(rng, n, 20, 3),
        sigma_direction=sigma_direction.double(),
        K=K.expand(n, 3, 3),
        world=points,
        unseen=hidden,
    )
    start = replace(truth, betas=torch.zeros_like(betas))
    solved = solve(o, seen, start, RefinementConfig(objective=o.config), shape=not known_shape)
    on_joints = replace(o, model=replace(o.model, landmarks=o.model.keypoints_on_bones))
    known = shape_cov if known_shape else None
    stated = uncertainty(o, on_joints, solved.state, seen, known)
    return Drawn(
        truth=truth,
        seen=seen,
        fitted=solved.state,
        spread=stated.keypoints_std_m,
        depth=stated.depth_std_m,
        known_shape=known_shape,
    )


def keypoints_about_wrist(state: State) -> Tensor:
    o = objective()
    on_joints = replace(o, model=replace(o.model, landmarks=o.model.keypoints_on_bones))
    *_, points = on_joints.kinematics(state)
    return points - points[:, :1]


def ratio(errors: Tensor, stated: Tensor) -> float:
    """Errors over stated deviations, root mean square: 1 is right, 1.5 is off by 1.5."""
    return float((errors / stated).square().mean().sqrt())


@pytest.mark.parametrize("known_shape", [False, True])
def test_keypoints_and_depth_are_off_by_what_is_stated(known_shape: bool) -> None:
    case = drawn(known_shape)
    off = (keypoints_about_wrist(case.fitted) - keypoints_about_wrist(case.truth)).norm(dim=-1)
    assert 0.8 < ratio(off[:, 1:], case.spread[:, 1:]) < 1.25
    assert case.spread[:, 0].max() == 0
    # Depth is nearly proportional to the hand's size: its error is relative.
    depth = case.truth.wrist[:, 2].log() - case.fitted.wrist[:, 2].log()
    assert 0.8 < ratio(depth, case.depth / case.fitted.wrist[:, 2]) < 1.25


def test_the_deviation_is_that_of_each_keypoint() -> None:
    """Not only on average: a fingertip's is right, and so is a knuckle's."""
    case = drawn()
    off = (keypoints_about_wrist(case.fitted) - keypoints_about_wrist(case.truth)).norm(dim=-1)
    each = (off / case.spread)[:, 1:].square().mean(0).sqrt()
    assert each.min() > 0.75
    assert each.max() < 1.35
    assert case.spread[:, 12].mean() > 1.3 * case.spread[:, 9].mean()


def test_what_is_not_seen_keeps_the_deviation_of_its_error() -> None:
    fingers = (6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20)
    case, whole = drawn(unseen=fingers), drawn()
    off = (keypoints_about_wrist(case.fitted) - keypoints_about_wrist(case.truth)).norm(dim=-1)
    tips = [8, 12, 16, 20]
    assert off[:, tips].mean() > 0.02, "two centimetres and more: they were not seen"
    assert 0.75 < ratio(off[:, tips], case.spread[:, tips]) < 1.35
    assert case.spread[:, tips].mean() > 2.5 * whole.spread[:, tips].mean()
    thumb = [1, 2, 3, 4]
    assert case.spread[:, thumb].mean() < 2 * whole.spread[:, thumb].mean()


def test_no_prior_is_strengthened_where_nothing_is_seen() -> None:
    """The prior's weight stands for errors that go together; unseen landmarks have none to weigh
    against."""
    o = replace(objective(), config=ObjectiveConfig(pose_weight=4.0))
    seen = drawn(unseen=(6, 7, 8)).seen[:1]
    weight = o.pose_precision(seen)[0] / o.model.pose_space.precision
    names = o.model.pose_space.names
    distal = [names.index("index_pip_flexion"), names.index("index_dip_flexion")]
    others = [i for i in range(26) if i not in distal]
    torch.testing.assert_close(weight.diagonal()[distal], torch.ones(2).double())
    torch.testing.assert_close(weight.diagonal()[others], torch.full((24,), 4.0).double())


def test_the_residual_is_the_root_mean_square_distance_in_pixels() -> None:
    case = drawn()
    *_, points = objective().kinematics(case.fitted)
    found = residual_px(objective(), case.fitted, case.seen)
    for i in range(3):
        uvw = K.numpy() @ points[i].numpy().T
        squared = ((uvw[:2] / uvw[2] - case.seen.points_px[i].numpy().T) ** 2).sum(0)
        assert float(found[i]) == pytest.approx(float(np.sqrt(squared.mean())), rel=1e-9)
    # 42 coordinates, of which the fit explains some: less than the noise, and not much less.
    sigma = case.seen.sigma_px[:, 0]
    assert 0.5 < float((found / (sigma * 2**0.5)).mean()) < 1.0


def test_a_known_shape_puts_its_own_size_into_the_depth() -> None:
    """Size cannot be seen, so the depth is as uncertain, relatively, as the size is."""
    case = drawn(known_shape=True)
    growth = open_hand().measures.growth
    of_size = 0.3 * float(growth.norm()) * case.fitted.wrist[:, 2]
    assert bool((case.depth > 0.8 * of_size).all())
    assert float((case.depth / of_size).median()) < 1.6


# ------------------------------------------------------------------------- outside the picture


def of_demo_photo(cut_share: float) -> tuple[Detection, np.ndarray, np.ndarray]:
    truth = json.loads((DEMO / "truth.json").read_text())["photos"][0]
    rgb, _ = idhand.read_image(DEMO / "photo_00.jpg")
    marked, camera = np.array(truth["keypoints_px"]), np.array(truth["K"])
    top = int(marked[:, 1].min() + cut_share * np.ptp(marked[:, 1])) if cut_share else 0
    camera[1, 2] -= top
    (hand,) = HandDetector().detect(np.ascontiguousarray(rgb[top:]), max_hands=1)
    return hand, camera, marked[:, 1] < top


def in_image(hand: Detection, K: np.ndarray) -> HandInImage:
    return HandInImage(detection=hand, camera=Camera(K=K))


def test_landmarks_beyond_the_border_are_told_apart_and_count_for_little() -> None:
    hand, camera, outside = of_demo_photo(0.4)
    assert outside.sum() >= 4
    assert hand.outside is not None
    assert (hand.outside & outside).sum() >= 0.7 * outside.sum()
    assert not hand.outside[[0, 1, 5, 9, 13, 17]].any(), "the palm is well inside"
    config = ObjectiveConfig()
    seen = observations([in_image(hand, camera)], config)
    assert seen.unseen[0].numpy().tolist() == hand.outside.tolist()
    sigma = seen.sigma_px[0].numpy()
    share = sigma[hand.outside] / sigma[~hand.outside].min()
    assert share.min() > 0.9 * config.unseen_sigma_px / config.sigma_px * hand.score**0.5
    whole, camera, _ = of_demo_photo(0.0)
    assert whole.outside is not None
    assert not whole.outside.any()
    assert not observations([in_image(whole, camera)], config).unseen.any()


# ------------------------------------------------------------------------- size and populations


def ruler(prior: ShapePrior, length_m: float) -> tuple[float, float]:
    """Hand length and deviation, mm, after a ruler of ±2 mm and photos that show no size."""
    o = replace(objective(), prior=prior)
    measures = o.model.measures
    betas, H = prior.mean.clone(), prior.precision
    for _ in range(6):
        off, slope = (x[0] for x in o.shape_residual(betas[None]))
        D = measures.derivatives(betas)[0] / 0.002
        residual = (measures.lengths(betas)[0] - length_m) / 0.002
        weighted = slope.mT @ prior.precision
        H = weighted @ slope + D[:, None] * D
        betas = betas - torch.linalg.solve(H, weighted @ off + D * residual)
    D = measures.derivatives(betas)[0]
    spread = float((D @ torch.linalg.inv(H) @ D).sqrt())
    return 1e3 * float(measures.lengths(betas)[0]), 1e3 * spread


@pytest.mark.parametrize("length_mm", [202.0, 160.0, 140.0, 130.0, 120.0, 110.0, 100.0])
def test_a_ruler_is_followed_on_hands_of_any_size(length_mm: float) -> None:
    """Two Gaussians, of the population (187.2 ± 11.7 mm) and of the ruler, at any distance."""
    found, spread = ruler(open_hand().prior, length_mm / 1e3)
    measures = open_hand().measures
    zero = torch.zeros(16).double()
    sd = 1e3 * float(measures.derivatives(zero)[0].norm())
    mean = 1e3 * float(measures.lengths(zero)[0])
    expected = (length_mm / 4 + mean / sd**2) / (1 / 4 + 1 / sd**2)
    assert found == pytest.approx(expected, abs=0.15)
    assert abs(found - length_mm) < 1.96 * spread
    assert 1.9 < spread < 2.02


def test_proportions_that_are_seen_leave_the_size_alone() -> None:
    """Of hands with the same proportions, the prior's cost depends on the size as a Gaussian's."""
    rng = torch.Generator().manual_seed(3)
    o, model = objective(), open_hand()
    shapes = model.resized(normal(rng, 5, 16), torch.ones(5).double())
    sizes = torch.tensor([0.5, 0.7, 0.9, 1.1], dtype=torch.float64)
    costs = []
    for size in sizes:
        off = o.shape_residual(model.resized(shapes, size.expand(5)))[0]
        costs.append((off * (off @ o.shape_precision)).sum(-1))
    third = costs[0] - 3 * costs[1] + 3 * costs[2] - costs[3]
    torch.testing.assert_close(third, torch.zeros(5).double(), atol=1e-8, rtol=0)


def test_the_prior_is_what_it_says_at_its_mean() -> None:
    for prior in (open_hand().prior, *open_hand().populations.values()):
        off, slope = replace(objective(), prior=prior).shape_residual(prior.mean[None])
        torch.testing.assert_close(off, torch.zeros_like(off), atol=1e-12, rtol=0)
        torch.testing.assert_close(slope[0], torch.eye(16).double(), atol=1e-12, rtol=0)


def test_the_residual_of_the_shape_has_the_stated_derivative() -> None:
    rng = torch.Generator().manual_seed(4)
    for prior in (open_hand().prior, open_hand().populations["child"]):
        o = replace(objective(), prior=prior)
        betas = normal(rng, 16) - 5 * torch.eye(16).double()[0]
        _, slope = o.shape_residual(betas[None])
        expected = torch.autograd.functional.jacobian(
            lambda b, o=o: o.shape_residual(b[None])[0][0], betas
        )
        torch.testing.assert_close(slope[0], expected)


def test_the_mean_hand_grows_uniformly() -> None:
    model = open_hand()
    zero = torch.zeros(1, 16).double()
    for size in (0.5, 0.8, 1.2):
        betas = model.resized(zero, torch.tensor([size], dtype=torch.float64))[0]
        lengths = model.measures.lengths(betas) / model.measures.lengths(zero[0])
        torch.testing.assert_close(lengths, torch.full_like(lengths, size), rtol=5e-3, atol=0)
        assert float(model.relative_size(betas)) == pytest.approx(size, abs=1e-9)


def test_the_prior_of_children_covers_two_to_sixteen_years() -> None:
    """Of hand lengths from Snyder et al. 1977: girls of 2 years 96 mm, boys of 16 years 187 mm."""
    model = open_hand()
    prior = child_prior(model)
    D = 1e3 * model.measures.derivatives(prior.mean)[0]
    mean, sd = 1e3 * float(model.measures.lengths(prior.mean)[0]), float(D @ prior.covariance @ D)
    sd = sd**0.5
    assert mean - 2 * sd < 96 < mean - sd
    assert mean + sd < 187 < mean + 2 * sd
    names = model.measures.names
    lengths = dict(zip(names, model.measures.lengths(prior.mean).tolist(), strict=True))
    adult = dict(zip(names, model.measures.lengths(torch.zeros(16).double()).tolist(), strict=True))
    broad = lengths["hand_breadth"] / lengths["hand_length"]
    assert broad > 1.02 * adult["hand_breadth"] / adult["hand_length"], "children's are broader"
    assert min(lengths.values()) > 0.01
    assert ruler(prior, 0.120)[0] == pytest.approx(120.2, abs=0.4)


def test_a_ruler_on_a_childs_hand_through_calibration() -> None:
    """Photos of a hand of 120 mm, noise as stated: the reading lies within the interval."""
    case = drawn()
    small = open_hand().resized(torch.zeros(12, 16).double(), torch.full((12,), 120 / 187.2))
    o = objective()
    state = replace(case.truth[:12], betas=small.double())
    *_, points = o.kinematics(state)
    bones = points[:, BONE_END] - points[:, BONE_START]
    seen = replace(
        case.seen[:12],
        points_px=project(points, K),
        directions=bones / bones.norm(dim=-1, keepdim=True),
        world=points,
    )
    anchor = Anchor(hand_length=0.120, sigma=0.002)
    result = calibrate_shape(open_hand(), seen, anchor=anchor)
    measures = open_hand().measures
    length = 1e3 * float(measures.lengths(result.betas)[0])
    D = 1e3 * measures.derivatives(result.betas)[0]
    spread = float((D @ result.covariance @ D).sqrt())
    assert abs(length - 120) < 1.96 * spread
    assert abs(length - 122) < 1.5


def test_another_population_takes_the_place_of_the_trained_one() -> None:
    """Pictures that show nothing leave the new prior; the old one leaves what the pictures show."""
    model = open_hand()
    trained, child = model.prior, model.populations["child"]
    nothing = under_population(model, trained, trained, child)
    torch.testing.assert_close(nothing.mean, child.mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(nothing.covariance, child.covariance, atol=1e-6, rtol=1e-6)
    shown = ShapePrior(mean=0.2 * trained.mean + 0.3, covariance=0.5 * trained.covariance)
    same = under_population(model, shown, trained, replace(trained))
    torch.testing.assert_close(same.mean, shown.mean, atol=0.02, rtol=0.02)


# ------------------------------------------------------------------------- photos of a calibration


def fused(weights: list[float], fit: list[float], disagreement: list[float]) -> Calibration:
    n = len(weights)
    zeros = torch.zeros(16).double()
    return Calibration(
        betas=zeros,
        covariance=torch.eye(16).double(),
        bias=torch.zeros(21, 3).double(),
        bias_covariance=torch.eye(63).double(),
        weights=torch.tensor(weights).double(),
        disagreement=torch.tensor(disagreement).double(),
        fit=torch.tensor(fit).double(),
        fit_cost=torch.ones(n).double(),
        states=drawn().truth[:n],
        iterations=1,
    )


def test_each_photo_has_its_own_weight_and_reason() -> None:
    hand, camera, _ = of_demo_photo(0.0)
    photo = in_image(hand, camera)
    uses = photo_uses(
        ["no hand found", photo, photo, photo],
        fused([0.9, 0.2, 0.0], fit=[1.0, 5.5, 1.2], disagreement=[0.5, 1.0, 4.5]),
    )
    assert [round(use.weight, 2) for use in uses] == [0.0, 0.9, 0.2, 0.0]
    assert uses[0].reason == "no hand found"
    assert uses[1].reason == ""
    assert "doubtful pose (fits 5.5 times" in uses[2].reason
    assert "another shape" in uses[3].reason
    assert "4.5 times" in uses[3].reason


def test_the_population_of_the_pipeline_is_that_of_its_model() -> None:
    config = PipelineConfig(population="child", network=None)
    pipe = config.build()
    assert pipe.prior is open_hand().populations["child"]
    assert pipe.model.of_population("all").prior is open_hand().prior
