"""Triangles → what every sample of an image sees: a z-buffer, exact to the sample.

Shading, masks and labels are looked up from its result. One image runs on one thread; processes
scale with the cores (threads less so: they share one page table). The result depends on neither.
Needs numba (`pip install 'idhand[synth]'`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from idhand.synth.compiled import compiled

NEAR_M = 0.01
"""Triangles with a corner nearer to the camera than this are left out."""


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """The nearest triangle at each sample; a pixel has `samples` × `samples` of them."""

    samples: int
    face: Int[np.ndarray, "rows columns"]
    """Index of the triangle, −1 for none."""
    depth_m: Float[np.ndarray, "rows columns"]
    """z in the camera frame, infinite where there is nothing."""
    weights: Float[np.ndarray, "rows columns 2"]
    """Of the triangle's second and third corner, perspective-correct; the first has the rest."""

    def interpolated(
        self, values: Float[np.ndarray, "verts channels"], faces: Int[np.ndarray, "faces 3"]
    ) -> Float[np.ndarray, "rows columns channels"]:
        """Values given at the vertices, at every sample; zero where there is nothing."""
        out = np.zeros((*self.face.shape, values.shape[1]), np.float32)
        rows, columns = np.nonzero(self.face >= 0)
        a, b, c = values[faces[self.face[rows, columns]]].swapaxes(0, 1)
        w = self.weights[rows, columns]
        out[rows, columns] = a + w[:, :1] * (b - a) + w[:, 1:] * (c - a)
        return out

    def averaged(
        self, values: Float[np.ndarray, "rows columns channels"]
    ) -> Float[np.ndarray, "height width channels"]:
        """Values at the samples → their mean in every pixel, which softens edges."""
        s = self.samples
        rows, columns, channels = values.shape
        return values.reshape(rows // s, s, columns // s, s, channels).mean((1, 3))


def rasterize(
    verts_cam: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    K: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    *,
    samples: int = 2,
    cull: bool = False,
) -> Fragments:
    """Find what a pinhole camera sees.

    Args:
        verts_cam: Metres, camera frame.
        faces: Triangles, of any winding unless `cull`.
        K: Intrinsics, px; the centre of the top-left pixel is (0, 0).
        width: Of the image, px.
        height: Of the image, px.
        samples: Per pixel and axis, evenly spread.
        cull: Leave out triangles seen from behind: right for closed surfaces with outward normals
            by the right-hand rule, and twice as fast.
    """
    z = verts_cam[:, 2]
    safe = np.where(z > NEAR_M, z, 1.0)
    pixels = (verts_cam @ K.T)[:, :2] / safe[:, None]
    points = np.empty((len(z), 3))
    points[:, :2] = (pixels + 0.5) * samples - 0.5
    points[:, 2] = 1 / safe
    kept = np.flatnonzero((z[faces] > NEAR_M).all(1))
    shape = (height * samples, width * samples)
    face, depth_m = np.empty(shape, np.int32), np.empty(shape, np.float32)
    weights = np.empty((*shape, 2), np.float32)
    _paint(points, faces.astype(np.int64), kept, cull, face, depth_m, weights)
    return Fragments(samples=samples, face=face, depth_m=depth_m, weights=weights)


@compiled
def _paint(points, faces, kept, cull, face, depth_m, weights):
    """Fill the three pictures. Points are x, y in samples and 1/z, which is linear in these."""
    rows, columns = face.shape
    face[:] = -1
    depth_m[:] = np.inf
    weights[:] = 0.0
    for f in kept:
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
        bx, by, bz = points[j, 0], points[j, 1], points[j, 2]
        cx, cy, cz = points[k, 0], points[k, 1], points[k, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or (cull and area > 0.0):
            continue
        bu, bv = (cy - ay) / area, (cx - ax) / area
        cu, cv = (by - ay) / area, (bx - ax) / area
        left = max(0, int(np.ceil(min(ax, bx, cx))))
        right = min(columns - 1, int(np.floor(max(ax, bx, cx))))
        top = max(0, int(np.ceil(min(ay, by, cy))))
        bottom = min(rows - 1, int(np.floor(max(ay, by, cy))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                wb = (x - ax) * bu - (y - ay) * bv
                wc = (y - ay) * cv - (x - ax) * cu
                if min(wb, wc, 1.0 - wb - wc) < 0.0:
                    continue
                z = 1.0 / (az + wb * (bz - az) + wc * (cz - az))
                if z < depth_m[y, x]:
                    depth_m[y, x] = z
                    face[y, x] = f
                    weights[y, x, 0] = wb * bz * z
                    weights[y, x, 1] = wc * cz * z
