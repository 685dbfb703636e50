"""Shapes that a network predicts photo by photo → one person's, with an honest covariance."""

from idhand.fusion.fitting import fit_honesty as fit_honesty
from idhand.fusion.fusing import Evidence as Evidence
from idhand.fusion.fusing import Fused as Fused
from idhand.fusion.fusing import FusionConfig as FusionConfig
from idhand.fusion.fusing import FusionMode as FusionMode
from idhand.fusion.fusing import combine as combine
from idhand.fusion.fusing import evidence as evidence
from idhand.fusion.fusing import fuse as fuse
from idhand.fusion.fusing import with_hand_length as with_hand_length
from idhand.fusion.honesty import Honesty as Honesty
