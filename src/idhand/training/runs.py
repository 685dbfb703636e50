"""A whole training, from a folder of samples to a file with the network."""

import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from idhand.assets import OPEN_HAND, hand
from idhand.data import DataSet, Subset
from idhand.data.manifest import sha256_of
from idhand.files import replacing
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_keypoint_net, load_regressor, save_net
from idhand.nets.heatmaps import HeatmapNet
from idhand.nets.keypoints import KeypointNet
from idhand.nets.regressor import Regressor
from idhand.nets.resnet import ResNet, load_imagenet
from idhand.training.batches import Examples
from idhand.training.checkpoints import Checkpoints
from idhand.training.config import TaskName, TrainConfig
from idhand.training.draws import Order
from idhand.training.examples import CropConfig, ImageExamples, Labels, check_labels
from idhand.training.features import (
    FeatureConfig,
    FeatureExamples,
    cache_features,
    feature_folder,
)
from idhand.training.keypoints import FlatMaps, KeypointTask
from idhand.training.loop import Trained, train
from idhand.training.marks import training_marks
from idhand.training.memory import MemoryExamples
from idhand.training.processes import Group
from idhand.training.tasks import HeatmapTask, RegressorTask, with_confidence
from idhand.training.validation import validator

LABELS: Mapping[TaskName, Labels] = {"heatmaps": "keypoints", "keypoints": "seen"}
"""Of tasks that need others than pose and shape."""
MEASURED = 512
"""Crops by which the scale of a trunk's inputs is measured, where features are not kept."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained on what, and where everything goes."""

    config: TrainConfig
    samples: DataSet
    folder: Path
    """For log, checkpoints and the network."""
    val: DataSet | None = None
    """Other people, to validate with."""
    start: Path | None = None
    """A trained network to start from; `confidence` needs one."""
    imagenet: Path | None = None
    """A file with a residual network's weights to start from, torchvision's names."""
    cache: Path | None = None
    """Folder for features of frozen backbones; trainings share it."""
    shares_whole: bool = False
    """Of a `Subset`, compute and keep the features of its whole set, which other subsets share."""
    in_memory: bool = False
    """Keep all pictures in the device's memory and cut the crops there."""
    workers: int = 1
    """Processes that compute features, or read pictures into memory."""
    group: Group = Group()  # noqa: RUF009  frozen
    cache_progress: Callable[[int, int], None] | None = None

    def __call__(self) -> tuple[Trained, Path]:
        """Train, going on where an earlier call was ended, and write the network.

        Raises:
            ValueError: If something does not fit together.
            FloatingPointError: If the loss or its gradient is no longer a number.
        """
        task, examples, val = self._parts()
        origin = {"training": self.config.origin(), **self._starts(), **examples.description()}
        self._write_origin(origin)
        trained = train(
            task,
            examples,
            self.config.loop,
            self.folder,
            origin=origin,
            validate=None if val is None else validator(val, self.group.device),
            group=self.group,
        )
        path = self.folder / f"{self.config.name}.safetensors"
        if self.group.is_first:
            self._fit_marks(trained, examples)
            self._export(trained, path, origin)
        self.group.wait()
        return trained, path

    def has_checkpoint(self) -> bool:
        """Whether there is something to go on with."""
        return Checkpoints(folder=self.folder / "checkpoints").latest() is not None

    # ------------------------------------------------------------------------------------ parts

    def _parts(self) -> tuple[nn.Module, Examples, Examples | None]:
        """The task and its examples."""
        if self.config.task == "heatmaps":
            return HeatmapTask(self._heatmaps()), self._pictures(self.samples), self._val_pictures()
        if self.config.task == "keypoints":
            return self._keypoint_parts()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.config.loop.seed)
            net = self._regressor()
        model = hand(net.config.hand_model)
        for samples in (self.samples, self.val):
            if samples is not None and len(samples):
                check_labels(samples.label(0), "hand", model.name)
        if self.config.views is None:
            examples, val = self._pictures(self.samples), self._val_pictures()
        else:
            examples, val = self._features(net)
        net.to(self.group.device)
        if self.start is None:
            net.measure(_typical(net, examples))
        return RegressorTask(net, model, self.config), examples, val

    def _keypoint_parts(self) -> tuple[nn.Module, Examples, Examples | None]:
        """The keypoint network before training, or as it was trained, and its pictures."""
        if self.imagenet is not None:
            raise ValueError(
                "keypoints has a backbone that comes trained, so it takes no --imagenet"
            )
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.config.loop.seed)
            net = KeypointNet() if self.start is None else load_keypoint_net(self.start)
        if self.config.views is None:
            examples, val = self._pictures(self.samples), self._val_pictures()
        else:
            maps = FlatMaps(net.eval())
            examples, val = self._kept(maps, net.backbone, hand_model=OPEN_HAND)
        net.to(self.group.device)
        if self.start is None:
            net.measure(_typical_of(net.backbone, examples, self.group.device))
        return KeypointTask(net, hand(OPEN_HAND), self.config.keypoint_loss), examples, val

    def _heatmaps(self) -> HeatmapNet:
        """The 2D network before training."""
        if self.start is not None:
            raise ValueError(
                f"heatmaps start from --imagenet, not from a trained network ({self.start})"
            )
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(self.config.loop.seed)
            net = HeatmapNet()
        if self.imagenet is not None:
            _load_imagenet_stages(net, self.imagenet)
        return net

    def _regressor(self) -> Regressor:
        """The network before training."""
        config = self.config
        if self.start is None:
            if config.net is None:
                raise ValueError(
                    f"'{config.name}' trains a branch of a trained network; name its file: --start"
                )
            net = config.net.build()
        else:
            net = load_regressor(self.start)
            if config.net is None:
                net = with_confidence(net)
            elif net.config != config.net:
                raise ValueError(
                    f"{self.start} holds a network of another architecture than "
                    f"'{config.name}' trains; start from one of the same preset"
                )
        if self.imagenet is not None:
            if not isinstance(net.backbone, ResNet):
                raise ValueError(
                    f"'{config.name}' has a backbone that comes trained, so it takes no --imagenet"
                )
            load_imagenet(net.backbone, self.imagenet)
        if config.views is not None and not net.is_frozen:
            raise ValueError(
                f"{self.start} has a backbone that was trained itself, so its features are not "
                f"kept; use paper_confidence instead of '{config.name}'"
            )
        return net

    def _pictures(self, samples: DataSet, *, training: bool = True) -> Examples:
        config = self.config
        labels = LABELS.get(config.task, "hand")
        crops = config.crops if training else _undisturbed(config.crops)
        if self.in_memory:
            return MemoryExamples.read(
                samples, crops, None if config.net is None else config.net.hand_model,
                workers=self.workers, device=self.group.device,
            )  # fmt: skip
        return ImageExamples(
            samples=samples,
            config=crops,
            labels=labels,
            hand_model=None if config.net is None else config.net.hand_model,
            num_workers=config.loop.num_workers,
        )

    def _val_pictures(self) -> Examples | None:
        return None if self.val is None else self._pictures(self.val, training=False)

    def _features(self, net: Regressor) -> tuple[FeatureExamples, FeatureExamples | None]:
        """Both sets as features of the network's backbone."""
        assert isinstance(net.backbone, HandBackbone)
        return self._kept(net.backbone, net.backbone, hand_model=net.config.hand_model)

    def _kept(
        self, made_by: nn.Module, backbone: HandBackbone, *, hand_model: str
    ) -> tuple[FeatureExamples, FeatureExamples | None]:
        """Both sets as features; the first process computes what is missing."""
        config = self.config
        assert config.views is not None
        root = self.cache or self.folder / "features"
        made = FeatureConfig(
            backbone=backbone.name, label=backbone.label, views=config.views, crops=config.crops,
            hand_model=hand_model, labels=LABELS.get(config.task, "hand"),
            on_disk=config.task == "keypoints",
        )  # fmt: skip
        plain = replace(made, views=1, crops=_undisturbed(config.crops))
        both = [(self.samples, made), (self.val, plain)]
        wanted = [
            (whole, how, feature_folder(root, how.about(whole)))
            for whole, how in ((self._whole(samples), how) for samples, how in both)
            if whole is not None
        ]
        if self.group.is_first:
            for samples, how, folder in wanted:
                cache_features(
                    made_by, samples, folder, how, workers=self.workers,
                    device=self.group.device, progress=self.cache_progress,
                )  # fmt: skip
        self.group.wait()
        read = [FeatureExamples.read(folder, samples) for samples, _, folder in wanted]
        chosen = [
            examples.subset(samples)
            if isinstance(samples, Subset) and self.shares_whole
            else examples
            for examples, (samples, _) in zip(read, both, strict=False)
        ]
        return chosen[0], chosen[1] if len(chosen) > 1 else None

    def _whole(self, samples: DataSet | None) -> DataSet | None:
        """The set whose features are kept for these samples."""
        return samples.data if self.shares_whole and isinstance(samples, Subset) else samples

    # ------------------------------------------------------------------------------------- notes

    def _starts(self) -> dict[str, Any]:
        """The files that the network starts from."""
        files = {"start": self.start, "imagenet": self.imagenet}
        return {name: sha256_of(path) for name, path in files.items() if path is not None}

    def _write_origin(self, origin: Mapping[str, Any]) -> None:
        """config.json and commit.txt, before the first step."""
        if not self.group.is_first or self.has_checkpoint():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("config.json", json.dumps(origin, indent=1)),
            ("commit.txt", f"{commit()}\n{platform.platform()}, torch {torch.__version__}"),
        ):
            with replacing(self.folder / name) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")

    def _fit_marks(self, trained: Trained, examples: Examples) -> None:
        """Let a network on a frozen hand net know whose points that net marks."""
        if not isinstance(trained.task, RegressorTask) or not isinstance(examples, FeatureExamples):
            return
        net = trained.task.net
        assert isinstance(net.backbone, HandBackbone)
        model = hand(net.config.hand_model)
        net.marks = training_marks(net.backbone, model, examples, self.config.crops)

    def _export(self, trained: Trained, path: Path, origin: Mapping[str, Any]) -> None:
        """The network alone, with notes on how it came to be."""
        notes = {
            "preset": self.config.name,
            "steps": trained.steps,
            "validation": trained.metrics,
            "commit": commit(),
            **origin,
        }
        assert isinstance(trained.task, RegressorTask | HeatmapTask | KeypointTask)
        config = self.config
        save_net(trained.task.net, path, notes, dtype=config.export, cut=config.crops.cut)


