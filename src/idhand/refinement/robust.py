"""Weights that fall for what does not agree with the rest."""

import torch
from jaxtyping import Float
from torch import Tensor


def redescending(
    ratio: Float[Tensor, "*batch"], drop_below: float = 0.0
) -> Float[Tensor, "*batch"]:
    """1 for small ratios, one half at 1, falling with the fourth power.

    Args:
        ratio: Each one's deviation, in units of the deviation that halves the weight.
        drop_below: Weights below this become zero.
    """
    weight = 1 / (1 + ratio**4)
    return torch.where(weight < drop_below, torch.zeros_like(weight), weight)
