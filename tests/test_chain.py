"""The paper's whole chain on a handful of pictures: every stage, its files, going on after kills.

The bundled pictures of one person stand for those of several; nothing can be learnt from so few, so
numbers are not looked at here.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.cli import main
from idhand.cli.demo import read_demo
from idhand.data import MemoryData, Shards, encode_sample, write_shards
from idhand.data.sample_list import SampleList
from idhand.data.trees import LabelHands
from idhand.experiments.chain.config import ChainConfig
from idhand.experiments.chain.kept import Stages
from idhand.experiments.chain.lists import keep_lists
from idhand.experiments.chain.plan import sentences
from idhand.experiments.chain.prepared import TreeInput, damaged
from idhand.experiments.chain.running import Chain
from idhand.experiments.chain.scores import Scores
from idhand.experiments.chain.sets import PreparedFolder
from idhand.predictions import Predictions
from idhand.records import Sample
from idhand.training import presets
from idhand.training.processes import Group
from tests.test_data_shards import Fake, jpeg_of

PEOPLE = {"train": ("ada", "bob"), "val": ("cleo",), "test": ("dan", "eve")}
"""Part → its people, two pictures each."""


@cache
def pictures(part: str) -> tuple[Sample, ...]:
    """Those of a part; the first part has the first pictures."""
    before = {"train": 0, "val": 4, "test": 6}[part]
    truth, photos = read_demo()
    samples = []
    for number in range(2 * len(PEOPLE[part])):
        photo, record = photos[before + number], truth["photos"][before + number]
        pixels = np.array(record["keypoints_px"])
        samples.append(
            Sample(
                rgb=photo.rgb, K=photo.K, dist=np.zeros(5), is_right=bool(record["is_right"]),
                bbox_px=np.concatenate((pixels.min(0), pixels.max(0))),
                subject=PEOPLE[part][number // 2], model=truth["model"],
                betas=np.array(truth["betas"]), rotations=np.array(record["rotations"]),
                wrist_cam=np.array(record["wrist_cam_m"]), keypoints_px=pixels,
                keypoints_cam=photo.keypoints_cam, valid=np.ones(21, bool), visible=None,
                parts=None, dataset="demo", id=f"{part}/{number}", sequence=None, time_s=None,
            )
        )  # fmt: skip
    return tuple(samples)


@dataclass(frozen=True)
class Part(Fake):
    """A part of the pictures as a source."""

    name: str = "train"

    def entry(self, index: int) -> dict[str, bytes]:
        sample = pictures(self.name)[index]
        return encode_sample(sample, jpeg_of(sample))


def write_parts(folder: Path, parts: Sequence[str] = tuple(PEOPLE)) -> Path:
    for name in parts:
        write_shards(Part(count=2 * len(PEOPLE[name]), name=name), folder / name, workers=1)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("prepared"))


def chain(data: Path, out: Path, *, steps: int = 2, recipe: Any = "hand", **options: Any) -> Any:
    """A chain, and what it tells: `chain.told` and `chain.made`."""
    told: list[str] = []
    out.mkdir(exist_ok=True)
    one = Chain(
        source=PreparedFolder(folder=data), out=out, note=told.append, group=Group(),
        config=ChainConfig(recipe=recipe, steps=steps), **options,
    )  # fmt: skip
    return one, told


def contents(out: Path) -> dict[str, str]:
    """Hash of every file that is a result: not of logs, checkpoints and what is made anew."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        is_note = path.name.startswith(".") or path.name in ("log.txt", "commit.txt")
        if path.is_file() and not is_note and "/tensorboard/" not in name:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the command."""
    out = tmp_path_factory.mktemp("chain") / "out"
    flags = ["--recipe", "hand", "--steps", "2", "--workers", "1"]
    assert main(["reproduce", "--data", str(data), "--out", str(out), *flags]) == 0
    return out


ROWS = {"baseline", "true", "overlap-random_20", "overlap-ours", "apart-random_20", "apart-ours"}


def test_every_stage_leaves_its_files(done: Path):
    assert {path.name for path in (done / "evaluated").iterdir()} == ROWS
    refined = {f"{row}-{solver}" for row in ROWS for solver in ("paper_adam", "second_order")}
    assert {path.name for path in (done / "optimised").iterdir()} == refined
    for name in ("baseline", "identity", "confidence"):
        assert (done / "networks" / name / f"{name}.safetensors").is_file()
        assert not (done / "networks" / name / "checkpoints").exists()
    listed = (done / "lists" / "test.txt").read_text().split()
    assert sorted(listed) == [f"test/{k}" for k in range(4)]
    points = Predictions.load(done / "predictions" / "points" / "points.npz")
    assert points.kind == "points"
    shapes = json.loads((done / "shapes" / "shapes.json").read_text())
    assert set(shapes["uses"]) == {"overlap", "apart"}
    assert len(shapes["uses"]["apart"]) == 15, "alone, average, 10 numbers, all, top 10, ours"
    with np.load(done / "shapes" / "rest_meshes.npz") as meshes:
        assert meshes["overlap/ours"].shape == (2, 1159, 3)
        assert meshes["people"].tolist() == ["dan", "eve"]


def test_pictures_that_cannot_be_read_are_counted():
    ids = ("a", "b", "c")
    lists: dict[Any, SampleList] = {
        "train": SampleList(protocol="paper", part="train", ids=ids),
        "test": SampleList(protocol="paper", part="test", ids=ids),
    }
    whole, short = MemoryData(pictures("test")[:3]), MemoryData(pictures("test")[:2])
    (said,) = damaged(lists, {"train": whole, "test": short})
    assert said.startswith("1 of the 3 pictures listed for test cannot be read and takes no part")
    assert damaged(lists, {"train": whole, "test": whole}) == ()


def test_rows_are_what_they_say(done: Path):
    shapes = json.loads((done / "shapes" / "shapes.json").read_text())
    rows = {name: Predictions.load(done / "evaluated" / name / "predictions.npz") for name in ROWS}
    truth = np.array(shapes["true"]["dan"])
    for name, solver in (("true", None), ("true", "paper_adam"), ("true", "second_order")):
        path = f"evaluated/{name}" if solver is None else f"optimised/{name}-{solver}"
        known = Predictions.load(done / path / "predictions.npz")
        assert known.betas is not None
        np.testing.assert_allclose(known.betas, np.tile(truth, (4, 1)), atol=1e-6)
    ours, mine = rows["overlap-ours"], shapes["uses"]["overlap"]["ours"]
    assert ours.betas is not None
    for betas, who in zip(ours.betas, ours.subject, strict=True):
        np.testing.assert_allclose(betas, mine[who]["betas"], atol=1e-9)
    # The paper's hand layer alone uses the shape: the pose is the same with every shape.
    assert ours.rotations is not None
    assert rows["true"].rotations is not None
    np.testing.assert_allclose(ours.rotations, rows["true"].rotations, atol=1e-12)
    assert rows["baseline"].confidence is not None
    assert len(rows["apart-ours"]) == 2, "one of two pictures of each person"
    apart = shapes["uses"]["apart"]
    assert {p["pictures"] for p in apart["random_20"].values()} == {1}


def test_scores_are_those_of_evaluate(
    done: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = [str(done / "evaluated" / "true" / "predictions.npz")]
    flags = ["--data", str(data / "test"), "--protocol", "paper", "--out", str(tmp_path)]
    assert main(["evaluate", *files, *flags]) == 0
    assert "MPVPE model frame (mm)" in capsys.readouterr().out
    (report,) = json.loads((tmp_path / "report.json").read_text())
    scores = Scores.load(done / "evaluated" / "true" / "scores.npz")
    for name in ("mpjpe_root", "mpvpe_model", "mpvpe_root"):
        assert scores.mean(f"paper_{name}") == pytest.approx(report["metrics"][name]["mean"])
    assert scores.mean("rest_verts") < 1e-4


def test_summary_shows_both_statements(done: Path):
    text = (done / "summary.md").read_text()
    assert "## 1. A calibrated shape is at most 0.7 times as far off" in text
    assert "## 2. Refinement lowers the error in the camera's frame with the true shape" in text
    assert text.count("against") == 4, "two rules, each on overlapping and on other pictures"
    assert "2 people: too few for an interval over people" in text
    assert "[" not in text.partition("## Tables")[2].partition("Shapes at rest")[0]
    assert "there is 1 person of known shape to calibrate the network's covariances on" in text
    shapes = json.loads((done / "shapes" / "shapes.json").read_text())["uses"]["overlap"]
    single, ours = (
        np.mean([each["rest_verts_mm"] for each in shapes[rule].values()])
        for rule in ("single pictures", "ours")
    )
    assert f"rest vertices {ours:.2f} mm against {single:.2f} mm" in text
    assert (done / "tables" / "paper_overlap.csv").is_file()


def test_a_second_run_makes_nothing(done: Path, data: Path):
    before = contents(done)
    again, told = chain(data, done)
    assert again.run() == done / "summary.md"
    assert told == []
    assert contents(done) == before


class Enough(Exception):
    """Stops a run that has shown what it would do."""


def test_a_changed_input_is_noticed(done: Path, data: Path):
    """Another number of steps: networks are trained again, the lists stay."""
    again, told = chain(data, done, steps=3, plan=lambda *_: (_ for _ in ()).throw(Enough))
    before = {name: sha for name, sha in contents(done).items() if not name.startswith("networks")}
    with pytest.raises(Enough):
        again.run()
    assert told == [
        "networks/baseline was made from other inputs (about.training.loop.steps); it is made again"
    ]
    after = contents(done)
    assert {name: after.get(name) for name in before} == before
    assert not (done / "networks" / "baseline" / "baseline.safetensors").exists()
    repaired, told = chain(data, done)
    repaired.run()
    assert [line for line in told if "…" in line] == ["networks/baseline …"]


def test_one_stage_alone(
    done: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    flags = ["reproduce", "--data", str(data), "--recipe", "hand", "--steps", "2"]
    new = [*flags, "--out", str(tmp_path / "new"), "--only"]
    assert main([*new, "lists"]) == 0
    assert main([*new, "shapes"]) == 2
    assert "the stage 'shapes' needs" in capsys.readouterr().err
    before = contents(done)
    assert main([*flags, "--out", str(done), "--only", "evaluated"]) == 0
    assert f"Written to {done / 'evaluated'}" in capsys.readouterr().out
    assert contents(done) == before


def test_flags_of_the_two_experiments(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def told(folder: Path, *flags: str) -> str:
        arguments = ["reproduce", "--data", folder, "--out", tmp_path / "out", *flags]
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "--draws is for trained networks" in told(data, "--draws", "3")
    assert "--steps is for the whole chain" in told(data / "test", "--steps", "3")
    assert "there is no device 'cud'" in told(data, "--device", "cud")
    assert "steps must be 1 or more" in told(data, "--steps", "0")
    assert "no such file" in told(data, "--imagenet", str(tmp_path / "resnet18.pth"))
    assert "is no data set of a known kind" in told(data, "--protocol", "paper")


@dataclass(frozen=True)
class Pictures:
    """The bundled pictures as somebody's data set on disk."""

    kind: str = "demo"
    root: Path = Path()
    protocols: tuple[str, ...] = ("paper",)
    known: bool = True

    def lists(self, protocol: str, *, partial: bool = False) -> dict[Any, SampleList]:
        parts: tuple[Any, ...] = ("train", "test")
        return {
            part: SampleList(
                protocol=protocol, part=part, ids=tuple(sample.id for sample in pictures(part))
            )
            for part in parts
        }

    def data(self, chosen: SampleList, hands: Any = None, *, masks: bool = False) -> MemoryData:
        return MemoryData(
            sample if self.known else replace(sample, subject=None)
            for sample in pictures(chosen.part)
        )

    def check(self, *, deep: bool = False, hands: Any = None) -> Any:
        raise AssertionError


