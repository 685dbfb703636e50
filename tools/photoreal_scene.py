"""Render the pictures of the test set "photoreal" with Cycles, many in one run of Blender.

Runs under a Python that has PyPI `bpy` 4.5.15 (GPL; a tool, never a dependency of the package):
`python photoreal_scene.py` reads lines `JOB.npz<tab>RESULT.npz` and answers each with a line that
starts with `rendered`. Frames and units as in `demo_scene`, whose parts it uses.
"""

import json
import sys
from pathlib import Path

import bpy
import demo_scene as demo
import mathutils
import numpy as np

SLEEVE_INDEX, THING_INDEX = 2, 3
"""Object indices in the mask pass, beside the hand's."""
HAIR_RADIUS_M = 0.00004
LIGHT_MAP = 256
"""Columns of the map that lights are drawn from."""


def thing_material(kind, colour, second):
    """What a thing is made of, in object coordinates."""
    nodes = demo.Nodes(kind)
    place = nodes.add("ShaderNodeTexCoord").outputs["Object"]
    rough, metallic, tone = 0.5, 0.0, [*colour, 1.0]
    if kind == "painted":
        tone = nodes.add("ShaderNodeAttribute", _attribute_name="tone").outputs["Color"]
        gloss = nodes.add("ShaderNodeAttribute", _attribute_name="gloss").outputs["Fac"]
        rough = nodes.add(
            "ShaderNodeMath", _operation="MULTIPLY_ADD", in0=gloss, in1=-0.6, in2=0.75
        ).outputs[0]
    elif kind == "plastic":
        rough = 0.28
    elif kind == "metal":
        rough, metallic = 0.3, 1.0
    elif kind == "wood":
        tone, _ = demo.wood(nodes, place, colour)
    elif kind == "cloth":
        weave = demo.grain_node(nodes, place, (300.0,) * 3, Scale=1.0, Detail=3.0)
        tone, rough = demo.blend(nodes, weave, [0.7 * c for c in colour], colour), 0.95
    elif kind == "print":
        cells = nodes.add("ShaderNodeTexVoronoi", Vector=place, Scale=38.0)
        cells.distance = "CHEBYCHEV"
        mixed = nodes.add("ShaderNodeSeparateXYZ", Vector=cells.outputs["Color"]).outputs["X"]
        tone = demo.blend(nodes, mixed, colour, second)
    elif kind == "stripes":
        wave = nodes.add("ShaderNodeTexWave", Vector=place, Scale=14.0, Distortion=0.6)
        tone = demo.blend(nodes, wave.outputs["Fac"], colour, second)
    else:
        cloud = demo.grain_node(nodes, place, (22.0,) * 3, Scale=1.0, Detail=8.0, Roughness=0.65)
        tone = demo.blend(nodes, cloud, colour, second)
    nodes.surface(Base_Color=tone, Roughness=rough, Metallic=metallic)
    return nodes.material


def add_thing(number, job, settings):
    """A rigid thing with flat or smooth shading."""
    verts, faces, tone, gloss = (
        job[f"thing{number}_{part}"] for part in ("verts", "faces", "tone", "gloss")
    )
    thing = demo.add_mesh(f"thing{number}", verts, faces, tone, {"gloss": gloss})
    if not settings["is_smooth"]:
        thing.data.polygons.foreach_set("use_smooth", np.zeros(len(faces), bool))
    thing.pass_index = THING_INDEX if settings["is_held"] else 0
    material = thing_material(settings["kind"], settings["colour"], settings["second"])
    thing.data.materials.append(material)


def add_hair(strands_cam, colour):
    """Hairs as ribbons; (H, P, 3) points from root to tip."""
    count, points, _ = strands_cam.shape
    curves = bpy.data.hair_curves.new("hair")
    curves.add_curves([points] * count)
    curves.position_data.foreach_set(
        "vector", demo.to_blender(strands_cam.reshape(-1, 3)).astype(np.float32).ravel()
    )
    radius = np.tile(np.linspace(1.0, 0.25, points), count) * HAIR_RADIUS_M
    curves.attributes.new("radius", "FLOAT", "POINT").data.foreach_set(
        "value", radius.astype(np.float32)
    )
    nodes = demo.Nodes("hair")
    nodes.surface(Base_Color=[*colour, 1.0], Roughness=0.4)
    curves.materials.append(nodes.material)
    hair = bpy.data.objects.new("hair", curves)
    hair.pass_index = demo.HAND_INDEX
    bpy.context.collection.objects.link(hair)


def add_lamp(position_cam, target_cam, power_w, size_m, colour):
    """A square area light that looks at a point."""
    data = bpy.data.lights.new("lamp", "AREA")
    data.energy, data.size, data.color = power_w, size_m, colour
    lamp = bpy.data.objects.new("lamp", data)
    at, to = demo.to_blender([position_cam, target_cam])
    lamp.location = at
    lamp.rotation_euler = mathutils.Vector(to - at).to_track_quat("-Z", "Y").to_euler()
    bpy.context.collection.objects.link(lamp)


def add_light(panorama):
    """The environment; as a light it is sampled by a small map, which is quick to make."""
    demo.add_light(panorama, 1.0)
    world = bpy.context.scene.world.cycles
    world.sampling_method, world.sample_map_resolution = "MANUAL", LIGHT_MAP


def focus(distance_m, aperture_m):
    """Depth of field of a lens of the given width."""
    data = bpy.context.scene.camera.data
    data.dof.use_dof = True
    data.dof.focus_distance = distance_m
    data.dof.aperture_fstop = data.lens / 1000.0 / aperture_m


def build(job, settings):
    """Everything of one picture except the render settings."""
    skin = {"rest": job["skin_rest"], "rough": job["skin_rough"]}
    hand = demo.add_mesh("hand", job["skin_verts"], job["skin_faces"], job["skin_tone"], skin)
    hand.pass_index = demo.HAND_INDEX
    hand.data.materials.append(demo.skin_material(settings["wetness"]))
    if "sleeve_verts" in job:
        rest = {"rest": job["sleeve_rest"]}
        sleeve = demo.add_mesh("sleeve", job["sleeve_verts"], job["sleeve_faces"], None, rest)
        sleeve.pass_index = SLEEVE_INDEX
        sleeve.data.materials.append(demo.cloth_material(settings["sleeve_colour"]))
    if "hair" in job:
        add_hair(job["hair"], settings["hair_colour"])
    for number, thing in enumerate(settings["things"]):
        add_thing(number, job, thing)
    if settings["table"]:
        demo.add_table(**settings["table"])
    if settings["lamp"]:
        add_lamp(**settings["lamp"])
    add_light(job["panorama"])
    demo.add_camera(settings["K"], settings["width"], settings["height"])
    focus(settings["focus_m"], settings["aperture_m"])


def render(job_path, result_path):
    """One picture: linear RGBA and object indices."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with np.load(job_path) as archive:
        job = dict(archive)
    settings = json.loads(str(job["settings"]))
    build(job, settings)
    demo.set_up_render(settings["width"], settings["height"], settings["samples"], settings["seed"])
    scene = bpy.context.scene
    scene.cycles_curves.shape = "RIBBONS"
    scene.render.threads_mode = "FIXED"
    scene.render.threads = 1
    picture, index = demo.render_layers(Path(result_path).resolve().parent)
    np.savez(result_path, picture=picture, index=np.rint(index).astype(np.int8))


def main():
    """Serve lines of standard input until it ends."""
    for line in sys.stdin:
        job_path, result_path = line.rstrip("\n").split("\t")
        render(job_path, result_path)
        print("rendered", result_path, flush=True)


if __name__ == "__main__":
    main()
