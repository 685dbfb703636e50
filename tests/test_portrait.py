"""Static pictures: `HandResult.overlay`, `idhand.view`, the portrait and the sheet under them."""

import io
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import idhand
from idhand.assets import open_hand
from idhand.identity import Identity, Measurement, measure
from idhand.view import Picture, overlay, portrait
from idhand.view.notebook import CallableModule, _towards
from idhand.view.portrait import MAIN_MEASURES, Layout, portrait_layout, spread
from idhand.view.sheet import Box, Sheet, rounded, text_width
from tests.test_view import PHOTO, ball, broken_hand, make_hand

PNG = b"\x89PNG\r\n\x1a\n"


def person(betas: np.ndarray | None = None, sigma: float = 0.4) -> Identity:
    """A person of the open hand's model."""
    betas = np.zeros(16) if betas is None else betas
    covariance = sigma**2 * np.eye(16)
    return Identity(
        model=open_hand().name,
        betas=betas,
        covariance=covariance,
        measurements=measure(open_hand(), betas, covariance),
    )


def some_betas(seed: int, size: float) -> np.ndarray:
    return size * np.random.default_rng(seed).normal(size=16).clip(-2, 2)


def ink(rgb: np.ndarray) -> np.ndarray:
    """Where a picture is not white."""
    return np.asarray((rgb < 250).any(-1))


def meets(a: Box, b: Box) -> bool:
    """Whether two boxes have an inner point in common."""
    apart_x = a.right <= b.left or b.right <= a.left
    return not (apart_x or a.bottom <= b.top or b.bottom <= a.top)


# --------------------------------------------------------------------------------- the hand itself


def test_a_hand_draws_itself_as_overlay_does() -> None:
    hand = make_hand()
    dist = np.array([-0.2, 0.05, 0.0, 0.0, 0.0])
    before = PHOTO.copy()
    assert np.array_equal(hand.overlay(PHOTO), overlay(PHOTO, [hand]))
    bent = hand.overlay(PHOTO, dist=dist)
    assert np.array_equal(bent, overlay(PHOTO, [hand], dist=dist))
    assert not np.array_equal(bent, hand.overlay(PHOTO)), "the lens is handed on"
    assert np.array_equal(PHOTO, before)


# ------------------------------------------------------------------------------------ idhand.view


@pytest.mark.parametrize("with_photo", [True, False])
def test_view_shows_hands_on_the_photo_and_alone(with_photo: bool) -> None:
    rgb = PHOTO if with_photo else None
    hands = [make_hand(), make_hand(is_right=False, centre=(0.12, 0.0, 0.55))]
    one, both = idhand.view(hands[0], rgb), idhand.view(hands, rgb)
    assert one.rgb.shape[1] == both.rgb.shape[1] == 1200
    assert np.array_equal(one.rgb, idhand.view([hands[0]], rgb).rgb)
    right = ink(one.rgb)[:, 800:]
    assert right.any(), "the hand alone, from the side"
    assert not np.array_equal(one.rgb, both.rgb)
    assert np.array_equal(both.rgb, idhand.view(hands, rgb).rgb), "same input, same picture"


def test_view_of_no_hand_is_the_photo() -> None:
    empty = idhand.view([], PHOTO)
    assert (empty.rgb[100, 100] == PHOTO[0, 0]).all()
    assert not ink(empty.rgb[:-40, 700:]).any(), "nothing beside it"
    assert idhand.view([]).rgb.shape[1] == 1200


def test_view_of_a_failed_fit_shows_its_box_only() -> None:
    failed = idhand.view([broken_hand()])
    assert not ink(failed.rgb[:-40, 700:]).any()
    assert ink(failed.rgb[:-40, :700]).any()
    assert not np.array_equal(idhand.view([broken_hand(), make_hand()]).rgb, failed.rgb)


def test_view_of_a_large_photo_draws_the_hand_where_it_is() -> None:
    """The overlay of a photo that was scaled down is that of the scaled photo."""
    S = np.diag([6.0, 6.0, 1.0])
    S[:2, 2] = 2.5  # pixel centres are at integers
    small, hand = PHOTO, make_hand()
    large = np.repeat(np.repeat(small, 6, 0), 6, 1)
    zoomed = replace(hand, K=S @ hand.K, bbox_px=hand.bbox_px * 6 + 2.5)
    a, b = (idhand.view(h, rgb).rgb.astype(int) for h, rgb in ((hand, small), (zoomed, large)))
    assert a.shape == b.shape
    assert np.abs(a - b).mean() < 4, "the lines' widths are rounded, nothing else differs"


