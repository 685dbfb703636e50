"""FreiHAND as its publishers unpack it: tree, labels, protocol. ICCV 2019, version 2."""

from idhand.data.freihand.samples import FreihandData as FreihandData
from idhand.data.freihand.tree import Freihand as Freihand
from idhand.data.freihand.tree import open_freihand as open_freihand
