"""HUMBI's hand session, read from a fixture of plain MANO formulas: labels, lists, faults."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.data import DataSet, decode_sample
from idhand.data.humbi import Humbi, open_humbi
from idhand.data.humbi.text import Crop, read_cameras
from idhand.data.prepared import Prepared
from idhand.data.trees import LabelHands, Tree
from idhand.evaluation.official_hands import freihand_regressor
from idhand.experiments.chain.shapes import kept_apart, recording_of
from idhand.fixtures.humbi import CAMERAS, HumbiFixture, write_humbi
from idhand.records import FLIP

SUBJECTS = (1, 10, 52)
"""The second one's files have the line ends of Windows, the third one is empty."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "humbi"
    write_humbi(folder, HumbiFixture(subjects=SUBJECTS, times=2, cameras=3, is_blank=True))
    return folder


@pytest.fixture(scope="module")
def hands() -> LabelHands:
    left = mano_hand(resampled_hand(is_right=False))
    return LabelHands(right=mano_hand(resampled_hand()), left=left)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A tree to spoil."""
    return Path(shutil.copytree(root, tmp_path / "humbi"))


def opened(root: Path) -> Humbi:
    tree = open_humbi(root)
    assert tree is not None
    assert isinstance(tree, Tree)
    return tree


def folder_of(root: Path, subject: int) -> Path:
    return root / "Hand_1_400" / f"subject_{subject}" / "hand"


def everything(tree: Humbi, protocol: str = "humbi"):
    """All parts as one list."""
    lists = list(tree.lists(protocol).values())
    return replace(lists[0], ids=tuple(name for chosen in lists for name in chosen.ids))


def test_labels_pose_the_hand_that_was_photographed(root: Path, hands: LabelHands):
    tree = opened(root)
    data = tree.data(everything(tree), hands)
    assert isinstance(data, DataSet)
    assert len(data) == 2 * 2 * 2 * 3
    names: set[str] = set()
    for sample in data.labels():
        subject, time, side, camera = sample.id.split("/")
        names.add(str(sample.model))
        assert sample.is_right == (side == "right")
        assert sample.subject == subject
        place = folder_of(root, int(subject.split("_")[1]))
        world = np.loadtxt(place / time / "reconstruction" / f"vertices_{side[0]}.txt")
        seen_by = read_cameras(place)[0][int(camera)]
        truth = (world - seen_by.centre_m) @ seen_by.R.T
        model = hands.of_side(sample.is_right)
        assert model is not None
        assert sample.betas is not None
        assert sample.rotations is not None
        assert sample.wrist_cam is not None
        flip = np.ones(3) if sample.is_right else FLIP
        posed = model.with_shape(torch.from_numpy(sample.betas)).posed(
            torch.from_numpy(sample.rotations), torch.from_numpy(sample.wrist_cam * flip)
        )
        verts = posed.verts.numpy() * flip
        assert np.linalg.norm(verts - truth, axis=1).max() < 1e-5, "0.01 mm"
        assert sample.keypoints_cam is not None
        points = freihand_regressor(model).numpy() @ verts
        np.testing.assert_allclose(sample.keypoints_cam, points, atol=1e-5)
        seen = points @ sample.K.T
        np.testing.assert_allclose(sample.keypoints_px, seen[:, :2] / seen[:, 2:], atol=0.05)
    assert len(names) == 2, "a left hand is labelled with a model of its own"
    assert all(name.endswith("-freihand") for name in names)


def test_crops_have_a_camera_of_their_own(root: Path):
    crop = Crop(camera=3, left_px=100.0, right_px=299.0, top_px=40.0, bottom_px=289.0)
    corners = np.array([[100, 40, 1], [300, 290, 1], [200, 165, 1.0]])
    seen = corners @ crop.from_whole.T
    assert seen[:, :2].tolist() == [[0, 0], [250, 250], [125, 125]]
    tree = opened(root)
    data = tree.data(everything(tree))
    for index in range(0, len(data), 5):
        sample = data[index]
        assert sample.rgb.shape == (250, 250, 3)
        drawn = np.abs(sample.rgb.astype(int) - (96, 104, 112)).max(-1) > 20
        where = np.rint(sample.keypoints_px).astype(int)
        assert drawn[where[:, 1], where[:, 0]].mean() > 0.9, "keypoints lie on the drawn hand"
        ratio = sample.K[0, 0] / sample.K[1, 1]
        assert 0.9 < ratio < 1.1
        assert sample.betas is sample.rotations is sample.model is None, "no hand model was given"


def test_all_cameras_see_one_recording(root: Path, hands: LabelHands):
    """So pictures of one hand at one time never both calibrate and are evaluated."""
    tree = opened(root)
    labels = [s for s in tree.data(everything(tree), hands).labels() if s.is_right]
    recordings = {sample.id: recording_of(sample) for sample in labels}
    assert all(name == place + name[-8:] for name, place in recordings.items())
    split = kept_apart(labels, 0)
    assert set(split.calibration) == {sample.subject for sample in labels}
    for ids in split.calibration.values():
        assert len(ids) == 3, "one of two times, by all three cameras"
        assert len({recordings[name] for name in ids}) == 1
    calibrating = {recordings[name] for ids in split.calibration.values() for name in ids}
    assert not calibrating & {recordings[name] for name in split.evaluated}


def test_squares_keep_points_and_cameras_together(root: Path, hands: LabelHands):
    tree = opened(root)
    source = Prepared(tree.data(everything(tree), hands))
    for index in range(0, len(source), 6):
        sample = decode_sample(source.entry(index))
        assert sample.keypoints_cam is not None
        seen = sample.keypoints_cam @ sample.K.T
        np.testing.assert_allclose(sample.keypoints_px, seen[:, :2] / seen[:, 2:], atol=0.01)


def test_the_papers_split_is_drawn_as_its_code_draws_it(copy: Path):
    numbers = (1, 2, 3, 10, 11, 20, 52, 100, 101, 110, 205, 301)
    for number in set(numbers) - set(SUBJECTS):
        shutil.copytree(folder_of(copy, 1).parent, folder_of(copy, number).parent)
    tree = opened(copy)
    lists = tree.lists("paper-humbi")
    # sorted as numbers (as texts, 10 would come before 2), without the empty one
    order = [n for n in numbers if n != 52]
    random.Random(0).shuffle(order)
    people = {p: list(dict.fromkeys(n.split("/")[0] for n in c.ids)) for p, c in lists.items()}
    assert set(people["train"]) == {f"subject_{n}" for n in order[:9]}
    assert set(people["test"]) == {f"subject_{n}" for n in order[9:]}
    assert all("/right/" in name for chosen in lists.values() for name in chosen.ids)
    both = tree.lists("humbi")
    assert {p: len(c) for p, c in both.items()} == {p: 2 * len(c) for p, c in lists.items()}
    for time in ("00000001", "00000004"):
        shutil.rmtree(folder_of(copy, 20) / time / "image_cropped" / "right")
    fewer = opened(copy).lists("paper-humbi")
    assert not any("subject_20/" in name for chosen in fewer.values() for name in chosen.ids)


def test_a_whole_tree_tells_what_the_release_has_too(root: Path, hands: LabelHands):
    report = opened(root).check(deep=True, hands=hands)
    counts = {count.what: count.found for count in report.counts}
    assert counts["subjects"] == 3
    assert counts["usable crops of right hands"] == counts["usable crops of left hands"] == 12
    assert counts["crops in lists"] == 24 + 2
    said = "\n".join(report.problems)
    assert "subject_52" in said
    assert "names pictures that are not there, of cameras 4;" in said
    assert len(report.problems) == 1 + 2
    assert all("at most 0.000 mm" in note for note in report.notes)


# ------------------------------------------------------------------------------------ bad input


def spoiled_cameras(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(lines[:-1])


def with_a_fourth_column(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(f"{line} 1" if line.count(" ") == 2 else line for line in lines)


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("intrinsic.txt", spoiled_cameras, "damaged or no camera file"),
        ("extrinsic.txt", lambda text: text.replace("0 3\n", "0 x\n"), "damaged or no camera file"),
        ("extrinsic.txt", lambda text: "", "is empty"),
        ("extrinsic.txt", with_a_fourth_column, "rows of 4 numbers instead of 3"),
        ("intrinsic.txt", lambda text: text.replace("0 3\n", "0 5\n"), "has no camera 5"),
        ("intrinsic.txt", lambda text: "a\nb\nc\n0 0\n" + "0 0 0\n" * 3, "that no camera has"),
    ],
)
def test_bad_cameras_leave_their_pictures_out(
    copy: Path, name: str, spoil: Callable[[str], str], said: str
):
    path = folder_of(copy, 1) / name
    path.write_text(spoil(path.read_text()))
    tree = opened(copy)
    lists = tree.lists("humbi")
    told = "\n".join(problem for chosen in lists.values() for problem in chosen.problems)
    assert said in told
    left = [n for chosen in lists.values() for n in chosen.ids if n.startswith("subject_1/")]
    assert len(left) < 12
    assert not any(n.endswith("0000003") for n in left)
    assert any(said in problem for problem in tree.check().problems)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 -5 200 10 200", "that of camera 0 leaves the picture of 1920 × 1080 px"),
        ("0 10 2000 10 200", "that of camera 0 leaves the picture"),
        ("0 200 100 10 200", "that of camera 0 has no area"),
        ("0 nan 100 10 200", "that of camera 0 is not finite"),
        ("0 1 2 3", "line 1 is not a camera and four edges"),
        ("a 1 2 3 4", "line 1 is not a camera and four edges"),
        ("0.5 1 2 3 4", "line 1 is not a camera and four edges"),
    ],
)
def test_bad_boxes_are_told_and_the_rest_goes_on(copy: Path, line: str, said: str):
    path = folder_of(copy, 1) / "00000001" / "image_cropped" / "right" / "list.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([line, *lines[1:]]))
    tree = opened(copy)
    assert any(said in problem and str(path) in problem for problem in tree.check().problems)
    left = [n for n in everything(tree).ids if n.startswith("subject_1/00000001/right")]
    assert len(left) == (2 if "camera 0" in said else 0)
    assert len(everything(tree)) >= 21


def test_boxes_may_be_real_numbers_with_any_spaces(copy: Path):
    path = folder_of(copy, 1) / "00000001" / "image_cropped" / "right" / "list.txt"
    before = opened(copy).data(everything(opened(copy)))
    path.write_text(path.read_text().replace(" ", "   ").replace("\n", ".0 \r\n\r\n"))
    after = opened(copy).data(everything(opened(copy)))
    assert before.fingerprint() == after.fingerprint()


def test_fitted_hands_may_stand_in_one_row(copy: Path, hands: LabelHands):
    path = folder_of(copy, 1) / "00000001" / "reconstruction" / "mano_params_r.txt"
    before = opened(copy).data(everything(opened(copy)), hands).fingerprint()
    path.write_text(" ".join(path.read_text().split()))
    assert opened(copy).data(everything(opened(copy)), hands).fingerprint() == before
    tree = opened(copy)
    chosen = everything(tree)
    path.write_text(path.read_text().rsplit(" ", 1)[0])
    with pytest.raises(ValueError, match="must have 36 numbers, and there are 35"):
        tree.data(chosen, hands)
    lists = opened(copy).lists("humbi")
    said = [p for chosen in lists.values() for p in chosen.problems]
    assert any("there are 35" in p and "3 pictures are left out" in p for p in said)


@pytest.mark.parametrize(
    ("number", "said"), [("nan", "some are not finite"), ("1e9", "has the number 1e+09")]
)
def test_absurd_hands_are_left_out(copy: Path, number: str, said: str):
    path = folder_of(copy, 10) / "00000004" / "reconstruction" / "mano_params_l.txt"
    path.write_text("\n".join([number, *path.read_text().split()[1:]]))
    tree = opened(copy)
    assert len(everything(tree)) == 21
    assert any(said in problem for problem in tree.check(deep=True).problems)


def test_hands_that_the_crop_cannot_show_are_left_out(copy: Path):
    path = folder_of(copy, 1) / "00000001" / "reconstruction" / "keypoints_r.txt"
    points = np.loadtxt(path)
    np.savetxt(path, points + np.array([0.0, 0.0, 0.5]))
    tree = opened(copy)
    said = "\n".join(p for chosen in tree.lists("humbi").values() for p in chosen.problems)
    assert "3 pictures whose hand is outside its picture are left out" in said


def test_missing_pieces_are_named(copy: Path):
    (folder_of(copy, 1) / "00000001" / "reconstruction" / "mano_params_r.txt").unlink()
    (folder_of(copy, 1) / "00000004" / "image_cropped" / "left" / "image0000003.png").unlink()
    extra = folder_of(copy, 1) / "00000004" / "image_cropped" / "left" / "image0000099.png"
    cv2.imwrite(str(extra), np.zeros((250, 250, 3), np.uint8))
    shutil.copytree(folder_of(copy, 10).parent, copy / "Hand_401_453" / "subject_10")
    said = "\n".join(opened(copy).check().problems)
    assert "3 pictures without a label are left out" in said
    assert "names pictures that are not there, of cameras 3;" in said
    assert "has pictures that list.txt does not name, of cameras 99;" in said
    assert "subject_10 is there twice" in said


def test_damaged_pictures_are_named(copy: Path, hands: LabelHands):
    path = folder_of(copy, 1) / "00000001" / "image_cropped" / "right" / "image0000000.png"
    path.write_bytes(path.read_bytes()[:-9])
    tree = opened(copy)
    assert any(str(path) in problem for problem in tree.check(deep=True).problems)
    chosen = replace(everything(tree), ids=("subject_1/00000001/right/0000000",))
    with pytest.raises(ValueError, match="damaged or cut off"):
        tree.data(chosen)[0]
    cv2.imwrite(str(path), np.zeros((250, 200, 3), np.uint8))
    with pytest.raises(ValueError, match="200 × 250 pixels instead of 250 × 250"):
        tree.data(chosen)[0]


def test_another_camera_file_is_noticed(copy: Path):
    path = folder_of(copy, 1) / "project.txt"
    text = path.read_text()
    path.write_text(text.replace(f"0 {CAMERAS[1]}\n", "0 888\n").replace("0 0\n", "0 3\n"))
    (problem,) = [p for p in opened(copy).check().problems if "project.txt" in p]
    assert "camera 3 is another one" in problem


def test_folders_above_and_inside_are_told_the_root(root: Path, tmp_path: Path):
    assert opened(root / "Hand_1_400").layout.subjects.keys() == opened(root).layout.subjects.keys()
    upper = tmp_path / "upper"
    shutil.copytree(root, upper / "humbi")
    with pytest.raises(ValueError, match=r"above HUMBI's root; name .*humbi"):
        open_humbi(upper)
    for inside in (folder_of(root, 1), folder_of(root, 1).parent, folder_of(root, 1) / "00000001"):
        with pytest.raises(ValueError, match="a part of HUMBI"):
            open_humbi(inside)
    assert open_humbi(Path(__file__).parent) is None


def test_lists_of_other_trees_are_refused(root: Path):
    tree = opened(root)
    chosen = everything(tree)
    for name in ("subject_1/00000001/right/0000005", "subject_3/00000001/right/0000000", "x"):
        with pytest.raises(ValueError, match=f"has no picture {name}"):
            tree.data(replace(chosen, ids=(name,)))
    with pytest.raises(ValueError, match="no protocol 'paper'; it has paper-humbi, humbi"):
        tree.lists("paper")
