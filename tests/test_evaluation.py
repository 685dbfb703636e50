"""Metrics against cases worked out by hand; the evaluation against itself in a mirror."""

import csv
import io
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idhand.assets import open_hand
from idhand.data import (
    MemoryData,
    Shards,
    decode_labels,
    decode_sample,
    encode_sample,
    models,
    write_shards,
)
from idhand.evaluation import (
    METRICS,
    Chart,
    Column,
    Curve,
    Interval,
    Protocol,
    Report,
    Table,
    coverage,
    difference,
    difference_interval,
    evaluate,
    labels,
    mean_interval,
    measure_errors_mm,
    measure_sigmas_mm,
    on_same_pictures,
    paper,
    ratio,
    ratio_interval,
    rest_errors_mm,
    standard,
)
from idhand.evaluation.metrics import (
    accelerations_mm,
    aligned_to,
    auc,
    bone_errors_mm,
    correct_within,
    depth_errors_mm,
    distances_mm,
    f_scores,
    known_mean,
    pck_2d,
    pixel_errors,
)
from idhand.evaluation.motion import frame_accelerations_mm
from idhand.evaluation.shapes import covered
from idhand.geometry import rotation_from_vector
from idhand.hand import KEYPOINT_PARENTS, FittableHand
from idhand.predictions import Predictions
from idhand.records import Sample
from tests.conftest import toy_hand
from tests.test_data_shards import Fake

FLIP = np.array([-1.0, 1.0, 1.0])


def random_points(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.05 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def moved_error(
    predicted: torch.Tensor, truth: torch.Tensor, alignment: Any, **options: Any
) -> float:
    """Largest distance in mm after an alignment."""
    shift = truth[:, 0] - predicted[:, 0]
    moved = aligned_to(predicted, truth, alignment, root_shift=shift, **options)
    return float(distances_mm(moved, truth).max())


# -------------------------------------------------------------------------------- alignments, in mm


def test_distances_are_in_millimetres():
    truth = torch.zeros(2, 3, 3, dtype=torch.float64)
    predicted = truth.clone()
    predicted[0, 0] = torch.tensor([0.003, 0.004, 0])
    predicted[1, :, 2] = 0.002
    torch.testing.assert_close(
        distances_mm(predicted, truth),
        torch.tensor([[5, 0, 0], [2, 2, 2]], dtype=torch.float64),
    )
    valid = torch.tensor([[True, True, False], [False, False, False]])
    means = known_mean(distances_mm(predicted, truth), valid)
    assert float(means[0]) == pytest.approx(2.5)
    assert means[1].isnan(), "a picture without known points has no error"
    assert known_mean(distances_mm(predicted, truth)).tolist() == pytest.approx([5 / 3, 2.0])


def test_each_alignment_forgives_what_it_says_and_nothing_else():
    truth = random_points(1, 21, 3)
    R = rotation_from_vector(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64))
    t = torch.tensor([0.1, -0.02, 0.6], dtype=torch.float64)
    changes = {
        "shift": truth + t,
        "size": 1.2 * truth + t,
        "turn": truth @ R.mT + t,
        "all": 0.8 * truth @ R.mT + t,
    }
    forgiven = {
        "camera": set(),
        "root": {"shift"},
        "scale": {"shift", "size"},
        "rigid": {"shift", "turn"},
        "procrustes": {"shift", "size", "turn", "all"},
    }
    for alignment, names in forgiven.items():
        for name, predicted in changes.items():
            error = moved_error(predicted, truth, alignment)
            assert (error < 1e-9) == (name in names), (alignment, name, error)
            if name not in names:
                assert error > 1


def test_the_best_size_and_position_by_hand():
    """Points at −1, 0, 1 to points at 0, 2, 4 and one off the line: slope 2, mean 2."""
    predicted = torch.tensor([[[-1.0, 0, 0], [0, 0, 0], [1, 0, 0]]], dtype=torch.float64)
    truth = torch.tensor([[[0.0, 0, 0], [2, 3, 0], [4, 0, 0]]], dtype=torch.float64)
    moved = aligned_to(predicted, truth, "scale", root_shift=torch.zeros(1, 3).double())
    expected = torch.tensor([[[0.0, 1, 0], [2, 1, 0], [4, 1, 0]]], dtype=torch.float64)
    torch.testing.assert_close(moved, expected)
    turned = aligned_to(-predicted, truth, "scale", root_shift=torch.zeros(1, 3).double())
    torch.testing.assert_close(turned, expected.mean(1, keepdim=True).expand(1, 3, 3))


def test_unknown_points_do_not_pull_the_alignment():
    truth = random_points(1, 21, 3)
    predicted = 1.3 * truth + 0.1
    truth[0, 7:] = torch.nan
    valid = ~truth.isnan().any(-1)
    for alignment in ("scale", "procrustes"):
        moved = aligned_to(
            predicted, truth, alignment, root_shift=torch.zeros(1, 3).double(), valid=valid
        )
        assert float(known_mean(distances_mm(moved, truth), valid)) < 1e-9
    two = valid & (torch.arange(21) < 2)
    moved = aligned_to(
        predicted, truth, "procrustes", root_shift=torch.zeros(1, 3).double(), valid=two
    )
    assert moved.isnan().all(), "two points fit onto any two"


def test_a_prediction_that_is_one_point_has_an_error_too():
    truth = random_points(1, 21, 3)
    spread = float((1e3 * (truth - truth.mean(1, keepdim=True)).norm(dim=-1)).max())
    for alignment in ("scale", "rigid", "procrustes"):
        assert moved_error(torch.zeros(1, 21, 3).double(), truth, alignment) == pytest.approx(
            spread
        )


