"""What is carried over from the open hand to others: measures, landmarks, betas; known truths."""

from functools import cache

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.assets.carrying import carried, carried_over, converted_betas
from idhand.assets.correspondence import correspondence
from idhand.assets.mano import mano_hand
from idhand.assets.resampled import R_MANO_OPEN, WRIST_MANO_M, open_betas, resampled_hand
from idhand.assets.surfaces import Surface
from idhand.hand import FittableHand

from .stranger import Stranger, stranger


def drawn(number: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(size=(number, 10)))


@cache
def someone() -> Stranger:
    return stranger(4)


@cache
def resampled() -> FittableHand:
    return mano_hand(resampled_hand(), carried_over)


def test_the_nearest_point_of_a_surface():
    # Two triangles of a unit square in z = 0; feet inside, on the shared edge, beyond the border.
    verts = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]).double()
    square = Surface(torch.tensor([[0, 1, 2], [0, 2, 3]]), 4)
    points = torch.tensor([[0.75, 0.25, 0.5], [0.5, 0.5, -1], [2, 0.5, 0], [-1, -1, 0]]).double()
    feet = square.feet(points, verts)
    expected = torch.tensor([[0.75, 0.25, 0], [0.5, 0.5, 0], [1, 0.5, 0], [0, 0, 0]]).double()
    torch.testing.assert_close(square.at(feet, verts), expected)
    torch.testing.assert_close(square.matrix(feet) @ verts, expected)
    assert feet.on_border.tolist() == [False, False, True, True]
    torch.testing.assert_close(square.normals(verts), torch.tensor([[0.0, 0, 1]] * 4).double())


def test_measures_are_the_open_hands_in_every_shape():
    model, betas = open_hand(), drawn(50)
    measures = resampled().measures
    assert measures.names == model.measures.names
    truth = model.measures.lengths(torch.from_numpy(open_betas(betas.numpy())))
    apart_mm = 1e3 * (measures.lengths(betas) - truth).abs()
    assert apart_mm.max() < 0.5
    assert apart_mm[:, 0].max() < 0.15
    # A larger first beta is a shorter hand, by the open hand's 54 thousandths of its length.
    assert float(measures.growth[0]) == pytest.approx(-0.054, abs=2e-3)


def test_landmarks_are_the_open_hands_in_every_shape():
    model, hand, betas = open_hand(), resampled(), drawn(20)
    turn, wrist = torch.from_numpy(R_MANO_OPEN), torch.from_numpy(WRIST_MANO_M)
    points = model.landmarks.at_rest(torch.from_numpy(open_betas(betas.numpy())))
    truth = (points - model.joint_template[0]) @ turn.mT + wrist
    apart_mm = 1e3 * (hand.landmarks.at_rest(betas) - truth).norm(dim=-1)
    assert apart_mm.max() < 0.5
    # What differs from person to person is turned into the other frame.
    turns = torch.block_diag(*[turn] * 21)
    expected = turns @ model.landmarks.bias_covariance @ turns.mT
    apart = (hand.landmarks.bias_covariance - expected).abs().max()
    assert apart < 0.05 * expected.diagonal().max()
    assert (model.landmarks.bias_covariance - expected).abs().max() > 10 * apart


def test_the_fit_tells_how_near_it_comes():
    found = correspondence(resampled())
    assert 0.03 < found.fit_mm < 0.25
    assert found.residual_mm < 0.4 * found.fit_mm
    torch.testing.assert_close(found.matrix.sum(1), torch.ones(1159).double())
    assert found.is_sure.sum() > 1100
    assert float(found.betas.norm()) < 0.5
    turn = torch.from_numpy(R_MANO_OPEN).expand(16, 3, 3)
    assert (found.R_other_open - turn).abs().max() < 0.05


def test_a_stranger_is_measured_as_it_is():
    other, model, betas = someone(), open_hand(), drawn(30)
    found = carried(other.model)
    truth = model.measures.lengths(other.betas + betas @ other.basis.mT)
    apart_mm = 1e3 * (found.measures.lengths(betas) - truth)
    assert apart_mm.square().mean().sqrt() < 0.9
    assert apart_mm.abs().max() < 2.5
    assert found.residual_mm < 0.3
    assert 0.1 < found.fit_mm < 0.8


def test_betas_are_converted_both_ways():
    model, hand, betas = open_hand(), resampled(), drawn(1)
    theirs = torch.from_numpy(open_betas(betas.numpy()))
    assert (converted_betas(theirs, model, hand) - betas).abs().max() < 0.15
    back = converted_betas(betas[None], hand, model)[0]
    assert (back - theirs).abs().max() < 0.5  # proportions that hardly show are free
    apart_mm = 1e3 * (model.measures.lengths(back) - hand.measures.lengths(betas))
    assert apart_mm.abs().max() < 0.2


def test_a_strangers_betas_give_the_same_lengths():
    other, model, betas = someone(), open_hand(), drawn(1)
    theirs = converted_betas(betas, other.model, model)
    truth = model.measures.lengths(other.betas + betas @ other.basis.mT)
    assert (1e3 * (model.measures.lengths(theirs) - truth)).abs().max() < 2.5
    assert (converted_betas(theirs, model, other.model) - betas).abs().max() < 0.4


def test_what_cannot_be_carried_over_is_refused():
    with pytest.raises(ValueError, match="left hand"):
        carried(resampled().mirrored())
    with pytest.raises(ValueError, match="takes 10 betas, got 16"):
        converted_betas(torch.zeros(16).double(), resampled(), open_hand())
