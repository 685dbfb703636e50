"""What crops show of their hands, and crops that show less: against the picture and by hand."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from idhand.assets import open_hand
from idhand.identity import measure
from idhand.nets.crops import JitterConfig
from idhand.records import FOREARM_PART, OTHER_PART, Sample
from idhand.training.examples import CropConfig, Example, batch_of, make_example, training_view
from idhand.training.keypoints import KeypointTask
from idhand.training.seen import HarmConfig, Seen, harmed, what_is_seen
from tests.test_nets_keypoints import small
from tests.test_training_data import FOCAL_PX, HAND_MODEL, SIZE_PX, hand_sample

CELLS, KNUCKLE = 56, 9
JITTER = JitterConfig(rotation_deg=40.0, shift=0.1, scale=0.2)


@cache
def seen_sample(index: int) -> Sample:
    """A hand of discs about its keypoints before a board; six keypoints in ten are visible."""
    sample = hand_sample(index)
    parts = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    parts[SIZE_PX // 2 :] = OTHER_PART
    for number, (x, y) in enumerate(np.rint(sample.keypoints_px).astype(int).tolist()):
        cv2.circle(parts, (x, y), 4, 1 + number % FOREARM_PART, -1)
    visible = np.random.default_rng(index).random(21) < 0.6
    return replace(sample, parts=parts, visible=visible)


def example(sample: Sample, *, seed: int = 0, **changes: Any) -> Example:
    config = CropConfig(**{"jitter": JITTER, **changes})
    rng = np.random.default_rng(seed)
    return make_example(sample, config, rng, labels="seen", hand_model=HAND_MODEL)


def seen_of(made: Example) -> Seen:
    assert made.seen is not None
    return made.seen


def hand_length_m(sample: Sample) -> float:
    """As profiles have it."""
    assert sample.betas is not None
    return measure(open_hand(), sample.betas, np.eye(16))["hand_length"].value_mm / 1000


# ------------------------------------------------------------------------------------------ labels


def test_the_size_is_the_length_of_a_flat_hand_in_the_picture():
    """A hand before the camera's axis; beside its knuckle a ruler of its length is measured."""
    model, (side_px, depth_m) = open_hand(), (50.0, 0.6)
    for index in (0, 1):
        plain = seen_sample(index)
        assert plain.keypoints_cam is not None
        knuckle = np.array([0.0, 0.0, depth_m])
        moved = plain.keypoints_cam - plain.keypoints_cam[KNUCKLE] + knuckle
        sample = replace(plain, keypoints_cam=moved)
        ends = np.array([[-0.5, 0, 0], [0.5, 0, 0]]) * hand_length_m(plain) + knuckle
        uvw = ends @ plain.K.T
        pixels = uvw[:, :2] / uvw[:, 2:]
        length_px = float(np.linalg.norm(pixels[1] - pixels[0]))
        view = example(plain).view
        view = replace(view, roi=replace(view.roi, size_px=side_px))
        label = float(what_is_seen(sample, view).log_size)
        assert label == pytest.approx(math.log(length_px / side_px), abs=1e-5)
    mean = model.measures.lengths(torch.zeros(16).double())
    lengths = dict(zip(model.measures.names, mean.tolist(), strict=True))
    assert model.mean_length_m == pytest.approx(lengths["hand_length"])


@pytest.mark.parametrize("index", range(4))
def test_directions_are_those_of_the_bones_seen_from_the_crops_middle(index: int):
    """How far a bone points away from whoever looks follows from the ray alone."""
    sample = seen_sample(index)
    made = example(sample, seed=index)
    task = KeypointTask(small(), open_hand())
    found = task.true_directions(batch_of([made], [0], 0))[0].double().numpy()
    assert sample.keypoints_cam is not None
    parents = [0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19]
    bones = sample.keypoints_cam[1:] - sample.keypoints_cam[parents]
    bones /= np.linalg.norm(bones, axis=1, keepdims=True)
    x, y = (made.view.roi.center_px - sample.K[:2, 2]) / FOCAL_PX
    away = bones @ np.array([x, y, 1.0]) / math.sqrt(x * x + y * y + 1)
    np.testing.assert_allclose(found[:, 2], away, atol=1e-4)
    np.testing.assert_allclose(found @ found.T, bones @ bones.T, atol=2e-4)
    flat = made.points_px[1:] - made.points_px[parents]
    sideways = np.abs(away) < 0.7
    cosine = (flat * found[:, :2]).sum(1)[sideways] / (
        np.linalg.norm(flat, axis=1) * np.linalg.norm(found[:, :2], axis=1)
    )[sideways]
    assert sideways.sum() > 5
    assert np.median(cosine) > 0.97, "as the crop shows them"
    assert sample.visible is not None
    assert seen_of(made).visible.tolist() == sample.visible.astype(float).tolist()


