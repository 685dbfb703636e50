"""Check exports in Blender: import them, compare every vertex with ours, bend a finger, render.

    python tools/check_blender.py --bpy-python PYTHON --out DIR

`--bpy-python` is the interpreter of a separate environment with PyPI `bpy` 4.5.15 (Blender; GPL, a
tool that never becomes a dependency). Writes the exports, `ours.npz` and Blender's `theirs.npz` and
four pictures into the folder, and prints the largest distance of each comparison in millimetres;
ends with an error if one is 0.5 mm or more. Inside Blender's Python this file calls itself with
`--inside`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

LIMIT_MM = 0.5
FPS, NUM_FRAMES = 30.0, 12
BENT, BEND_RAD = "index_mcp", 0.6
"""The joint that is bent in Blender, about x of the joint's frame at rest."""
SEED = 4
SIDES = ("hand_0_right", "hand_1_left")
PRESENT = {True: (*range(8), *range(10, NUM_FRAMES)), False: (*range(2, 5), *range(7, 10))}
"""The frames that show the right hand and the left one in the video with gaps."""


# ------------------------------------------------------------------------- in the project's Python


def pose(share, betas, place, *, is_right):
    """A hand between two poses: fingers and wrist move with `share`, 0 to 1."""
    import torch

    from idhand.assets import open_hand
    from idhand.geometry import rotation_from_vector

    model = open_hand()
    space = model.pose_space
    assert space is not None
    rng = np.random.default_rng(SEED + is_right)
    ends = [torch.from_numpy(rng.uniform(0.2, 0.8, space.num_dofs)) for _ in range(2)]
    part = ends[0] + share * (ends[1] - ends[0])
    angles = space.lower + part * (space.upper - space.lower)
    turn = rotation_from_vector(torch.tensor([[0.3, 0.5 * share - 0.2, 0.3]], dtype=torch.float64))
    rotations = torch.cat((turn, space.rotations(angles)))
    flip = np.array([1.0 if is_right else -1.0, 1.0, 1.0])
    wrist = torch.from_numpy(np.add(place, [0.0, 0.03 * share, 0.0]))
    return model, rotations, torch.from_numpy(betas), wrist, flip


def result(share, betas, place, *, is_right, bend_rad=0.0):
    """That hand as the pipeline returns it; the joint `BENT` may be turned further."""
    import torch

    from idhand.geometry import rotation_from_vector
    from idhand.hand import JOINT_NAMES
    from idhand.records import Detection, HandResult

    model, rotations, shape, wrist, flip = pose(share, betas, place, is_right=is_right)
    # x keeps its sign between camera and glTF frame and, as the axis of a turn, in the mirror.
    extra = rotation_from_vector(torch.tensor([bend_rad, 0.0, 0.0], dtype=torch.float64))
    rotations[JOINT_NAMES.index(BENT)] @= extra
    posed = model.with_shape(shape).posed(rotations, wrist)
    keypoints, K = posed.keypoints.numpy() * flip, np.diag([500.0, 500.0, 1.0])
    px = 500 * keypoints[:, :2] / keypoints[:, 2:]
    box = np.concatenate((px.min(0), px.max(0)))
    flat = np.zeros(21)
    seen = Detection(
        is_right=is_right,
        score=1.0,
        bbox_px=box,
        landmarks_px=px,
        landmarks_z_px=flat,
        landmarks_world=keypoints,
        confidence=flat,
    )
    return HandResult(
        is_right=is_right,
        score=1.0,
        bbox_px=box,
        keypoints_px=px,
        keypoints_cam=keypoints,
        verts_cam=posed.verts.numpy() * flip,
        faces=(model if is_right else model.mirrored()).faces.numpy(),
        rotations=rotations.numpy(),
        model=model.name,
        betas=betas,
        K=K,
        K_is_guess=False,
        status="converged",
        residual_px=0.0,
        keypoints_std_m=flat,
        depth_std_m=0.0,
        detection=seen,
    )


def pair(share, bend_rad=0.0):
    """Both hands of one person in front of the camera."""
    betas = np.round(np.random.default_rng(SEED).normal(size=16), 3)
    place = (0.11, 0.06, 0.5)
    return [
        result(share, betas, place, is_right=right, bend_rad=bend_rad) for right in (True, False)
    ]


