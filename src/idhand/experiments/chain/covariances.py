"""How far the baseline's covariances can be trusted, found on the validation people."""

from pathlib import Path

from idhand.experiments.chain.chunks import in_chunks
from idhand.experiments.chain.kept import Done
from idhand.experiments.chain.networks import Trained
from idhand.experiments.chain.predictions import PARTS, Detect, Predicting, remove_parts
from idhand.experiments.shapes import (
    network_covariance_calibration,
    pictures_of_known,
    too_few_people,
    true_shapes,
)
from idhand.fusion import FEWEST_PEOPLE, CovarianceCalibration
from idhand.hand import FittableHand
from idhand.methods.predicting import predict
from idhand.nets.backbones import HandBackbone
from idhand.nets.files import load_regressor, saved_config

FILE = "baseline.covariance.json"


def keep_covariances(
    work: Predicting, trained: Trained, model: FittableHand
) -> tuple[CovarianceCalibration | None, str, tuple[Done, ...]]:
    """The calibration, or None with a sentence why covariances are taken as they are stated.

    Args:
        work: What the stage `predictions` works with.
        trained: The networks.
        model: The hand model, see `Sight.model`.
    """
    fold, file = trained.fold, trained.file("confidence", work.config.recipe)
    if not saved_config(file).shape_cov:
        return None, "the baseline states no covariances, so pictures of one person are fused by " \
            "the scatter of their shapes", ()  # fmt: skip
    people = {} if fold.val is None else true_shapes(fold.val.labels(), model)
    if fold.val is None or len(people) < FEWEST_PEOPLE:
        return None, too_few_people(len(people)), ()
    val = fold.val

    def make(folder: Path) -> list[str]:
        net = load_regressor(file)
        assert isinstance(net.backbone, HandBackbone)
        detect = Detect(backbone=net.backbone)
        detected = in_chunks(detect, val, folder / PARTS, workers=work.config.workers, bar=work.bar)
        remove_parts(folder)
        if len(pictures_of_known(detected, people)) < FEWEST_PEOPLE:
            return []
        own = predict(net, detected, model=model, method="baseline")
        found = network_covariance_calibration(own, people, model.prior, model)
        found.save(folder / FILE)
        return [FILE]

    about = {"val": val.fingerprint()}
    needs = (trained.parts["confidence"],)
    done = work.stages.keep("predictions/covariances", about, needs, make)
    if not (done.folder / FILE).exists():
        sentence = (
            f"hands of fewer than {FEWEST_PEOPLE} validation people were found, which calibrating "
            "the network's covariances needs, so the stated ones are used"
        )
        return None, sentence, (done,)
    calibration = CovarianceCalibration.load(done.folder / FILE)
    sentence = f"covariances are calibrated on {len(people)} validation people"
    return calibration, sentence, (done,)
