"""One demo picture: a person's skin, a scene for Blender, and the phone that takes the photo.

Part of `python tools/build_demo.py`. `photograph` renders any `Shot` of any `Body` (betas) through
any K; nothing here knows the demo.
"""

import json
import math
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from demo_mesh import Refiner, sleeve_mesh, vertex_normals
from demo_shots import POSES, Place, Shot, View
from demo_skin import Look, paint_skin, skin_chart

from idhand.geometry import intrinsics_from_fov, project
from idhand.hand import FittableHand, PosedHand
from idhand.synth.people.body import (
    FOREARM_RINGS_M,
    AnatomicalFrame,
    forearm_rings,
    open_at_wrist,
    pad_directions,
    ring_faces,
)

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
REFINE_LEVELS = 4
NUM_RINGS = len(FOREARM_RINGS_M)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera; pixels count from the centre of the top-left one."""

    width: int
    height: int
    K: np.ndarray

    @staticmethod
    def phone():
        """A phone's main camera held across, 62 degrees over the width."""
        return Camera(width=640, height=480, K=intrinsics_from_fov(640, 480, 62.0).numpy())


class Body:
    """One person's skin, painted once, ready to be posed any number of times."""

    def __init__(
        self,
        model: FittableHand,
        betas,
        skin_seed=7,
        *,
        look=Look(),  # noqa: B008 - frozen
        num_levels=REFINE_LEVELS,
    ):
        """Refine and paint the mean rest hand; the paint stays on the vertices."""
        assert model.parents == PARENTS, "the paint knows the joints of the open hand only"
        self.model = model
        self.hand = model.with_shape(torch.as_tensor(betas, dtype=model.template.dtype))
        template, joints = model.template.numpy(), model.joint_template.numpy()
        frame = AnatomicalFrame.of(joints)
        faces, self.loop = open_at_wrist(template, model.faces.numpy(), frame)
        self.used = np.unique(faces)
        place = np.full(len(template), -1)
        place[self.used] = np.arange(len(self.used))
        tube = ring_faces(place[self.loop], len(self.used), NUM_RINGS)
        self.faces = np.concatenate([place[faces], tube])
        coarse = self.with_forearm(template, template, joints, (0.0, 0.0))
        self.refiner = Refiner(self.faces, len(coarse), num_levels)
        weights = np.zeros((len(coarse), 16))
        weights[:, 0] = 1
        weights[: len(self.used)] = model.skinning.numpy()[self.used]
        self.weights = self.refiner.smooth(weights)
        self.rest = self.refiner.through(coarse)
        tips = template[list(model.tip_verts)]
        pads = pad_directions(model)
        chart = skin_chart(self.rest, self.refiner.faces, self.weights, joints, tips, pads)
        self.paint = paint_skin(chart, skin_seed, look)

    def with_forearm(self, verts, rest_verts, rest_joints, bend_deg, R=None, shift=None):
        """Used vertices of the hand, then the rings of the forearm, moved by the wrist."""
        frame = AnatomicalFrame.of(rest_joints)
        bend = (math.radians(bend_deg[0]), math.radians(bend_deg[1]))
        rings = forearm_rings(rest_verts[self.loop], frame, bend)
        self.rings_rest = np.concatenate([rest_verts[self.loop][None], rings])
        if R is not None:
            rings = rings @ R.T + shift
        return np.concatenate([verts[self.used], rings.reshape(-1, 3)])

    def skin(self, posed, rotations, wrist_cam, bend_deg):
        """Fine mesh of a posed hand with its forearm, and the forearm's rings; camera frame."""
        rest, joints = self.hand.rest_verts.numpy(), self.hand.rest_joints.numpy()
        R = rotations[0].numpy()
        shift = wrist_cam - R @ joints[0]
        coarse = self.with_forearm(posed.verts.numpy(), rest, joints, bend_deg, R, shift)
        fine = self.refiner.through(coarse)
        normals = vertex_normals(fine, self.refiner.faces)
        rings = self.rings_rest @ R.T + shift
        return fine + normals * self.paint["relief"][:, None], rings


