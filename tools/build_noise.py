"""The errors of the nets' points on people, real and rendered: of a photo, and of a person.

    python tools/build_noise.py --real ../shared/data/real --studio DIR

By expectation–maximisation on the fits of `idhand.calibrate` to each person's photos, linearised
once: every photo has a pose, every person a shape and a bias per point, everybody shares the
covariance of a photo's residuals and that of the biases. Real people are students 0 to 69 and the
clips (as tools/build_landmarks.py; never many_places), whose shapes are unknown; DIR is the
studio's validation people, whose shapes are known. Both kinds count alike, since it is not known
before which one a photo is. To be run again whenever another network marks the points. Takes a
few minutes beside finding the hands. Writes `src/idhand/assets/data/photo_noise.json`.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from build_landmarks import people
from jaxtyping import Float
from torch import Tensor

import idhand
from idhand import Pipeline
from idhand.calibration import CalibrationConfig, calibrate_shape
from idhand.data import Shards, true_betas
from idhand.methods.detections import DetectedHands, DetectionCache
from idhand.nets.backbones import HandBackbone
from idhand.records import Camera, HandInImage
from idhand.refinement import Objective, ObjectiveConfig, network_noise, observations
from idhand.refinement.photo_noise import FILE, Net, PhotoNoise, pose_prior, residuals

OUT = Path(__file__).parents[1] / "src" / "idhand" / "assets" / "data" / FILE
ROUNDS = 4
PHOTOS = 10
"""Of each rendered person."""
SHRINK = 0.1
"""Share of a photo's covariances that is dropped, for want of photos."""
KEEP_BETWEEN = 0.5
"""Share of the covariances between points that is kept in the biases, for want of people."""
BIAS_FLOOR_SD_M = 0.0007
KNOWN_PRECISION = 100.0
"""Of a true shape, in prior precisions."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """One person's photos, linearised about the fit: x are poses, z shape and bias."""

    residual: Float[Tensor, "photos 102"]
    of_pose: Float[Tensor, "photos 102 pose"]
    of_shared: Float[Tensor, "photos 102 shared"]
    pose_gradient: Float[Tensor, "photos pose"]
    """Of the pose prior and the limits."""
    pose_hessian: Float[Tensor, "photos pose pose"]
    weights: Float[Tensor, " photos"]
    shared: Float[Tensor, " shared"]
    """Where the shared unknowns are."""
    truth: Float[Tensor, " betas"] | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one person adds to the covariances."""

    scatter: Float[Tensor, "102 102"]
    """Sum over photos of the residuals' expected squares."""
    count: float
    shared: Float[Tensor, " shared"]
    shared_covariance: Float[Tensor, "shared shared"]


def linearised(
    pipe: Pipeline, hands: Sequence[HandInImage], net: Net, truth: Tensor | None = None
) -> Person:
    """A person's photos about the fit to a net's points by independent errors."""
    objective = ObjectiveConfig() if net == "landmarks" else network_noise()
    config = CalibrationConfig(objective=objective)
    seen, start, model = observations(hands, objective), None, pipe.model
    if net == "network":
        points = pipe.network_points(hands)
        if points is None:
            raise ValueError("the pipeline's network marks no points; there is nothing to measure")
        model = pipe.marked_model()
        start, seen = pipe.as_network(model, hands, replace(seen, points_px=points))
    fit = calibrate_shape(model, seen, config=config, start=start)
    about = Objective(model=model, config=objective, prior=model.prior)
    r, J = residuals(about, fit.states, seen)
    prior, pose = pose_prior(about, fit.states, seen), 6 + model.pose_space.num_dofs
    place = (6, 0)
    return Person(
        residual=r,
        of_pose=J[..., :pose],
        of_shared=J[..., pose:],
        pose_gradient=torch.nn.functional.pad(prior.gradient, place),
        pose_hessian=torch.nn.functional.pad(prior.hessian, (*place, *place)),
        weights=fit.weights,
        shared=torch.cat((fit.betas, fit.bias.flatten())),
        truth=truth,
    )


def expected(person: Person, noise: PhotoNoise) -> Step:
    """Where the unknowns are under the noise, and the residuals' squares to be expected."""
    W, Jx, Jz = noise.precision, person.of_pose, person.of_shared
    A = Jx.mT @ W @ Jx + person.pose_hessian
    g = (Jx.mT @ (W @ person.residual[..., None]))[..., 0] + person.pose_gradient
    solved = torch.linalg.solve(A, torch.cat((Jx.mT @ W @ Jz, g[..., None]), -1))
    G = Jz - Jx @ solved[..., :-1]  # how residuals follow what is shared, poses following
    rest = person.residual - (Jx @ solved[..., -1:])[..., 0]
    weight = person.weights[:, None, None]
    precision, mean = _shared_prior(person, noise)
    H = (weight * (Jz.mT @ W @ G)).sum(0) + precision
    slope = (weight * (Jz.mT @ W @ rest[..., None])).sum(0)[:, 0]
    covariance = torch.linalg.inv(H)
    step = -covariance @ (slope + precision @ (person.shared - mean))
    off = rest + G @ step
    left = Jx @ torch.linalg.solve(A, Jx.mT) + G @ covariance @ G.mT
    return Step(
        scatter=(weight * (off[..., None] * off[:, None] + left)).sum(0),
        count=float(person.weights.sum()),
        shared=person.shared + step,
        shared_covariance=covariance,
    )


