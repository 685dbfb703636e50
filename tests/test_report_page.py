"""The report as a person meets it: opened in a browser without a network, turned, clicked."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize

from idhand.cli.demo import read_demo
from idhand.drawing.raster import Mesh, render
from idhand.lens import project_px
from idhand.pipeline import calibrate, load
from idhand.view import (
    HtmlReport,
    MotionRecorder,
    ReportPhoto,
    ReportVideo,
    Table,
    VideoWriter,
    overlay,
)
from tests.browser import Launch, chromium

EVIL = '<img src=x onerror="window.hacked=1">\' & 👋.jpg'
WIDE: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A report of real hands, and what it was made from."""

    url: str
    K: np.ndarray
    verts_cam: np.ndarray
    """Of the first photo's hand."""
    faces: np.ndarray


@dataclass(kw_only=True)
class Opened:
    """The report in a window."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Console errors and requests to elsewhere."""

    def picture(self, selector: str) -> np.ndarray:
        data = self.page.locator(selector).first.screenshot()
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def settle(self) -> None:
        self.page.wait_for_timeout(700)  # turning takes 450 ms


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three demo pictures, one that is gone, one without a hand, and a clip of half a second."""
    folder = tmp_path_factory.mktemp("report")
    truth, pictures = read_demo()
    pictures = pictures[:3]
    pipe = load()
    me = calibrate(pipe, [p.rgb for p in pictures], K=[p.K for p in pictures], hand_length_mm=202.0)
    page = HtmlReport(title=f"Of {EVIL}", model=pipe.model, num_photos=5, num_videos=1)
    recorder, first, hands = MotionRecorder(), None, ()
    clip = folder / "clip.mp4"
    with VideoWriter(clip, 10.0) as writer:
        for i, picture in enumerate(pictures):
            hands = tuple(pipe(picture.rgb, K=picture.K, identity=me, max_hands=1))
            alone = tuple(pipe.fit([hand.detection for hand in hands], picture.K))
            first = first or (picture.K, hands[0])
            height, width = picture.rgb.shape[:2]
            photo = ReportPhoto(
                name=EVIL if i == 1 else f"{picture.name}.jpg",
                rgb=None if i == 2 else picture.rgb,
                width=width,
                height=height,
                hands=hands,
                anonymous=alone,
                use=me.photos[i],
            )
            page.add_photo(photo)
            recorder.add(2 * i, 0.2 * i, hands)
            writer.add(overlay(picture.rgb, hands))
            writer.add(picture.rgb)
    small = np.full((75, 100, 3), (200, 30, 60), np.uint8)
    page.add_photo(ReportPhoto(name="wall.jpg", rgb=small, width=100, height=75, hands=()))
    recorder.add(12, 1.2, hands)  # when the clip, as that of a long video, has ended
    video = ReportVideo(
        name="clip.mp4",
        motions=recorder.motions(),
        clip=clip,
        num_frames=15,
        duration_s=1.5,
        K_known=True,
    )
    page.add_video(video)
    page.problems.append(f"{EVIL}: a problem")
    head = ("", "in the camera's frame", "along its axis", "from the wrist", "best aligned")
    rows = (("before: each photo alone", *["118.2"] * 4), ("after: photos and ruler", *["7.0"] * 4))
    table = Table(title="Distance of 21 joints from the truth in mm", head=head, rows=rows)
    path = folder / "report.html"
    page.write(path, me, truth_mm=truth["measurements_mm"], comparison=table)
    assert first is not None
    K, hand = first
    return Made(url=path.as_uri(), K=K, verts_cam=hand.verts_cam, faces=hand.faces)


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    with chromium() as launch:
        yield launch


@pytest.fixture(scope="module")
def browser(launch: Launch) -> Browser:
    return launch()


def opened(browser: Browser, made: Made, viewport: ViewportSize) -> Opened:
    context = browser.new_context(viewport=viewport, offline=True)
    window = Opened(page=context.new_page())
    page = window.page

    def on_request(url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            window.complaints.append(url)

    page.on("console", lambda m: window.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: window.complaints.append(str(error)))
    page.on("request", lambda request: on_request(request.url))
    page.goto(made.url)
    page.wait_for_function("document.documentElement.dataset.ready")
    window.settle()
    return window


@pytest.fixture(scope="module")
def window(browser: Browser, made: Made) -> Iterator[Opened]:
    opened_window = opened(browser, made, WIDE)
    yield opened_window
    opened_window.page.context.close()


def blue(picture: np.ndarray) -> np.ndarray:
    """Pixels in the colour of right hands."""
    r, _, b = np.moveaxis(picture, 2, 0)
    return (b - r > 35) & (b > 60)


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_opens_offline_whole_and_without_complaint(browser: Browser, made: Made, viewport):
    window = opened(browser, made, viewport)
    page = window.page
    assert page.evaluate("document.documentElement.dataset.ready") == "3d"
    for section in ("photos", "videos", "person", "calibration", "problems"):
        page.locator(f"#{section}").scroll_into_view_if_needed()
        assert page.locator(f"#{section} h2").first.is_visible()
    window.settle()
    for view in ("#stage-view canvas", "#person-view canvas", "section.video .view canvas"):
        page.locator(view).scroll_into_view_if_needed()
        assert blue(window.picture(view)).mean() > 0.02, f"a hand is drawn in {view}"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".card b", has_text=EVIL).count() == 1
    assert all(page.locator("img.photo").evaluate_all("list => list.map(i => i.naturalWidth > 0)"))
    assert window.complaints == []
    page.context.close()


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_cell_of_every_table_is_seen(browser: Browser, made: Made, viewport):
    window = opened(browser, made, viewport)
    right_px = window.page.evaluate(
        "[...document.querySelectorAll('table')].map(t => Math.max("
        "...[...t.querySelectorAll('td, th')].map(c => c.getBoundingClientRect().right)))"
    )
    edges_px = window.page.evaluate(
        "[...document.querySelectorAll('table')].map("
        "t => t.closest('section').getBoundingClientRect().right)"
    )
    assert len(right_px) == 3
    assert all(np.array(right_px) < np.array(edges_px))
    window.page.context.close()


def test_the_drawn_hand_lies_where_the_photo_shows_it(window: Opened, made: Made):
    page = window.page
    page.locator("#show-photo").uncheck()
    page.locator("#opacity").fill("0")
    window.settle()
    drawn = blue(window.picture("#stage-view canvas"))
    height, width = drawn.shape
    page.locator("#show-photo").check()
    # the photo fills the canvas's height or width and is centred in it, as object-fit: contain
    scale = min(width / 640, height / 480)
    shift = np.array([(width - 640 * scale) / 2, (height - 480 * scale) / 2])
    pixels = (project_px(made.verts_cam, made.K) + 0.5) * scale + shift - 0.5
    mesh = Mesh(verts_px=pixels, verts_cam=made.verts_cam, faces=made.faces, colour=(9, 9, 9))
    layer = render([mesh], width, height)
    assert layer is not None
    expected = np.zeros((height, width), bool)
    rows, columns = layer.coverage.shape
    expected[layer.y : layer.y + rows, layer.x : layer.x + columns] = layer.coverage > 0.5
    overlap = (drawn & expected).sum() / (drawn | expected).sum()
    assert overlap > 0.95


def test_turning_changes_the_picture_and_the_way_back_restores_it(window: Opened):
    page, view = window.page, "#stage-view canvas"
    page.locator(view).scroll_into_view_if_needed()
    start = window.picture(view)
    box = page.locator(view).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 150, y + 20, steps=5)
    page.mouse.up()
    window.settle()
    dragged = window.picture(view)
    assert np.abs(dragged - start).mean() > 5
    seen = [dragged]
    for name in ("left", "right", "above", "behind"):
        page.locator(f"#stage-directions [data-view={name}]").click()
        window.settle()
        seen.append(window.picture(view))
        assert blue(seen[-1]).mean() > 0.02, name
        assert np.abs(seen[-1] - seen[-2]).mean() > 3, name
    page.locator("#stage-directions [data-view=photo]").click()
    window.settle()
    assert np.abs(window.picture(view) - start).mean() < 0.5
    page.locator(view).focus()
    page.keyboard.press("ArrowRight")
    window.settle()
    assert np.abs(window.picture(view) - start).mean() > 3
    page.locator("#stage-directions [data-view=photo]").click()
    window.settle()


def test_a_finger_turns_sideways_and_scrolls_up(browser: Browser, made: Made):
    """A hand that fills a phone's window must not hold the page."""
    context = browser.new_context(viewport=PHONE, offline=True, has_touch=True, is_mobile=True)
    window, view = Opened(page=context.new_page()), "#stage-view canvas"
    page = window.page
    page.goto(made.url)
    page.wait_for_function("document.documentElement.dataset.ready")
    page.locator(view).evaluate("canvas => canvas.scrollIntoView({block: 'center'})")
    window.settle()
    touch = context.new_cdp_session(page)

    def swipe(dx: float, dy: float) -> None:
        box = page.locator(view).bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        for k in range(13):
            at = {"x": x + dx * k / 12, "y": y + dy * k / 12}
            kind = "touchMove" if k else "touchStart"
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
            page.wait_for_timeout(16)
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        window.settle()

    start, top = window.picture(view), page.evaluate("scrollY")
    swipe(-120, 0)
    assert np.abs(window.picture(view) - start).mean() > 3
    assert page.evaluate("scrollY") == top
    swipe(0, -120)
    assert page.evaluate("scrollY") > top + 50
    context.close()


