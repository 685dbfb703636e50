import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from idhand.geometry import (
    rotation_from_6d,
    rotation_from_vector,
    rotation_towards,
    sixd_from_rotation,
)


def vectors(seed: int, *shape: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


@given(st.integers(0, 10_000))
def test_six_numbers_make_a_rotation(seed: int):
    sixd = vectors(seed, 8, 6)
    R = rotation_from_6d(sixd)
    torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand(8, 3, 3))
    torch.testing.assert_close(torch.det(R), torch.ones(8).double())
    # The first row keeps its direction, the second stays in the plane of both.
    torch.testing.assert_close(R[:, 0], torch.nn.functional.normalize(sixd[:, :3], dim=-1))
    assert (R[:, 2] * sixd[:, 3:]).sum(-1).abs().max() < 1e-9
    assert ((R[:, 1] * sixd[:, 3:]).sum(-1) > 0).all()


@given(st.integers(0, 10_000))
def test_rotations_survive_both_ways(seed: int):
    R = rotation_from_vector(2 * vectors(seed, 4, 16, 3))
    sixd = sixd_from_rotation(R)
    torch.testing.assert_close(rotation_from_6d(sixd), R)
    torch.testing.assert_close(rotation_from_6d(3 * sixd), R)  # length does not matter
    assert torch.equal(sixd[..., :3], R[..., 0, :])  # rows, not columns
    one = torch.arange(9.0).reshape(3, 3)
    assert sixd_from_rotation(one).tolist() == [0, 1, 2, 3, 4, 5]


def test_gradients_are_right():
    assert gradcheck(rotation_from_6d, vectors(0, 5, 6).requires_grad_())


def test_degenerate_numbers_give_finite_gradients():
    official = torch.tensor([1.0, 0, 0, 1, 0, 0]).double()
    sixd = torch.stack((torch.zeros(6).double(), official)).requires_grad_()
    R = rotation_from_6d(sixd)
    R.sum().backward()
    assert R.isfinite().all()
    assert sixd.grad is not None
    assert sixd.grad.isfinite().all()


@given(st.integers(0, 10_000))
def test_towards_a_point_is_the_smallest_turn(seed: int):
    xy = vectors(seed, 6, 2)
    R = rotation_towards(xy)
    ray = torch.nn.functional.normalize(torch.cat((xy, torch.ones(6, 1).double()), 1), dim=-1)
    torch.testing.assert_close(R[:, :, 2], ray)
    across = torch.stack((-xy[:, 1], xy[:, 0], torch.zeros(6).double()), -1)
    torch.testing.assert_close((R @ across[..., None])[..., 0], across)  # the axis stays
