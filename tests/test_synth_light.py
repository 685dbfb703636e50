"""Light, backgrounds and the sensor of the studio."""

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idhand.synth.camera import sensor
from idhand.synth.camera.sensor import Sensor, develop, draw_sensor, encode_jpeg
from idhand.synth.light.environments import (
    LUMINANCE,
    camera_rotation,
    draw_light,
    environments,
    flat_light,
    split,
)
from idhand.synth.light.spherical import (
    REFLECTION_SHAPE,
    look_up,
    panorama_directions,
    reflection_directions,
    reflection_pixel,
    sh_basis,
    solid_angles,
)
from idhand.synth.people.body import rotation_about
from idhand.synth.places import backgrounds
from idhand.synth.places.backgrounds import Backgrounds, plain_background
from idhand.synth.places.figures import FIGURES
from idhand.synth.places.materials import KINDS, photographs, texture
from idhand.synth.places.textures import SIZE, laid_out, pyramid
from idhand.synth.places.viewpoint import Viewpoint, coarser

seeds = st.integers(0, 10**6)


def intrinsics(size, focal_px=200.0):
    middle = (size - 1) / 2
    return np.array([[focal_px, 0, middle], [0, focal_px, middle], [0, 0, 1.0]])


def directions(rng, count=200):
    out = rng.normal(size=(count, 3))
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def viewpoint(seed, size=32):
    rng = np.random.default_rng(seed)
    environment = environments()[seed % len(environments())]
    R = camera_rotation(rng, directions(rng, 1)[0])
    return Viewpoint(
        environment=environment,
        light=draw_light(rng, environment, R),
        R_world_cam=R,
        K=intrinsics(size, rng.uniform(0.4, 3.0) * size),
        width=size,
        height=size,
    )


def test_harmonics_are_orthonormal():
    basis = sh_basis(panorama_directions(64, 128)).reshape(-1, 9)
    weights = np.broadcast_to(solid_angles(64, 128), (64, 128)).ravel()
    np.testing.assert_allclose(basis.T @ (basis * weights[:, None]), np.eye(9), atol=2e-3)


def test_solid_angles_fill_the_sphere():
    assert solid_angles(32, 64).sum() * 64 == pytest.approx(4 * math.pi)


def test_uniform_light_gives_pi_times_its_radiance():
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(flat_light().irradiance(directions(rng)), math.pi, rtol=1e-12)


def test_irradiance_of_real_places_matches_the_integral():
    """Nine harmonics against the sum over the map, for light without its brightest spot."""
    rng = np.random.default_rng(1)
    normals = directions(rng, 50)
    world, omega = panorama_directions(32, 64).reshape(-1, 3), solid_angles(32, 64)
    weights = np.broadcast_to(omega, (32, 64)).ravel()
    cosine = np.maximum(normals @ world.T, 0) * weights
    for environment in environments():
        ambient = environment.parts.ambient.reshape(-1, 3)
        exact = cosine @ ambient
        sh = (sh_basis(world) * weights[:, None]).T @ ambient
        near = replace(flat_light(), sh=sh).irradiance(normals)
        # The lab has windows on two sides; the mean of all places is below 3 %.
        assert np.abs(near - exact).mean() < 0.08 * exact.mean(), environment.name


def test_the_key_takes_nothing_away():
    for environment in environments():
        parts = environment.parts
        omega = solid_angles(32, 64)[..., None]
        total = (environment.radiance.astype(float) * omega).sum((0, 1))
        rest = (parts.ambient * omega).sum((0, 1))
        np.testing.assert_allclose(rest + parts.colour, total, rtol=1e-6)
        assert (parts.ambient >= 0).all()
        assert np.linalg.norm(parts.direction) == pytest.approx(1)


