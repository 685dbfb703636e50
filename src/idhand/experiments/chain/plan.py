"""What a run will do and how long it will take here, by a short measurement."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from idhand.data import DataSet
from idhand.detection import HandDetector
from idhand.experiments.chain.config import ChainConfig
from idhand.experiments.chain.networks import PRESET_OF, preset_of
from idhand.experiments.chain.sets import Sets
from idhand.experiments.chain.summary import from_scratch
from idhand.methods.detections import detect_hands
from idhand.nets.backbones import CROP_SIDE_PX, HandBackbone
from idhand.nets.heatmaps import HeatmapNet
from idhand.training.log import duration
from idhand.training.presets import PRESETS
from idhand.training.processes import Group

HEADS_PER_S = 5000.0
"""Examples of kept features that heads learn from in a second, on one thread (docs/results.md)."""
LOOKED_AT = 4
"""Pictures of the measurement."""
TIMED_BATCH = 2
"""Crops of the measurement of a residual network."""
FIT_S = 0.018
"""A row's evaluation and refinement by both solvers, of one picture."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that takes long."""

    what: str
    seconds: float


def steps(sets: Sets, config: ChainConfig, group: Group) -> tuple[Step, ...]:
    """What will take long, with times by measurement on this machine."""
    return _of_hand(sets, config) if config.recipe == "hand" else _of_paper(sets, config, group)


def sentences(sets: Sets, config: ChainConfig, group: Group) -> list[str]:
    """What will be done, how long it takes here, and what would change that."""
    found = steps(sets, config, group)
    total = sum(step.seconds for step in found)
    lines = [
        f"recipe '{config.recipe}', to do in about {duration(total)} here, if nothing is kept:"
    ]
    lines += [f"  {step.what}: about {duration(step.seconds)}" for step in found]
    if config.recipe == "paper":
        lines += from_scratch(config.imagenet)
        hand_s = sum(step.seconds for step in _of_hand(sets, _hand_recipe(config)))
        if group.device.type == "cpu":
            lines.append(
                "residual networks are made for a GPU: --device cuda; --recipe hand trains heads "
                f"on the shipped hand net instead, all in about {duration(hand_s)} here"
            )
    elif group.device.type == "cpu":
        lines.append(
            "a GPU would speed up little of this: pictures are read and hands detected on the CPU"
        )
    return lines


def _hand_recipe(config: ChainConfig) -> ChainConfig:
    return replace(config, recipe="hand", imagenet=())


def _of_hand(sets: Sets, config: ChainConfig) -> tuple[Step, ...]:
    backbone = HandBackbone("hand_studio")
    per_crop = _seconds_per_crop(backbone)
    per_picture = _seconds_per_picture(sets.test, backbone)
    workers = max(config.workers, 1)
    learnt = len(sets.test) if sets.leaves_one_out else _trained_on(sets)
    tested = len(sets.test)
    trained = sum(
        preset_of(name, sets, config, fold).loop.num_steps(1)
        * preset_of(name, sets, config, fold).loop.batch
        for fold in sets.folds
        for name in PRESET_OF["hand"]
    )
    return (
        Step(
            what=f"features of {learnt:,} pictures to learn from",
            seconds=learnt * per_crop / workers,
        ),
        Step(what=f"{3 * len(sets.folds)} trainings", seconds=trained / HEADS_PER_S),
        Step(what=f"hands of {tested:,} test pictures", seconds=tested * per_picture / workers),
        _fits(sets),
    )


def _trained_on(sets: Sets) -> int:
    """Pictures of training and of validation."""
    (fold,) = sets.folds
    return len(fold.train) + (0 if fold.val is None else len(fold.val))


def _fits(sets: Sets) -> Step:
    rows = 4 if sets.leaves_one_out else 6
    return Step(
        what=f"{rows} rows, each evaluated, and refined by two solvers",
        seconds=rows * len(sets.test) * FIT_S,
    )


def _of_paper(sets: Sets, config: ChainConfig, group: Group) -> tuple[Step, ...]:
    found = []
    rates: dict[str, float] = {}
    for name, preset in PRESET_OF["paper"].items():
        kind = "2D network" if name == "points" else "pose network"
        if kind not in rates:
            rates[kind] = _training_seconds(name, sets, group.device)
        forward = 1 / 3 if name == "confidence" else 1.0  # nothing but a head learns
        number = 0
        for fold in sets.folds:
            config_of = preset_of(name, sets, config, fold)
            epoch = max(1, len(fold.train) // config_of.loop.batch)
            number += config_of.loop.num_steps(epoch) * config_of.loop.batch
        found.append(
            Step(what=f"{preset}, {number:,} crops", seconds=number * rates[kind] * forward)
        )
    passes = len(sets.test) * (2 * rates["pose network"] + rates["2D network"]) / 3
    found.append(Step(what=f"predictions of {len(sets.test):,} test pictures", seconds=passes))
    return (*found, _fits(sets))


def _seconds_per_crop(backbone: HandBackbone) -> float:
    """Of the hand net on the CPU, on one thread."""
    images = torch.zeros(LOOKED_AT, 3, CROP_SIDE_PX, CROP_SIDE_PX)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _timed(lambda: backbone(images)) / LOOKED_AT
    finally:
        torch.set_num_threads(before)


def _seconds_per_picture(data: DataSet, backbone: HandBackbone) -> float:
    """Of reading a picture and detecting its hand."""
    rows = np.unique(np.linspace(0, len(data) - 1, LOOKED_AT).astype(int)).tolist()
    detector = HandDetector()
    samples = [data[row] for row in rows]
    return _timed(lambda: detect_hands(samples, detector, backbone)) / len(rows)


def _training_seconds(name: str, sets: Sets, device: torch.device) -> float:
    """Of a crop in a training step."""
    with torch.random.fork_rng(devices=()):
        config = PRESETS[PRESET_OF["paper"][name]](sets.model)
        net = HeatmapNet() if config.net is None else config.net.build()
    net.to(device).train()
    images = torch.zeros(TIMED_BATCH, 3, CROP_SIDE_PX, CROP_SIDE_PX, device=device)

    def step() -> None:
        outputs = net(images) if isinstance(net, HeatmapNet) else (net.backbone(images),)
        torch.stack([_sum(output) for output in outputs]).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return _timed(step) / TIMED_BATCH


def _sum(output: torch.Tensor) -> torch.Tensor:
    return output.float().mean()


def _timed(work: Callable[[], object]) -> float:
    """Seconds of the second of two times."""
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        work()
        seconds = time.perf_counter() - began
    return seconds
