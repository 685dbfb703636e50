"""The manifest of a folder of shards: how it was made, which shards are finished, their hashes."""

import hashlib
import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from idhand import files
from idhand.files import FileKind, read_json, replacing

FILE_NAME = "manifest.json"
KIND = FileKind(
    format="idhand shards",
    version=1,
    name="manifest of a set of shards",
    remedy="render the set again",
)
LENGTHS_KIND = replace(KIND, version=2)
"""Of sets whose sequences differ in length."""
SHARD_SAMPLES = 1000
"""A full shard has this many, or a little fewer so that no sequence is cut."""
OTHER_BYTES = "its bytes are not those that were written"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One finished tar file."""

    file: str
    count: int
    """Number of samples."""
    bytes: int
    sha256: str
    seconds: float
    """How long one worker took to make it."""
    lengths: tuple[int, ...] | None = None
    """Samples of each sequence, in the order of the file; None: as the manifest's `frames`."""

    def fault(self, folder: Path) -> str | None:
        """What is wrong with the file, without reading it: a sentence without its end, or None."""
        path = folder / self.file
        if not path.is_file():
            return f"{path} is listed in the manifest but missing"
        size = path.stat().st_size
        if size != self.bytes:
            return f"{path} is damaged: it has {size:,} bytes, the manifest says {self.bytes:,}"
        return None

    def deep_fault(self, folder: Path) -> str | None:
        """The same after reading it all."""
        shallow = self.fault(folder)
        if shallow:
            return shallow
        path = folder / self.file
        if sha256_of(path) != self.sha256:
            return f"{path} is damaged: {OTHER_BYTES}"
        return None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a folder of shards should hold, and what of it is there."""

    source: Mapping[str, Any]
    """What fixes the bytes, as the source describes itself."""
    versions: Mapping[str, str]
    """Of the packages that the bytes depend on."""
    num_samples: int
    """In the whole set, once it is finished."""
    frames: int
    """Samples in a row that are one sequence; 1 for single pictures, and where `lengths` are
    given."""
    lengths: tuple[int, ...] | None = None
    """Samples of each sequence, in the source's order; None: all have `frames`."""
    shards: tuple[Shard, ...] = ()
    """The finished ones, by name."""

    def __post_init__(self):
        if self.lengths is None:
            return
        if self.frames != 1:
            raise ValueError(f"give frames or each sequence's length, got frames={self.frames} too")
        if min(self.lengths, default=0) < 1 or sum(self.lengths) != self.num_samples:
            raise ValueError(
                f"the lengths of the {len(self.lengths):,} sequences must be 1 or more each and "
                f"{self.num_samples:,} together, got {sum(self.lengths):,}"
            )

    @property
    def shard_samples(self) -> int:
        """Samples in every shard but the last, of equal sequences: as many whole ones as fit."""
        return max(1, SHARD_SAMPLES // self.frames) * self.frames

    @property
    def plan(self) -> dict[str, range]:
        """Names of all shards and the samples that belong in them."""
        if self.lengths is None:
            starts = [*range(0, self.num_samples, self.shard_samples)]
        else:
            starts = _starts(self.lengths)
        ends = [*starts[1:], self.num_samples]
        return {
            f"shard-{number:05d}.tar": range(start, end)
            for number, (start, end) in enumerate(zip(starts, ends, strict=True))
        }

    def lengths_of(self, indices: range) -> tuple[int, ...]:
        """Samples of each sequence in a shard of the plan, in the source's order."""
        if self.lengths is None:
            whole, rest = divmod(len(indices), self.frames)
            return (self.frames,) * whole + ((rest,) if rest else ())
        ends = list(accumulate(self.lengths))
        first = bisect_right(ends, indices.start)
        return self.lengths[first : bisect_left(ends, indices.stop) + 1]

    @property
    def num_done(self) -> int:
        """Samples in finished shards."""
        return sum(shard.count for shard in self.shards)

    def with_shards(self, *shards: Shard) -> "Manifest":
        """With these added."""
        together = sorted((*self.shards, *shards), key=lambda shard: shard.file)
        return replace(self, shards=tuple(together))

    def save(self, folder: Path) -> None:
        """Write it in place of the one before, which stays if this fails."""
        kind = KIND if self.lengths is None else LENGTHS_KIND
        values = {**kind.header, "num_done": self.num_done, **asdict(self)}
        for table in (values, *values["shards"]):
            if table["lengths"] is None:
                del table["lengths"]
        with replacing(folder / FILE_NAME) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> "Manifest":
        """Read a folder's manifest.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it cannot be understood.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            parts = sorted(below.parent for below in folder.glob(f"*/{FILE_NAME}"))
            remedy = (
                f"name one of its parts, such as {parts[0]}"
                if parts
                else "name a folder that `idhand synth` has written, or a part of one of `idhand "
                "data prepare` (train, val or test)"
            )
            raise FileNotFoundError(f"{folder} holds no {FILE_NAME}; {remedy}")
        values = read_json(path, "restore it or render anew")
        is_unequal = isinstance(values, dict) and values.get("version") != KIND.version
        (LENGTHS_KIND if is_unequal else KIND).check(values, path)
        try:
            return _from_json(values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is incomplete ({error!r}); render the set anew") from error

    def check_same_set(self, there: "Manifest", folder: Path) -> None:
        """Make sure that a manifest on disk plans the very set that this one does.

        Raises:
            ValueError: Naming what differs.
        """
        ours, theirs = self._settings(), there._settings()
        names = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
        if names:
            differences = "; ".join(
                f"{name} is {_shown(theirs, name)} there and {_shown(ours, name)} now"
                for name in names
            )
            raise ValueError(
                f"{folder} holds a set that was made in another way: {differences}. Use the same "
                "settings and versions to go on with it, or another folder for a new set"
            )

    def _settings(self) -> dict[str, Any]:
        """All that must be equal, in one flat table."""
        values = asdict(replace(self, shards=()))
        del values["shards"], values["lengths"]
        if self.lengths is not None:  # too many to be shown
            digest = hashlib.sha256(json.dumps(self.lengths).encode()).hexdigest()[:8]
            values["sequences"] = f"{len(self.lengths)} of lengths with the hash {digest}"
        return _flat(values)


def _starts(lengths: Sequence[int]) -> list[int]:
    """The first sample of each shard: whole sequences, `SHARD_SAMPLES` at most if one fits."""
    starts, end = [0], 0
    for length in lengths:
        if end > starts[-1] and end + length - starts[-1] > SHARD_SAMPLES:
            starts.append(end)
        end += length
    return starts


def shuffled_sequences(start: int, lengths: Sequence[int]) -> list[range]:
    """Places of a shard's samples, sequence by sequence, in the random order of the file.

    So whoever reads from front to back meets mixed subjects.

    Args:
        start: The shard's first sample, which the order depends on.
        lengths: Samples of each sequence, in the source's order.
    """
    ends = list(accumulate(lengths))
    order = np.random.default_rng(start).permutation(len(lengths))
    return [range(ends[block] - lengths[block], ends[block]) for block in order.tolist()]


def _from_json(values: dict[str, Any]) -> Manifest:
    """The record of a manifest's JSON."""
    return Manifest(
        source=values["source"],
        versions=values["versions"],
        num_samples=values["num_samples"],
        frames=values["frames"],
        lengths=_lengths(values),
        shards=tuple(
            Shard(**{**shard, "seconds": float(shard["seconds"]), "lengths": _lengths(shard)})
            for shard in values["shards"]
        ),
    )


def _lengths(values: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Those of a JSON table's sequences, if it has any."""
    return tuple(values["lengths"]) if "lengths" in values else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables → one with dotted names."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        out |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return out


def _shown(settings: Mapping[str, Any], name: str) -> str:
    """A setting's value in a sentence."""
    return json.dumps(settings[name]) if name in settings else "not set"


def package_versions() -> dict[str, str]:
    """Of idhand and of what its pictures are computed with."""
    versions = {"opencv": cv2.__version__}  # which has several packages
    for package in ("idhand", "numba", "numpy", "torch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return versions


def sha256_of(path: Path) -> str:
    """Hash of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed writer left behind."""
    files.remove_leftovers(folder, "shard-[0-9][0-9][0-9][0-9][0-9].tar", FILE_NAME)
