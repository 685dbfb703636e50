import json
import math
import zlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from idhand import skinning
from idhand.assets import open_hand
from idhand.geometry import rotation_from_vector
from idhand.hand import (
    JOINT_NAMES,
    KEYPOINT_JOINT,
    KEYPOINT_NAMES,
    KEYPOINT_ORDER,
    KEYPOINT_PARENTS,
    FittableHand,
    Hand,
    HandModel,
)

from .conftest import toy_hand

GOLDEN = Path(__file__).parent / "golden"
FINGERS = ("index", "middle", "ring", "little")


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rest(hand: Hand) -> Tensor:
    return torch.eye(3, dtype=torch.float64).expand(*hand.betas.shape[:-1], 16, 3, 3)


@pytest.mark.parametrize("batch", [(), (2,), (3, 1)])
def test_rest_pose_is_rest_shape(batch: tuple[int, ...]) -> None:
    hand = toy_hand().with_shape(draw(1, *batch, 4))
    still = torch.eye(3, dtype=torch.float64).expand(*batch, 16, 3, 3)
    posed = hand.posed(still, hand.rest_joints[..., 0, :])
    assert_close(posed.verts, hand.rest_verts)
    assert_close(posed.joints, hand.rest_joints)


@given(seed=st.integers(0, 2**31))
def test_turning_the_wrist_turns_everything_about_it(seed: int) -> None:
    hand = toy_hand().with_shape(draw(seed, 4))
    pose, turn = rotation_from_vector(draw(seed, 16, 3)), rotation_from_vector(draw(seed + 1, 3))
    origin = torch.zeros(3, dtype=torch.float64)
    before = hand.posed(pose, origin)
    after = hand.posed(torch.cat([(turn @ pose[0])[None], pose[1:]]), origin)
    assert_close(after.verts, before.verts @ turn.T)
    assert_close(after.keypoints, before.keypoints @ turn.T)


def test_names_and_tables_of_joints_and_keypoints_agree() -> None:
    """Written out as docs/conventions.md has them: base to tip, thumb to little finger."""
    thumb = ("thumb_cmc", "thumb_mcp", "thumb_ip")
    fingers = [tuple(f"{f}_{p}" for p in ("mcp", "pip", "dip")) for f in FINGERS]
    assert ("wrist", *thumb, *(name for finger in fingers for name in finger)) == JOINT_NAMES
    chains = [(*chain, f"{chain[0].split('_')[0]}_tip") for chain in (thumb, *fingers)]
    assert ("wrist", *(name for chain in chains for name in chain)) == KEYPOINT_NAMES
    above = {b: a for chain in chains for a, b in zip(("wrist", *chain), chain, strict=False)}
    assert (-1, *(KEYPOINT_NAMES.index(above[n]) for n in KEYPOINT_NAMES[1:])) == KEYPOINT_PARENTS
    carriers = [above[name] if name.endswith("tip") else name for name in KEYPOINT_NAMES]
    assert tuple(JOINT_NAMES.index(name) for name in carriers) == KEYPOINT_JOINT
    tips = [chain[-1] for chain in chains]
    assert tuple([*JOINT_NAMES, *tips][k] for k in KEYPOINT_ORDER) == KEYPOINT_NAMES


def test_shapes_poses_and_places_broadcast() -> None:
    """Three shapes in five poses at four places: each as if alone."""
    model = toy_hand()
    betas, pose, wrist = draw(0, 3, 1, 1, 4), draw(1, 5, 1, 16, 3), draw(2, 4, 3)
    rotations = rotation_from_vector(pose)
    posed = model.with_shape(betas).posed(rotations, wrist)
    assert posed.verts.shape == (3, 5, 4, 40, 3)
    assert posed.keypoints.shape == (3, 5, 4, 21, 3)
    for i, j, k in ((0, 0, 0), (2, 4, 3), (1, 2, 0)):
        alone = model.with_shape(betas[i, 0, 0]).posed(rotations[j, 0], wrist[k])
        assert_close(posed.verts[i, j, k], alone.verts)
        assert_close(posed.keypoints[i, j, k], alone.keypoints)


