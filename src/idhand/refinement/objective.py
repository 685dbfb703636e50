"""What a good pose is: the objective over landmark points and its derivatives.

All hands here are right hands (left ones are mirrored before). Batches are one-dimensional.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from idhand.geometry import left_jacobian, rotation_from_vector, skew
from idhand.hand import FittableHand, ShapePrior
from idhand.refinement.problem import Linearisation, ObjectiveConfig, Observations, State
from idhand.refinement.residuals import (
    BONE_END,
    BONE_START,
    bone_directions,
    cauchy,
    in_sigmas,
    reprojection,
)

KNUCKLE_JOINT = 7
"""The middle finger's: the hand's size in the picture is that at its depth."""
NEAREST_M = 1e-3
"""Depths that are smaller count as this."""
SMALLEST = 0.3
"""Least size of a hand over the mean hand's: a third of a newborn's and less is none."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Cost of a state given a model's landmark points and priors.

    The unknowns are ordered: wrist rotation 3 (applied from the left), wrist position 3, angles,
    then betas and bias where they are free.
    """

    model: FittableHand
    config: ObjectiveConfig
    prior: ShapePrior
    """Of the betas; the model's, unless more is known of the person."""
    shared_priors: bool = True
    """False leaves out the priors of what the pictures of one person share: shape and bias."""

    def pose_precision(self, seen: Observations) -> Float[Tensor, "batch dofs dofs"]:
        """Inverse covariance of the angles, times the prior's weight.

        The weight is there because errors of landmarks that are seen together are not independent;
        it does not apply to angles of which no landmark is seen.
        """
        precision = self.model.pose_space.precision
        weight = torch.full_like(precision[0], self.config.pose_weight)
        root = torch.where(self.unseen_angles(seen), 1.0, weight).sqrt()
        return root[:, :, None] * precision * root[:, None]

    def unseen_angles(self, seen: Observations) -> Bool[Tensor, "batch dofs"]:
        """The angles that move landmarks which are not seen, and no others."""
        return ((~seen.unseen)[:, :, None] & self._moves).sum(1) == 0

    def limit_hessian(self, angles: Float[Tensor, "batch dofs"]) -> Float[Tensor, "batch dofs"]:
        """Second derivative of the joint limits' cost: zero within them."""
        return self.config.limit_sigma**-2 * (self._overstep(angles) != 0).to(angles)

    @cached_property
    def shape_precision(self) -> Float[Tensor, "betas betas"]:
        """Inverse covariance of the betas; zero without the shared priors."""
        precision = self.prior.precision
        return precision if self.shared_priors else torch.zeros_like(precision)

    @cached_property
    def bias_precision(self) -> Float[Tensor, "63 63"]:
        """Inverse covariance of the landmarks' biases; zero without the shared priors."""
        covariance = self.model.landmarks.bias_covariance
        return torch.linalg.inv(covariance) if self.shared_priors else torch.zeros_like(covariance)

    @property
    def _growth(self) -> Float[Tensor, " betas"]:
        """Relative change of the hand's length per beta."""
        return self.model.measures.growth

    def relative_size(self, betas: Float[Tensor, "batch betas"]) -> Float[Tensor, " batch"]:
        """Length of the hand over the mean hand's."""
        return self.model.relative_size(betas).clamp_min(SMALLEST)

    @cached_property
    def _typical_growth(self) -> Float[Tensor, " betas"]:
        """The betas by which the prior's mean hand grows by the mean hand's size, uniformly."""
        size = self.relative_size(self.prior.mean[None])
        return (self.prior.mean + self.model.uniform_growth) / size

    def shape_residual(
        self, betas: Float[Tensor, "batch betas"]
    ) -> tuple[Float[Tensor, "batch betas"], Float[Tensor, "batch betas betas"]]:
        """Deviation from the prior in size and in proportions, as betas, and its derivative.

        A hand is its size and the proportions that it has at the prior's mean size; the prior is a
        Gaussian over these two, the same to first order as one over the betas. Proportions must
        not depend on the size: were they taken from the betas as they are, a smaller hand would
        explain the same proportions by smaller betas, and since no image shows size, every
        well-seen proportion would push the estimate towards small hands. The size in turn must
        not be divided by itself: its pull would grow as hands shrink.
        """
        grown = self._typical_growth
        usual = self.relative_size(self.prior.mean[None])
        size = self.relative_size(betas)
        excess = (size - usual)[:, None] * grown
        shrink = (usual / size)[:, None]
        own = betas - self.prior.mean - excess
        # Where the size is held at its smallest, it does not change with the betas.
        growth = self._growth * (size > SMALLEST)[:, None]
        eye = torch.eye(betas.shape[-1], dtype=betas.dtype, device=betas.device)
        by_size = grown * (1 - shrink) - own * shrink / size[:, None]
        slope = shrink[..., None] * eye + by_size[..., None] * growth[:, None]
        return excess + own * shrink, slope

    @cached_property
    def _moves(self) -> Bool[Tensor, "21 dofs"]:
        """Which landmark each angle moves: those on its joint and on the joints beyond."""
        dof = self.model.pose_space.joint
        point = self.model.landmarks.joint[:, None]
        return ((point - 1) // 3 == (dof - 1) // 3) & (point >= dof) & (point > 0)

    # ---------------------------------------------------------------- kinematics

    def kinematics(
        self, state: State
    ) -> tuple[Tensor, Tensor, Tensor, Float[Tensor, "batch 21 3"]]:
        """Joint orientations (batch, 16, 3, 3), positions, angle axes, and landmark points.

        The fast twin of `Hand.chain` with `posed_points`: of five chains of three joints at once,
        by angles, with their axes for the derivatives; a test holds the two together.
        """
        model, space, marks = self.model, self.model.pose_space, self.model.landmarks
        vectors = space.vectors(state.angles).unflatten(1, (5, 3))
        local = rotation_from_vector(vectors)
        left = left_jacobian(vectors)
        joints = model.joint_template + torch.einsum("jak,bk->bja", model.joint_basis, state.betas)
        bones = joints[:, 1:] - joints[:, model.parents[1:]]
        bones = bones.unflatten(1, (5, 3))
        parent_R, parent_t = state.R[:, None], state.wrist[:, None]
        R, t, parents = [], [], []
        for k in range(3):
            parent_t = parent_t + (parent_R @ bones[:, :, k, :, None])[..., 0]
            parents.append((parent_R @ left[:, :, k]).expand(-1, 5, 3, 3))
            parent_R = parent_R @ local[:, :, k]
            R.append(parent_R)
            t.append(parent_t)
        R_all = torch.cat((state.R[:, None], torch.stack(R, 2).flatten(1, 2)), 1)
        t_all = torch.cat((state.wrist[:, None], torch.stack(t, 2).flatten(1, 2)), 1)
        turned = torch.stack(parents, 2).flatten(1, 2)[:, space.joint - 1]
        axes = (turned @ space.axis[..., None])[..., 0]
        local_points = marks.at_rest(state.betas) - joints[:, marks.joint]
        if state.bias is not None:
            local_points = (
                local_points + state.bias * self.relative_size(state.betas)[:, None, None]
            )
        points = t_all[:, marks.joint] + (R_all[:, marks.joint] @ local_points[..., None])[..., 0]
        return R_all, t_all, axes, points

    # ---------------------------------------------------------------- plain cost (the oracle)

    def cost(self, state: State, seen: Observations) -> Float[Tensor, " batch"]:
        """The objective, differentiable by autograd; the plain twin of `linearise`."""
        _, joints, _, points = self.kinematics(state)
        size, _ = cauchy(self._size_residual(state, joints, seen).square(), self.config.robust_size)
        return self.cost_of_points(points, state, seen) + self.config.observation_weight * size

    def cost_of_points(
        self, points: Float[Tensor, "batch 21 3"], state: State, seen: Observations
    ) -> Float[Tensor, " batch"]:
        """The objective, given the landmark points that the state puts in the camera frame."""
        c = self.config
        uvw = points @ seen.K.mT
        pixels = in_sigmas(uvw[..., :2] / uvw[..., 2:].clamp_min(1e-3) - seen.points_px, seen)
        bones = points[:, BONE_END] - points[:, BONE_START]
        units = bones / bones.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        turns = (units - seen.directions) / seen.sigma_direction[..., None]
        data = cauchy(pixels.square().sum(-1), c.robust_px)[0].sum(-1)
        data = data + cauchy(turns.square().sum(-1), c.robust_direction)[0].sum(-1)
        return c.observation_weight * data + self.prior_cost(state, seen)

    def _size_residual(
        self, state: State, joints: Float[Tensor, "batch 16 3"], seen: Observations
    ) -> Float[Tensor, " batch"]:
        """How far the hand's size in the picture is from the seen one, in sigmas."""
        length = self.relative_size(state.betas) * self.model.mean_length_m
        depth = joints[:, KNUCKLE_JOINT, 2].clamp_min(NEAREST_M)
        return (length.log() - depth.log() - seen.log_size) / seen.log_size_std

    def _add_size(
        self, state: State, seen: Observations, gradient: Tensor, hessian: Tensor, *, shape: bool
    ) -> Float[Tensor, " batch"]:
        """Add the derivatives of the size's term in place; returns its cost."""
        c = self.config
        R, t, *_ = self.kinematics(state)
        r = self._size_residual(state, t, seen)
        cost, weight = cauchy(r.square(), c.robust_size)
        knuckle = t[:, KNUCKLE_JOINT]
        per_depth = -1 / (knuckle[:, 2].clamp_min(NEAREST_M) * seen.log_size_std)
        slope = torch.zeros_like(gradient)
        slope[:, :3] = per_depth[:, None] * -skew(knuckle - state.wrist)[:, 2]
        slope[:, 5] = per_depth
        if shape:
            start = 6 + state.angles.shape[-1]
            stop = start + state.betas.shape[-1]
            grown = self._growth / self.relative_size(state.betas)[:, None]
            moved = self._joint_jacobian(R)[:, KNUCKLE_JOINT, 2]
            slope[:, start:stop] = grown / seen.log_size_std[:, None] + per_depth[:, None] * moved
        scaled = 2 * c.observation_weight * weight
        gradient += (scaled * r)[:, None] * slope
        hessian += scaled[:, None, None] * slope[:, :, None] * slope[:, None]
        return c.observation_weight * cost

    def prior_cost(self, state: State, seen: Observations) -> Float[Tensor, " batch"]:
        """The priors alone: pose, limits, shape, landmark bias."""
        space = self.model.pose_space
        pose = state.angles - space.mean
        shape = self.shape_residual(state.betas)[0]
        over = self._overstep(state.angles) / self.config.limit_sigma
        weighted = (self.pose_precision(seen) @ pose[..., None])[..., 0]
        cost = 0.5 * (weighted * pose).sum(-1)
        cost = cost + 0.5 * ((shape @ self.shape_precision) * shape).sum(-1)
        cost = cost + 0.5 * over.square().sum(-1)
        if state.bias is not None:
            bias = state.bias.flatten(1)
            cost = cost + 0.5 * ((bias @ self.bias_precision) * bias).sum(-1)
        return cost

    def _overstep(self, angles: Float[Tensor, "batch dofs"]) -> Float[Tensor, "batch dofs"]:
        """How far beyond its limit each angle is, signed, radians."""
        space = self.model.pose_space
        return (angles - space.upper).clamp_min(0) + (angles - space.lower).clamp_max(0)

    # ---------------------------------------------------------------- analytic derivatives

    def point_jacobian(
        self, state: State, *, shape: bool, bias: bool
    ) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 21 3 unknowns"]]:
        """Landmark points in the camera frame and their derivative by the unknowns."""
        marks, space = self.model.landmarks, self.model.pose_space
        R, t, axes, points = self.kinematics(state)
        eye = torch.eye(3, dtype=points.dtype, device=points.device)
        arms = points[:, :, None] - t[:, space.joint][:, None]
        swing = torch.linalg.cross(axes[:, None].expand_as(arms), arms)
        swing = swing * self._moves[..., None].to(points.dtype)
        parts = [
            -skew(points - state.wrist[:, None]),
            eye.expand(*points.shape[:2], 3, 3),
            swing.mT,
        ]
        if shape:
            parts.append(self._shape_jacobian(R, state.bias))
        if bias:
            on_bone = R[:, marks.joint] * self.relative_size(state.betas)[:, None, None, None]
            spread = points.new_zeros(*on_bone.shape[:2], 3, 21, 3)
            index = torch.arange(21, device=points.device)
            spread[:, index, :, index] = on_bone.transpose(0, 1)
            parts.append(spread.flatten(-2))
        return points, torch.cat(parts, -1)

    def _shape_jacobian(
        self, R: Float[Tensor, "batch 16 3 3"], bias: Float[Tensor, "batch 21 3"] | None
    ) -> Float[Tensor, "batch 21 3 betas"]:
        marks, basis = self.model.landmarks, self.model.joint_basis
        base = self._joint_jacobian(R)
        own = marks.shape_basis - basis[marks.joint]
        if bias is not None:
            own = own + bias[..., None] * self._growth
        return base[:, marks.joint] + R[:, marks.joint] @ own

    def _joint_jacobian(
        self, R: Float[Tensor, "batch 16 3 3"]
    ) -> Float[Tensor, "batch 16 3 betas"]:
        """Of the joints, by the betas."""
        basis = self.model.joint_basis
        steps = basis[1:] - basis[list(self.model.parents[1:])]
        moved = (R[:, self.model.parents[1:]] @ steps).unflatten(1, (5, 3)).cumsum(2)
        return torch.cat((torch.zeros_like(moved[:, 0, :1]), moved.flatten(1, 2)), 1)

    def linearise(
        self, state: State, seen: Observations, *, shape: bool, bias: bool = False
    ) -> Linearisation:
        """Cost, gradient and Gauss-Newton Hessian of each hand.

        Args:
            state: Where to linearise.
            seen: The observations.
            shape: The betas are unknowns, not constants.
            bias: The landmarks' displacements are unknowns too.
        """
        c = self.config
        points, jacobian = self.point_jacobian(state, shape=shape, bias=bias)
        r_px, J_px = reprojection(points, jacobian, seen)
        r_dir, J_dir = bone_directions(points, jacobian, seen)
        cost_px, weight_px = cauchy(r_px.square().sum(-1), c.robust_px)
        cost_dir, weight_dir = cauchy(r_dir.square().sum(-1), c.robust_direction)
        cost = c.observation_weight * (cost_px.sum(-1) + cost_dir.sum(-1)) + self.prior_cost(
            state, seen
        )
        root_px = (2 * c.observation_weight * weight_px).sqrt()[..., None]
        root_dir = (2 * c.observation_weight * weight_dir).sqrt()[..., None]
        r = torch.cat(((root_px * r_px).flatten(1), (root_dir * r_dir).flatten(1)), 1)
        J = torch.cat(
            (
                (root_px[..., None] * J_px).flatten(1, 2),
                (root_dir[..., None] * J_dir).flatten(1, 2),
            ),
            1,
        )
        gradient = (J.mT @ r[..., None])[..., 0]
        hessian = J.mT @ J
        if bool(seen.log_size_std.isfinite().any()):
            cost = cost + self._add_size(state, seen, gradient, hessian, shape=shape)
        self._add_priors(state, seen, gradient, hessian, shape=shape, bias=bias)
        return Linearisation(cost=cost, gradient=gradient, hessian=hessian)

    def _add_priors(
        self,
        state: State,
        seen: Observations,
        gradient: Tensor,
        hessian: Tensor,
        *,
        shape: bool,
        bias: bool,
    ) -> None:
        """Add the priors' derivatives in place."""
        space = self.model.pose_space
        end = 6 + space.num_dofs
        over = self._overstep(state.angles)
        stiff = self.config.limit_sigma**-2
        precision = self.pose_precision(seen)
        pose = (precision @ (state.angles - space.mean)[..., None])[..., 0]
        gradient[:, 6:end] += pose + stiff * over
        hessian[:, 6:end, 6:end] += precision
        hessian[:, 6:end, 6:end] += torch.diag_embed(self.limit_hessian(state.angles))
        if shape:
            stop = end + state.betas.shape[-1]
            off, slope = self.shape_residual(state.betas)
            weighted = slope.mT @ self.shape_precision
            gradient[:, end:stop] += (weighted @ off[..., None])[..., 0]
            hessian[:, end:stop, end:stop] += weighted @ slope
            end = stop
        if bias:
            assert state.bias is not None
            gradient[:, end:] += state.bias.flatten(1) @ self.bias_precision
            hessian[:, end:, end:] += self.bias_precision

    def moved(self, state: State, step: Float[Tensor, "batch unknowns"]) -> State:
        """The state after a step of the unknowns."""
        dofs, betas = state.angles.shape[-1], state.betas.shape[-1]
        new = replace(
            state,
            R=rotation_from_vector(step[:, :3]) @ state.R,
            wrist=state.wrist + step[:, 3:6],
            angles=state.angles + step[:, 6 : 6 + dofs],
        )
        rest = step[:, 6 + dofs :]
        if rest.shape[-1] >= betas:
            new = replace(new, betas=state.betas + rest[:, :betas])
        if rest.shape[-1] > betas and state.bias is not None:
            new = replace(new, bias=state.bias + rest[:, betas:].unflatten(-1, (-1, 3)))
        return new