# ----------------------------------------------------------------------- fractions, lengths, motion


def test_auc_is_the_area_under_the_curve_of_correct_points():
    errors = torch.tensor([[0.0, 25, 50, 100], [10, 10, 10, 10]], dtype=torch.float64)
    torch.testing.assert_close(auc(errors), torch.tensor([0.375, 0.8], dtype=torch.float64))
    valid = torch.tensor([[True, True, False, False], [True, True, True, True]])
    torch.testing.assert_close(auc(errors, valid=valid)[0], torch.tensor(0.75).double())


def test_auc_agrees_with_the_usual_hundred_thresholds():
    errors = 60 * torch.rand(50, 21, generator=torch.Generator().manual_seed(1)).double()
    thresholds = torch.linspace(0, 50, 100, dtype=torch.float64)
    usual = torch.trapezoid(correct_within(errors, thresholds), thresholds) / 50
    assert abs(float(auc(errors).mean() - usual)) < 1e-3


def test_fractions_within_thresholds_count_missed_hands():
    errors = torch.tensor([[1.0, 2, torch.nan], [3, torch.inf, torch.inf]]).double()
    fractions = correct_within(errors, torch.tensor([0.5, 2.0, 3.0, 1e9]).double())
    torch.testing.assert_close(fractions, torch.tensor([0, 0.4, 0.6, 0.6]).double())


def test_f_score_by_hand():
    """Predicted at 0, 10, 30 mm; true at 0, 14 mm."""

    def on_axis(*places_mm: float) -> torch.Tensor:
        points = torch.zeros(1, len(places_mm), 3, dtype=torch.float64)
        points[0, :, 0] = torch.tensor(places_mm) / 1e3
        return points

    predicted, truth = on_axis(0, 10, 30), on_axis(0, 14, 14)
    scores = f_scores(predicted, truth, (3.0, 5.0, 15.0, 17.0), chunk=1)[0]
    precision_recall = ((1 / 3, 1 / 3), (2 / 3, 1), (2 / 3, 1), (1, 1))
    expected = [2 * p * r / (p + r) for p, r in precision_recall]
    torch.testing.assert_close(scores, torch.tensor(expected).double())
    far = f_scores(predicted + 1, truth)
    assert far.tolist() == [[0.0, 0.0]], "nothing near gives 0, not 0 / 0"
    several = f_scores(torch.cat([predicted] * 5), torch.cat([truth] * 5), (5.0,), chunk=2)
    torch.testing.assert_close(several[:, 0], torch.full((5,), expected[1]).double())


def test_bone_lengths_and_depth_by_hand():
    truth = torch.zeros(1, 21, 3, dtype=torch.float64)
    for k, parent in enumerate(KEYPOINT_PARENTS):
        truth[0, k] = truth[0, max(parent, 0)] + torch.tensor([0.0, -0.03, 0.0]) * (k > 0)
    longer = truth.clone()
    longer[0, 4, 1] -= 0.005
    longer[0, 8, 1] += 0.005
    assert float(bone_errors_mm(longer, truth)) == pytest.approx(10 / 20)
    valid = torch.ones(1, 21, dtype=torch.bool)
    valid[0, 3] = False
    assert float(bone_errors_mm(longer, truth, valid)) == pytest.approx(5 / 18)
    far = torch.tensor([[0.1, 0.2, 0.53], [0, 0, 0.49]], dtype=torch.float64)
    torch.testing.assert_close(
        depth_errors_mm(far, torch.tensor([[0, 0, 0.5]] * 2, dtype=torch.float64)),
        torch.tensor([30.0, 10]).double(),
    )


def test_acceleration_is_the_second_difference():
    frames = torch.arange(6, dtype=torch.float64)
    points = torch.zeros(6, 2, 3, dtype=torch.float64)
    points[:, 0, 0] = 0.01 * frames  # moves evenly
    points[:, 1, 1] = 0.002 * frames**2  # 4 mm per frame²
    expected = torch.tensor([torch.nan, 2, 2, 2, 2, torch.nan]).double()
    torch.testing.assert_close(accelerations_mm(points), expected, equal_nan=True)
    assert accelerations_mm(points[:2]).isnan().all()


def test_frames_are_put_in_order_and_gaps_are_gaps():
    times = np.array([0.3, 0.0, 0.1, 0.2, 0.7, 0.6, 0.5, 0.0, 0.1, 0.2, 0.0])
    names = ["a"] * 7 + ["b"] * 3 + [None]
    points = np.zeros((11, 1, 3))
    points[:, 0, 0] = 0.003 * (times / 0.1) ** 2
    result = frame_accelerations_mm(points, names, times)
    inner = {2, 3, 5, 8}  # 0.1 s, 0.2 s and 0.6 s of a, 0.1 s of b
    for row, value in enumerate(result.tolist()):
        assert (value == pytest.approx(6.0)) if row in inner else math.isnan(value), row


def test_pixels_by_hand():
    truth = torch.zeros(2, 21, 2, dtype=torch.float64)
    truth[:, 1] = torch.tensor([100.0, 40.0])
    predicted = truth.clone()
    predicted[0, 2] += torch.tensor([6.0, 8.0])
    predicted[0, 3] += torch.tensor([6.0, 8.1])
    assert pixel_errors(predicted, truth)[0, 2] == pytest.approx(10)
    assert pck_2d(predicted, truth).tolist() == pytest.approx([20 / 21, 1])
    valid = torch.ones(2, 21, dtype=torch.bool)
    valid[0, 1] = False  # now the hand is a point, and only exact points are right
    assert pck_2d(predicted, truth, valid).tolist() == pytest.approx([18 / 20, 1])


