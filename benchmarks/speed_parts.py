"""What is timed: refinement, hand layer, pipeline, start-up. Each part returns rows of one table."""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import idhand
from idhand.assets import open_hand
from idhand.geometry import intrinsics_from_fov, project, rotation_from_vector
from idhand.hand import HandModel
from idhand.refinement import (
    Objective,
    ObjectiveConfig,
    Observations,
    RefinementConfig,
    Solution,
    State,
    closed_form_start,
    solve,
)
from idhand.refinement.objective import BONE_END, BONE_START

BATCH = 256
MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
MANO_TIPS = (745, 317, 444, 556, 673)
NUM_PHOTOS = 20
"""Of the calibration that is timed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = True
    """The target is an upper bound; else a lower one."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def interleaved(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each task; the tasks take turns, so that a busy moment hits all of them."""
    for task in tasks.values():
        task()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


# ---------------------------------------------------------------- refinement


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Hands of random people in random poses, marked with the noise that the objective expects."""

    objective: Objective
    seen: Observations
    start: State
    """From the closed form, with mean betas."""
    known_start: State
    """The same with the true betas."""


def _draw(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def scene(num: int, seed: int = 0) -> Scene:
    """Synthetic evidence of `num` hands about 0.5 m away, float64 like the pipeline."""
    rng = torch.Generator().manual_seed(seed)
    config = ObjectiveConfig()
    K = torch.tensor([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], dtype=torch.float64)
    objective = Objective(
        model=open_hand(),
        config=config,
        shape_mean=torch.zeros(16, dtype=torch.float64),
        shape_precision=torch.eye(16, dtype=torch.float64),
    )
    space = objective.model.pose_space
    assert space is not None
    spread = torch.linalg.cholesky(space.covariance)
    angles = space.mean + 0.7 * _draw(rng, num, space.num_dofs) @ spread.T
    betas = 0.7 * _draw(rng, num, 16)
    truth = State(
        R=rotation_from_vector(_draw(rng, num, 3)),
        wrist=torch.tensor([0.02, 0.03, 0.5]) + 0.04 * _draw(rng, num, 3),
        angles=angles.clamp(space.lower, space.upper),
        betas=betas,
    )
    *_, points = objective.kinematics(truth)
    sigma = (config.sigma_px * 600 / truth.wrist[:, 2] * 0.187)[:, None].expand(num, 21)
    bones = F.normalize(points[:, BONE_END] - points[:, BONE_START], dim=-1)
    seen = Observations(
        points_px=project(points, K) + sigma[..., None] * _draw(rng, num, 21, 2),
        sigma_px=sigma,
        directions=F.normalize(bones + config.sigma_direction * _draw(rng, num, 20, 3), dim=-1),
        sigma_direction=torch.full((num, 20), config.sigma_direction, dtype=torch.float64),
        K=K.expand(num, 3, 3),
    )
    start = closed_form_start(objective, seen, points, torch.zeros_like(betas))
    known = closed_form_start(objective, seen, points, betas)
    return Scene(objective=objective, seen=seen, start=start, known_start=known)


def refinement(repeats: int, num: int = BATCH) -> list[Row]:
    """Levenberg–Marquardt against the Adam preset, betas free and fixed."""
    s = scene(num)
    lm = RefinementConfig()
    adam = RefinementConfig(method="adam")
    rows = []
    for shape, start, what in (
        (True, s.start, "betas free"),
        (False, s.known_start, "betas fixed"),
    ):
        solutions = dict[str, Solution]()
        configs = {"lm": lm, "mesh": replace(adam, adam_points="mesh"), "landmarks": adam}

        def task(
            name: str,
            start: State = start,
            shape: bool = shape,
            configs: Mapping[str, RefinementConfig] = configs,
            solutions: dict[str, Solution] = solutions,
        ) -> None:
            solutions[name] = solve(s.objective, s.seen, start, configs[name], shape=shape)

        fast = interleaved({"lm": lambda t=task: t("lm")}, repeats)
        slow = {}
        for name in ("landmarks", "mesh"):
            begin = time.perf_counter()
            task(name)
            slow[name] = time.perf_counter() - begin
            again = interleaved({"lm": lambda t=task: t("lm")}, 1)
            fast["lm"] = min(fast["lm"], again["lm"])
        rows += _refinement_rows(what, num, fast["lm"], slow, solutions)
    return rows


def _refinement_rows(
    what: str, num: int, fast: float, slow: Mapping[str, float], found: Mapping[str, Solution]
) -> list[Row]:
    ours, theirs = found["lm"].cost, found["mesh"].cost
    note = f"objective: mean {ours.mean():.3f}, median {ours.median():.3f}; float64"
    note_adam = f"Adam's objective: mean {theirs.mean():.3f}, median {theirs.median():.3f}"
    lower = float((ours <= theirs + 1e-3).double().mean())
    ms = 1e3 * fast / num
    ratios = {name: seconds / fast for name, seconds in slow.items()}
    name = f"refinement of {num} hands, {what}"
    return [
        Row(name=name, value=ms, unit="ms per hand", target=2, note=note),
        Row(
            name=f"{name}: Adam on the mesh over LM",
            value=ratios["mesh"],
            unit="×",
            target=5,
            at_most=False,
            note=note_adam,
        ),
        Row(name=f"{name}: Adam on landmarks over LM", value=ratios["landmarks"], unit="×"),
        Row(
            name=f"{name}: objective of LM not above Adam's",
            value=100 * lower,
            unit="% of hands",
            note="mean over the hands: "
            + ("lower" if float(ours.mean()) <= float(theirs.mean()) else "HIGHER")
            + " than Adam's",
        ),
    ]


# ---------------------------------------------------------------- hand layer


def mano_sized_model(dtype: torch.dtype = torch.float32) -> HandModel:
    """A model of MANO's sizes from random numbers: the speed does not depend on them."""
    rng = torch.Generator().manual_seed(0)
    model = HandModel(
        name="random",
        template=0.05 * _draw(rng, 778, 3),
        shape_basis=0.004 * _draw(rng, 778, 3, 10),
        pose_basis=0.001 * _draw(rng, 778, 3, 135),
        joint_regressor=_draw(rng, 16, 778).softmax(-1),
        skinning=(3 * _draw(rng, 778, 16)).softmax(-1),
        parents=MANO_PARENTS,
        faces=torch.zeros(1538, 3, dtype=torch.int64),
        tip_verts=MANO_TIPS,
    )
    return model.to(dtype)


