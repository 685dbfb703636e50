"""Predictions on disk: what goes in comes out, and what is no prediction is refused."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idhand.geometry import rotation_from_vector
from idhand.predictions import Predictions, concatenate

HEADER = {"model": "toy", "method": "guess", "commit": "abc", "dataset": "fake"}


def make_predictions(
    num: int = 6, *, seed: int = 0, num_betas: int = 4, **changes: Any
) -> Predictions:
    """Rows that fill every field that goes with a hand model; two pictures a person."""
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.normal(size=(num, 16, 3)) * 0.4)
    spread = rng.normal(size=(num, num_betas, num_betas)) * 0.1
    values: dict[str, Any] = {
        "header": HEADER,
        "sample_id": tuple(f"{seed}-{index:03d}" for index in range(num)),
        "subject": tuple(f"person-{index // 2}" for index in range(num)),
        "is_right": rng.random(num) < 0.5,
        "found": np.ones(num, bool),
        "K": np.tile(np.array([[200.0, 0, 112], [0, 200, 112], [0, 0, 1]]), (num, 1, 1)),
        "rotations": rotation_from_vector(vectors).numpy(),
        "betas": rng.normal(size=(num, num_betas)),
        "betas_cov": spread @ spread.swapaxes(1, 2),
        "wrist_cam": rng.normal(size=(num, 3)) * 0.1 + np.array([0, 0, 0.5]),
        "confidence": rng.normal(size=num),
        "points_px": rng.normal(size=(num, 21, 2)) * 100,
        "points_conf": rng.random((num, 21)),
    }
    return Predictions(**{**values, **changes})


def mesh_only(num: int = 3, num_verts: int = 40, **changes: Any) -> Predictions:
    rng = np.random.default_rng(1)
    nothing = dict.fromkeys(("rotations", "betas", "betas_cov", "wrist_cam"))
    verts = rng.normal(size=(num, num_verts, 3))
    return make_predictions(num, **{**nothing, "verts_cam": verts, **changes})


def assert_same(a: Predictions, b: Predictions) -> None:
    for field in fields(Predictions):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, field.name
            np.testing.assert_array_equal(x, y, err_msg=field.name)
        else:
            assert x == y, field.name


@pytest.mark.parametrize(
    "predictions",
    [
        make_predictions(),
        mesh_only(),
        make_predictions(0),
        make_predictions(betas_cov=None, wrist_cam=None, points_px=None, points_conf=None),
        make_predictions(2, sample_id=("Übung 1", "手"), header={**HEADER, "note": "ä手"}),
        make_predictions(2, confidence=np.array([0.5, -2.0], np.float32)),
    ],
    ids=["all", "mesh", "empty", "least", "unicode", "float32"],
)
def test_what_is_saved_is_loaded(predictions: Predictions, tmp_path: Path):
    predictions.save(tmp_path / "a.npz")
    assert_same(Predictions.load(tmp_path / "a.npz"), predictions)
    predictions.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_hands_that_were_not_found_may_be_nan_and_others_not(tmp_path: Path):
    rotations = make_predictions().rotations
    assert rotations is not None
    rotations[2] = np.nan
    sentence = r"rotations is not finite in 1 of 6 pictures \(first: 0-002\); mark pictures"
    with pytest.raises(ValueError, match=sentence):
        make_predictions(rotations=rotations)
    missed = make_predictions(rotations=rotations, found=np.arange(6) != 2)
    missed.save(tmp_path / "a.npz")
    assert_same(Predictions.load(tmp_path / "a.npz"), missed)


def test_float16_rotations_are_rotations_and_reflections_are_not():
    rotations = make_predictions().rotations
    assert rotations is not None
    assert make_predictions(rotations=rotations.astype(np.float16)).rotations is not None
    for wrong in (-rotations, 1.1 * rotations):
        with pytest.raises(ValueError, match="contain a matrix that is not a rotation in 6 of 6"):
            make_predictions(rotations=wrong)
    almost = rotations.copy()
    almost[3, 15] *= 1.004  # R Rᵀ off by 8e-3 is within the tolerance of 1e-2, 1.2e-2 is not
    assert make_predictions(rotations=almost).rotations is not None
    almost[3, 15] *= 1.002
    almost[5, 7, 0] *= -1.0
    with pytest.raises(ValueError, match=r"not a rotation in 2 of 6 pictures \(first: 0-003\)"):
        make_predictions(rotations=almost)


def test_rows_that_do_not_fit_together():
    """Wrong shapes are a matter of types here; in files they are a user's mistake (below)."""
    with pytest.raises(ValueError, match="some sample_id occurs twice"):
        make_predictions(sample_id=("a",) * 6)
    with pytest.raises(ValueError, match="subject has 1 rows, sample_id has 6"):
        make_predictions(subject=("a",))
    with pytest.raises(ValueError, match="rotations and betas belong together"):
        make_predictions(betas=None, betas_cov=None)
    with pytest.raises(ValueError, match="rotations and betas belong together"):
        make_predictions(rotations=None)
    with pytest.raises(ValueError, match="give either rotations and betas, or verts_cam"):
        make_predictions(betas_cov=None, verts_cam=np.zeros((6, 40, 3)))
    with pytest.raises(ValueError, match="there is nothing predicted"):
        make_predictions(rotations=None, betas=None, betas_cov=None, points_px=None)
    with pytest.raises(ValueError, match=r"betas_cov has rows of shape .* there are 0 betas"):
        mesh_only(betas_cov=np.zeros((3, 4, 4)))
    one = np.zeros((6, 21, 2))
    one[4, 20, 1] = np.nan
    with pytest.raises(ValueError, match=r"points_px is not finite in 1 of 6 .*0-004"):
        make_predictions(points_px=one)
    with pytest.raises(ValueError, match="confidence is not finite in 1 of 6"):
        make_predictions(confidence=np.array([0.0, np.inf, 0, 0, 0, 0]))
    for header in ({"model": "toy"}, {}):
        with pytest.raises(ValueError, match=r"is not a table of text with .*method"):
            make_predictions(header=header)


