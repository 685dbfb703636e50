"""Where the landmark net marks rendered hands, whose joints are known exactly.

    python tools/render_marks.py render --bpy-python PYTHON --cache DIR --out DIR [--people 11]
    python tools/render_marks.py fit --out DIR
    python tools/render_marks.py evaluate --out DIR

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

import idhand
from idhand.assets import open_hand
from idhand.detection import HandDetector
from idhand.geometry import aligned
from idhand.hand import KEYPOINT_JOINT
from idhand.identity import Identity
from idhand.media import read_image
from idhand.pipeline import Pipeline
from idhand.records import HandResult

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


def known(pipe: Pipeline, betas: np.ndarray) -> Identity:
    """A profile that is certain of a shape."""
    certain = 1e-8 * np.eye(len(betas))
    return Identity(model=pipe.model.name, betas=betas, covariance=certain, measurements={})


def evaluate(args: argparse.Namespace) -> None:
    """Mean errors in mm over people: aligned, about the wrist, in camera space."""
    pipe, table = idhand.load(), {}
    assert pipe.model.measures is not None
    files = sorted(args.out.glob("*.json"))
    people = {path.name.split("_")[0] for path in files}
    for person in sorted(people):
        paths = [path for path in files if path.name.startswith(f"{person}_")]
        truths = [json.loads(path.read_text()) for path in paths]
        images = [read_image(path.with_suffix(".png"))[0] for path in paths]
        Ks = [np.array(truth["K"], dtype=float) for truth in truths]
        betas = np.array(truths[0]["betas"], dtype=float)
        length_mm = 1e3 * float(pipe.model.measures.lengths(torch.from_numpy(betas))[0])
        identities = {
            "anonymous": None,
            "mean hand": known(pipe, 0 * betas),
            "calibrated": idhand.calibrate(pipe, images, K=Ks),
            "with ruler": idhand.calibrate(pipe, images, K=Ks, hand_length_mm=length_mm),
            "true shape": known(pipe, betas),
        }
        hands = [pipe.detector.detect(rgb, views=2) for rgb in images]
        for name, identity in identities.items():
            errors = [
                errors_mm(pipe.fit([h for h in d if h.is_right][:1], K, None, identity), truth)
                for d, K, truth in zip(hands, Ks, truths, strict=True)
            ]
            found = [e for e in errors if e is not None]
            table.setdefault(name, []).append(np.mean(found, 0))
    print(f"{len(files)} pictures of {len(people)} people: aligned, to the wrist, camera space")
    for name, rows in table.items():
        print(f"{name:12s}", np.mean(rows, 0).round(2))


def errors_mm(hands: list[HandResult], truth: dict) -> tuple[float, float, float] | None:
    """Aligned, wrist-relative and camera-space error of the 21 keypoints; None if not found."""
    if not hands:
        return None
    found = torch.from_numpy(hands[0].keypoints_cam)
    exact = torch.tensor(truth["keypoints_cam_m"], dtype=torch.float64)
    pairs = ((aligned(found, exact), exact), (found - found[0], exact - exact[0]), (found, exact))
    first, second, third = (1e3 * float((a - b).norm(dim=-1).mean()) for a, b in pairs)
    return first, second, third


def main() -> None:
    """Pick the verb."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(required=True)
    first, second, third = (verbs.add_parser(v) for v in ("render", "fit", "evaluate"))
    first.add_argument("--bpy-python", required=True, help="Python with PyPI bpy 4.5.15")
    first.add_argument("--cache", type=Path, required=True, help="folder for the npm package")
    first.add_argument("--people", type=int, default=11)
    first.add_argument("--samples", type=int, default=6, help="light paths per pixel")
    for verb, run in ((first, render), (second, fit), (third, evaluate)):
        verb.add_argument("--out", type=Path, required=True, help="folder of the pictures")
        verb.set_defaults(run=run)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
