"""`idhand train`: a network from a data set on disk, with checkpoints to resume from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from idhand.cli import EXIT_FINE
from idhand.cli.common import num_cores, progress, say, terminate_as_interrupt, writable_folder

Preset = Literal[
    "backbone", "baseline", "identity", "identity_film", "confidence",
    "paper_baseline", "paper_identity", "paper_confidence", "paper_heatmaps",
    "official_baseline", "keypoints", "debug",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Command:
    """Train a network.

    baseline, identity, identity_film and confidence are ours: heads on the shipped hand net, whose
    features are computed once and kept; keypoints is a decoder on its
    maps. paper_* follow the paper, with residual networks.
    confidence and paper_confidence add a branch to a trained network (--start).

    After an interruption, the same command resumes. On several GPUs or machines, use
    torchrun --no-python idhand train ...
    """

    preset: Positional[Preset]
    """What to train."""
    data: Annotated[Path, arg(metavar="FOLDER")]
    """Data set to learn from, such as `idhand synth` writes."""
    out: Annotated[Path, arg(metavar="FOLDER")]
    """Folder for the log, curves for TensorBoard, checkpoints and PRESET.safetensors."""
    val: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Data set of other people, for validation while training."""
    start: Annotated[Path | None, arg(metavar="FILE")] = None
    """A trained network to start from."""
    imagenet: Annotated[Path | None, arg(metavar="FILE")] = None
    """ImageNet weights for paper_*, as torchvision offers them (e.g. resnet50-19c8e357.pth)."""
    cache: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder for the hand net's features; by default inside the folder of --data."""
    steps: Annotated[int | None, arg(metavar="N")] = None
    """Number of steps, instead of the preset's."""
    batch: Annotated[int | None, arg(metavar="N")] = None
    """Number of examples in one step, over all processes."""
    views: Annotated[int | None, arg(metavar="N")] = None
    """Number of differently jittered crops of each picture whose features are kept."""
    lr: Annotated[float | None, arg(metavar="X")] = None
    """Learning rate."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Seed of the initial weights and of the order of examples."""
    device: str = "cpu"
    """cpu, cuda or cuda:1."""
    amp: bool = False
    """Compute in bfloat16 where that is safe."""
    in_memory: bool = False
    """Keep all pictures in the GPU's memory (150 kB each) and cut crops there, because processes on
    the CPU could not keep up."""
    workers: Annotated[int | None, arg(metavar="N")] = None
    """Processes that prepare data; by default one for each core."""
    resume: bool = False
    """Stop with an error if there is no checkpoint, instead of starting anew."""

    def __post_init__(self):
        for flag in ("steps", "batch", "views"):
            number = getattr(self, flag)
            if number is not None and number < 1:
                raise ValueError(f"--{flag} must be at least 1, got {number}")
        for flag in ("seed", "workers"):
            number = getattr(self, flag)
            if number is not None and number < 0:
                raise ValueError(f"--{flag} must not be negative, got {number}")


def main(command: Command) -> int:
    """Do it, print a summary and return the exit code."""
    from idhand.training.processes import process_group

    with process_group(command.device) as group, terminate_as_interrupt():
        training = make_training(command, group)
        if command.resume and not training.has_checkpoint():
            raise ValueError(f"{command.out} holds no checkpoint; leave out --resume to start anew")
        try:
            trained, path = training()
        except FloatingPointError as error:
            raise ValueError(str(error)) from error
    if group.is_first:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in trained.metrics.items())
        print(f"{trained.steps:,} steps{numbers and f', {numbers}'}. Written to {path}")
    return EXIT_FINE


def make_training(command: Command, group: Any) -> Any:
    """The `Training` that the flags describe, of this process in a `Group`.

    Raises:
        FileNotFoundError: If there is no data set.
        ValueError: If it, or a flag, makes no sense.
    """
    from idhand.data import Shards
    from idhand.training import PRESETS, Training

    workers = num_cores() if command.workers is None else command.workers
    samples = Shards(command.data)
    if not len(samples):
        raise ValueError(f"{command.data} holds no finished shard yet; wait for `idhand synth`")
    preset = PRESETS[command.preset](_labelled_hand(samples))
    config = _configured(command, preset, workers)
    if command.batch is None:
        config = _with_batch_of(config, len(samples), group)
    cache = command.cache or command.data / "features"
    if config.views is not None:
        _check_cache(cache, is_given=command.cache is not None)
    return Training(
        config=config,
        samples=samples,
        folder=writable_folder(command.out),
        val=None if command.val is None else Shards(command.val),
        start=command.start,
        imagenet=command.imagenet,
        cache=cache,
        in_memory=command.in_memory,
        workers=max(workers, 1),
        group=group,
        cache_progress=_FeatureBar(),
    )


def _configured(command: Command, config: Any, workers: int) -> Any:
    """The preset with the numbers of the flags.

    Raises:
        ValueError: If a flag is not for this preset.
    """
    changes: dict[str, Any] = {"seed": command.seed, "num_workers": workers}
    if command.steps is not None:
        config = config.with_steps(command.steps)
    for name in ("batch", "lr"):
        if getattr(command, name) is not None:
            changes[name] = getattr(command, name)
    if command.amp:
        changes["amp"] = "bf16"
    config = config.with_loop(**changes)
    if command.views is not None:
        if config.views is None:
            raise ValueError(
                f"'{command.preset}' learns from pictures; --views is for kept features"
            )
        config = replace(config, views=command.views)
    if command.in_memory and (config.views is not None or config.task != "regressor"):
        raise ValueError(
            f"--in-memory is for presets that learn poses from pictures; '{command.preset}' does "
            "not, so leave it out"
        )
    return config


def _with_batch_of(config: Any, num_samples: int, group: Any) -> Any:
    """The preset with a batch that a small data set can fill; says so if it is another one."""
    most = max(num_samples // group.ranks, 1) * group.ranks
    if most >= config.loop.batch:
        return config
    if group.is_first:
        say(f"there are only {num_samples} pictures, so one batch has {most} of them")
    return config.with_loop(batch=most)


def _labelled_hand(samples: Any) -> Any:
    """The hand model of the data's labels; of labels without one, the open hand.

    Raises:
        ValueError: If the labels' hand model is unknown, or there are several.
    """
    from idhand.assets import hand
    from idhand.cli.common import labelled_model

    return hand(labelled_model(samples))


def _check_cache(folder: Path, *, is_given: bool) -> None:
    """See that the hand net's features can be kept, before they are computed for a long time.

    Raises:
        ValueError: If the folder cannot be written to and nothing lies in it.
    """
    if folder.is_dir() and any(folder.iterdir()):
        return  # complete ones need no room
    try:
        writable_folder(folder, "--cache")
    except ValueError as error:
        if is_given:
            raise
        raise ValueError(
            f"the hand net's features would be kept in {folder}, which cannot be written to; "
            "give --cache FOLDER with a folder that can"
        ) from error


@dataclass(kw_only=True)
class _FeatureBar:
    """Hears how many features are finished, and shows it while some are missing."""

    bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None and done < total:
            self.bar = progress((), total, "features")
            self.bar.initial = self.bar.n = self.bar.last_print_n = done
        elif self.bar is not None:
            self.bar.update(done - self.bar.n)
            if done == total:
                self.bar.close()
                self.bar = None
