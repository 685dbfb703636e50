"""Identity-aware hands: from ordinary photos to a person's own 3D hand, and better poses by it."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idhand.hand import FittableHand as FittableHand
    from idhand.hand import Hand as Hand
    from idhand.hand import HandModel as HandModel
    from idhand.hand import PosedHand as PosedHand
    from idhand.identity import Identity as Identity
    from idhand.media import read_image as read_image
    from idhand.pipeline import Pipeline as Pipeline
    from idhand.pipeline import calibrate as calibrate
    from idhand.pipeline import load as load
    from idhand.records import Detection as Detection
    from idhand.records import HandResult as HandResult
    from idhand.tracking import Tracker as Tracker
    from idhand.view.notebook import CallableModule

    view: CallableModule

__version__ = "0.1.0"

_HOME = {
    "Detection": "records",
    "FittableHand": "hand",
    "Hand": "hand",
    "HandModel": "hand",
    "HandResult": "records",
    "Identity": "identity",
    "Pipeline": "pipeline",
    "PosedHand": "hand",
    "Tracker": "tracking",
    "calibrate": "pipeline",
    "load": "pipeline",
    "read_image": "media",
    "view": "view",
}
"""Public name → module. Loaded on first use, so that `import idhand` costs no torch.

`view` is the module itself, which can be called.
"""


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'idhand' has no attribute '{name}'")
    module = import_module(f"idhand.{_HOME[name]}")
    return module if _HOME[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    """The public names."""
    return [*_HOME, "__version__"]
