"""The front door: `load()` → `pipe(rgb)` → hands; `pipe.calibrate(images)` → Identity."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idhand.assets import OPEN_HAND
from idhand.assets import hand as hand_model
from idhand.assets.nets import shipped_networks
from idhand.calibration import (
    Anchor,
    Calibration,
    CalibrationConfig,
    RareHandWarning,
    calibrate_shape,
    calibration_with_network,
    photo_uses,
    surprise_at,
)
from idhand.detection import HandDetector, Side
from idhand.fusion import CovarianceCalibration, FusionConfig, covariance_file, fuse
from idhand.geometry import intrinsics_from_fov
from idhand.hand import BonePoints, FittableHand, ShapePrior
from idhand.identity import Identity, measure
from idhand.lens import Distortion, lens_of
from idhand.media import check_intrinsics
from idhand.nets.reading import Reader
from idhand.records import Camera, Detection, HandInImage, HandResult
from idhand.refinement import (
    Objective,
    Observations,
    RefinementConfig,
    State,
    Trust,
    both_nets,
    closed_form_start,
    hand_size_px,
    observations,
    solve,
)
from idhand.refinement.deviations import (
    AS_STATED,
    DeviationCalibration,
    Recalibration,
    deviations_file,
)
from idhand.refinement.network import network_keypoints, solve_near, with_network
from idhand.refinement.observing import observed
from idhand.refinement.populations import under_population
from idhand.refinement.results import hand_results

Rgb = np.ndarray
"""uint8 (height, width, 3); checked with a sentence at the front door, as are the others."""
Intrinsics = np.ndarray
"""(3, 3) px."""


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Settings of the whole."""

    refinement: RefinementConfig | None = None
    """None: `both_nets()` for hands with a network's features, `RefinementConfig()` without."""
    calibration: CalibrationConfig | None = None
    """None: `calibration_with_network()` or `CalibrationConfig()`, likewise."""
    hand: str = OPEN_HAND
    """Name of the hand model, see `idhand.assets.hand`."""
    population: str = "all"
    """Whose shapes are the prior of an unknown person, see `FittableHand.of_population`."""
    calibration_views: int = 2
    """Views per hand that the landmark net averages when calibrating."""
    min_presence: float = 0.6
    """Calibration leaves out photos with a lower detection score."""
    network: Path | Literal["shipped"] | None = "shipped"
    """A trained network whose pose is the start and an observation; None: landmarks alone."""

    def __post_init__(self):
        if not 0 <= self.min_presence <= 1:
            raise ValueError(f"min_presence must be between 0 and 1, got {self.min_presence}")

    def build(self) -> "Pipeline":
        """Load nets and hand model.

        Raises:
            FileNotFoundError: If there is no such network.
            ValueError: If it is none that the pipeline can use.
        """
        model, path = hand_model(self.hand).of_population(self.population), self.network
        if path == "shipped":
            path = shipped_networks() / "identity_film.safetensors"
        reader, calibration, deviations = None, None, AS_STATED
        if path is not None:
            reader = Reader.load(Path(path), model.name)
            beside = covariance_file(Path(path))
            calibration = None if beside is None else CovarianceCalibration.load(beside)
            if calibration is not None:
                calibration.check_model(model.name)
            beside = deviations_file(Path(path))
            if beside.is_file():
                deviations = DeviationCalibration.load(beside)
        return Pipeline(
            config=self,
            detector=HandDetector(),
            model=model,
            reader=reader,
            covariance_calibration=calibration,
            deviations=deviations,
        )


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Photo in, hands out."""

    config: PipelineConfig
    detector: HandDetector
    model: FittableHand
    reader: Reader | None = None
    covariance_calibration: CovarianceCalibration | None = None
    """Of the network's shapes, from a file beside it, see `covariance_file`. Without it,
    calibration does not use these shapes."""
    deviations: Recalibration = AS_STATED
    """What becomes of the deviations that a fit states, from a file beside the network, see
    `deviations_file`; without it they stay as they are."""

    @property
    def prior(self) -> ShapePrior:
        """What is known of an unknown person's hand."""
        return self.model.prior

    @cached_property
    def _trained_prior(self) -> ShapePrior:
        """The prior that networks are trained under: that of the whole population."""
        return self.model.of_population("all").prior

    @cached_property
    def _marks(self) -> BonePoints | None:
        """Where the points lie that the network marks; None: they are the model's keypoints."""
        return None if self.reader is None else self.reader.marks(self.model)

    def _of_usual_size(self, betas: torch.Tensor) -> torch.Tensor:
        """A network's shapes, which are of adults' size, brought to the population's."""
        if self.prior is self._trained_prior:
            return betas
        return self.model.resized(betas, self.model.relative_size(self.prior.mean))

    def __call__(
        self,
        rgb: Rgb,
        K: Intrinsics | None = None,
        dist: Distortion = None,
        identity: Identity | None = None,
        previous: Sequence[HandResult] | None = None,
        mirrored: bool = False,
        max_hands: int = 2,
        sides: Side | Sequence[Side | None] | None = None,
        boxes_px: Sequence[Any] | np.ndarray | None = None,
    ) -> list[HandResult]:
        """Estimate the hands of one image; `idhand.tracking.Tracker` takes those of a video.

        Args:
            rgb: uint8 (height, width, 3).
            K: Intrinsics in px; without, 60° across the longer side are assumed.
            dist: Lens distortion, if the image is not rectified: OpenCV's 4, 5, 8, 12 or 14
                coefficients, or an `idhand.lens.Lens`, for example of a fish-eye.
            identity: Whose hands these are: fixes the shape, for left and right.
            previous: The last frame's hands; they are followed and no new ones are looked for.
            mirrored: The image is a mirror image (selfie preview), so sides swap.
            max_hands: At most this many, the surest first; boxes are all read.
            sides: The person's side, "left" or "right", if it is known: of all hands, or one per
                hand of `previous` or `boxes_px` (None where unknown).
            boxes_px: Hands are read in these xyxy boxes and not looked for; boxes without a hand
                are left out of the results.

        Returns:
            One result per hand, in the camera frame, metres; empty if there is none.

        Raises:
            ValueError: If the image, K, the distortion, the identity, a side or a box is not
                usable, or if both `previous` and `boxes_px` are given.
        """
        if not isinstance(max_hands, (int, np.integer)) or max_hands < 1:
            raise ValueError(f"max_hands must be a whole number of 1 or more, got {max_hands!r}")
        self._check_identity(identity)
        K_used, is_guess = self._intrinsics(rgb, K)
        dist, detector = lens_of(dist), self.detector
        if boxes_px is not None:
            if previous:
                raise ValueError(
                    "previous and boxes_px are both given, but each of them sets where the hands "
                    "are; give one of them, or use idhand.tracking.Tracker"
                )
            found = detector.in_boxes(rgb, boxes_px, mirrored=mirrored, sides=sides)
        elif previous:
            if not all(isinstance(hand, HandResult) for hand in previous):
                raise ValueError("previous must be the results of the last frame, as pipe gives")
            seen = [hand.detection for hand in previous]
            found = detector.track(rgb, seen, mirrored=mirrored, sides=sides)
        elif sides is None or isinstance(sides, str):
            found = detector.detect(rgb, max_hands=max_hands, mirrored=mirrored, sides=sides)
        else:
            raise ValueError(
                "a list of sides needs boxes_px or previous, so that it is clear which side is "
                'whose; for all hands of an image give "left" or "right"'
            )
        hands = [hand for hand in found if hand is not None]
        hands = hands if boxes_px is not None else hands[:max_hands]
        if self.reader is not None:
            hands = self.reader.with_features(rgb, hands)
        return self.fit(hands, K_used, dist, identity, K_is_guess=is_guess)

    def estimate(
        self,
        rgb: Rgb,
        detections: Sequence[Detection],
        K: Intrinsics | None = None,
        dist: Distortion = None,
        identity: Identity | None = None,
    ) -> list[HandResult]:
        """Estimate hands that were detected in this image; arguments and errors as in a call.

        Returns:
            One result per detection, in their order.
        """
        self._check_identity(identity)
        K_used, is_guess = self._intrinsics(rgb, K)
        if self.reader is not None:
            detections = self.reader.with_features(rgb, detections)
        return self.fit(detections, K_used, dist, identity, K_is_guess=is_guess)

    def fit(
        self,
        detections: Sequence[Detection],
        K: Intrinsics,
        dist: Distortion = None,
        identity: Identity | None = None,
        *,
        K_is_guess: bool = False,
    ) -> list[HandResult]:
        """Fit the hand model to hands that were detected in one image.

        The network takes part if the detections have features; see `Reader.with_features`.
        """
        if not detections:
            return []
        camera = Camera(K=K, dist=lens_of(dist), is_guess=K_is_guess)
        hands = [HandInImage(detection=d, camera=camera) for d in detections]
        if identity is None:
            return self.fit_all(hands)
        betas = torch.from_numpy(identity.betas).expand(len(hands), -1)
        return self.fit_all(hands, betas, torch.from_numpy(identity.covariance))

    def fit_all(
        self,
        hands: Sequence[HandInImage],
        betas: Float[Tensor, "hands betas"] | None = None,
        betas_cov: Float[Tensor, "betas betas"] | None = None,
    ) -> list[HandResult]:
        """Fit the hand model to hands that were detected in any images, each by itself, together.

        Args:
            hands: The network takes part if all have features; see `Reader.with_features`.
            betas: Each one's shape, if all are known.
            betas_cov: Their covariance.
        """
        reads = self._reads(hands)
        config = self.config.refinement or (both_nets() if reads else RefinementConfig())
        objective = Objective(model=self.model, config=config.objective, prior=self.prior)
        seen, is_unknown = observations(hands, config.objective), betas is None
        if reads:
            start, seen = self._with_network(hands, seen, config.trust, betas)
            solution = solve_near(objective, seen, start, config, shape=is_unknown)
        else:
            shapes = self.prior.mean.expand(len(hands), -1) if betas is None else betas
            start = closed_form_start(objective, seen, shapes)
            solution = solve(objective, seen, start, config, shape=is_unknown)
        return hand_results(objective, hands, seen, solution, betas_cov, self.deviations)

    def fuse(self, hands: Sequence[HandInImage], anchor: Anchor | None = None) -> Calibration:
        """One shape from one person's hands, each detected in an image of its own.

        The network takes part if all have features; see `Reader.with_features`.
        """
        reads = self._reads(hands)
        default = calibration_with_network() if reads else CalibrationConfig()
        config = self.config.calibration or default
        seen, prior, start = observations(hands, config.objective), self.prior, None
        model = self.model
        if reads:
            prior = self.prior_with_network(hands)
            if config.network is None:
                start, seen = self._with_network(hands, seen, config.trust, None)
                model = self._biased_model()
            else:
                prior, start = self._network_first(hands, prior, config.network)
        if config.noise is not None:
            bias = config.noise.bias_covariance
            model = replace(model, landmarks=replace(model.landmarks, bias_covariance=bias))
        return calibrate_shape(model, seen, prior, anchor, config, start)

    def _network_first(
        self, hands: Sequence[HandInImage], prior: ShapePrior, config: CalibrationConfig
    ) -> tuple[ShapePrior, State | None]:
        """The prior once the network's own points are fitted, and the poses of that fit."""
        points = self.network_points(hands)
        if points is None:
            return prior, None
        seen = replace(observations(hands, config.objective), points_px=points)
        model = self.marked_model(None if config.noise is None else config.noise.bias_covariance)
        start, seen = self.as_network(model, hands, seen)
        fit = calibrate_shape(model, seen, prior, None, config, start)
        return ShapePrior(mean=fit.betas, covariance=fit.covariance), replace(fit.states, bias=None)

    def prior_with_network(self, hands: Sequence[HandInImage]) -> ShapePrior:
        """What is known of one person's shape once the network's shapes are fused.

        The prior alone if the network takes no part or its covariances are not calibrated.
        """
        if not self._reads(hands) or self.covariance_calibration is None:
            return self.prior
        assert self.reader is not None
        estimate = self.reader.read(hands, None)
        fusing = FusionConfig(covariance_calibration=self.covariance_calibration)
        fused = fuse(estimate.betas, estimate.betas_cov, None, self._trained_prior, fusing)
        posterior = ShapePrior(mean=fused.betas, covariance=fused.covariance)
        return under_population(self.model, posterior, self._trained_prior, self.prior)

    def _biased_model(self) -> FittableHand:
        """The model whose points differ from person to person as those do that count most."""
        if self._marks is None:
            return self.model
        landmarks = replace(self.model.landmarks, bias_covariance=self._marks.bias_covariance)
        return replace(self.model, landmarks=landmarks)

    def marked_model(self, bias_covariance: Tensor | None = None) -> FittableHand:
        """The model whose points are those that the network marks.

        Args:
            bias_covariance: Of the model's own keypoints, as the landmarks' if None; other points
                have one of their own.
        """
        if bias_covariance is None:
            bias_covariance = self.model.landmarks.bias_covariance
        keypoints = self.model.keypoints_on_bones
        marks = self._marks or replace(keypoints, bias_covariance=bias_covariance)
        return replace(self.model, landmarks=marks)

    def _reads(self, hands: Sequence[HandInImage]) -> bool:
        """Whether the network takes part."""
        features = [hand.detection.features for hand in hands]
        return self.reader is not None and all(f is not None for f in features)

    def _with_network(
        self,
        hands: Sequence[HandInImage],
        seen: Observations,
        trust: Trust,
        known: Tensor | None,
    ) -> tuple[State, Observations]:
        """Start and observations with the network's estimate; see `with_network`."""
        assert self.reader is not None
        estimate = self.reader.read(hands, known)
        shapes = self._of_usual_size(estimate.betas) if known is None else known
        keypoints = network_keypoints(hands)
        points = None if keypoints is not None else self.network_points(hands)
        return with_network(
            self.model, estimate.rotations, shapes, seen, points, trust, self._marks, keypoints
        )

    def as_network(
        self, model: FittableHand, hands: Sequence[HandInImage], seen: Observations
    ) -> tuple[State, Observations]:
        """Start and observations of the network alone.

        Args:
            model: With the points that the network marks, see `marked_model`.
            hands: With features.
            seen: Noise levels, and these points in the pictures, see `network_points`.
        """
        assert self.reader is not None
        estimate = self.reader.read(hands, None)
        shapes = self._of_usual_size(estimate.betas)
        trust = Trust(points="landmarks", directions="network")
        return with_network(model, estimate.rotations, shapes, seen, trust=trust)

    def network_points(self, hands: Sequence[HandInImage]) -> Tensor | None:
        """What the network marks, as `Observations` have points; None: it marks none."""
        assert self.reader is not None
        points = self.reader.points_px([hand.detection for hand in hands])
        if points is None:
            return None
        rows = [
            observed(px, hand.camera.K, hand.camera.dist, hand.detection.is_right)
            for px, hand in zip(points, hands, strict=True)
        ]
        return torch.from_numpy(np.stack(rows))

    def calibrate(
        self,
        images: Iterable[Rgb],
        K: Intrinsics | Sequence[Intrinsics | None] | None = None,
        dist: Distortion = None,
        hand_length_mm: float | None = None,
        hand_length_sigma_mm: float = 2.0,
        is_right: bool | None = None,
        side: Side | None = None,
        progress: Callable[..., Iterable[Any]] | None = None,
    ) -> Identity:
        """Estimate one person's hand shape from photos.

        Args:
            images: uint8 (height, width, 3) each; of one person; left and right hands may be mixed.
            K: Intrinsics for all images, one per image (None where unknown), or None.
            dist: Lens distortion of all images, as `pipe` takes it.
            hand_length_mm: Distal wrist crease to the tip of the middle finger, hand flat, by
                ruler. Without it absolute size stays as uncertain as in the population.
            hand_length_sigma_mm: Standard deviation of that reading.
            is_right: Use only this side's hands, as they are detected.
            side: The person's side of the hands in all photos, "left" or "right", if it is known.
            progress: Wraps the images, e.g. `tqdm`.

        Raises:
            ValueError: If no photo shows a usable hand, or an argument is out of range.

        Warns:
            RareHandWarning: If hands of the ruler's length are very rare; with the result.
        """
        anchor, dist = Anchor.from_mm(hand_length_mm, hand_length_sigma_mm), lens_of(dist)
        photos: list[HandInImage | str] = []
        for index, rgb in enumerate(progress(images) if progress else images):
            K_used, is_guess = self._intrinsics(rgb, _intrinsics_of(K, index))
            camera = Camera(K=K_used, dist=dist, is_guess=is_guess)
            found = self._one_hand(rgb, is_right, side)
            is_hand = isinstance(found, Detection)
            photos.append(HandInImage(detection=found, camera=camera) if is_hand else found)
        if K is not None and not isinstance(K, np.ndarray) and len(K) != len(photos):
            raise ValueError(
                f"K is a list of {len(K)}, but there are {len(photos)} images; give one per image"
            )
        hands = [photo for photo in photos if isinstance(photo, HandInImage)]
        if not hands:
            causes = {photo for photo in photos if isinstance(photo, str)}
            found = "; ".join(sorted(causes)) or "no photos were given"
            many = "photo" if len(photos) == 1 else "photos"
            raise ValueError(
                f"no usable hand in {len(photos)} {many} ({found}); add clearer photos"
            )
        fused = self.fuse(hands, anchor)
        known = sum(not hand.camera.is_guess for hand in hands)
        person = Identity(
            model=self.model.shape_name,
            betas=fused.betas.numpy(),
            covariance=fused.covariance.numpy(),
            measurements=measure(self.model, fused.betas.numpy(), fused.covariance.numpy()),
            photos=photo_uses(photos, fused),
            K_known="all" if known == len(hands) else "some" if known else "none",
            sides=_sides(hands),
            hand_length_mm=hand_length_mm,
            hand_length_sigma_mm=None if hand_length_mm is None else hand_length_sigma_mm,
        )
        if anchor is not None and (sentence := surprise_at(anchor, self.model, self.prior, person)):
            warnings.warn(sentence, RareHandWarning, stacklevel=2)
        return person

    def _check_identity(self, identity: Identity | None) -> None:
        """Refuse what is no profile, and one of another hand model."""
        if identity is None:
            return
        if not isinstance(identity, Identity):
            raise ValueError(
                f"identity must be an idhand.Identity, got {type(identity).__name__}; "
                "idhand.Identity.load reads one from a file"
            )
        identity.check_model(self.model)

    def _one_hand(self, rgb: Rgb, is_right: bool | None, side: Side | None) -> Detection | str:
        """The hand to calibrate from, or why there is none."""
        views = self.config.calibration_views
        hands = self.detector.detect(rgb, max_hands=2, views=views, sides=side)
        if is_right is not None:
            hands = [h for h in hands if h.is_right == is_right]
        if not hands:
            return "no hand found"
        best = max(hands, key=lambda h: h.score * hand_size_px(h))
        if best.score < self.config.min_presence:
            return f"hand not sure (presence {best.score:.2f})"
        if self.reader is not None:
            (best,) = self.reader.with_features(rgb, [best])
        return best

    def _intrinsics(self, rgb: Rgb, K: Intrinsics | None) -> tuple[Intrinsics, bool]:
        if not isinstance(rgb, np.ndarray):
            raise ValueError(
                f"the image must be a NumPy array, got {type(rgb).__name__}; idhand.read_image "
                "makes one from a file"
            )
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(
                f"the image must be uint8 of shape (height, width, 3), got {rgb.dtype} of shape "
                f"{rgb.shape}; idhand.read_image makes one from a file"
            )
        height, width = rgb.shape[:2]
        if K is None:
            return intrinsics_from_fov(width, height).numpy(), True
        return check_intrinsics(K, width, height), False


def load(config: PipelineConfig | None = None) -> Pipeline:
    """The embedded default: open hand, open nets, CPU; nothing is downloaded."""
    return (config or PipelineConfig()).build()


def calibrate(pipe: Pipeline, images: Iterable[Rgb], *args: Any, **kwargs: Any) -> Identity:
    """Estimate one person's hand shape from photos: `pipe.calibrate(images, ...)`."""
    return pipe.calibrate(images, *args, **kwargs)


def _intrinsics_of(
    K: Intrinsics | Sequence[Intrinsics | None] | None, index: int
) -> Intrinsics | None:
    if K is None or isinstance(K, np.ndarray):
        return K
    if index >= len(K):
        raise ValueError(f"K is a list of {len(K)}, but there are more images; give one per image")
    return K[index]


def _sides(hands: Sequence[HandInImage]) -> tuple[Literal["left", "right"], ...]:
    right = {hand.detection.is_right for hand in hands}
    return (*(("left",) if False in right else ()), *(("right",) if True in right else ()))
