"""Stage `evaluated`: baseline, true and calibrated shapes, without optimisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.predictions import Seen
from idhand.experiments.chain.rows import ChainRow, row_predictions
from idhand.experiments.chain.scores import Scores, scored
from idhand.experiments.chain.sets import Sets
from idhand.experiments.chain.shapes import ShapeStage
from idhand.predictions import Predictions

PREDICTIONS, SCORES = "predictions.npz", "scores.npz"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A row's files."""

    row: ChainRow
    done: Done

    def predictions(self) -> Predictions:
        """Read them."""
        return Predictions.load(self.done.folder / PREDICTIONS)

    def scores(self) -> Scores:
        """Read them."""
        return Scores.load(self.done.folder / SCORES)


def keep_evaluated(
    stages: Stages, sets: Sets, seen: Seen, shapes: ShapeStage, rows: Sequence[ChainRow]
) -> tuple[Evaluated, ...]:
    """Every row's predictions and errors."""

    def one(row: ChainRow) -> Evaluated:
        def make(folder: Path) -> list[str]:
            predictions = row_predictions(row, seen, shapes)
            predictions.save(folder / PREDICTIONS)
            scored(predictions, sets.labels, sets.model).save(folder / SCORES)
            return [PREDICTIONS, SCORES]

        needs = (*seen.needs, shapes.done)
        done = stages.keep(f"evaluated/{row.key}", {"row": row.label}, needs, make)
        return Evaluated(row=row, done=done)

    return tuple(one(row) for row in rows)