# ------------------------------------------------------------------------------------------- shapes


def test_shape_errors_of_a_longer_hand():
    model = open_hand()
    assert model.measures is not None
    zero = torch.zeros(2, 16, dtype=torch.float64)
    shifted = zero.clone()
    shifted[1, 0] = 1.0
    rest = rest_errors_mm(model, shifted, zero)
    assert float(rest[0]) == 0
    expected = 1e3 * model.shape_basis[..., 0].norm(dim=-1).mean()
    assert float(rest[1]) == pytest.approx(float(expected), rel=1e-6)
    errors = measure_errors_mm(model, shifted, zero)
    at = model.measures.names.index("hand_length")
    lengths = model.measures.lengths(shifted)[:, at] * 1e3
    assert errors[:, at].tolist() == pytest.approx([0, float(lengths[1] - lengths[0])])


def test_stated_sigmas_are_those_of_drawn_shapes():
    model, rng = open_hand(), np.random.default_rng(0)
    assert model.measures is not None
    spread = rng.normal(size=(16, 16)) * 0.1
    cov = spread @ spread.T
    drawn = torch.from_numpy(rng.multivariate_normal(np.zeros(16), cov, 20000))
    sampled = 1e3 * model.measures.lengths(drawn).std(0)
    zero = torch.zeros(1, 16, dtype=torch.float64)
    stated = measure_sigmas_mm(model, zero, torch.from_numpy(cov)[None])[0]
    torch.testing.assert_close(stated, sampled, rtol=0.03, atol=0)


def test_where_a_rest_hand_lies_is_no_error_of_its_shape():
    toy = toy_hand()
    moving = replace(toy, shape_basis=torch.ones_like(toy.shape_basis))
    betas = torch.ones(1, 4, dtype=torch.float64)
    assert float(rest_errors_mm(moving, betas, 0 * betas)) < 1e-9


def test_intervals_are_1_96_sigma_to_each_side():
    errors = torch.tensor([[1.95, -1.95, 1.97, -1.97]], dtype=torch.float64)
    assert covered(errors, torch.ones_like(errors)).tolist() == [[True, True, False, False]]


def test_coverage_pooled_and_by_measure():
    truth = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
    low, high = np.array([[0.0, 3], [3, 0], [6, 5]]), np.array([[2.0, 4], [4, 9], [7, 7]])
    held = coverage(low, high, truth, ("a", "b"))
    assert held.num_intervals == 5
    assert held.pooled == pytest.approx(3 / 5)
    assert held.per_measure == pytest.approx({"a": 2 / 3, "b": 1 / 2})


# --------------------------------------------------------------------------------------- intervals


def test_intervals_hold_the_truth_as_often_as_they_say():
    """People differ more than their pictures: an interval over pictures would be far too narrow."""
    rng = np.random.default_rng(0)
    subjects = [f"s{k // 20}" for k in range(800)]
    held, widths = [], []
    for _ in range(300):
        values = 10 + np.repeat(rng.normal(size=40), 20) + 0.5 * rng.normal(size=800)
        interval = mean_interval(values, subjects, rng, resamples=400)
        held.append(interval.low <= 10 <= interval.high)
        widths.append(interval.high - interval.low)
    assert 0.89 <= np.mean(held) <= 0.98
    assert np.mean(widths) == pytest.approx(2 * 1.96 / math.sqrt(40), rel=0.05)


def test_paired_differences_and_ratios():
    rng = np.random.default_rng(1)
    subjects = [f"s{k // 5}" for k in range(200)]
    theirs = 10 + 3 * rng.normal(size=200)
    ours = 0.9 * theirs
    gap = difference_interval(ours, theirs, subjects, np.random.default_rng(0))
    rate = ratio_interval(ours, theirs, subjects, np.random.default_rng(0))
    assert gap.estimate == pytest.approx(-0.1 * theirs.mean())
    assert gap.low < gap.estimate < gap.high < 0
    assert (rate.low, rate.estimate, rate.high) == pytest.approx((0.9, 0.9, 0.9))
    single = mean_interval(ours, subjects, np.random.default_rng(0))
    assert gap.high - gap.low < 0.2 * (single.high - single.low), "pairing removes what both share"


def test_intervals_are_of_sample_means_and_leave_out_nothing_else_than_nan():
    values = np.array([1.0, 2.0, 3.0, 10.0, np.nan])
    interval = mean_interval(values, ["a", "a", "a", "b", "c"], np.random.default_rng(0))
    assert interval.estimate == 4.0
    assert (interval.low, interval.high) == (2.0, 10.0), "only a, or only b"
    again = mean_interval(values, ["a", "a", "a", "b", "c"], np.random.default_rng(0))
    assert again == interval
    alone = mean_interval(values[:3], ["a"] * 3, np.random.default_rng(0))
    assert (alone.estimate, alone.is_bounded) == (2.0, False)
    nothing = mean_interval(np.array([np.nan]), ["a"], np.random.default_rng(0))
    assert math.isnan(nothing.estimate)
    assert not nothing.is_bounded


# -------------------------------------------------------------------------------------- evaluation

K = np.array([[200.0, 0, 112], [0, 210, 100], [0, 0, 1]])