def pose_of(model: FittableHand, shot: Shot):
    """The 16 rotations of a shot."""
    space = model.pose_space
    assert space is not None
    angles = sum(POSES[shot.pose], ()) if isinstance(shot.pose, str) else shot.pose
    degrees = torch.tensor(angles, dtype=torch.float64)
    wrist = torch.as_tensor(shot.view.rotation())
    return torch.cat((wrist[None], space.rotations(torch.deg2rad(degrees))))


def placed(hand, rotations, view: View, camera: Camera):
    """Wrist position that puts the middle of the keypoints where the view wants it."""
    at_origin = hand.posed(rotations, torch.zeros(3, dtype=torch.float64)).keypoints.numpy()
    middle = (at_origin.min(0) + at_origin.max(0)) / 2
    pixel = np.array([view.at[0] * camera.width - 0.5, view.at[1] * camera.height - 0.5, 1.0])
    return np.linalg.inv(camera.K) @ pixel * view.distance_m - middle


def world_axes(place: Place):
    """Rows: the camera's x, y, z axes in the panorama's world (x middle, z up)."""
    heading, tilt = math.radians(place.heading), math.radians(place.tilt)
    ahead = np.array([math.cos(heading), -math.sin(heading), 0.0])
    right = np.array([-math.sin(heading), -math.cos(heading), 0.0])
    forward = math.cos(tilt) * ahead - math.sin(tilt) * np.array([0.0, 0.0, 1.0])
    return np.stack([right, np.cross(forward, right), forward])


def look_up(panorama, directions):
    """Radiance of an equirectangular panorama in world directions (…, 3)."""
    height, width, _ = panorama.shape
    x, y, z = np.moveaxis(directions / np.linalg.norm(directions, axis=-1, keepdims=True), -1, 0)
    u = (0.5 - np.arctan2(y, x) / (2 * math.pi)) * width - 0.5
    v = (0.5 - np.arcsin(np.clip(z, -1, 1)) / math.pi) * height - 0.5
    padded = np.concatenate([panorama[:, -4:], panorama, panorama[:, :4]], 1)
    return cv2.remap(
        np.log1p(padded),
        (u + 4).astype(np.float32),
        np.clip(v, 0, height - 1).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    ).clip(0)


def turned_panorama(panorama, axes, size=(1024, 512)):
    """The panorama as Blender's world texture, whose axes are its camera's (y up, z backward)."""
    width, height = size
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    azimuth, elevation = (0.5 - u) * 2 * math.pi, (0.5 - v) * math.pi
    blender = np.stack(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ],
        -1,
    )
    cam = blender * np.array([1.0, -1.0, -1.0])
    return np.expm1(look_up(panorama, cam @ axes))


def background(panorama, axes, camera: Camera, blur_px):
    """The panorama through the camera, out of focus by a disc of the given radius."""
    pad = math.ceil(blur_px) + 2
    x, y = np.meshgrid(np.arange(-pad, camera.width + pad), np.arange(-pad, camera.height + pad))
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(camera.K).T
    soft = cv2.GaussianBlur(np.minimum(panorama, 12.0), (0, 0), 0.7, borderType=cv2.BORDER_REFLECT)
    picture = np.expm1(look_up(soft, rays @ axes))
    r = np.arange(-pad, pad + 1)
    disc = np.clip(blur_px + 0.5 - np.hypot(*np.meshgrid(r, r)), 0, 1)
    picture = cv2.filter2D(picture, -1, (disc / disc.sum()).astype(np.float32))
    return picture[pad:-pad, pad:-pad]


SUN_COLOUR = np.array([1.0, 0.93, 0.82])
SUN_LIMIT = 60.0
"""Radiance over the mean above which a pixel counts as sun or lamp."""
MAX_RADIANCE = 4000.0


