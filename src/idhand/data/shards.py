"""A folder of shards as a data set: random access, safe in several processes."""

import hashlib
import mmap
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from idhand.data.dataset import ReadOneByOne
from idhand.data.manifest import OTHER_BYTES, Manifest, Shard, shuffled_sequences
from idhand.data.samples import decode_labels, decode_sample
from idhand.records import Sample

AGAIN = "run the command that wrote the set again, which renders it anew"


class Shards(ReadOneByOne, Sequence[Sample]):
    """The samples of finished shards, in the order in which they lie on disk: a `DataSet`.

    A set that is still being rendered can be read: it has fewer samples. No file stays open, so
    that a torch DataLoader may fork or pickle it. When the first sample of a shard is asked for,
    its samples are found and its hash is compared with the manifest's (about 0.1 s): a JPEG with
    other bytes can often be decoded, and shows something else.
    """

    def __init__(self, folder: str | Path):
        """Read the manifest and check that the shards are there.

        Raises:
            FileNotFoundError: If there is no manifest, or a shard is missing.
            ValueError: If this version cannot read the set, or a shard has another size.
        """
        self.folder = Path(folder)
        self.manifest: Manifest = Manifest.load(self.folder)
        for shard in self.manifest.shards:
            fault = shard.fault(self.folder)
            if fault:
                missing = not (self.folder / shard.file).is_file()
                raise (FileNotFoundError if missing else ValueError)(f"{fault}; {AGAIN}")
        counts = [shard.count for shard in self.manifest.shards]
        self._starts = np.cumsum([0, *counts])
        self._extents: dict[int, Int[np.ndarray, "samples 2"]] = {}
        self._damaged: set[int] = set()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"Shards('{self.folder}': {len(self):,} of {self.manifest.num_samples:,} samples)"

    def sequences(self) -> list[range]:
        """Samples of each sequence that was written as one; single pictures alone."""
        plan = self.manifest.plan
        lengths = (
            shard.lengths
            or map(
                len,
                shuffled_sequences(
                    plan[shard.file].start, self.manifest.lengths_of(plan[shard.file])
                ),
            )
            for shard in self.manifest.shards
        )
        every = tuple(chain.from_iterable(lengths))
        return [range(end - n, end) for n, end in zip(every, accumulate(every), strict=True)]

    def description(self) -> dict[str, Any]:
        """What the set was made with, as its source described itself."""
        return dict(self.manifest.source)

    def fingerprint(self) -> str:
        """Hash of the finished shards' hashes: of every byte, without reading them."""
        hashes = "".join(shard.sha256 for shard in self.manifest.shards)
        return hashlib.sha256(hashes.encode()).hexdigest()

    def key(self, index: int) -> str:
        """Name of a sample's files."""
        return self._files(index)[0]

    def entry(self, index: int) -> dict[str, bytes]:
        """A sample's files as they are: suffix → bytes."""
        return self._files(index)[1]

    def verify(self) -> None:
        """Read every byte and compare hashes.

        Raises:
            ValueError: Naming all shards that are damaged.
        """
        faults = [shard.deep_fault(self.folder) for shard in self.manifest.shards]
        found = "; ".join(fault for fault in faults if fault)
        if found:
            raise ValueError(f"{found}; {AGAIN}")

    def _read(self, row: int) -> Sample:
        return self._decoded(row, decode_sample)

    def _read_label(self, row: int) -> Sample:
        """Of the picture only the size is read, see `decode_labels`."""
        return self._decoded(row, decode_labels)

    def _decoded(self, row: int, decode: Callable[[Mapping[str, bytes]], Sample]) -> Sample:
        """A sample's files as one of the two decoders reads them."""
        key, files = self._files(row)
        try:
            return decode(files)
        except ValueError as error:
            raise ValueError(f"sample {key} of {self.folder}: {error}; {AGAIN}") from error

    def _files(self, index: int) -> tuple[str, dict[str, bytes]]:
        """Key and files of a sample."""
        place = range(len(self))[index]
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        shard = self.manifest.shards[number]
        if number not in self._extents:
            self._extents[number], is_sound = self._scan(shard)
            if not is_sound:
                self._damaged.add(number)
        start, end = self._extents[number][place - self._starts[number]].tolist()
        path = self.folder / shard.file
        with path.open("rb") as stream:
            stream.seek(start)
            block = stream.read(end - start)
        try:
            members = list(_members(block))
        except tarfile.HeaderError as error:
            raise ValueError(f"{path} is damaged ({error}); {AGAIN}") from error
        key = members[0][0].partition(".")[0]
        if number in self._damaged:
            raise ValueError(
                f"sample {key} of {path}: that shard is damaged, {OTHER_BYTES}; {AGAIN}"
            )
        return key, {name.partition(".")[2]: block[a:b] for name, a, b in members}

    def _scan(self, shard: Shard) -> tuple[Int[np.ndarray, "samples 2"], bool]:
        """Where each sample's files begin and end in a shard, bytes; whether the shard is sound."""
        path = self.folder / shard.file
        extents: dict[str, list[int]] = {}
        try:
            with (
                path.open("rb") as stream,
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole,
            ):
                is_sound = hashlib.sha256(whole).hexdigest() == shard.sha256
                for name, start, end in _members(whole):
                    key = name.partition(".")[0]
                    extents.setdefault(key, [start - tarfile.BLOCKSIZE, end])[1] = end
        except (tarfile.HeaderError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}); {AGAIN}") from error
        if len(extents) != shard.count:
            found = f"it holds {len(extents)} samples, the manifest says {shard.count}"
            raise ValueError(f"{path} is damaged: {found}; {AGAIN}")
        return np.array(list(extents.values())), is_sound


def _members(tar: bytes | mmap.mmap) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each file in (a part of) a tar.

    Raises:
        tarfile.HeaderError: If a header is damaged or a file is cut off.
    """
    at = 0
    while at < len(tar) and tar[at]:
        info = tarfile.TarInfo.frombuf(tar[at : at + tarfile.BLOCKSIZE], "ascii", "strict")
        start = at + tarfile.BLOCKSIZE
        if start + info.size > len(tar):
            raise tarfile.HeaderError(f"{info.name} is cut off")
        yield info.name, start, start + info.size
        at = start + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
