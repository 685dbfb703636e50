"""Lens models against OpenCV's own projections, and the laws that they obey."""

import cv2
import numpy as np
import pytest

from idhand.lens import Lens, lens_of, project_px, straightened, undistorted_px, undistorted_xy

K = np.array([[610.0, 0.0, 322.0], [0.0, 605.0, 238.0], [0.0, 0.0, 1.0]])
PHONE = (0.12, -0.31, 0.0011, -0.0007, 0.14)
KINECT = (0.45, -2.6, 0.0009, -0.0002, 1.5, 0.33, -2.42, 1.43)
BROWN = {
    4: (-0.21, 0.06, 0.002, -0.003),
    5: PHONE,
    8: KINECT,
    12: (*KINECT, 0.002, -0.001, -0.003, 0.0015),
    14: (*KINECT, 0.002, -0.001, -0.003, 0.0015, 0.03, -0.05),
}
FISHEYE = Lens(model="fisheye", coefficients=(-0.03, 0.011, -0.008, 0.0012))
LENSES = [*(Lens(coefficients=c) for c in BROWN.values()), FISHEYE]


def rays_in_picture(widest=0.55, num=60) -> np.ndarray:
    rng = np.random.default_rng(4)
    points = rng.uniform(-widest, widest, (num, 3))
    points[:, 2] = rng.uniform(0.3, 0.9, num)
    points[:, :2] *= points[:, 2:]
    return points


@pytest.mark.parametrize("count", BROWN)
def test_projection_is_opencvs(count: int):
    points, zero = rays_in_picture(), np.zeros(3)
    expected = cv2.projectPoints(points, zero, zero, K, np.array(BROWN[count]))[0][:, 0]
    np.testing.assert_allclose(project_px(points, K, BROWN[count]), expected, atol=1e-9)


def test_fisheye_projection_is_opencvs():
    points, zero = rays_in_picture(widest=1.5), np.zeros((1, 1, 3))
    numbers = np.array(FISHEYE.coefficients)
    expected = cv2.fisheye.projectPoints(points[:, None], zero, zero, K, numbers)[0][:, 0]
    np.testing.assert_allclose(project_px(points, K, FISHEYE), expected, atol=1e-9)


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: f"{lens.model}{len(lens.coefficients)}")
def test_undistorting_undoes_the_projection(lens: Lens):
    points = rays_in_picture(widest=0.5)
    pinhole = project_px(points, K)
    straight = undistorted_px(project_px(points, K, lens), K, lens)
    np.testing.assert_allclose(straight, pinhole, atol=0.02)
    rays = undistorted_xy(project_px(points, K, lens), K, lens)
    np.testing.assert_allclose(rays, points[:, :2] / points[:, 2:], atol=4e-5)


def test_what_opencvs_iterations_miss_is_found():
    """At the corner of a wide-angle picture its five iterations are several pixels off."""
    lens = Lens(coefficients=(-0.28, 0.07, 0.0, 0.0, -0.007))
    points = np.array([[0.95, 0.72, 1.0], [-1.0, 0.7, 1.0]])
    seen = project_px(points, K, lens)
    plain = cv2.undistortPoints(seen[:, None], K, np.array(lens.coefficients), P=K)[:, 0]
    assert np.linalg.norm(plain - project_px(points, K), axis=1).min() > 1
    np.testing.assert_allclose(undistorted_px(seen, K, lens), project_px(points, K), atol=0.02)


@pytest.mark.parametrize("lens", LENSES, ids=lambda lens: f"{lens.model}{len(lens.coefficients)}")
def test_a_mirrored_lens_shows_the_mirrored_world(lens: Lens):
    points, flip, last = rays_in_picture(), np.array([-1.0, 1.0, 1.0]), 639.0
    K_mirrored = K.copy()
    K_mirrored[0, 2] = last - K[0, 2]
    seen = project_px(points, K, lens)
    mirrored = project_px(points * flip, K_mirrored, lens.mirrored())
    np.testing.assert_allclose(mirrored, seen * flip[:2] + [last, 0.0], atol=1e-9)
    assert lens.mirrored().mirrored() == lens


def test_skew_is_part_of_K():
    skewed = K.copy()
    skewed[0, 1] = 14.0
    points = rays_in_picture(widest=0.4)
    for lens in (Lens(coefficients=PHONE), FISHEYE):
        seen = project_px(points, skewed, lens)
        pinhole = project_px(points, skewed)
        np.testing.assert_allclose(undistorted_px(seen, skewed, lens), pinhole, atol=0.02)


