"""Every field of the configurations of trainings and networks changes a result."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import idhand.training.examples as examples_module
from idhand.assets import open_hand
from idhand.detection.roi import Roi
from idhand.losses import LossConfig, Truth, loss_terms
from idhand.nets.crops import JitterConfig, jittered
from idhand.nets.files import load_regressor, save_net
from idhand.nets.heatmaps import HeatmapConfig, HeatmapNet
from idhand.nets.keypoints import KeypointConfig
from idhand.nets.regressor import RegressorConfig
from idhand.training import PRESETS, LoopConfig, TrainConfig, Training, train
from idhand.training.batches import Batch
from idhand.training.checkpoints import Checkpoints, read_checkpoint
from idhand.training.colour import ColourConfig, paper_colour, recoloured
from idhand.training.draws import Once, Order
from idhand.training.examples import CropConfig, ImageExamples
from idhand.training.features import FeatureConfig, feature_folder
from idhand.training.keypoint_loss import KeypointLossConfig
from idhand.training.keypoints import KeypointTask
from idhand.training.seen import HarmConfig, harmed
from idhand.training.tasks import RegressorTask, truth_of
from tests.config_fields import Case, cases, check_case, check_fields
from tests.test_nets_keypoints import SMALL, small
from tests.test_training_data import HAND_MODEL, debug, feature_batch, hands, small_net
from tests.test_training_keypoints import flat_batch, seen_hands
from tests.test_training_seen import BEFORE, NOISE, hand_points

# -------------------------------------------------------------------------------------- the loop


class Line(nn.Module):
    """A task with everything that a loop can change: weights, batch norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1)
            )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        out = self.layers(batch.inputs.float())[:, 0].float()
        return {"square": 30 * (out - batch.inputs.float().sum(1)).square().mean()}