def test_the_wheel_scrolls_the_page_until_the_hand_is_clicked(window: Opened):
    page, view = window.page, "#stage-view canvas"
    page.locator("h1").click()
    page.locator(view).evaluate("canvas => canvas.scrollIntoView({block: 'center'})")
    window.settle()
    start, top = window.picture(view), page.evaluate("scrollY")
    box = page.locator(view).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, 60)
    window.settle()
    assert page.evaluate("scrollY") > top
    assert np.abs(window.picture(view) - start).mean() < 0.5
    page.mouse.click(x, y - 60)
    top = page.evaluate("scrollY")
    page.mouse.wheel(0, -300)
    window.settle()
    assert page.evaluate("scrollY") == top
    assert np.abs(window.picture(view) - start).mean() > 3, "the hand came nearer"
    page.locator("#stage-directions [data-view=photo]").click()
    window.settle()


def test_a_see_through_hand_shows_the_photo(window: Opened):
    page, view = window.page, "#stage-view canvas"
    page.locator("#show-mesh").uncheck()
    window.settle()
    photo = window.picture(view)
    page.locator("#show-mesh").check()
    page.locator("#opacity").fill("0")
    window.settle()
    hand = blue(window.picture(view)) & (np.abs(window.picture(view) - photo).sum(2) > 60)
    assert hand.mean() > 0.02
    page.locator("#opacity").fill("90")
    window.settle()
    assert np.abs(window.picture(view) - photo)[hand].mean() < 20
    page.locator("#opacity").fill("10")
    window.settle()


