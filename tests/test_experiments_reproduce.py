"""The paper's experiment on exact scenes: what is split, fused, counted, decided and written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.data import MemoryData, Shards, encode_sample, write_shards
from idhand.evaluation import (
    Interval,
    mean_interval,
    measure_errors_mm,
    rest_errors_mm,
)
from idhand.evaluation.metrics import aligned_to, bone_errors_mm, distances_mm
from idhand.experiments.curve import Point, Variant, calibration_curve
from idhand.experiments.nets import ExperimentNetworks
from idhand.experiments.numbers import (
    Check,
    Statement,
    _steps,
    check_below,
    check_not_above,
    check_within,
    is_below,
    is_not_above,
    statements,
)
from idhand.experiments.presets import BASELINE, ReproduceConfig, Row, rows
from idhand.experiments.reproduce import (
    Results,
    backbone_of,
    chosen_pictures,
    reproduce,
    with_fitted_covariances,
)
from idhand.experiments.shapes import (
    PersonShape,
    fused_shapes,
    network_covariance_calibration,
    rulers_m,
    shape_errors_mm,
    split_pictures,
    true_shapes,
    with_lengths,
)
from idhand.experiments.writing import summary, write
from idhand.fusion import CovarianceCalibration, FusionConfig, fuse
from idhand.geometry import project, rotation_from_vector
from idhand.methods.detections import DetectedHands
from idhand.methods.refining import RefineConfig
from idhand.nets.regressor import RegressorConfig
from idhand.predictions import Predictions
from idhand.records import Sample
from idhand.refinement import network_only
from idhand.refinement.official import OfficialConfig
from idhand.refinement.points import posed_points
from tests.test_data_shards import Fake, jpeg_of

MODEL = open_hand()
K = np.array([[600.0, 0, 160], [0, 600, 120], [0, 0, 1]])
FLIP = np.array([-1.0, 1.0, 1.0])
NUM_PEOPLE, NUM_PICTURES = 5, 6
OTHER_MODEL, UNSEEN = "person-3", "person-4"


@cache
def scene(index: int) -> tuple[Sample, dict[str, np.ndarray]]:
    """A sample, and what a perfect landmark net sees in it.

    The fourth person's shape is one of another hand model, the fifth's hand is never found.
    """
    person = f"person-{index // NUM_PICTURES}"
    betas = torch.from_numpy(np.random.default_rng(index // NUM_PICTURES).normal(size=16))
    rng = np.random.default_rng(100 + index)
    assert MODEL.pose_space is not None
    angles = MODEL.pose_space.mean + 0.1 * torch.from_numpy(rng.normal(size=26)).clamp(-1, 1)
    R = rotation_from_vector(torch.from_numpy(0.4 * rng.normal(size=(1, 3))))
    rotations = torch.cat((R, MODEL.pose_space.rotations(angles)))
    is_right = bool(index % 2)
    flip = np.ones(3) if is_right else FLIP
    wrist = torch.from_numpy(np.array([0.0, 0.05, 0.5]) + 0.03 * rng.normal(size=3))
    hand = MODEL.with_shape(betas[None])
    keypoints = hand.posed(rotations[None], wrist[None]).keypoints[0].numpy() * flip
    marks = posed_points(MODEL.landmarks, hand, rotations[None], wrist[None])[0].numpy() * flip
    knows = person != OTHER_MODEL
    sample = Sample(
        rgb=np.zeros((8, 8, 3), np.uint8),
        K=K,
        dist=np.zeros(5),
        is_right=is_right,
        bbox_px=np.array([0.0, 0, 8, 8]),
        subject=person,
        model=MODEL.name if knows else "other",
        betas=betas.numpy() if knows else np.zeros(10),
        rotations=rotations.numpy(),
        wrist_cam=wrist.numpy() * flip,
        keypoints_px=project(torch.from_numpy(keypoints), torch.from_numpy(K)).numpy(),
        keypoints_cam=keypoints,
        valid=np.ones(21, bool),
        visible=None,
        parts=None,
        dataset="scenes",
        id=f"{index:03d}",
        sequence=None,
        time_s=None,
    )
    seen = project(torch.from_numpy(marks), torch.from_numpy(K)).numpy()
    about = marks - marks.mean(0)
    return sample, {
        "landmarks_px": seen + 0.5 * rng.normal(size=(21, 2)),
        "landmarks_z_px": about[:, 2] * 1000,
        "landmarks_world": about,
    }


@dataclass(frozen=True)
class Scenes(Fake):
    """The scenes as a data set; their pictures are black."""

    def entry(self, index: int) -> dict[str, bytes]:
        sample, _ = scene(index)
        return encode_sample(sample, jpeg_of(sample))


def detected_of(chosen: list[int], header: Mapping[str, str], num_features: int) -> DetectedHands:
    samples, seen = zip(*(scene(index) for index in chosen), strict=True)
    num, found = len(samples), np.array([sample.subject != UNSEEN for sample in samples])
    arrays = {name: np.stack([each[name] for each in seen]) for name in seen[0]}
    arrays = {
        name: np.where(found.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan)
        for name, a in arrays.items()
    }
    rng = np.random.default_rng(0)
    return DetectedHands(
        header={"dataset": "scenes", **header},
        sample_id=tuple(sample.id for sample in samples),
        subject=tuple(sample.subject for sample in samples),
        is_right=np.array([sample.is_right for sample in samples]),
        found=found,
        K=np.tile(K, (num, 1, 1)),
        dist=np.zeros((num, 5)),
        score=np.ones(num),
        landmark_conf=np.full((num, 21), 0.9),
        landmark_outside=np.zeros((num, 21), bool),
        R_cam_view=np.tile(np.eye(3), (num, 1, 1)),
        features=rng.normal(size=(num, num_features)).astype(np.float16),
        keypoints=None,
        **arrays,
    )


@cache
def nets() -> ExperimentNetworks:
    """Random weights that do say something."""

    def net(**changes: Any) -> Any:
        small = {"trunk": 16, "hidden": (16,), "shape_hidden": (16,)}
        small |= {"hand_model": MODEL.name, "num_betas": MODEL.num_betas}
        return RegressorConfig(backbone="hand_full", **small, **changes).build().eval()

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return ExperimentNetworks(
            baseline=net(identity="predicted", shape_cov=True),
            identity=net(identity="given"),
            identity_film=net(identity="film", shape_cov=True),
            confidence=net(identity="predicted", shape_cov=True, confidence="linear"),
            covariance_calibrations={"identity_film": calibrated()},
        )


def calibrated() -> CovarianceCalibration:
    return CovarianceCalibration(model=MODEL.name, scale=1.0, shared=0.05 * torch.eye(16).double())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("scenes")
    write_shards(Scenes(count=NUM_PEOPLE * NUM_PICTURES), folder, workers=1)
    return Shards(folder)


def run(data: Shards, out: Path, **changes: Any) -> Results:
    """The experiment, with hands that are detected already."""
    quick = RefineConfig(
        refinement=replace(network_only(), max_iterations=3), official=OfficialConfig(steps=(2, 2))
    )
    config = ReproduceConfig(draws=3, refining=quick, **changes)
    chosen, samples = chosen_pictures(data, config)
    backbone = backbone_of(nets().baseline)
    header = {"data": chosen.fingerprint(), "features": backbone.label}
    indices = [int(sample.id) for sample in samples]
    detected_of(indices, header, backbone.num_features).save(out / "detections.npz")
    return reproduce(data, out, nets(), config)


@pytest.fixture(scope="module")
def results(data: Shards, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run(data, tmp_path_factory.mktemp("out"))


# ------------------------------------------------------------------------------------- pictures


def test_no_picture_serves_for_both():
    detected = detected_of(list(range(30)), {}, 4)
    split = split_pictures(detected, seed=0, overlap=False)
    used = [row for own in split.calibration.values() for row in own]
    assert len(used) == len(split.evaluated) == 12
    assert not set(used) & set(split.evaluated)
    assert list(split.left_out) == [UNSEEN]
    assert "no hand was found in the 3 calibration pictures of person-4" in split.left_out[UNSEEN]
    both = split_pictures(detected, seed=0, overlap=True)
    assert both.calibration == split.calibration
    assert set(both.evaluated) == set(range(24))


def test_the_split_is_each_persons_own():
    detected = detected_of(list(range(30)), {}, 4)
    whole = split_pictures(detected, seed=0, overlap=False)
    part = split_pictures(detected.select(range(12)), seed=0, overlap=False)
    assert part.calibration == {who: whole.calibration[who] for who in ("person-0", "person-1")}
    other = split_pictures(detected, seed=1, overlap=False)
    assert other.calibration != whole.calibration


def test_one_picture_is_too_few():
    split = split_pictures(detected_of([0, 6, 7], {}, 4), seed=0, overlap=False)
    assert split.left_out == {"person-0": "person-0 has only 1 picture"}
    assert list(split.calibration) == ["person-1"]


# --------------------------------------------------------------------------------------- shapes


def guesses(
    num_people: int, num_pictures: int, *, seed: int = 0, spread: float = 0.7
) -> tuple[Predictions, dict[str, PersonShape]]:
    """What a network that knows the prior says of shapes; a confidence that knows the error."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(num_people, 16))
    owner = np.repeat(np.arange(num_people), num_pictures)
    sigma = spread * rng.uniform(0.5, 3, (len(owner), 1))
    shared = 0.2 * rng.normal(size=(num_people, 16))
    measured = (truth + shared)[owner] + sigma * rng.normal(size=(len(owner), 16))
    precision = 1 + 1 / sigma**2
    predictions = Predictions(
        header={"model": MODEL.name, "method": "simulated"},
        sample_id=tuple(f"{index}" for index in range(len(owner))),
        subject=tuple(f"person-{index}" for index in owner),
        is_right=np.ones(len(owner), bool),
        found=np.ones(len(owner), bool),
        K=np.tile(K, (len(owner), 1, 1)),
        rotations=np.tile(np.eye(3), (len(owner), 16, 1, 1)),
        betas=measured / sigma**2 / precision,
        betas_cov=np.eye(16) / precision[..., None],
        confidence=-sigma[:, 0],
    )
    people = {f"person-{index}": PersonShape(betas=betas) for index, betas in enumerate(truth)}
    return predictions, people


