"""The report's contents: what goes into the page, and that it is whole or not there."""

import base64
import io
import json
import re
import resource
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from idhand.assets import open_hand, population_spreads
from idhand.identity import Identity, Measurement, PhotoUse, measure
from idhand.media import VideoReader
from idhand.records import HandResult
from idhand.view import (
    HandMotion,
    HtmlReport,
    ImageHands,
    MotionRecorder,
    ReportPhoto,
    ReportVideo,
    Table,
    VideoWriter,
    overlay,
    read_hands,
    write_hands,
)
from idhand.view.report.charts import _ticks, charts_of
from idhand.view.report.clips import small_clip
from idhand.view.report.measures import measure_rows
from idhand.view.report.meshes import STEP_M, packed_points, relative_camera
from idhand.view.report.page import MAX_PHOTOS, MAX_VIDEOS
from idhand.view.report.pictures import LAYER_STYLE, layer_uri, page_photo
from tests.test_view import K, broken_hand, make_hand

MODEL = open_hand()
GREY = np.full((480, 640, 3), 90, np.uint8)


def real_hand(*, is_right: bool = True, seed: int = 0, depth_m: float = 0.5) -> HandResult:
    """The open hand in a random pose: what the pipeline gives, without the pipeline."""
    rng = torch.Generator().manual_seed(seed)
    space = MODEL.pose_space
    assert space is not None
    share = torch.rand(space.num_dofs, generator=rng, dtype=torch.float64)
    angles = 0.5 * (space.lower + share * (space.upper - space.lower))
    R = torch.cat((torch.eye(3, dtype=torch.float64)[None], space.rotations(angles)))
    betas = 0.5 * torch.randn(16, generator=rng, dtype=torch.float64)
    wrist = torch.tensor([0.02, 0.06, depth_m], dtype=torch.float64)
    posed = MODEL.with_shape(betas).posed(R, wrist)
    flip = np.array([1.0 if is_right else -1.0, 1, 1])
    side = MODEL if is_right else MODEL.mirrored()
    plain = make_hand(is_right=is_right)
    keypoints = posed.keypoints.numpy() * flip
    pixels = keypoints @ K.T
    return replace(
        plain,
        keypoints_cam=keypoints,
        keypoints_px=pixels[:, :2] / pixels[:, 2:],
        verts_cam=posed.verts.numpy() * flip,
        faces=side.faces.numpy(),
        rotations=R.numpy(),
        betas=betas.numpy(),
    )


def person(**changes: object) -> Identity:
    betas, covariance = np.full(16, 0.3), 0.05 * np.eye(16)
    values = {
        "model": MODEL.name,
        "betas": betas,
        "covariance": covariance,
        "measurements": measure(MODEL, betas, covariance),
        "photos": (PhotoUse(weight=1.0), PhotoUse(weight=0.0, reason="doubtful pose")),
        "sides": ("right",),
        "hand_length_mm": 190.0,
        "hand_length_sigma_mm": 2.0,
    }
    return Identity(**{**values, **changes})  # pyright: ignore[reportArgumentType]


def photo(name: str = "a.jpg", *, hands: tuple[HandResult, ...] | None = None, **changes: object):
    values = {"rgb": GREY, "width": 640, "height": 480, "hands": (real_hand(),)}
    if hands is not None:
        values["hands"] = hands
    return ReportPhoto(name=name, **{**values, **changes})  # pyright: ignore[reportArgumentType]


def page_of(tmp_path: Path, *photos: ReportPhoto, **options: object) -> str:
    page = HtmlReport(title="A title", model=MODEL, num_photos=max(len(photos), 1))
    for one in photos:
        page.add_photo(one)
    page.write(tmp_path / "report.html", **options)  # pyright: ignore[reportArgumentType]
    return (tmp_path / "report.html").read_text("utf-8")


