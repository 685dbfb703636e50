"""Stage `optimised`: the same rows, fitted to the points in the picture by both solvers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from idhand.experiments.chain.evaluated import PREDICTIONS, SCORES, Evaluated
from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.predictions import Seen
from idhand.experiments.chain.rows import SOLVERS, ChainRow
from idhand.experiments.chain.scores import Scores, scored
from idhand.experiments.chain.sets import Sets
from idhand.methods.refining import RefineConfig, Solver, refine


@dataclass(frozen=True, kw_only=True)
class Optimised:
    """A row's files, after one of the solvers."""

    row: ChainRow
    solver: Solver
    done: Done

    def scores(self) -> Scores:
        """Read them."""
        return Scores.load(self.done.folder / SCORES)


def keep_optimised(
    stages: Stages, sets: Sets, seen: Seen, rows: Sequence[Evaluated]
) -> tuple[Optimised, ...]:
    """Every row, by both solvers."""

    def one(each: Evaluated, solver: Solver) -> Optimised:
        config = RefineConfig(solver=solver)

        def make(folder: Path) -> list[str]:
            pointed, detected = seen.sight.of(each.predictions())
            refined = refine(pointed, detected, seen.sight.model, config)
            refined.save(folder / PREDICTIONS)
            scored(refined, sets.labels, sets.model).save(folder / SCORES)
            return [PREDICTIONS, SCORES]

        name = f"optimised/{each.row.key}-{solver}"
        done = stages.keep(name, {"refinement": asdict(config)}, (each.done, *seen.needs), make)
        return Optimised(row=each.row, solver=solver, done=done)

    return tuple(one(each, solver) for each in rows for solver in SOLVERS)
