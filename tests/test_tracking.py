"""Hands that stay the same hands: association, search, votes on sides; a stand-in and clips."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import idhand
from idhand.detection import SideConfig
from idhand.pipeline import Pipeline
from idhand.records import Detection, HandResult
from idhand.tracking import MAX_GAP_S, TrackedHand, Tracker, TrackerConfig, assigned
from idhand.tracking.association import improved
from idhand.view import MotionRecorder
from tests.config_fields import Case, cases, check_case, check_fields
from tests.test_view import make_hand

SIZE_PX = 100.0
HAND = make_hand()
SHAPE_PX = SIZE_PX * (np.random.default_rng(0).random((21, 2)) - 0.5)

# --------------------------------------------------------------------------------- a stand-in world


@dataclass
class Actor:
    """A hand whose place and look are known."""

    place: Callable[[float], tuple[float, float] | None]
    """Time → centre, px; None: out of sight."""
    right: Callable[[float], float] = lambda time_s: 0.99
    score: float = 0.99

    def seen(self, time_s: float) -> Detection | None:
        centre = self.place(time_s)
        if centre is None:
            return None
        points, right = SHAPE_PX + centre, self.right(time_s)
        return Detection(
            is_right=right > 0.5,
            right_probability=right,
            score=self.score,
            bbox_px=np.concatenate((points.min(0), points.max(0))),
            landmarks_px=points,
            landmarks_z_px=np.zeros(21),
            landmarks_world=np.zeros((21, 3)),
            confidence=np.ones(21),
        )


@dataclass
class StandIn:
    """Detector and pipeline in one: sees actors; reads the time from the picture."""

    actors: Sequence[Actor]
    reach: float = 0.8
    """A hand is found again within this part of its size from where it was."""
    searches: list[float] = field(default_factory=list)

    @property
    def detector(self) -> "StandIn":
        return self

    def _seen(self, rgb: np.ndarray) -> list[Detection]:
        seen = [actor.seen(time_of(rgb)) for actor in self.actors]
        return [hand for hand in seen if hand is not None]

    def detect(self, rgb: np.ndarray, *, max_hands: int = 2, mirrored: bool = False):
        self.searches.append(time_of(rgb))
        return sorted(self._seen(rgb), key=lambda hand: -hand.score)[:max_hands]

    def track(self, rgb: np.ndarray, previous: Sequence[Detection], *, mirrored: bool = False):
        places = [hand.landmarks_px.mean(0) for hand in previous]
        return self._nearest(self._seen(rgb), places)

    def in_boxes(self, rgb: np.ndarray, boxes_px: Any, *, mirrored: bool = False):
        boxes = np.asarray(boxes_px, float).reshape(-1, 2, 2)
        return self._nearest(self._seen(rgb), list(boxes.mean(1)))

    def _nearest(self, seen: list[Detection], places: list[np.ndarray]) -> list[Detection | None]:
        """The hand nearest to each place, each hand for the first place only."""
        found: list[Detection | None] = []
        for place in places:
            near = sorted(seen, key=lambda d: np.linalg.norm(d.landmarks_px.mean(0) - place))
            hand = near[0] if near else None
            if hand is not None:
                far = np.linalg.norm(hand.landmarks_px.mean(0) - place) > self.reach * SIZE_PX
                hand = None if far or any(hand is other for other in found) else hand
            found.append(hand)
        return found

    def estimate(
        self,
        rgb: Any,
        detections: Sequence[Detection],
        K: Any = None,
        dist: Any = None,
        identity: Any = None,
    ) -> list[HandResult]:
        return [
            replace(
                HAND,
                is_right=seen.is_right,
                detection=seen,
                keypoints_px=seen.landmarks_px,
                bbox_px=seen.bbox_px,
            )
            for seen in detections
        ]


class Swapping(StandIn):
    """A detector that gives each hand the other's reading after a while."""

    def track(self, rgb: np.ndarray, previous: Sequence[Detection], *, mirrored: bool = False):
        found = super().track(rgb, previous, mirrored=mirrored)
        return found[::-1] if time_of(rgb) > 0.5 else found


def picture(time_s: float) -> np.ndarray:
    """A small picture that says when it was taken, in ms."""
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[0, 0] = np.frombuffer(round(time_s * 1000).to_bytes(3, "big"), np.uint8)
    return rgb


def time_of(rgb: np.ndarray) -> float:
    return int.from_bytes(rgb[0, 0].tobytes(), "big") / 1000


