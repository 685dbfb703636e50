"""Recalibrated deviations: laws of the formula, fits to errors of known size, damaged files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from idhand.records import Detection
from idhand.refinement.deviation_fitting import Errors, covered, fitted, fitted_calibration
from idhand.refinement.deviations import (
    AS_STATED,
    Cue,
    DeviationCalibration,
    Recalibration,
    Stated,
    Widening,
    deviations_file,
    misfit_m,
    visibility_of,
)
from idhand.refinement.uncertainty import Uncertainty

PLAIN = Widening(factor=1.0, floor=0.0, cues={})
MISFIT = Cue(power=0.5, usual=0.004, least=0.001, most=0.016)
HIDDEN = Cue(power=0.3, usual=0.5, least=0.05, most=1.0)
CALIBRATION = DeviationCalibration(
    depth=Widening(factor=3.0, floor=0.02, cues={"misfit": MISFIT, "hidden": HIDDEN}),
    keypoints=Widening(factor=2.0, floor=0.001, cues={"misfit": MISFIT, "hidden_point": HIDDEN}),
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def stated(num: int, seed: int = 0) -> Stated:
    of = Uncertainty(
        keypoints_pose=(0.002 + 0.003 * uniform(seed, num, 21)).square(),
        keypoints_shape=(0.001 * uniform(seed + 1, num, 21)).square(),
        depth_pose=(0.005 + 0.01 * uniform(seed + 2, num)).square(),
        depth_shape=(0.01 * uniform(seed + 3, num)).square(),
    )
    return Stated(
        uncertainty=of,
        depth_m=0.3 + uniform(seed + 4, num),
        size=0.9 + 0.2 * uniform(seed + 5, num),
        visible=uniform(seed + 6, num, 21),
        misfit_m=0.001 * (uniform(seed + 7, num) * 2.7).exp(),
    )


def test_a_variance_by_hand() -> None:
    """Stated 1 %, misfit 16 mm at a usual 4: twice the factor 3, with a floor of 2 %; misfits
    beyond the range count as its ends."""
    seen = replace(
        stated(4),
        misfit_m=torch.tensor([0.016, 0.004, 0.5, 1e-5]).double(),
        visible=torch.full((4, 21), 0.5).double(),
    )
    found = CALIBRATION.depth.variance(torch.full((4, 1), 1e-4).double(), seen)[:, 0]
    factors = torch.tensor([6.0, 3.0, 6.0, 1.5]).double()
    torch.testing.assert_close(found, factors.square() * 1e-4 + 0.02**2)


def test_the_misfit_is_the_residual_at_the_hands_distance() -> None:
    """5 px at half a metre by a focal length of 1000 px are 2.5 mm; of a hand of 1.25 times the
    mean size, 2 mm of a mean one's."""
    K = torch.diag(torch.tensor([1000.0, 1000.0, 1.0])).double()[None]
    one = torch.ones(1).double()
    found = misfit_m(5 * one, K, 0.5 * one, 1.25 * one)
    assert float(found) == pytest.approx(0.002)


def test_plain_numbers_change_nothing() -> None:
    seen = stated(20)
    plain = DeviationCalibration(depth=PLAIN, keypoints=PLAIN)
    assert isinstance(plain, Recalibration)
    for found, expected in zip(plain.deviations(seen), AS_STATED.deviations(seen), strict=True):
        torch.testing.assert_close(found[..., 1:], expected[..., 1:])
    assert (plain.deviations(seen)[0][:, 0] == seen.uncertainty.keypoints_shape[:, 0].sqrt()).all()


@pytest.mark.parametrize("what", ["visible", "misfit_m"])
def test_knowing_less_never_makes_deviations_smaller(what: str) -> None:
    seen = stated(200)
    less = replace(seen, **{what: getattr(seen, what) * (0.7 if what == "visible" else 1.5)})
    for more, fewer in zip(CALIBRATION.deviations(seen), CALIBRATION.deviations(less), strict=True):
        assert (fewer >= more - 1e-12).all()
        assert (fewer > more).any()


