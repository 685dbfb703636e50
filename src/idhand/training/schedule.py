"""How training goes, whatever is trained: the optimiser, its schedule, and when to log and save."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, cos, isfinite, pi
from typing import Literal, get_args

import torch
from torch import nn

Optimiser = Literal["adam", "adamw"]
Schedule = Literal["constant", "steps", "cosine"]
Amp = Literal["none", "bf16"]
Norm = Literal["batch", "frozen"]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """The loop's numbers; the presets of `idhand.training.presets` give them for each net.

    Raises:
        ValueError: If a number makes no sense.
    """

    optimiser: Optimiser = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    """Adam adds it to the gradient, AdamW shrinks the weights."""
    moments: tuple[float, float] = (0.9, 0.999)
    """Decay of the optimiser's two averages."""
    batch: int = 256
    """Over all processes."""
    steps: int | None = None
    epochs: float | None = None
    """Give one of the two."""
    schedule: Schedule = "cosine"
    """`steps` multiplies the rate by `milestone_factor` after each of `milestones`; `cosine` ends
    at zero."""
    warmup_steps: int = 0
    """In which the rate rises from zero, with every schedule."""
    milestones: tuple[float, ...] = ()
    """Epochs."""
    milestone_factor: float = 0.1
    clip_norm: float | None = 1.0
    """Longest gradient, over all weights together."""
    ema_decay: float | None = None
    """Of the moving average of the weights, which is what is exported. In the first steps the
    average is shorter: the decay after `n` steps is at most (1 + n) / (10 + n)."""
    amp: Amp = "none"
    """`bf16`: networks run in bfloat16 where torch thinks it safe; losses never do."""
    norm: Norm = "batch"
    """`frozen`: batch norms keep their statistics, so that any number of processes computes the
    same; else each process has the statistics of its own part of the batch."""
    seed: int = 0
    log_every: int = 100
    """Steps."""
    checkpoint_every: int = 1000
    validate_every: int = 1000
    num_workers: int = 0
    """Processes that read and augment pictures, for each training process; 0 = none but itself."""

    def __post_init__(self):
        for name, kind in (
            ("optimiser", Optimiser), ("schedule", Schedule), ("amp", Amp), ("norm", Norm)
        ):  # fmt: skip
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {get_args(kind)}, got '{getattr(self, name)}'"
                )
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"give steps or epochs, got {self.steps} and {self.epochs}")
        for name in ("lr", "epochs", "clip_norm", "milestone_factor", "weight_decay"):
            if not isfinite(getattr(self, name) or 0.0):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)}")
        for name in ("batch", "steps", "log_every", "checkpoint_every", "validate_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("lr", "epochs", "clip_norm", "milestone_factor"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than zero, got {getattr(self, name)}")
        for name in ("weight_decay", "warmup_steps", "seed", "num_workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be within 0..1, got {self.ema_decay}")
        if self.schedule == "steps" and not self.milestones:
            raise ValueError("the schedule 'steps' needs milestones")

    def num_steps(self, epoch_steps: int) -> int:
        """Steps of the whole training, if an epoch has so many."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, ceil(self.epochs * epoch_steps))

    def lr_at(self, step: int, epoch_steps: int) -> float:
        """Learning rate of a step, counted from 0."""
        lr = self.lr * min(1.0, (step + 1) / (self.warmup_steps + 1))
        match self.schedule:
            case "constant":
                return lr
            case "steps":
                passed = sum(step >= epochs * epoch_steps for epochs in self.milestones)
                return lr * self.milestone_factor**passed
            case "cosine":
                return lr * (1 + cos(pi * step / self.num_steps(epoch_steps))) / 2

    def ema_decay_at(self, step: int) -> float:
        """Decay of the average in a step, counted from 0."""
        assert self.ema_decay is not None
        return min(self.ema_decay, (1 + step) / (10 + step))

    def build_optimiser(self, weights: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """An optimiser of these weights."""
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimiser]
        return kind(weights, lr=self.lr, betas=self.moments, weight_decay=self.weight_decay)
