"""Fusion against Bayes' rule and Kalman's update, written out with inverses."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.fusion import (
    CovarianceCalibration,
    FusionConfig,
    combine,
    fit_covariance_calibration,
    fuse,
    likelihoods,
    with_hand_length,
)
from idhand.fusion.fitting import _directions, _Groups
from idhand.fusion.fusing import agreement, posterior
from idhand.hand import ShapePrior

from .conftest import toy_hand

SIZE = 4
EYE = torch.eye(SIZE, dtype=torch.float64)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spread(seed: int, *batch: int, scale: float = 1.0) -> Tensor:
    """Covariances."""
    root = scale * draw(seed, *batch, SIZE, SIZE)
    return root @ root.mT + 0.05 * scale**2 * EYE


UNIT = ShapePrior(mean=torch.zeros(SIZE).double(), covariance=EYE)
PRIOR = ShapePrior(mean=draw(90, SIZE), covariance=spread(91))


def stated_posteriors(n: int, prior: ShapePrior = PRIOR, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Posteriors under the prior of photos that each measure a shape."""
    noise = spread(seed, n)
    covs = torch.linalg.inv(torch.linalg.inv(prior.covariance) + torch.linalg.inv(noise))
    measured = draw(seed + 1, SIZE) + 0.3 * draw(seed + 2, n, SIZE)
    betas = covs @ (
        torch.linalg.inv(noise) @ measured[..., None]
        + (torch.linalg.inv(prior.covariance) @ prior.mean)[..., None]
    )
    return betas[..., 0], covs


@pytest.mark.parametrize("stated", [1.0, 2.5])
def test_a_shared_error_and_a_scale_by_bayes_rule(stated: float) -> None:
    """All photos together measure with error (Σ information / scale)⁻¹ plus the shared one."""
    betas, covs = stated_posteriors(5)
    shared = spread(7, scale=0.4)
    calibration = CovarianceCalibration(model="m", scale=stated, shared=shared, inflation=1.5)
    fused = fuse(
        betas, covs, None, PRIOR, FusionConfig(covariance_calibration=calibration, reweightings=0)
    )
    base = torch.linalg.inv(PRIOR.covariance)
    added = torch.linalg.inv(covs) - base
    L = added.sum(0) / stated
    vector = (torch.linalg.inv(covs) @ betas[..., None])[..., 0] - base @ PRIOR.mean
    measured = torch.linalg.solve(L, vector.sum(0) / stated)
    weight = torch.linalg.inv(torch.linalg.inv(L) + shared)
    covariance = torch.linalg.inv(base + weight)
    assert_close(fused.betas, covariance @ (weight @ measured + base @ PRIOR.mean))
    assert_close(fused.covariance, 1.5 * covariance)
    assert fused.weights.tolist() == [1.0] * 5


def test_posterior_by_inverses() -> None:
    L, vector, shared = spread(0, 3), draw(1, 3, SIZE), spread(2)
    mean, covariance = posterior(L, vector, shared)
    weight = torch.linalg.inv(torch.linalg.inv(L) + shared)
    expected = torch.linalg.inv(EYE + weight)
    assert_close(covariance, expected)
    assert_close(mean[..., None], expected @ weight @ torch.linalg.solve(L, vector[..., None]))
    still, unit = posterior(torch.zeros(SIZE, SIZE).double(), torch.zeros(SIZE).double(), shared)
    assert_close(still, torch.zeros(SIZE).double())
    assert_close(unit, EYE)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_weights_fall_with_the_distance_from_the_others(rounds: int, scale: float) -> None:
    betas, covs = stated_posteriors(7, UNIT)
    betas[2] += 3.0
    betas[5] += 1.2
    photos = likelihoods(betas, covs, UNIT)
    shared = spread(3, scale=0.3)
    config = FusionConfig(reweightings=rounds, disagreement=1.3, drop_below=0.2)
    information = torch.linalg.inv(covs) - EYE
    vector = (torch.linalg.inv(covs) @ betas[..., None])[..., 0]
    common, weights = betas.median(0).values, torch.ones(7).double()
    for _ in range(rounds):
        distances = []
        for L, v in zip(information, vector, strict=True):
            off = torch.linalg.solve(L, v) - common
            distances.append(float(off @ L @ off) / scale)
        usual = max(sorted(distances)[3], float(SIZE))
        weights = [1 / (1 + (d / usual / 1.3) ** 4) for d in distances]
        weights = torch.tensor([w if w >= 0.2 else 0.0 for w in weights]).double()
        L = torch.linalg.inv(EYE + shared) + (weights[:, None, None] * information).sum(0) / scale
        common = torch.linalg.solve(L, (weights[:, None] * vector).sum(0) / scale)
    assert_close(agreement(photos, config, scale, shared), weights)
    assert weights[2] == 0
    assert agreement(photos[torch.tensor([1, 2])], config, scale, shared).tolist() == [1, 1]


def test_scatter_stands_in_for_missing_covariances() -> None:
    """The covariance of each photo is that of all about their mean, the prior as one more."""
    betas, _ = stated_posteriors(9)
    off = betas - betas.mean(0)
    covs = (off.mT @ off + PRIOR.covariance) / 9
    without = likelihoods(betas, None, PRIOR)
    given = likelihoods(betas, covs.expand(9, -1, -1), PRIOR)
    for name, value in vars(without).items():
        if name != "root":  # its columns may change sign
            assert_close(value, vars(given)[name])
    assert_close(without.root @ without.root.mT, given.root @ given.root.mT)


