"""The report: gathers photos and videos as they are done, then writes one HTML file.

The page's text, pictures, tables and curves are plain HTML and need no script; the script
(report.js, with three.js) adds the hands that can be turned. Nothing is loaded from elsewhere.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from idhand import __version__
from idhand.hand import KEYPOINT_PARENTS, HandModel
from idhand.identity import Identity
from idhand.media import replacing
from idhand.records import HandResult
from idhand.view.motion import HandMotion
from idhand.view.overlay import FINGER_COLOURS, PALM_COLOUR, SIDE_COLOURS
from idhand.view.report.cards import Card, ReportPhoto, card_of
from idhand.view.report.charts import Chart, charts_of
from idhand.view.report.clips import small_clip
from idhand.view.report.measures import measure_rows
from idhand.view.report.meshes import STEP_M, packed_faces, packed_person, packed_points
from idhand.view.report.pictures import data_uri

MAX_PHOTOS = 120
"""Cards of a page; of more photos an even choice is shown."""
PHOTO_BYTES, CLIP_BYTES = 6_500_000, 4_000_000
"""Shared by all photos, and by all clips; base64 makes a third more of it."""
MAX_PLAYED_FRAMES, PLAYED_FRAMES, MIN_PLAYED_FRAMES = 240, 600, 24
"""Meshes that the page carries: at most of one hand of a video, about of all, at least of one."""
MAX_TRACKS = 4
"""Hands of one video that are shown: those seen longest."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A comparison in numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class _Track:
    name: str
    side: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True)
class _Video:
    name: str
    path: str
    clip: str
    """Address of the clip, empty if there is none."""
    clip_note: str
    duration_s: float
    num_frames: int
    tracks: tuple[_Track, ...]


@dataclass(frozen=True, kw_only=True)
class _Scatter:
    """What each photo alone says of the hand's length, and what is said once it is known."""

    dots: tuple[float, ...]
    """%, one per hand."""
    low_mm: float
    high_mm: float
    """Of the dots."""
    scale_mm: tuple[str, str]
    own: float | None
    own_left: float
    own_width: float
    truth: float | None