def test_the_side_is_a_quarter_turn_and_to_scale() -> None:
    """Of an egg that is 80 mm high, 60 mm wide and 20 mm deep, the side is 20 mm wide."""
    verts, faces = ball(np.zeros(3), 1.0)
    egg = verts * (0.03, 0.04, 0.01) + np.array((0, 0, 0.5))
    rgb = idhand.view(replace(make_hand(), verts_cam=egg, faces=faces), PHOTO).rgb
    panels = ink(rgb[: rgb.shape[0] - 60, 560:])
    starts = np.flatnonzero(np.diff(panels.any(0).astype(int)))
    front, side = starts.reshape(-1, 2)
    (rows,) = np.nonzero(panels.any(1))
    px_per_mm = np.ptp(rows) / 80
    assert np.ptp(front) == pytest.approx(60 * px_per_mm, rel=0.03)
    assert np.ptp(side) == pytest.approx(20 * px_per_mm, rel=0.05)


@given(st.integers(0, 1000))
def test_the_view_on_a_point_is_a_rotation_without_roll(seed: int) -> None:
    point = np.random.default_rng(seed).normal(size=3) + np.array((0, 0, 2.0))
    R = _towards(point)
    assert np.allclose(R @ R.T, np.eye(3))
    assert np.linalg.det(R) == pytest.approx(1)
    assert R @ point == pytest.approx(np.array((0, 0, np.linalg.norm(point))))
    assert R[0, 1] == pytest.approx(0), "level stays level"


def test_view_of_a_person_is_the_portrait() -> None:
    me = person()
    assert np.array_equal(idhand.view(me, width_px=600).rgb, portrait(me, width_px=600))


def test_view_refuses_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"without a photo.*identity=me"):
        idhand.view(person(), PHOTO)
    with pytest.raises(ValueError, match="width_px must be 300 to 4000, got 100"):
        idhand.view([], width_px=100)
    mano = replace(person(), model="mano")
    with pytest.raises(ValueError, match=r"'mano' is not here; there is 'idhand-open-1'"):
        idhand.view(mano)
    with pytest.raises(ValueError, match=r"made with hand model 'mano'.*calibrate again"):
        idhand.view(mano, model=open_hand())


# ---------------------------------------------------------------------------------------- Picture


def test_a_picture_is_png_for_notebooks() -> None:
    picture = Picture(rgb=np.random.default_rng(0).integers(0, 255, (7, 9, 3), np.uint8))
    data = picture._repr_png_()
    assert data.startswith(PNG)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture.rgb)


def test_a_picture_is_saved_by_its_ending(tmp_path: Path) -> None:
    picture = idhand.view([], width_px=300)
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("b.JPEG", "JPEG")):
        picture.save(tmp_path / name)
        with Image.open(tmp_path / name) as read:
            assert read.format == kind
            assert np.abs(np.asarray(read).astype(int) - picture.rgb).max() < 60
    assert len(list(tmp_path.iterdir())) == 3, "no temporary file stays"
    with pytest.raises(ValueError, match=r"x\.bmp should end in \.png, .* ends in '\.bmp'"):
        picture.save(tmp_path / "x.bmp")


# ---------------------------------------------------------------------------------- callable module

ORDERS = {
    "attribute first": "import idhand; idhand.view([])",
    "module first": "import idhand.view; import idhand; idhand.view([])",
    "names first": "from idhand.view import overlay; import idhand; idhand.view([])",
    "submodule first": "from idhand.view.portrait import portrait; import idhand; idhand.view([])",
    "then names": "import idhand; idhand.view([]); from idhand.view import overlay; overlay",
    "from idhand": "from idhand import view as v; v([]); import idhand.view as w; assert v is w",
}


EACH_ANEW = """
import sys
for name, code in {orders!r}.items():
    for module in [m for m in sys.modules if m.partition(".")[0] == "idhand"]:
        del sys.modules[module]
    exec(code, {{}})
    print(name, type(sys.modules["idhand.view"]).__name__, flush=True)
"""
"""In an interpreter of its own, which imports the heavy libraries once, and idhand each time."""


