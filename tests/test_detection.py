"""Detection: laws of its parts, and real photos and videos where the shared data is at hand."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import idhand
from idhand.detection import DetectorConfig, HandDetector
from idhand.detection.detector import _checked
from idhand.detection.palms import (
    PalmConfig,
    PalmDetector,
    palm_anchors,
    thumbnail_of,
    tile_corners,
    weighted_nms,
)
from idhand.detection.roi import Roi, box_overlap, crop, roi_from_landmarks
from idhand.detection.sides import (
    SideConfig,
    checked_side,
    checked_sides,
    decide_sides,
    most_probable_sides,
)
from idhand.records import Detection

DEMO = Path(str(files("idhand.assets"))) / "data" / "demo"
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


@cache
def demo_photo(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo of one right hand, and its keypoints in px."""
    truth = json.loads((DEMO / "truth.json").read_text())["photos"][index]
    return idhand.read_image(DEMO / truth["file"])[0], np.array(truth["keypoints_px"])


def tile(index: int, *, left: bool = False, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A photo of a right hand, or of a left one, smaller on a canvas of the same size."""
    rgb, points = demo_photo(index)
    h, w = rgb.shape[:2]
    if left:
        rgb, points = rgb[:, ::-1], points * (-1, 1) + (w - 1, 0)
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.broadcast_to(rgb.mean((0, 1)), rgb.shape).astype(np.uint8)
    y, x = (h - small.shape[0]) // 2, (w - small.shape[1]) // 2
    canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    return canvas, (points + 0.5) * scale - 0.5 + (x, y)


def beside(*tiles: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pictures of one height in a row, and each one's keypoints in the row."""
    starts = np.cumsum([0, *(rgb.shape[1] for rgb, _ in tiles)])
    points = [points + np.array([x, 0]) for (_, points), x in zip(tiles, starts, strict=False)]
    return np.concatenate([rgb for rgb, _ in tiles], 1), points


def hands_at(hands: list[Detection], points: list[np.ndarray]) -> list[Detection]:
    """The hand at each of these keypoints; all hands are used, each once."""
    assert len(hands) == len(points)
    near = [
        min(hands, key=lambda h: np.linalg.norm(h.landmarks_px - px, axis=1).mean())
        for px in points
    ]
    assert len({id(hand) for hand in near}) == len(points)
    for hand, px in zip(near, points, strict=True):
        off = np.linalg.norm(hand.landmarks_px - px, axis=1).mean()
        assert off < 0.3 * np.linalg.norm(np.ptp(px, axis=0))
    return near


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
        hands = [hand for hand in detector.track(rgb, hands) if hand is not None]
        assert len(hands) == 1
    seen = detector.detect(frames[-1][1])[0]
    size = np.linalg.norm(np.ptp(seen.landmarks_px, axis=0))
    assert distance_px(hands[0], seen) < 0.1 * size
    assert detector.track(frames[-1][1], hands * 2, views=2)[1:] == [None]  # one hand, once
    assert detector.track(np.zeros_like(frames[0][1]), hands) == [None]


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
        hands = [hand for hand in detector.track(rgb, hands) if hand is not None]
        hands = hands or detector.detect(rgb, max_hands=1)
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


@pytest.mark.parametrize(
    ("first", "second", "sides"), [(1, 7, "RL"), (14, 3, "LL"), (12, 2, "LL"), (3, 10, "RR")]
)
def test_a_second_hand_is_found(detector: HandDetector, first: int, second: int, sides: str):
    """Side by side. The first margin shows one hand of the first pair; no margin shows both hands
    of the others as clear palms."""
    rgb, points = beside(tile(first, left=sides[0] == "L"), tile(second, left=sides[1] == "L"))
    hands = hands_at(detector.detect(rgb), points)
    assert [hand.is_right for hand in hands] == [side == "R" for side in sides]
    assert all((hand.right_probability > 0.5) == hand.is_right for hand in hands)


def test_a_margin_shows_the_second_hand(detector: HandDetector):
    """Without tiles and faint palms."""
    config = DetectorConfig(tiled_aspect=9.0, palm=PalmConfig(faint_threshold=0.5))
    rgb, points = beside(tile(1), tile(7, left=True))
    hands_at(HandDetector(config).detect(rgb), points)
    assert len(HandDetector(replace(config, paddings=(0.0,))).detect(rgb)) == 1


@pytest.mark.parametrize("small", [0, 1])
def test_a_small_hand_beside_a_large_one_is_found(detector: HandDetector, small: int):
    rgb, points = beside(*(tile(5 + i, scale=0.5 if i == small else 1.0) for i in (0, 1)))
    hands_at(detector.detect(rgb), points)


def test_four_hands_are_found(detector: HandDetector):
    above, points = beside(tile(0), tile(4, left=True))
    below, more = beside(tile(9, left=True), tile(11))
    rgb = np.concatenate((above, below))
    points += [px + np.array([0, above.shape[0]]) for px in more]
    sides = [h.is_right for h in hands_at(detector.detect(rgb, max_hands=4), points)]
    assert sides == [True, False, False, True]
    assert len(detector.detect(rgb, max_hands=3)) == 3


def test_one_hand_stays_one_and_costs_one_more_palm_pass(monkeypatch: pytest.MonkeyPatch):
    detector, passes, reads = HandDetector(), [], []
    palms, read = PalmDetector.find, HandDetector._read
    monkeypatch.setattr(
        PalmDetector, "find", lambda *args: (passes.append(args[-1]), palms(*args))[1]
    )
    monkeypatch.setattr(
        HandDetector, "_read", lambda *args: (reads.append(len(args[-1])), read(*args))[1]
    )
    rgb, points = tile(0)
    (hand,) = hands_at(detector.detect(rgb), [points])
    assert passes == [0.0, 0.25]
    assert sum(reads) == 2  # the palm's ROI and the second look, once
    (same,) = detector.detect(rgb, max_hands=1)
    assert passes[2:] == [0.0]
    assert np.array_equal(same.landmarks_px, hand.landmarks_px)


@needs_real
def test_a_hand_that_fills_the_picture_is_not_two(detector: HandDetector):
    """Photos of one hand where a fist or a finger was read as a further hand."""
    for name in ("020/0", "036/0", "053/6", "060/0"):
        rgb = read_rgb(REAL / "sign_digits" / f"student_{name}.jpg")
        assert len(detector.detect(rgb)) == 1


def test_a_faint_palm_is_not_a_clear_one():
    rgb, _ = beside(
        tile(14, left=True), tile(3, left=True)
    )  # one of the hands scores between 0.3 and 0.5
    small, size = thumbnail_of(rgb), (rgb.shape[0], rgb.shape[1])
    palms = PalmDetector(PalmConfig()).find(small, size, 0.0)
    assert len(palms.clear) == len(palms.faint) == 1
    assert not palms.clear[0].is_near(palms.faint[0])
    assert PalmDetector(PalmConfig(faint_threshold=0.5)).find(small, size, 0.0).faint == []


@pytest.mark.parametrize("size", [(2, 3000), (3000, 2), (1, 41), (7, 500)])
def test_a_stripe_has_few_tiles(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    passes: list[tuple[int, int]] = []
    detector, palms = HandDetector(DetectorConfig(num_rotations=0)), PalmDetector.find
    monkeypatch.setattr(
        PalmDetector, "find", lambda *args: (passes.append(args[2]), palms(*args))[1]
    )
    assert detector.detect(np.zeros((*size, 3), np.uint8)) == []
    assert len(passes) <= 4 + 2 * 20
    assert sum(max(shape) for shape in passes[4:]) >= max(size)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.2, 1))
