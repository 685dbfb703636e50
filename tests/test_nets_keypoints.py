"""The keypoint network: its maps, its file, and its estimates in the pixels of real pictures."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from idhand.detection.roi import Roi
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import (
    keypoint_net_on,
    load_keypoint_net,
    load_network,
    load_regressor,
    save_net,
    saved_config,
    saved_cut,
    saved_kind,
    saved_meta,
)
from idhand.nets.keypoints import KeypointConfig, KeypointEstimate, KeypointNet
from idhand.nets.reading import Reader, keypoints_in_picture, seen_in_crops
from idhand.nets.regressor import RegressorConfig

SMALL = KeypointConfig(
    widths=(8, 8, 8), image_width=8, point_width=4, hidden=(16,), size_hidden=(16,)
)


def small_keypoint_net(config: KeypointConfig = SMALL) -> KeypointNet:
    """Random weights that do say something."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        net = config.build().eval()
    with torch.no_grad():
        for mlp in (net.point, net.size):
            last = mlp.layers[-1]
            assert isinstance(last, nn.Linear)
            last.weight.mul_(50)
    return net


@cache
def small() -> KeypointNet:
    return small_keypoint_net()


@cache
def crops01() -> Tensor:
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 3, 14, 14, generator=rng)
    return nn.functional.interpolate(coarse, size=224, mode="bilinear").clamp(0, 1)


@cache
def estimated() -> KeypointEstimate:
    with torch.inference_mode():
        return small()(crops01())


def same(a: KeypointEstimate, b: KeypointEstimate) -> bool:
    return all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items())


# ---------------------------------------------------------------------------------------- the net


