"""The evaluation: predictions and the truth are joined by picture, every metric is taken."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from idhand.data import DataSet
from idhand.evaluation.hands import (
    NUM_KEYPOINTS,
    Hands,
    predicted_hands,
    predicted_points,
    true_hands,
    true_points,
)
from idhand.evaluation.motion import frame_accelerations_mm
from idhand.evaluation.report import METRICS, Report
from idhand.evaluation.scoring import (
    F_SCORES,
    Scores,
    missed_scores,
    picture_scores,
    point_scores,
    root_errors_mm,
)
from idhand.evaluation.shapes import (
    covered,
    measure_errors_mm,
    measure_sigmas_mm,
    rest_errors_mm,
)
from idhand.hand import HAND_LENGTH, FittableHand
from idhand.predictions import Predictions
from idhand.records import Sample

BATCH = 64
"""Pictures whose meshes are in memory at a time."""

Joints = Literal["kinematic", "regressed"]
"""The points that the hand turns about, as data sets label them; or weighted sums of the posed
vertices, on both sides."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is compared."""

    name: str
    joints: Joints
    regressor: Float[Tensor, "21 verts"] | None = None
    """Of a data set, for regressed joints; None for the hand model's own."""
    has_f_scores: bool = True
    """Also take F-scores, which need more time than all other metrics together."""

    def __post_init__(self):
        if self.joints not in get_args(Joints):
            known = " or ".join(get_args(Joints))
            raise ValueError(f"joints must be {known}, got {self.joints!r}")
        if self.regressor is not None and self.joints == "kinematic":
            raise ValueError("kinematic joints take no regressor; choose joints='regressed'")

    def keypoint_weights(self, model: FittableHand) -> Float[Tensor, "21 verts"] | None:
        """Keypoints from vertices, or None for kinematic joints.

        Raises:
            ValueError: If the regressor is one of another mesh.
        """
        if self.joints == "kinematic":
            return None
        if self.regressor is None:
            return model.keypoint_regressor
        if self.regressor.shape[1] != len(model.template):
            raise ValueError(
                f"the regressor takes {self.regressor.shape[1]} vertices, hand model "
                f"'{model.name}' has {len(model.template)}; give one of this model"
            )
        return self.regressor.to(model.template)


def standard() -> Protocol:
    """Kinematic joints, as DexYCB labels them; what `idhand evaluate` does."""
    return Protocol(name="standard", joints="kinematic")


def paper(regressor: Float[Tensor, "21 verts"] | None = None) -> Protocol:
    """Regressed joints; its own numbers are `mpjpe_root`, `mpvpe_model` and `mpvpe_root`.

    Source: Kong et al., "Identity-Aware Hand Mesh Estimation and Personalization from RGB
    Images", ECCV 2022. Its code averages means of batches; here every picture has the same weight.
    """
    return Protocol(name="paper", joints="regressed", regressor=regressor)


def labels(data: DataSet) -> Iterator[Sample]:
    """The samples of a set without their pixels: `data.labels()`."""
    return data.labels()


def evaluate(
    predictions: Predictions,
    truths: Iterable[Sample],
    model: FittableHand,
    protocol: Protocol | None = None,
) -> Report:
    """Compare predictions with the truth, in the frame of the real hand's camera.

    Pictures are joined by `Sample.id`, and come in the predictions' order. Of a sample with
    another hand model's shape, or with none, only keypoints are compared. Of predictions that are
    points alone, only metrics in the picture are taken, and the truth need not be in 3D.

    Args:
        predictions: Of one method.
        truths: Such as `data.labels()`, in any order; gone through once, few in memory at a time.
        model: The hand model of the predictions; of points alone any.
        protocol: What is compared; `standard()` if None.

    Raises:
        ValueError: If the predictions belong to another model, nothing can be joined, or a sample
            has no 3D truth.
    """
    protocol = protocol or standard()
    regressor = protocol.keypoint_weights(model)
    _check_model(predictions, model, protocol)
    tally, is_points = _Tally(predictions=predictions, model=model), predictions.kind == "points"
    for samples in _batches(truths, tally):
        rows = np.array([tally.rows[sample.id] for sample in samples])
        truth = true_points(samples, model) if is_points else true_hands(samples, model, regressor)
        tally.note_truth(rows, samples, truth)
        found = predictions.found[rows]
        hit, missed = np.flatnonzero(found).tolist(), np.flatnonzero(~found).tolist()
        if missed:
            tally.note_missed(rows[missed], _take(truth, missed), protocol)
        if hit:
            seen, ours = [samples[place] for place in hit], predictions.select(rows[hit])
            if is_points:
                tally.note_points(rows[hit], predicted_points(ours, model), _take(truth, hit))
                continue
            hands = predicted_hands(ours, seen, model, regressor)
            tally.note_found(rows[hit], hands, _take(truth, hit), protocol)
    return tally.report(protocol)


