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
    find_inputs,
    load_identity,
    progress,
    say,
    writable_folder,
)
from idhand.media import MediaFile, VideoFrame, VideoReader, read_image, replacing
from idhand.records import HandResult
from idhand.view import (
    ImageHands,
    JsonLines,
    VideoWriter,
    overlay,
    write_glb,
    write_hands,
    write_obj,
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

    Folders are searched for photos and videos, but not the folders inside of them. Writes, per
    photo, NAME_overlay.jpg, NAME.glb and NAME.obj, per video NAME_overlay.mp4, and all numbers to
    hands.json (photos) and hands.jsonl (videos).
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
    found = find_inputs(command.inputs)
    identity = load_identity(command.identity)
    out = writable_folder(command.out)
    names = output_names([file.path for file in found.files], out)
    job = _Job(command=command, camera=camera, identity=identity, pipe=idhand.load(), out=out)
    jobs = list(zip(found.files, names, strict=True))
    job.photos([(file, name) for file, name in jobs if file.kind == "image"])
    job.videos([(file, name) for file, name in jobs if file.kind == "video"])
    job.summary()
    return job.report.exit_code


@dataclass(kw_only=True)
class _Job:
    """One call of the command."""

    command: Command
    camera: Camera
    identity: "idhand.Identity | None"
    pipe: Any
    out: Path
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
            write_glb(self.out / f"{name}.glb", hands)
            write_obj(self.out / f"{name}.obj", hands)
        self.num_hands += len(usable)
        return ImageHands(
            file=str(path),
            name=name,
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
        num_seen = 0
        with VideoWriter(self.out / f"{name}_overlay.mp4", reader.fps) as clip:
            for frame in progress(reader, reader.num_frames_estimate, path.name):
                height, width = frame.rgb.shape[:2]
                K = self.camera.intrinsics(width, height)
                hands = self._follow(frame, K, hands)
                num_seen += bool(hands)
                clip.add(overlay(frame.rgb, hands, dist=self.camera.dist))
                lines.add(
                    ImageHands(
                        file=str(path),
                        name=name,
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
    size_px = max(float((hand.bbox_px[2:] - hand.bbox_px[:2]).max()) for hand in (a, b))
    apart_px = np.linalg.norm(a.keypoints_px - b.keypoints_px, axis=1).mean()
    return bool(apart_px < SAME_HAND * size_px)


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
