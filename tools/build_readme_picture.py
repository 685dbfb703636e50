"""Draw the README's picture: the bundled person's photos before and after calibration.

    python tools/build_readme_picture.py [--out docs/images/before_after.jpg]

Every number is computed here, from the pictures and their truth. Of the 16 photos, four that are
evenly spread are shown, the first and the last among them; the dots and the means are of all.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

import idhand
from idhand.cli.demo import Picture as Photo
from idhand.cli.demo import errors_of, read_demo
from idhand.drawing.overlay import PAPER
from idhand.hand import FittableHand
from idhand.identity import Identity, Measurement
from idhand.records import HandResult
from idhand.view import OverlayStyle, Picture, overlay
from idhand.view.portrait import portrait
from idhand.view.sheet import GREY, HAIR, Box, Colour, Sheet, text_width

NUM_SHOWN = 4
WIDTH_PX = 1600
EDGE, GAP = 48, 24
LEFT = 420
"""Width of the column with the words and the person."""
PORTRAIT_TEXT, SMALL, NORMAL, BIG, TITLE = 22, 25, 28, 36, 42
PLOT_HEIGHT = 160
BEFORE: Colour = (213, 94, 0)
AFTER: Colour = (0, 114, 178)
TRUTH: Colour = (20, 20, 20)
BAND: Colour = (214, 231, 243)
STYLE = OverlayStyle(box=False, label=False)
CROP = 1.35
"""Side of the squares cut out of the photos, in sides of the hand's true box."""
MAX_BYTES = 700_000
BAND_HEIGHT = 76
OUT = Path(__file__).parents[1] / "docs" / "images" / "before_after.jpg"


@dataclass(frozen=True, kw_only=True)
class Story:
    """What the picture tells."""

    pictures: Sequence[Photo]
    before: Sequence[HandResult]
    after: Sequence[HandResult]
    person: Identity
    model: FittableHand
    truth_mm: float
    """Length of the person's hand."""

    @property
    def shown(self) -> list[int]:
        """Which photos are shown: evenly spread, with the first and the last."""
        return np.rint(np.linspace(0, len(self.pictures) - 1, NUM_SHOWN)).astype(int).tolist()

    @property
    def hand_length(self) -> Measurement:
        """Of the calibrated person."""
        return self.person.measurements["hand_length"]

    def length_mm(self, betas: Float[np.ndarray, " betas"]) -> float:
        """Hand length of a shape."""
        measures = self.model.measures
        assert measures is not None
        lengths = measures.lengths(torch.from_numpy(betas))
        return float(lengths[measures.names.index("hand_length")]) * 1e3

    def depth_errors_mm(self, hands: Sequence[HandResult]) -> list[float]:
        """Distance from the truth along the camera's axis, of every photo."""
        pairs = zip(hands, self.pictures, strict=True)
        return [errors_of(hand, picture.keypoints_cam).depth_mm for hand, picture in pairs]