def test_tiles_cover_the_image_and_overlap(h: int, w: int, share: float):
    side = max(int(share * min(h, w)), 1)
    corners = tile_corners((h, w), side)
    for length, starts in ((w, {x for x, _ in corners}), (h, {y for _, y in corners})):
        assert min(starts) == 0
        assert max(starts) == length - side
        assert (np.diff(sorted(starts)) <= side / 2 + 1).all()


@given(rois, st.floats(-0.1, 0.1), st.floats(0.8, 1.2), st.floats(-0.4, 0.4))
def test_near_squares_are_near_and_others_are_not(
    roi: Roi, shift: float, scale: float, turn: float
):
    moved = replace(
        roi,
        center_px=roi.center_px + shift * roi.size_px,
        size_px=roi.size_px * scale,
        angle_rad=roi.angle_rad + turn + 2 * np.pi,
    )
    assert roi.is_near(moved)
    assert moved.is_near(roi)
    assert not roi.is_near(replace(roi, size_px=2 * roi.size_px))
    assert not roi.is_near(replace(roi, angle_rad=roi.angle_rad + np.pi))
    assert not roi.is_near(replace(roi, center_px=roi.center_px + roi.size_px / 2))


UNKNOWN = (None, None)
odds = st.floats(0.01, 0.99)


