import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trimesh.triangles import closest_point

from idhand.assets import open_hand
from idhand.hand import Hand, PosedHand
from idhand.synth.people.body import rotation_about
from idhand.synth.things.catalogue import THINGS, stack
from idhand.synth.things.company import (
    MAX_COVERED,
    MIRROR,
    SecondHand,
    second_hand,
    stray_object,
)
from idhand.synth.things.holding import (
    MAX_GRIP_PENETRATION_M,
    Flesh,
    bone_radii_m,
    flesh,
    held_object,
)
from idhand.synth.things.solids import Bar, Box, Material, Shape, Solid
from idhand.synth.things.worn import RING_JOINTS, ring, section_of, wristwear

GREY = Material(tone=(0.5, 0.5, 0.5), gloss=0.5)
OPEN, FIST = np.zeros(26), np.zeros(26)
FIST[[1, 2, 3, 5]] = np.radians([49, -30, 63, 56])
for base in (6, 11, 16, 21):
    FIST[[base, base + 3, base + 4]] = np.radians([82, 103, 62])
SHAPES: list[Shape] = [
    Box(half=(0.02, 0.03, 0.05), bevel=0.004, centre=(0.01, 0.0, 0.0), material=GREY),
    stack([(0.02, -0.05, GREY), (0.03, 0.01, GREY), (0.01, 0.03, GREY)]),
    Bar(
        path=((0.03, 0.0, -0.02), (0.04, 0.0, 0.0), (0.03, 0.0, 0.02)),
        radius=0.005,
        is_ring=False,
        material=GREY,
    ),
    Bar(
        path=tuple(
            (0.03 * math.cos(t), 0.03 * math.sin(t), 0.0)
            for t in (np.arange(12) * math.pi / 6).tolist()
        ),
        radius=0.004,
        is_ring=True,
        material=GREY,
    ),
]


@pytest.fixture(scope="module")
def hand() -> Hand:
    model = open_hand()
    return model.with_shape(torch.zeros(model.num_betas, dtype=torch.float64))


@pytest.fixture(scope="module")
def radii(hand: Hand) -> np.ndarray:
    at_rest = posed(hand, OPEN, np.eye(3))
    return bone_radii_m(at_rest.keypoints.numpy(), at_rest.verts.numpy())


def finger_rotations(hand: Hand, angles: np.ndarray) -> np.ndarray:
    return open_hand().pose_space.rotations(torch.from_numpy(angles)).numpy()


def posed(hand: Hand, angles: np.ndarray, R: np.ndarray) -> PosedHand:
    rotations = np.concatenate([R[None], finger_rotations(hand, angles)])
    place = torch.tensor([0.0, 0.06, 0.45], dtype=torch.float64)
    return hand.posed(torch.from_numpy(rotations), place)


def drawn(hand: Hand, radii: np.ndarray, seed: int) -> Flesh:
    """A hand of any pose between open and fist, seen from anywhere, right or left."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 1, 26) * rng.uniform(0.2, 1)
    R = rotation_about(rng.normal(size=3), float(rng.uniform(0, np.pi)))
    at = posed(hand, share * FIST, R)
    side = np.eye(3) if rng.random() < 0.5 else MIRROR
    right = side[0, 0] > 0
    return flesh(at.keypoints.numpy() @ side, at.verts.numpy() @ side, radii, is_right=bool(right))


def skin_of(own: Flesh) -> np.ndarray:
    """The mesh's vertices, which have no thickness."""
    return own.centres_cam[own.radii_m == 0.0]