def watched(
    world: StandIn, times_s: Sequence[float], config: TrackerConfig | None = None, **options: Any
) -> list[list[TrackedHand]]:
    tracker = Tracker(world, config=config, **options)
    return [tracker.step(picture(t), t) for t in times_s]


def every(fps: float, seconds: float) -> list[float]:
    """Times of frames, to whole milliseconds."""
    return [round(i / fps, 3) for i in range(round(seconds * fps))]


def still(x: float, since_s: float = 0.0, until_s: float = math.inf, y: float = 200.0):
    """A hand that stays, from one time to another."""
    return lambda t: (x, y) if since_s <= t < until_s else None


def names_of(frames: list[list[TrackedHand]]) -> list[set[str]]:
    return [{hand.name for hand in frame} for frame in frames]


def number_at(frame: list[TrackedHand], place: tuple[float, float] | None) -> int | None:
    """Which hand the tracker has there."""
    for one in frame:
        if place is not None and np.allclose(one.hand.keypoints_px, SHAPE_PX + place):
            return one.track
    return None


# ------------------------------------------------------------------------------------ who is whose


def test_a_hand_keeps_its_name_and_grows_older():
    frames = watched(StandIn([Actor(place=lambda t: (100 + 300 * t, 200))]), every(30, 1))
    assert names_of(frames) == [{"hand_0_right"}] * 30
    assert [frame[0].is_new for frame in frames] == [True] + [False] * 29
    assert frames[12][0].age_s == pytest.approx(0.4)


@pytest.mark.parametrize("fps", [15, 30, 60])
@pytest.mark.parametrize("sides", [(0.98, 0.02), (0.97, 0.97)])
def test_hands_that_cross_stay_themselves(fps: float, sides: tuple[float, float]):
    """Told by their sides, or by how they move; the one behind is out of sight for a while."""

    def front(t: float) -> tuple[float, float]:
        return 100 + 400 * t, 200.0

    def behind(t: float) -> tuple[float, float] | None:
        x, y = 500 - 400 * t, 215.0
        return None if abs(x - front(t)[0]) < 70 else (x, y)

    first = Actor(place=front, right=lambda t: sides[0])
    second = Actor(place=behind, right=lambda t: sides[1])
    world, times_s = StandIn([first, second]), every(fps, 1)
    frames = watched(world, times_s)
    start = number_at(frames[0], front(0.0)), number_at(frames[0], behind(0.0))
    assert set(start) == {0, 1}
    for t, frame in zip(times_s, frames, strict=True):
        assert number_at(frame, front(t)) == start[0]
        if behind(t) is not None and t < 0.4:
            assert number_at(frame, behind(t)) == start[1]
    assert (
        number_at(frames[-1], front(times_s[-1])),
        number_at(frames[-1], behind(times_s[-1])),
    ) == start


def test_readings_that_changed_places_are_changed_back():
    actors = [Actor(place=still(150)), Actor(place=still(230), right=lambda t: 0.01)]
    frames = watched(Swapping(actors), every(30, 1))
    numbers = {(number_at(frame, (150, 200)), number_at(frame, (230, 200))) for frame in frames}
    assert numbers == {(0, 1)}


def test_two_names_for_one_hand_end_as_one():
    """The second hand goes to the first and is not to be told from it any more."""

    def second(t: float) -> tuple[float, float] | None:
        return (500 - 400 * t, 200.0) if t < 0.75 else None

    world = StandIn([Actor(place=still(180)), Actor(place=second, right=lambda t: 0.03)])
    frames = watched(world, every(30, 2))
    assert len(frames[0]) == 2
    assert names_of(frames)[-1] == {"hand_0_right"}


@pytest.mark.parametrize(
    ("away_s", "moved_px", "name"),
    [
        (MAX_GAP_S - 0.2, 0, "hand_0_right"),
        (MAX_GAP_S - 0.2, 0.6 * SIZE_PX, "hand_0_right"),
        (MAX_GAP_S - 0.2, 3 * SIZE_PX, "hand_1_right"),
        (MAX_GAP_S + 0.2, 0, "hand_1_right"),
    ],
)
@pytest.mark.parametrize("fps", [7, 30])
def test_a_hand_that_comes_back(away_s: float, moved_px: float, name: str, fps: float):
    def place(t: float) -> tuple[float, float] | None:
        if t < 0.5:
            return 200.0, 200.0
        return (200.0 + moved_px, 200.0) if t >= 0.5 + away_s else None

    frames = watched(StandIn([Actor(place=place)]), every(fps, 3))
    assert names_of(frames)[0] == {"hand_0_right"}
    assert names_of(frames)[-1] == {name}
    first = next(f[0] for t, f in zip(every(fps, 3), frames, strict=True) if f and t > 0.5)
    assert first.is_new


