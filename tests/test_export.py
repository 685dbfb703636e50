"""Each format is read back by a library that did not write it, or by a small twin written here."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import jaxtyping
import meshio
import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from idhand.assets import open_hand
from idhand.drawing.overlay import SIDE_COLOURS
from idhand.drawing.raster import vertex_normals
from idhand.geometry import rotation_from_vector
from idhand.hand import JOINT_NAMES, FittableHand, HandModel
from idhand.records import HandResult
from idhand.view import (
    EXPORTS,
    Format,
    HandMotion,
    ImageHands,
    MotionRecorder,
    export_motion,
    export_photo,
    openxr_joints,
    read_hands,
    write_bvh,
    write_glb,
    write_hands,
    write_npz,
    write_obj,
    write_openxr,
    write_ply,
    write_rigged_glb,
    write_usd,
)
from idhand.view.export import bvh, openxr
from idhand.view.export.bvh import MAX_HELD_FRAMES, held_frames
from idhand.view.export.presence import presences

from .test_view import broken_hand, make_hand

with warnings.catch_warnings():  # PyGLM's, about its own name
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    import bvhio

MODEL = open_hand()
GLTF = np.array([1.0, -1.0, -1.0])
FLIP = np.array([-1.0, 1.0, 1.0])
FPS = 30.0
FORMATS: tuple[Format, ...] = tuple(form for form in get_args(Format) if form != "mano")
"""All that need no other hand model; tests/test_convert.py has the other."""


def posed_hand(
    seed: int, *, is_right: bool = True, betas: np.ndarray | None = None, step_m: float = 0.0
) -> HandResult:
    """A hand of the built-in model with a random shape, in a random pose within its limits.

    Where it is in the picture stays `make_hand`'s, so that recorders follow it.
    """
    space = MODEL.pose_space
    assert space is not None
    rng = np.random.default_rng(seed)
    share = torch.from_numpy(rng.uniform(size=space.num_dofs))
    angles = space.lower + share * (space.upper - space.lower)
    turn = rotation_from_vector(torch.from_numpy(rng.normal(size=(1, 3))))
    rotations = torch.cat((turn, space.rotations(angles)))
    betas = rng.normal(size=16) if betas is None else betas
    sign = np.ones(3) if is_right else FLIP
    wrist = np.array([0.08 + step_m, 0.02, 0.5]) + 0.02 * rng.normal(size=3)
    posed = MODEL.with_shape(torch.from_numpy(betas)).posed(rotations, torch.from_numpy(wrist))
    return replace(
        make_hand(is_right=is_right),
        keypoints_cam=posed.keypoints.numpy() * sign,
        verts_cam=posed.verts.numpy() * sign,
        faces=(MODEL if is_right else MODEL.mirrored()).faces.numpy(),
        rotations=rotations.numpy(),
        betas=betas,
    )


def pair(seed: int) -> list[HandResult]:
    return [posed_hand(seed), posed_hand(seed + 1, is_right=False)]


def recorded(
    frames: Sequence[tuple[int, Sequence[HandResult]]], fps: float = FPS
) -> tuple[HandMotion, ...]:
    recorder = MotionRecorder()
    for index, hands in frames:
        recorder.add(index, index / fps, hands)
    return recorder.motions()


RIGHT_AT, LEFT_AT, NUM_FRAMES = (0, 1, 5, 6, 7), (3, 4, 6), 8
"""When a video with gaps shows which hand; none at 2."""


def coming_and_going(start: int = 0) -> tuple[HandMotion, ...]:
    """The motions of that video, which begins with some frames without hands."""
    frames = []
    for i in range(NUM_FRAMES):
        both = zip((RIGHT_AT, LEFT_AT), pair(2 * i), strict=True)
        frames.append((start + i, [hand for at, hand in both if i in at]))
    return recorded(frames)


def seen_at(presence: Any, times_s: np.ndarray) -> list[bool]:
    """A step function's values."""
    return presence.there[np.searchsorted(presence.time_s, times_s, side="right") - 1].tolist()


def video(seed: int, frames: int = 4) -> list[list[HandResult]]:
    """Both hands of one person in several frames."""
    betas = np.random.default_rng(seed).normal(size=16)
    return [
        [
            posed_hand(100 * seed + 2 * i + (not right), is_right=right, betas=betas, step_m=0.01)
            for right in (True, False)
        ]
        for i in range(frames)
    ]


# --------------------------------------------------------------------------------------------- GLB


class Gltf:
    """A GLB by pygltflib, skinned by the formulas of the glTF 2.0 specification, 3.7.3.3."""

    def __init__(self, path: Path):
        self.gltf: Any = pygltflib.GLTF2().load_binary(str(path))
        self.blob = self.gltf.binary_blob()

    def array(self, index: int) -> np.ndarray:
        accessor = self.gltf.accessors[index]
        view = self.gltf.bufferViews[accessor.bufferView]
        dtype = {5126: "<f4", 5125: "<u4", 5123: "<u2", 5121: "u1"}[accessor.componentType]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor.type]
        start = view.byteOffset + (accessor.byteOffset or 0)
        assert start % np.dtype(dtype).itemsize == 0
        array = np.frombuffer(self.blob, dtype, accessor.count * width, start)
        return array.reshape(accessor.count, width)

    def local(self, time: int | None) -> list[np.ndarray]:
        """Every node's own matrix, at rest in the file or at a keyframe."""
        places = [np.array(n.translation or (0, 0, 0), float) for n in self.gltf.nodes]
        turns = [np.array(n.rotation or (0, 0, 0, 1), float) for n in self.gltf.nodes]
        assert all(n.scale is None for n in self.gltf.nodes)
        if time is not None:
            (animation,) = self.gltf.animations
            for channel in animation.channels:
                values = self.array(animation.samplers[channel.sampler].output)
                by = places if channel.target.path == "translation" else turns
                by[channel.target.node] = values[time].astype(float)
        matrices = []
        for place, (x, y, z, w) in zip(places, turns, strict=True):
            matrix = np.eye(4)
            matrix[:3, :3] = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
            matrix[:3, 3] = place
            matrices.append(matrix)
        return matrices

    def world(self, time: int | None) -> dict[int, np.ndarray]:
        local, found = self.local(time), {}

        def visit(node: int, above: np.ndarray) -> None:
            found[node] = above @ local[node]
            for child in self.gltf.nodes[node].children or []:
                visit(child, found[node])

        for node in self.gltf.scenes[self.gltf.scene].nodes:
            visit(node, np.eye(4))
        return found

    def skinned(self, mesh: int, time: int | None = None) -> np.ndarray:
        (node,) = [n for n in self.gltf.nodes if n.mesh == mesh]
        skin = self.gltf.skins[node.skin]
        world = self.world(time)
        inverse_bind = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        joint = np.stack([world[j] for j in skin.joints]) @ inverse_bind
        (primitive,) = self.gltf.meshes[mesh].primitives
        attributes = primitive.attributes
        weights, joints = self.array(attributes.WEIGHTS_0), self.array(attributes.JOINTS_0)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
        blended = np.einsum("vk,vkab->vab", weights, joint[joints])
        verts = self.array(attributes.POSITION)
        return np.einsum("vab,vb->va", blended[:, :3, :3], verts) + blended[:, :3, 3]

    def faces(self, mesh: int) -> np.ndarray:
        return self.array(self.gltf.meshes[mesh].primitives[0].indices).reshape(-1, 3)


