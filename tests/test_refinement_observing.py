"""From what nets mark to observations, starts and statements: each against its formula."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.geometry import project, rotation_from_vector, rotation_towards, sixd_from_rotation
from idhand.records import Camera, Detection, HandInImage
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    Trust,
    closed_form_start,
    hand_size_px,
    observations,
)
from idhand.refinement.network import solve_near, with_network
from idhand.refinement.observing import mirrored_intrinsics, observed
from idhand.refinement.official import OfficialConfig, fit_officially
from idhand.refinement.points import keypoints, posed_points
from idhand.refinement.solver import Solution
from idhand.refinement.start import translation
from idhand.refinement.uncertainty import residual_px, uncertainty

K = np.array([[600.0, 0, 300], [0, 620, 250], [0, 0, 1]])
KT = torch.from_numpy(K)
FLIP = np.array([-1.0, 1, 1])


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def bones(points: np.ndarray) -> np.ndarray:
    parents = [0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19]
    return points[1:] - points[parents]


def detection(**changes: Any) -> Detection:
    rng = np.random.default_rng(0)
    world = 0.05 * rng.normal(size=(21, 3))
    pixels = np.array([300.0, 250.0]) + 1000 * world[:, :2]
    values = {
        "is_right": True,
        "score": 0.9,
        "bbox_px": np.array([200.0, 150, 400, 350]),
        "landmarks_px": pixels,
        "landmarks_z_px": 900 * (world[:, 2] - world[0, 2]),
        "landmarks_world": world,
        "confidence": np.linspace(0.0, 1.0, 21),
    }
    return Detection(**{**values, **changes})


# ---------------------------------------------------------------- pictures → observations


def test_hand_size_is_the_scale_times_the_mean_hand() -> None:
    d = detection()
    assert hand_size_px(d) == pytest.approx(187.0)  # 1000 px per metre
    shifted = replace(
        d, landmarks_px=3 * d.landmarks_px - 50, landmarks_world=d.landmarks_world + 1
    )
    assert hand_size_px(shifted) == pytest.approx(3 * 187.0)


def test_mirrored_cameras_see_mirrored_hands() -> None:
    points = draw(0, 21, 3) * 0.1 + torch.tensor([0.1, 0, 0.5]).double()
    there = project(points * torch.from_numpy(FLIP), torch.from_numpy(mirrored_intrinsics(K)))
    assert_close(there, project(points, KT) * torch.tensor([-1.0, 1]).double())


def test_undistorted_points_are_where_a_pinhole_sees_them() -> None:
    dist = np.array([-0.2, 0.05, 0.001, -0.002, 0.0])
    points = (draw(0, 21, 3) * 0.1 + torch.tensor([0.1, 0, 0.5]).double()).numpy()
    bent = cv2.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, dist)[0][:, 0]
    straight = project(torch.from_numpy(points), KT).numpy()
    assert np.abs(bent - straight).max() > 3
    for nothing in (None, np.zeros(5)):
        np.testing.assert_array_equal(observed(bent, K, nothing, is_right=True), bent)
    np.testing.assert_allclose(observed(bent, K, dist, is_right=True), straight, atol=0.05)
    mirrored = observed(bent, K, dist, is_right=False)
    np.testing.assert_allclose(mirrored, straight * FLIP[:2], atol=0.05)


def test_observations_by_hand() -> None:
    """Uncertain marks have larger deviations; the two third dimensions are mixed one to two."""
    config = ObjectiveConfig(sigma_px=0.03, sigma_direction=0.2)
    d = detection()
    camera = Camera(K=K)
    seen = observations([HandInImage(detection=d, camera=camera)], config)
    np.testing.assert_array_equal(seen.points_px[0], d.landmarks_px)
    expected = 0.03 * 187.0 / np.sqrt(np.clip(d.confidence, 0.05, 1))
    np.testing.assert_allclose(seen.sigma_px[0], expected)
    assert (seen.sigma_direction == 0.2).all()
    assert seen.sigma_direction.shape == (1, 20)
    np.testing.assert_array_equal(seen.K[0], K)
    of_world = d.landmarks_world * [1, 1, 0.7]
    image = np.concatenate((d.landmarks_px, 1.5 * d.landmarks_z_px[:, None]), 1)
    mixed = unit(unit(bones(of_world)) + 2 * unit(bones(image)))
    centre = (d.landmarks_px - K[:2, 2]).mean(0) / [600, 620]
    R = rotation_towards(torch.from_numpy(centre)).numpy()
    np.testing.assert_allclose(seen.directions[0], mixed @ R.T, atol=1e-12)
    np.testing.assert_allclose(seen.world[0], of_world @ R.T, atol=1e-12)
    mirrored = HandInImage(detection=replace(d, is_right=False), camera=camera)
    left = observations([mirrored], config)
    np.testing.assert_allclose(left.points_px[0], d.landmarks_px * FLIP[:2])
    np.testing.assert_allclose(left.K[0], mirrored_intrinsics(K))


# ---------------------------------------------------------------- points, starts


def pose(n: int, spread: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations that the joints can take, betas, wrist positions."""
    space = open_hand().pose_space
    angles = (space.mean + spread * draw(1, n, 26)).clamp(space.lower, space.upper)
    rotations = torch.cat((rotation_from_vector(draw(0, n, 1, 3)), space.rotations(angles)), 1)
    wrist = torch.tensor([0.02, 0.03, 0.5]).double() + 0.03 * draw(3, n, 3)
    return rotations, 0.5 * draw(2, n, 16), wrist


