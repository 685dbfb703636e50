import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_regressor, save_net, saved_config, saved_meta
from idhand.nets.heatmaps import HeatmapStage
from idhand.nets.regressor import Regressor, RegressorConfig, identity_film
from idhand.nets.resnet import ResNet, load_imagenet

CONFIG = RegressorConfig(
    backbone="hand_lite",
    identity="film",
    trunk=32,
    hidden=(24, 16),
    shape_cov=True,
    confidence="linear",
)


@pytest.fixture
def net() -> Regressor:
    torch.manual_seed(0)
    return CONFIG.build().eval()


def test_a_saved_net_says_the_same(net: Regressor, tmp_path: Path):
    net.measure(torch.randn(50, net.num_features))
    path = tmp_path / "net.safetensors"
    save_net(net, path, {"data": "none", "seed": 3})
    before = torch.get_rng_state()
    loaded = load_regressor(path, hand_model="idhand-open-1")
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.config == CONFIG
    assert not loaded.training
    assert saved_meta(path) == {"data": "none", "seed": 3}
    features, betas = torch.randn(3, net.num_features), torch.randn(3, 16)
    a, b = net.from_features(features, betas), loaded.from_features(features, betas)
    for name in ("sixd", "betas", "betas_image", "betas_cov", "confidence"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_half_precision_is_half_as_large_and_near(net: Regressor, tmp_path: Path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_net(net, whole, {})
    save_net(net, half, {}, dtype="float16")
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    loaded = load_regressor(half)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    features = torch.randn(3, net.num_features)
    torch.testing.assert_close(
        loaded.from_features(features).rotations,
        net.from_features(features).rotations,
        atol=2e-3,
        rtol=0,
    )


def test_the_same_net_has_the_same_bytes(net: Regressor, tmp_path: Path):
    paths = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        save_net(net, path, {"b": 1, "a": 2})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_the_default_fits_its_budget(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    save_net(identity_film().build(), path, {}, dtype="float16")
    assert path.stat().st_size < 2.6e6


def test_another_hand_model_is_named(net: Regressor, tmp_path: Path):
    path = tmp_path / "net.safetensors"
    save_net(net, path, {})
    with pytest.raises(ValueError, match=r"hand model 'idhand-open-1', here is 'mano'"):
        load_regressor(path, hand_model="mano")


def rewritten(net: Regressor, path: Path, **changes: object) -> None:
    """A file whose header says something else."""
    save_net(net, path, {})
    config = json.loads(json.dumps(saved_config(path).__dict__))
    header = {"format": "idhand regressor", "version": 1, "config": config, "meta": {}}
    state = {k: v.contiguous() for k, v in net.state_dict().items()}
    save_file(state, path, metadata={"idhand": json.dumps(header | changes)})


def test_another_architecture_is_named(net: Regressor, tmp_path: Path):
    path = tmp_path / "net.safetensors"
    config = replace(CONFIG, hidden=(24, 8)).__dict__
    rewritten(net, path, config=config)
    with pytest.raises(ValueError, match="another architecture"):
        load_regressor(path)
    rewritten(net, path, config=CONFIG.__dict__ | {"backbone": "vgg"})
    with pytest.raises(ValueError, match="cannot build"):
        load_regressor(path)
    rewritten(net, path, config=CONFIG.__dict__ | {"wings": 2})
    with pytest.raises(ValueError, match="cannot build"):
        load_regressor(path)
    rewritten(net, path, version=9)
    with pytest.raises(ValueError, match="version 9"):
        load_regressor(path)


def test_other_and_broken_files_are_named(net: Regressor, tmp_path: Path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_regressor(path)
    save_net(net, path, {})
    whole = path.read_bytes()
    for size in (5, 300, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="only a part of one"):
            load_regressor(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no network of idhand's"):
        load_regressor(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_imagenet_file_loads(suffix: str, tmp_path: Path):
    source, net = ResNet("resnet18"), ResNet("resnet18")
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    load_imagenet(net, path)
    for a, b in zip(source.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="not of this residual network"):
        load_imagenet(ResNet("resnet34"), path)


def test_bad_imagenet_files_are_named(tmp_path: Path):
    path = tmp_path / "resnet18.pth"
    net: nn.Module = ResNet("resnet18")
    path.write_bytes(b"not a network")
    with pytest.raises(ValueError, match="cannot be read"):
        load_imagenet(net, path)
    torch.save(HeatmapStage, path)  # code, not tensors
    with pytest.raises(ValueError, match="cannot be read"):
        load_imagenet(net, path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="not a table"):
        load_imagenet(net, path)


def test_residual_networks_have_torchvision_s_size():
    sizes = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}
    for name, size in sizes.items():
        net = ResNet(name)  # pyright: ignore[reportArgumentType]
        assert sum(p.numel() for p in net.parameters()) == size


def test_a_network_on_other_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "net.safetensors"
    save_net(CONFIG.build(), path, {})
    load_regressor(path)
    monkeypatch.setattr(HandBackbone, "label", "hand_lite-another")
    with pytest.raises(ValueError, match="this idhand brings 'hand_lite-another'"):
        load_regressor(path)