def posed_sample(index: int, model: FittableHand, **changes: Any) -> Sample:
    """A hand of the toy model with all labels that follow from its pose."""
    rng = np.random.default_rng(index)
    is_right = bool(index % 2)
    vectors = torch.from_numpy(rng.normal(size=(16, 3)) * 0.4)
    rotations = rotation_from_vector(vectors)
    betas = torch.from_numpy(rng.normal(size=model.num_betas))
    wrist = np.array([0.0, 0, 0.6]) + rng.normal(size=3) * 0.05
    flip = np.ones(3) if is_right else FLIP
    hand = model.with_shape(betas).posed(rotations, torch.from_numpy(wrist * flip))
    keypoints = hand.keypoints.numpy() * flip
    pixels = keypoints @ K.T
    values: dict[str, Any] = {
        "rgb": np.zeros((8, 8, 3), np.uint8),
        "K": K,
        "dist": np.zeros(5),
        "is_right": is_right,
        "bbox_px": np.zeros(4),
        "subject": f"person-{index // 4}",
        "model": model.name,
        "betas": betas.numpy(),
        "rotations": rotations.numpy(),
        "wrist_cam": wrist,
        "keypoints_px": pixels[:, :2] / pixels[:, 2:],
        "keypoints_cam": keypoints,
        "valid": np.ones(21, bool),
        "visible": None,
        "parts": None,
        "dataset": "toy",
        "id": f"{index:03d}",
        "sequence": None,
        "time_s": None,
    }
    return Sample(**{**values, **changes})


def predicted(samples: Sequence[Sample], noise: float = 0.0, **changes: Any) -> Predictions:
    """What a method with this much noise says of the samples."""
    rng = np.random.default_rng(7)
    R = rotation_from_vector(torch.from_numpy(noise * rng.normal(size=(len(samples), 16, 3))))
    truth = np.stack([sample.rotations for sample in samples])  # pyright: ignore
    betas = np.stack([sample.betas for sample in samples])  # pyright: ignore
    wrist = np.stack([sample.wrist_cam for sample in samples])  # pyright: ignore
    values: dict[str, Any] = {
        "header": {"model": str(samples[0].model), "method": "noisy"},
        "sample_id": tuple(sample.id for sample in samples),
        "subject": tuple(sample.subject for sample in samples),
        "is_right": np.array([sample.is_right for sample in samples]),
        "found": np.ones(len(samples), bool),
        "K": np.stack([sample.K for sample in samples]),
        "rotations": R.numpy() @ truth,
        "betas": betas + noise * rng.normal(size=betas.shape),
        "wrist_cam": wrist + noise * rng.normal(size=wrist.shape),
    }
    return Predictions(**{**values, **changes})


@pytest.fixture(scope="module")
def model() -> FittableHand:
    return toy_hand()


@pytest.fixture(scope="module")
def samples(model: FittableHand) -> list[Sample]:
    return [posed_sample(index, model) for index in range(12)]


@pytest.mark.parametrize("protocol", [standard(), paper()])
def test_the_truth_itself_has_no_error(
    protocol: Protocol, model: FittableHand, samples: list[Sample]
):
    report = evaluate(predicted(samples), reversed(samples), model, protocol)
    assert report.sample_id == tuple(sample.id for sample in samples)
    for name in report.values:
        worst = report.values[name]
        good = 1.0 if METRICS[name].larger_is_better else 0.0
        np.testing.assert_allclose(worst, good, atol=1e-9, err_msg=name)
    names = set(METRICS) - {n for n in METRICS if n.startswith("jitter")}
    assert set(report.values) == names - {"coverage"}
    assert not report.num_missed + report.num_unknown + report.num_unpredicted
    assert not report.num_wrong_side + report.num_without_mesh


def test_errors_are_those_of_the_points(model: FittableHand, samples: list[Sample]):
    """Against the same numbers written down the long way, in the frame of the right hand."""
    guess = predicted(samples, 0.1)
    report = evaluate(guess, samples, model)
    for row, sample in enumerate(samples):
        flip = np.ones(3) if sample.is_right else FLIP
        meshes, keypoints, origins = [], [], []
        for each in (guess, predicted(samples)):
            assert each.betas is not None
            assert each.rotations is not None
            assert each.wrist_cam is not None
            wrist = each.wrist_cam[row] * flip
            hand = model.with_shape(torch.from_numpy(each.betas[row]))
            posed = hand.posed(torch.from_numpy(each.rotations[row]), torch.from_numpy(wrist))
            meshes.append(posed.verts.numpy())
            keypoints.append(posed.keypoints.numpy())
            origins.append(wrist - hand.rest_joints[0].numpy())

        def error(points: list[np.ndarray], zero: list[np.ndarray]) -> float:
            gap = (points[0] - zero[0]) - (points[1] - zero[1])
            return float(1e3 * np.linalg.norm(gap, axis=-1).mean())

        roots = [points[0] for points in keypoints]
        nothing = [np.zeros(3)] * 2
        for name, value in {
            "mpjpe_camera": error(keypoints, nothing),
            "mpjpe_root": error(keypoints, roots),
            "mpvpe_root": error(meshes, roots),
            "mpvpe_camera": error(meshes, nothing),
            "mpvpe_model": error(meshes, origins),
            "depth": 1e3 * abs(keypoints[0][0, 2] - keypoints[1][0, 2]),
        }.items():
            assert report.values[name][row] == pytest.approx(value, rel=1e-9), name
    order = [report.mean(f"mpjpe_{a}") for a in ("camera", "root", "procrustes")]
    assert order == sorted(order, reverse=True)
    assert report.mean("mpjpe_procrustes") < report.mean("mpjpe_rigid")
    assert report.mean("mpjpe_procrustes") < report.mean("mpjpe_scale")


