"""The benchmarks' own scores, by cases worked out on paper; their result files."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idhand.assets import add_hand, open_hand
from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.cli import main
from idhand.data import Shards, encode_sample, write_shards
from idhand.data.freihand import Freihand
from idhand.data.prepared import Prepared
from idhand.data.trees import LabelHands
from idhand.evaluation import result_files
from idhand.evaluation.official import (
    aligned,
    dexycb_scores,
    distance_score,
    f_scores,
    freihand_scores,
    moved_by_joints,
)
from idhand.evaluation.official_hands import (
    freihand_regressor,
    official_hands,
    shift_to_box,
)
from idhand.evaluation.result_files import (
    FreihandResults,
    dexycb_in_order,
    read_dexycb_results,
    read_freihand_results,
    write_dexycb_results,
    write_freihand_results,
)
from idhand.fixtures.freihand import FreihandFixture, write_freihand
from idhand.geometry import aligned as aligned_without_reflection
from idhand.geometry import rotation_from_vector
from idhand.lens import project_px
from tests.conftest import toy_hand
from tests.second_hand import second_hand
from tests.test_data_shards import Fake, jpeg_of
from tests.test_evaluation import posed_sample, predicted

STEP = 1 / 99
"""Between two of 100 thresholds, as a part of the whole."""
EXACT = {"rel": 0, "abs": 1e-12}


def some_points(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# ------------------------------------------------------------------------------ curves, on paper


def test_the_curve_is_a_sum_of_trapezoids_and_a_threshold_met_exactly_counts():
    thresholds = np.linspace(0, 50, 100)
    for place in (0, 33, 98):  # right from that threshold on: full steps, and half of one before
        score = distance_score(np.full((2, 21), thresholds[place]), 50.0)
        half = 0.5 if place else 0.0
        assert score.auc == pytest.approx((99 - place + half) * STEP, **EXACT)
        assert score.auc_exact == pytest.approx(1 - place * STEP, **EXACT)
    beyond = distance_score(np.full((2, 21), np.nextafter(thresholds[33], 50)), 50.0)
    assert beyond.auc == pytest.approx((99 - 34 + 0.5) * STEP, **EXACT)
    assert distance_score(np.full((1, 21), 50.0), 50.0).auc == pytest.approx(STEP / 2, **EXACT)
    assert distance_score(np.full((1, 21), 50.001), 50.0).auc == 0
    assert distance_score(np.full((1, 21), 25.0), 50.0).auc == pytest.approx(0.5, **EXACT)


def test_one_joint_off_by_21_mm():
    truth = 40 * some_points(3, 21, 3)
    joint, wrist = truth.copy(), truth.copy()
    joint[:, 5, 0] += 21
    wrist[:, 0, 2] -= 21
    scores = dexycb_scores(joint, truth)
    assert list(scores) == ["absolute", "root-relative", "procrustes"]
    assert scores["absolute"].mean == pytest.approx(1, abs=1e-9)
    assert scores["root-relative"].mean == pytest.approx(1, abs=1e-9)
    assert 0 < scores["procrustes"].mean < 4
    # 21 mm are 41.58 steps: 57.5 of 99 for that joint, 99 for the 20 others
    assert scores["absolute"].auc == pytest.approx((20 + 57.5 * STEP) / 21, **EXACT)
    moved = dexycb_scores(wrist, truth)
    assert moved["absolute"].mean == pytest.approx(1, abs=1e-9)
    assert moved["root-relative"].mean == pytest.approx(20, abs=1e-9), "all others are off"


def test_all_zeros_are_as_far_as_the_truth_is():
    truth = np.zeros((2, 21, 3))
    truth[:, 1:11, 0], truth[:, 11:, 0] = 0.04, -0.04
    verts = np.zeros((2, 778, 3))
    verts[:, :389, 1], verts[:, 389:, 1] = 0.003, -0.003
    truth[..., 2] += 0.3
    verts[..., 2] += 0.4
    scores = freihand_scores(np.zeros_like(truth), np.zeros_like(verts), truth, verts)
    official = scores.official
    assert official["xyz_mean3d"] == pytest.approx(100 * (0.3 + 20 * np.hypot(0.3, 0.04)) / 21)
    assert official["xyz_al_mean3d"] == pytest.approx(4 * 20 / 21), "all are at the centre"
    assert official["mesh_mean3d"] == pytest.approx(100 * np.hypot(0.4, 0.003))
    assert official["mesh_al_mean3d"] == pytest.approx(0.3)
    assert official["xyz_auc3d"] == official["mesh_auc3d"] == 0
    # 0.3 cm is 5.94 steps of 5 cm / 99: right from the sixth threshold on
    assert official["mesh_al_auc3d"] == pytest.approx(93.5 * STEP, **EXACT)
    assert (official["f_score_5"], official["f_al_score_5"]) == (0, 1)
    assert scores.text.splitlines()[:2] == ["xyz_mean3d: 30.252849", "xyz_auc3d: 0.000000"]
    assert list(official) == [
        *("xyz_mean3d", "xyz_auc3d", "xyz_al_mean3d", "xyz_al_auc3d"),
        *("mesh_mean3d", "mesh_auc3d", "mesh_al_mean3d", "mesh_al_auc3d"),
        *("f_score_5", "f_al_score_5", "f_score_15", "f_al_score_15"),
    ]


def test_a_mirrored_hand_has_no_aligned_error_there_and_has_one_here():
    truth = 40 * some_points(4, 21, 3) + np.array([0, 0, 600.0])
    mirrored = truth * np.array([-1.0, 1, 1])
    assert dexycb_scores(mirrored, truth)["procrustes"].mean < 1e-6
    ours = aligned_without_reflection(torch.from_numpy(mirrored), torch.from_numpy(truth))
    assert float((ours - torch.from_numpy(truth)).norm(dim=-1).mean()) > 10


@given(
    seed=st.integers(0, 1000), scale=st.floats(0.2, 5), shift=st.floats(-2, 2), turn=st.floats(0, 3)
)
def test_a_similarity_changes_nothing_after_alignment(
    seed: int, scale: float, shift: float, turn: float
):
    truth, predicted = 0.05 * some_points(2, 3, 21, 3, seed=seed)
    R = rotation_from_vector(torch.tensor([turn, 0.3, -0.2 * turn], dtype=torch.float64)).numpy()
    moved = scale * predicted @ R.T + shift
    np.testing.assert_allclose(aligned(moved, truth), aligned(predicted, truth), atol=1e-6)
    off = np.linalg.norm(aligned(predicted, truth) - truth, axis=(1, 2))
    centred = truth - truth.mean(1, keepdims=True)
    assert (off <= np.linalg.norm(centred, axis=(1, 2)) + 1e-9).all(), "worse than a point"


def test_joints_and_vertices_are_aligned_apart():
    joints, verts = 0.05 * some_points(2, 21, 3), 0.05 * some_points(2, 778, 3, seed=1)
    scores = freihand_scores(2 * joints + 0.3, 0.5 * verts - 0.1, joints, verts)
    assert scores.joints_aligned.mean < 1e-5
    assert scores.mesh_aligned is not None
    assert scores.mesh_aligned.mean < 1e-5
    assert scores.f_aligned == (1, 1)
    assert scores.f[0] < 1


def test_a_mesh_of_another_size_is_scored_as_theirs_is():
    truth, verts = 0.05 * some_points(2, 21, 3), 0.05 * some_points(2, 778, 3, seed=1)
    theirs = verts[:, :500] + 0.01
    scores = freihand_scores(truth + 0.01, theirs, truth, verts)
    assert scores.mesh is None
    assert scores.official["mesh_mean3d"] == scores.official["mesh_al_mean3d"] == -100
    assert scores.official["mesh_auc3d"] == -1
    assert scores.joints_aligned.mean < 1e-5
    # joints agree but for a shift: scale one and no rotation, times the true joints' size
    centre = theirs.mean(1, keepdims=True)
    size = np.linalg.norm(truth - truth.mean(1, keepdims=True), axis=(1, 2))
    np.testing.assert_allclose(
        moved_by_joints(theirs, truth + 0.01, truth),
        size[:, None, None] * (theirs - centre) + centre - 0.01,
        atol=1e-7,
    )


def test_f_counts_what_is_strictly_nearer_than_the_threshold():
    truth = np.zeros((1, 2, 3))
    truth[0, 1, 0] = 1.0
    exactly, nearer = truth.copy(), truth.copy()
    exactly[0, 0, 1] = exactly[0, 1, 1] = 0.005
    nearer[0, 0, 1], nearer[0, 1, 1] = 0.00499, 0.015
    assert f_scores(exactly, truth) == (0, 1)
    assert f_scores(nearer, truth) == (0.5, 0.5)
    at_5, at_15 = f_scores(truth[:, :1], truth)  # precision 1, recall 1/2
    assert (at_5, at_15) == pytest.approx((2 / 3, 2 / 3))
    assert f_scores(np.concatenate((exactly, truth)), np.concatenate((truth, truth)))[0] == 0.5


def test_f_agrees_with_distances_of_each_to_each():
    truth, ours = 0.03 * some_points(2, 60, 3), 0.03 * some_points(2, 50, 3, seed=3)
    apart = np.linalg.norm(ours[:, :, None] - truth[:, None], axis=-1)
    for limit, score in zip((0.005, 0.015), f_scores(ours, truth), strict=True):
        p, r = (apart.min(2) < limit).mean(1), (apart.min(1) < limit).mean(1)
        assert score == pytest.approx(np.mean(2 * p * r / np.maximum(p + r, 1e-9)))


# ------------------------------------------------------------------------------- result files


def test_dexycb_files_come_back(tmp_path: Path):
    rows = {7: 300 * some_points(21, 3), 3: 300 * some_points(21, 3, seed=1)}
    path = tmp_path / "results.txt"
    write_dexycb_results(path, rows)
    lines = path.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["3", "7"]
    assert all(len(line.split(",")) == 64 for line in lines)
    back = read_dexycb_results(path)
    np.testing.assert_allclose(dexycb_in_order(back, np.array([7, 3]), path)[0], rows[7], atol=1e-4)
    path.write_text(path.read_text() + "7," + ",".join(["1"] * 63) + "\n\n")
    assert read_dexycb_results(path)[7].tolist() == [[1, 1, 1]] * 21, (
        "the last line of a number counts"
    )
    with pytest.raises(ValueError, match=r"1 of 2 pictures have no line \(first: number 4\)"):
        dexycb_in_order(back, np.array([3, 4]), path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3\n", "3 numbers a line"),
        ("a" + ",1" * 63 + "\n", "no result file of DexYCB"),
        ("0" + ",1" * 63 + "\n1,2\n", "no result file of DexYCB"),
        ("0.5" + ",1" * 63 + "\n", "line 1: a picture's number that is not whole"),
        ("0" + ",1" * 63 + "\n1" + ",nan" * 63 + "\n", "line 2"),
        ("-1" + ",1" * 63 + "\n", "line 1"),
        ("\n", "no result file of DexYCB"),
        ("", "is empty"),
    ],
)
def test_bad_dexycb_files_are_refused_with_the_cause(tmp_path: Path, text: str, said: str):
    path = tmp_path / "results.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_dexycb_results(path)


@pytest.mark.parametrize("name", ["pred.json", "pred.zip"])
def test_freihand_files_come_back_and_have_the_same_bytes(tmp_path: Path, name: str):
    results = FreihandResults(joints=some_points(3, 21, 3), verts=some_points(3, 50, 3))
    path = tmp_path / name
    write_freihand_results(path, results)
    first = path.read_bytes()
    back = read_freihand_results(path, 3)
    np.testing.assert_allclose(back.joints, results.joints, atol=1e-7)
    np.testing.assert_allclose(back.verts, results.verts, atol=1e-7)
    write_freihand_results(path, results)
    assert path.read_bytes() == first
    if name.endswith("zip"):
        assert zipfile.ZipFile(path).namelist() == ["pred.json"]


def test_any_single_json_of_a_zip_will_do(tmp_path: Path):
    results = FreihandResults(joints=some_points(1, 21, 3), verts=some_points(1, 5, 3))
    write_freihand_results(tmp_path / "pred.json", results)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.write(tmp_path / "pred.json", "mine.json")
        archive.writestr("readme.txt", "hello")
    assert read_freihand_results(tmp_path / "mine.zip", 1).verts.shape == (1, 5, 3)
    with zipfile.ZipFile(tmp_path / "mine.zip", "a") as archive:
        archive.write(tmp_path / "pred.json", "other.json")
    with pytest.raises(ValueError, match=r"holds 2 \.json files and none called pred\.json"):
        read_freihand_results(tmp_path / "mine.zip", 1)


POINT = [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"xyz": []}, "a list of two lists"),
        ([[], [], []], "a list of two lists"),
        ([[[POINT] * 21], [[POINT] * 5]], "joints of 1 pictures, the evaluation set has 2"),
        ([[[POINT] * 21] * 2, [[POINT] * 5, [POINT] * 4]], "not the same number of points"),
        ([[[POINT] * 20] * 2, [[POINT] * 5] * 2], "20 joints a picture"),
        ([[[[0.0, 1.0]] * 21] * 2, [[POINT] * 5] * 2], r"shape \(2, 21, 2\)"),
        ([[[POINT] * 21] * 2, [[], []]], "shape"),
        ([[["x"] * 21] * 2, [[POINT] * 5] * 2], "not the same number of points"),
        ([[[POINT] * 21, [[float("nan")] * 3] * 21], [[POINT] * 5] * 2], "picture 1 are not fini"),
        ([[[POINT] * 21] * 2, [[[[]] * 12_000, []]] * 2], "more than 2 pictures' joints"),
        ([5, 6], "no list"),
    ],
)
def test_bad_freihand_files_are_refused_with_the_cause(tmp_path: Path, document: list, said: str):
    path = tmp_path / "pred.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=said):
        read_freihand_results(path, 2)


def test_damaged_and_absurd_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = FreihandResults(joints=some_points(2, 21, 3), verts=some_points(2, 50, 3))
    path = tmp_path / "pred.zip"
    write_freihand_results(path, results)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="damaged"):
        read_freihand_results(path, 2)
    write_freihand_results(tmp_path / "pred.json", results)
    (tmp_path / "pred.json").write_bytes((tmp_path / "pred.json").read_bytes()[:-9])
    with pytest.raises(ValueError, match="not readable as JSON"):
        read_freihand_results(tmp_path / "pred.json", 2)
    monkeypatch.setattr(result_files, "MAX_BYTES", 1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pred.json", b" " * (3 << 20))  # 3 kB on the disk
    with pytest.raises(ValueError, match="more than 1 MiB"):
        read_freihand_results(path, 2)
    with pytest.raises(ValueError, match=r"pred.json or pred.zip"):
        write_freihand_results(tmp_path / "pred.npz", results)


# ------------------------------------------------------------------------- our predictions there


def test_missed_hands_are_filled_and_told():
    model = toy_hand()
    boxes = np.array([[100.0, 80, 180, 200], [-30, 20, 60, 70], [5, 5, 5, 5], [10, 0, 90, 30]])
    samples = [posed_sample(k, model, bbox_px=boxes[k]) for k in range(4)]
    ours = replace(predicted(samples[:3]), found=np.array([True, False, True]))
    hands = official_hands(ours, samples, model, None)
    assert hands.filled.tolist() == [False, True, False, True], "missed, and not predicted at all"
    assert not hands.placed.any()
    assert samples[0].keypoints_cam is not None
    np.testing.assert_allclose(hands.joints[0], samples[0].keypoints_cam, atol=1e-9)
    for k in (1, 3):
        pixels = project_px(hands.joints[k], samples[k].K)
        low, high = pixels.min(0), pixels.max(0)
        np.testing.assert_allclose((low + high) / 2, (boxes[k, :2] + boxes[k, 2:]) / 2, atol=0.01)
        assert (high - low).max() == pytest.approx((boxes[k, 2:] - boxes[k, :2]).max(), abs=0.01)
        assert np.isfinite(hands.verts[k]).all()


def test_the_mean_hand_shows_its_palm_and_a_left_one_is_mirrored():
    model = open_hand()
    box = np.array([100.0, 80, 200, 200])
    left, right = (posed_sample(0, model, is_right=side, bbox_px=box) for side in (False, True))
    left = replace(left, id="left")
    none = replace(predicted([left, right]), found=np.zeros(2, bool))
    hands = official_hands(none, [left, right], model, None)
    points = hands.joints - hands.joints[:, :1]
    np.testing.assert_allclose(points[0], points[1] * np.array([-1.0, 1, 1]), atol=1e-4)
    assert points[1, 12, 1] < -0.05, "fingers up"
    assert points[1, 4, 0] > 0.01, "the right hand's thumb at +x when the palm is seen"


def test_hands_without_a_position_are_put_into_their_box():
    model = toy_hand()
    samples = [posed_sample(k, model, bbox_px=np.array([40.0, 30, 140, 90])) for k in range(2)]
    ours = predicted(samples, wrist_cam=None)
    hands = official_hands(ours, samples, model, None)
    assert hands.placed.all()
    assert not hands.filled.any()
    for sample, joints in zip(samples, hands.joints, strict=True):
        assert sample.keypoints_cam is not None
        shape = sample.keypoints_cam - sample.keypoints_cam[:1]
        np.testing.assert_allclose(joints - joints[:1], shape, atol=1e-9)
        assert np.abs(shift_to_box(joints, sample)).max() < 1e-4, "it is there already"


def test_points_and_meshes_say_what_cannot_be_scored():
    model = toy_hand()
    samples = [posed_sample(k, model) for k in range(2)]
    whole = predicted(samples)
    points = replace(
        whole, rotations=None, betas=None, wrist_cam=None, points_px=np.zeros((2, 21, 2))
    )
    with pytest.raises(ValueError, match="points in the picture alone"):
        official_hands(points, samples, model, None)
    meshes = replace(whole, rotations=None, betas=None, verts_cam=np.zeros((2, 40, 3)))
    with pytest.raises(ValueError, match="meshes alone"):
        official_hands(meshes, samples, model, None)


def test_freihand_takes_its_own_fingertips_of_a_mesh_of_manos_size():
    mano, other = second_hand(), toy_hand()
    regressor = freihand_regressor(mano)
    tips = regressor[[4, 8, 12, 16, 20]].argmax(1).tolist()
    assert tuple(tips) == (744, 320, 443, 555, 672)
    torch.testing.assert_close(regressor[9], mano.joint_regressor[7])
    own = freihand_regressor(other)
    assert tuple(own[[4, 8, 12, 16, 20]].argmax(1).tolist()) == other.tip_verts


# --------------------------------------------------------------------------------- the command


@dataclass(frozen=True)
class Benchmark(Fake):
    """A benchmark's test set: hands of 778 vertices under the benchmark's names."""

    name: str = "freihand"
    has_truth: bool = True
    of: tuple[str, str] = ("dexycb-s0", "test")
    """Protocol and part."""

    def entry(self, index: int) -> dict[str, bytes]:
        sample = benchmark_sample(index, self.name)
        if not self.has_truth:
            sample = replace(
                sample, keypoints_cam=None, rotations=None, betas=None, wrist_cam=None, model=None
            )
        return encode_sample(sample, jpeg_of(sample))

    def description(self) -> dict:
        first = {"subject-03/a/836212060125": 40, "subject-03/a/839512060362": 50}
        of = dict(zip(("protocol", "part"), self.of, strict=True))
        return {**super().description(), "prepared": {**of, "first_numbers": first}}


def benchmark_sample(index: int, name: str):
    camera = ("836212060125", "839512060362")[index % 2]
    identity = {
        "freihand": f"evaluation/{index:08d}",
        "dexycb": f"subject-03/a/{camera}/{index:06d}",
    }[name]
    box = np.array([10.0, 10, 90, 120])
    return posed_sample(index, second_hand(), is_right=True, bbox_px=box, id=identity)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
    add_hand(second_hand())


@pytest.fixture
def made(tmp_path: Path, added: None) -> Callable[..., tuple[Path, Path]]:
    def make(name: str, **options: Any) -> tuple[Path, Path]:
        write_shards(Benchmark(count=5, name=name, **options), tmp_path / "data", workers=1)
        samples = [benchmark_sample(index, name) for index in range(5)]
        found = np.arange(5) != 3
        replace(predicted(samples, 0.02), found=found).save(tmp_path / "ours.npz")
        return tmp_path / "data", tmp_path / "ours.npz"

    return make


def numbers_of(folder: Path) -> dict:
    (numbers,) = json.loads((folder / "official.json").read_text()).values()
    return numbers


@pytest.mark.parametrize(
    ("protocol", "written"), [("freihand", "pred.zip"), ("dexycb-s0", "results.txt")]
)
def test_ours_and_what_is_written_from_ours_score_alike(
    tmp_path: Path,
    made: Callable[..., tuple[Path, Path]],
    capsys: pytest.CaptureFixture[str],
    protocol: str,
    written: str,
):
    data, ours = made(protocol.split("-")[0])
    flags = ["--data", str(data), "--protocol", protocol]
    file = tmp_path / written
    code = main(["evaluate", str(ours), *flags, "--write", str(file), "--out", str(tmp_path / "a")])
    said = capsys.readouterr()
    assert code == 0
    assert "1 of 5 pictures have no hand of 'noisy'; the mean hand" in said.err
    assert f"{protocol} as its own evaluation scores it, 5 pictures" in said.out
    assert main(["evaluate", str(file), *flags, "--out", str(tmp_path / "b")]) == 0
    first, second = numbers_of(tmp_path / "a"), numbers_of(tmp_path / "b")
    if protocol == "freihand":
        assert second["joints"]["mean"] == pytest.approx(first["joints"]["mean"], abs=1e-5)
        assert (tmp_path / "b" / "scores.txt").read_text().startswith("xyz_mean3d: ")
        assert read_freihand_results(file, 5).verts.shape == (5, 778, 3)
    else:
        assert second["absolute"]["mean"] == pytest.approx(first["absolute"]["mean"], abs=1e-4)
        assert sorted(read_dexycb_results(file)) == [40, 42, 44, 51, 53], "the toolkit's numbers"


def test_joints_by_a_regressor_of_ones_own(
    tmp_path: Path, made: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
):
    """One that puts all keypoints onto the same vertex knows of no error about the wrist."""
    data, ours = made("dexycb")
    matrix = np.zeros((21, 778))
    matrix[:, 100] = 1
    np.save(tmp_path / "regressor.npy", matrix)

    def error(*flags: str) -> float:
        out = tmp_path / str(len(flags))
        flags = ("--data", str(data), "--protocol", "paper", "--out", str(out), *flags)
        assert main(["evaluate", str(ours), *flags]) == 0
        (report,) = json.loads((out / "report.json").read_text())
        return report["metrics"]["mpjpe_root"]["mean"]

    assert error() > 1
    assert error("--regressor", str(tmp_path / "regressor.npy")) == 0
    capsys.readouterr()
    flags = ["--data", str(data), "--regressor", str(tmp_path / "regressor.npy")]
    assert main(["evaluate", str(ours), *flags]) == 2
    assert "--regressor is for joints from the vertices" in capsys.readouterr().err


@pytest.mark.parametrize("of", [("dexycb-s1", "test"), ("dexycb-s0", "val")])
def test_another_setups_pictures_are_not_scored_as_the_benchmarks(
    made: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str], of: tuple[str, str]
):
    """Its numbers are of other pictures, so a result file would be wrong without a word."""
    data, ours = made("dexycb", of=of)
    assert main(["evaluate", str(ours), "--data", str(data), "--protocol", "dexycb-s0"]) == 2
    told = capsys.readouterr().err
    assert f"the data set is {' '.join(of)}, whose pictures have other numbers" in told
    assert "name the test set of `idhand data prepare --protocol dexycb-s0`" in told


def test_perfect_predictions_of_a_prepared_set_have_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
    model = mano_hand(resampled_hand(), tips="freihand")
    add_hand(model)
    write_freihand(tmp_path / "F", FreihandFixture(bases=2, evaluation=3, people=1, is_blank=True))
    tree = Freihand(tmp_path / "F")
    data = tree.data(tree.lists("freihand")["test"], LabelHands(right=model))
    write_shards(Prepared(data), tmp_path / "test", workers=1)
    samples = [replace(sample, subject="") for sample in Shards(tmp_path / "test")]
    predicted(samples).save(tmp_path / "ours.npz")
    flags = ["--data", str(tmp_path / "test"), "--protocol", "freihand"]
    assert main(["evaluate", str(tmp_path / "ours.npz"), *flags, "--out", str(tmp_path)]) == 0
    scores = numbers_of(tmp_path)
    assert scores["joints"]["mean"] < 1e-3, "0.01 mm"
    assert scores["mesh"]["mean"] < 1e-3
    assert scores["f"] == [1.0, 1.0]


def test_without_truth_there_is_a_result_file_and_no_score(
    tmp_path: Path, made: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
):
    data, ours = made("freihand", has_truth=False)
    flags = ["--data", str(data), "--protocol", "freihand"]
    assert main(["evaluate", str(ours), *flags]) == 2
    assert "no 3D truth to score with; add --write" in capsys.readouterr().err
    assert main(["evaluate", str(ours), *flags, "--write", str(tmp_path / "pred.json")]) == 0
    said = capsys.readouterr()
    assert "so there are no scores" in said.err
    assert len(read_freihand_results(tmp_path / "pred.json", 5).joints) == 5


def test_wrong_requests_are_refused_with_the_remedy(
    tmp_path: Path, made: Callable[..., tuple[Path, Path]], capsys: pytest.CaptureFixture[str]
):
    data, ours = made("freihand", of=("dexycb-s1", "test"))
    folder, other = ["--data", str(data)], tmp_path / "other.npz"
    unnumbered = tmp_path / "unnumbered"
    write_shards(Fake(count=2), unnumbered, workers=1)
    other.write_bytes(ours.read_bytes())
    for arguments, said in (
        (["--write", "x.zip"], "name the benchmark with --protocol"),
        (["--protocol", "dexycb-s1"], "is no test picture of dexycb-s1"),
        (["--protocol", "dexycb-s1", "--data", str(unnumbered)], "by which numbers the toolkit"),
        (["--protocol", "freihand", "--write", "x.zip"], "takes one predictions file"),
        (["--protocol", "freihand", "--write", str(tmp_path / "x.txt")], "pred.json or pred.zip"),
    ):
        several = [str(other)] if "takes one" in said else []
        where = [] if "--data" in arguments else folder
        assert main(["evaluate", str(ours), *several, *where, *arguments]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert len(Shards(data)) == 5