def test_another_side_in_the_same_place_is_another_hand():
    left = Actor(place=still(260, since_s=0.6), right=lambda t: 0.01)
    frames = watched(StandIn([Actor(place=still(200, until_s=0.4)), left]), every(30, 1.5))
    assert names_of(frames)[0] == {"hand_0_right"}
    assert names_of(frames)[-1] == {"hand_1_left"}


@given(
    costs=st.lists(st.floats(0, 1), min_size=9, max_size=9),
    gates=st.lists(st.booleans(), min_size=9, max_size=9),
)
def test_no_exchange_makes_an_assignment_cheaper(costs: list[float], gates: list[bool]):
    table = np.where(np.reshape(gates, (3, 3)), np.inf, np.reshape(costs, (3, 3)))
    found = assigned(table)
    assert len(set(found.values())) == len(found)
    assert all(np.isfinite(table[i, k]) for i, k in found.items())
    total = sum(table[i, k] for i, k in found.items())
    for order in permutations(range(3), 3):
        other = dict(zip(found, order, strict=False))
        if set(other.values()) == set(found.values()) and len(found) == 2:
            assert total <= sum(table[i, k] for i, k in other.items()) + 1e-9
    free = [k for k in range(3) if k not in found.values()]
    rest = [i for i in range(3) if i not in found]
    assert not np.isfinite(table[np.ix_(rest, free)]).any(), "who can go together does"


def test_an_assignment_by_hand():
    costs = np.array([[0.1, 0.2], [0.2, 0.9]])
    assert assigned(costs) == {0: 1, 1: 0}, "not the nearest pair first: 0.4 < 1.0"
    assert improved(costs, {0: 0}) == {0: 0}
    assert improved(costs, {1: 1}) == {0: 1}, "a free track takes what is nearer to it"
    assert assigned(np.full((2, 1), np.inf)) == {}


# ----------------------------------------------------------------------------------------- searches


@pytest.mark.parametrize("fps", [2, 5, 30])
def test_a_hand_that_enters_while_another_is_followed(fps: float):
    """By time, not by frames: within half a second, or with the next frame."""
    enters_s, times_s = 1.0, every(fps, 4)
    world = StandIn([Actor(place=still(150)), Actor(place=still(400, since_s=enters_s))])
    frames = watched(world, times_s)
    numbers = [len(frame) for frame in frames]
    seen_s = next(t for t, number in zip(times_s, numbers, strict=True) if number == 2)
    assert enters_s <= seen_s <= enters_s + max(0.5, 1 / fps)
    assert all(n == (2 if t >= seen_s else 1) for t, n in zip(times_s, numbers, strict=True))
    apart_s = np.diff([t for t in world.searches if t < enters_s])
    assert all(apart_s >= 0.49)


def test_frames_at_uneven_times_are_searched_by_their_times():
    times_s = np.cumsum([0.0, *([0.01] * 60), 0.9, *([0.2] * 10)]).tolist()
    world = StandIn([Actor(place=still(150))])
    watched(world, times_s)
    np.testing.assert_allclose(world.searches, [0.0, 0.5, *np.arange(1.5, 3.6, 0.6)], atol=0.1)


def test_a_lost_hand_is_searched_at_once_and_then_more_often():
    jump = Actor(place=lambda t: (300.0, 200.0) if t < 1.0 else (390.0, 200.0))
    world = StandIn([Actor(place=still(50)), jump])
    frames = watched(world, every(30, 2))
    assert names_of(frames) == [{"hand_0_right", "hand_1_right"}] * 60, "found 0.9 boxes further on"
    assert world.searches == [0.0, 1.0], "two hands are all that are asked for"
    gone = StandIn([Actor(place=still(50)), Actor(place=still(400, until_s=1.0))])
    watched(gone, every(30, 4))
    np.testing.assert_allclose(
        np.diff([t for t in gone.searches if 1 <= t <= 1.95]), 0.1, atol=2e-3
    )
    assert all(np.diff([t for t in gone.searches if t > 2.1]) >= 0.49)


def test_at_most_so_many_hands():
    world = StandIn([Actor(place=still(150 + 200 * i), score=0.9 - 0.1 * i) for i in range(4)])
    for most in (1, 2, 3):
        frames = watched(StandIn(world.actors), every(30, 1), max_hands=most)
        assert {len(frame) for frame in frames} == {most}
    one = StandIn(world.actors)
    watched(one, every(30, 1), max_hands=1)
    assert one.searches == [0.0]