@pytest.mark.parametrize("seed", range(5))
def test_glb_shows_a_photos_hands_where_they_were(tmp_path: Path, seed: int):
    hands = pair(seed)
    write_rigged_glb(tmp_path / "a.glb", [HandMotion.of(h, i) for i, h in enumerate(hands)], MODEL)
    read = Gltf(tmp_path / "a.glb")
    assert not read.gltf.animations
    for mesh, hand in enumerate(hands):
        np.testing.assert_allclose(read.skinned(mesh), hand.verts_cam * GLTF, atol=5e-5)
        np.testing.assert_array_equal(read.faces(mesh), hand.faces)


def test_glb_is_bound_at_the_persons_rest_pose(tmp_path: Path):
    hand = posed_hand(3, is_right=False)
    write_rigged_glb(tmp_path / "a.glb", [HandMotion.of(hand)], MODEL)
    read = Gltf(tmp_path / "a.glb")
    skin = read.gltf.skins[0]
    person = MODEL.mirrored().with_shape(torch.from_numpy(hand.betas))
    rest = read.array(read.gltf.meshes[0].primitives[0].attributes.POSITION)
    np.testing.assert_allclose(rest, person.rest_verts.numpy() * GLTF, atol=1e-6)
    inverse_bind = read.array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
    np.testing.assert_allclose(
        inverse_bind[:, :3, 3], -person.rest_joints.numpy() * GLTF, atol=1e-6
    )
    np.testing.assert_array_equal(inverse_bind[:, :3, :3], np.tile(np.eye(3), (16, 1, 1)))
    normals = read.array(read.gltf.meshes[0].primitives[0].attributes.NORMAL)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    solid = trimesh.Trimesh(rest, read.faces(0), process=False)
    assert solid.volume > 0, "triangles outward"
    assert (normals * solid.vertex_normals).sum(1).min() > 0.3, "normals outward"


def test_glb_names_joints_uniquely(tmp_path: Path):
    hands = [HandMotion.of(h, i) for i, h in enumerate(pair(0))]
    write_rigged_glb(tmp_path / "one.glb", hands[:1], MODEL)
    write_rigged_glb(tmp_path / "two.glb", hands, MODEL)
    one, two = Gltf(tmp_path / "one.glb").gltf, Gltf(tmp_path / "two.glb").gltf
    assert [one.nodes[j].name for j in one.skins[0].joints] == list(JOINT_NAMES)
    assert [two.nodes[j].name for j in two.skins[1].joints] == [
        f"hand_1_left_{name}" for name in JOINT_NAMES
    ]
    names = [node.name for node in two.nodes]
    assert len(set(names)) == len(names)
    assert {"hand_0_right", "hand_1_left"} <= set(names)
    parents = {child: k for k, node in enumerate(one.nodes) for child in node.children or []}
    joints = one.skins[0].joints
    assert [joints.index(parents[j]) for j in joints[1:]] == list(MODEL.parents[1:])
    assert one.skins[0].skeleton == joints[0]


@pytest.mark.parametrize("seed", range(3))
def test_glb_animation_is_ours_at_every_keyframe(tmp_path: Path, seed: int):
    frames = video(seed)
    motions = recorded(list(enumerate(frames)))
    assert [m.num_frames for m in motions] == [4, 4]
    write_rigged_glb(tmp_path / "a.glb", motions, MODEL)
    read = Gltf(tmp_path / "a.glb")
    (animation,) = read.gltf.animations
    for sampler in animation.samplers:
        times = read.array(sampler.input)[:, 0]
        np.testing.assert_allclose(times, np.arange(4) / FPS, atol=1e-6)
        bounds = read.gltf.accessors[sampler.input]
        assert (bounds.min[0], bounds.max[0]) == (times[0], times[-1])
        assert sampler.interpolation == "LINEAR"
        values = read.array(sampler.output)
        if values.shape[1] == 4:
            np.testing.assert_allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
            assert ((values[1:] * values[:-1]).sum(1) >= 0).all(), "the short way round"
    for mesh in range(2):
        for i, hands in enumerate(frames):
            ours = hands[mesh].verts_cam * GLTF
            np.testing.assert_allclose(read.skinned(mesh, i), ours, atol=5e-5)
        first = frames[0][mesh].verts_cam * GLTF
        np.testing.assert_allclose(read.skinned(mesh), first, atol=5e-5)


def test_glb_times_increase_even_if_the_videos_do_not(tmp_path: Path):
    """In single precision, too, where a day's times are 8 ms apart."""
    times_s = (86400.0, 86400.04, 86400.04, 86400.08)
    recorder = MotionRecorder()
    for i, time_s in enumerate(times_s):
        recorder.add(i, time_s, [posed_hand(i, betas=np.zeros(16))])
    write_rigged_glb(tmp_path / "a.glb", recorder.motions(), MODEL)
    read = Gltf(tmp_path / "a.glb")
    sampler = read.gltf.animations[0].samplers[0]
    read_s = read.array(sampler.input)[:, 0].astype(float)
    np.testing.assert_allclose(read_s, np.unique(times_s), atol=4e-3)
    assert (np.diff(read_s) > 0).all()
    assert len(read.array(sampler.output)) == len(read_s)


