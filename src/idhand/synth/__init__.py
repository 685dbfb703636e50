"""Photos of people who do not exist, with everything known about them (extra `synth`).

A picture's way: `config` → `studio`, which draws who (`subjects`, `people`, `skin`), how
(`poses`, `views`, `scenes`), with what (`holding`, `company`, `worn`, `sleeves`) and in which light
(`environments`), has it shaded (`shading`: `light_maps`, `raster`, `shader`) before a background
(`backgrounds`, `backdrop`) and taken by a camera (`sensor`).
"""

from idhand.synth.config import StudioConfig, studio_preset
from idhand.synth.raster import Fragments, rasterize
from idhand.synth.studio import Rendered, Studio

__all__ = ["Fragments", "Rendered", "Studio", "StudioConfig", "rasterize", "studio_preset"]
