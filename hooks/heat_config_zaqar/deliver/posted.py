"""What Heat has posted until now, read or not: the look for newer metadata before a signal.

Invariant: what is known is at most a second old. Heat may have given up on a deployment while its
hook ran, and would take the old signal for the newer config's. No signal goes out without a look
before it was held back for ten minutes.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator

from heat_config_zaqar.deployment import Credentials, Deployment, Transport
from heat_config_zaqar.errors import PermanentError, RejectedError, TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import deployments_of, usable
from heat_config_zaqar.state import doubts
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Entry
from heat_config_zaqar.succession import Config, Succession
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# A hundred quick hooks are not worth a hundred looks for newer metadata.
_LOOK_SECONDS = 1
# For how long a signal is held back while the look fails. Its own host may be up, and a stack must
# not wait for ever: Heat's patience is an hour.
_HELD_BACK_SECONDS = 600

_LOG = logging.getLogger(__name__)


class Posted:
    """Looks into the metadata queue, or asks Heat or the server's own source, once a second.

    :param login: the server's own login and metadata queue, where it has one.
    """

    def __init__(
        self,
        store: MetadataStore,
        login: tuple[Credentials, str] | None,
        connect: Callable[[Credentials], Connection],
        settings: Settings,
    ) -> None:
        self._store = store
        self._login = login
        self._connect = connect
        self._settings = settings
        self._known: dict[str, tuple[float, Succession]] = {}
        self._away: dict[str, TemporaryError] = {}

    def successor(self, entry: Entry) -> Config | None:
        """Return the newer config that took the place of an entry's, None where there is none.

        :raises RejectedError: nobody can be asked now, and the signal may wait for that.
        """
        trouble: TemporaryError | RejectedError | None = None
        for source, ask in self._sources(entry):
            try:
                return self._newest(source, ask).successor(entry)
            except (TemporaryError, RejectedError) as error:
                trouble = trouble or error
                if isinstance(error, TemporaryError) and error.is_away:
                    self._away[source] = error
            except PermanentError as error:
                _LOG.info("deployment %s: %s", entry.id, error)
        if trouble and entry.transport is not Transport.NONE:
            problem = f"newer metadata cannot be looked for: {trouble}"
            if entry.refused_seconds < _HELD_BACK_SECONDS:
                raise RejectedError(problem) from trouble
            _LOG.warning("deployment %s: signalling all the same: %s", entry.id, problem)
        return self._newest("", list).successor(entry)

    def _sources(self, entry: Entry) -> Iterator[tuple[str, Callable[[], list[Deployment]]]]:
        # Of what was taken before a disk was put back the queue knows nothing.
        if self._login and doubts.age_of(self._settings, entry.id) is None:
            yield "queue", functools.partial(self._in_queue, *self._login)
        if entry.transport is Transport.NONE:
            return
        user = entry.credentials or (self._login[0] if self._login else None)
        if user and entry.server_id:
            ask = functools.partial(self._at_heat, user, entry.server_id)
            yield f"{user.auth_url} {entry.server_id}", ask
        if not self._login:
            yield "own", functools.partial(self._at_own_source, entry.server_id)

    def _newest(self, source: str, ask: Callable[[], list[Deployment]]) -> Succession:
        if source in self._away:
            raise self._away[source]
        known = self._known.get(source)
        began = time.monotonic()
        if known is None or began - known[0] >= _LOOK_SECONDS:
            # The stored ones come last: what is received meanwhile is stored before it goes.
            known = (began, Succession([*ask(), *self._store.read().deployments]))
            self._known[source] = known
        return known[1]

    def _in_queue(self, server: Credentials, queue: str) -> list[Deployment]:
        messages = Queue(self._connect(server), queue).messages()
        bodies = [usable(body) for _, body in messages]
        return [item for body in bodies if body for item in deployments_of(body)]

    def _at_heat(self, user: Credentials, server_id: str) -> list[Deployment]:
        answer = heat.deployments_of_server(self._connect(user), server_id)
        return deployments_of({"deployments": answer})

    def _at_own_source(self, server_id: str) -> list[Deployment]:
        # Upstream's libraries take 0.3 s of a small CPU, which most guests can save.
        from heat_config_zaqar.collect.sources import deployments_now

        return deployments_now(server_id, self._settings, self._connect)
