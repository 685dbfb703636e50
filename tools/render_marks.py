"""Where the landmark net marks rendered hands, whose joints are known exactly.

    python tools/render_marks.py render --bpy-python PYTHON --cache DIR --out DIR [--people 11]
    python tools/render_marks.py fit --out DIR

`render` photographs invented people (the first is the average hand) with the demo's studio, at few
samples; `fit` finds the offset of every landmark from its joint in the bone's frame and writes
`tools/rendered_marks.json`. It tells what photos without metric truth cannot: the scale of the
marks. `build_landmarks.py` starts from it and lets real photos correct what they can see.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from build_demo import fetch_panoramas
from demo_photo import Body, Camera, photograph, true_hand
from demo_shots import SHOTS

from idhand.assets import open_hand
from idhand.detection import HandDetector
from idhand.hand import KEYPOINT_JOINT
from idhand.media import read_image

OUT = Path(__file__).with_name("rendered_marks.json")
SHOTS_EACH = 5
NOISE_M, OFFSET_SD_M = 0.004, 0.006
"""Deviation of one mark, and of the offsets: only breaks ties where no view tells."""


def render(args: argparse.Namespace) -> None:
    """Photograph the people; pictures that exist already are kept, so it can be resumed."""
    args.out.mkdir(parents=True, exist_ok=True)
    panoramas, camera = fetch_panoramas(args.cache, args.bpy_python), Camera.phone()
    for person in range(args.people):
        rng = np.random.default_rng(1000 + person)
        betas = rng.normal(size=16) if person else np.zeros(16)
        body = Body(open_hand(), betas, skin_seed=7 + person)
        order = rng.permutation(len(SHOTS)) if person else np.arange(len(SHOTS))
        for shot in order[:SHOTS_EACH].tolist():
            path = args.out / f"p{person:02d}_{shot:02d}.png"
            if path.exists():
                continue
            rgb, _, _ = photograph(
                body,
                SHOTS[shot],
                camera,
                panoramas=panoramas,
                bpy_python=args.bpy_python,
                samples=args.samples,
                seed=100 + shot + 50 * person,
            )
            record = true_hand(body, SHOTS[shot], camera).record(camera)
            truth = json.dumps({"betas": betas.tolist(), **record})
            path.with_suffix(".json").write_text(truth)
            cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1]))
            print(path.name, SHOTS[shot].name, flush=True)


def fit(args: argparse.Namespace) -> None:
    """Least squares over all pictures, each landmark by itself."""
    detector, model = HandDetector(), open_hand()
    assert model.measures is not None
    A, b = np.tile(np.eye(3) * OFFSET_SD_M**-2, (21, 1, 1)), np.zeros((21, 3))
    files = sorted(args.out.glob("*.json"))
    for path in files:
        truth = json.loads(path.read_text())
        rgb, _ = read_image(path.with_suffix(".png"))
        seen = [h for h in detector.detect(rgb, views=2) if h.is_right == truth["is_right"]]
        if not seen:
            print(path.name, "not found")
            continue
        betas = torch.tensor(truth["betas"], dtype=torch.float64)
        rotations = torch.tensor(truth["rotations"], dtype=torch.float64)
        wrist = torch.tensor(truth["wrist_cam_m"], dtype=torch.float64)
        R = model.with_shape(betas).chain(rotations, wrist)[0].numpy()[list(KEYPOINT_JOINT)]
        size = 1 + float(model.measures.growth @ betas)
        points, K = np.array(truth["keypoints_cam_m"]), np.array(truth["K"])
        uvw = points @ K.T
        pixels = uvw[:, :2] / uvw[:, 2:]
        slope = (K[:2] - pixels[..., None] * K[2]) / points[:, 2, None, None] @ R * size
        weight = (points[:, 2] / K[0, 0] / NOISE_M) ** 2
        A += np.einsum("p,pij,pik->pjk", weight, slope, slope)
        b += np.einsum("p,pij,pi->pj", weight, slope, seen[0].landmarks_px - pixels)
    offsets_mm = 1e3 * np.linalg.solve(A, b[..., None])[..., 0]
    document = {"pictures": len(files), "offsets_mm": np.round(offsets_mm, 1).tolist()}
    OUT.write_text(json.dumps(document) + "\n")
    print(offsets_mm.round(1))


def main() -> None:
    """Pick the verb."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(required=True)
    first, second = verbs.add_parser("render"), verbs.add_parser("fit")
    first.add_argument("--bpy-python", required=True, help="Python with PyPI bpy 4.5.15")
    first.add_argument("--cache", type=Path, required=True, help="folder for the npm package")
    first.add_argument("--people", type=int, default=11)
    first.add_argument("--samples", type=int, default=6, help="light paths per pixel")
    for verb, run in ((first, render), (second, fit)):
        verb.add_argument("--out", type=Path, required=True, help="folder of the pictures")
        verb.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