@pytest.mark.parametrize(
    "lens",
    [
        Lens(coefficients=(-0.35, 0.0, 0.0, 0.0)),
        Lens(coefficients=(-0.35, 0.1, 0.003, -0.002, -0.02)),
        Lens(coefficients=(0.4, -2.6, 0.0009, 0.0, 1.5, 0.28, -2.4, 1.43)),
        Lens(coefficients=(0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0)),
        Lens(model="fisheye", coefficients=(-0.3, 0.0, 0.0, 0.0)),
        FISHEYE,
    ],
)
def test_beyond_its_range_a_lens_gives_finite_rays_that_keep_their_direction(lens: Lens):
    angle = np.linspace(0, 2 * np.pi, 25)
    far = K[:2, 2] + 4000 * np.stack((np.cos(angle), np.sin(angle)), 1)
    rays = undistorted_xy(far, K, lens)
    assert np.isfinite(rays).all()
    assert np.linalg.norm(rays, axis=1).max() <= lens.max_radius * (1 + 1e-9)
    seen = (far - K[:2, 2]) / K[[0, 1], [0, 1]]
    cosine = (rays * seen).sum(1) / np.linalg.norm(rays, axis=1) / np.linalg.norm(seen, axis=1)
    assert cosine.min() > 0.95
    wide = np.stack((5 * np.cos(angle), 5 * np.sin(angle), np.full(25, 0.1)), 1)
    drawn = project_px(wide, K, lens) - K[:2, 2]
    assert np.isfinite(drawn).all()
    assert ((drawn * wide[:, :2]).sum(1) > 0).all(), "not folded over to the other side"


def test_the_range_of_a_known_polynomial():
    """r - 0.3 r^3 grows up to r = 1 / sqrt(0.9)."""
    lens = Lens(coefficients=(-0.3, 0.0, 0.0, 0.0))
    assert lens.max_radius == pytest.approx(1 / np.sqrt(0.9), rel=1e-3)
    edge = 1 / np.sqrt(0.9) * (1 - 0.3 / 0.9)
    rays = undistorted_xy(np.array([[322 + 610 * (edge + 0.5), 238.0]]), K, lens)
    np.testing.assert_allclose(rays, [[lens.max_radius, 0.0]], atol=1e-6)


def test_what_is_not_finite_stays_so():
    points = np.array([[np.nan, 100.0], [300.0, 200.0]])
    rays = undistorted_xy(points, K, PHONE)
    assert np.isnan(rays[0]).any()
    assert np.isfinite(rays[1]).all()


@pytest.mark.parametrize("lens", [Lens(coefficients=BROWN[4]), FISHEYE])
def test_straightened_pictures_show_points_where_a_pinhole_would(lens: Lens):
    points = np.array([[-0.2, -0.12, 1.0], [0.3, 0.15, 1.0], [0.0, 0.2, 1.0]])
    rgb = np.zeros((480, 640, 3), np.uint8)
    for x, y in np.rint(project_px(points, K, lens)).astype(int):
        rgb[y - 2 : y + 3, x - 2 : x + 3] = 255
    straight = straightened(rgb, K, lens)[..., 0].astype(float)
    for x, y in project_px(points, K):
        rows, columns = np.mgrid[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
        weights = straight[rows, columns]
        centre = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
        np.testing.assert_allclose(centre, (x, y), atol=0.8)


@pytest.mark.parametrize(
    "given",
    [
        list(PHONE),
        tuple(PHONE),
        np.array(PHONE),
        np.array([PHONE], np.float32),
        np.array([PHONE]).T,
    ],
)
def test_lists_tuples_and_opencvs_arrays_are_one_lens(given):
    lens = lens_of(given)
    assert lens is not None
    np.testing.assert_allclose(lens.coefficients, PHONE, rtol=1e-6)


def test_none_and_zeros_are_pinholes():
    assert lens_of(None) is None
    assert lens_of([0, 0, 0, 0]) is None
    assert lens_of(np.zeros(14)) is None
    assert lens_of(Lens(model="fisheye", coefficients=(0.0,) * 4)) is not None, "equidistant"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([0.1, 0.2, 0.3], r"4, 5, 8, 12 or 14 finite numbers in OpenCV's order, got \[0.1, 0.2"),
        ([], "4, 5, 8, 12 or 14 finite numbers"),
        (np.full(5, np.nan), "4, 5, 8, 12 or 14 finite numbers"),
        ([0.1, np.inf, 0, 0], "4, 5, 8, 12 or 14 finite numbers"),
        ("abcd", "must be a list of numbers"),
        ([["a", 1], 2], "must be a list of numbers"),
        (0.1, "must be a list of numbers"),
        (np.zeros((2, 2)), "must be a list of numbers"),
        ([True, False, True, False], "must be a list of numbers"),
        ([0.1, 0, 0, 1j], "must be a list of numbers"),
        ({"k1": 0.1}, "must be a list of numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_lens_is_a_sentence(given, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        lens_of(given)


def test_models_have_their_counts():
    with pytest.raises(ValueError, match="fish-eye's distortion must be 4 finite numbers"):
        Lens(model="fisheye", coefficients=PHONE)