def test_joints_at_rest_are_the_regressed_vertices() -> None:
    model = toy_hand()
    hand = model.with_shape(draw(0, 2, 4))
    assert_close(
        hand.rest_verts, model.template + (model.shape_basis @ hand.betas.mT).movedim(-1, 0)
    )
    assert_close(hand.rest_joints, model.joint_regressor @ hand.rest_verts)


def test_bones_keep_their_length_in_any_pose() -> None:
    hand = open_hand().with_shape(draw(0, 16))
    posed = hand.posed(rotation_from_vector(draw(3, 16, 3)), draw(4, 3))
    parents = list(hand.model.parents[1:])
    lengths = (posed.joints[1:] - posed.joints[parents]).norm(dim=-1)
    assert_close(lengths, (hand.rest_joints[1:] - hand.rest_joints[parents]).norm(dim=-1))


def test_gradients() -> None:
    model = toy_hand()

    def verts(betas: Tensor, vectors: Tensor) -> Tensor:
        rotations = rotation_from_vector(vectors)
        return model.with_shape(betas).posed(rotations, torch.zeros(3).double()).verts

    betas = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(verts, (betas, draw(0, 16, 3).requires_grad_(True)))


def test_betas_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 16 betas, got 10"):
        open_hand().with_shape(torch.zeros(10, dtype=torch.float64))


def wave(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    """The formula that the golden numbers were made with, rounded to float32."""
    i = np.arange(math.prod(shape), dtype=np.float64)
    phase = (zlib.crc32(name.encode()) % 1000) / 100
    values = scale * np.sin(phase + 0.7 * i + 0.0131 * i**2)
    return torch.from_numpy(values.astype(np.float32).astype(np.float64).reshape(shape))


def mano_shaped_model() -> HandModel:
    regressor = wave("J_regressor", (16, 778), 1.0).abs() ** 8
    weights = wave("weights", (778, 16), 1.0).abs() ** 6
    return HandModel(
        name="wave",
        template=wave("v_template", (778, 3), 0.08),
        shape_basis=wave("shapedirs", (778, 3, 10), 0.004),
        pose_basis=wave("posedirs", (778, 3, 135), 0.0005),
        joint_regressor=(regressor / regressor.sum(1, keepdim=True)).float().double(),
        skinning=(weights / weights.sum(1, keepdim=True)).float().double(),
        parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14),
        faces=torch.zeros(1, 3, dtype=torch.int64),
        tip_verts=(745, 317, 444, 556, 673),
    )


def mano_pose(num_components: int | None, *, flat: bool) -> Tensor:
    """The 45 numbers of a pose in MANO's form: principal components or all, with a mean or not."""
    mean = wave("hands_mean", (45,), 0.2) * (0.0 if flat else 1.0)
    pose = wave("hand_pose", (2, num_components or 45), 0.8)
    if num_components is not None:
        pose = pose @ wave("hands_components", (45, 45), 0.3)[:num_components]
    return pose + mean


@pytest.mark.parametrize("num_components", [None, 12])
@pytest.mark.parametrize("flat", [True, False])
def test_agrees_with_an_independent_mano_layer(num_components: int | None, flat: bool) -> None:
    """Vertices and joints of a synthetic model, computed by smplx 0.1.28 (golden/README.md)."""
    golden = json.loads((GOLDEN / "mano_layer.json").read_text())
    case = golden[f"num_pca_comps={num_components},flat_hand_mean={flat}"]
    hand = mano_shaped_model().with_shape(wave("betas", (2, 10), 1.5))
    vectors = torch.cat(
        (wave("global_orient", (2, 3), 1.2), mano_pose(num_components, flat=flat)), 1
    )
    rotations = rotation_from_vector(vectors.unflatten(-1, (16, 3)))
    posed = hand.posed(rotations, hand.rest_joints[:, 0] + wave("transl", (2, 3), 0.4))
    for name, values in (("vertices", posed.verts), ("joints", posed.joints)):
        expected = case[name]
        flat_values = values.flatten().numpy()
        assert list(values.shape) == expected["shape"]
        assert flat_values.mean() == pytest.approx(expected["mean"], abs=1e-7)
        assert flat_values.std(ddof=1) == pytest.approx(expected["std"], abs=1e-7)
        assert len(expected["first"]) == len(expected["last"]) == 9
        np.testing.assert_allclose(flat_values[:9], expected["first"], atol=1e-7, rtol=0)
        np.testing.assert_allclose(flat_values[-9:], expected["last"], atol=1e-7, rtol=0)


