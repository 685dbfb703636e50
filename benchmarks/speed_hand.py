"""The hand layer on a model of MANO's sizes, beside `smplx` where that is installed."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from timing import Row, interleaved
from torch import Tensor

from idhand.geometry import rotation_from_vector
from idhand.hand import HandModel

BATCH = 256
MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
MANO_TIPS = (745, 317, 444, 556, 673)


def _draw(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


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
