"""Samples of any data set → what networks learn from: crops of right hands, truth in the view."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.utils.data import DataLoader

from idhand.data import DataSet, describe
from idhand.detection.roi import STABLE_LANDMARKS
from idhand.nets.crops import (
    Cut,
    JitterConfig,
    View,
    box_roi,
    crop_of,
    jittered,
    landmark_roi,
    view_of,
)
from idhand.records import Sample
from idhand.training.batches import Batch, SeenLabels
from idhand.training.colour import ColourConfig, recoloured
from idhand.training.draws import Once, Order
from idhand.training.processes import start_worker
from idhand.training.seen import HarmConfig, Seen, harmed, in_crop_px, what_is_seen

Labels = Literal["hand", "keypoints", "seen"]
"""What must be known: pose and shape (`hand`), keypoints in the picture alone, or all that can be
seen of a hand whose pose and shape are known (`seen`)."""


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How training crops are made of pictures.

    Raises:
        ValueError: If there is no such cut.
    """

    cut: Cut = "landmark"
    """See `idhand.nets.crops.Cut`."""
    jitter: JitterConfig | None = field(
        default_factory=lambda: JitterConfig(rotation_deg=15.0, shift=0.08, scale=0.12)
    )
    wide_jitter: JitterConfig | None = None
    """Of some of the crops, for hands that were found badly."""
    wide_share: float = 0.0
    """Of the crops, with the wide jitter."""
    colour: ColourConfig | None = None
    harm: HarmConfig | None = None
    """Things before the hand, borders through it and small pictures; of examples that are `seen`.
    """
    seed: int = 0
    """Of jitter and colour; apart from the training's, so that trainings can share features."""

    def __post_init__(self):
        if self.cut not in get_args(Cut):
            raise ValueError(f"cut must be one of {get_args(Cut)}, got '{self.cut}'")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.wide_share <= 1 or (self.wide_share > 0 and self.wide_jitter is None):
            raise ValueError(
                f"wide_share must be within 0..1 and needs a wide_jitter, got {self.wide_share}"
            )


@dataclass(frozen=True, kw_only=True)
class Example:
    """One crop with its truth."""

    rgb: UInt8[np.ndarray, "height width 3"]
    """Of a right hand."""
    rotations: Float[np.ndarray, "16 3 3"] | None
    """The wrist's relative to the view."""
    betas: Float[np.ndarray, " betas"] | None
    points_px: Float[np.ndarray, "21 2"]
    """In the crop; NaN where not known."""
    view: View
    seen: Seen | None = None


def make_example(
    sample: Sample,
    config: CropConfig,
    rng: np.random.Generator,
    *,
    labels: Labels,
    hand_model: str | None = None,
) -> Example:
    """Cut a training crop out of a sample.

    Args:
        sample: Any hand; left ones are mirrored.
        config: How.
        rng: For jitter and colour.
        labels: What must be known.
        hand_model: Name of the model that `hand` labels must belong to.

    Raises:
        ValueError: If the sample lacks the labels, or they belong to another model.
    """
    check_labels(sample, labels, hand_model)
    view = training_view(sample, config, rng)
    points = np.where(sample.valid[:, None], sample.keypoints_px, np.nan)
    rgb = crop_of(sample.rgb, view)
    seen = None
    if labels == "seen":
        seen = what_is_seen(sample, view)
        if config.harm is not None:
            rgb, seen = harmed(rgb, seen, in_crop_px(points, view), rng, config.harm)
    if config.colour is not None:
        rgb = recoloured(rgb, rng, config.colour)
    is_hand = labels != "keypoints"
    return Example(
        rgb=rgb,
        seen=seen,
        rotations=view.from_camera(_given(sample.rotations)) if is_hand else None,
        betas=sample.betas if is_hand else None,
        points_px=in_crop_px(points, view),
        view=view,
    )


def training_view(sample: Sample, config: CropConfig, rng: np.random.Generator) -> View:
    """How the training crop of a sample is taken; its pixels are not looked at.

    Args:
        sample: Any hand; left ones are mirrored.
        config: How.
        rng: For the jitter, which is drawn before anything else.

    Raises:
        ValueError: If the sample lacks keypoints that the crop is cut by.
    """
    if config.cut == "landmark":
        cut_by = list(STABLE_LANDMARKS)
        if not (sample.valid[cut_by].all() and np.isfinite(sample.keypoints_px[cut_by]).all()):
            raise ValueError(
                f"sample {sample.id} of '{sample.dataset}' lacks keypoints that the crop is cut "
                "by; leave it out, or cut by the box"
            )
        roi = landmark_roi(sample.keypoints_px)
    else:
        roi = box_roi(sample.bbox_px)
    jitter = config.jitter
    if config.wide_jitter is not None and rng.random() < config.wide_share:
        jitter = config.wide_jitter
    if jitter is not None:
        roi = jittered(roi, rng, jitter)
    return view_of(roi, sample.K, sample.dist, sample.is_right)