def numbers_in(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


# ---------------------------------------------------------------------------------------- pictures


def test_photos_shrink_until_they_fit_their_share():
    noise = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), np.uint8)
    sizes = [page_photo(noise, budget) for budget in (10**7, 10**5, 10**4)]
    assert [one.width for one in sizes[:1]] == [1280]
    assert sizes[0].width > sizes[1].width > sizes[2].width == 240
    assert len(base64.b64decode(sizes[1].uri.partition(",")[2])) <= 10**5
    small = page_photo(noise[:60, :80], 10**7)
    assert (small.width, small.height) == (80, 60), "never larger than it is"
    np.testing.assert_array_equal(small.scale, np.eye(3))


def test_a_layer_over_the_photo_is_the_overlay():
    hand = real_hand()
    rng = np.random.default_rng(1)
    rgb = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((40, 40, 1))).astype(np.uint8)
    whole = page_photo(rgb, 10**7)
    layer = decoded(layer_uri(whole, [hand])).astype(float)
    alpha = layer[..., 3:] / 255
    mixed = rgb * (1 - alpha) + layer[..., :3] * alpha
    expected = overlay(rgb, [hand], style=LAYER_STYLE).astype(float)
    drawn = np.abs(expected - rgb).mean()
    assert drawn > 2, "the hand is drawn at all"
    assert np.abs(mixed - expected).mean() < 0.15 * drawn
    behind = replace(
        hand,
        verts_cam=hand.verts_cam - np.array([0, 0, 9.0]),
        keypoints_cam=hand.keypoints_cam + np.array([9.0, 9.0, 0]),
    )
    assert layer_uri(whole, [behind]) == ""


def test_lens_distortion_is_taken_out_of_the_picture():
    """What a distorting lens photographs of a grid comes out where a pinhole would show it."""
    dist = np.array([-0.3, 0.05, 0.001, 0.002, 0.0])
    grid = np.stack(np.meshgrid(np.linspace(-0.4, 0.4, 5), np.linspace(-0.3, 0.3, 4)), -1)
    points = np.concatenate((grid.reshape(-1, 2), np.ones((20, 1))), 1)
    seen = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, dist)[0][:, 0]
    pinhole = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.zeros(5))[0][:, 0]
    assert np.abs(seen - pinhole).max() > 5
    rgb = np.full((480, 640, 3), 255, np.uint8)
    for x, y in seen:
        cv2.circle(rgb, (round(x), round(y)), 4, (0, 0, 0), cv2.FILLED)
    straight = 255.0 - decoded(page_photo(rgb, 10**7, K, dist).uri)[..., 0]
    rows, columns = np.indices(straight.shape)
    for x, y in pinhole:
        near = (np.abs(columns - x) < 12) & (np.abs(rows - y) < 12)
        weight = straight * near
        assert (weight * columns).sum() / weight.sum() == pytest.approx(x, abs=1.0)
        assert (weight * rows).sum() / weight.sum() == pytest.approx(y, abs=1.0)


def test_positions_come_back_within_half_a_step():
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3))
    steps = np.frombuffer(base64.b64decode(packed_points(points, np.zeros(3))), "<i2")
    assert np.abs(steps.reshape(-1, 3) * STEP_M - points).max() <= STEP_M / 2 + 1e-12


def test_the_relative_camera_does_not_depend_on_the_size_of_the_picture():
    whole = relative_camera(K, None, 640, 480)
    half = page_photo(np.zeros((480, 640, 3), np.uint8), 10**7)
    assert relative_camera(K, half, 640, 480) == whole
    fx, fy, cx, cy, aspect = whole
    assert (fx * 640, fy * 480) == pytest.approx((500, 500))
    assert (cx, cy, aspect) == pytest.approx((0.5, 0.5, 4 / 3))


# ---------------------------------------------------------------------------------------- measures


def test_percentiles_by_hand():
    own = Measurement(value_mm=193.28, low_mm=183.33, high_mm=203.23)
    (row,) = measure_rows(person(measurements={"hand_length": own}), {"hand_length": 190.0})
    assert row.value == "193.3 ± 9.9"
    assert "men 50 (16 to 84)" in row.percentiles
    share = round(100 * NormalDist(181.08, 10.06).cdf(193.28))
    assert f"women {share} (" in row.percentiles
    assert row.own.left < row.dot < row.own.left + row.own.width
    assert row.truth is not None
    assert row.truth < row.dot
    assert row.measured


