"""Pickles of the ECCV 2022 paper's code: lists and predictions, and what is refused."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand.assets import add_hand
from idhand.assets.mano import MANO_JOINTS
from idhand.cli import main
from idhand.data import encode_sample, write_shards
from idhand.data.kong import read_list, read_predictions
from idhand.geometry import rotation_from_vector
from tests.second_hand import second_hand
from tests.test_data_shards import Fake, jpeg_of
from tests.test_evaluation import posed_sample

SEQUENCE = "20200709-subject-01/20200709_141754/836212060125"


def picture(frame: int) -> str:
    return f"{SEQUENCE}/color_{frame:06d}"


def written(path: Path, document: Any, protocol: int = 4) -> Path:
    """As Python 3.8 with NumPy 1 writes it."""
    data = pickle.dumps(document, protocol=protocol)
    if protocol == 3:
        data = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    path.write_bytes(data)
    return path


def annotation(frame: int) -> dict[str, Any]:
    return {
        "orig_img_path": f"../../data/dex_ycb/{picture(frame)}.jpg",
        "cropped_img_path": f"../../data/dex_ycb/cropped_hand_size_2/{picture(frame)}.jpg",
        "crop_bbox": [np.float64(3.0), 4.0, 100, 101],
        "orig_joint_2d": np.zeros((21, 2), np.float32),
        "mesh": np.zeros((778, 3)),
        "intrinsic": {"fx": 613.1, "fy": 612.0},
        "extrinsic": tuple(float(k) for k in range(12)),
    }


@pytest.mark.parametrize("protocol", [3, 4])
def test_their_lists_are_ours(tmp_path: Path, protocol: int):
    entries = [annotation(frame) for frame in (3, 1, 2)]
    chosen = read_list(written(tmp_path / "s1_test_size_2.pkl", entries, protocol))
    assert chosen.ids == (picture(3), picture(1), picture(2))
    assert (chosen.protocol, chosen.part) == ("paper", "test")
    fold = read_list(written(tmp_path / "s10_val_size_2.pkl", entries, protocol))
    assert (fold.protocol, fold.part) == ("paper-s10", "val")
    assert fold.sha256 == chosen.sha256


def rotations(number: int) -> np.ndarray:
    vectors = np.random.default_rng(number).normal(size=(number, 16, 3))
    return rotation_from_vector(torch.from_numpy(vectors)).numpy()


def predictions(number: int, **changes: Any) -> dict[str, Any]:
    """Rows of rotations in MANO's order; rows of the baseline need not be of unit length."""
    ours, rng = rotations(number), np.random.default_rng(0)
    theirs = np.empty_like(ours)
    theirs[:, MANO_JOINTS] = ours
    return {
        "subject_ids": np.ones(number, np.int64),
        "image_relative_paths": [f"cropped_hand_size_2/{picture(k)}.jpg" for k in range(number)],
        "mano_translations": np.zeros((number, 3), np.float32),
        "pred_meshes": np.zeros((number, 778, 3), np.float32),
        "gt_meshes": [np.zeros((778, 3), np.float32)] * number,
        "gt_shape_params": rng.normal(size=(number, 10)),
        "pred_pose_params": (1.3 * theirs[:, :, :2]).reshape(number, 96),
        "pred_shape_params": rng.normal(size=(number, 10)).astype(np.float32),
        "conf_pred": rng.normal(size=(number, 1)),
        **changes,
    }


def labels(number: int):
    return [posed_sample(k, second_hand(), is_right=True, id=picture(k)) for k in range(number)]


