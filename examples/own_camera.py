"""Use your own intrinsics: distance is proportional to the focal length, so knowing it pays.

    python examples/own_camera.py [PHOTO CAMERA]

CAMERA is JSON {"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], "dist": [k1, k2, p1, p2, k3]}, where
"dist" may be left out, or what OpenCV's or ROS's calibration writes. Without arguments it takes a
bundled picture and the camera that it was rendered with.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import idhand
from idhand.media import read_camera


def bundled() -> tuple[Path, Path]:
    """A bundled picture, and its camera written to a file."""
    demo = files("idhand.assets") / "data" / "demo"
    record = json.loads((demo / "truth.json").read_text())["photos"][0]
    Path("camera.json").write_text(json.dumps({"K": record["K"]}))
    return Path(str(demo / record["file"])), Path("camera.json")


def main(arguments: list[str]) -> None:
    """The same photo with an assumed and with the known camera."""
    photo, camera = (Path(a) for a in arguments) if arguments else bundled()
    rgb, _ = idhand.read_image(photo)
    K, dist = read_camera(camera)
    pipe = idhand.load()
    for words, hands in (
        ("assuming 60 degrees", pipe(rgb)),
        ("with your camera", pipe(rgb, K=K, dist=dist)),
    ):
        for hand in hands:
            print(f"{words}: wrist {hand.keypoints_cam[0, 2]:.3f} m away, guess: {hand.K_is_guess}")


if __name__ == "__main__":
    main(sys.argv[1:])
