"""All that a training needs to go on, bit for bit, in files that are whole or not there."""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from idhand.files import FileKind, remove_leftovers, replacing

KIND = FileKind(
    format="idhand training checkpoint",
    version=1,
    name="checkpoint of `idhand train`",
    remedy="start anew with another --out",
)
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state after a number of steps."""

    step: int
    """Steps that are done."""
    origin: Mapping[str, Any]
    """What is trained, how and on what, in types of JSON: another origin, another training."""
    module: dict[str, torch.Tensor]
    averaged: dict[str, torch.Tensor] | None
    """Moving average of the weights, if one is kept."""
    optimiser: dict[str, Any]
    best: float | None
    """Smallest validation number so far."""
    metrics: dict[str, float]
    """Of the last validation."""


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """The checkpoints of one run: the last, the one before, and the best."""

    folder: Path

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it as the last one, and keep the one that was the last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        last = self.folder / LAST
        with replacing(last) as temporary:
            _write(checkpoint, temporary)
            if last.exists():
                last.replace(self.folder / PREVIOUS)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Write it as the best one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / BEST) as temporary:
            _write(checkpoint, temporary)

    def latest(self) -> Path | None:
        """File of the newest checkpoint; None if there is none."""
        files = (self.folder / name for name in (LAST, PREVIOUS))
        return next((path for path in files if path.exists()), None)

    def remove_leftovers(self) -> None:
        """Delete temporary files of a killed process."""
        if self.folder.is_dir():
            remove_leftovers(self.folder, "*.pt")


def _write(checkpoint: Checkpoint, path: Path) -> None:
    values = {**vars(checkpoint), "origin": json.dumps(checkpoint.origin)}
    try:
        torch.save({**KIND.header, **values}, path)
    except RuntimeError as error:  # torch's own writer raises no OSError
        reason = str(error).splitlines()[0]
        raise OSError(f"{path} cannot be written ({reason}); is there room on the disk?") from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it can be run.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, something else, or of another version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint; check the name")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise ValueError(f"{path} may not be read; change its permissions") from error
    # torch also reports half a file as an OSError
    except (RuntimeError, OSError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged, half-written or not a checkpoint; remove it, and training goes on "
            "from the one before it, if there is one"
        ) from error
    values = KIND.check(values, path)
    fields = {name: values[name] for name in Checkpoint.__dataclass_fields__}
    return Checkpoint(**{**fields, "origin": json.loads(values["origin"])})


def check_same_origin(
    checkpoint: Checkpoint, origin: Mapping[str, Any], path: Path, *, most: int = 4
) -> None:
    """Make sure that a checkpoint belongs to the training that wants to go on with it.

    Raises:
        ValueError: Naming what differs, at most so many things.
    """
    there, here = _flat(checkpoint.origin), _flat(json.loads(json.dumps(origin)))
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    if names:
        differences = [
            f"{name} is {json.dumps(there.get(name))} there and {json.dumps(here.get(name))} now"
            for name in names[:most]
        ]
        more = [f"and {len(names) - most} more"] if len(names) > most else []
        raise ValueError(
            f"{path} belongs to another training: {'; '.join(differences + more)}. Use the same "
            "settings to go on with it, or another --out to start anew"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables → one with dotted names."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        out |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return out
