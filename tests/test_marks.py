"""Where a hand net's points lie on a hand model that is not its own: fitted, kept, used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from idhand import pipeline
from idhand.assets import open_hand
from idhand.assets.carrying import carried_keypoints, carried_over
from idhand.assets.mano import mano_hand
from idhand.assets.resampled import resampled_hand
from idhand.data import MemoryData, Subset
from idhand.detection.roi import CROP_SIZE_PX
from idhand.evaluation.protocol import evaluate
from idhand.geometry import project, rotation_from_vector
from idhand.hand import BonePoints, FittableHand
from idhand.methods import predicting
from idhand.methods.detections import detect_hands, observations_of
from idhand.methods.pointing import placed, with_points
from idhand.methods.predicting import predict
from idhand.methods.refining import RefineConfig, Solver, refine
from idhand.methods.rows import NetworkPoints
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_regressor, save_net
from idhand.nets.marks import Marks, fit_marks, marks_keypoints, marks_of
from idhand.nets.reading import Reader
from idhand.pipeline import Pipeline, PipelineConfig
from idhand.predictions import Predictions
from idhand.records import FLIP, Sample
from idhand.refinement import ObjectiveConfig, Trust, network_only
from idhand.refinement.network import with_network
from idhand.refinement.points import keypoints, posed_points
from idhand.training.examples import CropConfig, training_view
from idhand.training.features import FeatureExamples, crop_rng
from idhand.training.marks import marked_hands, training_marks
from idhand.training.tasks import with_confidence
from tests.second_hand import second_hand
from tests.test_experiments_predict import demo_samples, detector, small_net

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
MM = 1e3


@cache
def mano() -> FittableHand:
    """A hand in MANO's form."""
    return mano_hand(resampled_hand(), carried_over)


