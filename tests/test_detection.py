"""Detection: laws of its parts, and real photos and videos where the shared data is at hand."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idhand.detection import DetectorConfig, HandDetector
from idhand.detection.detector import _checked
from idhand.detection.palms import palm_anchors, weighted_nms
from idhand.detection.roi import Roi, crop, roi_from_landmarks
from idhand.records import Detection

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "real"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real photos: {REAL} is missing")

rois = st.builds(
    lambda x, y, size, angle, mirrored: Roi(
        center_px=np.array([x, y]), size_px=size, angle_rad=angle, is_mirrored=mirrored
    ),
    st.floats(-500, 500),
    st.floats(-500, 500),
    st.floats(1, 2000),
    st.floats(-7, 7),
    st.booleans(),
)


@pytest.fixture(scope="module")
def detector() -> HandDetector:
    return HandDetector()


def read_rgb(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None, path
    return np.ascontiguousarray(image[..., ::-1]).astype(np.uint8)


def video_frames(path: Path, step: int) -> Iterator[tuple[int, np.ndarray]]:
    video = cv2.VideoCapture(str(path))
    index = 0
    while video.grab():
        if index % step == 0:
            yield index, np.ascontiguousarray(video.retrieve()[1][..., ::-1]).astype(np.uint8)
        index += 1
    video.release()


def sign_digits() -> list[Path]:
    return sorted((REAL / "sign_digits").glob("student_*/*.jpg"))


def distance_px(a: Detection, b: Any) -> float:
    points = b.landmarks_px if isinstance(b, Detection) else np.asarray(b, float)[:, :2]
    return float(np.linalg.norm(a.landmarks_px - points, axis=1).max())


def test_anchors():
    anchors = palm_anchors()
    assert anchors.shape == (2016, 2)
    assert np.allclose(anchors[[0, 1]], 4 / 192)  # two in the middle of the first 8-px cell
    assert np.allclose(anchors[2], (12 / 192, 4 / 192))  # x runs first
    assert np.allclose(anchors[24 * 24 * 2 : 24 * 24 * 2 + 6], 8 / 192)
    assert np.allclose(anchors.mean(0), 0.5)


@given(st.integers(0, 1000), st.integers(1, 20))
def test_nms_keeps_the_best_and_separates(seed: int, count: int):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 1, (count, 2))
    boxes = np.concatenate((low, low + rng.uniform(0.05, 0.5, (count, 2))), 1)
    scores = rng.uniform(0.5, 1, count)
    merged = weighted_nms(boxes, scores, 0.3)
    found = [score for score, _ in merged]
    assert found == sorted(found, reverse=True)
    assert found[0] == scores.max()
    assert 1 <= len(merged) <= count
    for _, box in merged:
        assert (box >= boxes.min(0) - 1e-12).all()
        assert (box <= boxes.max(0) + 1e-12).all()


def test_nms_averages_one_hand_and_keeps_two():
    boxes = np.array([[0, 0, 1, 1], [0.1, 0, 1.1, 1], [5.0, 5, 6, 6]])
    merged = weighted_nms(boxes, np.array([0.9, 0.6, 0.7]), 0.3)
    assert len(merged) == 2
    assert np.allclose(merged[0][1], [0.04, 0, 1.04, 1])
    assert np.allclose(merged[1][1], boxes[2])
    assert weighted_nms(np.zeros((0, 4)), np.zeros(0), 0.3) == []


@given(rois, st.integers(0, 100))
def test_roi_maps_there_and_back(roi: Roi, seed: int):
    points = np.random.default_rng(seed).uniform(-1, 2, (5, 2))
    back = roi.from_image(roi.to_image(points))
    assert np.allclose(back, points, atol=1e-6)
    A = roi.axes_image_roi
    assert np.allclose(A @ A.T, np.eye(2))
    assert np.linalg.det(A) * (-1 if roi.is_mirrored else 1) > 0


@pytest.mark.parametrize("size", [(400, 600), (1600, 2400)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_crop_shows_what_the_roi_says(size: tuple[int, int], mirrored: bool):
    h, w = size
    y, x = np.mgrid[:h, :w]
    image = np.stack((x / w * 255, y / h * 255, 0 * x), -1).round().astype(np.uint8)
    roi = Roi(
        center_px=np.array([w * 0.5, h * 0.5]),
        size_px=h * 0.6,
        angle_rad=0.5,
        is_mirrored=mirrored,
    )
    picture = crop(image, roi)
    v, u = np.mgrid[:224:37, :224:37]
    expected = roi.to_image((np.stack((u, v), -1) + 0.5) / 224) * (255 / w, 255 / h)
    assert np.abs(picture[::37, ::37, :2] - expected).max() < 1.0


def test_crop_outside_is_black():
    roi = Roi(center_px=np.array([-900.0, 50.0]), size_px=100.0, angle_rad=0.3)
    assert crop(np.full((80, 90, 3), 255, np.uint8), roi).max() == 0


def test_crop_does_not_alias():
    stripes = np.zeros((1792, 1792, 3), np.uint8)
    stripes[::2] = 255
    roi = Roi(center_px=np.array([895.5, 895.5]), size_px=1500.0, angle_rad=0.2)
    assert crop(stripes, roi).astype(float).std() < 16  # 127 where sampled


@given(st.integers(0, 1000), st.floats(-3, 3), st.floats(0.2, 5), st.floats(-300, 300))
def test_landmark_roi_moves_with_the_hand(seed: int, angle: float, scale: float, shift: float):
    points = np.random.default_rng(seed).uniform(0, 200, (21, 2))
    points[0] = (100, 300)
    turn = Roi(center_px=np.zeros(2), size_px=1.0, angle_rad=angle).axes_image_roi
    a = roi_from_landmarks(points)
    b = roi_from_landmarks(points @ turn.T * scale + shift)
    assert np.allclose(b.center_px, turn @ a.center_px * scale + shift, atol=1e-6 * (1 + scale))
    assert b.size_px == pytest.approx(a.size_px * scale)
    assert np.cos(b.angle_rad - a.angle_rad - angle) == pytest.approx(1)


def test_nothing_in_nothing(detector: HandDetector):
    assert detector.detect(np.full((90, 160, 3), 127, np.uint8)) == []
    assert detector.track(np.full((90, 160, 3), 127, np.uint8), []) == []


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([[0]], "must be a NumPy array, got list"),
        (np.zeros((4, 4, 3)), "got float64 of shape"),
        (np.zeros((4, 4), np.uint8), r"got uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), "convert it first"),
        (np.zeros((0, 4, 3), np.uint8), "convert it first"),
    ],
)
def test_a_wrong_image_is_named(image: Any, words: str):
    with pytest.raises(ValueError, match=words):
        _checked(image, 1)


def test_wrong_settings_are_named(detector: HandDetector):
    with pytest.raises(ValueError, match=r"views must be 1..6, got 7"):
        detector.detect(np.zeros((8, 8, 3), np.uint8), views=7)
    with pytest.raises(ValueError, match="presence_threshold must be within"):
        DetectorConfig(presence_threshold=2.0)
    with pytest.raises(ValueError, match="paddings must be"):
        DetectorConfig(paddings=())


@needs_real
@pytest.mark.parametrize("views", [1, 2])
def test_two_hands_photo(detector: HandDetector, views: int):
    """Backs of two left hands, one upside down; expected points from tfjs-models, to 20 px."""
    expected = json.loads((REAL / "tfjs" / "expected_hands_jpg.json").read_text())
    hands = detector.detect(read_rgb(REAL / "tfjs" / "hands.jpg"), views=views)
    assert len(hands) == 2
    hands.sort(key=lambda hand: hand.bbox_px[0])
    for hand, key in zip(hands, ("left_in_image", "right_in_image"), strict=True):
        assert np.abs(hand.landmarks_px - np.array(expected[key])).max() < 20
        assert not hand.is_right
        assert hand.score > 0.9
        assert (hand.confidence > 0.5).all()


@needs_real
def test_a_mirrored_photo_gives_mirrored_hands(detector: HandDetector):
    rgb = read_rgb(REAL / "tfjs" / "hands.jpg")
    mirror = np.ascontiguousarray(rgb[:, ::-1])
    plain = sorted(detector.detect(rgb), key=lambda hand: hand.bbox_px[0])
    flipped = sorted(detector.detect(mirror), key=lambda hand: -hand.bbox_px[0])
    told = detector.detect(mirror, mirrored=True)
    assert [hand.is_right for hand in flipped] == [True, True]
    assert [hand.is_right for hand in told] == [False, False]
    for a, b in zip(plain, flipped, strict=True):
        back = b.landmarks_px * (-1, 1) + (rgb.shape[1] - 1, 0)
        assert np.linalg.norm(a.landmarks_px - back, axis=1).mean() < 6


@needs_real
def test_world_and_depth_turn_with_the_image(detector: HandDetector):
    rgb = read_rgb(REAL / "sign_digits" / "student_000" / "5.jpg")
    turned = np.ascontiguousarray(np.rot90(rgb, -1))  # (x, y) → (height - 1 - y, x)
    a = detector.detect(rgb, max_hands=1)[0]
    b = detector.detect(turned, max_hands=1)[0]
    moved = np.stack((rgb.shape[0] - 1 - a.landmarks_px[:, 1], a.landmarks_px[:, 0]), 1)
    assert np.linalg.norm(b.landmarks_px - moved, axis=1).mean() < 2
    world = np.stack((-a.landmarks_world[:, 1], a.landmarks_world[:, 0]), 1)
    assert np.linalg.norm(b.landmarks_world[:, :2] - world, axis=1).mean() < 5e-3
    size = np.linalg.norm(np.ptp(a.landmarks_px, axis=0))
    assert np.abs(a.landmarks_z_px - b.landmarks_z_px).mean() < 0.05 * size
    assert a.landmarks_z_px[0] == 0


@needs_real
def test_tracking_follows_and_lets_go(detector: HandDetector):
    frames = list(video_frames(REAL / "tfjs" / "asl_hand.25fps.mp4", 1))[:5]
    hands = detector.detect(frames[0][1])
    assert len(hands) == 1
    for _, rgb in frames[1:]:
        hands = detector.track(rgb, hands)
        assert len(hands) == 1
    seen = detector.detect(frames[-1][1])[0]
    size = np.linalg.norm(np.ptp(seen.landmarks_px, axis=0))
    assert distance_px(hands[0], seen) < 0.1 * size
    assert detector.track(frames[-1][1], hands * 2, views=2)[1:] == []  # one hand, once
    assert detector.track(np.zeros_like(frames[0][1]), hands) == []


@needs_real
def test_a_large_image_gives_the_same_hand(detector: HandDetector):
    rgb = read_rgb(REAL / "tfjs" / "hands.jpg")[:, :360]
    large = np.asarray(cv2.resize(rgb, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC), np.uint8)
    a, b = detector.detect(rgb)[0], detector.detect(large)[0]
    assert distance_px(a, (b.landmarks_px + 0.5) / 8 - 0.5) < 8


def asl_frames(step: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Frame, expected points in px, expected world points in m; tolerances 26 px and 15 mm."""
    folder = REAL / "tfjs"
    points_px = json.loads((folder / "tfjs_asl_hand.full.json").read_text())
    world = json.loads((folder / "tfjs_asl_hand_3d.full.json").read_text())
    for i, rgb in video_frames(folder / "asl_hand.25fps.mp4", step):
        yield rgb, np.array(points_px[i])[:, :2], np.array(world[i])


