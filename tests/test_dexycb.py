"""DexYCB's tree: protocols and their order, labels, the cache, agreement with the hand models."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import idhand.data.dexycb.labels as labels_module
from idhand.assets.mano_file import ManoFile
from idhand.assets.resampled import resampled_hand
from idhand.data import DataSet
from idhand.data.dexycb import DexYcb, OfficialOrder
from idhand.data.dexycb.calibration import (
    read_betas,
    read_extrinsics,
    read_intrinsics,
    world_to_camera,
)
from idhand.data.dexycb.labels import SequenceLabels, read_label
from idhand.data.dexycb.layout import SERIALS, Layout, Sequence
from idhand.data.dexycb.protocols import PROTOCOLS
from idhand.data.dexycb.tree import chosen_sequences, within_picture
from idhand.data.trees import LabelHands, Tree, open_tree
from idhand.fixtures.layer import posed_mano
from idhand.geometry import project
from idhand.records import FLIP
from tests.dexycb_tree import copied, fixture_root, hands, opened


def sequence(
    subject: int, position: int, num_frames: int = 2, *, is_right: bool = True
) -> Sequence:
    there = np.ones((8, num_frames), bool)
    return Sequence(
        folder=f"2020-subject-{subject + 1:02d}/{position:03d}",
        subject=subject,
        position=position,
        num_frames=num_frames,
        is_right=is_right,
        mano_calib="",
        extrinsics="",
        pictures=there,
        labels=there,
    )


def whole(lengths: dict[tuple[int, int], int] | None = None) -> Layout:
    """1,000 sequences; each block of five is right, right, left, left and either."""
    lengths = lengths or {}
    return Layout(
        root=Path("x"),
        sequences=tuple(
            sequence(s, p, lengths.get((s, p), 2), is_right=p % 5 < 2 or p % 10 == 4)
            for s in range(10)
            for p in range(100)
        ),
        problems=(),
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> DexYcb:
    return opened(fixture_root(), tmp_path_factory.mktemp("dexycb"))


def test_official_number_of_a_picture_is_the_published_one() -> None:
    # the toolkit prints sample 999 of s0_train: subject 1, second sequence, camera 5, frame 53
    layout = whole({(0, 0): 72, (0, 1): 74})
    order = OfficialOrder.of(layout, PROTOCOLS["dexycb-s0"].parts["train"])
    assert order.id_of(999) == f"2020-subject-01/001/{SERIALS[5]}/color_000053"
    assert order.ids()[999] == order.id_of(999)
    assert order.first_numbers()[f"2020-subject-01/001/{SERIALS[5]}"] + 53 == 999
    with pytest.raises(IndexError, match="from 0; asked for"):
        order.id_of(len(order))


@pytest.mark.parametrize(
    ("name", "train", "val", "test"),
    [("s0", 800, 40, 160), ("s1", 700, 100, 200), ("s2", 1000, 1000, 1000), ("s3", 750, 100, 150)],
)
def test_setups_have_the_published_numbers_of_sequences(
    name: str, train: int, val: int, test: int
) -> None:
    layout = whole()
    orders = {
        part: OfficialOrder.of(layout, choice)
        for part, choice in PROTOCOLS[f"dexycb-{name}"].parts.items()
    }
    assert [len(o.sequences) for o in orders.values()] == [train, val, test]
    choices = PROTOCOLS[f"dexycb-{name}"].parts.values()
    assert [c.num_published(right_alone=False) for c in choices] == [train, val, test]
    ids = [name for order in orders.values() for name in order.ids()]
    assert len(set(ids)) == len(ids) == 1000 * 8 * 2  # every picture is in one part


def test_folds_are_those_of_the_papers_code() -> None:
    parts = PROTOCOLS["paper-s10"].parts
    assert (parts["test"].subjects, parts["val"].subjects) == ({2, 3}, {0})
    folds = [p for name, p in PROTOCOLS.items() if name.startswith("paper")]
    assert len(folds) == 7
    assert all(len(p.parts["train"].subjects) == 7 for p in folds)
    assert PROTOCOLS["paper"].parts["train"].subjects == {0, 1, 2, 3, 4, 5, 9}


def test_left_out_people_are_calibrated_and_tested_on_other_sequences() -> None:
    protocol = PROTOCOLS["dexycb-loso"]
    halves = [chosen_sequences(whole(), c, protocol) for c in protocol.parts.values()]
    names = [{s.folder for s in half} for half in halves]
    assert not names[0] & names[1]
    assert [len(half) for half in halves] == [250, 250]
    published = [c.num_published(right_alone=True) for c in protocol.parts.values()]
    assert published == [251, 250], "501 right-hand sequences, 51 of them subject-08's"
    assert all(s.is_right for half in halves for s in half)
    assert {s.subject for s in halves[0]} == {s.subject for s in halves[1]} == set(range(10))


def test_the_pictures_border_counts_as_inside_as_in_the_papers_code() -> None:
    points = np.full((8, 4, 21, 2), 100.0, np.float32)
    points[0, 0, 3] = (640, 480)
    points[0, 1, 3] = (0, 0)
    points[0, 2, 3] = (640.01, 100)
    points[0, 3, 3] = (100, -0.01)
    labels = SequenceLabels(
        pose_m=np.zeros((8, 4, 51), np.float32),
        joint_3d=np.zeros((8, 4, 21, 3), np.float32),
        joint_2d=points,
        labelled=np.ones((8, 4), bool),
        problems=(),
    )
    assert within_picture(labels)[0].tolist() == [True, True, False, False]


def test_tree_is_recognised_and_counted() -> None:
    found = open_tree(fixture_root())
    assert isinstance(found, DexYcb)
    assert isinstance(found, Tree)
    counts = {c.what: (c.found, c.expected) for c in found.check().counts}
    assert counts["sequences"] == (12, 1000)
    assert counts["sequences of left hands"] == (2, 499)
    num_frames = sum(s.num_frames for s in found.layout.sequences)
    assert counts["pictures"] == (8 * num_frames, 581_968)


def test_lists_leave_out_frames_without_a_hand(tree: DexYcb) -> None:
    lists = tree.lists("dexycb-s1")
    ids = [name for chosen in lists.values() for name in chosen.ids]
    for recording, labels in tree.labels():
        world = np.load(tree.root / recording.folder / "pose.npz")["pose_m"].any((1, 2))
        assert labels.labelled.any(0).tolist() == world.tolist()
        own = [name for name in ids if name.startswith(recording.folder)]
        assert len(own) == 8 * world.sum()
    expected = {count.what: count.expected for count in lists["test"].counts}
    assert expected == {"sequences": 200, "labelled hands": 104_128}
    assert any(not labels.labelled.all() for _, labels in tree.labels())


def test_paper_takes_right_hands_within_the_picture(tree: DexYcb) -> None:
    lists = tree.lists("paper")
    for part, chosen in lists.items():
        every = tree.lists("dexycb-s1")[part]
        data = tree.data(every)
        wanted = [
            sample.id
            for sample in data.labels()
            if sample.is_right
            and (sample.keypoints_px >= 0).all()
            and (sample.keypoints_px <= (640, 480)).all()
        ]
        assert list(chosen.ids) == wanted
    expected = {count.what: count.expected for count in lists["train"].counts}
    assert expected["sequences"] == 350
    assert expected["right hands, labelled"] == 177_656
    every = sum(len(chosen) for chosen in tree.lists("dexycb-s1").values())
    assert sum(map(len, lists.values())) < every - 2 * 8  # some hands leave the picture


def test_samples_are_the_truth_of_the_fixture(tree: DexYcb) -> None:
    data = tree.data(tree.lists("dexycb-s1")["test"], hands())
    assert isinstance(data, DataSet)
    sides = set()
    for sample in data.labels():
        model = hands().of_side(sample.is_right)
        assert model is not None
        assert sample.betas is not None
        assert sample.wrist_cam is not None
        assert sample.rotations is not None
        assert sample.keypoints_cam is not None
        flip = np.ones(3) if sample.is_right else FLIP.copy()
        hand = model.with_shape(torch.from_numpy(sample.betas))
        wrist = torch.from_numpy(sample.wrist_cam * flip)
        points = hand.posed(torch.from_numpy(sample.rotations), wrist).keypoints.numpy() * flip
        assert np.abs(points - sample.keypoints_cam).max() < 1e-5
        pixels = project(torch.from_numpy(points), torch.from_numpy(sample.K)).numpy()
        assert np.abs(pixels - sample.keypoints_px).max() < 0.05
        assert sample.model == model.name
        sides.add(sample.is_right)
    assert sides == {True, False}


def test_labels_and_pictures_go_together(tree: DexYcb) -> None:
    data = tree.data(tree.lists("dexycb-s1")["val"], hands(), masks=True)
    sample = data[3]
    label = data.label(3)
    assert sample.rgb.shape == (480, 640, 3)
    assert sample.parts is not None
    assert (label.id, label.subject, label.sequence) == (sample.id, "subject-07", sample.sequence)
    frame = int(sample.id[-6:])
    assert sample.time_s == pytest.approx(frame / 30)
    assert np.array_equal(label.keypoints_px, sample.keypoints_px)
    assert list(data.labels())[3].id == data.chosen.ids[3]
    stored = np.load(tree.root / f"{sample.id.replace('color', 'labels')}.npz")
    assert np.array_equal(sample.keypoints_px, stored["joint_2d"][0])
    groups = data.sequences()
    assert sorted(i for group in groups for i in group) == list(range(len(data)))
    for group in groups:
        assert len({data.label(i).sequence for i in group}) == 1


def test_without_models_samples_have_keypoints_alone(tree: DexYcb) -> None:
    chosen = tree.lists("dexycb-s1")["test"]
    data = tree.data(chosen, LabelHands(right=hands().right))
    for sample in data.labels():
        known = (sample.model, sample.betas, sample.rotations, sample.wrist_cam)
        assert all(value is None for value in known) != sample.is_right
    assert data.fingerprint() != tree.data(chosen).fingerprint()
    assert data.fingerprint() == tree.data(chosen, LabelHands(right=hands().right)).fingerprint()


def test_both_sides_may_share_a_calibration(tmp_path: Path) -> None:
    """The publishers' layout does not forbid it; each side still means its own hand model."""
    root = copied(tmp_path, 0)
    metas = sorted(root.glob("*-subject-01/*/meta.yml"))
    for meta in metas:
        meta.write_text(meta.read_text().replace("_left", "_right"))
    assert len(metas) == 2
    tree = opened(root, tmp_path)
    assert len({recording.mano_calib for recording in tree.layout.sequences}) == 1
    data = tree.data(tree.lists("dexycb-s1", partial=True)["train"], hands())
    names = {sample.is_right: sample.model for sample in data.labels()}
    models = hands()
    assert models.right is not None
    assert models.left is not None
    assert names == {True: models.right.name, False: models.left.name}
    assert all(np.isfinite(s.rotations).all() for s in data.labels() if s.rotations is not None)
    of_right = tree.data(data.chosen, LabelHands(right=models.right))
    assert all((s.model is None) != s.is_right for s in of_right.labels())


