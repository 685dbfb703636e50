"""What is behind the hand: places, tables, walls, cloth, photographs, other people; linear RGB.

Everything is lit by the picture's own light: a white wall that faces it comes to irradiance / π.
"""

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from idhand.synth.light.environments import Environment, Light
from idhand.synth.light.spherical import look_up
from idhand.synth.places.figures import FIGURES
from idhand.synth.places.materials import GREY_SURFACES, KINDS, draw_surface, photographs
from idhand.synth.places.textures import SIZE, laid_out
from idhand.synth.places.viewpoint import Picture, Viewpoint, coarser

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Of pictures in the user's folder."""
LONGEST_PX = 640
"""The user's pictures are kept at no more than this."""
NUM_KEPT = 256
"""Pictures of the user's folder in memory; about 0.9 MB each."""
OWN_SHARE = 0.5
"""Of backgrounds from the user's folder, where there is one."""
REFERENCE_PX = 224
"""Blur is given for pictures of this width."""

FIGURE_SHARE = 0.3
"""Of backgrounds with people or things in them; these are never sharp, being no portraits."""


class Backgrounds:
    """A source of backgrounds."""

    def __init__(self, folder: Path | None = None):
        """Use the pictures of a folder, too.

        Raises:
            FileNotFoundError: If there is no such folder.
            ValueError: If there is no picture in it.
        """
        self.folder = folder
        self.paths: tuple[Path, ...] = ()
        if folder is None:
            return
        if not folder.is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder}; give --backgrounds a folder of pictures"
            )
        found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.paths = tuple(
            sorted(path for path in found if path.is_file() and not path.name.startswith("."))
        )
        if not self.paths:
            raise ValueError(
                f"no pictures in {folder}: looked for {', '.join(SUFFIXES)} there and below; "
                "give --backgrounds another folder"
            )
        bad = [path.name for path in self.paths if not cv2.haveImageReader(str(path))]
        if bad:
            names = ", ".join(bad[:3]) + (", ..." if len(bad) > 3 else "")
            raise ValueError(
                f"{len(bad)} of {len(self.paths)} files in {folder} are no pictures that can be "
                f"read ({names}); take them out of the folder"
            )

    def description(self) -> dict[str, int | str]:
        """What fixes the backgrounds, for a manifest: the user's pictures, names and bytes."""
        digest = hashlib.sha256()
        for path in self.paths:
            assert self.folder is not None
            digest.update(path.relative_to(self.folder).as_posix().encode())
            digest.update(path.read_bytes())
        return {"own_pictures": len(self.paths), "own_sha256": digest.hexdigest()}

    def draw(
        self,
        rng: np.random.Generator,
        environment: Environment,
        light: Light,
        R_world_cam: Float[np.ndarray, "3 3"],
        K: Float[np.ndarray, "3 3"],
        width: int,
        height: int,
    ) -> Picture:
        """One background, in or out of focus.

        Raises:
            ValueError: If a picture of the user's folder cannot be read.
        """
        blur_px = _blur_px(rng, width)
        with_figures = rng.random() < FIGURE_SHARE
        if with_figures:
            blur_px = max(blur_px, rng.uniform(3.5, 8.0) * width / REFERENCE_PX)
        step = 1 if blur_px < 2.5 else 2
        at = Viewpoint(
            environment=environment,
            light=light,
            R_world_cam=R_world_cam,
            K=coarser(K, step),
            width=-(-width // step),
            height=-(-height // step),
        )
        picture = self._sharp(rng, at)
        if with_figures:
            for _ in range(rng.integers(1, 4)):
                picture = FIGURES[rng.integers(len(FIGURES))](rng, at, picture)
        picture = _defocused(picture, blur_px / step)
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)

    def _sharp(self, rng: np.random.Generator, at: Viewpoint) -> Picture:
        """One background without people and things, in focus."""
        if self.paths and rng.random() < OWN_SHARE:
            return photograph(rng, at, _read(self.paths[rng.integers(len(self.paths))]))
        sources, shares = zip(*SOURCES, strict=True)
        return sources[rng.choice(len(sources), p=shares)](rng, at)


def plain_background(light: Light, width: int, height: int) -> Picture:
    """An even grey wall that faces the camera, to compare with."""
    white = light.total_irradiance(np.array([0.0, 0.0, -1.0])) / math.pi
    return np.broadcast_to((0.4 * white).astype(np.float32), (height, width, 3)).copy()


@lru_cache(maxsize=NUM_KEPT)
def _read(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """A picture of the user's, sRGB."""
    data = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise ValueError(
            f"{path} cannot be read as a picture; repair it or take it out of the folder"
        )
    scale = min(1.0, LONGEST_PX / max(picture.shape[:2]))
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[..., ::-1].astype(np.uint8)


def _blur_px(rng: np.random.Generator, width: int) -> float:
    """Radius of a point out of focus: half of the pictures are nearly sharp."""
    radius = rng.uniform(0.0, 0.8) if rng.random() < 0.5 else rng.lognormal(1.2, 0.6)
    return float(min(radius, 12.0) * width / REFERENCE_PX)


def _defocused(picture: Picture, radius_px: float) -> Picture:
    """Blur by a disc, at a lower resolution where that makes no difference."""
    if radius_px < 0.7:
        return picture
    height, width, _ = picture.shape
    step = 1 if radius_px < 2 else 2 if radius_px < 4 else 4
    small = cv2.resize(
        picture,
        (max(1, width // step), max(1, height // step)),
        interpolation=cv2.INTER_AREA,
    )
    r = np.arange(-math.ceil(radius_px / step), math.ceil(radius_px / step) + 1)
    disc = np.clip(radius_px / step + 0.5 - np.hypot(r, r[:, None]), 0, 1).astype(np.float32)
    small = cv2.filter2D(small, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _uneven(rng: np.random.Generator, width: int, height: int, deviation: float) -> np.ndarray:
    """Light that falls unevenly: smooth factors around 1, height × width × 1."""
    coarse = rng.normal(0, deviation, (3, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width // 4 + 1, height // 4 + 1), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(np.exp(smooth), (width, height), interpolation=cv2.INTER_LINEAR)[..., None]


def place(rng: np.random.Generator, at: Viewpoint) -> Picture:
    """The environment itself, through a wider lens: nobody can tell how far its walls are."""
    step = 2
    fov = 2 * math.atan(at.width / 2 / at.K[0, 0])
    wider = max(1.0, math.tan(math.radians(rng.uniform(25, 55))) / math.tan(fov / 2))
    rays = at.rays(step) * np.array([wider, wider, 1.0])
    rays /= np.sqrt((rays**2).sum(-1, keepdims=True))
    seen = look_up(at.environment.panorama, rays @ at.R_world_cam.T)
    seen *= at.light.gain.astype(np.float32)
    return cv2.resize(seen, (at.width, at.height), interpolation=cv2.INTER_LINEAR)


def photograph(
    rng: np.random.Generator, at: Viewpoint, picture: UInt8[np.ndarray, "rows columns 3"]
) -> Picture:
    """A part of a photograph, as bright as if it hung on a wall that faces the camera."""
    rows, columns, _ = picture.shape
    aspect = at.width / at.height
    tall = min(rows, columns / aspect) * rng.uniform(0.65, 1.0)
    high, wide = max(1, int(tall)), max(1, int(tall * aspect))
    top, left = rng.integers(rows - high + 1), rng.integers(columns - wide + 1)
    part = picture[top : top + high, left : left + wide]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    method = cv2.INTER_AREA if high > at.height else cv2.INTER_LINEAR
    part = cv2.resize(np.ascontiguousarray(part), (at.width, at.height), interpolation=method)
    part = np.asarray(part, np.uint8)
    white = at.lit(rng, np.array([0.0, 0.0, -1.0])) * np.exp(rng.normal(0.2, 0.35))
    levels = ((np.arange(256) / 255) ** 2.2).astype(np.float32)
    return levels[part] * white.astype(np.float32)


def shipped_photograph(rng: np.random.Generator, at: Viewpoint) -> Picture:
    """One of the photographs that come with the package."""
    names = [name for name in photographs() if name not in GREY_SURFACES]
    return photograph(rng, at, photographs()[names[rng.integers(len(names))]])


def _textured(
    rng: np.random.Generator,
    at: Viewpoint,
    normal_cam: Float[np.ndarray, " 3"],
    upright: Float[np.ndarray, " 3"],
    kinds: tuple[str, ...],
) -> tuple[Picture, Float[np.ndarray, " 3"]]:
    """A plane with a material on it, lit, whose top points to `upright` as far as it can.

    Returns:
        The picture, and the row that makes pixels (x, y, 1) to 1/depth in the plane's own unit.
    """
    side = np.cross(upright, normal_cam)
    side /= np.linalg.norm(side) + 1e-9
    turn = rng.normal(0, 0.08)
    axes = np.stack((side, np.cross(side, normal_cam)))
    axes = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ axes
    plane = np.concatenate((axes, -normal_cam[None])) @ np.linalg.inv(at.K)  # at distance 1
    pixel = np.array([(at.width - 1) / 2, (at.height - 1) / 2, 1.0])
    if plane[2] @ pixel < 0.05:  # the plane ends below
        pixel = _nearest_pixel(at, plane[2])
    w = max(plane[2] @ pixel, 1e-3)
    rate = math.sqrt(abs(np.linalg.det(plane)) / w**3)
    plane[:2] *= rng.uniform(0.5, 2.0) * REFERENCE_PX / at.width / rate
    plane[:2] += (rng.uniform(0.4, 0.6, 2) * SIZE - plane[:2] @ pixel / w)[:, None] * plane[2]
    levels, tint = draw_surface(rng, kinds)
    albedo = laid_out(levels, plane, at.width, at.height)
    white = (at.lit(rng, normal_cam) * tint).astype(np.float32)
    uneven = _uneven(rng, at.width, at.height, rng.uniform(0.02, 0.35))
    return albedo * (white * uneven), plane[2]


def _upright(at: Viewpoint, normal_cam: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    """The world's up, or the picture's where a wall would have none (a ceiling, a floor)."""
    level = np.abs(at.up_cam @ normal_cam) < 0.8 * np.linalg.norm(normal_cam)
    return at.up_cam if level else np.array([0.0, -1.0, 0.0])


def _nearest_pixel(at: Viewpoint, inverse_depth_row: np.ndarray) -> np.ndarray:
    """The corner of the picture where a plane is nearest, homogeneous."""
    corners = np.array(
        [[x, y, 1.0] for x in (0, at.width - 1) for y in (0, at.height - 1)], np.float64
    )
    return corners[(corners @ inverse_depth_row).argmax()]


WALLS = ("plaster", "plaster", "tiles", "stone", "slats", "print_cloth", "spines", "brick", "wood")
CLOSE = (
    "cloth",
    "checks",
    "print_cloth",
    "page",
    "keys",
    "leaves",
    "carpet",
    "cloth",
    "grass",
)
FLOORS = ("wood", "wood", "cloth", "checks", "carpet", "stone", "plaster", "tiles", "page", "keys")
FLOORS += ("gravel", "grass")
assert set(WALLS + CLOSE + FLOORS) <= {*KINDS, *GREY_SURFACES}


def wall(rng: np.random.Generator, at: Viewpoint) -> Picture:
    """A wall, seen at an angle."""
    normal = np.array([rng.normal(0, 0.35), rng.normal(0, 0.1), -1.0])
    return _textured(rng, at, normal / np.linalg.norm(normal), _upright(at, normal), WALLS)[0]


def close_by(rng: np.random.Generator, at: Viewpoint) -> Picture:
    """Clothes, print, plants or clutter that fill the picture."""
    normal = np.array([rng.normal(0, 0.2), rng.normal(0, 0.2), -1.0])
    return _textured(rng, at, normal / np.linalg.norm(normal), rng.normal(size=3), CLOSE)[0]


def table(rng: np.random.Generator, at: Viewpoint) -> Picture:
    """A table or floor under the camera, with a wall or the place beyond its edge."""
    up = at.up_cam
    if abs(up[2]) > 0.9 or up[2] > 0.5:  # straight down, or up: the whole picture
        normal = np.array([*(up[:2] + rng.normal(0, 0.1, 2)), -abs(up[2]) - 0.1])
        return _textured(rng, at, normal / np.linalg.norm(normal), rng.normal(size=3), FLOORS)[0]
    ground, row = _textured(rng, at, up, rng.normal(size=3), FLOORS)
    nearest = row @ _nearest_pixel(at, row)
    if nearest <= 0:
        return place(rng, at)
    behind = wall(rng, at) if rng.random() < 0.5 else place(rng, at)
    behind = _defocused(behind, _blur_px(rng, at.width))
    edge = nearest * rng.uniform(0.15, 0.75)
    slant = rng.normal(0, 0.15) * np.linspace(-1, 1, at.width) * nearest
    inverse_depth = row[0] * np.arange(at.width) + row[1] * np.arange(at.height)[:, None] + row[2]
    pixel = np.hypot(row[0], row[1]) + 1e-9
    share = np.clip((inverse_depth - edge - slant) / pixel, 0, 1).astype(np.float32)[..., None]
    return behind + share * (ground - behind)


SOURCES: tuple[tuple[Callable[[np.random.Generator, Viewpoint], Picture], float], ...] = (
    (place, 0.3),
    (table, 0.24),
    (wall, 0.19),
    (close_by, 0.22),
    (shipped_photograph, 0.05),
)
"""And their shares."""
