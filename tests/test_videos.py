"""Frames are those that a player shows."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import av.filter
import cv2
import numpy as np
import pytest

from idhand.media import VideoReader, find_media
from idhand.media.display import Orientation, fitted, square_pixels_size
from idhand.view import VideoWriter

WIDTH, HEIGHT = 128, 96


def picture(shift=0, width=WIDTH, height=HEIGHT) -> np.ndarray:
    """A red quarter, a green one, a blue one and a white bar that moves: no symmetry."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (200, 30, 30)
    rgb[: height // 2, width // 2 :] = (30, 180, 30)
    rgb[height // 2 :, : width // 2] = (30, 30, 200)
    rgb[:, 8 + shift : 16 + shift] = 240
    return rgb


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    form: str | None = None,
    codec="libx264",
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {**(options or {})}
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    return path


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


# ---------------------------------------------------------------------------- matrices and shapes


def with_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """The MP4 with another display matrix in its track header."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 16
    fixed = [round(value * 65536) for value in (a, b, 0, c, d, 0, 0, 0)]
    struct.pack_into(">9i", data, at, *fixed, 1 << 30)
    path = path.with_name("matrix.mp4")
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda rgb: rgb),
        ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),
        ((1, 0, 0, -1), lambda rgb: rgb[::-1]),
        ((-1, 0, 0, -1), lambda rgb: rgb[::-1, ::-1]),
        ((0, 1, 1, 0), lambda rgb: rgb.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2)),
        ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, -1)),
        ((0, -1, 1, 0), np.rot90),
        ((0.966, 0.259, -0.259, 0.966), lambda rgb: rgb),
    ],
)
def test_display_matrices_turn_and_mirror(tmp_path: Path, matrix, shown):
    plain = write(tmp_path / "a.mp4", [picture()] * 2)
    stored = next(iter(VideoReader(plain))).rgb
    frames = list(VideoReader(with_matrix(plain, *matrix)))
    np.testing.assert_array_equal(frames[0].rgb, shown(stored))
    assert frames[0].rgb.flags.c_contiguous
    assert len(frames) == 2


def test_an_orientation_maps_pixels_as_the_matrix_does():
    """Quicktime's rule, by hand: a pixel at (x, y) goes to (a x + c y, b x + d y) plus a shift."""
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, 2)
    turned = Orientation(transposed=True, flipped_x=True).applied(stored)  # (0, 1, -1, 0)
    assert turned[..., 0].tolist() == [[3, 0], [4, 1], [5, 2]]


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(4, 3), (171, 96)),
        (Fraction(16, 11), (186, 96)),
        (Fraction(2), (256, 96)),
        (Fraction(8, 9), (128, 108)),
    ],
)
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, size: tuple[int, int]):
    path = write(tmp_path / "a.mp4", [picture()] * 2, aspect=aspect)
    rgb = next(iter(VideoReader(path))).rgb
    assert rgb.shape == (size[1], size[0], 3)
    expected = np.asarray(cv2.resize(picture(), size, interpolation=cv2.INTER_CUBIC))
    assert difference(rgb, expected) < 6


def test_pixel_aspects_of_damaged_files_are_left():
    assert square_pixels_size(640, 480, None) == (640, 480)
    assert square_pixels_size(640, 480, Fraction(1, 1000)) == (640, 480)


def test_squeezed_and_turned_videos_are_stretched_before_they_are_turned(tmp_path: Path):
    path = write(tmp_path / "a.mp4", [picture()] * 2, aspect=Fraction(2))
    rgb = next(iter(VideoReader(with_matrix(path, 0, 1, -1, 0)))).rgb
    assert rgb.shape == (256, 96, 3)


# ------------------------------------------------------------------------------- size and edit list


def appended(tmp_path: Path, *parts: Sequence[np.ndarray]) -> Path:
    """One transport stream after the other, as recorders of calls write them."""
    names = [write(tmp_path / f"{i}.ts", p, form="mpegts") for i, p in enumerate(parts)]
    path = tmp_path / "call.ts"
    path.write_bytes(b"".join(name.read_bytes() for name in names))
    return path


