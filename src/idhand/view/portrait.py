"""A person's hand at rest with its measures, as a technical drawing.

The palm of the right hand, seen from far away (parallel projection), so that one scale holds
everywhere. All lengths on the sheet are multiples of the text size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8

from idhand import assets
from idhand.anatomy import palm_axes
from idhand.drawing.overlay import FINGER_COLOURS, INK, PAPER
from idhand.drawing.raster import Mesh
from idhand.hand import FittableHand, Hand
from idhand.identity import Identity, Measurement
from idhand.view.sheet import (
    GREY,
    HAIR,
    LINE_HEIGHT,
    Box,
    Number,
    Point,
    Sheet,
    rounded,
    text_width,
)

FINGERS = tuple(f"{name}_length" for name in ("thumb", "index", "middle", "ring", "little"))
_THUMB = FINGERS[0]
MAIN_MEASURES = ("hand_length", "palm_length", "hand_breadth", *FINGERS)
"""The measures that a portrait shows, if the model has them."""

MIN_WIDTH_PX, MAX_WIDTH_PX = 300, 4000
_TEXT_PER_WIDTH = 1 / 42
_HAND_HEIGHT = 0.84
"""Height of the hand, in widths of the picture, where there is room."""
_MARGIN, _GAP, _BESIDE = 1.2, 0.9, 1.5
"""In text sizes: around the picture, between labels of a row, for a dimension line."""
_SIDE = LINE_HEIGHT + _BESIDE
"""For a dimension line with its label."""
_HAIR_WIDTH, _LINE_WIDTH = 0.06, 0.1
_FOOTNOTE = "±: 95 % interval"
_PLASTER = (226, 222, 216)
"""Colour of the hand: every finger's line shows on it."""
_AWAY_M = 2.0
"""Where the hand stands before the light; changes the shading only."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """A measure's text and where it stands."""

    measure: str
    lines: tuple[str, ...]
    box: Box
    turned: bool = False
    """Reads upwards."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything of a portrait stands, px of the sheet."""

    width: int
    height: int
    text_px: Number
    px_per_mm: float
    origin_px: Float[np.ndarray, " 2"]
    """Where the wrist joint is."""
    verts_px: Float[np.ndarray, "verts 2"]
    paths_px: Mapping[str, Float[np.ndarray, "points 2"]]
    """Where each measure runs over the hand."""
    labels: tuple[Label, ...]

    @property
    def hand(self) -> Box:
        """The hand's rectangle."""
        return _around(self.verts_px)


