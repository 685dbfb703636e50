"""Photos → 3D hands.

    python examples/photos.py [PHOTO ...]

Without arguments it takes two of the bundled pictures. Writes overlay_NAME.png into this folder.
"""

import sys
from importlib.resources import files
from pathlib import Path

import idhand


def main(arguments: list[str]) -> None:
    """Find the hands, print where they are, save a picture of each photo's hands."""
    demo = files("idhand.assets") / "data" / "demo"
    paths = [Path(a) for a in arguments] or [Path(str(demo / f"photo_0{i}.jpg")) for i in (0, 4)]
    pipe = idhand.load()
    for path in paths:
        rgb, K = idhand.read_image(path)  # K from Exif, or None: then a field of view is assumed
        hands = pipe(rgb, K=K)
        print(f"{path.name}: {len(hands)} hand(s)")
        for hand in hands:
            side = "right" if hand.is_right else "left"
            x, y, z = hand.keypoints_cam[0]
            print(
                f"  {side}, wrist at {x:+.3f} {y:+.3f} {z:.3f} m (± {1.96 * hand.depth_std_m:.3f})"
            )
        idhand.view(hands, rgb).save(f"overlay_{path.stem}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
