"""What a sharded data set says of itself: what made it, which shards are finished, their hashes."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import file_digest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2

from idhand import files
from idhand.files import FileKind, read_json, replacing

FILE_NAME = "manifest.json"
KIND = FileKind(
    format="idhand shards",
    version=1,
    name="manifest of a set of shards",
    remedy="render the set again",
)
SHARD_SAMPLES = 1000
"""A full shard has this many, or a little fewer so that no sequence is cut."""


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
            return f"{path} is damaged: its bytes are not those that were written"
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
    """Samples in a row that are one sequence; 1 for single pictures."""
    shards: tuple[Shard, ...] = ()
    """The finished ones, by name."""

    @property
    def shard_samples(self) -> int:
        """Samples in every shard but the last: as many whole sequences as fit."""
        return max(1, SHARD_SAMPLES // self.frames) * self.frames

    @property
    def plan(self) -> dict[str, range]:
        """Names of all shards and the samples that belong in them."""
        step = self.shard_samples
        starts = range(0, self.num_samples, step)
        return {
            f"shard-{number:05d}.tar": range(start, min(start + step, self.num_samples))
            for number, start in enumerate(starts)
        }

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
        values = {**KIND.header, "num_done": self.num_done, **asdict(self)}
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
            raise FileNotFoundError(
                f"{folder} holds no {FILE_NAME}; name a folder that `idhand synth` has written"
            )
        values = KIND.check(read_json(path, "restore it or render anew"), path)
        try:
            return _from_json(values)
        except (KeyError, TypeError) as error:
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
        return _flat({name: value for name, value in values.items() if name != "shards"})


def _from_json(values: dict[str, Any]) -> Manifest:
    """The record of a manifest's JSON."""
    return Manifest(
        source=values["source"],
        versions=values["versions"],
        num_samples=values["num_samples"],
        frames=values["frames"],
        shards=tuple(
            Shard(**{**shard, "seconds": float(shard["seconds"])}) for shard in values["shards"]
        ),
    )


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
