"""A small training that other processes can run: killed in the middle, or several at once."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from idhand.training import LoopConfig, Trained, train
from idhand.training.batches import Batch
from idhand.training.draws import Once, Order
from idhand.training.processes import Group, process_group

NUM_EXAMPLES, NUM_INPUTS, NUM_OUTPUTS = 50, 5, 3
CONFIG = LoopConfig(
    batch=8, steps=40, lr=0.02, ema_decay=0.9, warmup_steps=5, clip_norm=0.5, seed=3,
    log_every=5, checkpoint_every=7, validate_every=10,
)  # fmt: skip


class ToyTask(nn.Module):
    """Everything that has a state: batch norm, dropout, weights."""

    def __init__(self, dropout: float = 0.2):
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Linear(NUM_INPUTS, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout),
                nn.Linear(16, NUM_OUTPUTS),
            )  # fmt: skip

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        error = self.layers(batch.inputs01) - batch.betas
        return {"far": error.abs().mean(), "near": 0.5 * (error**2).mean()}


@dataclass(frozen=True)
class ToyExamples:
    """Random inputs and a function of them."""

    delay_s: float = 0.0
    broken: int | None = None
    """Index of an example that is no number."""

    def __len__(self) -> int:
        return NUM_EXAMPLES

    def batches(
        self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int
    ) -> Iterator[Batch]:
        rng = torch.Generator().manual_seed(0)
        inputs = torch.randn(NUM_EXAMPLES, NUM_INPUTS, generator=rng)
        outputs = torch.sin(inputs @ torch.randn(NUM_INPUTS, NUM_OUTPUTS, generator=rng))
        if self.broken is not None:
            inputs[self.broken] = torch.nan
        for keys in order.keys(first, end, rank=rank, ranks=ranks):
            time.sleep(self.delay_s)
            index = torch.from_numpy(keys.indices)
            yield Batch(
                inputs=inputs[index], rotations=None, betas=outputs[index],
                points_px=torch.zeros(len(index), 21, 2), index=index, epoch=keys.epoch,
            )  # fmt: skip

    def name(self, index: int) -> str:
        return f"toy-{index}"

    def description(self) -> dict[str, Any]:
        return {"toys": NUM_EXAMPLES}


class MeanColours(nn.Module):
    """A backbone of nothing, for crops of 224 px."""

    def forward(self, images01: torch.Tensor) -> torch.Tensor:
        return images01.unflatten(2, (2, 112)).mean((3, 4)).flatten(1)


@torch.no_grad()
def toy_validate(task: nn.Module) -> dict[str, float]:
    """The error over all examples."""
    once = Once(num_examples=NUM_EXAMPLES, batch=16)
    parts = ToyExamples().batches(once, 0, once.num_steps, rank=0, ranks=1)
    return {"far": float(torch.stack([task(part)["far"] for part in parts]).mean())}


def run(
    folder: Path,
    config: LoopConfig = CONFIG,
    *,
    examples: ToyExamples | None = None,
    task: nn.Module | None = None,
    group: Group | None = None,
    toy: str = "toy",
) -> Trained:
    """The training."""
    return train(
        task or ToyTask(),
        examples or ToyExamples(),
        config,
        folder,
        origin={"what": toy, "seed": config.seed},
        validate=toy_validate,
        group=group,
    )


DISTRIBUTED = replace(CONFIG, norm="frozen", steps=20)


if __name__ == "__main__":
    torch.set_num_threads(1)
    how, out = sys.argv[1], Path(sys.argv[2])
    if how == "slow":
        run(out, examples=ToyExamples(delay_s=0.02))
    else:
        with process_group("cpu") as everybody:
            run(out, DISTRIBUTED, task=ToyTask(dropout=0.0), group=everybody)