def posed(file: ManoFile, betas: np.ndarray, pose: np.ndarray) -> np.ndarray:
    fingers = file.pose_mean + pose[:, 3:48] @ file.pose_components
    return posed_mano(file, betas, pose[:, :3], fingers, pose[:, 48:])[0]


def test_world_and_camera_parameters_are_the_same_hand(tree: DexYcb) -> None:
    for recording, labels in tree.labels():
        file = resampled_hand(is_right=recording.is_right)
        betas = read_betas(tree.root, recording.mano_calib)
        rest_wrist = file.joint_regressor[0] @ (file.template + file.shape_basis @ betas)
        world = np.load(tree.root / recording.folder / "pose.npz")["pose_m"][:, 0].astype(float)
        places = read_extrinsics(tree.root, recording.extrinsics)
        for camera in (0, 5):
            frames = np.flatnonzero(labels.labelled[camera])
            moved = world_to_camera(world[frames], rest_wrist, places[SERIALS[camera]])

            R, t = places[SERIALS[camera]][:, :3], places[SERIALS[camera]][:, 3]
            assert (
                np.abs(
                    posed(file, betas, moved) - (posed(file, betas, world[frames]) - t) @ R
                ).max()
                < 1e-9
            )
            stored = labels.pose_m[camera, frames].astype(float)
            assert np.abs(posed(file, betas, moved) - posed(file, betas, stored)).max() < 1e-5


