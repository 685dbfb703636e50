"""Fusing shapes of single photos: honest intervals, a floor, wild photos, the ruler, the file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from idhand.assets import open_hand
from idhand.fusion import (
    CovarianceCalibration,
    FusionConfig,
    Likelihoods,
    combine,
    covariance_file,
    covariance_file_name,
    fit_covariance_calibration,
    fuse,
    likelihoods,
    with_hand_length,
)
from idhand.identity import Z95

PRIOR = open_hand().prior
NUM_BETAS = 16
SHARED = torch.diag(torch.linspace(0.02, 0.3, NUM_BETAS, dtype=torch.float64))


def simulated(
    num_people: int, num_photos: int, *, stated: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """True shapes, and what an ideal network that knows the prior says of each photo.

    A photo measures the shape with an error of its own, whose size differs between photos and
    directions, plus one that all photos of the person share; the network states its posterior
    without the shared part, and its own error `stated` times too small in variance.
    """
    rng = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=rng, dtype=torch.float64)

    truth = normal(num_people, NUM_BETAS)
    noise = 0.2 + 3 * torch.rand(num_people, num_photos, NUM_BETAS, generator=rng).double()
    measured = truth + normal(num_people, NUM_BETAS) @ SHARED.sqrt()
    measured = measured[:, None] + noise.sqrt() * normal(num_people, num_photos, NUM_BETAS)
    claimed = noise / stated
    precision = 1 + 1 / claimed
    return truth, measured / claimed / precision, torch.diag_embed(1 / precision)


def honest(scale: float = 1.0) -> FusionConfig:
    return FusionConfig(
        covariance_calibration=CovarianceCalibration(
            model="idhand-open-1", scale=scale, shared=SHARED
        )
    )


@pytest.mark.parametrize("num_photos", [1, 3, 20])
def test_intervals_hold_the_truth(num_photos: int):
    truth, betas, covs = simulated(400, num_photos)
    fused = fuse(betas, covs, None, PRIOR, honest())
    sigma = fused.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    inside = (fused.betas - truth).abs() <= Z95 * sigma
    assert 0.92 <= float(inside.double().mean()) <= 0.98


def test_the_error_falls_as_one_over_root_n_down_to_the_shared_one():
    truth, betas, covs = simulated(400, 320)
    photos = likelihoods(betas, covs, PRIOR)
    plain = FusionConfig(reweightings=0)
    errors = []
    for n in (20, 80, 320):
        some = Likelihoods(**{name: value[:, :n] for name, value in vars(photos).items()})
        errors.append((combine(some, None, PRIOR, plain).betas - truth).square().mean(0))
    first, second, last = (error - SHARED.diagonal() for error in errors)
    assert (first.mean() / second.mean()) == pytest.approx(4, rel=0.35)
    assert last.abs().mean() < 0.15 * SHARED.diagonal().mean()


def test_one_wild_photo_is_ignored():
    truth, betas, covs = simulated(30, 8)
    wild = betas.clone()
    wild[:, 3] += 8.0
    before = fuse(betas[:, [0, 1, 2, 4, 5, 6, 7]], covs[:, [0, 1, 2, 4, 5, 6, 7]], None, PRIOR,
                  honest()).betas  # fmt: skip
    fused = fuse(wild, covs, None, PRIOR, honest())
    assert (fused.weights[:, 3] == 0).all()
    assert fused.weights[:, [0, 1, 2, 4, 5, 6, 7]].mean() > 0.8
    assert (fused.betas - before).abs().max() < 0.3
    mean = fuse(wild, covs, None, PRIOR, FusionConfig(mode="mean"))
    assert (mean.betas - truth).abs().mean() > (fused.betas - truth).abs().mean()


def test_photos_that_show_nothing_leave_the_prior():
    betas = torch.zeros(5, NUM_BETAS, dtype=torch.float64)
    covs = torch.eye(NUM_BETAS, dtype=torch.float64).expand(5, -1, -1)
    fused = fuse(betas, covs, None, PRIOR, honest())
    torch.testing.assert_close(fused.betas, PRIOR.mean)
    torch.testing.assert_close(fused.covariance, PRIOR.covariance)


def test_one_photo_gives_back_what_the_network_said():
    _, betas, covs = simulated(1, 1)
    fused = fuse(betas[0], covs[0], None, PRIOR, FusionConfig())
    torch.testing.assert_close(fused.betas, betas[0, 0])
    torch.testing.assert_close(fused.covariance, covs[0, 0])
    assert fused.weights.tolist() == [1.0]


def test_under_another_prior_the_result_is_bayes_rule():
    """Against the direct formula, where nothing is clipped and no error is shared."""
    prior = open_hand().of_population("female").prior
    mean, covariance = prior.mean, prior.covariance
    root = torch.linalg.cholesky(covariance)
    _, white, white_covs = simulated(1, 4)
    betas = mean + white[0] @ root.mT
    covs = root @ white_covs[0] @ root.mT
    fused = fuse(betas, covs, None, prior, FusionConfig(reweightings=0))
    base = torch.linalg.inv(covariance)
    precision = torch.linalg.inv(covs)
    total = base + (precision - base).sum(0)
    vector = (precision @ betas[..., None])[..., 0].sum(0) - 3 * base @ mean
    torch.testing.assert_close(fused.betas, torch.linalg.solve(total, vector))
    torch.testing.assert_close(fused.covariance, torch.linalg.inv(total))


def test_modes():
    _, betas, covs = simulated(1, 5)
    confidence = torch.tensor([0.0, 3.0, 1.0, -1.0, 2.0]).double()

    def of(config: FusionConfig) -> Tensor:
        return fuse(betas[0], covs[0], confidence, PRIOR, config).betas

    torch.testing.assert_close(of(FusionConfig(mode="mean")), betas[0].mean(0))
    torch.testing.assert_close(of(FusionConfig(mode="median")), betas[0].median(0).values)
    best = of(FusionConfig(mode="top_k", top_k=2))
    torch.testing.assert_close(best, betas[0, [1, 4]].mean(0))
    soft = confidence.div(0.5).softmax(0)
    torch.testing.assert_close(of(FusionConfig(mode="softmax", temperature=0.5)), soft @ betas[0])


def test_people_in_a_batch_are_fused_as_alone():
    _, betas, covs = simulated(3, 6)
    together = fuse(betas, covs, None, PRIOR, honest())
    for person in range(3):
        alone = fuse(betas[person], covs[person], None, PRIOR, honest())
        torch.testing.assert_close(together.betas[person], alone.betas)
        torch.testing.assert_close(together.covariance[person], alone.covariance)


def test_without_covariances_the_scatter_speaks():
    truth, betas, _ = simulated(50, 12)
    fused = fuse(betas, None, None, PRIOR, FusionConfig())
    sigma = fused.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert (sigma < 1).all()
    assert (fused.betas - truth).square().mean() < truth.square().mean()


def test_covariance_calibration_is_found_again():
    truth, betas, covs = simulated(120, 20, stated=3.0)
    people = [(betas[p], covs[p]) for p in range(len(betas))]
    found = fit_covariance_calibration(people, truth, PRIOR, open_hand())
    assert found.scale == pytest.approx(3.0, rel=0.25)
    assert float(found.shared.trace() / SHARED.trace()) == pytest.approx(1.0, rel=0.3)
    truth, betas, covs = simulated(200, 10, stated=3.0, seed=7)
    for config, good in (
        (FusionConfig(covariance_calibration=found), True),
        (FusionConfig(), False),
    ):
        fused = fuse(betas, covs, None, PRIOR, config)
        sigma = fused.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        rate = float(((fused.betas - truth).abs() <= Z95 * sigma).double().mean())
        assert (0.92 <= rate <= 0.98) == good


def test_a_ruler_fixes_the_length():
    model = open_hand()
    assert model.measures is not None
    at = model.measures.names.index("hand_length")
    truth = 0.8 * torch.randn(6, NUM_BETAS, generator=torch.Generator().manual_seed(1)).double()
    length = model.measures.lengths(truth)[:, at]
    betas, covariance = torch.zeros_like(truth), PRIOR.covariance.expand(6, -1, -1)
    moved, left = with_hand_length(betas, covariance, model, length)
    off = model.measures.lengths(moved)[:, at] - length
    assert off.abs().max() < 0.5e-3
    slope = model.measures.derivatives(moved[0])[at]
    assert float((slope @ left[0] @ slope).sqrt()) == pytest.approx(0.002, rel=0.05)
    assert (moved - truth).square().mean() < truth.square().mean()
    assert float(left[0].trace()) < float(covariance[0].trace())


def test_covariance_calibration_survives_the_disk(tmp_path: Path):
    kept = CovarianceCalibration(model="idhand-open-1", scale=1.7, shared=SHARED, inflation=1.1)
    kept.save(tmp_path / "honesty.json")
    found = CovarianceCalibration.load(tmp_path / "honesty.json")
    assert (found.model, found.scale) == (kept.model, kept.scale)
    assert found.inflation == kept.inflation
    assert torch.equal(found.shared, kept.shared)
    assert [p.name for p in tmp_path.iterdir()] == ["honesty.json"]


def test_files_of_the_old_format_name_are_read(tmp_path: Path):
    kept = CovarianceCalibration(model="idhand-open-1", scale=1.7, shared=SHARED)
    path = tmp_path / "honesty.json"
    kept.save(path)
    document = json.loads(path.read_text())
    assert document["format"] == "idhand covariance calibration"
    path.write_text(json.dumps({**document, "format": "idhand honesty"}))
    found = CovarianceCalibration.load(path)
    assert (found.scale, found.model) == (1.7, "idhand-open-1")
    torch.testing.assert_close(found.shared, SHARED)


def test_damaged_covariance_calibration_is_a_sentence(tmp_path: Path):
    path = tmp_path / "honesty.json"
    with pytest.raises(FileNotFoundError, match="no such file"):
        CovarianceCalibration.load(path)
    whole = {
        "format": "idhand honesty", "version": 1, "model": "a", "scale": 1.0, "inflation": 1.0,
        "shared": [[1.0]],
    }  # fmt: skip
    cases: list[tuple[str, str]] = [("{", "not readable as JSON"), ("{}", "name another file")]
    cases += [
        (json.dumps({**whole, **odd}), told)
        for odd, told in (
            ({"version": 9}, "version 9"),
            ({"scale": None}, "damaged"),
            ({"shared": "no"}, "damaged"),
            ({"scale": -1.0}, "must be positive"),
            ({"inflation": 0.0}, "must be positive"),
            ({"shared": [[-1.0]]}, "not a covariance matrix"),
        )
    ]
    for text, told in cases:
        path.write_text(text)
        with pytest.raises(ValueError, match=told):
            CovarianceCalibration.load(path)


def test_wrong_use_is_a_sentence():
    _, betas, covs = simulated(1, 3)
    with pytest.raises(ValueError, match="no photos"):
        fuse(betas[0, :0], covs[0, :0], None, PRIOR, FusionConfig())
    for mode in ("top_k", "softmax"):
        with pytest.raises(ValueError, match="needs a confidence"):
            fuse(betas[0], covs[0], None, PRIOR, FusionConfig(mode=mode))
    with pytest.raises(ValueError, match="top_k must"):
        FusionConfig(top_k=0)
    with pytest.raises(ValueError, match="temperature"):
        replace(FusionConfig(), temperature=0.0)
    with pytest.raises(ValueError, match="5 people"):
        fit_covariance_calibration([(betas[0], covs[0])], betas[:, 0], PRIOR, open_hand())


def test_a_calibration_of_other_shapes_is_refused_by_name():
    calibration = CovarianceCalibration(model="other", scale=1.0, shared=torch.eye(10).double())
    calibration.check_model("other")
    with pytest.raises(ValueError, match="hand model 'other', and 'idhand-open-1' is in use"):
        calibration.check_model("idhand-open-1")
    config = FusionConfig(covariance_calibration=calibration)
    with pytest.raises(ValueError, match="of shapes with 10 betas, and these have 16"):
        fuse(torch.zeros(3, 16).double(), None, None, PRIOR, config)


def test_each_network_has_its_own_calibration(tmp_path: Path):
    def found(name: str) -> str | None:
        path = covariance_file(tmp_path / f"{name}.safetensors")
        return None if path is None else path.name

    for name in ("identity_film", "baseline", "mine"):
        (tmp_path / f"{name}.safetensors").touch()
        assert found(name) is None
    for name in ("honesty", "honesty_confidence"):  # names of older files
        (tmp_path / f"{name}.json").touch()
    assert found("identity_film") == "honesty.json"
    assert found("baseline") == "honesty_confidence.json"
    assert found("mine") is None
    for name in ("identity_film", "mine", "confidence"):
        (tmp_path / covariance_file_name(name)).touch()
    assert found("identity_film") == "identity_film.covariance.json"
    assert found("mine") == "mine.covariance.json"
    assert found("baseline") == "confidence.covariance.json"
    (tmp_path / "confidence.safetensors").touch()
    assert found("confidence") == "confidence.covariance.json"
    assert found("baseline") is None


@pytest.mark.parametrize(
    "settings",
    [{"reweightings": -1}, {"disagreement": 0.0}, {"drop_below": 2.0}, {"disagreement": math.nan}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        FusionConfig(**settings)  # pyright: ignore[reportArgumentType]
