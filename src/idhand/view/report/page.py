"""The report: gathers photos and videos as they are done, then writes one HTML file.

The page's text, pictures, tables and curves are plain HTML and need no script; the script
(report.js, with three.js) adds the hands that can be turned. Nothing is loaded from elsewhere.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Any

from idhand import __version__
from idhand.drawing.overlay import FINGER_COLOURS, PALM_COLOUR, SIDE_COLOURS
from idhand.files import replacing
from idhand.hand import KEYPOINT_PARENTS, FittableHand
from idhand.identity import Identity
from idhand.records import HandResult
from idhand.view.report.cards import Card, ReportPhoto, card_of
from idhand.view.report.measures import measure_rows
from idhand.view.report.meshes import STEP_M, packed_faces, packed_person
from idhand.view.report.tally import Tally
from idhand.view.report.videos import ReportVideo, Section, section_of
from idhand.view.results import with_mesh

MAX_PHOTOS, MAX_VIDEOS = 120, 12
"""What a page shows; of more photos and videos an even choice."""
PHOTO_BYTES = 6_500_000
"""Shared by all photos; base64 makes a third more of it."""

NARROWER = 0.9
"""The known hand's interval is compared with the unknown one's if it is this much narrower."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A comparison in numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(kw_only=True)
class HtmlReport:
    """A report in the making: `add_photo` and `add_video`, then `write`."""

    title: str
    model: FittableHand
    """The model of all hands, right."""
    num_photos: int
    """How many photos are to come; they share the bytes of the page."""
    num_videos: int = 0
    """How many videos are to come."""
    problems: list[str] = field(default_factory=list)
    """Sentences on inputs that could not be used."""
    _tally: Tally = field(default_factory=Tally)
    _cards: list[Card] = field(default_factory=list)
    _photos: list[dict[str, Any]] = field(default_factory=list)
    _videos: list[Section] = field(default_factory=list)
    _motions: list[list[dict[str, Any]]] = field(default_factory=list)
    _faces: dict[str, str] = field(default_factory=dict)

    def add_photo(self, photo: ReportPhoto) -> None:
        """Take a photo in; its picture is made small at once.

        Hands without meshes, as `read_hands` brings them, get theirs from the model.
        """
        hands, before = self._meshed(photo.hands), self._meshed(photo.anonymous)
        place = self._tally.num_photos
        self._tally.photo(_usable(hands), _usable(before))
        num = max(self.num_photos, place + 1)
        if not _is_chosen(place, num, MAX_PHOTOS):
            return
        for hand in _usable(hands):
            self._faces.setdefault(_side(hand.is_right), packed_faces(hand.faces))
        photo = replace(photo, hands=hands, anonymous=before)
        card, numbers = card_of(len(self._cards), photo, PHOTO_BYTES // min(num, MAX_PHOTOS))
        self._cards.append(card)
        self._photos.append(numbers)

    def add_video(self, video: ReportVideo) -> None:
        """Take a video in; a small copy of its clip is made at once."""
        place = self._tally.num_videos
        self._tally.video(video.num_frames, video.duration_s, video.K_known)
        num = max(self.num_videos, place + 1)
        if _is_chosen(place, num, MAX_VIDEOS):
            section, motions = section_of(video, self.model, min(num, MAX_VIDEOS))
            self._videos.append(section)
            self._motions.append(motions)

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
        """Write the page, for its owner alone; a file of that name is replaced in one step.

        Args:
            path: The HTML file.
            person: Whose hands these are, if that is known.
            truth_mm: The person's true measures (of invented people).
            comparison: Errors before and after, where the truth is known.
            photo_names: Of the pictures that the person was calibrated from, if they are known.
            files_note: A sentence on what else was written.

        Raises:
            ValueError: If the person belongs to another hand model.
            OSError: If the file cannot be written; nothing half-written stays.
        """
        if person is not None:
            person.check_model(self.model)
            if len(photo_names) != len(person.photos):
                photo_names = ()
        distance_mm = self._tally.distance_interval_mm()
        html = _template().render(
            title=self.title,
            version=__version__,
            css=_source("report.css"),
            js=_source("report.js"),
            three=_asset("three.min.js"),
            three_licence=_asset("THREE_LICENSE.txt"),
            data=_script_json(self._numbers(person)),
            tally=self._tally,
            cards=self._cards,
            videos=self._videos,
            person=person,
            measures=[] if person is None else measure_rows(person, truth_mm, self.model),
            scatter=self._tally.scatter(self.model, person, truth_mm),
            distance_mm=distance_mm,
            narrower=person is not None
            and distance_mm is not None
            and distance_mm[1] < NARROWER * distance_mm[0],
            comparison=comparison,
            known=self._tally.known(person),
            problems=self.problems,
            photo_names=[PurePath(name).name or name for name in photo_names],
            files_note=files_note,
            has_truth=bool(truth_mm),
        )
        with replacing(path, mode=0o600) as temporary:
            temporary.write_bytes(html.encode("utf-8", "replace"))

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
            "sides": {_side(right): colour for right, colour in SIDE_COLOURS.items()},
            "faces": self._faces,
            "photos": self._photos,
            "videos": self._motions,
            "person": None if person is None else packed_person(self.model, person.betas),
        }

    def _meshed(self, hands: Sequence[HandResult]) -> tuple[HandResult, ...]:
        return tuple(
            hand
            if len(hand.verts_cam) or hand.status == "diverged"
            else with_mesh(hand, self.model)
            for hand in hands
        )


def _usable(hands: Sequence[HandResult]) -> list[HandResult]:
    return [hand for hand in hands if hand.status != "diverged"]


def _side(is_right: bool) -> str:
    return "right" if is_right else "left"


def _is_chosen(place: int, num: int, most: int) -> bool:
    """Whether the one at this place is in an even choice of at most so many out of `num`."""
    shown = min(num, most)
    return (place + 1) * shown // num > place * shown // num


def _source(name: str) -> str:
    return (files("idhand") / "view" / "report" / name).read_text("utf-8")


def _asset(name: str) -> str:
    return (files("idhand") / "assets" / "data" / name).read_text("utf-8")


def _template() -> Any:
    """The page's Jinja template; everything put into it is escaped unless marked as safe."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_source("report.html.jinja"))


def _script_json(value: object) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
