"""A white sheet to draw figures on: photos, shaded hands, crisp lines and letters.

Everything is placed in px of the finished picture, where the top-left corner of the sheet is
(0, 0); it is drawn three times as large and reduced.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from idhand.drawing.overlay import INK, PAPER
from idhand.drawing.raster import Mesh, render, vertex_normals

Colour = tuple[int, int, int]
Number = float | int
Point = tuple[Number, Number]

GREY: Colour = (110, 110, 110)
"""For what should step back; dark enough to read on white (5.1 : 1)."""
HAIR: Colour = (140, 140, 140)
"""Thin auxiliary lines."""
LINE_HEIGHT = 1.25
"""Distance of lines of text, in text sizes."""

_SCALE = 3
_ROUNDNESS = 0.75
"""0 leaves triangles flat; 0.75 is what the source advises."""
_BOLD = 0.022
"""Width of the stroke that makes letters bold, in text sizes."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle on the sheet, px."""

    left: Number
    top: Number
    right: Number
    bottom: Number

    @property
    def centre(self) -> Point:
        """Its middle."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2


def text_width(text: str, size_px: Number, *, bold: bool = False) -> float:
    """Width of one line of text, px."""
    stroke = 2 * _stroke(size_px) if bold else 0
    return (_font(size_px).getlength(text) + stroke) / _SCALE


def rounded(
    verts: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> tuple[Float[np.ndarray, "more 3"], Int[np.ndarray, "four_faces 3"]]:
    """A mesh of four times as many triangles whose outline is round; its vertices stay.

    The new vertex of an edge lies between its middle and the tangent planes of its two ends.
    Source: Boubekeur and Alexa, "Phong tessellation", 2008.
    """
    normals = vertex_normals(verts, faces)
    edges = np.sort(faces[:, ((0, 1), (1, 2), (2, 0))].reshape(-1, 2), 1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    middle = verts[unique].mean(1)
    height = ((middle[:, None] - verts[unique]) * normals[unique]).sum(-1, keepdims=True)
    new = middle - _ROUNDNESS * (height * normals[unique]).mean(1)
    (a, b, c), (ab, bc, ca) = faces.T, which.reshape(-1, 3).T + len(verts)
    parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return np.concatenate((verts, new)), np.concatenate([np.stack(part, 1) for part in parts])


@cache
def _font(size_px: Number) -> ImageFont.FreeTypeFont:
    """Pillow's own font (Aileron), at the scale of the drawing."""
    font = ImageFont.load_default(size=max(size_px * _SCALE, 1.0))
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels are built with FreeType"
    return font


def _stroke(size_px: Number) -> int:
    return max(1, round(_BOLD * size_px * _SCALE))


