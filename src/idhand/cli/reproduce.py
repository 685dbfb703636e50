"""`idhand reproduce`: the paper's whole experiment on one data set, and its results."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from idhand.assets.nets import shipped_networks
from idhand.cli import EXIT_FINE, EXIT_PROBLEMS
from idhand.cli.common import Outcome, progress, say, writable_folder
from idhand.data import Shards
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
    """

    data: Annotated[Path, arg(metavar="FOLDER")]
    """People that no network was trained on, shards as `idhand synth` writes them."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for summary.md, results.json, tables and curves."""
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
    """Seed for the choice of calibration pictures and for the ruler's errors."""

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


def main(command: Command) -> int:
    """Do it, print what was seen and return the exit code."""
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