def test_a_data_set_of_others_is_prepared_once(tmp_path: Path):
    """Squares of 320 px about the hands; a second run finds them, another list does not."""

    def prepare(tree: Pictures, hands: LabelHands) -> list[str]:
        told: list[str] = []
        source = TreeInput(tree=tree, protocol="paper", hands=hands, note=told.append)
        Chain(
            source=source, out=tmp_path, note=told.append, group=Group(),
            config=ChainConfig(recipe="hand"), only="prepared",
        ).run()  # fmt: skip
        return told

    lists = Stages(root=tmp_path, note=print, begins=print)
    keep_lists(lists, TreeInput(tree=Pictures(), protocol="paper", hands=HANDS, note=print))
    assert prepare(Pictures(), HANDS) == ["prepared …"]
    test = Shards(tmp_path / "prepared" / "test")
    assert {sample.id for sample in test} == {f"test/{k}" for k in range(4)}
    assert {sample.rgb.shape for sample in test} == {(320, 320, 3)}
    assert prepare(Pictures(), HANDS) == []
    with pytest.raises(ValueError, match="the pictures do not say whose hand they show"):
        prepare(Pictures(known=False), HANDS)
    with pytest.raises(ValueError, match="no MANO is here, so labels have no pose and shape"):
        prepare(Pictures(), LabelHands())


