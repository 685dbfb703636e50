"""A library of hand poses in joint angles: everyday gestures, signs, grasps. A table, no code.

Signs are letters and digits after American Sign Language, as far as one still hand can show them;
grasps after Feix et al., "The GRASP taxonomy of human grasp types", 2016. Touching parts were
brought together, and parted where they met too deeply, on the mean hand by `HandCapsules.settled`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

GestureKind = Literal["gesture", "sign", "grasp"]

Angles = tuple[int | float, ...]


@dataclass(frozen=True, kw_only=True)
class Gesture:
    """A named pose."""

    kind: GestureKind
    degrees: tuple[Angles, Angles, Angles, Angles, Angles]
    """In the order of the open hand's pose space, zero is its rest pose. Thumb: CMC flexion,
    abduction, twist, MCP flexion, abduction, IP flexion; each finger: MCP flexion, abduction
    (towards the thumb), twist, PIP flexion, DIP flexion."""
    touches: tuple[tuple[str, str], ...] = ()
    """Parts that touch, by the names of `capsules`: the joint that a bone begins at, so that
    `thumb_ip` is the thumb's last bone."""


# fmt: off
GESTURES: Mapping[str, Gesture] = MappingProxyType({
    # gestures
    "open": Gesture(kind="gesture", degrees=(
        (-5, 0, 0, 0, 0, 0), (4, 5, 0, 8, 4.8), (2, 1, 0, 6, 3.6), (3, -3, 0, 7, 4.2),
        (4, -8, 0, 9, 5.4))),
    "flat": Gesture(kind="gesture", degrees=(
        (2, -22, 0, 4, 0, 4), (2, 6, 0, 5, 3), (1, 1, 0, 4, 2.4), (1, -3, 0, 5, 3),
        (1, -9, 0, 6, 3.6))),
    "fist": Gesture(kind="gesture", touches=(("thumb_ip", "middle_pip"),), degrees=(
        (-0.3, 50, -30.6, 64.4, 0, 57.4), (74.8, -0.4, 0.2, 98.1, 61.6),
        (73.2, 0.7, -0.2, 99.6, 63.1), (80.1, 0, 0, 99.1, 62), (80, 0, 0, 99.9, 60))),
    "point": Gesture(kind="gesture", touches=(("thumb_ip", "middle_pip"),), degrees=(
        (9.1, 18.3, -24.9, 48.9, 18.4, 42.7), (4, 0, 0, 6, 4), (71.7, 0, 0, 97.2, 58.8),
        (79, 0, 0, 100.6, 61.1), (78, 0, 0, 96, 57.6))),
    "ok": Gesture(kind="gesture", touches=(("thumb_ip", "index_dip"),), degrees=(
        (23.7, 24.2, 2.5, 7.9, -8.1, -15.1), (54, -16.2, 17.1, 48.8, 19.3), (16, 2, 0, 18, 10.8),
        (8, -4, 0, 12, 7.2), (4, -12, 0, 8, 4.8))),
    "thumbs up": Gesture(kind="gesture", degrees=(
        (-18, -22.1, -0.1, -8, 0, -12), (76, 0, 0, 100, 60), (73.8, 0.3, -0.1, 101, 62.1),
        (78.5, 0, 0, 101, 61.6), (76, 0, 0, 98, 58.8))),
    "victory": Gesture(kind="gesture", touches=(("thumb_ip", "ring_pip"),), degrees=(
        (29.2, 28.2, -17.1, 38.2, 2.9, 39.4), (2, 12, 0, 5, 3), (4, -10, 0, 6, 4),
        (70.8, 7, 0, 86.8, 55.2), (62, 0, 0, 88, 52.8))),
    "relaxed": Gesture(kind="gesture", degrees=(
        (8, 5, 0, 12, 0, 18), (18, 2, 0, 28, 16.8), (24, 0, 0, 34, 20.4), (28, -2, 0, 36, 21.6),
        (30, -5, 0, 34, 20.4))),
    "resting": Gesture(kind="gesture", degrees=(
        (6, -6, 0, 8, 0, 12), (7, 5, 0, 15, 9), (9, 1, 0, 18, 10), (11, -3, 0, 19, 11),
        (12, -8, 0, 20, 12))),
    "half closed": Gesture(kind="gesture", degrees=(
        (7.3, 22.1, 5.9, 18.1, -3.4, 24.8), (42, 1, 0, 58, 34.8), (48, 0, 0, 66, 39.6),
        (52, -1, 0, 68, 40.8), (54, -3, 0, 64, 38.4))),
    "spread": Gesture(kind="gesture", degrees=(
        (-22, -4, 0, -5, 0, -8), (-4, 16, 0, 3, 1.8), (-2, 3, 0, 3, 1.8), (-2, -9, 0, 3, 1.8),
        (-4, -20, 0, 4, 2.4))),
    "together": Gesture(kind="gesture", degrees=(
        (23.9, -17.9, 0, 15, 0, 8), (2.9, -3, 0, 5, 3), (4, -1, 0, 6, 3.6), (4, 3, 0, 6, 3.6),
        (4, 7, 0, 7, 4.2))),
    "three": Gesture(kind="gesture", touches=(("thumb_ip", "little_pip"),), degrees=(
        (41.9, 34.5, -7.5, 43.2, 2.9, 35.5), (0, 10, 0, 4, 2), (-2, 0, 0, 4, 3), (3, -9, 0, 6, 4),
        (72.7, 4.6, 4.7, 85, 55.2))),
    "call": Gesture(kind="gesture", degrees=(
        (-20, -10, 0, -5, 0, -8), (70, 0, 0, 98, 58.8), (73.2, 0.1, 0, 101.1, 61.3),
        (74, 0, 0, 100, 60), (2, -14, 0, 5, 3))),
    "beckon": Gesture(kind="gesture", degrees=(
        (9.5, 10.4, 0.1, 29.8, 0, 29.9), (28.5, 0, 0, 74.3, 39.9), (66, 0, 0, 92, 55.2),
        (74, 0, 0, 96, 57.6), (72, 0, 0, 92, 55.2))),
    "claw": Gesture(kind="gesture", degrees=(
        (-8, 22, 0, 20, 0, 40), (-8, 6, 0, 68, 42), (-10, 1, 0, 70, 44), (-8, -5, 0, 70, 44),
        (-6, -13, 0, 66, 42))),
    "horns": Gesture(kind="gesture", touches=(("thumb_ip", "middle_pip"),), degrees=(
        (18.8, 35.3, -19.9, 44.9, 3, 42), (3, 6, 0, 6, 3.6), (76, 0.4, -0.2, 99.9, 61.1),
        (80, 0, 0, 99.4, 60.9), (3, -12, 0, 8, 4.8))),
    "love": Gesture(kind="gesture", degrees=(
        (-22.1, -8, 0, -5, 0, -8), (3, 6, 0, 6, 3.6), (73.3, 0.5, -0.2, 101, 62),
        (80, 0, 0, 99.4, 60.9), (3, -12, 0, 8, 4.8))),
    "gun": Gesture(kind="gesture", degrees=(
        (-20, -12, 0, -6, 0, -6), (3, 0, 0, 5, 3), (4, 0, 0, 6, 3.6), (80, 0, 0, 99.4, 60.9),
        (78, 0, 0, 98, 58.8))),
    "crossed fingers": Gesture(kind="gesture", touches=(("thumb_ip", "ring_pip"),), degrees=(
        (31.3, 27.7, -17.6, 39.9, 2.9, 40.6), (14.9, -13.9, 0, 18, 8), (-0.5, 14, 0, 8, 4),
        (75.3, 4, 0, 95, 57.6), (70, 4, 0, 92, 55.2))),
    "vulcan": Gesture(kind="gesture", degrees=(
        (-12, -6, 0, -2, 0, -4), (2, 6, 0, 5, 3), (2, 8, 0, 4, 2.4), (2, -10, 0, 5, 3),
        (3, -8, 0, 6, 3.6))),
    "purse": Gesture(kind="gesture",
        touches=(("thumb_ip", "index_dip"), ("thumb_ip", "middle_dip"), ("thumb_ip", "ring_dip")),
        degrees=(
        (29.9, 31.7, 1.8, 21.3, -0.3, 15.5), (72.6, -8.2, -1.1, 38.4, 15.4),
        (66.6, 0.1, 0.1, 35.1, 14.9), (71.6, 8.3, 1.8, 31.6, 14.4), (56, 14, 0, 28, 12))),
    "snap": Gesture(kind="gesture", touches=(("thumb_ip", "middle_dip"),), degrees=(
        (19.6, 34.4, 1, 22.5, -0.2, 25.8), (40, 2, 0, 44, 26.4), (65, 0, 0.2, 49.4, 28),
        (78, 0, 0, 100, 60), (76, 0, 0, 96, 57.6))),
    "tap": Gesture(kind="gesture", degrees=(
        (8, 10, 0, 14, 0, 18), (28, 2, 0, 30, 18), (30, 0, 0, 44, 26.4), (34, -2, 0, 46, 27.6),
        (34, -4, 0, 42, 25.2))),
    "keyboard": Gesture(kind="gesture", degrees=(
        (0, 14, 0, 10, 0, 20), (14, 4, 0, 48, 28.8), (14, 0, 0, 50, 30), (14, -4, 0, 48, 28.8),
        (14, -10, 0, 44, 26.4))),
    "swipe": Gesture(kind="gesture", degrees=(
        (12, 16, 0, 22, 0, 22), (16, 0, 0, 22, 13.2), (24, 0, 0, 30, 18), (54, 0, 0, 66, 39.6),
        (56, -2, 0, 66, 39.6))),
    "knock": Gesture(kind="gesture", touches=(("thumb_ip", "index_pip"),), degrees=(
        (6.7, -6.2, -0.5, 25.1, -0.1, 33), (49.1, -0.2, -0.3, 98.3, 59.8), (50, 0, 0, 102, 61.2),
        (54, 0, 0, 102, 61.2), (54, 0, 0, 98, 58.8))),
    "lazy point": Gesture(kind="gesture", degrees=(
        (10, 18, -10, 30, 0, 30), (12, 2, 0, 24, 14.4), (50, 0, 0, 66, 39.6), (56, 0, 0, 70, 42),
        (54, 0, 0, 66, 39.6))),
    "finger heart": Gesture(kind="gesture", touches=(("thumb_ip", "index_pip"),), degrees=(
        (10.5, 17.7, -1.1, 14, -0.3, 36.7), (66.1, -5.8, 0.3, 63.8, 40.1),
        (72.6, 0.7, -0.3, 100.2, 61.9), (80, 0, 0, 99.4, 60.9), (78, 0, 0, 98, 58.8))),
    "stop": Gesture(kind="gesture", degrees=(
        (14, -20, 0, 6, 0, 4), (-6, -2, 0, 3, 1.8), (-8, -1, 0, 3, 1.8), (-7, 2, 0, 3, 1.8),
        (-6, 6, 0, 4, 2.4))),
    "limp": Gesture(kind="gesture", degrees=(
        (10, 8, 0, 14, 0, 22), (34, 2, 0, 18, 10.8), (38, 0, 0, 22, 13.2), (42, -2, 0, 26, 15.6),
        (44, -5, 0, 28, 16.8))),
    "fan": Gesture(kind="gesture", degrees=(
        (-8, 0, 0, 0, 0, -2), (6, 10, 0, 12, 7.2), (22, 3, 0, 30, 18), (40, -4, 0, 48, 28.8),
        (56, -8, 0, 62, 37.2))),
    # signs
    "a": Gesture(kind="sign", touches=(("thumb_ip", "index_mcp"),), degrees=(
        (10.8, -13.7, 0.5, 15.8, 0, 7.5), (71.1, 0.7, 0.2, 90.1, 58.7),
        (75.3, 0.3, -0.1, 98.1, 61.2), (80, 0, 0, 99.4, 60.9), (78, 0, 0, 98, 58.8))),
    "b": Gesture(kind="sign", touches=(("thumb_ip", "middle_palm"),), degrees=(
        (43.2, 18.8, -23.7, 58.8, 1.1, 41.1), (3, -3, 0, 5, 3), (3, -1, 0, 5, 3), (3, 3, 0, 5, 3),
        (4, 7, 0, 6, 3.6))),
    "c": Gesture(kind="sign", degrees=(
        (4, 34, 8, 16, 0, 18), (34, 0, 0, 46, 27.6), (36, 0, 0, 48, 28.8), (38, 2, 0, 48, 28.8),
        (38, 5, 0, 46, 27.6))),
    "d": Gesture(kind="sign", touches=(("thumb_ip", "middle_dip"),), degrees=(
        (20.6, 39.7, -0.2, 22.4, 0, 20.1), (3, 0, 0, 6, 3.6), (63.1, 0, 0, 65.7, 39.5),
        (66, 2, 0, 72, 43.2), (64, 4, 0, 72, 43.2))),
    "e": Gesture(kind="sign", touches=(("thumb_ip", "middle_dip"),), degrees=(
        (32.4, 27.7, -11.3, 48.7, 2.8, 40.5), (44, -2, 0, 112, 58), (44.7, 0.1, -0.2, 104.2, 56.2),
        (44, 2, 0, 114, 58), (44, 5, 0, 108, 56))),
    "f": Gesture(kind="sign", touches=(("thumb_ip", "index_dip"),), degrees=(
        (23.7, 24.2, 2.5, 7.9, -8.1, -15.1), (54, -16.2, 17.1, 48.8, 19.3), (2, 5, 0, 5, 3),
        (2, -4, 0, 6, 3.6), (2, -14, 0, 8, 4.8))),
    "i": Gesture(kind="sign", touches=(("thumb_ip", "middle_pip"),), degrees=(
        (-1.7, 49.3, -30.7, 64.4, 0, 57.2), (74.2, -0.2, 0.1, 98.6, 60.3),
        (74.9, 0.4, -0.2, 97.2, 61.3), (80, 0, 0, 99.4, 60.9), (3, -10, 0, 6, 3.6))),
    "k": Gesture(kind="sign", touches=(("thumb_ip", "middle_mcp"),), degrees=(
        (34.7, 2.7, -7.7, 18.7, -1.1, 11.5), (4, 8, 0, 6, 3.6), (60.5, -3.2, 0.4, 9.3, 6),
        (79.9, 0, 0, 99.8, 60), (76, 0, 0, 96, 57.6))),
    "l": Gesture(kind="sign", degrees=(
        (-26.1, -14, 0, -6, 0, -8), (3, 2, 0, 5, 3), (73.3, 0.4, -0.2, 101.1, 62),
        (80, 0, 0, 99.4, 60.9), (78, 0, 0, 98, 58.8))),
    "m": Gesture(kind="sign", degrees=(
        (47.2, 20.8, -7.5, 41.7, 0.1, 30.7), (72, 0, 0, 50, 30), (74, 0, 0, 50, 30),
        (67, 0.1, 0.2, 50.2, 31.2), (79, 0, 0, 98, 58.8))),
    "n": Gesture(kind="sign", degrees=(
        (39, 22.4, -8, 37.3, 0, 29.6), (74, 0, 0, 52, 31.2), (72, 0, 0.2, 50.7, 32.3),
        (79.7, 0, 0, 99.8, 60.9), (78, 0, 0, 98, 58.8))),
    "o": Gesture(kind="sign",
        touches=(("thumb_ip", "index_dip"), ("thumb_ip", "middle_dip")),
        degrees=(
        (20.8, 33.6, 4, 20.3, -0.4, 20.4), (58.3, -4, 0, 55.5, 30.4), (64.6, 0, 0.4, 58.5, 30.5),
        (54, 4, 0, 54, 30), (54, 9, 0, 50, 28))),
    "t": Gesture(kind="sign", touches=(("thumb_ip", "index_pip"),), degrees=(
        (7.3, 6.8, -4.2, 16, 0, 13.8), (62.3, 4.1, -0.3, 87.2, 54.5), (75.8, 0.1, 0, 98.1, 59.9),
        (80, 0, 0, 99.4, 60.9), (78, 0, 0, 98, 58.8))),
    "u": Gesture(kind="sign",
        touches=(("thumb_ip", "ring_pip"), ("index_pip", "middle_pip")),
        degrees=(
        (31.1, 27.8, -17.5, 39.7, 2.9, 40.4), (-0.2, -4.8, 0, 4.2, 3), (6, 4.7, 0.1, 5.4, 3),
        (75.1, 4, 0, 93, 56.4), (72, 4, 0, 92, 55.2))),
    "v": Gesture(kind="sign", touches=(("thumb_ip", "ring_pip"),), degrees=(
        (31.1, 27.8, -17.5, 39.7, 2.9, 40.4), (2, 14, 0, 5, 3), (2, -11, 0, 5, 3),
        (75.1, 4, 0, 93, 56.4), (70, 2, 0, 90, 54))),
    "w": Gesture(kind="sign", touches=(("thumb_ip", "little_pip"),), degrees=(
        (42.1, 34.5, -7.5, 43.4, 2.9, 35.6), (2, 12, 0, 5, 3), (1, 1, 0, 5, 3), (2, -10, 0, 6, 3.6),
        (73.6, 4, 5, 85.6, 55))),
    "x": Gesture(kind="sign", touches=(("thumb_ip", "middle_pip"),), degrees=(
        (-2.4, 47.9, -30.9, 64.3, 0, 57.1), (12, 0, 0, 80, 52), (75, 0.4, -0.2, 97.4, 61.3),
        (80, 0, 0, 99.4, 60.9), (78, 0, 0, 98, 58.8))),
    "four": Gesture(kind="sign", touches=(("thumb_ip", "middle_palm"),), degrees=(
        (43.2, 18.8, -23.7, 58.8, 1.1, 41.1), (2, 9, 0, 5, 3), (1, 2, 0, 5, 3), (2, -5, 0, 6, 3.6),
        (2, -15, 0, 7, 4.2))),
    "seven": Gesture(kind="sign", touches=(("thumb_ip", "ring_dip"),), degrees=(
        (37.4, 36.8, 1.5, 18, 0, 16.8), (2, 9, 0, 6, 3.6), (2, 0, 0, 6, 3.6),
        (64.7, -2.1, 0.2, 53.4, 29.8), (6, -14, 0, 8, 4.8))),
    "eight": Gesture(kind="sign", touches=(("thumb_ip", "middle_dip"),), degrees=(
        (24.9, 34.9, 1.2, 15.9, -0.1, 11.2), (2, 8, 0, 6, 3.6), (65.4, 0, 0.2, 51.1, 26.4),
        (6, -6, 0, 8, 4.8), (3, -14, 0, 8, 4.8))),
    "six": Gesture(kind="sign", touches=(("thumb_ip", "little_dip"),), degrees=(
        (52.2, 35.2, 1.6, 22.4, 0, 23.2), (2, 8, 0, 6, 3.6), (2, 1, 0, 6, 3.6), (3, -6, 0, 8, 4.8),
        (67.3, 5.9, 0.2, 55.3, 33.7))),
    "thumb index middle": Gesture(kind="sign", degrees=(
        (-22, -10, 0, -5, 0, -8), (2, 10, 0, 5, 3), (2, -6, 0, 5, 3), (78, 0, 0, 98, 58.8),
        (72, 0, 0, 94, 56.4))),
    "bent v": Gesture(kind="sign", touches=(("thumb_ip", "ring_pip"),), degrees=(
        (31.7, 27.4, -17.8, 40.3, 2.9, 41.1), (8, 12, 0, 72, 46), (8, -8, 0, 74, 46),
        (77.9, 2, 0, 97.5, 58.8), (72, 2, 0, 94, 56.4))),
    "flat o": Gesture(kind="sign",
        touches=(("thumb_ip", "index_dip"), ("thumb_ip", "middle_dip")),
        degrees=(
        (26.9, 30.6, 2.1, 15.3, -0.4, 7.3), (74.5, -6, 0.1, 16.5, 6.6), (82, 0.2, 0.5, 19.6, 6.6),
        (68, 5, 0, 12, 6), (66, 10, 0, 12, 6))),
    # grasps
    "pinch": Gesture(kind="grasp", touches=(("thumb_ip", "index_dip"),), degrees=(
        (21.9, 25.7, -0.8, 9.6, -5.9, -15.9), (58.2, -15.9, 17.1, 44.7, 16.5), (38, 0, 0, 42, 25.2),
        (32, -1, 0, 38, 22.8), (28, -4, 0, 34, 20.4))),
    "holding": Gesture(kind="grasp", degrees=(
        (6.9, 36.5, 9.1, 13.1, -1, 20.3), (36, 2, 0, 44, 26.4), (40, 0, 0, 46, 27.6),
        (42, -2, 0, 46, 27.6), (44, -4, 0, 44, 26.4))),
    "cylinder small": Gesture(kind="grasp", degrees=(
        (10, 44, -12, 36, 0, 36), (62, 0, 0, 72, 43.2), (66, 0, 0, 76, 45.6), (68, 0, 0, 76, 45.6),
        (68, -1, 0, 72, 43.2))),
    "cylinder large": Gesture(kind="grasp", degrees=(
        (-2, 42, 8, 14, 0, 20), (28, 4, 0, 40, 24), (30, 0, 0, 42, 25.2), (32, -3, 0, 42, 25.2),
        (32, -8, 0, 40, 24))),
    "sphere small": Gesture(kind="grasp", degrees=(
        (8, 40, 6, 18, 0, 26), (40, 6, 0, 46, 27.6), (42, 0, 0, 48, 28.8), (42, -5, 0, 48, 28.8),
        (42, -12, 0, 46, 27.6))),
    "sphere large": Gesture(kind="grasp", degrees=(
        (-14, 34, 8, 8, 0, 16), (18, 13, 0, 30, 18), (18, 2, 0, 32, 19.2), (18, -9, 0, 32, 19.2),
        (18, -20, 0, 30, 18))),
    "key": Gesture(kind="grasp", touches=(("thumb_ip", "index_pip"),), degrees=(
        (9.9, 2, 0, 17.9, 0, 24), (58, 2, 0, 62, 30), (64, 0, 0, 76, 45.6), (66, 0, 0, 80, 48),
        (64, 0, 0, 78, 46.8))),
    "tripod": Gesture(kind="grasp",
        touches=(("thumb_ip", "index_dip"), ("thumb_ip", "middle_dip")),
        degrees=(
        (23.2, 30.7, 0.4, 16.5, -0.3, 11.2), (60.2, -5.7, 0.2, 43, 14.8),
        (67.2, 3.9, 0.2, 45.4, 18.9), (50, 0, 0, 62, 37.2), (50, -2, 0, 64, 38.4))),
    "tip pinch": Gesture(kind="grasp", touches=(("thumb_ip", "index_dip"),), degrees=(
        (12.7, 30, -0.5, 20.6, -0.1, 44.5), (51, -8, 0, 62.8, 41.9), (60, 0, 0, 74, 44.4),
        (64, 0, 0, 78, 46.8), (62, 0, 0, 74, 44.4))),
    "hook": Gesture(kind="grasp", degrees=(
        (0, -4, 0, 6, 0, 8), (16, 0, 0, 84, 56), (16, 0, 0, 88, 58), (18, 0, 0, 88, 58),
        (20, -1, 0, 84, 56))),
    "tray": Gesture(kind="grasp", degrees=(
        (-12, -2, 0, 0, 0, 2), (10, 8, 0, 10, 6), (10, 1, 0, 10, 6), (10, -6, 0, 10, 6),
        (10, -14, 0, 12, 7.2))),
    "disk": Gesture(kind="grasp", degrees=(
        (-12, 32, 6, 10, 0, 26), (6, 14, 0, 54, 34), (6, 3, 0, 56, 34), (6, -9, 0, 56, 34),
        (6, -20, 0, 54, 34))),
    "pen": Gesture(kind="grasp", touches=(("thumb_ip", "index_dip"),), degrees=(
        (15.5, 25.9, -0.5, 18.9, -0.2, 22.5), (55.5, -3, 0.1, 47.7, 15), (54, 2, 0, 52, 24),
        (60, 0, 0, 66, 39.6), (58, -2, 0, 66, 39.6))),
    "mug": Gesture(kind="grasp", degrees=(
        (9.6, 26.3, -3.9, 21.8, 0, 20), (49.4, 2, 0, 80.5, 48.2), (54, 0, 0, 84, 50.4),
        (58, -2, 0, 82, 49.2), (52, -5, 0, 72, 43.2))),
    "phone": Gesture(kind="grasp", degrees=(
        (-8, 24, 4, 8, 0, 14), (14, 4, 0, 34, 20.4), (20, 0, 0, 40, 24), (26, -2, 0, 44, 26.4),
        (32, -6, 0, 48, 28.8))),
    "scissors": Gesture(kind="grasp", degrees=(
        (-4, 26, 0, 14, 0, 26), (24, 6, 0, 36, 21.6), (36, 0, 0, 56, 33.6), (50, -2, 0, 70, 42),
        (52, -4, 0, 70, 42))),
    "hammer": Gesture(kind="grasp", degrees=(
        (4, 10, -6, 14, 0, 10), (66, 0, 0, 78, 46.8), (68, 0, 0, 82, 49.2), (70, 0, 0, 84, 50.4),
        (70, 0, 0, 82, 49.2))),
    "knife": Gesture(kind="grasp", degrees=(
        (14, 34, -8, 28, 0, 22), (26, 0, 0, 22, 4), (64, 0, 0, 78, 46.8), (68, 0, 0, 82, 49.2),
        (68, -1, 0, 80, 48))),
    "card": Gesture(kind="grasp", degrees=(
        (16, 30, 2, 8, 0, -4), (56, -3, 0, 14, 6), (58, 0, 0, 14, 6), (60, 3, 0, 14, 6),
        (60, 7, 0, 14, 6))),
    "spray": Gesture(kind="grasp", degrees=(
        (0, 40, 2, 18, 0, 24), (16, 2, 0, 42, 30), (42, 0, 0, 56, 33.6), (46, -2, 0, 58, 34.8),
        (46, -5, 0, 56, 33.6))),
    "mouse": Gesture(kind="grasp", degrees=(
        (-6, 10, 0, 8, 0, 16), (10, 5, 0, 26, 14), (10, -1, 0, 28, 14), (14, -4, 0, 34, 20.4),
        (16, -10, 0, 38, 22.8))),
    "cigarette": Gesture(kind="grasp", touches=(("index_pip", "middle_pip"),), degrees=(
        (6, 8, 0, 14, 0, 18), (13.3, -5.2, 0, 19.7, 12), (16.8, 5.2, 0, 22.3, 13.2),
        (32, 2, 0, 40, 24), (36, 0, 0, 42, 25.2))),
    "chopsticks": Gesture(kind="grasp", touches=(("thumb_ip", "index_dip"),), degrees=(
        (16.4, 20.1, -1, 15.7, -0.3, 16.6), (55, -1.7, 0.3, 45.4, 13.7), (40, 1, 0, 38, 16),
        (46, 0, 0, 50, 30), (48, -2, 0, 52, 31.2))),
    "ball throw": Gesture(kind="grasp", degrees=(
        (-4, 36, 6, 12, 0, 22), (26, 9, 0, 42, 25.2), (26, -5, 0, 42, 25.2), (50, -4, 0, 64, 38.4),
        (56, -6, 0, 68, 40.8))),
})
# fmt: on
