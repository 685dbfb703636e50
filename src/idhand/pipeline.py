"""The front door: `load()` → `pipe(rgb)` → hands; `calibrate()` → Identity."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from idhand.assets import OPEN_HAND
from idhand.assets import hand as hand_model
from idhand.assets.nets import shipped_networks
from idhand.calibration import Anchor, Calibration, CalibrationConfig, calibrate_shape
from idhand.detection import HandDetector
from idhand.fusion import CovarianceCalibration, FusionConfig, fuse
from idhand.geometry import intrinsics_from_fov, project
from idhand.hand import FittableHand, HandModel, ShapePrior
from idhand.identity import Identity, PhotoUse, measure
from idhand.lens import Distortion, lens_of
from idhand.media import check_intrinsics
from idhand.nets.reading import Reader
from idhand.records import Detection, HandResult
from idhand.refinement import (
    STATUS_NAMES,
    Objective,
    Observations,
    RefinementConfig,
    Solution,
    closed_form_start,
    hand_size_px,
    observations,
    solve,
)
from idhand.refinement.network import Trust, network_noise, solve_near, with_network
from idhand.refinement.observing import observed
from idhand.refinement.uncertainty import residual_px, uncertainty

Rgb = np.ndarray
"""uint8 (height, width, 3); checked with a sentence at the front door, as are the others."""
Intrinsics = np.ndarray
"""(3, 3) px."""

FLIP = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """Settings of the whole."""

    refinement: RefinementConfig = field(default_factory=RefinementConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    hand: str = OPEN_HAND
    """Name of the hand model, see `idhand.assets.hand`."""
    population: str = "all"
    """Whose shapes are the prior of an unknown person, see `FittableHand.of_population`."""
    calibration_views: int = 2
    """Views per hand that the landmark net averages when calibrating."""
    min_presence: float = 0.6
    """Calibration leaves out photos whose hand is less sure."""
    network: Path | Literal["shipped"] | None = "shipped"
    """A trained network whose pose is the start and part of the evidence; None: landmarks alone."""
    network_refinement: RefinementConfig = field(
        default_factory=lambda: RefinementConfig(objective=network_noise())
    )
    """The solver and the noise of the evidence where a network says the pose."""
    trust: Trust = field(default_factory=Trust)
    """How much the network's word counts beside the landmark net's."""
    network_calibration: CalibrationConfig = field(
        default_factory=lambda: CalibrationConfig(
            objective=replace(network_noise(), evidence_scale=0.3)
        )
    )
    """How photos are fused where a network says each one's pose and shape. The shapes it says are
    fused first and are the prior of the fit to its keypoints and directions. Both come from the
    same features, so the fit's evidence counts for less than it states (chosen on the studio's
    validation people, docs/results.md)."""

    def build(self) -> "Pipeline":
        """Load nets and hand model.

        Raises:
            FileNotFoundError: If there is no such network.
            ValueError: If it is none that the pipeline can use.
        """
        model, path = hand_model(self.hand).of_population(self.population), self.network
        if path == "shipped":
            path = shipped_networks() / "identity_film.safetensors"
        reader, calibration = None, None
        if path is not None:
            reader = Reader.load(Path(path), model.name)
            beside = Path(path).with_name("honesty.json")
            calibration = CovarianceCalibration.load(beside) if beside.is_file() else None
        return Pipeline(
            config=self,
            detector=HandDetector(),
            model=model,
            reader=reader,
            covariance_calibration=calibration,
        )


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Photo in, hands out."""

    config: PipelineConfig
    detector: HandDetector
    model: FittableHand
    reader: Reader | None = None
    covariance_calibration: CovarianceCalibration | None = None
    """Of the network's shapes: `honesty.json` beside its file. Without, they
    do not count in a calibration."""

    @cached_property
    def _left_model(self) -> HandModel:
        return self.model.mirrored()

    @property
    def prior(self) -> ShapePrior:
        """What is known of an unknown person's hand."""
        return self.model.prior

    def __call__(
        self,
        rgb: Rgb,
        K: Intrinsics | None = None,
        dist: Distortion = None,
        identity: Identity | None = None,
        previous: Sequence[HandResult] | None = None,
        mirrored: bool = False,
        max_hands: int = 2,
    ) -> list[HandResult]:
        """Estimate the hands of one image.

        Args:
            rgb: uint8 (height, width, 3).
            K: Intrinsics in px; without, 60° across the longer side are assumed.
            dist: Lens distortion, if the image is not rectified: OpenCV's 4, 5, 8, 12 or 14
                coefficients, or an `idhand.lens.Lens`, for example of a fish-eye.
            identity: Whose hands these are: fixes the shape, for left and right.
            previous: The last frame's hands; they are followed and no new ones are looked for.
            mirrored: The image is a mirror image (selfie preview), so sides swap.
            max_hands: At most this many, the surest first.

        Returns:
            One result per hand, in the camera frame, metres; empty if there is none.

        Raises:
            ValueError: If the image, K, the distortion or the identity is not usable.
        """
        if max_hands < 1:
            raise ValueError(f"max_hands must be at least 1, got {max_hands}")
        if identity is not None:
            identity.check_model(self.model)
        K_used, is_guess = self._intrinsics(rgb, K)
        dist = lens_of(dist)
        if previous:
            seen = [hand.detection for hand in previous]
            tracked = self.detector.track(rgb, seen, mirrored=mirrored)
            detections = [hand for hand in tracked if hand is not None][:max_hands]
        else:
            detections = self.detector.detect(rgb, max_hands=max_hands, mirrored=mirrored)
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

        The network has its say about detections with features; see `Reader.with_features`.
        """
        dist = lens_of(dist)
        if not detections:
            return []
        n = len(detections)
        reads = self.reader is not None and all(d.features is not None for d in detections)
        config = self.config.network_refinement if reads else self.config.refinement
        seen, world = observations(detections, [K] * n, [dist] * n, config.objective)
        objective = Objective(model=self.model, config=config.objective, prior=self.prior)
        betas = self.prior.mean
        if identity is not None:
            betas = torch.from_numpy(identity.betas)
        if reads:
            assert self.reader is not None
            known = None if identity is None else betas.expand(n, -1)
            said = self.reader.read(detections, [K] * n, [dist] * n, known)
            shapes = said.betas if known is None else known
            keypoints = self._network_keypoints(detections, [K] * n, [dist] * n)
            start, seen = with_network(
                self.model, said.rotations, shapes, seen, keypoints, self.config.trust
            )
            solution = solve_near(objective, seen, start, config, shape=known is None)
        else:
            start = closed_form_start(objective, seen, world, betas.expand(n, -1))
            solution = solve(objective, seen, start, config, shape=identity is None)
        return self._results(objective, detections, seen, solution, K, identity, K_is_guess)

    def fuse(
        self,
        detections: Sequence[Detection],
        Ks: Sequence[Intrinsics],
        dists: Sequence[Distortion],
        anchor: Anchor | None = None,
    ) -> Calibration:
        """One shape from one person's hands, which were detected each in an image of its own.

        The network has its say if all have features; see `Reader.with_features`.
        """
        reads = self.reader is not None and all(d.features is not None for d in detections)
        config = self.config.network_calibration if reads else self.config.calibration
        seen, world = observations(detections, Ks, dists, config.objective)
        if not reads:
            return calibrate_shape(self.model, seen, world, anchor=anchor, config=config)
        assert self.reader is not None
        said, prior = self.reader.read(detections, Ks, dists, None), self.prior
        if self.covariance_calibration is not None:
            fusing = FusionConfig(covariance_calibration=self.covariance_calibration)
            fused = fuse(said.betas, said.betas_cov, None, prior, fusing)
            prior = ShapePrior(mean=fused.betas, covariance=fused.covariance)
        keypoints = self._network_keypoints(detections, Ks, dists)
        start, seen = with_network(
            self.model, said.rotations, said.betas, seen, keypoints, self.config.trust
        )
        return calibrate_shape(self.model, seen, world, prior, anchor, config, start)

    def _network_keypoints(
        self,
        detections: Sequence[Detection],
        Ks: Sequence[Intrinsics],
        dists: Sequence[Distortion],
    ) -> torch.Tensor | None:
        """The network's own keypoints, as `Observations` have points; None: it marks none."""
        assert self.reader is not None
        points = self.reader.keypoints_px(detections)
        if points is None:
            return None
        rows = zip(points, Ks, dists, detections, strict=True)
        straight = [observed(px, K, dist, d.is_right) for px, K, dist, d in rows]
        return torch.from_numpy(np.stack(straight))

    def _intrinsics(self, rgb: Rgb, K: Intrinsics | None) -> tuple[Intrinsics, bool]:
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ValueError(
                f"the image must be uint8 of shape (height, width, 3), got {rgb.dtype} of shape "
                f"{rgb.shape}; idhand.read_image makes one from a file"
            )
        height, width = rgb.shape[:2]
        if K is None:
            return intrinsics_from_fov(width, height).numpy(), True
        return check_intrinsics(K, width, height), False

    def _results(
        self,
        objective: Objective,
        detections: Sequence[Detection],
        seen: Observations,
        solution: Solution,
        K: Intrinsics,
        identity: Identity | None,
        K_is_guess: bool,
    ) -> list[HandResult]:
        state = solution.state
        space = self.model.pose_space
        rotations = torch.cat((state.R[:, None], space.rotations(state.angles)), 1)
        posed = self.model.with_shape(state.betas).posed(rotations, state.wrist)
        residual = residual_px(objective, state, seen)
        at_keypoints = replace(self.model, landmarks=self.model.keypoints_on_bones)
        on_joints = replace(objective, model=at_keypoints)
        known = None if identity is None else torch.from_numpy(identity.covariance)
        spread, depth = uncertainty(objective, on_joints, state, seen, known)
        results = []
        for i, detection in enumerate(detections):
            flip = np.ones(3) if detection.is_right else FLIP
            keypoints = posed.keypoints[i].numpy() * flip
            pixels = project(torch.from_numpy(keypoints), torch.from_numpy(K)).numpy()
            model = self.model if detection.is_right else self._left_model
            results.append(
                HandResult(
                    is_right=detection.is_right,
                    score=detection.score,
                    bbox_px=detection.bbox_px,
                    keypoints_px=pixels,
                    keypoints_cam=keypoints,
                    verts_cam=posed.verts[i].numpy() * flip,
                    faces=model.faces.numpy(),
                    rotations=rotations[i].numpy(),
                    betas=state.betas[i].numpy(),
                    K=K,
                    K_is_guess=K_is_guess,
                    status=STATUS_NAMES[int(solution.status[i])],
                    residual_px=float(residual[i]),
                    keypoints_std_m=spread[i].numpy(),
                    depth_std_m=float(depth[i]),
                    detection=detection,
                )
            )
        return results


