"""Tables and curves of `benchmarks/depth.py`, from the rows that it keeps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from depth_rows import MIDDLE_KNUCKLE, WRIST, Fits, Rows
from jaxtyping import Bool, Float
from tables import Cell, section, table

from idhand.detection.roi import CROP_SIZE_PX
from idhand.evaluation.bootstrap import Interval, mean_interval
from idhand.evaluation.curves import Chart, Curve
from idhand.refinement import STATUS_NAMES
from idhand.refinement.deviations import Recalibration

GROUPS: tuple[tuple[str, int, int], ...] = (
    ("19–21", 19, 21),
    ("15–18", 15, 18),
    ("11–14", 11, 14),
    ("6–10", 6, 10),
    ("0–5", 0, 5),
    ("all", 0, 21),
)
"""Kinds of picture: name, and least and most visible keypoints."""
WITHIN_68, WITHIN_95, FAR = 1.0, 1.959964, 3.0
"""Deviations; of keypoints, whose deviation is that of the distance, 95 % is then 95 to 99."""
RESAMPLES = 500
"""Of medians and ranges, which take long."""
BINS = 10
"""Of the curves, as many errors in each."""

Numbers = Float[np.ndarray, "..."]
Statistic = Callable[[np.ndarray], float]


def median(values: Numbers) -> float:
    """Of what is known; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def half_range(values: Numbers) -> float:
    """Half of the distance between the 16th and the 84th percentile."""
    low, high = np.quantile(values, [0.16, 0.84])
    return float(high - low) / 2


def interval(values: Numbers, subjects: np.ndarray, statistic: Statistic) -> Interval:
    """Of a statistic, people drawn again with replacement; one row of values for each picture."""
    names, of = np.unique(subjects, return_inverse=True)
    if len(names) < 2:
        return Interval(estimate=statistic(values), low=np.nan, high=np.nan)
    rows = [np.flatnonzero(of == k) for k in range(len(names))]
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))])
        found.append(statistic(values[drawn]))
    known = [value for value in found if np.isfinite(value)]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
    return Interval(estimate=statistic(values), low=float(low), high=float(high))


def mean_of(values: Numbers, subjects: np.ndarray) -> Interval:
    """Of the mean over all that is known."""
    if values.ndim == 2:
        subjects = np.repeat(subjects, values.shape[1])
    return mean_interval(values.ravel().astype(float), subjects.tolist(), np.random.default_rng(0))


def told(found: Interval, digits: int = 1) -> str:
    """An estimate with its interval."""
    if np.isnan(found.estimate):
        return "–"
    number = f"{found.estimate:.{digits}f}"
    if np.isnan(found.low):
        return number
    return f"{number} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def percent(values: Numbers, holds: Callable[[Numbers], Numbers], subjects: np.ndarray) -> str:
    """Share of the known values for which something holds."""
    with np.errstate(invalid="ignore"):
        shares = np.where(np.isfinite(values), 100.0 * holds(values), np.nan)
    return told(mean_of(shares, subjects))


def in_group(rows: Rows, fits: Fits, low: int, high: int) -> Bool[np.ndarray, " pictures"]:
    """Fitted pictures with so many visible keypoints."""
    return fits.done & (rows.num_visible >= low) & (rows.num_visible <= high)


def depth_error_m(rows: Rows, fits: Fits, joint: int) -> Numbers:
    """How much too far a joint is."""
    return fits.keypoints_cam[:, joint, 2] - rows.truth_cam[:, joint, 2]


def about_wrist_m(rows: Rows, fits: Fits) -> Float[np.ndarray, "pictures 21"]:
    """Distance of each keypoint from the true one, both about the wrist; NaN at the wrist."""
    fitted = fits.keypoints_cam - fits.keypoints_cam[:, :1]
    true = rows.truth_cam - rows.truth_cam[:, :1]
    off = np.linalg.norm(fitted - true, axis=-1)
    off[:, WRIST] = np.nan
    return off


