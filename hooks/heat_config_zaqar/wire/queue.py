"""A Zaqar queue, by python-zaqarclient on our own session.

Invariant: reading consumes nothing; what a portal answers in Zaqar's place is no answer.
"""

import itertools
from typing import Any

import requests
from zaqarclient.queues.v2 import client as zaqar_client
from zaqarclient.transport import http as zaqar_http

from heat_config_zaqar.errors import AmbiguousError, RejectedError
from heat_config_zaqar.wire.failures import translated
from heat_config_zaqar.wire.session import Connection

# Zaqar lists and deletes at most this many messages in one request.
_PAGE = 20
# More waiting messages than this are read by the next collection; bounds memory and time.
_MOST_PAGES = 25


class Queue:
    """One queue of a user's project; making one sends no request."""

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._queue: Any = None

    def messages(self) -> list[tuple[str, Any]]:
        """Return (id, body) of all waiting messages, oldest first; none is consumed.

        A queue that does not exist answers like an empty one.
        """
        with translated(f"reading queue {self.name}"):
            listing = self._zaqar().messages(echo=True, limit=_PAGE)
            found = list(listing)
            if len(found) == _PAGE:
                # zaqarclient goes on to the next page only when asked to stream, and then always.
                found += itertools.islice(listing.stream(), _PAGE * (_MOST_PAGES - 1))
            return [(message.id, message.body) for message in found]

    def delete(self, ids: list[str]) -> None:
        """Delete messages; those that are gone already are fine."""
        with translated(f"deleting messages of queue {self.name}"):
            for start in range(0, len(ids), _PAGE):
                self._zaqar().delete_messages(*ids[start : start + _PAGE])

    def post(self, body: dict[str, Any], ttl: int) -> None:
        """Post one message.

        :param ttl: seconds until Zaqar forgets it.
        :raises AmbiguousError: it may have been stored; after any other error it was not.
        """
        with translated(f"posting to queue {self.name}"):
            answer = self._zaqar().post({"body": body, "ttl": ttl})
        if not isinstance(answer, dict) or "resources" not in answer:
            raise AmbiguousError(f"posting to queue {self.name}: what answered is not Zaqar")

    def largest_post(self) -> int:
        """Return how many bytes one request to post may have, the queue's own limit."""
        with translated(f"reading the limits of queue {self.name}"):
            metadata = self._zaqar().metadata(force_reload=True)
            return int(metadata["_max_messages_post_size"])

    def _zaqar(self) -> Any:
        if self._queue is None:
            self._queue = _Client(self._connection).queue(self.name, auto_create=False)
        return self._queue


class _Client(zaqar_client.Client):  # type: ignore[misc]  # python-zaqarclient is not typed
    """zaqarclient on our session: its own has no timeout and connects for each request anew."""

    def __init__(self, connection: Connection) -> None:
        address = connection.endpoint("messaging")
        if not address:
            raise RejectedError("the catalog has no messaging service: is Zaqar there?")
        project = {"os_project_id": connection.credentials.project_id}
        super().__init__(address, 2, conf={"auth_opts": {"backend": "noauth", "options": project}})
        self._transport = zaqar_http.HttpTransport({})
        self._transport.client = _Session(connection)

    def _get_transport(self, request: Any) -> Any:  # noqa: ARG002 # zaqarclient calls it so
        return self._transport


class _Session:
    """What zaqarclient's HTTP transport uses of its own session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        """Send one request; certificates are the connection's business, not zaqarclient's.

        zaqarclient takes many a refusal for success, so what it gets here is an answer of Zaqar's.
        """
        del more["verify"]
        what = f"{method} {url.partition('?')[0]}"
        response: requests.Response = self._connection.request(
            method, url, service="messaging", what=what, **more
        )
        with translated(what):
            if response.content and not isinstance(response.json(), dict):
                raise AmbiguousError(f"{what}: what answered is not Zaqar")
        return response