def glb_steps(read: Gltf) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Times and scales of the wrists that are scaled, by the wrist's name."""
    (animation,) = read.gltf.animations
    steps = {}
    for channel in animation.channels:
        if channel.target.path == "scale":
            sampler = animation.samplers[channel.sampler]
            assert sampler.interpolation == "STEP"
            times, values = read.array(sampler.input)[:, 0], read.array(sampler.output)
            assert (np.diff(times) > 0).all()
            assert (values == values[:, :1]).all()
            bounds = read.gltf.accessors[sampler.input]
            assert (bounds.min[0], bounds.max[0]) == (times[0], times[-1])
            steps[read.gltf.nodes[channel.target.node].name] = (times, values[:, 0])
    return steps


@pytest.mark.parametrize("start", [0, 40, 100_000])
def test_glb_hides_a_hand_while_it_is_away(tmp_path: Path, start: int):
    write_rigged_glb(tmp_path / "a.glb", coming_and_going(start), MODEL)
    steps = glb_steps(Gltf(tmp_path / "a.glb"))
    assert set(steps) == {"hand_0_right_wrist", "hand_1_left_wrist"}
    frames_s = ((start + np.arange(NUM_FRAMES)) / FPS).astype(np.float32)
    for (times, scales), at in zip(steps.values(), (RIGHT_AT, LEFT_AT), strict=True):
        shown = scales[np.searchsorted(times, frames_s, side="right") - 1]
        np.testing.assert_array_equal(shown, [float(i in at) for i in range(NUM_FRAMES)])
        assert times[0] == 0, "hidden from the video's start on"


def test_glb_collapses_what_is_scaled_away(tmp_path: Path):
    """All vertices hang on the wrist, so its scale is enough."""
    motions = coming_and_going()
    write_rigged_glb(tmp_path / "a.glb", motions, MODEL)
    read = Gltf(tmp_path / "a.glb")
    world = read.world(None)
    assert len(read.gltf.skins) == 2
    for skin in read.gltf.skins:
        below, above = set(skin.joints[1:]), {skin.joints[0]}
        while new := {c for k in above for c in read.gltf.nodes[k].children or []} - above:
            above |= new
        assert below <= above
        inverse_bind = read.array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
        wrist = world[skin.joints[0]]
        shrink = wrist @ np.diag([0.0, 0.0, 0.0, 1.0]) @ np.linalg.inv(wrist)
        joint = np.stack([shrink @ world[j] for j in skin.joints]) @ inverse_bind
        assert np.abs(joint[:, :3, :3]).max() < 1e-12
        np.testing.assert_allclose(joint[:, :3, 3], np.tile(wrist[:3, 3], (16, 1)), atol=1e-9)


def test_a_hand_that_is_always_there_is_never_scaled(tmp_path: Path):
    frames = video(0)
    write_rigged_glb(tmp_path / "a.glb", recorded(list(enumerate(frames))), MODEL)
    assert glb_steps(Gltf(tmp_path / "a.glb")) == {}
    every_third = recorded([(3 * i, hands) for i, hands in enumerate(frames)])
    gaps = [len(p.time_s) for p in presences(every_third)]
    assert gaps == [0, 0], "no gaps, but fewer frames"


def test_a_gap_shorter_than_a_frame_is_a_gap():
    """As damaged videos have them."""
    recorder = MotionRecorder()
    for i, time_s in enumerate((0.0, 0.5, 0.503, 0.506, 1.0, 1.5)):
        recorder.add(i, time_s, [make_hand()] if i != 2 else [])
    (presence,) = presences(recorder.motions())
    assert (np.diff(presence.time_s) > 0).all()
    shown = seen_at(presence, np.array([0, 0.5, 0.503, 0.506, 1.0, 1.5]))
    assert shown == [True, True, False, True, True, True]


def test_a_hand_of_one_frame_is_shown_in_that_frame(tmp_path: Path):
    frames = [(i, pair(i)[: 2 if i == 2 else 1]) for i in range(5)]
    write_rigged_glb(tmp_path / "a.glb", recorded(frames), MODEL)
    ((name, (times, scales)),) = glb_steps(Gltf(tmp_path / "a.glb")).items()
    assert name == "hand_1_left_wrist"
    np.testing.assert_allclose(times, np.array([0, 1.5, 2.5]) / FPS, atol=1e-6)
    np.testing.assert_array_equal(scales, [0, 1, 0])
    write_rigged_glb(tmp_path / "b.glb", recorded([(7, pair(0))]), MODEL)
    assert not Gltf(tmp_path / "b.glb").gltf.animations, "a still of one frame"


@given(seed=st.integers(0, 2**31), every=st.integers(1, 4), fps=st.floats(1, 240))
def test_hands_are_there_in_their_frames_only(seed: int, every: int, fps: float):
    rng = np.random.default_rng(seed)
    start, count = int(rng.integers(0, 50)), int(rng.integers(2, 20))
    hands = [make_hand(), make_hand(is_right=False), make_hand(centre=(9.0, 0, 0.5))]
    seen = rng.uniform(size=(count, 3)) < 0.7
    seen[:2, 0] = True  # so that it can be known how far apart the frames are
    frames = every * (start + np.arange(count))
    shown = [[h for h, there in zip(hands, row, strict=True) if there] for row in seen]
    motions = recorded(list(zip(frames.tolist(), shown, strict=True)), fps=fps)
    last = max(motion.frame[-1] for motion in motions)
    for motion, presence in zip(motions, presences(motions), strict=True):
        expected = np.isin(frames, motion.frame)[frames <= last].tolist()
        if len(presence.time_s) == 0:
            assert all(expected)
            assert start == 0
        else:
            assert (np.diff(presence.time_s) > 0).all()
            assert seen_at(presence, frames[frames <= last] / fps) == expected
            assert seen_at(presence, np.array([0.0])) == [motion.frame[0] == 0]


def test_glb_opens_in_trimesh(tmp_path: Path):
    write_rigged_glb(tmp_path / "a.glb", [HandMotion.of(posed_hand(0))], MODEL)
    scene = trimesh.load_scene(tmp_path / "a.glb")
    (mesh,) = scene.geometry.values()
    assert mesh.is_watertight
    colour = np.asarray(mesh.visual.material.baseColorFactor)[:3] / 255
    encoded = np.where(colour > 0.0031, 1.055 * colour ** (1 / 2.4) - 0.055, 12.92 * colour)
    np.testing.assert_allclose(encoded * 255, SIDE_COLOURS[True], atol=2)


