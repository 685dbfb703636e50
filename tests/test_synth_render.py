from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from idhand.assets import open_hand
from idhand.records import FOREARM_PART, OTHER_PART
from idhand.synth.camera.backdrop import Backdrop
from idhand.synth.camera.scenes import visible_keypoints
from idhand.synth.camera.shader import _skin_at, key_visibility
from idhand.synth.camera.shading import Surface, shade, skin_surface
from idhand.synth.light.environments import Light
from idhand.synth.light.maps import (
    SPLAT_SPACING_M,
    axes_to,
    key_shadow,
    sky_directions,
    sky_light,
    surface_points,
)
from idhand.synth.people.body import (
    CHILD_WEIGHTS,
    BodyTopology,
    SkinMesh,
    rotation_about,
    unit,
    vertex_normals,
)
from idhand.synth.people.skin import RESOLUTION, Skin, texel_weights

K = np.array([[420.0, 0, 111.5], [0, 420.0, 111.5], [0, 0, 1]])
CENTRE = np.array([0.0, 0.0, 0.45])
UP = np.array([0.0, -1.0, 0.0])


@cache
def topology() -> BodyTopology:
    return BodyTopology(open_hand())


@cache
def posed(*, is_right: bool = True, pitch: float = 0.0) -> tuple[SkinMesh, np.ndarray]:
    """The mean hand with its palm to the camera, fingers tipped to it, and its keypoints."""
    model = open_hand()
    hand = model.with_shape(torch.zeros(16, dtype=torch.float64))
    turns = torch.eye(3, dtype=torch.float64).repeat(16, 1, 1)
    turns[0] = torch.from_numpy(rotation_about((1.0, 0.0, 0.0), pitch))
    shown = hand.posed(turns, torch.tensor([0.0, 0.08, 0.45], dtype=torch.float64))
    mesh = topology().mesh(
        shown,
        turns[0].numpy(),
        hand.rest_verts.numpy(),
        hand.rest_joints.numpy(),
        is_right=is_right,
    )
    return mesh, shown.keypoints.numpy()


def plain_skin(tone: tuple[float, float, float] = (0.5, 0.3, 0.2)) -> Skin:
    faces = len(topology().coarse_faces)
    texels = len(texel_weights())
    return Skin(
        tone=np.tile(np.array(tone, np.float32), (faces, texels, 1)),
        gloss=np.zeros((faces, texels), np.float32),
        slope=np.zeros((faces, texels, 2), np.float32),
    )


def light(*, sky: float = 0.0, key: float = 0.0, direction: np.ndarray = -CENTRE) -> Light:
    sh = np.zeros((9, 3))
    sh[0] = sky * np.sqrt(4 * np.pi)
    return Light(
        sh=sh,
        key_direction=unit(direction),
        key_colour=np.full(3, key),
        key_radius=0.01,
        reflection=np.full((16, 32, 3), sky, np.float32),
        gain=np.ones(3),
    )


def plate(z: float, half: float, part: int = OTHER_PART, tone: float = 0.5) -> Surface:
    """A square that faces the camera."""
    x = half * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    verts = x + np.array([0.0, 0.0, z])
    return Surface(
        verts_cam=verts,
        normals=np.tile([0.0, 0.0, -1.0], (4, 1)),
        faces=np.array([[0, 2, 1], [0, 3, 2]]),
        part=np.full(2, part, np.uint8),
        tone=np.full((4, 3), tone),
        gloss=np.zeros(4),
    )


def hand_surface(pitch: float = 0.0) -> Surface:
    return skin_surface(topology(), posed(pitch=pitch)[0], np.array([0.5, 0.3, 0.2]))


def render(surfaces: list[Surface], lit: Light, **options):
    return shade(
        surfaces, plain_skin(), lit, K, 224, 224, np.random.default_rng(0),
        centre_cam=CENTRE, radius_m=0.13, **options,
    )  # fmt: skip


# --- the body's mesh


def test_the_body_holds_the_models_own_vertices_and_closes_over_them():
    mesh, _ = posed()
    model = open_hand()
    shift = np.array([0.0, 0.08, 0.45]) - model.joint_template[0].numpy()
    own = model.template.numpy()[topology().used] + shift
    np.testing.assert_allclose(mesh.verts_cam[: len(own)], own, atol=1e-9)
    faces = mesh.faces
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    sides, counts = np.unique(sides, axis=0, return_counts=True)
    assert counts.max() == 2
    open_ends = mesh.verts_cam[np.unique(sides[counts == 1])]
    assert open_ends[:, 1].min() > mesh.verts_cam[:, 1].max() - 0.02, "only at the forearm's end"


