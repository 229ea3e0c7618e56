"""os-collect-config's `zaqar` collector: when to receive, and what is there then.

Invariant: `collect` returns the same content until there is something newer, whatever is away. Each
login has its own connection and its own WebSocket.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from os_collect_config import exc
from oslo_config import cfg

from heat_config_zaqar.backoff import spread
from heat_config_zaqar.collect.receiver import Receiver
from heat_config_zaqar.collect.schedule import READABLE, Schedule, State
from heat_config_zaqar.collect.sources import merged
from heat_config_zaqar.deployment import Credentials, parse_credentials
from heat_config_zaqar.errors import UnauthorizedError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.identity import first_login
from heat_config_zaqar.wire.push import Listener
from heat_config_zaqar.wire.session import Connection

_WARNING_SECONDS = 600
_MOVE_SECONDS = 30

_LOG = logging.getLogger(__name__)


class Collector:
    """The collector of one process; os-collect-config calls `collect` and `wait` in a loop.

    :param applied: os-collect-config's own copy of the last snapshot, for when ours is lost.
    :ivar configured: whether the last collection had a login.
    """

    def __init__(self, settings: Settings, applied: Path) -> None:
        self.configured = False
        self._settings = settings
        self._receiver = Receiver(settings, applied)
        self._connection: Connection | None = None
        self._listener: Listener | None = None
        self._woken = threading.Event()
        self._schedule = Schedule(settings.poll_interval, time.monotonic())
        self._due = 0.0
        self._reported: dict[str, Any] = {}
        self._warned = 0.0

    def collect(self) -> list[tuple[str, Any]]:
        """Return os-collect-config's (name, content) pairs, the snapshot first.

        :raises ZaqarMetadataNotConfigured: no login is known yet.
        :raises ZaqarMetadataNotAvailable: nothing was ever received.
        """
        login = self.login()
        self.configured = login is not None
        if login is None:
            raise exc.ZaqarMetadataNotConfigured()
        if self._woken.is_set() or time.monotonic() >= self._due:
            self._look(*login)
        snapshot = None
        try:
            snapshot = self._receiver.stored().snapshot
        except OSError as error:
            _LOG.error("%s; the stored metadata cannot be used", error)
        if snapshot is None:
            raise exc.ZaqarMetadataNotAvailable()
        return merged(snapshot, cfg.CONF.deployment_key, "zaqar")

    def login(self) -> tuple[Credentials, str] | None:
        """Return login and queue from the configuration, else what is stored or was handed over."""
        configured = parse_credentials(dict(cfg.CONF.zaqar))
        return configured or self._receiver.stored().login or first_login(self._settings)

    def wait(self, longest: float, moves: Callable[[], None] = lambda: None) -> None:
        """Wait until the queue is to be read, or a message wakes us.

        :param longest: seconds after which the other collectors want their turn.
        :param moves: called now and then, to say that this is no hang.
        """
        if self._listener and self._settings.push and self._schedule.state in READABLE:
            self._listener.start()
        now = time.monotonic()
        longest = self._schedule.until_others(now, longest)
        left = max(min(self._due - now, longest), 0.02)
        while left > 0 and not self._woken.wait(min(left, _MOVE_SECONDS)):
            left -= _MOVE_SECONDS
            moves()

    def _look(self, credentials: Credentials, queue_name: str) -> None:
        """Read the queue once, and set the time of the next reading."""
        if self._woken.is_set():
            self._woken.clear()
            self._schedule = dataclasses.replace(self._schedule, woken=time.monotonic())
        found, ask_at = False, float("inf")
        try:
            found = self._receiver.receive(self._connected(credentials, queue_name), queue_name)
            ask_at = self._receiver.ask_at
            state, detail = self._way()
        except UnauthorizedError as error:
            state, detail = State.REFUSED, f"{error}; was the stack deleted?"
        except Exception as error:  # noqa: BLE001 # whatever it is, the next try may work
            # Where the disk refuses, the messages stay in their queue.
            state, detail = State.AWAY, str(error) or type(error).__name__
        self._report(state, detail)
        now = time.monotonic()
        self._schedule = self._schedule.looked(now, state, found)
        self._due = min(now + spread(self._schedule.until_look(now)), ask_at)

    def _connected(self, credentials: Credentials, queue_name: str) -> Connection:
        """Return the connection of this login; that of another one ends, and its listener."""
        if self._connection is None or self._connection.credentials != credentials:
            if self._listener:
                self._listener.stop()
            self._connection = Connection(credentials, self._settings)
            wake = self._woken.set
            self._listener = Listener(self._connection, queue_name, self._settings, wake)
        return self._connection

    def _way(self) -> tuple[State, str]:
        """Return how metadata comes in where the queue can be read, and the reason."""
        if self._listener and self._listener.connected:
            state, detail = State.PUSH, "woken by Zaqar's WebSocket"
        else:
            problem = self._listener.problem if self._listener else ""
            state = State.POLLING
            detail = problem or f"each {self._settings.poll_interval:g} s at the latest"
        doubt = self._receiver.doubt
        return state, f"{detail}; messages may have been missed: {doubt}" if doubt else detail

    def _report(self, state: State, detail: str) -> None:
        """Tell the operator how metadata comes in; log a change, not each try."""
        before, now = self._schedule.state, time.monotonic()
        if state not in READABLE and state is not before:
            _LOG.warning("%s; the stored metadata stays in use, will try again", detail)
            self._warned = now
        elif state not in READABLE and now - self._warned > _WARNING_SECONDS:
            _LOG.warning("%s; for %d minutes now", detail, (now - self._schedule.since) // 60)
            self._warned = now
        if state in READABLE and before in (State.AWAY, State.REFUSED):
            _LOG.warning("reading the metadata queue works again")
        since = self._reported["since"] if state is before else time.time()
        known = {"state": state, "since": since, "detail": detail}
        if known != self._reported:
            self._reported = known
            with contextlib.suppress(OSError):
                durable.write_json(self._settings.connection_file, known)
