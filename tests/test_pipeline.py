import json
import re
import subprocess
import sys
from typing import Any

import cv2
import jaxtyping
import numpy as np
import pytest

import idhand
from idhand.identity import Identity
from idhand.pipeline import Pipeline

from .conftest import shared_file

DEMO = [0, 1, 3, 4]


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return idhand.load()


@pytest.fixture(scope="module")
def truth() -> dict:
    from importlib.resources import files

    return json.loads((files("idhand.assets") / "data/demo/truth.json").read_text())


def photo(truth: dict, index: int) -> tuple[np.ndarray, np.ndarray, dict]:
    from importlib.resources import as_file, files

    entry = truth["photos"][index]
    with as_file(files("idhand.assets") / "data/demo" / entry["file"]) as path:
        rgb, _ = idhand.read_image(path)
    return rgb, np.array(entry["K"], dtype=np.float64), entry


@pytest.fixture(scope="module")
def person(pipe: Pipeline, truth: dict) -> Identity:
    shots = [photo(truth, k) for k in range(0, 16, 2)]
    return idhand.calibrate(
        pipe,
        [rgb for rgb, _, _ in shots],
        K=[K for _, K, _ in shots],
        hand_length_mm=truth["hand_length_mm"],
    )


def test_hands_have_the_promised_fields_and_frames(pipe: Pipeline, truth: dict) -> None:
    rgb, K, entry = photo(truth, 0)
    (hand,) = pipe(rgb, K=K)
    assert hand.is_right == entry["is_right"]
    assert hand.score > 0.9
    assert hand.keypoints_px.shape == (21, 2)
    assert hand.keypoints_cam.shape == (21, 3)
    assert hand.verts_cam.shape == (1159, 3)
    assert hand.rotations.shape == (16, 3, 3)
    assert hand.betas.shape == (16,)
    assert hand.status == "converged"
    assert not hand.K_is_guess
    np.testing.assert_allclose(
        hand.rotations @ hand.rotations.transpose(0, 2, 1), np.eye(3)[None].repeat(16, 0), atol=1e-9
    )
    uvw = hand.keypoints_cam @ K.T
    np.testing.assert_allclose(uvw[:, :2] / uvw[:, 2:], hand.keypoints_px, atol=1e-6)
    size = np.ptp(np.array(entry["keypoints_px"]), axis=0).max()
    error = np.linalg.norm(hand.keypoints_px - np.array(entry["keypoints_px"]), axis=1)
    assert error.mean() < 0.08 * size


def test_a_mirrored_photo_gives_the_mirrored_hand_of_the_other_side(
    pipe: Pipeline, truth: dict
) -> None:
    rgb, K, _ = photo(truth, 0)
    (hand,) = pipe(rgb, K=K)
    flipped_K = K.copy()
    flipped_K[0, 2] = rgb.shape[1] - 1 - K[0, 2]
    flipped = np.ascontiguousarray(rgb[:, ::-1])
    (other,) = pipe(flipped, K=flipped_K)
    assert other.is_right != hand.is_right
    assert (
        np.linalg.norm(other.keypoints_cam * [-1, 1, 1] - hand.keypoints_cam, axis=1).mean() < 0.02
    )
    (same,) = pipe(flipped, K=flipped_K, mirrored=True)
    assert same.is_right == hand.is_right