def _shared_prior(person: Person, noise: PhotoNoise) -> tuple[Tensor, Tensor]:
    """Precision and mean of shape and bias; a true shape is all but given."""
    n = len(person.shared) - 63
    of_shape = torch.eye(n).double() * (1.0 if person.truth is None else KNOWN_PRECISION)
    mean = torch.zeros_like(person.shared)
    if person.truth is not None:
        mean[:n] = person.truth
    return torch.block_diag(of_shape, torch.linalg.inv(noise.bias_covariance)), mean


def measured(kinds: Sequence[Sequence[Person]], rounds: int, bias: Tensor) -> PhotoNoise:
    """The noise by EM; each kind of people counts alike, whatever their number.

    An offset that all real people share is none of a person's (only their betas' mean is known to
    be zero); one that all rendered people share is, for whoever is photographed.
    """
    size = kinds[0][0].residual.shape[1]
    noise = PhotoNoise(covariance=torch.eye(size).double(), bias_covariance=bias)
    for k in range(rounds):
        scatters, biases = [], []
        for people_ in kinds:
            steps = [expected(person, noise) for person in people_]
            total = torch.stack([step.scatter for step in steps]).sum(0)
            scatters.append(total / sum(step.count for step in steps))
            biases.append(_bias(steps, is_known=people_[0].truth is not None))
        noise = PhotoNoise(
            covariance=_shrunk(torch.stack(scatters).mean(0)),
            bias_covariance=_shrunk_bias(torch.stack(biases).mean(0)),
        )
        of_points = [float(s.diagonal()[:42].mean().sqrt()) for s in scatters]
        of_bias = [1e3 * float(b.diagonal().mean().sqrt()) for b in biases]
        print(f"round {k}: points {_list(of_points)} stated deviations, biases {_list(of_bias)} mm")
    return noise


def _bias(steps: Sequence[Step], *, is_known: bool) -> Float[Tensor, "63 63"]:
    own = torch.stack([step.shared[-63:] for step in steps])
    middle = torch.zeros_like(own[0]) if is_known else own.mean(0)
    off = own - middle
    left = torch.stack([step.shared_covariance[-63:, -63:] for step in steps]).mean(0)
    return off.mT @ off / len(own) + left


def _shrunk(covariance: Tensor) -> Tensor:
    mixed = (1 - SHRINK) * covariance + SHRINK * torch.diag(covariance.diagonal())
    return (mixed + mixed.mT) / 2


def _shrunk_bias(covariance: Tensor) -> Tensor:
    same = torch.block_diag(*torch.ones(21, 3, 3).double())
    mixed = covariance * (same + KEEP_BETWEEN * (1 - same))
    return (mixed + mixed.mT) / 2 + BIAS_FLOOR_SD_M**2 * torch.eye(63).double()


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


Seen = tuple[list[HandInImage], Tensor | None]
"""A person's hands, and the true shape if it is known."""


def real_people(pipe: Pipeline, real: Path) -> Iterator[Seen]:
    """Students 0 to 69 and the clips."""
    for name, (hands, cameras) in people(real, pipe.reader):
        print(name, len(hands), "hands", flush=True)
        rows = zip(hands, cameras, strict=True)
        yield [HandInImage(detection=d, camera=Camera(K=K)) for d, K in rows], None


def studio_people(pipe: Pipeline, folder: Path, hands: Path | None) -> Iterator[Seen]:
    """The people of a rendered set."""
    data = Shards(folder)
    assert pipe.reader is not None
    backbone = pipe.reader.net.backbone
    assert isinstance(backbone, HandBackbone)
    found = DetectionCache(path=hands).of(data, backbone)
    truth = true_betas(data.labels(), pipe.model.name)
    for subject, own in found.by_subject().items():
        rows = [row for row in range(len(own)) if own.found[row]][:PHOTOS]
        if subject in truth and rows:
            betas = torch.from_numpy(truth[subject]).double()
            yield [_hand(own, row) for row in rows], betas


def _hand(detected: DetectedHands, row: int) -> HandInImage:
    hand = detected.detection(row)
    assert hand is not None
    assert detected.features is not None
    seen = replace(hand, features=detected.features[row].astype(np.float32))
    return HandInImage(detection=seen, camera=Camera(K=detected.K[row], dist=detected.dist[row]))


def main() -> None:
    """Detect, fit, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--real", type=Path, required=True, help="folder with the real photos")
    parser.add_argument("--studio", type=Path, required=True, help="validation people, rendered")
    parser.add_argument("--hands", type=Path, help=".npz that keeps the hands found in these")
    args = parser.parse_args()
    pipe = idhand.load()
    kinds = [[*real_people(pipe, args.real)], [*studio_people(pipe, args.studio, args.hands)]]
    assert pipe.reader is not None
    counts = f"{len(kinds[0])} real and {len(kinds[1])} rendered people"
    document: dict = {
        "source": f"tools/build_noise.py, {counts}",
        "network_points": pipe.reader.label,
    }
    for net in get_args(Net):
        fits = [[linearised(pipe, hands, net, truth) for hands, truth in own] for own in kinds]
        noise = measured(fits, ROUNDS, pipe.model.landmarks.bias_covariance)
        document[net] = noise.as_json()
    OUT.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
