"""`idhand demo`: calibrate and estimate on the bundled pictures, and compare with their truth."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, UInt8
from tyro.conf import arg

import idhand
from idhand.cli.common import Outcome, count, progress, shown, write_page
from idhand.cli.outputs import OVERLAYS, by_folder, made, result_folder
from idhand.media import read_image
from idhand.media.writing import write_image
from idhand.records import HandResult
from idhand.view import (
    Format,
    HtmlReport,
    ImageHands,
    ReportPhoto,
    Table,
    export_photo,
    overlay,
    write_hands,
)

JPEG_QUALITY = 90
SAMPLE_FORMATS: tuple[Format, ...] = ("glb", "obj", "ply", "npz", "bvh", "openxr")
"""What the first picture's hand is written as; the others' only as the first two."""
GAP_PX = 8
"""White between the pictures before and after."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """Calibrate and estimate hands on 16 bundled pictures of one invented person with known truth.

    Measures the person from the pictures, without and with a ruler's reading of the hand's length,
    and estimates the hand in every picture before and after that. Prints all errors and writes a
    report, overlays, meshes and both profiles.
    """

    out: Annotated[Path, arg(metavar="FOLDER")] = Path("idhand_demo")
    """Folder for the results."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A bundled picture and what is known of it."""

    name: str
    rgb: UInt8[np.ndarray, "height width 3"]
    K: Float[np.ndarray, "3 3"]
    keypoints_cam: Float[np.ndarray, "21 3"]
    """The truth, in metres."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Distances between the estimated and the true 21 keypoints of one picture, in mm."""

    relative_mm: float
    """Mean, after moving the wrists onto each other."""
    aligned_mm: float
    """Mean, after the best similarity (scale, rotation, translation)."""
    camera_mm: float
    """Mean, in the camera frame as it is."""
    depth_mm: float
    """Of the hand's centre along the camera's axis."""


def main(command: Command) -> int:
    """Do it, print the comparison and return the exit code."""
    out = result_folder(command.out)
    truth, pictures = read_demo()
    pipe = idhand.load()
    outcome = Outcome()
    length_mm = float(truth["hand_length_mm"])
    people = {
        "photos": _calibrate(pipe, pictures, None, "calibrating"),
        "photos and ruler": _calibrate(pipe, pictures, length_mm, "with a ruler"),
    }
    runs = {"before: each photo alone": _estimate(pipe, pictures, None, "before")}
    for name, me in people.items():
        runs[f"after: {name}"] = _estimate(pipe, pictures, me, f"after, {name}")
    print(f"One invented person, {count(pictures, 'picture')}, K known.\n")
    print(size_table(truth["measurements_mm"], people), end="\n\n")
    errors = mean_errors(pictures, runs)
    print(error_table(errors))
    for picture, *hands in zip(pictures, *runs.values(), strict=True):
        if not all(hands):
            outcome.problem(f"{picture.name}: no hand found")
    _write(out, pictures, list(runs.values()), people, pipe.model)
    print(f"\nOverlays (before and after), meshes, poses and profiles are in {shown(out)}")
    outcome.num_done = len(pictures)
    me = people["photos and ruler"]
    page = HtmlReport(
        title=f"One invented person's hand in {count(pictures, 'picture')}",
        model=pipe.model,
        num_photos=len(pictures),
    )
    _fill(page, pictures, list(runs.values()), me)
    write_page(
        page,
        out / "report.html",
        outcome,
        me,
        truth_mm=truth["measurements_mm"],
        comparison=_comparison(errors),
        photo_names=[f"{picture.name}.jpg" for picture in pictures],
        files_note="Beside this page: hands.json, the profiles, and the folders overlays, meshes "
        "and poses, with the first picture's hand in more formats. The pictures are rendered; "
        "nobody on them exists.",
    )
    return outcome.exit_code


