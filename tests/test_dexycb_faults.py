"""DexYCB folders as people have them: every fault is a sentence, and the rest goes on."""

import errno
import pickle
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

import idhand.data.dexycb.labels as labels_module
from idhand.data.dexycb import DexYcb
from idhand.data.dexycb.calibration import read_betas, read_extrinsics, read_intrinsics
from idhand.data.dexycb.labels import read_label, read_parts
from idhand.data.dexycb.layout import SERIALS
from idhand.data.picture_files import picture_fault, read_picture
from idhand.data.safe_yaml import read_yaml
from idhand.data.sample_list import Part
from idhand.data.trees import open_tree
from tests.dexycb_tree import copied, fixture_root, hands, opened

SUBJECT = "20200709-subject-01"


def test_other_folders_are_refused_and_the_right_one_is_named(tmp_path: Path) -> None:
    root = fixture_root()
    with pytest.raises(ValueError, match="no data set of a known kind"):
        open_tree(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_tree(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"above DexYCB's root; name {root}"):
        open_tree(root.parent)
    recording = next((root / SUBJECT).iterdir())
    for inside in (root / SUBJECT, recording, recording / SERIALS[0], root / "calibration"):
        with pytest.raises(ValueError, match="is a part of DexYCB; name the folder that holds"):
            open_tree(inside)


def test_incomplete_trees_are_refused_where_positions_count(tmp_path: Path) -> None:
    tree = opened(copied(tmp_path, 0, 6, 7), tmp_path)  # subject 9, whom s1 tests, is missing
    with pytest.raises(ValueError, match="subject-01 has 2 sequences instead of 100") as fault:
        tree.lists("dexycb-s0")
    assert "--partial" in str(fault.value)
    with pytest.raises(
        ValueError, match=r"subject-02 is missing, subject-03 is missing, .* 7 subjects"
    ):
        tree.lists("paper")
    lists = tree.lists("paper", partial=True)
    assert {chosen.protocol for chosen in lists.values()} == {"paper-partial"}
    whole = opened(fixture_root(), tmp_path / "other").lists("paper")
    assert lists["test"].sha256 != whole["test"].sha256
    assert lists["val"].sha256 == whole["val"].sha256
    with pytest.raises(ValueError, match="official numbers of its pictures are not known"):
        tree.official_order("dexycb-s0", "test")
    with pytest.raises(ValueError, match="no protocol 'papre'; it has paper, "):
        tree.lists("papre")
    problems = tree.check().problems
    assert any("has nothing of subject-02" in problem for problem in problems)


def test_files_without_partners_are_named_and_left_out(tmp_path: Path) -> None:
    root = copied(tmp_path, 0)
    (camera,) = (root / SUBJECT).glob(f"*_140000/{SERIALS[3]}")
    (camera / "labels_000002.npz").unlink()
    (camera / "color_000003.jpg").unlink()
    (camera / "color_000099.jpg").write_bytes(b"x")
    shutil.move(camera.with_name(SERIALS[5]), camera.with_name("123456789012"))
    shutil.rmtree(camera.with_name(SERIALS[6]))
    tree = opened(root, tmp_path)
    told = "\n".join(tree.check().problems)
    assert f"1 pictures without labels ({SUBJECT}/{camera.parent.name}" in told
    assert "1 labels without pictures" in told
    assert "files beyond its" in told
    assert "a camera 123456789012 that DexYCB does not have" in told
    assert f"has no camera {SERIALS[6]}" in told
    chosen = tree.lists("dexycb-s1", partial=True)["train"]
    assert [p.partition(" (")[0].rpartition(": ")[2] for p in chosen.problems] == [
        "1 pictures without labels",
        "1 labels without pictures",
        f"{2 * frames_of(tree, camera)} missing frames",
    ]
    ids = chosen.ids
    own = [name for name in ids if camera.parent.name in name]
    assert own
    assert not any(f"{SERIALS[3]}/color_{k:06d}" in name for name in own for k in (2, 3))
    assert not any(serial in name for name in own for serial in (SERIALS[5], SERIALS[6]))


def frames_of(tree: DexYcb, camera: Path) -> int:
    """How many frames the recording of a camera's folder has."""
    (own,) = [s for s in tree.layout.sequences if s.folder.endswith(camera.parent.name)]
    return own.num_frames


def test_a_subject_that_is_there_twice_is_told(tmp_path: Path) -> None:
    root = copied(tmp_path, 0)
    shutil.copytree(root / SUBJECT, root / "20200710-subject-01")
    tree = opened(root, tmp_path)
    told = f"{root} has two folders of one subject, {SUBJECT} and 20200710-subject-01"
    assert any(told in problem for problem in tree.check().problems)
    (problem,) = tree.lists("paper", partial=True)["train"].problems
    assert f"{told}; the first is used, move the other elsewhere" in problem
    assert {s.folder.partition("/")[0] for s in tree.layout.sequences} == {SUBJECT}


def test_lists_tell_what_they_lack_and_only_of_their_own_cameras(tmp_path: Path) -> None:
    """A tree that is half unpacked must not give a shorter list of the same name in silence."""
    root = copied(tmp_path, *range(10))
    recording = next((root / SUBJECT).glob("*_140000"))
    whole = opened(root, tmp_path).lists("dexycb-loso")
    assert not whole["calibration"].problems
    shutil.rmtree(recording / SERIALS[7])  # which s2 tests on, and neither learns from
    gap = f"{root}/{SUBJECT}/{recording.name}: "
    cases: tuple[tuple[str, Part, bool], ...] = (
        ("dexycb-loso", "calibration", True),
        ("dexycb-s2", "train", False),
        ("dexycb-s2", "test", True),
    )
    for protocol, part, told in cases:
        problems = opened(root, tmp_path).lists(protocol)[part].problems
        assert [gap in problem and "missing frames" in problem for problem in problems] == (
            [True] if told else []
        )
    (recording / "meta.yml").unlink()
    lists = opened(root, tmp_path).lists("paper")
    assert all("the sequence is left out" in chosen.problems[0] for chosen in lists.values())


def test_missing_calibration_is_named(tmp_path: Path) -> None:
    root = copied(tmp_path, 0)
    tree = opened(root, tmp_path)
    chosen = tree.lists("dexycb-s1", partial=True)["train"]
    calibration = root / "calibration"
    shutil.rmtree(next(calibration.glob("extrinsics_20200709*")))
    shutil.rmtree(next(calibration.glob("mano_*subject-01_left")))
    assert len([p for p in tree.check().problems if "no such file" in p]) == 2
    with pytest.raises(FileNotFoundError, match=r"subject-01_left.mano.yml: no such file"):
        tree.data(chosen, hands())
    assert tree.data(chosen).label(0).betas is None
    (calibration / "intrinsics" / f"{SERIALS[0]}_640x480.yml").unlink()
    with pytest.raises(FileNotFoundError, match=f"{SERIALS[0]}_640x480.yml: no such file"):
        tree.data(chosen)
    shutil.rmtree(calibration)
    (problem,) = [p for p in tree.check().problems if str(calibration) in p]
    assert problem.startswith(f"{calibration} is missing; unpack the archive `calibration`")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("betas: !!python/object/apply:os.system ['touch pwned']", "names a Python object"),
        ("betas: !!python/name:os.system", "names a Python object"),
        ("a: " + "[" * 400 + "]" * 400, "nested too deeply"),
        ("a: &a [1]\nb: [" + ", ".join(["*a"] * 20) + "]", "more than 10 YAML aliases"),
        ("betas: [1, 2", "not readable as YAML"),
        ("- 1\n- 2", "no names with values"),
        ("x: " + "1" * 2_000_000, "too many for such a file"),
    ],
)
def test_yaml_is_never_more_than_values(
    text: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mano.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=fault) as told:
        read_yaml(path, "unpack it again")
    assert str(path) in str(told.value)
    assert "unpack it again" in str(told.value)
    assert [p.name for p in tmp_path.iterdir()] == ["mano.yml"]