def test_the_key_is_where_the_lamp_is():
    world = panorama_directions(32, 64)
    towards = np.array([0.6, 0.0, 0.8])
    radiance = np.ones((32, 64, 3), np.float32)
    radiance[world @ towards > math.cos(math.radians(12))] = 50.0
    parts = split(radiance)
    assert parts.direction @ towards > math.cos(math.radians(2))
    assert math.degrees(parts.radius) == pytest.approx(12, abs=2)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_mean_radiance_is_one(seed):
    light = viewpoint(seed).light
    mean = light.sh[0] * math.sqrt(1 / (4 * math.pi)) + light.key_colour / (4 * math.pi)
    assert mean @ LUMINANCE == pytest.approx(1.0)
    assert np.linalg.norm(light.key_direction) == pytest.approx(1.0)
    assert 0 < light.key_radius < math.radians(30)
    assert (light.key_colour >= 0).all()
    # The map of reflections holds the same light, key included.
    omega = solid_angles(*REFLECTION_SHAPE)[..., None]
    reflected = (light.reflection * omega).sum((0, 1)) / (4 * math.pi)
    assert reflected @ LUMINANCE == pytest.approx(1.0, abs=0.06)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_up_of_the_camera_is_up_in_the_world(seed):
    rng = np.random.default_rng(seed)
    up = directions(rng, 1)[0]
    R = camera_rotation(rng, up)
    np.testing.assert_allclose(R @ up, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)


def test_a_camera_that_turns_sees_the_same_light():
    """Irradiance on one wall of the world does not depend on who looks at it."""
    environment = environments()[4]
    normal_world = directions(np.random.default_rng(3), 1)[0]
    seen = []
    for seed in (5, 6):
        R = camera_rotation(np.random.default_rng(seed), np.array([0.0, -1.0, 0.0]))
        light = draw_light(np.random.default_rng(0), environment, R)
        seen.append(light.irradiance(normal_world @ R))
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-9)


def test_the_sky_is_brighter_than_the_ground_outdoors():
    park = next(e for e in environments() if e.name == "city")
    R = camera_rotation(np.random.default_rng(0), np.array([0.0, -1.0, 0.0]))
    light = draw_light(np.random.default_rng(2), park, R)
    up, down = light.irradiance(np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]])) @ LUMINANCE
    assert up > 1.5 * down


def test_look_up_finds_its_own_pixels():
    rng = np.random.default_rng(0)
    panorama = rng.random((32, 64, 3), dtype=np.float32)
    np.testing.assert_allclose(look_up(panorama, panorama_directions(32, 64)), panorama, atol=0.05)


def test_reflection_pixels_and_directions_agree():
    column, row = reflection_pixel(reflection_directions())
    np.testing.assert_allclose(column, np.broadcast_to(np.arange(32), (16, 32)), atol=1e-9)
    np.testing.assert_allclose(row, np.broadcast_to(np.arange(16)[:, None], (16, 32)), atol=1e-9)
    middle = reflection_pixel(np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]))
    np.testing.assert_allclose(middle, [[15.5, 15.5], [7.5, -0.5]])


def test_a_laid_out_plane_is_the_texture_seen_straight_on():
    albedo = cv2.GaussianBlur(np.random.default_rng(0).random((SIZE, SIZE, 3)), (0, 0), 3)
    levels = pyramid(albedo.astype(np.float32))
    shift = np.array([[1.0, 0, 100.0], [0, 1.0, 50.0], [0, 0, 1.0]])
    seen = laid_out(levels, shift, 40, 30)
    np.testing.assert_allclose(seen, albedo[50:80, 100:140], atol=0.005)
    half = laid_out(levels, np.diag([2.0, 2.0, 1.0]), 40, 30)
    small = cv2.resize(albedo, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(half, small[:30, :40], atol=0.005)


def test_nothing_is_seen_beyond_the_horizon():
    levels = pyramid(np.full((SIZE, SIZE, 3), 0.5, np.float32))
    horizon = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, 0.05, -0.5]])
    seen = laid_out(levels, horizon, 8, 20)
    assert (seen[:11] == 0).all()
    np.testing.assert_allclose(seen[11:], 0.5, atol=0.01)


@pytest.mark.parametrize("kind", ["wood", "plaster", "page", "keys"])
def test_textures_repeat_and_have_structure(kind):
    first = texture(kind, 1)[0]
    again = texture.__wrapped__(kind, 1)[0]
    assert (first == again).all()
    assert first.std() > 1
    assert set(texture(kind, 0)[0].shape) == {SIZE, 3}