def read_demo() -> tuple[dict[str, Any], list[Picture]]:
    """The person's truth and the bundled pictures.

    Raises:
        FileNotFoundError: If this installation lacks them.
    """
    pictures = []
    with as_file(files("idhand") / "assets" / "data" / "demo") as folder:
        if not (folder / "truth.json").is_file():
            raise FileNotFoundError("the demo pictures are missing; install idhand again")
        truth = json.loads((folder / "truth.json").read_text("utf-8"))
        for record in truth["photos"]:
            pictures.append(
                Picture(
                    name=Path(record["file"]).stem,
                    rgb=read_image(folder / record["file"])[0],
                    K=np.array(record["K"], dtype=np.float64),
                    keypoints_cam=np.array(record["keypoints_cam_m"], dtype=np.float64),
                )
            )
    return truth, pictures


def _calibrate(
    pipe: Any, pictures: Sequence[Picture], length_mm: float | None, what: str
) -> "idhand.Identity":
    """The person, from all pictures."""

    def with_bar(images: Iterable[Any], total: int | None = None) -> Iterable[Any]:
        return progress(images, total or len(pictures), what)

    return idhand.calibrate(
        pipe,
        [picture.rgb for picture in pictures],
        K=[picture.K for picture in pictures],
        hand_length_mm=length_mm,
        progress=with_bar,
    )


def _estimate(
    pipe: Any, pictures: Sequence[Picture], identity: "idhand.Identity | None", what: str
) -> list[HandResult | None]:
    """The hand of every picture, None where none was found."""
    hands = []
    for picture in progress(pictures, len(pictures), what):
        found = pipe(picture.rgb, K=picture.K, identity=identity, max_hands=1)
        hands.append(found[0] if found else None)
    return hands


def size_table(truth_mm: Mapping[str, float], people: Mapping[str, "idhand.Identity"]) -> str:
    """Every measure in mm: truth, and per calibration the value and half of its 95 % interval."""
    columns = [f"{name:>24}" for name in people]
    lines = [f"{'mm':<20}{'truth':>8}{''.join(columns)}"]
    inside = dict.fromkeys(people, 0)
    names = [name for name in truth_mm if all(name in me.measurements for me in people.values())]
    for name in names:
        cells = []
        for person, me in people.items():
            got = me.measurements[name]
            hit = got.low_mm <= truth_mm[name] <= got.high_mm
            inside[person] += hit
            half = (got.high_mm - got.low_mm) / 2
            cells.append(f"{got.value_mm:>14.1f} +- {half:4.1f}{' ' if hit else '*'} ")
        lines.append(f"{name.replace('_', ' '):<20}{truth_mm[name]:>8.1f}{''.join(cells)}")
    hits = "".join(f"{f'{n} of {len(names)}':>24}" for n in inside.values())
    lines.append(f"{'within 95 % interval':<28}{hits}   (* outside)")
    return "\n".join(lines)


def errors_of(hand: HandResult, truth_cam: Float[np.ndarray, "21 3"]) -> Errors:
    """How far a hand is from the truth."""
    import torch

    from idhand.geometry import aligned

    found = hand.keypoints_cam.astype(np.float64)
    moved = aligned(torch.from_numpy(found), torch.from_numpy(truth_cam)).numpy()

    def mean_mm(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.linalg.norm(a - b, axis=1).mean() * 1e3)

    return Errors(
        relative_mm=mean_mm(found - found[0], truth_cam - truth_cam[0]),
        aligned_mm=mean_mm(moved, truth_cam),
        camera_mm=mean_mm(found, truth_cam),
        depth_mm=abs(float((found - truth_cam)[:, 2].mean())) * 1e3,
    )


@dataclass(frozen=True, kw_only=True)
class MeanErrors:
    """Mean errors of several runs over the pictures in which every run found the hand."""

    num_pictures: int
    of_runs: Mapping[str, Errors]


