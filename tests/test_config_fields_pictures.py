"""Every field of the configurations of detection and studio changes a result.

The detector's are tried on a demo photo, or two side by side; the studio's on pictures of 64 px.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from idhand.assets import open_hand
from idhand.detection import DetectorConfig, HandDetector
from idhand.detection.palms import PalmConfig, PalmDetector
from idhand.detection.readings import Reading, ReadingConfig, distinct, merged, num_sure
from idhand.detection.roi import Roi
from idhand.detection.sides import SideConfig, decide_sides
from idhand.records import Detection
from idhand.synth import Studio, StudioConfig
from idhand.synth import studio as studio_module
from idhand.synth.camera import sensor as sensor_module
from idhand.synth.camera.sensor import PHONE, POOR, SensorConfig, develop, draw_sensor, encode_jpeg
from idhand.synth.people.wardrobe import Wardrobe
from tests.config_fields import Case, cases, check_case, check_fields, is_same
from tests.test_detection import beside, demo_photo, tile

Numbers = list[tuple[Any, ...]]

# ------------------------------------------------------------------------------------ the detector


def numbers_of(hands: list[Detection] | list[Detection | None]) -> Numbers:
    return [
        (h.landmarks_px, h.score, h.is_right, h.confidence, h.outside) if h is not None else ()
        for h in hands
    ]


def found(
    picture: Callable[[], np.ndarray], *, views: int = 1, max_hands: int = 1
) -> Callable[[DetectorConfig], Numbers]:
    """The hands of a picture."""

    @cache
    def outcome(config: DetectorConfig) -> Numbers:
        return numbers_of(HandDetector(config).detect(picture(), max_hands=max_hands, views=views))

    return outcome


def photo() -> np.ndarray:
    return demo_photo(0)[0]


@cache
def hand_box() -> np.ndarray:
    """Round the hand of the photo."""
    points = demo_photo(0)[1]
    return np.concatenate((points.min(0), points.max(0)))


def cut_photo() -> np.ndarray:
    """The photo without the upper quarter of the hand."""
    _, top, _, bottom = hand_box()
    return photo()[round(top + (bottom - top) / 4) :]


@cache
def two_hands() -> np.ndarray:
    """No margin shows both palms clearly."""
    return beside(tile(12, left=True), tile(2, left=True))[0]


@cache
def boxed(config: DetectorConfig) -> Numbers:
    """The same hand in two boxes: by their sides, hands of two people or of one."""
    return numbers_of(HandDetector(config).in_boxes(photo(), [hand_box(), hand_box() + 2]))


@cache
def seen_before() -> list[Detection]:
    (hand,) = HandDetector().detect(photo(), max_hands=1)
    return [hand, replace(hand, landmarks_px=hand.landmarks_px + 6)]


def followed(config: DetectorConfig) -> Numbers:
    """One hand that is followed from two places near each other."""
    return numbers_of(HandDetector(config).track(photo(), seen_before()))


NO_PALMS = PalmConfig(score_threshold=1.0, faint_threshold=1.0)
UPRIGHT = DetectorConfig(paddings=(0.0, 0.25), num_rotations=0)
ONE_BY_ONE = DetectorConfig(palm=PalmConfig(faint_threshold=0.5))
DETECTORS = {
    **cases(
        UPRIGHT,
        found(photo),
        {
            "palm": PalmConfig(roi_scale=2.2), "paddings": (0.5,), "landmark_roi_scale": 2.2,
            "landmark_roi_shift": 0.0, "spread_scale": 0.05, "presence_threshold": 1.0,
            "sure_presence": 1.0, "presence_margin": 0.0, "outlier_distance": 0.0,
        },
    ),
    **cases(DetectorConfig(), found(photo, views=2), {"view_rotation_deg": 20.0}),
    **cases(DetectorConfig(), boxed, {"box_scale": 2.0, "sides": SideConfig(same_side=1e-9)}),
    **cases(
        DetectorConfig(), found(cut_photo), {"outside_confidence": 0.5, "border_margin": 0.3}
    ),
    **cases(
        DetectorConfig(palm=NO_PALMS, search_presence=0.0, paddings=(0.0,), num_rotations=2),
        found(photo),
        {"num_rotations": 0, "search_presence": 1.0},
    ),
    **cases(ONE_BY_ONE, found(two_hands, max_hands=2), {"tiled_aspect": 9.0}),
    **cases(DetectorConfig(), followed, {"duplicate_distance": 0.0}),
    **cases(
        DetectorConfig(duplicate_distance=0.0, sure_presence=1.0), followed, {"shared_area": 1.0}
    ),
}  # fmt: skip


@cache
def one_reading() -> Reading:
    rng = np.random.default_rng(0)
    return Reading(
        points_px=rng.uniform(0, 100, (21, 2)), z_px=rng.normal(size=21),
        world=rng.normal(size=(21, 3)), presence=0.9, right=0.8, spread_px=np.zeros(21),
        roi=Roi(center_px=np.array([50.0, 50.0]), size_px=150.0, angle_rad=0.0),
    )  # fmt: skip


def another(shift_px: float, presence: float) -> Reading:
    """The same hand, read elsewhere."""
    first = one_reading()
    return replace(first, points_px=first.points_px + shift_px, presence=presence)


def readings(config: ReadingConfig) -> Any:
    """The mean of some readings; which ones are hands; how many are sure."""
    several = [one_reading(), another(2, 0.8), another(4, 0.97), another(9, 0.45)]
    mean, hands = merged(several, config), distinct(several, config)
    return mean.points_px, [h.presence for h in hands], num_sure(several, config)


READINGS = {
    **cases(
        ReadingConfig(),
        readings,
        {
            "presence_threshold": 0.99, "sure_presence": 0.85, "presence_margin": 0.01,
            "outlier_distance": 0.01, "duplicate_distance": 0.02,
        },
        shared_area=1.0,
    ),
    **cases(ReadingConfig(duplicate_distance=0.02), readings, {"shared_area": 0.98}),
}  # fmt: skip


def palms(picture: Callable[[], np.ndarray]) -> Callable[[PalmConfig], Numbers]:
    """The squares around the palms of a picture."""

    def outcome(config: PalmConfig) -> Numbers:
        rgb = picture()
        seen = PalmDetector(config).find(rgb, (rgb.shape[0], rgb.shape[1]), 0.0)
        return [
            (name, roi.center_px, roi.size_px, roi.angle_rad)
            for name, rois in (("clear", seen.clear), ("faint", seen.faint))
            for roi in rois
        ]

    return outcome


@cache
def faint_palm() -> np.ndarray:
    """Two hands; one's palm scores between 0.3 and 0.5."""
    return beside(tile(14, left=True), tile(3, left=True))[0]


