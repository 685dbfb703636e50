"""Are the studio's pictures real enough? Markdown tables for docs/results.md.

    python benchmarks/studio_realism.py --renders DIR [--photoreal DIR] [--images 400] [--ablations]

The judge is what was trained on real photos alone: the nets, and the fit to their landmarks. Real
photos come from `--real`; what the judge says of them is kept in `--cache`. Deterministic; on one
core 0.8 minutes for the real photos, once, and 0.06 seconds for each other picture.
"""

import argparse
import platform
from dataclasses import replace
from pathlib import Path

import torch
from studio_judge import Judge, Readings, pictures_of
from studio_real import real_readings
from studio_tables import (
    Sets,
    ablation_table,
    distance_tables,
    found_table,
    residual_table,
    truth_table,
)

import idhand
from idhand.data import Shards
from idhand.synth.config import StudioConfig
from idhand.synth.people.subjects import NUM_SUBJECTS
from idhand.synth.studio import Studio

ABLATIONS = {
    "nothing": {},
    "skin: plain": {"skin": "plain"},
    "light: flat": {"light": "flat"},
    "pose: open": {"pose": "open"},
    "background: plain": {"background": "plain"},
    "sensor: none": {"sensor": "none"},
}
"""What is switched off in `StudioConfig`, one at a time."""


def main() -> None:
    """Read the flags, judge, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--renders", type=Path, help="folder of shards made by `idhand synth`")
    parser.add_argument("--photoreal", type=Path, help="folder of the photo-like test set")
    parser.add_argument("--images", type=int, default=400, help="of each set, evenly spread")
    parser.add_argument("--ablations", action="store_true", help="switch each factor off")
    parser.add_argument("--real", type=Path, default=Path("../shared/data/real"))
    parser.add_argument("--cache", type=Path, default=Path("out"), help="keeps the real side")
    parser.add_argument("--out", type=Path, help="Markdown file to write; it is printed anyway")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    args = parser.parse_args()
    if args.images < 1:
        parser.error(f"--images must be at least 1, got {args.images}")
    torch.set_num_threads(args.threads)
    judge = Judge(idhand.load())
    folders = {"renders": args.renders, "photoreal": args.photoreal}
    made = {
        name: judge.read(pictures_of(Shards(folder), args.images))
        for name, folder in folders.items()
        if folder is not None
    }
    sets = Sets(made=made, real=real_readings(judge, args.real, args.cache))
    texts = [found_table(sets), residual_table(sets)]
    texts += [truth_table(sets)] if made else []
    texts += [distance_tables(sets)] if sets.real else []
    if args.ablations:
        texts.append(ablation_table(ablated(judge, args.images), sets.pooled))
    text = "\n".join((_introduction(), *texts))
    print(text)
    if args.out:
        args.out.write_text(text)


def _introduction() -> str:
    return (
        f"Made by `benchmarks/studio_realism.py`; Python {platform.python_version()}, torch "
        f"{torch.__version__}. In brackets 95 % intervals; people, and seconds of a clip, are "
        "drawn again as a whole.\n"
    )


def ablated(judge: Judge, num_images: int) -> dict[str, Readings]:
    """The studio's pictures with each factor switched off, rendered for this."""
    num_subjects = min(NUM_SUBJECTS["val"], num_images)
    plan = StudioConfig(split="val", num_subjects=num_subjects, num_images=num_images)
    found = {}
    for name, changes in ABLATIONS.items():
        print(f"rendering and judging, switched off: {name}", flush=True)
        config = replace(plan, **changes)
        found[name] = judge.read(pictures_of(Studio(config), num_images))
    return found


if __name__ == "__main__":
    main()
