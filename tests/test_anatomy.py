"""Directions in the hand from its geometry: the open hand's named axes, and any rest frame."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.anatomy import flexion_axes, palm_axes
from idhand.assets import open_hand
from idhand.hand import JOINT_NAMES, Hand, HandModel
from idhand.view.report.charts import _bends
from tests.second_hand import TURN, open_betas, second_hand
from tests.test_export import HandMotion, posed_hand

FLIP = torch.tensor([-1.0, 1.0, 1.0]).double()


def people(seed: int, num: int, size: float = 1.5) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return size * torch.randn(num, 16, generator=rng, dtype=torch.float64)


def degrees_between(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def turned_about(
    model: HandModel, hand: Hand, joints: list[int], axes: Tensor, angle: float
) -> Tensor:
    """Keypoints of the hand at rest with some joints turned about axes of theirs."""
    from idhand.geometry import rotation_from_vector

    vectors = torch.zeros(16, 3).double()
    vectors[joints] = angle * axes[[j - 1 for j in joints]]
    return hand.posed(rotation_from_vector(vectors), torch.zeros(3).double()).keypoints


def test_the_open_hands_frame_is_the_palms() -> None:
    """Its fingers point to −y and its palm to −z, as docs/conventions.md says."""
    model = open_hand()
    axes = palm_axes(model.with_shape(torch.zeros(16).double()))
    assert_close(axes, torch.eye(3).double(), atol=1e-4, rtol=0)
    axes = palm_axes(model.with_shape(people(0, 500)))
    assert_close(axes @ axes.mT, torch.eye(3).double().expand_as(axes))
    assert_close(torch.linalg.det(axes), torch.ones(500).double())
    trace = axes.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).arccos()).max() < 0.5
    left = palm_axes(model.mirrored().with_shape(people(0, 500)))
    assert_close(left, FLIP[:, None] * axes * FLIP)


def test_axes_turn_with_the_rest_frame() -> None:
    other = second_hand()
    betas = other.prior.mean + 0.5 * people(1, 50)[:, :10]
    ours, theirs = open_hand().with_shape(open_betas(betas)), other.with_shape(betas)
    assert_close(palm_axes(theirs) @ TURN, palm_axes(ours), atol=1e-6, rtol=0)
    a = flexion_axes(ours, open_hand().pose_space)
    b = flexion_axes(theirs, other.pose_space)
    assert_close(b @ TURN, a, atol=1e-6, rtol=0)


def test_fingers_flex_about_the_open_hands_named_axes() -> None:
    model, space = open_hand(), open_hand().pose_space
    hand = model.with_shape(people(2, 200))
    axes = flexion_axes(hand, space)
    tips = hand.rest_verts[:, list(model.tip_verts)]
    chains = torch.cat((hand.rest_joints[:, 1:].unflatten(1, (5, 3)), tips[:, :, None]), 2)
    bones = torch.nn.functional.normalize(chains.diff(dim=2).flatten(1, 2), dim=-1)
    named = space.axis[[space.names.index(f"{name}_flexion") for name in JOINT_NAMES[1:]]]
    across = named - (named * bones).sum(-1, keepdim=True) * bones
    off = degrees_between(axes, across)
    assert off.max() < 0.6
    assert off.mean() < 0.2


@pytest.mark.parametrize("model", [open_hand(), second_hand()], ids=lambda m: m.name)
def test_positive_flexion_closes_the_hand(model) -> None:
    hand = model.with_shape(model.prior.mean)
    axes, palm = flexion_axes(hand, model.pose_space), palm_axes(hand)
    assert_close(axes.norm(dim=-1), torch.ones(15).double())
    flat = turned_about(model, hand, [], axes, 0.0) @ palm.mT
    for k, name in enumerate(JOINT_NAMES[1:]):
        bent = turned_about(model, hand, [k + 1], axes, 0.6) @ palm.mT
        tip = 4 * (k // 3) + 4
        moved = bent[tip] - flat[tip]
        towards = (0.0, 0.0, -1.0) if k >= 3 else (-1.0, 0.0, -1.0)
        along = moved @ torch.nn.functional.normalize(torch.tensor(towards).double(), dim=0)
        assert along > 0.6 * moved.norm(), name
        still = [j for j in range(21) if not 4 * (k // 3) < j <= tip]
        assert_close(bent[still], flat[still], atol=2e-3, rtol=0)


def test_bends_in_charts_are_the_open_hands_angles() -> None:
    model, hand = open_hand(), posed_hand(4)
    angles = model.pose_space.angles(torch.from_numpy(hand.rotations[1:]))
    degrees = dict(zip(model.pose_space.names, np.degrees(angles.numpy()), strict=True))
    curves = [curve for _, _, group in _bends(model, HandMotion.of(hand)) for curve in group]
    names = [f"{finger}_mcp" for finger in ("thumb", "index", "middle", "ring", "little")]
    names += ["thumb_ip", *(f"{finger}_pip" for finger in ("index", "middle", "ring", "little"))]
    assert len(curves) == len(names) == 10
    for curve, name in zip(curves, names, strict=True):
        assert curve.values[0] == pytest.approx(degrees[f"{name}_flexion"], abs=0.5), name
