"""Stages of a run as folders: finished ones are kept, changed inputs are noticed.

A stage's folder has `stage.json`: what the stage was made from, and, once it is finished, the hash
of each result. It is written last, so whatever ends a run, the next one knows what is complete.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idhand.data.manifest import sha256_of
from idhand.experiments.chain.config import StageName
from idhand.files import FileKind, read_json, remove_abandoned, replacing

MARKER = "stage.json"
KIND = FileKind(
    format="idhand stage",
    version=1,
    name="record of a stage of `idhand reproduce`",
    remedy="remove the folder that it is in",
)
Make = Callable[[Path], Sequence[str] | None]
"""Makes a stage in a folder, going on with what it finds of its own there. Returns the names of the
files that are the result, as posix paths; None: all."""
About = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""What fixes a stage beside the stages that it needs, in types of JSON."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A finished stage, or part of one."""

    name: str
    """The folder's path below the run's."""
    folder: Path
    sha256: str
    """Of its results' names and hashes."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """The stages in a run's folder."""

    root: Path
    note: Callable[[str], None]
    """Hears a sentence when a stage is made again."""
    begins: Callable[[str], None]
    """Hears the name of a stage that is about to be made."""
    only: StageName | None = None
    """Make this stage alone; the others must be there and are taken as they are."""
    kept: dict[str, Done] = field(default_factory=dict)

    def keep(self, name: str, about: About, needs: Sequence[Done], make: Make) -> Done:
        """A stage, or part of one: as it is, if it is complete and of these inputs, else made.

        Args:
            name: Path of its folder; the first part is the stage's name.
            about: Not asked for if the stage is taken as it is.
            needs: What it is made from.
            make: See `Make`.

        Raises:
            ValueError: If the stage is missing and another one is the only one to be made, or
                files that are no stage lie in its place.
        """
        folder = self.root / name
        there = self._marker(folder)
        if self.only is not None and name.partition("/")[0] != self.only:
            if there is None or not _is_complete(folder, there):
                raise ValueError(
                    f"the stage '{self.only}' needs {folder}, which is not finished; run without "
                    f"--only, or with --only {name.partition('/')[0]} before"
                )
            return self._done(name, there)
        own = about() if callable(about) else about
        inputs = json.loads(
            json.dumps({"about": own, "needs": {done.name: done.sha256 for done in needs}})
        )
        if there is not None and there["inputs"] != inputs:
            self._clear(folder, there, inputs)
            there = None
        if there is None or not _is_complete(folder, there):
            there = self._made(folder, inputs, make)
        return self._done(name, there)

    def about(self, name: str) -> Mapping[str, Any] | None:
        """What a stage that is there says of itself; None if there is none."""
        there = self._marker(self.root / name)
        return None if there is None else there["inputs"]["about"]

    def _made(self, folder: Path, inputs: Mapping[str, Any], make: Make) -> dict[str, Any]:
        """Make a stage; its marker says first what it is made from, then that it is complete."""
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MARKER).is_file():
            others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
            if others:
                raise ValueError(
                    f"{folder} holds files that no run of `idhand reproduce` has written "
                    f"({others[0]}); name another --out"
                )
        remove_abandoned(folder)
        marker = {**KIND.header, "inputs": inputs, "results": None}
        _write(folder, marker)
        self.begins(folder.relative_to(self.root).as_posix())
        names = make(folder)
        remove_abandoned(folder)
        files = sorted(names if names is not None else _files(folder))
        results = {
            name: [(folder / name).stat().st_size, sha256_of(folder / name)] for name in files
        }
        marker = {**marker, "results": results}
        _write(folder, marker)
        return marker

    def _done(self, name: str, marker: Mapping[str, Any]) -> Done:
        text = json.dumps(marker["results"], sort_keys=True)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        done = Done(name=name, folder=self.root / name, sha256=sha256)
        self.kept[name] = done
        return done

    def _marker(self, folder: Path) -> dict[str, Any] | None:
        path = folder / MARKER
        if not path.is_file():
            return None
        return KIND.check(read_json(path, KIND.remedy), path)

    def _clear(self, folder: Path, there: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        """Remove a stage of other inputs, and say what differs; the marker goes last."""
        what = ", ".join(_differences(there["inputs"], inputs)[:3])
        self.note(
            f"{folder.relative_to(self.root).as_posix()} was made from other inputs ({what}); it "
            "is made again"
        )
        for path in folder.iterdir():
            if path.name != MARKER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / MARKER).unlink()


def _write(folder: Path, marker: Mapping[str, Any]) -> None:
    with replacing(folder / MARKER) as temporary:
        temporary.write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")


def _is_complete(folder: Path, marker: Mapping[str, Any]) -> bool:
    """Whether the stage was finished and its results are as they were."""
    if marker["results"] is None:
        return False
    return all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == size
        and sha256_of(folder / name) == sha256
        for name, (size, sha256) in marker["results"].items()
    )


def _files(folder: Path) -> list[str]:
    """All files of a stage but its marker."""
    return [
        (Path(at) / name).relative_to(folder).as_posix()
        for at, _, names in os.walk(folder)
        for name in names
        if not (Path(at) == folder and name == MARKER)
    ]


def _differences(there: Any, now: Any, at: str = "") -> list[str]:
    """Dotted names of what differs between two JSON values."""
    if isinstance(there, dict) and isinstance(now, dict):
        names = [name for name in {**there, **now} if there.get(name) != now.get(name)]
        return [
            part
            for name in names
            for part in _differences(there.get(name), now.get(name), f"{at}.{name}" if at else name)
        ]
    return [at]
