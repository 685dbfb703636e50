"""The judge of the studio's pictures: its statistics, what it reads of a hand, its tables."""

import json
from dataclasses import fields, replace
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import idhand
from idhand.records import OTHER_PART, Sample

from .conftest import shared_file
from .test_benchmarks import benchmarks_importable as benchmarks_importable

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def _benchmarks(benchmarks_importable: None) -> None:
    """Every test here imports from the benchmarks' folder."""


@cache
def demo_sample(index: int) -> Sample:
    """A bundled picture of the demo as a sample."""
    folder = Path(str(files("idhand.assets"))) / "data" / "demo"
    truth = json.loads((folder / "truth.json").read_text("utf-8"))
    photo = truth["photos"][index]
    pixels = np.array(photo["keypoints_px"])
    return Sample(
        rgb=idhand.read_image(folder / photo["file"])[0],
        K=np.array(photo["K"], dtype=np.float64),
        dist=np.zeros(5),
        is_right=photo["is_right"],
        bbox_px=np.concatenate((pixels.min(0), pixels.max(0))),
        subject="demo",
        model=truth["model"],
        betas=np.array(truth["betas"]),
        rotations=np.array(photo["rotations"]),
        wrist_cam=np.array(photo["wrist_cam_m"]),
        keypoints_px=pixels,
        keypoints_cam=np.array(photo["keypoints_cam_m"]),
        valid=np.ones(21, bool),
        visible=None,
        parts=None,
        dataset="demo",
        id=photo["file"],
        sequence=None,
        time_s=None,
    )


@cache
def pipe() -> idhand.Pipeline:
    return idhand.load()


def some_readings(num: int, **columns: np.ndarray):
    """Hands that were all found, with random residuals and features."""
    rng = np.random.default_rng(num)
    judge = import_module("studio_judge")
    values = {f.name: np.full(num, np.nan) for f in fields(judge.Readings)} | {
        "group": np.array([f"person {i // 2}" for i in range(num)]),
        "detected": np.ones(num, bool),
        "same_side": np.ones(num),
        "residual": rng.uniform(0.01, 0.02, num),
        "pose_features": rng.normal(size=(num, 5)),
        "skin_features": rng.normal(size=(num, 3)),
        "gap": np.full(num, 0.02),
    }
    return judge.Readings(**(values | columns))


# ---------------------------------------------------------------- statistics


@given(seed=seeds, n=st.integers(2, 6), m=st.integers(2, 6))
def test_kernel_distance_of_independent_pictures_is_unbiased_mmd(seed: int, n: int, m: int) -> None:
    statistics = import_module("studio_statistics")
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, 4)), rng.normal(size=(m, 4))

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / 4 + 1) ** 3

    within_a = np.mean([k(a[i], a[j]) for i in range(n) for j in range(n) if i != j])
    within_b = np.mean([k(b[i], b[j]) for i in range(m) for j in range(m) if i != j])
    across = np.mean([k(x, y) for x in a for y in b])
    found = statistics.kernel_distance(a, b, np.arange(n), np.arange(m))
    assert found.value == pytest.approx(within_a + within_b - 2 * across, abs=1e-9)


def test_repeated_pictures_of_a_group_do_not_change_the_kernel_distance() -> None:
    kernel_distance = import_module("studio_statistics").kernel_distance
    a, b = np.random.default_rng(0).normal(size=(2, 9, 4))
    groups = np.arange(9)
    once = kernel_distance(a, b, groups, groups)
    often = kernel_distance(np.repeat(a, 3, 0), b, np.repeat(groups, 3), groups)
    assert often.value == pytest.approx(once.value)
    assert often.deviation == pytest.approx(once.deviation)


def test_kernel_distance_knows_same_from_different() -> None:
    kernel_distance = import_module("studio_statistics").kernel_distance
    a, b = np.random.default_rng(1).normal(size=(2, 150, 6))
    groups = np.arange(150)
    same = kernel_distance(a, b, groups, groups)
    other = kernel_distance(a, b + 1, groups, groups)
    assert abs(same.value) < 4 * same.deviation
    assert other.value > 5 * other.deviation


def test_kernel_distance_needs_two_groups() -> None:
    kernel_distance = import_module("studio_statistics").kernel_distance
    a = np.zeros((4, 3))
    with pytest.raises(ValueError, match="at least two groups"):
        kernel_distance(a, a, np.zeros(4), np.arange(4))