def test_coarser_intrinsics_see_the_same_rays():
    fine = viewpoint(3)
    coarse = np.linalg.inv(coarser(fine.K, 2)) @ [4.0, 5.0, 1.0]
    np.testing.assert_allclose(fine.rays(2)[5, 4], coarse / coarse[2], atol=1e-12)


def test_a_place_shows_what_lies_ahead():
    """A camera that looks level has the horizon in its middle."""
    base = viewpoint(0)
    panorama = np.zeros((256, 512, 3), np.float32)
    panorama[:128] = 1.0
    environment = type(base.environment)(
        name="half", radiance=np.ones((32, 64, 3), np.float32), panorama=panorama
    )
    R = camera_rotation(np.random.default_rng(0), np.array([0.0, -1.0, 0.0]))
    at = Viewpoint(
        environment=environment,
        light=flat_light(),
        R_world_cam=R,
        K=intrinsics(32),
        width=32,
        height=32,
    )
    seen = backgrounds.place(np.random.default_rng(0), at)
    assert (seen[:13] > 0.99).all()
    assert (seen[19:] < 0.01).all()


@pytest.mark.parametrize("source", [source for source, _ in backgrounds.SOURCES])
def test_every_source_gives_light_at_any_size(source):
    for seed in range(3):
        at = viewpoint(seed)
        picture = source(np.random.default_rng(seed), at)
        assert picture.shape == (32, 32, 3)
        assert np.isfinite(picture).all()
        assert (picture >= 0).all()


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_stay_finite(figure):
    at = viewpoint(1)
    picture = figure(np.random.default_rng(2), at, np.full((32, 32, 3), 0.3, np.float32))
    assert picture.shape == (32, 32, 3)
    assert np.isfinite(picture).all()
    assert (picture >= 0).all()


def test_backgrounds_repeat_and_do_not_remember():
    source, at = Backgrounds(), viewpoint(7)
    arguments = (at.environment, at.light, at.R_world_cam, at.K, 48, 40)
    first = source.draw(np.random.default_rng(11), *arguments)
    source.draw(np.random.default_rng(12), *arguments)
    again = Backgrounds().draw(np.random.default_rng(11), *arguments)
    assert first.shape == (40, 48, 3)
    assert first.dtype == np.float32
    assert first.tobytes() == again.tobytes()


def test_a_plain_background_is_plain():
    np.testing.assert_allclose(plain_background(flat_light(), 5, 4), np.full((4, 5, 3), 0.4))


def test_the_users_pictures_are_used(tmp_path):
    cv2.imwrite(str(tmp_path / "green.png"), np.full((50, 70, 3), (0, 255, 0), np.uint8))
    source = Backgrounds(tmp_path)
    at = viewpoint(2)
    green = 0
    for seed in range(40):
        picture = source.draw(
            np.random.default_rng(seed), at.environment, at.light, at.R_world_cam, at.K, 16, 16
        )
        green += picture[..., 1].mean() > 20 * picture[..., (0, 2)].mean()
    assert 5 < green < 35


def test_a_folder_is_described_by_what_is_in_it(tmp_path):
    nothing = Backgrounds().description()
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
    two = Backgrounds(tmp_path).description()
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    renamed = Backgrounds(tmp_path).description()
    assert (nothing["own_pictures"], two["own_pictures"]) == (0, 2)
    assert len({d["own_sha256"] for d in (nothing, two, renamed)}) == 3


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Backgrounds(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no pictures in"):
        Backgrounds(tmp_path)
    cv2.imwrite(str(tmp_path / "cut.png"), np.zeros((20, 20, 3), np.uint8))
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 3])
    source, at = Backgrounds(tmp_path), viewpoint(2)
    arguments = (at.environment, at.light, at.R_world_cam, at.K, 8, 8)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"cut\.png cannot be read as a picture"):
        [source.draw(rng, *arguments) for _ in range(20)]


def test_photographs_ship():
    assert len(photographs()) == 8
    assert all(picture.ndim == 3 for picture in photographs().values())
    assert len(KINDS) >= 10


