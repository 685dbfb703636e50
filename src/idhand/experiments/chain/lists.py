"""Stage `lists`: which pictures take part, by name, with counts and a hash to compare."""

import json
from collections.abc import Mapping
from pathlib import Path

from idhand.data.sample_list import Part, SampleList
from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.sets import ChainInput
from idhand.files import read_json, replacing

COUNTS = "lists.json"


def keep_lists(stages: Stages, source: ChainInput) -> tuple[Done, dict[Part, SampleList]]:
    """The lists, in files and as values; those on disk where the stage is taken as it is.

    Raises:
        ValueError: If the folder is another protocol's, whose results would be lost.
    """
    before = (stages.about("lists") or {}).get("source", source.name)
    if before != source.name:
        raise ValueError(
            f"{stages.root} holds the chain of {before}, and this is {source.name}; name another "
            "--out, or remove the folder if its results are not needed any more"
        )
    found: dict[Part, SampleList] = {}

    def about() -> dict[str, object]:
        found.update(source.lists())
        return {"source": source.name, "lists": _counts(found)}

    def make(folder: Path) -> list[str]:
        for part, chosen in found.items():
            chosen.save(folder / f"{part}.txt")
        with replacing(folder / COUNTS) as temporary:
            temporary.write_text(json.dumps(_counts(found), indent=1) + "\n", encoding="utf-8")
        return [COUNTS, *(f"{part}.txt" for part in found)]

    done = stages.keep("lists", about, (), make)
    return done, found or _read(done.folder)


def _counts(lists: Mapping[Part, SampleList]) -> dict[Part, dict[str, object]]:
    return {
        part: {"protocol": chosen.protocol, "pictures": len(chosen), "sha256": chosen.sha256}
        for part, chosen in lists.items()
    }


def _read(folder: Path) -> dict[Part, SampleList]:
    """What the stage has written."""
    counts = read_json(folder / COUNTS, "run without --only")
    return {
        part: SampleList(
            protocol=about["protocol"],
            part=part,
            ids=tuple((folder / f"{part}.txt").read_text("utf-8").splitlines()),
        )
        for part, about in counts.items()
    }
