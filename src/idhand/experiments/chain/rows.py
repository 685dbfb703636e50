"""The rows of the chain's tables: the network's own shapes, the true ones, and calibrated ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from idhand.experiments.chain.config import OURS, PAPERS_RULE, PAPERS_RULE_HUMBI, Use
from idhand.experiments.chain.predictions import Seen
from idhand.experiments.chain.shapes import ShapeStage
from idhand.methods.pointing import placed
from idhand.methods.refining import Solver
from idhand.methods.rows import KnownBetas, all_shapes
from idhand.predictions import Predictions

RowKind = Literal["baseline", "true", "calibrated"]
SOLVERS: tuple[Solver, ...] = ("paper_adam", "second_order")
SOLVER_LABELS: dict[Solver, str] = {"paper_adam": "paper's Adam", "second_order": "ours"}


@dataclass(frozen=True, kw_only=True)
class ChainRow:
    """One line of the tables."""

    kind: RowKind
    rule: str = ""
    """By which shapes are calibrated."""
    use: Use | None = None
    """Which pictures calibrate; None: shapes do not depend on it."""

    @property
    def key(self) -> str:
        """For files: `baseline`, `apart-ours`."""
        return f"{self.use}-{self.rule}" if self.kind == "calibrated" else self.kind

    @property
    def label(self) -> str:
        """For people."""
        match self.kind:
            case "baseline":
                return "baseline"
            case "true":
                return "identity-aware, true shape"
            case "calibrated":
                return f"identity-aware, calibrated ({rule_label(self.rule)})"


def rule_label(rule: str) -> str:
    """`random_20` → `20 random pictures`."""
    name, _, number = rule.partition("_")
    match name:
        case "average":
            return "average hand, no picture"
        case "all":
            return "mean of all"
        case "random":
            return f"{number} random picture{'s' if number != '1' else ''}"
        case "top":
            return f"top {number} by confidence"
        case _:
            return rule


def rows_for(uses: Sequence[Use], protocol: str) -> tuple[ChainRow, ...]:
    """All rows: the baseline first, then the true shapes, then the calibrated ones of every use."""
    papers = PAPERS_RULE_HUMBI if protocol.startswith("paper-humbi") else PAPERS_RULE
    return (
        ChainRow(kind="baseline"),
        ChainRow(kind="true"),
        *(
            ChainRow(kind="calibrated", rule=rule, use=use)
            for use in uses
            for rule in (papers, OURS)
        ),
    )


def row_predictions(row: ChainRow, seen: Seen, shapes: ShapeStage) -> Predictions:
    """A row's predictions before refinement, of the pictures that it is evaluated on."""
    match row.kind:
        case "baseline":
            return replace(seen.baseline, header={**seen.baseline.header, "method": row.label})
        case "true":
            return with_shapes(seen, shapes.truth, seen.identity.sample_id, row.label)
        case "calibrated":
            assert row.use is not None
            each = shapes.uses[row.use]
            known = each.betas[row.rule]
            return with_shapes(seen, known, each.split.evaluated, row.label)


def with_shapes(seen: Seen, betas: KnownBetas, wanted: Sequence[str], label: str) -> Predictions:
    """The identity-aware network's poses with these shapes, placed in the camera's frame.

    Pictures of people without a shape are left out.
    """
    every = seen.identity
    places = {name: row for row, name in enumerate(every.sample_id)}
    rows = [places[name] for name in wanted if name in places]
    chosen = every.select([row for row in rows if every.subject[row] in betas])
    shapes = all_shapes(chosen.subject, betas, seen.sight.model.num_betas)
    own = np.where(chosen.found[:, None], shapes, np.nan)
    given = replace(chosen, header={**chosen.header, "method": label}, betas=own)
    return placed(*seen.sight.of(given), seen.sight.model)
