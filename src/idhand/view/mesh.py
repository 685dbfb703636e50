"""Hands → mesh files, several hands of one photo in one file, in metres.

OBJ keeps the camera frame of the Python interface (x right, y down, z forward), so its numbers are
`verts_cam`. GLB is in glTF's frame (x right, y up, z towards the viewer): y and z change sign,
which is half a turn about x, so triangles keep their direction. In both, normals point outward.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idhand.media import replacing
from idhand.records import HandResult
from idhand.view.overlay import SIDE_COLOURS
from idhand.view.raster import vertex_normals

GLTF_FROM_CAM: Float[np.ndarray, " 3"] = np.array([1.0, -1.0, -1.0])
"""Signs of x, y and z: camera frame → glTF's frame."""


def write_glb(path: str | Path, hands: Sequence[HandResult]) -> None:
    """Write hands as binary glTF: one node each, named `hand_0_right` and so on.

    Raises:
        ValueError: If there is no hand with a usable fit to write.
    """
    import trimesh  # here, because it takes a second to import
    from trimesh.exchange.gltf import export_glb
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    scene = trimesh.Scene()
    for name, hand in _named(hands):
        verts = hand.verts_cam.astype(np.float64)
        material = PBRMaterial(
            name=name,
            baseColorFactor=[*SIDE_COLOURS[hand.is_right], 255],
            metallicFactor=0.0,
            roughnessFactor=0.6,
        )
        mesh = trimesh.Trimesh(
            vertices=verts * GLTF_FROM_CAM,
            faces=hand.faces,
            vertex_normals=vertex_normals(verts, hand.faces) * GLTF_FROM_CAM,
            visual=TextureVisuals(material=material),
            process=False,
        )
        scene.add_geometry(mesh, node_name=name, geom_name=name)
    data = export_glb(scene, include_normals=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_obj(path: str | Path, hands: Sequence[HandResult]) -> None:
    """Write hands as Wavefront OBJ: one object each, vertices in the order of `verts_cam`.

    Raises:
        ValueError: If there is no hand with a usable fit to write.
    """
    lines = ["# idhand; metres; camera frame: x right, y down, z forward"]
    first = 1
    for name, hand in _named(hands):
        lines.append(f"o {name}")
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in hand.verts_cam.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (hand.faces + first).tolist()]
        first += len(hand.verts_cam)
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _named(hands: Sequence[HandResult]) -> list[tuple[str, HandResult]]:
    """The usable hands; the number in a name is the hand's place in the results."""
    sides = ["right" if hand.is_right else "left" for hand in hands]
    named = [(f"hand_{i}_{side}", hands[i]) for i, side in enumerate(sides)]
    usable = [(name, hand) for name, hand in named if hand.status != "diverged"]
    if not usable:
        raise ValueError("there is no hand with a usable fit, so no mesh can be written")
    return usable
