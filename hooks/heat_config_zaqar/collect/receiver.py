"""From the metadata queue to the stored snapshot: read, combine, ask Heat, store, delete.

Invariant: a message leaves the queue only after what it says is on disk. One process of the guest
receives at a time and begins with what is on disk, doubts included.
"""

import contextlib
import logging
import time
from pathlib import Path

from heat_config_zaqar import backoff
from heat_config_zaqar.collect.batch import next_snapshot
from heat_config_zaqar.errors import (
    CorruptFileError,
    HeatConfigError,
    PermanentError,
    UnknownServerError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import Snapshot, deployments_of, usable
from heat_config_zaqar.state import doubts, durable, identity
from heat_config_zaqar.state.metadata_store import MetadataStore, Stored
from heat_config_zaqar.state.outbox import Outbox
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection

# Heat posts metadata messages with a life of an hour: what was missed is not in the queue any more.
_MESSAGE_LIFE_SECONDS = 3600
_AWAY_CAP_SECONDS = 30
_REFUSED_CAP_SECONDS = 900

_LOG = logging.getLogger(__name__)


class Receiver:
    """Receives for one guest.

    :param applied: os-collect-config's own copy of the last snapshot, for when ours is lost.
    :ivar doubt: why Heat has not said what is right, where messages may have been missed.
    :ivar ask_at: when Heat is to be asked again, by the monotonic clock; infinite without a doubt.
    """

    def __init__(self, settings: Settings, applied: Path) -> None:
        self.doubt = ""
        self.ask_at = float("inf")
        self._unanswered_since: float | None = None
        self._settings = settings
        self._applied = applied
        self._store = MetadataStore(settings.metadata_file)
        self._outbox = Outbox(settings.state_dir)

    def stored(self) -> Stored:
        """Return what is stored; where that is lost, what os-collect-config last applied.

        :raises OSError: the file system refuses.
        """
        stored = self._store.read()
        if stored.snapshot is None:
            with contextlib.suppress(CorruptFileError):
                cached = durable.read_json(self._applied)
                if isinstance(cached, dict):
                    return Stored(cached, 0)
        return stored

    def receive(self, connection: Connection, queue_name: str) -> bool:
        """Store what waits in the queue, then delete it; return whether anything waited.

        :raises HeatConfigError: the queue cannot be read.
        :raises OSError: the file system refuses; what was not stored is still in the queue.
        """
        with durable.locked(self._settings.state_dir / "receive.lock"):
            return self._receive(connection, Queue(connection, queue_name))

    def _receive(self, connection: Connection, queue: Queue) -> bool:
        now = time.time()
        is_first = not self._settings.collected_file.exists()
        messages = queue.messages()
        bodies = [body for _, body in messages]
        stored = self.stored()
        doubt = self._is_in_doubt(stored, now, bool(messages))
        may_ask = self._unanswered_since is None or time.monotonic() >= self.ask_at
        if messages or is_first or (doubt and may_ask):
            snapshot, missing = next_snapshot(stored.snapshot, bodies, self._outbox.is_finished)
            if missing or doubt or is_first:
                # Of what is finished only its operator still wants to hear.
                doubt = doubt or not all(map(self._outbox.is_finished, missing))
                # Where all is finished the stored snapshot alone still says which server this is.
                known = [snapshot or {}, stored.snapshot or {}]
                answer = self._ask_heat(connection, known, missing, doubt)
                snapshot, doubt = answer or snapshot, doubt and answer is None
            if is_first:
                self._note_doubtful(stored, snapshot or {}, bodies)
            if snapshot is not None:
                self._store.save(snapshot, 0 if doubt else now)
        if not doubt:
            # Perhaps another process has asked.
            self._unanswered_since, self.ask_at, self.doubt = None, float("inf"), ""
        queue.delete([message_id for message_id, _ in messages])
        durable.write_json(self._settings.collected_file, now)
        return bool(messages)

    def _is_in_doubt(self, stored: Stored, now: float, found: bool) -> bool:
        """Whether messages may have been missed; a stored 0 says so.

        A guest that was never told anything, and `found` nothing, may come too late for it.
        """
        if not stored.current_at:
            return stored.current_at is not None or not found
        read_at = None
        with contextlib.suppress(CorruptFileError):
            read_at = durable.read_json(self._settings.collected_file)
        known_until = max(stored.current_at, read_at if isinstance(read_at, int | float) else 0)
        # A clock that went backwards says nothing about how long it was.
        return not 0 <= now - known_until < _MESSAGE_LIFE_SECONDS

    def _note_doubtful(self, stored: Stored, snapshot: Snapshot, bodies: list[object]) -> None:
        """Note what may have been finished by this machine before its disk was put back.

        Nothing tells a machine whose disk was put back from one that was off. So what is unfinished
        at the first look since the boot may be new, or finished for Heat, and so may results that
        wait. What comes later is new, and so is what waits for a guest that never received any.
        """
        known = {item.id for item in deployments_of(snapshot)}
        if stored.snapshot is None:
            waiting = [body for body in map(usable, bodies) if body is not None]
            known -= {item.id for body in waiting for item in deployments_of(body)}
        doubts.note(self._settings, self._outbox, known)

    def _ask_heat(
        self, connection: Connection, known: list[Snapshot], missing: list[str], doubt: bool
    ) -> Snapshot | None:
        """Return the first snapshot with the deployments that Heat lists; None without an answer.

        :param known: any of them may name the server.
        :param doubt: without an answer, ask again.
        """
        try:
            server_id = _server_id(known)
            answer = {"deployments": heat.deployments_of_server(connection, server_id)}
        except HeatConfigError as error:
            if doubt:
                self._put_off(error)
            return None
        _LOG.info("Heat was asked for server %s, in doubt about %s", server_id, missing or "all")
        return {**known[0], "deployments": [item.document for item in deployments_of(answer)]}

    def _put_off(self, error: HeatConfigError) -> None:
        now = time.monotonic()
        if self._unanswered_since is None:
            self._unanswered_since = now
            _LOG.warning("%s; applying all unfinished deployments, will ask again", error)
        cap = _REFUSED_CAP_SECONDS if isinstance(error, PermanentError) else _AWAY_CAP_SECONDS
        pause = backoff.spread(backoff.pause(now - self._unanswered_since, 1, cap))
        # Only a message can say which server this is.
        self.ask_at = now + (float("inf") if isinstance(error, UnknownServerError) else pause)
        self.doubt = str(error)


def _server_id(known: list[Snapshot]) -> str:
    """Return which server this is.

    :raises UnknownServerError: nothing says so.
    """
    if found := identity.server_id(item for one in known for item in deployments_of(one)):
        return found
    raise UnknownServerError(
        "Heat cannot be asked: no deployment names the server, and the machine has no id of Nova"
    )
