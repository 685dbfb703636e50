"""Many small pictures on one sheet, as they are or with what is known drawn on them."""

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from idhand.drawing.overlay import FINGER_COLOURS, INK, PALM_COLOUR
from idhand.hand import KEYPOINT_PARENTS
from idhand.records import FOREARM_PART, HAND_PARTS, OTHER_PART, UNPARTED_HAND, Sample

TILE_PX, GAP_PX, COLUMNS = 224, 4, 10
"""Larger pictures are reduced to a tile, smaller ones enlarged."""

FOREARM_COLOUR, OTHER_COLOUR = (105, 105, 150), (60, 60, 60)
SEGMENT_SHADES = (0.55, 0.8, 1.0)
"""Brightness of a finger's three parts, from the base on, so that they can be distinguished."""
TINT = 0.6
"""How much of a part's colour covers the picture."""
SUBPIXEL_BITS = 4


def contact_sheet(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]],
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """All pictures side by side, `COLUMNS` in a row, each scaled to fit into a square tile."""
    tiles = [_tile(picture) for picture in pictures]
    assert tiles, "a sheet of nothing"
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    step = TILE_PX + GAP_PX
    sheet = np.full((rows * step + GAP_PX, columns * step + GAP_PX, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (GAP_PX + step * place for place in divmod(number, columns))
        sheet[y : y + TILE_PX, x : x + TILE_PX] = tile
    return sheet


def _tile(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "tile tile 3"]:
    """A picture in the middle of a dark square."""
    height, width = picture.shape[:2]
    factor = TILE_PX / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    small = picture if size == (width, height) else cv2.resize(picture, size, interpolation=method)
    tile = np.full((TILE_PX, TILE_PX, 3), INK, np.uint8)
    y, x = (TILE_PX - size[1]) // 2, (TILE_PX - size[0]) // 2
    tile[y : y + size[1], x : x + size[0]] = small
    return tile


def with_truth(sample: Sample) -> UInt8[np.ndarray, "height width 3"]:
    """A sample's picture with its parts tinted and its keypoints drawn: dark where hidden."""
    picture = sample.rgb.copy()
    if sample.parts is not None:
        tint = PART_COLOURS[sample.parts]
        mixed = np.rint(picture * (1 - TINT) + tint * TINT).astype(np.uint8)
        picture = np.where((sample.parts > 0)[..., None], mixed, picture)
    visible = sample.valid if sample.visible is None else sample.visible
    _draw_keypoints(picture, sample.keypoints_px, sample.valid, visible)
    return picture


def _part_colours() -> UInt8[np.ndarray, "values 3"]:
    """RGB of each value of `Sample.parts`."""
    colours = np.zeros((256, 3))
    colours[1] = PALM_COLOUR
    for part in range(2, HAND_PARTS + 1):
        finger, segment = divmod(part - 2, 3)
        colours[part] = np.multiply(FINGER_COLOURS[finger], SEGMENT_SHADES[segment])
    colours[FOREARM_PART], colours[OTHER_PART] = FOREARM_COLOUR, OTHER_COLOUR
    colours[UNPARTED_HAND] = PALM_COLOUR
    return colours.astype(np.uint8)


PART_COLOURS = _part_colours()


def _draw_keypoints(
    picture: UInt8[np.ndarray, "height width 3"],
    points_px: Float[np.ndarray, "21 2"],
    valid: Bool[np.ndarray, " 21"],
    visible: Bool[np.ndarray, " 21"],
) -> None:
    """Bones as thin lines, then a dot for each keypoint."""
    far = 4.0 * max(picture.shape[:2])
    usable = valid & np.isfinite(points_px).all(1) & (np.abs(points_px) < far).all(1)
    scale = max(1.0, max(picture.shape[:2]) / TILE_PX)
    width = max(1, round(scale))
    at = np.rint(np.where(usable[:, None], points_px, 0.0) * 2**SUBPIXEL_BITS).astype(int).tolist()
    for keypoint, parent in enumerate(KEYPOINT_PARENTS):
        if parent >= 0 and usable[keypoint] and usable[parent]:
            ends = at[parent], at[keypoint]
            cv2.line(picture, *ends, _colour(keypoint), width, cv2.LINE_AA, SUBPIXEL_BITS)
    for keypoint in np.flatnonzero(usable).tolist():
        for radius, colour in ((2.8, INK), (2.0, _colour(keypoint))):
            if colour == INK or visible[keypoint]:
                size = round(radius * scale * 2**SUBPIXEL_BITS)
                cv2.circle(
                    picture, at[keypoint], size, colour, cv2.FILLED, cv2.LINE_AA, SUBPIXEL_BITS
                )


def _colour(keypoint: int) -> tuple[int, int, int]:
    """Its finger's, or the wrist's."""
    return FINGER_COLOURS[(keypoint - 1) // 4] if keypoint else PALM_COLOUR
