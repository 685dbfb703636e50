"""A video → the same hands from frame to frame, and an animation for Blender.

    python examples/video.py [VIDEO]

Without an argument it makes a short clip out of a bundled picture, as if the camera moved. Writes
NAME.glb (an animated, rigged hand) and NAME.bvh files into this folder.
"""

import sys
from importlib.resources import files
from pathlib import Path

import idhand
from idhand.media import VideoReader
from idhand.tracking import Tracker
from idhand.view import MotionRecorder, VideoWriter, export_motion


def moving_camera() -> Path:
    """Twelve frames cut out of one picture, each a little farther to the right."""
    picture = files("idhand.assets") / "data" / "demo" / "photo_00.jpg"
    rgb, _ = idhand.read_image(Path(str(picture)))
    with VideoWriter("moving_camera.mp4", fps=12.0) as clip:
        for shift in range(0, 48, 4):
            clip.add(rgb[:, shift : shift + 560].copy())
    return Path("moving_camera.mp4")


def main(arguments: list[str]) -> None:
    """Follow the hands and export their motion."""
    path = Path(arguments[0]) if arguments else moving_camera()
    pipe, recorder = idhand.load(), MotionRecorder()
    tracker, video = Tracker(pipe), VideoReader(path)
    # For a live stream, tracker.step does both at once. Of a file, all frames vote on the sides
    # of the hands before the first one is fitted.
    found = [tracker.find(frame.rgb, frame.time_s) for frame in video]
    for frame, hands in zip(video, found, strict=True):
        recorder.add(frame.index, frame.time_s, tracker.fit(frame.rgb, hands))
    motions = recorder.motions()
    for motion in motions:
        x, _, z = motion.wrist_cam.T
        print(
            f"{motion.name}: {motion.num_frames} frames, x {x[0]:+.3f} to {x[-1]:+.3f} m, "
            f"z {z.min():.3f} to {z.max():.3f} m"
        )
    if motions:
        for file in export_motion(
            Path(), path.stem, motions, pipe.model, ("glb", "bvh"), video.fps
        ):
            print(f"wrote {file}")


if __name__ == "__main__":
    main(sys.argv[1:])