@given(odds, odds, st.floats(0.01, 0.5))
def test_the_less_sure_of_two_right_hands_is_a_left_one_below_a_known_odd(
    p: float, q: float, same_side: float
):
    """Odds: right beats left where p / (1 - p) exceeds (1 - same_side) / same_side."""
    p, q = max(p, 1 - p), max(q, 1 - q)
    low, limit = min(p, q), 1 - same_side
    if p == q or low == 0.5 or abs(low - limit) < 1e-6:
        return
    sides = most_probable_sides((p, q), UNKNOWN, same_side)
    assert sides == ((True, True) if low > limit else (p > q, q > p))
    mirrored = most_probable_sides((1 - p, 1 - q), UNKNOWN, same_side)
    assert mirrored == tuple(not side for side in sides)
    assert most_probable_sides((p, 1 - q), UNKNOWN, same_side) == (True, False)


def test_known_sides_are_kept():
    assert most_probable_sides((0.9, 0.6), (None, True), 0.2) == (True, True)
    assert most_probable_sides((0.7, 0.9), (None, True), 0.2) == (False, True)
    assert most_probable_sides((0.9, 0.9), (False, False), 0.2) == (False, False)
    assert most_probable_sides((1.0, 0.0), (False, True), 0.2) == (False, True)


def test_sides_are_decided_in_pairs_of_one_person():
    """Sizes of 100 px, the prior 0.2: a hand of less than 0.8 gives way to a surer partner."""

    def sides(right: list[float], x: list[float], sizes: list[float] | None = None) -> list[bool]:
        centers = np.stack((np.array(x), np.zeros(len(x))), 1)
        return decide_sides(right, centers, np.array(sizes or [100] * len(x), float))

    assert sides([], []) == []
    assert sides([0.7], [0]) == [True]
    assert sides([0.97, 0.7], [0, 300]) == [True, False]
    assert sides([0.97, 0.97], [0, 300]) == [True, True]  # two people
    assert sides([0.97, 0.7], [0, 1100]) == [True, True]  # beyond the reach of 10 hands
    assert sides([0.97, 0.7], [0, 300], [400, 100]) == [True, True]  # one is much nearer
    assert sides([0.97, 0.7, 0.97, 0.7], [0, 200, 500, 700]) == [True, False, True, False]
    assert sides([0.7, 0.97, 0.96], [0, 300, 400]) == [True, True, True]  # the third has none
    config = SideConfig(same_side=0.5)  # nothing is known
    assert decide_sides([0.97, 0.6], np.zeros((2, 2)), np.ones(2), config=config) == [True, True]


def test_two_sure_right_hands_stay_right(detector: HandDetector):
    rgb, points = beside(tile(5), tile(10))
    hands = hands_at(detector.detect(rgb), points)
    assert min(hand.right_probability for hand in hands) > 0.8
    assert [hand.is_right for hand in hands] == [True, True]
    told = detector.detect(rgb, sides="left")
    assert [(hand.is_right, hand.right_probability) for hand in told] == [(False, 0.0)] * 2


def test_a_mirrored_picture_has_the_persons_sides(detector: HandDetector):
    rgb, points = tile(5)
    (plain,) = detector.detect(rgb)
    (mirrored,) = detector.detect(rgb, mirrored=True)
    assert mirrored.right_probability == 1 - plain.right_probability
    assert (plain.is_right, mirrored.is_right) == (True, False)
    assert detector.detect(rgb, mirrored=True, sides="right")[0].is_right
    box = np.concatenate((points.min(0), points.max(0)))
    (read,) = detector.in_boxes(rgb, [box], mirrored=True)
    assert read is not None
    assert not read.is_right


def test_the_side_of_a_detection_is_sure_unless_it_was_read(detector: HandDetector):
    (hand,) = detector.detect(tile(5)[0])
    for is_right in (True, False):
        made = replace(hand, is_right=is_right, right_probability=math.nan)
        assert made.right_probability == float(is_right)


