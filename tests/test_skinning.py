import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.skinning import SKINNING_CHUNK, as_planes, skinned


def inputs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Transforms of 4 joints, 7 points at rest, weights that sum to one."""
    rng = torch.Generator().manual_seed(batch)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return normal(batch, 12, 4), normal(batch, 3, 7), normal(7, 4).softmax(-1)


def one_by_one(transforms: Tensor, planes: Tensor, weights: Tensor) -> Tensor:
    """Each point moved by each joint, then averaged: skinning as it is defined."""
    rows = []
    for A, points in zip(transforms, planes, strict=True):
        moved = [A[:, j].reshape(3, 4) @ torch.cat((points, torch.ones(1, 7))) for j in range(4)]
        rows.append(sum(m * w for m, w in zip(moved, weights.mT, strict=True)))
    return torch.stack(rows)


def test_planes_are_all_x_then_y_then_z() -> None:
    points = torch.tensor([[[1.0, 2, 3], [4, 5, 6]]])
    assert as_planes(points).tolist() == [[1, 4, 2, 5, 3, 6]]
    assert as_planes(points[0]).tolist() == [1, 4, 2, 5, 3, 6]


@pytest.mark.parametrize("batch", [1, SKINNING_CHUNK, SKINNING_CHUNK + 1, 2 * SKINNING_CHUNK + 3])
def test_skinning_is_the_weighted_mean_of_moved_points(batch: int) -> None:
    assert_close(skinned(*inputs(batch)), one_by_one(*inputs(batch)))


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1), (2,), (0, 1, 2)])
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_are_those_of_the_definition(wanted: tuple[int, ...], create_graph: bool) -> None:
    """Of any of the three inputs, also where gradients of the gradients are asked for."""
    tensors = inputs(SKINNING_CHUNK + 2)
    for k in wanted:
        tensors[k].requires_grad_(True)
    asked = [tensors[k] for k in wanted]
    found, expected = (
        torch.autograd.grad((f(*tensors) ** 3).sum(), asked, create_graph=create_graph)
        for f in (skinned, one_by_one)
    )
    assert_close(found, expected)
    if create_graph:
        found, expected = (
            torch.autograd.grad(sum((g**2).sum() for g in first), asked, materialize_grads=True)
            for first in (found, expected)
        )
        assert_close(found, expected)
