"""Several data sets one after another, as one."""

import hashlib
import json
import operator
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, overload

import numpy as np

from idhand.data.dataset import DataSet
from idhand.records import Sample


class Joined(Sequence[Sample]):
    """The samples of several data sets, one set after another: a `DataSet`.

    Args:
        parts: No sample is in two of them.
    """

    def __init__(self, parts: Sequence[DataSet]):
        self.parts = tuple(parts)
        self._ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __repr__(self) -> str:
        return f"Joined({len(self.parts)} sets: {len(self):,} samples)"

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        part, place = self._place(index)
        return part[place]

    def __iter__(self) -> Iterator[Sample]:
        return chain.from_iterable(self.parts)

    def label(self, index: int) -> Sample:
        """See `DataSet.label`."""
        part, place = self._place(index)
        return part.label(place)

    def labels(self) -> Iterator[Sample]:
        """See `DataSet.labels`."""
        return chain.from_iterable(part.labels() for part in self.parts)

    def sequences(self) -> list[list[int]]:
        """See `DataSet.sequences`: those of all parts."""
        starts = [0, *self._ends]
        return [
            [start + row for row in rows]
            for part, start in zip(self.parts, starts, strict=False)
            for rows in part.sequences()
        ]

    def description(self) -> dict[str, Any]:
        """Those of the parts."""
        return {"joined": [part.description() for part in self.parts]}

    def fingerprint(self) -> str:
        """Of the parts', in their order."""
        text = json.dumps([part.fingerprint() for part in self.parts])
        return hashlib.sha256(text.encode()).hexdigest()

    def _place(self, index: int) -> tuple[DataSet, int]:
        """The part that holds a sample, and the sample's place in it."""
        row = range(len(self))[operator.index(index)]
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self.parts[number], row - ([0, *self._ends][number])
