"""Lenses in samples, in kept observations and in results on disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from idhand.data.samples import decode_sample, encode_sample
from idhand.lens import Lens, project_px
from idhand.methods.detections import DetectedHands, undetected
from idhand.records import Sample
from idhand.view.results import ImageHands, read_hands, write_hands

TILTED = np.array(
    [0.45, -2.6, 9e-4, -2e-4, 1.5, 0.33, -2.42, 1.43, 2e-3, -1e-3, -3e-3, 1.5e-3, 0.03, -0.05]
)
FISHEYE = Lens(model="fisheye", coefficients=(-0.03, 0.011, -0.008, 0.0012))


def sample(dist: np.ndarray, name="a") -> Sample:
    K = np.array([[610.0, 0.0, 322.0], [0.0, 605.0, 238.0], [0.0, 0.0, 1.0]])
    points = np.random.default_rng(3).uniform(-0.1, 0.1, (21, 3)) + np.array([0.05, 0.02, 0.6])
    pixels = project_px(points, K, dist)
    return Sample(
        rgb=np.zeros((480, 640, 3), np.uint8),
        K=K,
        dist=dist,
        is_right=True,
        bbox_px=np.concatenate((pixels.min(0), pixels.max(0))),
        subject="p",
        model=None,
        betas=None,
        rotations=None,
        wrist_cam=points[0],
        keypoints_px=pixels,
        keypoints_cam=points,
        valid=np.ones(21, bool),
        visible=None,
        parts=None,
        dataset="d",
        id=name,
        sequence=None,
        time_s=None,
    )


@pytest.mark.parametrize("count", [4, 5, 8, 12, 14])
def test_a_mirrored_sample_projects_onto_its_own_pixels(count: int):
    mirrored = sample(TILTED[:count]).mirrored()
    assert mirrored.keypoints_cam is not None
    assert mirrored.dist.shape == (count,)
    again = project_px(mirrored.keypoints_cam, mirrored.K, mirrored.dist)
    np.testing.assert_allclose(again, mirrored.keypoints_px, atol=1e-9)


@pytest.mark.parametrize("count", [4, 5, 8, 12, 14])
def test_shards_keep_every_lens(count: int):
    one = sample(TILTED[:count])
    files = encode_sample(one, b"")
    import cv2

    jpeg = cv2.imencode(".jpg", one.rgb)[1].tobytes()
    np.testing.assert_allclose(decode_sample(files | {"jpg": jpeg}).dist, one.dist, atol=1e-9)


def test_kept_observations_hold_lenses_of_different_lengths(tmp_path: Path):
    plain, rational = np.array([-0.2, 0.05, 0.0, 0.001]), TILTED[:8]
    kept = undetected([sample(plain, "a"), sample(rational, "b")])
    assert kept.dist.shape == (2, 8)
    kept.save(tmp_path / "a.npz")
    read = DetectedHands.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(read.dist[0], [*plain, 0, 0, 0, 0])
    np.testing.assert_array_equal(read.dist[1], rational)
    assert undetected([sample(plain)]).dist.shape == (1, 5), "as files of earlier versions have it"
    broken = replace(kept, dist=np.zeros((2, 7)))
    broken.save(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="dist is missing or has another shape"):
        DetectedHands.load(tmp_path / "b.npz")


@pytest.mark.parametrize("dist", [None, FISHEYE, Lens(coefficients=tuple(TILTED.round(5)))])
def test_results_say_the_lens(tmp_path: Path, dist: Lens | None):
    image = ImageHands(file="a.jpg", name="a", width=9, height=9, K=np.eye(3), dist=dist, hands=())
    write_hands(tmp_path / "hands.json", [image])
    stored = json.loads((tmp_path / "hands.json").read_text())["images"][0]["dist"]
    if dist is None:
        assert stored is None
    elif dist.model == "fisheye":
        assert stored == {"model": "fisheye", "coefficients": list(FISHEYE.coefficients)}
    else:
        assert stored == list(dist.coefficients), "a list, as ever"
    (read,) = read_hands(tmp_path / "hands.json")
    points = np.array([[0.1, 0.05, 0.5]])
    K = np.diag([500.0, 500.0, 1.0])
    np.testing.assert_allclose(project_px(points, K, read.dist), project_px(points, K, dist))
    if dist is not None and dist.model == "fisheye":
        assert read.dist == FISHEYE
