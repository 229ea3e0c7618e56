"""A Zaqar queue, by python-zaqarclient on our own session.

Invariant: reading consumes nothing; what zaqarclient takes for success and is none is an error.
"""

import contextlib
import itertools
from typing import Any

import requests
from zaqarclient.queues.v2 import client as zaqar_client
from zaqarclient.transport import http as zaqar_http

from heat_config_zaqar.errors import AmbiguousError, PermanentError
from heat_config_zaqar.wire.failures import check, translated
from heat_config_zaqar.wire.session import Connection

# Zaqar lists and deletes at most this many messages in one request.
_PAGE = 20
# More waiting messages than this are read by the next collection; bounds memory and time.
_MOST_PAGES = 25


class Queue:
    """One queue of a user's project; making one sends no request.

    :param name: the queue's name.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._queue: Any = None

    def messages(self) -> list[tuple[str, Any]]:
        """Return (id, body) of all waiting messages, oldest first; none is consumed.

        A queue that does not exist answers like an empty one.

        :raises TemporaryError, PermanentError: as the module says.
        """
        with translated(f"reading queue {self.name}"):
            listing = self._zaqar().messages(echo=True, limit=_PAGE)
            found = list(listing)
            if len(found) == _PAGE:
                # zaqarclient goes on to the next page only when asked to stream, and then always.
                found += itertools.islice(listing.stream(), _PAGE * (_MOST_PAGES - 1))
            return [(message.id, message.body) for message in found]

    def delete(self, ids: list[str]) -> None:
        """Delete messages; those that are gone already are fine.

        :raises TemporaryError, PermanentError: as the module says.
        """
        with translated(f"deleting messages of queue {self.name}"):
            for start in range(0, len(ids), _PAGE):
                self._zaqar().delete_messages(*ids[start : start + _PAGE])

    def post(self, body: dict[str, Any], ttl: int) -> None:
        """Post one message.

        :param ttl: seconds until Zaqar forgets it.
        :raises AmbiguousError: it may have been stored.
        :raises TemporaryError, PermanentError: it was not stored.
        """
        with translated(f"posting to queue {self.name}"):
            self._zaqar().post({"body": body, "ttl": ttl})

    def largest_post(self) -> int:
        """Return how many bytes one request to post may have, the queue's own limit.

        :raises TemporaryError, PermanentError: as the module says.
        """
        with translated(f"reading the limits of queue {self.name}"):
            metadata = self._zaqar().metadata(force_reload=True)
            return int(metadata["_max_messages_post_size"])

    def _zaqar(self) -> Any:
        if self._queue is None:
            client = _Client(self._connection)
            self._queue = client.queue(self.name, auto_create=False)
        return self._queue


class _Client(zaqar_client.Client):  # type: ignore[misc]  # python-zaqarclient is not typed
    """zaqarclient on our session: its own has no timeout and connects for each request anew."""

    def __init__(self, connection: Connection) -> None:
        address = connection.endpoint("messaging")
        if not address:
            raise PermanentError("the catalog has no messaging service: is Zaqar there?")
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
        """Send one request; certificates are the connection's business, not zaqarclient's."""
        del more["verify"]
        response = self._connection.raw_request(method, url, **more)
        what = f"{method} {url.partition('?')[0]}"
        # The rest of 4xx and 5xx zaqarclient takes for success.
        known = zaqar_http.HttpTransport.http_to_zaqar
        if response.status_code >= 400 and response.status_code not in known:
            check(response, what)
        # And for an empty answer what some portal says in Zaqar's place.
        if response.ok and response.content and not _is_map(response):
            raise AmbiguousError(f"{what}: answered {response.status_code}, but not as Zaqar does")
        return response


def _is_map(response: requests.Response) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(response.json(), dict)
    return False
