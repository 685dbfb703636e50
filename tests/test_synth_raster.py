import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from idhand.assets import open_hand
from idhand.synth import Fragments, rasterize

WIDTH, HEIGHT = 24, 18
K = np.array([[30.0, 0, 11.7], [0, 28.0, 8.9], [0, 0, 1]])
HAND_K = np.array([[420.0, 0, 111.5], [0, 420.0, 111.5], [0, 0, 1]])


def triangles(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of all sizes, before and behind each other, some of them outside of the picture."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform((-0.5, -0.4, 0.6), (0.5, 0.4, 2.0), (count, 1, 3))
    corners = centre + rng.normal(size=(count, 3, 3)) * rng.uniform(0.02, 0.25, (count, 1, 1))
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def plain(verts: np.ndarray, faces: np.ndarray, samples: int) -> Fragments:
    """The obvious way: a ray through every sample, met with the plane of every triangle."""
    rows, columns = np.indices((HEIGHT * samples, WIDTH * samples))
    u, v = (columns + 0.5) / samples - 0.5, (rows + 0.5) / samples - 0.5
    rays = np.stack((u, v, np.ones_like(u)), -1) @ np.linalg.inv(K).T
    face, depth = np.full(rows.shape, -1, np.int32), np.full(rows.shape, np.inf)
    weights = np.zeros((*rows.shape, 2))
    for f, corners in enumerate(verts[faces]):
        if (corners[:, 2] <= 0.01).any():
            continue
        a, b, c = corners
        normal = np.cross(b - a, c - a)
        z = (a @ normal) / (rays @ normal)
        inside = np.linalg.lstsq(
            np.stack((b - a, c - a), 1), (rays * z[..., None] - a).reshape(-1, 3).T, rcond=None
        )[0].T.reshape(*rows.shape, 2)
        nearer = (inside >= 0).all(-1) & (inside.sum(-1) <= 1) & (z > 0) & (z < depth)
        face[nearer], depth[nearer], weights[nearer] = f, z[nearer], inside[nearer]
    return Fragments(samples=samples, face=face, depth_m=depth, weights=weights)


@given(seed=st.integers(0, 10_000), samples=st.integers(1, 3))
def test_every_sample_is_as_the_plain_twin_has_it(seed: int, samples: int):
    verts, faces = triangles(seed, 12)
    fast, slow = (
        rasterize(verts, faces, K, WIDTH, HEIGHT, samples=samples),
        plain(verts, faces, samples),
    )
    same = fast.face == slow.face
    assert same.mean() > 0.9999, "but for samples that lie on an edge, to rounding"
    seen = same & (slow.face >= 0)
    np.testing.assert_allclose(fast.depth_m[seen], slow.depth_m[seen], rtol=1e-5)
    np.testing.assert_allclose(fast.weights[seen], slow.weights[seen], atol=1e-4)


def hand() -> tuple[np.ndarray, np.ndarray]:
    model = open_hand()
    return model.template.numpy() + np.array([0.0, 0.06, 0.45]), model.faces.numpy()


def test_visible_vertices_are_drawn_where_they_are_projected():
    """Within half a pixel: what is seen at the nearest sample is the vertex's surroundings."""
    verts, faces = hand()
    samples = 4
    fragments = rasterize(verts, faces, HAND_K, 224, 224, samples=samples)
    pixels = (verts @ HAND_K.T)[:, :2] / verts[:, 2:]
    at = np.rint((pixels + 0.5) * samples - 0.5).astype(int)
    seen = fragments.face[at[:, 1], at[:, 0]]
    touching = np.array([f >= 0 and i in faces[f] for i, f in enumerate(seen)])
    places = fragments.interpolated(verts, faces)[at[:, 1], at[:, 0]]
    drawn = (places @ HAND_K.T)[:, :2] / places[:, 2:].clip(1e-9)
    assert touching.sum() > 300, "about half of the vertices face the camera"
    assert np.linalg.norm(drawn - pixels, axis=1)[touching].max() < 0.5


def test_depth_and_interpolated_depth_agree_and_edges_are_soft():
    verts, faces = hand()
    fragments = rasterize(verts, faces, HAND_K, 224, 224)
    there = fragments.face >= 0
    assert np.isinf(fragments.depth_m[~there]).all()
    z = fragments.interpolated(verts, faces)[..., 2]
    np.testing.assert_allclose(z[there], fragments.depth_m[there], rtol=1e-5)
    coverage = fragments.averaged(there[..., None].astype(np.float32))
    assert coverage.shape == (224, 224, 1)
    assert set(np.unique(coverage)) == {0, 0.25, 0.5, 0.75, 1}
    assert coverage.mean() == pytest.approx(there.mean())


def test_what_is_behind_or_too_near_is_left_out():
    verts, faces = triangles(0, 3)
    behind = rasterize(verts * [1, 1, -1], faces, K, WIDTH, HEIGHT)
    assert (behind.face == -1).all()
    verts[faces[1, 0], 2] = 0.005
    assert 1 not in rasterize(verts, faces, K, WIDTH, HEIGHT).face


def test_any_number_of_threads_gives_the_same_bytes():
    verts, faces = hand()

    def digest(k: int) -> str:
        fragments = rasterize(verts + np.array([0.01 * k, 0, 0]), faces, HAND_K, 224, 224)
        parts = (fragments.face, fragments.depth_m, fragments.weights)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(digest, range(8))) == [digest(k) for k in range(8)]