def as_seen(points: Tensor, sigma_px: float = 4.0) -> Observations:
    """Exactly these points."""
    n = len(points)
    directions = torch.from_numpy(np.stack([unit(bones(p)) for p in points.numpy()]))
    return Observations(
        points_px=project(points, KT),
        sigma_px=torch.full((n, 21), sigma_px).double(),
        directions=directions,
        sigma_direction=torch.full((n, 20), 0.2).double(),
        K=KT.expand(n, 3, 3),
        world=points - points.mean(1, keepdim=True),
    )


def test_keypoints_without_the_mesh_are_those_of_the_mesh() -> None:
    rotations, betas, wrist = pose(3)
    hand = open_hand().with_shape(betas)
    expected = hand.posed(rotations, wrist).keypoints
    assert_close(keypoints(hand, rotations, wrist), expected)
    assert_close(posed_points(open_hand().keypoints_on_bones, hand, rotations, wrist), expected)


def test_translation_of_a_flat_hand_is_exact() -> None:
    """Points in a plane before the camera: weak perspective is no approximation."""
    flat = draw(0, 2, 21, 3) * torch.tensor([0.05, 0.05, 0]).double()
    at = torch.tensor([[0.03, -0.05, 0.45], [-0.1, 0.02, 0.8]]).double()
    seen = as_seen(flat + at[:, None])
    assert_close(translation(flat, seen), at)
    assert_close(translation(flat + 1, seen), at - 1)
    wrong = seen.points_px.clone()
    wrong[:, 3] += 100.0
    sigma = seen.sigma_px.clone()
    sigma[:, 3] = 1e6
    assert_close(translation(flat, replace(seen, points_px=wrong, sigma_px=sigma)), at)


def test_the_start_of_exact_points_is_near_the_truth() -> None:
    """The palm exactly; hinges that alone are bent, too, as far as their bones let them."""
    model = open_hand()
    model = replace(model, landmarks=model.keypoints_on_bones)
    o = Objective(model=model, config=ObjectiveConfig(), prior=model.prior)
    space, n = model.pose_space, 6
    bend = torch.tensor([name.endswith("flexion") for name in space.names])
    angles = torch.where(bend, space.mean + 0.3 * draw(5, n, 26), torch.zeros(26).double())
    angles = angles.clamp(space.lower, space.upper)
    R, betas = rotation_from_vector(draw(0, n, 3)), 0.5 * draw(2, n, 16)
    wrist = torch.tensor([0.02, 0.03, 0.5]).double() + 0.03 * draw(3, n, 3)
    truth = State(R=R, wrist=wrist, angles=angles, betas=betas)
    *_, points = o.kinematics(truth)
    start = closed_form_start(o, as_seen(points), betas)
    assert_close(start.R, R, atol=1e-6, rtol=0)
    *_, found = o.kinematics(start)
    about_wrist = (found - found[:, :1]) - (points - points[:, :1])
    assert 1e3 * float(about_wrist.norm(dim=-1).mean()) < 3.0
    fingers = bend & torch.tensor(["thumb" not in name for name in space.names])
    assert float((start.angles - angles)[:, fingers].abs().mean()) < 0.05
    assert ((start.angles >= space.lower) & (start.angles <= space.upper)).all()
    assert torch.equal(start.betas, betas)
    assert float((start.wrist - wrist).norm(dim=-1).max()) < 0.05