def test_estimates_have_deviations_and_tell_crops_apart():
    out = estimated()
    assert {name: tuple(value.shape[1:]) for name, value in vars(out).items()} == {
        "points": (21, 2), "root_cov": (21, 2, 2), "directions": (20, 3), "directions_std": (20,),
        "visible": (21,), "log_size": (), "log_size_std": (), "heat": (21, 56, 56),
        "parts": (19, 56, 56),
    }  # fmt: skip
    assert (out.root_cov[..., 0, 1] == 0).all()
    assert (out.root_cov.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert (out.directions_std > 0).all()
    assert (out.log_size_std > 0).all()
    for name, value in vars(out).items():
        assert (value[0] - value[1]).abs().max() > 1e-4, name


def test_what_is_kept_of_crops_gives_the_same():
    with torch.inference_mode():
        flat = small().flat(crops01())
        assert same(small().from_flat(flat), estimated())
        features, maps = small().backbone.with_maps(crops01(), (7, 14, 28, 56))
    assert torch.equal(flat[:, : small().backbone.num_features], features)
    assert torch.equal(features, small().backbone(crops01()))
    assert [tuple(x.shape[2:]) for x in maps] == [(7, 7), (14, 14), (28, 28), (56, 56)]
    assert flat.shape[1] == features.shape[1] + sum(x[0].numel() for x in maps)


class Peak(nn.Module):
    """Heat of each keypoint in one cell: further right and down from keypoint to keypoint."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 21, self.side, self.side)
        for k in range(21):
            out[:, k, 10 + k, 2 * k] = 100.0
        return out


def test_a_point_is_where_its_heat_is():
    """The middle of the cell in sides of the crop, x before y."""
    net = small_keypoint_net()
    net.add_module("heat_fine", Peak(56))
    last = net.point.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.inference_mode():
        nn.init.zeros_(net.heat_coarse.weight)
        nn.init.constant_(net.heat_coarse.bias, 0.0)  # pyright: ignore
        nn.init.zeros_(last.weight)
        points = net(crops01()).points
    k = torch.arange(21)
    expected = torch.stack(((2 * k + 0.5) / 56, (10 + k + 0.5) / 56), 1)
    torch.testing.assert_close(points, expected.expand(2, -1, -1), atol=1e-5, rtol=0)


def test_one_weight_makes_another_network():
    assert small_keypoint_net().label == small().label
    other = small_keypoint_net()
    other.names.data[0, 0] += 1e-3
    assert other.label != small().label


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_width": 0}, "there are three widths of maps, and all are 1 or more; got Keypoin"),
        ({"hidden": (16, 0)}, "all are 1 or more"),
    ],
)
def test_impossible_networks(changes: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        replace(SMALL, **changes)


# ------------------------------------------------------------------------------------------- files


def test_a_saved_keypoint_network_says_the_same(tmp_path: Path):
    path = tmp_path / "k.safetensors"
    save_net(small(), path, {"seed": 3}, cut="landmark")
    before = torch.get_rng_state()
    net = load_keypoint_net(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert (net.config, net.training, net.label) == (SMALL, False, small().label)
    assert (saved_kind(path), saved_cut(path), saved_meta(path)) == (
        "keypoints", "landmark", {"seed": 3},
    )  # fmt: skip
    with torch.inference_mode():
        assert same(net(crops01()), estimated())
    assert isinstance(load_network(path), KeypointNet)
    assert path.stat().st_size < 150_000, "the hand net is not stored again"
    half = tmp_path / "half.safetensors"
    save_net(small(), half, {}, dtype="float16")
    with torch.inference_mode():
        near = load_keypoint_net(half)(crops01())
    torch.testing.assert_close(near.points, estimated().points, atol=5e-3, rtol=0)


def test_the_default_fits_its_budget(tmp_path: Path):
    path = tmp_path / "k.safetensors"
    save_net(KeypointConfig().build(), path, {}, dtype="float16")
    assert path.stat().st_size < 1.5e6


def rewritten(path: Path, **config: object) -> None:
    """A file whose header describes another network."""
    save_net(small(), path, {})
    header = {
        "format": "idhand network", "version": 2, "kind": "keypoints", "meta": {},
        "config": {**vars(SMALL), **config},
    }  # fmt: skip
    state = {name: value.contiguous() for name, value in small().state_dict().items()}
    save_file(state, path, metadata={"idhand": json.dumps(header)})


def test_other_files_are_refused_with_a_sentence(tmp_path: Path, monkeypatch: Any):
    path = tmp_path / "k.safetensors"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_keypoint_net(path)
    poses = RegressorConfig(
        hand_model="idhand-open-1", num_betas=16, backbone="hand_lite", identity="predicted",
        trunk=8, hidden=(8,),
    )  # fmt: skip
    save_net(poses.build(), path, {})
    with pytest.raises(ValueError, match=r"kind 'regressor'; name a keypoint network, such as the"):
        load_keypoint_net(path)
    rewritten(path)
    assert load_keypoint_net(path).config == SMALL
    with pytest.raises(ValueError, match="of the kind 'keypoints'"):
        load_regressor(path)
    with pytest.raises(ValueError, match="of the kind 'keypoints'"):
        saved_config(path)
    for changes in ({"wings": 2}, {"widths": [8, 8]}, {"backbone": "vgg"}, {"hidden": 3}):
        rewritten(path, **changes)
        with pytest.raises(ValueError, match="cannot build"):
            load_keypoint_net(path)
    rewritten(path, image_width=9)
    with pytest.raises(ValueError, match="another architecture"):
        load_keypoint_net(path)
    broken = small_keypoint_net()
    broken.names.data[3, 1] = torch.nan
    save_net(broken, path, {})
    with pytest.raises(ValueError, match=r"not finite in 1 of .* the first is names"):
        load_keypoint_net(path)
    save_net(small(), path, {})
    monkeypatch.setattr(HandBackbone, "label", "hand_studio-another")
    with pytest.raises(ValueError, match=r"trained on the features of 'hand_studio-.*-another'"):
        load_keypoint_net(path)


def test_the_shipped_one_is_for_one_hand_net(ships: Any):
    studio, lite = HandBackbone("hand_studio"), HandBackbone("hand_lite")
    assert keypoint_net_on(studio) is None
    ships(small())
    net = keypoint_net_on(studio)
    assert net is not None
    assert net.label == small().label
    assert keypoint_net_on(studio) is net, "it is read once"
    assert keypoint_net_on(lite) is None
    assert keypoint_net_on(HandBackbone("hand_studio", is_trained=True)) is None


# ------------------------------------------------------------------------------- in real pictures


def test_estimates_in_the_pixels_of_pictures():
    """Points, and ellipses by two of their arms: as the roi takes them to the picture."""
    rois = [
        Roi(center_px=np.array([300.0, 200.0]), size_px=120.0, angle_rad=0.7),
        Roi(center_px=np.array([50.0, 80.0]), size_px=90.0, angle_rad=-2.0, is_mirrored=True),
    ]
    found, out = keypoints_in_picture(estimated(), rois), estimated()
    turned = [one.cov_px[3] for one in found if one is not None]
    for row, (roi, one) in enumerate(zip(rois, found, strict=True)):
        assert one is not None
        points = out.points[row].double().numpy()
        np.testing.assert_allclose(one.points_px, roi.to_image(points))
        for k in range(0, 21, 4):
            arms = out.root_cov[row, k].double().numpy().T  # its columns
            to = roi.to_image(points[k] + arms) - roi.to_image(points[k])
            np.testing.assert_allclose(one.cov_px[k], to.T @ to, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(one.visible, out.visible[row].sigmoid(), rtol=1e-5)
        assert one.log_length_px == pytest.approx(float(out.log_size[row]) + np.log(roi.size_px))
        assert one.log_length_std == pytest.approx(float(out.log_size_std[row]))
        np.testing.assert_allclose(one.directions, out.directions[row])
        np.testing.assert_allclose(one.directions_std, out.directions_std[row])
    assert np.abs(turned[0][0, 1]) > 1e-3
    upright = Roi(center_px=np.array([9.0, 9.0]), size_px=1.0, angle_rad=0.0)
    (plain, _), (mirrored, _) = (
        keypoints_in_picture(estimated(), [replace(upright, is_mirrored=flag)] * 2)
        for flag in (False, True)
    )
    assert plain is not None
    assert mirrored is not None
    np.testing.assert_allclose(mirrored.points_px[:, 0], 18 - plain.points_px[:, 0])
    np.testing.assert_allclose(mirrored.cov_px[:, 0, 1], -plain.cov_px[:, 0, 1])
    np.testing.assert_allclose(mirrored.cov_px[:, 1, 1], plain.cov_px[:, 1, 1])


def test_one_pass_of_the_hand_net_serves_both():
    bytes_ = (255 * crops01().permute(0, 2, 3, 1)).round().byte().numpy()
    rois = [Roi(center_px=np.zeros(2), size_px=224.0, angle_rad=0.0)] * 2
    backbone = small().backbone
    alone, nothing = seen_in_crops(backbone, None, bytes_, rois)
    both, seen = seen_in_crops(backbone, small(), bytes_, rois)
    np.testing.assert_array_equal(alone, both)
    assert nothing == [None, None]
    with torch.inference_mode():
        images = torch.from_numpy(bytes_).permute(0, 3, 1, 2).float() / 255
        expected = keypoints_in_picture(small()(images), rois)
    for one, other in zip(seen, expected, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.points_px, other.points_px)


def test_a_reader_brings_the_shipped_one_along(ships: Any, tmp_path: Path):
    path = tmp_path / "poses.safetensors"
    config = RegressorConfig(
        hand_model="idhand-open-1", num_betas=16, backbone="hand_studio", identity="film",
        trunk=8, hidden=(8,), shape_cov=True,
    )  # fmt: skip
    save_net(config.build(), path, {})
    assert Reader.load(path, "idhand-open-1").keypoints is None
    ships(small())
    reader = Reader.load(path, "idhand-open-1")
    assert reader.keypoints is not None
    assert reader.keypoints.label == small().label
