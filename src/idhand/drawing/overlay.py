"""A photo and its hands → the photo with the hands drawn on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from idhand.drawing.raster import Mesh, render
from idhand.lens import Distortion, project_px

FINGER_COLOURS = ((213, 94, 0), (230, 159, 0), (0, 158, 115), (86, 180, 233), (204, 121, 167))
"""RGB, thumb to little finger, distinguishable with any colour vision (Okabe and Ito, 2008)."""
SIDE_COLOURS = {True: (120, 185, 240), False: (240, 178, 92)}
"""RGB: right hands are blue, left hands orange."""
PALM_COLOUR, INK, PAPER = (235, 235, 235), (20, 20, 20), (255, 255, 255)

_SUBPIXEL_BITS = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@runtime_checkable
class DrawnHand(Protocol):
    """What drawing needs of a hand; `idhand.records.HandResult` has all of it."""

    @property
    def is_right(self) -> bool:
        """The person's side."""
        ...

    @property
    def score(self) -> float:
        """Probability that a hand is there, 0..1."""
        ...

    @property
    def status(self) -> str:
        """How the fit ended."""
        ...

    @property
    def bbox_px(self) -> Float[np.ndarray, " 4"]:
        """Xyxy in the picture."""
        ...

    @property
    def keypoints_cam(self) -> Float[np.ndarray, "21 3"]:
        """Metres, camera frame."""
        ...

    @property
    def verts_cam(self) -> Float[np.ndarray, "verts 3"]:
        """Metres, camera frame."""
        ...

    @property
    def faces(self) -> Int[np.ndarray, "faces 3"]:
        """Outward normals by the right-hand rule."""
        ...

    @property
    def K(self) -> Float[np.ndarray, "3 3"]:
        """Intrinsics of the picture, px."""
        ...


@dataclass(frozen=True, kw_only=True)
class OverlayStyle:
    """What is drawn."""

    mesh: bool = True
    skeleton: bool = True
    box: bool = True
    label: bool = True
    """Side and score above the box, and a note if the fit failed."""
    mesh_opacity: float = 0.72
    """0 (not seen) to 1 (hides the photo)."""

    def __post_init__(self):
        if not 0 <= self.mesh_opacity <= 1:
            raise ValueError(f"mesh_opacity must be in 0..1, got {self.mesh_opacity}")


