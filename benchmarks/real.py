"""Evaluation on the real photos and clips: Markdown tables for docs/results.md.

    python benchmarks/real.py --real ../shared/data/real [--out FILE.md] [--quick] [--cache DIR]

Deterministic. Takes about a quarter of an hour on two cores: half of it finds the hands (`--cache`
keeps them), half is the recognition. With --quick about three minutes. None of the pictures is
part of the project; ../shared/data/README.md tells where they come from.
"""

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from real_data import RealData
from real_evidence import EVIDENCE
from real_places import places_report
from real_recognition import QUICK_SPLITS, evidence_report, recognition_report
from real_shape import (
    Fitted,
    bone_table,
    fit_clip,
    fit_photo,
    fit_students,
    found_table,
    jitter_table,
    residual_table,
)
from real_stereo import read_rig, stereo_report
from real_truth import taco_report, tfjs_report, true_hands

import idhand
from idhand.pipeline import PipelineConfig

PARTS = ("sets", "jitter", "stereo", "taco", "tfjs", "recognition", "places")


def main() -> None:
    """Read the flags, run the parts, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--real", type=Path, required=True, help="folder of the real pictures")
    parser.add_argument("--out", type=Path, help="Markdown file to write; it is printed anyway")
    parser.add_argument("--quick", action="store_true", help="a third of the pictures, 12 splits")
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part (repeatable)")
    parser.add_argument("--cache", type=Path, help="folder that keeps the hands that were found")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--workers", type=int, default=2, help="processes for the recognition")
    parser.add_argument(
        "--evidence",
        choices=("all", *EVIDENCE),
        action="append",
        help="calibrate the people of recognition and places from this evidence (repeatable)",
    )
    parser.add_argument("--splits", type=int, help="of the 252 of the recognition; all")
    parser.add_argument(
        "--learned", action="store_true", help="recognise the students that points were learned on"
    )
    parser.add_argument("--landmarks-only", action="store_true", help="use no trained network")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    config = PipelineConfig(network=None if args.landmarks_only else "shipped")
    data = RealData(root=args.real, pipe=idhand.load(config), quick=args.quick, cache=args.cache)
    kinds = [*EVIDENCE] if "all" in (args.evidence or ()) else args.evidence or ["default"]
    num_splits = args.splits or (QUICK_SPLITS if args.quick else None)
    people = People(kinds=kinds, num_splits=num_splits, learned=args.learned, workers=args.workers)
    texts = list(sections(data, args.only or PARTS, people))
    how = " with `--quick`" if args.quick else ""
    intro = (
        f"Made by `benchmarks/real.py`{how}; Python {platform.python_version()}, "
        f"torch {torch.__version__}.\n"
    )
    text = "\n".join((intro, *texts))
    print(text)
    if args.out:
        args.out.write_text(text)


@dataclass(frozen=True, kw_only=True)
class People:
    """Which calibrations the recognition compares."""

    kinds: Sequence[str]
    """Of evidence."""
    num_splits: int | None
    learned: bool
    """Students on whom points were learned, to choose settings by."""
    workers: int

    def recognition(self, data: RealData) -> Iterator[str]:
        """The tables of recognition."""
        if not self.learned:
            yield recognition_report(data, self.workers, self.num_splits)
        if self.learned or len(self.kinds) > 1:
            yield evidence_report(data, self.kinds, self.workers, self.num_splits, self.learned)


@dataclass(frozen=True)
class Sets:
    """The sets, each read once and only if a part needs it."""

    data: RealData

    @cached_property
    def long_clip(self) -> Fitted:
        """One hand opening, closing and pinching."""
        return fit_clip(self.data.pipe, *self.data.clip("dexretarget/human_hand_video.mp4"))

    @cached_property
    def asl(self) -> Fitted:
        """One hand finger-spelling."""
        return fit_clip(self.data.pipe, *self.data.clip("tfjs/asl_hand.25fps.mp4"))

    @cached_property
    def stereo(self) -> tuple[Fitted, Fitted]:
        """One hand, two cameras."""
        folder = self.data.root / "stereo"
        rig = read_rig(folder)
        first, second = (
            self.data.clip(f"stereo/cam{i}_test.mp4", 2, rig.K[i], rig.dist[i]) for i in (0, 1)
        )
        return fit_clip(self.data.pipe, *first), fit_clip(self.data.pipe, *second)

    @cached_property
    def photo(self) -> Fitted:
        """Two hands, backs."""
        return fit_photo(self.data.pipe, self.data.photo("tfjs/hands.jpg"))

    @cached_property
    def taco(self) -> tuple[Fitted, ...]:
        """Two frames with both hands and metric truth."""
        shots = {h.shots.name: h.shots for h in true_hands(self.data)}
        return tuple(fit_photo(self.data.pipe, s) for s in shots.values())


def sections(data: RealData, parts: Sequence[str], people: People) -> list[str]:
    """The tables of the parts, in order."""
    sets, texts = Sets(data), list[str]()
    if "sets" in parts:
        texts += _sets(sets)
    if "jitter" in parts:
        texts.append(jitter_table(sets.long_clip))
    if "stereo" in parts:
        texts.append(stereo_report(data, [fitted.shots for fitted in sets.stereo]))
    if "taco" in parts:
        texts.append(taco_report(data))
    if "tfjs" in parts:
        texts.append(tfjs_report(data, sets.photo.shots, sets.asl.shots))
    if "recognition" in parts:
        texts += people.recognition(data)
    if "places" in parts:
        texts.append(places_report(data, people.kinds, people.workers))
    return texts


def _sets(sets: Sets) -> list[str]:
    """What is the same for every set: found, residual, bones."""
    students = fit_students(sets.data.pipe, sets.data)
    clips = [students, sets.long_clip, sets.asl, *sets.stereo]
    every = [*clips, sets.photo, *sets.taco]
    expected = [1, 1, 1, 1, 1, 2, *(2 for _ in sets.taco)]
    return [found_table(every, expected), residual_table(every), bone_table(clips)]


if __name__ == "__main__":
    main()