# ---------------------------------------------------------------- the open hand


def test_sampled_hands_have_ansurs_measures() -> None:
    ansur = json.loads((GOLDEN / "ansur_hand.json").read_text())
    measures = open_hand().measures
    for population in ("male", "female"):
        prior = open_hand().of_population(population).prior
        betas = prior.mean + draw(0, 10_000, 16) @ torch.linalg.cholesky(prior.covariance).T
        lengths = 1e3 * measures.lengths(betas)[:, :4]
        truth = ansur[population]
        deviation = np.sqrt(np.diag(truth["cov"])[:4])
        assert_close(lengths.mean(0).numpy(), np.array(truth["mean"][:4]), rtol=0.03, atol=0)
        assert_close(lengths.std(0).numpy(), deviation, rtol=0.03, atol=0)


def test_first_beta_is_overall_size() -> None:
    measures = open_hand().measures
    zero = torch.zeros(16, dtype=torch.float64)
    growth = measures.derivatives(zero)[:4] / measures.lengths(zero)[:4, None]
    assert (growth[:, 0] > 0.04).all()
    assert (growth[:, 0] > growth[:, 1:].abs().amax(1)).all()


def face_normals(verts: Tensor, faces: Tensor) -> Tensor:
    a, b, c = (verts[..., faces[:, k], :] for k in range(3))
    return torch.linalg.cross(b - a, c - a)


def test_no_triangle_turns_inside_out_within_norm_three() -> None:
    model = open_hand()
    betas = draw(0, 400, 16)
    betas = 3 * betas / betas.norm(dim=-1, keepdim=True)
    corners = 3 * torch.cat((torch.eye(16), -torch.eye(16))).double()
    template = face_normals(model.template, model.faces)
    for chunk in torch.cat((betas, corners)).split(50):
        normals = face_normals(model.with_shape(chunk).rest_verts, model.faces)
        assert (normals * template).sum(-1).min() > 0


def test_mesh_is_watertight_with_outward_normals_on_both_sides() -> None:
    for model in (open_hand(), open_hand().mirrored()):
        mesh = trimesh.Trimesh(model.template.numpy(), model.faces.numpy(), process=False)
        assert mesh.is_watertight
        assert mesh.volume > 2e-4


def test_left_hand_is_the_mirror_image_in_any_pose() -> None:
    right, flip = open_hand(), torch.tensor([-1.0, 1, 1]).double()
    rotations = rotation_from_vector(0.4 * draw(0, 16, 3))
    conjugate = flip[:, None] * rotations * flip
    betas, wrist = draw(1, 16), draw(2, 3)
    mirrored = right.mirrored().with_shape(betas).posed(conjugate, wrist * flip)
    assert_close(mirrored.verts, right.with_shape(betas).posed(rotations, wrist).verts * flip)
    bent = toy_hand()  # has pose correctives, too
    plain = bent.with_shape(betas[:4]).posed(rotations, wrist)
    other = bent.mirrored().with_shape(betas[:4]).posed(conjugate, wrist * flip)
    assert_close(other.verts, plain.verts * flip)
    assert_close(other.keypoints, plain.keypoints * flip)


def test_what_a_mirrored_model_keeps() -> None:
    right = open_hand()
    left = right.mirrored()
    assert (left.name, left.is_right, left.mirrored().is_right) == (right.name, False, True)
    assert type(left) is HandModel, "fits are made with the right hand"
    assert torch.equal(left.mirrored().template, right.template)
    assert torch.equal(left.faces, right.faces[:, [2, 1, 0]])


