"""Files → hand models and networks. Each shipped file has its licence beside it."""

from idhand.assets.models import OPEN_HAND as OPEN_HAND
from idhand.assets.models import cache_folder as cache_folder
from idhand.assets.models import open_hand as open_hand
from idhand.assets.models import with_landmarks as with_landmarks
from idhand.assets.population import Spread as Spread
from idhand.assets.population import population_spreads as population_spreads
from idhand.assets.registry import ManoHands as ManoHands
from idhand.assets.registry import add_hand as add_hand
from idhand.assets.registry import hand as hand
from idhand.assets.registry import hand_names as hand_names
from idhand.assets.registry import hands_folder as hands_folder
from idhand.assets.registry import mano_hands as mano_hands