def test_boxes_are_read_in_their_order(detector: HandDetector):
    rgb, points = beside(tile(1), tile(7, left=True))
    boxes = [np.concatenate((px.min(0), px.max(0))) for px in points]
    empty = np.array([600.0, 440, 640, 479])
    order = [boxes[1], empty, boxes[0]]
    left, nothing, right = detector.in_boxes(rgb, order)
    assert nothing is None
    assert left is not None
    assert right is not None
    hands_at([right, left], points)
    assert (right.is_right, left.is_right) == (True, False)
    known = detector.in_boxes(rgb, [list(box) for box in order], sides=["right", "left", None])
    assert known[0] is not None
    assert known[2] is not None
    assert (known[0].is_right, known[0].right_probability) == (True, 1.0)
    assert known[2].right_probability == right.right_probability
    assert np.array_equal(known[0].landmarks_px, left.landmarks_px)
    assert detector.in_boxes(rgb, []) == []


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([0, 0, 5], r"box 0 must be four numbers, got \[0, 0, 5\]"),
        ([0, 0, 5, None], "is not a box; give left"),
        (["a", 0, 5, 5], "box 0 must be four numbers"),
        ([[0, 0], [5, 5]], "box 0 must be four numbers"),
        ([5, 5, 5, 9], r"box 0 \[5.0, 5.0, 5.0, 9.0\] is not a box; give left, top, right and"),
        ([0, 0, np.inf, 9], "is not a box; give left"),
        ([70, 0, 90, 9], "lies outside the image of 60 × 50 px"),
        ([-9, 0, -1, 9], "lies outside the image of 60 × 50 px"),
        ([0, 50, 9, 59], "lies outside the image"),
        ([-1e308, -1e308, 1e308, 1e308], r"reaches far beyond the image of 60 × 50 px; give left"),
        ([10, 10, 601, 20], "reaches far beyond the image"),
    ],
)
def test_a_wrong_box_is_named(detector: HandDetector, box: Any, words: str):
    with pytest.raises(ValueError, match=words):
        detector.in_boxes(np.zeros((50, 60, 3), np.uint8), [box])


def test_wrong_sides_are_named():
    with pytest.raises(ValueError, match=r'must be "left" or "right", got .both.'):
        checked_side("both")
    with pytest.raises(ValueError, match="a list of sides needs boxes"):
        checked_side(["left", "right"])
    with pytest.raises(ValueError, match="sides is a list of 2, but there are 1 hands or boxes"):
        checked_sides(["left", "right"], 1)
    with pytest.raises(ValueError, match=r'must be "left" or "right", got 1;'):
        checked_sides(["left", 1], 2)
    with pytest.raises(ValueError, match="or a list of them, got True"):
        checked_sides(True, 1)
    assert checked_sides("left", 2) == [False, False]
    assert checked_sides(["right", None], 2) == [True, None]
    assert checked_sides(None, 1) == [None]
    for config in ({"same_side": 0.0}, {"same_side": 0.6}, {"reach": 0.0}, {"size_ratio": 0.9}):
        with pytest.raises(ValueError, match=next(iter(config))):
            SideConfig(**config)
    with pytest.raises(ValueError, match="faint_threshold must be at most score_threshold"):
        PalmConfig(faint_threshold=0.6)


def test_tracking_names_the_hand_that_is_lost(detector: HandDetector):
    rgb, points = beside(tile(1), tile(7, left=True))
    hands = hands_at(detector.detect(rgb), points)
    without = rgb.copy()
    without[:, :640] = 128
    first, second = detector.track(without, hands)
    assert first is None
    assert second is not None
    assert not second.is_right
    assert np.linalg.norm(second.landmarks_px - points[1], axis=1).mean() < 20
    (_, voted) = detector.track(without, hands, sides=["left", "right"])
    assert voted is not None
    assert voted.is_right
    assert voted.right_probability == second.right_probability < 0.2


def test_a_reading_far_smaller_than_its_box_is_not_its_hand(detector: HandDetector):
    rgb, points = tile(8)
    low, high = points.min(0), points.max(0)
    for growth, is_read in ((0.0, True), (0.3, True), (0.65, False)):
        margin = growth * (high - low)
        box = np.concatenate((low - margin, high + margin))
        assert (detector.in_box(rgb, box) is not None) == is_read, growth


def test_the_overlap_of_boxes_is_over_their_union():
    points = np.linspace([0.0, 0.0], [4.0, 2.0], 21)
    for box, overlap in (([0, 0, 4, 2], 1.0), ([2, 0, 6, 2], 1 / 3), ([9, 9, 12, 12], 0.0)):
        assert math.isclose(box_overlap(points, np.array(box, float)), overlap)
