"""Sends what waits in the outbox, by whichever transport each deployment asked for.

One process delivers at a time; each entry is read again once it is that process's turn.
Invariant: an entry leaves the outbox only when Heat's side has its signal, when it was refused for
good, or when a newer config took its signal queue; a message is never posted a second time while
the first may still be in the queue or may have been read by Heat. Nothing is sent unless the
metadata queue was looked at in the last second: Heat may have given up on a deployment while its
hook ran.
"""

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterable

from heat_config_zaqar.deployment import Credentials, Deployment, Transport
from heat_config_zaqar.errors import (
    AmbiguousError,
    HeatConfigError,
    PermanentError,
    RejectedError,
    TemporaryError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import CONFIG_ID, DEFAULT_LIMIT_BYTES, Body, fit
from heat_config_zaqar.snapshot import deployments_of, usable
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Entry, Outbox, Settled
from heat_config_zaqar.succession import Succession
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.presigned import send_presigned
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# Heat reads the queue each second; a message that nobody read in a day belongs to nobody.
_MESSAGE_TTL_SECONDS = 24 * 3600
# Below this size no queue's limit matters, and asking for it would cost a request.
_SURELY_FITS_BYTES = 16 * 1024
_ENVELOPE_BYTES = 256
# A service in trouble, or a proxy in its place, may refuse everybody; after this, it means it.
_REFUSED_SECONDS = 3600
# A hundred quick hooks are not worth a hundred looks for newer metadata.
_LOOK_SECONDS = 1

_LOG = logging.getLogger(__name__)


class Delivery:
    """One process's deliveries, over one connection for each login."""

    def __init__(self, outbox: Outbox, settings: Settings) -> None:
        self._outbox = outbox
        self._lock = settings.state_dir / "deliver.lock"
        self._connections: dict[Credentials, Connection] = {}
        self._away: set[Transport] = set()
        self._metadata = MetadataStore(settings.metadata_file)
        login = self._metadata.read().login
        self._server = login[0] if login else None
        self._metadata_queue = login[1] if login else ""
        self._posted: list[Deployment] = []
        self._looked = -math.inf
        ca_file = (self._server.ca_file if self._server else "") or settings.ca_file
        self._settings = dataclasses.replace(settings, ca_file=ca_file)

    def supersede(self, deployments: Iterable[Deployment]) -> None:
        """Drop each pending signal whose queue now belongs to a newer config.

        Heat keeps one signal queue for the life of a deployment resource, and would take the old
        signal for the newer config's.

        :raises OSError: the state directory cannot be written.
        """
        with durable.locked(self._lock):
            self._drop_superseded(self._outbox.pending(), deployments)

    def deliver_all(self) -> int:
        """Try each pending signal once; return how many are left.

        :raises OSError: the state directory cannot be written.
        """
        with durable.locked(self._lock):
            return self._deliver_each(self._outbox.pending())

    def deliver(self, config_id: str) -> None:
        """Try to send one signal, unless another process has sent it meanwhile.

        :raises OSError: the state directory cannot be written.
        """
        with durable.locked(self._lock):
            entry = self._outbox.find_pending(config_id)
            self._deliver_each([entry] if entry else [])

    def _deliver_each(self, entries: list[Entry]) -> int:
        """Send what is not superseded by what Heat has posted until now; return what is left."""
        if not entries:
            return 0
        wanted = self._drop_superseded(entries, self._posted_deployments())
        return sum(not self._deliver(entry) for entry in wanted)

    def _drop_superseded(
        self, entries: list[Entry], deployments: Iterable[Deployment]
    ) -> list[Entry]:
        """Settle each entry whose signal queue now belongs to a newer config; return the others."""
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

    def _posted_deployments(self) -> list[Deployment]:
        """Return what waits in the metadata queue, and what is stored, as of the last second.

        The queue comes first: what the collector takes from it meanwhile is stored before it goes.
        """
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return self._posted
        self._looked = time.monotonic()
        waiting: list[object] = []
        if self._server:
            try:
                queue = Queue(self._connection(self._server), self._metadata_queue)
                waiting = [body for _, body in queue.messages()]
            except TemporaryError as error:
                _LOG.warning("signals to Zaqar are not sent yet: %s", error)
                self._away.add(Transport.ZAQAR)
            except PermanentError as error:
                _LOG.info("%s; signalling without having looked for newer metadata", error)
        snapshots = [usable(body) for body in [*waiting, self._metadata.read().snapshot or {}]]
        self._posted = [item for body in snapshots if body for item in deployments_of(body)]
        return self._posted

    def _deliver(self, entry: Entry) -> bool:
        """Try to send one signal; return whether the outbox is done with it."""
        if entry.transport in self._away:
            return False
        try:
            self._send(entry)
        except RejectedError as error:
            if _may_change(entry):
                _LOG.warning("deployment %s: signal not sent yet: %s", entry.id, error)
                return False
            self._give_up(entry, error)
        except PermanentError as error:
            self._give_up(entry, error)
        except TemporaryError as error:
            _LOG.warning("deployment %s: signal not sent yet: %s", entry.id, error)
            # Others of this run would only wait for the same service.
            self._away.add(entry.transport)
            return False
        else:
            self._outbox.settle(entry, Settled.DELIVERED, "")
        return True

    def _give_up(self, entry: Entry, error: PermanentError) -> None:
        _LOG.error("deployment %s: signal given up: %s", entry.id, error)
        self._outbox.settle(entry, Settled.FAILED, str(error))

    def _send(self, entry: Entry) -> None:
        body: Body = {**entry.body, CONFIG_ID: entry.id}
        if entry.transport is Transport.ZAQAR:
            self._as_someone(entry, lambda user: self._send_to_queue(entry, body, user))
        elif entry.transport in (Transport.CFN, Transport.TEMP_URL):
            self._send_presigned(entry)
        elif entry.transport is Transport.HEAT:
            _signal_through_heat(entry, self._connection(_own_login(entry)))
        elif entry.note:
            raise PermanentError(entry.note)

    def _as_someone(self, entry: Entry, send: Callable[[Connection], None]) -> None:
        """Send as the server's user, whose token is at hand; where that is refused as its own.

        Every stack user may post to every queue of the stack's project.
        """
        own = _own_login(entry)
        server = self._server
        if server and (server.project_id, server.auth_url) == (own.project_id, own.auth_url):
            try:
                send(self._connection(server))
                return
            except PermanentError as error:
                _LOG.info("deployment %s: %s; trying its own user", entry.id, error)
        send(self._connection(own))

    def _send_to_queue(self, entry: Entry, body: Body, user: Connection) -> None:
        queue = Queue(user, entry.queue)
        if entry.sending and self._has_arrived(entry, queue, user):
            return
        fitted = self._fitted(body, queue)
        self._outbox.mark_sending(entry, True)
        try:
            queue.post(fitted, _MESSAGE_TTL_SECONDS)
        except AmbiguousError:
            raise
        except HeatConfigError:
            self._outbox.mark_sending(entry, False)
            raise

    def _has_arrived(self, entry: Entry, queue: Queue, user: Connection) -> bool:
        """Find out what became of a post without an answer; signal through Heat where it is gone.

        A message that is not in the queue never arrived, or Heat has read it. Heat's own API
        ignores a signal for a deployment that is no longer in progress, so it is right for both.
        """
        if any(_is_ours(entry, body) for _, body in queue.messages()):
            return True
        try:
            _signal_through_heat(entry, user)
        except RejectedError as error:
            if _may_change(entry):
                raise
            _LOG.warning("deployment %s: %s; posting again", entry.id, error)
            return False
        return True

    def _send_presigned(self, entry: Entry) -> None:
        method = "PUT" if entry.transport is Transport.TEMP_URL else "POST"
        if not entry.url:
            raise PermanentError(f"{entry.transport} has no deploy_signal_id to send to")
        body = fit(entry.body, DEFAULT_LIMIT_BYTES)
        send_presigned(method, entry.url, json.dumps(body), self._settings)

    def _fitted(self, body: Body, queue: Queue) -> Body:
        if len(json.dumps(body)) <= _SURELY_FITS_BYTES:
            return body
        return fit(body, queue.largest_post() - _ENVELOPE_BYTES)

    def _connection(self, login: Credentials) -> Connection:
        if login not in self._connections:
            self._connections[login] = Connection(login, self._settings)
        return self._connections[login]


def _signal_through_heat(entry: Entry, user: Connection) -> None:
    body = fit(entry.body, DEFAULT_LIMIT_BYTES)
    heat.signal_resource(user, entry.stack_id, entry.resource_name, body)


def _may_change(entry: Entry) -> bool:
    """Whether a service that refuses may still change its mind."""
    return time.time() - entry.finished < _REFUSED_SECONDS


def _own_login(entry: Entry) -> Credentials:
    if entry.credentials is None:
        raise PermanentError("the deployment carries no login to signal with")
    return entry.credentials


def _is_ours(entry: Entry, body: object) -> bool:
    return isinstance(body, dict) and body.get(CONFIG_ID) == entry.id
