"""Networks as files: safetensors whose header says what the network is and how it came to be."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from idhand.files import FileKind, existing_file, parse_json, replacing
from idhand.nets.backbones import HandBackbone
from idhand.nets.regressor import Regressor, RegressorConfig

KIND = FileKind(
    format="idhand regressor", version=1, name="network of idhand's", remedy="train anew"
)


def save_net(
    regressor: Regressor,
    path: Path,
    meta: Mapping[str, Any],
    *,
    dtype: Literal["float32", "float16"] = "float32",
) -> None:
    """Write a network; the same network and notes give the same bytes.

    The shipped hand net's weights are not stored again: its heads are.

    Args:
        regressor: On any device.
        path: Usually ends in `.safetensors`.
        meta: Notes for people (data, recipe, seed, commit), in JSON's types.
        dtype: Of the stored numbers; float16 halves the file.
    """
    kind = torch.float16 if dtype == "float16" else torch.float32
    state = {
        name: value.detach().to("cpu", kind if value.is_floating_point() else None).contiguous()
        for name, value in regressor.state_dict().items()
    }
    header = {
        **KIND.header,
        "config": asdict(regressor.config),
        "meta": dict(meta),
    }
    if regressor.is_frozen:
        header["backbone"] = _label(regressor)
    # One metadata entry: the order of several would differ from run to run.
    with replacing(path, mode=0o644) as temporary:  # safetensors' own are the owner's alone
        save_file(state, temporary, metadata={"idhand": json.dumps(header, sort_keys=True)})


def load_regressor(path: Path, *, hand_model: str | None = None) -> Regressor:
    """Read a network, in evaluation mode, float32, on the CPU.

    Args:
        path: What `save_net` wrote.
        hand_model: Name of the model that its betas must belong to; None takes any.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else, holds numbers that are not finite, or is
            of another version or hand model.
    """
    config = saved_config(path)
    if hand_model is not None and config.hand_model != hand_model:
        raise ValueError(
            f"{path} was trained for the hand model '{config.hand_model}', here is '{hand_model}'; "
            "betas of one model mean nothing to another: name a network trained for this one"
        )
    with _opened(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # The file fills every number, so the fresh ones may not disturb the caller's random state.
    with torch.random.fork_rng(devices=()):
        regressor = config.build()
    wanted = {name: value.shape for name, value in regressor.state_dict().items()}
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
    stands_on = _header(path).get("backbone")
    if regressor.is_frozen and stands_on not in (None, _label(regressor)):
        raise ValueError(
            f"{path} was trained on the features of '{stands_on}', and this idhand brings "
            f"'{_label(regressor)}'; train it anew, or take the idhand that it was trained with"
        )
    regressor.load_state_dict(state)
    return regressor.eval()


def saved_config(path: Path) -> RegressorConfig:
    """What the network in a file is made of; errors as in `load_regressor`."""
    values = dict(_header(path)["config"])
    for name in ("hidden", "shape_hidden", "confidence_hidden"):
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    try:
        return RegressorConfig(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} describes a network that this idhand cannot build ({error}); "
            "it comes from another version: update idhand or train anew"
        ) from error


def saved_meta(path: Path) -> dict[str, Any]:
    """The notes that were saved with a network; errors as in `load_regressor`."""
    return dict(_header(path)["meta"])


def _label(regressor: Regressor) -> str:
    """Of its frozen hand net."""
    assert isinstance(regressor.backbone, HandBackbone)
    return regressor.backbone.label


def _opened(path: Path) -> Any:
    existing_file(path)
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file or only a part of one ({error}); copy it again or save "
            "the network anew"
        ) from error


def _header(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        notes = file.metadata() or {}
    return KIND.check(parse_json(notes.get("idhand", "null"), path, "copy it again"), path)