def test_shape_errors_are_those_of_the_meshes():
    rng = torch.Generator().manual_seed(0)
    ours, truth = torch.randn(2, 300, 16, generator=rng).double()
    errors = shape_errors_mm(MODEL, ours, truth)
    meshes = [MODEL.with_shape(betas).rest_verts for betas in (ours, truth)]
    scaled = aligned_to(meshes[0], meshes[1], "scale", root_shift=torch.zeros(300, 3).double())
    to_keypoints = MODEL.keypoint_regressor
    expected = {
        "rest_verts": rest_errors_mm(MODEL, ours, truth),
        "rest_verts_scaled": distances_mm(scaled, meshes[1]).mean(1),
        "bones": bone_errors_mm(*(to_keypoints @ mesh for mesh in meshes)),
        "hand_length": measure_errors_mm(MODEL, ours, truth)[:, 0].abs(),
    }
    assert errors.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(errors[name], values.numpy(), rtol=1e-6)


def test_a_ruler_improves_shapes():
    predictions, truth = guesses(20, 3)
    pictures = {who: [3 * i, 3 * i + 1, 3 * i + 2] for i, who in enumerate(truth)}
    fused = fused_shapes(
        predictions, pictures, MODEL.prior, FusionConfig(covariance_calibration=calibrated())
    )
    lengths = rulers_m(truth, MODEL, sigma_m=0.002, seed=0)
    assert lengths == rulers_m(truth, MODEL, sigma_m=0.002, seed=0)
    moved = with_lengths(fused, lengths, MODEL, sigma_m=0.002)

    def error(shapes: Mapping[str, PersonShape]) -> float:
        ours, theirs = (
            torch.from_numpy(np.stack([each[who].betas for who in truth]))
            for each in (shapes, truth)
        )
        return float(shape_errors_mm(MODEL, ours, theirs)["hand_length"].mean())

    assert error(moved) < 0.003 * 1e3 < error(fused)
    assert with_lengths(fused, {}, MODEL, sigma_m=0.002) == {}