def test_files_of_today_will_be_read(tmp_path: Path):
    """A file of version 1, made without the class."""
    about = {"format": "idhand predictions", "version": 1, "header": {"model": "m", "method": "n"}}
    np.savez(
        tmp_path / "a.npz",
        header=header_bytes(**about),
        sample_id=np.array(["x", "y"]),
        subject=np.array(["p", "p"]),
        is_right=np.array([True, False]),
        found=np.array([True, False]),
        K=np.tile(np.eye(3), (2, 1, 1)),
        rotations=np.tile(np.eye(3), (2, 16, 1, 1)),
        betas=np.array([[1.0, 2.0], [np.nan, 0.0]]),
        of_a_later_version=np.zeros(2),
    )
    read = Predictions.load(str(tmp_path / "a.npz"))
    assert read.header == about["header"]
    assert (read.sample_id, read.subject) == (("x", "y"), ("p", "p"))
    assert read.found.tolist() == [True, False]
    assert read.betas is not None
    assert read.betas.tolist()[0] == [1.0, 2.0]
    assert (read.wrist_cam, read.verts_cam, read.confidence) == (None, None, None)


def test_the_file_is_whole_when_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[list[str]] = []

    def see(_descriptor: int) -> None:
        made.append([path.name for path in tmp_path.iterdir()])

    monkeypatch.setattr("idhand.files.os.fsync", see)
    make_predictions().save(tmp_path / "a.npz")
    (name,), then = made
    assert name.startswith(".a."), "hidden until it is on the disk"
    assert then == ["a.npz"], "and then its name is brought there"
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def points_alone(**changes: Any) -> Predictions:
    """As of a method that knows no hand model and assumes no camera."""
    nothing = dict.fromkeys(("rotations", "betas", "betas_cov", "wrist_cam"))
    values = {**nothing, "K": np.full((6, 3, 3), np.nan), "header": {"method": "dots"}}
    return make_predictions(**{**values, **changes})


