"""Hands → mesh files, several hands of one photo in one file, in metres.

OBJ and PLY keep the camera frame of the Python interface (x right, y down, z forward), so their
numbers are `verts_cam`. GLB is in glTF's frame (x right, y up, z towards the viewer): y and z
change sign, which is half a turn about x, so triangles keep their direction. Normals point outward.

A GLB that can be posed, and files of motions, are in `idhand.view.export`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from idhand.drawing.overlay import SIDE_COLOURS
from idhand.drawing.raster import vertex_normals
from idhand.files import replacing
from idhand.hand import HandModel
from idhand.records import HandResult
from idhand.view.motion import hand_name

GLTF_FROM_CAM: Float[np.ndarray, " 3"] = np.array([1.0, -1.0, -1.0])
"""Signs of x, y and z: camera frame → glTF's frame."""


def write_glb(path: str | Path, hands: Sequence[HandResult]) -> None:
    """Write hands as binary glTF: one node each, named `hand_0_right` and so on.

    Raises:
        ValueError: If there is no hand with a usable fit to write, or one has no mesh.
    """
    import trimesh  # here, because it takes a second to import
    from trimesh.exchange.gltf import export_glb
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    scene = trimesh.Scene()
    for name, hand in usable_hands(hands):
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
        ValueError: If there is no hand with a usable fit to write, or one has no mesh.
    """
    lines = ["# idhand; metres; camera frame: x right, y down, z forward"]
    first = 1
    for name, hand in usable_hands(hands):
        lines.append(f"o {name}")
        lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in hand.verts_cam.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (hand.faces + first).tolist()]
        first += len(hand.verts_cam)
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def write_ply(path: str | Path, hands: Sequence[HandResult]) -> None:
    """Write hands as one binary PLY mesh, one hand after the other, coloured by side.

    Vertices are in the order of `verts_cam`, with normals, in the camera frame, in metres.

    Raises:
        ValueError: If there is no hand with a usable fit to write, or one has no mesh.
    """
    import trimesh  # here, because it takes a second to import
    from trimesh.exchange.ply import export_ply

    named = usable_hands(hands)
    sizes = [len(hand.verts_cam) for _, hand in named]
    firsts = np.cumsum([0, *sizes[:-1]])
    colours = np.array([[*SIDE_COLOURS[hand.is_right], 255] for _, hand in named], np.uint8)
    mesh = trimesh.Trimesh(
        vertices=np.concatenate([hand.verts_cam for _, hand in named]),
        faces=np.concatenate([h.faces + k for (_, h), k in zip(named, firsts, strict=True)]),
        vertex_normals=np.concatenate([vertex_normals(h.verts_cam, h.faces) for _, h in named]),
        vertex_colors=np.repeat(colours, sizes, axis=0),
        process=False,
    )
    data = export_ply(mesh, encoding="binary", vertex_normal=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def usable_hands(hands: Sequence[HandResult]) -> list[tuple[str, HandResult]]:
    """The hands whose fit has a meaning, by name; numbers are places in the results.

    Raises:
        ValueError: If there is none, or one has no mesh.
    """
    named = [(hand_name(i, hand.is_right), hand) for i, hand in enumerate(hands)]
    usable = [(name, hand) for name, hand in named if hand.status != "diverged"]
    if not usable:
        raise ValueError("there is no hand with a usable fit, so no mesh can be written")
    for name, hand in usable:
        if not (len(hand.verts_cam) and len(hand.faces)):
            raise ValueError(
                f"{name} has no mesh, as hands read from a file without their model have none; "
                "read_hands(path, model) brings it back"
            )
    return usable


def check_model(what: str, name: str, num_betas: int, model: HandModel) -> None:
    """Refuse a hand of another model.

    Args:
        what: What to call the hand.
        name: Of the hand model that it was fitted with.
        num_betas: How many betas it has.
        model: The hand model to draw or export it with.

    Raises:
        ValueError: If the two are not the same.
    """
    if (name, num_betas) != (model.name, model.num_betas):
        raise ValueError(
            f"{what} was fitted with hand model '{name}' ({num_betas} betas), got '{model.name}' "
            f"({model.num_betas}); give the model that it was fitted with"
        )
