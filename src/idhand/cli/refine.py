"""`idhand refine`: predictions → predictions that agree with what is seen in the pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from idhand.cli import EXIT_FINE
from idhand.cli.predict import detection_cache, npz_file, opened, tell_written
from idhand.methods.refining import RefineConfig, ShapeUse, Solver, refine
from idhand.predictions import Predictions
from idhand.refinement.config import EvidenceSource


@dataclass(frozen=True, kw_only=True)
class Command:
    """Move predicted hands so that they agree with the landmarks in their pictures.

    second_order is ours; paper_adam is the optimisation of the ECCV 2022 paper.
    """

    predictions: Annotated[Positional[Path], arg(metavar="PREDICTIONS.npz")]
    """What `idhand predict` has written."""
    data: Annotated[Path, arg(metavar="FOLDER")]
    """The data set that they are about."""
    out: Annotated[Path, arg(metavar="FILE.npz")]
    """The refined predictions to write."""
    solver: Solver = "second_order"
    shape: ShapeUse = "given"
    """given: the predictions' shapes stay. free: they are estimated again for each picture, and are
    held by what is known of people's hands."""
    directions: EvidenceSource | None = None
    """Source of the bone directions, the third dimension: the landmark net's, the predictions' or
    both. By default the predictions', which is best on pictures like those of its training;
    `idhand run`, made for photos, takes both."""
    detections: Annotated[Path | None, arg(metavar="FILE.npz", aliases=["--looks"])] = None
    """Where the detected hands are kept, such as the file of `idhand predict --detections`: read if
    it is there, else written."""


def main(command: Command) -> int:
    """Do it, say what was refined and return the exit code."""
    predictions = Predictions.load(command.predictions)
    config = RefineConfig(solver=command.solver, shape=command.shape)
    if command.directions is not None:
        refinement = config.refinement
        trust = replace(refinement.trust, directions=command.directions)
        config = replace(config, refinement=replace(refinement, trust=trust))
    read = (command.predictions, command.data)
    out = npz_file(command.out, (*read, command.detections))
    predictions.check_poses("refinement")  # before the long work
    detected = detection_cache(command.detections, read).of(opened(command.data), None)
    refined = refine(predictions, detected, None, config)
    refined.save(out)
    tell_written(refined, out)
    return EXIT_FINE
