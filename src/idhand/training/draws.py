"""Random numbers that belong to an example, not to a process: the same on any number of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

IDENTITY_KNOWN, IDENTITY_NOISE, LAYERS, JITTER, COLOUR = 1, 2, 3, 4, 5
"""What numbers are drawn for: another stream, other numbers."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Which examples a batch is made of, and in which epoch."""

    epoch: int
    indices: Int[np.ndarray, " batch"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which examples each step sees: a new permutation in every epoch, its rest left out.

    Raises:
        ValueError: If there are fewer examples than one batch needs.
    """

    num_examples: int
    batch: int
    """Over all processes."""
    seed: int

    def __post_init__(self):
        if self.num_examples < self.batch:
            raise ValueError(
                f"one batch takes {self.batch} examples, but there are only {self.num_examples}; "
                "use more data or a smaller batch"
            )

    @property
    def epoch_steps(self) -> int:
        """Steps in one pass over the data."""
        return self.num_examples // self.batch

    def epoch(self, epoch: int) -> Int[np.ndarray, "steps batch"]:
        """The examples of one epoch's steps."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_examples)
        return order[: self.epoch_steps * self.batch].reshape(-1, self.batch)

    def keys(self, first: int, end: int, *, rank: int = 0, ranks: int = 1) -> Iterator[Keys]:
        """The part of process `rank` in the steps from `first` up to `end`."""
        part = slice(rank * self.batch // ranks, (rank + 1) * self.batch // ranks)
        for epoch in range(first // self.epoch_steps, -(-end // self.epoch_steps)):
            start = epoch * self.epoch_steps
            for indices in self.epoch(epoch)[max(first - start, 0) : end - start]:
                yield Keys(epoch=epoch, indices=indices[part])


@dataclass(frozen=True, kw_only=True)
class Once:
    """Every example once, in order, the last batch as small as it must be: for validation."""

    num_examples: int
    batch: int

    @property
    def num_steps(self) -> int:
        """Batches."""
        return -(-self.num_examples // self.batch)

    def keys(self, first: int, end: int, *, rank: int = 0, ranks: int = 1) -> Iterator[Keys]:
        """Batches from `first` up to `end`; every process `rank` of `ranks` sees all of them."""
        for step in range(first, end):
            last = min((step + 1) * self.batch, self.num_examples)
            yield Keys(epoch=0, indices=np.arange(step * self.batch, last))


def uniforms(
    seed: int, epoch: int, indices: Int[np.ndarray, " batch"], stream: int, count: int
) -> Float[np.ndarray, "batch count"]:
    """Numbers in 0..1 that depend on each example's index, on the epoch and the seed alone.

    Counter-based, so that a batch of thousands costs no more than one call. Source: the finaliser
    of SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).
    """
    key = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)
    counter = indices.astype(np.uint64)[:, None] * np.uint64(count) + np.arange(
        count, dtype=np.uint64
    )
    mixed = _mixed(_mixed(counter + np.uint64(1)) ^ key)
    return (mixed >> np.uint64(11)) * 2.0**-53


def normals(
    seed: int, epoch: int, indices: Int[np.ndarray, " batch"], stream: int, count: int
) -> Float[np.ndarray, "batch count"]:
    """The same, normally distributed (Box and Muller)."""
    first, second = np.split(uniforms(seed, epoch, indices, stream, 2 * count), 2, axis=1)
    return np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed for what a network's layers draw in one step (dropout): no state to be kept."""
    drawn = np.random.SeedSequence([seed, step, rank, LAYERS]).generate_state(1, np.uint64)
    return int(drawn[0] >> np.uint64(1))


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of 64 bits in which every bit depends on all."""
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
