"""What Heat has posted until now, read or not: the look for newer metadata before a signal.

Invariant: what is known is at most a second old. Heat may have given up on a deployment while its
hook ran, and would take the old signal for the newer config's.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator

from heat_config_zaqar.deployment import Credentials, Deployment, Transport
from heat_config_zaqar.errors import PermanentError, TemporaryError
from heat_config_zaqar.snapshot import deployments_of, usable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Entry
from heat_config_zaqar.succession import Config, Succession
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# A hundred quick hooks are not worth a hundred looks for newer metadata.
_LOOK_SECONDS = 1
_QUEUE = "queue"

_LOG = logging.getLogger(__name__)


class Posted:
    """Looks into the server's metadata queue, or asks Heat where there is none, once a second.

    :param login: the server's own login and metadata queue, where it has one.
    """

    def __init__(
        self,
        store: MetadataStore,
        login: tuple[Credentials, str] | None,
        connect: Callable[[Credentials], Connection],
    ) -> None:
        self._store = store
        self._login = login
        self._connect = connect
        self._known: dict[str, tuple[float, Succession]] = {}

    def successor(self, entry: Entry) -> Config | None:
        """Return the newer config that took the place of an entry's, None where there is none.

        :raises TemporaryError: nobody can be asked now who has to be reached for the signal anyway.
        """
        trouble: TemporaryError | None = None
        for source, ask in self._sources(entry):
            try:
                return self._newest(source, ask).successor(entry)
            except TemporaryError as error:
                trouble = trouble or error
                if error.is_away and source == _QUEUE:
                    self._login = None
        if trouble and entry.transport in (Transport.ZAQAR, Transport.HEAT):
            raise trouble
        return self._newest("", list).successor(entry)

    def _sources(self, entry: Entry) -> Iterator[tuple[str, Callable[[], list[Deployment]]]]:
        if self._login:
            yield _QUEUE, functools.partial(self._in_queue, *self._login)
        if entry.credentials and entry.server_id and entry.transport is not Transport.NONE:
            ask = functools.partial(self._at_heat, entry.credentials, entry.server_id)
            yield entry.server_id, ask

    def _newest(self, source: str, ask: Callable[[], list[Deployment]]) -> Succession:
        known = self._known.get(source)
        began = time.monotonic()
        if known is None or began - known[0] >= _LOOK_SECONDS:
            # The stored ones come last: what is received meanwhile is stored before it goes.
            known = (began, Succession([*ask(), *self._store.read().deployments]))
            self._known[source] = known
        return known[1]

    def _in_queue(self, server: Credentials, queue: str) -> list[Deployment]:
        try:
            messages = Queue(self._connect(server), queue).messages()
        except PermanentError as error:
            _LOG.info("%s; signalling without having looked for newer metadata", error)
            return []
        bodies = [usable(body) for _, body in messages]
        return [item for body in bodies if body for item in deployments_of(body)]

    def _at_heat(self, user: Credentials, server_id: str) -> list[Deployment]:
        try:
            answer = heat.deployments_of_server(self._connect(user), server_id)
        except PermanentError as error:
            _LOG.info("%s; signalling without having asked for newer metadata", error)
            return []
        return deployments_of({"deployments": answer})