def mean_errors(
    pictures: Sequence[Picture], runs: Mapping[str, Sequence[HandResult | None]]
) -> MeanErrors:
    """How far each run is from the truth on average."""
    all_found = [i for i in range(len(pictures)) if all(run[i] for run in runs.values())]
    of_runs = {}
    for name, hands in runs.items():
        found = [(hands[i], pictures[i]) for i in all_found]
        errors = [errors_of(hand, p.keypoints_cam) for hand, p in found if hand is not None]
        if errors:
            fields = ("relative_mm", "aligned_mm", "camera_mm", "depth_mm")
            means = {f: float(np.mean([getattr(e, f) for e in errors])) for f in fields}
            of_runs[name] = Errors(**means)
    return MeanErrors(num_pictures=len(all_found), of_runs=of_runs)


def error_table(errors: MeanErrors) -> str:
    """The mean errors as text."""
    lines = [
        f"Error of 21 joints in mm, mean of {count(errors.num_pictures, 'picture')}",
        f"{'':<26}{'to the wrist':>14}{'aligned':>10}{'in camera':>12}{'depth':>8}",
    ]
    for name, e in errors.of_runs.items():
        numbers = (
            f"{e.relative_mm:>14.1f}{e.aligned_mm:>10.1f}{e.camera_mm:>12.1f}{e.depth_mm:>8.1f}"
        )
        lines.append(f"{name:<26}{numbers}")
    return "\n".join(lines)


def _comparison(errors: MeanErrors) -> Table:
    """The mean errors for the report."""
    pictures = count(errors.num_pictures, "picture")
    return Table(
        title=f"Distance of 21 joints from the truth in mm, mean of {pictures}",
        head=("", "in the camera's frame", "along its axis", "from the wrist", "best aligned"),
        rows=tuple(
            (name, *(f"{x:.1f}" for x in (e.camera_mm, e.depth_mm, e.relative_mm, e.aligned_mm)))
            for name, e in errors.of_runs.items()
        ),
    )


def _fill(
    page: HtmlReport,
    pictures: Sequence[Picture],
    runs: Sequence[Sequence[HandResult | None]],
    me: "idhand.Identity",
) -> None:
    """The pictures with the first run as before and the last one as after."""
    for i, picture in enumerate(progress(pictures, len(pictures), "report")):
        before, after = ((hand,) if hand else () for hand in (runs[0][i], runs[-1][i]))
        height, width = picture.rgb.shape[:2]
        page.add_photo(
            ReportPhoto(
                name=f"{picture.name}.jpg",
                rgb=picture.rgb,
                width=width,
                height=height,
                hands=after,
                anonymous=before,
                use=me.photos[i] if i < len(me.photos) else None,
            )
        )


def _write(
    out: Path,
    pictures: Sequence[Picture],
    runs: Sequence[Sequence[HandResult | None]],
    people: Mapping[str, "idhand.Identity"],
    model: "idhand.FittableHand",
) -> None:
    """Overlays before and after (with the ruler), meshes and numbers after, and the profiles."""
    images = []
    for i, picture in enumerate(progress(pictures, len(pictures), "writing")):
        before, after = ([hand] if hand else [] for hand in (runs[0][i], runs[-1][i]))
        height, width = picture.rgb.shape[:2]
        gap = np.full((height, GAP_PX, 3), 255, np.uint8)
        halves = (overlay(picture.rgb, before), gap, overlay(picture.rgb, after))
        path = made(out / OVERLAYS) / f"{picture.name}_before_after.jpg"
        write_image(path, np.concatenate(halves, 1), quality=JPEG_QUALITY)
        if after and after[0].status != "diverged":
            formats = SAMPLE_FORMATS if i == 0 else SAMPLE_FORMATS[:2]
            for folder, own in by_folder(out, formats):
                export_photo(folder, picture.name, after, model, own)
        record = {"file": f"{picture.name}.jpg", "name": picture.name, "K": picture.K}
        images.append(ImageHands(**record, width=width, height=height, hands=tuple(after)))
    write_hands(out / "hands.json", images)
    for name, me in people.items():
        me.save(out / f"{name.replace(' ', '_')}.hand.json")
