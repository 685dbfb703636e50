"""The keypoint network's losses by hand, its features on the disk, and small trainings of it."""

import math
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import idhand.training.features as features_module
from idhand.assets import open_hand
from idhand.data import DataSet, MemoryData
from idhand.nets.files import load_keypoint_net, save_net, saved_cut, saved_meta
from idhand.nets.keypoints import KeypointConfig, KeypointEstimate
from idhand.nets.layers import Standardise
from idhand.nets.regressor import baseline_network
from idhand.training import PRESETS, TrainConfig, Training
from idhand.training.batches import Batch, SeenLabels
from idhand.training.checkpoints import Checkpoint, Checkpoints
from idhand.training.draws import Once, Order
from idhand.training.examples import CropConfig
from idhand.training.features import (
    FeatureConfig,
    FeatureExamples,
    FilesOfRows,
    cache_features,
    feature_folder,
)
from idhand.training.keypoint_loss import KeypointLossConfig, keypoint_terms, student_nll
from idhand.training.keypoints import FlatMaps, KeypointTask
from idhand.training.seen import HarmConfig
from idhand.training.validation import validator
from tests.test_nets_keypoints import crops01, small, small_keypoint_net
from tests.test_training_data import HAND_MODEL, hand_sample
from tests.test_training_seen import JITTER, seen_sample
from tests.training_worker import MeanColours

NU = 5.0


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def roots(seed: int, *shape: int, axes: int = 2) -> Tensor:
    """Lower triangular, positive on the diagonal."""
    lower = draw(seed, *shape, axes, axes).tril(-1)
    return lower + torch.diag_embed(0.3 + draw(seed + 1, *shape, axes).abs())


# ------------------------------------------------------------------------------------- likelihoods


def test_one_axis_has_students_distribution():
    residual, scale = 3 * draw(0, 50, 1), 0.2 + draw(1, 50, 1).abs()
    expected = -torch.distributions.StudentT(NU, scale=scale).log_prob(residual)[:, 0]
    constant = -torch.distributions.StudentT(NU).log_prob(torch.zeros(1).double())
    found = student_nll(residual, scale[..., None])
    torch.testing.assert_close(found, expected - constant)


def test_two_axes_are_a_mixture_of_gaussians():
    """Of covariance C / w with w from a gamma distribution of mean one, integrated."""
    w = torch.linspace(1e-5, 14, 40_000, dtype=torch.float64)
    gamma = torch.distributions.Gamma(torch.tensor(NU / 2).double(), torch.tensor(NU / 2).double())
    share = gamma.log_prob(w).exp() * (w[1] - w[0])
    residual, root = 2 * draw(2, 6, 2), roots(3, 6)
    densities = []
    for r, L in zip(residual, root, strict=True):
        C = L @ L.T
        square = r @ torch.linalg.inv(C) @ r
        gauss = w * torch.exp(-w * square / 2) / (2 * math.pi * torch.linalg.det(C).sqrt())
        densities.append((share * gauss).sum())
    constant = -math.log(1 / (2 * math.pi))  # of the density at its middle, C = 1
    found = student_nll(residual, root)
    torch.testing.assert_close(found, -torch.stack(densities).log() - constant, atol=1e-4, rtol=0)


def labels(n: int) -> SeenLabels:
    rng = torch.Generator().manual_seed(7)
    return SeenLabels(
        visible=torch.randint(0, 2, (n, 21), generator=rng).double(),
        log_size=-0.5 + 0.1 * draw(9, n),
        parts=torch.randint(0, 19, (n, 56, 56), generator=rng).byte(),
    )


def estimate(n: int) -> KeypointEstimate:
    return KeypointEstimate(
        points=0.5 + 0.2 * draw(10, n, 21, 2), root_cov=0.1 * roots(11, n, 21),
        directions=draw(13, n, 20, 3), directions_std=0.1 + draw(14, n, 20).abs(),
        visible=draw(15, n, 21), log_size=-0.5 + 0.2 * draw(16, n),
        log_size_std=0.1 + draw(17, n).abs(), heat=draw(18, n, 21, 56, 56),
        parts=draw(19, n, 19, 56, 56),
    )  # fmt: skip