def signed_volume(verts: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (verts[faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def test_normals_point_outward_on_both_sides(pipe: Pipeline, truth: dict) -> None:
    rgb, K, _ = photo(truth, 0)
    for image in (rgb, np.ascontiguousarray(rgb[:, ::-1])):
        (hand,) = pipe(image, K=K)
        assert signed_volume(hand.verts_cam, hand.faces) > 1e-4


def test_identity_fixes_the_bones(pipe: Pipeline, truth: dict, person: Identity) -> None:
    lengths = []
    for k in DEMO:
        rgb, K, _ = photo(truth, k)
        for hand in pipe(rgb, K=K, identity=person):
            np.testing.assert_array_equal(hand.betas, person.betas)
            joints = hand.keypoints_cam
            lengths.append(np.linalg.norm(joints[6] - joints[5]))
    assert len(lengths) >= len(DEMO)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)


def test_ruler_and_identity_bring_the_depth_near_the_truth(
    pipe: Pipeline, truth: dict, person: Identity
) -> None:
    before, after = [], []
    for k in range(16):
        rgb, K, entry = photo(truth, k)
        z = np.array(entry["keypoints_cam_m"])[:, 2].mean()
        for errors, identity in ((before, None), (after, person)):
            hands = [
                h for h in pipe(rgb, K=K, identity=identity) if h.is_right == entry["is_right"]
            ]
            if hands:
                errors.append(abs(hands[0].keypoints_cam[:, 2].mean() - z))
    assert np.mean(after) < 0.8 * np.mean(before)
    measured = person.measurements["hand_length"]
    assert measured.low_mm <= truth["hand_length_mm"] <= measured.high_mm


def test_previous_follows_without_looking_for_palms(pipe: Pipeline, truth: dict) -> None:
    rgb, K, _ = photo(truth, 0)
    first = pipe(rgb, K=K)
    followed = pipe(rgb, K=K, previous=first)
    assert len(followed) == len(first)
    assert np.linalg.norm(followed[0].keypoints_cam - first[0].keypoints_cam, axis=1).max() < 0.03
    assert pipe(np.full_like(rgb, 128), K=K, previous=first) == []


def test_no_hand_is_an_empty_list_and_calibration_says_why(pipe: Pipeline) -> None:
    blank = np.full((240, 320, 3), 200, dtype=np.uint8)
    assert pipe(blank) == []
    with pytest.raises(ValueError, match=r"no usable hand in 1 photo .*no hand found"):
        idhand.calibrate(pipe, [blank])
    with pytest.raises(ValueError, match="no photos were given"):
        idhand.calibrate(pipe, [])


def test_a_bad_photo_among_good_ones_is_named(pipe: Pipeline, truth: dict) -> None:
    images = [photo(truth, k)[0] for k in (0, 1, 3)]
    images.insert(1, np.full((240, 320, 3), 200, dtype=np.uint8))
    me = idhand.calibrate(pipe, images)
    assert me.photos[1].weight == 0
    assert me.photos[1].reason == "no hand found"
    assert me.K_known == "none"
    assert len(me.photos) == 4


def test_more_hands_than_asked_for() -> None:
    pipe = idhand.load()
    rgb, _ = idhand.read_image(shared_file("data/real/tfjs/hands.jpg"))
    hands = pipe(rgb)
    assert [h.is_right for h in hands] == [False, False], "one left hand, and the same turned round"
    assert len(pipe(rgb, max_hands=1)) == 1


@pytest.mark.parametrize(
    ("K", "message"),
    [
        (np.diag([float("nan"), 500, 1]), "finite|NaN"),
        (np.array([[-500.0, 0, 160], [0, 500, 120], [0, 0, 1]]), "focal"),
        (np.eye(4), r"3.3"),
    ],
)
def test_bad_intrinsics_are_refused(pipe: Pipeline, K: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(np.zeros((240, 320, 3), dtype=np.uint8), K=K)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"max_hands": 1.5}, r"max_hands must be a whole number of 1 or more, got 1\.5"),
        ({"max_hands": "2"}, "max_hands must be a whole number"),
        ({"previous": [1]}, "previous must be the results of the last frame"),
        ({"identity": "x"}, r"identity must be an idhand\.Identity, got str"),
    ],
)
def test_arguments_of_another_kind_are_refused(
    pipe: Pipeline, settings: dict[str, Any], sentence: str
) -> None:
    jaxtyping.config.update("jaxtyping_disable", True)  # as outside of the tests
    try:
        with pytest.raises(ValueError, match=sentence):
            pipe(np.zeros((240, 320, 3), dtype=np.uint8), **settings)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_bad_images_and_numbers_are_refused(pipe: Pipeline) -> None:
    with pytest.raises(ValueError, match="uint8"):
        pipe(np.zeros((240, 320, 3), dtype=np.float32))  # pyright: ignore
    rgb = np.zeros((240, 320, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="max_hands"):
        pipe(rgb, max_hands=0)
    with pytest.raises(ValueError, match=r"a hand length of 19 mm cannot be"):
        idhand.calibrate(pipe, [rgb], hand_length_mm=19.0)
    with pytest.raises(ValueError, match="standard deviation"):
        idhand.calibrate(pipe, [rgb], hand_length_mm=190.0, hand_length_sigma_mm=0.0)


def test_guessed_intrinsics_are_said_to_be_guessed(pipe: Pipeline, truth: dict) -> None:
    rgb, _, _ = photo(truth, 0)
    (hand,) = pipe(rgb)
    assert hand.K_is_guess
    assert hand.K[0, 0] == pytest.approx(320 / np.tan(np.radians(30)))


def test_the_same_photo_gives_the_same_numbers(pipe: Pipeline, truth: dict) -> None:
    rgb, K, _ = photo(truth, 3)
    a, b = pipe(rgb, K=K), pipe(rgb, K=K)
    np.testing.assert_array_equal(a[0].verts_cam, b[0].verts_cam)


def test_distortion_is_taken_out(pipe: Pipeline, truth: dict) -> None:
    """A photo warped by a lens, given its coefficients, says the same as the straight photo."""
    rgb, K, _ = photo(truth, 0)
    dist = np.array([-0.15, 0.02, 0.0, 0.0, 0.0])
    height, width = rgb.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 1, 2)
    source = cv2.undistortPoints(grid.astype(np.float64), K, dist, P=K).reshape(height, width, 2)
    warped = cv2.remap(rgb, source.astype(np.float32), None, cv2.INTER_LINEAR)  # pyright: ignore
    (straight,) = pipe(rgb, K=K)
    (corrected,) = pipe(warped, K=K, dist=dist)
    error = np.linalg.norm(straight.keypoints_px - corrected.keypoints_px, axis=1)
    assert error.mean() < 3.0