def portrait(
    identity: Identity,
    model: FittableHand | None = None,
    *,
    width_px: int = 900,
    text_px: Number | None = None,
    measures: Sequence[str] = MAIN_MEASURES,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a person's hand at rest with its measures and their 95 % intervals.

    Args:
        identity: The person.
        model: The hand model of the person's betas; if None, the one that the person names.
        width_px: Width of the picture, 300 to 4000; the height follows from the hand.
        text_px: Letter size; in proportion to the width if None.
        measures: Which of `MAIN_MEASURES` are shown; those that the person lacks are left out.

    Raises:
        ValueError: If the person belongs to another model or to one that is not here, or a number
            is out of range.
    """
    model = model or assets.hand(identity.model)
    layout = portrait_layout(identity, model, width_px=width_px, text_px=text_px, measures=measures)
    sheet = Sheet(layout.width, layout.height)
    verts, faces = rounded(*rounded(_rest_verts(_hand_of(identity, model)), model.faces.numpy()))
    verts_px = verts[:, :2] * 1e3 * layout.px_per_mm + layout.origin_px
    away = np.array((0, 0, _AWAY_M))
    sheet.hands([Mesh(verts_px=verts_px, verts_cam=verts + away, faces=faces, colour=_PLASTER)])
    for label in layout.labels:
        _draw_measure(sheet, layout, label)
    _draw_footer(sheet, layout)
    return sheet.rgb()


def portrait_layout(
    identity: Identity,
    model: FittableHand,
    *,
    width_px: int = 900,
    text_px: Number | None = None,
    measures: Sequence[str] = MAIN_MEASURES,
) -> Layout:
    """Where the hand, its measures and their labels stand; arguments as in `portrait`."""
    identity.check_model(model)
    if not MIN_WIDTH_PX <= width_px <= MAX_WIDTH_PX:
        raise ValueError(f"width_px must be {MIN_WIDTH_PX} to {MAX_WIDTH_PX}, got {width_px}")
    unknown = sorted(set(measures) - set(MAIN_MEASURES))
    if unknown:
        raise ValueError(f"a portrait cannot show {unknown}; choose from {list(MAIN_MEASURES)}")
    shown = {name: m for name, m in identity.measurements.items() if name in measures}
    paths = _paths(_hand_of(identity, model), model, tuple(shown))
    shown = {name: m for name, m in shown.items() if name in paths}
    text = text_px or width_px * _TEXT_PER_WIDTH
    row = [_lines(name, shown[name]) for name in FINGERS[1:] if name in shown]
    text = min(text, _largest_text(row, width_px))
    verts = _rest_verts(_hand_of(identity, model))[:, :2] * 1e3
    box_mm = _around(verts)
    left = (_MARGIN + _SIDE * sum(name in shown for name in ("palm_length", "hand_length"))) * text
    top = (_MARGIN + (4.6 if row else 0)) * text
    room = width_px - left - (_MARGIN + 1) * text
    scale = min(
        room / (box_mm.right - box_mm.left),
        _HAND_HEIGHT * width_px / (box_mm.bottom - box_mm.top),
    )
    middle = left + (width_px - _MARGIN * text - left) / 2
    shift = np.array((middle - scale * box_mm.centre[0], top - scale * box_mm.top))
    paths_px = {name: path[:, :2] * 1e3 * scale + shift for name, path in paths.items()}
    verts_px = verts * scale + shift
    hand = _around(verts_px)
    below = 3.9 if "hand_breadth" in shown else 0.6
    return Layout(
        width=width_px,
        height=round(hand.bottom + (below + 3.0) * text),
        text_px=text,
        px_per_mm=scale,
        origin_px=shift,
        verts_px=verts_px,
        paths_px=paths_px,
        labels=_labels(shown, paths_px, verts_px, width_px, text),
    )


def spread(
    centres: Sequence[float], widths: Sequence[float], gap: Number, low: Number, high: Number
) -> list[float]:
    """Move things on a line apart until none overlap, as little as least squares can.

    Args:
        centres: Where each would like to be, increasing.
        widths: Their widths.
        gap: Kept free between neighbours.
        low: Where the first may begin.
        high: Where the last may end; if all of them do not fit, they reach beyond it.

    Returns:
        The centres, in the same order. By pooling neighbours that push each other (isotonic
        regression).
    """
    if not len(centres):
        return []
    before = np.cumsum([0.0, *((a + b) / 2 + gap for a, b in pairwise(widths))]).tolist()
    groups: list[tuple[float, int]] = []  # mean of centre − before, how many
    for centre, offset in zip(centres, before, strict=True):
        mean, count = centre - offset, 1
        while groups and groups[-1][0] > mean:
            other, more = groups.pop()
            mean, count = (mean * count + other * more) / (count + more), count + more
        groups.append((mean, count))
    first, last = low + widths[0] / 2, high - widths[-1] / 2 - before[-1]
    starts = [max(min(mean, last), first) for mean, count in groups for _ in range(count)]
    return [start + offset for start, offset in zip(starts, before, strict=True)]


def _hand_of(identity: Identity, model: FittableHand) -> Hand:
    """The person's hand."""
    return model.with_shape(torch.from_numpy(identity.betas).to(model.template.dtype))


def _upright(points: Float[torch.Tensor, "points 3"], hand: Hand) -> Float[np.ndarray, "points 3"]:
    """Points of the hand at rest about its wrist: y down, the palm to the viewer, metres."""
    return ((points - hand.rest_joints[0]) @ palm_axes(hand).mT).double().numpy()


def _rest_verts(hand: Hand) -> Float[np.ndarray, "verts 3"]:
    """The hand's skin at rest, see `_upright`."""
    return _upright(hand.rest_verts, hand)


def _paths(
    hand: Hand, model: FittableHand, names: Sequence[str]
) -> dict[str, Float[np.ndarray, "points 3"]]:
    """Where measures run on the hand at rest, see `_upright`, from end to end.

    Measures that the model lacks are left out.
    """
    known = [name for name in names if name in model.measures.names]
    return {name: _upright(model.measures.path(name, hand.betas), hand) for name in known}


def _lines(name: str, measurement: Measurement) -> tuple[str, str]:
    """A measure's name and its value with the half width of its interval."""
    half = (measurement.high_mm - measurement.low_mm) / 2
    title = name.removesuffix("_length") if name in FINGERS else name.replace("_", " ")
    return title, f"{measurement.value_mm:.1f} ± {half:.1f} mm"


def _largest_text(labels: Iterable[tuple[str, str]], width_px: int) -> float:
    """The letter size at which labels of that text fit into one row."""
    widths = [_width(lines, 100.0) / 100 for lines in labels]
    return width_px / (sum(widths) + _GAP * len(widths) + 2 * _MARGIN + _SIDE)


def _width(lines: Sequence[str], text: Number) -> float:
    return max(text_width(line, text) for line in lines)


def _labels(
    shown: Mapping[str, Measurement],
    paths_px: Mapping[str, Float[np.ndarray, "points 2"]],
    verts_px: Float[np.ndarray, "verts 2"],
    width_px: int,
    text: Number,
) -> tuple[Label, ...]:
    """All labels, clear of each other and of the hand."""
    hand = _around(verts_px)
    fingers = {name: _lines(name, shown[name]) for name in FINGERS if name in shown}
    labels = _side_labels(shown, paths_px, hand, text)
    first_px = labels[-1].box.right + 1.5 * text if labels else 0.0
    labels += _row_labels(fingers, paths_px, first_px, width_px, text)
    if _THUMB in fingers:
        tip_px = paths_px[_THUMB][-1]
        labels.append(_thumb_label(fingers[_THUMB], tip_px, verts_px, width_px, text))
    return tuple(labels + _breadth_label(shown, paths_px, hand, width_px, text))


def _row_labels(
    fingers: Mapping[str, tuple[str, str]],
    paths_px: Mapping[str, Float[np.ndarray, "points 2"]],
    first_px: Number,
    width_px: int,
    text: Number,
) -> list[Label]:
    """One row over the hand, in the order of the fingertips; the first centre is held back."""
    row = [name for name in fingers if name != _THUMB]
    names = sorted(row, key=lambda name: float(paths_px[name][-1, 0]))
    widths = [_width(fingers[name], text) for name in names]
    tips = [float(paths_px[name][-1, 0]) for name in names]
    edge = _MARGIN * text
    low = max(edge, first_px - widths[0] / 2) if widths else edge
    places = spread(tips, widths, _GAP * text, low, width_px - edge)
    return [
        Label(measure=name, lines=fingers[name], box=_two_lines(x, edge, width, text))
        for name, x, width in zip(names, places, widths, strict=True)
    ]


def _thumb_label(
    lines: tuple[str, str],
    tip_px: Float[np.ndarray, " 2"],
    verts_px: Float[np.ndarray, "verts 2"],
    width_px: int,
    text: Number,
) -> Label:
    """Over the tip of the thumb, clear of the index finger."""
    width, (x, y) = _width(lines, text), tip_px.tolist()
    box = _two_lines(x, y - (1.8 + 2 * LINE_HEIGHT) * text, width, text)
    rows = (verts_px[:, 1] > box.top - text) & (verts_px[:, 1] < box.bottom + 0.5 * text)
    clear = verts_px[rows, 0].max(initial=0.0) + _GAP * text
    centre = max(min(x, width_px - _MARGIN * text - width / 2), clear + width / 2)
    return Label(measure=_THUMB, lines=lines, box=_two_lines(centre, box.top, width, text))


def _two_lines(centre: float, top: Number, width: Number, text: Number) -> Box:
    """Where two lines of text stand."""
    half, bottom = width / 2, top + 2 * LINE_HEIGHT * text
    return Box(left=centre - half, top=top, right=centre + half, bottom=bottom)


def _side_labels(
    shown: Mapping[str, Measurement],
    paths_px: Mapping[str, Float[np.ndarray, "points 2"]],
    hand: Box,
    text: Number,
) -> list[Label]:
    """Palm and hand length: upright dimension lines on the left, the longer one outside."""
    labels, right = [], hand.left - _BESIDE * text
    for name in ("palm_length", "hand_length"):
        if name not in shown:
            continue
        line = ": ".join(_lines(name, shown[name]))
        middle = float(paths_px[name][[0, -1], 1].mean())
        half = text_width(line, text) / 2
        left = right - LINE_HEIGHT * text
        box = Box(left=left, top=middle - half, right=right, bottom=middle + half)
        labels.append(Label(measure=name, lines=(line,), box=box, turned=True))
        right = left - _BESIDE * text
    return labels


def _breadth_label(
    shown: Mapping[str, Measurement],
    paths_px: Mapping[str, Float[np.ndarray, "points 2"]],
    hand: Box,
    width_px: int,
    text: Number,
) -> list[Label]:
    """Hand breadth: a level dimension line under the hand."""
    if "hand_breadth" not in shown:
        return []
    line = ": ".join(_lines("hand_breadth", shown["hand_breadth"]))
    half = text_width(line, text) / 2
    edge = _MARGIN * text + half
    middle = float(paths_px["hand_breadth"][:, 0].mean().clip(edge, width_px - edge))
    top = hand.bottom + 2.1 * text
    box = Box(left=middle - half, top=top, right=middle + half, bottom=top + LINE_HEIGHT * text)
    return [Label(measure="hand_breadth", lines=(line,), box=box)]


def _draw_measure(sheet: Sheet, layout: Layout, label: Label) -> None:
    """One measure's line and label."""
    path, text = layout.paths_px[label.measure], layout.text_px
    if label.turned:
        _draw_upright(sheet, layout, label)
    elif label.measure in FINGERS:
        colour = FINGER_COLOURS[FINGERS.index(label.measure)]
        bottom, tip = label.box.bottom, path[-1]
        points = [_point(p) for p in path]
        from_label = (label.box.centre[0], bottom + 0.15 * text)
        sheet.line([from_label, _point(tip)], colour, _LINE_WIDTH * text)
        sheet.line(points, PAPER, 0.5 * text)
        sheet.line(points, colour, 0.26 * text)
        for point in (points[0], points[-1]):
            sheet.dot(point, 0.36 * text, colour, PAPER)
        name, value = label.lines
        x, top = label.box.centre[0], label.box.top
        sheet.text((x, top + 0.5 * LINE_HEIGHT * text), name, text, colour=GREY, anchor="mm")
        sheet.text((x, top + 1.5 * LINE_HEIGHT * text), value, text, anchor="mm")
    else:
        _draw_level(sheet, layout, label)


def _draw_upright(sheet: Sheet, layout: Layout, label: Label) -> None:
    """An upright dimension line, right of its label."""
    path, text = layout.paths_px[label.measure], layout.text_px
    x = label.box.right + 0.35 * text
    ends = [float(path[0, 1]), float(path[-1, 1])]
    for (end_x, _), y in zip(path[[0, -1]].tolist(), ends, strict=True):
        sheet.line([(x - 0.4 * text, y), (end_x, y)], HAIR, _HAIR_WIDTH * text)
    sheet.line([(x, ends[0]), (x, ends[1])], INK, _LINE_WIDTH * text)
    for y in ends:
        sheet.tick((x, y), (0, 1), INK, 0.9 * text, _LINE_WIDTH * text)
    sheet.turned_text(label.box.centre, label.lines[0], text)


def _draw_level(sheet: Sheet, layout: Layout, label: Label) -> None:
    """A level dimension line, over its label."""
    path, text = layout.paths_px[label.measure], layout.text_px
    y = label.box.top - 0.6 * text
    for end_x, end_y in path[[0, -1]].tolist():
        sheet.line([(end_x, end_y), (end_x, y + 0.4 * text)], HAIR, _HAIR_WIDTH * text)
        sheet.tick((end_x, y), (1, 0), INK, 0.9 * text, _LINE_WIDTH * text)
    sheet.line([(x, y) for x in path[[0, -1], 0].tolist()], INK, _LINE_WIDTH * text)
    sheet.text(label.box.centre, label.lines[0], text, anchor="mm")


def _draw_footer(sheet: Sheet, layout: Layout) -> None:
    """What the intervals are, and the scale."""
    text, edge = layout.text_px, _MARGIN * layout.text_px
    bottom = layout.height - edge
    if layout.labels:
        sheet.text((edge, bottom), _FOOTNOTE, 0.9 * text, colour=GREY, anchor="ls")
    sheet.scale_bar(layout.width - edge, bottom, layout.px_per_mm, 0.9 * text)


def _point(p: Float[np.ndarray, " 2"]) -> Point:
    return float(p[0]), float(p[1])


def _around(points: Float[np.ndarray, "points 2"]) -> Box:
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return Box(left=left, top=top, right=right, bottom=bottom)
