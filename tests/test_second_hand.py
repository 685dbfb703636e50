"""A second hand model goes through everything that the open one does, on both sides.

The person and the pose are the same, so the answers must be, too: what assumed the open hand's
rest frame, number of angles or betas, or names, would show here.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import trimesh

import idhand
from idhand import assets
from idhand.assets import open_hand, population_spreads
from idhand.geometry import procrustes, rotation_from_vector
from idhand.hand import JOINT_NAMES
from idhand.identity import Identity, measure
from idhand.pipeline import Pipeline, PipelineConfig
from idhand.records import HandResult
from idhand.view import (
    Format,
    HandMotion,
    HtmlReport,
    ReportPhoto,
    export_photo,
    openxr_joints,
    portrait,
)
from idhand.view.portrait import portrait_layout
from idhand.view.report.measures import measure_rows
from idhand.view.report.meshes import STEP_M, packed_person
from tests.second_hand import (
    NAME,
    NUM_VERTS,
    open_betas,
    second_betas,
    second_hand,
    second_rotations,
)
from tests.test_export import FLIP, GLTF, Gltf, bvhio, posed_hand
from tests.test_report import numbers_in

CALIBRATION_PHOTOS = (0, 2, 4, 6)


@pytest.fixture(scope="module", autouse=True)
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The second hand is in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDHAND_HANDS", str(tmp_path_factory.mktemp("hands")))
        yield assets.add_hand(second_hand())


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return idhand.load(PipelineConfig(hand=NAME, network=None))


@pytest.fixture(scope="module")
def open_pipe(pipe: Pipeline) -> Pipeline:
    config = PipelineConfig(network=None)
    return Pipeline(config=config, detector=pipe.detector, model=open_hand())


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return json.loads((files("idhand.assets") / "data/demo/truth.json").read_text())


def photo(truth: dict[str, Any], index: int, *, mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    """A demo photo with its intrinsics, or its mirror image with that one's."""
    entry = truth["photos"][index]
    with as_file(files("idhand.assets") / "data/demo" / entry["file"]) as path:
        rgb, _ = idhand.read_image(path)
    K = np.array(entry["K"], dtype=np.float64)
    if mirror:
        rgb, K[0, 2] = np.ascontiguousarray(rgb[:, ::-1]), rgb.shape[1] - 1 - K[0, 2]
    return rgb, K


@pytest.fixture(scope="module")
def both_sides(pipe: Pipeline, truth: dict[str, Any]) -> tuple[HandResult, HandResult]:
    """The same photo's hand as a right one and, from its mirror image, as a left one."""
    hands = [pipe(*photo(truth, 0, mirror=mirror))[0] for mirror in (False, True)]
    right, left = sorted(hands, key=lambda hand: not hand.is_right)
    return right, left


@pytest.fixture(scope="module")
def me(pipe: Pipeline, truth: dict[str, Any]) -> Identity:
    """Calibrated from photos of both sides, with a ruler."""
    shots = [photo(truth, k, mirror=k % 4 == 2) for k in CALIBRATION_PHOTOS]
    images, Ks = zip(*shots, strict=True)
    return idhand.calibrate(pipe, images, K=Ks, hand_length_mm=truth["hand_length_mm"])