def camera_error_mm(rows: Rows, fits: Fits) -> Numbers:
    """Mean distance of the keypoints in the camera's frame."""
    return 1e3 * np.linalg.norm(fits.keypoints_cam - rows.truth_cam, axis=-1).mean(-1)


def report(rows: Rows, recalibration: Recalibration, joint: int) -> str:
    """All tables."""
    people = len(np.unique(rows.subject))
    where = {WRIST: "wrist", MIDDLE_KNUCKLE: "middle knuckle"}[joint]
    texts = [
        f"{len(rows):,} pictures of {people} people, hands read in the data set's boxes. Brackets: "
        "95 % intervals over people.\n"
    ]
    for name, fits in (("true shape", rows.known), ("estimated shape", rows.unknown)):
        if not fits.done.any():
            continue
        keypoints_std, depth_std = fits.deviations(recalibration)
        texts += [
            section(
                f"Depth of the {where}, {name}",
                "Relative error of the depth; its stated deviation (of the wrist's depth, median); "
                "share of errors beyond three stated deviations; error in the camera's frame.",
                depth_table(rows, fits, depth_std, joint),
            ),
            section(
                f"Coverage of stated intervals, {name}, %",
                f"Depth of the {where}; keypoints about the wrist.",
                coverage_table(rows, fits, keypoints_std, depth_std, joint),
            ),
        ]
    return "\n".join((*texts, points_section(rows), found_section(rows)))


def depth_table(rows: Rows, fits: Fits, depth_std: Numbers, joint: int) -> str:
    """The table of the depth's error by visible keypoints."""
    off_m, camera_mm = depth_error_m(rows, fits, joint), camera_error_mm(rows, fits)
    relative = 100 * off_m / rows.truth_cam[:, joint, 2]
    stated = 100 * depth_std / fits.keypoints_cam[:, WRIST, 2]
    lines: list[list[Cell]] = []
    for name, low, high in GROUPS:
        keep = in_group(rows, fits, low, high)
        if not keep.any():
            continue
        who, error, camera = rows.subject[keep], relative[keep], camera_mm[keep]
        lines.append(
            [
                name,
                int(keep.sum()),
                told(interval(error, who, median)),
                told(mean_of(error, who)),
                float(error.std()),
                told(interval(error, who, half_range)),
                float(np.median(stated[keep])),
                percent(off_m[keep] / depth_std[keep], lambda z: np.abs(z) > FAR, who),
                told(mean_of(camera, who), 0),
                told(interval(camera, who, median), 0),
            ]
        )
    heads = ("visible", "n", "median %", "mean %", "deviation %", "half of 16–84 %", "stated %")
    return table((*heads, "beyond 3, %", "camera mm", "its median"), lines)


def coverage_table(
    rows: Rows, fits: Fits, keypoints_std: np.ndarray, depth_std: Numbers, joint: int
) -> str:
    """How often errors lie within stated intervals."""
    depth = depth_error_m(rows, fits, joint) / depth_std
    with np.errstate(divide="ignore", invalid="ignore"):
        each = about_wrist_m(rows, fits) / keypoints_std
    kinds = (each, np.where(rows.is_visible, each, np.nan), np.where(rows.is_visible, np.nan, each))
    lines: list[list[Cell]] = []
    for name, low, high in GROUPS:
        keep = in_group(rows, fits, low, high)
        if not keep.any():
            continue
        who, line = rows.subject[keep], list[Cell]((name, int(keep.sum())))
        for values in (depth, *kinds):
            line += [
                percent(values[keep], lambda z, limit=limit: np.abs(z) <= limit, who)
                for limit in (WITHIN_68, WITHIN_95)
            ]
        line.append(percent(each[keep], lambda z: z > FAR, who))
        lines.append(line)
    pairs = ("depth", "keypoints", "visible ones", "hidden ones")
    heads = [f"{of} {level}" for of in pairs for level in (68, 95)]
    return table(("visible", "n", *heads, "keypoints beyond 3"), lines)