@pytest.mark.parametrize("protocol", [3, 4])
def test_their_predictions_are_ours(tmp_path: Path, protocol: int):
    document = predictions(4)
    path = written(tmp_path / "predictions_on_test_set.pkl", document, protocol)
    ours = read_predictions(path, labels(3), "mano-1a2b3c4d")
    assert ours.sample_id == tuple(picture(k) for k in range(3)), "the fourth is not in the data"
    assert ours.subject == ("subject-01",) * 3
    assert ours.rotations is not None
    np.testing.assert_allclose(ours.rotations, rotations(4)[:3], atol=1e-12)
    assert ours.betas is not None
    assert ours.confidence is not None
    np.testing.assert_allclose(ours.betas, document["pred_shape_params"][:3])
    np.testing.assert_allclose(ours.confidence, document["conf_pred"][:3, 0])
    assert ours.wrist_cam is None
    assert ours.model == "mano-1a2b3c4d"
    del document["pred_shape_params"], document["conf_pred"]
    given = read_predictions(written(path, document, protocol), labels(3), "mano-1a2b3c4d")
    assert given.betas is not None
    np.testing.assert_allclose(given.betas, document["gt_shape_params"][:3])
    assert given.confidence is None
    assert given.header["shapes"] == "gt_shape_params"


class Evil:
    def __reduce__(self):
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([Evil()], "system'"),
        ({"a": np.array([Evil()], dtype=object)}, "of the type"),
        ([{"orig_img_path": "photo.jpg"}], "for a picture of DexYCB"),
        ([{"orig_img_path": 3}], "for a picture of DexYCB"),
        ([annotation(1), annotation(1)], "names a picture twice"),
        ({"x": 1}, "no list of pictures"),
        ([3], "no list of pictures"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, document: Any, said: str):
    path = written(tmp_path / "s1_val_size_2.pkl", document)
    with pytest.raises(ValueError, match=said) as caught:
        read_list(path)
    assert str(path) in str(caught.value)


def test_lists_of_unknown_names_and_cut_files_are_refused(tmp_path: Path):
    path = written(tmp_path / "mine.pkl", [annotation(1)])
    with pytest.raises(ValueError, match="should be called SETUP_PART_size_2"):
        read_list(path)
    cut = tmp_path / "s1_val_size_2.pkl"
    cut.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="refused"):
        read_list(cut)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_list(tmp_path / "s1_test_size_2.pkl")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_relative_paths": 3}, "no list of pictures"),
        ({"pred_pose_params": np.zeros((4, 95))}, "no 'pred_pose_params' of 96 numbers"),
        ({"pred_shape_params": [[1.0], [2.0]]}, "no 'pred_shape_params' of 10 numbers"),
        ({"conf_pred": np.full(4, np.nan)}, "not finite"),
        ({"image_relative_paths": ["a.jpg"] * 4}, "for a picture of DexYCB"),
    ],
)
def test_bad_predictions_are_refused(tmp_path: Path, changes: dict[str, Any], said: str):
    path = written(tmp_path / "predictions_on_test_set.pkl", predictions(4, **changes))
    with pytest.raises(ValueError, match=said):
        read_predictions(path, labels(4), "mano-1a2b3c4d")


def test_predictions_of_other_pictures_are_refused(tmp_path: Path):
    path = written(tmp_path / "predictions_on_test_set.pkl", predictions(4))
    with pytest.raises(ValueError, match="none of the 4 pictures"):
        read_predictions(path, [], "mano-1a2b3c4d")
    with pytest.raises(ValueError, match="holds no predictions"):
        read_predictions(written(path, [1, 2]), labels(2), "mano-1a2b3c4d")


class Labelled(Fake):
    """DexYCB's pictures with a hand of MANO's size."""

    def entry(self, index: int) -> dict[str, bytes]:
        sample = labels(4)[index]
        return encode_sample(sample, jpeg_of(sample))


def test_old_runs_are_evaluated_like_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
    add_hand(second_hand())
    write_shards(Labelled(count=4), tmp_path / "data", workers=1)
    path = written(tmp_path / "predictions_on_test_set.pkl", predictions(4))
    flags = ["--data", str(tmp_path / "data"), "--protocol", "paper"]
    assert main(["evaluate", str(path), *flags]) == 0
    assert "4 pictures of 1 person, paper, regressed joints" in capsys.readouterr().out