@pytest.mark.parametrize("is_right", [True, False])
def test_triangles_face_outward_on_both_hands(is_right: bool):
    mesh, _ = posed(is_right=is_right)
    a, b, c = mesh.verts_cam[mesh.faces].swapaxes(0, 1)
    outward = unit(np.cross(b - a, c - a))
    assert ((outward * mesh.normals[mesh.faces[:, 0]]).sum(1) > 0).mean() > 0.999
    inner = mesh.verts_cam - 1e-3 * mesh.normals

    def volume(v: np.ndarray) -> float:
        a, b, c = v[mesh.faces].swapaxes(0, 1)
        return (np.cross(a, b) * c).sum()

    assert volume(inner) < volume(mesh.verts_cam), "against the normals the hand gets smaller"


def test_a_left_hand_is_the_mirror_image():
    right, left = posed()[0], posed(is_right=False)[0]
    flip = np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(left.verts_cam, right.verts_cam * flip, atol=1e-9)
    np.testing.assert_allclose(left.normals, right.normals * flip, atol=1e-9)


def test_new_vertices_lie_nearer_to_a_round_surface_than_the_edges_middles():
    mesh, _ = posed()
    middles = mesh.coarse_cam[topology().edges].mean(1)
    new = mesh.verts_cam[len(mesh.coarse_cam) :]
    moved = np.linalg.norm(new - middles, axis=1)
    assert 1e-5 < moved.mean() < 5e-4
    assert moved.max() < 3e-3


def test_child_weights_divide_the_triangle():
    for children in (CHILD_WEIGHTS[:4], CHILD_WEIGHTS[4:]):
        areas = np.abs(np.linalg.det(children))
        np.testing.assert_allclose(areas, 0.25)
    np.testing.assert_allclose(CHILD_WEIGHTS.sum(-1), 1.0)


# --- light maps


@given(st.integers(0, 1000))
def test_axes_to_a_direction_are_orthonormal(seed: int):
    direction = unit(np.random.default_rng(seed).normal(size=3))
    axes = axes_to(direction)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(axes[2], direction, atol=1e-12)


@given(st.integers(0, 1000))
def test_surface_points_leave_no_gap(seed: int):
    rng = np.random.default_rng(seed)
    verts = rng.uniform(-0.03, 0.03, (3, 3))
    points = surface_points(verts, np.array([[0, 1, 2]]), np.zeros(3), 1.0)
    where = rng.dirichlet((1, 1, 1), 200) @ verts
    gaps = np.linalg.norm(where[:, None] - points, axis=2).min(1)
    assert gaps.max() < SPLAT_SPACING_M


def test_an_open_sky_gives_pi_times_its_radiance_and_a_roof_takes_it():
    directions = sky_directions(np.random.default_rng(1))
    radiance = np.full((len(directions), 3), 2.0)
    points, normals = np.zeros((40, 3)), unit(np.random.default_rng(2).normal(size=(40, 3)))
    nothing = np.full((1, 3), 9.0)
    free = sky_light(points, normals, nothing, directions, radiance, np.zeros(3), 0.2)
    np.testing.assert_allclose(free[:, :3], 2 * np.pi, rtol=0.12)
    assert abs(free[:, 0].mean() / (2 * np.pi) - 1) < 0.01
    np.testing.assert_allclose(free[:, 3], free[:, 0] / (2 * np.pi), rtol=1e-4)
    x, y = np.meshgrid(np.linspace(-0.2, 0.2, 81), np.linspace(-0.2, 0.2, 81))
    roof = np.stack([x, np.full_like(x, -0.03), y], -1).reshape(-1, 3)
    under = sky_light(points[:1], UP[None], roof, directions, radiance, np.zeros(3), 0.2)
    assert under[0, 0] < 0.08 * 2 * np.pi
    turned = sky_light(points[:1], -UP[None], roof, directions, radiance, np.zeros(3), 0.2)
    assert turned[0, 0] > 0.85 * 2 * np.pi


def test_the_key_light_is_blocked_behind_things_and_nowhere_else():
    blocker = plate(0.4, 0.02)
    towards_camera = np.array([0.0, 0.0, -1.0])
    shadow = key_shadow(blocker.verts_cam, blocker.faces, towards_camera, 0.005, CENTRE, 0.2)
    points = np.array([[0, 0, 0.45], [0.01, 0.01, 0.5], [0.03, 0, 0.45], [0, 0, 0.35]])
    np.testing.assert_array_equal(key_visibility(points, shadow), [0, 0, 1, 1])


# --- shading


@given(st.integers(0, 7), st.floats(0, 1), st.floats(0, 1))
def test_paint_that_is_linear_over_a_triangle_is_looked_up_exactly(child: int, u: float, v: float):
    w1, w2 = (u, v) if u + v <= 1 else (1 - u, 1 - v)
    weights = texel_weights()[None]
    tone = weights.astype(np.float32)
    out = np.empty(6)
    slope = np.zeros((1, weights.shape[1], 2), np.float32)
    _skin_at(tone, tone[..., 0].copy(), slope, 0, child, w1, w2, RESOLUTION, out)
    expected = np.array([1 - w1 - w2, w1, w2]) @ CHILD_WEIGHTS[child]
    np.testing.assert_allclose(out[:3], expected, atol=2e-6)
    assert out[3] == pytest.approx(expected[0], abs=2e-6)


