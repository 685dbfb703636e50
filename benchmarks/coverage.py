"""How often errors lie within what is stated: keypoints of studio pictures, by kind of picture.

    python benchmarks/coverage.py [--images 200] [--demo]

Prints, of keypoints about the wrist, the mean error, the mean stated deviation, the ratio of their
root mean squares (1 is right) and the share of errors within two deviations. Cut pictures lose 15
to 50 % of the hand at one side, by a seed; their joints are counted in view and outside apart.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from tables import table

import idhand
from idhand.synth import Studio, StudioConfig


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A picture of one hand."""

    rgb: np.ndarray
    K: np.ndarray
    keypoints_px: np.ndarray
    keypoints_cam: np.ndarray
    visible: np.ndarray
    is_right: bool


def demo() -> Iterator[Truth]:
    """The bundled photos."""
    folder = Path(str(files("idhand.assets"))) / "data" / "demo"
    for i, photo in enumerate(json.loads((folder / "truth.json").read_text("utf-8"))["photos"]):
        yield Truth(
            rgb=idhand.read_image(folder / f"photo_{i:02d}.jpg")[0],
            K=np.array(photo["K"]),
            keypoints_px=np.array(photo["keypoints_px"]),
            keypoints_cam=np.array(photo["keypoints_cam_m"]),
            visible=np.ones(21, bool),
            is_right=bool(photo["is_right"]),
        )


def studio(count: int) -> Iterator[Truth]:
    """Pictures of the studio's validation people."""
    pictures = Studio(StudioConfig(split="val"))
    for i in range(count):
        s = pictures[i]
        assert s.keypoints_cam is not None
        assert s.visible is not None
        yield Truth(
            rgb=s.rgb,
            K=s.K,
            keypoints_px=s.keypoints_px,
            keypoints_cam=s.keypoints_cam,
            visible=s.visible,
            is_right=s.is_right,
        )


def cut(truth: Truth, side: int, share: float) -> Truth:
    """The picture without a part of the hand: above, below, left or right."""
    height, width = truth.rgb.shape[:2]
    low, high = truth.keypoints_px.min(0), truth.keypoints_px.max(0)
    x0, y0, x1, y1 = 0, 0, width, height
    start = (low + share * (high - low)).clip(0).astype(int)
    end = np.minimum(high - share * (high - low), [width, height]).astype(int)
    match side:
        case 0:
            y0 = int(start[1])
        case 1:
            y1 = int(end[1])
        case 2:
            x0 = int(start[0])
        case _:
            x1 = int(end[0])
    K = truth.K.copy()
    K[:2, 2] -= [x0, y0]
    return Truth(
        rgb=np.ascontiguousarray(truth.rgb[y0:y1, x0:x1]),
        K=K,
        keypoints_px=truth.keypoints_px - [x0, y0],
        keypoints_cam=truth.keypoints_cam,
        visible=truth.visible,
        is_right=truth.is_right,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--demo", action="store_true", help="the bundled photos instead")
    flags = parser.parse_args()
    pipe, rng = idhand.load(), np.random.default_rng(0)
    kinds = ("whole, seen", "whole, hidden", "cut, in view", "cut, outside")
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for truth in demo() if flags.demo else studio(flags.images):
        shares = (0.3, 0.45) if flags.demo else rng.uniform(0.15, 0.5, 2)
        sides = (0, 0) if flags.demo else rng.integers(4, size=2).tolist()
        pieces = [cut(truth, int(a), float(b)) for a, b in zip(sides, shares, strict=True)]
        for is_cut, picture in ((False, truth), *((True, piece) for piece in pieces)):
            if min(picture.rgb.shape[:2]) < 20:
                continue
            hands = pipe.detector.detect(picture.rgb, max_hands=1)
            hands = [hand for hand in hands if hand.is_right == picture.is_right]
            assert pipe.reader is not None
            hands = pipe.reader.with_features(picture.rgb, hands)
            for hand in pipe.fit(hands, picture.K):
                assert picture.keypoints_cam is not None
                assert picture.visible is not None
                X, seen = hand.keypoints_cam, picture.keypoints_cam
                off = np.linalg.norm((X - X[0]) - (seen - seen[0]), axis=1)
                px, size = picture.keypoints_px, np.array(picture.rgb.shape[1::-1])
                inside = np.all((px >= -0.5) & (px <= size - 0.5), axis=1)
                for j in range(1, 21):
                    if is_cut:
                        kind = "cut, in view" if inside[j] else "cut, outside"
                    else:
                        kind = "whole, seen" if picture.visible[j] else "whole, hidden"
                    found[kind].append((1e3 * off[j], 1e3 * hand.keypoints_std_m[j]))
    rows = []
    for kind, pairs in found.items():
        if not pairs:
            continue
        error, stated = np.array(pairs).T
        ratio = np.sqrt((error**2).mean() / (stated**2).mean())
        within = (error < 2 * stated).mean()
        numbers = (error.mean(), stated.mean(), ratio, 100 * within)
        rows.append((kind, len(error), *(float(number) for number in numbers)))
    print(table(("joints", "number", "error mm", "stated mm", "ratio", "within 2, %"), rows))


if __name__ == "__main__":
    main()