def _load_imagenet_stages(net: HeatmapNet, path: Path) -> None:
    """Stem and the residual layers of every stage, as in the paper."""
    layers = ("layer1", "layer2", "layer3", "layer4")
    stem = nn.Module()
    stem.conv1, stem.bn1 = net.conv1, net.bn1
    load_imagenet(stem, path, without=(*layers, "fc"))
    for stage in net.stages:
        residual = nn.Module()
        for name in layers:
            setattr(residual, name, getattr(stage, name))
        load_imagenet(residual, path, without=("conv1", "bn1", "fc"))


def _typical(net: Regressor, examples: Examples) -> torch.Tensor:
    """Features of many examples."""
    if isinstance(examples, FeatureExamples):
        return examples.typical()
    if net.trunk is None:
        return torch.zeros(2, net.num_features)
    return _typical_crops(net.backbone, examples, net.decoder.start.device)


def _undisturbed(crops: CropConfig) -> CropConfig:
    """For validation: crops as hands are found, in the pictures' own colours."""
    return replace(crops, colour=None, wide_share=0.0, harm=None)


def _typical_of(backbone: HandBackbone, examples: Examples, device: torch.device) -> torch.Tensor:
    """The backbone's features of many crops."""
    if isinstance(examples, FeatureExamples):
        return examples.typical(MEASURED)[:, : backbone.num_features]
    return _typical_crops(backbone, examples, device)


def _typical_crops(backbone: nn.Module, examples: Examples, device: torch.device) -> torch.Tensor:
    """Features of many crops."""
    order = Order(num_examples=len(examples), batch=min(len(examples), 32), seed=0)
    steps = min(order.epoch_steps, MEASURED // order.batch)
    with torch.inference_mode():
        parts = [
            backbone(batch.to(device).inputs01)
            for batch in examples.batches(order, 0, steps, rank=0, ranks=1)
        ]
    return torch.cat(parts).clone()


def commit() -> str:
    """The commit of the package's own repository, else its version."""
    package = Path(__file__)
    try:
        # Only if the file belongs to the repository: it may be installed inside another one.
        _git(package.parent, "ls-files", "--error-unmatch", package.name)
        changed = _git(package.parent, "status", "--porcelain", "--untracked-files=no", ".")
        return _git(package.parent, "rev-parse", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        pass
    try:
        return f"version {version('idhand')}"
    except PackageNotFoundError:
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
