"""Several processes: those of one training under torchrun, and workers that cache features."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import cv2
import torch
import torch.distributed as dist

PATIENCE = timedelta(hours=12)
"""How long processes wait for the first one, which alone caches features and validates."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """This process among those that train together."""

    rank: int = 0
    ranks: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.ranks > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of the processes."""
        if self.ranks == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over the processes."""
        if self.ranks == 1:
            return values
        values = values.clone()
        dist.all_reduce(values)
        return values / self.ranks


@contextmanager
def process_group(device: str) -> Iterator[Group]:
    """The group that torchrun's environment describes; without torchrun, this process alone.

    Args:
        device: `cpu`, `cuda` or `cuda:1`; under torchrun each process takes the GPU of its local
            rank.

    Raises:
        ValueError: If there is no such device.
    """
    chosen = found_device(device)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks == 1:
        yield Group(device=chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Group(rank=dist.get_rank(), ranks=ranks, device=chosen)
    finally:
        dist.destroy_process_group()


def found_device(name: str) -> torch.device:
    """A device that is really there.

    Args:
        name: `cpu`, `cuda` or `cuda:1`.

    Raises:
        ValueError: If it is not.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        known = "cpu" if not torch.cuda.is_available() else "cpu, cuda or cuda:0"
        raise ValueError(f"there is no device '{name}' here ({reason}); use {known}") from error
    return device


def start_worker() -> None:
    """Make a worker process single-threaded, deaf to Ctrl-C, and let it end with its parent."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