def offsets_m(seed: int = 3) -> Tensor:
    """Up to a centimetre and more."""
    rng = torch.Generator().manual_seed(seed)
    return 0.005 * torch.randn(21, 3, generator=rng, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Hands of a model, left and right in turn, and what is marked in their pictures."""

    model: FittableHand
    samples: list[Sample]
    points_px: list[np.ndarray]

    def predictions(self, turn_rad: float) -> Predictions:
        """A method that sees each joint turned by about so much, and the true shapes."""
        rng = torch.Generator().manual_seed(5)
        turns = turn_rad * torch.randn(len(self.samples), 16, 3, generator=rng, dtype=torch.float64)
        R = torch.from_numpy(np.stack([s.rotations for s in self.samples]))  # pyright: ignore
        return Predictions(
            header={"model": self.model.name, "method": "guess"},
            rotations=(rotation_from_vector(turns) @ R).numpy(),
            betas=np.stack([s.betas for s in self.samples]),  # pyright: ignore
            **self.rows(),
        )

    def rows(self) -> dict[str, Any]:
        """What all predictions have."""
        return {
            "sample_id": tuple(sample.id for sample in self.samples),
            "subject": tuple(sample.subject or "" for sample in self.samples),
            "is_right": np.array([sample.is_right for sample in self.samples]),
            "found": np.ones(len(self.samples), bool),
            "K": np.stack([sample.K for sample in self.samples]),
        }

    def mean_depth_m(self) -> np.ndarray:
        """Of the true keypoints of each hand."""
        depths = [sample.keypoints_cam[:, 2].mean() for sample in self.samples]  # pyright: ignore
        return np.array(depths)

    def points(self, offsets: Tensor | None) -> Predictions:
        """Of a network that marks points there, or keypoints."""
        header = {"method": "net", "points": "keypoints"}
        fields: dict[str, Any] = {"points_px": np.stack(self.points_px)}
        if offsets is not None:
            header = {"method": "net", "points": "hand net", "model": self.model.name}
            fields["points_offsets"] = np.tile(offsets.numpy(), (len(self.samples), 1, 1))
        return Predictions(header=header, **self.rows(), **fields)


def seen(
    model: FittableHand, lie_on: BonePoints, n: int, people: int = 1, bias: Tensor | None = None
) -> Seen:
    """Hands in usual poses half a metre away.

    Args:
        model: Of the hands.
        lie_on: Where the marked points lie on it.
        n: Number of pictures.
        people: Who take turns.
        bias: Each person's own offsets at rest, metres (people, 21, 3).
    """
    rng = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    space = model.pose_space
    angles = space.mean + 0.5 * draw(n, space.num_dofs) @ torch.linalg.cholesky(space.covariance).T
    fingers = space.rotations(angles.clamp(space.lower, space.upper))
    R = torch.cat((rotation_from_vector(draw(n, 3))[:, None], fingers), 1)
    betas = (0.7 * draw(people, model.num_betas)).repeat(-(-n // people), 1)[:n]
    wrist = torch.tensor([0.02, 0.03, 0.5]) + 0.03 * draw(n, 3)
    is_right = np.arange(n) % 2 == 1
    flip = np.where(is_right[:, None, None], 1.0, FLIP)
    marked, joints = np.empty((n, 21, 3)), np.empty((n, 21, 3))
    for who in range(people):
        rows, own = slice(who, n, people), lie_on
        if bias is not None:
            own = replace(lie_on, template=lie_on.template + bias[who])
        posed = model.with_shape(betas[rows]), R[rows], wrist[rows]
        marked[rows], joints[rows] = posed_points(own, *posed), keypoints(*posed)
    joints *= flip
    points_px = project(torch.from_numpy(marked * flip), torch.from_numpy(K)).numpy()
    pixels = project(torch.from_numpy(joints), torch.from_numpy(K)).numpy()
    samples = [
        replace(
            demo_samples()[0], id=f"{k:03d}", subject=f"person-{k % people}", K=K,
            is_right=bool(is_right[k]), model=model.name, betas=betas[k].numpy(),
            rotations=R[k].numpy(), wrist_cam=wrist[k].numpy() * flip[k, 0],
            keypoints_cam=joints[k], keypoints_px=pixels[k],
            bbox_px=np.concatenate((pixels[k].min(0), pixels[k].max(0))),
        )
        for k in range(n)
    ]  # fmt: skip
    return Seen(model=model, samples=samples, points_px=list(points_px))


def apart_mm(a: Tensor, b: Tensor) -> float:
    return MM * float((a - b).norm(dim=-1).max())


# --------------------------------------------------------------------------------------------- fit


def test_offsets_come_back_from_pixels():
    """To 0.1 mm, from left and right hands of several sizes; two odd pictures hardly matter."""
    truth = offsets_m()
    made = seen(mano(), Marks(offsets=truth).on(mano()), 80, people=3)
    found = fit_marks(mano(), marked_hands(made.samples, made.points_px))
    assert apart_mm(found.offsets, truth) < 0.1
    assert MM * float(truth.norm(dim=-1).max()) > 10
    assert found.bias_covariance is None, "three people are too few"
    odd = [points + (60.0 if k in (5, 40) else 0.0) for k, points in enumerate(made.points_px)]
    robust = fit_marks(mano(), marked_hands(made.samples, odd))
    assert apart_mm(robust.offsets, truth) < 0.2


def test_people_tell_how_the_points_differ():
    """Of forty people, the spread in the covariance comes near to that which they were given."""
    rng = torch.Generator().manual_seed(0)
    deviation = 0.001 * torch.linspace(1, 5, 63, dtype=torch.float64)
    bias = (deviation * torch.randn(40, 63, generator=rng, dtype=torch.float64)).reshape(40, 21, 3)
    truth = Marks(offsets=offsets_m())
    made = seen(mano(), truth.on(mano()), 480, people=40, bias=bias)
    found = fit_marks(mano(), marked_hands(made.samples, made.points_px)).bias_covariance
    assert found is not None
    wanted = (40 * deviation.square() + 10 * mano().landmarks.bias_covariance.diagonal()) / 50
    ratio = (found.diagonal() / wanted).sqrt()
    assert 0.6 < float(ratio.median()) < 1.1, "a person's own offsets are pulled to everybody's"
    assert np.corrcoef(found.diagonal(), wanted)[0, 1] > 0.8
    assert float(torch.linalg.eigvalsh(found).min()) > 0
    without = [replace(sample, subject=None) for sample in made.samples]
    assert fit_marks(mano(), marked_hands(without, made.points_px)).bias_covariance is None


def test_points_that_no_picture_shows_stay_where_the_surfaces_put_them():
    """With a single picture, offsets along its rays are those of the correspondence."""
    model = second_hand()
    start = carried_keypoints(model)
    made = seen(model, Marks(offsets=start).on(model), 1)
    found = fit_marks(model, marked_hands(made.samples, made.points_px))
    assert apart_mm(found.offsets, start) < 1e-6


def test_the_open_hand_s_keypoints_on_other_hands():
    """Knuckles that are put more than a centimetre elsewhere leave the open hand's where it is."""
    assert apart_mm(carried_keypoints(open_hand()), torch.zeros(21, 3)) == 0
    model = mano()
    regressor = model.joint_regressor.clone()
    regressor[[4, 7, 10, 13]] *= 0.85
    regressor[[4, 7, 10, 13]] += 0.15 * regressor[0]
    moved = replace(model, joint_regressor=regressor, name="moved")
    knuckles = [5, 9, 13, 17]
    off = (moved.keypoint_template - model.keypoint_template)[knuckles].norm(dim=-1)
    assert float(MM * off.min()) > 10
    there = model.keypoint_template + carried_keypoints(model)
    assert apart_mm(moved.keypoint_template + carried_keypoints(moved), there) < 0.05
    assert apart_mm(carried_keypoints(model), torch.zeros(21, 3)) < 0.5, "made of the open hand"


# --------------------------------------------------------------------------------------------- use


@pytest.mark.parametrize("solver", ["second_order", "paper_adam"])
def test_depth_is_unbiased_with_the_offsets_and_biased_without(solver: Solver):
    """Points 6 % farther out than the keypoints: taken for keypoints, hands seem nearer."""
    model = mano()
    rest = model.keypoint_template
    truth = 0.06 * (rest - rest.mean(0))
    made = seen(model, Marks(offsets=truth).on(model), 24)
    true_z = made.mean_depth_m()
    bias_mm, config = {}, RefineConfig(solver=solver)
    for name, offsets in {"marks": truth, "keypoints": None}.items():
        own = with_points(made.predictions(0.05), made.points(offsets), made.samples, model)
        after = refine(*own, model, config)
        bias_mm[name] = MM * float(np.mean(mean_depth_m(after, model) - true_z))
        again = [getattr(after, field) for field in ("points_px", "points_offsets")]
        kept = [getattr(own[0], field) for field in ("points_px", "points_offsets")]
        for ours, theirs in zip(again, kept, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert after.header["points"] == own[0].header["points"]
    assert abs(bias_mm["marks"]) < 1.5
    assert -40 < bias_mm["keypoints"] < -20


def mean_depth_m(predictions: Predictions, model: FittableHand) -> np.ndarray:
    hand = model.with_shape(torch.from_numpy(predictions.betas))
    wrist = torch.from_numpy(predictions.wrist_cam)  # z is the same of mirrored hands
    R = torch.from_numpy(predictions.rotations)
    return keypoints(hand, R, wrist)[..., 2].mean(1).numpy()


@pytest.mark.parametrize("points", ["network", "both"])
def test_pose_and_place_of_exact_points_stay(points: Any):
    """What agrees with the points already is not moved, whatever the landmark net's part."""
    model, truth = mano(), offsets_m()
    made = seen(model, Marks(offsets=truth).on(model), 6)
    own = with_points(made.predictions(0.0), made.points(truth), made.samples, model)
    how = replace(network_only(), trust=Trust(directions="network", points=points))
    if points == "both":  # the landmark net's are exact, too
        at = np.stack(seen(model, model.landmarks, 6).points_px)
        own = own[0], replace(own[1], landmarks_px=at)
    after = refine(*own, model, RefineConfig(refinement=how))
    off = mean_depth_m(after, model) - made.mean_depth_m()
    assert np.abs(MM * off).max() < 3.0


def test_each_network_s_points_lie_where_it_says():
    """Predictions of several folds in one file: refined and placed as each on its own."""
    model = mano()
    parts = [seen(model, Marks(offsets=offsets_m(k)).on(model), 6) for k in (1, 2)]
    pointed, detected = [], []
    for k, made in enumerate(parts):
        own = with_points(
            made.predictions(0.05), made.points(offsets_m(k + 1)), made.samples, model
        )
        pointed.append(own[0])
        detected.append(own[1])
    rows = np.array([0, 4, 2]), np.array([1, 5, 3])
    mixed = {
        name: np.stack(
            [getattr(pointed[k % 2], name)[k] for k in range(6)]
        )
        for name in ("points_px", "points_offsets")
    }  # fmt: skip
    both = replace(pointed[0], **mixed)
    seen_both = replace(detected[0], landmarks_px=mixed["points_px"])
    for step in (lambda p, d: placed(p, d, model), lambda p, d: refine(p, d, model)):
        together = step(both, seen_both)
        for k in (0, 1):
            alone = step(pointed[k].select(rows[k]), detected[k].select(rows[k]))
            assert together.wrist_cam is not None
            assert alone.wrist_cam is not None
            np.testing.assert_allclose(together.wrist_cam[rows[k]], alone.wrist_cam, atol=1e-9)


def test_points_that_are_no_keypoints_are_not_scored_as_such():
    """A hand's own keypoints are compared in the picture, wherever the net's points lie."""
    model = mano()
    made = seen(model, Marks(offsets=offsets_m()).on(model), 4)
    wrist = np.stack([sample.wrist_cam for sample in made.samples])  # pyright: ignore
    exact, points = made.predictions(0.0), made.points(offsets_m())
    pointed = replace(
        exact, wrist_cam=wrist, points_px=points.points_px, points_offsets=points.points_offsets,
        header={**exact.header, "points": "hand net"},
    )  # fmt: skip
    off_px = [
        evaluate(each, made.samples, model).values["pixels"].mean()
        for each in (pointed, replace(pointed, points_offsets=None))
    ]
    assert off_px[0] < 1e-6
    assert off_px[1] > 3
    with pytest.raises(ValueError, match="marks other points of the hand than its keypoints"):
        evaluate(points, made.samples, model)


def test_points_of_another_hand_model_are_refused():
    model = mano()
    made = seen(model, model.landmarks, 2)
    points = made.points(offsets_m())
    other = replace(points, header={**points.header, "model": "mano-00000000"})
    with pytest.raises(ValueError, match="lie on the hand model 'mano-00000000', and the"):
        with_points(made.predictions(0.0), other, made.samples, model)
    with pytest.raises(ValueError, match="points_offsets say where points_px lie"):
        replace(made.predictions(0.0), points_offsets=points.points_offsets)


# ---------------------------------------------------------------------------------------- networks


def test_whose_keypoints_a_hand_net_marks():
    shipped = HandBackbone("hand_studio")
    assert marks_keypoints(shipped, open_hand())
    assert not marks_keypoints(shipped, second_hand())
    assert not marks_keypoints(HandBackbone("hand_full"), open_hand())
    assert marks_keypoints(HandBackbone("hand_lite", is_trained=True), second_hand())
    assert marks_of(shipped, Marks(offsets=offsets_m()), open_hand()) is None
    lie_on = marks_of(shipped, None, mano())
    assert lie_on is not None
    assert_close(lie_on.template - mano().keypoint_template, carried_keypoints(mano()))
    assert not torch.allclose(lie_on.template, mano().landmarks.template, atol=5e-3)


def test_networks_keep_their_marks(tmp_path: Path):
    model, path = mano(), tmp_path / "net.safetensors"
    names = {"hand_model": model.name, "num_betas": model.num_betas, "identity": "predicted"}
    net = small_net(backbone="hand_studio", **names)
    net.marks = Marks(offsets=offsets_m(), bias_covariance=model.landmarks.bias_covariance)
    save_net(net, path, {})
    read = load_regressor(path).marks
    assert read is not None
    assert read.bias_covariance is not None
    assert apart_mm(read.offsets, offsets_m()) < 1e-4
    assert_close(read.bias_covariance, model.landmarks.bias_covariance, atol=1e-10, rtol=0)
    reader = Reader.load(path, model.name)
    lie_on = reader.marks(model)
    assert lie_on is not None
    assert apart_mm(lie_on.template, model.keypoint_template + offsets_m()) < 1e-3
    assert with_confidence(net).marks is net.marks
    net.marks = Marks(offsets=torch.full((21, 3), torch.nan))
    save_net(net, path, {})
    with pytest.raises(ValueError, match="is damaged: where its points lie is not given by 21"):
        load_regressor(path)
    with pytest.raises(ValueError, match="not given by numbers"):
        Marks.from_json({"offsets_mm": [["a"]]})


def test_predictions_say_where_the_points_lie(monkeypatch: pytest.MonkeyPatch):
    model = mano()
    detected = detect_hands(demo_samples(), detector(), HandBackbone("hand_studio"))
    names = {"hand_model": model.name, "num_betas": model.num_betas}
    net = small_net(backbone="hand_studio", **names)
    monkeypatch.setattr(predicting, "hand", lambda name: model)
    for marks in (None, Marks(offsets=offsets_m())):
        net.marks = marks
        found = predict(net, detected)
        wanted = carried_keypoints(model) if marks is None else marks.offsets
        assert found.header["points"] == "hand net"
        assert found.points_offsets is not None
        own = found.points_offsets[found.found]
        np.testing.assert_allclose(own, np.tile(wanted.numpy(), (len(own), 1, 1)), atol=1e-12)
        hits = np.flatnonzero(found.found)
        network = NetworkPoints.of(found.select(hits), model)
        assert network is not None
        again = placed(found, detected, model)
        np.testing.assert_allclose(again.wrist_cam[hits], found.wrist_cam[hits])  # pyright: ignore


def test_the_pipeline_takes_the_points_for_what_they_are(monkeypatch: pytest.MonkeyPatch):
    """On a hand of MANO's form by the fitted offsets, on the open hand for keypoints."""
    given: list[BonePoints | None] = []

    def noted(*arguments: Any) -> Any:
        *_, lie_on, _keypoints = arguments
        given.append(lie_on)
        return with_network(*arguments)

    monkeypatch.setattr(pipeline, "with_network", noted)
    sample = demo_samples()[0]
    for model in (mano(), open_hand()):
        names = {"hand_model": model.name, "num_betas": model.num_betas}
        net = small_net(backbone="hand_studio", **names)
        net.marks = Marks(offsets=offsets_m())
        pipe = Pipeline(
            config=PipelineConfig(hand=model.name, network=None), detector=detector(),
            model=model, reader=Reader(net=net),
        )  # fmt: skip
        assert len(pipe(sample.rgb, sample.K, sides="right", max_hands=1)) == 1
        assert np.isfinite(pipe.calibrate([sample.rgb], sample.K).betas).all()
    assert given[2:] == [None, None]
    for lie_on in given[:2]:
        assert lie_on is not None
        assert apart_mm(lie_on.template, mano().keypoint_template + offsets_m()) < 1e-9


def test_points_on_the_landmarks_are_not_moved():
    """The network's points are taken to where the landmark net would see them."""
    model = mano()
    made = seen(model, model.landmarks, 6)
    start, detected = with_points(
        made.predictions(0.05), made.points(offsets_m()), made.samples, model
    )
    R, betas = torch.from_numpy(start.rotations), torch.from_numpy(start.betas)
    there, px = observations_of(detected, ObjectiveConfig()), torch.zeros(6, 21, 2).double()
    px += torch.linspace(100, 300, 21)[:, None]
    trust = Trust(points="network")
    same = with_network(model, R, betas, there, px, trust, model.landmarks)[1]
    assert_close(same.points_px, px)
    moved = with_network(model, R, betas, there, px, trust, Marks(offsets=offsets_m()).on(model))
    assert float((moved[1].points_px - px).abs().max()) > 1


# ---------------------------------------------------------------------------------------- training


def features_of(made: Seen, crops: CropConfig, views: int) -> FeatureExamples:
    """Features whose landmarks are the marked points in the training's crops, nothing else."""
    backbone = HandBackbone("hand_studio")
    start = backbone.num_pooled
    rows = []
    for number, (sample, points) in enumerate(zip(made.samples, made.points_px, strict=True)):
        for view in range(views):
            roi = training_view(sample, crops, crop_rng(crops, number, view)).roi
            row = np.zeros(backbone.num_features, np.float16)
            in_crop = roi.from_image(points) - 0.5 / CROP_SIZE_PX - 0.5
            row[start : start + 63] = np.pad(in_crop, ((0, 0), (0, 1))).ravel()
            rows.append(row)
    n = len(rows)
    return FeatureExamples(
        features=np.stack(rows),
        rotations=np.zeros((n, 16, 3, 3), np.float32),
        betas=np.zeros((n, made.model.num_betas), np.float32),
        points_px=np.zeros((n, 21, 2), np.float32),
        about={"views": views, "num_samples": len(made.samples)},
        samples=MemoryData(made.samples, name="made up"),
        numbers=np.arange(len(made.samples)),
    )


def test_a_training_finds_the_points_in_its_features():
    """No picture is read, jittered crops or not, of some people or of all."""
    model, truth, crops = mano(), offsets_m(), CropConfig()
    examples = features_of(seen(model, Marks(offsets=truth).on(model), 60), crops, 2)
    shipped = HandBackbone("hand_studio")
    found = training_marks(shipped, model, examples, crops)
    assert found is not None
    assert apart_mm(found.offsets, truth) < 0.2
    part = Subset(examples.samples, tuple(range(20, 60)))
    of_part = training_marks(shipped, model, examples.subset(part), crops)
    assert of_part is not None
    assert apart_mm(of_part.offsets, truth) < 0.3
    assert training_marks(shipped, open_hand(), examples, crops) is None
    assert training_marks(HandBackbone("hand_full"), model, examples, crops) is None
    without = [replace(sample, wrist_cam=None) for sample in made_samples(examples.samples)]
    nowhere = replace(examples, samples=MemoryData(without, name="nowhere"))
    assert training_marks(shipped, model, nowhere, crops) is None


def made_samples(samples: Any) -> Sequence[Sample]:
    return [samples[index] for index in range(len(samples))]
