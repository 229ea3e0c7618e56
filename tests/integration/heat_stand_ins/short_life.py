"""Loaded by the test cloud's Heat: each pre-signed URL of a queue lives for URL_SECONDS.

Neither Zaqar nor Heat has a setting for it; it is a day.
"""

from typing import Any

from zaqarclient.queues.v2.queues import Queue

URL_SECONDS = 30

_signed_url = Queue.signed_url


def _short_signed_url(self: Any, *arguments: Any, **options: Any) -> Any:
    return _signed_url(self, *arguments, **options | {"ttl_seconds": URL_SECONDS})


Queue.signed_url = _short_signed_url
