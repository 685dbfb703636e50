"""Where the pictures of the test set "photoreal" are taken: tables, rooms, things about, lamps.

Part of `python tools/build_photoreal.py`. Camera frame, metres; colours linear RGB. `up` is the
unit vector against gravity.
"""

import math
from dataclasses import dataclass

import numpy as np
from demo_photo import Camera

from idhand.synth.people.body import unit
from idhand.synth.things.catalogue import THINGS, painted, wood
from idhand.synth.things.solids import Solid, joined

TABLE_SHARE, ROOM_SHARE = 0.7, 0.45
"""Of the pictures where it is possible; a room is what is left without a table."""
LOOKS_DOWN = -0.2
"""Height of the line of sight's end, per metre, below which a camera may see a table."""


@dataclass(frozen=True, kw_only=True)
class Prop:
    """A thing in the scene."""

    solid: Solid
    kind: str
    """Of `photoreal_scene.thing_material`; `painted` shows the solid's own colours."""
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    second: tuple[float, float, float] = (0.5, 0.5, 0.5)
    is_held: bool = False


VIVID_SHARE = 0.25


def any_colour(rng):
    """A colour of things about: mostly greys and browns, now and then a vivid one."""
    if rng.random() < VIVID_SHARE:
        return painted(rng).tone
    if rng.random() < 0.4:
        return wood(rng).tone
    grey = math.exp(rng.uniform(math.log(0.03), math.log(0.75)))
    warm = rng.normal(0.04, 0.08)
    return tuple((grey * np.array([1 + warm, 1.0, 1 - warm])).clip(0.01, 0.85).tolist())


def pixels(points, K):
    """Pinhole projection."""
    return (points @ K.T)[..., :2] / points[..., 2:]


def level_ahead(up):
    """Where the camera looks, made level; where its top looks if it looks straight down or up."""
    ahead = np.array([0.0, 0.0, 1.0])
    if abs(up[2]) > 0.99:
        ahead = np.array([0.0, -1.0, 0.0])
    return unit(ahead - ahead @ up * up)


def world_axes(up_cam, rng):
    """Axes of the panorama for a camera that sees the sky that way, turned by chance."""
    ahead = level_ahead(up_cam)
    aside = np.cross(up_cam, ahead)
    heading = rng.uniform(0, 2 * math.pi)
    x = math.cos(heading) * ahead + math.sin(heading) * aside
    return np.stack([x, np.cross(up_cam, x), up_cam], 1)


def table_point(frames, up_cam, rng):
    """A point of a table under everything, or None if the camera does not look down on it."""
    if up_cam[2] > LOOKS_DOWN:
        return None
    verts = np.concatenate([f.skin for f in frames])
    lowest = verts[(verts @ up_cam).argmin()]
    gap = rng.uniform(0.002, 0.01) if rng.random() < 0.5 else rng.uniform(0.01, 0.2)
    point = lowest - gap * up_cam
    return point if -point @ up_cam > 0.12 else None


def level_turn(up, rng):
    """Rotation that stands a thing (z up) on a table, turned by chance."""
    side = unit(np.cross(up, rng.normal(size=3)))
    return np.stack([side, np.cross(up, side), up], 1)


def table_props(frames, camera, point, up, rng):
    """Things that stand or lie about on the table, clear of the hand."""
    skin = np.concatenate([f.skin[::20] for f in frames])
    props = []
    for _ in range(rng.integers(0, 7)):
        thing = THINGS[rng.integers(len(THINGS))]
        solid = joined([s.solid() for s in thing.make(rng, rng.uniform(*thing.size_m))])
        if thing.name not in ("bottle", "can", "cup", "mug", "ball", "cube"):
            solid = solid.moved(np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), np.zeros(3))
        solid = solid.moved(np.eye(3), np.array([0, 0, -solid.verts[:, 2].min()]))
        R = level_turn(up, rng)
        where = rng.normal(0, 0.22, 2)
        centre = skin.mean(0) - (skin.mean(0) - point) @ up * up
        placed = solid.moved(R, centre + R[:, :2] @ where)
        if is_clear(placed.verts, skin, camera):
            props.append(Prop(solid=placed, kind="painted"))
    return props


def is_clear(verts, skin, camera: Camera):
    """Whether a thing neither touches the hand nor stands before it."""
    middle = verts.mean(0)
    gap = np.linalg.norm(skin - middle, axis=1).min()
    return gap > np.linalg.norm(verts - middle, axis=1).max() and is_behind(verts, skin, camera)


