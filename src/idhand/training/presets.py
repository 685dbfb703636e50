"""Trainings to start from: ours on the frozen hand net, the paper's, and one for tests.

Each is a function of the hand model that the data is labelled with.
"""

from collections.abc import Callable
from dataclasses import replace

from idhand.hand import FittableHand
from idhand.losses import LossConfig, confidence_only, ours, paper
from idhand.nets import regressor as nets
from idhand.nets.crops import JitterConfig
from idhand.training.colour import mild_colour, paper_colour
from idhand.training.config import TrainConfig
from idhand.training.examples import CropConfig
from idhand.training.schedule import LoopConfig
from idhand.training.seen import HarmConfig


def backbone(model: FittableHand) -> TrainConfig:
    """The hand net itself, trained on under heads that may know the person; for a GPU.

    `make backbone` ships it, without the heads.
    """
    return TrainConfig(
        name="backbone",
        net=replace(
            nets.identity_film_network(model.name, model.num_betas), backbone="hand_full", tune=True
        ),
        loop=LoopConfig(
            optimiser="adamw", lr=1e-3, weight_decay=0.01, batch=256, steps=4000,
            schedule="cosine", warmup_steps=200, clip_norm=1.0, ema_decay=0.999, amp="bf16",
            validate_every=2000, checkpoint_every=500,
        ),
        loss=replace(ours(), landmarks=5.0),
        crops=CropConfig(colour=mild_colour()),
        identity_dropout=0.5,
        identity_noise=0.2,
        export="float16",
    )  # fmt: skip


def baseline(model: FittableHand) -> TrainConfig:
    """Ours, anonymous: heads on the frozen hand net, from features that are computed once."""
    return TrainConfig(
        name="baseline",
        net=nets.baseline_network(model.name, model.num_betas),
        loop=LoopConfig(
            optimiser="adamw", lr=1e-3, weight_decay=0.01, batch=256, steps=12_000,
            schedule="cosine", warmup_steps=500, clip_norm=1.0, ema_decay=0.999,
            validate_every=2000, checkpoint_every=1000,
        ),
        loss=ours(),
        crops=CropConfig(colour=mild_colour()),
        views=1,
        export="float16",
    )  # fmt: skip


def identity(model: FittableHand) -> TrainConfig:
    """The paper's identity-aware network on the hand net: the hand layer is given the shape."""
    return replace(
        baseline(model), name="identity", net=nets.identity_network(model.name, model.num_betas)
    )


def identity_film(model: FittableHand) -> TrainConfig:
    """Ours: the shape also changes the features; left out at random, so that it serves both."""
    return replace(
        baseline(model),
        name="identity_film",
        net=nets.identity_film_network(model.name, model.num_betas),
        identity_dropout=0.5,
        identity_noise=0.2,
    )


def confidence(model: FittableHand) -> TrainConfig:
    """The confidence branch of a network that is trained already, on its cached features."""
    return replace(
        baseline(model),
        name="confidence",
        task="confidence",
        net=None,
        loss=confidence_only(),
        loop=replace(baseline(model).loop, lr=1e-3, weight_decay=0.0, steps=3000, warmup_steps=100),
    )


def paper_baseline(model: FittableHand) -> TrainConfig:
    """The paper's baseline; its decoder composes rotations as the identity-aware network's does.

    Source of the numbers: the authors' released code. ResNets start from ImageNet.
    """
    net = replace(
        nets.official_baseline_network(model.name, model.num_betas),
        update="multiply",
        start="identity",
    )
    return TrainConfig(
        name="paper_baseline",
        net=net,
        loop=_paper_loop(),
        loss=paper(),
        crops=_paper_crops(),
        num_verts=None,
    )


def official_baseline(model: FittableHand) -> TrainConfig:
    """The same as the authors released it: additive updates from a start that is not a rotation."""
    net = nets.official_baseline_network(model.name, model.num_betas)
    return replace(paper_baseline(model), name="official_baseline", net=net)


def paper_identity(model: FittableHand) -> TrainConfig:
    """The paper's identity-aware network."""
    net = nets.official_identity_network(model.name, model.num_betas)
    return replace(paper_baseline(model), name="paper_identity", net=net)


def paper_confidence(model: FittableHand) -> TrainConfig:
    """The paper's confidence branch, on its trained baseline, which stays as it is."""
    return replace(
        paper_baseline(model),
        name="paper_confidence",
        task="confidence",
        net=None,
        loop=replace(_paper_loop(), batch=128),
        loss=confidence_only(),
    )


def paper_heatmaps(model: FittableHand) -> TrainConfig:
    """The paper's 2D network."""
    return replace(
        paper_baseline(model),
        name="paper_heatmaps",
        task="heatmaps",
        net=None,
        loop=replace(_paper_loop(), milestones=(10.0, 15.0)),
    )


def keypoints(model: FittableHand) -> TrainConfig:
    """Keypoints with deviations, on the maps of the frozen hand net, from crops of all kinds."""
    return TrainConfig(
        name="keypoints",
        task="keypoints",
        net=None,
        views=2,
        loop=LoopConfig(
            optimiser="adamw", lr=2e-3, weight_decay=0.01, batch=64, steps=2400,
            schedule="cosine", warmup_steps=100, clip_norm=5.0, ema_decay=0.998,
            log_every=50, validate_every=500, checkpoint_every=250,
        ),
        crops=CropConfig(
            wide_jitter=JitterConfig(rotation_deg=60.0, shift=0.25, scale=0.35),
            wide_share=0.2,
            colour=mild_colour(),
            harm=HarmConfig(),
        ),
        export="float16",
    )  # fmt: skip


def debug(model: FittableHand) -> TrainConfig:
    """A few steps of a small network, to see whether everything is in its place."""
    net = replace(
        nets.identity_film_network(model.name, model.num_betas),
        trunk=32,
        hidden=(32,),
        shape_hidden=(32,),
    )
    loop = LoopConfig(
        batch=8, steps=6, lr=1e-3, ema_decay=0.9, warmup_steps=2,
        log_every=2, checkpoint_every=3, validate_every=3,
    )  # fmt: skip
    return replace(
        identity_film(model),
        name="debug",
        net=net,
        loop=loop,
        loss=LossConfig(keypoints=5.0, shape_nll=0.5),
        views=1,
        num_verts=32,
    )


PRESETS: dict[str, Callable[[FittableHand], TrainConfig]] = {
    preset.__name__: preset
    for preset in (
        backbone, baseline, identity, identity_film, confidence,
        paper_baseline, paper_identity, paper_confidence, paper_heatmaps, official_baseline,
        keypoints, debug,
    )
}  # fmt: skip
"""By name."""


def _paper_loop() -> LoopConfig:
    """Its flag says 15 epochs, but 16 are run."""
    return LoopConfig(
        optimiser="adam", lr=1e-4, weight_decay=0.0, batch=32, epochs=16.0, schedule="steps",
        milestones=(5.0, 10.0), milestone_factor=0.1, clip_norm=None, num_workers=4,
    )  # fmt: skip


def _paper_crops() -> CropConfig:
    """Colours only: no rotation, no flip, no jitter of the crop."""
    return CropConfig(cut="box", jitter=None, colour=paper_colour())
