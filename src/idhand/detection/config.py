"""Settings of the detector."""

from dataclasses import dataclass, field

from idhand.detection.palms import PalmConfig
from idhand.detection.readings import ReadingConfig
from idhand.detection.sides import SideConfig


@dataclass(frozen=True, kw_only=True)
class DetectorConfig(ReadingConfig):
    """Thresholds and geometry of `HandDetector`; the defaults are MediaPipe's where it has one."""

    palm: PalmConfig = field(default_factory=PalmConfig)
    sides: SideConfig = field(default_factory=SideConfig)
    box_scale: float = 1.6
    """Side of the first square that is read, over the longer side of a known box; of 1.3 to
    2.3, 1.5 and 1.7 miss the fewest hands (studio, validation)."""
    search_presence: float = 0.8
    """Least presence of a hand found without a palm, by rotating the image, 0..1."""
    paddings: tuple[float, ...] = (0.0, 0.25, 0.5, 0.8)
    """Margins tried in turn around the image, as a fraction of its longer side."""
    tiled_aspect: float = 2.0
    """Longer over shorter side from which tiles of an image are also searched for palms: in 80
    hands of two sizes side by side, the whole image shows 45 palms, tiles show all."""
    num_rotations: int = 8
    """Rotations of the full image tried when no palm leads to a sure hand; 0 = do not try."""
    landmark_roi_scale: float = 2.0
    """ROI side over landmark box. Source: hand_landmark_landmarks_to_roi.pbtxt."""
    landmark_roi_shift: float = -0.1
    """ROI shift along the hand (negative: to the fingers) over landmark box. Source: the same."""
    view_rotation_deg: float = 12.0
    """Turn of the views' ROIs; 24 is worse, 6 brings less (stereo pairs, see `HandDetector`)."""
    spread_scale: float = 0.025
    """Spread of the readings that halves the confidence, over hand size: the net's own error."""
    outside_confidence: float = 0.1
    """Factor on the confidence of a landmark outside the image or the crop: it is a guess."""
    border_margin: float = 0.05
    """Of a hand that the image's border cuts, landmarks this near to the border count as outside,
    too, over hand size: the net draws towards the image what lies beyond it. In 108 cut pictures
    half or more of the joints that were outside and marked inside lay so near."""

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.search_presence <= 1:
            raise ValueError(f"search_presence must be within 0..1, got {self.search_presence}")
        if not self.paddings or min(self.paddings) < 0:
            raise ValueError(f"paddings must be one or more numbers >= 0, got {self.paddings}")
        if not self.tiled_aspect >= 1:
            raise ValueError(f"tiled_aspect must be at least 1, got {self.tiled_aspect}")
