"""All pictures of a data set in a GPU's memory, where the crops are cut: as fast as the GPU is."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from idhand.data import DataSet, describe
from idhand.detection.roi import CROP_SIZE_PX
from idhand.geometry import rotation_from_vector, rotation_towards
from idhand.interrupts import results
from idhand.nets.crops import box_roi, landmark_roi
from idhand.records import Sample
from idhand.training.batches import Batch
from idhand.training.colour import recoloured_on_device
from idhand.training.draws import COLOUR, JITTER, Once, Order, uniforms
from idhand.training.examples import CropConfig, check_labels
from idhand.training.processes import start_worker

CHUNK = 500
"""Samples that a worker reads at once."""
LARGEST_PX = 2 * CROP_SIZE_PX
"""Side of a square that is cut without shrinking the picture first."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Many samples as arrays: pictures of one size, truth, and where each hand's square is."""

    rgb: UInt8[np.ndarray, "samples height width 3"]
    K: Float32[np.ndarray, "samples 3 3"]
    is_right: Bool[np.ndarray, " samples"]
    rotations: Float32[np.ndarray, "samples 16 3 3"]
    """As in `Sample`: the wrist's relative to the camera, for left hands to the mirrored one."""
    betas: Float32[np.ndarray, "samples betas"]
    points_px: Float32[np.ndarray, "samples 21 2"]
    """In the picture; NaN where not known."""
    roi: Float32[np.ndarray, "samples 4"]
    """Centre x, y and side in px, angle in radians."""

    @staticmethod
    def read(
        samples: DataSet, config: CropConfig, hand_model: str | None, *, workers: int = 1
    ) -> "Labelled":
        """Read all samples.

        Args:
            samples: Picklable if there are several workers.
            config: Which square is cut.
            hand_model: Name of the model that the labels must belong to.
            workers: Processes.

        Raises:
            ValueError: If a sample lacks labels, has a distorted lens or too large a hand, or the
                pictures differ in size.
        """
        starts = range(0, len(samples), CHUNK)
        jobs = [
            (range(i, min(i + CHUNK, len(samples))), samples, config, hand_model) for i in starts
        ]
        if workers < 2 or len(jobs) < 2:
            return Labelled.joined([_read(*job) for job in jobs])
        pool = ProcessPoolExecutor(
            min(workers, len(jobs)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=start_worker,
        )
        parts = dict(results(pool, _read, jobs))
        return Labelled.joined([parts[number] for number in range(len(jobs))])

    @staticmethod
    def joined(parts: Sequence["Labelled"]) -> "Labelled":
        """All samples of all parts.

        Raises:
            ValueError: If the pictures differ in size.
        """
        sizes = {part.rgb.shape[1:3] for part in parts}
        if len(sizes) > 1:
            raise ValueError(
                f"pictures of different sizes ({sorted(sizes)}) cannot be kept in memory together; "
                "leave out --in-memory"
            )
        names = [field.name for field in fields(Labelled)]
        return Labelled(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )


def _read(indices: range, samples: DataSet, config: CropConfig, hand_model: str | None) -> Labelled:
    """Some of the samples."""
    rows: dict[str, list[Any]] = {field.name: [] for field in fields(Labelled)}
    for index in indices:
        for name, value in _row(samples[index], config, hand_model).items():
            rows[name].append(value)
    sizes = {rgb.shape[:2] for rgb in rows["rgb"]}
    if len(sizes) > 1:
        raise ValueError(
            f"pictures of different sizes ({sorted(sizes)}) cannot be kept in memory together; "
            "leave out --in-memory"
        )
    kinds = {"rgb": np.uint8, "is_right": np.bool_}
    return Labelled(
        **{name: np.stack(row).astype(kinds.get(name, np.float32)) for name, row in rows.items()}
    )


def _row(sample: Sample, config: CropConfig, hand_model: str | None) -> dict[str, Any]:
    check_labels(sample, "hand", hand_model)
    if np.any(sample.dist):
        raise ValueError(
            f"sample {sample.id} of '{sample.dataset}' has a distorted lens; leave out --in-memory"
        )
    is_upright = config.cut == "landmark"
    roi = landmark_roi(sample.keypoints_px) if is_upright else box_roi(sample.bbox_px)
    if roi.size_px > LARGEST_PX:
        raise ValueError(
            f"the hand in sample {sample.id} of '{sample.dataset}' fills a square of "
            f"{roi.size_px:.0f} px, more than the {LARGEST_PX} that are cut without shrinking; "
            "leave out --in-memory"
        )
    return {
        "rgb": sample.rgb,
        "K": sample.K,
        "is_right": sample.is_right,
        "rotations": sample.rotations,
        "betas": sample.betas,
        "points_px": np.where(sample.valid[:, None], sample.keypoints_px, np.nan),
        "roi": (*roi.center_px, roi.size_px, roi.angle_rad),
    }


@dataclass(frozen=True, kw_only=True)
class MemoryExamples:
    """`Examples` that are cut out of pictures in memory, anew in every epoch.

    The same crops as `ImageExamples` cuts, with other draws: by counter, for a whole batch at once.
    """

    data: Labelled
    config: CropConfig
    device: torch.device
    about: dict[str, Any]
    """What fixes the samples."""
    samples: DataSet
    """For their names."""

    @staticmethod
    def read(
        samples: DataSet,
        config: CropConfig,
        hand_model: str | None,
        *,
        workers: int,
        device: torch.device,
    ) -> "MemoryExamples":
        """Read all samples; errors as in `Labelled.read`."""
        return MemoryExamples(
            data=Labelled.read(samples, config, hand_model, workers=workers),
            config=config,
            device=device,
            about=describe(samples),
            samples=samples,
        )

    def __len__(self) -> int:
        return len(self.data.roi)

    def name(self, index: int) -> str:
        """The sample's id."""
        return self.samples[index].id

    def description(self) -> dict[str, Any]:
        """Data and crops."""
        return {"data": self.about, "crops": asdict(self.config), "draws": "by counter"}

    def batches(
        self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int
    ) -> Iterator[Batch]:
        """The part of process `rank` in the steps from `first` up to `end`."""
        tables = {
            field.name: torch.from_numpy(getattr(self.data, field.name)).to(self.device)
            for field in fields(Labelled)
        }
        for keys in order.keys(first, end, rank=rank, ranks=ranks):
            index = torch.from_numpy(keys.indices).to(self.device)
            rows = {name: table.index_select(0, index) for name, table in tables.items()}
            yield self._batch(rows, keys.indices, index, keys.epoch)

    def _batch(
        self, rows: dict[str, Tensor], indices: Int[np.ndarray, " batch"], index: Tensor, epoch: int
    ) -> Batch:
        roi, sign = rows["roi"].double(), torch.where(rows["is_right"], 1.0, -1.0).double()
        if self.config.jitter is not None:
            roi = self._jittered(roi, self._draws(epoch, indices, JITTER, 4))
        axes = _axes(roi[:, 3], sign)
        images = _cut(rows["rgb"], roi, axes)
        if self.config.colour is not None:
            drawn = self._draws(epoch, indices, COLOUR, 9)
            images = recoloured_on_device(images, drawn, self.config.colour)
        R = _view_rotations(roi, sign, rows["K"].double()).float()
        wrist = R.mT @ rows["rotations"][:, 0]
        inside = (rows["points_px"] - roi[:, None, :2]) @ axes / roi[:, None, None, 2] + 0.5
        return Batch(
            inputs=images / 255,
            rotations=torch.cat((wrist[:, None], rows["rotations"][:, 1:]), 1),
            betas=rows["betas"],
            points_px=(inside * CROP_SIZE_PX - 0.5).float(),
            index=index,
            epoch=epoch,
        )

    def _draws(
        self, epoch: int, indices: Int[np.ndarray, " batch"], stream: int, count: int
    ) -> Float[Tensor, "batch draws"]:
        drawn = uniforms(self.config.seed, epoch, indices, stream, count)
        return torch.from_numpy(drawn).to(self.device)

    def _jittered(
        self, roi: Float[Tensor, "batch 4"], drawn: Float[Tensor, "batch 4"]
    ) -> Float[Tensor, "batch 4"]:
        """As `idhand.nets.crops.jittered`."""
        jitter = self.config.jitter
        assert jitter is not None
        turn, x, y, size = (2 * drawn - 1).unbind(1)
        axes = _axes(roi[:, 3], torch.ones_like(turn))
        shift = jitter.shift * roi[:, 2:3] * (axes @ torch.stack((x, y), 1)[..., None])[..., 0]
        side = roi[:, 2] * torch.exp(jitter.scale * size)
        angle = roi[:, 3] + np.radians(jitter.rotation_deg) * turn
        return torch.cat((roi[:, :2] + shift, side[:, None], angle[:, None]), 1)


def _axes(
    angle: Float[Tensor, " batch"], sign: Float[Tensor, " batch"]
) -> Float[Tensor, "batch 2 2"]:
    """Directions in the square → in the picture; `sign` is −1 for mirrored squares."""
    c, s = angle.cos(), angle.sin()
    return torch.stack((sign * c, -s, sign * s, c), 1).unflatten(1, (2, 2))


def _cut(
    rgb: UInt8[Tensor, "batch height width 3"],
    roi: Float[Tensor, "batch 4"],
    axes: Float[Tensor, "batch 2 2"],
) -> Float[Tensor, "batch 3 side side"]:
    """Crops, 0..255; everything outside the picture is black."""
    step = roi[:, 2, None, None] * axes / CROP_SIZE_PX
    ends = (torch.arange(CROP_SIZE_PX, device=rgb.device).double() + 0.5) - CROP_SIZE_PX / 2
    size = rgb.new_tensor([rgb.shape[2], rgb.shape[1]], dtype=torch.float64)
    # Of grid_sample: -1 and 1 are the picture's edges, half a pixel outside its outer centres.
    theta = torch.cat((step, roi[:, :2, None] + 0.5), 2) * 2 / size[:, None]
    x, y = theta[..., 0, None, None], theta[..., 1, None, None]
    grid = x * ends + y * ends[:, None] + (theta[..., 2] - 1)[..., None, None]
    pictures = rgb.permute(0, 3, 1, 2).float()
    return F.grid_sample(pictures, grid.permute(0, 2, 3, 1).float(), align_corners=False)


def _view_rotations(
    roi: Float[Tensor, "batch 4"], sign: Float[Tensor, " batch"], K: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, "batch 3 3"]:
    """As `idhand.nets.crops.view_of`, without distortion."""
    xy = torch.linalg.solve(K, F.pad(roi[:, :2], (0, 1), value=1.0))[:, :2]
    ray = torch.stack((sign * xy[:, 0], xy[:, 1]), 1)
    roll = F.pad((sign * roi[:, 3])[:, None], (2, 0))
    return rotation_towards(ray) @ rotation_from_vector(roll)
