"""What a frozen backbone makes of a data set, computed once and kept: trainings of heads read it.

A folder of chunks, each a file that is whole or not there, so that the same call goes on after a
kill. Chunks do not depend on the number of processes.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int
from torch import Tensor, nn

from idhand.data import DataSet, Subset, describe
from idhand.files import FileKind, read_arrays, read_json, remove_leftovers, replacing
from idhand.interrupts import results
from idhand.training.batches import Batch, SeenLabels
from idhand.training.draws import Once, Order
from idhand.training.examples import CropConfig, Labels, batch_of, make_example
from idhand.training.processes import start_worker

KIND = FileKind(
    format="idhand features",
    version=1,
    name="chunk of features",
    remedy="remove it and run the same again",
)
ABOUT = "features.json"
CHUNK = 1000
"""Examples of a file."""
BACKBONE_BATCH = 16
FIELDS = ("rotations", "betas", "points_px")
SEEN_FIELDS = tuple(field.name for field in fields(SeenLabels))
"""Labels that are kept."""

Progress = Callable[[int, int], None]
"""Called with the number of examples that are finished and of all."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Which features of which crops.

    Raises:
        ValueError: If there are no views.
    """

    backbone: str
    """Name of a frozen one; its weights are part of the package."""
    label: str = ""
    """Distinguishes it from one of the same name with other weights."""
    views: int = 1
    """Crops of each sample, each with a jitter of its own."""
    crops: CropConfig
    hand_model: str
    labels: Labels = "hand"
    on_disk: bool = False
    """Of features that are too many for the memory: they are read from the disk in each step."""

    def __post_init__(self):
        if self.views < 1:
            raise ValueError(f"there must be 1 view of each sample or more, got {self.views}")

    def about(self, samples: DataSet) -> dict[str, Any]:
        """What fixes the bytes of the cache, in types of JSON."""
        values = {**asdict(self), "data": describe(samples), "num_samples": len(samples)}
        # As before there was anything else, so that what was kept then stays of use.
        if self.labels == "hand":
            del values["labels"]
            for name in ("wide_jitter", "wide_share", "harm"):
                if not values["crops"][name]:
                    del values["crops"][name]
        if not self.on_disk:
            del values["on_disk"]
        return json.loads(json.dumps({**KIND.header, **values}))


def feature_folder(root: Path, about: dict[str, Any]) -> Path:
    """Where features that were made in this way lie: another way, another folder."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return root / f"{about['backbone']}-{digest[:12]}"


def cache_features(
    backbone: nn.Module,
    samples: DataSet,
    folder: Path,
    config: FeatureConfig,
    *,
    workers: int = 1,
    device: torch.device | None = None,
    progress: Progress | None = None,
) -> "FeatureExamples":
    """Compute what is missing of the features and read them all.

    Args:
        backbone: Crops 0..1 → features; picklable, in evaluation mode.
        samples: Picklable if there are several workers.
        folder: Of these features alone, see `feature_folder`; is made if needed.
        config: How the crops are made.
        workers: Processes with one thread each, which run the backbone on the CPU; 1: this process
            with all its threads.
        device: Where a single process runs the backbone.
        progress: See `Progress`.

    Raises:
        ValueError: If the folder holds other features, or the samples lack labels.
        OSError: If a worker is killed.
    """
    about = config.about(samples)
    folder.mkdir(parents=True, exist_ok=True)
    _check_about(folder, about)
    plan = _plan(len(samples) * config.views)
    missing = [name for name in plan if not _is_there(folder / name, on_disk=config.on_disk)]
    job = _Job(
        backbone=backbone, samples=samples, folder=folder, config=config,
        device=device or torch.device("cpu"),
    )  # fmt: skip
    total, progress = len(samples) * config.views, progress or (lambda done, total: None)
    done = total - sum(len(plan[name]) for name in missing)
    progress(done, total)
    # By the whole plan, so that after a kill the rest is computed by as many threads as before.
    for name in _made(job, {name: plan[name] for name in missing}, min(workers, len(plan))):
        done += len(plan[name])
        progress(done, total)
    remove_leftovers(folder, "chunk-*.npz", "chunk-*.npy", ABOUT)
    return FeatureExamples.read(folder, samples)


def _check_about(folder: Path, about: dict[str, Any]) -> None:
    """Write what the features are, or see that they are the same."""
    path = folder / ABOUT
    if not path.exists():
        if any(folder.glob("chunk-*.npz")):
            raise ValueError(f"{folder} holds features without {ABOUT}; use another folder")
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        return
    there = read_json(path, f"remove the folder {folder}")
    if there != about:
        names = [name for name in {**there, **about} if there.get(name) != about.get(name)]
        raise ValueError(
            f"{folder} holds features that were made in another way: {', '.join(names)} differ; "
            "use another folder, or remove this one"
        )