class Numbers:
    """Forty-eight examples of four numbers."""

    inputs = torch.randn(48, 4, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(
        self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int
    ) -> Iterator[Batch]:
        for keys in order.keys(first, end, rank=rank, ranks=ranks):
            rows = torch.from_numpy(keys.indices)
            yield Batch(
                inputs=self.inputs[rows], rotations=None, betas=None,
                points_px=torch.zeros(len(rows), 21, 2), index=rows, epoch=keys.epoch,
            )  # fmt: skip

    def name(self, index: int) -> str:
        return str(index)

    def description(self) -> dict[str, Any]:
        return {}


def looped(config: LoopConfig) -> tuple[Any, ...]:
    """Weights after the training, validations, lines of the log, the last but one checkpoint."""
    measured: list[float] = []

    def validate(task: nn.Module) -> dict[str, float]:
        measured.append(float(next(task.parameters()).sum()))
        return {"sum": measured[-1]}

    with TemporaryDirectory() as name:
        folder = Path(name)
        task = train(Line(), Numbers(), config, folder, origin={}, validate=validate).task
        lines = (folder / "log.txt").read_text().count("| loss")
        previous = Checkpoints(folder=folder / "checkpoints").folder / "previous.pt"
        step = read_checkpoint(previous).step
    return [*task.state_dict().values()], len(measured), lines, step


def loading_processes(config: LoopConfig) -> int:
    """How many processes cut the crops of a training with this loop."""
    asked: list[int] = []

    class Loader(list[Any]):
        def __init__(self, *args: object, num_workers: int, **options: object):
            asked.append(num_workers)

    run = Training(config=debug(views=None, loop=config), samples=hands(2), folder=Path("none"))
    examples = run._pictures(run.samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples_module, "DataLoader", Loader)
        list(examples.batches(Once(num_examples=2, batch=1), 0, 1, rank=0, ranks=1))
    return asked[0]


LOOP = LoopConfig(batch=8, steps=8, checkpoint_every=2, log_every=2, validate_every=2)
STEPS = replace(LOOP, schedule="steps", milestones=(0.5,), steps=None, epochs=1.5)
LOOPS = {
    **cases(
        LOOP,
        looped,
        {
            "optimiser": "adam", "lr": 2e-3, "weight_decay": 0.1, "moments": (0.8, 0.99),
            "batch": 12, "steps": 9, "schedule": "constant", "warmup_steps": 3, "clip_norm": 0.1,
            "ema_decay": 0.5, "amp": "bf16", "norm": "frozen", "seed": 1,
            "log_every": 3, "checkpoint_every": 5, "validate_every": 3,
        },
    ),
    **cases(STEPS, looped, {"epochs": 1.0, "milestones": (0.2,), "milestone_factor": 0.5}),
    **cases(LOOP, loading_processes, {"num_workers": 3}),
}  # fmt: skip

# ------------------------------------------------------------------------------------- the training


@cache
def finished(config: TrainConfig) -> tuple[Any, ...]:
    """A training of two steps: name, numbers and hash of its file's network."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        run = Training(config=config, samples=hands(6), folder=folder, cache=folder / "features")
        trained, path = run()
        size = path.stat().st_size // 1000
        digest = hashlib.sha256()
        for value in trained.task.state_dict().values():
            digest.update(value.numpy().tobytes())
    return path.name, size, digest.hexdigest()


def loss_names(config: TrainConfig) -> list[str]:
    """What a task minimises."""
    with torch.no_grad():
        return sorted(RegressorTask(small_net(), open_hand(), config)(feature_batch(4)))


def ranking(config: TrainConfig) -> Tensor:
    """The loss of the confidences."""
    task = RegressorTask(small_net(), open_hand(), config)
    truth = truth_of(feature_batch(8))
    with torch.no_grad():
        return task.errors(task.estimate(feature_batch(8), None), truth)


def keypoint_losses(config: TrainConfig) -> dict[str, Tensor]:
    """What the training of the keypoint network minimises."""
    with torch.no_grad():
        return KeypointTask(small(), open_hand(), config.keypoint_loss)(flat_batch())


def debug_training(**changes: Any) -> TrainConfig:
    loop = replace(debug().loop, batch=3, steps=2, checkpoint_every=2, validate_every=2)
    return debug(loop=loop, **changes)


def other_net() -> RegressorConfig:
    net = debug().net
    assert net is not None
    return replace(net, trunk=24)


BASE = debug_training()
TRAININGS = {
    **cases(
        BASE,
        finished,
        {
            "name": "another", "net": other_net(), "loop": replace(BASE.loop, lr=1e-2),
            "loss": replace(BASE.loss, pose=2.0), "crops": CropConfig(jitter=None), "views": 2,
            "identity_dropout": 0.0, "identity_noise": 0.5, "num_verts": 60, "export": "float32",
        },
    ),
    "task": Case(
        loss_names, debug(identity_dropout=0.0), {"task": "confidence", "net": None}
    ),
    "confidence_target": Case(
        ranking, debug(task="confidence", net=None, identity_dropout=0.0),
        {"confidence_target": "keypoints"},
    ),
    "keypoint_loss": Case(
        keypoint_losses, PRESETS["keypoints"](open_hand()),
        {"keypoint_loss": KeypointLossConfig(size=2.0)},
    ),
}  # fmt: skip

# ------------------------------------------------------------------------------- crops and colours


def crops(config: CropConfig) -> tuple[Tensor, Tensor]:
    data = ImageExamples(samples=hands(3), config=config, hand_model=HAND_MODEL)
    (batch,) = data.batches(Once(num_examples=3, batch=3), 0, 1, rank=0, ranks=1)
    return batch.inputs, batch.points_px


def seen_crops(config: CropConfig) -> tuple[Tensor, ...]:
    data = ImageExamples(
        samples=seen_hands(4), config=config, labels="seen", hand_model=HAND_MODEL
    )  # fmt: skip
    (batch,) = data.batches(Once(num_examples=4, batch=4), 0, 1, rank=0, ranks=1)
    assert batch.seen is not None
    return batch.inputs, batch.points_px, batch.seen.parts


def harmed_crops(config: HarmConfig) -> list[np.ndarray]:
    rngs = [np.random.default_rng(seed) for seed in range(3)]
    return [harmed(NOISE, BEFORE, hand_points(0), rng, config)[0] for rng in rngs]


def squares(config: JitterConfig) -> Any:
    roi = Roi(center_px=np.array([30.0, 40.0]), size_px=50.0, angle_rad=0.3)
    found = jittered(roi, np.random.default_rng(0), config)
    return found.center_px, found.size_px, found.angle_rad


def colours(config: ColourConfig) -> list[np.ndarray]:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    return [recoloured(rgb, np.random.default_rng(seed), config) for seed in range(20)]


CROPS = {
    **cases(
        CropConfig(), crops, {"cut": "box", "jitter": None, "colour": paper_colour(), "seed": 1}
    ),
    **cases(
        CropConfig(wide_jitter=JitterConfig(), wide_share=0.9),
        seen_crops,
        {
            "wide_jitter": JitterConfig(rotation_deg=60.0), "wide_share": 0.1,
            "harm": HarmConfig(cover_share=1.0),
        },
    ),
}  # fmt: skip
HARMS = cases(
    HarmConfig(cover_share=1.0, border_share=1.0, small_share=1.0),
    harmed_crops,
    {
        "cover_share": 0.0, "cover_side": (0.4, 0.5), "border_share": 0.0, "small_share": 0.0,
        "smallest_px": 100.0,
    },
)  # fmt: skip
JITTERS = cases(JitterConfig(), squares, {"rotation_deg": 5.0, "shift": 0.1, "scale": 0.3})
COLOURS = cases(
    ColourConfig(),
    colours,
    {
        "brightness": 9.0, "contrast": (0.9, 1.1), "saturation": (0.9, 1.1), "hue_deg": 3.0,
        "probability": 0.9,
    },
)  # fmt: skip


def folder_of(config: FeatureConfig) -> Path:
    return feature_folder(Path("features"), config.about(hands(1)))


FEATURES = cases(
    FeatureConfig(backbone="hand_full", crops=CropConfig(), hand_model=HAND_MODEL),
    folder_of,
    {
        "backbone": "hand_lite", "label": "other", "views": 2, "hand_model": "mano",
        "crops": CropConfig(jitter=None), "labels": "seen", "on_disk": True,
    },
)  # fmt: skip

# ------------------------------------------------------------------------------------------ losses


def losses(config: LossConfig) -> dict[str, Tensor]:
    batch = feature_batch(6)
    with torch.no_grad():
        estimate = small_net().from_features(batch.inputs, batch.betas)
        truth = Truth(rotations=truth_of(batch).rotations, betas=truth_of(batch).betas)
        return loss_terms(estimate, truth, open_hand().to(torch.float32), config)


def task_losses(config: LossConfig) -> dict[str, Tensor]:
    """With what the task alone adds: the hand net's own keypoints."""
    with torch.no_grad():
        return RegressorTask(small_net(), open_hand(), debug(loss=config))(feature_batch(6))


LOSSES = {
    **cases(
        LossConfig(ranking=1.0),
        losses,
        {
            "mesh": 6.0, "normal": 0.2, "edge": 6.0, "keypoints": 1.0, "pose": 2.0, "shape": 2.0,
            "shape_nll": 1.0, "ranking": 2.0, "ranking_margin": 0.5,
        },
    ),
    **cases(LossConfig(), task_losses, {"landmarks": 1.0}),
}  # fmt: skip


def keypoint_terms(loss: KeypointLossConfig) -> dict[str, Tensor]:
    with torch.no_grad():
        return KeypointTask(small(), open_hand(), loss)(flat_batch())


KEYPOINT_LOSSES = cases(
    KeypointLossConfig(),
    keypoint_terms,
    {
        "points": 2.0, "distance": 2.0, "heat": 2.0, "visible": 2.0, "directions": 2.0, "size": 2.0,
        "parts": 2.0,
    },
)  # fmt: skip

# ---------------------------------------------------------------------------------------- networks


def network_estimate(config: RegressorConfig) -> dict[str, Any]:
    """What a fresh network predicts from features that do not depend on its backbone."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        net = config.build().eval()
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(3, net.num_features, generator=rng)
    betas = torch.randn(3, config.num_betas, generator=rng)
    with torch.no_grad():
        values = vars(net.from_features(features, betas))
    return {name: value for name, value in values.items() if value is not None}


def trained_numbers(config: RegressorConfig) -> int:
    return sum(p.numel() for p in config.build().parameters() if p.requires_grad)


def is_served(config: RegressorConfig) -> str:
    """What whoever asks for a network of the open hand hears."""
    with TemporaryDirectory() as name:
        path = Path(name) / "net.safetensors"
        save_net(config.build(), path, {})
        try:
            load_regressor(path, hand_model=HAND_MODEL)
        except ValueError as error:
            return str(error).removeprefix(str(path))
    return ""


NET = RegressorConfig(
        hand_model="idhand-open-1", num_betas=16,
    backbone="hand_lite", identity="film", trunk=16, hidden=(12,), shape_cov=True,
    confidence="linear",
)  # fmt: skip
NETS = {
    **cases(
        NET,
        network_estimate,
        {
            "backbone": "hand_full", "identity": "predicted", "num_betas": 10, "update": "add",
            "init": "plain", "trunk": None, "hidden": (14,), "shape_hidden": (5,),
            "shape_cov": False, "confidence": "none", "confidence_hidden": (7,),
        },
    ),
    **cases(NET, network_estimate, {"start": "official"}, update="add"),
    **cases(NET, trained_numbers, {"tune": True}),
    **cases(NET, is_served, {"hand_model": "mano"}),
}  # fmt: skip


def heatmap_numbers(config: HeatmapConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in HeatmapNet(config).parameters())


HEATMAPS = cases(HeatmapConfig(), heatmap_numbers, {"backbone": "resnet34"})


@cache
def keypoint_weights(config: KeypointConfig) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in config.build().named_parameters()}


KEYPOINTS = cases(
    SMALL,
    keypoint_weights,
    {
        "backbone": "hand_lite", "widths": (8, 8, 9), "image_width": 9, "point_width": 5,
        "hidden": (16, 8), "size_hidden": (15,),
    },
)  # fmt: skip

# ------------------------------------------------------------------------------------------- tests

TABLES: dict[type, dict[str, Case]] = {
    LoopConfig: LOOPS,
    TrainConfig: TRAININGS,
    CropConfig: CROPS,
    HarmConfig: HARMS,
    JitterConfig: JITTERS,
    ColourConfig: COLOURS,
    FeatureConfig: FEATURES,
    LossConfig: LOSSES,
    KeypointLossConfig: KEYPOINT_LOSSES,
    RegressorConfig: NETS,
    HeatmapConfig: HEATMAPS,
    KeypointConfig: KEYPOINTS,
}


@pytest.mark.parametrize("config", TABLES, ids=lambda config: config.__name__)
def test_every_field_has_a_case(config: type):
    check_fields(config, TABLES[config])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{config.__name__}.{name}")
        for config, table in TABLES.items()
        for name, case in table.items()
    ],
)
def test_every_field_changes_a_result(name: str, case: Case):
    check_case(name, case)


def test_a_field_that_does_nothing_is_found():
    idle: Callable[[Any], Any] = lambda config: config.lr  # noqa: E731
    with pytest.raises(AssertionError, match="seed changes nothing"):
        check_case("seed", Case(idle, LOOP, {"seed": 5}))
    with pytest.raises(AssertionError, match="LoopConfig: fields and cases differ"):
        check_fields(LoopConfig, {name: LOOPS[name] for name in LOOPS if name != "seed"})
