"""Results → overlays, clips, the report, meshes and JSON."""

import sys

from idhand.drawing.overlay import OverlayStyle as OverlayStyle
from idhand.drawing.overlay import overlay as overlay
from idhand.view.clip import VideoWriter as VideoWriter
from idhand.view.export import EXPORTS as EXPORTS
from idhand.view.export import Format as Format
from idhand.view.export import OpenXRJoints as OpenXRJoints
from idhand.view.export import check_formats as check_formats
from idhand.view.export import export_motion as export_motion
from idhand.view.export import export_photo as export_photo
from idhand.view.export import openxr_joints as openxr_joints
from idhand.view.export import write_bvh as write_bvh
from idhand.view.export import write_npz as write_npz
from idhand.view.export import write_openxr as write_openxr
from idhand.view.export import write_rigged_glb as write_rigged_glb
from idhand.view.export import write_usd as write_usd
from idhand.view.mesh import write_glb as write_glb
from idhand.view.mesh import write_obj as write_obj
from idhand.view.mesh import write_ply as write_ply
from idhand.view.motion import HandMotion as HandMotion
from idhand.view.motion import MotionRecorder as MotionRecorder
from idhand.view.motion import apart as apart
from idhand.view.notebook import CallableModule
from idhand.view.notebook import Picture as Picture
from idhand.view.portrait import portrait as portrait
from idhand.view.report import HtmlReport as HtmlReport
from idhand.view.report import ReportPhoto as ReportPhoto
from idhand.view.report import ReportVideo as ReportVideo
from idhand.view.report import Table as Table
from idhand.view.results import ImageHands as ImageHands
from idhand.view.results import JsonLines as JsonLines
from idhand.view.results import read_hands as read_hands
from idhand.view.results import with_mesh as with_mesh
from idhand.view.results import write_hands as write_hands

sys.modules[__name__].__class__ = CallableModule  # so that `idhand.view(hands, rgb)` also works
