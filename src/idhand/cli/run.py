"""`idhand run`: photos, folders and videos → overlays, meshes and one file of results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image
from tyro.conf import Positional, arg

import idhand
from idhand.cli.common import (
    Camera,
    Report,
    count,
    each_alone,
    find_inputs,
    load_identity,
    progress,
    say,
    shown,
    writable_folder,
    write_page,
)
from idhand.files import replacing
from idhand.media import MediaFile, VideoFrame, VideoReader, read_image
from idhand.records import HandResult
from idhand.view import (
    Format,
    HtmlReport,
    ImageHands,
    JsonLines,
    MotionRecorder,
    ReportPhoto,
    ReportVideo,
    VideoWriter,
    apart,
    check_formats,
    export_motion,
    export_photo,
    overlay,
    write_hands,
)

REDETECT_FRAMES = 30
"""A video is searched for further hands this often while fewer than asked for are followed."""
SAME_HAND = 0.3
"""Two results are one hand if their keypoints are nearer than this part of its box, on average."""
JPEG_QUALITY, MAX_JPEG_SIDE = 92, 65_500

_INPUTS = arg(metavar="INPUT...", help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Estimate the 3D hands in photos and videos.

    Folders are searched for photos and videos, but not the folders inside of them. Writes
    report.html, a page to look at everything; per photo NAME_overlay.jpg, per video
    NAME_overlay.mp4; the hands in the formats of --export; and all numbers to hands.json (photos)
    and hands.jsonl (videos).
    """

    inputs: Annotated[Positional[tuple[Path, ...]], _INPUTS]
    """Photos (JPEG, PNG, WebP, HEIC, TIFF, BMP), folders, videos."""
    identity: Annotated[Path | None, arg(metavar="FILE")] = None
    """Profile of the person, from `idhand calibrate`; without it each photo's shape is guessed."""
    k: Annotated[Path | None, arg(metavar="FILE")] = None
    """Camera file: JSON {"K": [[...]], "dist": [...]} or a 3x3 .npy, for pictures of this size."""
    fov: Annotated[float | None, arg(metavar="DEGREES")] = None
    """Field of view across the longer side in degrees, instead of --k."""
    out: Annotated[Path, arg(metavar="FOLDER")] = Path("idhand_out")
    """Folder for the results."""
    export: Annotated[tuple[Format, ...], arg(metavar="FORMAT...")] = ("glb", "obj")
    """For other programs: glb (rigged; animated for videos), npz, bvh, openxr (JSON), usd; and of
    photos obj and ply."""
    report: bool = True
    """Write report.html, which holds the pictures."""
    mirrored: bool = False
    """The pictures are mirror images, as selfie cameras make them."""
    max_hands: Annotated[int, arg(metavar="N")] = 2
    """Most hands per picture."""

    def __post_init__(self):
        if self.max_hands < 1:
            raise ValueError(f"--max-hands must be at least 1, got {self.max_hands}")


