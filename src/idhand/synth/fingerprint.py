"""Which code and data the studio's pictures follow from, as one hash."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

SOURCES = (
    "assets/models.py",
    "data/samples.py",
    "detection/roi.py",
    "geometry.py",
    "hand.py",
    "hand_parts.py",
    "records.py",
    "skinning.py",
)
DATA_FILES = ("open_hand.npz", "landmark_points.json", "light.npz")


@cache
def fingerprint() -> str:
    """Hash of the code and data that pictures follow from, beside configuration and libraries."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    sources = [*Path(__file__).parent.rglob("*.py"), *(package / name for name in SOURCES)]
    for path in sorted(sources):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    for name in DATA_FILES:
        digest.update((files("idhand.assets") / "data" / name).read_bytes())
    return digest.hexdigest()[:16]