# -------------------------------------------------------------------------------------------- sides


def flicker(t: float) -> float:
    """Mostly right, but not at first, and not always."""
    return 0.1 if t < 0.2 or round(t * 30) % 5 == 0 else 0.95


def test_a_side_that_flickers_is_voted():
    frames = watched(StandIn([Actor(place=still(150), right=flicker)]), every(30, 2))
    assert {frame[0].track for frame in frames} == {0}
    sides = [frame[0].hand.is_right for frame in frames]
    assert not sides[0]
    assert all(sides[30:])
    assert sum(a != b for a, b in pairwise(sides)) == 1, "it changes once"
    p = [frame[0].hand.detection.right_probability for frame in frames]
    assert p == [flicker(t) for t in every(30, 2)], "what a frame shows stays with the frame"


def test_found_first_and_fitted_then_a_hand_has_one_side():
    times_s = every(30, 2)
    tracker = Tracker(StandIn([Actor(place=still(150), right=flicker)]))
    found = [tracker.find(picture(t), t) for t in times_s]
    recorder = MotionRecorder()
    for i, (t, hands) in enumerate(zip(times_s, found, strict=True)):
        recorder.add(i, t, tracker.fit(picture(t), hands))
    (motion,) = recorder.motions()
    assert (motion.name, motion.num_frames) == ("hand_0_right", 60)


def test_a_motion_leaves_out_frames_of_another_side():
    recorder = MotionRecorder()
    frames = watched(StandIn([Actor(place=still(150), right=flicker)]), every(30, 2))
    for i, frame in enumerate(frames):
        recorder.add(i, i / 30, frame)
    (motion,) = recorder.motions()
    rights = [i for i, frame in enumerate(frames) if frame[0].hand.is_right]
    assert motion.name == "hand_0_right"
    np.testing.assert_array_equal(motion.frame, rights)
    assert 30 < motion.num_frames < 60


def test_votes_by_hand():
    """Log-odds add up; frames 1/30 s apart have a third of a vote each."""
    for frames, is_right in ((1, False), (2, False), (3, False), (4, True)):
        # A full vote of 0.2, then thirds of 0.8: they weigh up after three.
        world = StandIn([Actor(place=still(150), right=lambda t: 0.2 if t < 0.01 else 0.8001)])
        tracker = Tracker(world, config=TrackerConfig(vote_limit=0.9))
        hands: list[TrackedHand] = []
        for i in range(frames + 1):
            hands = tracker.step(picture(i / 30), i / 30)
        assert hands[0].hand.is_right is (is_right or frames == 3), frames


def test_one_person_has_one_left_and_one_right_hand():
    """A doubtful hand beside a sure one of its side is the other; far away it is not."""
    doubtful = [0.99, 0.6]
    for distance_px, sides in ((200, {True, False}), (5000, {True})):
        actors = [
            Actor(place=still(100 + distance_px * i), right=lambda t, p=p: p)
            for i, p in enumerate(doubtful)
        ]
        (frame,) = watched(StandIn(actors), [0.0])
        assert {one.hand.is_right for one in frame} == sides


def test_a_pair_is_decided_by_all_frames():
    """The partner leaves; the side that it left behind stays."""
    actors = [Actor(place=still(100, until_s=1.0)), Actor(place=still(300), right=lambda t: 0.52)]
    frames = watched(StandIn(actors), every(5, 2))
    assert names_of(frames)[-1] == {"hand_1_left"}
    alone = watched(StandIn(actors[1:]), every(5, 2))
    assert names_of(alone)[-1] == {"hand_0_right"}


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_known_side_holds(side: Any):
    world = StandIn([Actor(place=still(100)), Actor(place=still(300), right=flicker)])
    for frame in watched(world, every(30, 1), side=side):
        assert [one.hand.is_right for one in frame] == [side == "right"] * 2
        p = [one.hand.detection.right_probability for one in frame]
        assert p == [float(side == "right")] * 2


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="max_hands must be at least 1, got 0"):
        Tracker(StandIn([]), max_hands=0)
    recorder = MotionRecorder()
    recorder.add(0, 0.0, [make_hand()])
    (frame,) = watched(StandIn([Actor(place=still(150))]), [0.0])
    with pytest.raises(ValueError, match="one kind to each recorder"):
        recorder.add(1, 0.1, frame)
    with pytest.raises(ValueError, match="one kind to each recorder"):
        MotionRecorder().add(0, 0.0, [make_hand(), *frame])


