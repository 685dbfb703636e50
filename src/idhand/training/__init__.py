"""Networks that learn from any data set of samples: one loop, presets, checkpoints, features."""

from idhand.training.config import TrainConfig as TrainConfig
from idhand.training.loop import Trained as Trained
from idhand.training.loop import train as train
from idhand.training.presets import PRESETS as PRESETS
from idhand.training.runs import Training as Training
from idhand.training.schedule import LoopConfig as LoopConfig
