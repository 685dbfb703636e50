import math

import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from idhand.geometry import (
    aligned,
    back_project,
    intrinsics_from_fov,
    left_jacobian,
    procrustes,
    project,
    rotation_angle,
    rotation_from_vector,
    skew,
)

SEEDS = st.integers(0, 2**31)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=SEEDS)
def test_skew_is_the_cross_product(seed: int) -> None:
    a, b = draw(seed, 2, 5, 3)
    assert_close((skew(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))


@given(seed=SEEDS, scale=st.sampled_from([1e-9, 1e-5, 1e-3, 1.0, 3.0]))
def test_rotation_from_vector_agrees_with_roma(seed: int, scale: float) -> None:
    v = scale * draw(seed, 4, 3)
    assert_close(rotation_from_vector(v), roma.rotvec_to_rotmat(v), atol=1e-9, rtol=0)


@given(seed=SEEDS, scale=st.sampled_from([1e-8, 1e-4, 1e-2, 1.0, 2.5]))
def test_left_jacobian_predicts_the_rotation_of_a_changed_vector(seed: int, scale: float) -> None:
    v, d = scale * draw(seed, 3), 1e-6 * draw(seed + 1, 3)
    predicted = rotation_from_vector(left_jacobian(v) @ d) @ rotation_from_vector(v)
    assert_close(rotation_from_vector(v + d), predicted, atol=1e-11, rtol=0)


def test_gradients_are_finite_at_zero() -> None:
    v = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotation_from_vector, (v,))
    assert torch.autograd.gradcheck(left_jacobian, (v,))


@pytest.mark.parametrize("angle", [1e-9, 1e-5, 0.99e-4, 0.99e-3])
def test_small_angles_follow_the_power_series(angle: float) -> None:
    """R = Σ Sⁿ/n! and its left Jacobian = Σ Sⁿ/(n+1)!; beside the diagonal to the last digits."""
    S = skew(angle * torch.tensor([0.48, -0.6, 0.64], dtype=torch.float64))
    powers = [torch.linalg.matrix_power(S, n) for n in range(1, 8)]
    v = torch.stack((S[2, 1], S[0, 2], S[1, 0]))
    R, J = (
        torch.stack([P / math.factorial(n + k) for n, P in enumerate(powers, 1)]).sum(0)
        for k in (0, 1)
    )
    beside = ~torch.eye(3, dtype=torch.bool)
    assert_close(left_jacobian(v)[beside], J[beside], atol=1e-18, rtol=1e-15)
    if angle < 1e-4:  # beyond it the closed form, which loses digits
        assert_close(rotation_from_vector(v)[beside], R[beside], atol=1e-18, rtol=1e-15)


def test_rotation_angle() -> None:
    v = torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0, math.pi, 0]], dtype=torch.float64)
    assert_close(rotation_angle(rotation_from_vector(v)), v.norm(dim=-1), atol=1e-7, rtol=0)
    rounded = 1.000001 * torch.tensor([[1.0, 1, 1], [1, -1, -1]], dtype=torch.float64).diag_embed()
    assert_close(rotation_angle(rounded), torch.tensor([0.0, math.pi], dtype=torch.float64))


@given(seed=SEEDS)
def test_procrustes_recovers_a_similarity(seed: int) -> None:
    points, R = draw(seed, 8, 3), rotation_from_vector(draw(seed + 1, 3))
    moved = 1.7 * points @ R.T + draw(seed + 2, 3)
    scale, found, _ = procrustes(points, moved)
    assert_close(scale, torch.tensor(1.7, dtype=torch.float64))
    assert_close(found, R)
    assert_close(aligned(points, moved), moved)


def test_procrustes_never_mirrors() -> None:
    points = draw(0, 8, 3)
    mirrored = points * torch.tensor([-1.0, 1, 1])
    _, R, _ = procrustes(points, mirrored)
    assert_close(torch.det(R), torch.tensor(1.0, dtype=torch.float64))
    assert (aligned(points, mirrored) - mirrored).norm() > 0.5


def test_procrustes_is_a_least_squares_fit() -> None:
    """No small change of the motion brings noisy points nearer, with weights or without scale."""
    source, target = draw(1, 2, 8, 3)
    for weights, with_scale in ((None, True), (draw(2, 8) ** 2, True), (draw(2, 8) ** 2, False)):
        scale, R, t = procrustes(source, target, weights, with_scale=with_scale)
        w = torch.ones(8).double() if weights is None else weights

        def cost(a: Tensor, turn: Tensor, b: Tensor, w: Tensor = w) -> float:
            moved = a * source @ turn.T + b
            return float((w * (moved - target).square().sum(-1)).sum())

        best = cost(scale, R, t)
        assert with_scale or float(scale) == 1.0
        for k in range(3):
            for d in (-1e-3, 1e-3):
                step = d * torch.eye(3).double()[k]
                assert cost(scale, rotation_from_vector(step) @ R, t) > best
                assert cost(scale, R, t + step) > best
                if with_scale:
                    assert cost(scale * (1 + d), R, t) > best


def test_project_by_hand() -> None:
    K = torch.tensor([[100.0, 0, 50], [0, 200, 40], [0, 0, 1]])
    pixels = project(torch.tensor([[0.1, -0.2, 2.0]]), K)
    assert_close(pixels, torch.tensor([[55.0, 20.0]]))
    assert_close(back_project(pixels, K), torch.tensor([[0.05, -0.1]]))
    behind = project(torch.tensor([[0.1, -0.2, -2.0]]), K)  # as if a millimetre before the camera
    assert_close(
        behind, torch.tensor([[10.0 / 1e-3 + 50 * -2 / 1e-3, -40 / 1e-3 + 40 * -2 / 1e-3]])
    )


def test_guessed_intrinsics_see_the_stated_angle() -> None:
    K = intrinsics_from_fov(640, 480, 60.0)
    half = math.degrees(math.atan(320 / float(K[0, 0])))
    assert_close(half, 30.0)
    assert K.dtype == torch.float64
    focal = float(K[0, 0])
    expected = [[focal, 0.0, 319.5], [0.0, focal, 239.5], [0.0, 0.0, 1.0]]
    assert torch.equal(K, torch.tensor(expected, dtype=torch.float64))
    assert torch.equal(intrinsics_from_fov(480, 640, 60.0)[0, 0], K[0, 0]), "the longer side counts"


@pytest.mark.parametrize("fov", [0.0, -5.0, 180.0, float("nan")])
def test_impossible_field_of_view_is_refused(fov: float) -> None:
    with pytest.raises(ValueError, match="field of view"):
        intrinsics_from_fov(640, 480, fov)