def test_deep_check_finds_agreement_and_the_cut_picture(tree: DexYcb) -> None:
    report = tree.check(deep=True, hands=hands())
    damaged = [p for p in report.problems if "cut off" in p]
    assert len(damaged) == 1
    assert "subject-09" in damaged[0]
    agreeing = [note for note in report.notes if "from the model's joints" in note]
    assert len(agreeing) == 12  # ten right hands, two left ones
    assert not any("expected" in p for p in report.problems if "model's joints" in p)


def test_deep_check_names_the_subject_whose_shape_is_another(tree: DexYcb) -> None:
    other = replace(hands(), left=hands().right)  # left labels are not the mirrored right hand's
    problems = [p for p in tree.check(deep=True, hands=other).problems if "model's joints" in p]
    assert len(problems) == 2
    assert all("left" in p and "less than 1 mm is expected" in p for p in problems)
    assert "subject-01" in problems[0]


def test_labels_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(fixture_root(), tmp_path)
    before = [labels for _, labels in first.labels()]
    read: list[Path] = []

    def spy(path: Path):
        read.append(path)
        return read_label(path)

    monkeypatch.setattr(labels_module, "read_label", spy)
    again = opened(fixture_root(), tmp_path)
    for (_, now), then in zip(again.labels(), before, strict=True):
        assert np.array_equal(now.joint_2d, then.joint_2d)
        assert np.array_equal(now.labelled, then.labelled)
    assert not read
    recording = again.layout.sequences[0]
    path = fixture_root() / f"{recording.stem('labels', 2, 1)}.npz"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
    again.cache.read(recording)
    assert read == [path]
    kept = next((tmp_path / "cache").glob("*.npz"))
    kept.write_bytes(b"PK\x03\x04 but no archive")
    assert sum(1 for _ in again.labels()) == len(before)
    assert len(read) > 8


def test_a_cache_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    tree = opened(fixture_root(), tmp_path)
    assert len(tree.lists("dexycb-s1")["val"]) > 0


def test_intrinsics_are_those_of_the_file(tree: DexYcb) -> None:
    path = tree.root / "calibration" / "intrinsics" / f"{SERIALS[1]}_640x480.yml"
    K = read_intrinsics(tree.root, SERIALS[1])
    text = path.read_text().split("depth")[0]
    for name, value in (("fx", K[0, 0]), ("fy", K[1, 1]), ("ppx", K[0, 2]), ("ppy", K[1, 2])):
        assert f"{name}: {value}" in text
