"""HUMBI's hands as their publishers unpack them: tree, labels, protocols. CVPR 2020."""

from idhand.data.humbi.samples import HumbiData as HumbiData
from idhand.data.humbi.tree import Humbi as Humbi
from idhand.data.humbi.tree import open_humbi as open_humbi