def test_share_has_wilsons_interval() -> None:
    share = import_module("studio_statistics").share
    found = share(np.arange(10) < 8)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share(np.ones(20, bool)).text(2) == "1.00 [0.84, 1.00]"
    assert share(np.zeros(0, bool)).text(2) == "–"


@given(seed=seeds, n=st.integers(1, 30))
def test_median_is_the_lower_middle_value(seed: int, n: int) -> None:
    median = import_module("studio_statistics").median
    values = np.random.default_rng(seed).normal(size=n)
    spread = median(values, np.arange(n))
    assert spread.value == np.sort(values)[(n - 1) // 2]
    assert np.isin(spread.draws, values).all()


def test_intervals_widen_when_pictures_are_alike() -> None:
    statistics = import_module("studio_statistics")
    people = np.random.default_rng(2).normal(size=25)
    values, groups = np.repeat(people, 8), np.repeat(np.arange(25), 8)
    for statistic in (statistics.median, statistics.mean):
        alone = statistic(values, np.arange(200)).estimate
        together = statistic(values, groups).estimate
        assert together.high - together.low > 1.5 * (alone.high - alone.low)
        assert together.low <= statistic(values, groups).value <= together.high


def test_ratio_of_a_sample_to_its_double_is_half() -> None:
    mean = import_module("studio_statistics").mean
    values = np.random.default_rng(3).uniform(1, 2, 80)
    ratio = mean(values, np.arange(80)).over(mean(2 * values, np.arange(80)))
    assert ratio.value == pytest.approx(0.5)
    assert 0.4 < ratio.low < 0.5 < ratio.high < 0.6


# ---------------------------------------------------------------- the judge


def test_judge_reads_the_demo_and_its_mirror_alike() -> None:
    judge = import_module("studio_judge")
    sample = demo_sample(0)
    samples = [sample, sample.mirrored()]
    read = judge.Judge(pipe()).read(judge.pictures_of(samples, 2))
    assert read.found.all()
    assert read.unoccluded.all()
    assert (read.same_side == 1).all()
    assert (read.landmark_error < read.gap).all(), "the net's own points lie nearer than joints"
    assert (read.residual < 0.03).all()
    assert (read.aligned_mm < 10).all()
    assert (read.rooted_mm > read.aligned_mm).all()
    assert read.landmark_error[1] == pytest.approx(read.landmark_error[0], abs=0.01)
    assert read.skin_features.shape == (2, judge.NUM_SKIN_FEATURES)
    pose = read.pose_features
    assert np.abs(pose[1] - pose[0]).mean() < 0.2 * np.abs(pose[0]).mean()


def test_an_empty_picture_is_a_hand_not_found() -> None:
    judge = import_module("studio_judge")
    sample = replace(demo_sample(0), rgb=np.full((60, 60, 3), 128, np.uint8))
    read = judge.Judge(pipe()).read(judge.pictures_of([sample], 1))
    assert len(read) == 1
    assert not read.found.any()
    assert np.isnan(read.residual).all()


def test_a_hand_found_elsewhere_is_not_found() -> None:
    judge = import_module("studio_judge")
    sample = demo_sample(0)
    away = replace(sample, keypoints_px=sample.keypoints_px + judge.true_size_px(sample))
    read = judge.Judge(pipe()).read(judge.pictures_of([away], 1))
    assert read.detected.all()
    assert not read.found.any()
    assert np.isnan(read.aligned_mm).all()


def test_other_hand_model_has_no_marked_points() -> None:
    judge = import_module("studio_judge")
    sample = replace(demo_sample(0), model=None, betas=None, rotations=None, wrist_cam=None)
    read = judge.Judge(pipe()).read(judge.pictures_of([sample], 1))
    assert read.found.all()
    assert np.isnan(read.landmark_error).all()
    assert np.isfinite(read.aligned_mm).all()
    with pytest.raises(ValueError, match="no keypoints in 3D"):
        judge.true_size_px(replace(sample, keypoints_cam=None))


def test_marked_points_lie_near_the_keypoints_of_both_sides() -> None:
    judge = import_module("studio_judge")
    for sample in (demo_sample(1), demo_sample(1).mirrored()):
        marks = judge.marked_points(pipe().model, sample)
        off = np.linalg.norm(marks - sample.keypoints_cam, axis=1)
        assert off.max() < 0.03
        assert off.max() > 0.001


def test_covered_share_counts_other_things_over_the_bones() -> None:
    judge = import_module("studio_judge")
    sample = demo_sample(0)
    parts = np.zeros(sample.rgb.shape[:2], np.uint8)
    assert judge.covered_share(replace(sample, parts=parts)) == 0
    middle = int(np.median(sample.keypoints_px[:, 0]))
    parts[:, middle:] = OTHER_PART
    half = judge.covered_share(replace(sample, parts=parts))
    assert 0.2 < half < 0.8
    gone = replace(sample, parts=parts, keypoints_px=sample.keypoints_px + 1e4)
    assert judge.covered_share(gone) == 1


def test_occluded_hands_are_set_apart() -> None:
    visible, covered = np.array([21.0, 17.0, 21.0, 12.0]), np.array([0.0, 0.0, 0.3, np.nan])
    read = some_readings(4, visible=visible, covered=covered)
    assert read.unoccluded.tolist() == [True, False, False, False]
    assert read.uncovered.tolist() == [True, True, False, True]


def test_samples_are_taken_evenly_and_at_most_once() -> None:
    judge = import_module("studio_judge")
    samples = [replace(demo_sample(0), subject=str(i)) for i in range(10)]
    assert [p.group for p in judge.pictures_of(samples, 4)] == ["0", "3", "6", "9"]
    assert len(list(judge.pictures_of(samples, 99))) == 10


# ---------------------------------------------------------------- real photos


def test_readings_survive_the_cache(tmp_path: Path) -> None:
    real = import_module("studio_real")
    read = some_readings(6)
    real.write_readings(tmp_path / "a.npz", read)
    again = real.read_readings(tmp_path / "a.npz")
    for f in fields(read):
        assert np.array_equal(
            getattr(read, f.name), getattr(again, f.name), equal_nan=f.name != "group"
        )


def test_missing_real_photos_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, judge = import_module("studio_real"), import_module("studio_judge")
    assert real.real_readings(judge.Judge(pipe()), tmp_path, tmp_path / "cache") == {}
    assert capsys.readouterr().out.count("is not here") == len(real.SOURCES)


def test_real_hands_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = shared_file("data/real")
    real, judge = import_module("studio_real"), import_module("studio_judge")
    monkeypatch.setattr(real, "SOURCES", ("taco",))
    first = real.real_readings(judge.Judge(pipe()), root, tmp_path)["taco"]
    assert first.detected.tolist() == [True] * 4
    assert len(set(first.group)) == 2
    again = real.real_readings(None, root, tmp_path)["taco"]
    assert np.array_equal(first.residual, again.residual)


# ---------------------------------------------------------------- tables


def test_tables_tell_what_was_judged() -> None:
    tables = import_module("studio_tables")
    few, many = some_readings(4), some_readings(60)
    half_found = some_readings(70, gap=np.tile([0.02, 0.9], 35))
    sets = tables.Sets(made={"renders": half_found, "photoreal": many}, real={"a": many, "b": few})
    assert "| renders: unoccluded | 70 | 50.0 [" in tables.found_table(sets)
    assert tables.residual_table(sets).count("1.0") >= 2
    assert "| photoreal: all | 60 |" in tables.truth_table(sets)
    distances = tables.distance_tables(sets)
    assert "| pose | to a | to photoreal | to all real |" in distances
    assert "to b" not in distances
    text = tables.ablation_table({"nothing": half_found}, sets.pooled)
    assert "| nothing | 70 | 50.0 [" in text


def test_one_person_has_no_kernel_distance() -> None:
    tables = import_module("studio_tables")
    alone = some_readings(60, group=np.full(60, "person 0"))
    sets = tables.Sets(made={"renders": alone}, real={"a": some_readings(60)})
    assert "| renders | – | – |" in tables.distance_tables(sets)


def test_tables_without_real_photos_leave_the_comparison_out() -> None:
    tables = import_module("studio_tables")
    sets = tables.Sets(made={"renders": some_readings(60)}, real={})
    assert sets.pooled is None
    assert "| renders: all | 60 |" in tables.residual_table(sets)
    row = tables.ablation_table({"nothing": some_readings(60)}, None).splitlines()[-1]
    assert row.split(" | ")[3:7] == ["–"] * 4
