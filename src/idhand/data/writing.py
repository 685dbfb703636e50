"""Anything that makes samples → shards on disk, by several processes, with the same bytes always.

A shard appears whole or not at all, and the manifest lists it only afterwards; so whatever kills
the writer, the same call resumes.
"""

import errno
import gc
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch

from idhand.data.manifest import (
    FILE_NAME,
    Manifest,
    Shard,
    package_versions,
    remove_leftovers,
    sha256_of,
    shuffled_sequences,
)
from idhand.files import replacing
from idhand.interrupts import interrupts_between

ESTIMATE_SAMPLES = 8
"""Made before the work begins, to know how much room the set needs. It also fills the caches that
forked workers inherit."""
POLL_S = 0.25
"""How often `progress` is called."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

Progress = Callable[[int, int], None]
"""Called with the number of samples found finished at the start, and of those made since; first
when the workers begin."""


@runtime_checkable
class Source(Protocol):
    """Something that can make any of its samples at any time, always with the same bytes."""

    def __len__(self) -> int: ...

    def entry(self, index: int) -> Mapping[str, bytes]:
        """A sample's files: suffix → bytes, as of `encode_sample`."""
        ...

    def key(self, index: int) -> str:
        """A name for the sample's files, unique, without dots and slashes."""
        ...

    def description(self) -> dict[str, Any]:
        """What fixes the bytes, in types of JSON; package versions are added."""
        ...


@runtime_checkable
class SequenceSource(Source, Protocol):
    """A source of sequences that differ in length."""

    def sequence_lengths(self) -> Sequence[int]:
        """Samples of each sequence, which come one after another; 1 for a single picture."""
        ...


