"""Hands → files for other programs, by format. `rig` is what the skinned formats share."""

from idhand.view.export.bvh import write_bvh as write_bvh
from idhand.view.export.gltf import write_rigged_glb as write_rigged_glb
from idhand.view.export.mano import ManoForm as ManoForm
from idhand.view.export.mano import write_mano as write_mano
from idhand.view.export.mediapipe import write_mediapipe as write_mediapipe
from idhand.view.export.openxr import OPENXR_JOINT_NAMES as OPENXR_JOINT_NAMES
from idhand.view.export.openxr import OPENXR_PARENTS as OPENXR_PARENTS
from idhand.view.export.openxr import OpenXRJoints as OpenXRJoints
from idhand.view.export.openxr import openxr_joints as openxr_joints
from idhand.view.export.openxr import openxr_rotations as openxr_rotations
from idhand.view.export.openxr import write_openxr as write_openxr
from idhand.view.export.other_models import converted_motion as converted_motion
from idhand.view.export.parameters import write_npz as write_npz
from idhand.view.export.table import EXPORTS as EXPORTS
from idhand.view.export.table import Format as Format
from idhand.view.export.table import check_formats as check_formats
from idhand.view.export.table import export_motion as export_motion
from idhand.view.export.table import export_photo as export_photo
from idhand.view.export.usd import write_usd as write_usd
