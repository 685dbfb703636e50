"""Photos of people who do not exist, with everything known about them (extra `synth`).

A picture's way: `config` says what is wanted; `studio` draws who (`people`), in which pose and from
where (`poses`), holding what (`things`), in which light (`light`), before what (`places`), and has
it taken (`camera`). Picture i depends on the configuration and i alone.
"""

from idhand.synth.camera.raster import Fragments, rasterize
from idhand.synth.config import StudioConfig, studio_preset
from idhand.synth.studio import Rendered, Studio

__all__ = ["Fragments", "Rendered", "Studio", "StudioConfig", "rasterize", "studio_preset"]