def test_the_scale_holds_everything_that_is_on_it():
    for row in measure_rows(person(), {"hand_length": 300.0}):
        for bar in (*row.groups.values(), row.own):
            assert 0 <= bar.left <= bar.left + bar.width <= 100.01
        assert 0 <= row.dot <= 100
    assert {row.name for row in measure_rows(person())} == set(person().measurements)


def test_the_population_is_ansur():
    truth = json.loads((Path(__file__).parent / "golden" / "ansur_hand.json").read_text())
    names = {"hand_length": 0, "palm_length": 1, "hand_breadth": 2, "hand_circumference": 3}
    for name, k in names.items():
        for sex, key in (("men", "male"), ("women", "female")):
            spread = getattr(population_spreads(open_hand())[name], sex)
            assert spread.mean == pytest.approx(truth[key]["mean"][k], abs=0.006)
            assert spread.stdev == pytest.approx(truth[key]["cov"][k][k] ** 0.5, abs=0.006)
            assert spread.inv_cdf(0.05) == pytest.approx(truth[key]["p05"][k], rel=0.012)


# ------------------------------------------------------------------------------------------ charts


def motion_of(times_s: list[float], frames: list[int] | None = None) -> HandMotion:
    recorder = MotionRecorder()
    for i, time_s in zip(frames or range(len(times_s)), times_s, strict=True):
        depth_m = 0.5 + 0.01 * np.sin(time_s)
        recorder.add(i, time_s, [real_hand(depth_m=depth_m)])
    (motion,) = recorder.motions()
    return motion


def test_curves_break_where_the_hand_was_lost():
    there = [0.0, 0.1, 0.2, 0.3, 0.4]
    times, frames = [*there, *(1.2 + t for t in there)], [*range(5), *range(12, 17)]
    charts = charts_of(MODEL, motion_of(times, frames), None, 2.0, 500)
    assert [chart.title for chart in charts][2] == "Distance of the wrist"
    for chart in charts:
        for line in chart.lines:
            assert line.path.count("M") == 2
    assert charts[2].band.count("Z") == 2
    assert "0.50" in charts[2].summary


def test_curves_hold_where_only_the_frame_rate_changes():
    times = [*np.arange(10) * 0.033, *(0.33 + np.arange(10) * 0.2)]
    charts = charts_of(MODEL, motion_of(times), None, 3.0, 500)
    pieces = [line.path.count("M") for chart in charts for line in chart.lines]
    assert pieces == [1] * len(pieces)
    assert len(pieces) >= len(charts) >= 3


def test_a_lone_frame_is_a_dot_and_long_curves_are_thinned():
    lone = charts_of(MODEL, motion_of([0.5]), None, 1.0, 500)[2].lines[0].path
    assert re.fullmatch(r"M500\.0,[\d.]+ h0\.1", lone), "with round ends"
    many = charts_of(MODEL, motion_of(list(np.arange(40) * 0.1)), None, 4.0, 10)[2].lines[0].path
    assert many.count(",") == 10


def test_joint_angles_are_those_of_the_pose():
    motion = motion_of([0.0, 0.1])
    space = MODEL.pose_space
    assert space is not None
    angles = np.degrees(space.angles(torch.from_numpy(motion.rotations[:, 1:])).numpy())
    index = angles[0, space.names.index("index_mcp_flexion")]
    chart = charts_of(MODEL, motion, None, 1.0, 500)[0]
    low, high = map(float, re.findall(r"index (-?[\d.]+) to (-?[\d.]+)", chart.summary)[0])
    assert low <= index + 0.6
    assert high >= index - 0.6


@pytest.mark.parametrize(
    ("low", "high"), [(-13.0, 100.0), (0.58, 0.79), (182.6, 189.6), (1e-4, 2e-4)]
)
def test_ticks_are_round_and_inside(low: float, high: float):
    marks, decimals = _ticks(low, high)
    assert 2 <= len(marks) <= 6
    assert low <= min(marks) <= max(marks) <= high
    assert len({f"{mark:.{decimals}f}" for mark in marks}) == len(marks)