def check_labels(sample: Sample, labels: Labels, hand_model: str | None) -> None:
    """Make sure that a sample can be learnt from.

    Raises:
        ValueError: Saying what it lacks.
    """
    where = f"sample {sample.id} of '{sample.dataset}'"
    if not sample.valid.any():
        raise ValueError(f"{where} has no known keypoint; train with a data set that has keypoints")
    if labels == "keypoints":
        return
    missing = [name for name in ("betas", "rotations") if getattr(sample, name) is None]
    if missing:
        raise ValueError(
            f"{where} has no {' and no '.join(missing)}, which this network learns; use a data "
            "set with hand models fitted to the pictures, such as those of `idhand synth`"
        )
    if hand_model is not None and sample.model != hand_model:
        raise ValueError(
            f"{where} is labelled with hand model '{sample.model}', the network is of "
            f"'{hand_model}'; the numbers of one mean nothing to the other: use data of that model"
        )


def _given(array: np.ndarray | None) -> np.ndarray:
    assert array is not None
    return array


@dataclass(frozen=True, kw_only=True)
class ImageExamples:
    """Crops cut anew in every epoch: `Examples` for networks that see pictures.

    What is drawn for an example depends on its index, the epoch and the configuration's seed.
    """

    samples: DataSet
    """Picklable if there are workers."""
    config: CropConfig
    labels: Labels = "hand"
    hand_model: str | None = None
    num_workers: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Example:
        """The example of an epoch and an index."""
        epoch, index = key
        rng = np.random.default_rng([self.config.seed, epoch, index])
        return make_example(
            self.samples[index], self.config, rng, labels=self.labels, hand_model=self.hand_model
        )

    def name(self, index: int) -> str:
        """The sample's id."""
        return self.samples[index].id

    def description(self) -> dict[str, Any]:
        """Data and crops."""
        return {"data": describe(self.samples), "crops": asdict(self.config)}

    def batches(
        self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int
    ) -> Iterator[Batch]:
        """The part of process `rank` in the steps from `first` up to `end`."""
        keys = [
            [(keys.epoch, index) for index in keys.indices.tolist()]
            for keys in order.keys(first, end, rank=rank, ranks=ranks)
        ]
        loader = DataLoader(
            _Keyed(self),
            batch_sampler=keys,
            collate_fn=_collated,
            num_workers=self.num_workers,
            worker_init_fn=_start if self.num_workers else None,
            multiprocessing_context="spawn" if self.num_workers else None,
        )
        yield from loader


@dataclass(frozen=True)
class _Keyed(torch.utils.data.Dataset[tuple[int, int, Example]]):
    """The examples together with their keys."""

    examples: ImageExamples

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int, Example]:
        return *key, self.examples[key]


def _start(number: int) -> None:
    start_worker()


def _collated(items: Sequence[tuple[int, int, Example]]) -> Batch:
    """Examples of one batch."""
    epochs, indices, examples = zip(*items, strict=True)
    return batch_of(examples, indices, epochs[0])


def batch_of(examples: Sequence[Example], indices: Sequence[int], epoch: int) -> Batch:
    """Examples → one batch of crops."""

    def stacked(name: str) -> torch.Tensor | None:
        values = [getattr(example, name) for example in examples]
        return None if values[0] is None else torch.from_numpy(np.stack(values)).float()

    seen = None
    if examples[0].seen is not None:
        labels = [vars(example.seen) for example in examples]
        columns = {name: np.stack([label[name] for label in labels]) for name in labels[0]}
        seen = SeenLabels(**{name: torch.from_numpy(values) for name, values in columns.items()})
    crops = torch.from_numpy(np.stack([example.rgb for example in examples]))
    points = stacked("points_px")
    assert points is not None
    return Batch(
        inputs=crops.permute(0, 3, 1, 2).contiguous(),
        rotations=stacked("rotations"),
        betas=stacked("betas"),
        points_px=points,
        index=torch.tensor(indices),
        epoch=epoch,
        seen=seen,
    )
