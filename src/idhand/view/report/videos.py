"""A video and the motions of its hands → its section of the page, and the meshes that it plays."""

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from idhand.hand import FittableHand
from idhand.view.motion import HandMotion
from idhand.view.report.charts import Chart, charts_of
from idhand.view.report.clips import small_clip
from idhand.view.report.meshes import packed_points
from idhand.view.report.pictures import data_uri

CLIP_BYTES = 4_000_000
"""Shared by all clips; base64 makes a third more of it."""
MAX_PLAYED, PLAYED, MIN_PLAYED = 240, 600, 12
"""Meshes: at most of one hand, about of all hands, at least of one hand."""
MAX_POINTS, POINTS, MIN_POINTS = 1000, 4000, 120
"""Points of a curve, likewise."""
MAX_TRACKS = 4
"""Motions of one video that are shown: the longest ones."""


@dataclass(frozen=True, kw_only=True)
class ReportVideo:
    """One video as a report takes it."""

    name: str
    """As the user named it."""
    motions: tuple[HandMotion, ...]
    """Its hands as reported."""
    anonymous: tuple[HandMotion, ...] = ()
    """The same with a shape guessed in each frame, if the person is known."""
    clip: Path | None
    """The overlay clip; a smaller copy goes into the page."""
    num_frames: int
    duration_s: float
    K_known: bool
    """Whether its intrinsics were known."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """One motion as the page shows it."""

    name: str
    side: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A video as the page shows it."""

    name: str
    path: str
    clip: str
    """Address of the clip, empty if there is none."""
    notes: tuple[str, ...]
    duration_s: float
    tracks: tuple[Track, ...]


def section_of(
    video: ReportVideo, model: FittableHand, num_videos: int
) -> tuple[Section, list[dict[str, Any]]]:
    """The section, and per motion the meshes for the page's script.

    Args:
        video: The video.
        model: The model of its hands, right.
        num_videos: How many share the bytes of the page.
    """
    longest = sorted(video.motions, key=lambda motion: -motion.num_frames)[:MAX_TRACKS]
    share = max(len(longest) * num_videos, 1)
    points = min(max(POINTS // share, MIN_POINTS), MAX_POINTS)
    meshes = min(max(PLAYED // share, MIN_PLAYED), MAX_PLAYED)
    tracks = [
        Track(
            name=motion.name,
            side="right" if motion.is_right else "left",
            charts=tuple(charts_of(model, motion, _same(motion, video), video.duration_s, points)),
        )
        for motion in longest
    ]
    uri, notes = _clip(video, CLIP_BYTES // max(num_videos, 1))
    if len(longest) < len(video.motions):
        times = f"{len(longest)} of {len(video.motions)} appearances of hands"
        notes.append(f"The longest {times} are shown; the others are in the other files.")
    section = Section(
        name=PurePath(video.name).name or video.name,
        path=video.name,
        clip=uri,
        notes=tuple(notes),
        duration_s=video.duration_s,
        tracks=tuple(tracks),
    )
    return section, [_played(motion, model, meshes) for motion in longest]


def _same(motion: HandMotion, video: ReportVideo) -> HandMotion | None:
    """The anonymous motion of the same name, else of the same side that shares most frames."""
    named = [other for other in video.anonymous if other.name == motion.name]
    if named and len(np.intersect1d(named[0].frame, motion.frame)):
        return named[0]
    same = [other for other in video.anonymous if other.is_right == motion.is_right]
    shared = [len(np.intersect1d(other.frame, motion.frame)) for other in same]
    return same[int(np.argmax(shared))] if shared and max(shared) else None


def _clip(video: ReportVideo, max_bytes: int) -> tuple[str, list[str]]:
    """Address of the small copy, and a sentence if it is not the whole."""
    if video.clip is None or not video.clip.is_file():
        return "", ["The clip is not there."]
    data, seconds = small_clip(video.clip, max_bytes)
    notes = []
    if seconds < video.duration_s - 0.5:
        whole = f"The clip holds the first {seconds:.0f} of {video.duration_s:.0f} s"
        notes.append(f"{whole}; all of it is in {video.clip.name}.")
    return data_uri("video/mp4", data), notes


def _played(motion: HandMotion, model: FittableHand, most: int) -> dict[str, Any]:
    """Meshes of an even choice of at most so many of the motion's frames."""
    num = min(motion.num_frames, most)
    chosen = np.linspace(0, motion.num_frames - 1, num).round().astype(int)
    sided = model if motion.is_right else model.mirrored()
    flip = torch.tensor([1.0 if motion.is_right else -1.0, 1, 1], dtype=torch.float64)
    R = torch.from_numpy(motion.rotations[chosen]).double() * flip[:, None] * flip
    wrist = torch.from_numpy(motion.wrist_cam[chosen]).double()
    posed = sided.with_shape(torch.from_numpy(motion.betas[chosen]).double()).posed(R, wrist)
    frames = [
        {
            "origin": [round(x, 5) for x in w],
            "verts": packed_points(v, np.array(w)),
            "joints": packed_points(j, np.array(w)),
        }
        for v, j, w in zip(
            posed.verts.numpy(), posed.keypoints.numpy(), wrist.tolist(), strict=True
        )
    ]
    times = [round(float(t), 3) for t in motion.time_s[chosen]]
    return {"right": motion.is_right, "times": times, "frames": frames}
