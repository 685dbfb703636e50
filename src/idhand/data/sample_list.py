"""The pictures that a protocol takes of a public data set: a list to check and to share."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from idhand.files import replacing

Part = Literal["train", "val", "test", "calibration"]
"""Of a protocol; from `calibration`, of the tested people, their shapes are taken."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many of something are there."""

    what: str
    """E.g. `labelled frames, s1 train`."""
    found: int
    expected: int | None = None
    """In the published release; None if that is not known."""


@dataclass(frozen=True, kw_only=True)
class SampleList:
    """The pictures of one part of a protocol, in the protocol's order."""

    protocol: str
    """E.g. `paper`, `dexycb-s0`."""
    part: Part
    ids: tuple[str, ...]
    """`Sample.id` of each; no two alike."""
    counts: tuple[Count, ...] = ()
    """How many pictures were left at each step of the choice, beside the published release's."""
    problems: tuple[str, ...] = ()
    """Files that had to be left out, a sentence each."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sha256(self) -> str:
        """Of the sorted ids, each with a line feed: the same pictures, the same hash."""
        return hashlib.sha256(
            "".join(f"{name}\n" for name in sorted(self.ids)).encode()
        ).hexdigest()

    def save(self, path: Path) -> None:
        """Write the ids, a line each; a file of that name is replaced in one step."""
        with replacing(path) as temporary:
            temporary.write_text("".join(f"{name}\n" for name in self.ids), "utf-8")