@pytest.mark.parametrize("index", range(2))
def test_parts_are_those_of_the_picture_under_each_cell(index: int):
    sample = seen_sample(index)
    made = example(sample, seed=index)
    cells = (np.arange(CELLS) + 0.5) / CELLS
    places = np.stack(np.meshgrid(cells, cells), -1)
    x, y = np.floor(made.view.roi.to_image(places) + 0.5).astype(int).transpose(2, 0, 1)
    there = (x >= 0) & (y >= 0) & (x < SIZE_PX) & (y < SIZE_PX)
    assert sample.parts is not None
    expected = np.zeros((CELLS, CELLS), np.uint8)
    expected[there] = sample.parts[y[there], x[there]]
    assert (seen_of(made).parts == expected).mean() > 0.98
    assert len(np.unique(expected)) > 10


def test_a_mirrored_picture_has_the_same_labels():
    for index in (0, 1):
        sample = seen_sample(index)
        one, other = (
            seen_of(example(sample, jitter=None)),
            seen_of(example(sample.mirrored(), jitter=None)),
        )
        np.testing.assert_array_equal(one.visible, other.visible)
        assert one.log_size == pytest.approx(other.log_size, abs=1e-6)
        assert (one.parts == other.parts).mean() > 0.97


@pytest.mark.parametrize("name", ["keypoints_cam", "parts", "visible"])
def test_what_a_sample_must_have(name: str):
    with pytest.raises(ValueError, match=r"sample 00000 of 'noise' has no keypoints in space, no"):
        example(replace(seen_sample(0), **{name: None}))


def test_some_crops_are_cut_as_hands_are_found_badly():
    """The wide jitter is drawn for its share of the crops, the other one for the rest."""
    none = JitterConfig(rotation_deg=0.0, shift=0.0, scale=0.0)
    middle = example(seen_sample(1), jitter=None).view.roi
    for share in (0.0, 0.25, 1.0):
        config = CropConfig(jitter=none, wide_jitter=JITTER, wide_share=share)
        sides_px = [
            training_view(seen_sample(1), config, np.random.default_rng(seed)).roi.size_px
            for seed in range(50)
        ]
        wide = np.mean([side_px != middle.size_px for side_px in sides_px])
        assert wide == pytest.approx(share, abs=0.12)


@pytest.mark.parametrize(
    "changes", [{"wide_share": 0.5}, {"wide_share": 1.5, "wide_jitter": JITTER}]
)
def test_impossible_shares_of_wide_crops(changes: dict[str, Any]):
    with pytest.raises(ValueError, match=r"wide_share must be within 0\.\.1 and needs a wide_jit"):
        CropConfig(**changes)


# -------------------------------------------------------------------------------------------- harm

NOISE = np.random.default_rng(1).integers(1, 256, (224, 224, 3), np.uint8)
BEFORE = Seen(
    visible=np.ones(21, np.float32),
    log_size=np.float32(-0.2),
    parts=np.random.default_rng(2).integers(0, OTHER_PART, (CELLS, CELLS), np.uint8),
)


def harm(seed: int, points_px: np.ndarray, **changes: Any) -> tuple[np.ndarray, Seen]:
    none = {"cover_share": 0.0, "border_share": 0.0, "small_share": 0.0}
    config = HarmConfig(**{**none, **changes})
    return harmed(NOISE, BEFORE, points_px, np.random.default_rng(seed), config)


def hand_points(seed: int) -> np.ndarray:
    """About the crop's middle, the last outside."""
    points = np.random.default_rng(seed).normal(112, 40, (21, 2)).clip(5, 215)
    points[20] = (-9, 100)
    return points