def tell() -> Story:
    """Estimate every photo, calibrate with the true length as the ruler's reading, repeat.

    Raises:
        ValueError: If some photo shows no hand.
    """
    truth, pictures = read_demo()
    pipe = idhand.load()
    length_mm = float(truth["hand_length_mm"])
    images, cameras = [p.rgb for p in pictures], [p.K for p in pictures]
    person = idhand.calibrate(pipe, images, K=cameras, hand_length_mm=length_mm)
    runs = []
    for identity in (None, person):
        found = [pipe(p.rgb, K=p.K, identity=identity, max_hands=1) for p in pictures]
        if not all(found):
            raise ValueError("some photo shows no hand; look at `idhand demo`")
        runs.append([hands[0] for hands in found])
    return Story(
        pictures=pictures,
        before=runs[0],
        after=runs[1],
        person=person,
        model=pipe.model,
        truth_mm=length_mm,
    )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where the photos stand from left to right, px."""

    left: int = EDGE + LEFT + GAP

    @property
    def photo(self) -> int:
        """Width and height of a photo."""
        return (WIDTH_PX - EDGE - self.left - (NUM_SHOWN - 1) * GAP) // NUM_SHOWN

    def start(self, column: int) -> int:
        """Left edge of a photo."""
        return self.left + column * (self.photo + GAP)

    def middle(self, part: float) -> float:
        """A place between the middles of the first (0) and of the last photo (1)."""
        first, last = (self.start(c) + self.photo / 2 for c in (0, NUM_SHOWN - 1))
        return first + part * (last - first)


def photo_of(story: Story, index: int, hand: HandResult, side: int) -> UInt8[np.ndarray, "h w 3"]:
    """A square around the hand, with the fit drawn on it; the same before and after."""
    picture = story.pictures[index]
    uvw = picture.keypoints_cam @ picture.K.T
    px = uvw[:, :2] / uvw[:, 2:]
    centre, half = (px.min(0) + px.max(0)) / 2, np.ptp(px, axis=0).max() * CROP / 2
    height, width = picture.rgb.shape[:2]
    half = min(half, height / 2, width / 2)
    x, y = np.clip(centre, half, (width - half, height - half))
    scale = side / (2 * half)
    factor = 2 * scale  # drawn twice as large: thin lines stay smooth
    left, top = x - half, y - half
    cut = (left + 0.5, top + 0.5, x + half + 0.5, y + half + 0.5)  # Pillow counts from corners
    big = Image.fromarray(picture.rgb).resize((2 * side, 2 * side), Image.Resampling.BICUBIC, cut)
    offset = -factor * np.array((left, top)) - 0.5
    S = np.array([[factor, 0, offset[0]], [0, factor, offset[1]], [0, 0, 1]])
    box_px = hand.bbox_px * factor + np.tile(offset, 2)
    moved = replace(hand, K=S @ hand.K, bbox_px=box_px)
    return np.array(Image.fromarray(overlay(np.array(big), [moved], style=STYLE)).reduce(2))


def draw(story: Story) -> UInt8[np.ndarray, "height width 3"]:
    """The whole picture."""
    side = Columns().photo
    row = side + 62 + PLOT_HEIGHT
    band_top = EDGE + row + 44
    after_top = band_top + BAND_HEIGHT + 44
    sheet = Sheet(WIDTH_PX, after_top + row + 258)
    draw_before_words(sheet, story, EDGE)
    draw_row(sheet, story, story.before, EDGE, BEFORE)
    draw_band(sheet, band_top, story)
    draw_person(sheet, story, after_top)
    draw_row(sheet, story, story.after, after_top, AFTER)
    draw_depth(sheet, story, after_top + row + 52)
    return sheet.rgb()


def min_max(story: Story, hands: Sequence[HandResult]) -> str:
    """The range of hand lengths."""
    lengths = [story.length_mm(hand.betas) for hand in hands]
    return f"{min(lengths):.0f} to {max(lengths):.0f}"


def draw_row(
    sheet: Sheet, story: Story, hands: Sequence[HandResult], top: int, colour: Colour
) -> None:
    """Photos, the hand length that each says, and the lengths of all on one axis."""
    columns = Columns()
    side = columns.photo
    for column, index in enumerate(story.shown):
        left = columns.start(column)
        sheet.paste(photo_of(story, index, hands[index], side), left, top)
        length = f"{story.length_mm(hands[index].betas):.0f} mm"
        place = (left + side / 2, top + side + 32)
        sheet.text(place, length, BIG, colour=colour, anchor="mm", bold=True)
    draw_plot(sheet, story, hands, top + side + 62, colour)


def draw_plot(
    sheet: Sheet, story: Story, hands: Sequence[HandResult], top: float, colour: Colour
) -> None:
    """Every photo's hand length as a dot; those that are shown stand under their photos."""
    columns = Columns()
    average_mm = story.length_mm(np.zeros_like(story.person.betas))
    lengths = [story.length_mm(hand.betas) for hand in hands]
    low, high = axis_mm(story)

    def y(mm: float) -> float:
        return top + PLOT_HEIGHT * (high - mm) / (high - low)

    left, right = columns.left, WIDTH_PX - EDGE
    calibrated = hands is story.after
    lines = ((story.truth_mm, "truth", TRUTH, GREY), (average_mm, "average adult", GREY, HAIR))
    band = story.hand_length
    if calibrated:
        box = Box(left=left, top=y(band.high_mm), right=right, bottom=y(band.low_mm))
        sheet.rectangle(box, BAND)
        note = f"estimate {band.value_mm:.1f} mm; band: 95 % interval"
        sheet.text((right, box.bottom + 22), note, SMALL, colour=AFTER, anchor="rm")
    for mm, name, ink, line in lines:
        sheet.dashes((left, y(mm)), (right, y(mm)), line, 2, 7)
        if not calibrated:
            place, anchor = (left - 14, y(mm)), "rm"
        elif mm == average_mm:
            place, anchor = (left, y(mm) + 22), "lm"
        else:
            place, anchor = (left, y(band.low_mm) + 22), "lm"
        sheet.text(place, f"{name} {mm:.1f} mm", SMALL, colour=ink, anchor=anchor)
    for index, mm in enumerate(lengths):
        x = columns.middle(index / (len(lengths) - 1))
        if index in story.shown:
            sheet.dot((x, y(mm)), 11, colour, PAPER)
        else:
            sheet.dot((x, y(mm)), 5.5, colour, PAPER)


