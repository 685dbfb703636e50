"""What a step of training sees, and the forms in which a data set can hand it out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from idhand.training.draws import Once, Order

Inputs = (
    UInt8[Tensor, "batch 3 height width"]
    | Float[Tensor, "batch features"]
    | Float[Tensor, "batch 3 height width"]
)


Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class SeenLabels:
    """What crops show of their hands beside pose and shape; see `idhand.nets.keypoints`."""

    visible: Float[Tensor, "batch 21"]
    """1 or 0, see `Sample.visible`."""
    log_size: Float[Tensor, " batch"]
    """Logarithm of the hand's length at the middle knuckle's depth, in sides of the crop."""
    parts: UInt8[Tensor, "batch 56 56"]
    """As `Sample.parts`."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples of one step: right hands only, as seen in their crops."""

    inputs: Inputs
    """Crops as bytes or 0..1, or what a frozen backbone made of them."""
    rotations: Float[Tensor, "batch 16 3 3"] | None
    """Each joint relative to its parent, the wrist's to the view; None if only 2D is known."""
    betas: Float[Tensor, "batch betas"] | None
    points_px: Float[Tensor, "batch 21 2"]
    """True keypoints in the crop; NaN where one is not known."""
    index: Int[Tensor, " batch"]
    """Which examples these are."""
    epoch: int
    seen: SeenLabels | None = None
    """What else is learnt about what the crops show; None: nothing."""

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        seen = None if self.seen is None else _moved(self.seen, device)
        return replace(_moved(self, device), seen=seen)

    @property
    def inputs01(self) -> Tensor:
        """Crops in 0..1 or features, as float32."""
        scale = 255 if self.inputs.dtype == torch.uint8 else 1
        return self.inputs.float() / scale


def _moved(record: Record, device: torch.device) -> Record:
    """The record with its tensors on a device."""
    moved = {
        name: value.to(device, non_blocking=True)
        for name, value in vars(record).items()
        if torch.is_tensor(value)
    }
    return replace(record, **moved)  # pyright: ignore[reportArgumentType, reportCallIssue]


@runtime_checkable
class Examples(Protocol):
    """A data set as a source of batches."""

    def __len__(self) -> int: ...

    def batches(
        self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int
    ) -> Iterator[Batch]:
        """The part of process `rank` in the steps from `first` up to `end`."""
        ...

    def name(self, index: int) -> str:
        """What an example is called in the data set."""
        ...

    def description(self) -> dict[str, Any]:
        """What fixes the examples, in types of JSON."""
        ...
