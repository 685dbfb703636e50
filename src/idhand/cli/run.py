"""`idhand run`: photos, folders and videos → a report, overlays, meshes and files of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

import idhand
from idhand.assets.models import Population
from idhand.cli.boxes import Boxes
from idhand.cli.common import (
    RESULTS,
    Camera,
    Outcome,
    check_identity,
    count,
    each_alone,
    find_inputs,
    load_for,
    load_identity,
    output_file,
    progress,
    say,
    shown,
    write_page,
)
from idhand.cli.following import FollowedVideo, SeenInVideo
from idhand.cli.outputs import (
    FOLDER_OF,
    MESHES,
    OVERLAYS,
    POSES,
    Earlier,
    by_folder,
    made,
    output_names,
    result_folder,
)
from idhand.detection import Side
from idhand.geometry import DEFAULT_FOV_DEG
from idhand.media import MediaFile, read_image
from idhand.media.writing import write_image
from idhand.records import HandResult
from idhand.tracking import TrackedHand, Tracker
from idhand.view import (
    Format,
    HtmlReport,
    ImageHands,
    JsonLines,
    ReportPhoto,
    VideoWriter,
    check_formats,
    export_motion,
    export_photo,
    overlay,
    write_hands,
)
from idhand.view.export.table import EXPORTS

JPEG_QUALITY, MAX_JPEG_SIDE = 92, 65_500
REPORT = "report.html"

_INPUTS = arg(metavar="INPUT...", help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Estimate the 3D hands in photos and videos.

    Folders are searched for photos and videos, but not the folders inside them. Writes report.html,
    a page that shows everything; hands.json (photos) and hands.jsonl (videos) with all numbers; and
    three folders: overlays, with the hands drawn on each photo and video, and meshes and poses,
    with the hands in the formats of --export.
    """

    inputs: Annotated[Positional[tuple[Path, ...]], _INPUTS]
    """Photos (JPEG, PNG, WebP, HEIC, TIFF, BMP), folders, videos."""
    identity: Annotated[Path | None, arg(metavar="FILE")] = None
    """Profile of the person, from `idhand calibrate`; without it the shape is estimated."""
    population: Population = "all"
    """People whose hands are the prior without --identity: all adults, male or female ones, or
    children of 2 to 17 years."""
    k: Annotated[Path | None, arg(metavar="FILE")] = None
    """Camera file for pictures of this size: JSON {"K": [[...]], "dist": [...]}, a 3x3 .npy, YAML
    or XML from OpenCV, or camera_info from ROS."""
    fov: Annotated[float | None, arg(metavar="DEGREES")] = None
    """Field of view across the longer side in degrees, instead of --k."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("idhand_out")
    """Folder for the results."""
    export: Annotated[tuple[Format, ...], arg(metavar="FORMAT...")] = ("glb", "obj")
    """For other programs: glb (rigged; animated for videos; metres, y up), bvh (moving skeleton;
    centimetres, y up: import it into Blender with scale 0.01), usd (metres, y up), npz, openxr and
    mano (numbers; mano needs MANO_RIGHT, see --mano); for photos also obj and ply (metres, y down).
    Steps for Blender and Unity are in docs/output.md."""
    report: bool = True
    """Write report.html, which contains the pictures."""
    mirrored: bool = False
    """The pictures are mirror images, as selfie cameras make them."""
    max_hands: Annotated[int, arg(metavar="N")] = 2
    """Maximal number of hands per picture; --boxes are always all read."""
    side: Side | None = None
    """Side of all hands, left or right, if it is known."""
    boxes: Annotated[Path | None, arg(metavar="FILE")] = None
    """Read the hands in these boxes instead of detecting them; JSON or CSV, see docs/output.md."""

    def __post_init__(self):
        if self.max_hands < 1:
            raise ValueError(f"--max-hands must be at least 1, got {self.max_hands}")


def main(command: Command) -> int:
    """Do it, print a summary and return the exit code."""
    camera = Camera.from_flags(command.k, command.fov)
    check_formats(command.export)
    outcome = Outcome()
    found = find_inputs(command.inputs, outcome)
    boxes = Boxes.load(command.boxes)
    boxes.check_inputs(file.path for file in found.files)
    identity = load_identity(command.identity)
    out = result_folder(command.out)
    for name in (*RESULTS, REPORT):
        inputs = (command.k, command.identity, command.boxes)
        output_file(out / name, inputs, advice="move it away, or name another folder")
    earlier = Earlier(out)
    names = output_names([file.path for file in found.files], out)
    jobs = list(zip(found.files, names, strict=True))
    photos = [(file, name) for file, name in jobs if file.kind == "image"]
    videos = [(file, name) for file, name in jobs if file.kind == "video"]
    pipe = load_for(command.population)
    check_identity(identity, command.identity, pipe.model)
    page = HtmlReport(
        title=_title(len(photos), len(videos)),
        model=pipe.model,
        num_photos=len(photos),
        num_videos=len(videos),
    )
    job = _Job(
        command=command,
        camera=camera,
        identity=identity,
        boxes=boxes,
        pipe=pipe,
        out=out,
        page=page,
        outcome=outcome,
    )
    job.photos(photos)
    job.videos(videos)
    job.summary()
    job.write_page()
    replaced = earlier.sentence()
    if replaced is not None:
        print(replaced)
    return job.outcome.exit_code


def prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments with --export's formats at the end, so that a photo after them is an input.

    A name that is neither a format nor like a file's stays with the formats, to be refused there.
    """
    rest = list(arguments)
    end = rest.index("--") if "--" in rest else len(rest)
    if "--export" not in rest[:end]:
        return rest
    at = rest.index("--export")
    stop = next((i for i in range(at + 1, end) if rest[i] not in FOLDER_OF), end)
    if stop < end and not rest[stop].startswith("-") and not _like_a_file(rest[stop]):
        stop += 1
    return [*rest[:at], *rest[stop:end], *rest[at:stop], *rest[end:]]


