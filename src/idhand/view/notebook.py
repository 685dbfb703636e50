"""`idhand.view(...)`: results as one static picture, which a notebook shows by itself."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from idhand.drawing.overlay import PAPER, SIDE_COLOURS, overlay
from idhand.drawing.raster import Mesh
from idhand.hand import FittableHand
from idhand.identity import Identity
from idhand.lens import Distortion, project_px
from idhand.media import scaled_down
from idhand.media.writing import write_image
from idhand.records import HandResult
from idhand.view.portrait import MAX_WIDTH_PX, MIN_WIDTH_PX, portrait
from idhand.view.sheet import GREY, Number, Point, Sheet, rounded

_JPEG = {"quality": 92, "subsampling": 0}
SAVE_OPTIONS = {".png": {"optimize": True}, ".jpg": _JPEG, ".jpeg": _JPEG}
"""Kinds of file that pictures are saved as; thin coloured lines need all of their colour."""

_PANEL_ASPECT = 0.8
"""Width over height of the panels beside the photo."""
_MAX_PHOTO_PX = 1 << 11
"""Photos are not drawn on at more than this: screens show less."""
_AWAY_M = 2.0
"""Where hands stand before the light; changes the shading only."""
_VIEWS = {
    "from the camera": np.eye(3),
    "from the side": np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
}
"""Rotations: towards the hands → right, down and away in the panel. Sideways, near is left."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that a notebook shows when it is a cell's last value."""

    rgb: UInt8[np.ndarray, "height width 3"]

    def _repr_png_(self) -> bytes:
        """The picture as PNG: what IPython asks for."""
        stream = io.BytesIO()
        Image.fromarray(self.rgb).save(stream, "PNG")
        return stream.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the picture; its suffix names the format.

        Raises:
            ValueError: If the ending is none of `SAVE_OPTIONS`.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in SAVE_OPTIONS:
            raise ValueError(
                f"{path} should end in {', '.join(SAVE_OPTIONS)}, but it ends in '{suffix}'"
            )
        write_image(path, self.rgb, **SAVE_OPTIONS[suffix])


class CallableModule(ModuleType):
    """Makes `idhand.view` a function as well as the folder of this file.

    Source: Python's reference, "Customizing module attribute access".
    """

    def __call__(
        self,
        what: HandResult | Sequence[HandResult] | Identity,
        rgb: UInt8[np.ndarray, "height width 3"] | None = None,
        *,
        model: FittableHand | None = None,
        dist: Distortion = None,
        width_px: int = 1200,
    ) -> Picture:
        """The same as `idhand.view.notebook.view`."""
        return view(what, rgb, model=model, dist=dist, width_px=width_px)


def view(
    what: HandResult | Sequence[HandResult] | Identity,
    rgb: UInt8[np.ndarray, "height width 3"] | None = None,
    *,
    model: FittableHand | None = None,
    dist: Distortion = None,
    width_px: int = 1200,
) -> Picture:
    """Look at hands or at a person.

    Args:
        what: Hands of one photo: drawn on it, and beside it alone, as the camera sees them and
            from the side, to scale. Or a person: the hand with its measures.
        rgb: The photo of the hands; without it they are drawn on white.
        model: The hand model of a person; if None, the one that the person names is looked up, see
            `idhand.assets.hand`. Hands need none.
        dist: Lens distortion of the photo, if it was given to the pipeline.
        width_px: Width of the picture, 300 to 4000.

    Raises:
        ValueError: If `width_px` is out of range, the person belongs to another hand model or to
            one that is not here, or a photo comes with a person.
    """
    if not MIN_WIDTH_PX <= width_px <= MAX_WIDTH_PX:
        raise ValueError(f"width_px must be {MIN_WIDTH_PX} to {MAX_WIDTH_PX}, got {width_px}")
    if isinstance(what, Identity):
        if rgb is not None:
            raise ValueError(
                "a person is drawn without a photo; to see the hands of a photo, "
                "call view(pipe(rgb, identity=me), rgb)"
            )
        return Picture(rgb=portrait(what, model, width_px=width_px))
    hands = [what] if isinstance(what, HandResult) else list(what)
    photo, hands_of_photo = _on_white(hands) if rgb is None else _on_photo(hands, rgb)
    return Picture(rgb=_side_by_side(photo, hands_of_photo, dist, width_px))


def _on_photo(
    hands: Sequence[HandResult], rgb: UInt8[np.ndarray, "height width 3"]
) -> tuple[UInt8[np.ndarray, "h w 3"], list[HandResult]]:
    """The photo at a size for screens, and its hands there."""
    small, S = scaled_down(rgb, _MAX_PHOTO_PX)
    return small, [hand.moved(S) for hand in hands]