# -------------------------------------------------------------------------------------------- boxes


def test_boxes_are_read_and_followed():
    """Without a search; in frames without boxes the hands are followed on."""
    places = [lambda t: (100 + 100 * t, 200.0), still(400.0)]
    world = StandIn([Actor(place=place) for place in places])
    tracker = Tracker(world, max_hands=2)
    numbers = []
    for i, t in enumerate(every(10, 1)):
        boxes = [(*np.subtract(place(t), 50), *np.add(place(t), 50)) for place in places]
        given = [boxes[::-1], boxes, None][i % 3] if t < 0.8 else []
        frame = tracker.step(picture(t), t, boxes_px=given)
        numbers.append([number_at(frame, place(t)) for place in places])
    assert numbers[:8] == [[1, 0]] * 8
    assert numbers[8:] == [[None, None]] * 2, "no box is no hand"
    assert world.searches == []


# ------------------------------------------------------------------------------------------- config


def drama(config: TrackerConfig, fps: float = 15.0) -> list[Any]:
    """Names, places and sides of a scene in which everything happens."""

    def runner(t: float) -> tuple[float, float] | None:
        if 0.6 < t < 1.2:
            return None
        return 150 + 160 * math.sin(3 * t), 200.0

    def jumper(t: float) -> tuple[float, float] | None:
        if 0.52 < t < 0.55:
            return None
        return (500.0, 200.0) if t < 1.5 else (565.0, 240.0)

    actors = [
        Actor(place=runner, right=lambda t: 0.98 if round(t * 7) % 3 else 0.3),
        Actor(place=jumper, right=lambda t: 0.35 if t < 0.1 else 0.61),
        Actor(place=still(560, since_s=0.3, until_s=1.9, y=215), right=lambda t: 0.02, score=0.97),
        Actor(place=still(900, since_s=0.8), right=lambda t: 0.7, score=0.9),
    ]
    frames = watched(StandIn(actors), every(fps, 3), config, max_hands=5)
    return [(one.name, *one.hand.bbox_px, one.is_new) for frame in frames for one in frame]


def swapped(config: TrackerConfig) -> list[Any]:
    """Two hands whose readings are exchanged."""
    actors = [Actor(place=still(150)), Actor(place=still(230), right=lambda t: 0.01)]
    frames = watched(Swapping(actors), every(30, 1), config)
    return [(one.name, *one.hand.bbox_px) for frame in frames for one in frame]


def comes_back(x: float, speed_px_s: float = 0.0, right: float = 0.99) -> Callable[[Any], Any]:
    """Names of a hand that is away for 0.3 s and comes back elsewhere, perhaps as another side."""

    def place(t: float) -> tuple[float, float] | None:
        if 0.5 <= t < 0.8:
            return None
        return (200 + speed_px_s * t if t < 0.5 else x + speed_px_s * (t - 0.8)), 200.0

    def outcome(config: TrackerConfig) -> list[set[str]]:
        actor = Actor(place=place, right=lambda t: 0.99 if t < 0.5 else right)
        return names_of(watched(StandIn([actor]), every(30, 1.2), config))

    return outcome


DRAMA = cases(
    TrackerConfig(),
    drama,
    {
        "search_interval_s": 0.2,
        "lost_interval_s": 0.3,
        "max_gap_s": 0.4,
        "same_hand": 0.9,
        "vote_interval_s": 1.0,
        "vote_limit": 0.6,
        "sides": SideConfig(same_side=0.5),
    },
)
FIELDS: dict[str, Case] = {
    **DRAMA,
    **cases(TrackerConfig(), swapped, {"switch_cost": 10.0}),
    **cases(TrackerConfig(), comes_back(260), {"max_jump": 0.4}),
    **cases(TrackerConfig(), comes_back(260, right=0.01), {"side_weight": 0.0}),
    **cases(TrackerConfig(), comes_back(600, speed_px_s=500), {"velocity_s": 0.0}),
}
TABLES: dict[type, dict[str, Case]] = {TrackerConfig: FIELDS}