@pytest.mark.parametrize("only", [None, "lists", "prepared"])
def test_another_protocols_folder_is_not_taken_over(tmp_path: Path, only: Any):
    """Neither are its results removed, nor its lists taken for those of this protocol."""

    def run(tree: Pictures, only: Any) -> None:
        source = TreeInput(tree=tree, protocol=tree.protocols[0], hands=HANDS, note=print)
        Chain(
            source=source, out=tmp_path, note=print, group=Group(),
            config=ChainConfig(recipe="hand"), only=only,
        ).run()  # fmt: skip

    run(Pictures(), "lists")
    before = {path: path.read_bytes() for path in (tmp_path / "lists").iterdir()}
    with pytest.raises(ValueError, match="holds the chain of demo, protocol paper, and this is"):
        run(Pictures(protocols=("paper-s5",)), only)
    assert {path: path.read_bytes() for path in (tmp_path / "lists").iterdir()} == before


HANDS = LabelHands(right=open_hand())


@pytest.mark.slow
def test_each_person_left_out_once(tmp_path: Path):
    """Without training people; the features of all are computed once."""
    folder = write_parts(tmp_path / "data", ["test"])
    one, _ = chain(folder, tmp_path / "out")
    one.run()
    out = tmp_path / "out"
    assert {path.name for path in (out / "networks").iterdir()} == {"dan", "eve"}
    assert len(list((out / "features").iterdir())) == 1
    text = (out / "summary.md").read_text()
    assert "Each of 2 people is left out once" in text
    baseline = Predictions.load(out / "evaluated" / "baseline" / "predictions.npz")
    assert set(baseline.subject) == {"dan", "eve"}
    nets = [
        (out / "networks" / who / "baseline" / "baseline.safetensors") for who in ("dan", "eve")
    ]
    assert nets[0].read_bytes() != nets[1].read_bytes()


