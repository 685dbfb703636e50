from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idhand.assets import open_hand
from idhand.synth.people import skin, skin_chart, skin_layers, skin_lines, skin_noise
from idhand.synth.people.body import BodyTopology, unit
from idhand.synth.people.skin import (
    RESOLUTION,
    SkinChart,
    paint,
    plain_skin,
    texel_index,
    texel_weights,
    typology_angle_deg,
)
from idhand.synth.people.subjects import SkinTraits

TRAITS = SkinTraits(
    melanin=0.3,
    blood=1.0,
    warmth=0.0,
    age=0.4,
    creases=1.0,
    veins=0.8,
    freckles=0.3,
    blotches=0.5,
    hair=0.4,
    hair_tone=(0.03, 0.02, 0.012),
    shine=0.4,
    nail_tone=None,
    nail_length_m=0.001,
    seed=5,
)
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@cache
def hand():
    """Faces, rest vertices and chart of the mean hand with its forearm."""
    model = open_hand()
    topology = BodyTopology(model)
    template = model.template.numpy().astype(np.float64)
    joints = model.joint_template.numpy().astype(np.float64)
    rest, tips = topology.coarse_rest(template, joints), template[list(model.tip_verts)]
    space = model.pose_space
    assert space is not None
    pads = []
    for f, name in enumerate(("thumb_ip", "index_pip", "middle_pip", "ring_pip", "little_pip")):
        k = space.names.index(f"{name}_flexion")
        j = int(space.joint[k])
        end = tips[0] if f == 0 else joints[j + 1]
        pads.append(unit(np.cross(space.axis[k].numpy().astype(np.float64), end - joints[j])))
    faces = topology.coarse_faces
    chart = SkinChart.of(rest, faces, topology.skinning, joints, tips, np.stack(pads))
    return faces, rest, chart


@cache
def painted(**changes):
    """Painted once per test run."""
    return paint(hand()[2], replace(TRAITS, **changes))


def luminance(**changes):
    """Of every point of skin, each of which has one tone."""
    chart = hand()[2]
    out = np.empty(len(chart.position))
    out[chart.point] = painted(**changes).tone @ LUMINANCE
    return out


def test_texel_index_counts_the_grid_and_matches_the_weights():
    n = RESOLUTION
    steps = [(i, j) for j in range(n + 1) for i in range(n + 1 - j)]
    assert [texel_index(i, j) for i, j in steps] == list(range((n + 1) * (n + 2) // 2))
    weights = texel_weights()
    for i, j in steps:
        assert weights[texel_index(i, j)] == pytest.approx([1 - (i + j) / n, i / n, j / n])


def test_texels_are_one_point_exactly_where_they_lie_at_one_place():
    faces, rest, chart = hand()
    places = np.einsum("tk,fka->fta", texel_weights(), rest[faces]).reshape(-1, 3)
    point = chart.point.ravel()
    count = np.bincount(point)
    mean = np.stack([np.bincount(point, places[:, a]) for a in range(3)], 1) / count[:, None]
    assert np.abs(places - mean[point]).max() < 1e-9
    num_edges = len({tuple(sorted((int(f[k]), int(f[k - 1])))) for f in faces for k in range(3)})
    n = RESOLUTION
    inner = len(faces) * (n - 1) * (n - 2) // 2
    assert len(count) == len(rest) + num_edges * (n - 1) + inner


def test_neighbours_have_equal_paint_on_their_edge():
    _, _, chart = hand()
    skin_ = painted()
    point = chart.point.ravel()
    for values in (skin_.tone.reshape(-1, 3), skin_.gloss.reshape(-1, 1)):
        first = np.empty((len(chart.position), values.shape[1]), np.float32)
        first[point] = values
        np.testing.assert_array_equal(first[point], values)


def test_neighbours_have_equal_slope_along_their_edge():
    faces, _, _ = hand()
    half = RESOLUTION // 2
    slope = painted().slope
    along = (
        slope[:, texel_index(half, 0), 0],
        slope[:, texel_index(half, half)] @ np.array([-1.0, 1.0]),
        -slope[:, texel_index(0, half), 1],
    )
    seen = {}
    for k in range(3):
        for a, b, rise in zip(faces[:, k], faces[:, (k + 1) % 3], along[k], strict=True):
            seen.setdefault((min(a, b), max(a, b)), []).append(rise if a < b else -rise)
    pairs = np.array([rises for rises in seen.values() if len(rises) == 2])
    assert len(pairs) > len(faces)
    np.testing.assert_allclose(pairs[:, 0], pairs[:, 1], atol=1e-8)
    assert np.abs(pairs).max() > 1e-4


def test_a_plane_relief_has_its_gradient_as_slope_everywhere():
    chart = hand()[2]
    direction = np.array([0.3, -0.2, 0.5])
    relief = (chart.position.astype(np.float64) @ direction).astype(np.float32)
    slope = skin._slopes(chart, relief)
    inner = np.flatnonzero((texel_weights() > 0).all(1))
    expected = np.broadcast_to((chart.sides @ direction)[:, None], slope.shape)
    np.testing.assert_allclose(slope[:, inner], expected[:, inner], atol=2e-5)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-50, 50), st.integers(0, 2**31 - 1))
@settings(max_examples=50, deadline=None)
def test_noise_is_continuous_bounded_and_the_same_as_its_plain_twin(i, j, k, seed):
    x, y, z = i * 0.37, j * 0.41, k * 0.29
    value = skin_noise.lattice(x, y, z, seed)
    assert value == skin_noise.lattice.py_func(x, y, z, seed)
    assert -1.0 <= value <= 1.0
    across = skin_noise.lattice(i - 1e-7, y, z, seed) - skin_noise.lattice(i + 1e-7, y, z, seed)
    assert abs(across) < 1e-5