@needs_real
def test_asl_video_some_frames_alone(detector: HandDetector):
    frames = list(asl_frames(15))
    assert len(frames) == 22
    for rgb, points_px, world in frames:
        (hand,) = detector.detect(rgb, max_hands=1)
        assert np.abs(hand.landmarks_px - points_px).max() < 26
        assert np.abs(hand.landmarks_world - world).max() < 0.015
        assert hand.is_right


@needs_real
@pytest.mark.slow
def test_asl_video_tracked_as_the_reference_was(detector: HandDetector):
    """Each frame is looked at where the reference looked: from its own landmarks before.

    Following our own landmarks instead feeds rounding back: on two frames in which the index
    finger is ambiguous its tip then moves by up to 27 px with the number of threads.
    """
    hands: list[Detection] = []
    for rgb, points_px, world in asl_frames(1):
        hands = detector.track(rgb, hands) or detector.detect(rgb, max_hands=1)
        assert np.abs(hands[0].landmarks_px - points_px).max() < 26
        assert np.abs(hands[0].landmarks_world - world).max() < 0.015
        hands = [replace(hands[0], landmarks_px=points_px)]


def check_digits(detector: HandDetector, paths: list[Path]) -> None:
    for path in paths:
        hands = detector.detect(read_rgb(path), max_hands=1)
        assert len(hands) == 1, path
        assert hands[0].score > 0.9, path
        assert hands[0].is_right, path


@needs_real
def test_sign_digits_some(detector: HandDetector):
    check_digits(detector, sign_digits()[::16])


@needs_real
@pytest.mark.slow
def test_sign_digits_all(detector: HandDetector):
    paths = sign_digits()
    assert len(paths) == 940
    check_digits(detector, paths)


@needs_real
def test_tight_crops_are_found(detector: HandDetector):
    """The hand fills the frame: the palm detector needs padding."""
    paths = sign_digits()[5::100]
    assert len(paths) == 10
    for path in paths:
        rgb = read_rgb(path)
        low, high = np.split(detector.detect(rgb, max_hands=1)[0].bbox_px, 2)
        x0, y0 = np.maximum(low - 2, 0).astype(int)
        x1, y1 = np.ceil(high + 3).astype(int)
        hands = detector.detect(rgb[y0:y1, x0:x1], max_hands=1)
        assert len(hands) == 1, path
        assert hands[0].score > 0.5, path
