"""The objective against its definition, term by term and photo by photo."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.geometry import rotation_from_vector
from idhand.hand import KEYPOINT_PARENTS
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    solve,
)
from idhand.refinement.residuals import cauchy
from idhand.refinement.solver import damped_step

K = torch.tensor([[600.0, 0, 320], [0, 650, 240], [0, 0, 1]], dtype=torch.float64)
CONFIG = ObjectiveConfig(
    sigma_px=0.03,
    robust_px=2.5,
    robust_direction=1.5,
    pose_weight=1.7,
    limit_sigma=0.08,
    observation_weight=0.6,
)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objective(**changes: object) -> Objective:
    prior = replace(open_hand().prior, mean=0.1 * draw(9, 16))
    return replace(Objective(model=open_hand(), config=CONFIG, prior=prior), **changes)


def case(n: int = 2, *, bias: bool = True) -> tuple[State, Observations]:
    """Hands with some angles beyond their limits; what is seen is far from them."""
    space = open_hand().pose_space
    state = State(
        R=rotation_from_vector(draw(0, n, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]).double() + 0.03 * draw(1, n, 3),
        angles=space.mean + 0.6 * draw(2, n, space.num_dofs),
        betas=0.8 * draw(3, n, 16),
        bias=0.003 * draw(4, n, 21, 3) if bias else None,
    )
    *_, points = objective().kinematics(state)
    seen = Observations(
        points_px=torch.tensor([320.0, 240]).double() + 60 * draw(5, n, 21, 2),
        sigma_px=5 + draw(6, n, 21).abs(),
        directions=torch.nn.functional.normalize(draw(7, n, 20, 3), dim=-1),
        sigma_direction=0.2 + 0.1 * draw(8, n, 20).abs(),
        K=K.expand(n, 3, 3),
        world=points,
    )
    assert (points[..., 2] > 0.2).all()
    return state, seen


def size_and_proportions(o: Objective, betas: Tensor) -> Tensor:
    """Deviation from the prior: of the size, and of the proportions at the prior's mean size."""
    mean, uniform, growth = o.prior.mean, o.model.uniform_growth, o.model.measures.growth
    usual, size = 1 + growth @ mean, 1 + growth @ betas
    grown = (mean + uniform) / usual  # the mean hand's betas per unit of size, proportions kept
    at_usual_size = (betas + uniform) * usual / size - uniform
    return (size - usual) * grown + at_usual_size - mean


def terms(o: Objective, state: State, seen: Observations, k: int) -> dict[str, float]:
    """Each term of hand k's cost, in loops over points, bones and angles."""
    c, space = o.config, o.model.pose_space
    points = o.kinematics(state)[-1][k]
    robust = {"points": c.robust_px, "directions": c.robust_direction}
    squares: dict[str, list[float]] = {"points": [], "directions": []}
    for p, u, sigma in zip(points, seen.points_px[k], seen.sigma_px[k], strict=True):
        x, y, z = p.tolist()
        off = (600 * x / z + 320 - float(u[0]), 650 * y / z + 240 - float(u[1]))
        squares["points"].append((off[0] ** 2 + off[1] ** 2) / float(sigma) ** 2)
    for j in range(1, 21):
        bone = points[j] - points[KEYPOINT_PARENTS[j]]
        off = bone / bone.norm() - seen.directions[k, j - 1]
        squares["directions"].append(float(off @ off) / float(seen.sigma_direction[k, j - 1]) ** 2)
    found = {
        name: c.observation_weight * sum(w**2 / 2 * math.log(1 + s / w**2) for s in squares[name])
        for name, w in robust.items()
    }
    pose = state.angles[k] - space.mean
    found["pose"] = c.pose_weight * float(pose @ torch.linalg.inv(space.covariance) @ pose) / 2
    found["limits"] = 0.0
    for angle, low, high in zip(state.angles[k], space.lower, space.upper, strict=True):
        over = max(float(angle - high), 0.0) + max(float(low - angle), 0.0)
        found["limits"] += (over / c.limit_sigma) ** 2 / 2
    off = size_and_proportions(o, state.betas[k])
    found["shape"] = float(off @ torch.linalg.inv(o.prior.covariance) @ off) / 2
    if state.bias is not None:
        bias = state.bias[k].flatten()
        precision = torch.linalg.inv(o.model.landmarks.bias_covariance)
        found["bias"] = float(bias @ precision @ bias) / 2
    return found


@pytest.mark.parametrize("bias", [False, True])
def test_the_cost_is_the_sum_of_its_terms(bias: bool) -> None:
    o, (state, seen) = objective(), case(3, bias=bias)
    for k in range(3):
        found = terms(o, state, seen, k)
        assert min(found.values()) > 0.1, "every term has its say"
        assert float(o.cost(state, seen)[k]) == pytest.approx(sum(found.values()), rel=1e-9)
        shared = found["shape"] + found.get("bias", 0.0)
        alone = replace(o, shared_priors=False).cost(state, seen)
        assert float(alone[k]) == pytest.approx(sum(found.values()) - shared, rel=1e-9)