def test_left_is_left(window: Opened):
    """Seen from the left of the camera, the photo behind the hand is on the left."""
    page, view = window.page, "#stage-view canvas"
    page.locator("#show-mesh").uncheck()
    for name, first in (("left", True), ("right", False)):
        page.locator(f"#stage-directions [data-view={name}]").click()
        window.settle()
        shown = window.picture(view)
        page.locator("#show-photo").uncheck()
        window.settle()
        there = np.abs(shown - window.picture(view)).sum(2) > 12
        page.locator("#show-photo").check()
        middle = there.shape[1] // 2
        assert (there[:, :middle].sum() > there[:, middle:].sum()) == first
    page.locator("#show-mesh").check()
    page.locator("#stage-directions [data-view=photo]").click()
    window.settle()


def test_before_and_after_differ(window: Opened):
    page = window.page
    after = window.picture("#stage-view canvas")
    layer = page.locator(".card .of-anonymous").first
    assert not layer.is_visible()
    numbers = page.locator("#stage-facts").inner_text()
    page.locator("[data-fit=anonymous]").click()
    window.settle()
    assert np.abs(window.picture("#stage-view canvas") - after).mean() > 0.2
    assert layer.is_visible()
    assert page.locator("#stage-facts").inner_text() != numbers, "it has numbers of its own"
    assert not page.locator(".card .of-hands").first.is_visible()
    page.locator("[data-fit=hands]").click()
    window.settle()
    assert np.abs(window.picture("#stage-view canvas") - after).mean() < 0.2