@dataclass(kw_only=True)
class HtmlReport:
    """A report in the making: `add_photo` and `add_video`, then `write`."""

    title: str
    model: HandModel
    """The model of all hands, right."""
    num_photos: int
    """How many photos are to come; they share the bytes of the page."""
    num_videos: int = 0
    num_hands: int = 0
    problems: list[str] = field(default_factory=list)
    """Sentences on inputs that could not be used."""
    _num_added: int = 0
    _num_K_known: int = 0
    _cards: list[Card] = field(default_factory=list)
    _photos: list[dict[str, Any]] = field(default_factory=list)
    _videos: list[_Video] = field(default_factory=list)
    _motions: list[list[dict[str, Any]]] = field(default_factory=list)
    _betas: list[Float[np.ndarray, " betas"]] = field(default_factory=list)
    """Anonymous shapes, one per hand in a photo."""
    _depths_std_m: list[tuple[float, float]] = field(default_factory=list)
    """Anonymous and with the known hand."""
    _faces: dict[str, str] = field(default_factory=dict)

    def add_photo(self, photo: ReportPhoto) -> None:
        """Take a photo in; its picture is made small at once."""
        shown = min(self.num_photos, MAX_PHOTOS)
        place, self._num_added = self._num_added, self._num_added + 1
        hands = [hand for hand in photo.hands if hand.status != "diverged"]
        before = [hand for hand in photo.anonymous if hand.status != "diverged"]
        self.num_hands += len(hands)
        self._num_K_known += any(not hand.K_is_guess for hand in photo.hands)
        self._betas += [hand.betas for hand in before or hands]
        if len(before) == len(hands):
            pairs = zip(before, hands, strict=True)
            self._depths_std_m += [(float(a.depth_std_m), float(b.depth_std_m)) for a, b in pairs]
        if (place + 1) * shown // self.num_photos == place * shown // self.num_photos:
            return
        self._remember_faces(hands)
        card, numbers = card_of(len(self._cards), photo, PHOTO_BYTES // shown)
        self._cards.append(card)
        self._photos.append(numbers)

    def add_video(
        self,
        name: str,
        motions: Sequence[HandMotion],
        *,
        anonymous: Sequence[HandMotion] = (),
        clip: Path | None,
        num_frames: int,
        duration_s: float,
        K_known: bool,
    ) -> None:
        """Take a video in.

        Args:
            name: As the user named it.
            motions: Its hands as reported.
            anonymous: The same with a shape guessed in each frame, if the person is known.
            clip: The overlay clip; a smaller copy goes into the page.
            num_frames: Of the whole video.
            duration_s: Of the whole video.
            K_known: Whether its intrinsics were known.
        """
        self._num_K_known += K_known
        longest = sorted(motions, key=lambda motion: -len(motion.frame))[:MAX_TRACKS]
        tracks = [
            _Track(
                name=motion.name,
                side="right" if motion.is_right else "left",
                charts=tuple(
                    charts_of(self.model, motion, _counterpart(motion, anonymous), duration_s)
                ),
            )
            for motion in longest
        ]
        uri, note = self._clip(clip, duration_s)
        self._videos.append(
            _Video(
                name=PurePath(name).name or name,
                path=name,
                clip=uri,
                clip_note=note,
                duration_s=duration_s,
                num_frames=num_frames,
                tracks=tuple(tracks),
            )
        )
        share = PLAYED_FRAMES // max(len(longest) * self.num_videos, 1)
        most = min(max(share, MIN_PLAYED_FRAMES), MAX_PLAYED_FRAMES)
        self._motions.append([self._played(motion, most) for motion in longest])

    def write(
        self,
        path: str | Path,
        person: Identity | None = None,
        *,
        truth_mm: Mapping[str, float] | None = None,
        comparison: Table | None = None,
        photo_names: Sequence[str] = (),
        files_note: str = "",
    ) -> None:
        """Write the page; a file of that name is replaced in one step.

        Args:
            path: The HTML file.
            person: Whose hands these are, if that is known.
            truth_mm: The person's true measures (of invented people).
            comparison: Errors before and after, where the truth is known.
            photo_names: Of the pictures that the person was calibrated from, if they are known.
            files_note: A sentence on what else was written.
        """
        import jinja2

        source = files("idhand") / "view" / "report"
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        environment.trim_blocks = environment.lstrip_blocks = True
        page = environment.from_string((source / "report.html.jinja").read_text("utf-8"))
        three = files("idhand") / "assets" / "data"
        html = page.render(
            title=self.title,
            version=__version__,
            css=(source / "report.css").read_text("utf-8"),
            js=(source / "report.js").read_text("utf-8"),
            three=(three / "three.min.js").read_text("utf-8"),
            three_licence=(three / "THREE_LICENSE.txt").read_text("utf-8"),
            data=_script_json(self._numbers(person)),
            cards=self._cards,
            num_photos=self._num_added,
            num_hands=self.num_hands,
            videos=self._videos,
            person=person,
            measures=[] if person is None else measure_rows(person, truth_mm),
            scatter=self._scatter(person, truth_mm),
            spread=self._spread(),
            comparison=comparison,
            known=self._known(person),
            problems=self.problems,
            photo_names=[PurePath(name).name or name for name in photo_names],
            files_note=files_note,
            has_truth=bool(truth_mm),
        )
        with replacing(path) as temporary:
            temporary.write_text(html, "utf-8")

    def _numbers(self, person: Identity | None) -> dict[str, Any]:
        """All that the script draws."""
        if person is not None or self._motions:
            self._faces["right"] = packed_faces(self.model.faces.numpy())
            self._faces["left"] = packed_faces(self.model.mirrored().faces.numpy())
        return {
            "step": STEP_M,
            "parents": KEYPOINT_PARENTS,
            "fingers": FINGER_COLOURS,
            "palm": PALM_COLOUR,
            "sides": {"right": SIDE_COLOURS[True], "left": SIDE_COLOURS[False]},
            "faces": self._faces,
            "photos": self._photos,
            "videos": self._motions,
            "person": None if person is None else packed_person(self.model, person.betas),
        }

    def _remember_faces(self, hands: Sequence[HandResult]) -> None:
        """The triangles of each side, once: all hands of a side share them."""
        for hand in hands:
            side = "right" if hand.is_right else "left"
            if side not in self._faces:
                self._faces[side] = packed_faces(hand.faces)

    def _clip(self, clip: Path | None, duration_s: float) -> tuple[str, str]:
        """Address of the small copy, and a sentence if it is not the whole."""
        if clip is None or not clip.is_file():
            return "", "The clip is not there."
        data, seconds = small_clip(clip, CLIP_BYTES // max(self.num_videos, 1))
        note = ""
        if seconds < duration_s - 0.5:
            note = f"The first {seconds:.0f} of {duration_s:.0f} s; all of it is in {clip.name}."
        return data_uri("video/mp4", data), note

    def _played(self, motion: HandMotion, most: int) -> dict[str, Any]:
        """Meshes of an even choice of at most so many of the motion's frames."""
        num = min(motion.num_frames, most)
        chosen = np.linspace(0, len(motion.frame) - 1, num).round().astype(int)
        model = self.model if motion.is_right else self.model.mirrored()
        flip = torch.tensor([1.0 if motion.is_right else -1.0, 1, 1], dtype=torch.float64)
        R = torch.from_numpy(motion.rotations[chosen]) * flip[:, None] * flip
        wrist = torch.from_numpy(motion.wrist_cam[chosen])
        posed = model.with_shape(torch.from_numpy(motion.betas[chosen])).posed(R, wrist)
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

    def _lengths_mm(self) -> Float[np.ndarray, " hands"]:
        measures = self.model.measures
        if measures is None or not self._betas:
            return np.zeros(0)
        at = measures.names.index("hand_length")
        return measures.lengths(torch.from_numpy(np.stack(self._betas)))[:, at].numpy() * 1e3

    def _scatter(
        self, person: Identity | None, truth_mm: Mapping[str, float] | None
    ) -> _Scatter | None:
        """The hand's length photo by photo; None where there are fewer than two hands."""
        lengths = self._lengths_mm()
        if len(lengths) < 2:
            return None
        own = None if person is None else person.measurements.get("hand_length")
        truth = (truth_mm or {}).get("hand_length")
        marks = [] if own is None else [own.low_mm, own.high_mm]
        values = [*lengths, *marks, *([] if truth is None else [truth])]
        low, high = float(min(values)) - 3, float(max(values)) + 3

        def at(mm: float) -> float:
            return round(100 * (float(mm) - low) / (high - low), 2)

        return _Scatter(
            dots=tuple(at(mm) for mm in lengths),
            low_mm=float(lengths.min()),
            high_mm=float(lengths.max()),
            scale_mm=(f"{low:.0f} mm", f"{high:.0f} mm"),
            own=None if own is None else at(own.value_mm),
            own_left=0.0 if own is None else at(own.low_mm),
            own_width=0.0 if own is None else round(at(own.high_mm) - at(own.low_mm), 2),
            truth=None if truth is None else at(truth),
        )

    def _spread(self) -> tuple[float, float] | None:
        """Median 95 % half interval of the distance, anonymous and with the known hand, in mm."""
        if not self._depths_std_m:
            return None
        before, after = np.median(np.array(self._depths_std_m), axis=0) * 1960
        return float(before), float(after)

    def _known(self, person: Identity | None) -> list[str]:
        """Sentences on what is known and what is assumed."""
        sentences = []
        known, all_ = self._num_K_known, self._num_added + len(self._videos)
        if known >= all_ > 0:
            sentences.append("The camera is known, so directions and proportions are exact.")
        elif all_:
            where = f"known for {known} of {all_} inputs only; elsewhere" if known else "not known:"
            sentences.append(
                f"The camera is {where} a field of view of 60° is assumed, and distances are in "
                "proportion to that guess."
            )
        if person is None:
            sentences.append(
                "The person is not known: every hand's size is guessed from what is common among "
                "adults, and distance is in proportion to that guess."
            )
        elif person.hand_length_mm is None:
            sentences.append(
                "The size of the hand leans on what is common among adults, because one camera "
                "cannot see how large a hand is; a ruler's reading would make it metric."
            )
        else:
            sentences.append(
                "The size of the hand comes from a ruler's reading of "
                f"{person.hand_length_mm:.1f} ± {person.hand_length_sigma_mm or 0:.1f} mm "
                "(standard deviation), so distance is metric."
            )
        sentences.append("Intervals (±) hold the truth in 95 of 100 cases, if the model is right.")
        return sentences


def _counterpart(motion: HandMotion, others: Sequence[HandMotion]) -> HandMotion | None:
    """The motion of the same side that shares most frames."""
    same = [other for other in others if other.is_right == motion.is_right]
    shared = [len(np.intersect1d(other.frame, motion.frame)) for other in same]
    return same[int(np.argmax(shared))] if shared and max(shared) else None


def _script_json(value: object) -> str:
    """JSON that may stand inside of a script element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
