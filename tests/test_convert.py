"""`idhand convert` and `run --export mano`: forms of hands into each other, and back."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from idhand.assets import add_hand, open_hand
from idhand.assets.carrying import carried_over, converted_poses, converted_shape
from idhand.assets.mano import mano_hand
from idhand.assets.mano_reading import PARENTS
from idhand.assets.mano_tips import with_tips
from idhand.assets.resampled import open_betas, resampled_hand
from idhand.cli import main
from idhand.hand import FittableHand
from idhand.predictions import Predictions
from idhand.records import FLIP
from idhand.view import ImageHands, JsonLines, export_photo, write_hands
from idhand.view.hand_tables import motion_of
from idhand.view.reading import read_motions
from tests.test_conversions import pose
from tests.test_export import MODEL, pair
from tests.test_view import broken_hand

POINTS = [0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]
"""MANO's joints in our order."""
JOINTS = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19]
"""Our joints among the keypoints."""
GLTF = np.array([1.0, -1.0, -1.0])


@cache
def mano() -> FittableHand:
    return mano_hand(resampled_hand(), carried_over)


@pytest.fixture
def hands_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FittableHand:
    """The resampled hand under its name, in a folder of hand models of its own."""
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
    monkeypatch.delenv("IDHAND_MANO", raising=False)
    add_hand(mano())
    return mano()


def predicted(model: FittableHand, path: Path) -> Predictions:
    """A right, a missed and a left hand, in a file."""
    drawn = [pose(model, seed) for seed in (1, 2, 3)]
    betas, rotations, wrists = (np.stack([d[k].numpy() for d in drawn]) for k in range(3))
    out = Predictions(
        header={"method": "m", "model": model.name},
        sample_id=("a", "b", "c"),
        subject=("", "", ""),
        is_right=np.array([True, True, False]),
        found=np.array([True, False, True]),
        K=np.tile(np.eye(3), (3, 1, 1)),
        rotations=rotations,
        betas=betas,
        wrist_cam=wrists,
    )
    out.save(path)
    return out


