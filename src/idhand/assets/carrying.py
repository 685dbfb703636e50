"""What the open hand knows, for other hand models: measures, landmarks, and betas of a person.

By surface correspondence (`idhand.assets.correspondence`): a point of the open hand is a mixture of
its vertices, each of which lies somewhere on the other's mesh, so it moves with the other's betas.
"""

import json
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.assets.correspondence import Bent, Correspondence, correspondence, stepped
from idhand.assets.models import DATA, OPEN_HAND, open_hand
from idhand.geometry import procrustes
from idhand.hand import BonePoints, FittableHand, HandModel, Measures, landmark_points

NUM_SHARED = 60
"""Vertices that a point is mixed of: those nearest to it."""
SHAPES = 30.0
"""Deviations of each beta at which a mixture must be right, over one metre's weight of the mean."""
SMALLNESS = 1e-6
"""Pull of the weights to equal ones: a mixture of large weights would amplify what the meshes do
not share."""
POINT_DEVIATION_M, MEASURE_DEVIATION_M = 0.001, 0.0003
"""Of what betas of another model are fitted to."""
BETAS_DEVIATION = 5.0
"""From a model's mean: nearly free."""
FLEXION_DEVIATION_RAD = 0.35
"""Of the angles between the rest poses of two models, about each axis."""
ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Carried:
    """The parts of a `FittableHand` that follow from the open hand, and how well they fit."""

    measures: Measures
    landmarks: BonePoints
    fit_mm: float
    """How far the open hand, shaped and bent, is from the other's surface: root mean square."""
    residual_mm: float
    """The same with small smooth offsets."""


@dataclass(frozen=True, kw_only=True)
class ConvertedShape:
    """One person's right hand in another hand model, and how the two lie at rest."""

    betas: Float[Tensor, " target_betas"]
    """Of the target."""
    R_source_target: Float[Tensor, "16 3 3"]
    """How each bone is turned from the target's rest frame to the source's."""
    wrist_source: Float[Tensor, " 3"]
    """From the source's wrist joint to the target's, in the source's rest frame, metres."""
    apart_mm: float
    """Root mean square distance between the same points of the two surfaces."""


def carried_over(model: HandModel) -> tuple[Measures, BonePoints]:
    """Measures and landmarks for a right hand of any model; what `mano_hand` asks for.

    Raises:
        ValueError: As `carried`.
    """
    found = carried(model)
    return found.measures, found.landmarks


def carried(model: HandModel) -> Carried:
    """Measures and landmarks for a right hand of any model, with the distance of the fit.

    Raises:
        ValueError: If it is a left hand.
    """
    found = correspondence(model)
    source = open_hand()
    points = _mixtures(source.measures.points, source.measures.shape_basis, found.is_sure)
    matrix = points @ found.matrix
    measures = Measures(
        names=source.measures.names,
        points=matrix @ model.template,
        shape_basis=torch.einsum("pv,vak->pak", matrix, model.shape_basis),
        segments=source.measures.segments,
        coefficients=source.measures.coefficients,
    )
    return Carried(
        measures=measures,
        landmarks=_landmarks(model, found, measures),
        fit_mm=found.fit_mm,
        residual_mm=found.residual_mm,
    )


def carried_keypoints(model: HandModel) -> Float[Tensor, "21 3"]:
    """Where the open hand's keypoints lie on a right hand of any model: offsets from its own.

    In the model's rest frame, metres on the mean hand. Two models may have their joints at other
    places of the same hand.

    Raises:
        ValueError: If it is a left hand.
    """
    if model.name == OPEN_HAND:
        return torch.zeros_like(model.keypoint_template)
    found = correspondence(model)
    rows = _mixtures(open_hand().keypoint_template, None, found.is_sure)
    return rows @ found.matrix @ model.template - model.keypoint_template