def normalised(panorama):
    """Panorama scaled to a mean of one without its brightest spots, its suns repaired.

    The files ring around the sun (negative values) and two of them lost its red and green.
    """
    panorama = np.maximum(np.nan_to_num(panorama), 0)
    panorama = panorama / np.minimum(panorama, np.quantile(panorama, 0.98)).mean()
    peak = panorama.max(-1, keepdims=True)
    panorama = np.where(peak > SUN_LIMIT, peak * SUN_COLOUR, panorama)
    return np.minimum(panorama, MAX_RADIANCE).astype(np.float32)


def table_under(verts_cam, place: Place):
    """A level plane just under the hand, as arguments of `demo_scene.add_table`."""
    up = world_axes(place)[:, 2]
    point = verts_cam[(verts_cam @ up).argmin()] - place.table_gap_m * up
    return {
        "point_cam": point.tolist(),
        "normal_cam": up.tolist(),
        "kind": place.table,
        "colour": place.table_colour,
    }


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The hand of one picture, exactly."""

    rotations: torch.Tensor
    wrist_cam: np.ndarray
    posed: PosedHand

    def record(self, camera: Camera):
        """As it stands in truth.json."""
        keypoints = self.posed.keypoints
        return {
            "width": camera.width,
            "height": camera.height,
            "K": camera.K.tolist(),
            "is_right": True,
            "keypoints_px": project(keypoints, torch.as_tensor(camera.K)).tolist(),
            "keypoints_cam_m": keypoints.tolist(),
            "rotations": self.rotations.tolist(),
            "wrist_cam_m": self.wrist_cam.tolist(),
        }


def true_hand(body: Body, shot: Shot, camera: Camera):
    """Pose and place the hand of a shot; no picture needed."""
    rotations = pose_of(body.model, shot)
    wrist = placed(body.hand, rotations, shot.view, camera)
    posed = body.hand.posed(rotations, torch.as_tensor(wrist))
    return Truth(rotations=rotations, wrist_cam=wrist, posed=posed)


def scene_job(body: Body, shot: Shot, truth: Truth, camera: Camera, panorama, samples, seed):
    """Everything Blender needs for one picture, and the meshes that can be seen."""
    place = shot.place
    fine, rings = body.skin(truth.posed, truth.rotations, truth.wrist_cam, place.wrist_bend)
    settings = {
        "K": camera.K.tolist(),
        "width": camera.width,
        "height": camera.height,
        "samples": samples,
        "seed": seed,
        "strength": 1.0,
        "sleeve_colour": place.sleeve_colour,
    }
    if place.table:
        settings["table"] = table_under(truth.posed.verts.numpy(), place)
    job = {
        "skin_verts": fine.astype(np.float32),
        "skin_faces": body.refiner.faces.astype(np.int32),
        "skin_rest": body.rest.astype(np.float32),
        "skin_tone": body.paint["tone"].astype(np.float32),
        "skin_rough": body.paint["rough"].astype(np.float32),
        "panorama": turned_panorama(panorama, world_axes(place)),
        "settings": json.dumps(settings),
    }
    visible = [(fine, body.refiner.faces)]
    if place.sleeve:
        rng = np.random.default_rng(seed)
        verts, faces, rest = sleeve_mesh(rings, place.sleeve_start_m, rng, place.sleeve)
        job |= {"sleeve_verts": verts, "sleeve_faces": faces, "sleeve_rest": rest}
        visible.append((verts, faces))
    return job, visible


def render(bpy_python, job, folder):
    """Run Blender on a job: linear RGBA and the object index of every pixel."""
    np.savez(folder / "job.npz", **job)
    scene = Path(__file__).with_name("demo_scene.py")
    done = subprocess.run(
        [bpy_python, str(scene), str(folder / "job.npz"), str(folder / "result.npz")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"Blender failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    with np.load(folder / "result.npz") as result:
        return result["picture"], result["index"]


LUMA = np.array([0.2126, 0.7152, 0.0722])
SKIN_IN_WHITE_LIGHT = np.array([0.52, 0.29, 0.21])
WHITE_BALANCE = 0.7
"""How far a phone takes the tint of the light away: 1 is fully."""
MIDDLE_GREY = 0.29
"""Linear value that the hand's mean comes to at exposure 0."""


