import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from idhand.assets.nets import shipped_networks
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import (
    load_network,
    load_regressor,
    save_net,
    saved_config,
    saved_cut,
    saved_kind,
    saved_meta,
)
from idhand.nets.heatmaps import HeatmapConfig, HeatmapNet, HeatmapStage
from idhand.nets.regressor import Regressor, RegressorConfig, identity_film_network
from idhand.nets.resnet import ResNet, load_imagenet

CONFIG = RegressorConfig(
    hand_model="idhand-open-1",
    num_betas=16,
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
    save_net(identity_film_network("idhand-open-1", 16).build(), path, {}, dtype="float16")
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


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["trunk.0.mean", "trunk.1.weight"])
def test_weights_that_are_no_numbers_are_refused(
    net: Regressor, tmp_path: Path, name: str, number: float
):
    """As a training that diverged leaves them; hands of such a network would be NaN."""
    path = tmp_path / "net.safetensors"
    net.state_dict()[name].view(-1)[-1] = number
    save_net(net, path, {})
    sentence = rf"not finite in 1 of \d+ tensors, the first is {name}; .*train it anew"
    with pytest.raises(ValueError, match=sentence):
        load_regressor(path)


def test_other_and_broken_files_are_named(net: Regressor, tmp_path: Path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_regressor(path)
    save_net(net, path, {})
    whole = path.read_bytes()
    for size in (5, 300, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is incomplete"):
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


# --------------------------------------------------------------------------------- kinds of network


@pytest.fixture(scope="module")
def heatmaps() -> HeatmapNet:
    torch.manual_seed(3)
    return HeatmapNet().eval()


def first_version(net: nn.Module, path: Path, **header: object) -> None:
    """A file as the first version wrote it."""
    state = {k: v.contiguous() for k, v in net.state_dict().items()}
    save_file(state, path, metadata={"idhand": json.dumps({"meta": {}, **header})})


def test_the_2d_network_comes_back(heatmaps: HeatmapNet, tmp_path: Path):
    path = tmp_path / "heatmaps.safetensors"
    save_net(heatmaps, path, {"seed": 3}, cut="box")
    before = torch.get_rng_state()
    loaded = load_network(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(loaded, HeatmapNet)
    assert not loaded.training
    assert (saved_kind(path), saved_cut(path), saved_meta(path)) == ("heatmaps", "box", {"seed": 3})
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for ours, theirs in zip(loaded(images), heatmaps(images), strict=True):
            assert torch.equal(ours, theirs)


def test_another_2d_network_says_what_it_is_made_of(tmp_path: Path):
    path = tmp_path / "heatmaps.safetensors"
    net = HeatmapNet(HeatmapConfig(backbone="resnet34"))
    save_net(net, path, {}, dtype="float16")
    loaded = load_network(path)
    assert loaded.config == net.config
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert path.stat().st_size < 1.1 * 2 * sum(p.numel() for p in net.parameters())


def test_2d_networks_of_the_first_version_are_read(heatmaps: HeatmapNet, tmp_path: Path):
    path = tmp_path / "heatmaps.safetensors"
    notes = {"training": {"crops": {"cut": "box"}}}
    first_version(heatmaps, path, format="idhand heatmaps", meta=notes)
    loaded = load_network(path)
    weight = "stages.2.head.weight"
    assert torch.equal(loaded.state_dict()[weight], heatmaps.state_dict()[weight])
    assert saved_cut(path) == "box"
    first_version(HeatmapNet(HeatmapConfig(backbone="resnet34")), path, format="idhand heatmaps")
    with pytest.raises(ValueError, match="another architecture"):
        load_network(path)
    assert saved_cut(path) is None


def test_pose_networks_of_the_first_version_are_read(net: Regressor, tmp_path: Path):
    path = tmp_path / "net.safetensors"
    rewritten(net, path)
    assert saved_kind(path) == "regressor"
    assert isinstance(load_network(path), Regressor)
    assert load_regressor(path).config == CONFIG
    shipped = load_network(shipped_networks() / "identity_film.safetensors")
    assert shipped.config == identity_film_network("idhand-open-1", 16).build().config


def test_the_wrong_kind_is_named(heatmaps: HeatmapNet, net: Regressor, tmp_path: Path):
    path = tmp_path / "heatmaps.safetensors"
    save_net(heatmaps, path, {})
    for read in (load_regressor, saved_config):
        with pytest.raises(
            ValueError, match=r"of the kind 'heatmaps', .* name a network that pred"
        ):
            read(path)
    first_version(net, path, format="idhand network", version=2, kind="segments", config={})
    with pytest.raises(
        ValueError, match="a network of the kind 'segments', this idhand knows regressor and"
    ):
        load_network(path)
    first_version(net, path, format="idhand network", version=3, kind="regressor", config={})
    with pytest.raises(ValueError, match="has version 3"):
        load_network(path)
    first_version(heatmaps, path, format="idhand network", version=2, kind="heatmaps",
                  config={"backbone": "vgg"})  # fmt: skip
    with pytest.raises(ValueError, match="cannot build"):
        load_network(path)
