"""Stages of `idhand reproduce`: kept, gone on with, made again when inputs change."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from idhand.data import Joined, MemoryData, Subset, write_shards
from idhand.experiments.chain.chunks import in_chunks, joined
from idhand.experiments.chain.config import ChainConfig, StageName
from idhand.experiments.chain.kept import Stages
from idhand.experiments.chain.lists import keep_lists
from idhand.experiments.chain.sets import PreparedFolder, read_parts, sets_of
from idhand.experiments.chain.shapes import calibrated, kept_apart, overlapping, recording_of
from idhand.experiments.shapes import random_rows
from idhand.predictions import Predictions
from idhand.training.features import FeatureExamples
from idhand.training.presets import PRESETS
from tests.test_experiments_reproduce import MODEL, Scenes, guesses, scene


@dataclass
class Run:
    """Two stages, the second of which copies the first's text with a word of its own."""

    root: Path
    word: str = "and"
    text: str = "one"
    only: StageName | None = None
    told: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    dies: bool = False

    def __call__(self) -> str:
        stages = Stages(
            root=self.root, note=self.told.append, begins=self.made.append, only=self.only
        )
        first = stages.keep("lists", {"text": self.text}, (), self._first)

        def second(folder: Path) -> Sequence[str]:
            (folder / "half").write_text(self.word)
            if self.dies:
                raise KeyboardInterrupt
            whole = (first.folder / "text").read_text() + (folder / "half").read_text()
            (folder / "whole").write_text(whole)
            return ["whole"]

        done = stages.keep("shapes/all", {"word": self.word}, (first,), second)
        return (done.folder / "whole").read_text()

    def _first(self, folder: Path) -> None:
        (folder / "text").write_text(self.text)


def test_a_finished_stage_is_not_made_again(tmp_path: Path):
    assert Run(tmp_path)() == "oneand"
    again = Run(tmp_path)
    assert again() == "oneand"
    assert (again.made, again.told) == ([], [])


def test_changed_inputs_are_noticed_down_the_chain(tmp_path: Path):
    Run(tmp_path)()
    (tmp_path / "shapes" / "all" / "folder").mkdir()
    word = Run(tmp_path, word="or")
    assert word() == "oneor"
    assert word.made == ["shapes/all"]
    assert word.told == ["shapes/all was made from other inputs (about.word); it is made again"]
    assert not (tmp_path / "shapes" / "all" / "folder").exists()
    text = Run(tmp_path, word="or", text="two")
    assert text() == "twoor"
    assert text.made == ["lists", "shapes/all"]
    assert "(about.text)" in text.told[0]
    assert "(needs.lists)" in text.told[1]
    same = Run(tmp_path, word="or", text="two")
    (tmp_path / "lists" / "stage.json").write_text(
        (tmp_path / "lists" / "stage.json").read_text().replace("two", "three")
    )
    assert same() == "twoor"
    assert same.made == ["lists"], "the same result: nothing after it changes"