def composed(picture, behind, is_hand, exposure, *, white=SKIN_IN_WHITE_LIGHT, grey=MIDDLE_GREY):
    """Foreground over background, exposed and balanced for the hand; linear.

    Args:
        picture: Linear RGBA in front.
        behind: Linear RGB.
        is_hand: The pixels that exposure and white balance go by.
        exposure: In stops.
        white: Mean colour of these pixels in white light.
        grey: Linear value that they come to at exposure 0.
    """
    luma = picture[..., :3] @ LUMA
    light = picture[..., :3][is_hand].mean(0) / white
    balance = (light @ LUMA / light) ** WHITE_BALANCE
    gain = balance * grey * 2**exposure / np.exp(np.log(luma[is_hand] + 1e-4).mean())
    alpha = np.clip(picture[..., 3:], 0, 1)
    # Much brighter pixels would swallow the soft edge of the hand.
    front = np.minimum(picture[..., :3] * gain, 4.0 * np.maximum(alpha, 0.05))
    return front + (1 - alpha) * np.minimum(behind * gain, 2.0)


def developed(linear, rng, noise_gain=1.0):
    """Linear light → 8-bit sRGB as a phone would: vignette, noise, soft highlights, sharpening."""
    height, width, _ = linear.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    linear = linear * (1 - 0.10 * (x**2 + y**2) / 2)[..., None]
    grain = rng.normal(size=linear.shape) + 0.5 * rng.normal(size=linear.shape[:2])[..., None]
    noise = np.sqrt(np.maximum(linear, 0) * 2.2e-4 + 3e-6) * 1.6
    noise = noise * noise_gain
    linear = np.maximum(linear + noise * cv2.GaussianBlur(grain, (0, 0), 0.6), 0)
    knee = 0.62
    over = np.maximum(linear - knee, 0) / (1 - knee)
    linear = np.minimum(linear, knee) + (1 - knee) * (1 - np.exp(-over * 0.85))
    srgb = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    srgb = srgb + 0.03 * np.sin(2 * math.pi * (srgb - 0.5))
    sharp = srgb + 0.3 * (srgb - cv2.GaussianBlur(srgb, (0, 0), 1.0))
    return (np.clip(sharp, 0, 1) * 255 + 0.5).astype(np.uint8)


def photograph(body: Body, shot: Shot, camera: Camera, *, panoramas, bpy_python, samples, seed):
    """Render one picture of any body, pose, camera and place.

    Returns:
        The picture (uint8 RGB), what every pixel shows (0 background, 1 hand, 2 sleeve), and the
        intersection over union of the projected meshes with what was rendered.
    """
    panorama = normalised(panoramas[shot.place.hdri])
    truth = true_hand(body, shot, camera)
    job, visible = scene_job(body, shot, truth, camera, panorama, samples, seed)
    with tempfile.TemporaryDirectory() as folder:
        picture, index = render(bpy_python, job, Path(folder))
    behind = background(panorama, world_axes(shot.place), camera, shot.place.blur_px)
    linear = composed(picture, behind, index == 1, shot.place.exposure)
    rgb = developed(linear, np.random.default_rng(seed))
    return rgb, index, overlap(visible, camera, index > 0)


def overlap(meshes, camera: Camera, rendered):
    """Intersection over union of the projected meshes and the rendered mask."""
    scale = 8
    big = np.zeros((camera.height * scale, camera.width * scale), np.uint8)
    for verts, faces in meshes:
        px = project(torch.as_tensor(verts), torch.as_tensor(camera.K)).numpy()
        corners = np.rint(((px + 0.5) * scale - 0.5)[faces] * 16).astype(np.int32)
        for triangle in corners[(verts[faces][..., 2] > 0.02).all(1)]:
            cv2.fillConvexPoly(big, triangle, 1, shift=4)
    size = (camera.width, camera.height)
    mask = cv2.resize(big.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    return float((mask & rendered).sum() / (mask | rendered).sum())