def test_a_vertex_keeps_its_four_strongest_joints(tmp_path: Path):
    skinning = MODEL.skinning.clone()
    skinning[0] = torch.linspace(1, 16, 16).double()
    skinning[0] /= skinning[0].sum()
    path = tmp_path / "a.glb"
    write_rigged_glb(path, [HandMotion.of(posed_hand(0))], replace(MODEL, skinning=skinning))
    read = Gltf(path)
    attributes = read.gltf.meshes[0].primitives[0].attributes
    assert read.array(attributes.JOINTS_0)[0].tolist() == [15, 14, 13, 12]
    expected = np.array([16, 15, 14, 13]) / 58
    np.testing.assert_allclose(read.array(attributes.WEIGHTS_0)[0], expected, atol=1e-6)


# -------------------------------------------------------------------------------------- OBJ and PLY


@pytest.mark.parametrize("form", ["obj", "ply"])
def test_static_meshes_are_the_camera_frames(tmp_path: Path, form: Format):
    hands = [pair(0)[0], broken_hand(), pair(0)[1]]
    (path,) = export_photo(tmp_path, "a", hands, MODEL, [form])
    mesh = meshio.read(path)
    both = [hands[0], hands[2]]
    np.testing.assert_allclose(mesh.points, np.concatenate([h.verts_cam for h in both]), atol=1e-6)
    faces = np.concatenate([block.data for block in mesh.cells])
    expected = np.concatenate([both[0].faces, both[1].faces + len(both[0].verts_cam)])
    np.testing.assert_array_equal(faces, expected)


def test_ply_has_normals_and_the_sides_colours(tmp_path: Path):
    write_ply(tmp_path / "a.ply", pair(4))
    assert b"binary_little_endian" in (tmp_path / "a.ply").read_bytes()[:60]
    data = meshio.read(tmp_path / "a.ply").point_data
    colours = np.stack([data[c] for c in ("red", "green", "blue")], 1).astype(np.uint8)
    half = len(MODEL.template)
    assert (colours[:half] == SIDE_COLOURS[True]).all()
    assert (colours[half:] == SIDE_COLOURS[False]).all()
    normals = np.stack([data[c] for c in ("nx", "ny", "nz")], 1)
    for hand, own in zip(pair(4), np.split(normals, 2), strict=True):
        solid = trimesh.Trimesh(hand.verts_cam, hand.faces, process=False)
        assert solid.volume > 0
        assert np.median((own * solid.vertex_normals).sum(1)) > 0.99
        np.testing.assert_allclose(own, vertex_normals(hand.verts_cam, hand.faces), atol=1e-6)


# --------------------------------------------------------------------------------------------- npz


def axis_angle_matrix(vector: np.ndarray) -> np.ndarray:
    """Rodrigues, once more."""
    angle = np.linalg.norm(vector)
    x, y, z = vector / max(angle, 1e-12)
    S = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * S + (1 - np.cos(angle)) * S @ S


def smplx_verts(model: HandModel, row: dict[str, np.ndarray]) -> np.ndarray:
    """Vertices as SMPL-X and MANO make them: skin about the joints at rest, add `transl`."""
    rest = model.template.numpy() + model.shape_basis.numpy() @ row["betas"]
    joints = model.joint_regressor.numpy() @ rest
    pose = np.concatenate((row["global_orient"], row["hand_pose"])).reshape(16, 3)
    moves = []
    for j, parent in enumerate(model.parents):
        move = np.eye(4)
        move[:3, :3] = axis_angle_matrix(pose[j])
        move[:3, 3] = joints[j] - move[:3, :3] @ joints[j]  # about the joint's place at rest
        moves.append(move if parent < 0 else moves[parent] @ move)
    blended = np.einsum("vj,jab->vab", model.skinning.numpy(), np.stack(moves))
    moved = np.einsum("vab,vb->va", blended[:, :3, :3], rest) + blended[:, :3, 3]
    return moved + row["transl"]


def test_npz_makes_our_vertices_by_the_smplx_formulas(tmp_path: Path):
    frames = [pair(0), pair(10), pair(20)]
    motions = recorded(list(enumerate(frames)))
    write_npz(tmp_path / "a.npz", motions, MODEL)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays["header"]))
    assert (header["format"], header["version"]) == ("idhand-motion", 1)
    assert header["model"] == MODEL.name
    assert "camera frame" in header["conventions"]
    assert arrays["hand"].tolist() == [name for m in motions for name in [m.name] * m.num_frames]
    names = ("betas", "global_orient", "hand_pose", "transl")
    row = 0
    for motion in motions:
        model = MODEL if motion.is_right else MODEL.mirrored()
        faces = arrays["faces_right" if motion.is_right else "faces_left"]
        for i in range(motion.num_frames):
            (hand,) = [h for h in frames[motion.frame[i]] if h.is_right == motion.is_right]
            values = {name: arrays[name][row] for name in names}
            np.testing.assert_allclose(smplx_verts(model, values), hand.verts_cam, atol=1e-7)
            np.testing.assert_array_equal(faces, hand.faces)
            np.testing.assert_array_equal(arrays["rotations"][row], hand.rotations)
            np.testing.assert_array_equal(arrays["wrist_cam"][row], hand.keypoints_cam[0])
            assert arrays["is_right"][row] == motion.is_right
            assert arrays["frame"][row] == motion.frame[i]
            row += 1
    assert row == len(arrays["betas"])


# --------------------------------------------------------------------------------------------- BVH


def bvh_positions_m(path: Path, frame: int) -> dict[str, np.ndarray]:
    """Positions of the joints of a frame, by bvhio's forward kinematics, in metres."""
    root = bvhio.readAsHierarchy(str(path))
    root.loadPose(frame)
    return {joint.Name: np.array(joint.PositionWorld) / 100 for joint, _, _ in root.layout()}


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_bvh_has_our_joints(tmp_path: Path, seed: int, is_right: bool):
    betas = np.random.default_rng(seed).normal(size=16)
    hands = [posed_hand(7 * seed + i, is_right=is_right, betas=betas) for i in range(3)]
    (motion,) = recorded([(i, [hand]) for i, hand in enumerate(hands)])
    write_bvh(tmp_path / "a.bvh", motion, MODEL, fps=FPS)
    person = (MODEL if is_right else MODEL.mirrored()).with_shape(torch.from_numpy(betas))
    for i, hand in enumerate(hands):
        read = bvh_positions_m(tmp_path / "a.bvh", i)
        flip = np.ones(3) if is_right else FLIP
        turns = torch.from_numpy(flip[:, None] * hand.rotations * flip)
        _, joints = person.chain(turns, torch.from_numpy(hand.keypoints_cam[0]))
        for name, place in zip(JOINT_NAMES, joints.numpy(), strict=True):
            np.testing.assert_allclose(read[name], place * GLTF, atol=1e-4)


