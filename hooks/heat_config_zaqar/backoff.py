"""How long to wait before the next try.

Invariant: waits grow to a cap and are spread by chance, so that guests that lost the same service
do not come back to it at the same moment.
"""

import random
from collections.abc import Callable


class Backoff:
    """Full jitter between half and the whole of a wait that doubles up to a cap.

    :param first: seconds of the first wait.
    :param cap: seconds of the longest wait.
    """

    def __init__(
        self, first: float, cap: float, chance: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first = first
        self._cap = cap
        self._chance = chance
        self._tries = 0

    def reset(self) -> None:
        """Begin with the first wait again."""
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        whole = min(self._first * 2.0 ** min(self._tries, 30), self._cap)
        self._tries += 1
        return self._chance(whole / 2, whole)
