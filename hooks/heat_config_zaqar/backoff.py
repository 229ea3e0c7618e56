"""How long to wait before the next try.

Invariant: waits grow to a cap and are spread by chance, so that guests that lost the same service
do not come back to it at the same moment.
"""

import random


def pause(lasted: float, first: float, cap: float) -> float:
    """Return how long to wait: as long as the trouble has lasted, within bounds. So waits double.

    All are seconds.
    """
    return min(max(lasted, first), cap)


def spread(seconds: float, least: float = 0.5) -> float:
    """Return a wait shortened by chance.

    :param least: the share of it that is left; 0 is for many guests that lost one server at once.
    """
    return seconds * random.uniform(least, 1)  # noqa: S311 # no secret hangs on it
