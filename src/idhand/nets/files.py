"""Networks as files: safetensors with a header on what the network is and how it came to be."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from idhand.assets.nets import shipped_networks
from idhand.detection.roi import CROP_SIZE_PX
from idhand.files import FileKind, existing_file, parse_json, replacing
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import Cut
from idhand.nets.heatmaps import HeatmapConfig, HeatmapNet
from idhand.nets.keypoints import KeypointConfig, KeypointNet
from idhand.nets.marks import Marks
from idhand.nets.regressor import Regressor, RegressorConfig

Network = Regressor | HeatmapNet | KeypointNet
Kind = Literal["regressor", "heatmaps", "keypoints"]
KINDS: Mapping[type[nn.Module], Kind] = {
    Regressor: "regressor",
    HeatmapNet: "heatmaps",
    KeypointNet: "keypoints",
}

KEYPOINTS_FILE = "keypoints.safetensors"
"""Among the shipped networks."""
FILE_KIND = FileKind(
    format="idhand network", version=2, name="network of idhand's", remedy="train anew"
)
FORMATS_1: Mapping[str, Kind] = {"idhand regressor": "regressor", "idhand heatmaps": "heatmaps"}
"""Of the first version, whose format names the kind of network."""


UNNAMED_HAND = {"hand_model": "idhand-open-1", "num_betas": 16}
"""The hand model of networks whose files name none."""


def save_net(
    net: Network,
    path: Path,
    meta: Mapping[str, Any],
    *,
    dtype: Literal["float32", "float16"] = "float32",
    cut: Cut | None = None,
) -> None:
    """Write a network; the same network and notes give the same bytes.

    The shipped hand net's weights are not stored again: its heads are.

    Args:
        net: On any device.
        path: Usually ends in `.safetensors`.
        meta: Notes for people (data, recipe, seed, commit), in JSON's types.
        dtype: Of the stored numbers; float16 halves the file.
        cut: Which crops the network takes; None if unknown.
    """
    number = torch.float16 if dtype == "float16" else torch.float32
    state = {
        name: value.detach().to("cpu", number if value.is_floating_point() else None).contiguous()
        for name, value in net.state_dict().items()
    }
    header = {
        **FILE_KIND.header,
        "kind": KINDS[type(net)],
        "config": asdict(net.config),
        "crops": {"cut": cut, "side_px": CROP_SIZE_PX},
        "meta": dict(meta),
    }
    if isinstance(net, KeypointNet) or (isinstance(net, Regressor) and net.is_frozen):
        header["backbone"] = _label(net)
    if isinstance(net, Regressor) and net.marks is not None:
        header["marks"] = net.marks.as_json()
    # One metadata entry: the order of several would differ from run to run.
    with replacing(path) as temporary:  # safetensors' own writer gives no OSError
        temporary.write_bytes(save(state, {"idhand": json.dumps(header, sort_keys=True)}))


def load_network(path: Path) -> Network:
    """Read a network of any kind, in evaluation mode, float32, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else, or of another version.
    """
    match saved_kind(path):
        case "regressor":
            return load_regressor(path)
        case "heatmaps":
            return _load_heatmaps(path)
        case "keypoints":
            return load_keypoint_net(path)


def load_regressor(path: Path, *, hand_model: str | None = None) -> Regressor:
    """Read a network that predicts poses, in evaluation mode, float32, on the CPU.

    Args:
        path: What `save_net` wrote.
        hand_model: Name of the model that its betas must belong to; None takes any.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else, holds numbers that are not finite, or is
            of another kind, version or hand model.
    """
    config = saved_config(path)
    if hand_model is not None and config.hand_model != hand_model:
        raise ValueError(
            f"{path} was trained for the hand model '{config.hand_model}', here is '{hand_model}'; "
            "betas of one model mean nothing to another: name a network trained for this one"
        )
    # The file fills every number, so the fresh ones may not disturb the caller's random state.
    with torch.random.fork_rng(devices=()):
        regressor = config.build()
    _fill(regressor, path)
    if regressor.is_frozen:
        _check_backbone(path, regressor)
    regressor.marks = _marks(path)
    return regressor.eval()


def load_keypoint_net(path: Path) -> KeypointNet:
    """Read a keypoint network, in evaluation mode, float32, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else, holds numbers that are not finite, or is
            of another kind or version.
    """
    header = _header(path)
    if header["kind"] != "keypoints":
        raise ValueError(
            f"{path} holds a network of the kind '{header['kind']}'; name a keypoint network, such "
            "as the preset keypoints trains"
        )
    stored = header["config"].items()
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored}
    try:
        config = KeypointConfig(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(_cannot_build(path, error)) from error
    with torch.random.fork_rng(devices=()):
        net = config.build()
    _fill(net, path)
    _check_backbone(path, net)
    return net.eval()


def keypoint_net_on(backbone: HandBackbone) -> KeypointNet | None:
    """The shipped keypoint network, if it reads the maps of this hand net."""
    if backbone.is_trained or not (shipped_networks() / KEYPOINTS_FILE).exists():
        return None
    net = _shipped_keypoint_net()
    return net if net.backbone.label == backbone.label else None


@cache
def _shipped_keypoint_net() -> KeypointNet:
    return load_keypoint_net(shipped_networks() / KEYPOINTS_FILE)


def _check_backbone(path: Path, net: Regressor | KeypointNet) -> None:
    """Make sure that the shipped hand net is the one that the network was trained on."""
    stands_on = _header(path).get("backbone")
    if stands_on not in (None, _label(net)):
        raise ValueError(
            f"{path} was trained on the features of '{stands_on}', and this idhand brings "
            f"'{_label(net)}'; train it anew, or take the idhand that it was trained with"
        )


def _marks(path: Path) -> Marks | None:
    """See `Regressor.marks`."""
    values = _header(path).get("marks")
    if values is None:
        return None
    try:
        return Marks.from_json(values)
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}; copy it again or train anew") from error


def _load_heatmaps(path: Path) -> HeatmapNet:
    """The 2D network of a file; one of the first version has no configuration but the default."""
    try:
        config = HeatmapConfig(**_header(path).get("config", {}))
    except (TypeError, ValueError) as error:
        raise ValueError(_cannot_build(path, error)) from error
    with torch.random.fork_rng(devices=()):
        net = HeatmapNet(config)
    _fill(net, path)
    return net.eval()


def _fill(net: nn.Module, path: Path) -> None:
    """Give a network the numbers of its file.

    Raises:
        ValueError: If they are another network's.
    """
    with _opened(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    wanted = {name: value.shape for name, value in net.state_dict().items()}
    found = {name: value.shape for name, value in state.items()}
    if wanted != found:
        odd = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        raise ValueError(
            f"{path} holds another architecture than its header says: {len(odd)} tensors differ in "
            f"name or shape, the first is {odd[0]}; save it again with this version of idhand"
        )
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(
            f"{path} holds numbers that are not finite in {len(broken)} of {len(state)} tensors, "
            f"the first is {broken[0]}; its training diverged or the file is damaged: train it "
            "anew or copy it again"
        )
    net.load_state_dict(state)


def saved_kind(path: Path) -> Kind:
    """Which kind of network is in a file; errors as in `load_network`."""
    return _header(path)["kind"]


def saved_cut(path: Path) -> Cut | None:
    """Which crops the network in a file takes, see `CropConfig.cut`; None if unknown.

    The crops are squares of 224 px. Errors as in `load_network`.
    """
    header = _header(path)
    notes = header["meta"].get("training", {})  # all that files of the first version have
    cut = header.get("crops", notes.get("crops", {})).get("cut")
    return cut if cut in get_args(Cut) else None


def saved_config(path: Path) -> RegressorConfig:
    """What the pose network in a file is made of; errors as in `load_regressor`."""
    header = _header(path)
    if header["kind"] != "regressor":
        raise ValueError(
            f"{path} holds a network of the kind '{header['kind']}', which finds keypoints in the "
            "picture but no rotations and no shape; name a network that predicts poses, such "
            "as the preset baseline trains"
        )
    values = {**UNNAMED_HAND, **header["config"]}
    for name in ("hidden", "shape_hidden", "confidence_hidden"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    try:
        return RegressorConfig(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(_cannot_build(path, error)) from error


def _cannot_build(path: Path, error: Exception) -> str:
    return (
        f"{path} describes a network that this idhand cannot build ({error}); "
        "it comes from another version: update idhand or train anew"
    )


def saved_meta(path: Path) -> dict[str, Any]:
    """The notes that were saved with a network; errors as in `load_network`."""
    return dict(_header(path)["meta"])


def _label(net: Regressor | KeypointNet) -> str:
    """Of its frozen hand net."""
    assert isinstance(net.backbone, HandBackbone)
    return net.backbone.label


def _opened(path: Path) -> Any:
    existing_file(path)
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file or is incomplete ({error}); copy it again or save "
            "the network anew"
        ) from error


def _header(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        notes = file.metadata() or {}
    header = parse_json(notes.get("idhand", "null"), path, "copy it again")
    kind = FORMATS_1.get(header.get("format", "")) if isinstance(header, dict) else None
    if kind is not None:  # heatmaps had no version then
        header = {"version": 1, **header, "kind": kind}
        return replace(FILE_KIND, format=header["format"], version=1).check(header, path)
    header = FILE_KIND.check(header, path)
    if header.get("kind") not in get_args(Kind):
        raise ValueError(
            f"{path} holds a network of the kind '{header.get('kind')}', this idhand knows "
            f"{' and '.join(get_args(Kind))}; update idhand, or train anew"
        )
    return header
