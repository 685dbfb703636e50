"""The log of a training: lines in log.txt and on stderr, curves for TensorBoard."""

import importlib.util
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any


class RunLog:
    """Lines and curves of one run; of several processes only the first writes any."""

    def __init__(self, folder: Path, *, is_silent: bool = False):
        self._file = None if is_silent else (folder / "log.txt").open("a", encoding="utf-8")
        self._folder = folder / "tensorboard"
        self._writer: Any = None
        self._has_curves = not is_silent

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()

    def show(self, line: str) -> None:
        """One line, to the file and to the person at the terminal (stderr)."""
        self.note(line)
        if self._file is not None:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def note(self, line: str) -> None:
        """One line in the file alone, with the time of day."""
        if self._file is not None:
            self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            self._file.flush()

    def curves(self, group: str, values: Mapping[str, float], step: int) -> None:
        """A point on each curve; the first call drops what a killed run drew beyond it."""
        if self._writer is None and self._has_curves:
            self._writer = self._tensorboard(step)
            self._has_curves = self._writer is not None
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def _tensorboard(self, first_step: int) -> Any:
        """TensorBoard's writer, if the package is there."""
        if importlib.util.find_spec("tensorboard") is None:
            self.show("no curves for TensorBoard without it; pip install 'idhand[train]'")
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that it imports
            from torch.utils.tensorboard import SummaryWriter
        return SummaryWriter(self._folder, purge_step=first_step)


def spelled(values: Mapping[str, float]) -> str:
    """`mesh 0.31, pose 0.12`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Pace:
    """How fast it goes, since the last time that anybody asked."""

    def __init__(self) -> None:
        self._since, self._examples = time.perf_counter(), 0

    def count(self, examples: int) -> None:
        """So many examples more are done."""
        self._examples += examples

    def pause(self, seconds: float) -> None:
        """Leave out time that was spent on something else."""
        self._since += seconds

    def per_second(self) -> float:
        """Examples a second; begins to count anew."""
        now = time.perf_counter()
        rate = self._examples / max(now - self._since, 1e-9)
        self._since, self._examples = now, 0
        return rate