# ---------------------------------------------------------------- a network beside the marks


def evidence_of(trust: Trust, px: Tensor | None = None) -> tuple[State, Observations, Observations]:
    rotations, betas, _ = pose(2)
    marked = as_seen(0.05 * draw(7, 2, 21, 3) + torch.tensor([0.0, 0, 0.6]).double())
    state, seen = with_network(open_hand(), rotations, betas, marked, px, trust)
    return state, seen, marked


def test_directions_are_weighed() -> None:
    rotations, betas, _ = pose(2)
    hand = open_hand().with_shape(betas)
    points = posed_points(open_hand().landmarks, hand, rotations, torch.zeros(2, 3).double())
    of_net = torch.from_numpy(np.stack([unit(bones(p)) for p in points.numpy()]))
    for trust, share in (
        (Trust(directions="landmarks"), 0.0),
        (Trust(directions="network"), 1.0),
        (Trust(), 10 / 11),
        (Trust(direction_weight=0.5), 1 / 3),
    ):
        _, seen, marked = evidence_of(trust)
        mixed = share * of_net + (1 - share) * marked.directions
        assert_close(seen.directions, torch.nn.functional.normalize(mixed, dim=-1))
        assert torch.equal(seen.points_px, marked.points_px), "no keypoints, no change"


def test_points_are_weighed_and_taken_to_where_the_other_net_marks_them() -> None:
    """A network whose keypoints are exactly its pose's: then the marks are known, too."""
    rotations, betas, _ = pose(2, spread=0.0)
    model = open_hand()
    hand = model.with_shape(betas)
    far = torch.tensor([[0.1, 0.0, 40.0], [0.0, 0.2, 50.0]]).double()  # weak perspective is exact
    keypoints_px = project(keypoints(hand, rotations, far), KT)
    marks_px = project(posed_points(model.landmarks, hand, rotations, far), KT)
    for trust, share in (
        (Trust(points="landmarks"), 0.0),
        (Trust(points="network"), 1.0),
        (Trust(), 3 / 4),
        (Trust(point_weight=1.0), 1 / 2),
    ):
        marked = as_seen(0.05 * draw(7, 2, 21, 3) + torch.tensor([0.0, 0, 0.6]).double())
        _, seen = with_network(model, rotations, betas, marked, keypoints_px, trust)
        expected = share * marks_px + (1 - share) * marked.points_px
        assert_close(seen.points_px, expected, atol=0.02, rtol=0)


def test_a_network_s_start_is_its_pose() -> None:
    rotations, betas, wrist = pose(2)
    model = open_hand()
    points = posed_points(model.landmarks, model.with_shape(betas), rotations, wrist)
    seen = as_seen(points)
    state, _ = with_network(model, rotations, betas, seen)
    assert_close(state.R, rotations[:, 0])
    assert torch.equal(state.betas, betas)
    assert_close(model.pose_space.rotations(state.angles), rotations[:, 1:])
    assert_close(state.wrist, translation(points - wrist[:, None], seen))
    assert float((state.wrist - wrist).norm(dim=-1).max()) < 0.05
    bent = rotations.clone()
    bent[:, 1:] = rotation_from_vector(draw(3, 2, 15, 3))
    space = model.pose_space
    state, _ = with_network(model, bent, betas, seen)
    assert_close(state.angles, space.angles(bent[:, 1:]).clamp(space.lower, space.upper))


@pytest.mark.parametrize("name", ["direction_weight", "point_weight"])
def test_trust_without_weight_is_refused(name: str) -> None:
    for weight in (0.0, -1.0):
        wrong: dict[str, Any] = {name: weight}
        with pytest.raises(ValueError, match="must be positive"):
            Trust(**wrong)


@pytest.mark.parametrize("name", ["directions", "points"])
def test_trust_in_nobody_is_refused(name: str) -> None:
    """The check of types is off outside of the tests; there a user meets this sentence."""
    trust = SimpleNamespace(**{**vars(Trust()), name: "mine"})
    with pytest.raises(ValueError, match=f"{name} must be one of landmarks, network, both; got"):
        Trust.__post_init__(trust)  # pyright: ignore[reportArgumentType]