def write_shards(
    source: Source,
    folder: Path,
    *,
    workers: int,
    frames: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Write what is missing of a set, and return the manifest of the whole.

    Each worker is a process with one thread and makes one shard at a time, in memory.

    Args:
        source: Picklable where processes cannot be forked.
        folder: Is made if needed; files that are not of the set are left alone.
        workers: Number of processes; the bytes do not depend on it.
        frames: Samples in a row that are one sequence: it stays in order and in one shard. Apart
            from that, a shard's samples are shuffled. Leave it out for a `SequenceSource`, whose
            sequences may differ in length.
        progress: See `Progress`.

    Raises:
        ValueError: If the folder holds another set, too little room is left on the disk, or the
            sequences are not what the source has samples for.
        OSError: If the disk gets full after all, or a worker is killed.
    """
    if workers < 1 or len(source) < 1:
        raise ValueError(f"workers and samples must be 1 or more, got {workers} and {len(source)}")
    lengths = tuple(source.sequence_lengths()) if isinstance(source, SequenceSource) else None
    manifest = Manifest(
        source=json.loads(json.dumps(source.description())),
        versions=package_versions(),
        num_samples=len(source),
        frames=frames,
        lengths=lengths,
    )
    folder.mkdir(parents=True, exist_ok=True)
    try:
        manifest = _resumed(manifest, folder)
        remove_leftovers(folder)
        missing = [name for name in manifest.plan if name not in _names(manifest)]
        if not missing:
            return manifest
        with _safe_to_fork():
            _check_room(source, folder, sum(len(manifest.plan[name]) for name in missing))
            manifest.save(folder)
            return _Pool(source, folder, min(workers, len(missing))).write(
                manifest, missing, progress or (lambda found, made: None)
            )
    except OSError as error:
        if error.errno in DISK_FULL:
            raise OSError(_no_room(folder, manifest)) from error
        raise


def _names(manifest: Manifest) -> set[str]:
    return {shard.file for shard in manifest.shards}


def _resumed(planned: Manifest, folder: Path) -> Manifest:
    """The plan with the shards that are finished and sound already."""
    if not (folder / FILE_NAME).exists():
        if any(folder.glob("shard-*.tar")):
            raise ValueError(f"{folder} holds shards without {FILE_NAME}; use another folder")
        return planned
    there = Manifest.load(folder)
    planned.check_same_set(there, folder)
    return planned.with_shards(*(s for s in there.shards if s.deep_fault(folder) is None))


def _check_room(source: Source, folder: Path, num_missing: int) -> None:
    """Make a few samples and see whether all would fit on the disk."""
    indices = np.unique(np.linspace(0, len(source) - 1, ESTIMATE_SAMPLES).round().astype(int))
    sizes = [_tar_bytes(source.entry(i)) for i in indices.tolist()]
    needed = int(np.mean(sizes) * num_missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{num_missing:,} samples need about {needed / 1e9:.3g} GB, but only "
            f"{free / 1e9:.3g} GB are free in {folder}; make room, choose another folder or fewer"
        )


def _no_room(folder: Path, manifest: Manifest) -> str:
    """The sentence for a full disk."""
    free = shutil.disk_usage(folder).free
    return (
        f"the disk is full: {free / 1e6:.0f} MB are free in {folder}. The finished shards are "
        f"sound ({FILE_NAME} lists them); make room and run the same again to go on"
    )


@contextmanager
def _safe_to_fork() -> Iterator[None]:
    """Keep forked processes from waiting for threads that only their parent has.

    OpenCV and torch have none meanwhile. What exists already is kept from the garbage collection of
    the processes, because the end of some objects waits for their threads, such as a video's.
    """
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


class _Pool:
    """The processes that write one set."""

    def __init__(self, source: Source, folder: Path, workers: int):
        method = "fork" if sys.platform == "linux" else "spawn"
        context = multiprocessing.get_context(method)
        self.folder = folder
        self.made, self.stop = context.Value("q", 0), context.Event()
        self.executor = ProcessPoolExecutor(
            workers,
            mp_context=context,
            initializer=_start_worker,
            initargs=(
                _Job(
                    source=source,
                    folder=folder,
                    made=self.made,
                    stop=self.stop,
                    is_forked=method == "fork",
                ),
            ),
        )

    def write(self, manifest: Manifest, missing: list[str], progress: Progress) -> Manifest:
        """Have the missing shards made; the manifest on disk grows with each."""
        with interrupts_between() as check:
            try:
                return self._written(manifest, missing, progress, check)
            finally:
                self.stop.set()
                self.executor.shutdown(cancel_futures=True)
                remove_leftovers(self.folder)

    def _written(
        self,
        manifest: Manifest,
        missing: list[str],
        progress: Progress,
        check: Callable[[], None],
    ) -> Manifest:
        found = manifest.num_done
        progress(found, 0)
        plan = manifest.plan
        try:
            tasks = {
                self.executor.submit(_make_shard, name, plan[name], manifest.lengths_of(plan[name]))
                for name in missing
            }
            while tasks:
                done, tasks = wait(tasks, POLL_S, FIRST_COMPLETED)
                for task in done:
                    manifest = manifest.with_shards(_as_listed(task.result(), manifest))
                    manifest.save(self.folder)
                progress(found, self.made.value)
                check()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f"a worker process died, perhaps because memory ran out; {manifest.num_done:,} of "
                f"{manifest.num_samples:,} samples are finished. Run the same again to go on, "
                "with fewer workers if memory is short"
            ) from error
        return manifest


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a worker is given at its start."""

    source: Source
    folder: Path
    made: Any
    """Shared counter of samples."""
    stop: Any
    """Shared event: give up at once."""
    is_forked: bool


_jobs: list[_Job] = []
"""In a worker process: its one job."""


def _start_worker(job: _Job) -> None:
    """One thread for everything; the parent alone decides when to stop; its end also stops them."""
    _jobs.append(job)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not job.is_forked:  # a forked worker inherits one thread
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end, however it came, and leave no orphan."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make_shard(name: str, indices: range, lengths: tuple[int, ...]) -> Shard:
    """Make a shard's samples and write them in their shuffled order; in a worker."""
    (job,) = _jobs
    began = time.perf_counter()
    entries: list[tuple[str, Mapping[str, bytes]]] = []
    for index in indices:
        if job.stop.is_set():
            raise InterruptedError("the writer was stopped")
        entries.append((job.source.key(index), job.source.entry(index)))
        with job.made.get_lock():
            job.made.value += 1
    blocks = shuffled_sequences(indices.start, lengths)
    with replacing(job.folder / name) as temporary:
        _write_tar(temporary, [entries[place] for block in blocks for place in block])
        sha256, size = sha256_of(temporary), temporary.stat().st_size
    return Shard(
        file=name,
        count=len(entries),
        bytes=size,
        sha256=sha256,
        seconds=round(time.perf_counter() - began, 3),
        lengths=tuple(map(len, blocks)),
    )


def _as_listed(shard: Shard, manifest: Manifest) -> Shard:
    """Lengths are listed only where they differ."""
    return replace(shard, lengths=None) if manifest.lengths is None else shard


def _write_tar(path: Path, entries: list[tuple[str, Mapping[str, bytes]]]) -> None:
    """A tar of nothing but names and bytes: no time, no owner."""
    with (
        path.open("wb") as out,
        tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for key, files in entries:
            if not key or "." in key or "/" in key:
                raise ValueError(f"a sample's key may hold no dot and no slash, got '{key}'")
            for suffix, content in files.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                tar.addfile(info, BytesIO(content))


def _tar_bytes(files: Mapping[str, bytes]) -> int:
    """Room that a sample takes in a tar: each file has a header and fills whole blocks."""
    return sum(
        (1 + -(-len(content) // tarfile.BLOCKSIZE)) * tarfile.BLOCKSIZE
        for content in files.values()
    )