def converted_betas(
    betas: Float[Tensor, "*batch source_betas"], source: HandModel, target: HandModel
) -> Float[Tensor, "*batch target_betas"]:
    """Betas of one model → those of another whose hand is the most alike, in any rest pose.

    Both surfaces are compared at the open hand's vertices, and the measures where both models have
    them; the target is bent as the source is at rest.

    Args:
        betas: Of the source.
        source: A right hand.
        target: A right hand.

    Raises:
        ValueError: If a model is a left hand, or the number of betas is not the source's.
    """
    _check_betas(betas, source)
    fit = _BetasFit(source, target)
    rows = [fit.converted(row).betas for row in betas.reshape(-1, source.num_betas).double()]
    out = torch.stack(rows) if rows else betas.new_zeros(0, target.num_betas)
    return out.reshape(*betas.shape[:-1], target.num_betas).to(betas.dtype)


def converted_shape(
    betas: Float[Tensor, " source_betas"], source: HandModel, target: HandModel
) -> ConvertedShape:
    """One person's hand in another model: `converted_betas`, and what `converted_poses` needs.

    Between models of the same arrays, such as MANO with other fingertips, it is exact.

    Raises:
        ValueError: As `converted_betas`.
    """
    _check_betas(betas, source)
    names = ("template", "shape_basis", "joint_regressor")
    if all(torch.equal(getattr(source, name), getattr(target, name)) for name in names):
        return ConvertedShape(
            betas=betas.double(),
            R_source_target=torch.eye(3, dtype=torch.float64).repeat(16, 1, 1),
            wrist_source=torch.zeros(3, dtype=torch.float64),
            apart_mm=0.0,
        )
    return _BetasFit(source, target).converted(betas.double())


def converted_poses(
    rotations: Float[Tensor, "*batch 16 3 3"],
    wrist_cam: Float[Tensor, "*batch 3"],
    shape: ConvertedShape,
    source: HandModel,
    *,
    is_right: bool,
) -> tuple[Float[Tensor, "*batch 16 3 3"], Float[Tensor, "*batch 3"]]:
    """Poses of one person's hand → the target's, whose bones then point the same way.

    Args:
        rotations: Each joint relative to its parent; of left hands the mirrored right hand's.
        wrist_cam: Of the real hand.
        shape: From `converted_shape`.
        source: The right hand that the poses belong to.
        is_right: The side of the real hand.

    Returns:
        Rotations and wrist position of the target, in the same convention.
    """
    hand = source.with_shape(rotations.new_zeros(source.num_betas))
    R_cam_source, _ = hand.chain(rotations, wrist_cam)
    R = R_cam_source @ shape.R_source_target.to(rotations)
    turns = torch.cat(
        (R[..., :1, :, :], R[..., source.parents[1:], :, :].mT @ R[..., 1:, :, :]), -3
    )
    shift = (R_cam_source[..., 0, :, :] @ shape.wrist_source.to(rotations)[:, None])[..., 0]
    side = wrist_cam.new_tensor([1.0 if is_right else -1.0, 1.0, 1.0])
    return turns, wrist_cam + side * shift


def _check_betas(betas: Float[Tensor, "*batch source_betas"], source: HandModel) -> None:
    """Refuse betas of another model than the source."""
    if betas.shape[-1] != source.num_betas:
        raise ValueError(
            f"hand model '{source.name}' takes {source.num_betas} betas, got {betas.shape[-1]}"
        )