def aligned_mm(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Distance of each point after the best rotation, size and shift."""
    a, b = torch.from_numpy(ours), torch.from_numpy(theirs)
    scale, R, t = procrustes(a, b)
    return 1e3 * (scale * a @ R.mT + t - b).norm(dim=-1).numpy()


def same_in_second(hand: HandResult) -> HandResult:
    """The open hand's result as the second model's: the same person in the same pose."""
    rotations = second_rotations(torch.from_numpy(hand.rotations))
    betas = second_betas(torch.from_numpy(hand.betas))
    return replace(hand, model=NAME, rotations=rotations.numpy(), betas=betas.numpy())


# --------------------------------------------------------------------------------- the hand itself


def test_it_is_another_hand_of_the_same_people() -> None:
    model, other = open_hand(), second_hand()
    assert (len(other.template), other.num_betas, other.pose_space.num_dofs) == (NUM_VERTS, 10, 45)
    assert not set(other.pose_space.names) & set(model.pose_space.names)
    mesh = trimesh.Trimesh(other.template.numpy(), other.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.volume > 2e-4
    betas = other.prior.mean + torch.tensor([1.0, -1] * 5).double()
    rng = torch.Generator().manual_seed(3)
    angles = model.pose_space.mean + 0.3 * torch.randn(26, generator=rng).double()
    rotations = torch.cat(
        (rotation_from_vector(torch.ones(1, 3).double()), model.pose_space.rotations(angles))
    )
    wrist = torch.tensor([0.1, 0.0, 0.5]).double()
    ours = model.with_shape(open_betas(betas)).posed(rotations, wrist)
    theirs = other.with_shape(betas).posed(second_rotations(rotations), wrist)
    torch.testing.assert_close(theirs.joints, ours.joints, atol=1e-7, rtol=0)
    off = (theirs.keypoints - ours.keypoints).norm(dim=-1)
    assert 1e-5 < off.max() < 2e-3, "its fingertips have pose correctives"
    lengths = [
        m.measures.lengths(b)[m.measures.names.index("hand_length")]
        for m, b in ((model, open_betas(betas)), (other, betas))
    ]
    torch.testing.assert_close(*lengths)


# ---------------------------------------------------------------------------------------- pipeline


def test_it_is_loaded_by_name_and_fits_photos_as_the_open_hand_does(
    pipe: Pipeline,
    open_pipe: Pipeline,
    truth: dict[str, Any],
    both_sides: tuple[HandResult, HandResult],
) -> None:
    assert (pipe.model.name, pipe.model.num_betas) == (NAME, 10)
    known = {hand.is_right: hand for hand in both_sides}
    assert set(known) == {True, False}
    for mirror in (False, True):
        (expected,) = open_pipe(*photo(truth, 0, mirror=mirror))
        hand = known[expected.is_right]
        assert hand.status == "converged"
        assert (hand.verts_cam.shape, hand.betas.shape) == ((NUM_VERTS, 3), (10,))
        off_mm = aligned_mm(hand.keypoints_cam, expected.keypoints_cam)
        assert off_mm.mean() < 0.5
        assert off_mm.max() < 1.5
        off_px = np.linalg.norm(hand.keypoints_px - expected.keypoints_px, axis=1)
        assert off_px.mean() < 0.005 * np.ptp(expected.keypoints_px, axis=0).max()
        size = np.linalg.norm(hand.keypoints_cam[9] - hand.keypoints_cam[0])
        assert size == pytest.approx(
            np.linalg.norm(expected.keypoints_cam[9] - expected.keypoints_cam[0]), rel=0.01
        )
        ratio = hand.keypoints_std_m[1:] / expected.keypoints_std_m[1:]
        assert 0.9 < np.median(ratio) < 1.1
        mesh = trimesh.Trimesh(hand.verts_cam, hand.faces, process=False)
        assert mesh.volume > 1e-4, "normals point outward"


def test_the_mirror_image_gives_the_mirrored_hand(
    both_sides: tuple[HandResult, HandResult],
) -> None:
    right, left = both_sides
    assert aligned_mm(left.keypoints_cam * FLIP, right.keypoints_cam).mean() < 4
    model = second_hand()
    for hand in both_sides:
        flip = np.ones(3) if hand.is_right else FLIP
        posed = model.with_shape(torch.from_numpy(hand.betas)).posed(
            torch.from_numpy(hand.rotations), torch.from_numpy(hand.keypoints_cam[0] * flip)
        )
        np.testing.assert_allclose(posed.verts.numpy() * flip, hand.verts_cam, atol=1e-9)


def test_calibration_with_a_ruler_holds_the_length(
    pipe: Pipeline, me: Identity, truth: dict[str, Any]
) -> None:
    assert (me.model, me.betas.shape, me.sides) == (NAME, (10,), ("left", "right"))
    assert set(me.measurements) == set(second_hand().measures.names)
    length = me.measurements["hand_length"]
    assert length.low_mm < truth["hand_length_mm"] < length.high_mm
    assert length.high_mm - length.low_mm < 9
    rgb, K = photo(truth, 0, mirror=False)
    (hand,) = pipe(rgb, K=K, identity=me)
    np.testing.assert_array_equal(hand.betas, me.betas)


def test_a_person_of_one_model_is_refused_by_the_other(
    pipe: Pipeline, open_pipe: Pipeline, me: Identity, truth: dict[str, Any], tmp_path: Path
) -> None:
    rgb, K = photo(truth, 0, mirror=False)
    other = Identity(
        model=open_hand().name,
        betas=np.zeros(16),
        covariance=np.eye(16),
        measurements=measure(open_hand(), np.zeros(16), np.eye(16)),
    )
    made = rf"made with hand model '{NAME}' \(10 betas\), but 'idhand-open-1' \(16 betas\)"
    for call in (
        lambda: open_pipe(rgb, K, identity=me),
        lambda: idhand.view(me, model=open_hand()),
        lambda: HtmlReport(title="A", model=open_hand(), num_photos=0).write(
            tmp_path / "a.html", me
        ),
    ):
        with pytest.raises(ValueError, match=made):
            call()
    with pytest.raises(
        ValueError, match=rf"'idhand-open-1' \(16 betas\), but '{NAME}' \(10 betas\)"
    ):
        pipe(rgb, K, identity=other)
    with pytest.raises(ValueError, match=rf"'idhand-open-1' \(16 betas\), got '{NAME}' \(10\)"):
        export_photo(tmp_path, "a", [posed_hand(0)], second_hand(), ["bvh"])
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------- exports


def test_every_export_is_written_and_read_back(
    both_sides: tuple[HandResult, HandResult], tmp_path: Path
) -> None:
    """Meshes exactly; skeletons but for the pose correctives, which have no place in them."""
    model = second_hand()
    forms = [form for form in get_args(Format) if form != "mano"]  # which needs MANO
    paths = export_photo(tmp_path, "a", both_sides, model, forms)
    assert len(paths) >= len(forms)
    by_suffix = {"".join(path.suffixes): path for path in paths}
    within_corrective = {"atol": 3e-3, "rtol": 0}
    glb = Gltf(tmp_path / "a.glb")
    for mesh, hand in enumerate(both_sides):
        np.testing.assert_allclose(glb.skinned(mesh), hand.verts_cam * GLTF, **within_corrective)
        np.testing.assert_array_equal(glb.faces(mesh), hand.faces)
    for suffix in (".obj", ".ply"):
        read: Any = trimesh.load(by_suffix[suffix], process=False)
        points = read.vertices if hasattr(read, "vertices") else read.to_geometry().vertices
        assert len(points) == 2 * NUM_VERTS
        assert read.faces.max() == 2 * NUM_VERTS - 1
    with np.load(by_suffix[".npz"]) as arrays:
        assert json.loads(str(arrays["header"]))["model"] == NAME
        for row, hand in enumerate(both_sides):
            sided = model if hand.is_right else model.mirrored()
            vectors = np.concatenate((arrays["global_orient"], arrays["hand_pose"]), 1)[row]
            rotations = rotation_from_vector(torch.from_numpy(vectors).unflatten(0, (16, 3)))
            shape = sided.with_shape(torch.from_numpy(arrays["betas"][row]))
            wrist = shape.rest_joints[0] + torch.from_numpy(arrays["transl"][row])
            verts = shape.posed(rotations, wrist).verts.numpy()
            np.testing.assert_allclose(verts, hand.verts_cam, atol=1e-6)
    for index, hand in enumerate(both_sides):
        side = "right" if hand.is_right else "left"
        root = bvhio.readAsHierarchy(str(tmp_path / f"a_hand_{index}_{side}.bvh"))
        root.loadPose(0)
        places = {joint.Name: np.array(joint.PositionWorld) / 100 for joint, *_ in root.layout()}
        joints = hand.keypoints_cam[[0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19]] * GLTF
        found = np.stack([places[name] for name in JOINT_NAMES])
        np.testing.assert_allclose(found, joints, atol=1e-4)
    document = json.loads(next(path for path in paths if path.suffix == ".json").read_text())
    for entry, hand in zip(document["hands"], both_sides, strict=True):
        places = np.array(entry["frames"][0]["positions"])
        np.testing.assert_allclose(places[1], hand.keypoints_cam[0] * GLTF, atol=1e-5)
        np.testing.assert_allclose(places[12], hand.keypoints_cam[9] * GLTF, atol=1e-5)
    Usd, UsdGeom = import_module("pxr.Usd"), import_module("pxr.UsdGeom")
    stage = Usd.Stage.Open(str(next(path for path in paths if path.suffix.startswith(".usd"))))
    meshes = [UsdGeom.Mesh(prim) for prim in stage.Traverse() if prim.IsA(UsdGeom.Mesh)]
    assert [len(mesh.GetPointsAttr().Get()) for mesh in meshes] == [NUM_VERTS, NUM_VERTS]


@pytest.mark.parametrize("is_right", [True, False])
def test_openxr_joints_are_the_open_hands_in_the_same_pose(is_right: bool) -> None:
    first = np.r_[np.random.default_rng(1).normal(size=10), np.zeros(6)]
    for seed in range(3):
        hand = posed_hand(seed, is_right=is_right, betas=first)
        ours = openxr_joints(HandMotion.of(hand), open_hand())
        theirs = openxr_joints(HandMotion.of(same_in_second(hand)), second_hand())
        np.testing.assert_allclose(theirs.positions, ours.positions, atol=1e-6)
        cosine = np.abs((ours.orientations_xyzw * theirs.orientations_xyzw).sum(-1)).clip(0, 1)
        assert np.degrees(2 * np.arccos(cosine)).max() < 0.1
        assert np.abs(theirs.radii - ours.radii).max() < 3e-3, "its mesh is coarser"


# ------------------------------------------------------------------------------- pages and pictures


def unpacked(text: str) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, 3)
    return steps * STEP_M


def test_the_report_shows_the_palm_and_the_models_own_measures(
    both_sides: tuple[HandResult, HandResult], me: Identity, tmp_path: Path
) -> None:
    page = HtmlReport(title="A second hand", model=second_hand(), num_photos=1)
    page.add_photo(ReportPhoto(name="a.jpg", rgb=None, width=640, height=480, hands=both_sides))
    page.write(tmp_path / "report.html", me)
    html = (tmp_path / "report.html").read_text("utf-8")
    person = numbers_in(html)["person"]
    same = packed_person(open_hand(), open_betas(torch.from_numpy(me.betas)).numpy())
    np.testing.assert_allclose(unpacked(person["joints"]), unpacked(same["joints"]), atol=5e-5)
    assert len(unpacked(person["verts"])) == NUM_VERTS
    for name in ("hand_length", "middle_length", "hand_breadth"):
        found, expected = (unpacked(one["lines"][name]) for one in (person, same))
        np.testing.assert_allclose(found, expected, atol=5e-5)
    assert "first digit" in html
    assert "all adults, where women and men have no separate values" in html
    assert html.count('class="pop adults"') == html.count('class="pop women"') + 3


def test_measures_are_compared_with_those_who_are_known() -> None:
    """ANSUR where it has the measure; else the model's own people, of whom no sex is known."""
    model, spreads = second_hand(), population_spreads(second_hand())
    assert set(spreads) == set(model.measures.names)
    assert set(spreads["hand_length"].groups) == {"women", "men"}
    assert spreads["hand_length"] == population_spreads(open_hand())["hand_length"]
    digit = spreads["first_digit"]
    assert (set(digit.groups), digit.measured) == ({"adults"}, False)
    rng = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(model.prior.covariance)
    betas = model.prior.mean + torch.randn(4000, 10, generator=rng).double() @ root.mT
    drawn_mm = 1e3 * model.measures.lengths(betas)[:, model.measures.names.index("first_digit")]
    assert digit.adults is not None
    assert digit.adults.mean == pytest.approx(float(drawn_mm.mean()), rel=0.01)
    assert digit.adults.stdev == pytest.approx(float(drawn_mm.std()), rel=0.08)
    mean = model.prior.mean.numpy()
    person = Identity(
        model=NAME,
        betas=mean,
        covariance=0.01 * np.eye(10),
        measurements=measure(model, mean, 0.01 * np.eye(10)),
    )
    rows = {row.name: row for row in measure_rows(person)}
    assert rows["first_digit"].percentiles.startswith("adults 50 (")
    assert set(rows["hand_breadth"].groups) == {"women", "men"}


def test_the_portrait_is_found_by_name_and_upright(me: Identity) -> None:
    picture = idhand.view(me)
    assert np.array_equal(picture.rgb, portrait(me, second_hand(), width_px=1200))
    layout = portrait_layout(me, second_hand())
    betas = open_betas(torch.from_numpy(me.betas)).numpy()
    same = Identity(
        model=open_hand().name,
        betas=betas,
        covariance=np.eye(16),
        measurements=me.measurements,
    )
    names = ("hand_length", "index_length", "middle_length", "hand_breadth")
    other = portrait_layout(same, open_hand(), measures=names)
    layout = portrait_layout(me, second_hand(), measures=names)
    assert layout.px_per_mm == pytest.approx(other.px_per_mm, rel=0.01)
    assert {label.measure for label in layout.labels} == set(names)
    for name in names:
        np.testing.assert_allclose(layout.paths_px[name], other.paths_px[name], atol=8)


def test_an_overlay_of_it_is_nearly_the_open_hands(
    open_pipe: Pipeline, both_sides: tuple[HandResult, HandResult], truth: dict[str, Any]
) -> None:
    rgb, K = photo(truth, 0, mirror=False)
    (expected,) = open_pipe(rgb, K)
    (hand,) = [hand for hand in both_sides if hand.is_right == expected.is_right]
    drawn = [(one.overlay(rgb) != rgb).any(-1) for one in (hand, expected)]
    share = (drawn[0] & drawn[1]).sum() / (drawn[0] | drawn[1]).sum()
    assert share > 0.9