def numbers(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def convert(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


FORMS = [
    ["--pose", "axis_angle", "--mean", "mean"],
    ["--pose", "pca", "--mean", "mean", "--units", "mm"],
    ["--pose", "pca", "--frame", "opengl"],
    ["--pose", "matrices", "--frame", "opengl", "--units", "mm"],
]


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("flags", FORMS)
def test_mano_and_back(hands_here: FittableHand, tmp_path: Path, flags: list[str], suffix: str):
    given = predicted(hands_here, tmp_path / "p.npz")
    there, back = tmp_path / f"mano{suffix}", tmp_path / "back.npz"
    assert convert(tmp_path / "p.npz", "--to", "mano", *flags, "--out", there) == 0
    assert convert(there, "--to", "idhand", "--out", back) == 0
    found = numbers(back)
    assert found["hand"].tolist() == ["a", "c"]
    assert found["is_right"].tolist() == [True, False]
    for name in ("rotations", "wrist_cam", "betas"):
        np.testing.assert_allclose(found[name], getattr(given, name)[[0, 2]], atol=1e-7)


def test_manos_parameters_mean_what_its_layers_do(hands_here: FittableHand, tmp_path: Path):
    """Forward kinematics in MANO's own joint order, from the arrays of the file."""
    predicted(hands_here, tmp_path / "p.npz")
    form = ["--mean", "mean", "--units", "mm", "--frame", "opengl", "--out", tmp_path / "m.npz"]
    assert convert(tmp_path / "p.npz", "--to", "mano", *form) == 0
    assert convert(tmp_path / "p.npz", "--to", "idhand", "--out", tmp_path / "o.npz") == 0
    file, rows = resampled_hand(), numbers(tmp_path / "m.npz")
    for k, side in enumerate((np.ones(3), FLIP)):
        verts = (file.template + file.shape_basis @ rows["betas"][k]) * side
        rest = file.joint_regressor @ verts
        mean = file.pose_mean.reshape(15, 3) * [1, side[0], side[0]]
        local = rows["hand_pose"][k].reshape(15, 3) + mean
        vectors = np.concatenate((rows["global_orient"][k][None], local))
        R = roma.rotvec_to_rotmat(torch.from_numpy(vectors)).numpy()
        turned, at = [R[0]], [rest[0]]
        for j in range(1, 16):
            parent = PARENTS[j]
            at.append(at[parent] + turned[parent] @ (rest[j] - rest[parent]))
            turned.append(turned[parent] @ R[j])
        joints = np.stack(at) + rows["transl"][k] / 1e3
        ours = numbers(tmp_path / "o.npz")["keypoints_cam"][k] * GLTF
        np.testing.assert_allclose(joints[POINTS], ours[JOINTS], atol=1e-9)


@pytest.mark.parametrize("is_right", [True, False])
def test_a_hand_in_another_model_lies_where_it_lay(is_right: bool):
    model = open_hand()
    betas, rotations, wrist = pose(model, 5)
    betas[10:] = 0  # the resampled hand has the first ten
    shape = converted_shape(betas, model, mano())
    R, at = converted_poses(rotations, wrist, shape, model, is_right=is_right)
    assert shape.apart_mm < 0.2
    assert np.abs(open_betas(shape.betas.numpy()) - betas.numpy()).max() < 0.15
    before, after = (
        motion_of("x", turns[None].numpy(), place[None].numpy(), own.numpy(), of, is_right=is_right)
        for of, turns, place, own in (
            (model, rotations, wrist, betas),
            (mano(), R, at, shape.betas),
        )
    )
    # The resampled hand has the open hand's joints; its wrist is another point of its rest frame.
    apart_mm = 1e3 * np.linalg.norm(before.keypoints_cam - after.keypoints_cam, axis=-1)
    assert apart_mm.max() < 1.5
    assert np.abs(np.linalg.det(R.numpy()) - 1).max() < 1e-9
    again = converted_shape(shape.betas, mano(), model)
    R, at = converted_poses(R, at, again, mano(), is_right=is_right)
    angle = roma.rotmat_geodesic_distance(R, rotations)
    assert float(torch.rad2deg(angle).max()) < 1.5


@pytest.mark.parametrize("is_right", [True, False])
def test_the_wrist_joint_of_another_model_is_another_point(is_right: bool):
    model, betas, rotations, wrist = open_hand(), *pose(open_hand(), 6)
    betas[10:] = 0
    rows = model.joint_regressor.clone()
    rows[0] = 0.8 * rows[0] + 0.2 * rows[4]  # some 2 cm towards the index finger's knuckle
    moved = replace(model, name="moved", joint_regressor=rows)
    assert (moved.joint_template[0] - model.joint_template[0]).norm() > 0.015
    shape = converted_shape(betas, moved, mano())
    R, at = converted_poses(rotations, wrist, shape, moved, is_right=is_right)
    before, after = (
        motion_of("x", turns[None].numpy(), place[None].numpy(), own.numpy(), of, is_right=is_right)
        for of, turns, place, own in (
            (moved, rotations, wrist, betas),
            (mano(), R, at, shape.betas),
        )
    )
    apart_mm = 1e3 * np.linalg.norm(before.keypoints_cam - after.keypoints_cam, axis=-1)[0]
    assert apart_mm[1:].max() < 3
    assert apart_mm[0] > 10


def test_other_fingertips_are_the_same_hand():
    betas, rotations, wrist = pose(mano(), 1)
    other = with_tips(mano(), "freihand")
    shape = converted_shape(betas, mano(), other)
    R, at = converted_poses(rotations, wrist, shape, mano(), is_right=True)
    assert (shape.betas == betas).all()
    assert shape.apart_mm == 0
    torch.testing.assert_close(R, rotations)
    assert (at == wrist).all()


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_openxr_and_back(hands_here: FittableHand, tmp_path: Path, suffix: str):
    given = predicted(hands_here, tmp_path / "p.npz")
    assert given.betas is not None
    assert given.rotations is not None
    there, back = tmp_path / f"xr{suffix}", tmp_path / "back.npz"
    assert convert(tmp_path / "p.npz", "--to", "openxr", "--out", there) == 0
    name = ["--source-model", hands_here.name]
    assert convert(there, *name, "--to", "idhand", "--out", back) == 0
    found, truth = numbers(back), tmp_path / "truth.npz"
    assert convert(tmp_path / "p.npz", "--to", "idhand", "--out", truth) == 0
    apart_mm = 1e3 * np.abs(found["keypoints_cam"] - numbers(truth)["keypoints_cam"])
    assert apart_mm.max() < 1.0
    shown = np.s_[:, :8]  # the others are thickness, which joints do not show
    assert np.abs(found["betas"] - given.betas[[0, 2]])[shown].max() < 0.25
    np.testing.assert_allclose(found["rotations"], given.rotations[[0, 2]], atol=0.02)


def test_mediapipe_and_back(hands_here: FittableHand, tmp_path: Path):
    predicted(hands_here, tmp_path / "p.npz")
    there, back, truth = (tmp_path / name for name in ("l.json", "back.npz", "truth.npz"))
    flags = ["--units", "mm", "--frame", "opengl"]
    assert convert(tmp_path / "p.npz", "--to", "mediapipe", *flags, "--out", there) == 0
    document = json.loads(there.read_text())
    assert (document["units"], document["frame"]) == ("mm", "opengl")
    name = ["--source-model", hands_here.name]
    assert convert(there, *name, "--to", "idhand", "--out", back) == 0
    assert convert(tmp_path / "p.npz", "--to", "idhand", "--out", truth) == 0
    apart = numbers(back)["keypoints_cam"] - numbers(truth)["keypoints_cam"]
    assert np.linalg.norm(apart, axis=-1).max() < 0.012  # a prior decides what points leave open
    left = np.array(document["hands"][1]["landmarks"]) * GLTF / 1e3
    assert np.linalg.norm(left.mean(0) - numbers(truth)["keypoints_cam"][1].mean(0)) < 0.01


def test_results_of_run(hands_here: FittableHand, tmp_path: Path, capsys):
    """hands.json and hands.jsonl become MANO's parameters, the same as `--export mano`."""
    shown = [broken_hand(), *pair(3)]
    image = ImageHands(file="a", name="a", width=9, height=9, K=None, hands=tuple(shown))
    write_hands(tmp_path / "hands.json", [image])
    assert convert(tmp_path / "hands.json", "--to", "mano", "--out", tmp_path / "m.npz") == 0
    told = capsys.readouterr()
    assert "1 hands whose fit failed are left out" in told.err
    assert "mm apart (root mean square" in told.err
    assert f"2 hands, hand model '{hands_here.name}', as mano" in told.out
    (path,) = export_photo(tmp_path, "a", shown, MODEL, ["mano"])
    assert path.name == "a.mano.npz"
    exported, converted = numbers(path), numbers(tmp_path / "m.npz")
    assert exported["hand"].tolist() == ["hand_1_right", "hand_2_left"]
    assert converted["hand"].tolist() == ["a/hand_1_right", "a/hand_2_left"]
    for name in ("betas", "global_orient", "hand_pose", "transl"):
        np.testing.assert_allclose(converted[name], exported[name], atol=1e-3)
    header = json.loads(str(exported["header"]))
    assert header["converted_from"] == MODEL.name
    assert 0.05 < header["apart_mm"] < 0.5

    names = ("hand_0_right", "hand_1_left")
    with JsonLines(tmp_path / "hands.jsonl") as lines:
        for k, time_s in enumerate((0.0, 0.1, 0.1)):  # a clock that stands still
            hands = tuple(pair(3) if k else pair(3)[:1])
            frame = replace(image, hands=hands, names=names[: len(hands)], frame=k, time_s=time_s)
            lines.add(frame)
    first, second = read_motions(tmp_path / "hands.jsonl").motions
    assert (first.name, second.name) == ("a/hand_0_right", "a/hand_1_left")
    assert first.frame.tolist() == [0, 1, 2]
    assert second.frame.tolist() == [1, 2]
    assert (np.diff(first.time_s) > 0).all()


def test_without_mano_here_there_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "none"))
    monkeypatch.delenv("IDHAND_MANO", raising=False)
    assert main(["run", str(tmp_path), "--export", "mano"]) == 2
    assert "MANO's parameters need MANO_RIGHT, which is not here" in capsys.readouterr().err


