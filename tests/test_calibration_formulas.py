"""Calibration against the whole joint problem, written out without eliminating anything."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.calibration import (
    Anchor,
    Calibration,
    CalibrationConfig,
    _weighted_median,
    calibrate_shape,
)
from idhand.geometry import rotation_from_vector
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    closed_form_start,
    solve,
)

from .test_calibration import photos

NUM_POSE, NUM_BETAS, NUM_BIAS = 32, 16, 63
ANCHOR = Anchor(hand_length=0.2, sigma=0.003)
SETTLED = CalibrationConfig(tolerance=1e-10, max_iterations=200)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seen_photos(n: int, seed: int = 0) -> Observations:
    rng = torch.Generator().manual_seed(seed)
    return photos(rng, n, 0.7 * draw(seed, 16), 0.002 * draw(seed + 1, 21, 3))[0]


def objective(*, shared_priors: bool) -> Objective:
    model = open_hand()
    return Objective(
        model=model, config=ObjectiveConfig(), prior=model.prior, shared_priors=shared_priors
    )


def joint_problem(
    result: Calibration, seen: Observations, anchor: Anchor | None
) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian over every photo's pose, then betas and bias."""
    n, weights = len(result.weights), result.weights.clamp_min(1e-6)
    photo = objective(shared_priors=False).linearise(result.states, seen, shape=True, bias=True)
    shared = n * NUM_POSE + torch.arange(NUM_BETAS + NUM_BIAS)
    size = n * NUM_POSE + NUM_BETAS + NUM_BIAS
    g, H = torch.zeros(size).double(), torch.zeros(size, size).double()
    for k in range(n):
        at = torch.cat((k * NUM_POSE + torch.arange(NUM_POSE), shared))
        g[at] += weights[k] * photo.gradient[k]
        H[at[:, None], at] += weights[k] * photo.hessian[k]
    o = objective(shared_priors=True)
    measures = o.model.measures

    def priors(unknowns: Tensor) -> Tensor:
        """Residuals in units of their deviations, so that the cost is half their square."""
        betas, bias = unknowns[:NUM_BETAS], unknowns[NUM_BETAS:]
        off = o.shape_residual(betas[None])[0][0]
        parts = [
            torch.linalg.cholesky(o.prior.precision).mT @ off,
            torch.linalg.cholesky(o.bias_precision).mT @ bias,
        ]
        if anchor is not None:
            length = measures.lengths(betas)[measures.names.index("hand_length")]
            parts.append((length - anchor.hand_length)[None] / anchor.sigma)
        return torch.cat(parts)

    unknowns = torch.cat((result.betas, result.bias.flatten()))
    J = torch.autograd.functional.jacobian(priors, unknowns)
    assert isinstance(J, Tensor)
    g[shared] += J.mT @ priors(unknowns)
    H[shared[:, None], shared] += J.mT @ J
    return g, H


@pytest.mark.parametrize("anchor", [None, ANCHOR])
def test_the_shape_is_the_best_of_all_photos_with_its_covariance(anchor: Anchor | None) -> None:
    seen = seen_photos(4)
    result = calibrate_shape(open_hand(), seen, anchor=anchor, config=SETTLED)
    g, H = joint_problem(result, seen, anchor)
    step = torch.linalg.solve(H, g)
    deviation = torch.linalg.inv(H).diagonal().sqrt()
    assert float((step / deviation).abs().max()) < 0.02, "no step leads further down"
    whole = torch.linalg.inv(H)[4 * NUM_POSE :, 4 * NUM_POSE :]
    assert_close(result.covariance, whole[:NUM_BETAS, :NUM_BETAS], rtol=1e-5, atol=1e-10)
    assert_close(result.bias_covariance, whole[NUM_BETAS:, NUM_BETAS:], rtol=1e-5, atol=1e-12)
    assert_close(result.states.betas, result.betas.expand(4, -1))
    assert result.states.bias is not None
    assert_close(result.states.bias, result.bias.expand(4, -1, -1))
    assert 2 < result.iterations < 15, "second order: a wrong slope or cost takes far more rounds"


