"""What Heat has posted until now, read or not: the look for newer metadata before a signal.

Invariant: what is returned is at most a second old. Heat may have given up on a deployment while
its hook ran, and would take the old signal for the newer config's.
"""

import logging
import math
import time
from collections.abc import Callable

from heat_config_zaqar.deployment import Credentials, Deployment
from heat_config_zaqar.errors import PermanentError
from heat_config_zaqar.snapshot import deployments_of, usable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# A hundred quick hooks are not worth a hundred looks for newer metadata.
_LOOK_SECONDS = 1

_LOG = logging.getLogger(__name__)


class Posted:
    """The deployments that wait in the server's metadata queue, and the stored ones."""

    def __init__(
        self,
        store: MetadataStore,
        login: tuple[Credentials, str] | None,
        connect: Callable[[Credentials], Connection],
    ) -> None:
        self._store = store
        self._login = login
        self._connect = connect
        self._deployments: list[Deployment] = []
        self._looked = -math.inf

    def deployments(self) -> list[Deployment]:
        """Return them as of the last second.

        The queue comes first: what the collector takes from it meanwhile is stored before it goes.

        :raises TemporaryError: the queue cannot be read at the moment.
        """
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._looked = time.monotonic()
            bodies = [*self._waiting(), self._store.read().snapshot or {}]
            found = [usable(body) for body in bodies]
            self._deployments = [item for body in found if body for item in deployments_of(body)]
        return self._deployments

    def stored(self) -> list[Deployment]:
        """Return those that were received."""
        return self._store.read().deployments

    def _waiting(self) -> list[object]:
        if self._login is None:
            return []
        try:
            queue = Queue(self._connect(self._login[0]), self._login[1])
            return [body for _, body in queue.messages()]
        except PermanentError as error:
            _LOG.info("%s; signalling without having looked for newer metadata", error)
            return []
