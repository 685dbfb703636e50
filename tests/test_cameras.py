"""Which K belongs to which picture, and camera files of many kinds."""

import json
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from idhand.cli.common import Camera
from idhand.lens import Lens
from idhand.media import (
    IntrinsicsWarning,
    check_intrinsics,
    intrinsics_doubt,
    read_camera,
    read_camera_file,
)

K_640 = np.array([[600.0, 0, 319.5], [0, 602.0, 239.5], [0, 0, 1]])
RATIONAL = [0.45, -2.6, 0.0009, -0.0002, 1.5, 0.33, -2.42, 1.43]


def centred(width: float, height: float, f=600.0) -> np.ndarray:
    return np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1]])


# ------------------------------------------------------------------------------------- other sizes


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 4 / 3, 3 / 2, 2, 3, 4])
def test_a_K_computed_for_another_size_is_refused(scale: float):
    doubt = intrinsics_doubt(centred(1200 * scale, 900 * scale, 1000 * scale), 1200, 900)
    assert doubt is not None
    assert doubt.is_certain
    size = f"{1200 * scale:.0f}×{900 * scale:.0f}"
    assert doubt.sentence.startswith("K is not of a 1200×900 picture")
    assert size in doubt.sentence


def test_a_turned_K_is_refused():
    with pytest.raises(ValueError, match=r"not of a 480×640 picture.* fits about 640×480"):
        check_intrinsics(K_640, 480, 640)


def test_a_calibrated_K_of_another_size_is_warned_of():
    """Real principal points are some percent off the centre, so a crop cannot be excluded."""
    calibrated = np.array([[1210.0, 0, 651.2], [0, 1208.0, 470.3], [0, 0, 1]])
    with pytest.warns(IntrinsicsWarning, match="may not be of a 640×480 picture.*is a crop"):
        used = check_intrinsics(calibrated, 640, 480)
    np.testing.assert_array_equal(used, calibrated)
    turned = np.array([[600.0, 0, 244.0], [0, 600, 313], [0, 0, 1]])
    doubt = intrinsics_doubt(turned, 640, 480)
    assert doubt is not None
    assert not doubt.is_certain


def test_crops_of_a_picture_are_never_refused_and_seldom_suspected():
    rng = np.random.default_rng(1)
    K = np.array([[1400.0, 0, 952.4], [0, 1398.0, 547.9], [0, 0, 1]])
    suspected, num = 0, 2000
    for _ in range(num):
        width, height = rng.integers(100, 700, 2)
        crop = K.copy()
        crop[:2, 2] -= rng.integers(0, (1920 - width, 1080 - height))
        doubt = intrinsics_doubt(crop, int(width), int(height))
        if doubt is not None:
            assert not doubt.is_certain, doubt.sentence
            suspected += 1
    assert suspected < 0.05 * num