def test_a_clip_is_made_small_or_cut(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    rng = np.random.default_rng(0)
    with VideoWriter(path, 10.0) as writer:
        for _ in range(40):
            writer.add(rng.integers(0, 255, (400, 800, 3), np.uint8))
    data, seconds = small_clip(path, 10**7)
    assert seconds == pytest.approx(4.0, abs=0.15)
    assert len(data) < path.stat().st_size
    cut, short = small_clip(path, 25_000)  # one second at the lowest rate
    assert 0.5 < short < 1.5
    assert len(cut) < len(data)


# ------------------------------------------------------------------------------------------- page


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path):
    html = page_of(tmp_path, photo(), photo("b.jpg"), person=person(photos=()))
    plain = re.sub(r"<script.*?</script>|<pre>.*?</pre>", "", html, flags=re.S)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)[^"']*""", plain)
    assert "default-src 'none'" in html
    assert "three.js" in html
    assert "Permission is hereby granted" in html, "the library's licence travels along"


def test_every_section(tmp_path: Path):
    anonymous = (replace(real_hand(), depth_std_m=0.05),)
    photos = [
        photo(f"{i}.jpg", anonymous=anonymous, use=use) for i, use in enumerate(person().photos)
    ]
    table = Table(title="Errors", head=("", "mm"), rows=(("before", "9.0"), ("after", "7.0")))
    html = page_of(
        tmp_path,
        *photos,
        person=person(),
        truth_mm={"hand_length": 191.0},
        comparison=table,
        files_note="A note.",
    )
    for words in (
        "A title",
        "What is known, and what is assumed",
        "ruler&#39;s reading of 190.0 ± 2.0 mm",
        "The person's own hand, at rest",
        "Before and after calibration",
        "not used",
        "doubtful pose",
        "true 191.0",
        '<div class="scale" aria-hidden="true">',
        "Errors",
        "A note.",
        "biometric",
    ):
        assert words in html, words
    numbers = numbers_in(html)
    assert len(numbers["photos"]) == 2
    assert set(numbers["person"]["lines"]) == set(person().measurements)
    assert html.count('class="layer of-anonymous"') == 2


def test_what_is_assumed_is_said(tmp_path: Path):
    guessed = replace(real_hand(), K_is_guess=True)
    html = page_of(tmp_path, photo(hands=(guessed,)))
    assert "The camera is not known: a field of view of 60°" in html
    assert "The person is not known" in html
    assert "They do not include the error of an assumed camera." in html
    mixed = page_of(tmp_path, photo(hands=(guessed,)), photo(), person=person(hand_length_mm=None))
    assert "known for 1 of 2 inputs only" in mixed
    assert "one camera cannot see how large a hand is" in mixed


@pytest.mark.parametrize("guess", [True, False])
def test_distance_is_metric_only_with_a_known_camera_and_a_ruler(tmp_path: Path, guess: bool):
    hand = replace(real_hand(), K_is_guess=guess)
    html = page_of(tmp_path, photo(hands=(hand,)), photo(hands=()), person=person())
    assert ("so distance is metric" in html) != guess
    assert ("The camera is known (from" in html) != guess, "the photo without a hand does not count"


def test_names_are_text_and_nothing_else(tmp_path: Path):
    name = """it's "<b>bold</b>" & <script>alert(1)</script> 👋.jpg"""
    page = HtmlReport(title=name, model=MODEL, num_photos=1)
    page.add_photo(photo(f"folder/{name}"))
    page.problems.append(f"{name}: broken")
    page.write(tmp_path / "r.html", person(photos=(PhotoUse(weight=0.4, reason=name),)))
    html = (tmp_path / "r.html").read_text("utf-8")
    assert "<script>alert" not in html
    assert "<b>bold" not in html
    assert "👋" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_no_hand_anywhere(tmp_path: Path):
    html = page_of(tmp_path, photo(hands=()), photo(hands=()))
    assert "No hand was found" in html
    assert numbers_in(html)["photos"][0]["camera"] is None
    assert "calibration" not in html.partition("<main>")[2].partition("<footer>")[0]