def test_yaml_reads_tuples(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("extrinsics:\n  '8': !!python/tuple\n  - 1.5\n  - -2\n")
    assert read_yaml(path, "")["extrinsics"]["8"] == (1.5, -2)


def test_missing_files_of_the_publishers_come_with_the_remedy(tmp_path: Path) -> None:
    """Nobody has typed their names, so that checking the name is no advice."""
    with pytest.raises(FileNotFoundError, match=r"a.yml: no such file; unpack it again$"):
        read_yaml(tmp_path / "a.yml", "unpack it again")


@pytest.mark.parametrize(
    "lines",
    ["  fx: 1e7\n  fy: 600\n  ppx: 320\n  ppy: 240", "  fx: 600\n  fy: 600\n  ppx: 1e9\n  ppy: 0"],
)
def test_lenses_that_no_camera_has_are_refused(lines: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration" / "intrinsics" / f"{SERIALS[0]}_640x480.yml"
    path.parent.mkdir(parents=True)
    path.write_text(f"color:\n{lines}\n")
    with pytest.raises(ValueError, match=r"are no camera's of 640 × 480 px; unpack"):
        read_intrinsics(tmp_path, SERIALS[0])


@pytest.mark.parametrize(
    ("betas", "fault"),
    [
        ("[.nan, 0, 0, 0, 0, 0, 0, 0, 0, 0]", "10 finite numbers"),
        ("[1, 2, 3]", "10 finite numbers"),
        ("[0, 0, 900, 0, 0, 0, 0, 0, 0, 0]", "a beta of 900; no hand is that far"),
        ("{a: 1}", "10 finite numbers"),
    ],
)
def test_absurd_shapes_are_refused(betas: str, fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "calibration" / "mano_x"
    folder.mkdir(parents=True)
    (folder / "mano.yml").write_text(f"betas: {betas}")
    with pytest.raises(ValueError, match=fault):
        read_betas(tmp_path, "x")


def test_absurd_cameras_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "calibration"
    (folder / "intrinsics").mkdir(parents=True)
    path = folder / "intrinsics" / "1_640x480.yml"
    for colour, fault in (
        ("{fx: 600, fy: 600, ppx: 320}", "no colour camera with fx, fy, ppx, ppy"),
        ("{fx: -600, fy: 600, ppx: 320, ppy: 240}", "focal lengths -600 and 600"),
        ("{fx: .inf, fy: 600, ppx: 320, ppy: 240}", "4 finite numbers"),
    ):
        path.write_text(f"color: {colour}")
        with pytest.raises(ValueError, match=fault):
            read_intrinsics(tmp_path, "1")
    (folder / "extrinsics_x").mkdir()
    row = [1.0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0]  # a reflection
    (folder / "extrinsics_x" / "extrinsics.yml").write_text(f"extrinsics: {{'8': {row}}}")
    with pytest.raises(ValueError, match="no rotation for 8"):
        read_extrinsics(tmp_path, "x")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("num_frames: 5", "has no 'mano_sides'"),
        ("mano_sides: [both]\nmano_calib: [x]\nextrinsics: x\nserials: []\nnum_frames: 5", "side"),
        (
            "mano_sides: [left]\nmano_calib: [../x]\nextrinsics: x\nserials: []\nnum_frames: 5",
            "'../",
        ),
        (
            "mano_sides: [left]\nmano_calib: [x]\nextrinsics: x\nserials: []\nnum_frames: -1",
            "-1 fr",
        ),
    ],
)
def test_a_damaged_meta_file_costs_one_sequence(text: str, fault: str, tmp_path: Path) -> None:
    root = copied(tmp_path, 0)
    meta = sorted((root / SUBJECT).glob("*/meta.yml"))[0]
    meta.write_text(text)
    tree = opened(root, tmp_path)
    assert len(tree.layout.sequences) == 1
    (problem,) = [p for p in tree.layout.problems if "meta.yml" in p]
    assert fault in problem
    assert problem.endswith("the sequence is left out")


def arrays_of_a_label() -> dict[str, np.ndarray]:
    path = next(fixture_root().rglob("labels_000002.npz"))
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def spoilt(name: str, change: Callable[[np.ndarray], np.ndarray]) -> bytes:
    out, arrays = BytesIO(), arrays_of_a_label()
    arrays[name] = change(arrays[name].copy())
    np.savez_compressed(out, allow_pickle=True, **arrays)
    return out.getvalue()


def _set(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[2] = value
        return array

    return change


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (lambda: spoilt("joint_3d", _set(np.nan)), "numbers that are not finite"),
        (lambda: spoilt("joint_3d", _set(-0.4)), "m before the camera"),
        (lambda: spoilt("joint_2d", _set(1e5)), "a side of"),
        (lambda: spoilt("pose_m", _set(1e6)), "a number of its pose is 1e\\+06"),
        (lambda: spoilt("pose_m", lambda a: a[:, :50]), "of shape \\(1, 50\\)"),
        (lambda: spoilt("pose_m", lambda a: a.astype(np.int64)), "type int64"),
        (lambda: spoilt("seg", lambda a: a)[:900], "is damaged"),
        (lambda: b"", "is damaged"),
        (lambda: b"PK\x03\x04", "is damaged"),
    ],
)
def test_damaged_and_absurd_labels_are_named(
    content: Callable[[], bytes], fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "labels_000000.npz"
    path.write_bytes(content())
    with pytest.raises(ValueError, match=fault) as told:
        read_label(path)
    assert str(path) in str(told.value)
    assert "unpack the publishers' archive again" in str(told.value)


def test_labels_without_a_hand_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(spoilt("joint_3d", lambda a: np.full_like(a, -1)))
    assert read_label(path) is None
    path.write_bytes(spoilt("joint_3d", _set(2.0)))  # one number alone may be anything
    assert read_label(path) is not None


def test_nothing_is_unpickled_and_no_claimed_memory_is_taken(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self):
            return (Path(tmp_path / "pwned").touch, ())

    path = tmp_path / "a.npz"
    path.write_bytes(spoilt("pose_m", lambda a: np.array([[Bad()]], object)))
    with pytest.raises(ValueError, match="Python objects, which are never loaded"):
        read_label(path)
    path.write_bytes(pickle.dumps({"pose_m": 1}))
    with pytest.raises(ValueError, match="is damaged"):
        read_label(path)
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2500000000,), }"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 16
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("pose_m.npy", npy)
    with pytest.raises(ValueError, match="cannot reshape"):
        read_label(path)
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("seg.npy", b"\0" * 50_000_000)  # a bomb: 50 kB on the disk
    with pytest.raises(ValueError, match="'seg' has 50,000,000 bytes"):
        read_parts(path)
    assert not (tmp_path / "pwned").exists()