@pytest.mark.slow
def test_the_published_recipe(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the smallest residual network; it is said that it starts from scratch."""
    real = presets.paper_baseline

    def small(model: Any) -> Any:
        config = real(model)
        assert config.net is not None
        return replace(config, net=replace(config.net, backbone="resnet18"))

    monkeypatch.setattr(presets, "paper_baseline", small)
    one, _ = chain(data, tmp_path / "out", steps=1, recipe="paper")
    monkeypatch.setitem(presets.PRESETS, "paper_baseline", small)
    identity = presets.PRESETS["paper_identity"]

    def small_identity(model: Any) -> Any:
        config = identity(model)
        assert config.net is not None
        return replace(config, net=replace(config.net, backbone="resnet18"))

    monkeypatch.setitem(presets.PRESETS, "paper_identity", small_identity)
    said: list[str] = []
    planned = replace(one, plan=lambda *parts: said.extend(sentences(*parts)))
    with torch.random.fork_rng(devices=()):
        planned.run()
    assert any("paper_baseline, 4 crops: about" in line for line in said)
    assert any(
        "--recipe hand trains heads on the shipped hand net instead" in line for line in said
    )
    text = (tmp_path / "out" / "summary.md").read_text()
    assert text.count("NOT AS PUBLISHED") == 2
    assert "the baseline states no covariances" in text
    points = Predictions.load(tmp_path / "out" / "predictions" / "points" / "points.npz")
    assert points.header["points"] == "keypoints"
    rows = Predictions.load(tmp_path / "out" / "evaluated" / "true" / "predictions.npz")
    assert rows.found.all(), "every box is taken for a hand"
    assert rows.wrist_cam is not None


@pytest.mark.slow
def test_kills_at_any_moment_leave_the_same_bytes(done: Path, data: Path, tmp_path: Path):
    """The same command again and again, each killed later than the one before."""
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "idhand", "reproduce", "--data", str(data), "--out", str(out),
        "--recipe", "hand", "--steps", "2", "--workers", "1",
    ]  # fmt: skip
    lasts_s, kills = 3.0, 0
    while True:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < lasts_s:
            time.sleep(0.02)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills, lasts_s = kills + 1, 1.2 * lasts_s
        assert kills < 60
    assert process.returncode == 0
    assert kills >= 3
    assert contents(out) == contents(done)
