"""Samples → crops, colours and cached features; what the tasks make of them; whole runs."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import idhand.training.features as features_module
from idhand.assets import hand, open_hand
from idhand.data import MemoryData, Subset, describe, encode_sample
from idhand.nets.files import load_network, load_regressor, saved_cut, saved_meta
from idhand.nets.heatmaps import HeatmapNet
from idhand.nets.regressor import Regressor
from idhand.records import Sample
from idhand.training import PRESETS, TrainConfig, Training
from idhand.training.batches import Batch
from idhand.training.checkpoints import Checkpoints
from idhand.training.colour import ColourConfig, paper_colour, recoloured
from idhand.training.draws import Once, Order
from idhand.training.examples import CropConfig, ImageExamples, batch_of, make_example
from idhand.training.features import FeatureConfig, FeatureExamples, cache_features, feature_folder
from idhand.training.runs import _load_imagenet_stages, commit
from idhand.training.tasks import (
    HeatmapTask,
    RegressorTask,
    keypoints_wrist,
    truth_of,
    with_confidence,
)
from idhand.training.validation import validator
from tests.training_worker import MeanColours

SIZE_PX, FOCAL_PX = 64, 90.0
FLIP = np.array([-1.0, 1.0, 1.0])


@cache
def hand_sample(index: int) -> Sample:
    """A picture of noise with the true labels of a hand before the camera."""
    rng, model = np.random.default_rng(index), open_hand()
    vectors = torch.from_numpy(rng.normal(size=(16, 3)) * 0.2)
    vectors[0] *= 5
    rotations = roma.rotvec_to_rotmat(vectors)
    betas = rng.normal(size=model.num_betas)
    wrist_cam = np.array([*rng.uniform(-0.08, 0.08, 2), 0.6])
    hand = model.with_shape(torch.from_numpy(betas)).posed(rotations, torch.from_numpy(wrist_cam))
    is_right = bool(index % 2)
    keypoints_cam = hand.keypoints.numpy() * (1.0 if is_right else FLIP)
    middle = (SIZE_PX - 1) / 2
    points = FOCAL_PX * keypoints_cam[:, :2] / keypoints_cam[:, 2:] + middle
    return Sample(
        rgb=cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (SIZE_PX, SIZE_PX)),
        K=np.array([[FOCAL_PX, 0, middle], [0, FOCAL_PX, middle], [0, 0, 1]]),
        dist=np.zeros(5),
        is_right=is_right,
        bbox_px=np.concatenate((points.min(0), points.max(0))),
        subject=f"person-{index // 4}",
        model=model.name,
        betas=betas,
        rotations=rotations.numpy(),
        wrist_cam=wrist_cam * (1.0 if is_right else FLIP),
        keypoints_px=points,
        keypoints_cam=keypoints_cam,
        valid=np.ones(21, bool),
        visible=None,
        parts=None,
        dataset="noise",
        id=f"{index:05d}",
        sequence=None,
        time_s=None,
    )


@dataclass(frozen=True)
class HandSource:
    """The same as a source of shards."""

    count: int
    first: int = 0

    def __len__(self) -> int:
        return self.count

    def entry(self, index: int) -> Mapping[str, bytes]:
        sample = hand_sample(self.first + index)
        return encode_sample(sample, cv2.imencode(".jpg", sample.rgb[..., ::-1])[1].tobytes())

    def key(self, index: int) -> str:
        return f"hand-{self.first + index:05d}"

    def description(self) -> dict[str, Any]:
        return {"set": "noise", "first": self.first}


def hands(count: int, first: int = 0) -> MemoryData:
    return MemoryData(hand_sample(first + index) for index in range(count))


PLAIN = CropConfig(jitter=None)
HAND_MODEL = open_hand().name


def example(sample: Sample, config: CropConfig = PLAIN, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return make_example(sample, config, rng, labels="hand", hand_model=HAND_MODEL)


# ------------------------------------------------------------------------------------------ crops


@pytest.mark.parametrize("cut", ["landmark", "box"])
@pytest.mark.parametrize("index", range(6))
def test_the_truth_is_what_the_crop_shows(index: int, cut: Any):
    sample = hand_sample(index)
    made = example(sample, CropConfig(cut=cut))
    assert made.rgb.shape == (224, 224, 3)
    assert sample.wrist_cam is not None
    assert sample.keypoints_cam is not None
    flip = np.ones(3) if sample.is_right else FLIP
    wrist = torch.from_numpy(made.view.R_cam_view.T @ (sample.wrist_cam * flip))
    hand = open_hand().with_shape(torch.from_numpy(made.betas))
    points = hand.posed(torch.from_numpy(made.rotations), wrist).keypoints.numpy()
    np.testing.assert_allclose(
        points, (sample.keypoints_cam * flip) @ made.view.R_cam_view, atol=1e-9
    )
    # A camera that looks straight at the crop sees nearly the crop.
    scale = 224 / made.view.roi.size_px
    seen = scale * FOCAL_PX * points[:, :2] / points[:, 2:] + 111.5
    np.testing.assert_allclose(seen, made.points_px, atol=12)


@given(index=st.integers(0, 20))
def test_a_mirrored_picture_is_the_same_example(index: int):
    sample = hand_sample(index)
    one, other = example(sample), example(sample.mirrored())
    np.testing.assert_allclose(one.rotations, other.rotations, atol=1e-9)
    np.testing.assert_allclose(one.points_px, other.points_px, atol=1e-6)
    np.testing.assert_array_equal(one.betas, other.betas)
    assert np.abs(one.rgb.astype(int) - other.rgb).mean() < 2


def test_draws_depend_on_epoch_and_index_alone():
    samples = hands(6)
    config = CropConfig(colour=paper_colour(), seed=4)
    examples = ImageExamples(samples=samples, config=config, hand_model=HAND_MODEL)
    order = Order(num_examples=6, batch=2, seed=0)
    batches = list(examples.batches(order, 0, 6, rank=0, ranks=1))
    again = list(examples.batches(order, 4, 6, rank=0, ranks=1))
    for a, b in zip(batches[4:], again, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.points_px, b.points_px)
        assert (a.epoch, a.index.tolist()) == (b.epoch, b.index.tolist())
    first = {
        int(i): x for part in batches[:3] for i, x in zip(part.index, part.inputs, strict=True)
    }
    second = {
        int(i): x for part in batches[3:] for i, x in zip(part.index, part.inputs, strict=True)
    }
    assert first.keys() == second.keys() == set(range(6))
    assert not any(torch.equal(first[i], second[i]) for i in range(6))
    assert batches[0].inputs.dtype == torch.uint8
    assert float(batches[0].inputs01.max()) <= 1


def test_workers_see_the_same(tmp_path: Path):
    order = Order(num_examples=6, batch=2, seed=0)
    alone, helped = (
        ImageExamples(samples=hands(6), config=CropConfig(), num_workers=num) for num in (0, 1)
    )
    pairs = zip(
        alone.batches(order, 0, 3, rank=0, ranks=1),
        helped.batches(order, 0, 3, rank=0, ranks=1),
        strict=True,
    )
    assert all(torch.equal(a.inputs, b.inputs) for a, b in pairs)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"betas": None}, "sample 00001 of 'noise' has no betas, which this network learns"),
        ({"betas": None, "rotations": None}, "has no betas and no rotations"),
        ({"model": "mano"}, "labelled with hand model 'mano', the network is of 'idhand-open"),
        ({"valid": np.zeros(21, bool)}, "has no known keypoint"),
        ({"valid": np.arange(21) != 5}, "lacks keypoints that the crop is cut by"),
    ],
)
def test_missing_labels(changes: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        example(replace(hand_sample(1), **changes))


def test_keypoints_alone_are_enough_for_heatmaps():
    bare = replace(hand_sample(1), betas=None, rotations=None, model=None, valid=np.arange(21) != 8)
    made = make_example(bare, PLAIN, np.random.default_rng(0), labels="keypoints")
    assert made.rotations is None
    assert np.isnan(made.points_px[8]).all()
    assert np.isfinite(np.delete(made.points_px, 8, 0)).all()
    batch = batch_of([made, made], [0, 1], 0)
    assert batch.betas is None


# ----------------------------------------------------------------------------------------- colour


@given(seed=st.integers(0, 1000))
def test_colours_are_drawn_the_same_way_whatever_happens(seed: int):
    grey = np.full((4, 4, 3), 100, np.uint8)
    never = replace(paper_colour(), probability=0.0)
    rngs = [np.random.default_rng(seed) for _ in range(2)]
    np.testing.assert_array_equal(recoloured(grey, rngs[0], never), grey)
    recoloured(grey, rngs[1], paper_colour())
    assert rngs[0].random() == rngs[1].random()


def always(**ranges: Any) -> ColourConfig:
    nothing = {"brightness": 0.0, "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue_deg": 0.0}
    return ColourConfig(**{**nothing, **ranges}, probability=1.0)


def test_each_colour_change_alone():
    rng, red = np.random.default_rng(0), np.full((2, 2, 3), (200, 50, 50), np.uint8)

    def changed(**ranges: Any) -> list[int]:
        return recoloured(red, rng, always(**ranges))[0, 0].tolist()

    assert changed() == [200, 50, 50]
    assert changed(contrast=(1.2, 1.2)) == [240, 60, 60]
    assert changed(contrast=(1.5, 1.5)) == [255, 75, 75], "clipped"
    assert changed(saturation=(0.0, 0.0)) == [200, 200, 200]
    assert changed(saturation=(1.2, 1.2)) == [200, 20, 20]
    bright = {changed(brightness=32.0)[1] - 50 for _ in range(60)}
    assert min(bright) < -20
    assert max(bright) > 20
    hues = {tuple(changed(hue_deg=18.0)) for _ in range(60)}
    assert {values[0] for values in hues} == {200}, "the value stays"
    assert max(values[1] for values in hues) <= 50 + 150 * 18 / 60
    assert max(values[1] for values in hues) > 70
    assert max(values[2] for values in hues) > 70


def test_impossible_colours():
    for changes in ({"brightness": 300.0}, {"probability": 2.0}, {"contrast": (1.0, 0.5)}):
        with pytest.raises(ValueError, match="must be"):
            replace(paper_colour(), **changes)


# --------------------------------------------------------------------------------------- features


FEATURES = FeatureConfig(
    backbone="means", views=2, crops=CropConfig(colour=paper_colour()), hand_model=HAND_MODEL
)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(features_module, "CHUNK", 6)


def cached(folder: Path, config: FeatureConfig = FEATURES, **options: Any) -> FeatureExamples:
    return cache_features(MeanColours(), hands(8), folder, config, **options)


def test_cached_features_are_those_of_the_crops(tmp_path: Path):
    told: list[tuple[int, int]] = []
    kept = cached(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 16), (6, 16), (12, 16), (16, 16)]
    assert len(kept) == 16
    order = Order(num_examples=16, batch=4, seed=0)
    (batch, *_) = kept.batches(order, 0, 4, rank=0, ranks=1)
    for row, index in enumerate(batch.index.tolist()):
        number, view = divmod(index, 2)
        rng = np.random.default_rng([0, view, number])
        made = make_example(hand_sample(number), FEATURES.crops, rng, labels="hand")
        direct = batch_of([made], [0], 0)
        expected = MeanColours()(direct.inputs01).half()
        assert torch.equal(batch.inputs[row], expected[0])
        for name in ("rotations", "betas", "points_px"):
            assert torch.equal(getattr(batch, name)[row], getattr(direct, name)[0])
        assert kept.name(index) == hand_sample(number).id
    assert not np.array_equal(kept.features[0], kept.features[1]), "views differ"


def test_features_survive_a_kill(tmp_path: Path):
    whole = cached(tmp_path)
    files = sorted(tmp_path.glob("chunk-*.npz"))
    assert len(files) == 3
    bytes_before = [path.read_bytes() for path in files]
    files[1].unlink()
    (tmp_path / ".chunk-00001.npz.01234567.part").write_bytes(b"half")
    times = [files[k].stat().st_mtime_ns for k in (0, 2)]
    again = cached(tmp_path)
    assert [path.read_bytes() for path in files] == bytes_before
    assert [files[k].stat().st_mtime_ns for k in (0, 2)] == times, "nothing is done twice"
    assert not list(tmp_path.glob(".*"))
    np.testing.assert_array_equal(whole.features, again.features)


def test_features_do_not_depend_on_workers(tmp_path: Path):
    # Spawned workers do not know the test's patches, but these run before.
    cached(tmp_path / "one")
    cached(tmp_path / "two", workers=2)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two
    assert "features.json" in one
    assert len(one) > 1


def test_other_features_lie_elsewhere(tmp_path: Path):
    cached(tmp_path)
    other = replace(FEATURES, crops=PLAIN)
    with pytest.raises(ValueError, match="made in another way: crops differ"):
        cached(tmp_path, other)
    folders = {feature_folder(tmp_path, c.about(hands(8))) for c in (FEATURES, other)}
    assert len(folders) == 2
    (tmp_path / "features.json").unlink()
    with pytest.raises(ValueError, match=r"holds features without features\.json"):
        cached(tmp_path)


def test_features_of_other_samples_lie_elsewhere():
    about = [FEATURES.about(hands(4, first)) for first in (0, 0, 1)]
    folders = [feature_folder(Path("x"), one) for one in about]
    assert folders[0] == folders[1] != folders[2]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half"])
def test_damaged_features(content: bytes, tmp_path: Path):
    cached(tmp_path)
    (tmp_path / "chunk-00001.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"chunk-00001\.npz is missing or damaged"):
        cached(tmp_path)


def test_features_without_labels(tmp_path: Path):
    samples = MemoryData([*hands(3), replace(hand_sample(3), rotations=None)])
    with pytest.raises(ValueError, match="sample 00003 of 'noise' has no rotations"):
        cache_features(MeanColours(), samples, tmp_path, FEATURES)


def test_features_that_are_no_numbers(tmp_path: Path):
    class Broken(nn.Module):
        def forward(self, images01: torch.Tensor) -> torch.Tensor:
            return images01.mean((2, 3)) * torch.inf

    with pytest.raises(ValueError, match="features of sample 00000 of 'noise' do not fit"):
        cache_features(Broken(), hands(2), tmp_path, FEATURES)


# ------------------------------------------------------------------------------------------ tasks


@cache
def small_net() -> Regressor:
    config = PRESETS["debug"](open_hand()).net
    assert config is not None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return replace(config, confidence="linear").build()


@cache
def feature_batch(count: int = 40) -> Batch:
    """Made-up features with the labels of true hands."""
    batch = batch_of([example(sample) for sample in hands(count)], range(count), 3)
    rng = torch.Generator().manual_seed(0)
    return replace(batch, inputs=torch.randn(count, small_net().num_features, generator=rng))


@dataclass(frozen=True)
class Parts:
    """A batch as a data set."""

    batch: Batch

    def __len__(self) -> int:
        return len(self.batch.index)

    def batches(
        self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int
    ) -> Iterator[Batch]:
        names = [name for name, value in vars(self.batch).items() if torch.is_tensor(value)]
        for keys in order.keys(first, end):
            rows = torch.from_numpy(keys.indices)
            yield replace(self.batch, **{name: getattr(self.batch, name)[rows] for name in names})

    def name(self, index: int) -> str:
        return str(index)

    def description(self) -> dict[str, Any]:
        return {}


def debug(**changes: Any) -> TrainConfig:
    return replace(PRESETS["debug"](open_hand()), **changes)


def test_the_person_is_told_to_a_share_of_the_examples():
    task = RegressorTask(small_net(), open_hand(), debug(identity_dropout=0.25))
    batch = replace(feature_batch(), index=torch.arange(40))
    told = [task._given_betas(replace(batch, epoch=epoch)) for epoch in range(50)]
    shares = [known.float().mean() for _, known in told if known is not None]
    assert np.mean(shares) == pytest.approx(0.75, abs=0.03)
    assert len(shares) == 50
    betas, _ = told[-1]
    assert betas is not None
    assert batch.betas is not None
    noise = (betas - batch.betas) / 0.2
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    names = ("index", "betas", "inputs", "rotations", "points_px")
    few = replace(batch, epoch=49, **{name: getattr(batch, name)[7:9] for name in names})
    again, _ = task._given_betas(few)
    assert again is not None
    assert torch.equal(again, betas[7:9]), "draws belong to examples, not to batches"


def test_the_loss_reaches_all_that_is_trained():
    task = RegressorTask(small_net().requires_grad_(True), open_hand(), debug())
    terms = task(feature_batch())
    assert terms.keys() == {
        "mesh", "normal", "edge", "keypoints", "pose", "shape", "shape_nll"
    }  # fmt: skip
    torch.stack([*terms.values()]).sum().backward()
    without = {name for name, p in task.named_parameters() if p.grad is None}
    assert without == {"net.confidence.layers.0.weight", "net.confidence.layers.0.bias"}
    task.zero_grad()


@pytest.mark.parametrize("target", ["shape", "keypoints"])
def test_confidence_moves_nothing_but_its_head(target: Any):
    config = replace(
        PRESETS["confidence"](open_hand()), confidence_target=target, num_verts=32,
    )  # fmt: skip
    task = RegressorTask(small_net(), open_hand(), config)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    trained = [p for p in task.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == 33
    optimiser = torch.optim.Adam(trained, 1e-2)
    losses = []
    for _ in range(150):
        loss = task.train()(feature_batch())["ranking"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    moved = {n for n, value in task.state_dict().items() if not torch.equal(value, before[n])}
    assert moved == {"net.confidence.layers.0.weight", "net.confidence.layers.0.bias"}


def test_a_confidence_branch_is_added():
    config = PRESETS["debug"](open_hand()).net
    assert config is not None
    plain = config.build()
    extended = with_confidence(plain)
    assert extended.config.confidence == "linear"
    state = extended.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    assert with_confidence(extended) is extended
    given_shape = replace(config, identity="given", shape_cov=False).build()
    with pytest.raises(ValueError, match="there is nothing to be confident of"):
        with_confidence(given_shape)


def test_heatmaps_are_learnt_from_pictures():
    batch = batch_of([example(sample) for sample in hands(2)], [0, 1], 0)
    small = nn.functional.interpolate(batch.inputs.float() / 255, size=64)
    points = batch.points_px / 3.5
    points[0, 3] = torch.nan
    batch = replace(batch, inputs=small, points_px=points)
    torch.manual_seed(0)
    task = HeatmapTask(HeatmapNet())
    optimiser = torch.optim.Adam(task.parameters(), 1e-3)
    losses = []
    for _ in range(3):
        loss = task(batch)["heatmaps"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]

    with torch.no_grad():
        measured = validator(Parts(batch), torch.device("cpu"))(task.eval())
    assert 0 < measured["keypoints_px"] < 64


def test_validation_measures_the_means(tmp_path: Path):
    config = debug(task="confidence", net=None, identity_dropout=0.0)
    task = RegressorTask(small_net(), open_hand(), config).eval()
    batch = feature_batch()

    with torch.no_grad():
        told = validator(Parts(batch), torch.device("cpu"), batch=32)(task)
        truth, alone = truth_of(batch), task.estimate(batch, None)
        true = keypoints_wrist(open_hand().to(torch.float32), truth.rotations, truth.betas)
        seen = keypoints_wrist(open_hand().to(torch.float32), alone.rotations, alone.betas)
    assert list(told) == ["rank_error", "mpjpe_mm", "bones_mm", "known_mpjpe_mm"]
    assert told["mpjpe_mm"] == pytest.approx(1e3 * float((seen - true).norm(dim=-1).mean()), 1e-3)
    assert told["known_mpjpe_mm"] != told["mpjpe_mm"]
    thumb = [
        (points[:, 2] - points[:, 1]).norm(dim=-1) for points in (seen, true)
    ]  # one of the twenty bones
    assert 0 < told["bones_mm"] < 20
    assert float((thumb[0] - thumb[1]).abs().mean()) * 1e3 < 20
    assert alone.confidence is not None
    errors = task.errors(alone, truth)
    wrong = [
        (alone.confidence[i] - alone.confidence[j]) * (errors[j] - errors[i]) <= 0
        for i in range(40)
        for j in range(i)
    ]
    assert told["rank_error"] == pytest.approx(float(np.mean(wrong)), abs=1e-6)


# ------------------------------------------------------------------------------------ whole runs


@pytest.mark.parametrize("name", PRESETS)
def test_presets(name: str):
    config = PRESETS[name](open_hand())
    assert config.name == name
    assert json.loads(json.dumps(config.origin()))
    assert "num_workers" not in config.origin()["loop"]
    if name.startswith("paper_"):
        assert config.crops.jitter is None
        assert config.crops.cut == "box"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"net": None}, "the task 'regressor' needs a net"),
        ({"task": "confidence"}, "takes no net of its own"),
        ({"identity_dropout": 1.0}, "identity_dropout must be within 0..1"),
        ({"views": 0}, "views must be 1 or more"),
        ({"identity_noise": -1.0}, "identity_noise must not be negative"),
        (
            {"net": PRESETS["paper_baseline"](open_hand()).net},
            "features of resnet50 cannot be kept",
        ),
        (
            {"net": PRESETS["baseline"](open_hand()).net},
            "only identity='film' can do without the person",
        ),
    ],
)
def test_impossible_trainings(changes: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        debug(**changes)


def small_run(folder: Path, config: TrainConfig | None = None, **options: Any) -> Training:
    return Training(
        config=config or debug(),
        samples=hands(12),
        folder=folder / "run",
        cache=folder / "features",
        **options,
    )


def test_a_network_and_then_its_confidence(tmp_path: Path):
    run = small_run(tmp_path, val=hands(6, first=100))
    trained, path = run()
    assert list(trained.metrics) == ["mpjpe_mm", "bones_mm", "known_mpjpe_mm"]
    assert path.name == "debug.safetensors"
    net = load_regressor(path, hand_model=HAND_MODEL)
    assert net.config == run.config.net
    meta = saved_meta(path)
    assert meta["steps"] == 6
    assert meta["validation"] == trained.metrics
    assert meta["training"]["loop"]["seed"] == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["backbone"] == "hand_studio"
    assert (tmp_path / "run" / "commit.txt").read_text().startswith(commit())
    assert len(list((tmp_path / "features").iterdir())) == 2
    loop = replace(PRESETS["confidence"](open_hand()).loop, batch=8, steps=4, log_every=2)
    second = replace(
        PRESETS["confidence"](open_hand()), loop=loop, crops=run.config.crops, num_verts=32
    )
    branch, file = replace(run, config=second, start=path, folder=tmp_path / "branch")()
    assert next(iter(branch.metrics)) == "rank_error"
    assert len(list((tmp_path / "features").iterdir())) == 2, "features are shared"
    added = load_regressor(file).state_dict()
    same = [name for name, value in net.state_dict().items() if torch.equal(added[name], value)]
    assert len(same) == len(net.state_dict())
    assert load_regressor(file).config.confidence == "linear"


def test_starting_points_that_do_not_fit(tmp_path: Path):
    _, path = small_run(tmp_path, debug(net=replace(_net("debug"), trunk=16)))()
    with pytest.raises(ValueError, match="holds a network of another architecture than 'debug'"):
        small_run(tmp_path / "b", start=path)()
    with pytest.raises(ValueError, match="trains a branch of a trained network; name its file"):
        small_run(tmp_path / "c", PRESETS["confidence"](open_hand()))()
    with pytest.raises(ValueError, match="takes no --imagenet"):
        small_run(tmp_path / "d", imagenet=path)()
    with pytest.raises(ValueError, match="the hand model 'mano' is not here"):
        hand("mano")


def _net(name: str) -> Any:
    return PRESETS[name](open_hand()).net


def test_a_residual_network_learns_from_pictures(tmp_path: Path):
    net = replace(_net("paper_identity"), backbone="resnet18", hidden=(16,))
    paper = PRESETS["paper_identity"](open_hand())
    loop = replace(paper.loop, batch=2, steps=2, epochs=None, num_workers=0)
    small = replace(paper, net=net, loop=loop, num_verts=32)
    trained, path = replace(small_run(tmp_path, small), samples=hands(4), val=hands(2, 50))()
    assert list(trained.metrics) == ["known_mpjpe_mm"]
    assert load_regressor(path).config == net


def test_the_2d_network_is_trained_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Checkpoints, "save", lambda self, checkpoint: None)  # 400 MB
    paper = PRESETS["paper_heatmaps"](open_hand())
    loop = replace(paper.loop, batch=1, steps=1, epochs=None, num_workers=0)
    run = replace(
        small_run(tmp_path, replace(paper, loop=loop, export="float16")), samples=hands(2)
    )
    trained, path = run()
    assert isinstance(trained.task, HeatmapTask)
    net = load_network(path)
    assert isinstance(net, HeatmapNet)
    assert net.config == trained.task.net.config
    there = trained.task.net.state_dict()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, there[name], atol=1e-3, rtol=1e-3, msg=name)
    assert (saved_cut(path), saved_meta(path)["steps"]) == ("box", 1)
    assert saved_meta(path)["data"]["samples"] == 2
    with pytest.raises(ValueError, match="heatmaps start from --imagenet, not from a trained"):
        replace(run, start=path, folder=tmp_path / "other")()
    with pytest.raises(ValueError, match="of the kind 'heatmaps', which finds keypoints"):
        small_run(tmp_path / "third", start=path)()


def test_a_subset_can_be_learnt_from_and_another_one_is_another_training(tmp_path: Path):
    data = hands(16)
    run = replace(small_run(tmp_path), samples=Subset(data, range(8, 16)))
    run()
    about = json.loads((run.folder / "config.json").read_text())["data"]
    assert about == describe(Subset(data, range(8, 16)))
    assert about["samples"] == 8
    with pytest.raises(ValueError, match=r"belongs to another training: .*data\.sha256 is"):
        replace(run, samples=Subset(data, range(8)))()


def test_samples_of_another_model_are_refused_by_name(tmp_path: Path):
    """A set may hold two models, one for each side; a network learns from one."""
    mixed = [s if s.is_right else replace(s, model="mano-left") for s in hands(12)]
    data = MemoryData([*mixed[1::2], *mixed[::2]])
    with pytest.raises(ValueError, match="sample 00000 of 'noise' is labelled with hand model 'ma"):
        replace(small_run(tmp_path), samples=data)()
    rights = Subset(data, [i for i, s in enumerate(data.labels()) if s.model == HAND_MODEL])
    loop = replace(debug().loop, batch=2, steps=1)
    replace(small_run(tmp_path, replace(debug(), loop=loop)), samples=rights)()


def test_imagenet_weights_fill_all_stages_of_the_heatmap_net(tmp_path: Path):
    from idhand.nets.resnet import ResNet

    torch.manual_seed(0)
    bare, net = ResNet("resnet18"), HeatmapNet()
    torch.save(bare.state_dict(), tmp_path / "resnet18.pth")
    _load_imagenet_stages(net, tmp_path / "resnet18.pth")
    state = bare.state_dict()
    assert torch.equal(net.conv1.weight, state["conv1.weight"])
    for stage in net.stages:
        weight = stage.state_dict()["layer3.0.conv1.weight"]
        assert torch.equal(weight, state["layer3.0.conv1.weight"])