def test_failed_fits_are_named_and_not_drawn(tmp_path: Path):
    html = page_of(tmp_path, photo(hands=(broken_hand(), real_hand())))
    assert "the fit failed" in html
    assert len(numbers_in(html)["photos"][0]["hands"]) == 1


def test_a_photo_that_is_gone_leaves_its_hands(tmp_path: Path):
    html = page_of(tmp_path, photo(rgb=None))
    assert "The photo is no longer there, but its hands are." in html
    assert len(numbers_in(html)["photos"][0]["hands"]) == 1
    assert 'class="photo"' not in html


def test_hands_from_a_file_get_their_meshes_back(tmp_path: Path):
    hands = (real_hand(), real_hand(is_right=False, seed=3), broken_hand())
    image = ImageHands(file="a.jpg", name="a", width=640, height=480, K=K, hands=hands)
    write_hands(tmp_path / "hands.json", [image])
    (bare,) = read_hands(tmp_path / "hands.json")
    (whole,) = read_hands(tmp_path / "hands.json", MODEL)
    for hand, read in zip(hands[:2], whole.hands, strict=False):
        np.testing.assert_allclose(read.verts_cam, hand.verts_cam, atol=3e-6)
        np.testing.assert_array_equal(read.faces, hand.faces)
    assert len(whole.hands[2].verts_cam) == 0
    pages = [page_of(tmp_path, photo(hands=read.hands)) for read in (bare, whole)]
    assert pages[0] == pages[1], "the report asks the model itself"
    assert len(numbers_in(pages[0])["photos"][0]["hands"]) == 2


def test_lengths_that_round_to_one_number_are_one(tmp_path: Path):
    """ "from 189 to 189 mm" is no range."""
    first, other = real_hand(), real_hand(seed=5)
    wider = replace(other, betas=np.eye(1, 16)[0] * 2)
    for person_ in (None, person()):
        same = page_of(tmp_path, photo(hands=(first, first)), person=person_)
        assert re.search(r"its length is (\d{3}) mm in each", same)
        assert "runs from" not in same.partition('id="calibration"')[2]
        assert not re.search(r"(\d{3})–\1 mm", same)
        two = page_of(tmp_path, photo(hands=(replace(first, betas=np.zeros(16)), wider)))
        found = re.search(r"its length runs from (\d{3}) to (\d{3}) mm", two)
        assert found is not None
        assert int(found[1]) < int(found[2])


def test_a_person_of_another_model_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="made with hand model 'mano'"):
        page_of(tmp_path, photo(), person=person(model="mano"))
    assert not (tmp_path / "report.html").exists()


def test_more_photos_than_announced_and_names_of_too_few(tmp_path: Path):
    page = HtmlReport(title="None were announced", model=MODEL, num_photos=0)
    for i in range(3):
        page.add_photo(photo(f"{i}.jpg"))
    page.write(tmp_path / "report.html", person(), photo_names=["only one.jpg"])
    html = (tmp_path / "report.html").read_text("utf-8")
    assert html.count('class="card"') == 3
    assert "Picture 2" in html