def residuals(o: Objective, state: State, seen: Observations) -> tuple[Tensor, Tensor, Tensor]:
    """Of one hand: pixels and directions in sigmas, and the weights that the Cauchy cost gives."""
    points = o.kinematics(state)[-1][0]
    uvw = points @ K.mT
    r_px = (uvw[:, :2] / uvw[:, 2:] - seen.points_px[0]) / seen.sigma_px[0, :, None]
    bones = points[1:] - points[list(KEYPOINT_PARENTS[1:])]
    units = bones / bones.norm(dim=-1, keepdim=True)
    r_dir = (units - seen.directions[0]) / seen.sigma_direction[0, :, None]
    weights = [
        1 / (1 + r.square().sum(-1) / w**2)
        for r, w in ((r_px, o.config.robust_px), (r_dir, o.config.robust_direction))
    ]
    r = torch.cat((r_px.flatten(), r_dir.flatten()))
    w = torch.cat((weights[0].repeat_interleave(2), weights[1].repeat_interleave(3)))
    return r, w, points


def test_the_hessian_is_that_of_gauss_and_newton() -> None:
    """Σ w ∇r ∇rᵀ of the evidence, with ∇r by autograd, and the priors' own second derivatives."""
    o, (state, seen) = objective(), case(1)
    step = torch.zeros(1, 6 + 26 + 16 + 63, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda s: residuals(o, o.moved(state, s), seen)[0], step
    )
    assert isinstance(jacobian, Tensor)
    J, w = jacobian[:, 0], residuals(o, state, seen)[1]
    data = o.config.observation_weight * J.mT @ (w[:, None] * J)
    space = o.model.pose_space
    beyond = ((state.angles > space.upper) | (state.angles < space.lower))[0].double()
    assert beyond.any()
    pose = o.config.pose_weight * torch.linalg.inv(space.covariance)
    pose = pose + torch.diag(beyond) / o.config.limit_sigma**2
    slope = torch.autograd.functional.jacobian(lambda b: size_and_proportions(o, b), state.betas[0])
    assert isinstance(slope, Tensor)
    shape = slope.mT @ torch.linalg.inv(o.prior.covariance) @ slope
    bias = torch.linalg.inv(o.model.landmarks.bias_covariance)
    priors = torch.block_diag(torch.zeros(6, 6).double(), pose, shape, bias)
    found = o.linearise(state, seen, shape=True, bias=True)
    assert_close(found.hessian[0], data + priors, rtol=1e-8, atol=1e-6)
    without = o.linearise(state, seen, shape=False)
    assert_close(without.hessian[0], found.hessian[0, :32, :32])
    assert_close(without.gradient[0], found.gradient[0, :32])


def test_cauchy_costs_and_weighs() -> None:
    squared = torch.tensor([0.0, 1.0, 9.0, 1e4], dtype=torch.float64, requires_grad=True)
    cost, weight = cauchy(squared, 3.0)
    (slope,) = torch.autograd.grad(cost.sum(), squared)
    assert_close(weight.detach(), slope)
    expected = [0.0, 4.5 * math.log(10 / 9), 4.5 * math.log(2), 4.5 * math.log(1 + 1e4 / 9)]
    assert cost.tolist() == pytest.approx(expected)
    assert float(weight.detach()[0]) == 0.5


def test_a_step_moves_what_its_place_says() -> None:
    o, (state, _) = objective(), case(2)
    step = 0.1 * draw(3, 2, 6 + 26 + 16 + 63)
    new = o.moved(state, step)
    assert state.bias is not None
    assert new.bias is not None
    assert_close(new.R, rotation_from_vector(step[:, :3]) @ state.R)
    assert_close(new.wrist - state.wrist, step[:, 3:6])
    assert_close(new.angles - state.angles, step[:, 6:32])
    assert_close(new.betas - state.betas, step[:, 32:48])
    assert_close((new.bias - state.bias).flatten(1), step[:, 48:])
    posed = o.moved(state, step[:, :32])
    assert torch.equal(posed.betas, state.betas)
    assert posed.bias is state.bias
    shaped = o.moved(state, step[:, :48])
    assert torch.equal(shaped.betas, new.betas)
    assert shaped.bias is state.bias


def test_parts_of_a_batch() -> None:
    state, seen = case(3)
    assert_close(state[torch.tensor([2, 0])].wrist, state.wrist[[2, 0]])
    assert_close(seen[torch.tensor([False, True, False])].K, K[None])
    assert seen.to(torch.float32).points_px.dtype == torch.float32
    keep = torch.tensor([True, False, True])
    mixed = state.where(keep, case(3)[0][torch.tensor([1, 2, 0])])
    for name in ("R", "wrist", "angles", "betas", "bias"):
        values = getattr(state, name)
        assert_close(getattr(mixed, name), torch.stack((values[0], values[2], values[2])))
    assert state.where(keep, case(3, bias=False)[0]).bias is None