def test_points_alone_belong_to_no_model_and_need_no_camera(tmp_path: Path):
    points = points_alone()
    points.save(tmp_path / "a.npz")
    assert_same(Predictions.load(tmp_path / "a.npz"), points)
    assert (points.kind, points.model, points.method) == ("points", "", "dots")
    assert (mesh_only().kind, make_predictions().kind) == ("meshes", "poses")
    with pytest.raises(ValueError, match="K is not finite in 6 of 6"):
        make_predictions(K=np.full((6, 3, 3), np.nan))
    wrong = np.zeros((6, 21, 2))
    wrong[1] = np.inf
    with pytest.raises(ValueError, match="points_px is not finite in 1 of 6"):
        points_alone(points_px=wrong)
    eye = np.eye(3)
    posed = {"rotations": np.tile(eye, (6, 16, 1, 1)), "K": np.tile(eye, (6, 1, 1))}
    arrays = {**dict(np.load(tmp_path / "a.npz")), **posed, "betas": np.zeros((6, 4))}
    np.savez(tmp_path / "b.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"cannot be used: .* is not a table of text with model"):
        Predictions.load(tmp_path / "b.npz")


def test_selection_and_concatenation_are_opposites():
    whole = make_predictions()
    parts = [whole.select([0, 1, 2]), whole.select(np.array([3, 4, 5]))]
    assert_same(concatenate(parts), whole)
    assert whole.select([4, 0]).sample_id == ("0-004", "0-000")
    assert len(whole.select([])) == 0
    people = whole.by_subject()
    assert list(people) == ["person-0", "person-1", "person-2"]
    assert list(whole.select([5, 0, 4]).by_subject()) == ["person-2", "person-0"]
    assert (whole.model, whole.method) == ("toy", "guess")
    assert people["person-1"].sample_id == ("0-002", "0-003")
    assert_same(concatenate(list(people.values())), whole)
    unknown = replace(whole, subject=("", *whole.subject[1:5], ""))
    with pytest.raises(ValueError, match="of which 2 of 6 do not say whose hand they show"):
        unknown.by_subject()


def test_what_cannot_be_concatenated():
    first, other = make_predictions(), make_predictions(seed=1)
    assert len(concatenate([first, other])) == 12
    with pytest.raises(ValueError, match="some sample_id occurs twice"):
        concatenate([first, first])
    with pytest.raises(ValueError, match="headers differ"):
        concatenate([first, replace(other, header={**HEADER, "method": "another"})])
    with pytest.raises(ValueError, match="only some parts have confidence"):
        concatenate([first, replace(other, confidence=None)])
    with pytest.raises(ValueError, match="no predictions to combine"):
        concatenate([])


# --------------------------------------------------------------------------------------- bad files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_predictions().save(tmp_path / "good.npz")
    return tmp_path / "good.npz"


def rewritten(path: Path, **changes: np.ndarray | None) -> Path:
    """The same file with other arrays."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    kept = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path, **kept)  # pyright: ignore[reportArgumentType]
    return path


def header_bytes(**about: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(about).encode(), np.uint8)


def test_files_that_are_something_else(path: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz: no such file; check the name"):
        Predictions.load(tmp_path / "nothing.npz")
    no_file = "no predictions file of idhand"
    for content, fault in {b"": "empty", b"hello, I am a text": no_file}.items():
        (tmp_path / "text.npz").write_bytes(content)
        with pytest.raises(ValueError, match=rf"text\.npz is {fault}"):
            Predictions.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz is no predictions file of idhand"):
        Predictions.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"give a name that ends in \.npz"):
        make_predictions().save(tmp_path / "predictions.pkl")


def test_damaged_files(path: Path):
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"good\.npz is damaged"):
            Predictions.load(path)
    places = np.random.default_rng(0).integers(200, len(whole) - 2000, 20)
    for place in places.tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"good\.npz (is damaged|cannot be used|is no)"):
            Predictions.load(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"header": header_bytes(format="idhand predictions", version=2, header=HEADER)},
            "has version 2, this idhand reads version 1",
        ),
        (
            {"header": header_bytes(format="idhand predictions", version=1, header={"n": 3})},
            "is not a table of text with model and method",
        ),
        ({"subject": None}, "cannot be used: it has no subject; predict again"),
        ({"sample_id": np.arange(6)}, "cannot be used: sample_id is not a list of text"),
        ({"confidence": np.array(1.0)}, "confidence has 1 rows, sample_id has 6"),
        ({"found": None}, "cannot be used: it has no found; predict again"),
        ({"K": None}, "cannot be used: it has no K; predict again"),
        ({"betas": np.zeros((2, 4))}, "cannot be used: betas has 2 rows, sample_id has 6"),
        ({"betas_cov": np.zeros((6, 3, 3))}, r"of shape \(3, 3\), and there are 4 betas"),
        ({"wrist_cam": np.zeros((6, 4))}, r"wrist_cam has rows of float64 and shape \(4,\)"),
        ({"found": np.ones(6)}, r"yes and no \(bool\) are needed, one value each"),
        ({"K": np.zeros((6, 3, 3), int)}, "rows of real numbers are needed, 3 x 3 each"),
        ({"rotations": np.full((6, 16, 3, 3), np.nan)}, "cannot be used: rotations is not finite"),
        ({"betas": np.array([{}] * 6)}, "is damaged"),
    ],
)
def test_files_with_wrong_content(changes: dict[str, Any], sentence: str, path: Path):
    with pytest.raises(ValueError, match=sentence):
        Predictions.load(rewritten(path, **changes))


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    before = path.read_bytes()

    def fail(*args: Any, **options: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        make_predictions(seed=1).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["good.npz"]
