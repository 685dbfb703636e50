"""Long work on many pictures in parts: each is a file, so that after a kill none is done twice."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from idhand.data import DataSet, Subset
from idhand.interrupts import results
from idhand.methods.detections import DetectedHands
from idhand.predictions import Predictions
from idhand.training.processes import start_worker

CHUNK = 2000
"""Pictures of a part."""

Rows = TypeVar("Rows", Predictions, DetectedHands)
Made = TypeVar("Made", bound=Predictions | DetectedHands, covariant=True)
Bar = Callable[[int, int], None]
"""Called with the number of pictures that are done, and of all."""


@runtime_checkable
class Maker(Protocol[Made]):
    """Pictures → rows of one kind; picklable, to be called in other processes."""

    @property
    def kind(self) -> type[Made]:
        """Of the rows."""
        ...

    def __call__(self, data: DataSet, /) -> Made:
        """Rows of all pictures, in their order."""
        ...


def in_chunks(
    make: Maker[Rows],
    data: DataSet,
    folder: Path,
    *,
    workers: int = 1,
    bar: Bar | None = None,
) -> Rows:
    """Rows of all pictures, in their order.

    Args:
        make: The work.
        data: Picklable if there are several workers.
        folder: For the parts, which stay there.
        workers: Processes of one thread each; no result depends on their number.
        bar: Shows how far it is.

    Raises:
        ValueError: If a hand is found in none of the pictures of a part, or as `make` raises.
        OSError: If a process is killed.
    """
    folder.mkdir(exist_ok=True)
    plan = {
        folder / f"part-{start // CHUNK:05d}.npz": range(start, min(start + CHUNK, len(data)))
        for start in range(0, len(data), CHUNK)
    }
    missing = {path: rows for path, rows in plan.items() if not path.is_file()}
    done = len(data) - sum(map(len, missing.values()))
    bar = bar or (lambda done, total: None)
    bar(done, len(data))
    # By the whole plan, so that after a kill the rest is computed by as many threads as before.
    for path in _made(make, data, missing, min(workers, len(plan))):
        done += len(plan[path])
        bar(done, len(data))
    return joined([make.kind.load(path) for path in plan])


def _made(
    make: Maker[Any], data: DataSet, missing: dict[Path, range], workers: int
) -> Iterator[Path]:
    """Make the parts that are missing."""
    if workers < 2 or not missing:
        yield from (_make(make, data, path, rows) for path, rows in missing.items())
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=start_worker
    )
    jobs = [(make, data, path, rows) for path, rows in missing.items()]
    yield from (path for _, path in results(pool, _make, jobs))


def _make(make: Maker[Any], data: DataSet, path: Path, rows: range) -> Path:
    make(Subset(data, rows)).save(path)
    return path


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of several parts as one; notes that differ are left out."""
    first = parts[0]
    if len(parts) == 1:
        return first
    header = {
        name: value
        for name, value in first.header.items()
        if all(part.header.get(name) == value for part in parts)
    }
    header["dataset"] = ", ".join(sorted({part.header.get("dataset", "") for part in parts}))
    values = {}
    for each in fields(first):
        columns = [getattr(part, each.name) for part in parts]
        if isinstance(columns[0], tuple):
            values[each.name] = tuple(chain.from_iterable(columns))
        elif isinstance(columns[0], np.ndarray):
            values[each.name] = _stacked(columns)
    return replace(first, header=header, **values)


def _stacked(columns: Sequence[np.ndarray]) -> np.ndarray:
    """One field of all parts; lenses of fewer coefficients than others get zeros."""
    shape = np.max([column.shape[1:] for column in columns], axis=0, initial=0)
    padded = []
    for column in columns:
        short = (shape - column.shape[1:]).astype(int).tolist()
        padded.append(np.pad(column, [(0, 0), *((0, missing) for missing in short)]))
    return np.concatenate(padded)