def _plan(num_examples: int) -> dict[str, range]:
    """Names of all chunks and the examples in them."""
    starts = range(0, num_examples, CHUNK)
    return {
        f"chunk-{number:05d}.npz": range(start, min(start + CHUNK, num_examples))
        for number, start in enumerate(starts)
    }


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a worker is given at its start."""

    backbone: nn.Module
    samples: DataSet
    folder: Path
    config: FeatureConfig
    device: torch.device

    def make(self, name: str, indices: range) -> str:
        """Compute one chunk and write it."""
        features, labels = [], []
        for start in range(0, len(indices), BACKBONE_BATCH):
            batch = self._batch(indices[start : start + BACKBONE_BATCH])
            with torch.inference_mode():
                out = self.backbone(batch.inputs01.to(self.device)).cpu()
            _check_range(out, self.samples, batch, self.config)
            features.append(out.half().numpy())
            labels.append(batch)
        arrays = {"features": np.concatenate(features)}
        for field in FIELDS:
            arrays[field] = np.concatenate([getattr(part, field).numpy() for part in labels])
        if labels[0].seen is not None:
            seen = [vars(part.seen) for part in labels]
            arrays |= {
                field: np.concatenate([part[field].numpy() for part in seen]) for field in seen[0]
            }
        if self.config.on_disk:
            path = _features_of(self.folder / name)
            with replacing(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, arrays.pop("features"), allow_pickle=False)
        with replacing(self.folder / name) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        return name

    def _batch(self, indices: range) -> Batch:
        examples = []
        for index in indices:
            number, view = divmod(index, self.config.views)
            rng = crop_rng(self.config.crops, number, view)
            examples.append(
                make_example(
                    self.samples[number], self.config.crops, rng,
                    labels=self.config.labels, hand_model=self.config.hand_model,
                )
            )  # fmt: skip
        return batch_of(examples, indices, 0)


def crop_rng(crops: CropConfig, number: int, view: int) -> np.random.Generator:
    """What the crop of a sample is drawn from, by the sample's place in the set."""
    return np.random.default_rng([crops.seed, view, number])


def _check_range(features: Tensor, samples: DataSet, batch: Batch, config: FeatureConfig) -> None:
    """Float16 must hold every feature."""
    wrong = ~(features.abs() <= torch.finfo(torch.float16).max).all(1)
    if wrong.any():
        sample = samples[int(batch.index[wrong][0]) // config.views]
        raise ValueError(
            f"features of sample {sample.id} of '{sample.dataset}' do not fit into float16 or are "
            "no numbers; check the picture, or leave the sample out"
        )


def _made(job: _Job, missing: dict[str, range], workers: int) -> Iterator[str]:
    """Make chunks and yield the names of those that are finished."""
    if not missing:
        return
    if workers == 1:
        job.backbone.to(job.device)
        yield from (job.make(name, indices) for name, indices in missing.items())
        return
    job.backbone.to("cpu")
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(job,),
    )
    yield from (name for _, name in results(pool, _work, missing.items()))


_jobs: list[_Job] = []
"""In a worker process: its one job."""


def _begin(job: _Job) -> None:
    start_worker()
    _jobs.append(job)


def _work(name: str, indices: range) -> str:
    (job,) = _jobs
    return job.make(name, indices)


def _features_of(chunk: Path) -> Path:
    """The features of a chunk, where they are read from the disk in each step."""
    return chunk.with_suffix(".npy")


def _is_there(chunk: Path, *, on_disk: bool) -> bool:
    """Whether a chunk is finished: its labels are written after its features."""
    return chunk.is_file() and (not on_disk or _features_of(chunk).is_file())


def _table(path: Path) -> Float16[np.ndarray, "rows numbers"]:
    """The features in a file, not read yet.

    Raises:
        ValueError: If they are not whole.
    """
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except EOFError as error:  # of an empty file
        raise ValueError(f"{path.name} is empty") from error
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype != np.float16:
        raise ValueError(f"{path.name} holds no table of features")
    return table