def test_bvh_ends_at_the_fingertips(tmp_path: Path):
    hand = posed_hand(5)
    write_bvh(tmp_path / "a.bvh", HandMotion.of(hand), MODEL)
    text = (tmp_path / "a.bvh").read_text()
    assert text.count("End Site") == 5
    assert "Frames: 1\nFrame Time: 0.033333333\n" in text
    file = bvhio.readAsBvh(str(tmp_path / "a.bvh"))
    bones = {joint.Name: joint for joint, _, _ in file.Root.layout()}
    lengths = [
        np.linalg.norm(np.array(bones[f"{f}_{j}"].EndSite)) / 100
        for f, j in (("thumb", "ip"), *((f, "dip") for f in ("index", "middle", "ring", "little")))
    ]
    points = hand.keypoints_cam
    expected = [np.linalg.norm(points[k] - points[k - 1]) for k in (4, 8, 12, 16, 20)]
    np.testing.assert_allclose(lengths, expected, atol=1e-4)


def test_bvh_holds_the_last_pose_where_frames_are_missing(tmp_path: Path):
    hands = {2: posed_hand(0), 3: posed_hand(1), 6: posed_hand(2)}
    same = {i: replace(hand, betas=np.zeros(16)) for i, hand in hands.items()}
    (motion,) = recorded([(i, [hand]) for i, hand in same.items()])
    write_bvh(tmp_path / "a.bvh", motion, MODEL, fps=FPS)
    rows = (tmp_path / "a.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    wrists = np.array([row.split()[:3] for row in rows], float) / 100
    shown = [2, 3, 3, 3, 6]
    expected = np.stack([hands[k].keypoints_cam[0] * GLTF for k in shown])
    np.testing.assert_allclose(wrists, expected, atol=1e-6)


def test_frames_are_held_by_time():
    assert held_frames(np.array([0.0]), 30.0).tolist() == [0]
    assert held_frames(np.array([0.0, 0.1]), 10.0).tolist() == [0, 1]
    uneven = np.array([0.0, 0.0334, 0.0667, 0.2])
    assert held_frames(uneven, 30.0).tolist() == [0, 1, 2, 2, 2, 2, 3]
    assert held_frames(3600 + uneven, 30.0).tolist() == [0, 1, 2, 2, 2, 2, 3]
    assert held_frames(np.array([1e300]), 30.0).tolist() == [0]


@given(seed=st.integers(0, 2**31), start_s=st.floats(0, 1e5), fps=st.floats(1, 240))
def test_each_frame_of_a_constant_rate_is_one_row(seed: int, start_s: float, fps: float):
    rng = np.random.default_rng(seed)
    ticks = round(start_s * fps) + np.cumsum(rng.integers(1, 4, 20))
    rows = held_frames((ticks + rng.uniform(-0.3, 0.3, 20)) / fps, fps)
    np.testing.assert_array_equal(
        rows, np.repeat(np.arange(20), np.diff(ticks, append=ticks[-1] + 1))
    )


def test_bvh_of_a_late_motion_is_as_short_as_the_motion(tmp_path: Path):
    frames = [(59 * 60 * 30 + i, [posed_hand(i, betas=np.zeros(16))]) for i in range(3)]
    (motion,) = recorded(frames)
    write_bvh(tmp_path / "a.bvh", motion, MODEL, fps=FPS)
    assert "Frames: 3\n" in (tmp_path / "a.bvh").read_text()
    assert (tmp_path / "a.bvh").stat().st_size < 5000


def test_bvh_of_a_senseless_rate_is_refused_before_anything_is_written(tmp_path: Path):
    motions = recorded(list(enumerate(video(0, frames=2))))
    export_motion(tmp_path, "a", motions, MODEL, ["bvh"], fps=FPS * MAX_HELD_FRAMES)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"would become 3000000 at 9e\+07 frames per second"):
        export_motion(tmp_path, "b", motions, MODEL, ["glb", "bvh"], fps=9e7)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("times_s", [(0.0, 0.1, 0.1), (0.0, 2.0, 1.0), (0.0, np.nan, 1.0)])
def test_times_that_do_not_increase_are_a_sentence(tmp_path: Path, times_s: tuple):
    (motion,) = recorded([(i, [posed_hand(i, betas=np.zeros(16))]) for i in range(3)])
    wrong = replace(motion, time_s=np.array(times_s))
    with pytest.raises(ValueError, match="times of hand_0_right do not increase"):
        export_motion(tmp_path, "a", [wrong], MODEL, FORMATS, fps=FPS)
    wrong = replace(motion, frame=motion.frame[::-1].copy())
    with pytest.raises(ValueError, match="frames of hand_0_right do not increase"):
        write_bvh(tmp_path / "a.bvh", wrong, MODEL)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_videos_hands_can_be_exported(tmp_path: Path):
    """Its times jump ahead by a year, start anew, stand still and are no numbers."""
    recorder = MotionRecorder()
    for i, time_s in enumerate((0, 1 / 30, 3e7, 0, 1 / 30, 2 / 30, 2 / 30, np.nan, 3 / 30)):
        recorder.add(i, float(time_s), pair(2 * i))
    paths = export_motion(tmp_path, "v", recorder.motions(), MODEL, FORMATS, fps=FPS)
    assert sum(path.stat().st_size for path in paths) < 2e6


