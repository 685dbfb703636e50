"""Records that the stages pass on, and the user gets. Plain data; NumPy only."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from idhand.drawing.overlay import overlay
from idhand.lens import Distortion, Lens, distortion_array

Status = Literal["converged", "max_iterations", "diverged", "stalled", "astray"]
"""How a fit ended.

`converged`: at a minimum. `max_iterations`: out of steps before it came to one; a fixed schedule
such as the ECCV 2022 paper's Adam always ends so. `stalled`: no step makes the cost smaller, though
the slope says that one should. `astray`: it led to an impossible depth, so the hand was put back to
its start, the network's estimate. `diverged`: numbers that are not finite; none of them is usable.
The hands of all others are.
"""

FLIP = np.array([-1.0, 1.0, 1.0])
"""Takes points in the camera frame, and in its first two numbers pixels of a camera that is flipped
too, to the mirrored hand's."""
FLIP.setflags(write=False)


@dataclass(frozen=True, kw_only=True)
class SeenKeypoints:
    """A hand's keypoints as the keypoint network sees them in the real picture."""

    points_px: Float[np.ndarray, "21 2"]
    cov_px: Float[np.ndarray, "21 2 2"]
    """Covariance of each point, as the network states it."""
    visible: Float[np.ndarray, " 21"]
    """Probability that the keypoint is visible, see `Sample.visible`."""
    directions: Float[np.ndarray, "20 3"]
    """From each keypoint's parent to it, in the view of the crop about the landmarks (of the
    mirrored hand for left ones)."""
    directions_std: Float[np.ndarray, " 20"]
    """Per axis."""
    log_length_px: float
    """Logarithm of the length in the picture that the hand would have where its middle knuckle is,
    flat and facing the camera's centre."""
    log_length_std: float


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One hand in one image as the landmark net predicts it, before any hand model."""

    is_right: bool
    """The person's right hand. Decided from `right_probability` and from the other hands of the
    image, or known beforehand."""
    right_probability: float = math.nan
    """Probability that it is the person's right hand by this hand's own pixels, 0..1; mirror images
    are allowed for. 1.0 or 0.0 where the side was known beforehand, and by default."""
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
    outside: Bool[np.ndarray, " 21"] | None = None
    """Landmarks that the net guessed beyond the picture's border; None: of none it is known."""
    features: Float[np.ndarray, " features"] | None = None
    """What the landmark net's backbone makes of the upright crop, for networks that go on from it;
    not written to files."""
    keypoints: SeenKeypoints | None = None
    """What the keypoint network sees in the same crop; not written to files."""

    def __post_init__(self):
        if math.isnan(self.right_probability):
            object.__setattr__(self, "right_probability", float(self.is_right))


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The camera of one image."""

    K: Float[np.ndarray, "3 3"]
    """Intrinsics, px."""
    dist: Distortion = None
    """Its lens; None for a pinhole."""
    is_guess: bool = False
    """No intrinsics were known; these follow from an assumed field of view."""


@dataclass(frozen=True, kw_only=True)
class HandInImage:
    """One hand seen in one image, with the image's camera: what a fit starts from."""

    detection: Detection
    camera: Camera


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
    model: str
    """Name of the hand model that mesh, rotations and betas belong to."""
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
        dist: Distortion = None,
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Draw this hand on a copy of its photo; `idhand.view.overlay` draws several, in styles.

        Args:
            rgb: The photo that the hand was estimated from.
            dist: Lens distortion of the photo, if it was given to the pipeline.
        """
        return overlay(rgb, [self], dist=dist)

    def moved(self, S: Float[np.ndarray, "3 3"]) -> "HandResult":
        """The hand in a picture that was scaled or cut: pixels (u, v) became S @ (u, v, 1).

        The detection stays as it is.
        """
        factor, shift = S[[0, 1], [0, 1]], S[:2, 2]
        return replace(
            self,
            K=S @ self.K,
            bbox_px=self.bbox_px * np.tile(factor, 2) + np.tile(shift, 2),
            keypoints_px=self.keypoints_px * factor + shift,
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture of one hand with what is known about it: the form of every data set.

    What a data set does not know is None. Left hands as everywhere: `rotations` and `betas` are
    those of the mirrored right hand, everything in the picture or the camera is the real hand's.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    K: Float[np.ndarray, "3 3"]
    """Intrinsics of this picture, px; the centre of the top-left pixel is (0, 0)."""
    dist: Float[np.ndarray, " coefficients"]
    """Lens distortion: OpenCV's 4, 5, 8, 12 or 14 coefficients, zeros for none."""
    is_right: bool
    bbox_px: Float[np.ndarray, " 4"]
    """xyxy box of the keypoints; may leave the picture."""
    subject: str | None
    """Name of the person; the same in all pictures of one person, within the data set. None if
    it is unknown."""
    model: str | None
    """Name of the hand model that `betas` and `rotations` belong to; may differ between samples of
    one data set (MANO has a model for each side)."""
    betas: Float[np.ndarray, " betas"] | None
    """Shape in the model's standard deviations."""
    rotations: Float[np.ndarray, "16 3 3"] | None
    """Each joint relative to its parent, the wrist's to the camera."""
    wrist_cam: Float[np.ndarray, " 3"] | None
    """Metres."""
    keypoints_px: Float[np.ndarray, "21 2"]
    keypoints_cam: Float[np.ndarray, "21 3"] | None
    """Metres; wrist, then thumb to little finger, base to tip."""
    valid: Bool[np.ndarray, " 21"]
    """Which keypoints are known at all."""
    visible: Bool[np.ndarray, " 21"] | None
    """In the picture, and nothing but the hand's own skin over the joint lies before it (at the
    wrist, skin or sleeve)."""
    parts: UInt8[np.ndarray, "height width"] | None
    """What each pixel shows: 0 background, 1–16 the hand's joints in their order, 17 its forearm or
    sleeve, 18 something that is not this hand (an object, another hand), 19 this hand in a mask
    without parts."""
    dataset: str
    id: str
    """Unique within the data set."""
    sequence: str | None
    """Name of the sequence, for frames of a video; RECORDING/CAMERA where several cameras have seen
    the same at the same time."""
    time_s: float | None
    """Within the sequence."""

    @property
    def mask(self) -> Bool[np.ndarray, "height width"] | None:
        """Pixels that show the hand, without its forearm."""
        if self.parts is None:
            return None
        return (self.parts >= 1) & (self.parts <= HAND_PARTS) | (self.parts == UNPARTED_HAND)

    def mirrored(self) -> "Sample":
        """The picture in a mirror: of the other hand; `rotations` and `betas` stay as they are."""
        flip = FLIP
        last = self.rgb.shape[1] - 1
        K, lens = self.K.copy(), Lens(coefficients=tuple(self.dist.tolist()))
        K[0, 1], K[0, 2] = -K[0, 1], last - K[0, 2]
        left, top, right, bottom = self.bbox_px
        pixels = self.keypoints_px * flip[:2] + np.array([last, 0.0])
        return replace(
            self,
            rgb=np.ascontiguousarray(self.rgb[:, ::-1]),
            K=K,
            dist=distortion_array(lens.mirrored(), len(self.dist)),
            is_right=not self.is_right,
            bbox_px=np.array([last - right, top, last - left, bottom]),
            wrist_cam=None if self.wrist_cam is None else self.wrist_cam * flip,
            keypoints_px=pixels,
            keypoints_cam=None if self.keypoints_cam is None else self.keypoints_cam * flip,
            parts=None if self.parts is None else np.ascontiguousarray(self.parts[:, ::-1]),
        )


HAND_PARTS, FOREARM_PART, OTHER_PART, UNPARTED_HAND = 16, 17, 18, 19
"""Values of `Sample.parts`: the last joint's, the forearm or sleeve, everything else, and the hand
in a mask without parts."""