def test_hands_that_went_astray_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = torch.tensor([1.45, 1.55, 0.68, 0.65, 1.0]).double()
    state = State(
        R=torch.eye(3).double().expand(5, 3, 3),
        wrist=torch.tensor([0.0, 0, 0.5]).double().expand(5, 3),
        angles=torch.zeros(5, 26).double(),
        betas=torch.zeros(5, 16).double(),
    )
    found = replace(state, wrist=state.wrist * ratios[:, None], angles=state.angles + 1)
    solution = Solution(
        state=found,
        cost=torch.zeros(5).double(),
        status=torch.zeros(5, dtype=torch.int64),
        iterations=3,
        hessian=torch.zeros(5, 1, 1).double(),
    )
    monkeypatch.setattr("idhand.refinement.network.solve", lambda *_, **__: solution)
    o = Objective(model=open_hand(), config=ObjectiveConfig(), prior=open_hand().prior)
    near = solve_near(o, as_seen(draw(0, 5, 21, 3) + 5), state, RefinementConfig(), shape=False)
    assert near.state.angles[:, 0].tolist() == [1, 0, 1, 0, 1]
    assert_close(near.state.wrist[:, 2], torch.tensor([0.725, 0.5, 0.34, 0.5, 0.5]).double())
    assert (near.status == 0).tolist() == [True, False, True, False, True]


# ---------------------------------------------------------------- the published schedule


def official(config: OfficialConfig, **changes: Any) -> tuple[Any, Tensor, Tensor, Tensor]:
    rotations, betas, wrist = pose(2, spread=0.1)
    hand = open_hand().with_shape(betas)
    points = keypoints(hand, rotations, wrist)
    fit = fit_officially(hand, sixd_from_rotation(rotations), project(points, KT),
                         KT.expand(2, 3, 3), config, **changes)  # fmt: skip
    origin = hand.rest_joints[:, 0]
    ray = torch.cat(
        ((project(points, KT)[:, 0] - KT[:2, 2]) / KT.diagonal()[:2], torch.ones(2, 1)), 1
    )
    return fit, rotations, origin + config.start_depth_m * ray, wrist


def test_the_schedule_starts_where_the_paper_s_does() -> None:
    fit, rotations, start, _ = official(OfficialConfig(steps=(0, 0), start_depth_m=0.7))
    assert_close(fit.rotations, rotations)
    assert_close(fit.wrist_cam, start)
    assert fit.loss_px2.isnan().all(), "nothing was measured"


def test_adam_s_first_steps_are_as_long_as_the_rates() -> None:
    fit, rotations, start, wrist = official(OfficialConfig(steps=(1, 0), rates=(0.02, 0.001)))
    assert_close(
        (fit.wrist_cam - start).abs(), torch.full((2, 3), 0.02).double(), atol=1e-6, rtol=0
    )
    assert_close(fit.rotations, rotations)
    hand = open_hand().with_shape(pose(2)[1])
    seen = project(keypoints(hand, rotations, wrist), KT)
    off = project(keypoints(hand, rotations, start), KT) - seen
    assert_close(fit.loss_px2, off.square().sum(-1).mean(-1))
    both, _, _, _ = official(OfficialConfig(steps=(0, 1), rates=(0.02, 0.001)))
    moved = (both.wrist_cam - start).abs()
    assert_close(moved, torch.full((2, 3), 0.001).double(), atol=1e-6, rtol=0)
    assert float((both.rotations - rotations).abs().max()) > 1e-4


def test_the_schedule_finds_where_the_hand_is() -> None:
    fit, _, start, wrist = official(OfficialConfig(steps=(200, 0)))
    assert float((start - wrist).norm(dim=-1).min()) > 0.2
    assert float((fit.wrist_cam - wrist).norm(dim=-1).max()) < 0.02
    marks = open_hand().keypoints_on_bones
    again, *_ = official(OfficialConfig(steps=(5, 2)), marks=marks)
    assert_close(again.wrist_cam, official(OfficialConfig(steps=(5, 2)))[0].wrist_cam)


@pytest.mark.parametrize(
    "wrong", [{"steps": (-1, 0)}, {"rates": (0.0, 1.0)}, {"start_depth_m": 0.0}]
)
def test_impossible_schedules_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="steps may not be negative; rates and the depth"):
        OfficialConfig(**wrong)


# ---------------------------------------------------------------- how sure


def fitted() -> tuple[Objective, Objective, State, Observations]:
    model = open_hand()
    o = Objective(model=model, config=ObjectiveConfig(), prior=model.prior)
    on_joints = replace(o, model=replace(model, landmarks=model.keypoints_on_bones))
    space = model.pose_space
    state = State(
        R=rotation_from_vector(draw(0, 2, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]).double() + 0.03 * draw(1, 2, 3),
        angles=(space.mean + 0.3 * draw(2, 2, 26)).clamp(space.lower, space.upper),
        betas=0.5 * draw(3, 2, 16),
    )
    return o, on_joints, state, as_seen(o.kinematics(state)[-1])