def ramp(size=48):
    return np.linspace(0.01, 1, size * size * 3, dtype=np.float32).reshape(size, size, 3)


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.1, 1.5))
def test_more_exposure_is_never_darker(seed, stops):
    drawn = draw_sensor(np.random.default_rng(seed))
    quiet = replace(drawn, shot_noise=0.0, read_noise=0.0, sharpen=0.0, saturation=1.0)
    brighter = replace(quiet, exposure_ev=quiet.exposure_ev + stops)
    rng = np.random.default_rng(0)
    low, high = (develop(ramp(), camera, rng) for camera in (quiet, brighter))
    assert (high.astype(int) >= low).all()
    assert high.mean() > low.mean()


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_a_camera_repeats_itself_and_ignores_the_scale_of_light(seed):
    camera = draw_sensor(np.random.default_rng(seed))
    picture = ramp()
    first, again, scaled = (
        develop(p, camera, np.random.default_rng(5)) for p in (picture, picture, picture * 8)
    )
    assert first.tobytes() == again.tobytes()
    assert np.abs(first.astype(int) - scaled).max() <= 1
    assert 40 <= camera.quality <= 97


def test_auto_exposure_goes_by_the_subject():
    picture = np.full((60, 60, 3), 0.8, np.float32)
    picture[:30] = 0.02
    rng, camera = np.random.default_rng(0), Sensor.none()
    dark = np.zeros((60, 60), np.float32)
    dark[:30] = 1
    on_dark, on_bright = (
        develop(picture, camera, rng, dark),
        develop(picture, camera, rng, 1 - dark),
    )
    assert on_dark.mean() > on_bright.mean() + 20


def test_no_sensor_is_the_srgb_curve():
    """A grey step at the metered level comes out as the sRGB value of middle grey."""
    grey = develop(np.full((30, 30, 3), 3.0, np.float32), Sensor.none(), np.random.default_rng(0))
    level = sensor.MIDDLE_GREY
    expected = 255 * (1.055 * level ** (1 / 2.4) - 0.055)
    assert np.abs(grey - expected).max() <= 1


def test_noise_and_blur_do_what_they_say():
    flat = np.full((96, 96, 3), 0.5, np.float32)
    rng, plain = np.random.default_rng(0), Sensor.none()
    assert develop(flat, replace(plain, shot_noise=1e-3), rng).std() > 2
    edge = flat.copy()
    edge[:, :48] = 0.05

    def steepest(camera):
        return np.abs(np.diff(develop(edge, camera, rng).astype(int), axis=1)).max()

    assert steepest(replace(plain, defocus_px=6.0)) < 0.8 * steepest(plain)
    assert steepest(replace(plain, motion_px=20.0)) < 0.8 * steepest(plain)
    assert steepest(replace(plain, resample=3.0)) < 0.8 * steepest(plain)


def test_jpeg_comes_back_and_quality_costs_bytes():
    rgb = develop(ramp(), Sensor.none(), np.random.default_rng(0))
    good, poor = encode_jpeg(rgb, 95), encode_jpeg(rgb, 40)
    assert len(poor) < len(good)
    back = np.asarray(cv2.imdecode(np.frombuffer(good, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    assert np.abs(back.astype(int) - rgb).mean() < 4


def test_the_world_turns_no_faster_than_the_camera():
    """A shaken camera sees its surroundings shake, not jump."""
    up = np.array([0.0, -1.0, 0.0])
    for pitch in np.arange(-80.0, 80.0, 2.0):
        near = [rotation_about((1.0, 0.3, 0.2), np.radians(pitch + d)) @ up for d in (0.0, 2.0)]
        if max(abs(u[2]) for u in near) > 0.9:
            continue  # straight up or down no heading is defined
        before, after = (camera_rotation(np.random.default_rng(0), u) for u in near)
        angle = np.arccos(np.clip((np.trace(before.T @ after) - 1) / 2, -1, 1))
        assert np.degrees(angle) < 8


def test_files_that_are_no_pictures_are_named_at_once(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "good.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ValueError, match=r"1 of 2 files .*bad\.png"):
        Backgrounds(tmp_path)
