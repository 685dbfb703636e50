"""Numbers of a task on people whom it is not trained on, in the loop; see `evaluation` for more."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from idhand.hand import KEYPOINT_PARENTS
from idhand.losses import rank_accuracy
from idhand.nets.backbones import CROP_SIDE_PX
from idhand.nets.estimate import Estimate
from idhand.nets.heatmaps import keypoints_from_heatmaps
from idhand.training.batches import Batch, Examples
from idhand.training.draws import Once
from idhand.training.keypoint_loss import direction_nll, sides_of, student_nll
from idhand.training.keypoints import KeypointTask
from idhand.training.tasks import HeatmapTask, RegressorTask, keypoints_wrist, truth_of

VALIDATION_BATCH = 256
MM = 1000.0
RANKED = 2000
"""Examples whose pairs are compared, from all over the set; pairs grow with the square."""


def validator(
    examples: Examples, device: torch.device, *, batch: int = VALIDATION_BATCH
) -> Callable[[nn.Module], dict[str, float]]:
    """Means over all examples of what a task's network gets wrong; the first is to be small.

    `mpjpe_mm`: mean distance of keypoints, wrists put together; `bones_mm`: mean error of bone
    lengths. Networks that can know the person have `known_mpjpe_mm`, given the true shape.
    `rank_error`: share of pairs that the confidences put in the wrong order. `keypoints_px`: mean
    distance in the crop; of the keypoint network also that of visible ones (`visible_px`), the
    errors of the logarithm of the hand's size (`size`) and their likelihoods.
    """
    once = Once(num_examples=len(examples), batch=batch)

    def validate(task: nn.Module) -> dict[str, float]:
        measured = MEASURED[type(task)]
        rows: dict[str, list[Tensor]] = {}
        for part in examples.batches(once, 0, once.num_steps, rank=0, ranks=1):
            for name, values in measured(task, part.to(device)).items():
                rows.setdefault(name, []).append(values.double().cpu())
        columns = {name: torch.cat(parts) for name, parts in rows.items()}
        out = {}
        if "confidence" in columns:
            step = -(-len(examples) // RANKED)
            ranked = (columns.pop(name)[::step] for name in ("confidence", "error"))
            out["rank_error"] = 1 - float(rank_accuracy(*ranked))
        return out | {name: float(values.nanmean()) for name, values in columns.items()}

    return validate


def _measured(task: nn.Module, batch: Batch) -> dict[str, Float[Tensor, " batch"]]:
    """One number of each kind for each example."""
    assert isinstance(task, RegressorTask)
    truth, identity = truth_of(batch), task.net.config.identity
    true = keypoints_wrist(task.model, truth.rotations, truth.betas)
    out: dict[str, Tensor] = {}

    def compare(estimate: Estimate, prefix: str) -> None:
        seen = keypoints_wrist(task.model, estimate.rotations, estimate.betas)
        out[f"{prefix}mpjpe_mm"] = MM * (seen - true).norm(dim=-1).mean(-1)
        if not prefix:
            out["bones_mm"] = MM * (_bones(seen) - _bones(true)).abs().mean(-1)

    if identity != "given":
        alone = task.estimate(batch, None)
        compare(alone, "")
        if task.config.task == "confidence":
            assert alone.confidence is not None
            out |= {"confidence": alone.confidence, "error": task.errors(alone, truth)}
    if identity != "predicted":
        compare(task.estimate(batch, truth.betas), "known_")
    return out


def _heatmaps_measured(task: nn.Module, batch: Batch) -> dict[str, Float[Tensor, " batch"]]:
    """The same for the 2D network; NaN where no keypoint is known."""
    assert isinstance(task, HeatmapTask)
    heatmaps = task.net(batch.inputs01)[-1].float().sigmoid()
    seen = keypoints_from_heatmaps(heatmaps).points_px
    return {"keypoints_px": (seen - batch.points_px).norm(dim=-1).nanmean(-1)}


def _keypoints_measured(task: nn.Module, batch: Batch) -> dict[str, Float[Tensor, " batch"]]:
    """The same for the keypoint network."""
    assert isinstance(task, KeypointTask)
    assert batch.seen is not None
    out = task.estimate(batch)
    off = out.points - sides_of(batch.points_px)
    far_px = CROP_SIDE_PX * off.norm(dim=-1)
    size = out.log_size - batch.seen.log_size
    visible = batch.seen.visible > 0
    return {
        "keypoints_px": far_px.nanmean(-1),
        "median_px": far_px.nanmedian(-1).values,
        "visible_px": torch.where(visible, far_px, torch.nan).nanmean(-1),
        "points_nll": student_nll(off, out.root_cov).nanmean(-1) / 2,
        "size": size.abs(),
        "size_bias": size,
        "size_nll": student_nll(size[:, None], out.log_size_std[:, None, None]),
        "directions": (out.directions - task.true_directions(batch)).norm(dim=-1).mean(-1),
        "directions_nll": direction_nll(out, task.true_directions(batch)).mean(-1),
    }


MEASURED = {
    RegressorTask: _measured,
    HeatmapTask: _heatmaps_measured,
    KeypointTask: _keypoints_measured,
}


def _bones(points: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 20"]:
    """Lengths between neighbouring keypoints."""
    return (points[:, 1:] - points[:, list(KEYPOINT_PARENTS[1:])]).norm(dim=-1)
