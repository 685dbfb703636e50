"""DexYCB as its publishers unpack it: tree, labels, protocols. CVPR 2021, CC BY-NC 4.0."""

from idhand.data.dexycb.protocols import OfficialOrder as OfficialOrder
from idhand.data.dexycb.samples import DexYcbData as DexYcbData
from idhand.data.dexycb.tree import DexYcb as DexYcb
from idhand.data.dexycb.tree import open_dexycb as open_dexycb
