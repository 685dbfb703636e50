"""`idhand calibrate`: photos of one person, or a video → that person's hand profile."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from tyro.conf import Positional, arg

import idhand
from idhand.assets import hand
from idhand.assets.models import Population
from idhand.assets.nets import shipped_networks
from idhand.calibration import Anchor, RareHandWarning, surprise_at
from idhand.cli.common import (
    Camera,
    Outcome,
    count,
    each_alone,
    find_inputs,
    load_for,
    output_file,
    progress,
    say,
    shown,
    writable_folder,
    write_page,
)
from idhand.data.manifest import sha256_of
from idhand.detection import Side
from idhand.fusion import covariance_file
from idhand.media import FoundMedia, VideoReader, read_image, scaled_down
from idhand.refinement import hand_size_px
from idhand.view import HtmlReport, ReportPhoto

MAX_SIDE_PX = 2048
"""Larger photos are scaled down to this, to keep a hundred in memory; the nets need far less."""
VIDEO_FRAMES = 40
"""Number of frames taken from a video, spread over its whole length."""

_INPUTS = arg(metavar="INPUT...", help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Measure one person's hand from photos or a short video.

    Twenty photos from several sides, with the hand open and bent, are a good number. One camera
    cannot see how large a hand is; a ruler's reading of its length makes all measures absolute.

    With --predictions instead of photos, a profile is written for every person of a data set.
    """

    inputs: Annotated[Positional[tuple[Path, ...]], _INPUTS] = ()
    """Photos of one person (JPEG, PNG, WebP, HEIC, TIFF, BMP), folders of them, or videos."""
    out: Annotated[Path, arg(metavar="FILE")]
    """The profile to write, such as me.hand.json; with --predictions, a folder for them."""
    predictions: Annotated[Path | None, arg(metavar="FILE")] = None
    """A file from `idhand predict` (.npz), whose shapes are fused for each person."""
    mode: Literal["covariance", "mean", "median", "random", "top_k", "softmax"] = "covariance"
    """With --predictions: covariance weights pictures by their predicted covariances; mean, random
    (the mean of --number pictures) and top_k are the paper's; top_k and softmax use the network's
    confidence."""
    number: Annotated[int, arg(metavar="N")] = 20
    """Number of each person's pictures that --mode random draws; more of them add to fewer."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of that draw."""
    top_k: Annotated[int, arg(metavar="K")] = 10
    """Number of pictures that --mode top_k uses."""
    covariance_calibration: Annotated[Path | None, arg(metavar="FILE", aliases=["--honesty"])] = (
        None
    )
    """With --predictions: the calibration of the network's covariances, as `idhand reproduce
    --validation` writes it. For the shipped networks it is found automatically."""
    hand_length_mm: Annotated[float | None, arg(metavar="MM")] = None
    """The hand's length by ruler: from the wrist crease to the middle fingertip, hand flat."""
    hand_length_sigma_mm: Annotated[float, arg(metavar="MM")] = 2.0
    """Standard deviation of that reading."""
    population: Population = "all"
    """People whose hands are the prior: all adults, male or female ones, or children of 2 to 17
    years."""
    side: Side | None = None
    """The person's side of the hands in all photos, if it is known."""
    k: Annotated[Path | None, arg(metavar="FILE")] = None
    """Camera file for pictures of this size: JSON {"K": [[...]], "dist": [...]}, a 3x3 .npy, YAML
    or XML from OpenCV, or camera_info from ROS."""
    fov: Annotated[float | None, arg(metavar="DEGREES")] = None
    """Field of view across the longer side in degrees, instead of --k."""
    report: bool = True
    """Write NAME.report.html beside the profile; unlike the profile it contains the pictures."""

    def __post_init__(self):
        if self.top_k < 1:
            raise ValueError(f"--top-k must be 1 or more, got {self.top_k}")
        if self.number < 1 or self.seed < 0:
            raise ValueError(
                f"--number must be 1 or more and --seed 0 or more, got {self.number} and "
                f"{self.seed}"
            )
        if self.predictions is not None and self.inputs:
            raise ValueError("give photos or --predictions, not both")
        if self.predictions is not None and self.side is not None:
            raise ValueError("--side goes with photos; predictions know the side of each picture")
        if self.predictions is not None and self.population != "all":
            raise ValueError(
                f"--population {self.population} goes with photos; the networks behind "
                "--predictions know the whole adult population: leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class _Photo:
    """A picture to calibrate from."""

    name: str
    rgb: UInt8[np.ndarray, "height width 3"]
    K: Float[np.ndarray, "3 3"] | None
    of_video: bool


def main(command: Command) -> int:
    """Do it, print the measurements and return the exit code."""
    Anchor.from_mm(command.hand_length_mm, command.hand_length_sigma_mm)  # before any work
    if command.predictions is not None:
        return _from_predictions(command, command.predictions)
    camera = Camera.from_flags(command.k, command.fov)
    outcome = Outcome()
    found = find_inputs(command.inputs, outcome)
    output_file(command.out, [command.k, *(file.path for file in found.files)])
    photos = _read(found, camera, outcome)
    if not photos:
        raise ValueError("none of the inputs could be read, so there is nothing to calibrate from")

    def with_bar(images: Iterable[Any], total: int | None = None) -> Iterable[Any]:
        return progress(images, total or len(photos), "calibrating")

    pipe = load_for(command.population)
    with warnings.catch_warnings(record=True) as surprises:
        warnings.simplefilter("always", RareHandWarning)
        me = idhand.calibrate(
            pipe,
            [photo.rgb for photo in photos],
            K=[photo.K for photo in photos],
            dist=camera.dist,
            hand_length_mm=command.hand_length_mm,
            hand_length_sigma_mm=command.hand_length_sigma_mm,
            side=command.side,
            progress=with_bar,
        )
    for surprise in surprises:
        say(str(surprise.message))
    me.save(command.out)
    _tell(me, photos, outcome)
    print(f"\nWritten to {shown(command.out)}")
    if command.report:
        _write_page(command.out, pipe, me, photos, camera, outcome)
    return outcome.exit_code


def _from_predictions(command: Command, path: Path) -> int:
    """A profile for each person in a file of predictions."""
    from idhand.experiments.profiles import WIDE_BELOW, RandomPictures, profile_names, profiles
    from idhand.fusion import CovarianceCalibration, FusionConfig
    from idhand.predictions import Predictions

    if command.out.is_file():
        raise ValueError(f"--out {command.out} is a file; with --predictions name a folder")
    predictions = Predictions.load(path)
    beside = command.covariance_calibration or _shipped_covariances(
        predictions.header.get("network", "")
    )
    calibration = None if beside is None else CovarianceCalibration.load(beside)
    is_random = command.mode == "random"
    fusion = FusionConfig(
        mode="mean" if command.mode == "random" else command.mode, top_k=command.top_k,
        covariance_calibration=calibration,
    )  # fmt: skip
    draw = RandomPictures(number=command.number, seed=command.seed) if is_random else None
    ruler_mm = None
    if command.hand_length_mm is not None:
        ruler_mm = (command.hand_length_mm, command.hand_length_sigma_mm)
    people, without = profiles(predictions, fusion, ruler_mm, draw)
    _tell_surprise(Anchor.from_mm(command.hand_length_mm, command.hand_length_sigma_mm), people)
    out, outcome = writable_folder(command.out), Outcome()
    for subject in without:
        outcome.problem(f"{subject} has no usable picture and gets no profile")
    names = profile_names(tuple(people))
    for subject, me in people.items():
        with outcome.guard(out / names[subject]):
            me.save(out / names[subject])
        used = sum(photo.weight > 0 for photo in me.photos)
        print(f"{subject}: {used} of {count(me.photos, 'picture')}, {_length_of(me)}")
        if used < WIDE_BELOW:
            few = count(used, "picture")
            say(f"{subject} has only {few}, so the intervals are wide; add pictures")
    if calibration is None:
        say(
            "the network's covariances are not calibrated, so the intervals may be too narrow; "
            "give --covariance-calibration FILE (`idhand reproduce --validation` writes one)"
        )
    print(f"\n{count(len(people), 'profile')} written to {out}")
    return outcome.exit_code


def _tell_surprise(anchor: Anchor | None, people: Mapping[str, idhand.Identity]) -> None:
    """Say so if hands of the ruler's length are very rare."""
    if anchor is None:
        return
    for me in people.values():
        model = hand(me.model)
        if sentence := surprise_at(anchor, model, model.prior, me):
            say(sentence)


def _shipped_covariances(network: str) -> Path | None:
    """The calibration for the shipped network whose file has this hash, if there is one."""
    folder = shipped_networks()
    for net in ("identity_film", "baseline"):
        path = folder / f"{net}.safetensors"
        if sha256_of(path) == network:
            return covariance_file(path)
    return None


def _length_of(me: "idhand.Identity") -> str:
    """The hand's length with its interval, as text."""
    length = me.measurements.get("hand_length")
    if length is None:
        return "no measures"
    interval = f"{length.low_mm:.1f} to {length.high_mm:.1f}"
    return f"hand length {length.value_mm:.1f} mm ({interval})"


def report_path(profile: Path) -> Path:
    """`me.hand.json` → `me.report.html`, in the same folder."""
    name = profile.name.removesuffix(".json").removesuffix(".hand")
    return profile.with_name(f"{name}.report.html")


def _write_page(
    profile: Path,
    pipe: Any,
    me: "idhand.Identity",
    photos: Sequence[_Photo],
    camera: Camera,
    outcome: Outcome,
) -> None:
    """The report: every picture with the hand before and after, its weight, and the measures."""
    title = f"A hand measured from {count(photos, 'picture')}"
    page = HtmlReport(title=title, model=pipe.model, num_photos=len(photos))
    for photo, use in zip(progress(photos, len(photos), "report"), me.photos, strict=True):
        dist = camera.dist if photo.K is not None else None
        hands = pipe(photo.rgb, K=photo.K, dist=dist, identity=me, max_hands=2)
        if hands:
            hands = [max(hands, key=lambda hand: hand.score * hand_size_px(hand.detection))]
        height, width = photo.rgb.shape[:2]
        page.add_photo(
            ReportPhoto(
                name=photo.name,
                rgb=photo.rgb,
                width=width,
                height=height,
                hands=tuple(hands),
                anonymous=each_alone(pipe, hands, dist),
                dist=dist,
                use=use,
            )
        )
    note = f"The profile {profile.name} contains the shape and no picture."
    names = [photo.name for photo in photos]
    write_page(page, report_path(profile), outcome, me, photo_names=names, files_note=note)


def _read(found: FoundMedia, camera: Camera, outcome: Outcome) -> list[_Photo]:
    """All pictures and the frames of the videos, not larger than needed."""
    photos = []
    for file in progress(found.files, len(found.files), "reading"):
        with outcome.guard(file.path):
            if file.kind == "video":
                photos += _frames(file.path, camera, outcome)
                continue
            rgb, K_file = read_image(file.path)
            K = camera.intrinsics(rgb.shape[1], rgb.shape[0], K_file)
            rgb, K = _smaller(rgb, K)
            photos.append(_Photo(name=shown(file.path), rgb=rgb, K=K, of_video=False))
    return photos


def _frames(path: Path, camera: Camera, outcome: Outcome) -> list[_Photo]:
    """Frames spread over a video: whenever there are too many, every second one is dropped."""
    reader = VideoReader(path)
    kept, step = [], 1
    for frame in progress(reader, reader.num_frames_estimate, path.name):
        if frame.index % step:
            continue
        K = camera.intrinsics(frame.rgb.shape[1], frame.rgb.shape[0])
        rgb, K = _smaller(frame.rgb, K)
        name = f"{shown(path)} at {frame.time_s:.1f} s"
        kept.append(_Photo(name=name, rgb=rgb, K=K, of_video=True))
        if len(kept) >= 4 * VIDEO_FRAMES:
            kept, step = kept[::2], 2 * step
    if reader.note:
        say(reader.note)
    if reader.problem:
        outcome.problem(f"{reader.problem}; those are used")
    chosen = np.linspace(0, len(kept) - 1, min(VIDEO_FRAMES, len(kept))).round().astype(int)
    return [kept[i] for i in chosen]


def _smaller(
    rgb: UInt8[np.ndarray, "height width 3"], K: Float[np.ndarray, "3 3"] | None
) -> tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "3 3"] | None]:
    """The picture and its K, scaled down to `MAX_SIDE_PX` if it is larger."""
    small, S = scaled_down(rgb, MAX_SIDE_PX)
    return small, None if K is None else S @ K