def test_a_damaged_label_is_left_out_and_told_every_time(tmp_path: Path) -> None:
    root = copied(tmp_path, 6)
    path = next(root.rglob("labels_000002.npz"))
    path.write_bytes(path.read_bytes()[:1000])
    for _ in range(2):
        val = opened(root, tmp_path).lists("dexycb-s1", partial=True)["val"]
        (problem,) = val.problems
        assert str(path) in problem
        name = str(path.relative_to(root).with_suffix("")).replace("labels", "color")
        assert name not in val.ids


def test_a_full_disk_costs_only_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(labels_module.np, "savez", full)
    tree = opened(fixture_root(), tmp_path)
    assert len(tree.lists("dexycb-s1")["val"]) > 0
    assert not list((tmp_path / "cache").iterdir())


def test_cut_and_strange_pictures_are_named(tmp_path: Path) -> None:
    source = next(fixture_root().rglob("color_000000.jpg")).read_bytes()
    path = tmp_path / "color_000000.jpg"
    path.write_bytes(source)
    assert picture_fault(path) is None
    assert read_picture(path, 640, 480).shape == (480, 640, 3)
    with pytest.raises(ValueError, match="640 × 480 pixels instead of 480 × 640"):
        read_picture(path, 480, 640)
    for content, fault in (
        (source[: len(source) // 2], "is cut off"),
        (b"no picture at all", "is damaged"),
        (b"", "is damaged"),
        (source[:30], "is damaged"),
    ):
        path.write_bytes(content)
        assert fault in (picture_fault(path) or "")
        with pytest.raises(ValueError, match=str(path)):
            read_picture(path, 640, 480)
    path.unlink()
    assert "is missing" in (picture_fault(path) or "")
