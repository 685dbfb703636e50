"""The chain: every stage from what the ones before it have left."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from idhand.assets import hand
from idhand.experiments.chain.chunks import Bar
from idhand.experiments.chain.config import ChainConfig, StageName, Use
from idhand.experiments.chain.covariances import keep_covariances
from idhand.experiments.chain.evaluated import keep_evaluated
from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.lists import keep_lists
from idhand.experiments.chain.networks import Trained, Trainings
from idhand.experiments.chain.optimised import keep_optimised
from idhand.experiments.chain.predictions import (
    Predicting,
    Seen,
    seen_by_hand_net,
    seen_by_paper,
)
from idhand.experiments.chain.prepared import damaged, keep_prepared
from idhand.experiments.chain.rows import rows_for
from idhand.experiments.chain.sets import ChainInput, Sets, sets_of
from idhand.experiments.chain.shapes import keep_shapes
from idhand.experiments.chain.summary import Findings, write_summary
from idhand.files import only_writer
from idhand.training.processes import Group

Plan = Callable[[Sets, ChainConfig, Group], None]
"""Hears what will be done, before the first long stage."""


@dataclass(kw_only=True)
class _Beginning:
    """Says which stage begins, and before the first long one what will be done."""

    note: Callable[[str], None]
    plan: Callable[[], None] | None = None

    def __call__(self, name: str) -> None:
        if self.plan is not None:
            self.plan()
            self.plan = None
        self.note(f"{name} …")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """One run of the chain."""

    source: ChainInput
    out: Path
    """Its folder; a run of the same goes on there."""
    config: ChainConfig
    note: Callable[[str], None]
    """Hears a sentence when a stage begins, is made again, or needs attention."""
    group: Group
    only: StageName | None = None
    """Make one stage alone; what it needs must be there."""
    bar: Bar | None = None
    """Shows how many pictures are done."""
    plan: Plan | None = None

    def run(self) -> Path:
        """Make what is missing.

        Returns:
            The summary, or the folder of the only stage.

        Raises:
            ValueError: If something does not fit together.
        """
        with only_writer(self.out):
            return self._run()

    def _run(self) -> Path:
        beginning = _Beginning(note=self.note)
        stages = Stages(root=self.out, note=self.note, begins=beginning, only=self.only)
        listed, lists = keep_lists(stages, self.source)
        if self.only == "lists":
            return listed.folder
        prepared, parts = keep_prepared(stages, self.source, lists, listed)
        if self.only == "prepared":
            return self.out if prepared is None else prepared.folder
        sets = sets_of(dict(parts), hand)
        sets = replace(sets, left_out=(*damaged(lists, parts), *sets.left_out))
        for sentence in sets.left_out:
            self.note(sentence)
        data = (listed,) if prepared is None else (prepared,)
        if self.plan is not None:
            beginning.plan = partial(self.plan, sets, self.config, self.group)
        return self._learnt(stages, sets, lists=listed, data=data)

    def _learnt(self, stages: Stages, sets: Sets, *, lists: Done, data: tuple[Done, ...]) -> Path:
        """From the networks on."""
        trainings = Trainings(
            stages=stages, sets=sets, config=self.config, group=self.group, needs=data,
            progress=self.bar,
        )  # fmt: skip
        trained = trainings.keep_networks()
        if self.only == "networks":
            return self.out / "networks"
        work = Predicting(
            stages=stages, sets=sets, config=self.config, device=self.group.device, needs=data,
            bar=self.bar,
        )  # fmt: skip
        seen = self._seen(work, trained)
        calibration, trust, calibrated = keep_covariances(work, trained[0], seen.sight.model)
        if self.only == "predictions":
            return self.out / "predictions"
        uses: tuple[Use, ...] = ("apart",) if sets.leaves_one_out else ("overlap", "apart")
        needs = (*seen.needs, *calibrated)
        shapes = keep_shapes(stages, sets, seen.baseline, uses, self.config, calibration, needs)
        if self.only == "shapes":
            return shapes.done.folder
        rows = rows_for(uses, self.source.protocol)
        evaluated = keep_evaluated(stages, sets, seen, shapes, rows)
        if self.only == "evaluated":
            return self.out / "evaluated"
        optimised = keep_optimised(stages, sets, seen, evaluated)
        if self.only == "optimised":
            return self.out / "optimised"
        findings = Findings(
            name=self.source.name, config=self.config, sets=sets, lists=lists.folder,
            shapes=shapes, evaluated=evaluated, optimised=optimised, trust=trust, uses=uses,
            left_out=(*sets.left_out, *seen.left_out),
            has_marks=seen.baseline.points_offsets is not None,
        )  # fmt: skip
        return write_summary(stages, findings)

    def _seen(self, work: Predicting, trained: tuple[Trained, ...]) -> Seen:
        if self.config.recipe == "paper":
            return seen_by_paper(work, trained)
        return seen_by_hand_net(work, trained)
