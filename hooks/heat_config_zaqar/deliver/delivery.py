"""Sends what waits in the outbox: the order of a batch, and what becomes of an entry that fails.

One process delivers at a time; each entry is read again once it is that process's turn.
Invariant: an entry leaves the outbox only when Heat's side has its signal, when it was refused for
good, or when a newer config took its place. Nothing is sent before the look for newer metadata.
"""

import dataclasses
import functools
import logging
import time
from collections.abc import Iterable

from heat_config_zaqar.deliver.posted import Posted
from heat_config_zaqar.deliver.transports import Sender
from heat_config_zaqar.deployment import Deployment, Transport
from heat_config_zaqar.errors import PermanentError, RejectedError, TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Entry, Outbox, Settled
from heat_config_zaqar.succession import Succession
from heat_config_zaqar.wire.session import Connection

# A service in trouble, or a proxy in its place, may refuse everybody; after this, it means it.
_REFUSED_SECONDS = 3600

_LOG = logging.getLogger(__name__)


class Delivery:
    """One process's deliveries; OSError is raised where the state directory cannot be written."""

    def __init__(self, outbox: Outbox, settings: Settings) -> None:
        self._outbox = outbox
        self._lock = settings.state_dir / "deliver.lock"
        self._away: set[Transport] = set()
        store = MetadataStore(settings.metadata_file)
        login = store.read().login
        if login and login[0].ca_file:
            settings = dataclasses.replace(settings, ca_file=login[0].ca_file)
        connect = functools.cache(functools.partial(Connection, settings=settings))
        self._posted = Posted(store, login, connect)
        server = login[0] if login else None
        self._sender = Sender(outbox, settings, server, connect, _may_change)

    def supersede(self, deployments: Iterable[Deployment]) -> None:
        """Drop each pending signal whose place a newer config among `deployments` took."""
        with durable.locked(self._lock):
            self._drop_superseded(self._outbox.pending(), deployments)

    def deliver_all(self) -> int:
        """Try each pending signal once; return how many are left."""
        with durable.locked(self._lock):
            return self._deliver_each(self._outbox.pending())

    def deliver(self, config_id: str) -> None:
        """Try to send one signal, unless another process has sent it meanwhile."""
        with durable.locked(self._lock):
            entry = self._outbox.find_pending(config_id)
            self._deliver_each([entry] if entry else [])

    def _deliver_each(self, entries: list[Entry]) -> int:
        """Send what is not superseded by what Heat has posted until now; return what is left."""
        if not entries:
            return 0
        try:
            deployments = self._posted.deployments()
        except TemporaryError as error:
            _LOG.warning("signals to Zaqar are not sent yet: %s", error)
            self._away.add(Transport.ZAQAR)
            deployments = self._posted.stored()
        wanted = self._drop_superseded(entries, deployments)
        return sum(not self._deliver(entry) for entry in wanted)

    def _drop_superseded(
        self, entries: list[Entry], deployments: Iterable[Deployment]
    ) -> list[Entry]:
        """Settle each entry whose place a newer config took; return the others."""
        succession = Succession(deployments)
        others = []
        for entry in entries:
            taker = succession.successor(entry)
            if taker is not None:
                _LOG.warning("deployment %s: signal dropped, %s is newer", entry.id, taker.id)
                self._outbox.settle(entry, Settled.SUPERSEDED, f"newer config {taker.id}")
            else:
                others.append(entry)
        return others

    def _deliver(self, entry: Entry) -> bool:
        """Try to send one signal; return whether the outbox is done with it."""
        if entry.transport in self._away:
            return False
        try:
            self._sender.send(entry)
        except PermanentError as error:
            if not (isinstance(error, RejectedError) and _may_change(entry)):
                _LOG.error("deployment %s: signal given up: %s", entry.id, error)
                self._outbox.settle(entry, Settled.FAILED, str(error))
                return True
            _LOG.warning("deployment %s: signal not sent yet: %s", entry.id, error)
            return False
        except TemporaryError as error:
            _LOG.warning("deployment %s: signal not sent yet: %s", entry.id, error)
            # Others of this run would only wait for the same service.
            self._away.add(entry.transport)
            return False
        self._outbox.settle(entry, Settled.DELIVERED, "")
        return True


def _may_change(entry: Entry) -> bool:
    """Whether a service that refuses may still change its mind."""
    return time.time() - entry.finished < _REFUSED_SECONDS