def test_a_matt_plate_reflects_what_it_should():
    key = render([plate(0.45, 0.5)], light(key=2.0, direction=np.array([0.0, -0.6, -0.8])))
    # A dielectric's highlight adds to the diffuse part; at 37° from the mirror it is small.
    np.testing.assert_allclose(key.radiance[112, 112], 0.5 / np.pi * 2.0 * 0.8, rtol=0.12)
    sky = render([plate(0.45, 0.5)], light(sky=1.0))
    np.testing.assert_allclose(sky.radiance[112, 112], 0.5, rtol=0.15)
    assert (key.coverage == 1).all()


def test_what_is_in_front_shades_what_is_behind():
    lamp = light(key=2.0, sky=0.05, direction=np.array([0.3, 0.0, -0.95]))
    alone = render([plate(0.5, 0.5)], lamp).radiance[..., 0]
    both = render([plate(0.5, 0.5), plate(0.42, 0.03)], lamp)
    behind = both.depth_m > 0.45
    darker = behind & (both.radiance[..., 0] < 0.3 * alone)
    assert 200 < darker.sum() < 0.2 * behind.sum()


def test_the_hand_is_rendered_with_labels_depth_and_soft_edges():
    picture = render([hand_surface()], light(key=2.0, sky=0.3))
    assert set(np.unique(picture.parts)) == {0, *range(1, 17), FOREARM_PART}
    covered = picture.parts > 0
    assert np.isfinite(picture.depth_m[covered]).all()
    assert np.isinf(picture.depth_m[~covered]).all()
    soft = (picture.coverage > 0) & (picture.coverage < 1)
    assert 300 < soft.sum() < 3000
    bright = picture.radiance[covered & (picture.coverage == 1)]
    assert (bright > 0.01).all()
    assert (bright[:, 0] > bright[:, 2]).mean() > 0.99, "its skin is redder than blue"


def test_keypoints_are_seen_until_something_stands_before_them():
    keypoints = posed()[1]
    free = render([hand_surface()], light(sky=1.0))
    assert visible_keypoints(keypoints, K, free.parts, free.depth_m).all()
    covered = render([hand_surface(), plate(0.3, 0.04)], light(sky=1.0))
    seen = visible_keypoints(keypoints, K, covered.parts, covered.depth_m)
    pixels = (keypoints @ K.T)[:, :2] / keypoints[:, 2:]
    hidden = (np.abs(pixels - 111.5) < 420 * 0.04 / 0.3).all(1)
    assert 3 < hidden.sum() < 18
    np.testing.assert_array_equal(seen, ~hidden)


def test_fingertip_keypoints_are_drawn_at_their_own_vertices():
    """Projected analytically and rendered, to within half a pixel."""
    mesh, keypoints = posed(pitch=0.7)
    picture = render([hand_surface(0.7)], light(sky=1.0), samples=2)
    seen = 0
    for k in (4, 8, 12, 16, 20):
        vertex = int(np.linalg.norm(mesh.verts_cam - keypoints[k], axis=1).argmin())
        assert np.linalg.norm(mesh.verts_cam[vertex] - keypoints[k]) < 1e-9
        if mesh.normals[vertex] @ unit(keypoints[k]) > -0.1:
            continue  # it looks away from the camera
        seen += 1
        faces = np.flatnonzero((mesh.faces == vertex).any(1))
        rows, columns = np.nonzero(np.isin(picture.fragments.face, faces))
        pixel = (keypoints[k] @ K.T)[:2] / keypoints[k, 2]
        near = np.hypot((columns + 0.5) / 2 - 0.5 - pixel[0], (rows + 0.5) / 2 - 0.5 - pixel[1])
        assert near.min() < 0.5
    assert seen >= 3


def test_a_wall_close_behind_takes_the_shadow():
    wall = Backdrop(point_cam=np.array([0.0, 0.0, 0.5]), normal_cam=np.array([0.0, 0.0, -1.0]))
    lamp = light(key=2.0, sky=0.2, direction=np.array([-0.5, -0.3, -0.8]))
    shaded = render([hand_surface()], lamp, backdrop=wall).backdrop_shade
    assert shaded is not None
    assert shaded.min() < 0.4
    assert 0.9 < np.median(shaded) < 1.1
    far = Backdrop(point_cam=np.array([0.0, 0.0, 2.9]), normal_cam=wall.normal_cam)
    away = render([hand_surface()], lamp, backdrop=far).backdrop_shade
    assert away is not None
    assert away.min() > 0.8


def test_normals_of_a_ball_point_outward():
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=2)
    normals = vertex_normals(np.array(ball.vertices), np.array(ball.faces))
    np.testing.assert_allclose(normals, unit(np.array(ball.vertices)), atol=0.03)
