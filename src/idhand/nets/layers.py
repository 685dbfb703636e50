"""Small parts that the networks share."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Modulation(NamedTuple):
    """How one layer's activations are changed for a person: `x * (1 + scale) + shift`."""

    scale: Float[Tensor, "batch channels"]
    shift: Float[Tensor, "batch channels"]

    def __call__(self, x: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch channels"]:
        """The changed activations."""
        return x * (1 + self.scale) + self.shift


class Mlp(nn.Module):
    """Linear layers with ReLU between them and none after the last."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(
        self, x: Float[Tensor, "*batch inputs"], modulation: Modulation | None = None
    ) -> Float[Tensor, "*batch outputs"]:
        """Outputs; the modulation applies before the first ReLU."""
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == 0 and modulation is not None:
                x = modulation(x)
            if i < last:
                x = torch.relu(x)
        return x

    def shrink_last(self, bias: Tensor, factor: float = 0.01) -> None:
        """Make the untrained outputs nearly the same for every input: this bias."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(factor)
            last.bias.copy_(bias)


class Standardise(nn.Module):
    """Inputs to zero mean and unit spread by numbers that are measured once, before training."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def measure(self, x: Float[Tensor, "samples channels"]) -> None:
        """Take mean and spread from typical inputs; channels that never change keep spread one."""
        std = x.double().std(0)
        self.mean.copy_(x.double().mean(0))
        self.std.copy_(torch.where(std > 1e-3, std, torch.ones_like(std)))

    def forward(self, x: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch channels"]:
        """Clipped at ten spreads, so that a strange picture stays a finite one."""
        return ((x - self.mean) / self.std).clamp(-10, 10)
