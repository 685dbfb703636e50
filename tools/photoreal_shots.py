"""What each picture of the test set "photoreal" shows, before it is rendered.

Part of `python tools/build_photoreal.py`. A plan is one picture or one short sequence: poses, a
camera cut to a square round the hand, things, surroundings. Camera frame, metres; always a right
hand, left ones are mirrored at the end.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from demo_photo import Camera
from photoreal_people import Person, wrist_turn
from photoreal_places import Prop, any_colour, draw_lamp, draw_place, pixels, world_axes

from idhand.geometry import intrinsics_from_fov
from idhand.hand import PosedHand
from idhand.synth.camera.scenes import draw_wrist_bend
from idhand.synth.people.body import AnatomicalFrame
from idhand.synth.poses.sampler import PoseSampler
from idhand.synth.poses.views import View, draw_view, view_sequence
from idhand.synth.things.holding import bone_radii_m, flesh, held_object

SIZE_PX = 288
FULL_WIDTH_PX, FULL_HEIGHT_PX = 1280, 960
"""Of the photo that the square is cut from; only its field of view matters."""
CUT = (1.3, 2.1)
"""Side of the square over the hand's extent."""
LEFT_SHARE, SLEEVE_SHARE, HELD_SHARE, GRASP_SHARE = 0.4, 0.45, 0.12, 0.18
LAMP_SHARE = 0.3
LIGHTS = ("city", "courtyard", "forest", "interior", "night", "studio", "sunrise")
"""Blender's own panoramas (Poly Haven, CC0) except the one that training has, too."""
FPS = 10.0
MAX_TRIES = 200
ARM_END_M, ARM_RADIUS_M = 0.26, 0.055
"""Where a forearm is cut off behind the wrist, and its girth with a sleeve."""
NEAREST_M = 0.06
"""Nothing of hand and arm comes nearer to the camera."""
MAX_HIDDEN = 8
"""Of the 21 keypoints, behind the forearm."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A posed hand before the camera."""

    rotations: torch.Tensor
    wrist_cam: np.ndarray
    posed: PosedHand


@dataclass(frozen=True, kw_only=True)
class Frame(Placed):
    """The same with its skin."""

    skin: np.ndarray
    """Fine mesh."""
    rings: np.ndarray
    """Of the forearm."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything about one picture, or about the frames of one sequence."""

    frames: list[Frame]
    bend_deg: tuple[float, ...]
    """Flexion and deviation of the wrist."""
    camera: Camera
    is_right: bool
    kind: str
    """Of view."""
    pose: str
    axes: np.ndarray
    """Rows: the camera's axes in the panorama's world."""
    light: str
    lamp: dict | None
    table: dict | None
    props: list[Prop]
    sleeve: str | None
    sleeve_colour: tuple[float, float, float]
    sleeve_start_m: float
    aperture_m: float
    exposure: float
    noise: float
    soft_px: float
    """Deviation of the blur that a poorer camera would show."""
    quality: int
    """Of the JPEG file."""


def full_camera(fov_deg):
    """Intrinsics of the whole photo."""
    return intrinsics_from_fov(FULL_WIDTH_PX, FULL_HEIGHT_PX, fov_deg).numpy()


def placed_hand(person: Person, angles, view: View):
    """Pose a hand and put it before the full camera."""
    space = person.body.model.pose_space
    turns = space.rotations(torch.as_tensor(angles))
    rotations = torch.cat((torch.as_tensor(view.R_cam_wrist)[None], turns))
    K = full_camera(view.fov_deg)
    origin = torch.zeros(3, dtype=torch.float64)
    keypoints = person.hand.posed(rotations, origin).keypoints.numpy()
    middle = (keypoints.min(0) + keypoints.max(0)) / 2
    at = np.array([view.at[0] * FULL_WIDTH_PX - 0.5, view.at[1] * FULL_HEIGHT_PX - 0.5, 1.0])
    wrist = np.linalg.inv(K) @ at * view.distance_m - middle
    posed = person.hand.posed(rotations, torch.as_tensor(wrist))
    return Placed(rotations=rotations, wrist_cam=wrist, posed=posed)


def with_skin(person: Person, hand: Placed, bend_deg):
    """The fine mesh of a hand and its forearm."""
    skin, rings = person.body.skin(hand.posed, hand.rotations, hand.wrist_cam, bend_deg)
    return Frame(**vars(hand), skin=skin, rings=rings)


def cut_camera(frames, K, rng):
    """The square round all hands of a plan as a camera of its own."""
    px = np.concatenate([pixels(f.posed.keypoints.numpy(), K) for f in frames])
    low, high = px.min(0), px.max(0)
    side = (high - low).max() * rng.uniform(*CUT)
    slack = (side - (high - low)) / 2
    corner = (low + high) / 2 + 0.5 - side / 2 + rng.uniform(-0.5, 0.5, 2) * slack
    scale = SIZE_PX / side
    cut = K.copy()
    cut[:2, :2] *= scale
    cut[:2, 2] = (K[:2, 2] + 0.5 - corner) * scale - 0.5
    return Camera(width=SIZE_PX, height=SIZE_PX, K=cut)


def hides(along, hand: Placed):
    """How many keypoints lie behind a forearm that is given by points along its axis."""
    keypoints = hand.posed.keypoints.numpy()
    far = np.linalg.norm(keypoints, axis=1)
    depth = along @ (keypoints / far[:, None]).T
    aside = np.sqrt(np.maximum((along**2).sum(1)[:, None] - depth**2, 0))
    return int(((aside < ARM_RADIUS_M) & (depth < far - ARM_RADIUS_M)).any(0).sum())


