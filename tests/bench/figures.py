"""Statistics of measured values. Pure: neither reads nor writes.

Invariant: no value is invented: a percentile is one of the values, never a mean of two.
"""

import math
from collections.abc import Iterable, Sequence


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed.

    :raises ValueError: there are no values, or `percent` is not above 0 and up to 100.
    """
    ordered = sorted(values)
    if not ordered or not 0 < percent <= 100:
        raise ValueError(f"no {percent:g}th percentile of {len(ordered)} values")
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return number, median, p90, p99 and maximum.

    :raises ValueError: there are no values.
    """
    return {
        "n": len(values),
        "p50": percentile(values, 50),
        "p90": percentile(values, 90),
        "p99": percentile(values, 99),
        "max": max(values),
    }


def distribution(values: Iterable[float]) -> tuple[list[float], list[float]]:
    """Return the values in order and, for each, the share of values up to and with it."""
    ordered = sorted(values)
    return ordered, [(place + 1) / len(ordered) for place in range(len(ordered))]
