"""Render one scene with Blender's Cycles: a skinned hand, a sleeve, a table, an HDRI as light.

Runs under a Python that has PyPI `bpy` 4.5.15 (GPL; a tool, never a dependency of the package):
`python demo_scene.py JOB.npz RESULT.npz` reads the arrays that `tools/build_demo.py` wrote and
writes the linear picture back; `python demo_scene.py decode FOLDER` turns panoramas into arrays.
Everything is in the camera frame of the package (x right, y down, z forward, metres); Blender's
camera looks along -z with y up, so y and z change sign here only.
"""

import json
import sys
from pathlib import Path

import bpy
import mathutils
import numpy as np

TO_BLENDER = np.diag([1.0, -1.0, -1.0])
HAND_INDEX = 1
"""Object index of the hand in the mask pass."""


def to_blender(points_cam):
    """Camera frame (y down, z forward) → Blender's camera frame (y up, z backward)."""
    return np.asarray(points_cam, np.float64) @ TO_BLENDER


def add_mesh(name, verts_cam, faces, colours=None, values=None):
    """A smooth-shaded triangle mesh with point colours and scalar attributes."""
    mesh = bpy.data.meshes.new(name)
    verts = to_blender(verts_cam).astype(np.float32)
    faces = np.asarray(faces, np.int32)
    mesh.vertices.add(len(verts))
    mesh.vertices.foreach_set("co", verts.ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    mesh.update(calc_edges=True)
    if colours is not None:
        rgba = np.concatenate([colours, np.ones((len(colours), 1))], 1).astype(np.float32)
        attribute = mesh.color_attributes.new("tone", "FLOAT_COLOR", "POINT")
        attribute.data.foreach_set("color", rgba.ravel())
    for key, given in (values or {}).items():
        value = np.asarray(given, np.float32)
        kind, slot = ("FLOAT_VECTOR", "vector") if value.ndim == 2 else ("FLOAT", "value")
        mesh.attributes.new(key, kind, "POINT").data.foreach_set(slot, value.ravel())
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.collection.objects.link(thing)
    return thing


class Nodes:
    """A material's node tree, with one call per node."""

    def __init__(self, name):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.principled = self.tree.nodes["Principled BSDF"]

    def add(self, kind, **inputs):
        """New node; inputs are numbers, or sockets to link; `_name` sets a property."""
        node = self.tree.nodes.new(kind)
        for key, value in inputs.items():
            if key.startswith("_"):
                setattr(node, key[1:], value)
            else:
                self.set(node, key, value)
        return node

    def set(self, node, key, value):
        """Give an input a number or a link."""
        socket = node.inputs[int(key[2:]) if key.startswith("in") and key[2:].isdigit() else key]
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def surface(self, **inputs):
        """Inputs of the Principled BSDF, underscores for spaces."""
        for key, value in inputs.items():
            self.set(self.principled, key.replace("_", " "), value)


def skin_material(wetness=0.12):
    """Skin: painted tone, random-walk scattering of 1–3 mm, two soft highlights, fine pores."""
    nodes = Nodes("skin")
    tone = nodes.add("ShaderNodeAttribute", _attribute_name="tone").outputs["Color"]
    rest = nodes.add("ShaderNodeAttribute", _attribute_name="rest").outputs["Vector"]
    rough = nodes.add("ShaderNodeAttribute", _attribute_name="rough").outputs["Fac"]
    pores = nodes.add("ShaderNodeTexVoronoi", Vector=rest, Scale=900.0).outputs["Distance"]
    grain = nodes.add("ShaderNodeTexNoise", Vector=rest, Scale=420.0, Detail=4.0).outputs["Fac"]
    height = nodes.add("ShaderNodeMath", _operation="ADD", in0=pores, in1=grain).outputs[0]
    bump = nodes.add("ShaderNodeBump", Strength=0.35, Distance=0.00012, Height=height)
    nodes.surface(
        Base_Color=tone,
        Roughness=rough,
        Normal=bump.outputs["Normal"],
        IOR=1.4,
        Subsurface_Weight=1.0,
        Subsurface_Radius=(1.0, 0.36, 0.18),
        Subsurface_Scale=0.0022,
        Coat_Weight=wetness,
        Coat_Roughness=0.36,
    )
    return nodes.material


def cloth_material(colour):
    """Cloth: matt, with a sheen and a fine weave."""
    nodes = Nodes("cloth")
    rest = nodes.add("ShaderNodeAttribute", _attribute_name="rest").outputs["Vector"]
    weave = nodes.add("ShaderNodeTexNoise", Vector=rest, Scale=900.0, Detail=3.0).outputs["Fac"]
    tone = nodes.add("ShaderNodeTexNoise", Vector=rest, Scale=60.0, Detail=4.0).outputs["Fac"]
    dark = [0.8 * c for c in colour] + [1.0]
    mix = nodes.add("ShaderNodeMix", _data_type="RGBA", Factor=tone)
    mix.inputs[6].default_value = dark
    mix.inputs[7].default_value = [min(1.2 * c, 1.0) for c in colour] + [1.0]
    bump = nodes.add("ShaderNodeBump", Strength=0.6, Distance=0.0006, Height=weave)
    nodes.surface(
        Base_Color=mix.outputs[2],
        Roughness=0.9,
        Normal=bump.outputs["Normal"],
        Sheen_Weight=0.3,
    )
    return nodes.material


def grain_node(nodes, place, scale, **settings):
    """Fractal noise of stretched coordinates, 0..1."""
    mapped = nodes.add("ShaderNodeMapping", Vector=place, Scale=scale).outputs["Vector"]
    return nodes.add("ShaderNodeTexNoise", Vector=mapped, **settings).outputs["Fac"]


def blend(nodes, factor, low, high, kind="MIX"):
    """Mix of two colours or colour sockets."""
    mix = nodes.add("ShaderNodeMix", _data_type="RGBA", _blend_type=kind, Factor=factor)
    for slot, value in ((6, low), (7, high)):
        nodes.set(mix, f"in{slot}", value if hasattr(value, "is_linked") else [*value, 1.0])
    return mix.outputs[2]


def wood(nodes, place, colour):
    """Planks of 9 cm with dark seams, each of its own tone, with a grain along them."""
    planks = nodes.add(
        "ShaderNodeTexBrick",
        Vector=place,
        Color1=[*colour, 1.0],
        Color2=[*(0.74 * c for c in colour), 1.0],
        Mortar=[*(0.12 * c for c in colour), 1.0],
        Scale=1.0,
    )
    for key, value in (("Mortar Size", 0.0009), ("Brick Width", 1.1), ("Row Height", 0.09)):
        planks.inputs[key].default_value = value
    fibre = grain_node(nodes, place, (9.0, 330.0, 9.0), Scale=1.0, Detail=8.0, Roughness=0.6)
    cloud = grain_node(
        nodes, place, (2.2, 40.0, 2.2), Scale=1.0, Detail=5.0, Roughness=0.55, Distortion=1.6
    )
    tone = blend(nodes, fibre, (0.55, 0.5, 0.46), (1.2, 1.2, 1.2))
    tone = blend(
        nodes, 1.0, blend(nodes, cloud, (0.6, 0.56, 0.52), (1.3, 1.3, 1.3)), tone, "MULTIPLY"
    )
    return blend(nodes, 1.0, planks.outputs["Color"], tone, "MULTIPLY"), fibre


def gingham(nodes, place, colour):
    """A chequered table cloth with squares of 2 cm."""
    axes = nodes.add("ShaderNodeSeparateXYZ", Vector=place)
    bands = []
    for axis in "XY":
        wave = nodes.add("ShaderNodeMath", _operation="MULTIPLY", in0=axes.outputs[axis], in1=157.0)
        sine = nodes.add("ShaderNodeMath", _operation="SINE", in0=wave.outputs[0]).outputs[0]
        steep = nodes.add("ShaderNodeMath", _operation="MULTIPLY_ADD", in0=sine, in1=6.0, in2=0.5)
        steep.use_clamp = True
        bands.append(steep.outputs[0])
    both = nodes.add("ShaderNodeMath", _operation="ADD", in0=bands[0], in1=bands[1]).outputs[0]
    half = nodes.add("ShaderNodeMath", _operation="MULTIPLY", in0=both, in1=0.5).outputs[0]
    weave = grain_node(nodes, place, (700.0,) * 3, Scale=1.0, Detail=2.0)
    return blend(nodes, half, (0.72, 0.70, 0.66), colour), weave


def plain(nodes, place, colour):
    """A painted desk, faintly cloudy."""
    cloud = grain_node(nodes, place, (14.0,) * 3, Scale=1.0, Detail=9.0, Roughness=0.7)
    return blend(nodes, cloud, [0.88 * c for c in colour], [1.08 * c for c in colour]), cloud


def surface_material(kind, colour):
    """A table top in object coordinates: `wood`, `gingham` or `plain`."""
    nodes = Nodes(kind)
    place = nodes.add("ShaderNodeTexCoord").outputs["Object"]
    paint = {"wood": wood, "gingham": gingham, "plain": plain}[kind]
    tone, height = paint(nodes, place, colour)
    bump = nodes.add("ShaderNodeBump", Strength=0.3, Distance=0.0006, Height=height)
    rough = {"wood": 0.42, "gingham": 0.95, "plain": 0.5}[kind]
    nodes.surface(Base_Color=tone, Roughness=rough, Normal=bump.outputs["Normal"])
    return nodes.material


def add_camera(K, width, height):
    """Pinhole camera at the origin; K counts from the centre of the top-left pixel."""
    data = bpy.data.cameras.new("camera")
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = 36.0
    data.lens = K[0][0] * 36.0 / width
    data.shift_x = (width / 2 - (K[0][2] + 0.5)) / width
    data.shift_y = ((K[1][2] + 0.5) - height / 2) / width
    data.clip_start, data.clip_end = 0.01, 100.0
    camera = bpy.data.objects.new("camera", data)
    bpy.context.collection.objects.link(camera)
    bpy.context.scene.camera = camera


def add_light(panorama, strength):
    """The environment, already turned into Blender's world axes, as the only light."""
    height, width, _ = panorama.shape
    image = bpy.data.images.new("light", width, height, float_buffer=True)
    image.colorspace_settings.name = "Non-Color"
    rgba = np.concatenate([panorama, np.ones((height, width, 1))], 2)[::-1].astype(np.float32)
    image.pixels.foreach_set(rgba.ravel())
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    texture = tree.nodes.new("ShaderNodeTexEnvironment")
    texture.image = image
    background = tree.nodes["Background"]
    background.inputs["Strength"].default_value = strength
    tree.links.new(texture.outputs["Color"], background.inputs["Color"])


def add_table(point_cam, normal_cam, kind, colour):
    """A large plane through a point of the camera frame."""
    normal = TO_BLENDER @ np.asarray(normal_cam)
    side = np.cross(normal, [0.31, 0.2, 0.93])
    side /= np.linalg.norm(side)
    up = np.cross(normal, side)
    bpy.ops.mesh.primitive_plane_add(size=6.0)
    plane = bpy.context.object
    frame = np.eye(4)
    frame[:3, :3] = np.stack([side, up, normal], 1)
    frame[:3, 3] = to_blender(point_cam)
    plane.matrix_world = mathutils.Matrix(frame.tolist())
    plane.data.materials.append(surface_material(kind, colour))


def set_up_render(width, height, samples, seed):
    """Cycles on the processor, linear light, transparent background, denoised."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.seed = seed
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = "OPENIMAGEDENOISE"
    scene.cycles.max_bounces = 6
    scene.cycles.sample_clamp_indirect = 4.0
    scene.cycles.pixel_filter_type = "BLACKMAN_HARRIS"
    scene.cycles.filter_width = 1.5
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Raw"
    scene.view_layers[0].use_pass_object_index = True


def render_layers(folder):
    """Render; returns linear RGBA and the mask of the hand's object index, top row first."""
    scene = bpy.context.scene
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers = tree.nodes.new("CompositorNodeRLayers")
    out = tree.nodes.new("CompositorNodeOutputFile")
    out.base_path = str(folder)
    out.format.file_format = "OPEN_EXR"
    out.format.color_depth = "32"
    out.format.color_mode = "RGBA"
    out.file_slots.clear()
    for name, socket in (("image", "Image"), ("index", "IndexOB")):
        out.file_slots.new(name)
        tree.links.new(layers.outputs[socket], out.inputs[name])
    bpy.ops.render.render()
    return read_picture(folder / "image0001.exr"), read_picture(folder / "index0001.exr")[..., 0]


def read_picture(path):
    """A linear picture, top row first, without colour management."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, 4)[::-1]


def build(job, settings):
    """Everything of one picture except the render settings."""
    skin = {"rest": job["skin_rest"], "rough": job["skin_rough"]}
    hand = add_mesh("hand", job["skin_verts"], job["skin_faces"], job["skin_tone"], skin)
    hand.pass_index = HAND_INDEX
    hand.data.materials.append(skin_material())
    if "sleeve_verts" in job:
        rest = {"rest": job["sleeve_rest"]}
        sleeve = add_mesh("sleeve", job["sleeve_verts"], job["sleeve_faces"], None, rest)
        sleeve.pass_index = 2
        sleeve.data.materials.append(cloth_material(settings["sleeve_colour"]))
    if settings.get("table"):
        add_table(**settings["table"])
    add_light(job["panorama"], settings["strength"])
    add_camera(settings["K"], settings["width"], settings["height"])


def decode_panoramas(folder):
    """Every `*.exr` of a folder → `*.npy`, linear float32 RGB, top row first."""
    for path in sorted(Path(folder).glob("*.exr")):
        np.save(path.with_suffix(".npy"), read_picture(path)[..., :3])


def main(arguments):
    """`decode FOLDER`, or `JOB.npz RESULT.npz`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if arguments[0] == "decode":
        decode_panoramas(arguments[1])
        return
    job = dict(np.load(arguments[0]))
    settings = json.loads(str(job["settings"]))
    build(job, settings)
    set_up_render(settings["width"], settings["height"], settings["samples"], settings["seed"])
    picture, index = render_layers(Path(arguments[1]).resolve().parent)
    np.savez(arguments[1], picture=picture, index=np.rint(index).astype(np.int8))


if __name__ == "__main__":
    main(sys.argv[1:])
