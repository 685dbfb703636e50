"""Hand + 2D points + K → pose: second order, batched, evaluating landmark points only."""

from idhand.refinement.config import RefinementConfig as RefinementConfig
from idhand.refinement.config import Trust as Trust
from idhand.refinement.config import both_nets as both_nets
from idhand.refinement.config import network_noise as network_noise
from idhand.refinement.config import network_only as network_only
from idhand.refinement.objective import Objective as Objective
from idhand.refinement.observing import hand_size_px as hand_size_px
from idhand.refinement.observing import observations as observations
from idhand.refinement.problem import ObjectiveConfig as ObjectiveConfig
from idhand.refinement.problem import Observations as Observations
from idhand.refinement.problem import State as State
from idhand.refinement.solver import STATUS_NAMES as STATUS_NAMES
from idhand.refinement.solver import Solution as Solution
from idhand.refinement.solver import solve as solve
from idhand.refinement.start import closed_form_start as closed_form_start
