"""A motion and its hand model → a skinned skeleton over time: what GLB, USD and BVH files hold.

Everything here is in glTF's frame (x right, y up, z towards the viewer; metres), where rotations
of the camera frame are conjugated by diag(1, −1, −1). Joints have no rotation at rest, so a joint's
rotation is its bend. The pose correctives of a model that has them have no place in a skeleton and
are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float, Int

from idhand.drawing.overlay import SIDE_COLOURS
from idhand.drawing.raster import vertex_normals
from idhand.hand import Hand, HandModel
from idhand.records import FLIP
from idhand.view.mesh import GLTF_FROM_CAM, check_model
from idhand.view.motion import HandMotion

MAX_INFLUENCES = 4
"""Joints that may move a vertex; what glTF asks every reader to support."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """One hand with one shape, over time, in glTF's frame."""

    motion: HandMotion
    verts: Float[np.ndarray, "verts 3"]
    """At rest, with the wrist joint near the origin."""
    normals: Float[np.ndarray, "verts 3"]
    faces: Int[np.ndarray, "faces 3"]
    """Outward normals by the right-hand rule."""
    influences: Int[np.ndarray, "verts influences"]
    """The joints that move each vertex; 0 where the weight is 0."""
    weights: Float[np.ndarray, "verts influences"]
    """Rows sum to one."""
    parents: tuple[int, ...]
    joints: Float[np.ndarray, "joints 3"]
    """At rest."""
    tips: Float[np.ndarray, "5 3"]
    """Fingertips on the skin at rest, thumb to little finger; each moves with its last joint."""
    rotations: Float[np.ndarray, "frames joints 3 3"]
    """Relative to the parent joint, the wrist's to the scene."""
    wrist: Float[np.ndarray, "frames 3"]
    """Position of the wrist joint in the scene."""

    @property
    def offsets(self) -> Float[np.ndarray, "joints 3"]:
        """From the parent joint at rest; the wrist's is its own place."""
        offsets = self.joints.copy()
        offsets[1:] -= self.joints[list(self.parents[1:])]
        return offsets

    @property
    def quaternions(self) -> Float[np.ndarray, "frames joints 4"]:
        """The rotations as x, y, z, w, without a jump of sign from frame to frame."""
        return smooth_quaternions(self.rotations)


def smooth_quaternions(
    rotations: Float[np.ndarray, "frames joints 3 3"],
) -> Float[np.ndarray, "frames joints 4"]:
    """Unit quaternions x, y, z, w, of the sign that is nearer to the frame before."""
    quaternions = roma.rotmat_to_unitquat(torch.from_numpy(rotations)).numpy()
    turned = (quaternions[1:] * quaternions[:-1]).sum(-1) < 0
    quaternions[1:] *= np.cumprod(np.where(turned, -1.0, 1.0), axis=0)[..., None]
    return quaternions


def rigs_of(motions: Sequence[HandMotion], model: HandModel) -> list[Rig]:
    """The motions as rigs of the right-hand model or of its mirror image.

    The shape of a motion is the median of its frames'.

    Raises:
        ValueError: If there is no motion, or the model is not the one that the motions came from.
    """
    check_motions(motions, model)
    return [_rig(motion, model) for motion in motions]


def check_motions(motions: Sequence[HandMotion], model: HandModel) -> None:
    """Refuse what cannot be written.

    Raises:
        ValueError: If there is no motion, the model is not the one that the motions came from, or
            frames or times of a motion do not increase.
    """
    if not motions:
        raise ValueError("there is no hand with a usable fit, so there is nothing to export")
    if not model.is_right:
        raise ValueError("exports take the right-hand model for both sides, got a left-hand one")
    for motion in motions:
        check_model(motion.name, motion.model, motion.betas.shape[-1], model)
        for what, values in (("frames", motion.frame), ("times", motion.time_s)):
            if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
                raise ValueError(
                    f"the {what} of {motion.name} do not increase; record it with a MotionRecorder"
                )


def hand_of(motion: HandMotion, model: HandModel) -> Hand:
    """The real hand, left or right, with the motion's one shape."""
    sided = model if motion.is_right else model.mirrored()
    return sided.with_shape(torch.from_numpy(motion.mean_betas).to(model.template.dtype))


def real_rotations(motion: HandMotion) -> Float[np.ndarray, "frames 16 3 3"]:
    """Rotations of the real hand in the camera frame; docs/conventions.md, "Sides"."""
    if motion.is_right:
        return motion.rotations
    return FLIP[:, None] * motion.rotations * FLIP


def display_colour(is_right: bool) -> tuple[float, float, float]:
    """The side's colour as linear RGB, 0..1, which is what materials are given in."""
    red, green, blue = (((c / 255 + 0.055) / 1.055) ** 2.4 for c in SIDE_COLOURS[is_right])
    return red, green, blue


def _rig(motion: HandMotion, model: HandModel) -> Rig:
    hand = hand_of(motion, model)
    verts = hand.rest_verts.numpy().astype(np.float64)
    faces = hand.model.faces.numpy()
    influences, weights = _strongest(hand.model.skinning.numpy())
    flip = GLTF_FROM_CAM
    return Rig(
        motion=motion,
        verts=verts * flip,
        normals=vertex_normals(verts, faces) * flip,
        faces=faces,
        influences=influences,
        weights=weights,
        parents=model.parents,
        joints=hand.rest_joints.numpy().astype(np.float64) * flip,
        tips=verts[list(model.tip_verts)] * flip,
        rotations=flip[:, None] * real_rotations(motion) * flip,
        wrist=motion.wrist_cam * flip,
    )


def _strongest(
    skinning: Float[np.ndarray, "verts joints"],
) -> tuple[Int[np.ndarray, "verts influences"], Float[np.ndarray, "verts influences"]]:
    """Each vertex's joints by weight, the `MAX_INFLUENCES` strongest, weights made to sum to one.

    The built-in model has no vertex with more, so nothing is lost of it.
    """
    order = np.argsort(-skinning, axis=1, kind="stable")[:, :MAX_INFLUENCES]
    weights = np.take_along_axis(skinning, order, 1).astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    return np.where(weights > 0, order, 0), weights
