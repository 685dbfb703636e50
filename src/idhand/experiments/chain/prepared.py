"""Stage `prepared`: the pictures of the lists as shards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from idhand.data import DataSet, Shards, write_shards
from idhand.data.prepared import Prepared, without_damaged
from idhand.data.sample_list import Part, SampleList
from idhand.data.trees import LabelHands, Tree
from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.sets import ChainInput, read_parts
from idhand.records import Sample


def keep_prepared(
    stages: Stages, source: ChainInput, lists: Mapping[Part, SampleList], needs: Done
) -> tuple[Done | None, dict[Part, Shards]]:
    """The shards of each part, written if the source has none; None: they were there."""
    preparation = source.prepared(lists)
    if preparation is None:
        return None, source.shards(stages.root)
    parts: list[Part] = [part for part, chosen in lists.items() if len(chosen)]

    def make(folder: Path) -> list[str]:
        for part in parts:
            preparation.write(part, folder / part)
        return [f"{part}/{name}" for part in parts for name in _shard_files(folder / part)]

    done = stages.keep("prepared", preparation.about, (needs,), make)
    return done, source.shards(done.folder)


def damaged(lists: Mapping[Part, SampleList], parts: Mapping[Part, DataSet]) -> tuple[str, ...]:
    """A sentence on each part that has fewer pictures than its list."""
    told: list[str] = []
    for part, listed in lists.items():
        number = len(listed) - len(parts[part]) if part in parts else 0
        if number:
            told.append(
                f"{number:,} of the {len(listed):,} pictures listed for {part} cannot be read and "
                f"{'takes' if number == 1 else 'take'} no part; `idhand data check --deep` names "
                "damaged files"
            )
    return tuple(told)


def _shard_files(folder: Path) -> list[str]:
    """What is the same after every interruption; the manifest has times."""
    return sorted(path.name for path in folder.glob("shard-*.tar"))


@dataclass(frozen=True, kw_only=True)
class TreeInput:
    """A public data set on disk with a protocol: a `ChainInput`."""

    tree: Tree
    protocol: str
    hands: LabelHands
    """Of the labels."""
    note: Callable[[str], None]
    """Hears a sentence on each file that is left out."""
    partial: bool = False
    """Go on where the tree is not complete."""
    workers: int = 1
    bar: Callable[[int, int], None] | None = None
    """Shows how many pictures of a part are done."""

    @property
    def name(self) -> str:
        """See `ChainInput`."""
        return f"{self.tree.kind}, protocol {self.protocol}"

    def lists(self) -> Mapping[Part, SampleList]:
        """See `ChainInput`."""
        lists = self.tree.lists(self.protocol, partial=self.partial)
        for problem in dict.fromkeys(p for each in lists.values() for p in each.problems):
            self.note(problem)
        return lists

    def prepared(self, lists: Mapping[Part, SampleList]) -> "TreePreparation":
        """See `ChainInput`."""
        return TreePreparation(source=self, lists=lists)

    def shards(self, folder: Path) -> dict[Part, Shards]:
        """See `ChainInput`."""
        return read_parts(folder)


def check_usable(label: Sample, source: TreeInput) -> None:
    """See, before the long work, that the chain can use a data set.

    Args:
        label: One of its samples.
        source: Where it is from.

    Raises:
        ValueError: If it does not say whose hands they are, or no MANO is here.
    """
    if not label.subject:
        raise ValueError(
            f"{source.name}: the pictures do not say whose hand they show (their subject is "
            "unknown), and the chain calibrates each person's shape; use data that names its "
            "subjects, such as DexYCB or HUMBI"
        )
    if source.hands.right is None and source.hands.left is None:
        raise ValueError(
            f"{source.name}: no MANO is here, so labels have no pose and shape, which networks "
            "learn from; give --mano, or run `idhand assets mano` once"
        )


@dataclass(frozen=True, kw_only=True)
class TreePreparation:
    """Writes the shards of a tree's lists."""

    source: TreeInput
    lists: Mapping[Part, SampleList]

    def about(self) -> dict[str, object]:
        """What fixes the shards: the labels, and how pictures are cut."""
        return {
            part: {"labels": self._data(part).fingerprint(), "pictures": len(chosen)}
            for part, chosen in self.lists.items()
            if len(chosen)
        }

    def write(self, part: Part, folder: Path) -> None:
        """Write what is missing of a part."""
        data, problems = without_damaged(self._data(part))
        for problem in problems:
            self.source.note(problem)
        if not len(data):
            raise ValueError(f"all pictures of {self.source.name} {part} are damaged")
        check_usable(data.label(0), self.source)
        bar = self.source.bar

        def tell(found: int, made: int) -> None:
            if bar is not None:
                bar(found + made, len(data))

        write_shards(Prepared(data), folder, workers=self.source.workers, progress=tell)

    def _data(self, part: Part) -> DataSet:
        return self.source.tree.data(self.lists[part], self.source.hands)