def test_bvh_angles_do_not_jump(tmp_path: Path):
    turns = [rotation_from_vector(torch.tensor([0.0, 0.0, a])) for a in np.linspace(0, 7, 30)]
    base = posed_hand(0)
    hands = []
    for turn in turns:
        rotations = base.rotations.copy()
        rotations[0] = turn.numpy()
        hands.append(replace(base, rotations=rotations))
    (motion,) = recorded([(i, [hand]) for i, hand in enumerate(hands)])
    write_bvh(tmp_path / "a.bvh", motion, MODEL, fps=FPS)
    rows = (tmp_path / "a.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    angles = np.array([row.split()[3:] for row in rows], float)
    assert np.abs(np.diff(angles, axis=0)).max() < 20


@pytest.mark.parametrize("sign", [-1, 1])
def test_bvh_survives_the_singular_place(sign: int):
    for z, x in ((0.3, -0.4), (2.0, 1.0)):
        Rz, Ry, Rx = (
            axis_angle_matrix(np.array(v)) for v in ((0, 0, z), (0, sign * np.pi / 2, 0), (x, 0, 0))
        )
        R = Rz @ Ry @ Rx
        z2, y2, x2 = np.radians(bvh._euler_deg(R[None, None])[0, 0])
        back = (
            axis_angle_matrix(np.array((0, 0, z2)))
            @ axis_angle_matrix(np.array((0, y2, 0)))
            @ axis_angle_matrix(np.array((x2, 0, 0)))
        )
        np.testing.assert_allclose(back, R, atol=1e-6)


# ------------------------------------------------------------------------------------------ OpenXR

XR_NAMES = openxr.OPENXR_JOINT_NAMES
NEXT = {j: j + 1 for j in range(26) if j not in (0, 1, 5, 10, 15, 20, 25)}
"""Along each bone; the palm and the tips end none."""


def turned(quaternions: np.ndarray, axis: Sequence[float]) -> np.ndarray:
    """An axis of each frame in the scene: q v q*."""
    v, xyz, w = np.array(axis, float), quaternions[..., :3], quaternions[..., 3:]
    t = 2 * np.cross(xyz, np.broadcast_to(v, xyz.shape))
    return v + w * t + np.cross(xyz, t)


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_openxr_laws(seed: int, is_right: bool):
    hand = posed_hand(seed, is_right=is_right)
    joints = openxr_joints(HandMotion.of(hand), MODEL)
    places, turns = joints.positions[0], joints.orientations_xyzw[0]
    np.testing.assert_allclose(np.linalg.norm(turns, axis=1), 1, atol=1e-9)
    ours = places[[1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 25]]
    np.testing.assert_allclose(ours, hand.keypoints_cam * GLTF, atol=1e-9)  # docs/conventions.md
    forward, up, right = (turned(turns, v) for v in ((0, 0, -1), (0, 1, 0), (1, 0, 0)))
    for j, k in NEXT.items():
        bone = (places[k] - places[j]) / np.linalg.norm(places[k] - places[j])
        np.testing.assert_allclose(forward[j], bone, atol=1e-9, err_msg=XR_NAMES[j])
    for tip in (5, 10, 15, 20, 25):
        np.testing.assert_allclose(turns[tip], turns[tip - 1], atol=1e-9)
    np.testing.assert_allclose(np.cross(forward, up), right, atol=1e-9)
    np.testing.assert_allclose(places[0], (places[11] + places[12]) / 2, atol=1e-9)
    np.testing.assert_allclose(forward[0], forward[11], atol=1e-9)


def test_openxr_up_is_the_back_of_the_flat_hand():
    flat = replace(posed_hand(0, betas=np.zeros(16)), rotations=np.tile(np.eye(3), (16, 1, 1)))
    for is_right in (True, False):
        motion = HandMotion.of(replace(flat, is_right=is_right))
        turns = openxr_joints(motion, MODEL).orientations_xyzw[0]
        up, right = turned(turns, (0, 1, 0)), turned(turns, (1, 0, 0))
        fingers = [j for j, name in enumerate(XR_NAMES) if "thumb" not in name]
        assert up[fingers, 2].max() < -0.8, "the palm faces the camera, at +z"
        thumb_side = 1 if is_right else -1  # docs/conventions.md: a right thumb lies at +x
        assert right[fingers, 0].max() < -0.8, "seen from its back, a hand's right is at -x"
        nail = up[[2, 3, 4, 5]] * [thumb_side, 1, 1]
        assert nail[:, 0].min() > 0.5, "a thumb's nail looks away from the fingers"


def test_openxr_metacarpals_move_with_the_hand():
    np.testing.assert_allclose(openxr.METACARPAL_WEIGHTS.sum(1), 1, atol=1e-9)
    hand = posed_hand(3)
    bases = openxr_joints(HandMotion.of(hand), MODEL).positions[0, [6, 11, 16, 21]]
    from_wrist = np.linalg.norm(bases - hand.keypoints_cam[0] * GLTF, axis=1)
    knuckles = hand.keypoints_cam[[5, 9, 13, 17]] * GLTF
    lengths = np.linalg.norm(knuckles - bases, axis=1)
    assert (from_wrist < 0.06).all()
    assert ((lengths > 0.035) & (lengths < 0.09)).all(), "as long as metacarpals are"


def test_openxr_left_is_the_mirror_image_of_right():
    right = posed_hand(2)
    left = replace(right, is_right=False, keypoints_cam=right.keypoints_cam * FLIP)
    a, b = (openxr_joints(HandMotion.of(hand), MODEL) for hand in (right, left))
    np.testing.assert_allclose(b.positions, a.positions * FLIP, atol=1e-9)
    np.testing.assert_allclose(b.radii, a.radii, atol=1e-9)
    for axis, sign in (((0, 0, -1), 1), ((0, 1, 0), 1), ((1, 0, 0), -1)):
        mirrored = turned(a.orientations_xyzw, axis) * FLIP * sign
        np.testing.assert_allclose(turned(b.orientations_xyzw, axis), mirrored, atol=1e-9)


def test_openxr_radii_are_distances_to_the_skin():
    """At rest, where they are measured; vertices are a few millimetres apart."""
    flat = np.tile(np.eye(3), (16, 1, 1))
    hand = posed_hand(6)
    joints = openxr_joints(HandMotion.of(replace(hand, rotations=flat)), MODEL)
    posed = MODEL.with_shape(torch.from_numpy(hand.betas)).posed(
        torch.from_numpy(flat), torch.from_numpy(hand.keypoints_cam[0])
    )
    surface = trimesh.Trimesh(posed.verts.numpy() * GLTF, hand.faces, process=False)
    cloud = trimesh.sample.sample_surface(surface, 60_000, seed=0)[0]
    inside = [j for j, name in enumerate(XR_NAMES) if not name.endswith("tip")]
    nearest = np.stack([np.linalg.norm(cloud - p, axis=1).min() for p in joints.positions[0]])
    np.testing.assert_allclose(joints.radii[inside], nearest[inside], atol=2e-4)
    tips = [j for j, name in enumerate(XR_NAMES) if name.endswith("tip")]
    assert nearest[tips].max() < 1e-3, "tips lie on the skin"


def test_openxr_radii_are_those_of_a_hand():
    radii_mm = 1e3 * openxr_joints(HandMotion.of(posed_hand(1, betas=np.zeros(16))), MODEL).radii
    by_name = dict(zip(XR_NAMES, radii_mm, strict=True))
    assert 12 < by_name["palm"] < 25
    for finger in ("index", "middle", "ring", "little"):
        chain = [by_name[f"{finger}_{p}"] for p in ("proximal", "intermediate", "distal", "tip")]
        assert all(3 < r < 13 for r in chain)
        assert chain == sorted(chain, reverse=True), "fingers get thinner"


def test_openxr_file(tmp_path: Path):
    frames = video(5, frames=3)
    motions = recorded(list(enumerate(frames)))
    write_openxr(tmp_path / "a.json", motions, MODEL)
    document = json.loads((tmp_path / "a.json").read_text())
    assert set(document) == {
        "format",
        "version",
        "idhand",
        "frame_of_reference",
        "joint_names",
        "parents",
        "hands",
    }
    assert len(document["parents"]) == 26
    for name, parent in zip(document["joint_names"], document["parents"], strict=True):
        if name == "wrist":
            assert parent == -1
        elif name == "palm" or name.endswith("metacarpal"):
            assert document["joint_names"][parent] == "wrist"
        else:  # the joint before it, of the same finger
            assert document["joint_names"][parent + 1] == name
            assert document["joint_names"][parent].split("_")[0] == name.split("_")[0]
    assert document["joint_names"][:2] == ["palm", "wrist"]
    assert document["joint_names"][21:] == [
        f"little_{part}" for part in ("metacarpal", "proximal", "intermediate", "distal", "tip")
    ]
    for hand, motion in zip(document["hands"], motions, strict=True):
        joints = openxr_joints(motion, MODEL)
        assert (hand["name"], hand["is_right"]) == (motion.name, motion.is_right)
        np.testing.assert_allclose(hand["radii"], joints.radii, atol=1e-6)
        assert [frame["frame"] for frame in hand["frames"]] == [0, 1, 2]
        for i, frame in enumerate(hand["frames"]):
            assert set(frame) == {"frame", "time_s", "positions", "orientations_xyzw"}
            np.testing.assert_allclose(frame["positions"], joints.positions[i], atol=1e-6)
            turns = joints.orientations_xyzw[i]
            np.testing.assert_allclose(frame["orientations_xyzw"], turns, atol=1e-6)


# --------------------------------------------------------------------------------------------- USD


def test_usd_skins_to_our_vertices(tmp_path: Path):
    """By UsdSkel's own skinning; tools/check_blender.py reads the file with Blender."""
    from importlib import import_module

    Usd, UsdGeom, UsdSkel = (import_module(f"pxr.{n}") for n in ("Usd", "UsdGeom", "UsdSkel"))
    frames = video(6, frames=3)
    write_usd(tmp_path / "a.usdc", recorded(list(enumerate(frames))), MODEL, fps=FPS)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 2)
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == FPS
    cache = UsdSkel.Cache()
    for k, name in enumerate(("hand_0_right", "hand_1_left")):
        root = UsdSkel.Root.Get(stage, f"/hands/{name}")
        cache.Populate(root, Usd.PrimDefaultPredicate)
        (binding,) = cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
        (target,) = binding.GetSkinningTargets()
        query = cache.GetSkelQuery(binding.GetSkeleton())
        for i, hands in enumerate(frames):
            transforms = query.ComputeSkinningTransforms(float(i))
            points = UsdGeom.Mesh(target.GetPrim()).GetPointsAttr().Get()
            assert target.ComputeSkinnedPoints(transforms, points)
            np.testing.assert_allclose(np.array(points), hands[k].verts_cam * GLTF, atol=5e-5)


