import json
import math
import re
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageOps

from idhand.media import (
    VideoReader,
    check_intrinsics,
    find_media,
    read_camera,
    read_image,
)
from idhand.view import VideoWriter

K_640 = [[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]]
ORIENTATION, EXIF_IFD, FOCAL_MM, FOCAL_35 = 0x0112, 0x8769, 0x920A, 0xA405
SIZE_X, SIZE_Y, PLANE_X, PLANE_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210


def corners(width=24, height=16) -> Image.Image:
    """A picture whose four corners tell which way it lies."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    return Image.fromarray(picture)


def exif_of(orientation=None, **tags) -> Image.Exif:
    exif = Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    if tags:
        exif[EXIF_IFD] = {globals()[name]: value for name, value in tags.items()}
    return exif


# ---------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".heic", ".tif", ".bmp"])
def test_formats_give_upright_rgb(tmp_path: Path, suffix: str):
    if suffix == ".heic":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    path = tmp_path / f"a{suffix}"
    corners(64, 48).save(path, quality=95)
    rgb, K = read_image(path)
    assert rgb.shape == (48, 64, 3)
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    assert K is None
    np.testing.assert_allclose(rgb[12, 16], (255, 0, 0), atol=12)
    np.testing.assert_allclose(rgb[36, 16], (0, 0, 255), atol=12)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int, suffix: str):
    path = tmp_path / f"a{suffix}"
    corners().save(path, exif=exif_of(orientation), quality=95)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(path)[0], expected)


def test_heic_orientation_is_applied_once(tmp_path: Path):
    from pillow_heif import register_heif_opener

    register_heif_opener()
    path = tmp_path / "a.heic"
    picture = corners(64, 48)
    picture.info["exif"] = exif_of(6, FOCAL_35=26).tobytes()  # pillow-heif turns it into a rotation
    picture.save(path, quality=95)
    rgb, K = read_image(path)
    assert rgb.shape == (64, 48, 3)
    np.testing.assert_allclose(rgb[4, 40], (255, 0, 0), atol=20)
    assert K is not None


def _grey16(path: Path):
    Image.fromarray(np.array([[0, 257 * 128, 65535]], np.uint16)).save(path)


def _float(path: Path):
    Image.fromarray(np.array([[0, 128 / 255, 1.0]], np.float32)).save(path)


def _float_255(path: Path):
    Image.fromarray(np.array([[np.nan, 128, 255]], np.float32)).save(path)


def _int32(path: Path):
    Image.fromarray(np.array([[-7, 128, 255]], np.int32)).save(path)


def _int32_wide(path: Path):
    Image.fromarray(np.array([[0, 128 * 257, 65535]], np.int32)).save(path)


def _grey(path: Path):
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save(path)


def _grey_alpha(path: Path):
    Image.fromarray(np.array([[(0, 255), (128, 255), (9, 0)]], np.uint8), "LA").save(path)


def _rgba(path: Path):
    pixels = [[(0, 0, 0, 255), (1, 1, 1, 127), (9, 9, 9, 0)]]
    Image.fromarray(np.array(pixels, np.uint8), "RGBA").save(path)


def _palette(path: Path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 128, 128, 9, 9, 9])
    image.save(path, transparency=2)


def _rgb_with_clear_colour(path: Path):
    pixels = [[(0, 0, 0), (128, 128, 128), (9, 9, 9)]]
    Image.fromarray(np.array(pixels, np.uint8)).save(path, transparency=(9, 9, 9))


def _cmyk(path: Path):
    pixels = [[(0, 0, 0, 255), (0, 0, 0, 127), (0, 0, 0, 0)]]
    Image.fromarray(np.array(pixels, np.uint8), "CMYK").save(path)


def _bits(path: Path):
    Image.fromarray(np.array([[False, True, True]])).save(path)


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "suffix", "expected"),
    [
        (_grey16, ".png", (0, 128, 255)),
        (_grey16, ".tif", (0, 128, 255)),
        (_float, ".tif", (0, 128, 255)),
        (_float_255, ".tif", (0, 128, 255)),
        (_int32, ".tif", (0, 128, 255)),
        (_int32_wide, ".tif", (0, 128, 255)),
        (_grey, ".png", (0, 128, 255)),
        (_grey_alpha, ".png", (0, 128, 255)),
        (_rgba, ".png", (0, 128, 255)),
        (_palette, ".png", (0, 128, 255)),
        (_rgb_with_clear_colour, ".png", (0, 128, 255)),
        (_cmyk, ".tif", (0, 128, 255)),
        (_bits, ".png", (0, 255, 255)),
    ],
)
def test_any_pixels_become_rgb(tmp_path: Path, make, suffix: str, expected):
    path = tmp_path / f"a{suffix}"
    make(path)
    rgb = read_image(path)[0]
    assert rgb.shape == (1, 3, 3)
    np.testing.assert_allclose(rgb[0], np.repeat(expected, 3).reshape(3, 3), atol=1)


def test_cmyk_jpeg(tmp_path: Path):
    corners().convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[0][2, 2], (255, 0, 0), atol=12)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_animations_give_their_first_picture(tmp_path: Path, suffix: str):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    np.testing.assert_allclose(read_image(path)[0][5, 5], (255, 0, 0), atol=4)


def test_hundred_megapixels_are_read_without_a_warning(tmp_path: Path):
    path = tmp_path / "big.png"
    Image.new("1", (12_500, 8_000), 1).save(path, compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgb, _ = read_image(path)
    assert rgb.shape == (8_000, 12_500, 3)
    assert rgb[-1, -1].tolist() == [255, 255, 255]
    assert Image.MAX_IMAGE_PIXELS == 89_478_485, "Pillow's own guard is as it was"


def test_more_than_the_limit_is_a_sentence(tmp_path: Path):
    path = tmp_path / "huge.png"
    Image.new("1", (20_001, 10_000)).save(path, compress_level=1)
    with pytest.raises(ValueError, match=r"huge.png has 20001×10000 = 200 megapixels; at most 200"):
        read_image(path)


def _cut(path: Path, fraction: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".heic", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.6])
def test_truncated_pictures_are_a_sentence(tmp_path: Path, suffix: str, fraction: float):
    if suffix == ".heic":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise).save(path)
    _cut(path, fraction)
    with pytest.raises(ValueError, match=rf"a{suffix}.*(copy it again|give JPEG)"):
        read_image(path)


def test_what_is_no_picture_is_a_sentence(tmp_path: Path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello, I am a letter and no picture")
    with pytest.raises(ValueError, match=r"empty.jpg is empty \(0 bytes\)"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(ValueError, match=r"text.jpg is not a picture that can be read; give JPEG"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(FileNotFoundError, match=r"none.jpg: no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)


def test_damaged_metadata_do_not_hide_the_picture(tmp_path: Path):
    path = tmp_path / "a.jpg"
    corners().save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff garbage garbage")
    rgb, K = read_image(path)
    assert rgb.shape == (16, 24, 3)
    assert K is None


# -------------------------------------------------------------------------------------------- Exif


def exif_intrinsics(tmp_path: Path, size=(400, 300), orientation=None, **tags):
    path = tmp_path / "a.jpg"
    Image.new("RGB", size).save(path, exif=exif_of(orientation, **tags))
    return read_image(path)[1]


def test_equivalent_focal_length_keeps_the_diagonal_angle(tmp_path: Path):
    K = exif_intrinsics(tmp_path, FOCAL_35=26)
    assert K is not None
    diagonal_deg = 2 * math.degrees(math.atan2(math.hypot(400, 300) / 2, K[0, 0]))
    assert diagonal_deg == pytest.approx(2 * math.degrees(math.atan(43.2666 / 2 / 26)), abs=1e-3)
    np.testing.assert_allclose(K[:2, 2], (199.5, 149.5))
    assert K[0, 0] == K[1, 1]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_rotation_moves_only_the_centre(tmp_path: Path, orientation: int):
    tags = {"FOCAL_35": 26, "SIZE_X": 400, "SIZE_Y": 300}
    K = exif_intrinsics(tmp_path, orientation=orientation, **tags)
    assert K is not None
    assert K[0, 0] == pytest.approx(500 * 26 / 43.2666, rel=1e-5)
    np.testing.assert_allclose(K[:2, 2], (149.5, 199.5) if orientation > 4 else (199.5, 149.5))


def test_focal_plane_resolution_is_the_second_choice(tmp_path: Path):
    plane = {"FOCAL_MM": 50.0, "PLANE_X": 254.0, "PLANE_UNIT": 2}  # 10 px/mm
    K = exif_intrinsics(tmp_path, **plane)
    assert K is not None
    assert K[0, 0] == pytest.approx(500)
    halved = exif_intrinsics(tmp_path, **plane, SIZE_X=800, SIZE_Y=600)
    assert halved is not None
    assert halved[0, 0] == pytest.approx(250), "the picture was made half as large"
    both = exif_intrinsics(tmp_path, **plane, FOCAL_35=26)
    assert both is not None
    assert both[0, 0] == pytest.approx(500 * 26 / 43.2666, rel=1e-5)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"FOCAL_35": 0},
        {"FOCAL_35": 1},
        {"FOCAL_35": 60_000},
        {"FOCAL_MM": 4.2},
        {"FOCAL_MM": 4.2, "PLANE_X": 0.0},
        {"FOCAL_MM": 50.0, "PLANE_X": 254.0, "PLANE_UNIT": 9},
        {"FOCAL_35": 26, "SIZE_X": 400, "SIZE_Y": 225},
    ],
    ids=str,
)
def test_what_exif_does_not_tell_credibly_is_none(tmp_path: Path, tags):
    assert exif_intrinsics(tmp_path, **tags) is None


# ----------------------------------------------------------------------------------------- cameras


def test_camera_files(tmp_path: Path):
    file = tmp_path / "k.json"
    file.write_text(json.dumps({"K": K_640, "dist": [0.1, 0.2, 0, 0]}))
    K, dist = read_camera(file)
    np.testing.assert_array_equal(K, K_640)
    assert isinstance(dist, np.ndarray)
    assert dist.tolist() == [0.1, 0.2, 0, 0, 0]
    np.save(tmp_path / "k.npy", np.array(K_640, np.float32))
    K, dist = read_camera(tmp_path / "k.npy")
    np.testing.assert_array_equal(K, K_640)
    assert dist is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not json", "it is not JSON"),
        ("[1, 2]", 'there is no "K" in it'),
        ('{"k": 3}', 'there is no "K" in it'),
        ('{"K": [[1, 0], [0, 1]]}', r"3×3 matrix, got shape \(2, 2\)"),
        ('{"K": [["a", 0, 1], [0, 1, 1], [0, 0, 1]]}', "matrix of numbers"),
        ('{"K": [[NaN, 0, 1], [0, 1, 1], [0, 0, 1]]}', "NaN or infinite"),
        ('{"K": [[-500, 0, 1], [0, 500, 1], [0, 0, 1]]}', "must be positive, got fx -500"),
        ('{"K": [[0, 0, 1], [0, 500, 1], [0, 0, 1]]}', "must be positive, got fx 0"),
        ('{"K": [[500, 0, 0], [0, 500, 0], [320, 240, 1]]}', "is it transposed"),
        ('{"K": [[500, 0, 320], [0, 500, 240], [0, 0, 2]]}', r"must be \[\[fx"),
        (
            '{"K": [[500, 0, 9], [0, 500, 9], [0, 0, 1]], "dist": [1]}',
            "4, 5, 8, 12 or 14 finite numbers",
        ),
        ('{"K": [[500, 0, 9], [0, 500, 9], [0, 0, 1]], "dist": "x"}', "list of numbers"),
    ],
)
def test_camera_files_that_are_none(tmp_path: Path, text: str, sentence: str):
    file = tmp_path / "k.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"k.json is not a camera file: .*{sentence}"):
        read_camera(file)


def test_pickles_are_not_opened(tmp_path: Path):
    np.save(tmp_path / "k.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match="not a camera file"):
        read_camera(tmp_path / "k.npy")


@pytest.mark.parametrize(("width", "height"), [(1280, 960), (320, 240), (480, 640), (5000, 480)])
def test_intrinsics_of_another_size(width: int, height: int):
    with pytest.raises(ValueError, match=rf"{width}×{height} picture"):
        check_intrinsics(K_640, width, height)


def test_intrinsics_that_fit():
    np.testing.assert_array_equal(check_intrinsics(K_640, 640, 480), K_640)
    off_centre = np.array([[600.0, 0, 380], [0, 600, 200], [0, 0, 1]])
    np.testing.assert_array_equal(check_intrinsics(off_centre, 640, 480), off_centre)
    normalised = [[0.9, 0, 0.5], [0, 0.9, 0.5], [0, 0, 1]]
    with pytest.raises(ValueError, match="is it in px"):
        check_intrinsics(normalised, 640, 480)


# ------------------------------------------------------------------------------------------- files


def test_folders_are_sorted_and_other_files_counted(tmp_path: Path):
    for name in ("b.jpg", "a.PNG", "really_a_jpeg", ".hidden.jpg"):
        corners().save(tmp_path / name, format="PNG" if name == "a.PNG" else "JPEG")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.jpg").write_bytes(b"")
    (tmp_path / "deeper").mkdir()
    corners().save(tmp_path / "deeper" / "c.jpg")
    found = find_media([tmp_path, tmp_path / "b.jpg", tmp_path / "missing.jpg"])
    names = [file.path.name for file in found.files]
    assert names == ["a.PNG", "b.jpg", "broken.jpg", "really_a_jpeg", "missing.jpg"]
    assert [path.name for path in found.skipped] == ["notes.txt"]
    assert {file.kind for file in found.files} == {"image"}


def test_content_outranks_the_extension(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", 3).rename(tmp_path / "clip.jpg")
    corners().save(tmp_path / "a.mp4", format="JPEG")
    kinds = {file.path.name: file.kind for file in find_media([clip, tmp_path / "a.mp4"]).files}
    assert kinds == {"clip.jpg": "video", "a.mp4": "image"}


# ------------------------------------------------------------------------------------------ videos


def write_clip(path: Path, num_frames: int, width=64, height=48) -> Path:
    """Frames get brighter; the upper left quarter is red."""
    with VideoWriter(path, 25.0) as clip:
        for i in range(num_frames):
            rgb = np.full((height, width, 3), 5 * i % 256, np.uint8)
            rgb[: height // 2, : width // 2] = (255, 0, 0)
            clip.add(rgb)
    return path


def test_video_there_and_back(tmp_path: Path):
    reader = VideoReader(write_clip(tmp_path / "a.mp4", 30, width=65, height=47))
    frames = list(reader)
    assert reader.fps == 25
    assert reader.num_frames_estimate == len(frames) == 30
    assert reader.problem == ""
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(30) / 25, atol=1e-6)
    assert frames[0].rgb.shape == (48, 66, 3), "padded to even sizes"
    np.testing.assert_allclose(frames[20].rgb[10, 10], (255, 0, 0), atol=14)
    np.testing.assert_allclose(frames[20].rgb[40, 50], 100, atol=4)
    assert len(list(reader)) == 30, "can be read again"


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_videos_come_upright(tmp_path: Path, degrees: int):
    upright = np.zeros((48, 64, 3), np.uint8)
    upright[:24, :32] = (255, 0, 0)
    stored = np.rot90(upright, -degrees // 90)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(degrees)
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    rgb = next(iter(VideoReader(path))).rgb
    assert rgb.shape == (48, 64, 3)
    np.testing.assert_allclose(rgb[10, 10], (255, 0, 0), atol=14)
    np.testing.assert_allclose(rgb[40, 50], 0, atol=14)


def noise_clip(path: Path) -> Path:
    generator = np.random.default_rng(0)
    with VideoWriter(path, 25.0) as clip:
        for _ in range(60):
            clip.add(generator.integers(0, 255, (48, 64, 3), np.uint8))
    return path


def test_a_broken_end_keeps_what_was_before(tmp_path: Path):
    path = noise_clip(tmp_path / "a.mp4")
    _cut(path, 0.5)
    reader = VideoReader(path)
    frames = list(reader)
    assert 10 < len(frames) < 50
    assert f"a.mp4 is damaged or breaks off: {len(frames)} of 60 frames" in reader.problem


def clip_of_eight(path: Path, *, sound_s: float = 0.0) -> Path:
    """Eight frames of noise at 25 per second, in a container without a number of frames."""
    generator = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4" if path.suffix == ".mkv" else "flv1", rate=25)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono") if sound_s else None
        for _ in range(8):
            noise = generator.integers(0, 255, (96, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            silence = np.zeros((1, int(sound_s * 48_000)), np.float32)
            samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            samples.sample_rate = 48_000
            container.mux(sound.encode(samples))
            container.mux(sound.encode())
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".flv"])
def test_a_video_that_ends_before_its_stated_duration_breaks_off(suffix: str, tmp_path: Path):
    path = clip_of_eight(tmp_path / f"a{suffix}")
    reader = VideoReader(path)
    assert len(list(reader)) == 8
    assert not reader.problem
    _cut(path, 0.6)
    reader = VideoReader(path)
    num = len(list(reader))
    assert 1 <= num <= 4
    assert re.search(
        rf"is damaged or breaks off: {num} frames could be read, .* at 0\.\d\d of 0\.\d\d s",
        reader.problem,
    )


def test_a_video_with_longer_sound_is_whole(tmp_path: Path):
    reader = VideoReader(clip_of_eight(tmp_path / "a.mkv", sound_s=2.0))
    assert len(list(reader)) == 8
    assert not reader.problem


def test_a_damaged_middle_is_left_out(tmp_path: Path):
    path = noise_clip(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    reader = VideoReader(path)
    frames = list(reader)
    assert 40 < len(frames) <= 60
    assert frames[-1].time_s == pytest.approx(59 / 25, abs=1e-6)
    assert "a.mp4 is damaged or breaks off" in reader.problem


def test_videos_without_frames_are_a_sentence(tmp_path: Path):
    header = noise_clip(tmp_path / "header.mp4")
    _cut(header, header.read_bytes().index(b"mdat") / len(header.read_bytes()) + 1e-3)
    with pytest.raises(ValueError, match="holds no frame that can be decoded"):
        list(VideoReader(header))
    text = tmp_path / "text.mp4"
    text.write_text("I am no video")
    with pytest.raises(ValueError, match="not a video, or broken off before its index"):
        VideoReader(text)
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"no video in it \(sound only\?\)"):
        VideoReader(sound)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(ValueError, match="is empty"):
        VideoReader(empty)


def test_no_clip_stays_unless_it_is_whole(tmp_path: Path):
    path = tmp_path / "a.mp4"
    frame = np.zeros((48, 64, 3), np.uint8)

    def interrupted():
        with VideoWriter(path, 25.0) as clip:
            clip.add(frame)
            raise KeyboardInterrupt

    def changing():
        with VideoWriter(path, 25.0) as clip:
            clip.add(frame)
            clip.add(frame.transpose(1, 0, 2))

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match=r"one size: 64×48, then 48×64"):
        changing()
    with VideoWriter(path, 25.0):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="frames per second"):
        VideoWriter(path, 0.0)