def test_each_term_by_hand():
    """Keypoints that are unknown or far outside count nowhere, those outside have no heat."""
    out, seen = estimate(2), labels(2)
    true = 0.5 + 0.15 * draw(20, 2, 21, 2)
    true[0, 3] = torch.nan
    true[1, 5, 0] = 2.5
    true[1, 6] = torch.tensor([1.4, 0.5])
    loss = KeypointLossConfig(
        points=2.0, distance=3.0, heat=5.0, visible=7.0, directions=11.0, size=13.0, parts=17.0
    )
    far = torch.zeros(2, 21, dtype=torch.bool)
    far[0, 3] = far[1, 5] = True
    rows = [(i, k) for i in range(2) for k in range(21) if not far[i, k]]
    nll, distance, heat = [], [], []
    for i, k in rows:
        off = out.points[i, k] - true[i, k]
        nll.append(student_nll(off, out.root_cov[i, k]) / 2)
        distance.append(off.abs().sum() / 2)
        x, y = true[i, k].tolist()
        if not (0 < x < 1 and 0 < y < 1):
            continue
        cells = np.arange(56) + 0.5
        target = np.exp(-((cells - 56 * y)[:, None] ** 2 + (cells - 56 * x) ** 2) / (2 * 1.2**2))
        logits = out.heat[i, k].numpy()
        log_share = logits - np.log(np.exp(logits).sum())
        heat.append(-(target / target.sum() * log_share).sum())
    p = out.visible.sigmoid()
    visible = -(seen.visible * p.log() + (1 - seen.visible) * (1 - p).log())
    sizes = [
        student_nll((out.log_size - seen.log_size)[i, None], out.log_size_std[i, None, None])
        for i in range(2)
    ]
    bones = torch.nn.functional.normalize(draw(22, 2, 20, 3), dim=-1)
    turns = [
        student_nll((out.directions - bones)[i, k], std * torch.eye(3).double()) / 3
        for i in range(2)
        for k, std in enumerate(out.directions_std[i])
    ]
    parts = out.parts.log_softmax(1).gather(1, seen.parts.long()[:, None])
    expected = {
        "points": 2 * torch.stack(nll).mean(),
        "distance": 3 * torch.stack(distance).mean(),
        "heat": torch.tensor(5 * np.mean(heat)),
        "visible": 7 * visible.mean(),
        "directions": 11 * torch.stack(turns).mean(),
        "size": 13 * torch.stack(sizes).mean(),
        "parts": -17 * parts.mean(),
    }
    assert len(heat) == len(rows) - 1
    found = keypoint_terms(out, true, bones, seen, loss)
    assert found.keys() == expected.keys() == {field.name for field in fields(KeypointLossConfig)}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)


def test_every_weight_is_reached_and_unknown_keypoints_break_none():
    net = small_keypoint_net().train()
    batch = flat_batch()
    points = batch.points_px.clone()
    points[0, 4] = torch.nan
    torch.stack(
        [*KeypointTask(net, open_hand())(replace(batch, points_px=points)).values()]
    ).sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan])
def test_impossible_weights(weight: float):
    with pytest.raises(ValueError, match="loss weight 'size' must be 0 or more, got"):
        KeypointLossConfig(size=weight)


# -------------------------------------------------------------------------------------- validation


@cache
def flat_batch() -> Batch:
    """Of two crops, with any labels."""
    with torch.inference_mode():
        flat = small().flat(crops01())
    seen = SeenLabels(
        **{
            name: value if name == "parts" else value.float()
            for name, value in vars(labels(2)).items()
        }
    )
    return Batch(
        inputs=flat.clone(), rotations=torch.eye(3).expand(2, 16, 3, 3), betas=torch.zeros(2, 16),
        seen=seen, index=torch.arange(2), epoch=0,
        points_px=(112 + 40 * draw(21, 2, 21, 2)).float(),
    )  # fmt: skip


