"""Loaded by the test cloud's Heat: each pre-signed URL of a queue lives for URL_SECONDS.

Neither Zaqar nor Heat has a setting for it; it is a day. Those of the stack `moment` live longer:
a restart of Keystone must fit in.
"""

from typing import Any

from zaqarclient.queues.v2.queues import Queue

URL_SECONDS = 30
MOMENT_SECONDS = 120

_signed_url = Queue.signed_url


def _short_signed_url(self: Any, *arguments: Any, **options: Any) -> Any:
    seconds = MOMENT_SECONDS if self.name.startswith("moment-") else URL_SECONDS
    return _signed_url(self, *arguments, **options | {"ttl_seconds": seconds})


Queue.signed_url = _short_signed_url