def test_the_curve_falls_and_methods_keep_their_order():
    predictions, truth = guesses(30, 20)
    methods = [
        Variant(name=name, predictions=predictions, fusion=FusionConfig(mode=name))
        for name in ("mean", "top_k", "softmax")
    ]
    ours = FusionConfig(
        covariance_calibration=replace(calibrated(), shared=0.04 * torch.eye(16).double())
    )
    methods.append(Variant(name="ours", predictions=predictions, fusion=ours))
    lengths = rulers_m(truth, MODEL, sigma_m=0.002, seed=0)

    def points(seed: int) -> dict[tuple[str, int], Any]:
        found = calibration_curve(
            methods, truth, lengths, MODEL.prior, MODEL,
            sizes=(1, 5, 20, 50), draws=4, ruler_sigma_m=0.002, seed=seed,
        )  # fmt: skip
        return {(point.method, point.num_pictures): point for point in found}

    found = points(0)
    assert {size for _, size in found} == {1, 5, 20}, "nobody has 50"

    def error(method: str, size: int) -> float:
        return float(found[method, size].errors_mm["rest_verts"].mean())

    for method in ("mean", "top_k", "softmax", "ours"):
        assert error(method, 20) < error(method, 5) < error(method, 1)
    assert error("ours", 5) < error("mean", 20)
    assert error("softmax", 20) < error("mean", 20)
    assert error("top_k", 20) < error("mean", 20)
    assert found["mean", 5].covered is None
    for size in (1, 5, 20):
        assert 0.9 <= found["ours", size].covered.mean() <= 0.99
    again, other = points(0), points(1)
    same = again["ours", 5].errors_mm["bones"]
    assert (same == found["ours", 5].errors_mm["bones"]).all()
    assert (same != other["ours", 5].errors_mm["bones"]).any()


