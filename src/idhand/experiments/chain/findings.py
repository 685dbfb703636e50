"""What a run of the chain must show, line by line, with the numbers that decide. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from idhand.evaluation import Interval
from idhand.experiments.chain.config import ChainConfig, Use
from idhand.experiments.chain.evaluated import Evaluated
from idhand.experiments.chain.optimised import Optimised
from idhand.experiments.chain.rows import SOLVER_LABELS, SOLVERS, ChainRow, rule_label
from idhand.experiments.chain.scores import Scores, gap
from idhand.experiments.chain.sets import Sets
from idhand.experiments.chain.shapes import SINGLE, ShapeStage
from idhand.experiments.numbers import Check, shown
from idhand.methods.refining import Solver

WITHIN = 0.7
"""A calibrated shape's error is at most this share of the baseline's on a single picture."""
REST_VERTS = "rest_verts_mm"
USE_LABELS: Mapping[Use, str] = {
    "overlap": "calibrated from the evaluated pictures, as in the paper",
    "apart": "calibrated from other sequences than the evaluated ones",
}


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The results of a run."""

    name: str
    """Of the data and the protocol."""
    config: ChainConfig
    sets: Sets
    lists: Path
    """Folder of the lists."""
    shapes: ShapeStage
    evaluated: tuple[Evaluated, ...]
    optimised: tuple[Optimised, ...]
    uses: tuple[Use, ...]
    trust: str
    """A sentence on the covariances."""
    left_out: tuple[str, ...]
    has_marks: bool
    """The hand net's points are other points than the hand model's keypoints."""

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """By the row's key, see `score_key`."""
        before = {score_key(each.row, None): each.scores() for each in self.evaluated}
        after = {score_key(each.row, each.solver): each.scores() for each in self.optimised}
        return before | after

    def of(self, row: ChainRow, solver: Solver | None, use: Use) -> Scores:
        """A row's scores on the pictures that are evaluated."""
        wanted = self.shapes.uses[use].split.evaluated
        return self.scores[score_key(row, solver)].select(wanted)

    def rows(self, use: Use) -> tuple[ChainRow, ...]:
        """The rows of one split."""
        return tuple(each.row for each in self.evaluated if each.row.use in (None, use))

    def shape_errors(self, use: Use, rule: str, name: str) -> dict[str, float]:
        """Each person's error."""
        people: Mapping[str, Any] = self.shapes.document["uses"][use].get(rule, {})
        return {who: values[name] for who, values in people.items()}


def score_key(row: ChainRow, solver: Solver | None) -> str:
    """Of a row before (None) or after refinement."""
    return row.key if solver is None else f"{row.key}-{solver}"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One thing that must be seen."""

    title: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether all of its checks do."""
        return all(check.holds for check in self.checks)


def statements(findings: Findings) -> tuple[Statement, ...]:
    """Both of them."""
    share = f"{WITHIN:g} times"
    return (
        Statement(
            title=f"A calibrated shape is at most {share} as far off as that of a single picture",
            checks=tuple(_calibrated(findings)),
        ),
        Statement(
            title="Refinement lowers the error in the camera's frame with the true shape, and more "
            "than with the baseline's",
            checks=tuple(_refined(findings)),
        ),
    )


def _calibrated(findings: Findings) -> list[Check]:
    checks = []
    for use in findings.uses:
        single = findings.shape_errors(use, SINGLE, REST_VERTS)
        rules = dict.fromkeys(row.rule for row in findings.rows(use) if row.kind == "calibrated")
        for rule in rules:
            own = findings.shape_errors(use, rule, REST_VERTS)
            both = [who for who in own if who in single]
            if not both:
                continue
            ours, theirs = (float(np.mean([e[who] for who in both])) for e in (own, single))
            checks.append(
                Check(
                    text=f"{rule_label(rule)}, {USE_LABELS[use]}: rest vertices {ours:.2f} mm "
                    f"against {theirs:.2f} mm of single pictures, {ours / theirs:.2f} times",
                    holds=ours <= WITHIN * theirs,
                )
            )
    return checks


def _refined(findings: Findings) -> list[Check]:
    use = findings.uses[0]
    baseline, true = findings.rows(use)[:2]
    checks = []
    for solver in SOLVERS:
        moved = [
            gap(findings.of(row, solver, use), findings.of(row, None, use), "mpjpe_camera")
            for row in (true, baseline)
        ]
        text = f"{SOLVER_LABELS[solver]}: {_changed(moved[0])} with the true shape, "
        text += f"{_changed(moved[1])} with the baseline's"
        holds = moved[0].estimate < 0 and moved[0].estimate < moved[1].estimate
        checks.append(Check(text=text, holds=bool(holds)))
    return checks


def _changed(change: Interval) -> str:
    return f"MPJPE abs. changes by {shown(change)}".replace("-", "−")