def test_in_a_mirror_all_numbers_stay(model: FittableHand, samples: list[Sample]):
    guess = predicted(samples, 0.1)
    assert guess.wrist_cam is not None
    mirrored = [sample.mirrored() for sample in samples]
    K = np.stack([sample.K for sample in mirrored])
    other = replace(guess, is_right=~guess.is_right, wrist_cam=guess.wrist_cam * FLIP, K=K)
    for protocol in (standard(), paper()):
        ours = evaluate(guess, samples, model, protocol)
        theirs = evaluate(other, mirrored, model, protocol)
        assert ours.values.keys() == theirs.values.keys()
        for name, values in ours.values.items():
            np.testing.assert_allclose(theirs.values[name], values, rtol=1e-7, err_msg=name)


def test_a_hand_taken_for_the_other_side_is_wrong(model: FittableHand, samples: list[Sample]):
    guess = predicted(samples)
    wrong = guess.is_right.copy()
    wrong[3] = ~wrong[3]
    report = evaluate(replace(guess, is_right=wrong), samples, model)
    assert report.num_wrong_side == 1
    assert report.values["mpjpe_procrustes"][3] > 1
    assert np.delete(report.values["mpjpe_procrustes"], 3).max() < 1e-9


def test_regressed_joints_of_mesh_only_methods(model: FittableHand, samples: list[Sample]):
    verts = []
    for sample in samples:
        flip = np.ones(3) if sample.is_right else FLIP
        assert sample.betas is not None
        assert sample.rotations is not None
        assert sample.wrist_cam is not None
        hand = model.with_shape(torch.from_numpy(sample.betas))
        rotations, wrist = map(torch.from_numpy, (sample.rotations, sample.wrist_cam * flip))
        posed = hand.posed(rotations, wrist).verts - wrist + hand.rest_joints[0]
        verts.append(posed.numpy() * flip)  # in the model's frame, as no position is given
    nothing = dict.fromkeys(("rotations", "betas", "wrist_cam"))
    mesh = predicted(samples, **nothing, verts_cam=np.stack(verts))
    report = evaluate(mesh, samples, model, paper())
    for name in ("mpjpe_root", "mpvpe_root", "mpvpe_model", "mpjpe_procrustes"):
        assert report.mean(name) < 1e-9, name
    assert not {"mpjpe_camera", "auc_camera", "depth", "rest_verts", "pck_2d"} & set(report.values)
    with pytest.raises(ValueError, match="predicts meshes and no joints; evaluate it with regre"):
        evaluate(mesh, samples, model, standard())
    with pytest.raises(ValueError, match="have meshes of 7 vertices, hand model 'toy' has 40"):
        evaluate(replace(mesh, verts_cam=np.zeros((12, 7, 3))), samples, model, paper())
    weights = model.keypoint_regressor
    torch.testing.assert_close(weights.sum(1), torch.ones(21).double())
    shuffled = evaluate(mesh, samples, model, paper(weights.flip(0)))
    assert shuffled.mean("mpjpe_root") < 1e-9
    with pytest.raises(ValueError, match="takes 7 vertices, hand model 'toy' has 40"):
        evaluate(mesh, samples, model, paper(torch.ones(21, 7).double()))
    with pytest.raises(ValueError, match="kinematic joints take no regressor"):
        Protocol(name="mixed", joints="kinematic", regressor=weights)


def test_missed_hands_are_counted(model: FittableHand, samples: list[Sample]):
    guess = predicted(samples, 0.05)
    found = np.arange(12) != 4
    rotations = guess.rotations
    assert rotations is not None
    rotations[4] = np.nan
    report = evaluate(replace(guess, found=found, rotations=rotations), samples, model)
    whole = evaluate(predicted(samples, 0.05), samples, model)
    assert (len(report), report.num_missed) == (12, 1)
    for name in whole.values:
        row = report.values[name][4]
        assert row == 0 if name.startswith(("auc", "f", "pck")) else math.isnan(row), name
        np.testing.assert_allclose(report.values[name][found], whole.values[name][found])
    assert report.mean("mpjpe_root") == pytest.approx(whole.values["mpjpe_root"][found].mean())
    assert report.mean("auc_root") == pytest.approx(whole.values["auc_root"][found].sum() / 12)
    limits = np.array([1e6])
    assert report.pck(limits) == pytest.approx(11 / 12)
    assert whole.pck(limits) == 1
    ours, theirs = on_same_pictures([report, whole])
    assert theirs.num_missed == 0
    assert math.isnan(theirs.values["mpjpe_root"][4]), "too hard for the other method"
    assert difference(ours, theirs, "mpjpe_root").estimate == pytest.approx(0, abs=1e-9)
    assert ratio(ours, theirs, "auc_root").estimate < 1


def test_f_scores_can_be_left_out(model: FittableHand, samples: list[Sample]):
    """All other numbers stay; of missed hands there are none, too."""
    found = np.arange(len(samples)) > 0
    ours = predicted(samples, noise=0.01, found=found)
    whole = evaluate(ours, samples, model)
    without = evaluate(ours, samples, model, replace(standard(), has_f_scores=False))
    assert set(whole.values) - set(without.values) == {"f5", "f15"}
    for name, values in without.values.items():
        np.testing.assert_array_equal(values, whole.values[name])


def test_all_missed_hands_have_no_distances(model: FittableHand, samples: list[Sample]):
    report = evaluate(predicted(samples, found=np.zeros(12, bool)), samples, model)
    assert report.num_missed == 12
    assert report.mean("auc_root") == 0
    assert math.isnan(report.mean("mpjpe_root"))