def test_all_frames_have_the_first_ones_size(tmp_path: Path):
    small = np.asarray(cv2.resize(picture(40), (64, 48), interpolation=cv2.INTER_AREA))
    path = appended(tmp_path, [picture()] * 8, [small] * 8)
    reader = VideoReader(path)
    frames = list(reader)
    assert [frame.rgb.shape for frame in frames] == [(HEIGHT, WIDTH, 3)] * 16
    assert difference(frames[-1].rgb, picture(40)) < 12
    assert reader.problem == ""
    assert reader.note.endswith("size changes (128×96, then 64×48); all frames are taken as 128×96")
    steps = np.diff([frame.time_s for frame in frames])
    np.testing.assert_allclose(steps, 1 / 25, atol=1e-3)


def test_another_shape_is_put_on_black(tmp_path: Path):
    portrait = np.full((128, 64, 3), 200, np.uint8)
    frames = list(VideoReader(appended(tmp_path, [picture()] * 8, [portrait] * 8)))
    last = frames[-1].rgb
    assert last.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(last[48, 64], 200, atol=8)
    assert last[:, :36].max() < 20
    assert last[:, -36:].max() < 20


def test_fitted_pictures_keep_their_shape():
    shown = fitted(np.full((10, 40, 3), 9, np.uint8), 80, 80)
    assert shown[30:50].min() == 9
    assert shown[:30].max() == shown[50:].max() == 0


def with_edit_list(path: Path, first: int, num: int) -> Path:
    """The MP4 of which players show only `num` frames from `first` on."""
    data = bytearray(path.read_bytes())
    (scale,) = struct.unpack_from(">I", data, data.find(b"mdhd") + 16)
    (movie_scale,) = struct.unpack_from(">I", data, data.find(b"mvhd") + 16)
    at = data.find(b"elst") + 12
    _, media_time = struct.unpack_from(">Ii", data, at)
    edit = (round(movie_scale * num / 25), media_time + round(scale * first / 25))
    struct.pack_into(">Ii", data, at, *edit)
    path = path.with_name("edited.mp4")
    path.write_bytes(data)
    return path


def test_what_an_edit_list_leaves_out_is_not_delivered_and_not_missed(tmp_path: Path):
    whole = write(tmp_path / "a.mp4", [picture(3 * i) for i in range(30)])
    reader = VideoReader(with_edit_list(whole, 10, 15))
    frames = list(reader)
    assert reader.num_frames_estimate == len(frames) == 15
    assert reader.problem == "", "not damaged"
    assert frames[0].time_s == 0
    assert frames[-1].time_s == pytest.approx(14 / 25, abs=1e-3)
    stored = [frame.rgb for frame in VideoReader(whole)]
    assert difference(frames[0].rgb, stored[10]) < 0.5
    assert difference(frames[-1].rgb, stored[24]) < 0.5


# --------------------------------------------------------------------------------------- interlaced


def combing(rgb: np.ndarray) -> float:
    """How much every second line differs from its neighbours."""
    grey = rgb[..., 1].astype(float)
    return float(np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).mean())


def write_fields(path: Path, frames: Sequence[np.ndarray], order: str) -> Path:
    """Interlaced frames that say which of their fields is the first."""
    graph = av.filter.Graph()
    rate = Fraction(1, 25)
    source = graph.add_buffer(
        width=WIDTH, height=HEIGHT, format=av.VideoFormat("yuv420p"), time_base=rate
    )
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink")).configure()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"flags": "+ildct+ilme", "crf": "8"}
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, rate
            graph.vpush(frame)
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_frames_come_whole(tmp_path: Path, order: str):
    def bar(shift: int) -> np.ndarray:
        rgb = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
        rgb[:, shift : shift + 24] = 220
        return rgb

    woven = []
    for i in range(12):
        rgb, later = bar(6 * i), bar(6 * i + 3)
        first = 1 if order == "tff" else 0
        rgb[first::2] = later[first::2]
        woven.append(rgb)
    reader = VideoReader(write_fields(tmp_path / "a.mp4", woven, order))
    frames = list(reader)
    assert len(frames) == 12
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(12) / 25, atol=1e-3)
    for i in range(1, 11):
        assert combing(woven[i]) > 4
        assert combing(frames[i].rgb) < 1.5
        assert difference(frames[i].rgb, bar(6 * i)) < 5, "the first field, and of this frame"


