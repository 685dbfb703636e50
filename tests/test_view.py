import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from trimesh.exchange.gltf import load_glb

from idhand.assets import OPEN_HAND, open_hand
from idhand.drawing.raster import MAX_RENDER_PX, Mesh, render, vertex_normals
from idhand.lens import project_px
from idhand.records import Detection, HandResult
from idhand.view import (
    ImageHands,
    JsonLines,
    OverlayStyle,
    overlay,
    read_hands,
    with_mesh,
    write_glb,
    write_hands,
    write_obj,
)

K = np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])


def ball(centre, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and outward faces of a sphere."""
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return np.asarray(sphere.vertices) + centre, np.asarray(sphere.faces)


def make_hand(*, is_right=True, centre=(0.0, 0.0, 0.5), score=0.9, K=K, betas=16) -> HandResult:
    """A ball with a flat skeleton in it; enough of a hand to be drawn and written."""
    rng = np.random.default_rng(7)
    fan = np.linspace(-0.6, 0.6, 5) * (1 if is_right else -1)
    reach = np.linspace(0.4, 1.0, 4)
    tips = np.stack([np.sin(fan), -np.cos(fan), np.zeros(5)], 1)
    fingers = (tips[:, None] * reach[:, None]).reshape(20, 3) * 0.05
    keypoints = np.concatenate((np.zeros((1, 3)), fingers)) + centre
    verts, faces = ball(centre, 0.05)
    px = project_px(keypoints, K)
    box = np.concatenate((px.min(0), px.max(0)))
    return HandResult(
        is_right=is_right,
        score=score,
        bbox_px=box,
        keypoints_px=px,
        keypoints_cam=keypoints,
        verts_cam=verts,
        faces=faces,
        rotations=np.tile(np.eye(3), (16, 1, 1)),
        model=OPEN_HAND,
        betas=rng.normal(size=betas),
        K=K,
        K_is_guess=False,
        status="converged",
        residual_px=1.5,
        keypoints_std_m=np.full(21, 0.003),
        depth_std_m=0.02,
        detection=Detection(
            is_right=is_right,
            score=score,
            bbox_px=box,
            landmarks_px=px,
            landmarks_z_px=np.zeros(21),
            landmarks_world=keypoints - centre,
            confidence=np.ones(21),
        ),
    )


def broken_hand() -> HandResult:
    """A fit that ended nowhere."""
    nowhere = {name: np.full((21, n), np.nan) for name, n in (("px", 2), ("cam", 3))}
    return replace(
        make_hand(),
        status="diverged",
        keypoints_px=nowhere["px"],
        keypoints_cam=nowhere["cam"],
        verts_cam=np.full((642, 3), np.nan),
        residual_px=float("nan"),
        depth_std_m=float("inf"),
    )


PHOTO = np.full((480, 640, 3), 90, np.uint8)
MESH_ONLY = OverlayStyle(skeleton=False, box=False, label=False)


# ------------------------------------------------------------------------------------------ raster


@pytest.mark.parametrize("shift_px", [0.0, 0.25, 0.5])
def test_coverage_is_that_of_the_projected_ball(shift_px: float):
    z, radius = 2.0, 0.05  # far away, so that the outline is nearly a circle
    centre = np.array([shift_px * z / 500, 0, z])
    verts, faces = ball(centre, radius)
    mesh = Mesh(verts_px=project_px(verts, K), verts_cam=verts, faces=faces, colour=(9, 9, 9))
    layer = render([mesh], 640, 480)
    assert layer is not None
    rows, columns = np.indices(layer.coverage.shape)
    total = layer.coverage.sum()
    x = (layer.coverage * (columns + layer.x)).sum() / total
    y = (layer.coverage * (rows + layer.y)).sum() / total
    assert x == pytest.approx(319.5 + shift_px, abs=0.03), "pixel centres are at integers"
    assert y == pytest.approx(239.5, abs=0.03)
    assert total == pytest.approx(np.pi * (500 * radius / z) ** 2, rel=0.06)


def test_nearer_meshes_cover_farther_ones():
    near, far = ball((0, 0, 0.4), 0.02), ball((0, 0, 0.6), 0.06)
    meshes = [
        Mesh(verts_px=project_px(v, K), verts_cam=v, faces=f, colour=colour)
        for (v, f), colour in ((near, (255, 0, 0)), (far, (0, 0, 255)))
    ]
    for order in (meshes, meshes[::-1]):
        layer = render(order, 640, 480)
        assert layer is not None
        middle = layer.premultiplied[240 - layer.y, 320 - layer.x]
        assert middle[0] > 2 * middle[2]
        edge = layer.premultiplied[240 - layer.y, 320 - layer.x + 40]
        assert edge[2] > 2 * edge[0]


def test_large_windows_are_drawn_small_and_scaled_up():
    big = np.diag([10.0, 10, 1]) @ K
    verts, faces = ball((0, 0, 0.5), 0.05)
    mesh = Mesh(verts_px=project_px(verts, big), verts_cam=verts, faces=faces, colour=(9, 9, 9))
    layer = render([mesh], 6400, 4800)
    assert layer is not None
    assert max(layer.coverage.shape) == pytest.approx(1000, rel=0.05)
    assert MAX_RENDER_PX < 6400


def test_vertex_normals_point_outward():
    verts, faces = ball((0, 0, 0), 0.05)
    normals = vertex_normals(verts, faces)
    np.testing.assert_allclose((normals * verts).sum(1), 0.05, rtol=1e-3)


# ----------------------------------------------------------------------------------------- overlay


def test_without_hands_the_photo_is_unchanged():
    picture = overlay(PHOTO, [])
    np.testing.assert_array_equal(picture, PHOTO)
    assert picture is not PHOTO


@pytest.mark.parametrize("size", [(480, 640), (60, 80), (31, 1)])
def test_overlay_draws_near_the_hand_only(size):
    photo = np.full((*size, 3), 90, np.uint8)
    scale = np.diag([size[1] / 640, size[0] / 480, 1.0])
    hands = [make_hand(K=scale @ K), make_hand(is_right=False, centre=(0.08, 0, 0.5), K=scale @ K)]
    picture = overlay(photo, hands)
    assert picture.shape == photo.shape
    assert (picture != photo).any()
    assert (photo == 90).all(), "the photo itself is not touched"
    if size == (480, 640):
        np.testing.assert_array_equal(picture[:, :200], photo[:, :200])


@pytest.mark.parametrize("part", ["mesh", "skeleton", "box", "label"])
def test_every_part_can_be_left_out(part: str):
    everything = overlay(PHOTO, [make_hand()])
    without = overlay(PHOTO, [make_hand()], style=OverlayStyle(**{part: False}))
    assert (everything != without).any()


def test_opacity():
    drawn = overlay(PHOTO, [make_hand()], style=MESH_ONLY)
    clear = overlay(PHOTO, [make_hand()], style=replace(MESH_ONLY, mesh_opacity=0.0))
    assert (drawn != PHOTO).any()
    np.testing.assert_array_equal(clear, PHOTO)
    with pytest.raises(ValueError, match=r"in 0..1, got 2"):
        OverlayStyle(mesh_opacity=2.0)


@pytest.mark.parametrize("centre", [(9.0, 0, 0.5), (0, 0, -0.5), (0, 0, 0.04), (0, 0, 0.0)])
def test_hands_out_of_sight_do_no_harm(centre):
    with np.errstate(all="raise"):
        picture = overlay(PHOTO, [make_hand(centre=centre)])
        mesh = overlay(PHOTO, [make_hand(centre=centre)], style=MESH_ONLY)
    assert (picture.shape, picture.dtype) == (PHOTO.shape, PHOTO.dtype)
    if centre[2] < 0 or centre[0] > 1:  # behind the camera, or far beside the picture
        np.testing.assert_array_equal(mesh, PHOTO)


def test_a_failed_fit_is_a_box_with_a_word():
    picture = overlay(PHOTO, [broken_hand()])
    assert (picture != PHOTO).any()
    np.testing.assert_array_equal(overlay(PHOTO, [broken_hand()], style=MESH_ONLY), PHOTO)


def test_lens_distortion_moves_the_drawing():
    dist = np.array([-0.3, 0.1, 0.001, 0.002, 0.0])
    hand = make_hand(centre=(0.2, 0.1, 0.5))
    plain = overlay(PHOTO, [hand], style=MESH_ONLY)
    bent = overlay(PHOTO, [hand], style=MESH_ONLY, dist=dist)
    assert (plain != bent).any()
    expected = cv2.projectPoints(hand.keypoints_cam, np.zeros(3), np.zeros(3), K, dist)[0][:, 0]
    np.testing.assert_allclose(project_px(hand.keypoints_cam, K, dist), expected)
    np.testing.assert_allclose(project_px(hand.keypoints_cam, K, np.zeros(5)), hand.keypoints_px)


# ------------------------------------------------------------------------------------------ meshes


HANDS = [make_hand(), make_hand(is_right=False, centre=(0.1, 0.02, 0.6))]


def test_glb_is_upright_outward_and_metric(tmp_path: Path):
    path = tmp_path / "a.glb"
    write_glb(path, HANDS)
    with path.open("rb") as stream:
        scene = load_glb(stream, process=False)
    meshes = scene["geometry"]
    assert set(meshes) == {"hand_0_right", "hand_1_left"}
    for hand, mesh in zip(HANDS, meshes.values(), strict=True):
        verts = np.asarray(mesh["vertices"])
        np.testing.assert_allclose(verts * [1, -1, -1], hand.verts_cam, atol=1e-6)
        np.testing.assert_array_equal(mesh["faces"], hand.faces)
        solid = trimesh.Trimesh(verts, mesh["faces"], process=False)
        assert solid.volume > 0, "normals outward"
        assert (np.asarray(mesh["vertex_normals"]) * (verts - verts.mean(0))).sum(1).min() > 0
    colours = {mesh["visual"].material.baseColorFactor.tobytes() for mesh in meshes.values()}
    assert len(colours) == 2


def test_obj_keeps_the_camera_frame(tmp_path: Path):
    path = tmp_path / "a.obj"
    write_obj(path, HANDS)
    assert path.read_text().startswith("# idhand; metres; camera frame: x right, y down, z forward")
    rows = [line.split() for line in path.read_text().splitlines()]
    assert [row[1] for row in rows if row[0] == "o"] == ["hand_0_right", "hand_1_left"]
    verts = np.array([row[1:] for row in rows if row[0] == "v"], float)
    faces = np.array([row[1:] for row in rows if row[0] == "f"], int) - 1
    both = np.concatenate([hand.verts_cam for hand in HANDS])
    np.testing.assert_allclose(verts, both, atol=1e-6)
    for hand, own in zip(HANDS, np.split(faces, 2), strict=True):
        mesh = trimesh.Trimesh(verts, own, process=False)
        assert mesh.volume > 0, "normals outward"
        np.testing.assert_allclose(mesh.triangles_center.mean(0), hand.verts_cam.mean(0), atol=1e-6)
    assert trimesh.load_scene(path).extents.max() < 0.3, "other programs read it"


@pytest.mark.parametrize("write", [write_glb, write_obj])
def test_failed_fits_are_not_in_meshes(tmp_path: Path, write):
    path = tmp_path / ("a.glb" if write is write_glb else "a.obj")
    with pytest.raises(ValueError, match="no hand with a usable fit"):
        write(path, [broken_hand()])
    assert not path.exists()
    write(path, [broken_hand(), HANDS[1]])
    assert b"hand_1_left" in path.read_bytes()
    assert b"hand_0" not in path.read_bytes()


# ----------------------------------------------------------------------------------------- results


def image_hands(**changes) -> ImageHands:
    values = {"file": "photos/a.jpg", "name": "a", "width": 640, "height": 480, "K": K}
    return ImageHands(**{**values, "hands": (make_hand(), make_hand(is_right=False)), **changes})


def strict(text: str):
    def refuse(word: str):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_hands_there_and_back(tmp_path: Path):
    path = tmp_path / "hands.json"
    empty = image_hands(file="b ü.jpg", hands=(), K=None, dist=np.zeros(5), mirrored=True)
    write_hands(path, [image_hands(), empty])
    document = strict(path.read_text("utf-8"))
    assert document["version"] == 1
    assert "verts_cam" not in document["images"][0]["hands"][0]
    first, second = read_hands(path)
    assert (first.file, first.width, first.height) == ("photos/a.jpg", 640, 480)
    assert (second.file, second.K, second.mirrored) == ("b ü.jpg", None, True)
    assert second.dist is not None
    assert first.K is not None
    np.testing.assert_array_equal(first.K, K)
    hand, expected = first.hands[1], make_hand(is_right=False)
    assert hand.verts_cam.shape == (0, 3)
    assert (hand.is_right, hand.status, hand.residual_px) == (False, "converged", 1.5)
    np.testing.assert_allclose(hand.keypoints_cam, expected.keypoints_cam, atol=1e-6)
    np.testing.assert_allclose(hand.keypoints_px, expected.keypoints_px, atol=1e-3)
    np.testing.assert_allclose(hand.betas, expected.betas, atol=1e-6)
    seen, truth = hand.detection.landmarks_world, expected.detection.landmarks_world
    np.testing.assert_allclose(seen, truth, atol=1e-6)


def test_numbers_that_are_not_finite_become_null(tmp_path: Path):
    path = tmp_path / "hands.json"
    write_hands(path, [image_hands(hands=(broken_hand(),))])
    record = strict(path.read_text())["images"][0]["hands"][0]
    assert record["depth_std_m"] is None
    assert record["keypoints_px"][0] == [None, None]
    hand = read_hands(path)[0].hands[0]
    assert np.isnan(hand.keypoints_px).all()
    assert np.isnan(hand.depth_std_m)


def test_frames_are_lines(tmp_path: Path):
    path = tmp_path / "hands.jsonl"
    with JsonLines(path) as lines:
        for i in range(3):
            lines.add(image_hands(frame=i, time_s=i / 25))
        assert not path.exists()
    assert [strict(line)["frame"] for line in path.read_text().splitlines()] == [0, 1, 2]
    assert [image.time_s for image in read_hands(path)] == [0, 0.04, 0.08]


def test_the_probability_of_a_side_is_kept_and_older_files_are_read(tmp_path: Path):
    path, hand = tmp_path / "hands.json", make_hand()
    sure = replace(hand.detection, is_right=False, right_probability=0.75)
    write_hands(path, [image_hands(hands=(replace(hand, detection=sure),))])
    seen = read_hands(path)[0].hands[0].detection
    assert (seen.is_right, seen.right_probability) == (False, 0.75)
    record = json.loads(path.read_text())
    del record["images"][0]["hands"][0]["detection"]["right_probability"]
    path.write_text(json.dumps(record))
    seen = read_hands(path)[0].hands[0].detection
    assert (seen.is_right, seen.right_probability) == (False, 0.0)


def test_hands_name_their_model_and_what_lies_outside(tmp_path: Path):
    path, hand = tmp_path / "hands.json", make_hand()
    outside = np.arange(21) > 17
    cut = replace(hand, model="other", detection=replace(hand.detection, outside=outside))
    write_hands(path, [image_hands(hands=(cut,))])
    back = read_hands(path)[0].hands[0]
    assert back.model == "other"
    np.testing.assert_array_equal(back.detection.outside, outside)
    with pytest.raises(ValueError, match="fitted with hand model 'other'"):
        with_mesh(back, open_hand())
    record = json.loads(path.read_text())
    written = record["images"][0]["hands"][0]
    del written["model"], written["detection"]["outside"]
    path.write_text(json.dumps(record))
    older = read_hands(path)[0].hands[0]
    assert (older.model, older.detection.outside) == (OPEN_HAND, None)


def test_keys_of_later_versions_are_passed_over(tmp_path: Path):
    path = tmp_path / "hands.json"
    write_hands(path, [image_hands()])
    record = json.loads(path.read_text())
    for part in (record, image := record["images"][0], hand := image["hands"][0]):
        part["new"] = 1
    hand["detection"]["new"] = [1, 2]
    path.write_text(json.dumps(record))
    (read,) = read_hands(path)
    assert len(read.hands) == len(image["hands"])
    np.testing.assert_array_equal(read.hands[0].betas, hand["betas"])


@pytest.mark.parametrize("name", ["rotations", "keypoints_cam", "keypoints_px", "K"])
@pytest.mark.parametrize("damaged", ["short", "null"])
def test_hands_of_other_shapes_are_a_sentence(tmp_path: Path, name: str, damaged: str):
    path = tmp_path / "hands.json"
    write_hands(path, [image_hands()])
    record = json.loads(path.read_text())
    hand = record["images"][0]["hands"][0]
    hand[name] = hand[name][:-1] if damaged == "short" else None
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"not a readable file of hands: {name} of a hand has"):
        read_hands(path, open_hand())


def test_no_results_stay_unless_they_are_whole(tmp_path: Path):
    def interrupted():
        with JsonLines(tmp_path / "hands.jsonl") as lines:
            lines.add(image_hands())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not a readable file of hands"),
        ("[]", "not a readable file of hands"),
        ('{"version": 1}', "'images' is missing"),
        ('{"version": 2, "images": []}', "has version 2, this idhand reads version 1; update"),
        ('{"version": 1, "images": [{"hands": []}]}', "not a readable file of hands"),
    ],
)
def test_damaged_results_are_a_sentence(tmp_path: Path, text: str, sentence: str):
    path = tmp_path / "hands.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        read_hands(path)