Layer = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Betas, 16 rotation vectors, translation → vertices, joints."""


def our_layer(model: HandModel) -> Layer:
    """Shape and pose in one call, as `smplx` does it."""

    def layer(betas: Tensor, vectors: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        hand = model.with_shape(betas)
        posed = hand.posed(rotation_from_vector(vectors), shift + hand.rest_joints[..., 0, :])
        return posed.verts, posed.joints

    return layer


def smplx_layer(model: HandModel, batch: int) -> Layer | None:
    """The MANO layer of `smplx` with the same numbers, if it is installed; it is not free."""
    if importlib.util.find_spec("smplx") is None:
        return None
    smplx: Any = importlib.import_module("smplx")
    struct: Any = importlib.import_module("smplx.utils").Struct
    tree = np.array([[*model.parents], [*range(16)]], dtype=np.int64)
    assert model.pose_basis is not None
    arrays = struct(
        v_template=model.template.numpy(),
        shapedirs=model.shape_basis.numpy(),
        posedirs=model.pose_basis.numpy(),
        J_regressor=model.joint_regressor.numpy(),
        weights=model.skinning.numpy(),
        kintree_table=tree,
        f=model.faces.numpy(),
        hands_components=np.eye(45),
        hands_mean=np.zeros(45),
    )
    mano = smplx.MANO("", data_struct=arrays, use_pca=False, flat_hand_mean=True, batch_size=batch)

    def layer(betas: Tensor, vectors: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        first, others = vectors[:, 0], vectors[:, 1:].flatten(1)
        out = mano(betas=betas, global_orient=first, hand_pose=others, transl=shift)
        return out.vertices, out.joints

    return layer


def hand_layer(repeats: int, batch: int = BATCH) -> list[Row]:
    """Hands per second, forward and with the gradient of all inputs, beside `smplx`."""
    model = mano_sized_model()
    rng = torch.Generator().manual_seed(1)
    shapes = ((batch, 10), (batch, 16, 3), (batch, 3))
    inputs = [(0.5 * _draw(rng, *s)).float().requires_grad_() for s in shapes]
    weights = torch.randn(batch, 778, 3, generator=rng)
    layers = {"ours": our_layer(model), "smplx": smplx_layer(model, batch)}

    def forward(layer: Layer) -> None:
        with torch.no_grad():
            layer(*inputs)

    def both(layer: Layer) -> None:
        verts, joints = layer(*inputs)
        torch.autograd.grad((verts * weights).sum() + joints.sum(), inputs)

    usable = {name: layer for name, layer in layers.items() if layer is not None}
    if "smplx" in usable:
        a, b = (usable[name](*inputs)[0] for name in ("ours", "smplx"))
        assert torch.allclose(a, b, atol=1e-5), "the two layers must compute the same"
    tasks = {
        (name, way.__name__): lambda way=way, layer=layer: way(layer)
        for way in (forward, both)
        for name, layer in usable.items()
    }
    seconds = interleaved({f"{n} {w}": task for (n, w), task in tasks.items()}, repeats)
    return _layer_rows(batch, seconds)


def _layer_rows(batch: int, seconds: Mapping[str, float]) -> list[Row]:
    rows = []
    for way, label in (("forward", "forward"), ("both", "forward + backward")):
        name = f"hand layer, MANO-sized, batch {batch}, float32, {label}"
        ours = seconds[f"ours {way}"]
        rows.append(Row(name=name, value=batch / ours, unit="hands/s"))
        theirs = seconds.get(f"smplx {way}")
        if theirs is None:
            rows.append(Row(name=f"{name}: over smplx", value=float("nan"), unit="×"))
            continue
        note = f"smplx {batch / theirs:.0f} hands/s in the same run; aim 2 ×"
        ratio = theirs / ours
        rows.append(
            Row(
                name=f"{name}: over smplx",
                value=ratio,
                unit="×",
                target=1,
                at_most=False,
                note=note,
            )
        )
    return rows


# ---------------------------------------------------------------- the pipeline


def demo_photos() -> list[np.ndarray]:
    """The bundled pictures."""
    folder = files("idhand.assets") / "data" / "demo"
    names = sorted(p.name for p in folder.iterdir() if p.name.endswith(".jpg"))
    return [idhand.read_image(str(folder / name))[0] for name in names]


def on_canvas(rgb: np.ndarray, width: int = 640, height: int = 480) -> np.ndarray:
    """The picture in the middle of a grey one of the size that the targets are for."""
    out = np.full((height, width, 3), 127, np.uint8)
    h, w = min(rgb.shape[0], height), min(rgb.shape[1], width)
    top, left = (height - h) // 2, (width - w) // 2
    out[top : top + h, left : left + w] = rgb[:h, :w]
    return out


def pipeline(repeats: int) -> list[Row]:
    """One hand at 640×480, first seen and followed, anonymous and known; calibration."""
    pipe = idhand.load()
    photos = demo_photos()
    pictures = [on_canvas(photo) for photo in photos]
    K = intrinsics_from_fov(640, 480).numpy()
    me = idhand.calibrate(pipe, photos)
    hands = [pipe(rgb, K=K, max_hands=1) for rgb in pictures]
    chosen = [(rgb, seen) for rgb, seen in zip(pictures, hands, strict=True) if seen]
    state = {"at": 0}

    def turn(**options: Any) -> None:
        rgb, seen = chosen[state["at"] % len(chosen)]
        state["at"] += 1
        if options.pop("follow", False):
            options["previous"] = seen
        pipe(rgb, K=K, max_hands=1, **options)

    seconds = interleaved(
        {
            "cold": turn,
            "previous": lambda: turn(follow=True),
            "previous, identity": lambda: turn(follow=True, identity=me),
        },
        repeats,
    )
    twenty = [photos[i % len(photos)] for i in range(NUM_PHOTOS)]
    fused = interleaved({"calibrate": lambda: idhand.calibrate(pipe, twenty)}, 3)["calibrate"]
    size = "×".join(str(n) for n in photos[0].shape[1::-1])
    return [
        Row(name="pipe(rgb), 640×480, cold", value=1e3 * seconds["cold"], unit="ms", target=80),
        Row(
            name="pipe(rgb, previous=), 640×480",
            value=1e3 * seconds["previous"],
            unit="ms",
            target=35,
        ),
        Row(
            name="pipe(rgb, previous=, identity=), 640×480",
            value=1e3 * seconds["previous, identity"],
            unit="ms",
            target=35,
        ),
        Row(
            name=f"calibrate, {NUM_PHOTOS} photos",
            value=fused,
            unit="s",
            target=5,
            note=f"bundled pictures, {size}, some twice",
        ),
    ]


# ---------------------------------------------------------------- start-up

LOAD = """
import time, torch, numpy
start = time.perf_counter()
import idhand
idhand.load()
print(time.perf_counter() - start)
"""


def start_up(repeats: int) -> list[Row]:
    """Each in a fresh process."""
    load = float(np.median([float(_run([sys.executable, "-c", LOAD])) for _ in range(repeats)]))
    helps = interleaved(
        {"help": lambda: _run([sys.executable, "-m", "idhand.cli", "--help"])}, repeats
    )
    return [
        Row(name="idhand.load(), beyond importing torch", value=load, unit="s", target=2),
        Row(name="idhand --help", value=helps["help"], unit="s", target=0.5),
    ]


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