def test_progressive_frames_are_left_as_they_are(tmp_path: Path):
    path = write(tmp_path / "a.mp4", [picture(i) for i in range(5)])
    with av.open(str(path)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for frame, expected in zip(VideoReader(path), plain, strict=True):
        np.testing.assert_array_equal(frame.rgb, expected)


# ----------------------------------------------------------------------------- containers, names


CONTAINERS = [
    ("a.ogv", "ogg", "libvpx"),
    ("a.wmv", "asf", "wmv2"),
    ("a.flv", "flv", "flv"),
    ("a.ts", "mpegts", "mpeg2video"),
    ("a.vob", "vob", "mpeg2video"),
    ("a.nut", "nut", "ffv1"),
    ("a.y4m", "yuv4mpegpipe", "rawvideo"),
    ("a.h264", "h264", "libx264"),
    ("a.mxf", "mxf", "mpeg2video"),
    ("a.dat", "avi", "mpeg4"),
    ("noname", "matroska", "mjpeg"),
    ("a.ivf", "ivf", "libvpx"),
]


@pytest.mark.parametrize(("name", "form", "codec"), CONTAINERS)
@pytest.mark.filterwarnings("ignore")
def test_every_container_is_a_video(tmp_path: Path, name: str, form: str, codec: str):
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    (tmp_path / "in").mkdir()
    options = {"strict": "-2"} if codec == "mjpeg" else {}
    path = tmp_path / "in" / name
    try:
        write(path, [picture()] * 6, form=form, codec=codec, options=options)
    except (ValueError, av.error.FFmpegError) as error:
        pytest.skip(f"this FFmpeg does not write it: {error}")
    found = find_media([tmp_path / "in"])
    assert [(file.path.name, file.kind) for file in found.files] == [(name, "video")]
    frames = list(VideoReader(path))
    assert len(frames) >= 5
    assert frames[0].rgb.shape[1] == WIDTH


def test_other_files_are_no_videos(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a letter\n" * 500)
    (tmp_path / "a.ts").write_text("export const a: number = 1;\n" * 99)
    (tmp_path / "a.nfo").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    (tmp_path / "a.m3u8").write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n"
    )
    (tmp_path / "a.ffconcat").write_text("ffconcat version 1.0\nfile /etc/hostname\n")
    (tmp_path / "a.json").write_text("{}")
    with av.open(str(tmp_path / "a.m4b"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = find_media([tmp_path])
    assert [file.path.name for file in found.files] == ["a.m4b"], "MP4 by its first bytes"
    assert len(found.skipped) == 7


def test_names_that_look_like_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("clip-12:30:05.mp4", "http:a.mp4", "%03d.mp4", "-i.mp4"):
        with VideoWriter(name, 25.0) as clip:
            for _ in range(3):
                clip.add(picture())
        assert Path(name).is_file()
        assert len(list(VideoReader(name))) == 3
    Path("a:b").mkdir()
    with VideoWriter("a:b/c.mp4", 25.0) as clip:
        clip.add(picture())
    assert Path("a:b/c.mp4").is_file()


def test_the_same_frames_are_the_same_bytes(tmp_path: Path):
    frames = [np.ascontiguousarray(picture(i)[:95, :121]) for i in range(8)]
    written = []
    for number in range(3):
        junk = [np.full((300, 500), 80 * number + 10, np.uint8) for _ in range(8)]
        with VideoWriter(tmp_path / "a.mp4", 25.0) as clip:
            for rgb in frames:
                del junk[:1]  # memory that was used before
                clip.add(rgb)
        written.append((tmp_path / "a.mp4").read_bytes())
    assert written[0] == written[1] == written[2]
