"""The pictures of a chain: training people, validation people, people to test on; and folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

from idhand.data import DataSet, Joined, Shards, Subset, models
from idhand.data.sample_list import Part, SampleList
from idhand.experiments.profiles import by_number
from idhand.experiments.shapes import rows_by_subject
from idhand.hand import FittableHand
from idhand.records import Sample

PARTS: tuple[Part, ...] = get_args(Part)


@runtime_checkable
class ChainInput(Protocol):
    """Where a chain's pictures come from."""

    @property
    def name(self) -> str:
        """For the summary: the data and the protocol."""
        ...

    @property
    def protocol(self) -> str:
        """Its name; empty of shards that somebody has prepared."""
        ...

    def lists(self) -> Mapping[Part, SampleList]:
        """The pictures of each part."""
        ...

    def prepared(self, lists: Mapping[Part, SampleList]) -> "Preparation | None":
        """How the shards are written; None: they are there."""
        ...

    def shards(self, folder: Path) -> dict[Part, Shards]:
        """The shards of each part that has any.

        Args:
            folder: Where they were written to.
        """
        ...


@runtime_checkable
class Preparation(Protocol):
    """Writes shards."""

    def about(self) -> Mapping[str, object]:
        """What fixes their samples, in types of JSON."""
        ...

    def write(self, part: Part, folder: Path) -> None:
        """Write what is missing of a part."""
        ...


@dataclass(frozen=True, kw_only=True)
class PreparedFolder:
    """Shards that are there: FOLDER/train, val and test, as `idhand data prepare` writes them."""

    folder: Path

    @property
    def name(self) -> str:
        """See `ChainInput`."""
        return self.folder.resolve().name

    @property
    def protocol(self) -> str:
        """See `ChainInput`."""
        return ""

    def lists(self) -> dict[Part, SampleList]:
        """See `ChainInput`."""
        return {
            part: SampleList(
                protocol="prepared", part=part, ids=tuple(sample.id for sample in data.labels())
            )
            for part, data in self.shards(self.folder).items()
        }

    def prepared(self, lists: Mapping[Part, SampleList]) -> None:
        """See `ChainInput`."""

    def shards(self, folder: Path) -> dict[Part, Shards]:
        """See `ChainInput`."""
        return read_parts(self.folder)