def arm_is_whole(person: Person, hand: Placed, camera: Camera, bend_deg):
    """Whether the forearm's end stays out of the picture, and the arm out of camera and hand."""
    frame = AnatomicalFrame.of(person.hand.rest_joints.numpy())
    down = np.array([0.0, -ARM_END_M, 0.0])
    arm = hand.rotations[0].numpy() @ frame.points(wrist_turn(bend_deg) @ down)
    end = hand.wrist_cam + arm
    along = hand.wrist_cam + np.linspace(0.2, 1, 9)[:, None] * arm
    if hand.posed.keypoints[:, 2].min() < NEAREST_M or hides(along, hand) > MAX_HIDDEN:
        return False
    if np.linalg.norm(along, axis=1).min() < ARM_RADIUS_M + NEAREST_M:
        return False
    if end[2] < ARM_RADIUS_M:
        return True
    beyond = np.abs(pixels(end, camera.K) - (camera.width - 1) / 2).max() - camera.width / 2
    return beyond > ARM_RADIUS_M * camera.K[0, 0] / end[2]


@dataclass(frozen=True, kw_only=True)
class Hands:
    """The hands of a plan and the camera that sees them."""

    frames: list[Frame]
    camera: Camera
    bend_deg: tuple[float, ...]
    up_cam: np.ndarray
    kind: str
    pose: str
    is_grasp: bool


def draw_hands(person: Person, sampler: PoseSampler, num_frames: int, rng):
    """Poses, views and a camera that fit together."""
    bend_deg = tuple(math.degrees(b) for b in draw_wrist_bend(rng))
    wants_grasp = rng.random() < GRASP_SHARE
    capsules = sampler.capsules(person.hand)
    for _ in range(MAX_TRIES):
        if num_frames == 1:
            pose = sampler.draw(rng, capsules, ("grasp",) if wants_grasp else None)
            angles, name, views = pose.angles[None], pose.name, [draw_view(rng)]
        else:
            angles, name = sampler.sequence(rng, capsules, num_frames, FPS), "sequence"
            views = view_sequence(rng, num_frames, FPS)
        hands = [placed_hand(person, a, v) for a, v in zip(angles, views, strict=True)]
        camera = cut_camera(hands, full_camera(views[0].fov_deg), rng)
        if all(arm_is_whole(person, h, camera, bend_deg) for h in hands):
            frames = [with_skin(person, h, bend_deg) for h in hands]
            return Hands(
                frames=frames,
                camera=camera,
                bend_deg=bend_deg,
                up_cam=views[0].up_cam,
                kind=views[0].kind,
                pose=name,
                is_grasp=wants_grasp,
            )
    raise AssertionError("no view keeps the end of the forearm out of the picture")


def held_prop(person: Person, frame: Frame, rng):
    """Something in the hand, or nothing if nothing fits."""
    rest = person.hand.posed(torch.eye(3, dtype=torch.float64).expand(16, 3, 3), torch.zeros(3))
    radii = bone_radii_m(rest.keypoints.numpy(), rest.verts.numpy())
    body = flesh(frame.posed.keypoints.numpy(), frame.posed.verts.numpy(), radii, is_right=True)
    solid = held_object(rng, body)
    return [] if solid is None else [Prop(solid=solid, kind="painted", is_held=True)]


def draw_plan(person: Person, sampler: PoseSampler, num_frames: int, rng: np.random.Generator):
    """One picture, or the frames of one sequence."""
    hands = draw_hands(person, sampler, num_frames, rng)
    frames, camera, up = hands.frames, hands.camera, hands.up_cam
    props: list[Prop] = []
    if num_frames == 1 and rng.random() < (0.8 if hands.is_grasp else HELD_SHARE):
        props += held_prop(person, frames[0], rng)
    table, about = draw_place(frames, camera, up, rng)
    props += about
    sleeve = str(rng.choice(["knit", "shirt"])) if rng.random() < SLEEVE_SHARE else None
    centre = frames[0].posed.keypoints.numpy().mean(0)
    return Plan(
        frames=frames,
        bend_deg=hands.bend_deg,
        camera=camera,
        is_right=bool(rng.random() >= LEFT_SHARE),
        kind=hands.kind,
        pose=hands.pose,
        axes=world_axes(up, rng),
        light=str(rng.choice(LIGHTS)),
        lamp=draw_lamp(centre, rng) if rng.random() < LAMP_SHARE else None,
        table=table,
        props=props,
        sleeve=sleeve,
        sleeve_colour=any_colour(rng),
        sleeve_start_m=float(rng.uniform(0.0, 0.07)),
        aperture_m=float(np.exp(rng.uniform(math.log(0.0006), math.log(0.004)))),
        exposure=float(np.clip(rng.normal(0.1, 0.4), -1.0, 0.9)),
        noise=float(np.exp(rng.normal(0.1, 0.4))),
        soft_px=float(max(0.0, rng.normal(0.35, 0.35))),
        quality=int(rng.integers(74, 88)),
    )


def draw_plans(person: Person, number: int, num_singles: int, sequences: tuple[int, ...], seed):
    """All plans of a person, singles first.

    Args:
        person: Who.
        number: Of the person.
        num_singles: Pictures on their own.
        sequences: Number of frames of each sequence.
        seed: Of the whole set.
    """
    sampler = PoseSampler(person.body.model)
    counts = [1] * num_singles + list(sequences)
    for k, count in enumerate(counts):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, k)))
        yield draw_plan(person, sampler, count, rng)