def test_hands_of_another_model_have_keypoints_alone(model: FittableHand, samples: list[Sample]):
    mixed = [
        replace(sample, model="other", betas=None) if k < 4 else sample
        for k, sample in enumerate(samples)
    ]
    guess = predicted(samples, 0.05)
    report = evaluate(guess, mixed, model)
    whole = evaluate(guess, samples, model)
    assert report.num_without_mesh == 4
    for name, values in report.values.items():
        of_shape = name.startswith(("mpvpe", "f", "rest", "measures", "hand_length"))
        expected = np.where(np.arange(12) < 4, np.nan, whole.values[name]) if of_shape else None
        np.testing.assert_allclose(values, whole.values[name] if expected is None else expected)
    regressed = evaluate(guess, mixed, model, paper())
    assert np.isnan(regressed.values["mpjpe_root"][:4]).all()
    assert not np.isnan(regressed.values["mpjpe_root"][4:]).any()


def test_unknown_keypoints_are_left_out(model: FittableHand, samples: list[Sample]):
    valid = np.arange(21) != 8
    partly = [replace(sample, valid=valid) for sample in samples]
    nan = np.where(valid[:, None], 1.0, np.nan)
    unseen = [
        replace(s, keypoints_cam=s.keypoints_cam * nan, keypoints_px=s.keypoints_px * nan)  # pyright: ignore
        for s in partly
    ]
    guess = predicted(samples, 0.05)
    ours, theirs = evaluate(guess, partly, model), evaluate(guess, unseen, model)
    whole = evaluate(guess, samples, model)
    assert np.isnan(ours.keypoint_errors_mm[:, 8]).all()
    expected = np.delete(whole.keypoint_errors_mm, 8, axis=1).mean(1)
    np.testing.assert_allclose(ours.values["mpjpe_root"], expected)
    for name, values in ours.values.items():
        np.testing.assert_array_equal(values, theirs.values[name], err_msg=name)


def test_methods_without_position(model: FittableHand, samples: list[Sample]):
    guess = predicted(samples, 0.05)
    report = evaluate(replace(guess, wrist_cam=None), samples, model)
    whole = evaluate(guess, samples, model)
    lost = {"mpjpe_camera", "mpvpe_camera", "auc_camera", "depth", "pixels", "pck_2d"}
    assert set(whole.values) - set(report.values) == lost
    one_missed = replace(guess, wrist_cam=None, found=np.arange(12) != 3)
    assert set(evaluate(one_missed, samples, model).values) == set(report.values)
    for name, values in report.values.items():
        np.testing.assert_allclose(values, whole.values[name], rtol=1e-6, atol=1e-9)
    pixels = np.stack([sample.keypoints_px for sample in samples]) + np.array([3.0, 4.0])
    seen = evaluate(replace(guess, wrist_cam=None, points_px=pixels), samples, model)
    np.testing.assert_allclose(seen.values["pixels"], 5.0)


def test_projection_goes_through_the_lens(model: FittableHand, samples: list[Sample]):
    import cv2

    dist = np.array([0.1, -0.05, 0.002, 0.001, 0.01])
    bent = []
    for sample in samples:
        assert sample.keypoints_cam is not None
        pixels, _ = cv2.projectPoints(sample.keypoints_cam, np.zeros(3), np.zeros(3), K, dist)
        bent.append(replace(sample, dist=dist, keypoints_px=pixels[:, 0]))
    assert evaluate(predicted(bent), bent, model).values["pixels"].max() < 1e-6
    assert evaluate(predicted(samples), bent, model).values["pixels"].max() < 1e-6
    assert evaluate(predicted(bent), samples, model).mean("pixels") < 1e-6, "its own lens"


def test_videos_have_jitter(model: FittableHand):
    still = posed_sample(1, model)
    frames = [
        replace(still, id=f"{k}", sequence="clip", time_s=k / 30, subject="one") for k in range(8)
    ]
    guess = predicted(frames)
    assert guess.wrist_cam is not None
    shaken = guess.wrist_cam + 0.001 * np.array([0, 0, 1.0]) * (np.arange(8) % 2)[:, None]
    report = evaluate(replace(guess, wrist_cam=shaken), frames, model)
    inner = slice(1, -1)
    np.testing.assert_allclose(report.values["jitter_camera"][inner], 2.0, rtol=1e-6)
    np.testing.assert_allclose(report.values["jitter_root"][inner], 0, atol=1e-9)
    np.testing.assert_allclose(report.values["jitter_camera_truth"][inner], 0, atol=1e-9)
    missed = replace(guess, wrist_cam=shaken, found=np.arange(8) != 4)
    gap = evaluate(missed, frames, model).values["jitter_camera"]
    assert np.flatnonzero(np.isnan(gap)).tolist() == [0, 3, 4, 5, 7]


def test_stated_intervals_and_measures():
    model = open_hand()
    assert model.measures is not None
    samples = [posed_sample(index, model) for index in range(8)]
    guess = predicted(samples, 0.1)
    wide = replace(guess, betas_cov=np.tile(100.0 * np.eye(16), (8, 1, 1)))
    narrow = replace(guess, betas_cov=np.tile(1e-9 * np.eye(16), (8, 1, 1)))
    assert evaluate(guess, samples, model).coverage() is None
    for stated, rate in ((wide, 1.0), (narrow, 0.0)):
        report = evaluate(stated, samples, model)
        held = report.coverage()
        assert held is not None
        assert (held.pooled, report.mean("coverage")) == (rate, rate)
        assert held.num_intervals == 8 * len(model.measures.names)
        missed = evaluate(replace(guess, found=np.arange(8) != 2), samples, model)
        cut, _ = on_same_pictures([report, missed])
        held = cut.coverage()
        assert held is not None
        assert held.num_intervals == 7 * len(model.measures.names)
    at = report.measure_names.index("hand_length")
    np.testing.assert_allclose(
        report.values["hand_length"], np.abs(report.measure_errors_mm[:, at])
    )
    np.testing.assert_allclose(report.values["measures"], np.abs(report.measure_errors_mm).mean(1))


