"""What one run of the chain is: its stages, its recipe and its numbers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

StageName = Literal[
    "lists", "prepared", "networks", "predictions", "shapes", "evaluated", "optimised", "summary"
]
STAGES: tuple[StageName, ...] = get_args(StageName)
Recipe = Literal["paper", "hand"]
"""`paper`: residual networks, as published. `hand`: our heads on the shipped hand net, which stays
as it is, so that a CPU is enough."""
Use = Literal["overlap", "apart"]
"""Which pictures of a test person calibrate and which are evaluated: `overlap`, all of them both,
as in the paper; `apart`, one half of the sequences each."""

RANDOM_NUMBERS = (1, 2, 3, 4, 5, 10, 20, 50, 100, 200)
"""Of pictures that the paper's curve of calibration is made from."""
TOP_K = 10
"""Pictures that the paper's rule by confidence takes."""
PAPERS_RULE = "random_20"
"""The calibrated shapes that the paper's tables on DexYCB rest on, by its released code."""
PAPERS_RULE_HUMBI = "top_10"
"""The same of HUMBI."""
OURS = "ours"
IMAGENET_NETS = ("resnet50", "resnet18")
"""Residual networks of the recipe `paper`: of the three pose networks, and of the 2D network."""


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """How the chain is run."""

    recipe: Recipe = "paper"
    imagenet: tuple[Path, ...] = ()
    """Files with ImageNet weights of ResNet-50 and ResNet-18, as torchvision offers them, for the
    recipe `paper`; without them networks start from scratch."""
    steps: int | None = None
    """Of each training; None: the preset's."""
    seed: int = 0
    """Of trainings, of the draws of pictures, and of how recordings are split."""
    batch: int | None = None
    """Examples of a training step; None: the preset's."""
    workers: int = 1
    """Processes that read pictures and compute features; no result depends on it."""

    def __post_init__(self):
        if self.recipe not in get_args(Recipe):
            known = " or ".join(get_args(Recipe))
            raise ValueError(f"recipe must be {known}, got '{self.recipe}'")
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        for path in self.imagenet:
            if not any(name in path.name for name in IMAGENET_NETS):
                raise ValueError(
                    f"{path}: ImageNet files are told apart by their names, which say "
                    f"{' or '.join(IMAGENET_NETS)} (as torchvision's resnet50-19c8e357.pth); "
                    "rename it, or leave it out"
                )
        if self.recipe == "hand" and self.imagenet:
            raise ValueError(
                "the recipe 'hand' stands on a hand net that comes trained, so it takes no "
                "--imagenet; leave it out, or choose --recipe paper"
            )
