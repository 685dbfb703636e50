"""Networks and losses against numbers of the authors' own code (tests/golden/networks.json)."""

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from torch import Tensor, nn

from idhand.geometry import rotation_from_6d, rotation_from_vector, sixd_from_rotation
from idhand.losses import edge_loss, mesh_loss, normal_loss, ranking_loss
from idhand.nets.heatmaps import HeatmapNet, heatmap_loss
from idhand.nets.regressor import (
    RegressorConfig,
    official_baseline_network,
    official_confidence_network,
    official_identity_network,
)

GOLDEN = json.loads((Path(__file__).parent / "golden" / "networks.json").read_text())
MLP_LAYERS = {"0": "0", "1": "3", "2": "6", "3": "9"}
"""Ours → theirs, which also count activations and dropouts."""


def wave(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    """The formula that filled parameters and inputs."""
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    phase = zlib.crc32(name.encode()) % 1000 / 100
    values = scale * np.sin(phase + 0.7 * i + 0.0131 * i**2)
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def parameter(name: str, shape: tuple[int, ...], is_norm: bool) -> Tensor:
    kind = name.rsplit(".", 1)[1]
    if kind == "running_var" or (is_norm and kind == "weight"):
        return 1 + wave(name, shape, 0.1)
    if len(shape) >= 2:
        return wave(name, shape, float(np.sqrt(2 / np.prod(shape[1:]))))
    return wave(name, shape, 0.1)


def filled(net: nn.Module, theirs: Callable[[str], str]) -> nn.Module:
    """The network in evaluation mode, its parameters filled by their official names."""
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        is_norm = f"{name.rsplit('.', 1)[0]}.running_mean" in state
        value.copy_(parameter(theirs(name), tuple(value.shape), is_norm))
    return net.eval()


def regressor_name(name: str) -> str:
    name = re.sub(r"layers\.(\d)", lambda m: MLP_LAYERS[m[1]], name)
    starts = {
        "backbone.": "feature_extractor.",
        "decoder.stages.": "pose_6d_extractor.",
        "shape.": "shape_extractor.",
        "confidence.": "conf_branch.",
    }
    start = next(start for start in starts if name.startswith(start))
    return starts[start] + name.removeprefix(start)


def heatmap_name(name: str) -> str:
    stage = re.match(r"stages\.(\d)\.", name)
    if stage is None:
        return f"backbone1.{name}"
    k, rest = int(stage[1]), name[stage.end() :]
    which = ("uv_prior", "uv", "uvm")[k]
    if rest.startswith("up."):
        return f"{which}_delayer.{rest.removeprefix('up.')}"
    if rest.startswith("head."):
        return f"{which}_head.conv.{rest.removeprefix('head.')}"
    return f"backbone{k + 1}.{rest}"


def assert_golden(found: Tensor, *path: str, tolerance: float = 1e-5) -> None:
    expected = GOLDEN
    for key in path:
        expected = expected[key]
    assert list(found.shape) == expected["shape"]
    flat = found.double().flatten()
    n = len(expected["first"])
    pairs = {
        "mean": (flat.mean(), expected["mean"]),
        "std": (flat.std(), expected["std"]),
        "first": (flat[:n], expected["first"]),
        "last": (flat[-len(expected["last"]) :], expected["last"]),
    }
    for name, (value, numbers) in pairs.items():
        target = torch.tensor(numbers, dtype=torch.float64)
        torch.testing.assert_close(
            value, target, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{path} {n}: {m}"
        )


def official(config: RegressorConfig):
    net = config.build()
    filled(net, regressor_name)
    return net


@pytest.fixture(scope="module")
def image() -> Tensor:
    """In 0..1, where the authors' code has −1..1."""
    return 0.5 + 0.5 * wave("image", (2, 3, 224, 224), 1.0)


@pytest.fixture(scope="module")
def feature(image: Tensor) -> Tensor:
    net = official(official_identity_network("mano", 10))
    with torch.inference_mode():
        return net.features(image).clone()


def axis_angle(R: Tensor) -> Tensor:
    """By the quaternion whose largest component is positive; angles 0..2π."""
    q = roma.rotmat_to_unitquat(R)
    largest = q.gather(-1, q.abs().argmax(-1, keepdim=True))
    v, w = (q * largest.sign()).split([3, 1], -1)
    length = v.norm(dim=-1, keepdim=True)
    return 2 * torch.atan2(length, w) * v / length


def test_feature(feature: Tensor):
    assert_golden(feature, "identity_aware", "feature")


def test_identity_multiply(feature: Tensor):
    net = official(official_identity_network("mano", 10))
    with torch.inference_mode():
        first, _, last = net.decoder(feature)
        estimate = net.from_features(feature, torch.zeros(2, 10))
    assert_golden(last.flatten(1), "identity_aware", "pose6d_last_multiply")
    assert_golden(first.flatten(1), "identity_aware", "pose6d_first_multiply")
    torch.testing.assert_close(estimate.sixd, last)
    vectors = axis_angle(estimate.rotations).flatten(1)
    assert_golden(vectors, "identity_aware", "axis_angle_last", tolerance=2e-5)


def test_identity_add(feature: Tensor):
    config = RegressorConfig(
        hand_model="idhand-open-1",
        backbone="resnet18",
        identity="given",
        num_betas=10,
        update="add",
        init="plain",
    )
    with torch.inference_mode():
        last = official(config).decoder(feature)[-1]
    assert_golden(last.flatten(1), "identity_aware", "pose6d_last_add")


def test_baseline_and_confidence(image: Tensor):
    net = official(official_confidence_network("mano", 10))
    with torch.inference_mode():
        estimate = net(image)
    assert_golden(estimate.sixd.flatten(1), "baseline", "pose6d_last")
    assert_golden(estimate.betas, "baseline", "betas")
    assert_golden(estimate.betas, "confidence", "mano_shape_pred")
    assert estimate.confidence is not None
    assert_golden(estimate.confidence[:, None], "confidence", "conf_pred")


def test_pca_to_6d():
    pca = wave("pca", (2, 48), 0.8)
    fingers = pca[:, 3:] @ wave("comps", (45, 45), 0.3) + wave("mean", (1, 45), 0.2)
    R = rotation_from_vector(torch.cat((pca[:, :3], fingers), 1).unflatten(1, (16, 3)))
    assert_golden(sixd_from_rotation(R).flatten(1), "identity_aware", "pca_to_6d")
    torch.testing.assert_close(rotation_from_6d(sixd_from_rotation(R)), R)


def test_ranking_loss():
    loss = ranking_loss(wave("conf", (16,), 1.0), wave("err", (16,), 1.0).abs())
    assert float(loss) == pytest.approx(GOLDEN["ranking_loss_margin1_batch16"], rel=1e-5)


def as_heatmaps(values: Tensor) -> Tensor:
    """The same numbers in each of 21 channels."""
    return values.reshape(1, 1, 2, -1).expand(1, 21, -1, -1)


def test_losses():
    pred = wave("pred", (2, 778, 3), 0.5)
    true = wave("gt", (2, 778, 3), 0.5) + 0.1 * wave("gt2", (2, 778, 3), 1.0)
    j = torch.arange(1538)
    faces = torch.stack((7 * j, 7 * j + 1 + j % 5, 7 * j + 13 + j % 7), 1) % 778
    found = {
        "l1": mesh_loss(pred, true),
        "normal": normal_loss(pred, true, faces),
        "edge": edge_loss(pred, true, faces),
        "bce": heatmap_loss([as_heatmaps(pred)], as_heatmaps(true.sigmoid())) / 10,
    }
    for name, value in found.items():
        assert float(value) == pytest.approx(GOLDEN["losses"][name], rel=1e-5), name


def test_heatmap_stages(image: Tensor):
    net = HeatmapNet()
    filled(net, heatmap_name)
    with torch.inference_mode():
        stages = [logits.sigmoid() for logits in net(image)]
    for name, heatmaps in zip(("uv_prior", "uv_prior2", "uv_pred"), stages, strict=True):
        assert_golden(heatmaps, "pose2d", name)


def test_parameter_counts_of_the_paper_s_networks():
    counts = {
        config: sum(p.numel() for p in config.build().parameters())
        for config in (official_identity_network("mano", 10), official_baseline_network("mano", 10))
    }
    assert list(counts.values()) == [27_771_848, 28_449_874]
