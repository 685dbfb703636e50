from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from idhand.geometry import rotation_angle
from idhand.losses import LossConfig, Truth, confidence_only, loss_terms, ours, total
from idhand.nets.backbones import build_backbone
from idhand.nets.estimate import Estimate
from idhand.nets.regressor import (
    Regressor,
    RegressorConfig,
    baseline_network,
    confidence_network,
    identity_film_network,
    identity_network,
)
from tests.conftest import toy_hand

PRESETS = {
    preset.__name__.removesuffix("_network"): preset("idhand-open-1", 16)
    for preset in (baseline_network, identity_network, confidence_network, identity_film_network)
}
SMALL = RegressorConfig(
    hand_model="idhand-open-1",
    backbone="hand_lite",
    identity="film",
    num_betas=4,
    trunk=32,
    hidden=(24, 16),
    shape_cov=True,
)
"""Fits the toy hand."""


def small(**changes: Any) -> Regressor:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return replace(SMALL, **changes).build()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch(net: Regressor, n: int = 6) -> tuple[Tensor, Tensor]:
    return normal(n, net.num_features), normal(n, net.config.num_betas, seed=1)


def loss(estimate: Estimate, betas: Tensor, config: LossConfig) -> Tensor:
    n = len(betas)
    truth = Truth(rotations=torch.eye(3).expand(n, 16, 3, 3), betas=betas)
    return total(loss_terms(estimate, truth, toy_hand().to(torch.float32), config))


@pytest.mark.parametrize("name", PRESETS)
def test_an_untrained_preset_is_near_its_start(name: str):
    net = PRESETS[name].build().eval()
    features, betas = batch(net, 3)
    estimate = net.from_features(features, betas)
    eye = torch.eye(3).expand(3, 16, 3, 3)
    torch.testing.assert_close(estimate.rotations @ estimate.rotations.mT, eye)
    assert rotation_angle(estimate.rotations).max() < 0.1
    assert sum(p.numel() for p in net.parameters()) * 2 < 2.6e6
    if estimate.betas_image is not None:
        assert estimate.betas_image.abs().max() < 0.1
    if estimate.betas_cov is not None:
        assert (torch.linalg.eigvalsh(estimate.betas_cov) > 0.5).all()
    assert (estimate.confidence is None) == (name != "confidence")


@pytest.mark.parametrize("name", ["hand_full", "hand_lite"])
def test_hand_features_are_the_net_s(name: str):
    backbone = build_backbone(name)  # pyright: ignore[reportArgumentType]
    y, x = np.mgrid[:224, :224] / 224
    waves = (np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.sin(11 * x * y))
    image = torch.from_numpy(0.5 + 0.5 * np.stack(waves)).float()[None].requires_grad_()
    features = backbone(image)
    assert features.shape == (1, backbone.num_features)
    assert not features.requires_grad
    assert not list(backbone.parameters())
    assert not backbone.state_dict()
    golden = np.load(
        Path(__file__).parent / "golden" / f"nets{'_lite' * (name == 'hand_lite')}.npz"
    )
    prefix = "" if name == "hand_lite" else "hand_landmark_full."
    landmarks, world = golden[f"{prefix}landmarks"], golden[f"{prefix}world"]
    shown = features[0, -127:-64].reshape(21, 3).numpy() + np.array([0.5, 0.5, 0.0])
    np.testing.assert_allclose(224 * shown.ravel(), landmarks, atol=2e-3)
    np.testing.assert_allclose(features[0, -64:-1].numpy() / 10, world, atol=1e-5)
    presence = float(torch.sigmoid(features[0, -1]))
    assert presence == pytest.approx(float(golden[f"{prefix}presence"][0]), abs=1e-5)


def test_the_frozen_net_moves_with_the_module():
    net = small().double()
    assert net.features(torch.rand(1, 3, 224, 224, dtype=torch.float64)).dtype == torch.float64


def test_gradients_reach_every_parameter():
    for changes in ({}, {"update": "add"}, {"identity": "predicted"}, {"confidence": "linear"}):
        net = small(**changes)
        features, betas = batch(net)
        known = torch.tensor([True, False] * 3)
        loss(net.from_features(features, betas, known), betas, ours()).backward()
        if net.confidence is not None:
            loss(net.from_features(features), betas, confidence_only()).backward()
        for name, p in net.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name
            assert p.grad.abs().max() > 0, name


def test_residual_network_gets_gradients():
    net = RegressorConfig(
        backbone="resnet18", identity="given", hand_model="toy", num_betas=4, hidden=(8,)
    ).build()
    betas = normal(2, 4)
    loss(net(torch.rand(2, 3, 224, 224), betas), betas, LossConfig()).backward()
    grads = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None and g.abs().max() > 0 for g in grads.values())


def test_given_betas_do_not_change_the_pose_but_film_does():
    features, betas = batch(small(), 3)
    given = small(identity="given", shape_cov=False)
    a, b = given.from_features(features, betas), given.from_features(features, -betas)
    assert torch.equal(a.rotations, b.rotations)
    assert torch.equal(a.betas, betas)
    assert a.betas_image is None
    film = small()
    a, b = film.from_features(features, betas), film.from_features(features, -betas)
    assert (a.rotations - b.rotations).abs().amax((1, 2, 3)).min() > 1e-6
    assert torch.equal(a.betas, betas)
    assert a.betas_image is not None
    assert b.betas_image is not None
    assert torch.equal(a.betas_image, b.betas_image)  # only of the picture


