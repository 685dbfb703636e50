"""MANO as one more hand model: posed as its own layer poses it, named and fitted like others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from torch.testing import assert_close

from idhand import assets
from idhand.anatomy import palm_axes
from idhand.assets import ManoHands, mano_hands
from idhand.assets.mano import MANO_JOINTS, mano_hand, mano_name
from idhand.assets.mano_file import ManoFile
from idhand.assets.mano_parameters import ManoParameters, PlacedHand, PoseForm, from_mano, to_mano
from idhand.assets.mano_reading import read_mano
from idhand.assets.mano_tips import read_keypoint_regressor, tip_verts, with_tips
from idhand.assets.registry import LEFT_NOTICE, convert_mano, using_mano
from idhand.cli import main
from idhand.geometry import project, rotation_angle, rotation_from_vector
from idhand.hand import KEYPOINT_NAMES, FittableHand
from idhand.hand_parts import PoseSpace
from idhand.identity import Identity
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    State,
    solve,
)
from idhand.refinement.residuals import BONE_END, BONE_START
from tests.mano_files import (
    BACK,
    contents,
    hand_file,
    left_as_shipped,
    pickled,
    save_npz,
    wave,
    wave_file,
)
from tests.second_hand import second_hand

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mano_layer.json").read_text("utf-8"))


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wave_tensor(name: str, shape: tuple[int, ...], scale: float) -> Tensor:
    return torch.from_numpy(wave(name, shape, scale))


@pytest.fixture(scope="module")
def right() -> FittableHand:
    return mano_hand(hand_file())


@pytest.fixture(scope="module")
def left() -> FittableHand:
    return mano_hand(left_as_shipped(hand_file()))


# ---------------------------------------------------------------- the layer


@pytest.mark.parametrize("num_components", [None, 12])
@pytest.mark.parametrize("flat", [True, False])
def test_a_file_that_was_read_agrees_with_an_independent_layer(
    tmp_path: Path, num_components: int | None, flat: bool
) -> None:
    """Vertices and joints by smplx 0.1.28 (golden/README.md), through pickle and file reader."""
    case = GOLDEN[f"num_pca_comps={num_components},flat_hand_mean={flat}"]
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickled(contents(wave_file())))
    (file,) = read_mano(path)
    hand = mano_hand(file)
    parameters = ManoParameters(
        global_orient=wave_tensor("global_orient", (2, 3), 1.2),
        hand_pose=wave_tensor("hand_pose", (2, num_components or 45), 0.8),
        betas=wave_tensor("betas", (2, 10), 1.5),
        transl=wave_tensor("transl", (2, 3), 0.4),
        form="pca" if num_components else "axis_angle",
        about_mean=not flat,
    )
    placed = from_mano(hand, parameters, is_right=True)
    posed = hand.with_shape(placed.betas).posed(placed.rotations, placed.wrist_cam)
    for name, values in (("vertices", posed.verts), ("joints", posed.joints[:, BACK])):
        expected, numbers = case[name], values.flatten().numpy()
        assert list(values.shape) == expected["shape"]
        assert numbers.mean() == pytest.approx(expected["mean"], abs=1e-7)
        assert numbers.std(ddof=1) == pytest.approx(expected["std"], abs=1e-7)
        assert_allclose(numbers[:9], expected["first"], atol=1e-7, rtol=0)
        assert_allclose(numbers[-9:], expected["last"], atol=1e-7, rtol=0)


def test_joints_are_in_our_order_and_the_frame_is_manos(right: FittableHand) -> None:
    assert [BACK[MANO_JOINTS[k]] for k in range(16)] == list(range(16))
    assert right.parents == second_hand().parents
    assert_close(right.joint_template, second_hand().joint_template)
    assert_close(right.skinning, second_hand().skinning)
    assert right.pose_basis is not None
    assert_close(right.pose_basis, second_hand().pose_basis)
    x, y, z = palm_axes(right.with_shape(torch.zeros(10).double()))
    assert x[2] > 0.8, "the thumb lies to +z"
    assert y[0] > 0.8, "the fingers point to −x"
    assert z[1] > 0.8, "the palm faces −y"


def test_the_pose_space_says_every_rotation_about_manos_mean(right: FittableHand) -> None:
    space, file = right.pose_space, hand_file()
    vectors = 1.5 * torch.nn.functional.normalize(draw(0, 40, 15, 3), dim=-1)
    rotations = rotation_from_vector(vectors)
    assert_close(space.rotations(space.angles(rotations)), rotations)
    assert_close(space.vectors(space.angles(rotations)), vectors)
    mean = space.vectors(space.mean).numpy()[BACK[1:] - 1]
    assert_allclose(mean.ravel(), file.pose_mean, atol=1e-15)
    assert space.names[:4] == ("thumb_cmc_x", "thumb_cmc_y", "thumb_cmc_z", "thumb_mcp_x")
    deviation = space.covariance.diagonal().sqrt()
    reach = torch.maximum(4 * deviation, torch.full_like(deviation, 0.5))
    assert 0 < (reach == 0.5).sum() < 45, "both rules are used"
    assert_close(space.lower, space.mean - reach)
    assert_close(space.upper, space.mean + reach)
    assert_close(right.prior.covariance, torch.eye(10).double())


def test_coefficients_of_unit_variance_have_the_covariance_of_the_pose_space(
    right: FittableHand,
) -> None:
    space = right.pose_space
    angles = space.angles_of(draw(1, 40_000, 45))
    spread = space.covariance.diagonal().sqrt()
    off = (torch.cov(angles.T) - space.covariance) / (spread[:, None] * spread)
    assert off.abs().max() < 0.03
    assert ((angles.mean(0) - space.mean) / spread).abs().max() < 0.03
    whole = space.angles_of(torch.eye(45).double(), about_mean=False)
    assert_close(space.angles_of(torch.eye(45)[:, :12].double(), about_mean=False)[:12], whole[:12])
    with pytest.raises(ValueError, match="have 45 principal components, got 46 coefficients"):
        space.angles_of(torch.zeros(46).double())
    with pytest.raises(ValueError, match="have 0 principal components, got 3 coefficients"):
        assets.open_hand().pose_space.angles_of(torch.zeros(3).double())


def test_poses_without_spread_are_refused() -> None:
    components = hand_file().pose_components.copy()
    components[-1] = 0.0
    with pytest.raises(ValueError, match=r"directions without any spread.*all 45 components"):
        mano_hand(replace(hand_file(), pose_components=components))


# ---------------------------------------------------------------- parameters, both ways


def placed(seed: int, space: PoseSpace) -> PlacedHand:
    angles = space.mean + draw(seed, 5, 45) @ torch.linalg.cholesky(space.covariance).T
    wrist = rotation_from_vector(draw(seed + 1, 5, 1, 3))
    return PlacedHand(
        rotations=torch.cat((wrist, space.rotations(angles)), 1),
        wrist_cam=draw(seed + 2, 5, 3),
        betas=draw(seed + 3, 5, 10),
    )


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize(
    ("form", "about_mean"),
    [
        ("pca", True),
        ("pca", False),
        ("axis_angle", True),
        ("axis_angle", False),
        ("matrices", False),
    ],
)
def test_parameters_come_back(
    left: FittableHand, is_right: bool, form: PoseForm, about_mean: bool
) -> None:
    hand = placed(3, left.pose_space)
    theirs = to_mano(left, hand, is_right=is_right, form=form, about_mean=about_mean)
    back = from_mano(left, theirs, is_right=is_right)
    assert_close(back.rotations, hand.rotations)
    assert_close(back.wrist_cam, hand.wrist_cam)
    again = to_mano(left, back, is_right=is_right, form=form, about_mean=about_mean)
    assert_close(again.hand_pose, theirs.hand_pose, atol=1e-7, rtol=1e-7)


def test_fewer_components_tell_the_nearest_pose(right: FittableHand) -> None:
    hand = placed(5, right.pose_space)
    turns = []
    for number in (6, 20, 45):
        some = to_mano(
            right, hand, is_right=True, form="pca", about_mean=True, num_components=number
        )
        assert some.hand_pose.shape == (5, number)
        near = from_mano(right, some, is_right=True)
        off = right.pose_space.angles(near.rotations[:, 1:])
        turns.append(float((off - right.pose_space.angles(hand.rotations[:, 1:])).square().sum()))
    assert turns[0] > turns[1] > turns[2]
    assert turns[2] < 1e-12


def layer(file: ManoFile, parameters: ManoParameters) -> np.ndarray:
    """MANO's layer for one hand in plain steps, in the file's own frame and joint order."""
    betas, shift = (getattr(parameters, k).numpy() for k in ("betas", "transl"))
    pose = parameters.hand_pose.numpy().reshape(15, 3)
    vectors = np.concatenate((parameters.global_orient.numpy()[None], pose))
    R = rotation_from_vector(torch.from_numpy(vectors)).numpy()
    rest = file.template + file.shape_basis @ betas
    joints = file.joint_regressor @ rest
    bent = rest + file.pose_basis @ (R[1:] - np.eye(3)).ravel()
    parents = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
    turns, places = [R[0]], [joints[0]]
    for k in range(1, 16):
        turns.append(turns[parents[k]] @ R[k])
        bone = joints[k] - joints[parents[k]]
        places.append(places[parents[k]] + turns[parents[k]] @ bone)
    each = np.stack(
        [(bent - joints[k]) @ turns[k].T + places[k] for k in range(16)], 1
    )  # (vertices, joints, 3)
    return (file.skinning[..., None] * each).sum(1) + shift


@pytest.mark.parametrize("is_right", [True, False])
def test_hands_of_both_sides_stand_where_their_own_files_put_them(is_right: bool) -> None:
    """Left: the mirrored model in our convention against MANO_LEFT itself, as shipped."""
    file = hand_file() if is_right else left_as_shipped(hand_file())
    parameters = ManoParameters(
        global_orient=draw(0, 3), hand_pose=0.5 * draw(1, 45), betas=draw(2, 10), transl=draw(3, 3)
    )
    model = mano_hand(file)
    ours = from_mano(model, parameters, is_right=is_right)
    flip = torch.tensor([1.0 if is_right else -1.0, 1, 1], dtype=torch.float64)
    posed = model.with_shape(ours.betas).posed(ours.rotations, ours.wrist_cam * flip)
    assert_allclose((posed.verts * flip).numpy(), layer(file, parameters), atol=1e-7)


@pytest.mark.parametrize(
    ("form", "numbers", "fault"),
    [
        ("pca", 46, "as 'pca' has 1 to 45 numbers, got 46"),
        ("axis_angle", 48, "as 'axis_angle' has 45 numbers, got 48"),
        ("matrices", 144, "as 'matrices' has 135 numbers, got 144"),
        ("matrices", 135, "matrices are told from the flat hand"),
    ],
)
def test_a_pose_of_another_form_is_refused(form: PoseForm, numbers: int, fault: str) -> None:
    three = torch.zeros(3)
    with pytest.raises(ValueError, match=fault):
        ManoParameters(
            global_orient=three,
            hand_pose=torch.zeros(numbers),
            betas=torch.zeros(10),
            transl=three,
            form=form,
            about_mean=form == "matrices",
        )


# ---------------------------------------------------------------- left hands


def test_betas_mean_other_lengths_on_the_left_as_shipped(
    right: FittableHand,
) -> None:
    """The fault leaves hands of zero betas alone, and turns what betas do along the fingers."""
    zero, middle = torch.zeros(10).double(), right.measures.names.index("middle_length")
    left = mano_hand(left_as_shipped(hand_file()), tips=right.tip_verts)
    assert_close(left.template, right.template)
    assert_close(left.measures.lengths(zero), right.measures.lengths(zero))
    flip = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    assert_close(left.shape_basis, right.shape_basis * flip[:, None])
    points = torch.tensor(
        [KEYPOINT_NAMES.index(f"middle_{k}") for k in ("mcp", "pip", "dip", "tip")]
    )
    bones, steps = (
        right.keypoint_template[points].diff(dim=0),
        right.keypoint_basis[points].diff(dim=0),
    )
    parts = torch.nn.functional.normalize(bones, dim=-1)[..., None] * steps
    along_x, across = parts[:, 0].sum(0), parts[:, 1:].sum((0, 1))
    on_right, on_left = (m.measures.derivatives(zero)[middle] for m in (right, left))
    assert_close(on_right, along_x + across)
    assert_close(on_left, -along_x + across)
    strongest = int(on_right.abs().argmax())
    assert abs(1e3 * float(on_right[strongest])) > 3, "one deviation is some millimetres"
    assert float(on_right[strongest] * on_left[strongest]) < 0, "longer on one side, shorter there"


def test_a_profile_of_one_hand_is_refused_by_the_other(
    right: FittableHand, left: FittableHand
) -> None:
    me = Identity(model=right.name, betas=np.zeros(10), covariance=np.eye(10), measurements={})
    me.check_model(right)
    with pytest.raises(ValueError, match=f"'{right.name}' .* but '{left.name}' .* is in use"):
        me.check_model(left)


def test_a_profile_serves_the_same_hand_with_other_fingertips(
    right: FittableHand, left: FittableHand
) -> None:
    for model in (right, left):
        me = Identity(
            model=model.shape_name, betas=np.zeros(10), covariance=np.eye(10), measurements={}
        )
        for tips in ("freihand", "smplx", "manopth", "1,2,3,4,5"):
            other = with_tips(model, tips)
            me.check_model(other)
            assert other.shape_name == model.name
            assert with_tips(other, "manopth").shape_name == model.name
    with pytest.raises(ValueError, match="in use"):
        me.check_model(with_tips(right, "freihand"))


# ---------------------------------------------------------------- names


def test_the_name_is_a_hash_of_the_arrays(right: FittableHand) -> None:
    file = hand_file()
    assert right.name == mano_name(file)
    assert len(right.name) == len("mano-01234567")
    names = {mano_name(file), mano_name(left_as_shipped(file)), mano_name(wave_file())}
    for field, value in vars(file).items():
        if isinstance(value, np.ndarray):
            other = value.copy()
            other.flat[7] += 1
            names.add(mano_name(replace(file, **{field: other})))
    assert len(names) == 3 + 8
    packed = replace(file, template=np.asfortranarray(file.template))
    assert mano_name(packed) == mano_name(file)


# ---------------------------------------------------------------- fingertips


def test_the_conventions_are_those_of_the_table(right: FittableHand, left: FittableHand) -> None:
    table = {
        "manopth": (745, 317, 444, 556, 673),
        "freihand": (744, 320, 443, 555, 672),
        "cmr": (744, 333, 444, 555, 672),
        "smplx": (744, 320, 443, 554, 671),
        "metro": (745, 317, 445, 556, 673),
        "boukhayma": (745, 333, 444, 555, 672),
    }
    for name, verts in table.items():
        assert tip_verts(name) == verts
        other = with_tips(right, name)
        assert other.tip_verts == verts
        assert other.name == right.name + ("" if name == "manopth" else f"-{name}")
        assert with_tips(other, "manopth").name == right.name
    assert right.tip_verts == table["manopth"]
    assert left.tip_verts == table["metro"], "manopth's left middle finger"
    own = with_tips(right, (1, 2, 3, 4, 5))
    assert own.name == f"{right.name}-1.2.3.4.5"
    assert tip_verts("1,2,3,4,5") == tip_verts("1.2.3.4.5") == (1, 2, 3, 4, 5)
    tips = [k for k, name in enumerate(KEYPOINT_NAMES) if name.endswith("_tip")]
    assert_close(own.keypoint_template[tips], right.template[[1, 2, 3, 4, 5]])
    joints = [k for k in range(21) if k not in tips]
    assert_close(own.keypoint_template[joints], right.keypoint_template[joints])


@pytest.mark.parametrize("tips", ["mano", "1,2,3,4", "1,2,3,4,778", "1,2,3,4,4", "1,2,3,4,x", ""])
def test_other_fingertips_are_refused(tips: str) -> None:
    with pytest.raises(ValueError, match=r"one of manopth, freihand, .*or five different vertices"):
        tip_verts(tips)


def test_regressed_keypoints_are_those_of_the_vertices(right: FittableHand, tmp_path: Path) -> None:
    hand = right.with_shape(draw(0, 10))
    rest = hand.posed(torch.eye(3).double().expand(16, 3, 3), hand.rest_joints[0])
    assert_close(right.keypoint_regressor @ rest.verts, rest.keypoints)
    bent = hand.posed(rotation_from_vector(0.5 * draw(1, 16, 3)), draw(2, 3))
    off = (right.keypoint_regressor @ bent.verts - bent.keypoints).norm(dim=-1)
    tips = [4, 8, 12, 16, 20]
    assert off[tips].max() < 1e-12
    assert off.max() > 5e-4, "in a pose, bones and skin take the joints to different places"
    np.save(tmp_path / "regressor.npy", right.keypoint_regressor.numpy())
    assert_close(read_keypoint_regressor(tmp_path / "regressor.npy"), right.keypoint_regressor)


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.zeros((16, 778)), r"has the shape \(16, 778\), but a regressor of 21 keypoints"),
        (np.zeros((21, 778)), r"rows that do not sum to one \(off by 1\)"),
        (np.full((21, 778), np.nan), "rows that do not sum to one"),
        (np.zeros((21, 778), complex), "a regressor of 21 keypoints"),
        (np.array([{}], dtype=object), "is no array of numbers"),
    ],
)
def test_other_regressors_are_refused(tmp_path: Path, array: np.ndarray, fault: str) -> None:
    np.save(tmp_path / "r.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=f"r.npy .*{fault}"):
        read_keypoint_regressor(tmp_path / "r.npy")


# ---------------------------------------------------------------- the registry and the command


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The publishers' folder, and a user who has no hand models yet."""
    monkeypatch.setenv("IDHAND_HANDS", str(tmp_path / "hands"))
    monkeypatch.delenv("IDHAND_MANO", raising=False)
    folder = tmp_path / "mano_v1_2" / "models"
    folder.mkdir(parents=True)
    for name, file in (
        ("MANO_RIGHT", hand_file()),
        ("MANO_LEFT", left_as_shipped(hand_file())),
    ):
        (folder / f"{name}.pkl").write_bytes(pickled(contents(file)))
    return tmp_path / "mano_v1_2"


