"""How many hands in known boxes are read the wrong way round.

python benchmarks/turned_hands.py SHARDS [--every 1]

SHARDS are labelled pictures, as `idhand synth` and `idhand data prepare` write them. The direction
from the wrist to the knuckles, in the picture, is compared with the truth's.
"""

import argparse

import numpy as np
from jaxtyping import Float
from tables import table

from idhand.data import Shards
from idhand.detection import HandDetector

TURNED_DEG = 30.0
KNUCKLES = (5, 9, 13, 17)


def main() -> None:
    """Read the hands and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards")
    parser.add_argument("--every", type=int, default=1, help="take one in so many pictures")
    options = parser.parse_args()
    shards, detector = Shards(options.shards), HandDetector()
    turns_deg: list[float] = []
    missed = far = 0
    for row in range(0, len(shards), options.every):
        sample = shards[row]
        hand = detector.in_box(sample.rgb, sample.bbox_px, is_right=sample.is_right)
        if hand is None:
            missed += 1
            continue
        turn = direction_rad(hand.landmarks_px) - direction_rad(sample.keypoints_px)
        turns_deg.append(abs(np.degrees((turn + np.pi) % (2 * np.pi) - np.pi)))
        off_px = np.linalg.norm(hand.landmarks_px - sample.keypoints_px, axis=1).mean()
        far += bool(off_px > 0.2 * (sample.bbox_px[2:] - sample.bbox_px[:2]).max())
    turned = int((np.array(turns_deg) > TURNED_DEG).sum())
    rows = [(missed + len(turns_deg), missed, turned, far)]
    heads = (
        "hands",
        "missed",
        f"turned by more than {TURNED_DEG:.0f}°",
        "off by a fifth of the box",
    )
    print(table(heads, rows))


def direction_rad(points_px: Float[np.ndarray, "21 2"]) -> float:
    """From the wrist to the middle of the knuckles."""
    x, y = points_px[list(KNUCKLES)].mean(0) - points_px[0]
    return float(np.arctan2(y, x))


if __name__ == "__main__":
    main()