def _check_model(predictions: Predictions, model: FittableHand, protocol: Protocol) -> None:
    """Refuse predictions of another hand model, and meshes without a way to keypoints."""
    if predictions.kind == "points":
        if protocol.joints != "kinematic":
            raise ValueError(
                f"'{predictions.method}' predicts points in the picture alone and no vertices to "
                "regress joints from; evaluate it with kinematic joints"
            )
        if not predictions.has_keypoints_px:
            raise ValueError(
                f"'{predictions.method}' marks other points of the hand than its keypoints, which "
                "the truth has; evaluate the poses that were predicted with them"
            )
        return
    if predictions.model != model.name:
        raise ValueError(
            f"these predictions were made with hand model '{predictions.model}', but "
            f"'{model.name}' is in use; predict again with it"
        )
    if predictions.betas is not None and predictions.betas.shape[1] != model.num_betas:
        raise ValueError(
            f"these predictions have {predictions.betas.shape[1]} betas, hand model "
            f"'{model.name}' takes {model.num_betas}; predict again with it"
        )
    verts = predictions.verts_cam
    if verts is not None and verts.shape[1] != len(model.template):
        raise ValueError(
            f"these predictions have meshes of {verts.shape[1]} vertices, hand model "
            f"'{model.name}' has {len(model.template)}; vertices must be those of the model"
        )
    if verts is not None and protocol.joints == "kinematic":
        raise ValueError(
            f"'{predictions.method}' predicts meshes and no joints; evaluate it with regressed "
            "joints (--joints regressed)"
        )


def _batches(truths: Iterable[Sample], tally: "_Tally") -> Iterator[list[Sample]]:
    """Samples for which there are predictions, some at a time."""
    batch: list[Sample] = []
    for sample in truths:
        if tally.is_wanted(sample):
            batch.append(sample)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _take(hands: Hands, places: Sequence[int]) -> Hands:
    """Some of a batch."""
    return Hands(**{field.name: getattr(hands, field.name)[places] for field in fields(Hands)})