def test_every_field_has_a_case():
    check_fields(TrackerConfig, FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_changes_a_result(name: str):
    check_case(name, FIELDS[name])


@pytest.mark.parametrize(
    "mistake",
    [
        {"search_interval_s": -1.0}, {"lost_interval_s": math.nan}, {"max_gap_s": math.inf},
        {"velocity_s": -0.1}, {"max_jump": 0.0}, {"same_hand": -1.0}, {"vote_interval_s": 0.0},
        {"side_weight": -0.1}, {"switch_cost": math.nan}, {"vote_limit": 0.5}, {"vote_limit": 1.0},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(mistake: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(mistake))):
        TrackerConfig(**mistake)  # pyright: ignore


# -------------------------------------------------------------------------------------------- clips


@pytest.fixture(scope="module")
def pipe() -> Pipeline:
    return idhand.load()


def demo_photo(index: int) -> np.ndarray:
    demo = Path(str(files("idhand.assets"))) / "data" / "demo"
    return idhand.read_image(demo / f"photo_{index:02d}.jpg")[0]


def test_a_small_noisy_right_hand_is_one_hand(pipe: Pipeline):
    """Its side flickers from frame to frame."""
    rng, tracker, found, rgbs = np.random.default_rng(0), Tracker(pipe, max_hands=1), [], []
    photo = cv2.resize(demo_photo(14), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    photo = cv2.resize(cv2.GaussianBlur(photo, (0, 0), 0.8), (640, 480))
    for k in range(10):
        M = cv2.getRotationMatrix2D((320, 240), 8 * np.sin(k / 4), 1)
        rgb = cv2.warpAffine(photo, M, (640, 480), borderMode=cv2.BORDER_REPLICATE)
        rgb = (rgb * 0.5 + rng.normal(0, 22, rgb.shape)).clip(0, 255).astype(np.uint8)
        rgbs.append(rgb)
        found.append(tracker.find(rgb, k / 10))
    sides = {hands[0].detection.right_probability > 0.5 for hands in found}
    assert sides == {True, False}, "single frames are mistaken"
    fitted = [tracker.fit(rgbs[k], found[k])[0] for k in (2, 3)]
    assert {one.name for one in fitted} == {"hand_0_right"}
    assert {number for hands in found for number in [hand.track for hand in hands]} == {0}


def test_two_hands_of_a_clip(pipe: Pipeline):
    """A second hand slides in beside the first, at 5 frames a second; twice the same."""
    photo = cv2.resize(demo_photo(0), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    other = photo[:, ::-1]
    height, width = photo.shape[:2]
    results = []
    for _ in range(2):
        tracker = Tracker(pipe)
        frames = []
        for k in range(7):
            rgb = np.full((height, 2 * width, 3), 150, np.uint8)
            rgb[:, :width] = photo
            if k >= 2:
                first = 2 * width - width * min(k - 1, 2) // 2
                rgb[:, first:] = other[:, : 2 * width - first]
            frames.append(tracker.step(rgb, k / 5))
        results.append(frames)
    names = [sorted(one.name for one in frame) for frame in results[0]]
    sides = {"hand_0_right", "hand_1_left"}
    assert len(names[0]) == 1
    assert len(names[-1]) == 2
    assert set(names[-1]) in (sides, {"hand_0_left", "hand_1_right"})
    assert {name for frame in names for name in frame} == set(names[-1])
    for a, b in zip(*results, strict=True):
        for one, again in zip(a, b, strict=True):
            np.testing.assert_array_equal(one.hand.keypoints_cam, again.hand.keypoints_cam)


def test_pipe_takes_sides_and_boxes(pipe: Pipeline):
    rgb = demo_photo(0)
    (hand,) = pipe(rgb)
    other = "left" if hand.is_right else "right"
    (told,) = pipe(rgb, sides=other)
    assert told.is_right != hand.is_right
    (boxed,) = pipe(rgb, boxes_px=[hand.bbox_px])
    size_px = np.ptp(hand.keypoints_px, axis=0).max()
    assert boxed.is_right == hand.is_right
    assert np.abs(boxed.keypoints_px - hand.keypoints_px).max() < 0.1 * size_px
    assert [h.is_right for h in pipe(rgb, boxes_px=[hand.bbox_px], sides=[other])] == [
        not hand.is_right
    ]
    assert pipe(rgb, boxes_px=[]) == []
    again = pipe.estimate(rgb, [hand.detection])
    np.testing.assert_array_equal(again[0].keypoints_cam, hand.keypoints_cam)
    with pytest.raises(ValueError, match="previous and boxes_px are both given"):
        pipe(rgb, previous=[hand], boxes_px=[hand.bbox_px])
    with pytest.raises(ValueError, match="a list of sides needs boxes_px or previous"):
        pipe(rgb, sides=["left"])