def test_the_shapes_part_is_added_as_it_is() -> None:
    """Variances of known shape plus what the shape brings."""
    seen = stated(30)
    of = seen.uncertainty
    nothing = (torch.zeros_like(of.keypoints_shape), torch.zeros_like(of.depth_shape))
    exact = replace(of, keypoints_shape=nothing[0], depth_shape=nothing[1])
    found = CALIBRATION.deviations(seen)
    known = CALIBRATION.deviations(replace(seen, uncertainty=exact))
    for both, pose, shape in zip(found, known, (of.keypoints_shape, of.depth_shape), strict=True):
        torch.testing.assert_close(both.square(), pose.square() + shape)


def test_a_hand_twice_as_far_is_twice_as_uncertain() -> None:
    """Depth deviations are shares of the depth, keypoints' do not depend on it."""
    seen = stated(10)
    of = replace(
        seen.uncertainty,
        depth_pose=4 * seen.uncertainty.depth_pose,
        depth_shape=4 * seen.uncertainty.depth_shape,
    )
    far = replace(seen, depth_m=2 * seen.depth_m, uncertainty=of)
    near, there = CALIBRATION.deviations(seen), CALIBRATION.deviations(far)
    torch.testing.assert_close(there[1], 2 * near[1])
    torch.testing.assert_close(there[0], near[0])


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_known_factor_is_recovered(factor: float) -> None:
    """Normal errors, all of them off by one factor, with a cue that says nothing."""
    variance = (0.01 + 0.05 * uniform(1, 20000, 1)).square()
    errors = Errors(
        off=(normal(2, 20000, 1) * variance.sqrt() * factor).abs(),
        variance=variance,
        cues={"hidden": 0.1 + uniform(3, 20000, 1)},
    )
    found = fitted(errors)
    assert found.factor == pytest.approx(factor, rel=0.06)
    assert found.floor < 0.01 * factor
    assert found.cues["hidden"].power < 0.03


def test_factor_floor_and_powers_are_recovered() -> None:
    """And in thirds of the cue and of what is stated, of others than were fitted to, intervals hold
    68, 95 and 99.7 % within 3 points."""
    cue = Cue(power=0.5, usual=0.3, least=0.01, most=1.0)
    true = Widening(factor=3.0, floor=0.04, cues={"hidden": cue})

    def drawn(seed: int) -> tuple[Errors, Tensor]:
        variance = (0.01 + 0.05 * uniform(seed, 20000, 1)).square()
        hidden = 0.01 + 0.99 * uniform(seed + 1, 20000, 1)
        grown = cue.growth(hidden)
        std = ((true.factor * grown).square() * variance + true.floor**2).sqrt()
        off = (normal(seed + 2, 20000, 1) * std).abs()
        return Errors(off=off, variance=variance, cues={"hidden": hidden}), std

    found = fitted(drawn(10)[0])
    assert found.cues["hidden"].power == pytest.approx(0.5, abs=0.05)
    at_usual = found.factor * float(found.cues["hidden"].growth(torch.tensor(0.3)))
    assert at_usual == pytest.approx(3.0, rel=0.1)
    assert found.floor == pytest.approx(0.04, rel=0.15)
    others, _ = drawn(20)
    grown = found.cues["hidden"].growth(others.cues["hidden"])
    std = ((found.factor * grown).square() * others.variance + found.floor**2).sqrt()
    z = (others.off / std)[:, 0].numpy()
    for of in (others.cues["hidden"], others.variance):
        for part in np.array_split(of[:, 0].argsort().numpy(), 3):
            assert covered(z[part]) == pytest.approx((0.683, 0.95, 0.997), abs=0.03)


def test_heavy_tails_are_covered_at_three_deviations() -> None:
    """Student's errors with 3 degrees of freedom: deviations that fit the core would leave 4 %
    beyond three, and those that hold them are too wide for the core."""
    n = 20000
    off = (normal(1, n, 1) / normal(2, n, 3).square().mean(-1, keepdim=True).sqrt()).abs()
    variance = torch.ones_like(off)
    found = fitted(Errors(off=off, variance=variance, cues={"hidden": 0.1 + uniform(3, n, 1)}))
    within = covered((off / (found.factor**2 + found.floor**2) ** 0.5).numpy())
    assert 0.75 < within[0] < 0.88
    assert within[2] > 0.98


