"""Motions → Universal Scene Description (UsdSkel): skinned meshes, animated for videos.

Needs the library `usd-core` (package `pxr`), which `pip install 'idhand[usd]'` brings along.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from idhand.files import replacing
from idhand.hand import JOINT_NAMES, HandModel
from idhand.view.export.bvh import DEFAULT_FPS
from idhand.view.export.presence import Presence, presences
from idhand.view.export.rig import Rig, display_colour, rigs_of
from idhand.view.motion import HandMotion

_AWAY_SCALE = 2.0**-10
"""Of a hand that is away; nothing at all would be a singular matrix, which UsdSkel refuses."""
_SWITCH_CODES = 0.01
"""How long it takes to come or go, in frames."""


def write_usd(
    path: str | Path, motions: Sequence[HandMotion], model: HandModel, fps: float = DEFAULT_FPS
) -> None:
    """Write hands as USD: y up, metres, one SkelRoot per hand under `/hands`.

    As in the rigged GLB, the mesh is bound at the person's rest pose. Time codes are frames at
    `fps`, from the video's start. A hand that is not there all the time is invisible while it is
    away, and scaled to almost nothing for readers that show everything.

    Args:
        path: `.usdc` (binary), `.usda` (text) or `.usd`.
        motions: One per hand.
        model: The right-hand model that they came from.
        fps: Frames per second.

    Raises:
        ValueError: If `usd-core` is not installed, there is no motion, or the model is not theirs.
        OSError: If the file cannot be written.
    """
    check_usd()
    Tf, Usd, UsdGeom = _pxr("Tf", "Usd", "UsdGeom")

    rigs = rigs_of(motions, model)
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, "/hands").GetPrim())
    times_s = np.concatenate([rig.motion.time_s for rig in rigs])
    stage.SetTimeCodesPerSecond(fps)
    stage.SetFramesPerSecond(fps)
    stage.SetStartTimeCode(float(times_s.min() * fps))
    stage.SetEndTimeCode(float(times_s.max() * fps))
    for rig, presence in zip(rigs, presences([rig.motion for rig in rigs]), strict=True):
        _add_hand(stage, rig, fps)
        _hide(stage, f"/hands/{rig.motion.name}", presence, fps)
    with replacing(path) as temporary:
        try:
            written = stage.GetRootLayer().Export(str(temporary))
        except Tf.ErrorException as error:
            raise OSError(f"{path} could not be written: {error}") from error
        if not written:
            raise OSError(f"{path} could not be written; is there room on the disk?")


def check_usd() -> None:
    """Refuse to go on without the library.

    Raises:
        ValueError: If `usd-core` is not installed.
    """
    if find_spec("pxr") is None:
        raise ValueError("usd files need the library usd-core; pip install 'idhand[usd]'")


def _pxr(*names: str) -> list[Any]:
    """Modules of the library, without types: its stubs do not know most of what is in them."""
    return [import_module(f"pxr.{name}") for name in names]


def _add_hand(stage: Any, rig: Rig, fps: float) -> None:
    """A SkelRoot with skeleton, animation and skinned mesh."""
    Gf, Sdf, UsdSkel, Vt = _pxr("Gf", "Sdf", "UsdSkel", "Vt")

    top = f"/hands/{rig.motion.name}"
    root = UsdSkel.Root.Define(stage, top)
    skeleton = UsdSkel.Skeleton.Define(stage, f"{top}/skeleton")
    paths = _joint_paths(rig.parents)
    skeleton.CreateJointsAttr(paths)
    skeleton.CreateBindTransformsAttr([_translation(Gf, at) for at in rig.joints])
    skeleton.CreateRestTransformsAttr([_translation(Gf, at) for at in rig.offsets])
    animation = UsdSkel.Animation.Define(stage, f"{top}/skeleton/animation")
    animation.CreateJointsAttr(paths)
    animation.CreateScalesAttr(Vt.Vec3hArray.FromNumpy(np.ones((len(paths), 3), np.float16)))
    places, turns = animation.CreateTranslationsAttr(), animation.CreateRotationsAttr()
    offsets, quaternions = rig.offsets, rig.quaternions
    # A sample even for a photo: Blender ignores a skeleton's pose that is not a function of time.
    for i, time_s in enumerate(rig.motion.time_s.tolist()):
        offsets[0] = rig.wrist[i]
        places.Set(Vt.Vec3fArray.FromNumpy(offsets.astype(np.float32)), time_s * fps)
        turns.Set([Gf.Quatf(w, x, y, z) for x, y, z, w in quaternions[i].tolist()], time_s * fps)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([Sdf.Path(f"{top}/skeleton/animation")])
    _add_mesh(stage, rig, top)
    # As far as the hand reaches from its wrist in any pose.
    reach = float(np.linalg.norm(rig.verts - rig.joints[0], axis=1).max())
    extent = np.stack((rig.wrist.min(0) - reach, rig.wrist.max(0) + reach)).astype(np.float32)
    root.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(extent))


def _hide(stage: Any, top: str, presence: Presence, fps: float) -> None:
    """Visibility, and the wrist's scale: Blender (4.5) reads only that.

    Scales are interpolated, so each has a sample just before it changes.
    """
    UsdGeom, UsdSkel, Vt = _pxr("UsdGeom", "UsdSkel", "Vt")

    visibility = UsdGeom.Imageable.Get(stage, top).CreateVisibilityAttr()
    scales_attr = UsdSkel.Animation.Get(stage, f"{top}/skeleton/animation").GetScalesAttr()
    scales = np.ones((len(JOINT_NAMES), 3), np.float16)
    for i, (code, there) in enumerate(zip(presence.time_s * fps, presence.there, strict=True)):
        if i:
            scales_attr.Set(Vt.Vec3hArray.FromNumpy(scales), float(code) - _SWITCH_CODES)
        scales[0] = 1 if there else _AWAY_SCALE
        scales_attr.Set(Vt.Vec3hArray.FromNumpy(scales), float(code))
        token = UsdGeom.Tokens.inherited if there else UsdGeom.Tokens.invisible
        visibility.Set(token, float(code))


def _add_mesh(stage: Any, rig: Rig, top: str) -> None:
    """The mesh at rest, bound to the skeleton, in its side's colour."""
    Gf, Sdf, UsdGeom, UsdSkel, Vt = _pxr("Gf", "Sdf", "UsdGeom", "UsdSkel", "Vt")

    mesh = UsdGeom.Mesh.Define(stage, f"{top}/mesh")
    verts = rig.verts.astype(np.float32)
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(verts))
    mesh.CreateFaceVertexCountsAttr([3] * len(rig.faces))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(rig.faces.ravel().astype(np.int32)))
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(rig.normals.astype(np.float32)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack((verts.min(0), verts.max(0)))))
    mesh.CreateDisplayColorAttr([display_colour(rig.motion.is_right)])
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    width = rig.weights.shape[1]
    joints = Vt.IntArray.FromNumpy(rig.influences.ravel().astype(np.int32))
    weights = Vt.FloatArray.FromNumpy(rig.weights.ravel().astype(np.float32))
    binding.CreateJointIndicesPrimvar(False, width).Set(joints)
    binding.CreateJointWeightsPrimvar(False, width).Set(weights)
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1.0))
    binding.CreateSkeletonRel().SetTargets([Sdf.Path(f"{top}/skeleton")])


def _joint_paths(parents: tuple[int, ...]) -> list[str]:
    """Each joint's name after its ancestors', as UsdSkel writes the hierarchy."""
    paths: list[str] = []
    for name, parent in zip(JOINT_NAMES, parents, strict=True):
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    return paths


def _translation(Gf: Any, offset: np.ndarray) -> Any:
    return Gf.Matrix4d(1.0).SetTranslate(Gf.Vec3d(*offset.tolist()))