def test_what_cannot_be_evaluated(model: FittableHand, samples: list[Sample]):
    guess = predicted(samples)
    unlabelled = [replace(sample, keypoints_cam=None, betas=None) for sample in samples]
    with pytest.raises(ValueError, match="sample 000 of toy has no 3D truth"):
        evaluate(guess, unlabelled, model)
    with pytest.raises(ValueError, match="two samples of toy have the id 000"):
        evaluate(guess, [samples[0], samples[0]], model)
    with pytest.raises(ValueError, match="none of the 12 pictures of 'noisy' is among the 1 of"):
        evaluate(guess, [replace(samples[0], id="other")], model)
    other = replace(guess, header={"model": "mano", "method": "noisy"})
    with pytest.raises(ValueError, match="made with hand model 'mano', but 'toy' is in use"):
        evaluate(other, samples, model)
    with pytest.raises(ValueError, match="have 3 betas, hand model 'toy' takes 4"):
        evaluate(replace(guess, betas=np.zeros((12, 3))), samples, model)
    report = evaluate(guess.select(range(5)), samples[2:], model)
    assert (len(report), report.num_unknown, report.num_unpredicted) == (3, 2, 7)
    with pytest.raises(ValueError, match="noisy, noisy have no picture in common"):
        on_same_pictures([report.select([0]), report.select([1])])


def test_labels_follow_from_the_pose_where_they_are_missing(
    model: FittableHand, samples: list[Sample]
):
    guess = predicted(samples, 0.05)
    posed = [replace(sample, keypoints_cam=None) for sample in samples]
    floating = [replace(sample, wrist_cam=None) for sample in posed]
    ours, theirs = evaluate(guess, samples, model), evaluate(guess, posed, model)
    for name, values in ours.values.items():
        np.testing.assert_allclose(theirs.values[name], values, rtol=1e-6, atol=1e-9)
    nowhere = evaluate(guess, floating, model)
    assert "mpjpe_camera" not in nowhere.values
    np.testing.assert_allclose(nowhere.values["mpvpe_model"], ours.values["mpvpe_model"])


def test_reports_by_person_and_as_json(model: FittableHand, samples: list[Sample]):
    report = evaluate(predicted(samples, 0.05), samples, model)
    people = report.per_subject("mpjpe_root")
    assert list(people) == ["person-0", "person-1", "person-2"]
    assert people["person-1"] == pytest.approx(report.values["mpjpe_root"][4:8].mean())
    interval = report.interval("mpjpe_root")
    assert interval.estimate == pytest.approx(report.mean("mpjpe_root"))
    low, high = min(people.values()), max(people.values())
    assert low - 1e-9 <= interval.low < interval.high <= high + 1e-9
    summary = json.loads(json.dumps(report.summary(), allow_nan=False))
    assert summary["num_pictures"] == 12
    assert summary["metrics"]["mpjpe_root"]["mean"] == interval.estimate
    assert summary["metrics"]["mpjpe_root"]["per_subject"] == people
    assert isinstance(report.select([3]), Report)


def anonymous(samples: Sequence[Sample], known: int = 0) -> list[Sample]:
    """The same of people whom nobody knows, but for the first ones."""
    return [replace(s, subject=s.subject if i < known else None) for i, s in enumerate(samples)]


def test_of_unknown_people_intervals_are_over_pictures(model: FittableHand, samples: list[Sample]):
    guess = predicted(samples, 0.1)
    whole = evaluate(guess, samples, model)
    unknown = evaluate(guess, anonymous(samples), model)
    assert unknown.subject == ("",) * 12
    assert (whole.intervals_over, unknown.intervals_over) == ("people", "pictures")
    assert (whole.num_subjects, unknown.num_subjects) == (3, 0)
    assert unknown.per_subject("mpjpe_root") == {}
    values = unknown.values["mpjpe_root"]
    alone = mean_interval(values, [f"{i:02d}" for i in range(12)], np.random.default_rng(0))
    found = unknown.interval("mpjpe_root")
    assert found.estimate == pytest.approx(whole.mean("mpjpe_root"))
    spread = values.std() / math.sqrt(12)
    for interval in (found, alone):
        assert interval.high - interval.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    summary = json.loads(json.dumps(unknown.summary(), allow_nan=False))
    assert summary["intervals_over"] == "pictures"
    assert summary["num_subjects"] == 0


def test_some_people_are_unknown(model: FittableHand, samples: list[Sample]):
    report = evaluate(predicted(samples, 0.1), anonymous(samples, known=8), model)
    assert report.intervals_over == "people, and over 4 pictures of unknown people"
    assert list(report.per_subject("mpjpe_root")) == ["person-0", "person-1"]
    # The known ones are drawn as people: of two people alone nothing else can come out.
    first = report.select(range(8))
    assert first.intervals_over == "people"
    low, high = sorted(first.per_subject("mpjpe_root").values())
    interval = first.interval("mpjpe_root")
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_many_clusters_give_the_interval_of_the_normal_distribution():
    values = np.random.default_rng(3).normal(5.0, 2.0, 9000)
    for subjects in ([""] * 9000, [f"{i}" for i in range(9000)]):
        interval = mean_interval(values, subjects, np.random.default_rng(0))
        half = 1.96 * values.std() / math.sqrt(9000)
        assert interval.estimate == pytest.approx(values.mean())
        assert interval.estimate - interval.low == pytest.approx(half, rel=0.08)
        assert interval.high - interval.estimate == pytest.approx(half, rel=0.08)


