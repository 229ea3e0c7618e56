"""os-collect-config's `zaqar` collector: from the metadata queue to the stored snapshot.

Read all waiting messages, store, only then delete them; with nothing new or no service, the
stored snapshot again.
Invariant: a message leaves the queue only after what it says is on disk; `collect` returns the
same content until there is something newer, whatever is away.
"""

import logging
import time
from typing import Any

from os_collect_config import exc, merger
from oslo_config import cfg

from heat_config_zaqar import durable
from heat_config_zaqar.backoff import Backoff
from heat_config_zaqar.deployment import Credentials, parse_credentials
from heat_config_zaqar.errors import HeatConfigError, PermanentError, UnauthorizedError
from heat_config_zaqar.messaging import Connection
from heat_config_zaqar.metadata_store import MetadataStore, Snapshot, combine, deployments_of
from heat_config_zaqar.outbox import Outbox
from heat_config_zaqar.settings import Settings

# Heat posts metadata messages with a life of an hour: what was missed is not in the queue any more.
_MESSAGE_LIFE_SECONDS = 3600
_QUICK_SECONDS = 60
_QUICK_INTERVAL = 1.0
_AWAY_CAP_SECONDS = 60
# A deleted stack answers 401 for ever, and nothing else tells it from a Keystone in trouble.
_REFUSED_CAP_SECONDS = 900

_LOG = logging.getLogger(__name__)


class Collector:
    """The collector of one process; os-collect-config calls `collect` in a loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = MetadataStore(settings.metadata_file)
        self._outbox = Outbox(settings.state_dir)
        self._connection: Connection | None = None
        self._away = Backoff(1, _AWAY_CAP_SECONDS)
        self._refused = Backoff(30, _REFUSED_CAP_SECONDS)
        self._idle = Backoff(_QUICK_INTERVAL, settings.poll_interval)
        self._trouble = ""
        self._next = 0.0
        self._changed = time.monotonic()
        self._doubt = self._store.age() > _MESSAGE_LIFE_SECONDS

    def collect(self) -> list[tuple[str, Any]]:
        """Return os-collect-config's (name, content) pairs, the snapshot first.

        :raises ZaqarMetadataNotConfigured: no login is known yet.
        :raises ZaqarMetadataNotAvailable: nothing was ever received.
        """
        login = self.login()
        if login is None:
            raise exc.ZaqarMetadataNotConfigured()
        if time.monotonic() >= self._next:
            self._poll(*login)
        snapshot = self._store.load()
        if snapshot is None:
            raise exc.ZaqarMetadataNotAvailable()
        pairs: list[tuple[str, Any]] = merger.merged_list_from_content(
            snapshot, cfg.CONF.deployment_key, "zaqar"
        )
        return pairs

    def login(self) -> tuple[Credentials, str] | None:
        """Return login and queue from os-collect-config's configuration, else the stored ones."""
        conf = cfg.CONF.zaqar
        keys = ("auth_url", "user_id", "password", "project_id", "queue_id", "region_name")
        return parse_credentials({key: conf[key] for key in keys}) or self._store.login()

    def seconds_to_next(self) -> float:
        """Return in how many seconds the queue is to be read again."""
        return max(self._next - time.monotonic(), 0)

    def _poll(self, credentials: Credentials, queue_name: str) -> None:
        """Read the queue once, and set the time of the next reading."""
        try:
            if self._connection is None or self._connection.credentials != credentials:
                self._connection = Connection(credentials, self._settings)
            changed = self._receive(self._connection, queue_name)
        except HeatConfigError as error:
            self._report_trouble(error)
            backoff = self._refused if isinstance(error, UnauthorizedError) else self._away
            self._next = time.monotonic() + backoff.next()
            return
        self._report_recovery()
        now = time.monotonic()
        if changed:
            self._changed = now
            self._idle.reset()
        quick = now - self._changed < _QUICK_SECONDS
        self._next = now + (_QUICK_INTERVAL if quick else self._idle.next())

    def _receive(self, connection: Connection, queue_name: str) -> bool:
        """Store what waits in the queue, then delete it; return whether anything waited."""
        queue = connection.queue(queue_name)
        messages = queue.messages()
        if messages or self._doubt:
            stored = self._store.load()
            bodies = [body for _, body in messages]
            snapshot, missing = combine(stored, bodies, self._outbox.is_finished)
            if snapshot is not None:
                if missing or self._doubt:
                    self._ask_heat(connection, snapshot, missing)
                self._store.save(snapshot)
        queue.delete([message_id for message_id, _ in messages])
        return bool(messages)

    def _ask_heat(self, connection: Connection, snapshot: Snapshot, missing: list[str]) -> None:
        """Replace the snapshot's deployments by what Heat says; without an answer keep them."""
        servers = [item.text_input("deploy_server_id") for item in deployments_of(snapshot)]
        server_id = next(filter(None, servers), "")
        self._doubt = False
        if not server_id:
            return
        _LOG.info("asking Heat for server %s, in doubt about %s", server_id, missing or "all")
        try:
            answer = {"deployments": connection.deployments(server_id)}
            snapshot["deployments"] = [item.document for item in deployments_of(answer)]
        except PermanentError as error:
            _LOG.warning("%s; applying all unfinished deployments", error)
        except HeatConfigError as error:
            self._doubt = True
            _LOG.warning("%s; applying all unfinished deployments, will ask again", error)

    def _report_trouble(self, error: HeatConfigError) -> None:
        """Log the first failure and a change of kind, not each try."""
        kind = type(error).__name__
        if kind != self._trouble:
            self._trouble = kind
            hint = "was the stack deleted? " if isinstance(error, UnauthorizedError) else ""
            _LOG.warning("%s; %sthe stored metadata stays in use, will try again", error, hint)

    def _report_recovery(self) -> None:
        if self._trouble:
            _LOG.warning("reading the metadata queue works again")
            self._trouble = ""
        self._away.reset()
        self._refused.reset()
        durable.write_json(self._settings.collected_flag, time.time())
