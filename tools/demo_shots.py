"""What the pictures of `python tools/build_demo.py` show: tables of poses, views and places."""

import math
from dataclasses import dataclass, field

from idhand.synth.people.body import rotation_about


@dataclass(frozen=True, kw_only=True)
class View:
    """Where the hand is and how it is turned. Zero: palm to the camera, fingers up. Degrees."""

    yaw: float = 0.0
    """About the vertical axis; 180 shows the back of the hand."""
    pitch: float = 0.0
    """About the horizontal axis; positive tips the fingers towards the camera."""
    roll: float = 0.0
    """In the picture, clockwise."""
    turn: float = 0.0
    """In the plane of the palm, before all others."""
    distance_m: float = 0.45
    at: tuple[float, float] = (0.5, 0.5)
    """Where the middle of the hand lies in the picture, as fractions of width and height."""

    def rotation(self):
        """Rotation of the wrist in the camera frame."""
        angles = (self.yaw, self.pitch, self.roll, self.turn)
        yaw, pitch, roll, turn = (math.radians(a) for a in angles)
        return (
            rotation_about((0.0, 0.0, 1.0), roll)
            @ rotation_about((1.0, 0.0, 0.0), pitch)
            @ rotation_about((0.0, 1.0, 0.0), yaw)
            @ rotation_about((0.0, 0.0, 1.0), turn)
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """The surroundings of one picture."""

    hdri: str
    heading: float = 0.0
    """Degrees to the right from the middle of the panorama."""
    tilt: float = 0.0
    """Camera above (positive: looks down) the horizon, degrees."""
    blur_px: float = 7.0
    exposure: float = 0.0
    """In stops, against the automatic exposure on the hand."""
    table: str | None = None
    """`wood`, `gingham` or `plain` under the hand, or nothing."""
    table_colour: tuple[float, float, float] = (0.5, 0.33, 0.2)
    table_gap_m: float = 0.004
    sleeve: str | None = None
    """`knit`, `shirt` or a bare forearm."""
    sleeve_colour: tuple[float, float, float] = (0.05, 0.07, 0.12)
    sleeve_start_m: float = 0.02
    wrist_bend: tuple[float, float] = (0.0, 0.0)
    """Degrees of flexion and deviation of the forearm against the hand."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture: pose, view and place."""

    name: str
    pose: str | tuple[float, ...]
    """One of `POSES`, or all angles of the model's pose space in degrees."""
    view: View = field(default_factory=View)
    place: Place


FINGERS = ("index", "middle", "ring", "little")

# Degrees in the order of the model's pose space, zero is the rest pose. Thumb: CMC flexion,
# abduction, twist, MCP flexion, abduction, IP flexion; each finger: MCP flexion, abduction (towards
# the thumb), twist, PIP flexion, DIP flexion. Touching fingertips were brought together by least
# squares on the skin, with capsules against penetration, for the person of `invented_betas`.
POSES = {
    "open": (
        (-5, 0, 0, 0, 0, 0),
        (4, 5, 0, 8, 4.8),
        (2, 1, 0, 6, 3.6),
        (3, -3, 0, 7, 4.2),
        (4, -8, 0, 9, 5.4),
    ),
    "flat": (
        (2, -22, 0, 4, 0, 4),
        (2, 6, 0, 5, 3),
        (1, 1, 0, 4, 2.4),
        (1, -3, 0, 5, 3),
        (1, -9, 0, 6, 3.6),
    ),
    "fist": (
        (-2.7, 48.9, -30.4, 62.9, 0, 56.1),
        (82, 0, 0, 104, 62.4),
        (84, 0, 0, 104, 62.4),
        (84, 0, 0, 104, 62.4),
        (80, 0, 0, 100, 60),
    ),
    "point": (
        (8.2, 18.8, -24.7, 48.1, 18.4, 42.1),
        (4, 0, 0, 6, 4),
        (72, 0, 0, 98, 58.8),
        (80, 0, 0, 102, 61.2),
        (78, 0, 0, 96, 57.6),
    ),
    "pinch": (
        (21.1, 25.8, -0.7, 9.1, -5.9, -16.3),
        (56.8, -15.9, 17.2, 43.5, 16.3),
        (38, 0, 0, 42, 25.2),
        (32, -1, 0, 38, 22.8),
        (28, -4, 0, 34, 20.4),
    ),
    "ok": (
        (22.9, 24.2, 2.6, 7.4, -8.1, -15.5),
        (52.7, -16.2, 17.2, 47.6, 19.1),
        (16, 2, 0, 18, 10.8),
        (8, -4, 0, 12, 7.2),
        (4, -12, 0, 8, 4.8),
    ),
    "thumbs up": (
        (-18, -22, 0, -8, 0, -12),
        (76, 0, 0, 100, 60),
        (80, 0, 0, 103, 61.8),
        (80, 0, 0, 103, 61.8),
        (76, 0, 0, 98, 58.8),
    ),
    "victory": (
        (28.9, 28.2, -17.1, 38, 2.9, 39.3),
        (2, 12, 0, 5, 3),
        (4, -10, 0, 6, 4),
        (71, 7, 0, 87, 55.2),
        (62, 0, 0, 88, 52.8),
    ),
    "relaxed": (
        (8, 5, 0, 12, 0, 18),
        (18, 2, 0, 28, 16.8),
        (24, 0, 0, 34, 20.4),
        (28, -2, 0, 36, 21.6),
        (30, -5, 0, 34, 20.4),
    ),
    "resting": (
        (6, -6, 0, 8, 0, 12),
        (7, 5, 0, 15, 9),
        (9, 1, 0, 18, 10),
        (11, -3, 0, 19, 11),
        (12, -8, 0, 20, 12),
    ),
    "half closed": (
        (7.3, 22.1, 5.9, 18.1, -3.4, 24.8),
        (42, 1, 0, 58, 34.8),
        (48, 0, 0, 66, 39.6),
        (52, -1, 0, 68, 40.8),
        (54, -3, 0, 64, 38.4),
    ),
    "holding": (
        (6.9, 36.5, 9.1, 13.1, -1, 20.3),
        (36, 2, 0, 44, 26.4),
        (40, 0, 0, 46, 27.6),
        (42, -2, 0, 46, 27.6),
        (44, -4, 0, 44, 26.4),
    ),
    "spread": (
        (-22, -4, 0, -5, 0, -8),
        (-4, 16, 0, 3, 1.8),
        (-2, 3, 0, 3, 1.8),
        (-2, -9, 0, 3, 1.8),
        (-4, -20, 0, 4, 2.4),
    ),
    "together": (
        (24, -18, 0, 15, 0, 8),
        (3, -3, 0, 5, 3),
        (4, -1, 0, 6, 3.6),
        (4, 3, 0, 6, 3.6),
        (4, 7, 0, 7, 4.2),
    ),
    "three": (
        (41.5, 34.5, -7.4, 42.9, 2.9, 35.3),
        (0, 10, 0, 4, 2),
        (-2, 0, 0, 4, 3),
        (3, -9, 0, 6, 4),
        (73, 4.6, 4.7, 85.3, 55.2),
    ),
    "call": (
        (-20, -10, 0, -5, 0, -8),
        (70, 0, 0, 98, 58.8),
        (76, 0, 0, 102, 61.2),
        (74, 0, 0, 100, 60),
        (2, -14, 0, 5, 3),
    ),
}


SHOTS = (
    Shot(
        name="open palm",
        pose="open",
        view=View(yaw=-8, pitch=6, roll=4, distance_m=0.38, at=(0.47, 0.45)),
        place=Place(
            hdri="apartment", heading=-135, exposure=0.3, sleeve="knit", sleeve_start_m=0.03
        ),
    ),
    Shot(
        name="back of the hand",
        pose="spread",
        view=View(yaw=172, pitch=-8, roll=-6, distance_m=0.42, at=(0.52, 0.45)),
        place=Place(hdri="park", heading=-100),
    ),
    Shot(
        name="fist",
        pose="fist",
        view=View(yaw=24, pitch=6, roll=12, distance_m=0.34, at=(0.5, 0.42)),
        place=Place(hdri="lobby", heading=20, sleeve="shirt", sleeve_colour=(0.7, 0.72, 0.75)),
    ),
    Shot(
        name="pointing",
        pose="point",
        view=View(yaw=150, pitch=-12, roll=-48, distance_m=0.36, at=(0.48, 0.47)),
        place=Place(hdri="esplanade", heading=10, sleeve="shirt", sleeve_colour=(0.2, 0.32, 0.5)),
    ),
    Shot(
        name="pinch",
        pose="pinch",
        view=View(yaw=-62, pitch=5, roll=22, distance_m=0.32, at=(0.54, 0.42)),
        place=Place(hdri="venice", heading=160),
    ),
    Shot(
        name="relaxed",
        pose="relaxed",
        view=View(yaw=-32, pitch=-4, roll=-16, distance_m=0.46, at=(0.5, 0.44)),
        place=Place(hdri="city", heading=60, sleeve="knit", sleeve_colour=(0.35, 0.33, 0.3)),
    ),
    Shot(
        name="thumbs up",
        pose="thumbs up",
        view=View(yaw=-18, pitch=6, roll=-86, distance_m=0.38, at=(0.45, 0.48)),
        place=Place(hdri="sunset", heading=-120, sleeve="knit", sleeve_colour=(0.35, 0.04, 0.04)),
    ),
    Shot(
        name="victory",
        pose="victory",
        view=View(yaw=12, pitch=4, roll=8, distance_m=0.40, at=(0.5, 0.45)),
        place=Place(hdri="forest", heading=120),
    ),
    Shot(
        name="ok",
        pose="ok",
        view=View(yaw=-38, pitch=4, roll=6, distance_m=0.38, at=(0.48, 0.45)),
        place=Place(hdri="workshop", heading=100, sleeve="shirt", sleeve_colour=(0.08, 0.1, 0.09)),
    ),
    Shot(
        name="resting on wood",
        pose="resting",
        view=View(yaw=180, pitch=-19, turn=-14, distance_m=0.42, at=(0.5, 0.43)),
        place=Place(
            hdri="apartment",
            heading=60,
            tilt=62,
            table="wood",
            table_colour=(0.24, 0.13, 0.07),
            sleeve="shirt",
            sleeve_colour=(0.55, 0.58, 0.62),
            sleeve_start_m=0.04,
            wrist_bend=(10, 0),
        ),
    ),
    Shot(
        name="half closed",
        pose="half closed",
        view=View(yaw=-75, pitch=-5, roll=-20, distance_m=0.34, at=(0.5, 0.43)),
        place=Place(hdri="hall", heading=150, sleeve="knit", sleeve_colour=(0.05, 0.12, 0.08)),
    ),
    Shot(
        name="as if holding a cup",
        pose="holding",
        view=View(yaw=-50, pitch=10, roll=40, distance_m=0.34, at=(0.52, 0.42)),
        place=Place(hdri="warehouse", heading=-30),
    ),
    Shot(
        name="tilted palm",
        pose="together",
        view=View(yaw=20, pitch=38, roll=-10, distance_m=0.36, at=(0.5, 0.43)),
        place=Place(hdri="bridge", heading=90, sleeve="shirt", sleeve_colour=(0.6, 0.5, 0.42)),
    ),
    Shot(
        name="flat on a table cloth",
        pose="flat",
        view=View(yaw=180, pitch=-22, turn=14, distance_m=0.44, at=(0.48, 0.43)),
        place=Place(
            hdri="lab",
            tilt=68,
            table="gingham",
            table_colour=(0.45, 0.03, 0.04),
            sleeve="knit",
            sleeve_colour=(0.09, 0.1, 0.2),
            sleeve_start_m=0.05,
        ),
    ),
    Shot(
        name="three",
        pose="three",
        view=View(yaw=-14, pitch=2, roll=-4, distance_m=0.56, at=(0.5, 0.43)),
        place=Place(hdri="sunrise", heading=-130, sleeve="shirt", sleeve_colour=(0.45, 0.4, 0.2)),
    ),
    Shot(
        name="call me",
        pose="call",
        view=View(yaw=165, pitch=-10, roll=28, distance_m=0.40, at=(0.5, 0.45)),
        place=Place(hdri="dawn", heading=-150),
    ),
)
