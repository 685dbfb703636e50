"""The palm detector: image → rotated squares around hands."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from idhand.assets.nets import load_net, run_net
from idhand.detection.roi import Roi, upright_angle

PALM_SIZE_PX = 192
"""Side of the palm detector's input. Source: its graph."""
ANCHOR_GRIDS = ((8, 2), (16, 6))
"""Stride in px of 192 and anchors per cell. Source: palm_detection_cpu.pbtxt of MediaPipe."""
THUMBNAIL_SIZE_PX = 4 * PALM_SIZE_PX
"""Larger images are shrunk to this once, before the palm detector's retries."""


def palm_anchors() -> Float[np.ndarray, "2016 2"]:
    """Centres of the palm detector's anchors, 0..1 of its input, in the order of its output."""
    grids = []
    for stride_px, count in ANCHOR_GRIDS:
        cells = PALM_SIZE_PX // stride_px
        y, x = np.mgrid[:cells, :cells]
        centers = (np.stack((x, y), -1).reshape(-1, 2) + 0.5) / cells
        grids.append(np.repeat(centers, count, axis=0))
    return np.concatenate(grids)


def _overlap(
    box: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "boxes 4"]
) -> Float[np.ndarray, " boxes"]:
    """Intersection over union of one xyxy box with several."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-12)


def weighted_nms(
    boxes: Float[np.ndarray, "boxes values"], scores: Float[np.ndarray, " boxes"], overlap: float
) -> list[tuple[float, Float[np.ndarray, " values"]]]:
    """Merge overlapping boxes into their mean weighted by score; best first.

    Args:
        boxes: The first four values are xyxy; further values are averaged along.
        scores: Positive.
        overlap: Intersection over union above which a box joins a better one.

    Source: Bazarevsky et al., "BlazeFace", 2019, section 3.4.
    """
    order = np.argsort(-scores, kind="stable")
    merged = []
    while len(order):
        joins = _overlap(boxes[order[0], :4], boxes[order, :4]) > overlap
        joins[0] = True
        group = order[joins]
        mean = np.average(boxes[group], axis=0, weights=scores[group])
        merged.append((float(scores[order[0]]), mean))
        order = order[~joins]
    return merged


@dataclass(frozen=True, kw_only=True)
class PalmConfig:
    """Thresholds and geometry of `PalmDetector`; the defaults are MediaPipe's."""

    score_threshold: float = 0.5
    """Least palm score, 0..1. Source: palm_detection_cpu.pbtxt."""
    overlap: float = 0.3
    """Palm boxes above this intersection over union are one palm. Source: the same."""
    roi_scale: float = 2.6
    """ROI side over palm box. Source: palm_detection_detection_to_roi.pbtxt."""
    roi_shift: float = -0.5
    """ROI shift along the hand (negative: to the fingers) over palm box. Source: the same."""

    def __post_init__(self):
        for name in ("score_threshold", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")


class PalmDetector:
    """Finds palms in a whole image; holds the net."""

    def __init__(self, config: PalmConfig):
        self.config = config
        self._net = load_net("palm_detection_full").eval()
        self._anchors = palm_anchors()

    def rois(
        self, thumbnail: UInt8[np.ndarray, "rows columns 3"], size: tuple[int, int], padding: float
    ) -> list[Roi]:
        """Squares around the hands, surest first.

        Args:
            thumbnail: The image, or a small copy of it.
            size: Height and width of the image itself, px; the squares are in its pixels.
            padding: Black margin to imagine on each side, as a fraction of the longer side.
        """
        c = self.config
        h, w = size
        scale = PALM_SIZE_PX / (max(h, w) * (1 + 2 * padding))
        inner_w, inner_h = max(round(w * scale), 1), max(round(h * scale), 1)
        left, top = (PALM_SIZE_PX - inner_w) // 2, (PALM_SIZE_PX - inner_h) // 2
        image = np.zeros((PALM_SIZE_PX, PALM_SIZE_PX, 3), np.uint8)
        image[top : top + inner_h, left : left + inner_w] = _resized(thumbnail, inner_w, inner_h)
        rois = []
        for box in self._boxes(image):
            p = (box * PALM_SIZE_PX - (left, top)) * (w / inner_w, h / inner_h) - 0.5
            extent = p[1] - p[0]
            angle = upright_angle(p[4] - p[2])
            at_palm = Roi(center_px=(p[0] + p[1]) / 2, size_px=1.0, angle_rad=angle)
            center = at_palm.to_image(np.array([0.5, 0.5 + c.roi_shift * extent[1]]))
            side = max(float(extent.max()) * c.roi_scale, 1.0)
            rois.append(replace(at_palm, center_px=center, size_px=side))
        return rois

    def _boxes(self, image: UInt8[np.ndarray, "192 192 3"]) -> list[Float[np.ndarray, "9 2"]]:
        """Box corners and seven key points of each palm, 0..1 of the detector's input."""
        outputs = run_net(self._net, [image])
        scores = 1 / (1 + np.exp(-np.clip(outputs["scores"][0, :, 0], -80, 80)))
        keep = scores >= self.config.score_threshold
        values = outputs["boxes"][0, keep].reshape(-1, 9, 2) / PALM_SIZE_PX
        center, size, points = values[:, :1], values[:, 1:2], values[:, 2:]
        boxes = np.concatenate((center - size / 2, center + size / 2, points), 1)
        boxes = (boxes + self._anchors[keep, None]).reshape(-1, 18)
        merged = weighted_nms(boxes, scores[keep], self.config.overlap)
        return [box.reshape(9, 2) for _, box in merged]


def thumbnail_of(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """A copy that is large enough for the palm detector; a small image is returned as it is."""
    h, w = rgb.shape[:2]
    scale = THUMBNAIL_SIZE_PX / max(h, w)
    return rgb if scale >= 1 else _resized(rgb, max(round(w * scale), 1), max(round(h * scale), 1))


def _resized(
    image: UInt8[np.ndarray, "height width 3"], new_width: int, new_height: int
) -> UInt8[np.ndarray, "{new_height} {new_width} 3"]:
    shrinks = new_width < image.shape[1] or new_height < image.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (new_width, new_height), interpolation=way), np.uint8)
