"""What the stages hand on to each other, and to the user. Plain data; NumPy only."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

Status = Literal["converged", "max_iterations", "diverged"]
"""How a fit ended: at a minimum, out of iterations, or nowhere (its numbers are not usable)."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One hand seen in one image: what the landmark net says, before any hand model."""

    is_right: bool
    """The person's right hand, in an image that is not mirrored."""
    score: float
    """Probability that a hand is there, 0..1."""
    bbox_px: Float[np.ndarray, " 4"]
    """Tight xyxy box of the landmarks."""
    landmarks_px: Float[np.ndarray, "21 2"]
    """In the full image; the centre of its top-left pixel is (0, 0)."""
    landmarks_z_px: Float[np.ndarray, " 21"]
    """Depth relative to the wrist in image pixels (weak perspective); positive is farther."""
    landmarks_world: Float[np.ndarray, "21 3"]
    """Metres, camera axes, about the hand's centre. The bone lengths are the net's guess."""
    confidence: Float[np.ndarray, " 21"]
    """Per landmark, 0..1: 1 is as precise as the net gets."""


@dataclass(frozen=True, kw_only=True)
class HandResult:
    """One hand in one image, in 3D, in the camera frame."""

    is_right: bool
    score: float
    """Probability that a hand is there, 0..1."""
    bbox_px: Float[np.ndarray, " 4"]
    """xyxy in the full image."""
    keypoints_px: Float[np.ndarray, "21 2"]
    """Projection of `keypoints_cam`."""
    keypoints_cam: Float[np.ndarray, "21 3"]
    """Metres; wrist, then thumb to little finger, base to tip."""
    verts_cam: Float[np.ndarray, "verts 3"]
    """Metres; of the real hand, also for left ones."""
    faces: Int[np.ndarray, "faces 3"]
    """Outward normals by the right-hand rule, also for left hands."""
    rotations: Float[np.ndarray, "16 3 3"]
    """Each joint relative to its parent, the wrist's to the camera. Left: of the mirrored hand."""
    betas: Float[np.ndarray, " betas"]
    """Shape in standard deviations of the population."""
    K: Float[np.ndarray, "3 3"]
    """Intrinsics that were used, px."""
    K_is_guess: bool
    """No intrinsics were known, so the depth follows from an assumed field of view."""
    status: Status
    """How the fit ended."""
    residual_px: float
    """Root mean square distance of the fitted landmark points to the seen ones."""
    keypoints_std_m: Float[np.ndarray, " 21"]
    """Posterior standard deviation of each keypoint relative to the wrist, in metres."""
    depth_std_m: float
    """Posterior standard deviation of the wrist's depth, in metres; large without identity."""
    detection: Detection
    """What was seen; `previous=` starts from it."""

    def overlay(
        self,
        rgb: UInt8[np.ndarray, "height width 3"],
        *,
        dist: Float[np.ndarray, " 5"] | None = None,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Draw this hand on a copy of its photo; `idhand.view.overlay` draws several, in styles.

        Args:
            rgb: The photo that the hand was estimated from.
            dist: OpenCV's lens distortion of the photo, if it was given to the pipeline.
        """
        from idhand.view.overlay import overlay  # drawing stands above the records

        return overlay(rgb, [self], dist=dist)
