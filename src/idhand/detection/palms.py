"""The palm detector: image → rotated squares around hands."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

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
    faint_threshold: float = 0.3
    """Least score of a faint palm, 0..1: of 102 hands in wide pairs of photos, those above 0.5 miss
    7 and those above 0.3 miss 1; of 16 photos of one hand, one has a palm in between."""
    overlap: float = 0.3
    """Palm boxes above this intersection over union are one palm. Source: the same."""
    roi_scale: float = 2.6
    """ROI side over palm box. Source: palm_detection_detection_to_roi.pbtxt."""
    roi_shift: float = -0.5
    """ROI shift along the hand (negative: to the fingers) over palm box. Source: the same."""

    def __post_init__(self):
        for name in ("score_threshold", "faint_threshold", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")
        if self.faint_threshold > self.score_threshold:
            raise ValueError(
                f"faint_threshold must be at most score_threshold ({self.score_threshold}), got "
                f"{self.faint_threshold}"
            )


@dataclass(frozen=True, kw_only=True)
class Palms:
    """Squares around the hands whose palms were seen, surest first."""

    clear: list[Roi]
    """Palms of at least `score_threshold`."""
    faint: list[Roi]
    """Palms of at least `faint_threshold` where no clear one is."""


class PalmDetector:
    """Finds palms in a whole image; holds the net."""

    def __init__(self, config: PalmConfig):
        self.config = config
        self._net = load_net("palm_detection_full").eval()
        self._anchors = palm_anchors()

    def rois(
        self, thumbnail: UInt8[np.ndarray, "rows columns 3"], size: tuple[int, int], padding: float
    ) -> list[Roi]:
        """Squares around the hands whose palms are clear, surest first; arguments as in `find`."""
        return self.find(thumbnail, size, padding).clear

    def find(
        self, thumbnail: UInt8[np.ndarray, "rows columns 3"], size: tuple[int, int], padding: float
    ) -> Palms:
        """Squares around the hands.

        Args:
            thumbnail: The image, or a small copy of it.
            size: Height and width of the image itself, px; the squares are in its pixels.
            padding: Black margin to imagine on each side, as a fraction of the longer side.
        """
        h, w = size
        scale = PALM_SIZE_PX / (max(h, w) * (1 + 2 * padding))
        inner_w, inner_h = max(round(w * scale), 1), max(round(h * scale), 1)
        left, top = (PALM_SIZE_PX - inner_w) // 2, (PALM_SIZE_PX - inner_h) // 2
        image = np.zeros((PALM_SIZE_PX, PALM_SIZE_PX, 3), np.uint8)
        image[top : top + inner_h, left : left + inner_w] = _resized(thumbnail, inner_w, inner_h)
        clear, faint = (
            [
                self._roi((box * PALM_SIZE_PX - (left, top)) * (w / inner_w, h / inner_h) - 0.5)
                for box in boxes
            ]
            for boxes in self._boxes(image)
        )
        return Palms(clear=clear, faint=faint)

    def _roi(self, p: Float[np.ndarray, "9 2"]) -> Roi:
        """The square around a hand, from its palm's box and key points in px."""
        extent = p[1] - p[0]
        angle = upright_angle(p[4] - p[2])
        at_palm = Roi(center_px=(p[0] + p[1]) / 2, size_px=1.0, angle_rad=angle)
        center = at_palm.to_image(np.array([0.5, 0.5 + self.config.roi_shift * extent[1]]))
        side = max(float(extent.max()) * self.config.roi_scale, 1.0)
        return replace(at_palm, center_px=center, size_px=side)

    def _boxes(
        self, image: UInt8[np.ndarray, "192 192 3"]
    ) -> tuple[list[Float[np.ndarray, "9 2"]], list[Float[np.ndarray, "9 2"]]]:
        """Box corners and seven key points of clear and of faint palms, 0..1 of the input."""
        c = self.config
        outputs = run_net(self._net, [image])
        scores = 1 / (1 + np.exp(-np.clip(outputs["scores"][0, :, 0], -80, 80)))

        def merged(keep: Bool[np.ndarray, " anchors"]) -> list[Float[np.ndarray, " 18"]]:
            values = outputs["boxes"][0, keep].reshape(-1, 9, 2) / PALM_SIZE_PX
            center, size, points = values[:, :1], values[:, 1:2], values[:, 2:]
            boxes = np.concatenate((center - size / 2, center + size / 2, points), 1)
            boxes = (boxes + self._anchors[keep, None]).reshape(-1, 18)
            return [box for _, box in weighted_nms(boxes, scores[keep], c.overlap)]

        clear = merged(scores >= c.score_threshold)
        faint = merged((scores >= c.faint_threshold) & (scores < c.score_threshold))
        known = np.array([box[:4] for box in clear]).reshape(-1, 4)
        faint = [box for box in faint if not (_overlap(box[:4], known) > c.overlap).any()]
        return [box.reshape(9, 2) for box in clear], [box.reshape(9, 2) for box in faint]


def thumbnail_of(rgb: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns 3"]:
    """A copy that is large enough for the palm detector; a small image is returned as it is."""
    h, w = rgb.shape[:2]
    scale = THUMBNAIL_SIZE_PX / max(h, w)
    return rgb if scale >= 1 else _resized(rgb, max(round(w * scale), 1), max(round(h * scale), 1))


def tile_corners(size: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Top-left corners (x, y) of squares that cover an image and overlap by half or more.

    Args:
        size: Height and width of the image, px.
        side: Of the squares, px; where it is more than the image's, they stick out.
    """

    def starts(length: int) -> list[int]:
        room = max(length - side, 0)
        steps = int(np.ceil(room / (side / 2)))
        return [round(room * i / max(steps, 1)) for i in range(steps + 1)]

    return [(x, y) for y in starts(size[0]) for x in starts(size[1])]


def _resized(
    image: UInt8[np.ndarray, "height width 3"], new_width: int, new_height: int
) -> UInt8[np.ndarray, "{new_height} {new_width} 3"]:
    shrinks = new_width < image.shape[1] or new_height < image.shape[0]
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (new_width, new_height), interpolation=way), np.uint8)
