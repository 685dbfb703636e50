from dataclasses import replace

import numpy as np
import pytest
import torch

from idhand.detection.roi import Roi
from idhand.geometry import project
from idhand.nets.crops import (
    JitterConfig,
    box_roi,
    crop_of,
    from_crop,
    jittered,
    landmark_roi,
    view_of,
)

K = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])
FLIP = np.array([-1.0, 1.0, 1.0])
TILTED = Roi(center_px=np.array([420.0, 150.0]), size_px=180.0, angle_rad=0.7)


def pixels(points_cam: np.ndarray) -> np.ndarray:
    return project(torch.from_numpy(points_cam), torch.from_numpy(K)).numpy()


@pytest.mark.parametrize("is_right", [True, False])
def test_the_view_looks_at_the_crop_and_rolls_with_it(is_right: bool):
    view = view_of(TILTED, K, None, is_right)
    step = 1e-4
    points_view = np.array([[0.0, 0.0, 1.0], [step, 0.0, 1.0], [0.0, step, 1.0]])
    points_cam = points_view @ view.R_cam_view.T
    seen = view.roi.from_image(pixels(points_cam if is_right else points_cam * FLIP))
    np.testing.assert_allclose(seen[0], [0.5, 0.5], atol=1e-12)
    right, down = (seen[1] - seen[0]) / step, (seen[2] - seen[0]) / step
    scale = K[0, 0] / TILTED.size_px
    # Off the optical axis, a pinhole picture is stretched a little: 4 % here.
    np.testing.assert_allclose(right, [scale, 0.0], atol=0.06 * scale)
    np.testing.assert_allclose(down, [0.0, scale], atol=0.06 * scale)


def test_a_left_hand_is_the_mirrored_picture_of_a_right_one():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(rgb[:, ::-1])
    K_mirrored = K.copy()
    K_mirrored[0, 2] = 639 - K[0, 2]
    there = np.array([639 - TILTED.center_px[0], TILTED.center_px[1]])
    as_right = view_of(
        replace(TILTED, center_px=there, angle_rad=-TILTED.angle_rad), K_mirrored, None, True
    )
    as_left = view_of(TILTED, K, None, False)
    np.testing.assert_allclose(as_left.R_cam_view, as_right.R_cam_view, atol=1e-12)
    difference = crop_of(rgb, as_left).astype(int) - crop_of(mirrored, as_right)
    assert np.abs(difference).mean() < 0.5  # rounding of the sampling grid


def test_rotations_to_the_camera_and_back():
    view = view_of(TILTED, K, np.array([0.1, -0.05, 0.0, 0.0, 0.0]), True)
    R, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 3, 3)))
    back = view.from_camera(view.to_camera(R))
    np.testing.assert_allclose(back, R, atol=1e-12)
    np.testing.assert_allclose(view.to_camera(R)[0], view.R_cam_view @ R[0])
    assert np.array_equal(view.to_camera(R)[1:], R[1:])


def test_lens_distortion_moves_the_ray():
    dist = np.array([0.2, 0.0, 0.0, 0.0, 0.0])
    straight, bent = (view_of(TILTED, K, d, True).R_cam_view[:, 2] for d in (None, dist))
    xy = bent[:2] / bent[2]
    factor = 1 + dist[0] * float(xy @ xy)
    np.testing.assert_allclose(xy * factor, straight[:2] / straight[2], atol=1e-6)


def test_box_roi_is_the_paper_s_square():
    roi = box_roi(np.array([100.0, 200.0, 160.0, 240.0]))
    np.testing.assert_allclose(roi.center_px, [130.0, 220.0])
    assert (roi.size_px, roi.angle_rad, roi.is_mirrored) == (120.0, 0.0, False)
    assert box_roi(np.array([1.0, 1.0, 1.0, 1.0])).size_px == 1.0
    assert box_roi(np.array([100.0, 200.0, 160.0, 280.0]), scale=1.5).size_px == 120.0


