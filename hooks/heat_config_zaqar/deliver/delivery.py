"""Sends what waits in the outbox: the order of a batch, and what becomes of an entry that fails.

One process delivers at a time; each entry is read again once it is that process's turn.
Invariant: an entry leaves the outbox only when Heat's side has its signal, when it was refused for
good, or when a newer config took its place. Nothing is sent before metadata was collected since the
boot, nor before the look for newer metadata.
"""

import dataclasses
import functools
import logging
from collections.abc import Iterable
from typing import Any

from heat_config_zaqar import events
from heat_config_zaqar.deliver.posted import Posted
from heat_config_zaqar.deliver.transports import Sender
from heat_config_zaqar.deployment import Deployment, Transport
from heat_config_zaqar.errors import HeatConfigError, PermanentError, RejectedError, TemporaryError
from heat_config_zaqar.events import Event
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Entry, Outbox, Settled
from heat_config_zaqar.succession import Config, Succession
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# Where nobody reads them any more, they are soon gone.
_PROGRESS_TTL_SECONDS = 300

_LOG = logging.getLogger(__name__)


class Delivery:
    """One process's deliveries; OSError is raised where the state directory cannot be written."""

    def __init__(self, outbox: Outbox, settings: Settings) -> None:
        self._outbox = outbox
        self._lock = settings.state_dir / "deliver.lock"
        self._collected = settings.collected_file
        self._away: set[tuple[str, str]] = set()
        self._tried: set[str] = set()
        store = MetadataStore(settings.metadata_file)
        login = store.read().login
        if login and login[0].ca_file:
            settings = dataclasses.replace(settings, ca_file=login[0].ca_file)
        connect = functools.cache(functools.partial(Connection, settings=settings))
        self._posted = Posted(store, login, connect, settings)
        self._server = login[0] if login else None
        self._connect = connect
        self._sender = Sender(outbox, settings, self._server, connect)

    def supersede(self, deployments: Iterable[Deployment]) -> None:
        """Drop each pending signal whose place a newer config among `deployments` took."""
        succession = Succession(deployments)
        with durable.locked(self._lock):
            for entry in self._outbox.pending():
                with events.about(entry.id, entry.name):
                    self._drop_superseded(entry, succession.successor(entry))

    def deliver_all(self) -> int:
        """Try each pending signal once; return how many are left."""
        with durable.locked(self._lock):
            return sum(not self._is_done(entry) for entry in self._outbox.pending())

    def deliver(self, config_id: str) -> None:
        """Try to send one signal, unless another process has sent it meanwhile."""
        with durable.locked(self._lock):
            entry = self._outbox.find_pending(config_id)
            if entry is not None:
                self._is_done(entry)

    def _is_done(self, entry: Entry) -> bool:
        with events.about(entry.id, entry.name):
            return self._deliver(entry)

    def tell(self, deployment: Deployment, body: dict[str, Any]) -> None:
        """Post to a deployment's progress queue, as the user whose token its signal needs too.

        :raises HeatConfigError: as of the room `wire`; nothing is tried again.
        """
        own, server = deployment.credentials, self._server
        if server and (server.project_id, server.auth_url) == (own.project_id, own.auth_url):
            own = server
        if self._collected.exists():
            Queue(self._connect(own), deployment.progress_queue).post(body, _PROGRESS_TTL_SECONDS)

    def _deliver(self, entry: Entry) -> bool:
        """Try to send one signal; return whether the outbox is done with it."""
        service = _service_of(entry)
        if service in self._away or entry.id in self._tried:
            return False
        if entry.transport is not Transport.NONE and not self._collected.exists():
            return False
        self._tried.add(entry.id)
        try:
            if self._drop_superseded(entry, self._posted.successor(entry)):
                return True
            self._sender.send(entry)
        except PermanentError as error:
            return self._is_given_up(entry, error)
        except TemporaryError as error:
            self._say_not_sent(entry, error)
            if error.is_away:
                # Others of this run would only wait for the same service.
                self._away.add(service)
            return False
        self._outbox.settle(entry, Settled.DELIVERED, "")
        if entry.transport is not Transport.NONE:
            delivered = "deployment %s: signal delivered"
            _LOG.info(delivered, entry.id, extra=Event.SIGNAL_DELIVERED.extra)
        return True

    def _drop_superseded(self, entry: Entry, newer: Config | None) -> bool:
        if newer is None:
            return False
        dropped = "deployment %s: signal dropped, %s is newer"
        _LOG.warning(dropped, entry.id, newer.id, extra=Event.SIGNAL_SUPERSEDED.extra)
        self._outbox.settle(entry, Settled.SUPERSEDED, f"newer config {newer.id}")
        return True

    def _say_not_sent(self, entry: Entry, error: HeatConfigError) -> None:
        not_sent = "deployment %s: signal not sent yet: %s"
        _LOG.warning(not_sent, entry.id, error, extra=Event.SIGNAL_NOT_SENT.extra)

    def _is_given_up(self, entry: Entry, error: PermanentError) -> bool:
        """Settle an entry that was refused for good; one that was not counts how long it was."""
        if isinstance(error, RejectedError) and entry.may_change:
            self._say_not_sent(entry, error)
            self._outbox.mark_refused(entry)
            return False
        given_up = "deployment %s: signal given up: %s"
        _LOG.error(given_up, entry.id, error, extra=Event.SIGNAL_GIVEN_UP.extra)
        self._outbox.settle(entry, Settled.FAILED, str(error))
        return True


def _service_of(entry: Entry) -> tuple[str, str]:
    """Return what several signals have in common: a transport, and the host of its address."""
    login = entry.credentials.auth_url if entry.credentials else ""
    is_presigned = entry.transport in (Transport.CFN, Transport.TEMP_URL)
    address = entry.url if is_presigned else login
    return entry.transport, address.partition("://")[2].partition("/")[0]
