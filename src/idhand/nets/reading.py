"""Detections → a network's features and poses: what a pipeline needs of a trained network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from idhand.detection.roi import Roi, crop
from idhand.geometry import rotation_from_6d
from idhand.hand import BonePoints, FittableHand
from idhand.nets.backbones import HandBackbone
from idhand.nets.crops import from_crop, in_camera, landmark_roi, view_of
from idhand.nets.estimate import CameraEstimate
from idhand.nets.files import keypoint_net_on, load_regressor
from idhand.nets.keypoints import MAP_SIDES, KeypointEstimate, KeypointNet
from idhand.nets.marks import marks_of
from idhand.nets.regressor import Regressor
from idhand.records import Detection, HandInImage, SeenKeypoints


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A network on a frozen hand net, reading hands that were detected."""

    net: Regressor
    """In evaluation mode."""
    keypoints: KeypointNet | None = None
    """On the same backbone, in evaluation mode."""

    @staticmethod
    def load(path: Path, hand_model: str) -> "Reader":
        """Read a network from a file.

        The shipped keypoint network comes with it if it stands on the same hand net.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a network for this hand model on a frozen hand net.
        """
        net = load_regressor(path, hand_model=hand_model)
        if not net.is_frozen or net.config.identity == "given":
            raise ValueError(
                f"{path} is a network on {net.config.backbone} with identity "
                f"'{net.config.identity}'; the pipeline needs one on a hand net that also serves "
                "unknown people, such as the presets baseline and identity_film train"
            )
        assert isinstance(net.backbone, HandBackbone)
        return Reader(net=net, keypoints=keypoint_net_on(net.backbone))

    @property
    def label(self) -> str:
        """Of the backbone, see `HandBackbone.label`."""
        assert isinstance(self.net.backbone, HandBackbone)
        return self.net.backbone.label

    def with_features(
        self, rgb: UInt8[np.ndarray, "height width 3"], detections: Sequence[Detection]
    ) -> list[Detection]:
        """The detections with what the backbone sees in their upright crops."""
        if not detections:
            return []
        rois = [_upright(d) for d in detections]
        crops = np.stack([crop(rgb, roi) for roi in rois])
        backbone = self.net.backbone
        assert isinstance(backbone, HandBackbone)
        features, keypoints = seen_in_crops(backbone, self.keypoints, crops, rois)
        rows = zip(detections, features, keypoints, strict=True)
        return [replace(d, features=f, keypoints=k) for d, f, k in rows]

    def points_px(self, detections: Sequence[Detection]) -> Float[np.ndarray, "hands 21 2"] | None:
        """What the backbone marks in the real picture, see `marks`; None: only landmarks.

        Args:
            detections: With features.
        """
        backbone = self.net.backbone
        assert isinstance(backbone, HandBackbone)
        if not backbone.predicts_keypoints:
            return None
        return network_points_px(
            backbone,
            np.stack([d.features for d in detections]),  # pyright: ignore
            [d.landmarks_px for d in detections],
            [d.is_right for d in detections],
        )

    def marks(self, model: FittableHand) -> BonePoints | None:
        """Where these points lie on the network's hand model; None: they are its keypoints."""
        assert isinstance(self.net.backbone, HandBackbone)
        if not self.net.backbone.predicts_keypoints:
            return None
        return marks_of(self.net.backbone, self.net.marks, model)

    def read(
        self, hands: Sequence[HandInImage], betas: Float[Tensor, "hands betas"] | None
    ) -> CameraEstimate:
        """Poses and shapes of hands, in their cameras' frames.

        Args:
            hands: With features.
            betas: The persons' shapes, if they are known.
        """
        features = np.stack([hand.detection.features for hand in hands])  # pyright: ignore
        with torch.inference_mode():
            known = None if betas is None or self.net.film is None else betas.float()
            estimate = self.net.from_features(torch.from_numpy(features).float(), known)
        rotations = rotation_from_6d(estimate.sixd.double())  # orthonormal to double precision
        turns = np.stack([_R_cam_view(hand) for hand in hands])
        cov = estimate.betas_cov
        return CameraEstimate(
            rotations=torch.from_numpy(in_camera(rotations.numpy(), turns)),
            betas=estimate.betas.double(),
            betas_cov=None if cov is None else cov.double(),
        )


def seen_in_crops(
    backbone: HandBackbone,
    net: KeypointNet | None,
    crops: UInt8[np.ndarray, "hands 224 224 3"],
    rois: Sequence[Roi],
) -> tuple[Float32[np.ndarray, "hands features"], list[SeenKeypoints | None]]:
    """Features of crops of right hands, and what a keypoint network on the same backbone sees.

    Args:
        backbone: Frozen; runs once for both.
        net: None: only features are wanted.
        crops: RGB.
        rois: How they were cut, mirrored for left hands.
    """
    with torch.inference_mode():
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        if net is None:
            return backbone(images).numpy(), [None] * len(crops)
        features, maps = backbone.with_maps(images, MAP_SIDES)
        estimate = net.from_maps(features, maps)
    return features.numpy(), keypoints_in_picture(estimate, rois)


def keypoints_in_picture(
    estimate: KeypointEstimate, rois: Sequence[Roi]
) -> list[SeenKeypoints | None]:
    """A keypoint network's estimates in the pixels of the real pictures.

    Args:
        estimate: Of crops.
        rois: How they were cut, mirrored for left hands.
    """
    names = ("points", "root_cov", "directions", "directions_std", "visible", "log_size")
    names += ("log_size_std",)
    values = {name: getattr(estimate, name).double().numpy() for name in names}
    out: list[SeenKeypoints | None] = []
    for i, roi in enumerate(rois):
        root = roi.size_px * roi.axes_image_roi @ values["root_cov"][i]
        out.append(
            SeenKeypoints(
                points_px=roi.to_image(values["points"][i]),
                cov_px=root @ root.transpose(0, 2, 1),
                visible=1 / (1 + np.exp(-values["visible"][i])),
                directions=values["directions"][i],
                directions_std=values["directions_std"][i],
                log_length_px=float(values["log_size"][i] + np.log(roi.size_px)),
                log_length_std=float(values["log_size_std"][i]),
            )
        )
    return out


def network_points_px(
    backbone: HandBackbone,
    features: Float[np.ndarray, "hands features"],
    landmarks_px: Iterable[Float[np.ndarray, "21 2"]],
    is_right: Iterable[bool | np.bool_],
) -> Float[np.ndarray, "hands 21 2"]:
    """What a backbone marks, from upright crops' features to the real pictures.

    Args:
        backbone: Whose features they are.
        features: Of crops about the landmarks.
        landmarks_px: By which the crops were cut.
        is_right: The persons' sides.
    """
    in_crops = backbone.landmarks_px(torch.from_numpy(features).double()).numpy()
    rows = zip(in_crops, landmarks_px, is_right, strict=True)
    return np.stack([from_crop(p, landmark_roi(seen), bool(right)) for p, seen, right in rows])


def _upright(detection: Detection) -> Roi:
    """The square that is cut, in which every hand is a right one."""
    return replace(landmark_roi(detection.landmarks_px), is_mirrored=not detection.is_right)


def _R_cam_view(hand: HandInImage) -> Float[np.ndarray, "3 3"]:
    """From the view of the upright crop to the (mirrored) camera."""
    seen, camera = hand.detection, hand.camera
    roi = landmark_roi(seen.landmarks_px)
    return view_of(roi, camera.K, camera.dist, seen.is_right).R_cam_view