def _tell(me: "idhand.Identity", photos: Sequence[_Photo], outcome: Outcome) -> None:
    """Print what was used, what was not and why, and the measurements."""
    used = [photo for photo in me.photos if photo.weight > 0]
    sides = " and ".join(me.sides) or "unknown"
    print(f"One person's hand ({sides}) from {len(used)} of {count(photos, 'picture')}\n")
    print(measurement_table(me))
    for photo, record in zip(photos, me.photos, strict=True):
        if record.weight <= 0 and not photo.of_video:
            outcome.problem(f"{photo.name} was not used: {record.reason}")
        elif record.reason:
            use = f"has weight {record.weight:.0%}" if record.weight > 0 else "was not used"
            say(f"{photo.name} {use}: {record.reason}")
    if me.K_known != "all":
        of = "none" if me.K_known == "none" else "only some"
        say(f"the camera is known for {of} of the pictures; --k or --fov narrows the intervals")
    if me.hand_length_mm is None:
        say("absolute size is taken from the population; --hand-length-mm makes it this person's")


def measurement_table(me: "idhand.Identity") -> str:
    """Measurements in mm with their 95 % intervals, one per line."""
    width = max([len("measure"), *(len(name) for name in me.measurements)])
    lines = [f"{'measure':<{width}}  {'mm':>7}  95 % interval"]
    for name, measure in me.measurements.items():
        interval = f"{measure.low_mm:.1f} to {measure.high_mm:.1f}"
        label = name.replace("_", " ")
        lines.append(f"{label:<{width}}  {measure.value_mm:>7.1f}  {interval}")
    return "\n".join(lines)
