"""The front door: one hand, calibration, start-up."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from timing import Row, interleaved

import idhand
from idhand.geometry import intrinsics_from_fov

NUM_PHOTOS = 20
"""Of the calibration that is timed."""


def demo_photos() -> list[np.ndarray]:
    """The bundled pictures."""
    folder = files("idhand.assets") / "data" / "demo"
    names = sorted(p.name for p in folder.iterdir() if p.name.endswith(".jpg"))
    return [idhand.read_image(str(folder / name))[0] for name in names]


def on_canvas(rgb: np.ndarray, width: int = 640, height: int = 480) -> np.ndarray:
    """The picture in the middle of a grey one of the size that the targets are for."""
    out = np.full((height, width, 3), 127, np.uint8)
    h, w = min(rgb.shape[0], height), min(rgb.shape[1], width)
    top, left = (height - h) // 2, (width - w) // 2
    out[top : top + h, left : left + w] = rgb[:h, :w]
    return out


def pipeline(repeats: int) -> list[Row]:
    """One hand at 640×480, first seen and followed, anonymous and known; calibration."""
    pipe = idhand.load()
    photos = demo_photos()
    pictures = [on_canvas(photo) for photo in photos]
    K = intrinsics_from_fov(640, 480).numpy()
    me = idhand.calibrate(pipe, photos)
    hands = [pipe(rgb, K=K, max_hands=1) for rgb in pictures]
    chosen = [(rgb, seen) for rgb, seen in zip(pictures, hands, strict=True) if seen]
    state = {"at": 0}

    def turn(**options: Any) -> None:
        rgb, seen = chosen[state["at"] % len(chosen)]
        state["at"] += 1
        if options.pop("follow", False):
            options["previous"] = seen
        pipe(rgb, K=K, max_hands=1, **options)

    seconds = interleaved(
        {
            "cold": turn,
            "previous": lambda: turn(follow=True),
            "previous, identity": lambda: turn(follow=True, identity=me),
        },
        repeats,
    )
    targets = {"cold": 80, "previous": 35, "previous, identity": 35}
    rows = [
        Row(
            name=f"pipe(rgb) at 640×480, {name}", value=1e3 * value, unit="ms", target=targets[name]
        )
        for name, value in seconds.items()
    ]
    return [*rows, _calibration_row(pipe, photos)]


def _calibration_row(pipe: idhand.Pipeline, photos: Sequence[np.ndarray]) -> Row:
    twenty = [photos[i % len(photos)] for i in range(NUM_PHOTOS)]
    fused = interleaved({"calibrate": lambda: idhand.calibrate(pipe, twenty)}, 3)["calibrate"]
    size = "×".join(str(n) for n in photos[0].shape[1::-1])
    return Row(
        name=f"calibrate, {NUM_PHOTOS} photos",
        value=fused,
        unit="s",
        target=5,
        note=f"bundled pictures, {size}, some twice",
    )


LOAD = """
import time, torch, numpy
start = time.perf_counter()
import idhand
idhand.load()
print(time.perf_counter() - start)
"""

HELP = "import sys; sys.argv = ['idhand', '--help']; from idhand.cli import main; main()"
"""What the installed command does."""


def start_up(repeats: int) -> list[Row]:
    """Each in a fresh process."""
    load = float(np.median([float(_run([sys.executable, "-c", LOAD])) for _ in range(repeats)]))
    helps = interleaved({"help": lambda: _run([sys.executable, "-c", HELP])}, repeats)
    return [
        Row(name="idhand.load(), beyond importing torch", value=load, unit="s", target=2),
        Row(name="idhand --help", value=helps["help"], unit="s", target=0.5),
    ]


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