def test_a_calibration_of_drawn_hands_covers_others() -> None:
    """Hands whose errors follow a calibration: what is fitted to some holds for others."""

    def drawn(seed: int) -> tuple[Stated, Tensor, Tensor]:
        seen = stated(3000, seed)
        nothing = torch.zeros(3000, 21).double()
        of = replace(seen.uncertainty, keypoints_shape=nothing, depth_shape=nothing[:, 0])
        seen = replace(seen, uncertainty=of)
        each, depth = CALIBRATION.deviations(seen)
        off = (normal(seed + 50, 3000, 21, 3) / 3**0.5 * each[..., None]).norm(dim=-1)
        return seen, normal(seed + 51, 3000) * depth, off

    calibration = fitted_calibration(*drawn(0))
    seen, depth_off, off = drawn(100)
    each, depth = calibration.deviations(seen)
    within = covered((depth_off / depth).numpy())
    assert within == pytest.approx((0.683, 0.95, 0.997), abs=0.03)
    within = covered((off / each)[:, 1:].numpy().ravel())
    assert within[0] == pytest.approx(0.68, abs=0.05)  # of distances that are nearly isotropic
    assert within[1] > 0.92
    assert (each[:, 0] == 0).all()


def test_too_few_or_broken_errors_are_refused() -> None:
    few = torch.ones(10).double()
    with pytest.raises(ValueError, match="10 hands are too few"):
        Errors(off=few[:, None], variance=few[:, None], cues={})
    many = torch.ones(300).double()
    with pytest.raises(ValueError, match="variance must be finite numbers of 0 or more"):
        Errors(off=many[:, None], variance=-many[:, None], cues={})


# ------------------------------------------------------------------------------------------ files


def test_files_come_back_as_they_were(tmp_path: Path) -> None:
    path = deviations_file(tmp_path / "some.net.safetensors")
    assert path.name == "some.net.deviations.json"
    calibration = replace(CALIBRATION, notes={"people": 3})
    calibration.save(path)
    assert DeviationCalibration.load(path) == calibration


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("depth", "factor"), -1.0, "factor must be a number from 0 to 1000, got -1"),
        (("depth", "factor"), 1e9, "factor must be a number from 0 to 1000"),
        (("keypoints", "floor"), float("nan"), "floor must be a number|not a number|NaN"),
        (("keypoints", "floor"), "some", "could not convert"),
        (("depth", "cues"), {"moon": {}}, "there is no cue 'moon'; known are misfit"),
        (("depth", "cues"), None, "not iterable"),
        (("depth", "cues", "misfit", "least"), 0.01, "least, usual and most must be"),
        (("depth", "cues", "misfit", "power"), -0.5, "power must be a number from 0 to 1000"),
    ],
)
def test_damaged_numbers_are_refused_in_a_sentence(
    tmp_path: Path, place: tuple[str, ...], value: Any, sentence: str
) -> None:
    path = tmp_path / "a.deviations.json"
    CALIBRATION.save(path)
    document = json.loads(path.read_text())
    inner = document
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=sentence) as caught:
        DeviationCalibration.load(path)
    assert str(path) in str(caught.value)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        DeviationCalibration.load(path)
    path.write_text('{"format": "idhand-profile", "version": 1}')
    with pytest.raises(ValueError, match="not"):
        DeviationCalibration.load(path)
    CALIBRATION.save(path)
    document = json.loads(path.read_text())
    del document["keypoints"]
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="keypoints"):
        DeviationCalibration.load(path)


@pytest.mark.parametrize(("score", "expected"), [(0.8, 0.8), (1.5, 1.0), (-0.1, 0.0)])
def test_the_score_says_what_is_visible_within_the_picture(score: float, expected: float) -> None:
    seen = Detection(
        is_right=True,
        score=score,
        bbox_px=np.zeros(4),
        landmarks_px=np.zeros((21, 2)),
        landmarks_z_px=np.zeros(21),
        landmarks_world=np.zeros((21, 3)),
        confidence=np.full(21, 0.5),
    )
    assert (visibility_of(seen) == expected).all()
    outside = np.arange(21) < 4
    found = visibility_of(replace(seen, outside=outside))
    assert (found == np.where(outside, 0.0, expected)).all()