def _like_a_file(text: str) -> bool:
    return "." in text or "/" in text or Path(text).exists()


def _title(num_photos: int, num_videos: int) -> str:
    """What the report is of."""
    numbers = ((num_photos, "photo"), (num_videos, "video"))
    parts = [count(number, one) for number, one in numbers if number]
    return f"Hands in {' and '.join(parts)}"


@dataclass(kw_only=True)
class _Job:
    """One call of the command."""

    command: Command
    camera: Camera
    identity: "idhand.Identity | None"
    boxes: Boxes
    pipe: Any
    out: Path
    page: HtmlReport
    outcome: Outcome
    num_photos: int = 0
    num_videos: int = 0
    num_hands: int = 0
    num_frames_with_hands: int = 0
    num_guessed: int = 0
    """Photos and videos with hands whose camera had to be guessed."""

    def photos(self, files: Sequence[tuple[MediaFile, str]]) -> None:
        """Every photo's overlay and meshes, and `hands.json`."""
        images = []
        for file, name in progress(files, len(files), "photos"):
            with self.outcome.guard(file.path):
                images.append(self._photo(file.path, name))
        self.num_photos = len(images)
        if images:
            write_hands(self.out / "hands.json", images)

    def _photo(self, path: Path, name: str) -> ImageHands:
        """One photo's overlay and meshes."""
        rgb, K_file = read_image(path)
        height, width = rgb.shape[:2]
        K = self.camera.intrinsics(width, height, K_file)
        hands = self._hands(path, rgb, K)
        if not hands:
            self.outcome.problem(f"{path}: no hand found; is it in view, sharp and large enough?")
        usable = self._usable(path, hands)
        if hands:
            suffix = ".jpg" if max(width, height) <= MAX_JPEG_SIDE else ".png"
            drawn = overlay(rgb, hands, dist=self.camera.dist)
            path_drawn = made(self.out / OVERLAYS) / f"{name}_overlay{suffix}"
            write_image(path_drawn, drawn, quality=JPEG_QUALITY)
            self.num_guessed += any(hand.K_is_guess for hand in hands)
        if usable:
            for folder, formats in by_folder(self.out, self.command.export):
                export_photo(folder, name, hands, self.pipe.model, formats)
        if self.command.report:
            photo = ReportPhoto(
                name=shown(path),
                rgb=rgb,
                width=width,
                height=height,
                hands=tuple(hands),
                anonymous=self._each_alone(hands),
                dist=self.camera.dist,
            )
            self.page.add_photo(photo)
        self.num_hands += len(usable)
        return ImageHands(
            file=shown(path),
            name=shown(name),
            width=width,
            height=height,
            K=K,
            dist=self.camera.dist,
            mirrored=self.command.mirrored,
            hands=tuple(hands),
        )

    def _hands(self, path: Path, rgb: np.ndarray, K: np.ndarray | None) -> list[HandResult]:
        """A photo's hands: those in its boxes, or the surest ones."""
        boxes_px = self.boxes.of_photo(path)
        hands = self.pipe(
            rgb,
            K=K,
            dist=None if K is None else self.camera.dist,
            identity=self.identity,
            mirrored=self.command.mirrored,
            max_hands=self.command.max_hands + 1,
            sides=self.command.side,
            boxes_px=boxes_px,
        )
        return hands if boxes_px is not None else self._strongest(path, hands)

    def _each_alone(self, hands: Sequence[HandResult]) -> tuple[HandResult, ...]:
        """If the person is known: the same hands without that."""
        if self.identity is None:
            return ()
        return each_alone(self.pipe, hands, self.camera.dist)

    def _strongest(self, path: Path, hands: list[HandResult]) -> list[HandResult]:
        """At most as many hands as asked for, by score; prints if there were more."""
        most = self.command.max_hands
        if len(hands) > most:
            most_hands = count(most, "hand")
            say(f"{path}: more than {most_hands} in it; the highest scores are kept (--max-hands)")
            hands = sorted(hands, key=lambda hand: -hand.score)[:most]
        return hands

    def _usable(self, path: Path, hands: list[HandResult]) -> list[HandResult]:
        """The hands with a usable fit; prints a problem for the others."""
        usable = [hand for hand in hands if hand.status != "diverged"]
        if len(usable) < len(hands):
            failed = count(len(hands) - len(usable), "hand")
            self.outcome.problem(f"{path}: the fit of {failed} failed; left out of the meshes")
        return usable

    def videos(self, files: Sequence[tuple[MediaFile, str]]) -> None:
        """Every video's overlay clip, and `hands.jsonl`."""
        if not files:
            return
        with JsonLines(self.out / "hands.jsonl") as lines:
            for file, name in files:
                with self.outcome.guard(file.path):
                    self._video(file.path, name, lines)
                    self.num_videos += 1

    def _video(self, path: Path, name: str, lines: JsonLines) -> None:
        """Follow the hands of one video."""
        most, side, mirrored = self.command.max_hands, self.command.side, self.command.mirrored
        tracker = Tracker(self.pipe, self.identity, max_hands=most, mirrored=mirrored, side=side)
        video = FollowedVideo(path, tracker, self.camera, self.boxes.of_video(path))
        seen, reader = SeenInVideo(), video.reader
        overlay_clip = made(self.out / OVERLAYS) / f"{name}_overlay.mp4"
        with VideoWriter(overlay_clip, reader.fps) as clip:
            for followed in video:
                seen.add(followed, self._alone(followed.hands))
                frame, hands = followed.frame, [one.hand for one in followed.hands]
                clip.add(overlay(frame.rgb, hands, dist=self.camera.dist), frame.time_s)
                lines.add(followed.record(path, name, self.camera, mirrored=mirrored))
        self.num_frames_with_hands += seen.num_with_hands
        self._write_motions(name, seen, reader.fps)
        if self.command.report:
            self.page.add_video(seen.for_report(path, overlay_clip, reader.fps, self.camera))
        if reader.note:
            say(reader.note)
        if reader.problem:
            self.outcome.problem(f"{reader.problem}; those were done")
        if not seen.num_with_hands:
            self.outcome.problem(f"{path}: no hand found in any frame")

    def _write_motions(self, name: str, seen: SeenInVideo, fps: float) -> None:
        """A video's hands for other programs."""
        if seen.motions:
            self.num_guessed += not self.camera.is_given
            moving: list[Format] = [f for f in self.command.export if EXPORTS[f].motions]
            for folder, formats in by_folder(self.out, moving):
                export_motion(folder, name, seen.motions, self.pipe.model, formats, fps)

    def _alone(self, tracked: Sequence[TrackedHand]) -> list[TrackedHand]:
        """`_each_alone` of a frame, under the same names, for the report."""
        if not self.command.report:
            return []
        alone = self._each_alone([one.hand for one in tracked])
        return [replace(one, hand=hand) for one, hand in zip(tracked, alone, strict=False)]

    def write_page(self) -> None:
        """The report, if anything could be read."""
        if self.command.report and self.outcome.num_done:
            note = self._files_note()
            self.page.title = _title(self.num_photos, self.num_videos)
            path = self.out / REPORT
            write_page(self.page, path, self.outcome, self.identity, files_note=note)

    def _files_note(self) -> str:
        """A sentence on what else was written."""
        formats = ", ".join(self.command.export) or "none"
        names = " and ".join(
            name
            for name, number in (("hands.json", self.num_photos), ("hands.jsonl", self.num_videos))
            if number
        )
        return (
            f"Beside this page: {names} with every number; the folder {OVERLAYS} with the "
            f"pictures; in {MESHES} and {POSES} files for other programs: {formats}."
        )

    def summary(self) -> None:
        """What was done and where it lies."""
        parts = []
        if self.num_photos:
            parts.append(f"{count(self.num_hands, 'hand')} in {count(self.num_photos, 'photo')}")
        if self.num_videos:
            frames = count(self.num_frames_with_hands, "frame")
            parts.append(f"hands in {frames} of {count(self.num_videos, 'video')}")
        if parts:
            print(f"{'; '.join(parts)}. Written to {shown(self.out)}")
        if self.num_guessed:
            of = count(self.num_guessed, "input")
            say(
                f"the camera of {of} is not known: a field of view of {DEFAULT_FOV_DEG:g} degrees "
                "is assumed, so distances are a guess; --k or --fov makes them more accurate"
            )
        if self.outcome.problems:
            print(f"{count(self.outcome.problems, 'problem')}, listed above.")
