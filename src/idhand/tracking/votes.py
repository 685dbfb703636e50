"""Left or right: the vote of all frames that show a hand."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from idhand.detection.sides import most_probable_sides, person_pairs
from idhand.records import Detection
from idhand.tracking.config import TrackerConfig


class Votes:
    """Whether each hand is a right one, from all frames so far."""

    def __init__(self, config: TrackerConfig, known: bool | None):
        self._config, self.known = config, known
        self._log_odds: dict[int, float] = {}
        self._last_s: dict[int, float] = {}
        self._together: Counter[tuple[int, int]] = Counter()
        """How many frames show two hands as one person's."""

    def limited(self, probability: float) -> float:
        """A frame's probability, limited to `vote_limit`."""
        limit = self._config.vote_limit
        return min(max(probability, 1 - limit), limit)

    def take(self, numbers: Sequence[int], seen: Sequence[Detection], time_s: float) -> None:
        """Add one frame's votes on these hands."""
        for number, detection in zip(numbers, seen, strict=True):
            p = self.limited(detection.right_probability)
            since_s = time_s - self._last_s.get(number, -math.inf)
            weight = min(since_s / self._config.vote_interval_s, 1.0)
            vote = weight * math.log(p / (1 - p))
            self._log_odds[number] = self._log_odds.get(number, 0.0) + vote
            self._last_s[number] = time_s
        boxes = np.array([d.bbox_px for d in seen]).reshape(-1, 2, 2)
        sizes = np.linalg.norm(boxes[:, 1] - boxes[:, 0], axis=1) / np.sqrt(2) + 1e-9
        for i, k in person_pairs(boxes.mean(1), sizes, self._config.sides):
            first, second = sorted((numbers[i], numbers[k]))
            self._together[first, second] += 1

    def right_probability(self, number: int) -> float:
        """Of a hand by its own frames, within the limit of one frame."""
        if self.known is not None:
            return self.limited(float(self.known))
        return self.limited(_sigmoid(self._log_odds[number]))

    def sides(self) -> Mapping[int, bool]:
        """Whether each hand is a right one; those of one person are decided together.

        A hand's partner is the one that it was together with for most frames, if that is mutual.
        """
        if self.known is not None:
            return dict.fromkeys(self._log_odds, self.known)
        right = {number: _sigmoid(odds) for number, odds in self._log_odds.items()}
        sides = {number: p > 0.5 for number, p in right.items()}
        partner: dict[int, int] = {}
        for (i, k), _ in self._together.most_common():
            if i not in partner and k not in partner:
                pair = (right[i], right[k])
                sides[i], sides[k] = most_probable_sides(
                    pair, (None, None), self._config.sides.same_side
                )
            partner.setdefault(i, k)
            partner.setdefault(k, i)
        return sides


def _sigmoid(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(log_odds, -700.0), 700.0)))
