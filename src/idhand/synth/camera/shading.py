"""Surfaces + light → a linear picture: skin that scatters, glossy nails, soft shadows, soft edges.

Shading happens at the rasteriser's samples and is averaged per pixel. Linear RGB; camera frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from idhand.records import HAND_PARTS
from idhand.synth.camera.backdrop import Backdrop, backdrop_shade
from idhand.synth.camera.raster import Fragments, rasterize
from idhand.synth.camera.shader import dual_vectors, lay_over, shade_samples
from idhand.synth.light.environments import Light
from idhand.synth.light.maps import key_shadow, sky_directions, sky_light, surface_points
from idhand.synth.light.spherical import sh_basis
from idhand.synth.people.body import BodyTopology, SkinMesh
from idhand.synth.people.skin import RESOLUTION, Skin
from idhand.synth.things.solids import Solid

BOUNCE = 0.7
"""Share of the light on neighbouring skin that reaches covered places."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A mesh to be photographed; either painted skin or plain colours at the vertices."""

    verts_cam: Float[np.ndarray, "verts 3"]
    normals: Float[np.ndarray, "verts 3"]
    faces: Int[np.ndarray, "faces 3"]
    part: UInt8[np.ndarray, " faces"]
    """As in `Sample.parts`."""
    tone: Float[np.ndarray, "verts 3"]
    """Linear reflectance; of skin the mean, which lights its own folds."""
    gloss: Float[np.ndarray, " verts"]
    """0 matt … 1 mirror-like; not used for skin."""
    coarse_cam: Float[np.ndarray, "coarse 3"] | None = None
    """Of skin: the corners of the painted triangles."""
    coarse_faces: Int[np.ndarray, "painted 3"] | None = None
    edges: Int[np.ndarray, "edges 2"] | None = None
    """Of skin: its vertices are the coarse ones, then one on each of these edges."""
    parent_face: Int[np.ndarray, " faces"] | None = None
    child: Int[np.ndarray, " faces"] | None = None

    @property
    def outline(self) -> tuple[Float[np.ndarray, "points 3"], Int[np.ndarray, "triangles 3"]]:
        """Its coarsest mesh."""
        if self.coarse_cam is None or self.coarse_faces is None:
            return self.verts_cam, self.faces
        return self.coarse_cam, self.coarse_faces


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What the camera sees, before background and sensor."""

    radiance: Float[np.ndarray, "height width 3"]
    """Premultiplied by the coverage."""
    coverage: Float[np.ndarray, "height width"]
    parts: UInt8[np.ndarray, "height width"]
    """Where at least half of a pixel is covered."""
    depth_m: Float[np.ndarray, "height width"]
    """Of the nearest surface in the pixel; infinite where nothing is."""
    fragments: Fragments
    surface_of_face: Int[np.ndarray, " faces"]
    """Which surface each of the fragments' triangles belongs to."""
    backdrop_shade: Float[np.ndarray, "height width 3"] | None
    """Share of the light that the hand leaves to the backdrop."""


def shade(
    surfaces: Sequence[Surface],
    skin: Skin,
    light: Light,
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    rng: np.random.Generator,
    *,
    centre_cam: Float[np.ndarray, " 3"],
    radius_m: float,
    backdrop: Backdrop | None = None,
    samples: int = 2,
) -> Picture:
    """Photograph surfaces; all skin among them is the same person's.

    Args:
        surfaces: In any order.
        skin: Colours of the painted triangles.
        light: In the camera frame.
        K: Intrinsics, px.
        width: Of the picture, px.
        height: Of the picture, px.
        rng: Turns the sky's sampling directions.
        centre_cam: Of the hand.
        radius_m: Round it, within which things shade each other.
        backdrop: A plane behind, to be shaded by the rest; it is not drawn itself.
        samples: Per pixel and axis.
    """
    verts, normals, faces, tone, gloss = _joined(surfaces)
    part = np.concatenate([s.part for s in surfaces])
    outlines = _outlines(surfaces)
    shadow = key_shadow(
        *outlines, light.key_direction, light.key_radius, centre_cam, 1.6 * radius_m
    )
    directions = sky_directions(rng)
    radiance = np.maximum(sh_basis(directions) @ light.sh, 0.0)
    casters = surface_points(*outlines, centre_cam, 1.4 * radius_m)
    sky = _sky_light(surfaces, casters, directions, radiance, centre_cam, 1.4 * radius_m)
    covered = 1 - np.clip(sky[:, 3:], 0, 1)
    bounced = BOUNCE * np.pi * radiance.mean(0) + 0.3 * light.key_colour
    sky[:, :3] += covered * tone * bounced.astype(np.float32)
    fragments = rasterize(verts, faces, K, width, height, samples=samples, cull=True)
    out = np.zeros((height, width, 4), np.float32)
    parts = np.zeros((height, width), np.uint8)
    depth_m = np.full((height, width), np.inf, np.float32)
    dual_face, child, duals = _painted(surfaces)
    texel_face = np.where(dual_face < 0, -1, dual_face % len(skin.tone))
    shade_samples(
        fragments.face, fragments.depth_m, fragments.weights, samples, faces,
        normals.astype(np.float32), sky, tone, gloss, texel_face, child,
        dual_face, skin.tone, skin.gloss, skin.slope, duals,
        np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]]), light.key_direction,
        light.key_colour.astype(np.float64), shadow.axes, shadow.centre_cam, shadow.scale,
        shadow.height_m, shadow.radius_texels, light.sh.astype(np.float64),
        light.reflection, RESOLUTION, part, out, parts,
        depth_m,
    )  # fmt: skip
    which = np.repeat(np.arange(len(surfaces)), [len(s.faces) for s in surfaces])
    return Picture(
        radiance=out[..., :3],
        coverage=out[..., 3],
        parts=parts,
        depth_m=depth_m,
        fragments=fragments,
        surface_of_face=which,
        backdrop_shade=None
        if backdrop is None
        else backdrop_shade(
            backdrop,
            K,
            width,
            height,
            casters,
            directions,
            radiance,
            shadow,
            light.key_colour,
            centre_cam,
            1.4 * radius_m,
        ),
    )


