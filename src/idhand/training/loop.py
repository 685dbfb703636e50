"""The loop: batches → loss → gradient → weights, with checkpoints that it goes on from bit for bit.

What is trained is a task: a module that turns a `Batch` into named loss terms. The loop adds them
up. A task whose `train()` leaves parts in evaluation mode keeps them so.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from idhand.training.batches import Batch, Examples
from idhand.training.checkpoints import (
    Checkpoint,
    Checkpoints,
    check_same_origin,
    read_checkpoint,
)
from idhand.training.draws import Order, step_seed
from idhand.training.log import Pace, RunLog, duration, spelled
from idhand.training.processes import Group
from idhand.training.schedule import LoopConfig

Validate = Callable[[nn.Module], dict[str, float]]
"""Named numbers of a task in evaluation mode; the first is the one to be small."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came out."""

    task: nn.Module
    """In evaluation mode, with the averaged weights if an average was kept."""
    steps: int
    metrics: dict[str, float]
    """Of the last validation; empty without one."""


@dataclass(kw_only=True)
class _State:
    """What changes while training."""

    task: nn.Module
    averaged: nn.Module | None
    optimiser: torch.optim.Optimizer
    step: int = 0
    best: float | None = None
    metrics: dict[str, float]

    @property
    def result(self) -> nn.Module:
        """What is validated and exported."""
        return self.task if self.averaged is None else self.averaged

    def snapshot(self, origin: Mapping[str, Any]) -> Checkpoint:
        """As a checkpoint."""
        return Checkpoint(
            step=self.step,
            origin=origin,
            module=self.task.state_dict(),
            averaged=None if self.averaged is None else self.averaged.state_dict(),
            optimiser=self.optimiser.state_dict(),
            best=self.best,
            metrics=self.metrics,
        )

    def restore(self, there: Checkpoint) -> None:
        """Become what a checkpoint holds."""
        self.task.load_state_dict(there.module)
        if self.averaged is not None:
            assert there.averaged is not None
            self.averaged.load_state_dict(there.averaged)
        self.optimiser.load_state_dict(there.optimiser)
        self.step, self.best, self.metrics = there.step, there.best, there.metrics