def check_hidden(under: np.ndarray, points_px: np.ndarray, after: Seen, part: int) -> int:
    """What lies under a mask is hidden and shows this part; the rest is as before."""
    hidden = 0
    for (x, y), visible in zip(points_px, after.visible, strict=True):
        column, row = math.floor(x + 0.5), math.floor(y + 0.5)
        inside = 0 <= column < 224 and 0 <= row < 224
        covered = inside and bool(under[row, column])
        assert visible == (not covered)
        hidden += covered
    blocks = under.reshape(CELLS, 4, CELLS, 4)
    whole, free = blocks.all((1, 3)), ~blocks.any((1, 3))
    assert (after.parts[whole] == part).all()
    np.testing.assert_array_equal(after.parts[free], BEFORE.parts[free])
    assert after.log_size == BEFORE.log_size
    return hidden


def test_what_is_covered_is_not_seen():
    counts = []
    for seed in range(30):
        points = hand_points(seed)
        rgb, after = harm(seed, points, cover_share=1.0)
        under = (rgb != NOISE).any(-1)
        counts.append(check_hidden(under, points, after, OTHER_PART))
    assert max(counts) > 8
    assert np.count_nonzero(counts) > 15, "it lies near a keypoint"


def test_beyond_the_border_is_nothing():
    """Black, not visible, no part; the border is straight and leaves three keypoints in ten."""
    counts = []
    for seed in range(30):
        points = np.random.default_rng(seed).uniform(20, 200, (21, 2))
        rgb, after = harm(seed, points, border_share=1.0)
        black = (rgb == 0).all(-1)
        np.testing.assert_array_equal(rgb[~black], NOISE[~black])
        counts.append(check_hidden(black, points, after, 0))
        for side in (black, ~black):
            places = np.argwhere(side).astype(np.int32)
            if len(places):
                hull = np.zeros((224, 224), np.uint8)
                cv2.fillConvexPoly(hull, cv2.convexHull(places)[:, 0, ::-1].copy(), 1)
                assert abs(int(hull.sum()) - len(places)) < 300
    assert 0.5 * 21 < max(counts) <= 0.75 * 21
    assert min(counts) < 4


def test_small_pictures_keep_their_labels():
    details = []
    for seed in range(8):
        rgb, after = harm(seed, hand_points(0), small_share=1.0)
        assert after is BEFORE
        details.append(float(np.abs(np.diff(rgb.astype(int), axis=0)).mean()))
    assert max(details) < 0.8 * np.abs(np.diff(NOISE.astype(int), axis=0)).mean()
    assert min(details) < 15


def test_nothing_happens_to_most_and_the_draws_are_the_seeds():
    rgb, after = harm(0, hand_points(0))
    np.testing.assert_array_equal(rgb, NOISE)
    assert after is BEFORE
    every = {"cover_share": 1.0, "border_share": 1.0, "small_share": 1.0}
    one, again, other = (harm(seed, hand_points(0), **every) for seed in (3, 3, 4))
    assert one[0].tobytes() == again[0].tobytes()
    assert one[1].parts.tobytes() == again[1].parts.tobytes()
    assert one[0].tobytes() != other[0].tobytes()


def test_an_example_is_harmed_where_its_keypoints_are():
    """By the generator that cut the crop; the keypoints themselves stay where they are."""
    sample = replace(seen_sample(1), visible=np.ones(21, bool))
    whole = example(sample, seed=5)
    less = example(
        sample, seed=5, harm=HarmConfig(cover_share=1.0, border_share=0.0, small_share=0.0)
    )
    np.testing.assert_array_equal(whole.points_px, less.points_px)
    np.testing.assert_array_equal(whole.betas, less.betas)
    under = (whole.rgb != less.rgb).any(-1)
    assert under.any()
    gone = seen_of(less).visible == 0
    assert gone.any()
    x, y = np.rint(whole.points_px[gone]).astype(int).T
    assert under[y, x].mean() > 0.8, "a board may have the colour of what it covers"
    again = example(
        sample, seed=5, harm=HarmConfig(cover_share=1.0, border_share=0.0, small_share=0.0)
    )
    assert again.rgb.tobytes() == less.rgb.tobytes()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"cover_share": 1.2}, r"shares must be within 0\.\.1 and sides positive"),
        ({"small_share": -0.1}, r"shares must be within 0\.\.1"),
        ({"cover_side": (0.5, 0.2)}, "sides positive"),
        ({"cover_side": (0.0, 0.2)}, "sides positive"),
        ({"smallest_px": 300.0}, "smallest_px must be 1 to 224, got 300"),
    ],
)
def test_impossible_harm(changes: dict[str, Any], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        HarmConfig(**changes)
