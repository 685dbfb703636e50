"""`idhand synth`: photos of people who do not exist → a data set on disk, and contact sheets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import arg

from idhand.cli import EXIT_FINE
from idhand.cli.common import (
    num_cores,
    progress,
    say,
    terminate_as_interrupt,
    writable_folder,
)
from idhand.cli.shard_writing import write_set
from idhand.media.writing import write_image
from idhand.records import Sample
from idhand.view.gallery import contact_sheet, with_truth

SPLIT_SUBJECTS = {"train": 5000, "val": 100, "test": 200}
"""Default number of people in each split."""
OLD_NAMES = {"mixture": "all", "men": "male", "women": "female"}
"""Of populations, in earlier versions, which are still taken."""
GALLERY_PICTURES, GALLERY_QUALITY = 100, 92
SMALLEST_PX, LARGEST_PX = 64, 1024


@dataclass(frozen=True, kw_only=True)
class Command:
    """Render labelled photos of hands of people who do not exist.

    Writes shards of 1,000 pictures with their truth (tar files in WebDataset's layout) and
    manifest.json; `idhand.data.Shards` reads them. After an interruption, the same command resumes.
    The pictures depend on the flags and the seed, not on the number of workers.
    """

    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for the set."""
    preset: Literal["standard", "video", "plain"] = "standard"
    """standard: single pictures of everything; video: sequences; plain: bare hands, flat light."""
    split: Literal["train", "val", "test"] = "train"
    """Purpose of the set; no person is in two splits."""
    population: Literal["all", "male", "female"] = "all"
    """People to draw; of all, half are men."""
    subjects: Annotated[int | None, arg(metavar="N")] = None
    """Number of people; by default 5000 (train), 100 (val) or 200 (test), at most one a picture."""
    images: Annotated[int | None, arg(metavar="N")] = None
    """Number of pictures in the whole set; for video a multiple of 32."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Another seed gives other people and other pictures."""
    size: Annotated[int, arg(metavar="PX")] = 224
    """Width and height of the pictures, 64 to 1024."""
    objects: Annotated[float | None, arg(metavar="SHARE")] = None
    """Share of the pictures with an object, held or in the way; by default 0.25, no video has any.
    """
    second_hands: Annotated[float | None, arg(metavar="SHARE")] = None
    """Share of the pictures with another hand beside the hand; by default 0.1."""
    backgrounds: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Your own photos, without hands, as additional backgrounds."""
    depth: bool = False
    """Also write depth maps (16 bit PNG)."""
    workers: Annotated[int | None, arg(metavar="N")] = None
    """Processes; by default one for each core."""
    gallery: bool = False
    """Write two contact sheets of 100 pictures, gallery.jpg and gallery_truth.jpg; without
    --images nothing else."""

    def __post_init__(self):
        if self.images is None and not self.gallery:
            raise ValueError("give --images N, or --gallery for a sheet alone")
        for flag in ("subjects", "images", "workers"):
            number = getattr(self, flag)
            if number is not None and number < 1:
                raise ValueError(f"--{flag} must be at least 1, got {number}")
        for flag in ("objects", "second_hands"):
            share = getattr(self, flag)
            if share is not None and not 0 <= share <= 1:
                name = flag.replace("_", "-")
                raise ValueError(f"--{name} must be within 0..1, got {share}")
        if self.seed < 0:
            raise ValueError(f"--seed must not be negative, got {self.seed}")
        if not SMALLEST_PX <= self.size <= LARGEST_PX:
            raise ValueError(f"--size must be {SMALLEST_PX} to {LARGEST_PX}, got {self.size}")


def prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments with today's names for populations."""
    flag, rest = "--population", list(arguments)
    for i, argument in enumerate(rest):
        before, equals, name = argument.rpartition("=")
        if (equals and before == flag) or (not equals and i and rest[i - 1] == flag):
            rest[i] = before + equals + OLD_NAMES.get(name, name)
    return rest


def main(command: Command) -> int:
    """Do it, print a summary and return the exit code."""
    out = writable_folder(command.out)
    studio = open_studio(command)
    _compile(studio)
    if command.images is not None:
        with terminate_as_interrupt():
            workers = command.workers or num_cores()
            write_set(studio, out, workers, frames=studio.config.frames, made="rendered")
    if command.gallery:
        write_gallery(studio, out)
    return EXIT_FINE


def open_studio(command: Command) -> Any:
    """The `Studio` that the flags describe.

    Raises:
        ValueError: If there can be no such studio, or numba is not installed.
    """
    try:
        from idhand.synth.config import studio_preset
        from idhand.synth.studio import Studio
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise ValueError(
            "rendering needs numba; install it: pip install 'idhand[synth]'"
        ) from error
    return Studio(configured(command, studio_preset(command.preset)), command.backgrounds)


def _compile(studio: Any) -> None:
    """Have the renderer compiled before anything is counted or timed, by rendering a picture."""
    from idhand.synth.compiled import SECONDS, code_folder, is_compiled, is_kept

    if not is_compiled():
        how_often = (
            f"the first time only (the code is kept in {code_folder()})"
            if is_kept()
            else f"at every start, because {code_folder()} cannot be written to"
        )
        say(f"compiling the renderer: about {SECONDS} s of one core, {how_often}")
    studio[0]


def configured(command: Command, preset: Any) -> Any:
    """The preset, a `StudioConfig`, with the command's numbers in it."""
    images = command.images or GALLERY_PICTURES * preset.frames
    subjects = command.subjects or SPLIT_SUBJECTS[command.split]
    if command.images is None or command.subjects is None:
        subjects = max(1, min(subjects, images // preset.frames))
    given = {"object_share": command.objects, "second_hand_share": command.second_hands}
    shares = {name: share for name, share in given.items() if share is not None}
    return replace(
        preset,
        **shares,
        split=command.split,
        population=command.population,
        num_subjects=subjects,
        num_images=images,
        size_px=command.size,
        seed=command.seed,
        depth=command.depth,
    )


def write_gallery(pictures: Sequence[Sample], out: Path) -> None:
    """Two contact sheets of pictures from all over the set: as they are, and with the truth."""
    places = np.linspace(0, len(pictures) - 1, min(GALLERY_PICTURES, len(pictures)))
    indices = np.unique(places.round().astype(int)).tolist()
    samples = [pictures[index] for index in progress(indices, len(indices), "gallery")]
    sheets = {
        "gallery.jpg": contact_sheet(sample.rgb for sample in samples),
        "gallery_truth.jpg": contact_sheet(with_truth(sample) for sample in samples),
    }
    for name, sheet in sheets.items():
        write_image(out / name, sheet, quality=GALLERY_QUALITY)
    print(f"{len(samples)} pictures on {out / 'gallery.jpg'}, with truth on gallery_truth.jpg")