def test_an_interrupted_stage_goes_on_with_what_is_its_own(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        Run(tmp_path, dies=True)()
    marker = tmp_path / "shapes" / "all" / "stage.json"
    assert json.loads(marker.read_text())["results"] is None
    after = Run(tmp_path)
    assert after() == "oneand"
    assert after.made == ["shapes/all"]
    assert after.told == [], "no other inputs"


def test_a_damaged_or_missing_result_is_made_again(tmp_path: Path):
    Run(tmp_path)()
    (tmp_path / "shapes" / "all" / "whole").write_text("oneadd")  # as long as before
    again = Run(tmp_path)
    assert again() == "oneand"
    assert again.made == ["shapes/all"]
    (tmp_path / "lists" / "text").unlink()
    again = Run(tmp_path)
    assert again() == "oneand"
    assert again.made == ["lists"]


def test_only_one_stage(tmp_path: Path):
    with pytest.raises(
        ValueError, match=r"the stage 'shapes' needs .*lists, which is not finished"
    ):
        Run(tmp_path, only="shapes")()
    with pytest.raises(ValueError, match="which is not finished"):
        Run(tmp_path, only="lists")()  # its own is made; the one after it is not there
    assert (tmp_path / "lists" / "text").read_text() == "one"
    alone = Run(tmp_path, text="changed", only="shapes")
    assert alone() == "oneand", "what is there is taken as it is"
    assert alone.made == ["shapes/all"]


def test_other_files_are_left_alone(tmp_path: Path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds files that no run .* has written \(mine.txt\)"):
        Run(tmp_path)()
    assert (tmp_path / "lists" / "mine.txt").read_text() == "mine"


# ------------------------------------------------------------------------------- sets and splits


def labelled(subjects: str, sequences: Sequence[str | None] | None = None) -> MemoryData:
    """A picture for each letter, which is the person's name."""
    names = sequences or [None] * len(subjects)
    return MemoryData(
        replace(scene(0)[0], subject=who, id=f"{k:02d}", sequence=name)
        for k, (who, name) in enumerate(zip(subjects, names, strict=True))
    )


def test_joined_sets_are_one():
    parts = (labelled("aab"), Subset(labelled("cdc", ["x", "y", "x"]), [2, 0]), labelled("e"))
    whole = Joined(parts)
    assert [sample.subject for sample in whole] == list("aabcce")
    assert [whole.label(k).subject for k in range(len(whole))] == list("aabcce")
    assert [sample.subject for sample in whole.labels()] == list("aabcce")
    assert [sample.subject for sample in whole[1:4]] == list("abc")
    assert whole[-1].subject == "e"
    assert sorted(map(sorted, whole.sequences())) == [[0], [1], [2], [3, 4], [5]]
    with pytest.raises(IndexError):
        whole[6]
    assert whole.fingerprint() != Joined(parts[:2]).fingerprint()
    assert whole.fingerprint() != Joined(parts[::-1]).fingerprint()


def test_one_training_or_each_person_left_out_once():
    parts = {"train": labelled("aabb"), "val": labelled("c"), "test": labelled("dde")}
    sets = sets_of(parts, lambda _: MODEL)  # pyright: ignore
    assert [fold.name for fold in sets.folds] == [""]
    assert not sets.leaves_one_out
    assert sets.counts == {"train": (4, 2), "val": (1, 1), "test": (3, 2)}
    with pytest.raises(ValueError, match="a is among the people of train and of test"):
        sets_of({**parts, "test": labelled("da")}, lambda _: MODEL)  # pyright: ignore
    loso = sets_of({"test": labelled("ababc")}, lambda _: MODEL)
    assert loso.leaves_one_out
    found = {
        fold.name: ({s.subject for s in fold.train}, {s.subject for s in fold.test}, len(fold.test))
        for fold in loso.folds
    }
    assert found == {
        "a": ({"b", "c"}, {"a"}, 2),
        "b": ({"a", "c"}, {"b"}, 2),
        "c": ({"a", "b"}, {"c"}, 1),
    }
    with pytest.raises(ValueError, match="leaving each out once takes two or more"):
        sets_of({"test": labelled("aa")}, lambda _: MODEL)


def test_a_protocols_own_calibration_pictures():
    first = MemoryData(replace(s, id=f"first-{s.id}") for s in labelled("aabb"))
    sets = sets_of({"calibration": first, "test": labelled("aab")}, lambda _: MODEL)
    assert len(sets.test) == 7
    assert len(sets.folds) == 2
    apart = kept_apart(sets.labels, 0, sets.calibration_ids)
    assert apart.calibration == {
        "a": ("first-00", "first-01"),
        "b": ("first-02", "first-03"),
    }
    assert apart.evaluated == ("00", "01", "02")


def test_pictures_of_another_hand_model_take_no_part():
    both = MemoryData(
        replace(sample, model=sample.model if k != 1 else "other")
        for k, sample in enumerate(labelled("abcab"))
    )
    sets = sets_of({"test": both}, lambda _: MODEL)
    assert [sample.subject for sample in sets.test.labels()] == list("acab")
    assert sets.left_out == (
        "1 of 5 pictures of test are not labelled with the hand model 'idhand-open-1' and take no "
        "part",
    )
    unlabelled = MemoryData(replace(sample, model=None, betas=None) for sample in both)
    with pytest.raises(ValueError, match="no picture is labelled with a hand model's pose"):
        sets_of({"test": unlabelled}, lambda _: MODEL)
    unknown = MemoryData(replace(sample, subject=None) for sample in labelled("ab"))
    with pytest.raises(ValueError, match="do not say whose hand they show"):
        sets_of({"test": unknown}, lambda _: MODEL)


def test_recordings_stay_together():
    """All cameras and frames of a recording are on one side; halves differ by at most one."""
    takes = [f"take-{k // 6}/camera-{k % 3}" for k in range(30)] * 2
    data = labelled("a" * 30 + "b" * 30, takes)
    split = kept_apart([*data.labels()], 3)
    sides: dict[tuple[str, str], set[bool]] = {}
    for sample in data:
        assert sample.subject is not None
        is_calibrating = sample.id in split.calibration[sample.subject]
        sides.setdefault((sample.subject, recording_of(sample)), set()).add(is_calibrating)
        assert is_calibrating != (sample.id in split.evaluated)
    assert all(len(side) == 1 for side in sides.values())
    for who in "ab":
        assert sum(side == {True} for (person, _), side in sides.items() if person == who) == 2
    alone = kept_apart([s for s in data.labels() if s.subject == "a"], 3)
    assert alone.calibration["a"] == split.calibration["a"], "whoever else is there"
    other = kept_apart([*data.labels()], 4)
    assert other.calibration != split.calibration
    one = kept_apart([*labelled("aab", ["x", "x", "y"]).labels()], 0)
    assert not one.calibration
    assert one.left_out[0] == "a has only one recording, so there is none to keep apart"
    assert set(overlapping([*data.labels()]).calibration["a"]) <= set(split.evaluated) | set(
        split.calibration["a"]
    )


def test_draws_are_nested_and_belong_to_the_person():
    rows = list(range(40))
    many = random_rows("anna", rows, 20, 0)
    for number in (1, 2, 5, 10):
        assert random_rows("anna", rows[::-1], number, 0) == many[:number]
    assert random_rows("anna", rows, 100, 0)[:20] == many
    assert sorted(random_rows("anna", rows, 100, 0)) == rows
    assert random_rows("bert", rows, 20, 0) != many
    assert random_rows("anna", rows, 20, 1) != many


def test_shapes_by_every_rule():
    predictions, truth = guesses(2, 30)
    found = predictions.found.copy()
    found[[0, 3, 40]] = False
    predictions = replace(predictions, found=found)
    split = overlapping(
        [replace(scene(0)[0], id=n, subject=w) for n, w in
         zip(predictions.sample_id, predictions.subject, strict=True)]
    )  # fmt: skip
    shapes = calibrated(predictions, split, MODEL, None, seed=0)
    assert predictions.betas is not None
    assert predictions.confidence is not None
    for who in truth:
        own = [k for k, name in enumerate(predictions.subject) if name == who and found[k]]
        mean = predictions.betas[own].mean(0)
        np.testing.assert_allclose(shapes.betas["all"][who], mean)
        np.testing.assert_array_equal(shapes.betas["average"][who], MODEL.prior.mean)
        assert shapes.num_pictures["average"][who] == 0
        np.testing.assert_allclose(shapes.betas["random_200"][who], mean)
        surest = sorted(own, key=lambda k: -predictions.confidence[k])[:10]  # pyright: ignore
        np.testing.assert_allclose(shapes.betas["top_10"][who], predictions.betas[surest].mean(0))
        drawn = random_rows(who, own, 5, 0)
        np.testing.assert_allclose(shapes.betas["random_5"][who], predictions.betas[drawn].mean(0))
        assert shapes.num_pictures["random_200"][who] == len(own)
        errors = [np.abs(shapes.betas[rule][who] - truth[who].betas).mean() for rule in
                  ("random_1", "ours")]  # fmt: skip
        assert errors[1] < errors[0]


# ------------------------------------------------------------------------------------ lists, chunks


def test_lists_of_prepared_shards(tmp_path: Path):
    with pytest.raises(ValueError, match="has no test people"):
        read_parts(tmp_path)
    write_shards(Scenes(count=6), tmp_path / "test", workers=1)
    source = PreparedFolder(folder=tmp_path)
    out = tmp_path / "out"
    stages = Stages(root=out, note=print, begins=print)
    _, lists = keep_lists(stages, source)
    assert set(lists["test"].ids) == {f"{k:03d}" for k in range(6)}
    there = Stages(root=out, note=print, begins=print, only="shapes")
    assert keep_lists(there, source)[1] == lists
    counts = json.loads((out / "lists" / "lists.json").read_text())
    assert counts["test"]["sha256"] == lists["test"].sha256


@dataclass(frozen=True, kw_only=True)
class Name:
    """Points that say which picture it is."""

    kind: type[Predictions] = Predictions

    def __call__(self, data: Any, /) -> Predictions:
        ids = tuple(sample.id for sample in data.labels())
        at = np.array([float(name) for name in ids])
        return Predictions(
            header={"method": "names", "dataset": "set", "part": ids[0]},
            sample_id=ids,
            subject=("",) * len(ids),
            is_right=np.ones(len(ids), bool),
            found=np.ones(len(ids), bool),
            K=np.tile(np.eye(3), (len(ids), 1, 1)),
            points_px=np.tile(at[:, None, None], (1, 21, 2)),
        )


def test_long_work_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("idhand.experiments.chain.chunks.CHUNK", 3)
    data = labelled("aaaaaaaa")
    told: list[tuple[int, int]] = []
    rows = in_chunks(Name(), data, tmp_path / "parts", bar=lambda *n: told.append(n))
    assert rows.sample_id == tuple(f"{k:02d}" for k in range(8))
    assert rows.points_px is not None
    np.testing.assert_array_equal(rows.points_px[:, 0, 0], np.arange(8.0))
    assert rows.header == {"method": "names", "dataset": "set"}, "notes that differ are gone"
    assert told == [(0, 8), (3, 8), (6, 8), (8, 8)]
    (tmp_path / "parts" / "part-00001.npz").unlink()
    told.clear()
    again = in_chunks(Name(), data, tmp_path / "parts", bar=lambda *n: told.append(n))
    assert told == [(5, 8), (8, 8)]
    assert again.sample_id == rows.sample_id
    assert joined([rows]) is rows


def test_features_of_a_subset_are_rows_of_the_whole_sets():
    whole = labelled("abcde")
    rows = np.arange(10.0)[:, None]
    every = FeatureExamples(
        features=rows.astype(np.float16), betas=rows.astype(np.float32), samples=whole,
        rotations=np.zeros((10, 16, 3, 3), np.float32), about={"views": 2},
        points_px=np.zeros((10, 21, 2), np.float32), numbers=np.arange(5),
    )  # fmt: skip
    some = every.subset(Subset(whole, [3, 1]))
    assert some.features[:, 0].tolist() == [6, 7, 2, 3]
    assert some.numbers.tolist() == [3, 1], "crops are drawn by the place in the whole set"
    assert some.betas[:, 0].tolist() == [6, 7, 2, 3]
    assert [some.name(row) for row in range(4)] == ["03", "03", "01", "01"]
    assert some.description() != every.subset(Subset(whole, [1, 3])).description()


def test_short_trainings_reach_their_learning_rate():
    config = PRESETS["baseline"](MODEL)
    assert (config.loop.warmup_steps, config.loop.lr) == (500, 1e-3)
    short, long = config.with_steps(200), config.with_steps(20_000)
    assert (short.loop.steps, short.loop.warmup_steps, long.loop.warmup_steps) == (200, 20, 500)
    assert short.loop.lr_at(20, 100) > 0.95 * short.loop.lr
    paper = PRESETS["paper_baseline"](MODEL).with_steps(7)
    assert (paper.loop.steps, paper.loop.epochs) == (7, None)


def test_config_refuses(tmp_path: Path):
    for changes, sentence in (
        ({"steps": 0}, "steps must be 1 or more"),
        ({"seed": -1}, "seed must not be negative"),
        ({"imagenet": (tmp_path / "weights.pth",)}, "told apart by their names"),
        ({"recipe": "hand", "imagenet": (tmp_path / "resnet50.pth",)}, "takes no --imagenet"),
    ):
        with pytest.raises(ValueError, match=sentence):
            ChainConfig(**changes)  # pyright: ignore
