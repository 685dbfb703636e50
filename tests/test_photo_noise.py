"""Errors of a photo's points with their correlations: the law that they follow, and their file."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from idhand.assets import open_hand
from idhand.calibration import (
    CalibrationConfig,
    calibrate_shape,
    calibration_with_both_nets,
    calibration_with_network,
)
from idhand.geometry import rotation_from_vector
from idhand.refinement import Objective, ObjectiveConfig, Trust, closed_form_start
from idhand.refinement.photo_noise import NUM_RESIDUALS, PhotoNoise, upright

from .test_calibration_formulas import draw, seen_photos

MODEL = open_hand()
BIAS = MODEL.landmarks.bias_covariance


def noise(covariance: torch.Tensor) -> PhotoNoise:
    return PhotoNoise(covariance=covariance, bias_covariance=BIAS)


def independent(scale: float = 1.0) -> PhotoNoise:
    return noise(scale * torch.eye(NUM_RESIDUALS).double())


def test_independent_errors_of_the_stated_size_are_the_objective_itself() -> None:
    seen = seen_photos(3)
    objective = Objective(
        model=MODEL, config=ObjectiveConfig(), prior=MODEL.prior, shared_priors=False
    )
    state = closed_form_start(objective, seen, 0.3 * draw(5, 3, 16))
    state = replace(state, bias=0.001 * draw(6, 3, 21, 3), angles=state.angles + 0.6)
    theirs = objective.linearise(state, seen, shape=True, bias=True)
    ours = independent().linearise(objective, state, seen)
    assert_close(ours.gradient, theirs.gradient)
    assert_close(ours.hessian, theirs.hessian)


def test_turned_picture_has_the_same_residuals() -> None:
    R = rotation_from_vector(draw(7, 4, 3))
    along = -(upright(R) @ R)[:, :2, 1]
    assert_close(along[:, 1], torch.zeros(4).double())
    assert bool((along[:, 0] > 0).all())


def test_calibration_by_independent_measured_errors_is_that_without() -> None:
    seen, tight = seen_photos(4), CalibrationConfig(tolerance=1e-12, max_iterations=100)
    plain = calibrate_shape(MODEL, seen, config=tight)
    same = calibrate_shape(MODEL, seen, config=replace(tight, noise=independent()))
    assert_close(same.betas, plain.betas, atol=2e-4, rtol=0)
    assert_close(same.covariance, plain.covariance, atol=1e-4, rtol=1e-3)
    doubted = calibrate_shape(MODEL, seen, config=replace(tight, noise=independent(100.0)))
    assert doubted.betas.norm() < plain.betas.norm()
    assert doubted.covariance.trace() > 1.1 * plain.covariance.trace()


def test_file_gives_back_what_was_measured() -> None:
    root = draw(8, NUM_RESIDUALS, NUM_RESIDUALS)
    kept = noise(root @ root.mT + torch.eye(NUM_RESIDUALS).double())
    found = PhotoNoise.from_json(kept.as_json())
    assert_close(found.covariance, kept.covariance, atol=6e-6, rtol=0)
    assert_close(found.bias_covariance, BIAS, atol=6e-12, rtol=0)
    larger = kept.inflated(photo=3.0, bias=2.0)
    assert_close(larger.covariance, 3 * kept.covariance)
    assert_close(larger.bias_covariance, 2 * BIAS)


@pytest.mark.parametrize("change", [lambda c: -c, lambda c: c.triu() + c])
def test_matrix_that_is_no_covariance_is_refused(change) -> None:
    full = torch.ones(NUM_RESIDUALS, NUM_RESIDUALS).double() + torch.eye(NUM_RESIDUALS)
    with pytest.raises(ValueError, match="the covariance of points must be a positive definite"):
        noise(change(full.double()))


def test_default_is_of_landmarks_and_the_other_fits_the_networks_points_before() -> None:
    default, both = calibration_with_network(), calibration_with_both_nets()
    assert default.network is None
    assert default.trust == Trust(points="landmarks", directions="landmarks")
    assert both.network is not None
    for config in (default, both, both.network):
        assert config.noise is not None
        assert config.objective.observation_weight == 1.0


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "tools"))
    yield importlib.import_module("build_noise")
    for name in ("build_noise", "build_landmarks"):
        sys.modules.pop(name, None)


def test_tool_finds_the_noise_that_was_drawn(tool) -> None:
    """A common error of all points, five times the others', and biases of 3 mm."""
    rng = np.random.default_rng(0)
    axis = np.ones(NUM_RESIDUALS) / NUM_RESIDUALS**0.5
    people = []
    for _ in range(40):
        shared = np.concatenate((rng.normal(size=16), 0.003 * rng.normal(size=63)))
        of_pose = rng.normal(size=(6, NUM_RESIDUALS, 8))
        of_shared = rng.normal(size=(6, NUM_RESIDUALS, 79)) * np.r_[np.ones(16), np.full(63, 300)]
        errors = rng.normal(size=(6, NUM_RESIDUALS)) + 5 * rng.normal(size=(6, 1)) * axis
        residual = -np.einsum("pru,u->pr", of_shared, shared) + errors
        values = (
            residual,
            of_pose,
            of_shared,
            np.zeros((6, 8)),
            np.tile(1e-3 * np.eye(8), (6, 1, 1)),
        )
        names = ("residual", "of_pose", "of_shared", "pose_gradient", "pose_hessian")
        parts = {name: torch.from_numpy(v) for name, v in zip(names, values, strict=True)}
        ones = torch.ones(6).double()
        people.append(tool.Person(**parts, weights=ones, shared=torch.zeros(79).double()))
    found = tool.measured([people], 4, 1e-5 * torch.eye(63).double())
    along = torch.from_numpy(axis)
    assert float(along @ found.covariance @ along) == pytest.approx(26, rel=0.25)
    others = (found.covariance.trace() - along @ found.covariance @ along) / (NUM_RESIDUALS - 1)
    assert float(others) == pytest.approx(1, rel=0.1)
    deviation = (found.bias_covariance.diagonal().mean() - tool.BIAS_FLOOR_SD_M**2).sqrt()
    assert float(deviation) == pytest.approx(0.003, rel=0.15)
