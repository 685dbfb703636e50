"""Files → hand models and networks. Each shipped file has its licence beside it."""

from idhand.assets.models import open_hand as open_hand
from idhand.assets.models import shape_prior as shape_prior
from idhand.assets.models import with_landmarks as with_landmarks
from idhand.assets.population import Spread as Spread
from idhand.assets.population import population_spreads as population_spreads