@pytest.mark.slow
def test_view_is_module_and_function_in_every_order() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EACH_ANEW.format(orders=ORDERS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [f"{name} CallableModule" for name in ORDERS]


def test_the_module_has_the_functions_signature() -> None:
    import inspect

    from idhand.view.notebook import view

    def promises(function: object) -> list[tuple[object, ...]]:
        parameters = inspect.signature(function).parameters.values()  # pyright: ignore
        return [(p.name, p.kind, p.default, str(p.annotation)) for p in parameters]

    assert promises(CallableModule.__call__)[1:] == promises(view)


# --------------------------------------------------------------------------------------- portrait


def boxes_of(layout: Layout) -> list[Box]:
    return [label.box for label in layout.labels]


@given(st.integers(0, 10_000), st.sampled_from([500, 700, 900, 1600]), st.floats(0, 1.5))
def test_labels_are_clear_of_each_other_of_the_hand_and_inside(
    seed: int, width: int, size: float
) -> None:
    model = open_hand()
    layout = portrait_layout(person(some_betas(seed, size)), model, width_px=width)
    boxes = boxes_of(layout)
    assert {label.measure for label in layout.labels} == set(MAIN_MEASURES)
    for i, box in enumerate(boxes):
        assert box.left >= 0
        assert box.right <= layout.width
        assert 0 <= box.top < box.bottom <= layout.height
        assert not any(meets(box, other) for other in boxes[i + 1 :])
    covered = np.zeros((layout.height, layout.width), np.uint8)
    for triangle in np.rint(layout.verts_px)[model.faces.numpy()].astype(np.int32):
        cv2.fillConvexPoly(covered, triangle, 1)  # independent of the renderer
    for box in boxes:
        cut = covered[int(box.top) : int(box.bottom) + 1, int(box.left) : int(box.right) + 1]
        assert not cut.any()


def test_labels_say_the_measures_with_their_intervals() -> None:
    me = person()
    me = replace(
        me,
        measurements={
            **me.measurements,
            "hand_length": Measurement(value_mm=201.7, low_mm=197.8, high_mm=205.6),
        },
    )
    labels = {label.measure: label.lines for label in portrait_layout(me, open_hand()).labels}
    assert labels["hand_length"] == ("hand length: 201.7 ± 3.9 mm",)
    middle = me.measurements["middle_length"]
    assert labels["middle_length"][0] == "middle"
    assert labels["middle_length"][1].startswith(f"{middle.value_mm:.1f} ± ")


@given(st.integers(0, 1000))
def test_lines_are_as_long_as_their_labels_say(seed: int) -> None:
    """The hand length's line is level with the fingers, so its picture is nearly its value."""
    me = person(some_betas(seed, 0.8))
    layout = portrait_layout(me, open_hand(), width_px=1000)
    for name, tolerance in (("hand_length", 0.02), ("palm_length", 0.02), ("hand_breadth", 0.06)):
        path = layout.paths_px[name]
        drawn = np.linalg.norm(np.diff(path, axis=0), axis=1).sum() / layout.px_per_mm
        value = me.measurements[name].value_mm
        assert value * (1 - tolerance) <= drawn <= value + 1e-6, "a projection is never longer"


def test_portrait_follows_the_betas_and_keeps_its_width() -> None:
    small, large = (person(np.full(16, 0.0) + d) for d in (-0.8, 0.8))
    a, b = portrait(small, width_px=500), portrait(large, width_px=500)
    assert a.shape[1] == b.shape[1] == 500
    assert a.shape != b.shape or not np.array_equal(a, b)
    assert np.array_equal(a, portrait(small, width_px=500))
    edge = np.concatenate((a[:4].reshape(-1, 3), a[-4:].reshape(-1, 3)))
    assert (edge == 255).all(), "white around it"


def test_portrait_shows_what_it_is_asked_for() -> None:
    me = person()
    few = portrait_layout(me, open_hand(), measures=("hand_length",))
    assert [label.measure for label in few.labels] == ["hand_length"]
    without = replace(me, measurements={})
    assert portrait_layout(without, open_hand()).labels == ()
    assert ink(portrait(without, width_px=400)).any()


def test_portrait_refuses_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="hand model 'mano'"):
        portrait(replace(person(), model="mano"))
    with pytest.raises(ValueError, match="300 to 4000, got 20"):
        portrait(person(), width_px=20)
    with pytest.raises(ValueError, match=r"cannot show \['foot'\]; choose from"):
        portrait(person(), measures=("foot",))


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(1, 30)), min_size=1, max_size=6),
    st.floats(0, 3),
)
def test_spread_moves_things_apart_and_no_more(wanted: list, gap: float) -> None:
    wanted.sort()
    centres, widths = [c for c, _ in wanted], [w for _, w in wanted]
    got = spread(centres, widths, gap, -1000, 1000)
    ends = [(c - w / 2, c + w / 2) for c, w in zip(got, widths, strict=True)]
    for (_, end), (start, _) in pairwise(ends):
        assert start - end >= gap - 1e-9
    assert sum(got) == pytest.approx(sum(centres)), "pushes are mutual"
    again = spread(got, widths, gap, -1000, 1000)
    assert again == pytest.approx(got), "what is apart stays"
    fits = sum(widths) + gap * (len(widths) - 1)
    inside = spread(centres, widths, gap, 10, 10 + fits + 1)
    assert inside[0] - widths[0] / 2 >= 10 - 1e-9
    assert inside[-1] + widths[-1] / 2 <= 11 + fits + 1e-9