@pytest.mark.slow
def test_fifty_difficult_photos_stay_below_fifteen_megabytes(tmp_path: Path):
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (240, 320, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    hands = (real_hand(), real_hand(is_right=False, seed=1))
    page = HtmlReport(title="Fifty", model=MODEL, num_photos=50)
    for i in range(50):
        rolled = np.roll(texture, 7 * i, 1)
        page.add_photo(photo(f"{i}.jpg", rgb=rolled, hands=hands, anonymous=hands))
    page.write(tmp_path / "report.html", person())
    assert (tmp_path / "report.html").stat().st_size < 15e6


@pytest.mark.slow
def test_two_thousand_photos_are_an_even_choice(tmp_path: Path):
    page = HtmlReport(title="Many", model=MODEL, num_photos=2000)
    for i in range(2000):
        page.add_photo(photo(f"p{i}.jpg", rgb=GREY[:24, :32], hands=(real_hand(),) * (i % 2)))
    page.write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    shown = [int(n) for n in re.findall(r"<b>p(\d+)\.jpg</b>", html)]
    assert len(shown) == MAX_PHOTOS
    assert shown[0] < 20
    assert shown[-1] == 1999
    assert max(np.diff(shown)) - min(np.diff(shown)) <= 1
    assert f"{MAX_PHOTOS} of 2000 photos are shown" in html
    assert "<b>1000</b> hands in 2000 photos" in html
    assert len(html) < 15e6


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    pages = [page_of(tmp_path, photo(), photo("b.jpg"), person=person()) for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_full_disk_leaves_the_old_page(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("the old page")
    page = HtmlReport(title="Full", model=MODEL, num_photos=1)
    page.add_photo(photo())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            page.write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "the old page"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def video(name: str = "a.mp4", *motions: HandMotion, **changes: object) -> ReportVideo:
    values = {"clip": None, "num_frames": 50, "duration_s": 5.0, "K_known": True}
    return ReportVideo(name=name, motions=motions, **{**values, **changes})  # pyright: ignore


def test_many_videos_share_the_meshes_and_stay_small(tmp_path: Path):
    motion = motion_of([0.1 * i for i in range(50)])
    sizes = {}
    for num_videos, expected in ((1, 50), (10, 30), (100, 25)):
        page = HtmlReport(title="Videos", model=MODEL, num_photos=0, num_videos=num_videos)
        for i in range(num_videos):
            page.add_video(video(f"{i}.mp4", motion, replace(motion, name="hand_1_right")))
        page.write(tmp_path / "report.html")
        html = (tmp_path / "report.html").read_text("utf-8")
        videos = numbers_in(html)["videos"]
        assert len(videos) == min(num_videos, MAX_VIDEOS)
        assert len(videos[0][0]["frames"]) == expected
        assert videos[0][0]["times"][-1] == 4.9
        sizes[num_videos] = len(html)
    assert f"{MAX_VIDEOS} of 100 videos are shown" in html
    assert "500 s" in html
    assert sizes[100] < 15e6


def test_only_the_longest_motions_are_shown_and_that_is_said(tmp_path: Path):
    motions = [motion_of([0.1 * i for i in range(2 + k)]) for k in range(6)]
    page = HtmlReport(title="Videos", model=MODEL, num_photos=0, num_videos=1)
    page.add_video(video("a.mp4", *motions))
    page.write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "The longest 4 of 6 appearances of hands are shown" in html
    assert [len(track["times"]) for track in numbers_in(html)["videos"][0]] == [7, 6, 5, 4]


def test_a_video_without_hands_and_without_its_clip(tmp_path: Path):
    page = HtmlReport(title="Video", model=MODEL, num_photos=0, num_videos=1)
    page.add_video(video("a/empty.mp4", clip=tmp_path / "none.mp4"))
    page.write(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert "No hand was found in this video." in html
    assert "The clip is not there." in html


def test_clips_keep_the_times_of_their_frames(tmp_path: Path):
    times = [0.0, 0.04, 0.08, 0.5, 1.2, 1.2, 1.24]
    with VideoWriter(tmp_path / "a.mp4", 25.0) as writer:
        for i, time_s in enumerate(times):
            writer.add(np.full((48, 64, 3), 30 * i, np.uint8), time_s)
    read = [frame.time_s for frame in VideoReader(tmp_path / "a.mp4")]
    np.testing.assert_allclose(read, times, atol=1e-4)
    small, seconds = small_clip(tmp_path / "a.mp4", 10**6)
    assert seconds == pytest.approx(1.24, abs=0.2)
    (tmp_path / "b.mp4").write_bytes(small)
    again = [frame.time_s for frame in VideoReader(tmp_path / "b.mp4")]
    np.testing.assert_allclose(again, times, atol=1e-4)
