"""From an image to hands: where they are, which side they are, 21 landmarks with confidences.

Two nets as in MediaPipe Hands (Zhang et al., "MediaPipe Hands: On-device Real-time Hand Tracking",
2020): a palm detector on the whole image (`palms`), then a landmark net on a rotated square around
each hand (a region of interest, `roi`). Beyond the original: a second look with a tighter square,
margins around the image and rotations for photos in which the hand fills the frame, tiles for hands
that are small in it, several views per hand, a confidence per landmark (`detector`), and sides that
are decided together (`sides`).
"""

from idhand.detection.config import DetectorConfig
from idhand.detection.detector import HandDetector
from idhand.detection.sides import Side, SideConfig

__all__ = ["DetectorConfig", "HandDetector", "Side", "SideConfig"]