def read_parts(folder: Path) -> dict[Part, Shards]:
    """The shards of each part in a folder.

    Raises:
        ValueError: If nobody can be tested on, or a part is not finished.
    """
    found: dict[Part, Shards] = {}
    for part in PARTS:
        if (folder / part / "manifest.json").is_file():
            found[part] = Shards(folder / part)
    for part, data in found.items():
        if len(data) < data.manifest.num_samples:
            raise ValueError(
                f"{folder / part} has {len(data):,} of {data.manifest.num_samples:,} samples; "
                "finish it first, by the command that began it"
            )
    if "test" not in found:
        raise ValueError(
            f"{folder} has no test people (shards in {folder / 'test'}); name a folder that "
            "`idhand data prepare` has written"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One training with its test."""

    name: str
    """Of the person left out; empty where there is but one training."""
    train: DataSet
    val: DataSet | None
    test: DataSet

    def below(self, stage: str, what: str) -> str:
        """Name of a part of a stage."""
        return "/".join(part for part in (stage, self.name, what) if part)


@dataclass(frozen=True, kw_only=True)
class Sets:
    """The pictures of a chain, of one hand model and of people whose shape is known."""

    model: FittableHand
    test: DataSet
    """Of all folds."""
    folds: tuple[Fold, ...]
    calibration_ids: frozenset[str] | None = None
    """Pictures of `test` from which shapes are calibrated, by the protocol; the others are
    evaluated. None: the protocol does not say."""
    left_out: tuple[str, ...] = ()
    """Sentences on pictures that take no part."""
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Part → pictures, people."""

    @property
    def leaves_one_out(self) -> bool:
        """Whether every person is tested on by networks trained on the others."""
        return bool(self.folds[0].name)

    @cached_property
    def labels(self) -> tuple[Sample, ...]:
        """Of the pictures to test on, without pixels."""
        return tuple(self.test.labels())


def sets_of(parts: Mapping[Part, DataSet], model_of: "ModelOf") -> Sets:
    """Choose what takes part: the pictures of the training's hand model.

    Without training people each person is left out once, and the networks learn from the others.

    Args:
        parts: With `test` at least; pictures of `calibration` are of the same people.
        model_of: Hand model by name.

    Raises:
        ValueError: If the people are unknown, nothing is labelled with a hand model, or a person
            is both trained and tested on.
    """
    labels: dict[Part, list[Sample]] = {part: list(d.labels()) for part, d in parts.items()}
    counted = models(labels.get("train") or labels["test"])
    named = {name: number for name, number in counted.items() if name is not None}
    if not named:
        raise ValueError(
            "no picture is labelled with a hand model's pose and shape, which networks learn from; "
            "prepare the data with --mano"
        )
    name = max(sorted(named), key=lambda each: named[each])
    chosen: dict[Part, DataSet] = {}
    left_out: list[str] = []
    for part, samples in labels.items():
        rows = [row for row, sample in enumerate(samples) if _has_shape(sample, name)]
        if len(rows) < len(samples):
            left_out.append(
                f"{len(samples) - len(rows):,} of {len(samples):,} pictures of {part} are not "
                f"labelled with the hand model '{name}' and take no part"
            )
        whole = len(rows) == len(samples)
        chosen[part] = parts[part] if whole else Subset(parts[part], rows)
        labels[part] = [samples[row] for row in rows]
    people: dict[Part, dict[str, list[int]]] = {
        part: _people(part, samples) for part, samples in labels.items()
    }
    counts = {part: (len(labels[part]), len(people[part])) for part in labels}
    calibration_ids = None
    if "calibration" in chosen:
        calibration_ids = frozenset(sample.id for sample in labels["calibration"])
        chosen["test"] = Joined((chosen.pop("calibration"), chosen["test"]))
        people["test"] = _people("test", [*labels["calibration"], *labels["test"]])
    return Sets(
        model=model_of(name),
        test=chosen["test"],
        folds=_folds(chosen, people),
        calibration_ids=calibration_ids,
        left_out=tuple(left_out),
        counts=counts,
    )


@runtime_checkable
class ModelOf(Protocol):
    """Looks a hand model up by its name, such as `idhand.assets.hand`."""

    def __call__(self, name: str, /) -> FittableHand:
        """The model of that name."""
        ...


def _has_shape(sample: Sample, model: str) -> bool:
    return sample.model == model and sample.betas is not None and sample.rotations is not None


def _people(part: Part, samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Each person's rows.

    Raises:
        ValueError: If there is nobody, or somebody is unknown.
    """
    if not samples:
        raise ValueError(f"{part} has no picture that can be used; see the notes above")
    return rows_by_subject(sample.subject for sample in samples)


def _folds(
    parts: Mapping[Part, DataSet], people: Mapping[Part, Mapping[str, Sequence[int]]]
) -> tuple[Fold, ...]:
    """One fold, or one for each person."""
    if "train" in parts:
        for other in ("val", "test"):
            both = sorted(set(people["train"]) & set(people.get(other, ())))
            if both:
                raise ValueError(
                    f"{both[0]} is among the people of train and of {other}; people may be in one "
                    "part only"
                )
        return (Fold(name="", train=parts["train"], val=parts.get("val"), test=parts["test"]),)
    everybody = people["test"]
    if len(everybody) < 2:
        raise ValueError(
            f"there are no training people, and only {len(everybody)} to test on; leaving each out "
            "once takes two or more"
        )
    folds = []
    for subject in sorted(everybody, key=by_number):
        others = sorted(row for who, rows in everybody.items() if who != subject for row in rows)
        folds.append(
            Fold(
                name=subject,
                train=Subset(parts["test"], others),
                val=None,
                test=Subset(parts["test"], sorted(everybody[subject])),
            )
        )
    return tuple(folds)