def test_weights_follow_from_fit_and_disagreement() -> None:
    """One half where a photo fits as badly, or disagrees 0.3 times as much, as is usual."""
    rng = torch.Generator().manual_seed(4)
    own, _ = photos(rng, 9, torch.zeros(16).double(), torch.zeros(21, 3).double())
    odd_betas = torch.zeros(16).double()
    odd_betas[1:7] = torch.tensor([4.0, -3, 3, 5, -5, 5]).double()
    odd, _ = photos(rng, 1, odd_betas, torch.zeros(21, 3).double())
    given = {name: values for name, values in vars(own).items() if values is not None}
    seen = Observations(**{k: torch.cat((v, vars(odd)[k])) for k, v in given.items()})
    seen.points_px[2] += 25 * draw(0, 21, 2)
    config = CalibrationConfig(reweightings=1, poor_fit=1.0, disagreement=0.3, usual_cost=0.5)
    result = calibrate_shape(open_hand(), seen, config=config)
    o = objective(shared_priors=True)
    start = closed_form_start(o, seen, o.prior.mean.expand(10, -1))
    alone = solve(o, seen, start, RefinementConfig(objective=ObjectiveConfig()), shape=True)
    photo = objective(shared_priors=False)
    own_cost = photo.cost(alone.state, seen)
    assert_close(result.fit, own_cost / own_cost.median())
    common_cost = photo.cost(result.states, seen)
    assert_close(result.fit_cost, common_cost)
    excess = (common_cost - own_cost).clamp_min(0)
    first_weights = 1 / (1 + result.fit**4)
    order = excess.argsort()
    half = int((first_weights[order].cumsum(0) < first_weights.sum() / 2).sum())
    assert_close(result.disagreement, excess / excess[order[half]].clamp_min(0.5))
    expected = first_weights / (1 + (result.disagreement / 0.3) ** 4)
    expected = torch.where(expected < 0.15, torch.zeros(10).double(), expected)
    assert_close(result.weights, expected)
    assert result.weights[2] == 0
    assert ((result.weights > 0.2) & (result.weights < 0.9)).sum() >= 2, "neither all nor nothing"


def test_fit_is_relative_however_small_the_costs_are() -> None:
    """Precise photos are weighed among themselves, as all others are."""
    seen = seen_photos(3)
    precise = replace(
        seen, sigma_px=seen.sigma_px * 100, sigma_direction=seen.sigma_direction * 100
    )
    still = CalibrationConfig(max_iterations=0, reweightings=0)
    result = calibrate_shape(open_hand(), precise, config=still)
    o = objective(shared_priors=False)
    cost = o.cost(result.states, precise)
    assert float(cost.median()) < 1, "below one, where a coarse floor would show"
    assert float(result.fit.median()) == pytest.approx(1)


def test_one_photo_with_a_ruler() -> None:
    seen = seen_photos(1)
    result = calibrate_shape(open_hand(), seen, anchor=ANCHOR, config=SETTLED)
    lengths = open_hand().measures.lengths(result.betas)
    at = open_hand().measures.names.index("hand_length")
    assert float(lengths[at]) == pytest.approx(ANCHOR.hand_length, abs=0.003)


def test_iterations_end_at_their_limit() -> None:
    seen, tight = seen_photos(4), CalibrationConfig(reweightings=1, tolerance=1e-12)
    none, one, two = (
        calibrate_shape(open_hand(), seen, config=replace(tight, max_iterations=limit))
        for limit in range(3)
    )
    assert [result.iterations for result in (none, one, two)] == [0, 1, 2]
    assert (none.bias == 0).all(), "nothing has moved"
    assert (one.bias != 0).any()
    assert not torch.equal(one.betas, two.betas)


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [
        ([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], 2.0),
        ([3.0, 1.0, 2.0], [9.0, 1.0, 1.0], 3.0),  # the last one counts most
        ([3.0, 1.0, 2.0], [0.0, 9.0, 1.0], 1.0),
        ([5.0], [1.0], 5.0),
    ],
)
def test_the_weighted_median(values: list[float], weights: list[float], median: float) -> None:
    assert float(_weighted_median(torch.tensor(values), torch.tensor(weights))) == median