class FilesOfRows:
    """Rows of a table that lies in several files, none of which is read as a whole."""

    def __init__(self, files: Sequence[Float16[np.ndarray, "rows numbers"]]):
        self._files = files
        self._starts = np.cumsum([0, *map(len, files)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: Any) -> Float16[np.ndarray, "chosen numbers"]:
        """Copies of some rows, given by an array of their numbers."""
        out = np.empty((len(rows), self._files[0].shape[1]), np.float16)
        number = np.searchsorted(self._starts, rows, side="right") - 1
        for i in np.argsort(rows).tolist():
            out[i] = self._files[int(number[i])][rows[i] - self._starts[number[i]]]
        return out


@dataclass(frozen=True, kw_only=True)
class FeatureExamples:
    """Cached features in memory: `Examples` for heads on a frozen backbone."""

    features: Float16[np.ndarray, "examples features"] | FilesOfRows
    rotations: Float32[np.ndarray, "examples 16 3 3"]
    betas: Float32[np.ndarray, "examples betas"]
    points_px: Float32[np.ndarray, "examples 21 2"]
    seen: Mapping[str, np.ndarray] | None = None
    """Fields of `SeenLabels`."""
    about: dict[str, Any]
    """What fixes them."""
    samples: DataSet
    numbers: Int[np.ndarray, " samples"]
    """Place of each sample in the set by which its crops were drawn, see `crop_rng`."""

    @staticmethod
    def read(folder: Path, samples: DataSet) -> "FeatureExamples":
        """Read a finished cache.

        Raises:
            ValueError: If a chunk is missing or damaged.
        """
        about = KIND.check(read_json(folder / ABOUT, KIND.remedy), folder / ABOUT)
        parts: dict[str, list[np.ndarray]] = {}
        keys = FIELDS + (SEEN_FIELDS if about.get("labels") == "seen" else ())
        on_disk = about.get("on_disk", False)
        for name in _plan(about["num_samples"] * about["views"]):
            path = folder / name
            try:
                chunk = read_arrays(path, KIND)
                for key in keys:
                    parts.setdefault(key, []).append(chunk[key])
                rows = _table(_features_of(path)) if on_disk else chunk["features"]
                if len(rows) != len(chunk["points_px"]):
                    raise ValueError("it has another number of features")
                parts.setdefault("features", []).append(rows)
            except (OSError, ValueError, KeyError) as error:
                raise ValueError(
                    f"{path} is missing or damaged ({error}); remove it and run the same again"
                ) from error
        features = FilesOfRows(parts.pop("features")) if on_disk else None
        arrays: dict[str, Any] = {key: np.concatenate(values) for key, values in parts.items()}
        if features is not None:
            arrays["features"] = features
        seen = {key: arrays.pop(key) for key in SEEN_FIELDS if key in arrays}
        numbers = np.arange(about["num_samples"])
        return FeatureExamples(
            about=about, samples=samples, numbers=numbers, seen=seen or None, **arrays
        )

    def subset(self, samples: Subset) -> "FeatureExamples":
        """Those of some samples.

        Args:
            samples: Of the very set that these are the features of.
        """
        assert samples.data is self.samples
        assert self.seen is None
        views = self.about["views"]
        places = np.array(samples.indices, np.int64)[:, None] * views + np.arange(views)
        rows = places.ravel()
        return FeatureExamples(
            features=self.features[rows],
            rotations=self.rotations[rows],
            betas=self.betas[rows],
            points_px=self.points_px[rows],
            about={**self.about, "samples": len(samples), "subset": samples.fingerprint()},
            samples=samples,
            numbers=self.numbers[list(samples.indices)],
        )

    def __len__(self) -> int:
        return len(self.features)

    def name(self, index: int) -> str:
        """The sample's id."""
        return self.samples[index // self.about["views"]].id

    def description(self) -> dict[str, Any]:
        """Data, crops and backbone."""
        return self.about

    def typical(self, most: int = 20_000) -> Float[Tensor, "examples features"]:
        """Features of examples from all over the set."""
        places = np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int)
        return torch.from_numpy(self.features[places]).float()

    def batches(
        self, order: Order | Once, first: int, end: int, *, rank: int, ranks: int
    ) -> Iterator[Batch]:
        """The part of process `rank` in the steps from `first` up to `end`."""
        tables = {name: torch.from_numpy(getattr(self, name)) for name in FIELDS}
        seen = {name: torch.from_numpy(table) for name, table in (self.seen or {}).items()}
        for keys in order.keys(first, end, rank=rank, ranks=ranks):
            index = torch.from_numpy(keys.indices)
            rows = {name: table.index_select(0, index) for name, table in tables.items()}
            labels = {name: table.index_select(0, index) for name, table in seen.items()}
            inputs = torch.from_numpy(self.features[keys.indices])
            yield Batch(
                inputs=inputs,
                index=index,
                epoch=keys.epoch,
                seen=SeenLabels(**labels) if labels else None,
                **rows,
            )