def points_section(rows: Rows) -> str:
    """How far off points in the picture are."""
    per_px = CROP_SIZE_PX / rows.crop_px[:, None]
    seen = {
        "landmark net (other points)": rows.landmarks_px,
        "network": rows.network_px,
        "fit, true shape": rows.known.keypoints_px,
        "fit, estimated shape": rows.unknown.keypoints_px,
    }
    lines: list[list[Cell]] = []
    for name, points in seen.items():
        off = np.linalg.norm(points - rows.truth_px, axis=-1) * per_px
        if not np.isfinite(off).any():
            continue
        of_hands = off.mean(1)  # NaN of hands that were not found
        is_visible = rows.is_visible
        groups = (np.where(is_visible, off, np.nan), np.where(is_visible, np.nan, off))
        spans = [interval(values, rows.subject, median) for values in (of_hands, off, *groups)]
        lines.append([name, *map(told, spans), told(mean_of(off, rows.subject))])
    heads = ("", "hands' means", "all keypoints", "visible ones", "hidden ones", "mean of all")
    return section(
        "Keypoints in the picture",
        "Distance to the true ones in px of a crop of 224 about the true hand; medians, the last "
        "column apart.",
        table(heads, lines),
    )


def found_section(rows: Rows) -> str:
    """How many hands were found, and how fits ended."""
    lines: list[list[Cell]] = []
    for name, low, high in GROUPS:
        of = (rows.num_visible >= low) & (rows.num_visible <= high)
        if not of.any():
            continue
        odd = [int((rows.unknown.status[of] == k).sum()) for k in range(len(STATUS_NAMES))]
        lines.append([name, int(of.sum()), int((of & ~rows.found).sum()), *odd])
    heads = ("visible", "pictures", "not found", *STATUS_NAMES)
    return section("Found, and how fits of estimated shape ended", "", table(heads, lines))


def save_curves(rows: Rows, recalibration: Recalibration, path: Path) -> None:
    """Errors against stated deviations, as many in each bin; a true deviation is the diagonal."""
    curves = []
    for name, fits in (("true shape", rows.known), ("estimated shape", rows.unknown)):
        keep = fits.done
        if keep.sum() < BINS:
            continue
        keypoints_std, depth_std = (std[keep] for std in fits.deviations(recalibration))
        of = rows.select(keep), Fits(**{k: v[keep] for k, v in vars(fits).items()})
        off = np.abs(depth_error_m(*of, WRIST)) / of[1].keypoints_cam[:, WRIST, 2]
        stated = depth_std / of[1].keypoints_cam[:, WRIST, 2]
        curves.append(_curve(f"depth over the depth, {name}", stated, off))
        stated = keypoints_std[:, 1:] / of[1].size[:, None]
        each = about_wrist_m(*of)[:, 1:] / of[1].size[:, None]
        curves.append(_curve(f"keypoints, 10 cm, {name}", stated.ravel() * 10, each.ravel() * 10))
    if not curves:
        return
    ends = np.array([[f(c.x) for c in curves] for f in (np.min, np.max)])
    line = np.array([ends[0].min(), ends[1].max()])
    Chart(
        title="Errors (68 % are smaller) against stated deviations",
        x_label="stated deviation",
        y_label="68th percentile of the error",
        curves=(*curves, Curve(name="true deviations", x=line, y=line)),
    ).save(path)


def _curve(name: str, stated: Numbers, off: Numbers) -> Curve:
    """The 68th percentile of errors in bins of the stated deviation."""
    bins = np.array_split(np.argsort(stated), BINS)
    x = np.array([np.median(stated[rows]) for rows in bins])
    y = np.array([np.quantile(off[rows], 0.6827) for rows in bins])
    return Curve(name=name, x=x, y=y)