@pytest.mark.parametrize("start", [0, 40])
def test_usd_hides_a_hand_while_it_is_away(tmp_path: Path, start: int):
    from importlib import import_module

    Usd, UsdGeom, UsdSkel = (import_module(f"pxr.{n}") for n in ("Usd", "UsdGeom", "UsdSkel"))
    write_usd(tmp_path / "a.usdc", coming_and_going(start), MODEL, fps=FPS)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    both = (("/hands/hand_0_right", RIGHT_AT), ("/hands/hand_1_left", LEFT_AT))
    for path, at in both:
        mesh = UsdGeom.Mesh.Get(stage, f"{path}/mesh")
        animation = UsdSkel.Animation.Get(stage, f"{path}/skeleton/animation")
        for i in range(NUM_FRAMES):
            shown = mesh.ComputeVisibility(start + i) != UsdGeom.Tokens.invisible
            assert shown == (i in at)
            scales = np.array(animation.GetScalesAttr().Get(start + i), float)
            assert (scales[1:] == 1).all()
            assert (scales[0] == (1 if shown else 2**-10)).all()
        shown = mesh.ComputeVisibility(0) != UsdGeom.Tokens.invisible
        assert shown == (start == 0 and 0 in at)


def test_usd_leaves_a_hand_alone_that_is_always_there(tmp_path: Path):
    from importlib import import_module

    Usd, UsdGeom = (import_module(f"pxr.{n}") for n in ("Usd", "UsdGeom"))
    write_usd(tmp_path / "a.usdc", recorded(list(enumerate(video(6)))), MODEL, fps=FPS)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    prims = [UsdGeom.Imageable(p) for p in stage.Traverse() if p.IsA(UsdGeom.Imageable)]
    assert len(prims) >= 4, "two hands and their meshes"
    assert not any(prim.GetVisibilityAttr().HasAuthoredValue() for prim in prims)


def test_usd_without_its_library_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    monkeypatch.setattr("idhand.view.export.usd.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'idhand\[usd\]'"):
        export_photo(tmp_path, "a", pair(0), MODEL, ["glb", "usd"])
    assert list(tmp_path.iterdir()) == [], "told before anything is written"