def test_the_residual_is_the_root_mean_square_distance() -> None:
    o, _, state, seen = fitted()
    off = torch.zeros(2, 21, 2).double()
    off[0] = torch.tensor([3.0, 4.0])
    off[1, :5] = torch.tensor([0.0, 2.0])
    moved = replace(seen, points_px=seen.points_px + off)
    assert_close(residual_px(o, state, moved), torch.tensor([5.0, (5 * 4 / 21) ** 0.5]).double())


@pytest.mark.parametrize("known", [None, 0.25])
def test_deviations_are_those_of_the_information(known: float | None) -> None:
    """Precision of pose and shape together, with the shape's own in place of the evidence's."""
    o, on_joints, state, seen = fitted()
    H = o.linearise(state, seen, shape=True).hessian
    shape_cov = None if known is None else known * torch.eye(16).double()
    if shape_cov is not None:
        A, B = H[:, :32, :32], H[:, :32, 32:]
        own = torch.linalg.inv(shape_cov) + B.mT @ torch.linalg.solve(A, B)
        H = torch.cat((torch.cat((A, B), -1), torch.cat((B.mT, own), -1)), -2)
    drawn = draw(5, 2, 4000, 48) @ torch.linalg.cholesky(torch.linalg.inv(H)).mT
    stated = uncertainty(o, on_joints, state, seen, shape_cov)
    keypoints_std_m, depth_std_m = stated.keypoints_std_m, stated.depth_std_m
    _, J = on_joints.point_jacobian(state, shape=True, bias=False)
    moved = torch.einsum("bpau,bnu->bnpa", J - J[:, :1], drawn)
    assert_close(keypoints_std_m, moved.square().sum(-1).mean(1).sqrt(), rtol=0.05, atol=1e-9)
    assert_close(depth_std_m, drawn[..., 5].std(1), rtol=0.05, atol=0)
    assert (keypoints_std_m[:, 0] == 0).all()


# ---------------------------------------------------------------- what is not seen


def test_landmarks_outside_the_picture_count_for_little() -> None:
    """Their own deviation, whatever the net's confidence; bones count less with either end."""
    config = ObjectiveConfig()
    outside = np.zeros(21, bool)
    outside[[3, 17]] = True
    d = detection(outside=outside, confidence=np.ones(21))
    seen = observations([HandInImage(detection=d, camera=Camera(K=K))], config)
    assert seen.unseen[0].tolist() == outside.tolist()
    expected = np.where(outside, config.unseen_sigma_px, config.sigma_px) * 187.0
    np.testing.assert_allclose(seen.sigma_px[0], expected)
    weak = {2, 3, 16, 17}  # bone k leads to keypoint k + 1; 3 → 4 and 17 → 18 begin there
    deviations = [config.sigma_direction, config.unseen_sigma_direction]
    assert seen.sigma_direction[0].tolist() == [deviations[k in weak] for k in range(20)]


def test_a_network_counts_more_where_nothing_is_seen() -> None:
    rotations, betas, _ = pose(1)
    marked = as_seen(0.05 * draw(7, 1, 21, 3) + torch.tensor([0.0, 0, 0.6]).double())
    unseen = torch.zeros(1, 21, dtype=torch.bool)
    unseen[0, 8] = True  # the tip of the index finger: bone 7 alone ends there
    trust = Trust(unseen_point_weight=30.0, unseen_direction_weight=50.0)
    px = marked.points_px + 10.0
    found = [
        with_network(open_hand(), rotations, betas, replace(marked, unseen=u), px, trust)[1]
        for u in (torch.zeros_like(unseen), unseen)
    ]
    moved = [f.points_px[0] - marked.points_px[0] for f in found]
    ratio = (moved[1] / moved[0])[:, 0]
    assert_close(
        ratio[8], torch.tensor((30 / 31) / (3 / 4), dtype=torch.float64), rtol=1e-6, atol=0
    )
    assert_close(ratio[torch.arange(21) != 8], torch.ones(20).double())
    changed = (found[0].directions - found[1].directions).norm(dim=-1)[0] > 1e-9
    assert changed.nonzero()[:, 0].tolist() == [7]
