"""From an image to hands: where they are, which side they are, 21 landmarks with confidences.

Two nets as in MediaPipe Hands (Zhang et al., "MediaPipe Hands: On-device Real-time Hand Tracking",
2020): a palm detector on the whole image (`palms`), then a landmark net on a rotated square around
each hand (a region of interest, `roi`). Beyond the original: a second look with a tighter square,
retries with padding and rotations for photos in which the hand fills the frame, several views per
hand, and a confidence per landmark (`detector`).
"""

from idhand.detection.detector import DetectorConfig, HandDetector

__all__ = ["DetectorConfig", "HandDetector"]