def test_photos_that_all_disagree_keep_their_weights() -> None:
    seen = seen_photos(3)
    picky = CalibrationConfig(disagreement=1e-3, usual_cost=1e-6)
    result = calibrate_shape(open_hand(), seen, config=picky)
    assert_close(result.weights, 1 / (1 + (result.fit / 3) ** 4))


def test_a_start_is_where_the_fits_begin() -> None:
    """With no iteration to move it, the common shape is the median of the single fits."""
    seen = seen_photos(3)
    o = objective(shared_priors=True)
    begin = closed_form_start(o, seen, o.prior.mean.expand(3, -1))
    turned = replace(begin, R=rotation_from_vector(torch.tensor([0.3, 0, 0]).double()) @ begin.R)
    still = CalibrationConfig(max_iterations=0, reweightings=0)
    result = calibrate_shape(open_hand(), seen, config=still, start=turned)
    refinement = RefinementConfig(objective=ObjectiveConfig())
    alone: State = solve(o, seen, turned, refinement, shape=True).state
    assert_close(result.betas, alone.betas.median(0).values)
    assert_close(result.states.R, alone.R)
    assert (result.bias == 0).all()
    assert (result.disagreement == 0).all()
    assert result.iterations == 0


def test_a_photo_that_counts_little_has_a_reason() -> None:
    """The larger of the two oddities is named; swapped or missing reasons mislead people."""
    seen = seen_photos(4)
    still = CalibrationConfig(max_iterations=0, reweightings=0)
    result = replace(
        calibrate_shape(open_hand(), seen, config=still),
        weights=torch.tensor([1.0, 0.7, 0.69, 0.1], dtype=torch.float64),
        fit=torch.tensor([9.0, 9.0, 4.04, 1.0], dtype=torch.float64),
        disagreement=torch.tensor([9.0, 9.0, 1.0, 5.06], dtype=torch.float64),
    )
    assert (result.reason(0), result.reason(1)) == ("", "")
    assert result.reason(2) == "doubtful pose (fits 4.0 times worse than usual)"
    odd = "another shape than the other photos (5.1 times the usual disagreement)"
    assert result.reason(3) == odd


def test_rulers_are_checked_and_surprise_by_their_distance() -> None:
    for length in (0.079, 0.301, float("nan")):
        with pytest.raises(ValueError, match="hands are 80 to 300 mm long"):
            Anchor(hand_length=length)
    for sigma in (0.0, -0.001, 0.1, float("nan")):
        with pytest.raises(ValueError, match="more than 0 and less than 100 mm"):
            Anchor(hand_length=0.19, sigma=sigma)
    assert (Anchor(hand_length=0.08).sigma, Anchor(hand_length=0.3).sigma) == (0.002, 0.002)
    assert Anchor.from_mm(None) is None
    assert Anchor.from_mm(190.0) == Anchor(hand_length=0.19, sigma=0.002)
    assert Anchor.from_mm(190.0, 3.0) == Anchor(hand_length=0.19, sigma=0.003)
    with pytest.raises(ValueError, match="got -1 mm"):
        Anchor.from_mm(None, -1.0)
    model = open_hand()
    prior = replace(model.prior, mean=0.3 * draw(0, 16))
    drawn = prior.mean + draw(1, 20_000, 16) @ torch.linalg.cholesky(prior.covariance).mT
    lengths = model.measures.lengths(drawn)[:, model.measures.names.index("hand_length")]
    off, expected, spread = Anchor(hand_length=0.23, sigma=0.01).surprise(model, prior)
    assert expected == pytest.approx(float(lengths.mean()), rel=0.005)
    assert spread == pytest.approx(float(lengths.std()), rel=0.03)
    assert off == pytest.approx((0.23 - expected) / (spread**2 + 0.01**2) ** 0.5)
    low, *_ = Anchor(hand_length=2 * expected - 0.23, sigma=0.01).surprise(model, prior)
    assert low == pytest.approx(off)
