"""How fast the studio's rasteriser is: bare hands of 224×224 pixels, alone and in processes.

python benchmarks/speed_render.py
"""

import os
import time
from multiprocessing import get_context

import numpy as np

from idhand.assets import open_hand
from idhand.geometry import intrinsics_from_fov
from idhand.synth import rasterize

SIDE_PX, IMAGES = 224, 400


def images_per_s(samples: int) -> float:
    """A flat hand that fills a quarter of the picture, after a warm-up that compiles."""
    model = open_hand()
    K = intrinsics_from_fov(SIDE_PX, SIDE_PX, 30.0).numpy()
    verts = model.template.numpy() + np.array([0.0, 0.06, 0.45])
    faces = model.faces.numpy()
    for _ in range(20):
        rasterize(verts, faces, K, SIDE_PX, SIDE_PX, samples=samples)
    start = time.perf_counter()
    for _ in range(IMAGES):
        rasterize(verts, faces, K, SIDE_PX, SIDE_PX, samples=samples)
    return IMAGES / (time.perf_counter() - start)


def main() -> None:
    """Print images per second."""
    for samples in (1, 2, 4):
        print(f"{samples}×{samples} samples: {images_per_s(samples):.0f} images/s in one process")
    cores = os.cpu_count() or 1
    with get_context("spawn").Pool(cores) as pool:
        rates = pool.map(images_per_s, [2] * cores, chunksize=1)
    print(f"2×2 samples: {sum(rates):.0f} images/s in {cores} processes")


if __name__ == "__main__":
    main()