PALMS = cases(
    PalmConfig(),
    palms(faint_palm),
    {
        "score_threshold": 0.3, "faint_threshold": 0.5, "overlap": 0.9, "roi_scale": 2.2,
        "roi_shift": 0.0,
    },
)  # fmt: skip


def sides(config: SideConfig) -> list[bool]:
    """Sides of three pairs: together, eight hand sizes apart, and one twice as large."""
    centers = [[0, 0], [9, 0], [0, 900], [70, 900], [0, 2000], [15, 2000]]
    sizes = np.array([10.0, 10, 10, 10, 20, 10])
    return decide_sides([0.9, 0.7] * 3, np.array(centers, float), sizes, config=config)


SIDES = cases(SideConfig(), sides, {"same_side": 0.5, "reach": 6.0, "size_ratio": 1.5})

# -------------------------------------------------------------------------------------- the studio


@cache
def wardrobe() -> Wardrobe:
    """What all studios share; it follows from the hand model alone."""
    return Wardrobe(open_hand())


def studio_of(config: StudioConfig) -> Studio:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studio_module, "Wardrobe", lambda _: wardrobe())
        return Studio(config)


@cache
def pictures(config: StudioConfig) -> list[np.ndarray]:
    """Pixels of two pictures, after JPEG; names and labels are left out."""
    return [sample.rgb for sample in studio_of(config)[:2]]