def test_a_set_of_two_hand_models_is_compared_by_the_own_ones(
    model: FittableHand, samples: list[Sample]
):
    """One model a side: of the other side's samples only keypoints are compared."""
    mixed = [s if s.is_right else replace(s, model="another", betas=np.ones(3)) for s in samples]
    data = MemoryData(mixed)
    assert models(data.labels()) == {model.name: 6, "another": 6}
    report = evaluate(predicted(samples, 0.1), data.labels(), model)
    whole = evaluate(predicted(samples, 0.1), samples, model)
    is_own = np.array([sample.is_right for sample in samples])
    assert report.num_without_mesh == 6
    np.testing.assert_allclose(report.values["mpjpe_root"], whole.values["mpjpe_root"])
    for name in ("mpvpe_root", "rest_verts"):
        assert np.isnan(report.values[name][~is_own]).all()
        np.testing.assert_allclose(report.values[name][is_own], whole.values[name][is_own])


def test_labels_alone_are_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_shards(Fake(count=9), tmp_path, workers=1)
    shards = Shards(tmp_path)
    for sample, label in zip(shards, labels(shards), strict=True):
        assert label.rgb.shape == sample.rgb.shape
        assert not label.rgb.any()
        np.testing.assert_array_equal(label.mirrored().K, sample.mirrored().K)
        assert label.parts is None
        bare = replace(sample, rgb=label.rgb, parts=None)
        jpeg = b"the same"
        assert encode_sample(label, jpeg) == encode_sample(bare, jpeg)
    files = shards.entry(0)
    with pytest.raises(ValueError, match=r"its \.jpg cannot be decoded"):
        decode_labels({**files, "jpg": b"nothing"})
    with pytest.raises(ValueError, match="its JSON is not readable"):
        decode_labels({**files, "json": b"nothing"})
    assert decode_sample(files).id == decode_labels(files).id
    damaged = {**files, "json": b"nothing"}
    monkeypatch.setattr(shards, "_files", lambda index: (f"fake-{index}", damaged))
    with pytest.raises(
        ValueError, match=r"sample fake-\d+ of .*: its JSON is not readable .*; run the command"
    ):
        next(labels(shards))


# ------------------------------------------------------------------------------ tables and curves

TABLE = Table(
    title="Errors & more",
    columns=(Column(name="method_1"), Column(name="MPJPE", unit="mm"), Column(name="n")),
    rows=(
        ("100 % | ours", Interval(estimate=1.234, low=1.0, high=1.5), 3),
        ("theirs − ours", 2.0, None),
        ("none", Interval(estimate=math.nan, low=math.nan, high=math.nan), 0),
    ),
)


def test_markdown_is_readable_as_it_is():
    title, empty, *lines = TABLE.markdown().splitlines()
    assert (title, empty) == ("**Errors & more**", "")
    assert len({len(line) for line in lines}) == 1, "columns stand below each other"
    assert [re.sub(" +", " ", line) for line in lines] == [
        "| method_1 | MPJPE (mm) | n |",
        "| ------------- | ----------------: | --: |",
        r"| 100 % \| ours | 1.23 [1.00, 1.50] | 3 |",
        "| theirs − ours | 2.00 | – |",
        "| none | – | 0 |",
    ]


def test_csv_has_all_digits_and_the_ends_of_intervals():
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows == [
        ["method_1", "MPJPE (mm)", "MPJPE (mm) low", "MPJPE (mm) high", "n"],
        ["100 % | ours", "1.234", "1.0", "1.5", "3"],
        ["theirs − ours", "2.0", "", "", ""],
        ["none", "", "", "", "0"],
    ]


def test_latex_is_escaped():
    text = TABLE.latex()
    assert r"method\_1 & MPJPE (mm) & n \\" in text
    assert r"100 \% | ours & 1.23 [1.00, 1.50] & 3 \\" in text
    assert r"theirs $-$ ours & 2.00 & -- \\" in text
    assert text.startswith("% Errors & more\n\\begin{tabular}{lrr}\n\\hline\n")
    assert text.endswith("\\hline\n\\end{tabular}\n")


def chart() -> Chart:
    intervals = [Interval(estimate=6 / k**0.5, low=5 / k**0.5, high=7 / k**0.5) for k in (1, 5, 20)]
    return Chart(
        title="Calibration",
        x_label="images",
        y_label="error (mm)",
        curves=(
            Curve.of_intervals("mean", (1, 5, 20), intervals),
            Curve(name="fusion", x=np.array([1.0, 10, 20]), y=np.array([5.0, 2, 1])),
        ),
        log_x=True,
    )


def test_curves_become_pictures(tmp_path: Path):
    for name in ("a.png", "b.png"):
        chart().save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (960, 600)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    assert {(0, 114, 178), (213, 94, 0)} <= colours, "both curves are there"
    assert "matplotlib.pyplot" not in sys.modules


def test_without_matplotlib_there_is_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r"install it: pip install 'idhand\[train\]'"):
        chart().save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