def test_the_same_traits_give_the_same_bytes_and_another_seed_another_hand():
    chart = hand()[2]
    again, first, other = paint(chart, TRAITS), painted(), painted(seed=6)
    for name in ("tone", "gloss", "slope"):
        assert getattr(again, name).tobytes() == getattr(first, name).tobytes()
        assert getattr(again, name).dtype == np.float32
    relative = np.abs(np.log(first.tone / other.tone))
    assert relative.mean() > 0.03


def test_more_melanin_is_darker_at_every_point_of_bare_skin():
    darker = [luminance(melanin=m) for m in (0.0, 0.3, 0.6, 1.0)]
    for light, dark in pairwise(darker):
        assert (dark <= light + 1e-6).mean() > 0.995


def test_melanin_is_linear_in_the_typology_angle():
    chart = hand()[2]
    plain = [plain_skin(chart, replace(TRAITS, melanin=m)) for m in (0.0, 0.25, 0.5, 0.75, 1.0)]
    angles = typology_angle_deg(np.stack([s.tone[0, 0] for s in plain]).astype(np.float64))
    assert np.ptp(np.diff(angles)) < 2.0
    assert angles[0] > 60 > -50 > angles[-1]


def test_palms_are_lighter_than_backs_and_most_so_in_dark_skin():
    chart = hand()[2]
    palm = (chart.own == 0) & (chart.dorsal < -0.7) & (chart.arm == 0)
    back = (chart.own == 0) & (chart.dorsal > 0.7) & (chart.arm == 0)

    def ratio(melanin):
        light = luminance(melanin=melanin)
        return light[palm].mean() / light[back].mean()

    assert ratio(1.0) > 2.0 > 1.35 > ratio(0.0) > 0.8


def test_relief_and_all_values_stay_in_their_bounds():
    chart = hand()[2]
    extreme = painted(creases=1.5, veins=1.3, age=1.0, hair=1.0, blotches=1.0, freckles=1.0)
    assert np.isfinite(extreme.slope).all()
    assert extreme.tone.min() > 0
    assert extreme.tone.max() < 1
    assert extreme.gloss.min() >= 0
    assert extreme.gloss.max() <= 1
    # no texel-to-texel rise may be more than the whole range of the relief
    per_texel = np.abs(extreme.slope).max() / RESOLUTION
    assert 0 < per_texel <= 2 * skin.MAX_RELIEF_M
    assert len(chart.point) == len(extreme.slope)


def test_polish_shows_on_nails_alone_and_covers_them():
    chart = hand()[2]
    red = (0.5, 0.01, 0.02)
    bare, polished = painted(hair=0.0), painted(hair=0.0, nail_tone=red)
    changed = np.zeros(len(chart.position), bool)
    changed[chart.point] = np.abs(polished.tone - bare.tone).max(-1) > 1e-6
    assert 1000 < changed.sum() < 8000
    assert (chart.axial[changed, 2] > 0).all()
    assert (chart.back[changed, 2] > 0).all()
    for finger in range(5):
        assert (chart.finger[changed] == finger).sum() > 100
    area = np.abs(polished.tone - np.array(red)).max(-1) < 0.03
    assert area.sum() > 0.4 * changed[chart.point].sum()
    assert polished.gloss[area].min() > 0.8


def test_traits_do_what_they_say():
    chart = hand()[2]
    back = (chart.own == 0) & (chart.dorsal > 0.7)
    assert luminance(hair=1.0)[back].mean() < luminance(hair=0.0)[back].mean()
    assert (
        np.abs(painted(creases=1.5).slope).mean() > 1.3 * np.abs(painted(creases=0.4).slope).mean()
    )


def test_undertones_and_shine_do_what_they_say():
    chart = hand()[2]

    def plain(**changes):
        return plain_skin(chart, replace(TRAITS, **changes))

    rosy = plain(blood=1.6).tone[0, 0] / plain(blood=0.6).tone[0, 0]
    assert rosy[1] < rosy[2] < rosy[0] < 1
    golden = plain(warmth=1.0).tone[0, 0] / plain(warmth=-1.0).tone[0, 0]
    assert golden[2] < 0.85 < golden[0]
    assert plain(shine=1.0).gloss[0, 0] > plain(shine=0.0).gloss[0, 0] + 0.15


def test_plain_skin_has_one_tone_and_no_relief():
    _, _, chart = hand()
    plain = plain_skin(chart, TRAITS)
    assert plain.tone.shape == (*chart.point.shape, 3)
    assert np.ptp(plain.tone, axis=(0, 1)).max() == 0
    assert not plain.slope.any()


def test_curves_pass_through_their_knots():
    rng = np.random.default_rng(0)
    curves = skin_lines.palm_lines(0.03, 0.09, rng, 1.0)
    segments, table = skin_lines.as_segments(curves)
    first = skin_lines.first_segments(curves)
    assert first[-1] == len(segments)
    assert len(table) == len(curves)
    for curve, (start, end) in zip(curves, pairwise(first), strict=True):
        np.testing.assert_allclose(segments[start : end : skin_lines.SPANS, :2], curve.knots[:-1])
        np.testing.assert_allclose(segments[end - 1, 2:], curve.knots[-1])
        np.testing.assert_allclose(segments[start : end - 1, 2:], segments[start + 1 : end, :2])


def test_age_brings_spots():
    places = hand()[2].position
    rng = np.random.default_rng(0)
    young, old = (
        sum(len(skin_layers.spots(places, rng, age, 0.0)) for _ in range(20)) for age in (0.0, 1.0)
    )
    assert old > 4 * young
    assert skin_chart.NUM_TEXELS == 66