def test_sizes_are_never_near_zero() -> None:
    o, growth = objective(), open_hand().measures.growth
    betas = torch.stack((growth, -growth * 0.9)) / growth.square().sum()
    assert_close(o.relative_size(betas), torch.tensor([2.0, 0.3]).double())


def test_damped_steps_and_what_they_promise() -> None:
    """(H + λ diag H) step = −g; the promise is the decrease of the quadratic model."""
    o, (state, seen) = objective(), case(2)
    model = o.linearise(state, seen, shape=True)
    damping = torch.tensor([1e-3, 10.0]).double()
    step, promised = damped_step(model, damping)
    for k in range(2):
        H, g, s = model.hessian[k], model.gradient[k], step[k]
        damped = H + damping[k] * torch.diag(H.diagonal())
        assert_close(damped @ s, -g, rtol=1e-6, atol=1e-6)
        assert float(promised[k]) == pytest.approx(-float(g @ s + s @ H @ s / 2), rel=1e-6)
        assert float(promised[k]) > 0
    indefinite = replace(
        model,
        hessian=model.hessian
        - 2
        * torch.diag_embed(
            torch.nn.functional.one_hot(torch.tensor([0, 0]), 48) * model.hessian[:, :1, 0]
        ),
    )
    assert damped_step(indefinite, damping)[0].isfinite().all()


def scene(n: int) -> tuple[Objective, State, Observations]:
    """Hands seen exactly, and starts beside them."""
    o, (state, seen) = objective(config=ObjectiveConfig()), case(n, bias=False)
    space = o.model.pose_space
    truth = replace(state, angles=state.angles.clamp(space.lower, space.upper))
    points = o.kinematics(truth)[-1]
    uvw = points @ K.mT
    bones = points[:, 1:] - points[:, list(KEYPOINT_PARENTS[1:])]
    seen = replace(
        seen,
        points_px=uvw[..., :2] / uvw[..., 2:],
        directions=torch.nn.functional.normalize(bones, dim=-1),
    )
    return o, o.moved(truth, 0.05 * draw(11, n, 32)), seen


@pytest.mark.parametrize("shape", [False, True])
def test_a_solution_is_where_it_is_said_to_be(shape: bool) -> None:
    o, start, seen = scene(6)
    solution = solve(o, seen, start, RefinementConfig(), shape=shape)
    assert 2 < solution.iterations < 25
    assert (solution.status == 0).all()
    there = o.linearise(solution.state, seen, shape=shape)
    assert_close(solution.cost, there.cost)
    assert_close(solution.hessian, there.hessian)
    assert (solution.cost < 0.9 * o.cost(start, seen)).all()
    _, promised = damped_step(there, torch.full((6,), 1e-3).double())
    assert (promised < 1e-2 * solution.cost).all(), "nothing is left to gain"
    assert shape == (not torch.equal(solution.state.betas, start.betas))
    alone = solve(o, seen[3:4], start[slice(3, 4)], RefinementConfig(), shape=shape)
    assert alone.iterations <= solution.iterations
    assert_close(alone.state.angles, solution.state.angles[3:4], atol=1e-6, rtol=0)


def test_a_fit_that_is_cut_short_keeps_what_it_reached() -> None:
    o, start, seen = scene(3)
    solution = solve(o, seen, start, RefinementConfig(max_iterations=1), shape=False)
    assert solution.iterations == 1
    assert (solution.status != 0).all()
    assert (solution.cost < o.cost(start, seen)).all()
    assert_close(solution.cost, o.cost(solution.state, seen))
    longer = solve(o, seen, start, RefinementConfig(max_iterations=3), shape=False)
    assert (longer.cost < solution.cost).all()
    with pytest.raises(ValueError, match="max_iterations must be at least 1, got 0"):
        RefinementConfig(max_iterations=0)


def test_adam_moves_the_position_first() -> None:
    """Its first steps are as long as the rates of the two stages."""
    o, start, seen = scene(2)
    first = RefinementConfig(method="adam", adam_steps=(1, 0), adam_rates=(0.02, 0.001))
    solution = solve(o, seen, start, first, shape=True)
    moved = (solution.state.wrist - start.wrist).abs()
    assert_close(moved, torch.full((2, 3), 0.02).double(), atol=1e-6, rtol=0)
    assert_close(solution.state.R, start.R)
    assert torch.equal(solution.state.angles, start.angles)
    assert torch.equal(solution.state.betas, start.betas)
    assert_close(solution.cost, o.cost(solution.state, seen))
    assert (solution.iterations, solution.hessian.shape) == (1, (2, 48, 48))
    for shape in (True, False):
        second = replace(first, adam_steps=(0, 1))
        state = solve(o, seen, start, second, shape=shape).state
        for name in ("wrist", "angles"):
            moved = (getattr(state, name) - getattr(start, name)).abs()
            assert_close(moved, torch.full_like(moved, 0.001), atol=1e-5, rtol=0)
        assert torch.equal(state.betas, start.betas) == (not shape)