def overlay(
    rgb: UInt8[np.ndarray, "height width 3"],
    hands: Sequence[DrawnHand],
    *,
    style: OverlayStyle | None = None,
    dist: Distortion = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw hands on a copy of their photo.

    Args:
        rgb: The photo that the hands were estimated from.
        hands: Hands whose fit diverged are drawn as a box only.
        style: What is drawn; everything if None.
        dist: Lens distortion of the photo, if it was given to the pipeline.
    """
    style = style or OverlayStyle()
    picture = rgb.copy()
    usable = [hand for hand in hands if hand.status != "diverged"]
    if style.mesh:
        _blend_meshes(picture, usable, style.mesh_opacity, dist)
    if style.skeleton:
        for hand in sorted(usable, key=lambda hand: -hand.keypoints_cam[0, 2]):
            _draw_skeleton(picture, hand, dist)
    for hand in hands:
        if style.box:
            _draw_box(picture, hand)
        if style.label:
            _draw_label(picture, hand)
    return picture


def _blend_meshes(
    picture: UInt8[np.ndarray, "height width 3"],
    hands: Sequence[DrawnHand],
    opacity: float,
    dist: Distortion,
) -> None:
    """Put all hands' meshes on the picture, nearer triangles over farther ones."""
    meshes = [
        Mesh(
            verts_px=project_px(hand.verts_cam, hand.K, dist),
            verts_cam=hand.verts_cam.astype(np.float64),
            faces=hand.faces,
            colour=SIDE_COLOURS[hand.is_right],
        )
        for hand in hands
    ]
    height, width = picture.shape[:2]
    layer = render(meshes, width, height)
    if layer is None:
        return
    rows = slice(layer.y, layer.y + layer.coverage.shape[0])
    columns = slice(layer.x, layer.x + layer.coverage.shape[1])
    under = picture[rows, columns].astype(np.float32)
    mixed = under * (1 - opacity * layer.coverage[..., None]) + opacity * layer.premultiplied
    picture[rows, columns] = np.rint(mixed).clip(0, 255).astype(np.uint8)


def _draw_skeleton(
    picture: UInt8[np.ndarray, "height width 3"],
    hand: DrawnHand,
    dist: Distortion,
) -> None:
    """Bones and joints, far fingers first."""
    points_px = project_px(hand.keypoints_cam, hand.K, dist)
    width = _stroke(hand)
    fingers = [(finger, range(1 + 4 * finger, 5 + 4 * finger)) for finger in range(5)]
    for _, joints in fingers:
        _draw_line(picture, points_px[[0, joints[0]]], PALM_COLOUR, width)
    _draw_dot(picture, points_px[0], PALM_COLOUR, width)
    for finger, joints in sorted(fingers, key=lambda item: -hand.keypoints_cam[item[1], 2].mean()):
        for near, far in pairwise(joints):
            _draw_line(picture, points_px[[near, far]], FINGER_COLOURS[finger], width)
        for joint in joints:
            _draw_dot(picture, points_px[joint], FINGER_COLOURS[finger], width)


def _stroke(hand: DrawnHand) -> float:
    """Width of the bones' lines in px: a fixed part of the hand's size."""
    side_px = float((hand.bbox_px[2:] - hand.bbox_px[:2]).max())
    return float(np.clip(side_px / 95, 1.0, 20.0))


def _fixed(point_px: Float[np.ndarray, " 2"]) -> tuple[int, int]:
    """A point in OpenCV's fixed-point numbers."""
    x, y = np.rint(point_px.clip(-(2**14), 2**14) * 2**_SUBPIXEL_BITS).astype(int)
    return int(x), int(y)


def _draw_line(
    picture: UInt8[np.ndarray, "height width 3"],
    ends_px: Float[np.ndarray, "2 2"],
    colour: tuple[int, int, int],
    width: float,
) -> None:
    """A line with a dark rim, so that it shows on any ground."""
    a, b = _fixed(ends_px[0]), _fixed(ends_px[1])
    if width >= 1.2:
        rim = round(width * 1.6) + 1
        cv2.line(picture, a, b, INK, rim, cv2.LINE_AA, _SUBPIXEL_BITS)
    cv2.line(picture, a, b, colour, max(1, round(width)), cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_dot(
    picture: UInt8[np.ndarray, "height width 3"],
    centre_px: Float[np.ndarray, " 2"],
    colour: tuple[int, int, int],
    width: float,
) -> None:
    """A joint: a filled circle with a dark rim."""
    centre = _fixed(centre_px)
    for radius, fill in ((width * 1.25 + 0.8, INK), (width * 1.25, colour)):
        size = round(radius * 2**_SUBPIXEL_BITS)
        cv2.circle(picture, centre, size, fill, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _unit(picture: UInt8[np.ndarray, "height width 3"]) -> float:
    """Line width of boxes and letters, so that they look alike at any picture size."""
    return float(np.clip(max(picture.shape[:2]) / 800, 0.5, 8.0))


def _draw_box(picture: UInt8[np.ndarray, "height width 3"], hand: DrawnHand) -> None:
    """The hand's box in the colour of its side."""
    colour = SIDE_COLOURS[hand.is_right]
    a, b = _fixed(hand.bbox_px[:2]), _fixed(hand.bbox_px[2:])
    width = max(1, round(2 * _unit(picture)))
    cv2.rectangle(picture, a, b, colour, width, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_label(picture: UInt8[np.ndarray, "height width 3"], hand: DrawnHand) -> None:
    """Side and score on a plate, above the box where there is room, inside it otherwise."""
    failed = {"diverged": " (fit failed)", "astray": " (not refined)"}.get(hand.status, "")
    text = f"{'right' if hand.is_right else 'left'} {hand.score:.2f}{failed}"
    unit = _unit(picture)
    size, thickness, pad = 0.55 * unit, max(1, round(1.3 * unit)), round(4 * unit)
    (width, height), base = cv2.getTextSize(text, _FONT, size, thickness)
    plate_width, plate_height = width + 2 * pad, height + base + pad
    left = int(np.clip(round(float(hand.bbox_px[0])), 0, max(picture.shape[1] - plate_width, 0)))
    above = round(float(hand.bbox_px[1])) - plate_height
    top = int(np.clip(above, 0, max(picture.shape[0] - plate_height, 0)))
    corner = (left + plate_width, top + plate_height)
    cv2.rectangle(picture, (left, top), corner, SIDE_COLOURS[hand.is_right], cv2.FILLED)
    place = (left + pad, top + height + pad // 2 + 1)
    cv2.putText(picture, text, place, _FONT, size, INK, thickness, cv2.LINE_AA)