def test_a_likelihood_is_what_a_photo_adds() -> None:
    """Nothing in directions in which it is less sure than the prior."""
    betas = draw(0, SIZE)[None]
    covs = torch.diag(torch.tensor([0.25, 0.5, 1.0, 4.0]).double())[None]
    photo = likelihoods(betas, covs, UNIT)
    information = torch.tensor([3.0, 1, 0, 0]).double()
    assert_close(photo.information[0], torch.diag(information))
    assert_close(photo.vector[0], betas[0] * torch.tensor([4.0, 2, 0, 0]).double())
    pseudo_inverse = torch.diag(torch.tensor([1 / 3, 1, 0, 0]).double())
    assert_close(photo.root[0] @ photo.root[0].mT, pseudo_inverse)
    assert_close(photo.betas, betas)


def test_the_paper_s_weights() -> None:
    betas, covs = stated_posteriors(4)
    confidence = torch.tensor([0.0, 3.0, 1.0, -1.0]).double()

    def weights(config: FusionConfig) -> list[float]:
        return combine(likelihoods(betas, covs, PRIOR), confidence, PRIOR, config).weights.tolist()

    assert weights(FusionConfig(mode="mean")) == [1, 1, 1, 1]
    assert weights(FusionConfig(mode="median")) == [1, 1, 1, 1]
    assert weights(FusionConfig(mode="top_k", top_k=2)) == [0, 1, 1, 0]
    assert weights(FusionConfig(mode="top_k")) == [1, 1, 1, 1], "ten of four are all"
    soft = weights(FusionConfig(mode="softmax", temperature=2.0))
    assert soft == pytest.approx(torch.tensor([-1.5, 0, -1, -2]).exp().tolist())
    default = weights(FusionConfig(mode="softmax"))
    assert default == pytest.approx(torch.tensor([-3.0, 0, -2, -4]).exp().tolist())


def test_a_ruler_by_kalman_s_update() -> None:
    hand, betas, covariance = toy_hand(), 0.3 * draw(0, SIZE), spread(1, scale=0.5)
    length = hand.measures.lengths(betas)[0] + 0.004
    once, left = with_hand_length(betas, covariance, hand, length, sigma_m=0.003, iterations=1)
    J = hand.measures.derivatives(betas)[0]
    gain = covariance @ J / (J @ covariance @ J + 0.003**2)
    assert_close(once, betas + 0.004 * gain)
    assert_close(left, covariance - torch.outer(gain, J @ covariance))
    again, left = with_hand_length(betas, covariance, hand, length)
    J = hand.measures.derivatives(
        with_hand_length(betas, covariance, hand, length, iterations=1)[0]
    )[0]
    deviation = float((J @ left @ J).sqrt())
    assert deviation == pytest.approx(0.002, rel=0.05)
    known = covariance @ J / (J @ covariance @ J)  # as if the ruler were exact
    exact, _ = with_hand_length(betas, covariance, hand, length, sigma_m=1e-9, iterations=6)
    assert float(hand.measures.lengths(exact)[0]) == pytest.approx(float(length), abs=1e-7)
    assert float((again - exact).norm() / (0.004 * known).norm()) < 0.5


def test_a_calibration_depends_on_its_seed_alone() -> None:
    people = [stated_posteriors(6, UNIT, seed=10 * k) for k in range(5)]
    truth = torch.stack([draw(10 * k + 1, SIZE) for k in range(5)])

    def fitted(**options: object) -> CovarianceCalibration:
        return fit_covariance_calibration(people, truth, UNIT, toy_hand(), **options)  # pyright: ignore

    first, other = fitted(sizes=(3,)), fitted(sizes=(3,), seed=1)
    assert first.scale != other.scale
    assert (first.model, first.inflation >= 1.0) == ("toy", True)
    whole, more = fitted(sizes=(6,)), fitted(sizes=(6, 100))
    assert (whole.scale, whole.inflation) == (more.scale, more.inflation), "there are only six"
    assert torch.equal(whole.shared, more.shared)
    with pytest.raises(ValueError, match="5 people or more, there are 4"):
        fit_covariance_calibration(people[:4], truth[:4], UNIT, toy_hand())


def test_what_is_no_covariance_is_refused() -> None:
    fine = CovarianceCalibration(model="m", scale=1.0, shared=EYE)
    assert fine.inflation == 1.0
    for scale in (0.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="the scale of covariances must be positive"):
            replace(fine, scale=scale)
    lopsided = EYE.clone()
    lopsided[0, 1] = 0.5
    for shared in (lopsided, EYE * float("nan"), EYE - 1.1 * torch.diag(EYE[0])):
        with pytest.raises(ValueError, match="is not a covariance matrix"):
            replace(fine, shared=shared)
    assert replace(fine, shared=EYE - torch.diag(EYE[0])).shared[0, 0] == 0, "known exactly"


def test_impossible_modes_are_refused() -> None:
    """The check of types is off outside of the tests; there a user meets this sentence."""
    config = SimpleNamespace(**{**vars(FusionConfig()), "mode": "best"})
    with pytest.raises(
        ValueError, match=r"mode must be one of mean, median, top_k, .*; got 'best'"
    ):
        FusionConfig.__post_init__(config)  # pyright: ignore[reportArgumentType]
    for temperature in (0.0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="temperature must be positive"):
            FusionConfig(temperature=temperature)
    assert FusionConfig(top_k=1).top_k == 1


def test_directions_of_the_shared_error_come_from_the_chosen_people_s_largest_groups() -> None:
    groups = _Groups(
        information=spread(0, 4),
        vector=draw(1, 4, SIZE),
        goal=draw(2, 4, SIZE),
        person=torch.tensor([0, 0, 1, 1]),
        is_largest=torch.tensor([False, True, False, True]),
    )
    precision = EYE + groups.information[1]
    off = torch.linalg.solve(precision, groups.vector[1]) - groups.goal[1]
    axes = _directions(groups, groups.person == 0)
    assert_close(axes[:, -1].abs(), off.abs() / off.norm())