def train(
    task: nn.Module,
    examples: Examples,
    config: LoopConfig,
    folder: Path,
    *,
    origin: Mapping[str, Any],
    validate: Validate | None = None,
    group: Group | None = None,
) -> Trained:
    """Train, from the folder's newest checkpoint if it has one.

    With several processes each takes its part of every batch and the gradients are averaged, which
    is the gradient of the whole batch for terms that are means over examples. A ranking loss
    compares only the examples of one process.

    Args:
        task: Is moved to the group's device and trained in place.
        examples: Where batches come from.
        config: The loop's numbers.
        folder: For checkpoints, log and curves; is made if needed.
        origin: What this training is, in types of JSON: a checkpoint of another one is refused.
        validate: Called with the task in the first process only.
        group: The processes that train together; this one alone if not given.

    Raises:
        ValueError: If the folder's checkpoint cannot be gone on with, the batch cannot be divided
            among the processes, or there are too few examples.
        FloatingPointError: If the loss or its gradient is no longer a number.
    """
    group = group or Group()
    if config.batch % group.ranks:
        raise ValueError(
            f"a batch of {config.batch} cannot be divided among {group.ranks} processes; "
            "use a multiple"
        )
    order = Order(num_examples=len(examples), batch=config.batch, seed=config.seed)
    num_steps = config.num_steps(order.epoch_steps)
    checkpoints = Checkpoints(folder=folder / "checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    with RunLog(folder, is_silent=not group.is_first) as log:
        state = _started(task, config, group)
        _resume(state, checkpoints, origin, log)
        if group.is_first:
            checkpoints.remove_leftovers()
        batches = examples.batches(order, state.step, num_steps, rank=group.rank, ranks=group.ranks)
        loop = _Loop(
            config=config, order=order, num_steps=num_steps, group=group, log=log, origin=origin,
            state=state, examples=examples, checkpoints=checkpoints, validate=validate,
        )  # fmt: skip
        loop.run(batches)
    return Trained(task=state.result.eval(), steps=state.step, metrics=state.metrics)


def _started(task: nn.Module, config: LoopConfig, group: Group) -> _State:
    """Before the first step."""
    task.to(group.device)
    averaged = None if config.ema_decay is None else deepcopy(task).requires_grad_(False).eval()
    weights = [weight for weight in task.parameters() if weight.requires_grad]
    optimiser = config.build_optimiser(weights)
    return _State(task=task, averaged=averaged, optimiser=optimiser, metrics={})


def _resume(
    state: _State, checkpoints: Checkpoints, origin: Mapping[str, Any], log: RunLog
) -> None:
    """Go on from the newest checkpoint, if there is one."""
    path = checkpoints.latest()
    if path is None:
        return
    there = read_checkpoint(path)
    check_same_origin(there, origin, path)
    state.restore(there)
    log.show(f"going on after step {state.step:,} of {path}")


@dataclass(frozen=True, kw_only=True)
class _Loop:
    """The loop with what it needs at hand."""

    config: LoopConfig
    order: Order
    num_steps: int
    group: Group
    log: RunLog
    origin: Mapping[str, Any]
    state: _State
    examples: Examples
    checkpoints: Checkpoints
    validate: Validate | None

    def run(self, batches: Iterator[Batch]) -> None:
        """All steps that are not yet done."""
        config, state, group = self.config, self.state, self.group
        parallel = self._parallel()
        pace = Pace()
        for batch in batches:
            batch = batch.to(group.device)  # noqa: PLW2901
            lr = config.lr_at(state.step, self.order.epoch_steps)
            for part in state.optimiser.param_groups:
                part["lr"] = lr
            torch.manual_seed(step_seed(config.seed, state.step, group.rank))
            self._training_mode()
            with torch.autocast(group.device.type, torch.bfloat16, enabled=config.amp == "bf16"):
                terms: dict[str, Tensor] = parallel(batch)
            total = torch.stack([*terms.values()]).sum()
            self._check_finite({**terms, "total": total}, batch)
            state.optimiser.zero_grad(set_to_none=True)
            total.backward()
            self._check_finite({"gradient": self._clipped()}, batch)
            state.optimiser.step()
            self._average()
            state.step += 1
            pace.count(config.batch)
            self._after_step({"total": total, **terms}, lr, pace)

    def _parallel(self) -> nn.Module:
        """The task as the loop calls it: with several processes, gradients are averaged."""
        if self.group.ranks == 1:
            return self.state.task
        devices = None if self.group.device.type == "cpu" else [self.group.device]
        return DistributedDataParallel(self.state.task, device_ids=devices)

    def _training_mode(self) -> None:
        self.state.task.train()
        if self.config.norm == "frozen":
            for module in self.state.task.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _clipped(self) -> Tensor:
        """Length of the whole gradient, which is shortened if it is too long."""
        weights = [weight for weight in self.state.task.parameters() if weight.grad is not None]
        longest = self.config.clip_norm or float("inf")
        return nn.utils.clip_grad_norm_(weights, longest)

    def _average(self) -> None:
        """Move the average of the weights towards the weights; buffers are taken as they are."""
        state = self.state
        if state.averaged is None:
            return
        share = 1 - self.config.ema_decay_at(state.step)
        with torch.no_grad():
            averages: list[Any] = [*state.averaged.parameters()]
            weights: list[Any] = [*state.task.parameters()]
            torch._foreach_lerp_(averages, weights, share)  # pyright: ignore
            pairs = zip(state.averaged.buffers(), state.task.buffers(), strict=True)
            for kept, value in pairs:
                kept.copy_(value)

    def _check_finite(self, values: Mapping[str, Tensor], batch: Batch) -> None:
        """Stop all processes before a number that is none gets into the weights."""
        are_fine = torch.stack([value.detach() for value in values.values()]).isfinite().tolist()
        wrong = [name for name, is_fine in zip(values, are_fine, strict=True) if not is_fine]
        if not self.group.any(bool(wrong)):
            return
        path = self.checkpoints.latest()
        good = "there is no checkpoint yet"
        if path is not None:
            good = f"the last good checkpoint is {path} (step {read_checkpoint(path).step:,})"
        names = [self.examples.name(i) for i in batch.index.tolist()]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        what = f"{', '.join(wrong)} not finite" if wrong else "another process met no number"
        sentence = (
            f"training stopped in step {self.state.step + 1:,}: {what} for the samples {shown}; "
            f"{good}. Check these samples, or lower the learning rate"
        )
        self.log.note(sentence)
        raise FloatingPointError(sentence)

    def _after_step(self, terms: Mapping[str, Tensor], lr: float, pace: Pace) -> None:
        """Log, validate and save, if it is time."""
        state, config = self.state, self.config
        is_last = state.step == self.num_steps
        if is_last or state.step % config.log_every == 0:
            self._log_progress(terms, lr, pace)
        with _paused(pace):
            if is_last or state.step % config.validate_every == 0:
                self._validate()
            if self.group.is_first and (is_last or state.step % config.checkpoint_every == 0):
                self.checkpoints.save(state.snapshot(self.origin))

    def _log_progress(self, terms: Mapping[str, Tensor], lr: float, pace: Pace) -> None:
        together = self.group.mean(torch.stack([term.detach() for term in terms.values()]))
        values = dict(zip(terms, together.tolist(), strict=True))
        rate = pace.per_second()
        step, left = self.state.step, (self.num_steps - self.state.step) * self.config.batch
        parts = spelled({name: value for name, value in values.items() if name != "total"})
        self.log.show(
            f"step {step:,} of {self.num_steps:,} | loss {values['total']:.4g} ({parts}) | "
            f"lr {lr:.2e} | {rate:,.0f} examples/s | {duration(left / rate)} left"
        )
        self.log.curves("loss", values, step)
        self.log.curves("speed", {"lr": lr, "examples_per_s": rate}, step)

    def _validate(self) -> None:
        """Validate in the first process, and keep the best checkpoint."""
        if self.validate is None:
            return
        state = self.state
        if self.group.is_first:
            with torch.no_grad():
                state.metrics = self.validate(state.result.eval())
            self.log.show(f"validation after step {state.step:,}: {spelled(state.metrics)}")
            self.log.curves("validation", state.metrics, state.step)
            value = next(iter(state.metrics.values()))
            if state.best is None or value < state.best:
                state.best = value
                self.checkpoints.save_best(state.snapshot(self.origin))
        self.group.wait()


@contextmanager
def _paused(pace: Pace) -> Iterator[None]:
    """Leave the block's time out of the pace."""
    began = time.perf_counter()
    yield
    pace.pause(time.perf_counter() - began)
