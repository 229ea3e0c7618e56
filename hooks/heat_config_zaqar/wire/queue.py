"""A Zaqar queue, by the API v2 (`zaqar.transport.wsgi.v2_0`).

Invariant: reading consumes nothing; what a portal answers in Zaqar's place is no answer.
"""

import uuid
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from heat_config_zaqar.errors import AmbiguousError
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
        # Zaqar wants one, and hides a client's own messages from it unless asked to echo them.
        self._client_id = str(uuid.uuid4())

    def messages(self) -> list[tuple[str, Any]]:
        """Return (id, body) of all waiting messages, oldest first; none is consumed.

        A queue that does not exist answers like an empty one.
        """
        query = {"echo": "true", "limit": str(_PAGE)}
        found: list[tuple[str, Any]] = []
        for _ in range(_MOST_PAGES):
            answer = self._ask("reading", "GET", "/messages", params=query)
            with translated(f"reading queue {self.name}"):
                page = [(message["id"], message["body"]) for message in answer["messages"]]
                found += page
                if len(page) < _PAGE:
                    break
                query = dict(parse_qsl(urlsplit(answer["links"][0]["href"]).query))
        return found

    def delete(self, ids: list[str]) -> None:
        """Delete messages; those that are gone already are fine."""
        for start in range(0, len(ids), _PAGE):
            query = {"ids": ",".join(ids[start : start + _PAGE])}
            self._ask("deleting messages of", "DELETE", "/messages", params=query)

    def post(self, body: dict[str, Any], ttl: int) -> None:
        """Post one message.

        :param ttl: seconds until Zaqar forgets it.
        :raises AmbiguousError: it may have been stored; after any other error it was not.
        """
        content = {"messages": [{"body": body, "ttl": ttl}]}
        answer = self._ask("posting to", "POST", "/messages", json=content)
        if not isinstance(answer, dict) or "resources" not in answer:
            raise AmbiguousError(f"posting to queue {self.name}: what answered is not Zaqar")

    def largest_post(self) -> int:
        """Return how many bytes one request to post may have, the queue's own limit."""
        limits = self._ask("reading the limits of", "GET", "")
        with translated(f"reading the limits of queue {self.name}"):
            return int(limits["_max_messages_post_size"])

    def _ask(self, doing: str, method: str, path: str, **more: Any) -> Any:
        what = f"{doing} queue {self.name}"
        response = self._connection.request(
            method,
            f"/v2/queues/{self.name}{path}",
            service="messaging",
            what=what,
            headers={"Client-ID": self._client_id},
            **more,
        )
        with translated(what):
            return response.json() if response.content else None
