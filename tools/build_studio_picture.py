"""README's picture of the studio: 32 people of the test split, one photo each.

    python tools/build_studio_picture.py [--out docs/images/studio.jpg]

The same machine and versions give the same bytes.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from idhand.synth import Studio, studio_preset
from idhand.synth.camera.sensor import encode_jpeg

COLUMNS, ROWS, SIDE_PX, QUALITY = 8, 4, 160, 85


def main() -> None:
    """Render and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    out = Path(__file__).parents[1] / "docs" / "images" / "studio.jpg"
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    num = COLUMNS * ROWS
    config = replace(studio_preset("standard"), split="test", num_subjects=num, num_images=num)
    studio = Studio(replace(config, seed=args.seed))
    tiles = [
        cv2.resize(sample.rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        for sample in studio
    ]
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, num, COLUMNS)]
    args.out.write_bytes(encode_jpeg(np.ascontiguousarray(np.vstack(rows)), QUALITY))
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