def write_exports(folder: Path):
    """All files, and our vertices and joints in glTF's frame."""
    from idhand.assets import open_hand
    from idhand.view import MotionRecorder, export_motion, export_photo

    model = open_hand()
    export_photo(folder, "photo", pair(0.5), model, ["glb", "usd"])
    whole, gaps = MotionRecorder(), MotionRecorder()
    shares = np.linspace(0, 1, NUM_FRAMES)
    frames = [pair(float(share)) for share in shares]
    for i, hands in enumerate(frames):
        whole.add(i, i / FPS, hands)
        gaps.add(i, i / FPS, [hand for hand in hands if i in PRESENT[hand.is_right]])
    export_motion(folder, "video", whole.motions(), model, ["glb", "usd", "bvh"], FPS)
    export_motion(folder, "gaps", gaps.motions(), model, ["glb", "usd"], FPS)
    to_gltf = np.array([1.0, -1.0, -1.0])
    joints = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19]
    np.savez(
        folder / "ours.npz",
        posed=np.stack([hand.verts_cam * to_gltf for hand in pair(0.5)]),
        bent=np.stack([hand.verts_cam * to_gltf for hand in pair(0.5, BEND_RAD)]),
        animated=np.stack([[hand.verts_cam * to_gltf for hand in hands] for hands in frames]),
        joints=np.stack([[h.keypoints_cam[joints] * to_gltf for h in hands] for hands in frames]),
    )


def compare(folder: Path):
    """Print the largest distances; the largest of all."""
    ours, theirs = np.load(folder / "ours.npz"), np.load(folder / "theirs.npz")
    rows = [
        ("GLB photo, vertices", "posed", "glb_posed"),
        ("GLB photo, bones turned along fingers, vertices", "posed", "glb_turned_bones"),
        (f"GLB photo, {BENT} bent in Blender, vertices", "bent", "glb_bent"),
        ("GLB animation, vertices of all frames", "animated", "glb_animated"),
        ("USD photo, vertices", "posed", "usd_posed"),
        ("USD animation, vertices of all frames", "animated", "usd_animated"),
        ("BVH, joints of all frames", "joints", "bvh_joints"),
    ]
    errors_mm = []
    for title, mine, other in rows:
        error = 1e3 * np.linalg.norm(ours[mine] - theirs[other], axis=-1).max()
        errors_mm.append(error)
        print(f"{title:52s} {error:.5f} mm")
    there = np.array([[i in PRESENT[right] for right in (True, False)] for i in range(NUM_FRAMES)])
    for form in ("glb", "usd"):
        verts = theirs[f"{form}_gaps"]
        error = 1e3 * np.linalg.norm(verts - ours["animated"], axis=-1)[there].max()
        size = 1e3 * np.linalg.norm(verts - verts[:, :, :1], axis=-1)[~there].max()
        errors_mm += [error, size]
        name = form.upper()
        print(f"{f'{name} with gaps, vertices where hands are there':52s} {error:.5f} mm")
        print(f"{f'{name} with gaps, size of hands that are away':52s} {size:.5f} mm")
    moved = 1e3 * np.linalg.norm(ours["bent"] - ours["posed"], axis=-1).max()
    print(f"{'(the bend itself moves a vertex by up to)':52s} {moved:.1f} mm")
    return float(np.max(errors_mm))


def main():
    """Export, call Blender, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bpy-python", help="Python with PyPI bpy 4.5.15")
    parser.add_argument("--out", type=Path, required=True, help="folder for files and pictures")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        inside_blender(args.out)
        return
    if not args.bpy_python:
        parser.error("--bpy-python is needed")
    args.out.mkdir(parents=True, exist_ok=True)
    write_exports(args.out)
    command = [args.bpy_python, __file__, "--inside", "--out", str(args.out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Blender failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    worst = compare(args.out)
    if not worst < LIMIT_MM:
        raise SystemExit(f"{worst:.3f} mm apart; at most {LIMIT_MM} mm are allowed")


# ----------------------------------------------------------------------------- in Blender's Python


def inside_blender(folder: Path):
    """Import everything, note vertices and joints, render."""
    import bpy

    noted = {}
    load(folder / "photo.glb")
    noted["glb_posed"] = verts_gltf()
    render(folder / "posed.png")
    bend()
    noted["glb_bent"] = verts_gltf()
    render(folder / "bent.png")
    load(folder / "photo.glb", bone_heuristic="FORTUNE")
    noted["glb_turned_bones"] = verts_gltf()
    for armature in armatures():
        armature.data.pose_position = "REST"
        armature.location.x += 0.1 if armature.name.startswith(SIDES[0]) else -0.1
    bpy.context.view_layer.update()
    draw_bones()
    render(folder / "rest.png", at=(0.0, -0.5, 0.09))
    load(folder / "video.glb")
    noted["glb_animated"] = over_frames(verts_gltf, first=0)
    render(folder / "animated.png")
    load(folder / "gaps.glb")
    noted["glb_gaps"] = over_frames(verts_gltf, first=0)
    for frame in (4, 5, 8):
        bpy.context.scene.frame_set(frame)
        render(folder / f"gaps_{frame}.png")
    load(folder / "photo.usdc")
    noted["usd_posed"] = verts_gltf()
    load(folder / "video.usdc")
    noted["usd_animated"] = over_frames(verts_gltf, first=0)
    load(folder / "gaps.usdc")
    noted["usd_gaps"] = over_frames(verts_gltf, first=0)
    hands = []
    for side in SIDES:
        load(folder / f"video_{side}.bvh")
        hands.append(over_frames(bone_heads_gltf, first=1))
    noted["bvh_joints"] = np.stack(hands, 1)
    np.savez(folder / "theirs.npz", **noted)
    print(f"Blender {bpy.app.version_string}")


def load(path: Path, **options):
    """A new scene with what is in the file."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = int(FPS)
    match path.suffix:
        case ".glb":
            bpy.ops.import_scene.gltf(filepath=str(path), **options)
        case ".bvh":
            bpy.ops.import_anim.bvh(filepath=str(path), global_scale=0.01)
        case _:
            bpy.ops.wm.usd_import(filepath=str(path))
    bpy.context.view_layer.update()