def load(config: PipelineConfig | None = None) -> Pipeline:
    """The embedded default: open hand, open nets, CPU; nothing is downloaded."""
    return (config or PipelineConfig()).build()


def calibrate(
    pipe: Pipeline,
    images: Iterable[Rgb],
    K: Intrinsics | Sequence[Intrinsics | None] | None = None,
    dist: Distortion = None,
    hand_length_mm: float | None = None,
    hand_length_sigma_mm: float = 2.0,
    is_right: bool | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> Identity:
    """Estimate one person's hand shape from photos.

    Args:
        pipe: From `load()`.
        images: uint8 (height, width, 3) each; of one person; left and right hands may be mixed.
        K: Intrinsics for all images, one per image (None where unknown), or None.
        dist: Lens distortion of all images, as `pipe` takes it.
        hand_length_mm: Distal wrist crease to the tip of the middle finger, hand flat, by ruler.
            Without it absolute size stays as uncertain as in the population.
        hand_length_sigma_mm: Standard deviation of that reading.
        is_right: Use only this side's hands.
        progress: Wraps the images, e.g. `tqdm`.

    Raises:
        ValueError: If no photo shows a usable hand, or an argument is out of range.
    """
    _check_anchor(hand_length_mm, hand_length_sigma_mm)
    dist = lens_of(dist)
    detections: list[Detection | None] = []
    cameras: list[tuple[Intrinsics, bool]] = []
    reasons: list[str] = []
    for index, rgb in enumerate(progress(images) if progress else images):
        camera = pipe._intrinsics(rgb, _intrinsics_of(K, index))
        hand, reason = _one_hand(pipe, rgb, is_right)
        detections.append(hand)
        cameras.append(camera)
        reasons.append(reason)
    used = [i for i, d in enumerate(detections) if d is not None]
    if not used:
        found = "; ".join(sorted(set(reasons))) or "no photos were given"
        raise ValueError(
            f"no usable hand in {len(detections)} photos ({found}); add clearer photos"
        )
    hands = [d for d in detections if d is not None]
    anchor = None
    if hand_length_mm is not None:
        anchor = Anchor(hand_length=hand_length_mm / 1e3, sigma=hand_length_sigma_mm / 1e3)
    fused = pipe.fuse(hands, [cameras[i][0] for i in used], [dist] * len(used), anchor)
    betas, covariance = fused.betas.numpy(), fused.covariance.numpy()
    known = sum(not cameras[i][1] for i in used)
    return Identity(
        model=pipe.model.name,
        betas=betas,
        covariance=covariance,
        measurements=measure(pipe.model, betas, covariance),
        photos=_photo_uses(reasons, used, fused),
        K_known="all" if known == len(used) else "some" if known else "none",
        sides=tuple(sorted({"right" if d.is_right else "left" for d in hands})),  # pyright: ignore
        hand_length_mm=hand_length_mm,
        hand_length_sigma_mm=None if hand_length_mm is None else hand_length_sigma_mm,
    )


def _check_anchor(length: float | None, sigma: float) -> None:
    if length is not None and not 80 <= length <= 300:
        raise ValueError(
            f"hand_length_mm is {length}, but adult hands are 150 to 230 mm from the wrist crease "
            "to the tip of the middle finger; give millimetres"
        )
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"hand_length_sigma_mm must be positive, got {sigma}")