def is_behind(verts, skin, camera: Camera):
    """Whether a thing stands behind the hand or beside it in the picture."""
    if verts[:, 2].min() < 0.05:
        return False
    at, own = pixels(verts, camera.K), pixels(skin[skin[:, 2] > 0.02], camera.K)
    apart = (at.min(0) > own.max(0)).any() or (at.max(0) < own.min(0)).any()
    return bool(apart or verts[:, 2].min() > skin[:, 2].max())


SURFACES = ("plastic", "wood", "cloth", "print", "stripes", "cloud")
WALLS = ("plastic", "cloud", "cloud", "wood", "stripes", "cloth")
FLOORS = ("wood", "plain", "plain")


def box(R, centre, half):
    """A box as a solid with flat sides."""
    corners = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3, indexing="ij")).reshape(3, 8).T
    sides = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    quads = np.array(sides)
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    verts = corners * half @ R.T + centre
    return Solid(
        verts=verts,
        faces=faces,
        normals=unit(corners) @ R.T,
        tone=np.full((8, 3), 0.5, np.float32),
        gloss=np.full(8, 0.3, np.float32),
    )


def room_prop(solid, kinds, rng):
    """A box of any make."""
    kind = kinds[rng.integers(len(kinds))]
    colour = wood(rng).tone if kind == "wood" else any_colour(rng)
    second = any_colour(rng) if kind in ("print", "stripes") else shaded(colour, rng)
    return Prop(solid=solid, kind=kind, colour=colour, second=second)


def shaded(colour, rng):
    """A little darker or lighter."""
    return tuple((np.array(colour) * rng.uniform(0.7, 1.25)).clip(0, 0.9).tolist())


def surface(point, up, kinds, rng):
    """A table top or floor, as arguments of `demo_scene.add_table`."""
    kind = kinds[rng.integers(len(kinds))]
    return {
        "point_cam": point.tolist(),
        "normal_cam": up.tolist(),
        "kind": kind,
        "colour": wood(rng).tone if kind == "wood" else any_colour(rng),
    }


def draw_room(frames, camera: Camera, up, rng):
    """A floor under the hand, a wall behind it, and furniture that stands before the wall."""
    skin = np.concatenate([f.skin[::20] for f in frames])
    ahead = level_ahead(up)
    floor = min((skin @ up).min() - rng.uniform(0.25, 1.1), -0.2)
    wall = (skin @ ahead).max() + rng.uniform(0.4, 2.2)
    axes = np.stack([np.cross(up, ahead), up, ahead], 1)
    props = [room_prop(box(axes, (wall + 0.05) * ahead, (9.0, 9.0, 0.05)), WALLS, rng)]
    for _ in range(rng.integers(1, 7)):
        ray = np.linalg.inv(camera.K) @ np.array([*rng.uniform(-0.1, 1.1, 2) * camera.width, 1.0])
        down, forward = min(ray @ up, -1e-6), max(ray @ ahead, 1e-6)
        seen = ray * min(floor / down, wall * rng.uniform(0.5, 1.0) / forward)
        height = max(0.04, (seen @ up - floor) * rng.uniform(0.4, 1.3), rng.exponential(0.1))
        half = np.array([rng.uniform(0.04, 0.35), height / 2, rng.uniform(0.04, 0.25)])
        turn = axes if rng.random() < 0.6 else level_turn(up, rng)[:, [0, 2, 1]]
        centre = seen + (floor - seen @ up + height / 2) * up
        solid = box(turn, centre, half)
        inside = (np.abs((skin - centre) @ turn) < half + 0.02).all(1)
        if not inside.any() and is_behind(solid.verts, skin, camera):
            props.append(room_prop(solid, SURFACES, rng))
    return surface(floor * up, up, FLOORS, rng), props


def draw_place(frames, camera: Camera, up, rng):
    """A table, a room, or nothing but the panorama: a level surface or None, and things."""
    point = table_point(frames, up, rng)
    if point is not None and rng.random() < TABLE_SHARE:
        table = surface(point, up, ("wood", "wood", "gingham", "plain", "plain"), rng)
        return table, table_props(frames, camera, point, up, rng)
    if rng.random() < ROOM_SHARE:
        return draw_room(frames, camera, up, rng)
    return None, []


def draw_lamp(centre, rng):
    """A lamp or window somewhere round the hand."""
    direction = unit(rng.normal(size=3) + np.array([0, -0.8, -0.5]))
    distance, size = rng.uniform(0.5, 2.0), rng.uniform(0.05, 0.8)
    warm = rng.uniform(0, 1)
    return {
        "position_cam": (centre + distance * direction).tolist(),
        "target_cam": centre.tolist(),
        "power_w": float(rng.uniform(8, 45) * distance**2),
        "size_m": float(size),
        "colour": [1.0, 1 - 0.25 * warm, 1 - 0.5 * warm],
    }
