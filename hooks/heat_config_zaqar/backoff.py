"""How long to wait before the next try.

Invariant: waits grow to a cap and are spread by chance, so that guests that lost the same service
do not come back to it at the same moment.
"""

import random
from collections.abc import Callable


class Backoff:
    """A wait that doubles up to a cap, each one shortened by chance.

    :param first: seconds of the first wait.
    :param cap: seconds of the longest wait.
    :param least: the share of a wait that chance leaves; 0 is full jitter, for many guests that
        lost one server at the same moment.
    """

    def __init__(
        self,
        first: float,
        cap: float,
        least: float = 0.5,
        chance: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._first = first
        self._cap = cap
        self._least = least
        self._chance = chance
        self._tries = 0

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        whole = min(self._first * 2.0 ** min(self._tries, 30), self._cap)
        self._tries += 1
        return self._chance(whole * self._least, whole)