def main(command: Command) -> int:
    """Do it, print a summary and return the exit code."""
    camera = Camera.from_flags(command.k, command.fov)
    check_formats(command.export)
    found = find_inputs(command.inputs)
    identity = load_identity(command.identity)
    out = writable_folder(command.out)
    names = output_names([file.path for file in found.files], out)
    jobs = list(zip(found.files, names, strict=True))
    photos = [(file, name) for file, name in jobs if file.kind == "image"]
    videos = [(file, name) for file, name in jobs if file.kind == "video"]
    pipe = idhand.load()
    page = HtmlReport(
        title=_title(len(photos), len(videos)),
        model=pipe.model,
        num_photos=len(photos),
        num_videos=len(videos),
    )
    job = _Job(command=command, camera=camera, identity=identity, pipe=pipe, out=out, page=page)
    job.photos(photos)
    job.videos(videos)
    job.summary()
    job.write_page()
    return job.report.exit_code


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
    pipe: Any
    out: Path
    page: HtmlReport
    report: Report = field(default_factory=Report)
    num_photos: int = 0
    num_videos: int = 0
    num_hands: int = 0
    num_frames_with_hands: int = 0

    def photos(self, files: Sequence[tuple[MediaFile, str]]) -> None:
        """Every photo's overlay and meshes, and `hands.json`."""
        images = []
        for file, name in progress(files, len(files), "photos"):
            with self.report.guard(file.path):
                images.append(self._photo(file.path, name))
        self.num_photos = len(images)
        if images:
            write_hands(self.out / "hands.json", images)

    def _photo(self, path: Path, name: str) -> ImageHands:
        """One photo's overlay and meshes."""
        rgb, K_file = read_image(path)
        height, width = rgb.shape[:2]
        K = self.camera.intrinsics(width, height, K_file)
        hands = self._strongest(path, self._hands(rgb, K, self.command.max_hands + 1))
        if not hands:
            self.report.problem(f"{path}: no hand found; is it in view, sharp and large enough?")
        usable = self._usable(path, hands)
        if hands:
            suffix = ".jpg" if max(width, height) <= MAX_JPEG_SIDE else ".png"
            picture = Image.fromarray(overlay(rgb, hands, dist=self.camera.dist))
            with replacing(self.out / f"{name}_overlay{suffix}") as temporary:
                picture.save(temporary, quality=JPEG_QUALITY)
        if usable:
            export_photo(self.out, name, hands, self.pipe.model, self.command.export)
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

    def _hands(
        self, rgb: np.ndarray, K: np.ndarray | None, max_hands: int, previous: Any = None
    ) -> list[HandResult]:
        """The pipeline with the command's settings."""
        return self.pipe(
            rgb,
            K=K,
            dist=self.camera.dist if K is not None else None,
            identity=self.identity,
            previous=previous,
            mirrored=self.command.mirrored,
            max_hands=max_hands,
        )

    def _each_alone(self, hands: Sequence[HandResult]) -> tuple[HandResult, ...]:
        """If the person is known: the same hands without that."""
        if self.identity is None:
            return ()
        return each_alone(self.pipe, hands, self.camera.dist)

    def _strongest(self, path: Path, hands: list[HandResult]) -> list[HandResult]:
        """At most as many hands as asked for, by score; tells if there were more."""
        most = self.command.max_hands
        if len(hands) > most:
            say(f"{path}: more than {count(most, 'hand')} in it; the surest are kept (--max-hands)")
            hands = sorted(hands, key=lambda hand: -hand.score)[:most]
        return hands

    def _usable(self, path: Path, hands: list[HandResult]) -> list[HandResult]:
        """The hands whose fit has a meaning; tells of the others."""
        usable = [hand for hand in hands if hand.status != "diverged"]
        if len(usable) < len(hands):
            failed = count(len(hands) - len(usable), "hand")
            self.report.problem(f"{path}: the fit of {failed} failed; left out of the meshes")
        return usable

    def videos(self, files: Sequence[tuple[MediaFile, str]]) -> None:
        """Every video's overlay clip, and `hands.jsonl`."""
        if not files:
            return
        with JsonLines(self.out / "hands.jsonl") as lines:
            for file, name in files:
                with self.report.guard(file.path):
                    self._video(file.path, name, lines)
                    self.num_videos += 1

    def _video(self, path: Path, name: str, lines: JsonLines) -> None:
        """Follow the hands of one video."""
        reader = VideoReader(path)
        hands: list[HandResult] = []
        num_frames, num_seen, last_s = 0, 0, 0.0
        known, alone = MotionRecorder(), MotionRecorder()
        overlay_clip = self.out / f"{name}_overlay.mp4"
        with VideoWriter(overlay_clip, reader.fps) as clip:
            for frame in progress(reader, reader.num_frames_estimate, path.name):
                height, width = frame.rgb.shape[:2]
                K = self.camera.intrinsics(width, height)
                hands = self._follow(frame, K, hands)
                num_frames, last_s = num_frames + 1, frame.time_s
                num_seen += bool(hands)
                known.add(frame.index, frame.time_s, hands)
                if self.command.report:
                    alone.add(frame.index, frame.time_s, self._each_alone(hands))
                clip.add(overlay(frame.rgb, hands, dist=self.camera.dist), frame.time_s)
                lines.add(
                    ImageHands(
                        file=shown(path),
                        name=shown(name),
                        width=width,
                        height=height,
                        K=K,
                        dist=self.camera.dist,
                        mirrored=self.command.mirrored,
                        hands=tuple(hands),
                        frame=frame.index,
                        time_s=frame.time_s,
                    )
                )
        self.num_frames_with_hands += num_seen
        motions = known.motions()
        if motions:
            export_motion(self.out, name, motions, self.pipe.model, self.command.export, reader.fps)
        if self.command.report:
            self.page.add_video(
                ReportVideo(
                    name=shown(path),
                    motions=motions,
                    anonymous=alone.motions(),
                    clip=overlay_clip,
                    num_frames=num_frames,
                    duration_s=last_s + 1 / reader.fps,
                    K_known=self.camera.K is not None or self.camera.fov_deg is not None,
                )
            )
        if reader.problem:
            self.report.problem(f"{reader.problem}; those were done")
        if not num_seen:
            self.report.problem(f"{path}: no hand found in any frame")

    def _follow(
        self, frame: VideoFrame, K: np.ndarray | None, before: list[HandResult]
    ) -> list[HandResult]:
        """Hands of a frame: those of the last one first, then new ones if it is time to look."""
        most = self.command.max_hands
        usable = [hand for hand in before if hand.status != "diverged"]
        followed = self._hands(frame.rgb, K, most, previous=usable) if usable else []
        lost = len(followed) < len(before)
        if not followed or lost or (len(followed) < most and frame.index % REDETECT_FRAMES == 0):
            seen = self._hands(frame.rgb, K, most)
            followed += [hand for hand in seen if not any(_same(hand, old) for old in followed)]
        return followed[:most]

    def write_page(self) -> None:
        """The report, if anything could be read."""
        if self.command.report and self.report.num_done:
            note = self._files_note()
            self.page.title = _title(self.num_photos, self.num_videos)
            path = self.out / "report.html"
            write_page(self.page, path, self.report, self.identity, files_note=note)

    def _files_note(self) -> str:
        """A sentence on what else was written."""
        formats = ", ".join(self.command.export) or "none"
        names = " and ".join(
            name
            for name, number in (("hands.json", self.num_photos), ("hands.jsonl", self.num_videos))
            if number
        )
        return f"Beside this page: {names} with every number; files for other programs: {formats}."

    def summary(self) -> None:
        """What was done and where it lies."""
        parts = []
        if self.num_photos:
            parts.append(f"{count(self.num_hands, 'hand')} in {count(self.num_photos, 'photo')}")
        if self.num_videos:
            frames = count(self.num_frames_with_hands, "frame")
            parts.append(f"hands in {frames} of {count(self.num_videos, 'video')}")
        if parts:
            print(f"{'; '.join(parts)}. Written to {self.out}")
        if self.report.problems:
            print(f"{count(self.report.problems, 'problem')}, told above.")


def _same(a: HandResult, b: HandResult) -> bool:
    """Whether two results in one picture are the same hand, whatever side they say."""
    return apart(a.keypoints_px, b.keypoints_px, a.bbox_px, b.bbox_px) < SAME_HAND


def output_names(paths: Sequence[Path], out: Path) -> list[str]:
    """A name for each input's output files: its stem, numbered where that is taken.

    Names that differ only in case count as equal, as some file systems do, and no output may
    replace an input.
    """
    inputs = {path.resolve() for path in paths}
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 1
        while name.lower() in taken or any(
            (out / f"{name}_overlay{suffix}").resolve() in inputs for suffix in (".jpg", ".mp4")
        ):
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name.lower())
        names.append(name)
    return names
