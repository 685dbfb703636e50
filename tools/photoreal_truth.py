"""What is known about a picture of the test set "photoreal": labels of its pixels, its `Sample`.

Part of `python tools/build_photoreal.py`.
"""

from dataclasses import replace

import numpy as np
from demo_mesh import sleeve_mesh
from photoreal_people import Person
from photoreal_shots import FPS, Frame, Plan
from soma_hand import MODEL_NAME

from idhand.records import FOREARM_PART, OTHER_PART, Sample
from idhand.synth.camera.raster import rasterize
from idhand.synth.camera.scenes import visible_keypoints

DATASET = "photoreal"


def meshes_of(person: Person, plan: Plan, frame: Frame, seed):
    """What can be seen of the hand and before it: (verts, faces, part of each face)."""
    meshes = [(frame.skin, person.body.refiner.faces, person.part)]
    sleeve = None
    if plan.sleeve:
        rng = np.random.default_rng(seed)
        sleeve = sleeve_mesh(frame.rings, plan.sleeve_start_m, rng, plan.sleeve)
        meshes.append((*sleeve[:2], np.full(len(sleeve[1]), FOREARM_PART, np.uint8)))
    for prop in plan.props:
        if prop.is_held:
            part = np.full(len(prop.solid.faces), OTHER_PART, np.uint8)
            meshes.append((prop.solid.verts, prop.solid.faces, part))
    return meshes, sleeve


def seen(meshes, camera):
    """Part and depth of every pixel at its centre."""
    starts = np.cumsum([0] + [len(m[0]) for m in meshes[:-1]])
    faces = np.concatenate([m[1] + s for m, s in zip(meshes, starts, strict=True)])
    part = np.concatenate([m[2] for m in meshes])
    verts = np.concatenate([m[0] for m in meshes]).astype(np.float64)
    size = camera.width, camera.height
    fragments = rasterize(verts, faces, camera.K, *size, samples=1)
    parts = np.where(fragments.face >= 0, part[fragments.face], 0)
    return parts.astype(np.uint8), fragments.depth_m


def mirrored(sample: Sample):
    """The same picture as a mirror shows it: of the other hand."""
    flip, edge = np.array([-1.0, 1.0, 1.0]), sample.rgb.shape[1] - 1
    K = sample.K.copy()
    K[0, 2] = edge - K[0, 2]
    left, top, right, bottom = sample.bbox_px
    keypoints_px = sample.keypoints_px * np.array([-1.0, 1.0]) + np.array([edge, 0.0])
    assert sample.wrist_cam is not None
    assert sample.keypoints_cam is not None
    assert sample.parts is not None
    return replace(
        sample,
        rgb=np.ascontiguousarray(sample.rgb[:, ::-1]),
        parts=np.ascontiguousarray(sample.parts[:, ::-1]),
        K=K,
        is_right=not sample.is_right,
        bbox_px=np.array([edge - right, top, edge - left, bottom]),
        wrist_cam=sample.wrist_cam * flip,
        keypoints_px=keypoints_px,
        keypoints_cam=sample.keypoints_cam * flip,
    )


def sample_of(person: Person, plan: Plan, number_in_plan, rgb, parts, depth_m, key, sequence):
    """Picture and truth together."""
    frame = plan.frames[number_in_plan]
    keypoints = frame.posed.keypoints.numpy()
    px = keypoints @ plan.camera.K.T
    px = px[:, :2] / px[:, 2:]
    sample = Sample(
        rgb=rgb,
        K=plan.camera.K,
        dist=np.zeros(5),
        is_right=True,
        bbox_px=np.concatenate([px.min(0), px.max(0)]),
        subject=person.name,
        model=MODEL_NAME if person.is_soma else person.body.model.name,
        betas=None if person.is_soma else np.asarray(person.subject.betas, np.float64),
        rotations=None if person.is_soma else frame.rotations.numpy(),
        wrist_cam=frame.wrist_cam,
        keypoints_px=px,
        keypoints_cam=keypoints,
        valid=np.ones(21, bool),
        visible=visible_keypoints(keypoints, plan.camera.K, parts, depth_m),
        parts=parts,
        dataset=DATASET,
        id=key,
        sequence=sequence,
        time_s=number_in_plan / FPS if sequence else None,
    )
    return sample if plan.is_right else mirrored(sample)