def test_unknown_persons_betas_do_not_matter():
    net = small()
    features, betas = batch(net)
    known = torch.tensor([True, False] * 3)
    changed = torch.where(known[:, None], betas, torch.full_like(betas, torch.nan))
    a, b = (net.from_features(features, x, known) for x in (betas, changed))
    anonymous = net.from_features(features)
    for name in ("sixd", "rotations", "betas"):
        assert torch.equal(getattr(a, name), getattr(b, name))
        torch.testing.assert_close(getattr(a, name)[~known], getattr(anonymous, name)[~known])
    assert torch.equal(a.betas[known], betas[known])
    changed = changed.requires_grad_()
    net.from_features(features, changed, known).sixd.sum().backward()
    assert changed.grad is not None
    assert changed.grad.isfinite().all()
    assert (changed.grad[~known] == 0).all()
    assert (changed.grad[known] != 0).any()


def test_predicted_ignores_betas():
    net = small(identity="predicted")
    features, betas = batch(net)
    a, b = net.from_features(features), net.from_features(features, betas)
    assert torch.equal(a.betas, b.betas)
    assert torch.equal(a.rotations, b.rotations)


@pytest.mark.parametrize("backbone", ["resnet18", "hand_lite"])
def test_confidence_training_moves_nothing_else(backbone: str):
    net = small(identity="predicted", confidence="linear", backbone=backbone).eval()
    images, betas = torch.rand(4, 3, 224, 224), normal(4, 4)
    net.measure(net.features(images))
    with torch.no_grad():
        before_estimate = net(images)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    parameters = net.train_only("confidence")
    optimiser = torch.optim.Adam(parameters, lr=0.1, weight_decay=0.1)
    net.train()
    for _ in range(3):
        optimiser.zero_grad()
        loss(net(images), betas, confidence_only()).backward()
        optimiser.step()
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("confidence."), name
    with torch.no_grad():
        after = net.eval()(images)
    assert torch.equal(after.rotations, before_estimate.rotations)
    assert torch.equal(after.betas, before_estimate.betas)
    net.train_only("all")
    assert all(p.requires_grad for p in net.parameters())
    assert all(m.training for m in net.train().modules())


@pytest.mark.parametrize("backbone", ["resnet18", "hand_lite"])
def test_mixed_precision_ends_at_the_backbone(backbone: str):
    net = small(backbone=backbone, init="plain").eval()
    images = torch.rand(1, 3, 224, 224)
    whole = net(images)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = net(images)
    assert mixed.betas_cov is not None
    assert {mixed.sixd.dtype, mixed.betas.dtype, mixed.betas_cov.dtype} == {torch.float32}
    eye = torch.eye(3).expand(1, 16, 3, 3)
    torch.testing.assert_close(mixed.rotations @ mixed.rotations.mT, eye)
    torch.testing.assert_close(mixed.rotations, whole.rotations, atol=0.1, rtol=0)


def test_measured_features_are_standard():
    net = small()
    assert net.trunk is not None
    features = 7 + 3 * normal(200, net.num_features)
    features[:, 5] = 1.25  # never changes
    net.measure(features)
    x = net.trunk[0](features)
    torch.testing.assert_close(x.mean(0), torch.zeros(net.num_features), atol=1e-4, rtol=0)
    moving = torch.arange(net.num_features) != 5
    torch.testing.assert_close(
        x.std(0)[moving], torch.ones(net.num_features - 1), atol=1e-4, rtol=0
    )


def test_additive_and_multiplied_updates_differ_after_the_same_training_numbers():
    features, betas = batch(small(), 2)
    sixds = [
        small(update=u, init="plain").from_features(features, betas).sixd
        for u in ("multiply", "add")
    ]
    assert (sixds[0] - sixds[1]).abs().max() > 0.05
    rows = sixds[0].unflatten(-1, (2, 3)).norm(dim=-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


def test_mistakes_are_named():
    for sizes in ({"hidden": (8, 0)}, {"trunk": 0}, {"num_betas": 0}, {"shape_hidden": (-1,)}):
        with pytest.raises(ValueError, match="1 or more"):
            replace(SMALL, **sizes)
    with pytest.raises(ValueError, match="not a rotation"):
        RegressorConfig(
            hand_model="idhand-open-1",
            num_betas=16,
            backbone="resnet18",
            identity="film",
            start="official",
        )
    with pytest.raises(ValueError, match="predicts no shape"):
        RegressorConfig(
            hand_model="idhand-open-1",
            num_betas=16,
            backbone="resnet18",
            identity="given",
            shape_cov=True,
        )
    given = small(identity="given", shape_cov=False)
    features, _ = batch(given)
    with pytest.raises(ValueError, match="does not predict shapes"):
        given.from_features(features)
    with pytest.raises(ValueError, match="takes 4 betas"):
        given.from_features(features, torch.zeros(6, 10))
    with pytest.raises(ValueError, match="no betas are given"):
        small().from_features(features, None, torch.ones(6, dtype=torch.bool))
    with pytest.raises(ValueError, match="no confidence head"):
        given.train_only("confidence")
