"""os-collect-config's `zaqar` collector: from the metadata queue to the stored snapshot.

Read all waiting messages, store, only then delete them; with nothing new or no service, the
stored snapshot again.
Invariant: a message leaves the queue only after what it says is on disk; `collect` returns the
same content until there is something newer, whatever is away.
"""

import contextlib
import logging
import threading
import time
from pathlib import Path
from typing import Any

from os_collect_config import exc, merger
from oslo_config import cfg

from heat_config_zaqar.backoff import Backoff
from heat_config_zaqar.collect.batch import next_snapshot
from heat_config_zaqar.deployment import Credentials, parse_credentials
from heat_config_zaqar.errors import (
    CorruptFileError,
    HeatConfigError,
    PermanentError,
    UnauthorizedError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import Snapshot, deployments_of
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.push import Listener
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# Heat posts metadata messages with a life of an hour: what was missed is not in the queue any more.
_MESSAGE_LIFE_SECONDS = 3600
# After a start or a change more is likely to follow, and a command that failed to be tried again.
_QUICK_SECONDS = 60
_QUICK_INTERVAL = 1.0
_RETRY_INTERVAL = 5.0
# Zaqar notifies while it still has to store the message (`zaqar.notification.notifier` is a stage
# before the storage): what woke us may not be there yet when we look.
_LATE_FIRST_LOOK = 0.5
_LATE_SECONDS = 30
# And until a notification came, nothing shows that Zaqar sends any.
_UNPROVEN_CAP_SECONDS = 300
_AWAY_CAP_SECONDS = 30
# A deleted stack answers 401 for ever, and nothing else tells it from a Keystone in trouble.
_REFUSED_CAP_SECONDS = 900

_LOG = logging.getLogger(__name__)


class Collector:
    """The collector of one process; os-collect-config calls `collect` and `wait` in a loop.

    :param applied: os-collect-config's own copy of the last snapshot, for when ours is lost.
    """

    def __init__(self, settings: Settings, applied: Path) -> None:
        self._settings = settings
        self._applied = applied
        self._store = MetadataStore(settings.metadata_file)
        self._outbox = Outbox(settings.state_dir)
        self._connection: Connection | None = None
        self._listener: Listener | None = None
        self._woken = threading.Event()
        self._away = Backoff(1, _AWAY_CAP_SECONDS)
        self._refused = Backoff(30, _REFUSED_CAP_SECONDS)
        self._idle = Backoff(_QUICK_INTERVAL, settings.poll_interval)
        self._late = Backoff(_LATE_FIRST_LOOK, _UNPROVEN_CAP_SECONDS)
        self._woken_at = float("-inf")
        self._heat = Backoff(1, _AWAY_CAP_SECONDS)
        self._state = ("", "")
        self._since = 0.0
        self._due = 0.0
        self._changed = time.monotonic()
        self._last_read = self._known_until()
        self._doubt = False
        self._ask_after = 0.0

    def collect(self) -> list[tuple[str, Any]]:
        """Return os-collect-config's (name, content) pairs, the snapshot first.

        :raises ZaqarMetadataNotConfigured: no login is known yet.
        :raises ZaqarMetadataNotAvailable: nothing was ever received.
        """
        login = self.login()
        if login is None:
            raise exc.ZaqarMetadataNotConfigured()
        if self._woken.is_set() or time.monotonic() >= self._due:
            self._poll(*login)
        try:
            snapshot = self._stored()
        except OSError as error:
            _LOG.error("%s; the stored metadata cannot be used", error)
            snapshot = None
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
        known = {key: conf[key] for key in (*keys, "ca_file")}
        return parse_credentials(known) or self._store.read().login

    def wait(self, longest: float) -> None:
        """Wait until the queue is to be read, or a message wakes us.

        :param longest: seconds after which the other collectors want their turn.
        """
        self._listen()
        now = time.monotonic()
        if now - self._changed < _QUICK_SECONDS:
            longest = min(longest, _RETRY_INTERVAL)
        self._woken.wait(max(min(self._due - now, longest), 0.05))

    def _listen(self) -> None:
        """Have one listener for the present login, while that is accepted."""
        connection, login = self._connection, self.login()
        if self._state[0] not in ("push", "polling") or connection is None or login is None:
            return
        if self._settings.push and (self._listener is None or self._listener.refused):
            self._listener = Listener(connection, login[1], self._settings, self._woken.set)
            self._listener.start()

    def _poll(self, credentials: Credentials, queue_name: str) -> None:
        """Read the queue once, and set the time of the next reading."""
        # What was announced while the queue could not be read is found only now.
        if self._woken.is_set() or self._state[0] in ("away", "refused"):
            self._woken.clear()
            self._woken_at = time.monotonic()
            self._late.reset()
        try:
            if self._connection is None or self._connection.credentials != credentials:
                self._forget_listener()
                self._connection = Connection(credentials, self._settings)
            changed = self._receive(self._connection, queue_name)
        except (HeatConfigError, OSError) as error:
            # Where the disk refuses, the messages stay in their queue.
            refused = isinstance(error, UnauthorizedError)
            self._report_trouble("refused" if refused else "away", error)
            self._due = time.monotonic() + (self._refused if refused else self._away).next()
            return
        self._away.reset()
        self._refused.reset()
        self._plan(changed)

    def _plan(self, changed: bool) -> None:
        """Set the time of the next reading after one that worked."""
        now = time.monotonic()
        if changed:
            self._changed = now
            self._idle.reset()
            self._late.reset()
        listener = self._listener
        if listener is not None and listener.connected:
            woken_lately = self._woken.is_set() or now - self._woken_at < _LATE_SECONDS
            if changed and not woken_lately:
                listener.distrust()
            else:
                self._plan_pushed(now, woken_lately or not listener.notified)
                return
        problem = listener.problem if listener else ""
        self._report("polling", problem or f"each {self._settings.poll_interval:g} s at the latest")
        quick = now - self._changed < _QUICK_SECONDS
        self._due = now + (_QUICK_INTERVAL if quick else self._idle.next())

    def _plan_pushed(self, now: float, look_again: bool) -> None:
        self._report("push", "woken by Zaqar's WebSocket")
        self._due = self._ask_after if self._doubt else float("inf")
        if look_again:
            self._due = min(self._due, now + self._late.next())
        # Where the connection breaks, the queue is read quickly again.
        self._idle.reset()

    def _forget_listener(self) -> None:
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def _receive(self, connection: Connection, queue_name: str) -> bool:
        """Store what waits in the queue, then delete it; return whether anything waited."""
        now = time.time()
        # A clock that went backwards says nothing about how long it was.
        self._doubt = self._doubt or not 0 <= now - self._last_read < _MESSAGE_LIFE_SECONDS
        queue = Queue(connection, queue_name)
        messages = queue.messages()
        if messages or (self._doubt and time.monotonic() >= self._ask_after):
            stored = self._stored()
            bodies = [body for _, body in messages]
            snapshot, missing = next_snapshot(stored, bodies, self._outbox.is_finished)
            if snapshot is None:
                self._doubt = False
            else:
                if missing or self._doubt:
                    self._ask_heat(connection, snapshot, missing)
                self._store.save(snapshot, 0 if self._doubt else now)
        queue.delete([message_id for message_id, _ in messages])
        self._last_read = now
        durable.write_json(self._settings.collected_file, now)
        return bool(messages)

    def _ask_heat(self, connection: Connection, snapshot: Snapshot, missing: list[str]) -> None:
        """Replace the snapshot's deployments by what Heat says; without an answer keep them."""
        servers = [item.text_input("deploy_server_id") for item in deployments_of(snapshot)]
        server_id = next(filter(None, servers), "")
        asked_before, self._doubt = self._ask_after > 0, False
        if not server_id:
            return
        try:
            answer = {"deployments": heat.deployments_of_server(connection, server_id)}
            snapshot["deployments"] = [item.document for item in deployments_of(answer)]
            _LOG.info(
                "Heat was asked for server %s, in doubt about %s", server_id, missing or "all"
            )
        except PermanentError as error:
            _LOG.warning("%s; applying all unfinished deployments", error)
        except HeatConfigError as error:
            self._doubt = True
            self._ask_after = time.monotonic() + self._heat.next()
            if not asked_before:
                _LOG.warning("%s; applying all unfinished deployments, will ask again", error)
            return
        self._ask_after = 0
        self._heat.reset()

    def _stored(self) -> Snapshot | None:
        """Return the stored snapshot; where that is lost, what os-collect-config last applied."""
        snapshot = self._store.read().snapshot
        if snapshot is None:
            with contextlib.suppress(CorruptFileError):
                cached = durable.read_json(self._applied)
                if isinstance(cached, dict):
                    self._store.save(cached, 0)
                    self._doubt = True
                    return cached
        return snapshot

    def _known_until(self) -> float:
        """Return until when an earlier process knew all that Heat posted."""
        current_at = self._store.read().current_at
        if current_at is None:
            return time.time()
        with contextlib.suppress(CorruptFileError):
            read_at = durable.read_json(self._settings.collected_file)
            if current_at and isinstance(read_at, int | float):
                return max(current_at, read_at)
        return current_at

    def _report_trouble(self, state: str, error: Exception) -> None:
        """Log the first failure and a change of kind, not each try."""
        if self._state[0] != state:
            hint = "was the stack deleted? " if state == "refused" else ""
            _LOG.warning("%s; %sthe stored metadata stays in use, will try again", error, hint)
        self._report(state, str(error))

    def _report(self, state: str, detail: str) -> None:
        """Tell the operator how metadata comes in at the moment."""
        before, self._state = self._state, (state, detail)
        if before[0] in ("away", "refused") and state in ("push", "polling"):
            _LOG.warning("reading the metadata queue works again")
        if before[0] != state:
            self._since = time.time()
        if before != self._state:
            known = {"state": state, "since": self._since, "detail": detail}
            with contextlib.suppress(OSError):
                durable.write_json(self._settings.connection_file, known)