def armatures():
    """All skeletons."""
    import bpy

    return [thing for thing in bpy.data.objects if thing.type == "ARMATURE"]


def to_gltf(points):
    """Blender's z up → glTF's y up."""
    x, y, z = np.moveaxis(np.asarray(points), -1, 0)
    return np.stack((x, z, -y), -1)


def verts_gltf():
    """Vertices of both hands as Blender deforms them, by side."""
    import bpy

    graph = bpy.context.evaluated_depsgraph_get()
    found = {}
    for thing in bpy.data.objects:
        if thing.type == "MESH" and any(m.type == "ARMATURE" for m in thing.modifiers):
            evaluated = thing.evaluated_get(graph)
            mesh = evaluated.to_mesh()
            verts = np.empty(3 * len(mesh.vertices), np.float32)
            mesh.vertices.foreach_get("co", verts)
            matrix = np.array(evaluated.matrix_world)
            verts = verts.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
            chain, above = thing.name, thing.parent
            while above is not None:
                chain, above = f"{above.name}/{chain}", above.parent
            (side,) = [side for side in SIDES if side in chain]
            found[side] = to_gltf(verts)
            evaluated.to_mesh_clear()
    return np.stack([found[side] for side in SIDES])


def bone_heads_gltf():
    """Where the joints of the one skeleton are, in the order of the file."""
    (armature,) = armatures()
    matrix = np.array(armature.matrix_world)
    heads = np.array([bone.head for bone in armature.pose.bones])
    return to_gltf(heads @ matrix[:3, :3].T + matrix[:3, 3])


def over_frames(measure, first):
    """What is measured at every frame."""
    import bpy

    values = []
    for frame in range(NUM_FRAMES):
        bpy.context.scene.frame_set(first + frame)
        bpy.context.view_layer.update()
        values.append(measure())
    return np.stack(values)


def bend():
    """Turn the joint `BENT` of both hands by `BEND_RAD`, as a user would with the rotate tool."""
    import bpy
    import mathutils

    turn = mathutils.Matrix.Rotation(BEND_RAD, 3, "X")
    for armature in armatures():
        for bone in armature.pose.bones:
            if bone.name.endswith(BENT):
                bone.rotation_mode = "QUATERNION"
                axes = bone.bone.matrix_local.to_3x3()
                extra = axes.inverted() @ turn @ axes
                bone.rotation_quaternion = bone.rotation_quaternion @ extra.to_quaternion()
    bpy.context.view_layer.update()


def draw_bones():
    """A thin cone from head to tail of every bone, and a mesh that lets them be seen."""
    import bpy

    material = bpy.data.materials.new("bone")
    material.diffuse_color = (0.9, 0.1, 0.1, 1)
    for armature in armatures():
        for bone in armature.data.bones:
            head, tail = (armature.matrix_world @ p for p in (bone.head_local, bone.tail_local))
            middle, along = (head + tail) / 2, tail - head
            bpy.ops.mesh.primitive_cone_add(
                radius1=0.004,
                depth=along.length,
                location=middle,
                rotation=along.to_track_quat("Z", "Y").to_euler(),
            )
            bpy.context.object.data.materials.append(material)
    for thing in bpy.data.objects:
        if any(m.type == "ARMATURE" for m in thing.modifiers):
            thing.display_type = "WIRE"
            wire = thing.modifiers.new("wire", "WIREFRAME")
            wire.thickness = 0.0003


def render(path: Path, at=(0.0, 0.0, 0.0)):
    """A picture from the photo's camera (or from elsewhere) by Cycles, which needs no GPU."""
    import bpy

    scene = bpy.context.scene
    eye = bpy.data.objects.new("eye", bpy.data.cameras.new("eye"))
    eye.location, eye.rotation_euler = at, (np.pi / 2, 0, 0)
    eye.data.angle, eye.data.clip_start = np.radians(50), 0.01
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.rotation_euler, sun.data.energy = (0.9, 0.3, 0), 3.0
    for thing in (eye, sun):
        scene.collection.objects.link(thing)
    scene.camera = eye
    scene.world = bpy.data.worlds.new("grey")
    scene.world.color = (0.3, 0.3, 0.3)
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", 8, 0
    scene.render.resolution_x, scene.render.resolution_y = 480, 360
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    for thing in (eye, sun):
        bpy.data.objects.remove(thing)


if __name__ == "__main__":
    sys.exit(main())
