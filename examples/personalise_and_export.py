"""Calibrate a person, then take that person's hand into other programs.

    python examples/personalise_and_export.py [PHOTO PHOTO ...]

The photos must show one person; without arguments, bundled pictures are used. Writes the profile
me.hand.json and the first photo's hand as rigged GLB, PLY, npz, BVH and OpenXR joints.
"""

import sys
from importlib.resources import files
from pathlib import Path

import idhand
from idhand.view import export_photo


def main(arguments: list[str]) -> None:
    """Calibrate, save, estimate again with the known hand, export."""
    demo = files("idhand.assets") / "data" / "demo"
    names = arguments or [str(demo / f"photo_{i:02d}.jpg") for i in (0, 1, 4, 8, 9, 12)]
    photos = [idhand.read_image(name) for name in names]
    pipe = idhand.load()
    me = idhand.calibrate(pipe, [rgb for rgb, _ in photos], K=[K for _, K in photos])
    me.save("me.hand.json")
    print(f"from {sum(p.weight > 0 for p in me.photos)} of {len(me.photos)} photos")
    rgb, K = photos[0]
    hands = pipe(rgb, K=K, identity=idhand.Identity.load("me.hand.json"))
    formats = ("glb", "ply", "npz", "bvh", "openxr")
    for file in export_photo(Path(), "hand", hands, pipe.model, formats):
        print(f"wrote {file}")


if __name__ == "__main__":
    main(sys.argv[1:])