def axis_mm(story: Story) -> tuple[float, float]:
    """The range of hand lengths that both plots show."""
    lengths = [story.length_mm(hand.betas) for hand in (*story.before, *story.after)]
    band = story.hand_length
    return min(*lengths, band.low_mm) - 2, max(*lengths, band.high_mm, story.truth_mm) + 1


def draw_before_words(sheet: Sheet, story: Story, top: int) -> None:
    """What the first row shows."""
    lines = (
        f"Hand length, from all {len(story.pictures)} photos:",
        f"{min_max(story, story.before)} mm. A different hand",
        "each time, always near the average;",
        f"this person's is {story.truth_mm:.0f} mm long.",
    )
    draw_words(sheet, top, "Before", "every photo, a new hand", lines)


def draw_words(sheet: Sheet, top: float, title: str, line: str, more: Sequence[str]) -> float:
    """A heading with its explanation in the left column; returns where it ends."""
    y = top + 0.5 * TITLE
    sheet.text((EDGE, y), title, TITLE, bold=True)
    y += 1.25 * TITLE
    sheet.text((EDGE, y), line, BIG)
    y += 1.6 * BIG
    for text in more:
        sheet.text((EDGE, y), text, SMALL, colour=GREY)
        y += 1.35 * SMALL
    return y


def draw_band(sheet: Sheet, top: float, story: Story) -> None:
    """What leads from the first row to the second."""
    box = Box(left=EDGE, top=top, right=WIDTH_PX - EDGE, bottom=top + BAND_HEIGHT)
    sheet.rectangle(box, BAND, 14)
    text = f"calibrate: {len(story.pictures)} photos + one ruler reading ({story.truth_mm:.0f} mm)"
    half = text_width(text, BIG, bold=True) / 2
    x, y = box.centre
    sheet.text((x, y), text, BIG, anchor="mm", bold=True)
    for place in (x - half - 70, x + half + 70):
        sheet.arrow((place, y - 22), (place, y + 24), TRUTH, 5, 24)


def draw_person(sheet: Sheet, story: Story, top: float) -> None:
    """The calibrated person under the second heading."""
    y = draw_words(sheet, top, "After", "one person, one hand", ())
    picture = portrait(
        story.person,
        story.model,
        width_px=LEFT - 20,
        text_px=PORTRAIT_TEXT,
        measures=("hand_length", "hand_breadth"),
    )
    sheet.paste(picture, EDGE, round(y))


def draw_depth(sheet: Sheet, story: Story, top: float) -> None:
    """How far off the distance from the camera is, before and after."""
    columns = Columns()
    before, after = story.depth_errors_mm(story.before), story.depth_errors_mm(story.after)
    for column, index in enumerate(story.shown):
        x = columns.start(column) + columns.photo / 2
        sheet.text((x, top), "error in depth", SMALL, colour=GREY, anchor="mm")
        draw_change(sheet, (x, top + 36), f"{before[index]:.0f}", f"{after[index]:.0f} mm")
    means = np.mean(before), np.mean(after)
    text = f"mean of all {len(before)}:"
    width = text_width(text, SMALL)
    x, y = columns.middle(0.5), top + 92
    sheet.text((x - 20, y), text, SMALL, colour=GREY, anchor="rm")
    draw_change(sheet, (x + width / 2, y), f"{means[0]:.0f}", f"{means[1]:.0f} mm")
    number = len(story.pictures)
    note = (
        f"{NUM_SHOWN} of {number} photos, evenly spread; the dots are all {number}. "
        "Rendered from an invented person, so that the truth is known."
    )
    sheet.text((WIDTH_PX - EDGE, y + 62), note, SMALL, colour=GREY, anchor="rm")


def draw_change(sheet: Sheet, middle: tuple[float, float], before: str, after: str) -> None:
    """Two numbers with an arrow from one to the other."""
    x, y = middle
    widths = text_width(before, NORMAL, bold=True), text_width(after, NORMAL, bold=True)
    left = x - (sum(widths) + 54) / 2
    sheet.text((left, y), before, NORMAL, colour=BEFORE, bold=True)
    start = left + widths[0] + 11
    sheet.arrow((start, y + 1), (start + 32, y + 1), GREY, 2.5, 12)
    sheet.text((start + 43, y), after, NORMAL, colour=AFTER, bold=True)


def main() -> None:
    """Estimate, draw, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    Picture(rgb=draw(tell())).save(out)
    size = out.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"{out} has {size} bytes, more than {MAX_BYTES}; save it as .jpg")
    print(f"{out}: {size} bytes")


if __name__ == "__main__":
    main()
