"""The keypoint network's numbers in the solver, against their definitions."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.detection.roi import roi_from_landmarks
from idhand.geometry import project, rotation_from_vector, rotation_towards
from idhand.hand import landmark_points
from idhand.lens import Lens, project_px
from idhand.records import Camera, HandInImage, SeenKeypoints
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    Trust,
    observations,
    solve,
)
from idhand.refinement.network import (
    NetworkKeypoints,
    network_keypoints,
    spread_out,
    whitening,
    with_network,
)
from idhand.refinement.objective import KNUCKLE_JOINT
from idhand.refinement.observing import unit_bones
from idhand.refinement.points import keypoints as model_keypoints
from idhand.refinement.start import translation
from idhand.training.seen import log_size
from tests.test_refinement_objective import case, draw, objective
from tests.test_refinement_observing import FLIP, detection, unit

KNUCKLE = 9
LENGTH_M = 0.19


def covariances(seed: int, n: int) -> Tensor:
    """Of 21 points, each longer in one direction than in the other; px²."""
    root = 4 * draw(seed, n, 21, 2, 2)
    return root @ root.mT + torch.eye(2).double()


def dense(cov_px: Tensor, points_px: Tensor, scale_std: float) -> Tensor:
    """Blocks of each point, and the deviation that all share: away from their weighted mean."""
    weight = 1 / (cov_px[:, 0, 0] + cov_px[:, 1, 1])
    middle = sum(w * p for w, p in zip(weight, points_px, strict=True)) / weight.sum()
    v = (points_px - middle).flatten()
    return torch.block_diag(*cov_px) + scale_std**2 * v[:, None] * v


# ------------------------------------------------------------------------------------- whitening


@pytest.mark.parametrize("scale_std", [0.0, 0.02, 0.5])
def test_whitened_differences_are_independent(scale_std: float) -> None:
    """W C Wᵀ = 1: what is drawn from C, each point's own and a common scale, has deviation one."""
    cov, points = covariances(0, 3), 300 + 80 * draw(1, 3, 21, 2)
    W = whitening(cov, points, scale_std)
    for k in range(3):
        C = dense(cov[k], points[k], scale_std)
        assert_close(W[k] @ C @ W[k].T, torch.eye(42).double(), atol=1e-9, rtol=0)