@pytest.mark.parametrize(("index", "hand"), [(2, True), (3, False), (0, True)])
def test_every_photo_can_be_chosen(window: Opened, index: int, hand: bool):
    """The third one's picture is gone, the fourth shows no hand."""
    page = window.page
    page.locator(f".card[data-index='{index}']").click()
    window.settle()
    name = page.locator(f".card[data-index='{index}'] b").inner_text()
    assert page.locator("#stage-name").inner_text() == name
    assert (blue(window.picture("#stage-view canvas")).mean() > 0.01) == hand
    assert page.locator(".card[aria-current]").count() == 1
    middle = window.picture("#stage-view canvas")[100:-100, 100:-100].mean((0, 1))
    assert 20 < middle.mean() < 250, "the photo or the stage, neither black nor blown"
    if index == 3:
        np.testing.assert_allclose(middle, (200, 30, 60), atol=8)
    assert window.complaints == []


def test_a_row_shows_where_it_is_measured(window: Opened):
    page = window.page
    page.locator("#person-view").scroll_into_view_if_needed()
    row = page.locator("tr[data-measure=hand_breadth]")
    row.hover()
    window.settle()
    strong = page.locator("#person-view .tag.strong")
    assert strong.count() == 1
    assert strong.inner_text().startswith("hand breadth ")
    box, view = strong.bounding_box(), page.locator("#person-view").bounding_box()
    assert box is not None
    assert view is not None
    assert view["x"] < box["x"] < view["x"] + view["width"]
    assert view["y"] < box["y"] < view["y"] + view["height"]
    page.locator("h1").hover()
    window.settle()
    assert strong.count() == 0
    assert page.locator("#person-view .tag:visible").count() == 7


def cursor_percent(page: Page) -> float:
    return page.locator(".cursor").first.evaluate("c => parseFloat(c.style.left)")


def test_the_time_line_and_the_clip_go_together(window: Opened):
    page = window.page
    page.wait_for_function("document.querySelector('video').readyState >= 1")
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(0.6, abs=0.05)
    before = window.picture("section.video .view canvas")
    curves = page.locator(".curves").first
    curves.scroll_into_view_if_needed()
    box = curves.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.4 / 1.5 * box["width"], box["y"] + 30)
    window.settle()
    time = page.evaluate("document.querySelector('video').currentTime")
    assert time == pytest.approx(0.4, abs=0.06)
    assert cursor_percent(page) == pytest.approx(100 * 0.4 / 1.5, abs=4)
    after = window.picture("section.video .view canvas")
    assert np.abs(after - before).mean() > 1, "the hand in 3D follows"
    page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 30)
    window.settle()
    assert blue(window.picture("section.video .view canvas")).mean() < 0.002, "no hand there"
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 30)
    page.wait_for_timeout(1500)
    assert cursor_percent(page) == pytest.approx(80, abs=1), "it stays beyond the clip's end"
    assert blue(window.picture("section.video .view canvas")).mean() > 0.02
    page.evaluate("document.querySelector('video').play()")
    page.wait_for_timeout(300)
    assert cursor_percent(page) < 45, "and goes on with the clip when that plays"
    page.evaluate("document.querySelector('video').pause()")
    assert window.complaints == []


def test_without_webgl_the_overlays_remain(launch: Launch, made: Made):
    page = launch("--disable-3d-apis").new_page(viewport=WIDE)
    page.goto(made.url)
    page.wait_for_function("document.documentElement.dataset.ready === 'flat'")
    assert page.locator("#stage-view .no-gl").is_visible()
    assert page.locator(".card .of-hands").first.is_visible()
    assert page.locator("section.video svg").first.is_visible()


def test_without_scripts_the_page_still_tells(browser: Browser, made: Made):
    context = browser.new_context(viewport=WIDE, offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(made.url)
    assert page.locator("#stage-view .no-gl").is_visible()
    assert page.locator(".card .of-hands").first.is_visible()
    assert page.locator("tr[data-measure=hand_length]").is_visible()
    assert page.locator("section.video svg").first.is_visible()
    context.close()