def test_a_hand_that_can_be_fitted_has_all_parts() -> None:
    toy = toy_hand()
    for part, name in (
        ("pose_space", "pose space"),
        ("landmarks", "landmarks"),
        ("measures", "measures"),
        ("prior", "prior"),
    ):
        with pytest.raises(ValueError, match=f"'toy' cannot be fitted: it has no {name}; give all"):
            _fittable(toy, **{part: None})
    with pytest.raises(ValueError, match="it has no pose space, no prior; give all parts"):
        _fittable(toy, pose_space=None, prior=None)
    with pytest.raises(ValueError, match=r"'toy' is a left hand; .*give the right hand"):
        replace(toy, is_right=False)
    with pytest.raises(ValueError, match=r"no measure 'hand_length', .*it has span: add it"):
        replace(toy, measures=replace(toy.measures, names=("span",)))


def _fittable(model: FittableHand, **changed: Any) -> FittableHand:
    """The constructor alone, as a caller without a type checker may use it."""
    new = object.__new__(FittableHand)
    for name, value in {**vars(model), **changed}.items():
        object.__setattr__(new, name, value)
    new.__post_init__()
    return new


def test_a_population_is_the_same_model_with_another_prior() -> None:
    model = open_hand()
    women = model.of_population("female")
    assert women.prior is model.populations["female"]
    for name in (f.name for f in fields(model) if f.name not in ("prior", "populations")):
        assert getattr(women, name) is getattr(model, name)
    assert women.of_population("all").prior is model.prior
    known = "all, male, female, child"
    with pytest.raises(ValueError, match=f"no population 'elves'; it knows {known}"):
        model.of_population("elves")


def test_moving_a_model_moves_all_of_its_parts() -> None:
    model = open_hand()
    single = model.to(torch.float32)
    assert type(single) is FittableHand
    assert single.name == model.name
    parts: list[Any] = [single, single.pose_space, single.landmarks, single.measures, single.prior]
    parts += single.populations.values()
    assert len(parts) == 5 + 3
    for part in parts:
        own = {f.name for f in fields(part)}
        tensors = [v for k, v in vars(part).items() if k in own and torch.is_tensor(v)]
        assert tensors
        assert all(t.dtype in (torch.float32, torch.int64) for t in tensors)
    assert_close(single.to(torch.float64).template, model.template, atol=1e-8, rtol=0)
    left = model.mirrored().to(torch.float32)
    assert (type(left), left.is_right, left.template.dtype) == (HandModel, False, torch.float32)
    elsewhere = model.to(device="meta")
    assert elsewhere.prior.covariance.device.type == "meta"
    assert elsewhere.faces.device.type == "meta"
    assert elsewhere.template.dtype == torch.float64


def test_angles_turn_joints_about_their_axes_and_come_back() -> None:
    space = open_hand().pose_space
    assert space.num_dofs == len(space.names) == len(space.axis)
    assert_close(space.precision @ space.covariance, torch.eye(space.num_dofs).double())
    one = torch.eye(space.num_dofs).double()
    for k, vectors in enumerate(space.vectors(one)):
        joint = int(space.joint[k]) - 1
        assert_close(vectors[joint], space.axis[k])
        assert float(vectors.abs().sum()) == pytest.approx(float(space.axis[k].abs().sum()))
    angles = 0.5 * draw(0, 2, 3, space.num_dofs)
    rotations = space.rotations(angles)
    assert_close(
        rotations,
        rotation_from_vector((angles @ space.vectors(one).flatten(1)).unflatten(-1, (15, 3))),
    )
    assert_close(space.angles(rotations), angles)
    pip = JOINT_NAMES.index("index_pip") - 1  # a hinge: what turns it sideways is left out
    (hinge,) = [k for k, joint in enumerate(space.joint.tolist()) if joint == pip + 1]
    aside = torch.linalg.cross(space.axis[hinge], draw(1, 3))
    vectors = torch.zeros(15, 3).double()
    vectors[pip] = 0.3 * space.axis[hinge] + 0.2 * aside / aside.norm()
    found = space.angles(rotation_from_vector(vectors))
    assert_close(found, 0.3 * one[hinge])