def test_spread_is_least_squares() -> None:
    """Against its obvious twin: a fine search over the places of three things."""
    centres, widths, gap = [3.0, 4.0, 4.5], [2.0, 1.0, 3.0], 0.5
    got = np.array(spread(centres, widths, gap, -100, 100))
    steps = np.linspace(-6, 12, 91)
    a, b, c = np.meshgrid(steps, steps, steps, indexing="ij")
    allowed = (b - a >= 2.0 - 1e-9) & (c - b >= 2.5 - 1e-9)
    cost = (a - 3.0) ** 2 + (b - 4.0) ** 2 + (c - 4.5) ** 2
    best = cost[allowed].min()
    assert ((got - centres) ** 2).sum() <= best + 1e-9
    assert spread([], [], 1, 0, 10) == []


# ------------------------------------------------------------------------------------------ sheet


def test_what_is_pasted_comes_out_as_it_was() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    sheet = Sheet(50, 40)
    sheet.paste(rgb, 7, 5)
    assert np.array_equal(sheet.rgb()[5:25, 7:37], rgb)
    assert (sheet.rgb()[:5] == 255).all()


def test_text_stands_within_its_width() -> None:
    for bold in (False, True):
        sheet = Sheet(300, 40)
        sheet.text((20, 20), "hand length 201.7 ± 3.9 mm", 16, bold=bold)
        (columns,) = np.nonzero(ink(sheet.rgb()).any(0))
        width = text_width("hand length 201.7 ± 3.9 mm", 16, bold=bold)
        assert columns.min() >= 19
        assert width - 5 <= columns.max() - columns.min() <= width + 2


def test_a_scale_bar_is_as_long_as_it_says() -> None:
    sheet = Sheet(300, 60)
    box = sheet.scale_bar(280, 50, 2.5, 16)
    rows = ink(sheet.rgb())
    longest = max(int(row.sum()) for row in rows)
    assert longest == pytest.approx(50 * 2.5, abs=3), "50 mm at 2.5 px each"
    assert box.right == pytest.approx(280)


def test_rounding_a_coarse_ball_makes_it_a_ball() -> None:
    """Corners stay; the new ones come nearer to the sphere than the middles of the edges."""
    coarse = trimesh.creation.icosahedron()
    verts, faces = np.asarray(coarse.vertices), np.asarray(coarse.faces)
    verts = verts / np.linalg.norm(verts, axis=1, keepdims=True)
    fine, parts = rounded(verts, faces)
    assert np.array_equal(fine[:12], verts)
    assert fine.shape == (12 + 30, 3)
    assert parts.shape == (80, 3)
    flat = np.linalg.norm((verts[coarse.edges_unique]).mean(1), axis=1)
    assert (np.linalg.norm(fine[12:], axis=1) > flat.max() + 0.05).all()
    assert (np.linalg.norm(fine[12:], axis=1) < 1.05).all()
    mesh = trimesh.Trimesh(fine, parts, process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > coarse.volume / np.linalg.norm(coarse.vertices[0]) ** 3


def test_rounding_leaves_a_flat_plate_flat() -> None:
    verts = np.array([[0.0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
    fine, _ = rounded(verts, np.array([[0, 1, 2], [0, 2, 3]]))
    assert fine[:, 2] == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------- tool


def test_the_readme_picture_shows_evenly_spread_photos() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    try:
        from build_readme_picture import Story  # pyright: ignore[reportMissingImports]
    finally:
        sys.path.pop(0)
    story = Story(
        pictures=[None] * 16,
        before=[],
        after=[],
        person=person(),
        model=open_hand(),
        truth_mm=200.0,
    )
    assert story.shown == [0, 5, 10, 15]
    betas = torch.zeros(16, dtype=torch.float64)
    measures = open_hand().measures
    assert story.length_mm(betas.numpy()) == pytest.approx(float(measures.lengths(betas)[0]) * 1e3)