@pytest.mark.parametrize("is_right", [True, False])
def test_points_of_the_crop_return_to_the_picture(is_right: bool):
    """Four dots in the picture, found again by their colours in the crop."""
    picture = np.zeros((480, 640, 3), np.uint8)
    dots_px = np.array([[420, 150], [380, 120], [450, 130], [430, 190]])
    for k, (u, v) in enumerate(dots_px):
        picture[v - 2 : v + 3, u - 2 : u + 3] = 0
        picture[v - 2 : v + 3, u - 2 : u + 3, k % 3] = 250 if k < 3 else 0
    picture[188:193, 428:433, :2] = 250
    shown = crop_of(picture, view_of(TILTED, K, None, is_right)).astype(float)
    red, green, blue = shown[..., 0], shown[..., 1], shown[..., 2]
    weights = (red * (green < 9), green * (red < 9), blue, red * (green > 9))
    rows, columns = np.mgrid[:224, :224]
    found_px = np.array([[np.average(x, weights=w) for x in (columns, rows)] for w in weights])
    np.testing.assert_allclose(from_crop(found_px, TILTED, is_right), dots_px, atol=0.3)
    center_px = from_crop(np.array([[111.5, 111.5]]), TILTED, is_right)
    np.testing.assert_allclose(center_px, TILTED.center_px[None])


def test_jitter_stays_within_its_bounds_and_reaches_them():
    config = JitterConfig(rotation_deg=30.0, shift=0.1, scale=0.2)
    rng = np.random.default_rng(0)
    rois = [jittered(TILTED, rng, config) for _ in range(500)]
    turn = np.degrees([r.angle_rad - TILTED.angle_rad for r in rois])
    size = np.log([r.size_px / TILTED.size_px for r in rois])
    shift = np.array([TILTED.from_image(r.center_px) - 0.5 for r in rois])
    for values, bound in ((turn, 30.0), (size, 0.2), (shift[:, 0], 0.1), (shift[:, 1], 0.1)):
        assert 0.9 * bound < np.abs(values).max() <= bound * (1 + 1e-9)
        assert abs(values.mean()) < 0.15 * bound
    again = [jittered(TILTED, np.random.default_rng(7), config).size_px for _ in range(2)]
    assert again[0] == again[1]
    still = jittered(TILTED, rng, JitterConfig(rotation_deg=0.0, shift=0.0, scale=0.0))
    np.testing.assert_allclose(still.center_px, TILTED.center_px)
    for name in ("rotation_deg", "shift", "scale"):
        for wrong in (-0.1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"{name} must be 0 or more"):
                JitterConfig(**{name: wrong})
    assert JitterConfig() == JitterConfig(rotation_deg=20.0, shift=0.06, scale=0.15)


def test_the_same_draws_jitter_in_the_same_way():
    """Training goes on where it was: one generator's next four numbers, in this order and sign."""
    turn, x, y, size = np.random.default_rng(3).uniform(-1.0, 1.0, 4)
    config = JitterConfig(rotation_deg=30.0, shift=0.1, scale=0.2)
    roi = jittered(TILTED, np.random.default_rng(3), config)
    assert roi.angle_rad - TILTED.angle_rad == pytest.approx(np.radians(30.0) * turn)
    assert np.log(roi.size_px / TILTED.size_px) == pytest.approx(0.2 * size)
    shift = TILTED.from_image(roi.center_px) - 0.5
    np.testing.assert_allclose(shift, [0.1 * x, 0.1 * y])


def test_landmark_roi_turns_the_fingers_up():
    points = np.zeros((21, 2))
    points[:, 0] = np.linspace(100, 300, 21)  # wrist at the left, fingers to the right
    points[[5, 9, 13], 0] = 200.0
    roi = landmark_roi(points)
    wrist, knuckle = roi.from_image(points[[0, 9]])
    assert knuckle[1] < wrist[1]
    assert knuckle[0] == pytest.approx(wrist[0])