def test_parameters_of_other_software(hands_here: FittableHand, tmp_path: Path):
    """HaMeR's matrices, one hand without a list; DexYCB's coefficients in millimetres."""
    betas, rotations, _ = pose(hands_here, 4)
    own = {
        "global_orient": rotations[:1].tolist(),
        "hand_pose": rotations[1:][np.argsort(POINTS)[1:] - 1].tolist(),
        "betas": betas.tolist(),
    }
    (tmp_path / "hamer.json").write_text(json.dumps(own))
    (motion,) = read_side(tmp_path / "hamer.json", "right")
    np.testing.assert_allclose(motion.rotations[0], rotations, atol=1e-6)
    rest = hands_here.with_shape(betas).rest_joints[0]
    np.testing.assert_allclose(motion.wrist_cam[0], rest, atol=1e-9)  # no transl
    coefficients = np.random.default_rng(0).normal(size=(2, 45))
    np.savez(
        tmp_path / "pca.npz", global_orient=np.zeros((2, 3)), hand_pose=coefficients,
        betas=np.zeros((2, 10)), transl=np.array([[0, 0, 500.0]] * 2), is_right=[1, 0],
    )  # fmt: skip
    flags = ["--source-pose", "pca", "--source-mean", "mean", "--source-units", "mm"]
    out = tmp_path / "back.npz"
    assert convert(tmp_path / "pca.npz", *flags, "--to", "mano", "--pose", "pca", "--mean", "mean",
                   "--out", out) == 0  # fmt: skip
    found = numbers(out)
    np.testing.assert_allclose(found["hand_pose"], coefficients, atol=1e-7)
    np.testing.assert_allclose(found["transl"], [[0, 0, 0.5]] * 2, atol=1e-9)