TASK = KeypointTask(small(), open_hand())


class Whole:
    """The batch as a data set, in one part."""

    def __len__(self) -> int:
        return 2

    def batches(self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int) -> Any:
        yield flat_batch()

    def name(self, index: int) -> str:
        return str(index)

    def description(self) -> dict[str, Any]:
        return {}


def test_validation_measures_in_pixels_of_the_crop():
    batch = flat_batch()
    assert batch.seen is not None
    with torch.no_grad():
        told = validator(Whole(), torch.device("cpu"))(TASK)
        out = small()(crops01())
    assert next(iter(told)) == "keypoints_px"
    far = (224 * out.points - 0.5 - batch.points_px).norm(dim=-1)
    size = out.log_size - batch.seen.log_size
    assert told["keypoints_px"] == pytest.approx(float(far.mean()), rel=1e-4)
    assert told["median_px"] == pytest.approx(float(far.median(1).values.mean()), rel=1e-4)
    visible = [row[one > 0].mean() for row, one in zip(far, batch.seen.visible, strict=True)]
    assert told["visible_px"] == pytest.approx(float(torch.stack(visible).mean()), rel=1e-4)
    assert told["size"] == pytest.approx(float(size.abs().mean()), rel=1e-4)
    assert told["size_bias"] == pytest.approx(float(size.mean()), rel=1e-4)
    bones = TASK.true_directions(batch)
    off = (out.directions - bones).square().sum(-1).sqrt().mean()
    assert told["directions"] == pytest.approx(float(off), rel=1e-4)
    every = KeypointLossConfig(points=1.0, size=1.0, directions=1.0)
    terms = keypoint_terms(out, (batch.points_px + 0.5) / 224, bones, batch.seen, every)
    assert told["directions_nll"] == pytest.approx(float(terms["directions"]), rel=1e-4)
    assert told["points_nll"] == pytest.approx(float(terms["points"]), rel=1e-4)
    assert told["size_nll"] == pytest.approx(float(terms["size"]), rel=1e-4)


# ----------------------------------------------------------------------------- features on the disk


def test_rows_of_files_are_those_of_one_table():
    table = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float16)
    files = FilesOfRows([table[:4], table[4:5], table[5:]])
    assert len(files) == 11
    for rows in (np.array([10, 0, 4, 3, 3, 5]), np.arange(11), np.array([7])):
        found = files[rows]
        np.testing.assert_array_equal(found, table[rows])
        found[:] = 0
    np.testing.assert_array_equal(files[np.array([3])], table[3:4])


@cache
def seen_hands(count: int, first: int = 0) -> MemoryData:
    return MemoryData(seen_sample(first + index) for index in range(count))


KEPT = FeatureConfig(
    backbone="means", views=2, hand_model=HAND_MODEL, labels="seen", on_disk=True,
    crops=CropConfig(jitter=JITTER, harm=HarmConfig()),
)  # fmt: skip


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "CHUNK", 3)


def kept(folder: Path, config: FeatureConfig = KEPT) -> FeatureExamples:
    return cache_features(MeanColours(), seen_hands(4), folder, config)


def batches_of(examples: FeatureExamples) -> list[Batch]:
    order = Order(num_examples=8, batch=3, seed=1)
    return list(examples.batches(order, 0, 4, rank=0, ranks=1))