@pytest.mark.parametrize("centre", [(-400.0, 90.0), (1500.0, 800.0), (100.0, -30.0), (-5e3, -5e3)])
def test_a_principal_point_outside_of_the_picture_is_that_of_a_crop(centre):
    crop = np.array([[900.0, 0, centre[0]], [0, 900, centre[1]], [0, 0, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(check_intrinsics(crop, 320, 240), crop)


def test_calibrated_cameras_of_the_right_size_are_not_suspected():
    for cx, cy in ((319.5, 239.5), (330.0, 229.0), (300.0, 260.0), (380.0, 200.0)):
        assert (
            intrinsics_doubt(np.array([[600.0, 0, cx], [0, 600, cy], [0, 0, 1]]), 640, 480) is None
        )
        square = np.array([[600.0, 0, cx], [0, 600, cx], [0, 0, 1]])
        assert intrinsics_doubt(square, 640, 640) is None


def test_the_size_that_a_file_states_decides():
    calibrated = np.array([[1210.0, 0, 651.2], [0, 1208.0, 470.3], [0, 0, 1]])
    scaled = intrinsics_doubt(calibrated, 640, 480, (1280, 960))
    assert scaled is not None
    assert scaled.is_certain
    assert "of 1280×960 pictures, this one has 640×480" in scaled.sentence
    assert "multiply K's first two rows by 0.5" in scaled.sentence
    turned = intrinsics_doubt(calibrated, 960, 1280, (1280, 960))
    assert turned is not None
    assert turned.is_certain
    assert "turn K" in turned.sentence
    cut = intrinsics_doubt(calibrated, 640, 400, (1280, 960))
    assert cut is not None
    assert not cut.is_certain
    assert intrinsics_doubt(centred(1280, 960, 1200), 640, 480, (640, 480)) is None, "as stated"


def test_the_command_says_a_doubt_once(tmp_path: Path, capsys: pytest.CaptureFixture):
    calibrated = [[1210.0, 0, 651.2], [0, 1208.0, 470.3], [0, 0, 1]]
    file = tmp_path / "k.json"
    file.write_text(json.dumps({"K": calibrated}))
    camera = Camera.from_flags(file, None)
    for _ in range(3):
        assert camera.intrinsics(640, 480) is not None
    assert capsys.readouterr().err.count("may not be of a 640×480 picture") == 1
    file.write_text(json.dumps({"K": calibrated, "image_size": [1280, 960]}))
    camera = Camera.from_flags(file, None)
    with pytest.raises(ValueError, match="1280×960"):
        camera.intrinsics(640, 480)


# -------------------------------------------------------------------------------------------- files


def opencv_file(path: Path, dist: list[float], **more: int) -> Path:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("calibration_time", "Tue 01 Dec 2026 10:00:00")
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    for name, value in more.items():
        storage.write(name, value)
    storage.write("camera_matrix", K_640)
    storage.write("distortion_coefficients", np.array(dist)[:, None])
    storage.write("avg_reprojection_error", 0.21)
    storage.release()
    return path


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".xml", ".json"])
@pytest.mark.parametrize("count", [4, 5, 8, 12, 14])
def test_opencvs_files(tmp_path: Path, suffix: str, count: int):
    dist = [0.1, -0.2, 0.001, -0.002, 0.05, 0.01, -0.02, 0.003, *[1e-4] * 6][:count]
    camera = read_camera_file(opencv_file(tmp_path / f"k{suffix}", dist))
    np.testing.assert_array_equal(camera.K, K_640)
    assert camera.lens == Lens(coefficients=tuple(dist))
    assert camera.size_px == (640, 480)


@pytest.mark.parametrize("suffix", [".yml", ".xml"])
def test_opencvs_fisheye_flag(tmp_path: Path, suffix: str):
    path = opencv_file(tmp_path / f"k{suffix}", [0.1, -0.2, 0.01, 0.0], fisheye_model=1)
    camera = read_camera_file(path)
    assert camera.lens == Lens(model="fisheye", coefficients=(0.1, -0.2, 0.01, 0.0))


ROS = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [600.0, 0.0, 319.5, 0.0, 602.0, 239.5, 0.0, 0.0, 1.0]
distortion_model: {model}
distortion_coefficients:
  rows: 1
  cols: {count}
  data: {data}
rectification_matrix:
  rows: 3
  cols: 3
  data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
projection_matrix:
  rows: 3
  cols: 4
  data: [580.0, 0.0, 320.1, 0.0, 0.0, 590.0, 240.2, 0.0, 0.0, 0.0, 1.0, 0.0]
"""


@pytest.mark.parametrize(
    ("model", "values", "lens_model"),
    [
        ("plumb_bob", [0.1, -0.2, 1e-05, -0.002, 0.0], "brown"),
        ("rational_polynomial", RATIONAL, "brown"),
        ("equidistant", [0.1, -0.2, 0.01, 0.0], "fisheye"),
    ],
)
def test_camera_info_of_ros(tmp_path: Path, model: str, values: list[float], lens_model):
    (tmp_path / "k.yaml").write_text(ROS.format(model=model, count=len(values), data=values))
    camera = read_camera_file(tmp_path / "k.yaml")
    np.testing.assert_array_equal(camera.K, K_640)
    assert camera.lens == Lens(model=lens_model, coefficients=tuple(values))
    assert camera.size_px == (640, 480)


@pytest.mark.parametrize("K_name", ["K", "k"])
def test_a_camera_info_message_as_ros_prints_it(tmp_path: Path, K_name: str):
    D_name = "D" if K_name == "K" else "d"
    text = f"""\
header:
  stamp:
    sec: 12
height: 480
width: 640
distortion_model: plumb_bob
{D_name}: [0.1, -0.2, 0.0, 0.0, 0.0]
{K_name}: [600.0, 0.0, 319.5, 0.0, 602.0, 239.5, 0.0, 0.0, 1.0]
---
"""
    (tmp_path / "k.yaml").write_text(text)
    K, dist = read_camera(tmp_path / "k.yaml")
    np.testing.assert_array_equal(K, K_640)
    assert isinstance(dist, np.ndarray)
    assert dist.tolist() == [0.1, -0.2, 0, 0, 0]


def test_json_names_the_model(tmp_path: Path):
    file = tmp_path / "k.json"
    record = {"K": K_640.tolist(), "dist": [0.1, 0.2, 0.0, 0.01], "model": "fisheye"}
    file.write_text(json.dumps(record))
    _, dist = read_camera(file)
    assert dist == Lens(model="fisheye", coefficients=(0.1, 0.2, 0.0, 0.01))
    file.write_text(json.dumps({"K": K_640.tolist(), "dist": RATIONAL}))
    _, dist = read_camera(file)
    assert isinstance(dist, np.ndarray)
    assert dist.tolist() == RATIONAL


ALIASES = "a: &l0 [1, 1]\n" + "".join(
    f"{name}: &l{level} [*l{level - 1}, *l{level - 1}]\n"
    for level, name in enumerate([*"bcdefghijklmnopqrstuvwxyz", "K"], 1)
)
"""A few lines that stand for 2**27 numbers."""


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("deep.json", "[" * 20_000, "nested too deeply"),
        ("deep.yaml", "K: " + "[" * 20_000, "nested too deeply"),
        ("deep2.yaml", "- " * 20_000, "nested too deeply"),
        ("large.yaml", "a: b\n" * 200_000, "larger than 500 kB"),
        ("text.txt", "hello, I am a letter", "with names and values"),
        ("a.yaml", "K: [1, 2\nb: }", "not JSON, YAML or XML"),
        ("tag.yaml", "K: !!python/object/apply:os.system ['true']", "not JSON, YAML or XML"),
        ("bomb.yaml", ALIASES, "more than 10 YAML aliases"),
        ("a.xml", "<opencv_storage><K>", "XML is damaged"),
        ("a.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "declarations"),
        ("a.xml", "<a><K><data>1 2 x</data><rows>3</rows><cols>3</cols></K></a>", "3×3"),
        ("model.yaml", "K: [600, 0, 9, 0, 600, 9, 0, 0, 1]\nmodel: omni", "'omni' is not known"),
        (
            "fish.yaml",
            "K: [600, 0, 9, 0, 600, 9, 0, 0, 1]\nD: [0, 0, 0, 0, 0]\nmodel: equidistant",
            "fish-eye's distortion must be 4",
        ),
        ("utf.json", "\udcff", "'utf-8' codec"),
    ],
)
def test_what_is_no_camera_file_is_a_sentence(tmp_path: Path, name: str, text: str, sentence: str):
    (tmp_path / name).write_text(text, errors="surrogateescape")
    with pytest.raises(
        ValueError, match=rf"{name} is not a camera file: .*{sentence}.*; give JSON"
    ):
        read_camera_file(tmp_path / name)


def test_an_empty_distortion_is_none(tmp_path: Path):
    (tmp_path / "k.yaml").write_text("K: [600, 0, 9, 0, 600, 9, 0, 0, 1]\nD: []\nmodel: ''")
    assert read_camera_file(tmp_path / "k.yaml").lens is None
