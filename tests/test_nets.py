"""The shipped nets against LiteRT, which runs the original files (ai-edge-litert 2.3.0)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from idhand.assets.nets import NetName, load_net, run_net

GOLDEN = np.load(Path(__file__).parent / "golden" / "nets.npz")
NAMES: tuple[NetName, ...] = ("palm_detection_full", "hand_landmark_full")


def wave(size: int) -> torch.Tensor:
    """The smooth picture that LiteRT got for the golden numbers, as a batch of one."""
    y, x = np.mgrid[:size, :size] / size
    waves = (np.sin(7 * x + 3 * y), np.cos(5 * y - 2 * x), np.sin(11 * x * y))
    return torch.from_numpy(0.5 + 0.5 * np.stack(waves)).float()[None]


def test_landmark_net_is_litert_s():
    with torch.inference_mode():
        outputs = load_net("hand_landmark_full")(wave(224))
    tolerances = {"landmarks": 2e-3, "presence": 1e-5, "handedness": 1e-4, "world": 1e-5}
    for name, tolerance in tolerances.items():
        expected = GOLDEN[f"hand_landmark_full.{name}"]
        assert np.abs(outputs[name][0].numpy() - expected).max() < tolerance, name


def test_palm_net_is_litert_s():
    with torch.inference_mode():
        outputs = load_net("palm_detection_full")(wave(192))
    assert outputs["boxes"].shape == (1, 2016, 18)
    assert outputs["scores"].shape == (1, 2016, 1)
    for name in ("boxes", "scores"):  # every 63rd anchor was kept
        expected = GOLDEN[f"palm_detection_full.{name}"]
        assert np.abs(outputs[name][0, ::63].numpy() - expected).max() < 2e-3, name


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_its_images_give(name: NetName):
    net = load_net(name)
    size = net.input_size[0]
    images = torch.cat((wave(size), wave(size).flip(-1)))
    with torch.inference_mode():
        together = net(images)
        alone = [net(image[None]) for image in images]
    for key, value in together.items():
        torch.testing.assert_close(value, torch.cat([a[key] for a in alone]), atol=1e-3, rtol=1e-4)


def test_features_and_gradients():
    net = load_net("hand_landmark_full")
    names = net.feature_names
    outputs = net(wave(224), features=names)
    widths = {outputs[name].shape[1:] for name in names}
    assert {(24, 112, 112), (144, 28, 28), (672, 7, 7)} <= widths
    outputs["landmarks"].square().mean().backward()
    grads = {name: p.grad for name, p in net.named_parameters()}
    reached = [g for g in grads.values() if g is not None]
    assert len(reached) > 0.9 * len(grads)  # all but the other three heads
    assert all(g.isfinite().all() for g in reached)
    assert all(g.abs().max() > 0 for g in reached)


def test_weights_are_float32_parameters():
    net = load_net("hand_landmark_full")
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert 2.6e6 < sum(p.numel() for p in net.parameters()) < 2.8e6


def test_run_net_takes_bytes():
    net = load_net("hand_landmark_full")
    image = (wave(224)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    outputs = run_net(net, [image, image])
    assert outputs["world"].shape == (2, 63)
    assert outputs["world"].dtype == np.float64
    assert np.abs(outputs["world"][0] - GOLDEN["hand_landmark_full.world"]).max() < 5e-3  # rounded


def test_mistakes_are_named():
    net = load_net("hand_landmark_full")
    with pytest.raises(ValueError, match="takes images of"):
        net(torch.zeros(1, 3, 192, 192))
    with pytest.raises(ValueError, match="no feature map is called"):
        net(torch.zeros(1, 3, 224, 224), features=["knee"])
