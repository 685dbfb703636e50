"""How fast the studio is: finished pictures, each stage apart, alone and in processes.

python benchmarks/speed_synth.py [--images 400]

CPU time of one process, so that a busy machine does not count; the rate in processes is by the
clock. A person's skin is painted once per 40 pictures, as in a set of 5,000 people and 200,000.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from multiprocessing import get_context
from typing import Any

import cv2
import torch
from speed_render import images_per_s as bare_hands_per_s
from tables import table

from idhand.synth import Studio, studio_preset
from idhand.synth import studio as studio_module
from idhand.synth.camera import shading as shading_module
from idhand.synth.people import wardrobe as people_module
from idhand.synth.places.materials import KINDS, VARIANTS, texture

PER_PERSON = 40
STAGES = {
    "people: shape and skin": (studio_module.Wardrobe, "ready"),
    "poses": (people_module.PoseSampler, "draw"),
    "standing before the camera": (studio_module, "stand"),
    "cutting out": (studio_module, "place_hand"),
    "mesh of hand and forearm": (people_module.BodyTopology, "mesh"),
    "held and stray things": (studio_module, "held_object"),
    "second hands": (studio_module, "second_hand"),
    "sleeves": (studio_module, "sleeve_solid"),
    "light": (studio_module, "draw_light"),
    "shadow map of the key light": (shading_module, "key_shadow"),
    "sky light": (shading_module, "sky_light"),
    "rasterising": (shading_module, "rasterize"),
    "shading": (shading_module, "shade_samples"),
    "shadow on the backdrop": (shading_module, "backdrop_shade"),
    "background": (studio_module.Backgrounds, "draw"),
    "sensor": (studio_module, "develop"),
    "JPEG": (studio_module, "encode_jpeg"),
    "labels and JSON": (studio_module, "encode_sample"),
}
"""Stage → where the studio looks its function up."""


def studio(num_images: int, seed: int = 0) -> Studio:
    """The standard preset with as many pictures per person as in the large set."""
    people = max(num_images // PER_PERSON, 1)
    config = replace(studio_preset("standard"), num_subjects=people, num_images=num_images)
    return Studio(replace(config, seed=seed))


def warmed_up(made: Studio) -> Studio:
    """Compile everything and fill the caches that a process fills once."""
    for i in range(0, len(made), max(len(made) // 60, 1)):
        made.entry(i)
    for kind in KINDS:
        for variant in range(VARIANTS):
            texture(kind, variant)
    return made


def stage_times_ms(num_images: int) -> dict[str, float]:
    """CPU milliseconds per picture of each stage, and of everything."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                spent[name] += time.process_time() - start

        return run

    made = warmed_up(studio(num_images))
    originals = {name: getattr(*place) for name, place in STAGES.items()}
    for name, (where, attribute) in STAGES.items():
        setattr(where, attribute, timed(name, originals[name]))
    start = time.process_time()
    for i in range(num_images):
        made.entry(i)
    total = time.process_time() - start
    for name, (where, attribute) in STAGES.items():
        setattr(where, attribute, originals[name])
    spent["all else"] = total - sum(spent.values())
    spent["a finished picture"] = total
    return {name: 1e3 * seconds / num_images for name, seconds in spent.items()}


def finished_per_s(seed: int) -> float:
    """Finished pictures per second by the clock in this process."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    made = warmed_up(studio(200, seed))
    start = time.perf_counter()
    for i in range(len(made)):
        made.entry(i)
    return len(made) / (time.perf_counter() - start)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    times = stage_times_ms(args.images)
    total = times.pop("a finished picture")
    rows = [(name, ms, 100 * ms / total) for name, ms in times.items()]
    print(table(("stage", "ms per picture", "%"), rows, digits=2))
    print(f"a finished picture: {total:.1f} ms, {1e3 / total:.0f} per second and core (aim 60)")
    print(f"a bare hand, rasterised: {bare_hands_per_s(2):.0f} per second (aim 300)")
    cores = os.cpu_count() or 1
    with get_context("spawn").Pool(cores) as pool:
        rates = pool.map(finished_per_s, range(cores), chunksize=1)
    print(f"finished pictures in {cores} processes: {sum(rates):.0f} per second by the clock")


if __name__ == "__main__":
    main()
