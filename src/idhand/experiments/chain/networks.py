"""Stage `networks`: baseline, identity-aware network, confidence branch, and the 2D network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idhand.data.manifest import sha256_of
from idhand.experiments.chain.config import IMAGENET_NETS, ChainConfig, Recipe
from idhand.experiments.chain.kept import Done, Stages
from idhand.experiments.chain.sets import Fold, Sets
from idhand.training.config import TrainConfig
from idhand.training.presets import PRESETS
from idhand.training.processes import Group
from idhand.training.runs import Training

CHECKPOINTS = "checkpoints"
FEATURES = "features"
"""In the run's folder: what the frozen hand net makes of the training's crops."""
PRESET_OF: Mapping[Recipe, Mapping[str, str]] = {
    "paper": {
        "baseline": "paper_baseline",
        "identity": "paper_identity",
        "confidence": "paper_confidence",
        "points": "paper_heatmaps",
    },
    "hand": {"baseline": "baseline", "identity": "identity", "confidence": "confidence"},
}
"""Network → the preset that trains it, in the order of training. The recipe `hand` takes the points
in the picture from its hand net."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The networks of one fold: name → finished part of the stage."""

    fold: Fold
    parts: Mapping[str, Done]

    def file(self, name: str, recipe: Recipe) -> Path:
        """A network's file."""
        return self.parts[name].folder / f"{PRESET_OF[recipe][name]}.safetensors"


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """What all trainings of a run share."""

    stages: Stages
    sets: Sets
    config: ChainConfig
    group: Group
    needs: tuple[Done, ...]
    progress: Callable[[int, int], None] | None = None
    """Hears how many crops have features."""

    def keep_networks(self) -> tuple[Trained, ...]:
        """The networks of every fold."""
        return tuple(self._of_fold(fold) for fold in self.sets.folds)

    def _of_fold(self, fold: Fold) -> Trained:
        parts: dict[str, Done] = {}
        for name in PRESET_OF[self.config.recipe]:
            start = parts["baseline"] if name == "confidence" else None
            parts[name] = self._network(fold, name, start)
        return Trained(fold=fold, parts=parts)

    def _network(self, fold: Fold, name: str, start: Done | None) -> Done:
        config = preset_of(name, self.sets, self.config, fold)
        imagenet = self.imagenet(name)
        trained_on = {"train": fold.train, "val": fold.val}

        def about() -> dict[str, Any]:
            return {
                "training": config.origin(),
                "imagenet": None if imagenet is None else sha256_of(imagenet),
                **{
                    part: None if data is None else data.fingerprint()
                    for part, data in trained_on.items()
                },
            }

        def make(folder: Path) -> list[str]:
            training = Training(
                config=config,
                samples=fold.train,
                folder=folder,
                val=fold.val,
                start=None if start is None else self._file(start, "baseline"),
                imagenet=imagenet,
                cache=self.stages.root / FEATURES,
                shares_whole=self.sets.leaves_one_out,
                workers=self.config.workers,
                group=self.group,
                cache_progress=self.progress,
            )
            _, path = training()
            return [path.name, "config.json"]

        needs = (*self.needs, *(() if start is None else (start,)))
        done = self.stages.keep(fold.below("networks", name), about, needs, make)
        remove_checkpoints(done.folder)
        return done

    def _file(self, done: Done, name: str) -> Path:
        return done.folder / f"{PRESET_OF[self.config.recipe][name]}.safetensors"

    def imagenet(self, name: str) -> Path | None:
        """The file that a network starts from; None: from scratch, or it comes trained."""
        if self.config.recipe == "hand" or name == "confidence":
            return None
        wanted = IMAGENET_NETS[name == "points"]
        return next((path for path in self.config.imagenet if wanted in path.name), None)


def preset_of(name: str, sets: Sets, config: ChainConfig, fold: Fold) -> TrainConfig:
    """A network's training with the run's numbers; no batch is larger than the data."""
    training = PRESETS[PRESET_OF[config.recipe][name]](sets.model)
    training = training.with_loop(seed=config.seed, num_workers=config.workers)
    if config.steps is not None:
        training = training.with_steps(config.steps)
    most = len(fold.train) * (training.views or 1)
    return training.with_loop(batch=min(config.batch or training.loop.batch, most))


def remove_checkpoints(folder: Path) -> None:
    """Delete what a finished training needs no more; three times the network's size and more."""
    if not (folder / CHECKPOINTS).is_dir():
        return
    for path in (folder / CHECKPOINTS).iterdir():
        path.unlink()
    (folder / CHECKPOINTS).rmdir()
