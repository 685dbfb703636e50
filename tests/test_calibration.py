import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.calibration import Anchor, Calibration, calibrate_shape, surprise_at
from idhand.geometry import project, rotation_from_vector
from idhand.identity import Identity, measure
from idhand.refinement import ObjectiveConfig, Observations, State
from idhand.refinement.objective import Objective
from idhand.refinement.residuals import BONE_END, BONE_START
from idhand.refinement.robust import redescending

K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
ZERO_BIAS = torch.zeros(21, 3, dtype=torch.float64)


def draw(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def photos(
    rng: torch.Generator, n: int, betas: Tensor, bias: Tensor
) -> tuple[Observations, Tensor]:
    """One person's hand in n poses, marked with noise, and with the person's own bias."""
    config = ObjectiveConfig()
    o = Objective(
        model=open_hand(),
        config=config,
        prior=open_hand().prior,
    )
    space = o.model.pose_space
    angles = space.mean + 0.7 * draw(rng, n, 26) @ torch.linalg.cholesky(space.covariance).T
    state = State(
        R=rotation_from_vector(draw(rng, n, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]) + 0.04 * draw(rng, n, 3),
        angles=angles.clamp(space.lower, space.upper),
        betas=betas.expand(n, -1),
        bias=bias.expand(n, -1, -1),
    )
    *_, points = o.kinematics(state)
    sigma = (config.sigma_px * 600 / state.wrist[:, 2] * 0.187)[:, None].expand(n, 21)
    unit = torch.nn.functional.normalize
    bones = unit(points[:, BONE_END] - points[:, BONE_START], dim=-1)
    seen = Observations(
        points_px=project(points, K) + sigma[..., None] * draw(rng, n, 21, 2),
        sigma_px=sigma,
        directions=unit(bones + config.sigma_direction * draw(rng, n, 20, 3), dim=-1),
        sigma_direction=torch.full((n, 20), config.sigma_direction, dtype=torch.float64),
        K=K.expand(n, 3, 3),
        world=points,
    )
    return seen, points


def hand_length(result: Calibration) -> tuple[float, float]:
    """Estimate and standard deviation, mm."""
    measures = open_hand().measures
    D = measures.derivatives(result.betas)[0]
    deviation = float((D @ result.covariance @ D).sqrt())
    return 1e3 * float(measures.lengths(result.betas)[0]), 1e3 * deviation


def test_intervals_cover_the_truth_with_landmark_biases_that_do_not_average_out() -> None:
    rng = torch.Generator().manual_seed(0)
    spread = torch.linalg.cholesky(open_hand().landmarks.bias_covariance)
    white = []
    for _ in range(12):
        betas = draw(rng, 16)
        bias = (spread @ draw(rng, 63)).view(21, 3)
        seen, _ = photos(rng, 12, betas, bias)
        result = calibrate_shape(open_hand(), seen)
        factor = torch.linalg.cholesky(result.covariance)
        off = (result.betas - betas)[:, None]
        white.append(torch.linalg.solve_triangular(factor, off, upper=False)[:, 0])
    z = torch.stack(white)
    assert 0.8 < float(z.std()) < 1.25
    share = float((z.abs() < 1.96).double().mean())
    assert 0.88 < share < 0.985, share


def test_many_photos_do_not_talk_the_size_prior_away() -> None:
    rng = torch.Generator().manual_seed(1)
    betas = torch.zeros(16).double()
    betas[0] = 1.5
    population_mm = 11.8
    for n in (4, 40):
        seen, _ = photos(rng, n, betas, ZERO_BIAS)
        _, deviation = hand_length(calibrate_shape(open_hand(), seen))
        assert deviation > 0.8 * population_mm, "size cannot be seen, so its spread stays"


def test_noise_pulls_the_size_to_neither_side() -> None:
    """Well-seen proportions must not push towards small hands (see Objective.shape_residual)."""
    rng = torch.Generator().manual_seed(2)
    spread = torch.linalg.cholesky(open_hand().landmarks.bias_covariance)
    off = []
    for _ in range(10):
        betas = draw(rng, 16)
        betas[:4] = 0
        seen, _ = photos(rng, 10, betas, (spread @ draw(rng, 63)).view(21, 3))
        off.append(hand_length(calibrate_shape(open_hand(), seen))[0] - 187.2)
    assert abs(sum(off) / len(off)) < 4.0


def test_a_ruler_fixes_the_size_but_not_the_proportions() -> None:
    rng = torch.Generator().manual_seed(3)
    betas = 0.8 * draw(rng, 16)
    betas[0] = -1.5
    seen, _ = photos(rng, 8, betas, ZERO_BIAS)
    measures = open_hand().measures
    truth = float(measures.lengths(betas)[0])
    free = calibrate_shape(open_hand(), seen)
    tied = calibrate_shape(open_hand(), seen, anchor=Anchor(hand_length=truth, sigma=0.002))
    length, deviation = hand_length(tied)
    assert abs(length - 1e3 * truth) < 3.0
    assert deviation < 2.1
    assert hand_length(free)[1] > 4 * deviation


def test_a_photo_of_a_grossly_different_hand_loses_its_weight() -> None:
    rng = torch.Generator().manual_seed(4)
    own, _ = photos(rng, 14, torch.zeros(16).double(), ZERO_BIAS)
    odd_betas = torch.zeros(16).double()
    odd_betas[1:7] = torch.tensor([4.0, -3, 3, 5, -5, 5]).double()
    odd, _ = photos(rng, 1, odd_betas, ZERO_BIAS)
    given = {name: values for name, values in vars(own).items() if values is not None}
    seen = Observations(**{k: torch.cat((v, vars(odd)[k])) for k, v in given.items()})
    result = calibrate_shape(open_hand(), seen)
    assert result.weights[:14].min() > 0.7
    assert result.weights[14] < 0.3


def test_a_failed_detection_is_dropped() -> None:
    rng = torch.Generator().manual_seed(5)
    seen, _ = photos(rng, 8, torch.zeros(16).double(), ZERO_BIAS)
    noise = 120 * draw(rng, 21, 2)
    seen.points_px[3] = seen.points_px[3] + noise
    result = calibrate_shape(open_hand(), seen)
    assert result.weights[3] == 0
    assert result.weights[[0, 1, 2, 4, 5, 6, 7]].min() > 0.7


def test_one_photo_and_the_same_answer_twice() -> None:
    rng = torch.Generator().manual_seed(6)
    seen, _ = photos(rng, 1, torch.zeros(16).double(), ZERO_BIAS)
    first = calibrate_shape(open_hand(), seen)
    second = calibrate_shape(open_hand(), seen)
    assert torch.equal(first.betas, second.betas)
    assert torch.linalg.eigvalsh(first.covariance).min() > 0


def test_an_anchor_checks_itself() -> None:
    assert Anchor.from_mm(None) is None
    anchor = Anchor.from_mm(92.0)
    assert anchor is not None, "a child's hand"
    assert (anchor.hand_length, anchor.sigma) == pytest.approx((0.092, 0.002))
    for length in (79.0, 301.0, float("nan"), 0.187):
        with pytest.raises(ValueError, match="cannot be"):
            Anchor.from_mm(length)
    for sigma in (0.0, -1.0, 100.0, float("nan")):
        with pytest.raises(ValueError, match="standard deviation of the hand length"):
            Anchor.from_mm(None, sigma)


def test_rare_readings_surprise() -> None:
    """By the prior's own deviation of the length, along the slope."""
    model = open_hand()
    mean = float(model.measures.lengths(model.prior.mean)[0])
    slope = model.measures.derivatives(model.prior.mean)[0]
    spread = float((slope @ model.prior.covariance @ slope) ** 0.5)
    anchor = Anchor(hand_length=mean - 4 * spread, sigma=1e-6)
    assert anchor.surprise(model, model.prior) == pytest.approx((4.0, mean, spread), rel=1e-6)
    person = Identity(
        model=model.name,
        betas=model.prior.mean.numpy(),
        covariance=model.prior.covariance.numpy(),
        measurements=measure(model, model.prior.mean.numpy(), model.prior.covariance.numpy()),
        photos=(),
        K_known="all",
        sides=("right",),
    )
    sentence = surprise_at(anchor, model, model.prior, person)
    assert sentence is not None
    assert "4.0 standard deviations" in sentence
    assert f"the profile has {1e3 * mean:.0f} mm" in sentence
    usual = Anchor(hand_length=mean + 2 * spread, sigma=0.002)
    assert surprise_at(usual, model, model.prior, person) is None


def test_weights_fall_with_the_fourth_power() -> None:
    found = redescending(torch.tensor([0.0, 1.0, 2.0]), drop_below=0.1)
    assert_close(found, torch.tensor([1.0, 0.5, 0.0]))
