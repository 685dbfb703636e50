"""People who do not exist, photographed: so far the rasteriser that everything else stands on."""

from idhand.synth.raster import Fragments as Fragments
from idhand.synth.raster import rasterize as rasterize