def test_points_in_one_place_have_no_common_scale() -> None:
    cov = covariances(0, 1)
    W = whitening(cov, torch.full((1, 21, 2), 50.0).double(), 0.3)
    C = torch.block_diag(*cov[0])
    assert_close(W[0] @ C @ W[0].T, torch.eye(42).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", [False, True])
def test_independent_points_are_those_of_the_deviations(shape: bool) -> None:
    o, (state, seen) = objective(), case(2)
    whiten = torch.diag_embed((1 / seen.sigma_px).repeat_interleave(2, 1))
    whitened = replace(seen, whiten_px=whiten, sigma_px=torch.full_like(seen.sigma_px, torch.nan))
    assert_close(o.cost(state, whitened), o.cost(state, seen))
    plain, other = (o.linearise(state, s, shape=shape) for s in (seen, whitened))
    for name in ("cost", "gradient", "hessian"):
        assert_close(getattr(other, name), getattr(plain, name))


# -------------------------------------------------------------------------- derivatives of the cost


def with_size(n: int, *, bias: bool) -> tuple[State, Observations]:
    """Hands whose points err together, and whose size is known; the second one's is not."""
    state, seen = case(n, bias=bias)
    log_size_std = torch.tensor([0.02, math.inf, 0.3]).double()
    return state, replace(
        seen,
        whiten_px=whitening(covariances(3, n), seen.points_px, 0.1) + 0.01 * draw(4, n, 42, 42),
        log_size=-1.2 + 0.2 * draw(5, n),
        log_size_std=log_size_std[:n],
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [False, True])
def test_the_gradient_is_that_of_the_cost(shape: bool, bias: bool) -> None:
    bias = bias and shape
    o, (state, seen) = objective(), with_size(3, bias=bias)
    unknowns = 6 + o.model.pose_space.num_dofs + 16 * shape + 63 * bias
    step = torch.zeros(3, unknowns, dtype=torch.float64, requires_grad=True)
    cost = o.cost(o.moved(state, step), seen)
    (gradient,) = torch.autograd.grad(cost.sum(), step)
    found = o.linearise(state, seen, shape=shape, bias=bias)
    assert_close(found.cost, cost.detach(), rtol=1e-9, atol=0)
    assert_close(found.gradient, gradient, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("shape", [False, True])
def test_the_size_adds_the_hessian_of_gauss_and_newton(shape: bool) -> None:
    """Weight times the square of the residual's slope, and nothing where the size is unknown."""
    o, (state, seen) = objective(), with_size(3, bias=False)
    unknown = replace(seen, log_size_std=torch.full((3,), math.inf).double())
    step = torch.zeros(3, 6 + 26 + 16 * shape, dtype=torch.float64, requires_grad=True)
    moved = o.moved(state, step)
    depth = o.kinematics(moved)[1][:, KNUCKLE_JOINT, 2]
    length = o.relative_size(moved.betas) * o.model.mean_length_m
    r = ((length / depth).log() - seen.log_size) / seen.log_size_std
    (slope,) = torch.autograd.grad(r[[0, 2]].sum(), step)
    r, c = r.detach(), o.config
    weight = c.observation_weight / (1 + (r / c.robust_size) ** 2)
    more, less = (o.linearise(state, s, shape=shape) for s in (seen, unknown))
    expected = weight[:, None, None] * slope[:, :, None] * slope[:, None]
    assert_close(more.hessian - less.hessian, expected, rtol=1e-6, atol=1e-6)
    assert_close(more.gradient - less.gradient, (weight * r)[:, None] * slope)
    robust = c.robust_size**2 / 2 * torch.log1p((r / c.robust_size) ** 2)
    assert_close(more.cost - less.cost, c.observation_weight * robust)
    assert float((more.cost - less.cost)[0]) > 0.1


def test_an_unknown_size_changes_nothing() -> None:
    o, (state, seen) = objective(), case(2)
    nothing = replace(
        seen,
        log_size=torch.tensor([-1.0, 5.0]).double(),
        log_size_std=torch.full((2,), math.inf).double(),
    )
    assert torch.equal(o.cost(state, nothing), o.cost(state, seen))
    for name in ("cost", "gradient", "hessian"):
        mine, theirs = (
            getattr(o.linearise(state, s, shape=True, bias=True), name) for s in (nothing, seen)
        )
        assert torch.equal(mine, theirs)
    beside = replace(nothing, log_size_std=torch.tensor([math.inf, 0.1]).double())
    mine, theirs = (o.linearise(state, s, shape=True, bias=True) for s in (beside, seen))
    assert torch.equal(mine.gradient[0], theirs.gradient[0]), "a neighbour's size"
    assert not torch.equal(mine.gradient[1], theirs.gradient[1])


def test_parts_of_a_batch_keep_what_is_known() -> None:
    _, seen = with_size(3, bias=False)
    part = seen[torch.tensor([2, 0])].to(torch.float32)
    assert part.whiten_px is not None
    assert seen.whiten_px is not None
    assert_close(part.whiten_px, seen.whiten_px[[2, 0]].float())
    assert_close(part.log_size, seen.log_size[[2, 0]].float())
    assert_close(part.log_size_std, seen.log_size_std[[2, 0]].float())
    bare = case(2)[1]
    assert bare[:1].whiten_px is None
    assert torch.equal(bare[:1].log_size_std, torch.tensor([math.inf]).double())


# ------------------------------------------------------------------------------------- where it is


@pytest.mark.parametrize("shape", [False, True])
def test_a_hand_of_which_the_size_alone_is_seen_goes_to_its_depth(shape: bool) -> None:
    """A quarter too near and a quarter too far; the size says by how much."""
    model = open_hand()
    o = Objective(model=model, config=ObjectiveConfig(), prior=model.prior)
    space, n = model.pose_space, 2
    state = State(
        R=rotation_from_vector(draw(0, n, 3)),
        wrist=torch.tensor([[0.02, 0.03, 0.6], [-0.1, 0.05, 0.6]]).double(),
        angles=space.mean.expand(n, -1),
        betas=model.prior.mean.expand(n, -1),
    )
    depth = o.kinematics(state)[1][:, KNUCKLE_JOINT, 2] * torch.tensor([0.75, 1.25]).double()
    length = o.relative_size(state.betas) * model.mean_length_m
    (_, seen) = case(n, bias=False)
    blind = torch.full_like(seen.sigma_px, 1e9)
    seen = replace(
        seen, sigma_px=blind, sigma_direction=blind[:, :20],
        log_size=(length / depth).log(), log_size_std=torch.full((n,), 0.05).double(),
    )  # fmt: skip
    found = solve(o, seen, state, RefinementConfig(tolerance=1e-9), shape=shape).state
    there = o.kinematics(found)[1][:, KNUCKLE_JOINT, 2]
    longer = o.relative_size(found.betas) * model.mean_length_m
    assert_close(longer / there, length / depth, rtol=1e-4, atol=0)
    assert_close(there, depth, rtol=2e-3, atol=0)


def test_the_joint_of_the_size_is_the_keypoint_of_the_labels() -> None:
    o, (state, _) = objective(), case(2, bias=False)
    _, joints, *_ = o.kinematics(state)
    rotations = torch.cat((state.R[:, None], o.model.pose_space.rotations(state.angles)), 1)
    points = model_keypoints(o.model.with_shape(state.betas), rotations, state.wrist)
    assert_close(joints[:, KNUCKLE_JOINT], points[:, KNUCKLE])


# ------------------------------------------------------------- from the real picture to the solver

K = np.array([[600.0, 0, 300], [0, 660, 250], [0, 0, 1]])
LENSES = {
    "pinhole": None,
    "brown": np.array([-0.3, 0.12, 0.002, -0.003, 0.01]),
    "fisheye": Lens(coefficients=(0.08, -0.03, 0.01, 0.0), model="fisheye"),
}


def length_px(at_cam: np.ndarray, dist: Any) -> float:
    """Of a flat hand that faces the camera, by the area of a disc of a millimetre there."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    turn = rotation_towards(torch.from_numpy(at_cam[:2] / at_cam[2])).numpy()
    rim = 1e-3 * np.stack((np.cos(angles), np.sin(angles), np.zeros(200)), 1) @ turn.T
    x, y = project_px(at_cam + rim, K, dist).T
    area_px = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    return LENGTH_M * math.sqrt(area_px / (math.pi * 1e-6))


def seen_hand(at_cam: np.ndarray, dist: Any, *, is_right: bool = True) -> HandInImage:
    """Its keypoints lie about the middle knuckle; its size is that of the disc."""
    rng = np.random.default_rng(0)
    points = project_px(at_cam + 0.03 * rng.normal(size=(21, 3)), K, dist)
    points[KNUCKLE] = project_px(at_cam[None], K, dist)[0]
    root = rng.normal(size=(21, 2, 2))
    keypoints = SeenKeypoints(
        points_px=points,
        cov_px=root @ root.transpose(0, 2, 1),
        visible=np.ones(21),
        directions=unit(rng.normal(size=(20, 3))),
        directions_std=np.linspace(0.1, 0.5, 20),
        log_length_px=math.log(length_px(at_cam, dist)),
        log_length_std=0.07,
    )
    seen = detection(is_right=is_right, keypoints=keypoints)
    return HandInImage(detection=seen, camera=Camera(K=K, dist=dist))


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("at_cam", [(0.0, 0.0, 0.5), (0.28, -0.15, 0.6), (-0.2, 0.3, 0.7)])
def test_the_size_holds_all_over_the_picture(at_cam: Any, lens: str) -> None:
    """Length over depth comes back from the picture, off its middle and through any lens."""
    at = np.array(at_cam)
    for is_right in (True, False):
        found = network_keypoints([seen_hand(at, LENSES[lens], is_right=is_right)])
        assert found is not None
        assert float(found.log_size) == pytest.approx(math.log(LENGTH_M / at[2]), abs=2e-3)
        assert float(found.log_size_std) == pytest.approx(0.07)


def test_labels_and_the_solver_mean_the_same_size() -> None:
    at = np.array([0.28, -0.15, 0.6])
    label = log_size(K, at, side_px=150.0, length_m=LENGTH_M)
    assert label + math.log(150) == pytest.approx(math.log(length_px(at, None)), abs=1e-4)


def test_a_left_hand_is_the_right_one_of_the_mirrored_picture() -> None:
    """With the intrinsics of that picture, whose pixels are counted from its other side."""
    at, width = np.array([0.1, -0.05, 0.6]), 640
    left = seen_hand(at, LENSES["brown"], is_right=False)
    seen, flip = left.detection.keypoints, FLIP[:2]
    assert seen is not None
    points = seen.points_px * flip + (width - 1, 0)
    mirrored = replace(seen, points_px=points, cov_px=flip[:, None] * seen.cov_px * flip)
    landmarks = left.detection.landmarks_px * flip + (width - 1, 0)
    K_mirrored = K.copy()
    K_mirrored[0, 2] = width - 1 - K[0, 2]
    dist = LENSES["brown"] * np.array([1, 1, 1, -1, 1])  # decentring turns round in x
    right = HandInImage(
        detection=replace(
            left.detection, is_right=True, keypoints=mirrored, landmarks_px=landmarks
        ),
        camera=Camera(K=K_mirrored, dist=dist),
    )
    one, other = network_keypoints([left]), network_keypoints([right])
    assert one is not None
    assert other is not None
    assert_close(one.points_px + torch.tensor([width - 1.0, 0]), other.points_px)
    assert_close(one.cov_px, other.cov_px)
    assert_close(one.log_size, other.log_size)
    assert_close(one.directions, other.directions)
    assert_close(one.cov_px[0, 0, 0, 1], -torch.tensor(seen.cov_px[0, 0, 1]))


def test_directions_are_seen_from_the_crops_middle() -> None:
    """What points away from whoever looks at the crop points along the ray through its middle."""
    hand = seen_hand(np.array([0.1, -0.05, 0.6]), None)
    seen = hand.detection.keypoints
    assert seen is not None
    away = np.tile([0.0, 0, 1], (20, 1))
    found = network_keypoints(
        [replace(hand, detection=replace(hand.detection, keypoints=replace(seen, directions=away)))]
    )
    assert found is not None
    middle_px = roi_from_landmarks(hand.detection.landmarks_px).center_px
    ray = unit(np.linalg.solve(K, np.append(middle_px, 1.0)))
    assert_close(found.directions[0], torch.from_numpy(ray).expand(20, -1))
    plain = network_keypoints([hand])
    assert plain is not None
    assert_close(plain.directions_std[0], torch.from_numpy(seen.directions_std))
    inner = (plain.directions @ plain.directions.mT)[0]
    assert_close(inner, torch.from_numpy(seen.directions @ seen.directions.T))


def test_without_keypoints_of_every_hand_there_are_none() -> None:
    hand = seen_hand(np.array([0, 0, 0.5]), None)
    blind = replace(hand, detection=replace(hand.detection, keypoints=None))
    assert network_keypoints([]) is None
    assert network_keypoints([hand, blind]) is None
    both = network_keypoints([hand, hand])
    assert both is not None
    assert both.points_px.shape == (2, 21, 2)


# ------------------------------------------------------------------------- beside the landmark net


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """What the solver is given, and of what."""

    given: Observations
    landmarks: Observations
    network: NetworkKeypoints
    start_px: Tensor
    """Of the start's pose, where it explains the network's points best."""
    bones: Tensor
    """Of the start's pose."""


def mixed(**trust: Any) -> Mixed:
    """A left and a right hand; the landmarks are the hand model's keypoints here."""
    model = open_hand()
    marks = landmark_points(
        model, model.measures.growth, torch.zeros(21, 3).double(), model.landmarks.bias_covariance
    )
    hands = [seen_hand(np.array([0.05, -0.05, 0.6]), None, is_right=r) for r in (True, False)]
    outside = np.arange(21) == 5
    hands = [replace(h, detection=replace(h.detection, outside=outside)) for h in hands]
    network = network_keypoints(hands)
    assert network is not None
    seen = observations(hands, ObjectiveConfig())
    rotations = torch.cat(
        (rotation_from_vector(draw(1, 2, 1, 3)), torch.eye(3).double().expand(2, 15, 3, 3)), 1
    )
    betas = torch.zeros(2, 16).double()
    _, given = with_network(
        replace(model, landmarks=marks), rotations, betas, seen, None, Trust(**trust), None, network
    )
    pose = model_keypoints(model.with_shape(betas), rotations, torch.zeros(2, 3).double())
    wrist = translation(pose, replace(seen, points_px=network.points_px))
    return Mixed(
        given=given,
        landmarks=seen,
        network=network,
        start_px=project(pose + wrist[:, None], seen.K),
        bones=unit_bones(pose),
    )


def test_the_networks_points_come_with_their_covariances() -> None:
    """And with a common scale, about the middle of the start's pose."""
    m = mixed(points="network", scale_std=0.1, keypoint_factor=2.0, spreads_points=False)
    cov = m.network.cov_px
    assert_close(m.given.points_px, m.network.points_px)
    assert m.given.whiten_px is not None
    for k in range(2):
        C = dense(4 * cov[k], m.start_px[k], 0.1)
        white = m.given.whiten_px[k] @ C @ m.given.whiten_px[k].T
        assert_close(white, torch.eye(42).double(), atol=1e-8, rtol=0)
    assert_close(m.given.sigma_px, (2 * (cov[..., 0, 0] + cov[..., 1, 1])).sqrt())


def test_points_of_both_nets_are_weighed_by_their_covariances() -> None:
    """Each point is the mean of two Gaussians; landmarks outside the picture have their own σ."""
    m = mixed(
        points="both", scale_std=0.0, spreads_points=False, keypoint_factor=1.5, landmark_factor=2.0
    )
    for k in range(2):
        for p in range(0, 21, 5):
            A = torch.linalg.inv(1.5**2 * m.network.cov_px[k, p])
            factor = 1.0 if p == 5 else 2.0
            B = torch.eye(2).double() / (factor * m.landmarks.sigma_px[k, p]) ** 2
            C = torch.linalg.inv(A + B)
            mean = C @ (A @ m.network.points_px[k, p] + B @ m.landmarks.points_px[k, p])
            assert_close(m.given.points_px[k, p], mean)
            assert m.given.whiten_px is not None
            W = m.given.whiten_px[k, 2 * p : 2 * p + 2, 2 * p : 2 * p + 2]
            assert_close(W @ C @ W.T, torch.eye(2).double())


def test_means_of_what_is_possible_are_spread_out() -> None:
    """Truths scatter about the points; fitted to them, a hand of true form is no smaller then."""
    points, cov = 300 + 40 * draw(5, 2, 21, 2), 9 * covariances(6, 2)
    spread = spread_out(points, cov)
    before, after = [], []
    for k in range(2):
        P = torch.linalg.inv(torch.block_diag(*cov[k]))
        L = torch.linalg.cholesky(torch.block_diag(*cov[k]))
        ones = torch.eye(2).double().repeat(21, 1)
        middle = torch.linalg.solve(ones.T @ P @ ones, ones.T @ P)
        for e in draw(7 + k, 500, 42):
            truth = points[k].flatten() + L @ e
            form = truth - ones @ (middle @ truth)
            scale = [x[k].flatten() @ P @ form / (form @ P @ form) for x in (points, spread)]
            before.append(float(scale[0]))
            after.append(float(scale[1]))
    assert np.mean(before) < 0.97
    assert np.mean(after) == pytest.approx(1, abs=0.2 * (1 - float(np.mean(before))))
    given = mixed(points="network", keypoint_factor=1.0).given.points_px
    plain = mixed(points="network", spreads_points=False)
    assert_close(given, spread_out(plain.given.points_px, plain.network.cov_px))


def test_points_that_say_nothing_are_not_blown_up() -> None:
    points, cov = 300 + 10 * draw(0, 1, 21, 2), 1e4 * torch.eye(2).double().expand(1, 21, 2, 2)
    spread = spread_out(points, cov)
    middle = points.mean(1, keepdim=True)
    assert_close(spread - middle, 1.3 * (points - middle))


def test_directions_are_as_sure_as_the_keypoint_network() -> None:
    """Those of the pose network, which knows the person, with the other's deviations."""
    m = mixed(directions="network", direction_factor=2.0)
    std = 2 * m.network.directions_std
    assert_close(m.given.directions, m.bones)
    assert_close(m.given.sigma_direction, std)
    m = mixed(directions="both", direction_factor=1.0, landmark_factor=3.0)
    factor = torch.full((20,), 3.0).double()
    factor[[4, 5]] = 1.0  # before and behind the keypoint outside the picture
    A = (1 / m.network.directions_std**2)[..., None]
    B = (1 / (factor * m.landmarks.sigma_direction) ** 2)[..., None]
    mean = A * m.bones + B * m.landmarks.directions
    assert_close(m.given.directions, mean / mean.norm(dim=-1, keepdim=True))
    assert_close(m.given.sigma_direction, (A + B)[..., 0].rsqrt())
    m = mixed(directions="landmarks")
    assert_close(m.given.directions, m.landmarks.directions)
    assert torch.equal(m.given.sigma_direction, m.landmarks.sigma_direction)


def test_the_seen_size_comes_with_its_deviation() -> None:
    for source in ("network", "both"):
        given = mixed(points=source, size_factor=3.0).given
        log_size = torch.full((2,), math.log(LENGTH_M / 0.6)).double()
        assert_close(given.log_size, log_size, rtol=1e-3, atol=0)
        assert_close(given.log_size_std, torch.full((2,), 0.21).double())


def test_landmarks_alone_know_nothing_of_it() -> None:
    m = mixed(points="landmarks")
    assert m.given.whiten_px is None
    assert torch.equal(m.given.points_px, m.landmarks.points_px)
    assert m.given.log_size_std.isinf().all()


def test_some_of_a_batch() -> None:
    network = mixed().network[slice(1, 2)]
    assert_close(network.points_px, mixed().network.points_px[1:])
    assert network.log_size.shape == (1,)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"keypoint_factor": 0.0}, "keypoint_factor must be positive, got 0"),
        ({"direction_factor": 0.0}, "direction_factor must be positive, got 0"),
        ({"landmark_factor": 0.0}, "landmark_factor must be positive, got 0"),
        ({"point_weight": 0.0}, "point_weight must be positive, got 0"),
        ({"size_factor": -1.0}, "size_factor must be positive, got -1"),
        ({"scale_std": -0.1}, "scale_std must be 0 or more, got -0.1"),
        ({"scale_std": math.nan}, "scale_std must be 0 or more, got nan"),
    ],
)
def test_impossible_trust(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Trust(**changes)
    with pytest.raises(ValueError, match="robust_size must be positive"):
        ObjectiveConfig(robust_size=0.0)
