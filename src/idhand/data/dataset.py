"""The data set protocol that training, evaluation and methods use, and small sets in memory."""

import hashlib
import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np

from idhand.records import Sample


@runtime_checkable
class DataSet(Protocol):
    """Labelled pictures, wherever they come from.

    `Shards`, `synth.Studio`, `MemoryData` and `Subset` are data sets; whoever writes another one
    need not inherit from anything. It must be picklable to be read by several processes.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample:
        """The sample at a place; IndexError beyond the last."""
        ...

    def __iter__(self) -> Iterator[Sample]: ...

    def label(self, index: int) -> Sample:
        """The same sample without its pixels, as fast as the set can give it.

        `rgb` has the picture's size and shows nothing, `parts` is None; everything else is
        as in `self[index]`.
        """
        ...

    def labels(self) -> Iterator[Sample]:
        """`label` of all samples, in order."""
        ...

    def sequences(self) -> Sequence[Sequence[int]]:
        """Places of the samples of each sequence, frames in order; lengths may differ.

        Every sample is in exactly one; a single picture is a sequence of one.
        """
        ...

    def description(self) -> dict[str, Any]:
        """What the set is and where it comes from, in types of JSON."""
        ...

    def fingerprint(self) -> str:
        """A hash of what fixes the samples: other samples, another fingerprint."""
        ...


class ReadOneByOne(ABC):
    """What data sets that read their samples one by one share: slices, iteration and labels.

    Not a `Sequence` by itself: for one, checks of types read pictures from the disk.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, row: int) -> Sample:
        """The sample at a place that exists."""

    @abstractmethod
    def _read_label(self, row: int) -> Sample:
        """The same without its pixels."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self._read(row) for row in range(len(self))[index]]
        return self._read(range(len(self))[operator.index(index)])

    def __iter__(self) -> Iterator[Sample]:
        return map(self._read, range(len(self)))

    def label(self, index: int) -> Sample:
        """See `DataSet.label`."""
        return self._read_label(range(len(self))[operator.index(index)])

    def labels(self) -> Iterator[Sample]:
        """See `DataSet.labels`."""
        return map(self._read_label, range(len(self)))


def describe(data: DataSet) -> dict[str, Any]:
    """What fixes the samples of a data set, in types of JSON: for caches and checkpoints."""
    return {"samples": len(data), "source": data.description(), "sha256": data.fingerprint()}


class MemoryData(Sequence[Sample]):
    """Samples that are held in memory, as a data set.

    Args:
        samples: Not changed afterwards.
        name: Of the set, for its description.
    """

    def __init__(self, samples: Iterable[Sample], *, name: str = "memory"):
        self.name = name
        self._samples = tuple(samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __repr__(self) -> str:
        return f"MemoryData('{self.name}': {len(self):,} samples)"

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        return list(self._samples[index]) if isinstance(index, slice) else self._samples[index]

    def label(self, index: int) -> Sample:
        """See `DataSet.label`."""
        return without_pixels(self[index])

    def labels(self) -> Iterator[Sample]:
        """See `DataSet.labels`."""
        return map(without_pixels, self._samples)

    def sequences(self) -> list[list[int]]:
        """Samples with the same subject and the same `sequence`, in the order of the set."""
        groups: dict[Hashable, list[int]] = {}
        for index, sample in enumerate(self._samples):
            is_single = sample.sequence is None
            key = index if is_single else (sample.dataset, sample.subject, sample.sequence)
            groups.setdefault(key, []).append(index)
        return list(groups.values())

    def description(self) -> dict[str, Any]:
        """The set's name."""
        return {"set": self.name}

    def fingerprint(self) -> str:
        """Hash of every picture and every label."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for sample in self._samples:
            for field in fields(sample):
                value = getattr(sample, field.name)
                about = (value.dtype.str, value.shape) if isinstance(value, np.ndarray) else value
                digest.update(repr((field.name, about)).encode())
                if isinstance(value, np.ndarray):
                    digest.update(value.tobytes())
        return digest.hexdigest()


class Subset(Sequence[Sample]):
    """Some samples of a data set, in any order.

    Args:
        data: The whole.
        indices: Places in it, from 0; none twice.

    Raises:
        IndexError: If there is no such place.
        ValueError: If a place occurs twice.
    """

    def __init__(self, data: DataSet, indices: Iterable[int]):
        self.data = data
        self.indices = tuple(operator.index(index) for index in indices)
        beyond = [index for index in self.indices if not 0 <= index < len(data)]
        if beyond:
            raise IndexError(f"there are {len(data)} samples, from 0; asked for {beyond[0]}")
        if len(set(self.indices)) != len(self.indices):
            raise ValueError("a subset holds each sample once; give no place twice")

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return f"Subset({self.data!r}: {len(self):,} samples)"

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Subset": ...
    def __getitem__(self, index: "int | slice") -> "Sample | Subset":
        """A sample; of a slice a smaller subset, which reads nothing."""
        if isinstance(index, slice):
            return Subset(self.data, self.indices[index])
        return self.data[self.indices[index]]

    def label(self, index: int) -> Sample:
        """See `DataSet.label`."""
        return self.data.label(self.indices[index])

    def labels(self) -> Iterator[Sample]:
        """See `DataSet.labels`."""
        return map(self.data.label, self.indices)

    def sequences(self) -> list[list[int]]:
        """What is left of the whole set's sequences, frames in their order."""
        places = {index: place for place, index in enumerate(self.indices)}
        kept = ([places[i] for i in group if i in places] for group in self.data.sequences())
        return [group for group in kept if group]

    def description(self) -> dict[str, Any]:
        """The whole set's, and how many of its samples these are."""
        return {"subset": len(self), "of": self.data.description()}

    def fingerprint(self) -> str:
        """Of the whole set and the places."""
        text = json.dumps([self.data.fingerprint(), self.indices])
        return hashlib.sha256(text.encode()).hexdigest()


def without_pixels(sample: Sample) -> Sample:
    """The sample as a label: its picture is black, takes no memory and cannot be written to."""
    return replace(sample, rgb=np.broadcast_to(np.uint8(0), sample.rgb.shape), parts=None)


def models(labels: Iterable[Sample]) -> dict[str | None, int]:
    """Number of samples labelled with each hand model; under None those without one."""
    counts: dict[str | None, int] = {}
    for sample in labels:
        counts[sample.model] = counts.get(sample.model, 0) + 1
    return counts
