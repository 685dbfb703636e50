"""A photo and its hands → its card on the page, and the numbers that its 3D view needs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from jaxtyping import UInt8

from idhand.identity import Z95, PhotoUse
from idhand.lens import Distortion
from idhand.records import HandResult
from idhand.view.report.meshes import packed_shape, relative_camera
from idhand.view.report.pictures import PagePhoto, layer_uri, page_photo


@dataclass(frozen=True, kw_only=True)
class ReportPhoto:
    """One photo as a report takes it."""

    name: str
    """As the user named it."""
    rgb: UInt8[np.ndarray, "height width 3"] | None
    """None if the photo no longer exists; its hands are shown nevertheless."""
    width: int
    height: int
    """Of the picture that the hands belong to, px."""
    hands: tuple[HandResult, ...]
    """As reported."""
    anonymous: tuple[HandResult, ...] = ()
    """The same hands with a shape guessed from this photo alone, if the person is known."""
    dist: Distortion = None
    """Lens distortion of the picture."""
    use: PhotoUse | None = None
    """Its weight in the calibration, if it was in one."""


@dataclass(frozen=True, kw_only=True)
class HandFacts:
    """The text on a card about one hand."""

    side: str
    distance: str
    """E.g. `0.52 m (± 0.06)`; the interval is the 95 % one."""
    more: str
    """Further text beside the 3D view."""
    failed: bool


@dataclass(frozen=True, kw_only=True)
class Card:
    """A photo as the page shows it."""

    index: int
    """Its place among the cards."""
    name: str
    path: str
    alt: str
    uri: str
    """Empty if the photo is not there."""
    width: int
    height: int
    layer: str
    """The drawing of the hands, transparent."""
    layer_anonymous: str
    hands: tuple[HandFacts, ...]
    weight: int | None
    """In the calibration, %."""
    reason: str


def card_of(index: int, photo: ReportPhoto, max_bytes: int) -> tuple[Card, dict[str, Any]]:
    """The card, and the numbers for the page's script.

    Args:
        index: The card's place.
        photo: The photo.
        max_bytes: What its picture may take.
    """
    usable = [hand for hand in photo.hands if hand.status != "diverged"]
    before = [hand for hand in photo.anonymous if hand.status != "diverged"]
    K = usable[0].K if usable else None
    small = None
    if photo.rgb is not None:
        small = page_photo(photo.rgb, max_bytes, K, photo.dist)
    facts = tuple(_facts(hand) for hand in photo.hands)
    name = PurePath(photo.name).name or photo.name
    card = Card(
        index=index,
        name=name,
        path=photo.name,
        alt=_alt(name, facts),
        uri="" if small is None else small.uri,
        width=photo.width if small is None else small.width,
        height=photo.height if small is None else small.height,
        layer=_layer(small, usable),
        layer_anonymous=_layer(small, before),
        hands=facts,
        weight=None if photo.use is None else round(100 * photo.use.weight),
        reason="" if photo.use is None else photo.use.reason,
    )
    numbers: dict[str, Any] = {
        "camera": None if K is None else relative_camera(K, small, photo.width, photo.height),
        "hands": [{"right": hand.is_right, **packed_shape(hand)} for hand in usable],
        "anonymous": [{"right": hand.is_right, **packed_shape(hand)} for hand in before],
        "facts": [asdict(fact) for fact in facts],
        "facts_anonymous": [asdict(_facts(hand)) for hand in photo.anonymous],
    }
    return card, numbers


def _layer(photo: PagePhoto | None, hands: Sequence[HandResult]) -> str:
    return "" if photo is None or not hands else layer_uri(photo, hands)


def _facts(hand: HandResult) -> HandFacts:
    failed = hand.status == "diverged"
    depth, sigma = float(hand.keypoints_cam[0, 2]), float(hand.depth_std_m)
    score = f"detection score {hand.score:.2f}, {hand.residual_px:.1f} px off its landmarks"
    return HandFacts(
        side="right" if hand.is_right else "left",
        distance="" if failed else f"{depth:.2f} m (± {Z95 * sigma:.2f})",
        more="" if failed else score + _doubt(hand),
        failed=failed,
    )


def _doubt(hand: HandResult) -> str:
    """What its status has against a hand that can be used all the same."""
    return {"stalled": ", fit stalled", "astray": ", not refined"}.get(hand.status, "")


def _alt(name: str, hands: Sequence[HandFacts]) -> str:
    """What the picture shows, for those who cannot see it."""
    if not hands:
        return f"{name}: no hand was found"
    parts = [
        f"{hand.side} hand, " + ("fit failed" if hand.failed else f"distance {hand.distance}")
        for hand in hands
    ]
    return f"{name}: {'; '.join(parts)}"
