"""`idhand predict`: a network and a data set → each picture's hand, in one file."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from tyro.conf import Positional, arg

from idhand.assets import hand
from idhand.cli import EXIT_FINE
from idhand.cli.common import count, output_file, progress, say
from idhand.data import Shards
from idhand.data.manifest import sha256_of
from idhand.detection import HandDetector
from idhand.evaluation import labels
from idhand.experiments.looks import Looks, look
from idhand.experiments.predicting import BATCH, predict, predict_images
from idhand.experiments.rows import KnownBetas
from idhand.experiments.shapes import true_shapes
from idhand.hand import FittableHand
from idhand.identity import Identity
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_regressor
from idhand.predictions import Predictions
from idhand.records import Sample
from idhand.training.examples import describe
from idhand.training.runs import commit

PROFILE_SUFFIX = ".hand.json"


@dataclass(frozen=True, kw_only=True)
class Command:
    """Estimate pose and shape in all pictures of a data set with a trained network.

    The hand's place in the picture comes from the data set's box, its distance from the landmarks.
    Pictures in which no hand is found stay in the file as missed.
    """

    net: Annotated[Positional[Path], arg(metavar="NET.safetensors")]
    """What `idhand train` has written."""
    data: Annotated[Path, arg(metavar="FOLDER")]
    """The data set, shards as `idhand synth` writes them."""
    out: Annotated[Path, arg(metavar="FILE.npz")]
    """The predictions to write."""
    shapes: Annotated[str | None, arg(metavar="true|mean|PATH")] = None
    """Each person's shape, for identity-aware networks: true, as the data set knows it; mean, the
    average person's for everybody; a folder of profiles SUBJECT.hand.json; or a file of
    predictions, whose betas are averaged over each person's pictures."""
    looks: Annotated[Path | None, arg(metavar="FILE.npz")] = None
    """Where what the hand net sees is kept for the next network: read if there, else written."""
    batch: Annotated[int, arg(metavar="N")] = BATCH
    """Hands that the network's heads take together."""

    def __post_init__(self):
        if self.batch < 1:
            raise ValueError(f"--batch must be at least 1, got {self.batch}")


def main(command: Command) -> int:
    """Do it, say what was found and return the exit code."""
    shards, net = Shards(command.data), load_regressor(command.net)
    model = hand(net.config.hand_model)
    read = (command.net, command.shapes, command.data)
    out = npz_file(command.out, (*read, command.looks))
    if command.looks is not None:
        npz_file(command.looks, read, "--looks")
    betas = None if command.shapes is None else shapes_from(command.shapes, shards, model)
    if betas is None and net.config.identity == "given":  # told before the long work
        raise ValueError(
            f"{command.net} predicts no shape and needs everybody's: give --shapes true, mean, "
            "profiles or predictions"
        )
    backbone = net.backbone if isinstance(net.backbone, HandBackbone) else None
    looks = looks_at(shards, backbone, command.looks)
    tell_unknown(looks, betas)
    method = command.net.stem + ("" if command.shapes is None else f" ({_source(command.shapes)})")
    if backbone is not None:
        result = predict(net, looks, betas, model=model, method=method, batch=command.batch)
    else:
        pictures = progress(shards, len(shards), "pictures")
        result = predict_images(
            net, pictures, betas=betas, points=looks, model=model, method=method
        )
    about = {**result.header, "network": sha256_of(command.net), "commit": commit()}
    result = replace(result, header=about)
    result.save(out)
    tell_written(result, out)
    return EXIT_FINE


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


def looks_at(shards: Shards, backbone: HandBackbone | None, path: Path | None) -> Looks:
    """What the hand net sees in a set: from the file if there is one, else computed and kept there.

    Raises:
        ValueError: If the file is of other data or has no features, or the set no pictures.
    """
    if not len(shards):
        raise ValueError(f"{shards.folder} holds no finished shard yet; wait for `idhand synth`")
    data = describe(shards)["sha256"]
    if path is not None and path.exists():
        looks = Looks.load(path)
        if looks.header.get("data") != data:
            raise ValueError(
                f"{path} tells of other data than {shards.folder}, or of fewer of its pictures; "
                "name another file for --looks, or remove it to look again"
            )
        return looks
    kept = None if path is None else npz_file(path)

    def with_bar(samples: Iterable[Sample]) -> Any:
        return progress(samples, len(shards), "pictures")

    looks = look(shards, HandDetector(), backbone, header={"data": data}, progress=with_bar)
    if kept is not None:
        looks.save(kept)
    return looks


def shapes_from(source: str, shards: Shards, model: FittableHand) -> KnownBetas:
    """Each person's betas, from where --shapes says.

    Raises:
        FileNotFoundError: If there is nothing of that name.
        ValueError: If it holds no shapes of this hand model.
    """
    match source:
        case "true":
            shapes = true_shapes(labels(shards), model)
            if not shapes:
                raise ValueError(
                    f"{shards.folder} knows no shape of hand model '{model.name}', so there is no "
                    "--shapes true; name a file or folder of calibrated ones"
                )
            return {subject: shape.betas for subject, shape in shapes.items()}
        case "mean":
            subjects = {sample.subject or "" for sample in labels(shards)}
            return {subject: np.zeros(model.num_betas) for subject in subjects}
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
        identity.check_model(model)
        betas[path.name.removesuffix(PROFILE_SUFFIX)] = identity.betas
    return betas


def _averages(path: Path, model: FittableHand) -> KnownBetas:
    stored = Predictions.load(path)
    if stored.betas is None or stored.model != model.name:
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


def tell_unknown(looks: Looks, betas: KnownBetas | None) -> None:
    """Say how many people's shapes are not given, if some are."""
    missing = set() if betas is None else set(looks.subject) - set(betas)
    if missing:
        say(f"{count(len(missing), 'person has', 'people have')} no shape (e.g. {min(missing)})")


def tell_written(result: Predictions, out: Path) -> None:
    """Say how many hands there are, and where."""
    people, found = len(set(result.subject)), int(result.found.sum())
    hands = f"{found:,} hands in {len(result):,} pictures of {count(people, 'person', 'people')}"
    print(f"{hands}. Written to {out}")
