"""`idhand predict`: a method and a data set → each picture's hand, in one file."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from idhand.cli import EXIT_FINE
from idhand.cli.common import check_identity, count, labelled_model, output_file, progress, say
from idhand.data import DataSet, Shards
from idhand.experiments.shapes import true_shapes
from idhand.hand import FittableHand
from idhand.identity import Identity
from idhand.methods import DetectionCache, MethodOptions, method, method_names
from idhand.methods.predicting import BATCH
from idhand.methods.rows import KnownBetas
from idhand.nets.heatmaps import Decoding
from idhand.predictions import Predictions
from idhand.training.processes import found_device
from idhand.training.runs import commit

PROFILE_SUFFIX = ".hand.json"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Estimate the hand in all pictures of a data set, by a trained network or another method.

    The hand's place in the picture comes from the data set's box, its distance from the landmarks.
    Pictures in which no hand is found stay in the file as missed. A 2D network (paper_heatmaps)
    predicts only keypoints in the picture.
    """

    method: Annotated[Positional[str], arg(metavar="NET.safetensors|NAME")]
    """A network that `idhand train` has written, or a method of the package: landmarks (the fit
    without a trained network), baseline, identity or identity_film."""
    data: Annotated[Path, arg(metavar="FOLDER")]
    """The data set, shards as `idhand synth` writes them."""
    out: Annotated[Path, arg(metavar="FILE.npz")]
    """The predictions to write."""
    shapes: Annotated[str | None, arg(metavar="true|mean|PATH")] = None
    """Each person's shape, for identity-aware networks: true, the one in the data set; mean, the
    average person's for everybody; a folder of profiles SUBJECT.hand.json; or a file of
    predictions, whose betas are averaged over each person's pictures."""
    detections: Annotated[Path | None, arg(metavar="FILE.npz", aliases=["--looks"])] = None
    """File of the hands detected in the pictures, with their features: read if it exists, else
    written, so that the next network and `idhand refine` need not detect them again. A file of
    another data set is refused."""
    points: Annotated[Path | None, arg(metavar="POINTS.npz")] = None
    """Keypoints in the pictures, predicted before by a 2D network, which paper_* networks' hands
    are placed by; by default hands are detected, and those that are not found are missed."""
    device: str = "cpu"
    """For networks that see crops (paper_*): cpu, cuda or cuda:1."""
    decoding: Decoding = "taylor"
    """For a 2D network's heatmaps: taylor, the peak between cells; argmax, the highest cell."""
    batch: Annotated[int, arg(metavar="N")] = BATCH
    """Number of hands that the network's heads process together."""

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"--batch must be at least 1, got {self.batch}")


def main(command: Command) -> int:
    """Do it, say what was found and return the exit code."""
    shards = opened(command.data)
    read = (command.method, command.shapes, command.data, command.points)
    if command.points is not None and command.detections is not None:
        raise ValueError("with --points nothing is detected; leave --detections out")
    out = npz_file(command.out, (*read, command.detections))
    known: KnownBetas | None = None

    def shapes(model: FittableHand) -> KnownBetas:
        nonlocal known
        assert command.shapes is not None
        known = shapes_from(command.shapes, shards, model)
        return known

    chosen = method(
        command.method,
        MethodOptions(
            name=_name(command),
            hand_model=labelled_model(shards),
            shapes=None if command.shapes is None else shapes,
            detections=detection_cache(command.detections, read),
            batch=command.batch,
            points=None if command.points is None else Predictions.load(command.points),
            device=found_device(command.device),
            decoding=command.decoding,
        ),
    )
    if known is not None:
        tell_unknown(shards, known)
    result = chosen.predict(shards)
    result = replace(result, header={**result.header, "commit": commit()})
    result.save(out)
    tell_written(result, out)
    return EXIT_FINE


def _name(command: Command) -> str:
    """Of the method, with where its shapes come from."""
    name = command.method if command.method in method_names() else Path(command.method).stem
    return name if command.shapes is None else f"{name} ({_source(command.shapes)})"


