"""How deep JSON may be nested for everything that has to handle it.

Invariant: no store of Zaqar's takes as many levels, and Python's own functions, which recurse, do.
"""

from typing import Any

MOST_LEVELS = 90


def too_deep(value: Any, most: int = MOST_LEVELS) -> str:
    """Return that `value` has too many lists and maps inside each other; empty where it has not."""
    inside = [value]
    for _ in range(most + 1):
        inside = [item for item in inside if isinstance(item, list | dict)]
        if not inside:
            return ""
        inside = [
            below
            for item in inside
            for below in (item.values() if isinstance(item, dict) else item)
        ]
    return f"is nested over {most} levels deep"