def _on_white(
    hands: Sequence[HandResult],
) -> tuple[UInt8[np.ndarray, "height width 3"], list[HandResult]]:
    """White paper around the hands and their boxes, and the hands there."""
    corners = [hand.bbox_px.reshape(2, 2) for hand in hands] or [np.zeros((2, 2))]
    corners += [project_px(h.verts_cam, h.K) for h in hands if h.status != "diverged"]
    points_px = np.concatenate(corners)
    low, high = points_px.min(0), points_px.max(0)
    size = np.maximum(high - low, 1.0) * 1.15
    scale = 900 / size.max()
    offset = (low + high - size) / 2
    S = np.array([[scale, 0, -scale * offset[0]], [0, scale, -scale * offset[1]], [0, 0, 1]])
    width, height = np.maximum(np.rint(size * scale), 1).astype(int).tolist()
    paper = np.full((height, width, 3), PAPER, np.uint8)
    return paper, [hand.moved(S) for hand in hands]


def _side_by_side(
    photo: UInt8[np.ndarray, "height width 3"],
    hands: Sequence[HandResult],
    dist: Distortion,
    width_px: int,
) -> UInt8[np.ndarray, "h w 3"]:
    """The photo with the hands on it, then the hands alone."""
    text = width_px / 75
    edge, gap, foot = round(text), round(1.2 * text), round(2.4 * text)
    aspect = photo.shape[1] / photo.shape[0]
    free = width_px - 2 * edge - gap * len(_VIEWS)
    tall = max(round(free / (aspect + _PANEL_ASPECT * len(_VIEWS))), 1)
    photo_width = max(round(aspect * tall), 1)
    sheet = Sheet(width_px, tall + edge + foot)
    drawn = Image.fromarray(overlay(photo, hands, dist=dist))
    fitted = drawn.resize((photo_width, tall), Image.Resampling.LANCZOS)
    sheet.paste(np.asarray(fitted), edge, edge)
    caption = edge + tall + 0.9 * text
    sheet.text((edge, caption), _caption(hands), text, colour=GREY, anchor="lm")
    usable = [hand for hand in hands if hand.status != "diverged"]
    if usable:
        left = edge + photo_width + gap
        room = np.array(((width_px - edge - left - gap) / len(_VIEWS), tall))
        _draw_alone(sheet, usable, (left, edge), room, gap, text)
    return sheet.rgb()


def _caption(hands: Sequence[HandResult]) -> str:
    """How many hands there are, in words."""
    if not hands:
        return "no hand"
    if len(hands) == 1:
        side = "right hand" if hands[0].is_right else "left hand"
        return side if hands[0].status != "diverged" else f"{side}, fit failed"
    failed = sum(hand.status == "diverged" for hand in hands)
    return f"{len(hands)} hands" + (f", {failed} with a failed fit" if failed else "")


def _draw_alone(
    sheet: Sheet,
    hands: Sequence[HandResult],
    corner: Point,
    room: Float[np.ndarray, " 2"],
    gap: int,
    text: Number,
) -> None:
    """One panel per view, all to one scale, with the scale under the last one."""
    centre = np.concatenate([hand.verts_cam for hand in hands]).mean(0)
    facing = _towards(centre)
    parts = [((hand.verts_cam - centre) @ facing.T, hand) for hand in hands]
    points = np.concatenate([verts for verts, _ in parts])
    extents = [np.ptp(points @ R.T, axis=0)[:2] for R in _VIEWS.values()]
    px_per_m = min(float((room / np.maximum(extent, 1e-6)).min()) for extent in extents) * 0.9
    left, top = corner
    for name, R in _VIEWS.items():
        seen = points @ R.T
        middle = (seen.max(0) + seen.min(0)) / 2
        place = np.array((left + room[0] / 2, top + room[1] / 2))
        away = np.array((0, 0, _AWAY_M + float(np.ptp(seen[:, 2])) / 2))
        meshes = []
        for verts, hand in parts:
            fine, faces = rounded(verts @ R.T - middle, hand.faces)
            meshes.append(
                Mesh(
                    verts_px=fine[:, :2] * px_per_m + place,
                    verts_cam=fine + away,
                    faces=faces,
                    colour=SIDE_COLOURS[hand.is_right],
                )
            )
        sheet.hands(meshes)
        caption = (left, top + room[1] + 0.9 * text)
        sheet.text(caption, name, text, colour=GREY, anchor="lm")
        left += room[0] + gap
    sheet.scale_bar(left - gap, top + room[1] + 1.2 * text, px_per_m / 1e3, 0.9 * text)


def _towards(point_cam: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Rotation from the camera's axes to those of a camera that looks at the point, not rolled."""
    away = point_cam / np.linalg.norm(point_cam)
    right = np.cross((0.0, 1.0, 0.0), away)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(away, right), away))
