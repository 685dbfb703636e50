"""Build the demo pictures: one invented person's right hand in 16 photo-like scenes, with truth.

    python tools/build_demo.py --bpy-python PYTHON --cache DIR [--out DIR] [--samples N]

`--bpy-python` is the interpreter of a separate environment with PyPI `bpy` 4.5.15 (Blender; GPL, a
tool that never becomes a dependency). Light and backgrounds are HDRIs by Poly Haven (CC0) from npm
`@pmndrs/assets` 1.7.0 (CC0), fetched into the cache once. The hand is the package's own open hand;
skin, cloth and tables are procedural. Needs the extra `synth`. The way: `demo_shots` (what) →
`demo_photo` (one picture: `demo_mesh`, `demo_skin`) → `demo_scene` (the only file that runs inside
Blender's Python).

Writes `photo_NN.jpg` and `truth.json`. Everything is seeded; Cycles repeats itself on one machine
and version. Prints how well the projected truth mesh covers the rendered hand.
"""

import argparse
import base64
import json
import re
import subprocess
import tarfile
from pathlib import Path

import cv2
import numpy as np
import torch
from demo_photo import Body, Camera, photograph, true_hand
from demo_shots import SHOTS

from idhand.assets import open_hand
from idhand.hand import KEYPOINT_NAMES, KEYPOINT_PARENTS

PACKAGE = "@pmndrs/assets@1.7.0"
DATA = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data" / "demo"


def invented_betas():
    """A long, slim hand: a fixed draw with the first shape directions set by hand."""
    betas = np.random.default_rng(20).normal(size=16) * 0.9
    betas[:4] = (0.45, 1.10, 1.45, -0.90)
    return np.round(betas, 3)


def fetch_panoramas(cache: Path, bpy_python):
    """All HDRIs of the package as linear float32 arrays by name."""
    folder = cache / "hdri"
    if not list(folder.glob("*.npy")):
        folder.mkdir(parents=True, exist_ok=True)
        if not list(cache.glob("pmndrs-assets-*.tgz")):
            subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=cache, check=True)
        with tarfile.open(next(cache.glob("pmndrs-assets-*.tgz"))) as tar:
            for member in tar.getmembers():
                name = Path(member.name).name
                if name.endswith(".exr.js"):
                    file = tar.extractfile(member)
                    assert file is not None
                    code = re.findall(r"base64,([A-Za-z0-9+/=]+)", file.read().decode())[0]
                    (folder / name.removesuffix(".js")).write_bytes(base64.b64decode(code))
        scene = Path(__file__).with_name("demo_scene.py")
        subprocess.run([bpy_python, str(scene), "decode", str(folder)], check=True)
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}


def person_truth(body: Body, betas):
    """What is known of the person, beside the photos."""
    model = body.model
    assert model.measures is not None
    zero = torch.zeros(3, dtype=torch.float64)
    flat = torch.eye(3, dtype=torch.float64).expand(16, 3, 3)
    keypoints = body.hand.posed(flat, zero).keypoints.numpy()
    lengths = model.measures.lengths(body.hand.betas) * 1e3
    measurements = dict(zip(model.measures.names, lengths.tolist(), strict=True))
    bones = {
        name: float(np.linalg.norm(keypoints[k] - keypoints[KEYPOINT_PARENTS[k]]) * 1e3)
        for k, name in enumerate(KEYPOINT_NAMES)
        if k > 0
    }
    return {
        "version": 1,
        "model": model.name,
        "betas": [float(b) for b in betas],
        "hand_length_mm": round(measurements["hand_length"], 4),
        "bones_mm": {k: round(v, 4) for k, v in bones.items()},
        "measurements_mm": {k: round(v, 4) for k, v in measurements.items()},
    }


def main():
    """Render all shots and write pictures and truth."""
    parser = argparse.ArgumentParser(description="Build the demo pictures.")
    parser.add_argument("--bpy-python", required=True, help="Python with PyPI bpy 4.5.15")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the npm package")
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--samples", type=int, default=64, help="light paths per pixel")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG files")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the pictures to render")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    panoramas = fetch_panoramas(args.cache, args.bpy_python)
    betas = invented_betas()
    body = Body(open_hand(), betas)
    camera = Camera.phone()
    photos = []
    for number, shot in enumerate(SHOTS):
        name = f"photo_{number:02d}.jpg"
        record = true_hand(body, shot, camera).record(camera)
        photos.append({"file": name, "scene": shot.name} | record)
        if args.only and number not in args.only:
            continue
        rgb, _, iou = photograph(
            body,
            shot,
            camera,
            panoramas=panoramas,
            bpy_python=args.bpy_python,
            samples=args.samples,
            seed=100 + number,
        )
        quality = [cv2.IMWRITE_JPEG_QUALITY, args.quality]
        cv2.imwrite(str(args.out / name), np.ascontiguousarray(rgb[..., ::-1]), quality)
        print(f"{name}  {shot.name:20s} silhouette IoU {iou:.4f}", flush=True)
    truth = person_truth(body, betas) | {"photos": photos}
    (args.out / "truth.json").write_text(json.dumps(truth, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