@pytest.mark.usefixtures("small_chunks")
def test_features_on_the_disk_give_the_same_batches(tmp_path: Path):
    disk = kept(tmp_path / "disk")
    memory = kept(tmp_path / "memory", replace(KEPT, on_disk=False))
    assert isinstance(disk.features, FilesOfRows)
    assert isinstance(memory.features, np.ndarray)
    assert len(disk) == len(memory) == 8
    for one, other in zip(batches_of(disk), batches_of(memory), strict=True):
        for name in ("inputs", "rotations", "betas", "points_px", "index"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert one.seen is not None
        assert other.seen is not None
        for name, value in vars(one.seen).items():
            assert torch.equal(value, getattr(other.seen, name)), name
    assert torch.equal(disk.typical(4), memory.typical(4))
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == [
        *(f"chunk-0000{number}.{kind}" for number in range(3) for kind in ("npy", "npz")),
        "features.json",
    ]


@pytest.mark.usefixtures("small_chunks")
def test_kept_labels_are_those_of_the_crops(tmp_path: Path):
    """Drawn as the crop is, by view and place in the set."""
    (batch,) = kept(tmp_path).batches(Once(num_examples=8, batch=8), 0, 1, rank=0, ranks=1)
    assert batch.seen is not None
    for index in (0, 5):
        number, view = divmod(index, 2)
        rng = np.random.default_rng([0, view, number])
        made = features_module.make_example(
            seen_sample(number), KEPT.crops, rng, labels="seen", hand_model=HAND_MODEL
        )
        assert made.seen is not None
        for name, value in vars(made.seen).items():
            np.testing.assert_array_equal(getattr(batch.seen, name)[index], value)


@pytest.mark.usefixtures("small_chunks")
def test_features_on_the_disk_survive_a_kill(tmp_path: Path):
    """After a kill what is missing is made again, with the same bytes, and nothing else."""
    kept(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "chunk-00001.npz").unlink()
    (tmp_path / "chunk-00002.npy").unlink()
    (tmp_path / ".chunk-00001.npy.01234567.part").write_bytes(b"half")
    kept(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    same = [path.name for path in tmp_path.iterdir() if path.stat().st_mtime_ns == times[path.name]]
    assert sorted(same) == ["chunk-00000.npy", "chunk-00000.npz", "features.json"]


@pytest.mark.usefixtures("small_chunks")
def test_damaged_features_on_the_disk_are_told(tmp_path: Path):
    kept(tmp_path)
    path = tmp_path / "chunk-00001.npy"
    whole = path.read_bytes()
    sentence = r"chunk-00001\.npz is missing or damaged \(.*\); remove it and run the same again"
    for damaged in (b"", whole[:5], whole[: len(whole) // 2], whole[:-1], b"no table" * 40):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=sentence):
            kept(tmp_path)
    for table in (np.zeros((2, 6), np.float16), np.zeros(3, np.float16), np.zeros((3, 6))):
        np.save(path, table)
        with pytest.raises(ValueError, match=sentence):
            kept(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=sentence):
        FeatureExamples.read(tmp_path, seen_hands(4))
    (tmp_path / "chunk-00001.npz").unlink()
    kept(tmp_path)
    assert path.read_bytes() == whole


def test_features_of_older_trainings_stay_of_use():
    """Their folder is named as it was before there were other labels."""
    plain = FeatureConfig(backbone="hand_studio", crops=CropConfig(), hand_model=HAND_MODEL)
    about = plain.about(seen_hands(2))
    assert about["crops"].keys() == {"cut", "jitter", "colour", "seed"}
    assert not about.keys() & {"labels", "on_disk"}
    folders = {
        feature_folder(Path("f"), config.about(seen_hands(2)))
        for config in (
            plain, replace(plain, labels="seen"), replace(plain, on_disk=True),
            replace(plain, crops=CropConfig(wide_jitter=JITTER)),
            replace(plain, crops=CropConfig(wide_jitter=JITTER, wide_share=0.5)),
        )
    }  # fmt: skip
    assert len(folders) == 5


# -------------------------------------------------------------------------------------- whole runs


def config(**changes: Any) -> TrainConfig:
    preset = PRESETS["keypoints"](open_hand())
    loop = replace(
        preset.loop, batch=2, steps=3, warmup_steps=1, log_every=1, checkpoint_every=2,
        validate_every=3, num_workers=0,
    )  # fmt: skip
    return replace(preset, loop=loop, views=1, **changes)


def training(folder: Path, name: str = "run", **changes: Any) -> Training:
    """Of the small network, on four pictures; features are shared."""
    start = folder / "start.safetensors"
    if not start.exists():
        save_net(small(), start, {})
    values = {
        "config": config(), "samples": seen_hands(4), "folder": folder / name,
        "cache": folder / "features", "start": start,
    }  # fmt: skip
    return Training(**{**values, **changes})


def test_a_small_training_that_goes_on_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trained, path = training(tmp_path, val=seen_hands(2, 50))()
    assert path.name == "keypoints.safetensors"
    assert list(trained.metrics) == [
        "keypoints_px", "median_px", "visible_px", "points_nll", "size", "size_bias", "size_nll",
        "directions", "directions_nll",
    ]  # fmt: skip
    assert all(math.isfinite(value) for value in trained.metrics.values())
    net = load_keypoint_net(path)
    assert net.config == small().config
    assert net.label != small().label
    assert (saved_cut(path), saved_meta(path)["steps"]) == ("landmark", 3)
    assert saved_meta(path)["validation"] == trained.metrics
    assert saved_meta(path)["training"]["keypoint_loss"] == vars(KeypointLossConfig())
    save = Checkpoints.save

    def interrupted(self: Checkpoints, checkpoint: Checkpoint) -> None:
        save(self, checkpoint)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training(tmp_path, "broken", val=seen_hands(2, 50))()
    _, resumed = training(tmp_path, "broken", val=seen_hands(2, 50))()
    assert "going on after step 2 of " in (tmp_path / "broken" / "log.txt").read_text()
    assert resumed.read_bytes() == path.read_bytes()
    other = config(keypoint_loss=KeypointLossConfig(size=2.0))
    _, unlike = training(tmp_path, "other", config=other)()
    assert load_keypoint_net(unlike).label != net.label


def test_the_preset_starts_anew_and_from_crops(tmp_path: Path):
    """Without --start the default network, whose scale is measured by the crops."""
    one_step = config().with_loop(steps=1)
    trained, path = training(tmp_path, start=None, config=one_step, samples=seen_hands(2))()
    assert isinstance(trained.task, KeypointTask)
    net = load_keypoint_net(path)
    assert net.config == KeypointConfig()
    standardise = net.image[0]
    assert isinstance(standardise, Standardise)
    assert (standardise.std > 0).all()
    assert standardise.mean.abs().max() > 0.01
    pictures = replace(one_step, views=None)
    _, cut = training(tmp_path, "pictures", config=pictures, samples=seen_hands(2))()
    assert load_keypoint_net(cut).label != small().label
    assert len(list((tmp_path / "features").iterdir())) == 1, "nothing is kept of pictures"


def test_crops_and_what_is_kept_of_them_are_learnt_alike():
    task = TASK
    bytes_ = (255 * crops01()).round().byte()
    with torch.inference_mode():
        flat = FlatMaps(small())(bytes_.float() / 255)
        batch = flat_batch()
        kept_terms = task(replace(batch, inputs=flat))
        crop_terms = task(replace(batch, inputs=bytes_))
    for name, value in kept_terms.items():
        torch.testing.assert_close(value, crop_terms[name], msg=name)


def bare_hands() -> DataSet:
    """Without parts."""
    return MemoryData(hand_sample(index) for index in range(2))


def test_trainings_that_cannot_be_are_told(tmp_path: Path):
    run = training(tmp_path)
    with pytest.raises(ValueError, match="comes trained, so it takes no --imagenet"):
        replace(run, imagenet=tmp_path / "resnet.pth")()
    with pytest.raises(ValueError, match="has no keypoints in space, no parts or no visible"):
        replace(run, samples=bare_hands())()
    foreign = MemoryData([replace(seen_sample(0), model="mano")])
    with pytest.raises(ValueError, match="labelled with hand model 'mano'"):
        replace(run, samples=foreign)()
    poses = tmp_path / "poses.safetensors"
    save_net(baseline_network(HAND_MODEL, 16).build(), poses, {})
    with pytest.raises(ValueError, match="name a keypoint network"):
        replace(run, start=poses)()
    assert not (tmp_path / "run").exists()