def _outlines(
    surfaces: Sequence[Surface],
) -> tuple[Float[np.ndarray, "points 3"], Int[np.ndarray, "triangles 3"]]:
    """Everything that stands in the light, as one coarse mesh."""
    verts, faces = zip(*(s.outline for s in surfaces), strict=True)
    starts = np.cumsum([0] + [len(v) for v in verts[:-1]])
    shifted = [f + start for f, start in zip(faces, starts, strict=True)]
    return np.concatenate(verts), np.concatenate(shifted)


def _sky_light(
    surfaces: Sequence[Surface],
    casters: Float[np.ndarray, "casters 3"],
    directions: Float[np.ndarray, "sky 3"],
    radiance: Float[np.ndarray, "sky 3"],
    centre_cam: Float[np.ndarray, " 3"],
    radius_m: float,
) -> Float[np.ndarray, "verts 4"]:
    """Light of the sky at all vertices; on skin it is gathered at the coarse ones."""
    points = [s.outline[0] for s in surfaces]
    normals = [s.normals[: len(own)] for s, own in zip(surfaces, points, strict=True)]
    sky = sky_light(
        np.concatenate(points), np.concatenate(normals), casters,
        directions, radiance, centre_cam, radius_m,
    )  # fmt: skip
    out, start = [], 0
    for s, own in zip(surfaces, points, strict=True):
        gathered = sky[start : start + len(own)]
        start += len(own)
        out.append(gathered)
        if s.edges is not None:
            out.append((gathered[s.edges[:, 0]] + gathered[s.edges[:, 1]]) / 2)
    return np.concatenate(out)


def _joined(surfaces: Sequence[Surface]) -> tuple[np.ndarray, ...]:
    """Vertices, normals, triangles, tones and glosses of all surfaces."""
    starts = np.cumsum([0] + [len(s.verts_cam) for s in surfaces])
    return (
        np.concatenate([s.verts_cam for s in surfaces]),
        np.concatenate([s.normals for s in surfaces]),
        np.concatenate([s.faces + start for s, start in zip(surfaces, starts, strict=False)]),
        np.concatenate([s.tone for s in surfaces]).astype(np.float32),
        np.concatenate([s.gloss for s in surfaces]).astype(np.float32),
    )


def _painted(surfaces: Sequence[Surface]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row of each triangle's painted parent (−1: not painted), which part of it, dual vectors.

    A second skin's rows follow the first one's; its paint is that of the row modulo their number.
    """
    rows, children, duals = [], [], [np.zeros((0, 2, 3), np.float32)]
    start = 0
    for s in surfaces:
        if s.parent_face is None:
            rows.append(np.full(len(s.faces), -1))
            children.append(np.zeros(len(s.faces), np.int64))
            continue
        assert s.coarse_cam is not None
        assert s.coarse_faces is not None
        assert s.child is not None
        rows.append(s.parent_face + start)
        children.append(s.child)
        duals.append(dual_vectors(s.coarse_cam, s.coarse_faces))
        start += len(s.coarse_faces)
    return np.concatenate(rows), np.concatenate(children), np.concatenate(duals)


def over(
    picture: Picture, behind: Float[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "height width 3"]:
    """A picture before a background, which it shades."""
    out = np.empty_like(picture.radiance)
    shade_left = picture.backdrop_shade
    if shade_left is None:
        shade_left = np.ones((1, 1, 3), np.float32)
    lay_over(picture.radiance, picture.coverage, behind, shade_left, out)
    return out


def hand_share(picture: Picture) -> Float[np.ndarray, "height width"]:
    """How much of every pixel is the hand itself, without forearm, sleeve and things."""
    return picture.coverage * ((picture.parts > 0) & (picture.parts <= HAND_PARTS))


def skin_surface(
    topology: BodyTopology, mesh: SkinMesh, mean_tone: Float[np.ndarray, " 3"]
) -> Surface:
    """A body's mesh, to be painted."""
    return Surface(
        verts_cam=mesh.verts_cam,
        normals=mesh.normals,
        faces=mesh.faces,
        part=topology.part,
        tone=np.broadcast_to(mean_tone, mesh.verts_cam.shape),
        gloss=np.zeros(len(mesh.verts_cam)),
        coarse_cam=mesh.coarse_cam,
        coarse_faces=topology.coarse_faces,
        edges=topology.edges,
        parent_face=topology.parent_face,
        child=mesh.child,
    )


def solid_surface(solid: Solid, part: int) -> Surface:
    """A thing in the camera frame."""
    return Surface(
        verts_cam=solid.verts,
        normals=solid.normals,
        faces=solid.faces,
        part=np.full(len(solid.faces), part, np.uint8),
        tone=solid.tone,
        gloss=solid.gloss,
    )
