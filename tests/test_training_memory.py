"""Crops that are cut on the device: the same as those that are cut one by one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.data import DataSet, MemoryData
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_regressor
from idhand.nets.regressor import RegressorConfig
from idhand.training import PRESETS, Training
from idhand.training.batches import Batch
from idhand.training.colour import ColourConfig, mild_colour, recoloured, recoloured_on_device
from idhand.training.draws import COLOUR, JITTER, Once, Order, uniforms
from idhand.training.examples import CropConfig, batch_of, make_example
from idhand.training.memory import Labelled, MemoryExamples
from idhand.training.tasks import RegressorTask, landmark_loss
from tests.test_training_data import HAND_MODEL, hands

CPU = torch.device("cpu")


class Given(np.random.Generator):
    """A generator that hands out uniform numbers in the order in which they were given."""

    def __init__(self, numbers: np.ndarray):
        super().__init__(np.random.PCG64(0))
        self.numbers = list(numbers)

    def random(self, count: int | None = None) -> Any:  # pyright: ignore
        if count is None:
            return self.numbers.pop(0)
        return np.array([self.numbers.pop(0) for _ in range(count)])

    def uniform(self, low: float, high: float, count: int | None = None) -> Any:  # pyright: ignore
        return low + (high - low) * self.random(count)


def in_memory(samples: DataSet, config: CropConfig) -> MemoryExamples:
    return MemoryExamples.read(samples, config, HAND_MODEL, workers=1, device=CPU)


def first_batch(examples: MemoryExamples) -> Batch:
    once = Once(num_examples=len(examples), batch=len(examples))
    return next(examples.batches(once, 0, 1, rank=0, ranks=1))


@pytest.mark.parametrize("cut", ["landmark", "box"])
@pytest.mark.parametrize("has_jitter", [False, True])
def test_crops_are_those_that_are_cut_one_by_one(cut: Any, has_jitter: bool):
    samples = hands(12)
    config = CropConfig(cut=cut) if has_jitter else CropConfig(cut=cut, jitter=None)
    batch = first_batch(in_memory(samples, config))
    drawn = uniforms(config.seed, 0, np.arange(12), JITTER, 4)
    examples = [
        make_example(sample, config, Given(row), labels="hand")
        for sample, row in zip(samples, drawn, strict=True)
    ]
    expected = batch_of(examples, range(12), 0)
    difference = (255 * batch.inputs - expected.inputs).abs()
    assert difference.mean() < 1
    assert difference.max() < 6  # OpenCV interpolates in steps of 1/32 px
    assert expected.inputs.float().std() > 20
    for name in ("rotations", "betas", "points_px"):
        torch.testing.assert_close(getattr(batch, name), getattr(expected, name), rtol=0, atol=2e-4)


def test_other_epochs_are_cut_in_another_way():
    examples = in_memory(hands(8), CropConfig(colour=mild_colour()))
    order = Order(num_examples=8, batch=8, seed=0)
    first, second = examples.batches(order, 0, 2, rank=0, ranks=1)
    again = next(examples.batches(order, 1, 2, rank=0, ranks=1))
    assert torch.equal(second.inputs, again.inputs)
    a, b = first.inputs[first.index.argsort()], second.inputs[second.index.argsort()]
    assert (a - b).abs().mean() > 0.01
    halves = [next(examples.batches(order, 1, 2, rank=rank, ranks=2)) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([half.inputs for half in halves]), again.inputs)


def test_unknown_keypoints_stay_unknown():
    sample = hands(1)[0]
    valid = np.ones(21, bool)
    valid[8] = False
    batch = first_batch(
        in_memory(MemoryData([replace(sample, valid=valid)]), CropConfig(jitter=None))
    )
    assert torch.isnan(batch.points_px[0, 8]).all()
    assert torch.isfinite(batch.points_px[0, :8]).all()


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_colours_on_a_device_are_the_same(probability: float):
    config = replace(ColourConfig(), probability=probability)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (16, 20, 24, 3), np.uint8)
    drawn = uniforms(0, 0, np.arange(16), COLOUR, 9)
    pictures = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
    out = recoloured_on_device(pictures, torch.from_numpy(drawn), config).permute(0, 2, 3, 1)
    expected = np.stack(
        [recoloured(one, Given(row), config) for one, row in zip(rgb, drawn, strict=True)]
    )
    difference = np.abs(out.numpy() - expected)
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


def test_several_processes_read_the_same():
    samples = hands(3)
    alone = Labelled.read(samples, CropConfig(), HAND_MODEL)
    parts = [Labelled.read(hands(1, i), CropConfig(), HAND_MODEL) for i in range(3)]
    joined = Labelled.joined(parts)
    assert np.array_equal(alone.rgb, joined.rgb)
    assert np.array_equal(alone.roi, joined.roi)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"betas": None}, "has no betas"),
        ({"dist": np.full(5, 0.1)}, "distorted lens"),
        ({"keypoints_px": 900 * np.random.default_rng(0).random((21, 2))}, "without shrinking"),
        ({"rgb": np.zeros((8, 9, 3), np.uint8)}, "different sizes"),
    ],
)
def test_what_cannot_be_kept_in_memory(changes: dict[str, Any], sentence: str):
    samples = hands(2)
    with pytest.raises(ValueError, match=sentence):
        in_memory(MemoryData([samples[0], replace(samples[1], **changes)]), CropConfig())


SMALL = RegressorConfig(
        hand_model="idhand-open-1", num_betas=16,
    backbone="hand_lite", tune=True, identity="film", trunk=16, hidden=(16,), shape_hidden=(16,),
    shape_cov=True,
)  # fmt: skip


def small_run(folder: Path, **changes: Any) -> Training:
    config = replace(PRESETS["backbone"](open_hand()), net=SMALL, num_verts=32)
    config = config.with_loop(steps=2, batch=4, warmup_steps=0, amp="none")
    return Training(
        config=config, samples=hands(8), folder=folder, val=hands(4, 100), in_memory=True, **changes
    )


def test_a_hand_net_is_trained_on(tmp_path: Path):
    trained, path = small_run(tmp_path)()
    assert set(trained.metrics) == {"mpjpe_mm", "bones_mm", "known_mpjpe_mm"}
    net = load_regressor(path)
    assert not net.is_frozen
    backbone, shipped = net.backbone, HandBackbone("hand_lite")
    assert isinstance(backbone, HandBackbone)
    moved = {
        name: float((weight.detach() - shipped.graph.weights[name]).abs().max())
        for name, weight in backbone.graph.weights.items()
    }
    untouched = sorted(name for name, by in moved.items() if by < 1e-4)
    assert len(untouched) == 2  # the layer that says which hand it is
    assert max(moved.values()) < 0.05
    again = Training(
        config=small_run(tmp_path).config, samples=hands(8), folder=tmp_path / "b", start=path
    )
    assert again()[0].steps == 2


def test_the_landmarks_of_a_net_in_training_count():
    config = replace(PRESETS["backbone"](open_hand()), net=SMALL, num_verts=32)
    net = SMALL.build()
    batch = first_batch(in_memory(hands(4), CropConfig(jitter=None)))
    terms = RegressorTask(net, _model(), config)(batch)
    backbone = net.backbone
    assert isinstance(backbone, HandBackbone)
    with torch.no_grad():
        seen = backbone.landmarks_px(net.features(batch.inputs01))
    expected = config.loss.landmarks * (seen - batch.points_px).abs().mean() / 224
    torch.testing.assert_close(terms["landmarks"].detach(), expected)
    terms["landmarks"].backward()
    assert backbone.graph.weights[next(iter(backbone.graph.weights))].grad is not None


def test_unknown_landmarks_do_not_count():
    true = torch.zeros(2, 21, 2)
    true[0, :20] = torch.nan
    seen = torch.full((2, 21, 2), 22.4)
    assert float(landmark_loss(seen, true)) == pytest.approx(0.1)


def test_tune_is_for_hand_nets():
    with pytest.raises(ValueError, match="tune is for hand nets"):
        replace(SMALL, backbone="resnet18")


def _model() -> Any:
    from idhand.assets import hand

    return hand(HAND_MODEL)