def test_flexion_closes_the_hand_and_limits_hold_the_mean() -> None:
    model = open_hand()
    space = model.pose_space
    assert ((space.mean > space.lower) & (space.mean < space.upper)).all()
    assert torch.linalg.eigvalsh(space.covariance).min() > 0
    hand = model.with_shape(torch.zeros(16).double())
    angles = torch.zeros(space.num_dofs).double()
    angles[[k for k, n in enumerate(space.names) if n.endswith("flexion") and "thumb" not in n]] = (
        1.2
    )
    rotations = torch.cat((torch.eye(3).double()[None], space.rotations(angles)))
    tips = [k for k, n in enumerate(KEYPOINT_NAMES) if n.endswith("tip") and "thumb" not in n]
    open_tips = hand.posed(rest(hand), torch.zeros(3).double()).keypoints[tips]
    closed_tips = hand.posed(rotations, torch.zeros(3).double()).keypoints[tips]
    assert (open_tips[:, 1] < -0.1).all()
    assert (closed_tips[:, 1] > -0.1).all(), "the tips come back towards the wrist"
    assert (closed_tips[:, 2] < -0.01).all(), "on the palm's side, -z"


@pytest.mark.parametrize("name", open_hand().measures.names)
def test_a_measures_path_is_as_long_as_the_measure(name: str) -> None:
    measures = open_hand().measures
    for seed in range(3):
        betas = draw(seed, 16)
        path = measures.path(name, betas)
        length = (path[1:] - path[:-1]).norm(dim=-1).sum()
        assert_close(length, measures.lengths(betas)[measures.names.index(name)])
        assert bool((path[0] == path[-1]).all()) == (name == "hand_circumference")
    with pytest.raises(ValueError, match="no measure 'nose_length'"):
        measures.path("nose_length", draw(0, 16))


def test_measures_are_differentiable_and_grow_with_size() -> None:
    measures = open_hand().measures
    betas = 0.5 * draw(0, 16)
    assert torch.autograd.gradcheck(measures.lengths, (betas.clone().requires_grad_(True),))
    numeric = (measures.lengths(betas + 1e-6) - measures.lengths(betas - 1e-6)) / 2e-6
    assert_close(measures.derivatives(betas).sum(-1), numeric, atol=1e-8, rtol=1e-6)
    at, step = measures.names.index("hand_length"), 1e-6 * torch.eye(16).double()
    logarithms = [measures.lengths(s).log()[:, at] for s in (step, -step)]
    assert_close(measures.growth, (logarithms[0] - logarithms[1]) / 2e-6, atol=1e-8, rtol=1e-6)


def test_float32_copy_agrees() -> None:
    model = open_hand()
    single = model.to(torch.float32)
    assert single.template.dtype == torch.float32
    assert single.joint_template.dtype == torch.float32
    for part in (single.pose_space, single.landmarks, single.measures):
        kinds = {v.dtype for v in vars(part).values() if torch.is_tensor(v)}
        assert kinds == {torch.float32, torch.int64}
    betas = draw(0, 16)
    assert_close(
        single.with_shape(betas.float()).rest_verts.double(),
        model.with_shape(betas).rest_verts,
        atol=1e-6,
        rtol=0,
    )


def test_builder_script_is_committed_beside_its_result() -> None:
    root = Path(__file__).parents[1]
    assert (root / "tools" / "build_hand.py").is_file()
    assert (root / "src/idhand/assets/data/WEBXR_LICENSE.txt").read_text().startswith("MIT License")


def test_fast_skinning_is_the_plain_one_with_its_derivatives() -> None:
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    weights = normal(7, 4).softmax(-1)
    inputs = (normal(40, 12, 4), normal(40, 3, 7))
    assert_close(skinning.skinned(*inputs, weights), skinning._blended(*inputs, weights))
    small = tuple(x[:2].clone().requires_grad_(True) for x in inputs)
    assert torch.autograd.gradcheck(lambda t, p: skinning.skinned(t, p, weights), small)
    assert torch.autograd.gradgradcheck(lambda t, p: skinning.skinned(t, p, weights), small)