def read_side(path: Path, side: str) -> tuple:
    out = path.with_suffix(".out.npz")
    assert convert(path, "--side", side, "--to", "idhand", "--out", out) == 0
    return read_motions(out).motions


TABLE = {"is_right": [True], "rotations": [np.eye(3).tolist()] * 16, "wrist_cam": [[0, 0, 1]]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"is_right": [True]}, "it has no column rotations, hand_pose, orientations_xyzw"),
        ({"rotations": [], "betas": []}, "it has rotations and no wrist_cam; add that column"),
        ({"landmarks": [[1, 2], [3]]}, "its rows are not numbers, or differ in length"),
        ({"landmarks": [[[0, 0, 0]] * 20]}, "landmarks has the shape (1, 20, 3); one row has 21x3"),
        ({"landmarks": [[[0, 0, None]] * 21]}, "landmarks has numbers that are not finite"),
        ({"landmarks": [[[0, 0, 1]] * 21]}, "it does not say which hands are right (is_right)"),
        ({"landmarks": [[[0, 0, 1]] * 21], "is_right": ["yes"]}, "is_right is not one yes or no"),
        ({"hands": []}, "holds no hands"),
        ([1, 2], "is no file of hands"),
        ({**TABLE, "rotations": [[[[2.0] * 3] * 3] * 16], "betas": [[0] * 16]}, "not rotations"),
        ({"global_orient": [[0, 0, 0]], "hand_pose": [[0] * 46], "betas": [[0] * 10],
          "is_right": [1]}, "a pose of MANO's as 'pca' has 1 to 45 numbers, got 46"),
        ({"global_orient": [[0, 0, 0]], "hand_pose": [[0] * 45], "betas": [[0] * 9],
          "is_right": [1]}, "takes 10 betas, got 9"),
        ({"positions": [[[0, 0.01 * k, 0] for k in range(26)]], "is_right": [1],
          "orientations_xyzw": [[[0, 0, 0, 2]] * 26]}, "quaternions whose length is not one"),
        ({"global_orient": [[0, 0, 0]], "hand_pose": [[0] * 45], "betas": [[0] * 9 + [300]],
          "is_right": [1]}, "betas has a number of 300; no hand is that far from the mean"),
        ({"landmarks": [[[0, 0, 1]] * 21], "is_right": [1]}, "a hand of 0 m from wrist to middle"),
        ({"landmarks": [[[20 * k, 0, 500] for k in range(21)]], "is_right": [1]},
         "a hand of 240 m from wrist to middle fingertip, which no hand has; give points in space"),
        ({"landmarks": [[[2e-5 * k, 0, 0.5] for k in range(21)]], "is_right": [1]},
         "a hand of 0.00024 m from wrist"),
        ({"positions": [[[20 * k, 0, 0] for k in range(26)]], "is_right": [1],
          "orientations_xyzw": [[[0, 0, 0, 1]] * 26]}, "a hand of 280 m"),
    ],
)  # fmt: skip
def test_tables_that_are_none(
    hands_here: FittableHand, tmp_path: Path, capsys, content: object, sentence: str
):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(content))
    assert convert(path, "--to", "openxr", "--out", tmp_path / "o.json") == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert str(path) in told
    assert not (tmp_path / "o.json").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--to", "openxr", "--units", "mm"], "--units is not for --to openxr"),
        (["--to", "idhand", "--pose", "pca"], "--pose is not for --to idhand"),
        (["--to", "mano", "--pose", "matrices", "--mean", "mean"], "told from the flat hand"),
        (["--to", "mano", "--hand-model", "idhand-open-1"], "is none of MANO's"),
        (["--to", "mano", "--hand-model", "mano-00000000"], "'mano-00000000' is not here"),
        (["--to", "mano", "--out", "a.txt"], "ends in .json or .npz"),
    ],
)
def test_flags_that_make_no_sense(
    hands_here: FittableHand, tmp_path: Path, capsys, flags: list[str], sentence: str
):
    predicted(hands_here, tmp_path / "p.npz")
    out = [] if "--out" in flags else ["--out", tmp_path / "o.npz"]
    assert convert(tmp_path / "p.npz", *flags, *out) == 2
    assert sentence in " ".join(capsys.readouterr().err.replace("│", " ").split())