class _Tally:
    """The numbers of all pictures while they come in; a row for each prediction."""

    def __init__(self, *, predictions: Predictions, model: FittableHand):
        num = len(predictions)
        names = model.measures.names
        self.predictions, self.model, self.measure_names = predictions, model, names
        self.rows = {name: row for row, name in enumerate(predictions.sample_id)}
        self.samples_seen: set[str] = set()
        self.num_unpredicted = 0
        self.subject: list[str] = [""] * num
        self.sequence: list[tuple[str, str] | None] = [None] * num
        self.time_s = np.full(num, np.nan)
        self.joined, self.has_mesh, self.right_side = np.zeros((3, num), bool)
        self.values = {name: np.full(num, np.nan) for name in METRICS}
        self.keypoint_errors_mm = np.full((num, NUM_KEYPOINTS), np.nan)
        self.measure_errors_mm = np.full((num, len(names)), np.nan)
        self.measure_sigmas_mm = np.full((num, len(names)), np.nan)
        self.points = {side: np.full((num, NUM_KEYPOINTS, 3), np.nan) for side in ("ours", "truth")}
        self.placed = np.zeros(num, bool)

    def is_wanted(self, sample: Sample) -> bool:
        """Count the sample; whether there is a prediction for it.

        Raises:
            ValueError: If there was one with its id before.
        """
        if sample.id in self.samples_seen:
            raise ValueError(
                f"two samples of {sample.dataset} have the id {sample.id}; pictures are joined by "
                "it, so give each its own"
            )
        self.samples_seen.add(sample.id)
        self.num_unpredicted += sample.id not in self.rows
        return sample.id in self.rows

    def note_truth(self, rows: Int[np.ndarray, " n"], samples: list[Sample], truth: Hands) -> None:
        """Whose hands they are and what is known of them."""
        self.joined[rows], self.has_mesh[rows] = True, truth.has_mesh.numpy()
        self.points["truth"][rows] = truth.keypoints_cam.numpy()
        for row, sample in zip(rows.tolist(), samples, strict=True):
            self.subject[row] = sample.subject or ""
            self.right_side[row] = sample.is_right == self.predictions.is_right[row]
            if sample.sequence is not None and sample.time_s is not None:
                self.sequence[row] = (sample.subject or "", sample.sequence)
                self.time_s[row] = sample.time_s

    def note_missed(self, rows: Int[np.ndarray, " n"], truth: Hands, protocol: Protocol) -> None:
        """Hands that the method did not find."""
        has_position = self.predictions.wrist_cam is not None
        poses = self.predictions.rotations is not None
        has_pixels = (has_position and poses) or self.predictions.has_keypoints_px
        scores = missed_scores(truth, has_position=has_position, has_pixels=has_pixels)
        is_wanted = protocol.has_f_scores
        self._keep(rows, {n: v for n, v in scores.items() if is_wanted or n not in F_SCORES})
        self.keypoint_errors_mm[rows] = np.where(truth.valid.numpy(), np.inf, np.nan)

    def note_found(
        self, rows: Int[np.ndarray, " n"], hands: Hands, truth: Hands, protocol: Protocol
    ) -> None:
        """Hands that can be compared."""
        self._keep(rows, point_scores(hands, truth, has_f_scores=protocol.has_f_scores))
        self.keypoint_errors_mm[rows] = root_errors_mm(hands, truth).numpy()
        self.points["ours"][rows] = hands.keypoints_cam.numpy()
        self.placed[rows] = (hands.has_position & truth.has_position).numpy()
        self._keep(rows, {"rest_verts": rest_errors_mm(self.model, hands.betas, truth.betas)})
        if not self.measure_names:
            return
        errors = measure_errors_mm(self.model, hands.betas, truth.betas)
        self.measure_errors_mm[rows] = errors.numpy()
        self._keep(rows, {"measures": errors.abs().mean(1)})
        if HAND_LENGTH in self.measure_names:
            length = errors[:, self.measure_names.index(HAND_LENGTH)]
            self._keep(rows, {"hand_length": length.abs()})
        if self.predictions.betas_cov is not None:
            cov = torch.from_numpy(self.predictions.betas_cov[rows]).to(hands.betas)
            sigmas = measure_sigmas_mm(self.model, hands.betas, cov)
            self.measure_sigmas_mm[rows] = sigmas.numpy()
            rate = covered(errors, sigmas).to(errors.dtype).mean(1)
            self._keep(rows, {"coverage": torch.where(errors.isnan().any(1), torch.nan, rate)})

    def note_points(self, rows: Int[np.ndarray, " n"], points: Hands, truth: Hands) -> None:
        """Keypoints in the picture that can be compared."""
        self._keep(rows, picture_scores(points, truth))

    def _keep(self, rows: Int[np.ndarray, " n"], scores: Scores) -> None:
        for name, values in scores.items():
            self.values[name][rows] = values.numpy()

    def report(self, protocol: Protocol) -> Report:
        """All that was noted.

        Raises:
            ValueError: If no picture has both a prediction and a truth.
        """
        if not self.joined.any():
            raise ValueError(
                f"none of the {len(self.rows):,} pictures of '{self.predictions.method}' is among "
                f"the {len(self.samples_seen):,} of the data; name the set it was predicted on"
            )
        self._note_jitter()
        errors, sigmas = map(torch.from_numpy, (self.measure_errors_mm, self.measure_sigmas_mm))
        defined = {name: v for name, v in self.values.items() if not np.isnan(v).all()}
        found = self.predictions.found
        whole = Report(
            protocol=f"{protocol.name}, {protocol.joints} joints",
            header=self.predictions.header,
            sample_id=self.predictions.sample_id,
            subject=tuple(self.subject),
            found=found,
            has_mesh=self.has_mesh,
            values=defined,
            keypoint_errors_mm=self.keypoint_errors_mm,
            measure_names=self.measure_names,
            measure_errors_mm=self.measure_errors_mm,
            measure_covered=None
            if self.predictions.betas_cov is None
            else covered(errors, sigmas).numpy(),
            num_unpredicted=self.num_unpredicted,
            num_unknown=int((~self.joined).sum()),
            num_wrong_side=int((self.joined & found & ~self.right_side).sum()),
        )
        return whole.select(np.flatnonzero(self.joined))

    def _note_jitter(self) -> None:
        """Second differences in time, for frames of videos."""
        found = self.predictions.found[:, None, None]
        for side, suffix in (("ours", ""), ("truth", "_truth")):
            points = np.where(found, self.points[side], np.nan)
            placed = np.where(self.placed[:, None, None], points, np.nan)
            for frame, seen in (("root", points - points[:, :1]), ("camera", placed)):
                name = f"jitter_{frame}{suffix}"
                self.values[name] = frame_accelerations_mm(seen, self.sequence, self.time_s)
