"""`idhand reproduce`: the paper's whole experiment on one data set, and its results.

With trained networks it is one table on one set of shards; with --protocol, or on prepared train,
val and test, it is the whole chain, trainings included (`idhand.cli.chain`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from idhand.assets.nets import shipped_networks
from idhand.cli import EXIT_FINE, EXIT_PROBLEMS
from idhand.cli.common import Outcome, progress, say, writable_folder
from idhand.data import Shards
from idhand.experiments.chain.config import Recipe, StageName
from idhand.experiments.nets import ExperimentNetworks
from idhand.experiments.presets import ReproduceConfig
from idhand.experiments.reproduce import reproduce, with_fitted_covariances
from idhand.experiments.writing import write


@dataclass(frozen=True, kw_only=True)
class Command:
    """Show what knowing the hand is worth: the paper's tables and ours, in one run.

    Compares the baseline and identity-aware networks with true, calibrated and mean shapes, without
    and with optimisation, draws the calibration curve, and gives intervals over people. A second
    run on the same pictures reuses the hands that the first one detected.

    With --protocol, the whole chain of the paper on a public data set: lists, shards, trainings,
    predictions, calibrated shapes, evaluation, optimisation; --mano names MANO, which the labels
    mean. Without --protocol, and with --data FOLDER that `idhand data prepare` has written (train,
    val, test), the same on these shards. After an interruption, the same command goes on.
    """

    data: Annotated[Path, arg(metavar="FOLDER")]
    """People that no network was trained on, shards as `idhand synth` writes them; the data set as
    published with --protocol; or prepared shards, with train, val and test."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for summary.md, tables and curves; of the chain also for all of its stages."""
    protocol: str | None = None
    """Which pictures are learnt from and tested on: paper, its folds paper-s5 to paper-s11,
    dexycb-s0 to dexycb-s3, dexycb-loso, paper-humbi."""
    recipe: Recipe | None = None
    """Of the chain. paper: residual networks as published, for a GPU. hand: our heads on the
    shipped hand net, for a CPU. By default paper."""
    imagenet: Annotated[tuple[Path, ...], arg(metavar="FILE...")] = ()
    """ImageNet weights of ResNet-50 and ResNet-18 for --recipe paper, torchvision's files."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Steps of each training, instead of the recipe's."""
    partial: bool = False
    """Go on with an incomplete data set; the protocol's name then ends in -partial."""
    only: StageName | None = None
    """Make this stage of the chain alone; those that it needs must be there."""
    device: str = "cpu"
    """For the chain's networks: cpu, cuda or cuda:1."""
    workers: Annotated[int | None, arg(metavar="N")] = None
    """Processes of the chain that read pictures; by default one for each core."""
    nets: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder with baseline, identity, identity_film and confidence .safetensors (the last may be a
    branch of the baseline); by default the networks of the package."""
    validation: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Further people, on whom the networks' covariances are calibrated; otherwise
    NAME.covariance.json beside the networks is used."""
    people: Annotated[int | None, arg(metavar="N")] = None
    """Use only this many people."""
    pictures: Annotated[int | None, arg(metavar="N")] = None
    """Use only this many pictures of each."""
    draws: Annotated[int, arg(metavar="N")] = 20
    """Number of random choices of pictures for each point of the calibration curve."""
    overlap: bool = False
    """Also evaluate the calibration pictures, as the paper does."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed for the choice of calibration pictures, the ruler's errors and the chain's trainings."""

    def __post_init__(self):
        given = {name: getattr(self, name) for name in (*TABLE_FLAGS, *CHAIN_FLAGS)}
        given = {name for name, value in given.items() if value != _default(name)}
        of_table = sorted(given & set(TABLE_FLAGS))
        of_chain = sorted(given & set(CHAIN_FLAGS))
        if is_chain(self.data, self.protocol) and of_table:
            raise ValueError(
                f"--{of_table[0]} is for trained networks on one set of shards; the chain trains "
                "its own: leave it out"
            )
        if not is_chain(self.data, self.protocol) and of_chain:
            raise ValueError(
                f"--{of_chain[0]} is for the whole chain, and {self.data} holds no prepared train, "
                "val and test; give --protocol with a public data set, or shards that `idhand data "
                "prepare` has written"
            )

    @property
    def config(self) -> ReproduceConfig:
        """The experiment's."""
        return ReproduceConfig(
            people=self.people,
            pictures=self.pictures,
            draws=self.draws,
            overlap=self.overlap,
            seed=self.seed,
        )


TABLE_FLAGS = ("nets", "validation", "people", "pictures", "draws", "overlap")
CHAIN_FLAGS = ("protocol", "recipe", "imagenet", "steps", "partial", "only", "device", "workers")
"""Flags of the two experiments; the others are common."""


def _default(name: str) -> Any:
    """Of a flag."""
    return next(field.default for field in fields(Command) if field.name == name)


def is_chain(data: Path, protocol: str | None) -> bool:
    """Whether the chain is meant, and not the table on one set of shards."""
    return protocol is not None or (data / "test" / "manifest.json").is_file()


def main(command: Command) -> int:
    """Do it, print what was seen and return the exit code."""
    if is_chain(command.data, command.protocol):
        from idhand.cli.chain import run_chain

        return run_chain(command)
    config, data = command.config, Shards(command.data)
    folder, has_calibrations = command.nets or shipped_networks(), command.validation is None
    nets = ExperimentNetworks.load(folder, with_calibrations=has_calibrations)
    out = writable_folder(command.out)
    if command.validation is not None:
        validation = Shards(command.validation)
        nets = with_fitted_covariances(nets, validation, out, progress=_with_bar, note=say)
    results = reproduce(data, out, nets, config, progress=_with_bar, note=say)
    outcome = Outcome()
    for why in results.left_out.values():
        outcome.problem(f"{why}; this person is left out")
    for statement in write(results, out):
        answer = statement.answer(results.about["num_people_with_shape"])
        print(f"{statement.number}. {statement.title}: {answer}")
    print(f"\nWritten to {out}; read summary.md first")
    return EXIT_PROBLEMS if outcome.problems else EXIT_FINE


def _with_bar(items: Iterable[Any], desc: str = "") -> Iterable[Any]:
    """A progress bar."""
    total = len(items) if hasattr(items, "__len__") else None  # pyright: ignore
    return progress(items, total, desc)
