"""`idhand refine`: predictions → predictions fitted to the points observed in the pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from idhand.assets import hand
from idhand.cli import EXIT_FINE
from idhand.cli.predict import detection_cache, npz_file, opened, tell_written
from idhand.methods.pointing import with_points
from idhand.methods.refining import RefineConfig, ShapeUse, Solver, refine
from idhand.predictions import Predictions
from idhand.refinement.config import ObservationSource


@dataclass(frozen=True, kw_only=True)
class Command:
    """Fit predicted hands to the points and bone directions observed in their pictures."""

    predictions: Annotated[Positional[Path], arg(metavar="PREDICTIONS.npz")]
    """A file from `idhand predict`."""
    data: Annotated[Path, arg(metavar="FOLDER")]
    """The data set that they were predicted for."""
    out: Annotated[Path, arg(metavar="FILE.npz")]
    """The refined predictions to write."""
    solver: Solver = "second_order"
    """second_order is ours; paper_adam is the optimisation of the ECCV 2022 paper."""
    shape: ShapeUse = "given"
    """given: the predictions' shapes stay. free: they are estimated again for each picture, under
    the population's prior."""
    directions: ObservationSource | None = None
    """Source of the bone directions, the third dimension: the landmark net's, the predictions' or
    both. By default the predictions', which is best for pictures like those of the network's
    training; `idhand run`, made for photos, uses both."""
    points: Annotated[Path | None, arg(metavar="POINTS.npz")] = None
    """Keypoints in the pictures to fit to, from `idhand predict` with a 2D network; by default
    those of the predictions' own network and of the landmark net."""
    detections: Annotated[Path | None, arg(metavar="FILE.npz", aliases=["--looks"])] = None
    """File of the detected hands, such as that of `idhand predict --detections`: read if it exists,
    else written."""


def main(command: Command) -> int:
    """Do it, say what was refined and return the exit code."""
    predictions = Predictions.load(command.predictions)
    config = RefineConfig(solver=command.solver, shape=command.shape)
    if command.directions is not None:
        refinement = config.refinement
        trust = replace(refinement.trust, directions=command.directions)
        config = replace(config, refinement=replace(refinement, trust=trust))
    if command.points is not None and command.directions not in (None, "network"):
        raise ValueError(
            f"--directions {command.directions} takes bone directions from the landmark net, which "
            "--points does without; leave one of the two out"
        )
    if command.points is not None and command.detections is not None:
        raise ValueError("with --points nothing is detected; leave --detections out")
    read = (command.predictions, command.data, command.points)
    out = npz_file(command.out, (*read, command.detections))
    predictions.check_poses("refinement")  # before the long work
    samples = opened(command.data)
    if command.points is None:
        detected = detection_cache(command.detections, read).of(samples, None)
    else:
        points, model = Predictions.load(command.points), hand(predictions.model)
        predictions, detected = with_points(predictions, points, samples.labels(), model)
    refined = refine(predictions, detected, None, config)
    refined.save(out)
    tell_written(refined, out)
    return EXIT_FINE