class Sheet:
    """A picture in the making: draw from back to front, then take `rgb()`."""

    def __init__(self, width: int, height: int):
        self._image = Image.new("RGB", (width * _SCALE, height * _SCALE), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """The finished picture."""
        return np.array(self._image.reduce(_SCALE))

    def paste(self, rgb: UInt8[np.ndarray, "height width 3"], left: int, top: int) -> None:
        """Put a picture on the sheet; its pixels come out as they are."""
        big = np.repeat(np.repeat(rgb, _SCALE, 0), _SCALE, 1)
        self._image.paste(Image.fromarray(big), (left * _SCALE, top * _SCALE))

    def hands(self, meshes: Sequence[Mesh]) -> None:
        """Shade meshes; their `verts_px` are px of the sheet, as everything else."""
        width, height = (side // _SCALE for side in self._image.size)
        centred = [replace(mesh, verts_px=mesh.verts_px - 0.5) for mesh in meshes]
        layer = render(centred, width, height)  # whose pixel centres are at integers
        if layer is None:
            return
        rows, columns = layer.coverage.shape
        box = (layer.x, layer.y, layer.x + columns, layer.y + rows)
        cut = self._image.crop(tuple(edge * _SCALE for edge in box)).reduce(_SCALE)  # pyright: ignore[reportArgumentType]
        mixed = np.asarray(cut) * (1 - layer.coverage[..., None]) + layer.premultiplied
        self.paste(np.rint(mixed).clip(0, 255).astype(np.uint8), layer.x, layer.y)

    def line(self, points: Sequence[Point], colour: Colour, width: Number) -> None:
        """A line through points, px, with round joints."""
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=_whole(width), joint="curve")

    def dashes(self, start: Point, end: Point, colour: Colour, width: Number, dash: Number) -> None:
        """A dashed line; dashes are as long as the gaps."""
        a, b = np.array(start), np.array(end)
        length = float(np.linalg.norm(b - a))
        for at in np.arange(0, length, 2 * dash):
            here, there = (a + (b - a) * t / length for t in (at, min(at + dash, length)))
            self.line([_point(here), _point(there)], colour, width)

    def dot(self, centre: Point, radius: Number, fill: Colour, rim: Colour | None = None) -> None:
        """A filled circle, with a rim if it has a colour."""
        (x, y), r = centre, radius
        corners = tuple(v * _SCALE for v in (x - r, y - r, x + r, y + r))
        rim_width = _whole(radius * 0.35) if rim else 0
        self._draw.ellipse(corners, fill=fill, outline=rim, width=rim_width)  # pyright: ignore[reportArgumentType]

    def rectangle(self, box: Box, fill: Colour, radius: Number = 0.0) -> None:
        """A filled rectangle, with round corners if there is a radius."""
        corners = (box.left, box.top, box.right, box.bottom)
        scaled = [value * _SCALE for value in corners]
        self._draw.rounded_rectangle(scaled, radius * _SCALE, fill=fill)

    def arrow(self, start: Point, end: Point, colour: Colour, width: Number, head: Number) -> None:
        """A line that ends in a filled head; both its length and its width are `head`."""
        a, b = np.array(start, float), np.array(end, float)
        along = (b - a) / np.linalg.norm(b - a)
        across = np.array((-along[1], along[0]))
        foot = b - head * along
        self.line([start, _point(foot + 0.2 * head * along)], colour, width)
        tip = [b, foot + across * head / 2, foot - across * head / 2]
        self._draw.polygon([_point(p * _SCALE) for p in tip], fill=colour)

    def tick(self, at: Point, along: Point, colour: Colour, size: Number, width: Number) -> None:
        """A short stroke across a dimension line at one of its ends."""
        direction = np.array(along, float) / np.linalg.norm(along)
        across = np.array((-direction[1], direction[0])) * size / 2
        self.line([_point(at - across), _point(at + across)], colour, width)

    def text(
        self,
        at: Point,
        text: str,
        size_px: Number,
        *,
        colour: Colour = INK,
        anchor: str = "lm",
        bold: bool = False,
    ) -> None:
        """One line of text.

        Args:
            at: Where the anchor is, px.
            text: Latin letters; the font has no arrows or Greek.
            size_px: Letter size, px.
            colour: Of the letters.
            anchor: Pillow's: l, m or r, then t, m, s (base line) or b.
            bold: Heavier strokes.
        """
        x, y = at
        place = (x * _SCALE, y * _SCALE)
        stroke = _stroke(size_px) if bold else 0
        self._draw.text(
            place, text, colour, _font(size_px), anchor, stroke_width=stroke, stroke_fill=colour
        )

    def turned_text(self, centre: Point, text: str, size_px: Number, colour: Colour = INK) -> None:
        """One line of text that reads upwards."""
        font = _font(size_px)
        width, height = round(font.getlength(text)) + 4, round(size_px * _SCALE * LINE_HEIGHT) + 4
        mask = Image.new("L", (width, height), 0)
        ImageDraw.Draw(mask).text((width / 2, height / 2), text, 255, font, "mm")
        mask = mask.transpose(Image.Transpose.ROTATE_90)
        corner = (
            round(centre[0] * _SCALE - mask.width / 2),
            round(centre[1] * _SCALE - mask.height / 2),
        )
        self._image.paste(colour, (*corner, corner[0] + mask.width, corner[1] + mask.height), mask)

    def scale_bar(self, right: Number, bottom: Number, px_per_mm: Number, size_px: Number) -> Box:
        """A bar of a round number of mm with its length over it; returns where it stands."""
        length_mm = next(mm for mm in (50, 20, 10, 100, 5, 200) if _fits(mm, px_per_mm, size_px))
        left = right - length_mm * px_per_mm
        y, width = bottom - 0.3 * size_px, max(1.0, 0.12 * size_px)
        self.line([(left, y), (right, y)], INK, width)
        for x in (left, right):
            self.tick((x, y), (1, 0), INK, 0.5 * size_px, width)
        text = f"{length_mm} mm"
        self.text(((left + right) / 2, y - 0.35 * size_px), text, size_px, anchor="ms")
        half = max(text_width(text, size_px), right - left) / 2
        middle = (left + right) / 2
        return Box(left=middle - half, top=y - 1.3 * size_px, right=middle + half, bottom=bottom)


def _fits(length_mm: int, px_per_mm: Number, size_px: Number) -> bool:
    """Whether a scale bar of that length fits letters of that size."""
    return 3 * size_px <= length_mm * px_per_mm <= 16 * size_px or length_mm == 200


def _whole(width: Number) -> int:
    """A line's width in the drawing's pixels."""
    return max(1, round(width * _SCALE))


def _point(p: Float[np.ndarray, " 2"]) -> Point:
    return float(p[0]), float(p[1])