def test_covariances_of_a_network_are_calibrated():
    predictions, truth = guesses(60, 8, seed=3)
    assert predictions.betas_cov is not None
    boasting = replace(predictions, betas_cov=predictions.betas_cov / 4)
    assert network_covariance_calibration(boasting, truth, MODEL.prior, MODEL).scale > 2.5
    with pytest.raises(ValueError, match="states no covariance"):
        network_covariance_calibration(
            replace(predictions, betas_cov=None), truth, MODEL.prior, MODEL
        )
    with pytest.raises(ValueError, match="5 people or more, there are 0"):
        network_covariance_calibration(predictions, {}, MODEL.prior, MODEL)


# --------------------------------------------------------------------------------- the whole


def test_every_row_is_there(results: Results):
    assert list(results.reports) == list(rows())
    assert next(iter(results.reports)) == BASELINE
    assert len({row.name for row in rows()}) == len(rows())
    assert results.about["num_people"] == 4
    assert results.about["num_people_with_shape"] == 3
    for row, report in results.reports.items():
        assert set(report.subject) == {"person-0", "person-1", "person-2"}
        assert "mpvpe_root" in report.values
        assert (row in results.seconds) == (row.solver != "none")


def test_people_of_another_model_count_for_keypoints_only(results: Results):
    assert list(results.reports_all) == [row for row in rows() if not row.needs_truth]
    for report in results.reports_all.values():
        others = [i for i, who in enumerate(report.subject) if who == OTHER_MODEL]
        assert len(others) == 3
        assert not np.isnan(report.values["mpjpe_root"][others]).any()
        assert np.isnan(report.values["mpvpe_root"][others]).all()


def test_a_true_shape_fits_perfect_landmarks_best(results: Results):
    def error(shape: Any, metric: str) -> float:
        return results.reports[Row(net="landmarks", shape=shape)].mean(metric)

    assert error("true", "mpvpe_root") < error("own", "mpvpe_root")
    assert error("true", "mpjpe_camera") < error("own", "mpjpe_camera")
    assert error("true", "mpjpe_camera") < error("calibrated_length", "mpjpe_camera")


def test_what_a_hand_layer_cannot_do(results: Results):
    """The paper's network poses the hand alike for every shape; ours does not."""
    assert results.pose_change_deg["identity"] == 0
    assert results.pose_change_deg["identity_film"] > 1e-3


def test_own_shape_with_length_keeps_the_pose_and_sets_the_length(results: Results):
    plain = results.reports[BASELINE]
    measured = results.reports[Row(net="baseline", shape="own_length")]
    assert measured.mean("hand_length") < 0.8 * plain.mean("hand_length")