def winding(points: np.ndarray, verts: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """How often a mesh winds around points: 1 inside, 0 outside. Van Oosterom and Strackee."""
    a, b, c = (verts[faces[:, k]] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    triple = (a * np.cross(b, c)).sum(-1)
    dots = (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2(triple, la * lb * lc + dots).sum(1) / (2 * np.pi)


def merged(solid: Solid) -> tuple[np.ndarray, np.ndarray]:
    """Doubled vertices made one, and the faces; those that lost their area are dropped."""
    verts, same = np.unique(np.round(solid.verts, 9), axis=0, return_inverse=True)
    faces = same.ravel()[solid.faces]
    return verts, faces[(faces != np.roll(faces, 1, 1)).all(1)]


def assert_is_closed(solid: Solid) -> None:
    """Every edge is passed as often in one direction as in the other, and normals are unit."""
    _, faces = merged(solid)
    edges = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    there, back = (np.unique(e, axis=0, return_counts=True) for e in (edges, edges[:, ::-1]))
    np.testing.assert_array_equal(there[0], back[0])
    np.testing.assert_array_equal(there[1], back[1])
    np.testing.assert_allclose(np.linalg.norm(solid.normals, axis=1), 1.0, atol=1e-6)


def assert_is_sound(solid: Solid) -> None:
    """Closed, and normals on the side that faces are wound for, which is outside."""
    assert_is_closed(solid)
    a, b, c = (solid.verts[solid.faces[:, k]] for k in range(3))
    agreement = (np.cross(b - a, c - a) * solid.normals[solid.faces].mean(1)).sum(1)
    assert (agreement > 0).all()
    assert (a * np.cross(b, c)).sum() > 0, "inside out"


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_closed_and_their_normals_point_outward(shape: Shape):
    assert_is_sound(shape.solid())


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.name)
def test_things_are_small_sound_meshes_that_know_their_distance(thing):
    rng = np.random.default_rng(3)
    for size in (*thing.size_m, sum(thing.size_m) / 2):
        shapes = thing.make(rng, float(size))
        assert sum(len(shape.solid().faces) for shape in shapes) <= 800
        for shape in shapes:
            solid = shape.solid()
            assert_is_sound(solid)
            assert ((solid.tone >= 0) & (solid.tone <= 1)).all()
            assert ((solid.gloss >= 0) & (solid.gloss <= 1)).all()
            assert shape.distance_m(solid.verts).max() < 1e-6, "the mesh lies within the shape"


@pytest.mark.parametrize("shape", SHAPES)
def test_distances_tell_inside_from_outside_as_the_mesh_does(shape: Shape):
    solid = shape.solid()
    low, high = solid.verts.min(0) - 0.01, solid.verts.max(0) + 0.01
    points = np.random.default_rng(0).uniform(low, high, (1500, 3))
    distance = shape.distance_m(points)
    clear = np.abs(distance) > 0.0015  # the mesh is a polyhedron in the round shape
    inside = winding(points[clear], solid.verts, solid.faces) > 0.5
    assert inside.any()
    assert (distance[clear][inside] < 0).all(), "the mesh lies within the shape"
    if not isinstance(shape, Bar):  # whose distance has round ends
        assert (distance[clear][~inside] > 0).all()


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=10)
def test_distances_grow_no_faster_than_the_way(seed: int):
    rng = np.random.default_rng(seed)
    here = rng.uniform(-0.1, 0.1, (50, 3))
    there = here + rng.normal(0, 0.01, (50, 3))
    for shape in SHAPES:
        change = np.abs(shape.distance_m(here) - shape.distance_m(there))
        assert (change <= np.linalg.norm(here - there, axis=1) + 1e-9).all()


def test_bones_are_as_thick_as_fingers(radii: np.ndarray):
    assert radii.shape == (20, 5)
    assert (radii > 0).all()
    proximal = radii[[5, 9, 13, 17], 2]
    assert ((proximal > 0.005) & (proximal < 0.012)).all()


def test_no_flesh_is_deeper_in_a_held_thing_than_stated(hand: Hand, radii: np.ndarray):
    num_held = 0
    for seed in range(25):
        own = drawn(hand, radii, seed)
        thing = held_object(np.random.default_rng(seed), own)
        if thing is None:
            continue
        num_held += 1
        skin = skin_of(own)
        near = np.sqrt(((skin[:, None] - on_surface(thing, 400)) ** 2).sum(-1)).min(1)
        assert near.min() < 0.01, "it is in or on the hand"
        close = skin[np.argsort(near)[:200]]
        inside = close[winding(close, *merged(thing)) > 0.5]
        for point in inside:
            assert surface_distance(point, thing) < MAX_GRIP_PENETRATION_M + 2e-4
    assert num_held > 18


def surface_distance(point: np.ndarray, solid: Solid) -> float:
    """To the nearest triangle."""
    triangles = solid.verts[solid.faces]
    nearest = closest_point(triangles, np.tile(point, (len(triangles), 1)))
    return float(np.linalg.norm(nearest - point, axis=1).min())


def on_surface(solid: Solid, count: int) -> np.ndarray:
    """Points spread evenly over the triangles."""
    a, b, c = (solid.verts[solid.faces[:, k]] for k in range(3))
    rng = np.random.default_rng(0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.uniform(0, 1, (2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[chosen] + u * (b - a)[chosen] + v * (c - a)[chosen]


def test_a_hand_with_no_room_holds_nothing(hand: Hand):
    own = posed(hand, OPEN, np.eye(3))
    swollen = np.full((20, 5), 0.08)
    thick = flesh(own.keypoints.numpy(), own.verts.numpy(), swollen, is_right=True)
    assert all(held_object(np.random.default_rng(seed), thick) is None for seed in range(4))


def test_nothing_rests_on_a_palm_that_it_would_fall_from(hand: Hand, radii: np.ndarray):
    flat = posed(hand, OPEN, np.eye(3))
    own = flesh(flat.keypoints.numpy(), flat.verts.numpy(), radii, is_right=True)
    seeds = range(8)
    up = [held_object(np.random.default_rng(s), own, up_cam=own.palmar) for s in seeds]
    down = [held_object(np.random.default_rng(s), own, up_cam=-own.palmar) for s in seeds]
    assert sum(thing is not None for thing in up) > 4
    assert sum(thing is not None for thing in down) < 3


def test_the_same_generator_gives_the_same_thing(hand: Hand, radii: np.ndarray):
    own = drawn(hand, radii, 1)
    for make in (held_object, stray_object):
        one, two = (make(np.random.default_rng(8), own) for _ in range(2))
        assert one is not None
        assert two is not None
        assert one.verts.tobytes() == two.verts.tobytes()
        assert one.tone.tobytes() == two.tone.tobytes()


def test_stray_things_leave_the_hand_in_view_and_untouched(hand: Hand, radii: np.ndarray):
    found = 0
    for seed in range(20):
        own = drawn(hand, radii, seed)
        thing = stray_object(np.random.default_rng(seed), own)
        if thing is None:
            continue
        found += 1
        assert thing.verts[:, 2].min() > 0.1
        hand_box, thing_box = (
            (p[:, :2] / p[:, 2:]).min(0).tolist() + (p[:, :2] / p[:, 2:]).max(0).tolist()
            for p in (own.keypoints_cam, thing.verts)
        )
        wide = min(hand_box[2], thing_box[2]) - max(hand_box[0], thing_box[0])
        high = min(hand_box[3], thing_box[3]) - max(hand_box[1], thing_box[1])
        area = (hand_box[2] - hand_box[0]) * (hand_box[3] - hand_box[1])
        assert max(wide, 0) * max(high, 0) <= MAX_COVERED * area + 1e-12
        skin = skin_of(own)
        close = skin[np.linalg.norm(skin[:, None] - thing.verts, axis=-1).min(1) < 0.03]
        assert (winding(close, *merged(thing)) < 0.5).all()
    assert found > 14


@pytest.mark.parametrize("finger", range(5))
def test_a_ring_goes_around_its_own_finger(hand: Hand, finger: int):
    model = hand.model
    rest_verts, rest_joints = hand.rest_verts.numpy(), hand.rest_joints.numpy()
    skinning = model.skinning.numpy()
    rng = np.random.default_rng(finger)
    band = ring(rest_verts, rest_joints, skinning, finger, (0.7, 0.5, 0.2), rng)
    joint = RING_JOINTS[finger]
    bone = rest_joints[joint + 1] - rest_joints[joint]
    share = (band.verts - rest_joints[joint]) @ bone / (bone @ bone)
    assert share.min() > 0.3
    assert share.max() < 0.9
    middle = band.verts.mean(0)
    own = skinning.argmax(1) == joint
    across = rest_verts[own] - middle
    across = across - (across @ bone)[:, None] * bone / (bone @ bone)
    radius = np.linalg.norm(
        across[np.abs((rest_verts[own] - middle) @ bone) < 0.2 * bone @ bone], axis=1
    )
    out = band.verts - middle
    out = np.linalg.norm(out - (out @ bone)[:, None] * bone / (bone @ bone), axis=1)
    assert out.min() < np.median(radius) < out.max() < np.median(radius) + 0.008
    assert_is_closed(band)


@pytest.mark.parametrize("kind", ["watch", "bracelet"])
@pytest.mark.parametrize("seed", range(4))
def test_wristwear_hugs_the_forearm(kind, seed: int):
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    loop = np.stack([0.03 * np.cos(turn), 0 * turn, 0.021 * np.sin(turn)], 1)
    loop = loop + np.array([0.1, 0.2, 0.5])
    along, dorsal = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.1, 1.0])
    worn = wristwear(kind, loop, along, dorsal, (0.5, 0.5, 0.5), np.random.default_rng(seed))
    off = worn.verts - [0.1, 0.2, 0.5]
    ellipse = np.hypot(off[:, 0] / 0.03, off[:, 2] / 0.021)
    assert ellipse.min() > 0.5
    assert np.abs(off[:, 1]).max() < 0.035
    if kind == "watch":
        assert off[:, 2].max() > -off[:, 2].min() + 0.002, "the case is on the back"
    assert_is_closed(worn)


def test_sections_lie_in_the_middle_of_the_skin():
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    R = rotation_about((1.0, 2.0, 0.5), 0.7)
    loop = np.stack([0.03 * np.cos(turn), 0.02 * np.sin(turn), 0 * turn], 1) @ R.T + [0.1, 0, 0.4]
    section = section_of(loop, R[:, 2], R[:, 1])
    np.testing.assert_allclose(section.centre, [0.1, 0, 0.4], atol=1e-9)
    np.testing.assert_allclose(section.half_m, (0.03, 0.02), rtol=1e-2)
    assert np.linalg.det(section.axes) == pytest.approx(1.0)


def seconds(hand: Hand, radii: np.ndarray, count: int) -> list[tuple[Flesh, SecondHand]]:
    out = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        first = drawn(hand, radii, seed)
        first = flesh_farther(first, radii)
        pose = finger_rotations(hand, rng.uniform(0, 1) * FIST)
        found = second_hand(rng, hand, pose, radii, first)
        if found is not None:
            out.append((first, found))
    assert len(out) > 0.8 * count
    return out


def flesh_farther(own: Flesh, radii: np.ndarray) -> Flesh:
    """Where a second hand has room before it."""
    shift = np.array([0.0, 0.0, 0.2])
    return flesh(own.keypoints_cam + shift, skin_of(own) + shift, radii, is_right=own.is_right)


def test_second_hands_keep_out_of_the_first(hand: Hand, radii: np.ndarray):
    faces = hand.model.faces.numpy()
    for first, second in seconds(hand, radii, 10):
        skin, others = skin_of(first), skin_of(second.flesh)
        outward = faces if first.is_right else faces[:, ::-1]
        close = np.linalg.norm(others[:, None] - skin, axis=-1).min(1)
        inside = winding(others[close < 0.012], skin, outward) > 0.5
        assert close[close < 0.012][inside].max(initial=0.0) < 0.006
        assert close.min() < 0.13, "it is a neighbour"


def test_second_hands_are_told_in_the_samples_convention(hand: Hand, radii: np.ndarray):
    sides = set()
    for _, second in seconds(hand, radii, 12):
        side = np.eye(3) if second.is_right else MIRROR
        wrist = torch.from_numpy(side @ second.wrist_cam)
        again = hand.posed(torch.from_numpy(second.rotations), wrist)
        real = second.flesh.keypoints_cam
        np.testing.assert_allclose(again.keypoints.numpy() @ side, real, atol=1e-7)
        np.testing.assert_allclose(np.linalg.det(second.rotations), 1.0)
        sides.add(second.is_right)
    assert sides == {True, False}