def opened(folder: Path) -> Shards:
    """A data set that holds pictures.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it has no pictures yet, or cannot be read.
    """
    shards = Shards(folder)
    if not len(shards):
        raise ValueError(f"{folder} holds no finished shard yet; wait for `idhand synth`")
    return shards


def npz_file(path: Path, inputs: Iterable[Path | str | None] = (), flag: str = "--out") -> Path:
    """The path, if a file of that name can be written; asked before the long work.

    Args:
        path: The file to write.
        inputs: What the command reads: none of it may be replaced.
        flag: That names the output.

    Raises:
        ValueError: If not.
    """
    if path.suffix != ".npz":
        raise ValueError(f"{flag} {path}: this is an .npz file; give a name that ends in .npz")
    return output_file(path, inputs, flag, like="predictions.npz")


def detection_cache(path: Path | None, inputs: Iterable[Path | str | None]) -> DetectionCache:
    """Detected hands, in a file if --detections names one; asked before the long work.

    Args:
        path: The file; it may be there.
        inputs: What the command reads: none of it may be replaced.

    Raises:
        ValueError: If no file of that name can be written.
    """
    if path is not None and not path.exists():
        npz_file(path, inputs, "--detections")

    def with_bar(items: Any, desc: str) -> Any:
        return progress(items, len(items), desc)

    return DetectionCache(path=path, progress=with_bar, note=say)


def shapes_from(source: str, samples: DataSet, model: FittableHand) -> KnownBetas:
    """Each person's betas, from where --shapes says.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If it holds no shapes of this hand model.
    """
    match source:
        case "true":
            shapes = true_shapes(samples.labels(), model)
            if not shapes:
                raise ValueError(
                    f"{samples!r} has no shape of hand model '{model.name}', so there is no "
                    "--shapes true; name a file or folder of calibrated ones"
                )
            return {subject: shape.betas for subject, shape in shapes.items()}
        case "mean":
            subjects = {sample.subject or "" for sample in samples.labels()}
            return dict.fromkeys(subjects, model.prior.mean.numpy())
        case _:
            path = Path(source)
            return _profiles(path, model) if path.is_dir() else _averages(path, model)


def _profiles(folder: Path, model: FittableHand) -> KnownBetas:
    paths = sorted(folder.glob(f"*{PROFILE_SUFFIX}"))
    if not paths:
        raise ValueError(
            f"{folder} holds no profile (SUBJECT{PROFILE_SUFFIX}); name another folder"
        )
    betas = {}
    for path in paths:
        identity = Identity.load(path)
        check_identity(identity, path, model)
        betas[path.name.removesuffix(PROFILE_SUFFIX)] = identity.betas
    return betas


def _averages(path: Path, model: FittableHand) -> KnownBetas:
    stored = Predictions.load(path)
    stored.check_poses("--shapes")
    if stored.model != model.name:
        raise ValueError(
            f"{path} holds no shapes of hand model '{model.name}'; name predictions made with it"
        )
    people = stored.by_subject().items()
    return {
        subject: own.betas[own.found].mean(0)
        for subject, own in people
        if own.betas is not None and own.found.any()
    }


def _source(shapes: str) -> str:
    """What to call shapes in a header."""
    return f"{shapes} shape" if shapes in ("true", "mean") else f"shape of {Path(shapes).name}"


def tell_unknown(samples: DataSet, betas: KnownBetas) -> None:
    """Say how many people's shapes are not given, if some are."""
    missing = {sample.subject or "" for sample in samples.labels()} - set(betas)
    if missing:
        say(f"{count(len(missing), 'person has', 'people have')} no shape (e.g. {min(missing)})")


def tell_written(result: Predictions, out: Path) -> None:
    """Say how many hands there are, and where."""
    people, found = set(result.subject) - {""}, int(result.found.sum())
    whose = count(len(people), "person", "people") if people else "unknown people"
    hands = f"{found:,} hands in {len(result):,} pictures of {whose}"
    print(f"{hands}. Written to {out}")