# -------------------------------------------------------------------------------- all formats


def test_a_photo_in_all_formats(tmp_path: Path):
    hands = [broken_hand(), *pair(0)]
    paths = export_photo(tmp_path, "a", hands, MODEL, FORMATS)
    assert [path.name for path in paths] == [
        "a.glb",
        "a.obj",
        "a.ply",
        "a.npz",
        "a_hand_1_right.bvh",
        "a_hand_2_left.bvh",
        "a.openxr.json",
        "a.usdc",
    ]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert set(EXPORTS) == {*FORMATS, "mano"}


def test_a_video_in_all_formats_but_meshes(tmp_path: Path):
    motions = recorded(list(enumerate(video(1))))
    paths = export_motion(tmp_path, "v", motions, MODEL, FORMATS, fps=FPS)
    assert [path.name for path in paths] == [
        "v.glb",
        "v.npz",
        "v_hand_0_right.bvh",
        "v_hand_1_left.bvh",
        "v.openxr.json",
        "v.usdc",
    ]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert export_motion(tmp_path, "w", motions, MODEL, ["obj", "ply"], fps=FPS) == []


def test_same_input_same_bytes(tmp_path: Path):
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        paths = export_photo(tmp_path / name, "a", pair(3), MODEL, FORMATS)
        motions = recorded(list(enumerate(video(2))))
        paths += export_motion(tmp_path / name, "v", motions, MODEL, FORMATS, fps=FPS)
        contents.append({path.name: path.read_bytes() for path in paths})
    assert contents[0] == contents[1]


def test_what_cannot_be_exported_is_a_sentence(tmp_path: Path):
    def photo(hands: list[HandResult], model: FittableHand = MODEL, formats: Any = FORMATS):
        export_photo(tmp_path, "a", hands, model, formats)

    with pytest.raises(ValueError, match="no hand with a usable fit"):
        photo([broken_hand()])
    with pytest.raises(ValueError, match="no hand with a usable fit"):
        export_motion(tmp_path, "a", [], MODEL, FORMATS, fps=FPS)
    hand = posed_hand(0)
    with pytest.raises(ValueError, match=r"'idhand-open-1' \(10 betas\), got 'idhand-open-1' \(16"):
        photo([replace(hand, betas=np.zeros(10))])
    with pytest.raises(ValueError, match="hand_0_right was fitted with hand model 'other'"):
        photo([replace(hand, model="other")])
    with pytest.raises(ValueError, match="fitted with hand model 'other'"):
        write_bvh(tmp_path / "a.bvh", HandMotion.of(replace(hand, model="other")), MODEL)
    short = HandMotion.of(replace(hand, betas=np.zeros(10)))
    with pytest.raises(ValueError, match="10 betas"):
        export_motion(tmp_path, "a", [short], MODEL, FORMATS, fps=FPS)
    with pytest.raises(ValueError, match="hand_0_right has no mesh"):
        photo([replace(hand, verts_cam=np.zeros((0, 3)))])
    with pytest.raises(ValueError, match="a mesh of 642 vertices"):
        photo([make_hand()])
    with pytest.raises(ValueError, match="right-hand model"):
        write_rigged_glb(tmp_path / "a.glb", [HandMotion.of(hand)], MODEL.mirrored())
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="fbx"):
        photo([hand], formats=["glb", "fbx"])
    for fps in (0.0, float("nan")):
        with pytest.raises(ValueError, match="fps must be positive"):
            write_bvh(tmp_path / "a.bvh", HandMotion.of(hand), MODEL, fps=fps)
        with pytest.raises(ValueError, match="fps must be positive"):
            export_motion(tmp_path, "a", [HandMotion.of(hand)], MODEL, ["glb"], fps=fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_glb, write_obj, write_ply])
def test_hands_read_from_a_file_have_no_mesh(tmp_path: Path, write: Any):
    picture = ImageHands(file="a", name="a", width=9, height=9, K=None, hands=tuple(pair(0)))
    write_hands(tmp_path / "hands.json", [picture])
    (read,) = read_hands(tmp_path / "hands.json")
    with pytest.raises(ValueError, match=r"hand_0_right has no mesh.*read_hands\(path, model\)"):
        write(tmp_path / "a", list(read.hands))
    with pytest.raises(ValueError, match="hand_1_left has no mesh"):
        write(tmp_path / "a", [pair(0)[0], read.hands[1]])
    assert [path.name for path in tmp_path.iterdir()] == ["hands.json"]
    (whole,) = read_hands(tmp_path / "hands.json", MODEL)
    write(tmp_path / "a", list(whole.hands))
    write_rigged_glb(tmp_path / "b.glb", [HandMotion.of(read.hands[0])], MODEL)


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
):
    from idhand.files import replacing

    @contextmanager
    def full(path: Path):
        with replacing(path) as temporary:
            yield temporary
            assert temporary.stat().st_size > 0
            raise OSError(28, "No space left on device")

    for module in (
        "mesh",
        *(f"export.{m}" for m in ("gltf", "bvh", "rows", "openxr", "usd")),
    ):
        monkeypatch.setattr(f"idhand.view.{module}.replacing", full)
    with pytest.raises(OSError, match="No space left"):
        export_photo(tmp_path, "a", pair(0), MODEL, [form])
    assert list(tmp_path.iterdir()) == []


def test_usd_to_nowhere_is_an_os_error(monkeypatch: pytest.MonkeyPatch):
    @contextmanager
    def nowhere(path: Path):
        yield Path("/proc/nowhere/a.usdc")

    monkeypatch.setattr("idhand.view.export.usd.replacing", nowhere)
    with pytest.raises(OSError, match=r"a\.usdc could not be written"):
        write_usd("a.usdc", [HandMotion.of(posed_hand(0))], MODEL)


# ----------------------------------------------------------------------------------------- Blender


@pytest.mark.slow
def test_blender_poses_the_hand_as_we_do(tmp_path: Path):
    python = os.environ.get("IDHAND_BPY_PYTHON")
    if not python:
        pytest.skip("IDHAND_BPY_PYTHON names no interpreter with PyPI bpy (Blender)")
    tool = Path(__file__).parents[1] / "tools" / "check_blender.py"
    command = [sys.executable, str(tool), "--bpy-python", python, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    errors = [line for line in done.stdout.splitlines() if line.endswith("mm")]
    assert len(errors) >= 11, done.stdout
