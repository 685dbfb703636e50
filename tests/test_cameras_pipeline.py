"""Crops and lenses through the whole pipeline: the same hand at the same place."""

import json
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest

import idhand
from idhand.lens import Lens, project_px, undistorted_px
from idhand.media import read_camera

DEMO = Path(str(files("idhand.assets"))) / "data" / "demo"
K = np.array(json.loads((DEMO / "truth.json").read_text())["photos"][0]["K"])
RATIONAL = Lens(coefficients=(0.4, -2.6, 0.0009, 0.0, 1.5, 0.28, -2.4, 1.43))
FISHEYE = Lens(model="fisheye", coefficients=(-0.05, 0.01, 0.0, 0.0))


@pytest.fixture(scope="module")
def pipe():
    return idhand.load()


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return idhand.read_image(DEMO / "photo_00.jpg")[0]


@pytest.fixture(scope="module")
def straight(pipe, rgb):
    (hand,) = pipe(rgb, K=K, max_hands=1)
    return hand


def seen_through(lens: Lens, rgb: np.ndarray) -> np.ndarray:
    """The photo as that lens would have taken it."""
    height, width = rgb.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
    source = undistorted_px(grid.astype(np.float64), K, lens).reshape(height, width, 2)
    source = source.astype(np.float32)
    return np.asarray(cv2.remap(rgb, source[..., 0], source[..., 1], cv2.INTER_LINEAR))


@pytest.mark.parametrize("lens", [RATIONAL, FISHEYE], ids=["rational", "fisheye"])
def test_a_lens_is_taken_out_and_drawn_with(pipe, rgb, straight, lens: Lens):
    bent = seen_through(lens, rgb)
    (hand,) = pipe(bent, K=K, dist=lens, max_hands=1)
    (ignorant,) = pipe(bent, K=K, max_hands=1)
    truth = project_px(straight.keypoints_cam, K, lens)
    off = np.linalg.norm(project_px(hand.keypoints_cam, K, lens) - truth, axis=1).mean()
    assert off < 4
    lost = np.linalg.norm(ignorant.keypoints_px - straight.keypoints_px, axis=1).mean()
    found = np.linalg.norm(hand.keypoints_px - straight.keypoints_px, axis=1).mean()
    assert found < 0.5 * lost
    assert not np.array_equal(hand.overlay(bent, dist=lens), hand.overlay(bent))


def test_lists_and_arrays_are_the_same(pipe, rgb):
    numbers = [-0.2, 0.05, 0.001, -0.001, 0.0]
    (a,), (b,) = (pipe(rgb, K=K, dist=d, max_hands=1) for d in (numbers, np.array([numbers])))
    np.testing.assert_array_equal(a.keypoints_cam, b.keypoints_cam)
    a.overlay(rgb, dist=numbers)


@pytest.mark.parametrize("dist", [[0.1, 0.1, 0.1], np.full(5, np.nan)])
def test_no_lens_is_refused_at_every_door(pipe, rgb, straight, dist):
    calls = (
        lambda: pipe(rgb, K=K, dist=dist),
        lambda: idhand.calibrate(pipe, [rgb], dist=dist),
        lambda: straight.overlay(rgb, dist=dist),
    )
    for call in calls:
        with pytest.raises(ValueError, match="4, 5, 8, 12 or 14 finite numbers"):
            call()


def test_a_crop_gives_the_hand_where_it_was(pipe, rgb, straight, tmp_path: Path):
    """The principal point lies outside of the crop of a picture that the camera turned away from.

    The turned picture is exact, for a camera that turns about its centre moves no ray.
    """
    yaw, pitch = np.radians(-28), np.radians(17)
    R = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0] @ cv2.Rodrigues(np.array([pitch, 0.0, 0.0]))[0]
    K_large = np.array([[K[0, 0], 0, 799.5], [0, K[1, 1], 599.5], [0, 0, 1]])
    large = np.asarray(cv2.warpPerspective(rgb, K_large @ R @ np.linalg.inv(K), (1600, 1200)))
    centre = project_px(straight.keypoints_cam.mean(0)[None] @ R.T, K_large)[0]
    x, y = np.rint(centre - 190).astype(int)
    crop, K_crop = np.ascontiguousarray(large[y : y + 380, x : x + 380]), K_large.copy()
    K_crop[:2, 2] -= x, y
    assert not (0 <= K_crop[0, 2] < 380 and 0 <= K_crop[1, 2] < 380)
    file = tmp_path / "k.json"
    file.write_text(json.dumps({"K": K_crop.tolist()}))
    (hand,) = pipe(crop, K=read_camera(file)[0], max_hands=1)
    turned = straight.keypoints_cam @ R.T
    K_centred = np.array([[K[0, 0], 0, 189.5], [0, K[1, 1], 189.5], [0, 0, 1]])
    (centred,) = pipe(crop, K=K_centred, max_hands=1)  # as if the crop were the whole picture

    def ray_off_deg(points: np.ndarray) -> float:
        rays = [p[0] / np.linalg.norm(p[0]) for p in (points, turned)]
        return float(np.degrees(np.arccos(rays[0] @ rays[1])))

    def about_wrist_mm(points: np.ndarray) -> float:
        off = (points - points[0]) - (turned - turned[0])
        return 1e3 * float(np.linalg.norm(off, axis=1).mean())

    assert ray_off_deg(hand.keypoints_cam) < 1
    assert ray_off_deg(centred.keypoints_cam) > 15
    assert about_wrist_mm(hand.keypoints_cam) < 25
    assert about_wrist_mm(hand.keypoints_cam) < 0.7 * about_wrist_mm(centred.keypoints_cam)
