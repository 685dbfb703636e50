from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from idhand.assets import open_hand, with_landmarks
from idhand.calibration import CalibrationConfig
from idhand.geometry import project, rotation_angle, rotation_from_vector
from idhand.pipeline import PipelineConfig
from idhand.records import Camera, Detection, HandInImage
from idhand.refinement import (
    STATUS_NAMES,
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    closed_form_start,
    hand_size_px,
    observations,
    solve,
)
from idhand.refinement.problem import Linearisation
from idhand.refinement.residuals import BONE_END, BONE_START

K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)


def draw(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def objective(config: ObjectiveConfig | None = None) -> Objective:
    model = open_hand()
    bias = torch.eye(63, dtype=torch.float64) * 0.002**2
    return Objective(
        model=replace(model, landmarks=replace(model.landmarks, bias_covariance=bias)),
        config=config or ObjectiveConfig(),
        prior=open_hand().prior,
    )


def scene(
    n: int, seed: int = 0, noise: float = 0.0, outliers: int = 0, spread: float = 0.7
) -> tuple[Objective, State, Observations, Tensor]:
    """Hands of random people in random poses, seen with noise (in sigmas).

    `spread` is that of the shapes, as a share of the population's.
    """
    rng = torch.Generator().manual_seed(seed)
    o = objective()
    space = o.model.pose_space
    angles = (
        space.mean + 0.7 * draw(rng, n, space.num_dofs) @ torch.linalg.cholesky(space.covariance).T
    )
    truth = State(
        R=rotation_from_vector(draw(rng, n, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]) + 0.04 * draw(rng, n, 3),
        angles=angles.clamp(space.lower, space.upper),
        betas=spread * draw(rng, n, 16),
    )
    *_, points = o.kinematics(truth)
    sigma_px = (o.config.sigma_px * 600 / truth.wrist[:, 2] * 0.187)[:, None].expand(n, 21)
    pixels = project(points, K) + noise * sigma_px[..., None] * draw(rng, n, 21, 2)
    for k in range(outliers):
        pixels[torch.arange(n), (torch.arange(n) * 7 + 5 * k) % 21] += 80.0
    bones = F.normalize(points[:, BONE_END] - points[:, BONE_START], dim=-1)
    seen = Observations(
        points_px=pixels,
        sigma_px=sigma_px,
        directions=F.normalize(
            bones + noise * o.config.sigma_direction * draw(rng, n, 20, 3), dim=-1
        ),
        sigma_direction=torch.full((n, 20), o.config.sigma_direction, dtype=torch.float64),
        K=K.expand(n, 3, 3),
        world=points,
    )
    return o, truth, seen, points


def test_kinematics_is_the_posed_hand() -> None:
    o, truth, _, _ = scene(3)
    o = replace(o, model=with_landmarks(o.model, torch.zeros(21, 3).double()))
    space = o.model.pose_space
    *_, points = o.kinematics(truth)
    rotations = torch.cat((truth.R[:, None], space.rotations(truth.angles)), 1)
    posed = o.model.with_shape(truth.betas).posed(rotations, truth.wrist)
    assert_close(points, posed.keypoints)


@pytest.mark.parametrize(("shape", "bias"), [(False, False), (True, False), (True, True)])
def test_analytic_gradient_is_that_of_the_plain_cost(shape: bool, bias: bool) -> None:
    o, truth, seen, _ = scene(2, noise=2.0)
    rng = torch.Generator().manual_seed(1)
    state = replace(truth, angles=truth.angles + 0.4 * draw(rng, 2, 26))
    if bias:
        state = replace(state, bias=0.003 * draw(rng, 2, 21, 3))
    model = o.linearise(state, seen, shape=shape, bias=bias)
    step = torch.zeros_like(model.gradient).requires_grad_(True)
    cost = o.cost(o.moved(state, step), seen)
    (gradient,) = torch.autograd.grad(cost.sum(), step)
    assert_close(cost.detach(), model.cost)
    assert_close(gradient, model.gradient, atol=1e-7, rtol=1e-8)


def test_hessian_is_symmetric_and_positive() -> None:
    o, truth, seen, _ = scene(2, noise=1.0)
    H = o.linearise(truth, seen, shape=True).hessian
    assert_close(H, H.mT)
    assert torch.linalg.eigvalsh(H).min() > 0


def test_exact_points_of_a_known_hand_give_its_pose_back() -> None:
    weak = ObjectiveConfig(pose_weight=1e-6)
    o, truth, seen, points = scene(16)
    o = replace(o, config=weak)
    start = closed_form_start(o, seen, truth.betas)
    solution = solve(o, seen, start, RefinementConfig(objective=weak, tolerance=1e-9), shape=False)
    *_, found = o.kinematics(solution.state)
    error_mm = 1e3 * (found - points).norm(dim=-1)
    assert error_mm.median() < 0.1
    assert float((error_mm.amax(1) < 2.0).double().mean()) > 0.9
    turn = rotation_angle(solution.state.R.mT @ truth.R)
    assert turn.median() < 2e-3
    assert (solution.status == 0).all()


def test_noisy_points_end_no_worse_than_the_truth_and_stay_near_it() -> None:
    o, truth, seen, points = scene(64, noise=1.0)
    start = closed_form_start(o, seen, torch.zeros(64, 16).double())
    solution = solve(o, seen, start, RefinementConfig(), shape=True)
    assert (solution.cost <= o.cost(truth, seen) + 1e-6).all()
    *_, found = o.kinematics(solution.state)
    about_wrist = (found - found[:, :1]) - (points - points[:, :1])
    assert 1e3 * about_wrist.norm(dim=-1).mean() < 14.0


def test_an_outlier_moves_the_fit_little() -> None:
    o, truth, seen, _ = scene(16, noise=0.5)
    _, _, spoiled, _ = scene(16, noise=0.5, outliers=1)

    def fit(evidence: Observations) -> Tensor:
        start = closed_form_start(o, evidence, truth.betas)
        solution = solve(o, evidence, start, RefinementConfig(), shape=False)
        return o.kinematics(solution.state)[-1]

    moved_mm = 1e3 * (fit(seen) - fit(spoiled)).norm(dim=-1)
    assert moved_mm.median() < 5.0


def test_hands_of_a_batch_do_not_influence_each_other() -> None:
    o, truth, seen, _ = scene(4, noise=1.0)
    start = closed_form_start(o, seen, truth.betas)
    together = solve(o, seen, start, RefinementConfig(), shape=True)
    for k in range(4):
        alone = solve(o, seen[k : k + 1], start[slice(k, k + 1)], RefinementConfig(), shape=True)
        assert_close(alone.cost, together.cost[k : k + 1], rtol=1e-6, atol=1e-6)


def test_depth_and_size_trade_off_exactly() -> None:
    """A hand 10 % larger, 10 % farther away makes the same picture: size comes from the prior."""
    o, truth, seen, points = scene(1)
    *_, larger = o.kinematics(truth)
    assert_close(project(1.1 * larger, K), project(points, K))
    start = closed_form_start(o, seen, torch.zeros(1, 16).double())
    solution = solve(o, seen, start, RefinementConfig(), shape=True)
    covariance = torch.linalg.inv(solution.hessian)[0]
    relative_depth_sd = float(covariance[5, 5].sqrt() / solution.state.wrist[0, 2])
    assert 0.03 < relative_depth_sd < 0.08, "the population's spread of hand length is 6 %"


def test_posterior_covers_the_truth() -> None:
    o, truth, seen, _ = scene(200, noise=1.0, seed=5, spread=1.0)
    o = replace(o, config=replace(o.config, pose_weight=1.0))
    start = closed_form_start(o, seen, torch.zeros(200, 16).double())
    solution = solve(o, seen, start, RefinementConfig(objective=o.config), shape=True)
    deviation = torch.linalg.inv(solution.hessian).diagonal(dim1=-2, dim2=-1).sqrt()
    z = (solution.state.wrist[:, 2] - truth.wrist[:, 2]) / deviation[:, 5]
    share = float((z.abs() < 1.96).double().mean())
    assert 0.85 < share < 0.985, share
    assert 0.75 < float(z.std()) < 1.3, float(z.std())


def test_second_order_reaches_a_lower_cost_than_the_adam_schedule() -> None:
    o, _, seen, _ = scene(8, noise=1.0)
    start = closed_form_start(o, seen, torch.zeros(8, 16).double())
    ours = solve(o, seen, start, RefinementConfig(), shape=False)
    adam = solve(o, seen, start, RefinementConfig(method="adam"), shape=False)
    assert (ours.cost <= adam.cost + 1e-3).all()
    assert (adam.cost < o.cost(start, seen)).all()


def test_a_fit_that_explodes_says_so() -> None:
    o, truth, seen, _ = scene(2)
    broken = replace(
        seen, points_px=seen.points_px * torch.tensor([1.0, float("nan")]).double()[:, None, None]
    )
    solution = solve(o, broken, truth, RefinementConfig(max_iterations=3), shape=False)
    assert solution.status.tolist()[1] == 2


class Uphill(Objective):
    """Its slope points the wrong way, so that no step is any good."""

    def linearise(
        self, state: State, seen: Observations, *, shape: bool, bias: bool = False
    ) -> Linearisation:
        right = super().linearise(state, seen, shape=shape, bias=bias)
        return replace(right, gradient=-right.gradient)


def test_a_status_does_not_flatter() -> None:
    o, truth, seen, _ = scene(3, noise=1.0)
    start = closed_form_start(o, seen, truth.betas)

    def ends(objective: Objective, config: RefinementConfig) -> set[str]:
        found = solve(objective, seen, start, config, shape=False).status
        return {STATUS_NAMES[k] for k in found.tolist()}

    many = RefinementConfig(max_iterations=100)
    assert ends(o, many) == {"converged"}
    assert ends(o, RefinementConfig(max_iterations=1)) == {"max_iterations"}
    assert ends(Uphill(**vars_of(o)), many) == {"stalled"}
    assert ends(o, RefinementConfig(method="adam", adam_steps=(2, 2))) == {"max_iterations"}


def vars_of(o: Objective) -> dict[str, Any]:
    """Of the fields, without what was cached."""
    return {field.name: getattr(o, field.name) for field in fields(o)}


def detection(
    is_right: bool, pixels: np.ndarray, world: np.ndarray, depth: np.ndarray
) -> Detection:
    low, high = pixels.min(0), pixels.max(0)
    return Detection(
        is_right=is_right,
        score=1.0,
        bbox_px=np.concatenate((low, high)),
        landmarks_px=pixels,
        landmarks_z_px=depth,
        landmarks_world=world,
        confidence=np.ones(21),
    )


def test_left_hands_become_mirrored_right_hands() -> None:
    _, _, seen, points = scene(1)
    world = (points[0] - points[0].mean(0)).numpy()
    pixels = seen.points_px[0].numpy()
    size = float(np.ptp(pixels, axis=0).max() / np.ptp(world[:, :2], axis=0).max())
    right = detection(True, pixels, world, size * (world[:, 2] - world[0, 2]))
    flip = np.array([-1.0, 1, 1])
    mirror_px = pixels * flip[:2] + np.array([639.0, 0])
    left = detection(False, mirror_px, world * flip, right.landmarks_z_px)
    mirror_K = K.numpy().copy()
    mirror_K[0, 2] = 639.0 - mirror_K[0, 2]
    config = ObjectiveConfig()
    a, b = (
        observations([HandInImage(detection=hand, camera=Camera(K=camera_K))], config)
        for hand, camera_K in ((right, K.numpy()), (left, mirror_K))
    )
    rays_a = a.points_px - a.K[:, None, :2, 2]
    rays_b = b.points_px - b.K[:, None, :2, 2]
    assert_close(rays_a, rays_b)
    assert_close(a.directions, b.directions)
    assert_close(a.world, b.world)
    assert hand_size_px(left) == pytest.approx(hand_size_px(right))


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (ObjectiveConfig, {"sigma_px": 0.0}),
        (ObjectiveConfig, {"pose_weight": -1.0}),
        (ObjectiveConfig, {"observation_weight": float("nan")}),
        (RefinementConfig, {"tolerance": -1.0}),
        (CalibrationConfig, {"disagreement": 0.0}),
        (CalibrationConfig, {"reweightings": -1}),
        (CalibrationConfig, {"drop_below": 2.0}),
        (PipelineConfig, {"min_presence": 7.0}),
    ],
)
def test_settings_out_of_range_are_refused(config: type, settings: dict[str, Any]):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        config(**settings)


def test_an_unknown_solver_and_negative_steps_are_refused():
    with pytest.raises((ValueError, TypeError), match="lm"):
        RefinementConfig(method="lm")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="steps of Adam"):
        RefinementConfig(adam_steps=(-1, 0))
