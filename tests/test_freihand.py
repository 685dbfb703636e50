"""FreiHAND's tree, read from a fixture that plain MANO formulas made: labels, lists, bad input."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from idhand.assets.mano import mano_hand
from idhand.assets.mano_tips import with_tips
from idhand.assets.resampled import resampled_hand
from idhand.data import DataSet, decode_sample, true_betas
from idhand.data.freihand import Freihand, open_freihand
from idhand.data.prepared import Prepared
from idhand.data.sample_list import Part
from idhand.data.trees import LabelHands, Tree
from idhand.fixtures.freihand import FreihandFixture, write_freihand
from idhand.hand import FittableHand
from idhand.records import UNPARTED_HAND, Sample

BASES, EVALUATION = 10, 3
GREEN = np.array([62, 158, 84])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "FreiHAND_pub_v2"
    config = FreihandFixture(bases=BASES, evaluation=EVALUATION, people=2, is_blank=True)
    write_freihand(folder, config)
    return folder


@pytest.fixture(scope="module")
def hands() -> LabelHands:
    return LabelHands(right=mano_hand(resampled_hand()))


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(root, tmp_path / "FreiHAND_pub_v2"))


def opened(root: Path) -> Freihand:
    tree = open_freihand(root)
    assert tree is not None
    assert isinstance(tree, Tree)
    return tree


def read(root: Path, name: str) -> list:
    return json.loads((root / f"{name}.json").read_text())


def posed(sample: Sample, model: FittableHand):
    assert sample.betas is not None
    assert sample.rotations is not None
    assert sample.wrist_cam is not None
    R, wrist = torch.from_numpy(sample.rotations), torch.from_numpy(sample.wrist_cam)
    return model.with_shape(torch.from_numpy(sample.betas)).posed(R, wrist)


def test_labels_pose_the_hand_that_was_photographed(root: Path, hands: LabelHands):
    tree = opened(root)
    assert hands.right is not None
    model = with_tips(hands.right, "freihand")
    parts: tuple[tuple[Part, str], ...] = (("train", "training"), ("test", "evaluation"))
    for part, split in parts:
        verts, points = read(root, f"{split}_verts"), read(root, f"{split}_xyz")
        data = tree.data(tree.lists("freihand")[part], hands)
        for index, sample in enumerate(data.labels()):
            base = int(sample.id.split("/")[1]) % len(verts)
            assert sample.model == model.name
            assert model.name.endswith("-freihand"), "its fingertips are not the default ones"
            ours = posed(sample, model)
            off = np.linalg.norm(ours.verts.numpy() - verts[base], axis=1)
            assert off.max() < 1e-5, "0.01 mm"
            tips = list(range(4, 21, 4))
            np.testing.assert_allclose(
                ours.keypoints.numpy()[tips], np.array(points[base])[tips], atol=1e-5
            )
            assert sample.keypoints_cam is not None
            np.testing.assert_array_equal(sample.keypoints_cam, points[base])
            seen = sample.keypoints_cam @ sample.K.T
            np.testing.assert_allclose(sample.keypoints_px, seen[:, :2] / seen[:, 2:], atol=1e-9)
            assert sample.bbox_px[:2].tolist() == sample.keypoints_px.min(0).tolist()
            assert sample.subject is None
            assert sample.is_right
            assert data.label(index).id == sample.id


def test_a_base_is_in_one_part_with_all_its_backgrounds(root: Path, hands: LabelHands):
    tree = opened(root)
    lists = tree.lists("freihand")
    assert {part: len(chosen) for part, chosen in lists.items()} == {
        "train": 36,
        "val": 4,
        "test": 3,
    }
    bases = {
        p: {int(name.split("/")[1]) % BASES for name in lists[p].ids} for p in ("train", "val")
    }
    assert bases == {"train": set(range(9)), "val": {9}}
    assert lists["val"].ids == tuple(f"training/{9 + 10 * v:08d}" for v in range(4))
    assert lists["test"].ids == tuple(f"evaluation/{k:08d}" for k in range(3))
    assert [c.expected for part in lists for c in lists[part].counts] == [117_216, 13_024, 3_960]
    data = tree.data(lists["val"], hands, masks=True)
    assert isinstance(data, DataSet)
    samples = list(data)
    corners = [sample.rgb[0, 0].astype(int) for sample in samples]
    assert [bool(np.abs(c - GREEN).max() < 12) for c in corners] == [True, False, False, False]
    for sample in samples[1:]:
        assert samples[0].keypoints_cam is not None
        assert sample.keypoints_cam is not None
        np.testing.assert_array_equal(sample.keypoints_cam, samples[0].keypoints_cam)
        assert sample.parts is not None
        assert samples[0].parts is not None
        np.testing.assert_array_equal(sample.parts, samples[0].parts)
    assert data.sequences() == [[0], [1], [2], [3]]


def test_masks_are_hand_where_they_are_white(copy: Path, hands: LabelHands):
    tree = opened(copy)
    chosen = tree.lists("freihand")["train"]
    sample = tree.data(chosen, hands, masks=True)[0]
    assert sample.parts is not None
    assert set(np.unique(sample.parts)) == {0, UNPARTED_HAND}
    drawn = np.abs(sample.rgb.astype(int) - GREEN).max(-1) > 60
    assert (drawn != (sample.parts == UNPARTED_HAND)).mean() < 0.02
    assert tree.data(chosen, hands)[0].parts is None, "only where it is asked for"
    path = copy / "training" / "mask" / "00000000.jpg"
    grey = np.full((224, 224, 3), 240, np.uint8)
    grey[:112, :, 2] = 250  # red is the first channel
    cv2.imwrite(str(path), grey, (cv2.IMWRITE_JPEG_QUALITY, 100))
    parts = tree.data(chosen, hands, masks=True)[0].parts
    assert parts is not None
    assert (parts[:104] == UNPARTED_HAND).mean() > 0.99
    assert (parts[120:] == 0).mean() > 0.99
    path.unlink()
    assert tree.data(chosen, hands, masks=True)[0].parts is None


def test_evaluation_without_truth_has_a_box_and_nothing_else(copy: Path, hands: LabelHands):
    for name in ("xyz", "verts", "mano"):
        (copy / f"evaluation_{name}.json").rename(copy.parent / f"evaluation_{name}.json")
    tree = opened(copy)
    chosen = tree.lists("freihand")["test"]
    sample = tree.data(chosen, hands)[2]
    assert sample.bbox_px.tolist() == [46.5, 46.5, 176.5, 176.5]
    assert not sample.valid.any()
    assert sample.keypoints_cam is sample.betas is sample.rotations is sample.model is None
    cut = Prepared(tree.data(chosen, hands))
    back = decode_sample(cut.entry(1))
    assert np.isnan(back.keypoints_px).all()
    assert not back.valid.any()
    assert back.bbox_px[2] - back.bbox_px[0] == pytest.approx(320 / 3)
    notes = " ".join(tree.check().notes)
    assert "evaluation pictures have no truth" in notes
    beside = copy.with_name("FreiHAND_pub_v2_eval")
    beside.mkdir()
    for name in ("xyz", "verts", "mano"):
        (copy.parent / f"evaluation_{name}.json").rename(beside / f"evaluation_{name}.json")
    truth = opened(copy).data(chosen, hands)[2]
    assert truth.valid.all()
    assert truth.betas is not None


def test_the_older_readmes_tree_is_read_under_any_name(
    copy: Path, tmp_path: Path, hands: LabelHands
):
    other = copy.rename(tmp_path / "dex_ycb")
    (other / "evaluation_scale.json").rename(other / "evaluation_scals.json")
    (other / "training_verts.json").unlink()
    (other / "training" / "mesh").mkdir()
    (other / "training" / "rgb").rename(other / "training" / "rgb2")
    tree = opened(other)
    assert not tree.check(deep=True, hands=hands).problems
    assert len(tree.data(tree.lists("freihand")["train"], hands)[3].rgb) == 224


def test_without_a_hand_model_there_are_keypoints_alone(root: Path):
    tree = opened(root)
    sample = tree.data(tree.lists("freihand")["train"])[0]
    assert sample.keypoints_cam is not None
    assert sample.model is sample.rotations is sample.betas is sample.wrist_cam is None


def test_squares_keep_points_and_cameras_together(root: Path, hands: LabelHands):
    tree = opened(root)
    source = Prepared(tree.data(tree.lists("freihand")["train"], hands, masks=True), seed=3)
    ids = set()
    for index in range(0, len(source), 7):
        sample = decode_sample(source.entry(index))
        ids.add(sample.id)
        assert sample.rgb.shape == (320, 320, 3)
        assert sample.keypoints_cam is not None
        seen = sample.keypoints_cam @ sample.K.T
        np.testing.assert_allclose(sample.keypoints_px, seen[:, :2] / seen[:, 2:], atol=0.01)
        assert sample.parts is not None
        where = np.rint(sample.keypoints_px).astype(int)
        assert (sample.parts[where[:, 1], where[:, 0]] == UNPARTED_HAND).mean() > 0.7
    assert len(ids) == len(range(0, len(source), 7))


def test_people_are_unknown_so_true_shapes_are_refused(root: Path, hands: LabelHands):
    tree = opened(root)
    data = tree.data(tree.lists("freihand")["train"], hands)
    with pytest.raises(ValueError, match="its subject is unknown"):
        true_betas(data.labels(), str(data[0].model))


def test_fingerprints_tell_lists_models_and_labels_apart(copy: Path, hands: LabelHands):
    tree = opened(copy)
    lists = tree.lists("freihand")
    first = tree.data(lists["train"], hands).fingerprint()
    assert first == opened(copy).data(lists["train"], hands).fingerprint()
    values = read(copy, "training_xyz")
    values[3][4][0] += 0.001
    (copy / "training_xyz.json").write_text(json.dumps(values))
    others = {
        tree.data(lists["val"], hands).fingerprint(),
        tree.data(lists["train"]).fingerprint(),
        tree.data(replace(lists["train"], ids=lists["train"].ids[::-1]), hands).fingerprint(),
        opened(copy).data(lists["train"], hands).fingerprint(),
    }
    assert len({*others, first}) == 5


# ------------------------------------------------------------------------------------ bad input


def test_a_whole_tree_has_no_problems(root: Path, hands: LabelHands):
    report = opened(root).check(deep=True, hands=hands)
    assert not report.problems
    found = {count.what: (count.found, count.expected) for count in report.counts}
    assert found["training pictures"] == (40, 130_240)
    assert found["training masks"] == (10, 32_560)
    assert found["evaluation labels"] == (3, 3_960)
    assert any("at most 0.000 mm" in note for note in report.notes)


def test_missing_pictures_are_named_and_partial_goes_on_under_another_name(copy: Path):
    whole = opened(copy).lists("freihand")
    (copy / "training" / "rgb" / "00000012.jpg").unlink()
    tree = opened(copy)
    with pytest.raises(ValueError, match=r"lacks 1 of 40 pictures \(00000012.jpg\).*--partial"):
        tree.lists("freihand")
    lists = tree.lists("freihand", partial=True)
    assert lists["train"].protocol == "freihand-partial"
    assert len(lists["train"]) == 35
    assert lists["train"].sha256 != whole["train"].sha256
    assert lists["test"].sha256 == whole["test"].sha256
    assert "00000012.jpg" in tree.check().problems[0]


def test_pictures_without_labels_are_named(copy: Path):
    shutil.copy(copy / "training/rgb/00000001.jpg", copy / "training/rgb/00000040.jpg")
    (problem,) = opened(copy).check().problems
    assert "1 pictures without a label (first: 00000040.jpg)" in problem
    assert len(opened(copy).lists("freihand")["train"]) == 36


def test_cut_pictures_are_named_by_deep_checks_and_refused_when_read(copy: Path, hands: LabelHands):
    path = copy / "evaluation" / "rgb" / "00000001.jpg"
    path.write_bytes(path.read_bytes()[:-900])
    tree = opened(copy)
    (problem,) = tree.check(deep=True).problems
    assert f"{path} is cut off" in problem
    with pytest.raises(ValueError, match=r"00000001\.jpg is damaged or cut off"):
        tree.data(tree.lists("freihand")["test"], hands)[1]
    cv2.imwrite(str(path), np.zeros((100, 224, 3), np.uint8))
    with pytest.raises(ValueError, match="224 × 100 pixels instead of 224 × 224"):
        tree.data(tree.lists("freihand")["test"], hands)[1]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("training_xyz", "[[[0.1, 0.2", "not readable as JSON"),
        ("training_K", "{}", "no list of 3 x 3 numbers for each picture"),
        ("training_mano", "[[1, 2, 3]]", "no list of 61 numbers for each picture"),
        ("training_xyz", "[]", "no list of 21 x 3 numbers"),
        ("evaluation_K", "", "is empty"),
    ],
)
def test_damaged_labels_are_named_with_the_remedy(copy: Path, name: str, text: str, said: str):
    path = copy / f"{name}.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        opened(copy).lists("freihand")
    assert str(path) in str(caught.value)
    assert any(said in problem for problem in opened(copy).check().problems)


def test_lists_of_unequal_length_are_refused(copy: Path):
    path = copy / "training_mano.json"
    path.write_text(json.dumps(read(copy, "training_mano")[:-1]))
    with pytest.raises(ValueError, match=r"has 9 entries, training_K\.json has 10"):
        opened(copy).lists("freihand")


def test_labels_that_are_missing_are_never_passed_over_in_silence(copy: Path):
    """Half an archive must not come out as a smaller set, or as one without poses."""
    (copy / "training_mano.json").unlink()
    tree = opened(copy)
    told = f"{copy / 'training_mano.json'} is missing, so the training pictures have keypoints"
    assert told in tree.lists("freihand")["train"].problems[0]
    assert any(told in problem for problem in tree.check().problems)
    (copy / "training_K.json").unlink()
    tree = opened(copy)
    told = f"{copy / 'training_K.json'} is missing, so the training pictures that are there"
    assert any(told in problem for problem in tree.check().problems)
    with pytest.raises(ValueError, match=r"is not complete: .*training_K.json is missing, so"):
        tree.lists("freihand")
    (chosen,) = tree.lists("freihand", partial=True).values()
    assert (chosen.protocol, chosen.part, chosen.problems) == ("freihand-partial", "test", ())
    shutil.rmtree(copy / "training")  # who has the evaluation alone has all of it
    assert opened(copy).lists("freihand")["test"].protocol == "freihand"


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("xyz", lambda entry: entry[3].__setitem__(2, float("nan"))),
        ("xyz", lambda entry: entry[3].__setitem__(2, -0.1)),
        ("K", lambda entry: entry[0].__setitem__(0, 0.0)),
        ("mano", lambda entry: entry[0].__setitem__(50, 1e9)),
        ("mano", lambda entry: entry[0].__setitem__(60, 0.0)),
    ],
)
def test_absurd_entries_are_left_out_and_told(
    copy: Path, hands: LabelHands, name: str, spoil: Callable[[list], None]
):
    values = read(copy, f"training_{name}")
    spoil(values[4])
    (copy / f"training_{name}.json").write_text(json.dumps(values))
    tree = opened(copy)
    chosen = tree.lists("freihand")["train"]
    assert len(chosen) == 32
    assert "1 entries that cannot be a hand's or a camera's (first: 4)" in chosen.problems[0]
    bad = replace(chosen, ids=("training/00000004",))
    with pytest.raises(ValueError, match="cannot be used"):
        tree.data(bad, hands)


def test_folders_above_and_inside_are_told_the_root(root: Path):
    with pytest.raises(ValueError, match=r"above FreiHAND's root; name .*FreiHAND_pub_v2"):
        open_freihand(root.parent)
    for inside in ("training", "training/rgb", "evaluation", "training/mask"):
        with pytest.raises(ValueError, match=r"a part of FreiHAND; name .*FreiHAND_pub_v2, which"):
            open_freihand(root / inside)
    assert open_freihand(Path(__file__).parent) is None
    assert open_freihand(Path("/")) is None  # its own parent


def test_a_folder_that_may_not_be_read_beside_the_root_is_no_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch
):
    """Such as `lost+found` on a disk of its own, whose permissions nobody should change."""
    is_file = Path.is_file

    def refused(path: Path) -> bool:
        if path.parent.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_file(path)

    (root.parent / "lost+found").mkdir(exist_ok=True)
    monkeypatch.setattr(Path, "is_file", refused)
    with pytest.raises(ValueError, match=r"above FreiHAND's root; name .*FreiHAND_pub_v2"):
        open_freihand(root.parent)


def test_version_1_is_refused_by_its_name_and_by_its_labels(
    copy: Path, tmp_path: Path, hands: LabelHands
):
    assert hands.right is not None
    older = replace(hands.right, template=1.15 * hands.right.template)
    tree = opened(copy)
    chosen = tree.lists("freihand")["train"]
    with pytest.raises(ValueError, match="Labels of version 1"):
        tree.data(chosen, LabelHands(right=older))
    (problem, _) = tree.check(deep=True, hands=LabelHands(right=older)).problems
    assert "take the MANO of FreiHAND v2" in problem
    with pytest.raises(ValueError, match="FreiHAND v1, whose labels"):
        open_freihand(copy.rename(tmp_path / "FreiHAND_pub_v1"))


def test_lists_of_other_trees_are_refused(root: Path, hands: LabelHands):
    tree = opened(root)
    chosen = tree.lists("freihand")["test"]
    for name in ("evaluation/00000003", "training/x", "other/00000000", "evaluation"):
        with pytest.raises(ValueError, match=f"has no picture {name}"):
            tree.data(replace(chosen, ids=(name,)), hands)
    with pytest.raises(ValueError, match="no protocol 'paper'"):
        tree.lists("paper")


def test_a_fixture_is_made_again_the_same_and_never_over_something_else(root: Path, tmp_path: Path):
    config = FreihandFixture(bases=2, evaluation=1, people=1, is_blank=True)
    first, again = tmp_path / "first", tmp_path / "again"
    write_freihand(first, config)
    write_freihand(again, config)
    (again / "training" / "rgb" / "00000003.jpg").unlink()
    write_freihand(again, config)
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (again / path.relative_to(first)).read_bytes()
    with pytest.raises(ValueError, match="holds another fixture"):
        write_freihand(again, replace(config, seed=1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    with pytest.raises(ValueError, match="not empty and no fixture"):
        write_freihand(tmp_path / "mine", config)
