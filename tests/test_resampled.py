"""The open hand at MANO's sizes: topology, frame, sameness with the open hand, the left's fault."""

import numpy as np
import pytest
import torch

from idhand.assets import open_hand, resampled
from idhand.assets.decimation import collapsed
from idhand.assets.mano_file import ManoFile
from idhand.assets.mano_tips import TIP_VERTS
from idhand.assets.resampled import (
    OUR_JOINTS,
    R_MANO_OPEN,
    WRIST_MANO_M,
    kept_verts,
    open_betas,
    resampled_betas,
    resampled_hand,
)
from idhand.assets.surfaces import Surface
from idhand.fixtures.layer import posed_mano


def betas(number: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(number, 10))


def border_of(faces: np.ndarray) -> list[int]:
    """The loop of the border, which must be one."""
    half = {(a, b) for f in faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True)}
    after = {a: b for a, b in half if (b, a) not in half}
    loop = [min(after)]
    while after[loop[-1]] != loop[0]:
        loop.append(after[loop[-1]])
    assert len(loop) == len(after)
    return loop


@pytest.mark.parametrize("is_right", [True, False])
def test_it_is_a_disk_of_manos_sizes_with_normals_outward(is_right: bool):
    file = resampled_hand(is_right=is_right)
    sides = np.sort(file.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, counts = np.unique(sides, axis=0, return_counts=True)
    assert (len(file.template), len(edges), len(file.faces)) == (778, 2315, 1538)
    assert len(np.unique(file.faces)) == 778
    assert sorted(np.unique(counts, return_counts=True)[1].tolist()) == [16, 2299]
    loop = border_of(file.faces)
    assert len(loop) == 16
    ends = file.template[loop]
    wrist = file.joint_regressor[0] @ file.template
    away = 1 if is_right else -1  # fingers point to −x or +x
    assert (away * (ends - wrist)[:, 0] > 9e-3).all()
    # Closed by a fan over the border, it has the volume of a hand, about 0.35 litres.
    fan = [(loop[k + 1], loop[k], loop[0]) for k in range(1, 15)]
    a, b, c = file.template[np.concatenate([file.faces, fan])].swapaxes(0, 1)
    assert 2.5e-4 < (a * np.cross(b, c)).sum() / 6 < 4.5e-4


def test_its_triangles_are_well_shaped_and_none_is_folded():
    file = resampled_hand()
    corners = file.template[file.faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    squares = ((corners - np.roll(corners, 1, 1)) ** 2).sum((1, 2))
    quality = 2 * np.sqrt(3) * np.linalg.norm(cross, axis=1) / squares
    assert quality.min() > 0.25
    assert np.median(quality) > 0.8
    across: dict[tuple[int, int], int] = {}
    for k, face in enumerate(file.faces.tolist()):
        across |= dict.fromkeys(zip(face, face[1:] + face[:1], strict=True), k)
    unit = cross / np.linalg.norm(cross, axis=1, keepdims=True)
    cosines = [unit[k] @ unit[across[b, a]] for (a, b), k in across.items() if (b, a) in across]
    assert min(cosines) > -0.2


@pytest.mark.parametrize("is_right", [True, False])
def test_it_lies_as_a_t_posed_bodys_hand(is_right: bool):
    file = resampled_hand(is_right=is_right)
    side = 1 if is_right else -1
    joints = file.joint_regressor @ file.template
    np.testing.assert_allclose(joints[0], WRIST_MANO_M * [side, 1, 1], atol=1e-9)
    fingers = file.template[[317, 444, 556, 673]] - joints[0]
    assert (-side * fingers[:, 0] > 0.14).all()
    assert file.template[745, 2] - joints[4, 2] > 0.05
    # Fingers of the mean pose are bent towards the palm, which is below.
    none = np.zeros((1, 3))
    bent = posed_mano(file, np.zeros(10), none, file.pose_mean[None], none)[0][0]
    assert (bent[[317, 444, 556, 673], 1] < file.template[[317, 444, 556, 673], 1] - 0.02).all()


def test_joints_fingertips_and_skin_are_the_open_hands_in_every_shape():
    file, model = resampled_hand(), open_hand()
    wrist = model.joint_template[0].numpy()
    for shape in betas(5):
        verts = file.template + file.shape_basis @ shape
        hand = model.with_shape(torch.from_numpy(open_betas(shape)))
        joints = (hand.rest_joints.numpy() - wrist)[list(OUR_JOINTS)] @ R_MANO_OPEN.T
        own = (hand.rest_verts.numpy() - wrist) @ R_MANO_OPEN.T + WRIST_MANO_M
        np.testing.assert_allclose(file.joint_regressor @ verts, joints + WRIST_MANO_M, atol=1e-8)
        np.testing.assert_allclose(verts, own[kept_verts()], atol=1e-12)
        tips = [745, 317, 444, 556, 673]
        np.testing.assert_allclose(verts[tips], own[list(model.tip_verts)], atol=1e-12)
    surface = Surface(torch.from_numpy(file.faces), 778)
    template = torch.from_numpy(file.template)
    mean = (model.template.numpy() - wrist) @ R_MANO_OPEN.T + WRIST_MANO_M
    points = torch.from_numpy(mean)
    apart_mm = 1e3 * (surface.at(surface.feet(points, template), template) - points).norm(dim=-1)
    assert apart_mm.max() < 1.2
    assert apart_mm.mean() < 0.15
    np.testing.assert_array_equal(resampled_betas(open_betas(betas(4))), betas(4))


def test_weights_sum_to_one_and_are_not_negative():
    file = resampled_hand()
    for rows in (file.skinning, file.joint_regressor):
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-12)
        assert rows.min() >= 0


def test_vertices_at_the_fingertips_have_the_numbers_that_conventions_name():
    file = resampled_hand()
    for convention in TIP_VERTS.values():
        apart_mm = 1e3 * np.linalg.norm(
            file.template[list(convention)] - file.template[list(TIP_VERTS["manopth"])], axis=1
        )
        assert apart_mm.max() < 7
    assert np.linalg.norm(file.template[445] - file.template[444]) < 7e-3
    numbers = {v for convention in TIP_VERTS.values() for v in convention}
    assert len({*file.template[sorted(numbers)].round(9).ravel().tolist()}) == 3 * len(numbers)


def test_components_carry_the_open_hands_poses_and_are_of_full_rank():
    file, space = resampled_hand(), open_hand().pose_space
    covariance = file.pose_components.T @ file.pose_components
    assert np.linalg.matrix_rank(file.pose_components) == 45
    spare = covariance - resampled.SPARE_DEVIATION_RAD**2 * np.eye(45)
    assert np.linalg.matrix_rank(spare, tol=1e-9) == space.num_dofs
    # The index finger's middle joint flexes about one axis of the open hand's: its deviation.
    k = space.names.index("index_pip_flexion")
    axis = R_MANO_OPEN @ space.axis[k].numpy()
    found = axis @ covariance[3:6, 3:6] @ axis  # MANO's second joint of the first finger
    assert found == pytest.approx(float(space.covariance[k, k]) + 0.06**2, rel=1e-6)
    assert axis @ file.pose_mean[3:6] == pytest.approx(float(space.mean[k]), rel=1e-6)
    sizes = np.linalg.norm(file.pose_components, axis=1)
    assert (np.diff(sizes) <= 1e-12).all()


def test_correctives_bulge_where_a_joint_bends_and_nowhere_else():
    file = resampled_hand()
    none = np.zeros((1, 3))
    pose = np.zeros((1, 45))
    bent = pose.copy()
    bent[0, 3:6] = np.pi / 2 * R_MANO_OPEN @ open_hand().pose_space.axis[9].numpy()
    plain = ManoFile(**{**vars(file), "pose_basis": np.zeros_like(file.pose_basis)})
    for angles, most_m in ((pose, 0.0), (bent, 2.5e-3)):
        own = posed_mano(file, np.zeros(10), none, angles, none)[0][0]
        other = posed_mano(plain, np.zeros(10), none, angles, none)[0][0]
        moved = np.linalg.norm(own - other, axis=1)
        assert moved.max() <= most_m
        shared = file.skinning[:, 2] * file.skinning[:, 1]
        assert (moved[shared == 0] < 1e-12).all()
    assert moved.max() > 1e-3


def test_the_left_is_the_mirror_image_but_for_the_published_fault():
    right, left = resampled_hand(), resampled_hand(is_right=False)
    rng = np.random.default_rng(0)
    flip, turn = np.array([-1.0, 1, 1]), np.array([1.0, -1, -1])
    coefficients, orient, shift = rng.normal(size=(3, 45)), rng.normal(size=(3, 3)), np.ones((3, 3))
    poses = [f.pose_mean + coefficients @ f.pose_components for f in (right, left)]
    verts, joints = posed_mano(right, np.zeros(10), orient, poses[0], shift)
    mirrored = posed_mano(left, np.zeros(10), orient * turn, poses[1], shift * flip)
    np.testing.assert_allclose(mirrored[0], verts * flip, atol=1e-12)
    np.testing.assert_allclose(mirrored[1], joints * flip, atol=1e-12)
    np.testing.assert_array_equal(left.shape_basis, right.shape_basis)
    # A larger first beta: a smaller right hand, and a left one that is larger by as much.
    lengths = []
    for file in (right, left):
        for beta in (0.0, 1.0):
            shape = file.template + file.shape_basis @ (beta * np.eye(10)[0])
            lengths.append(np.linalg.norm(shape[444] - file.joint_regressor[0] @ shape))
    assert lengths[0] == pytest.approx(lengths[2], abs=1e-9)
    assert -12e-3 < lengths[1] - lengths[0] < -6e-3
    assert 6e-3 < lengths[3] - lengths[2] < 12e-3


def test_it_is_made_the_same_every_time():
    first, again = resampled._decimated(), resampled._decimated.__wrapped__()
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert resampled_hand() is resampled_hand()


def test_collapses_keep_what_they_must_and_stop_with_a_sentence():
    # A flat grid of 5 × 5 vertices: 16 edges on the border, four corners that carry its outline.
    x, y = np.meshgrid(np.arange(5.0), np.arange(5.0))
    verts = np.stack([x.ravel(), y.ravel(), np.zeros(25)], 1)
    faces = []
    for k in (5 * r + c for r in range(4) for c in range(4)):
        faces += [(k, k + 1, k + 6), (k, k + 6, k + 5)]
    left, coarser = collapsed(verts, np.array(faces), 13, 12, kept=(12,))
    assert len(left) == 13
    assert {0, 4, 20, 24, 12} <= set(left.tolist())
    a, b, c = verts[left][coarser].swapaxes(0, 1)
    areas = np.cross(b - a, c - a)[:, 2] / 2
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(16)
    assert len(border_of(coarser)) == 12
    with pytest.raises(ValueError, match="vertices too many"):
        collapsed(verts, np.array(faces), 13, 2, kept=range(25))