def test_public_surface_is_pinned_and_lazy() -> None:
    names = {
        *(
            "Detection",
            "FittableHand",
            "Hand",
            "HandModel",
            "HandResult",
            "Identity",
            "Pipeline",
            "PosedHand",
            "Tracker",
        ),
        *("calibrate", "load", "read_image", "view", "__version__"),
    }
    assert set(dir(idhand)) == names
    assert all(getattr(idhand, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no attribute 'detect'"):
        idhand.detect  # noqa: B018
    code = "import sys, idhand; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("image", [None, "photo.jpg", [[0, 0, 0]]])
def test_what_is_no_array_is_a_sentence(pipe: Pipeline, image: object):
    sentence = f"the image must be a NumPy array, got {type(image).__name__}; idhand.read_image"
    jaxtyping.config.update("jaxtyping_disable", True)  # as outside of the tests
    try:
        with pytest.raises(ValueError, match=re.escape(sentence)):
            pipe(image)  # pyright: ignore
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_one_K_for_each_image(pipe: Pipeline):
    image = np.zeros((48, 64, 3), np.uint8)
    for number in (0, 1, 3):
        with pytest.raises(ValueError, match=f"K is a list of {number}, but there are"):
            pipe.calibrate([image, image], K=[None] * number)


def test_a_known_side_is_that_of_all_photos(pipe: Pipeline, truth: dict) -> None:
    shots = [photo(truth, k) for k in range(2)]
    images, K = [rgb for rgb, _, _ in shots], [K for _, K, _ in shots]
    seen = pipe.calibrate(images, K=K)
    assert seen.sides == ("right",)
    other = pipe.calibrate(images, K=K, side="left")
    assert other.sides == ("left",)
    assert np.abs(other.betas - seen.betas).max() > 0.1, "it was fitted as a left hand"
