"""Results → something to look at or to load elsewhere: overlays, clips, meshes, JSON."""

from idhand.view.clip import VideoWriter as VideoWriter
from idhand.view.mesh import write_glb as write_glb
from idhand.view.mesh import write_obj as write_obj
from idhand.view.overlay import OverlayStyle as OverlayStyle
from idhand.view.overlay import overlay as overlay
from idhand.view.results import ImageHands as ImageHands
from idhand.view.results import JsonLines as JsonLines
from idhand.view.results import read_hands as read_hands
from idhand.view.results import write_hands as write_hands