def test_files(results: Results, tmp_path: Path):
    write(results, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    for table in ("table", "gaps", "solvers", "shapes", "curve", "table_all", "gaps_all"):
        assert {f"{table}.md", f"{table}.csv", f"{table}.tex"} <= names
    assert {"summary.md", "results.json", "pck.png", "curve_rest_verts.png"} <= names
    document = json.loads((tmp_path / "results.json").read_text())
    assert len(document["rows"]) == len(rows())
    assert document["rows"][BASELINE.name]["metrics"]["mpjpe_root"]["gap"]["mean"] == 0
    assert [statement["number"] for statement in document["statements"]] == [1, 2, 3, 4, 5, 6]
    assert document["left_out"] == results.left_out
    summary = (tmp_path / "summary.md").read_text()
    assert "none of which is evaluated" in summary
    assert "no hand was found in the 3 calibration pictures of person-4" in summary
    for number in range(1, 7):
        assert f"## {number}. " in summary


def test_statements_follow_the_numbers(results: Results):
    """The decisions turn around when the rows that they compare change places."""
    found = {statement.number: statement for statement in statements(results)}
    assert found[6].holds is None, "one set cannot be compared with another"
    assert all(check.holds is None for check in found[5].checks), "too few people"
    true, ours = (Row(net="identity", shape=shape) for shape in ("true", "calibrated"))
    better = {name: values - 50 for name, values in results.reports[ours].values.items()}
    reports = {**results.reports, true: replace(results.reports[true], values=better)}
    first = statements(replace(results, reports=reports))[0].checks
    told = {check.text.partition(": ")[2].rpartition(": ")[0]: check.holds for check in first[:4]}
    assert told["MPJPE root, true − calibrated"] is True
    worse = {name: values + 50 for name, values in results.reports[ours].values.items()}
    reports[true] = replace(results.reports[true], values=worse)
    first = statements(replace(results, reports=reports))[0].checks
    told = {check.text.partition(": ")[2].rpartition(": ")[0]: check.holds for check in first[:4]}
    assert told["MPJPE root, true − calibrated"] is False


@pytest.mark.parametrize(
    ("first_step", "last_step", "scatter", "holds"),
    [(-3.0, -0.2, 0.1, True), (-0.2, -3.0, 0.1, False), (-0.5, -0.6, 5.0, None)],
)
def test_the_steps_of_the_curve_are_compared_with_their_scatter(
    first_step: float, last_step: float, scatter: float, holds: bool | None
):
    """With few people, the last step may be the larger one by chance."""
    people = tuple(f"person-{i}" for i in range(8))
    noise = np.outer([0, scatter, 0], [1, -1] * 4)
    means = 20 + np.cumsum([0.0, first_step, last_step])
    points = [
        Point(
            method="ours",
            num_pictures=size,
            num_used=float(size),
            subject=people,
            errors_mm={"rest_verts": mean + row},
            covered=None,
        )
        for size, mean, row in zip((1, 5, 20), means, noise, strict=True)
    ]
    check = _steps(points, "rest_verts", "rest vertices")
    assert check.holds is holds
    assert (check.people_needed is None) == (holds is not None)


@pytest.mark.parametrize(
    ("low", "high", "below", "not_above"),
    [(-2, -1, True, True), (-1, 1, False, True), (1, 2, False, False)],
)
def test_intervals_decide(low: float, high: float, below: bool, not_above: bool):
    gap = Interval(estimate=(low + high) / 2, low=float(low), high=float(high))
    assert is_below(gap) == below
    assert is_not_above(gap) == not_above


def test_the_same_seed_gives_the_same_numbers(data: Shards, tmp_path: Path):
    first, second = (run(data, tmp_path, people=1, pictures=4) for _ in range(2))
    for row in rows():
        for name, values in first.reports[row].values.items():
            np.testing.assert_array_equal(values, second.reports[row].values[name])
    assert first.about["num_pictures"] == 4
    assert not first.reports_all, "everybody's shape is known"


def test_few_people_leave_statements_undecided():
    """The number that is needed: an interval of a mean narrows with the root of the people."""
    clear = Interval(estimate=-2.0, low=-3.0, high=-1.0)
    assert (check_below("", clear, 20).holds, check_below("", clear, 20).people_needed) == (
        True,
        None,
    )
    worse = Interval(estimate=2.0, low=1.0, high=3.0)
    assert check_below("", worse, 20).holds is False
    wide = Interval(estimate=-1.0, low=-3.0, high=1.0)
    check = check_below("", wide, 20)
    assert (check.holds, check.people_needed) == (None, 80)
    rng = np.random.default_rng(0)
    values = rng.normal(-1.0, 4.6, 80)
    narrower = mean_interval(values - values.mean() - 1.0, [f"{i}" for i in range(80)], rng)
    assert narrower.high == pytest.approx(0, abs=0.15), "what 80 people give"
    none = Interval(estimate=0.0, low=-1.0, high=1.0)
    assert check_below("", none, 20).people_needed == 10_001, "more than anybody has"
    alone = Interval(estimate=-1.0, low=np.nan, high=np.nan)
    assert check_below("", alone, 1).people_needed == 10
    assert check_not_above("", wide, 20).holds is True
    assert check_within("", Interval(estimate=1.05, low=1.0, high=1.2), 1.1, 20).holds is True
    assert check_within("", Interval(estimate=1.15, low=1.0, high=1.3), 1.1, 20).holds is None
    assert check_within("", Interval(estimate=1.15, low=1.12, high=1.2), 1.1, 20).holds is False


def test_a_statement_is_decided_by_all_of_its_checks():
    yes, no = Check(text="", holds=True), Check(text="", holds=False)
    informs = Check(text="", holds=None)
    undecided = Check(text="", holds=None, people_needed=90)

    def answer(*checks: Check) -> str:
        return Statement(number=1, title="", checks=checks).answer(20)

    assert answer(yes, informs) == "yes"
    assert answer(yes, undecided) == "cannot be said with 20 people; about 90 are needed"
    assert answer(undecided, no) == "no"
    assert answer(informs) == "cannot be said here"


def test_pictures_of_unknown_people_are_refused(tmp_path: Path):
    unknown = MemoryData(replace(scene(index)[0], subject=None) for index in range(3))
    with pytest.raises(ValueError, match="do not say whose hand they show"):
        reproduce(unknown, tmp_path, nets())
    fitted = MemoryData(
        replace(sample, betas=np.full(16, float(index)))
        for index, sample in enumerate(scene(i)[0] for i in range(2))
    )
    with pytest.raises(ValueError, match="no single shape is the person's"):
        true_shapes(fitted, MODEL)


def test_data_of_another_hand_model_is_refused(tmp_path: Path):
    foreign = MemoryData(replace(scene(index)[0], model="other") for index in range(2))
    with pytest.raises(ValueError, match="of the hand model 'idhand-open-1', and the data is lab"):
        reproduce(foreign, tmp_path, nets())


def test_overlap_evaluates_all_pictures(data: Shards, tmp_path: Path):
    found = run(data, tmp_path, people=1, overlap=True)
    assert len(found.reports[BASELINE]) == NUM_PICTURES
    assert "which are also evaluated" in summary(found, statements(found), {})


def test_nobody_to_evaluate_is_a_sentence(data: Shards, tmp_path: Path):
    chosen, samples = chosen_pictures(data, ReproduceConfig())
    backbone = backbone_of(nets().baseline)
    header = {"data": chosen.fingerprint(), "features": backbone.label}
    indices = [int(sample.id) for sample in samples]
    detected = detected_of(indices, header, backbone.num_features)
    replace(detected, found=np.zeros(30, bool)).save(tmp_path / "detections.npz")
    with pytest.raises(ValueError, match="nobody can be evaluated"):
        reproduce(data, tmp_path, nets())
    with pytest.raises(ValueError, match="--validation"):
        reproduce(data, tmp_path, replace(nets(), covariance_calibrations={}))
    with pytest.raises(ValueError, match="people must be 1 or more"):
        ReproduceConfig(people=0)


def test_covariances_are_taken_as_stated_where_too_few_people_are_known(
    data: Shards, tmp_path: Path
):
    """Of all validation people a hand of two is found; pictures are fused as without a file."""
    chosen, samples = chosen_pictures(data, ReproduceConfig())
    backbone = backbone_of(nets().baseline)
    header = {"data": chosen.fingerprint(), "features": backbone.label}
    detected = detected_of([int(s.id) for s in samples], header, backbone.num_features)
    two = np.array([who in sorted(set(detected.subject))[:2] for who in detected.subject])
    replace(detected, found=detected.found & two).save(tmp_path / "detections_validation.npz")
    said: list[str] = []
    bare = replace(nets(), covariance_calibrations={})
    found = with_fitted_covariances(bare, data, tmp_path, note=said.append)
    assert len(said) == 2
    assert "identity_film: there are 2 people of known shape" in said[0]
    assert "5 are needed (validation), so the stated ones are used" in said[0]
    assert not list(tmp_path.glob("*.covariance.json"))
    calibration = found.covariance_calibrations["identity_film"]
    betas, covs = torch.randn(3, 16).double(), torch.eye(16).double().repeat(3, 1, 1)
    fused = [
        fuse(betas, covs, None, MODEL.prior, FusionConfig(covariance_calibration=each))
        for each in (calibration, None)
    ]
    torch.testing.assert_close(fused[0].betas, fused[1].betas)
    torch.testing.assert_close(fused[0].covariance, fused[1].covariance)


def test_networks_in_wrong_places_are_a_sentence():
    with pytest.raises(ValueError, match="identity is a network with identity='predicted'"):
        replace(nets(), identity=nets().baseline)
    with pytest.raises(ValueError, match="no confidence branch"):
        replace(nets(), confidence=nets().baseline)