def _intrinsics_of(
    K: Intrinsics | Sequence[Intrinsics | None] | None, index: int
) -> Intrinsics | None:
    if K is None or isinstance(K, np.ndarray):
        return K
    if index >= len(K):
        raise ValueError(f"K is a list of {len(K)}, but there are more images; give one per image")
    return K[index]


def _one_hand(pipe: Pipeline, rgb: Rgb, is_right: bool | None) -> tuple[Detection | None, str]:
    hands = pipe.detector.detect(rgb, max_hands=2, views=pipe.config.calibration_views)
    if is_right is not None:
        hands = [h for h in hands if h.is_right == is_right]
    if not hands:
        return None, "no hand found"
    best = max(hands, key=lambda h: h.score * hand_size_px(h))
    if best.score < pipe.config.min_presence:
        return None, f"hand not sure (presence {best.score:.2f})"
    if pipe.reader is not None:
        (best,) = pipe.reader.with_features(rgb, [best])
    return best, ""


def _photo_uses(reasons: list[str], used: list[int], fused: Calibration) -> tuple[PhotoUse, ...]:
    uses = [PhotoUse(weight=0.0, reason=reason) for reason in reasons]
    for k, index in enumerate(used):
        weight = float(fused.weights[k])
        reason = ""
        if weight < 0.7:
            fit, odd = float(fused.fit[k]), float(fused.disagreement[k])
            doubtful = f"doubtful pose (fits {fit:.1f} times worse than usual)"
            other = f"another shape than the other photos ({odd:.1f} times the usual disagreement)"
            reason = doubtful if fit > odd else other
        uses[index] = PhotoUse(weight=weight, reason=reason)
    return tuple(uses)
