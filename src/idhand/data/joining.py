"""Several data sets one after another, as one."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from idhand.data.dataset import DataSet, ReadOneByOne
from idhand.records import Sample


class Joined(ReadOneByOne):
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

    def _read(self, row: int) -> Sample:
        part, place = self._place(row)
        return part[place]

    def _read_label(self, row: int) -> Sample:
        part, place = self._place(row)
        return part.label(place)

    def __iter__(self) -> Iterator[Sample]:
        return chain.from_iterable(self.parts)

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

    def _place(self, row: int) -> tuple[DataSet, int]:
        """The part that holds a sample, and the sample's place in it."""
        number = int(np.searchsorted(self._ends, row, side="right"))
        return self.parts[number], row - ([0, *self._ends][number])