class _BetasFit:
    """Fits a target's shape to a source's."""

    def __init__(self, source: HandModel, target: HandModel):
        self.source, self.target = source, target
        self.on_source, self.on_target = correspondence(source), correspondence(target)
        self.chosen = self.on_source.is_sure & self.on_target.is_sure
        mean = target.prior.mean if isinstance(target, FittableHand) else None
        self.mean = torch.zeros(target.num_betas, dtype=torch.float64) if mean is None else mean

    def converted(self, betas: Float[Tensor, " source_betas"]) -> ConvertedShape:
        """One person in the target."""
        hand = self.source.with_shape(betas)
        goal = self.on_source.open_verts(hand.rest_verts)[self.chosen]
        start = self.on_target.open_verts(self.target.template)[self.chosen]
        _, R, _ = procrustes(start, goal, with_scale=False)
        bent = Bent(self.target, R)
        lengths, common = self._lengths(betas)

        def values(x: Tensor) -> Tensor:
            verts = bent(x)[0]
            apart = self.on_target.open_verts(verts)[:, self.chosen] - goal
            own = x[:, : self.target.num_betas]
            parts = [
                apart.flatten(1) / POINT_DEVIATION_M,
                (own - self.mean) / BETAS_DEVIATION,
                x[:, self.target.num_betas + 3 : -3] / FLEXION_DEVIATION_RAD,
            ]
            if common:
                assert isinstance(self.target, FittableHand)
                measured = self.target.measures.lengths(own)[:, [j for _, j in common]]
                parts.append((measured - lengths) / MEASURE_DEVIATION_M)
            return torch.cat(parts, 1)

        nothing = torch.zeros(48, dtype=torch.float64)
        x = torch.cat((self.mean, nothing, hand.rest_joints[0]))
        for _ in range(ROUNDS):
            x = stepped(values, x)
        own = x[: self.target.num_betas]
        apart = self.on_target.open_verts(bent(x[None])[0][0])[self.chosen] - goal
        rotations = bent.rotations(x[None])[0]
        return ConvertedShape(
            betas=own,
            R_source_target=self.target.with_shape(own).chain(rotations, x[-3:])[0],
            wrist_source=x[-3:] - hand.rest_joints[0],
            apart_mm=1e3 * float(apart.square().sum(-1).mean().sqrt()),
        )

    def _lengths(
        self, betas: Float[Tensor, " source_betas"]
    ) -> tuple[Float[Tensor, " common"], list[tuple[int, int]]]:
        """The source's lengths, and where each measure that both have stands in either."""
        if not isinstance(self.source, FittableHand) or not isinstance(self.target, FittableHand):
            return betas.new_zeros(0), []
        theirs = self.target.measures.names
        names = self.source.measures.names
        common = [(k, theirs.index(name)) for k, name in enumerate(names) if name in theirs]
        return self.source.measures.lengths(betas)[[k for k, _ in common]], common


def _landmarks(model: HandModel, found: Correspondence, measures: Measures) -> BonePoints:
    """The landmark net's points, at offsets from the model's keypoints, in its bones' frames."""
    landmarks, marks = open_hand().landmarks, _landmark_file()
    rows = _mixtures(landmarks.template, None, found.is_sure)
    template = rows @ found.matrix @ model.template
    turns = torch.block_diag(*found.R_other_open[landmarks.joint])
    return landmark_points(
        model,
        measures.growth,
        template - model.keypoint_template,
        turns @ landmarks.bias_covariance @ turns.mT,
        float(marks["shape_gain"]),
    )


@cache
def _landmark_file() -> dict:
    return json.loads((DATA / "landmark_points.json").read_text("utf-8"))


def _mixtures(
    points: Float[Tensor, "points 3"],
    basis: Float[Tensor, "points 3 open_betas"] | None,
    is_sure: Bool[Tensor, " open_verts"],
) -> Float[Tensor, "points open_verts"]:
    """Points of the open hand at rest as mixtures of its vertices near them.

    Weights sum to one, give the point in the mean shape and, if its basis is given, in all others.
    """
    model = open_hand()
    sure = is_sure.nonzero()[:, 0]
    out = torch.zeros(len(points), len(model.template), dtype=torch.float64)
    for k, point in enumerate(points):
        apart = (model.template[sure] - point).norm(dim=-1)
        near = sure[apart.topk(NUM_SHARED, largest=False).indices]
        rows = [torch.ones(1, NUM_SHARED, dtype=torch.float64), (model.template[near] - point).mT]
        goal = [torch.ones(1, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
        if basis is not None:
            rows.append(SHAPES * model.shape_basis[near].flatten(1).mT)
            goal.append(SHAPES * basis[k].flatten())
        A, b = torch.cat(rows), torch.cat(goal)
        equal = torch.full((NUM_SHARED,), 1 / NUM_SHARED, dtype=torch.float64)
        normal = A.mT @ A + SMALLNESS * torch.eye(NUM_SHARED, dtype=torch.float64)
        weights = equal + torch.linalg.solve(normal, A.mT @ (b - A @ equal))
        out[k, near] = weights / weights.sum()
    return out