def files_of_one(config: StudioConfig) -> list[str]:
    return sorted(studio_of(config).entry(0))


@cache
def persons(config: StudioConfig) -> list[np.ndarray | None]:
    """Whose hands the first and the third picture show: their shapes."""
    studio = studio_of(config)
    return [studio.label(index).betas for index in (0, 2)]


BARE = StudioConfig(
    num_subjects=2, num_images=4, size_px=64, object_share=0.0, second_hand_share=0.0,
    left_share=0.0, sleeve_share=0.0, skin="plain",
)  # fmt: skip
STUDIOS = {
    **cases(
        BARE,
        pictures,
        {
            "split": "test", "seed": 1, "size_px": 72, "frames": 2, "framing": "level",
            "left_share": 1.0, "object_share": 1.0, "second_hand_share": 1.0, "sleeve_share": 1.0,
            "skin": "painted", "light": "flat", "pose": "open", "background": "plain",
            "sensor": "none",
        },
    ),
    **cases(BARE, persons, {"num_subjects": 4, "num_images": 8}),
    **cases(BARE, persons, {"population": "female"}, population="male"),
    **cases(BARE, files_of_one, {"depth": True}),
}  # fmt: skip


def photos_by(config: SensorConfig) -> list[bytes]:
    """Files of a picture of fading light by twelve cameras, of this class or of another."""
    fading = np.linspace(0.05, 1.5, 64, dtype=np.float32)
    linear = np.ascontiguousarray((fading[:, None] * fading)[..., None] * np.ones(3, np.float32))
    linear[20:40, 20:40, 0] *= 0.3
    made = []
    with pytest.MonkeyPatch.context() as patch:
        others = replace(POOR, share=1 - config.share)
        patch.setattr(sensor_module, "CAMERAS", (config, others))
        for seed in range(12):
            rng = np.random.default_rng(seed)
            sensor = draw_sensor(rng)
            made.append(encode_jpeg(develop(linear, sensor, rng), sensor.quality))
    return made


SENSORS = cases(
    PHONE,
    photos_by,
    {
        "share": 0.1, "exposure_ev": (1.0, 0.1), "tint": 0.2, "noise": (-3.0, -2.5),
        "resample": (1.5, 2.5), "defocus": (2.0, 0.5), "motion_share": 1.0, "motion_px": 15.0,
        "sharpen": (1.0, 1.3), "contrast": (0.5, 0.6), "quality": (40, 50),
    },
)  # fmt: skip

# ------------------------------------------------------------------------------------------- tests

TABLES: dict[type, dict[str, Case]] = {
    DetectorConfig: DETECTORS,
    ReadingConfig: READINGS,
    PalmConfig: PALMS,
    SideConfig: SIDES,
    StudioConfig: STUDIOS,
    SensorConfig: SENSORS,
}


@pytest.mark.parametrize("config", TABLES, ids=lambda config: config.__name__)
def test_every_field_has_a_case(config: type):
    check_fields(config, TABLES[config])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{config.__name__}.{name}")
        for config, table in TABLES.items()
        for name, case in table.items()
    ],
)
def test_every_field_changes_a_result(name: str, case: Case):
    check_case(name, case)


@pytest.mark.parametrize("case", [DETECTORS["palm"], DETECTORS["box_scale"], STUDIOS["seed"]])
def test_the_outcomes_depend_on_nothing_else(case: Case):
    """They are kept between cases, so that these do not show it."""
    made_anew: Any = case.outcome
    assert is_same(case.outcome(case.base), made_anew.__wrapped__(case.base))