def test_the_command_makes_hands_that_are_found_by_name(
    download: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mano_hands() == ManoHands()
    assert main(["assets", "mano", str(download)]) == 0
    said = capsys.readouterr()
    names = [mano_name(hand_file()), mano_name(left_as_shipped(hand_file()))]
    assert [line.split(":")[0] for line in said.out.splitlines()] == names
    assert "right, " in said.out
    assert LEFT_NOTICE in said.err
    assert assets.hand_names() == (assets.OPEN_HAND, *sorted(names))
    assert main(["assets", "list"]) == 0
    assert capsys.readouterr().out.split() == list(assets.hand_names())
    hand = assets.hand(names[0])
    assert_close(hand.pose_space.components, mano_hand(hand_file()).pose_space.components)
    assert assets.hand(names[0]) is hand, "read once"
    here = mano_hands()
    assert here.right is hand
    assert here.left is assets.hand(names[1])
    other = assets.hand(f"{names[0]}-freihand")
    assert other.tip_verts == tip_verts("freihand")
    assert other is assets.hand(f"{names[0]}-freihand")
    with pytest.raises(ValueError, match="fingertips are one of"):
        assets.hand(f"{names[0]}-ours")
    assert {path.name for path in (tmp_path / "hands").iterdir()} == {f"{n}.npz" for n in names}


def test_mano_is_converted_at_first_use_where_it_is_named(download: Path, tmp_path: Path) -> None:
    name = mano_name(hand_file())
    with pytest.raises(ValueError, match=f"'{name}' is not here.* with `idhand assets mano`, or"):
        assets.hand(name)
    with using_mano(download):
        assert assets.hand(f"{name}-smplx").tip_verts == tip_verts("smplx")
        assert mano_hands().right is assets.hand(name)
    right = download / "models" / "MANO_RIGHT.pkl"
    assert mano_hands(right) == ManoHands(right=assets.hand(name)), "left labels lose their pose"
    assert mano_hands(tmp_path / "hands" / f"{name}.npz").right is assets.hand(name)
    with pytest.raises(FileNotFoundError, match=r"there is no .*nothing; name MANO's files"):
        mano_hands(tmp_path / "nothing")


def test_another_folder_may_hold_what_was_converted(download: Path, tmp_path: Path) -> None:
    name = mano_name(hand_file())
    away = tmp_path / "away"
    assert main(["assets", "mano", str(download), "--mano", str(away)]) == 0
    assert not (tmp_path / "hands").exists()
    assert name not in assets.hand_names()
    with using_mano(away):
        assert name in assets.hand_names()
        assert mano_hands().right is assets.hand(name)
    assert mano_hands(away).right is not None


def test_several_hands_of_a_side_must_be_named(download: Path, tmp_path: Path) -> None:
    convert_mano(download)
    save_npz(tmp_path / "MANO_RIGHT.npz", wave_file())
    other = convert_mano(tmp_path / "MANO_RIGHT.npz")[0]
    with pytest.raises(ValueError, match=r"several right hands of MANO .*say which with --mano"):
        mano_hands()
    assert mano_hands(tmp_path / "MANO_RIGHT.npz") == ManoHands(right=other)


def test_a_left_file_that_was_mended_is_refused(download: Path) -> None:
    left = left_as_shipped(hand_file())
    mended = replace(left, shape_basis=left.shape_basis * np.array([-1.0, 1, 1])[:, None])
    (download / "models" / "MANO_LEFT.pkl").write_bytes(pickled(contents(mended)))
    with pytest.raises(ValueError, match="a MANO_LEFT whose shape basis somebody has mended"):
        convert_mano(download)


def test_the_command_says_what_is_wrong_with_a_file_and_does_the_others(
    download: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = tmp_path / "MANO_RIGHT.pkl"
    evil.write_bytes(b"\x80\x02cos\nsystem\nU\x01x\x85R.")
    assert main(["assets", "mano", str(evil), str(download)]) == 1
    assert "MANO_RIGHT.pkl is refused: it names 'os.system'" in capsys.readouterr().err
    assert main(["assets", "mano", str(evil)]) == 2
    assert main(["assets", "mano"]) == 2
    capsys.readouterr()
    for arguments in (["assets", "list", "--mano"], ["synth", "--mano=nothing", "--out", "x"]):
        assert main(arguments) == (2 if "synth" in arguments or arguments[-1] == "--mano" else 0)
        assert "there is no such file or folder; name MANO_RIGHT.pkl" in capsys.readouterr().err


# ---------------------------------------------------------------- fits


def test_a_posed_hand_is_found_again_from_its_own_keypoints(right: FittableHand) -> None:
    """45 angles, from a start that is 0.2 rad off in every one, under a weak prior."""
    n, space = 64, right.pose_space
    config = ObjectiveConfig(pose_weight=1e-2)
    objective = Objective(model=right, config=config, prior=right.prior)
    angles = space.mean + 0.7 * draw(0, n, 45) @ torch.linalg.cholesky(space.covariance).T
    truth = State(
        R=rotation_from_vector(draw(1, n, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]) + 0.04 * draw(2, n, 3),
        angles=angles.clamp(space.lower, space.upper),
        betas=0.7 * draw(3, n, 10),
    )
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
    *_, points = objective.kinematics(truth)
    bones = points[:, BONE_END] - points[:, BONE_START]
    seen = Observations(
        points_px=project(points, K),
        sigma_px=torch.full((n, 21), 2.0, dtype=torch.float64),
        directions=torch.nn.functional.normalize(bones, dim=-1),
        sigma_direction=torch.full((n, 20), config.sigma_direction, dtype=torch.float64),
        K=K.expand(n, 3, 3),
        world=points,
    )
    start = replace(
        truth,
        R=rotation_from_vector(0.3 * draw(4, n, 3)) @ truth.R,
        wrist=truth.wrist + 0.03 * draw(5, n, 3),
        angles=truth.angles + 0.2 * draw(6, n, 45),
    )
    settings = RefinementConfig(objective=config)
    solution = solve(objective, seen, start, settings, shape=False)
    assert (solution.status == 0).double().mean() > 0.95
    *_, found = objective.kinematics(solution.state)
    error_mm = 1e3 * (found - points).norm(dim=-1)
    *_, before = objective.kinematics(start)
    assert 1e3 * (before - points).norm(dim=-1).median() > 20
    assert error_mm.median() < 0.2
    assert error_mm.amax(1).quantile(0.9) < 2.0
    turn = rotation_angle(solution.state.R.mT @ truth.R)
    assert turn.median() < 5e-3
