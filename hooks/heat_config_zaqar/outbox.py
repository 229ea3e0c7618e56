"""Deployment states and the outbox: which deployments ran, and which results must still go out.

    absent --begin--> running/ --finish--> outbox/ --settle--> delivered/ failed/ superseded/

A state is a directory, an entry a file `ID.json` in it. `finish` makes result and outbox entry
durable in one rename. An entry in a later directory overrules one in an earlier directory, so a
crash between "write the new" and "remove the old" changes nothing.
`prune` keeps the newest ten entries of each deployment resource that are out of the outbox. Heat
lists one config of a resource, its newest, so what goes can never be asked for again.
Invariant: a deployment that has an entry beyond running/ is never run again; an entry leaves
outbox/ only by `settle`. Credentials live in outbox/ alone. To add a state, add it to `Settled`.
"""

import contextlib
import dataclasses
import enum
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heat_config_zaqar import durable
from heat_config_zaqar.deployment import Credentials, Transport
from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.processes import Identity, boot_id
from heat_config_zaqar.signal_data import Body

_RUNNING = "running"
_PENDING = "outbox"
_KEPT_PER_RESOURCE = 10

_LOG = logging.getLogger(__name__)


class Settled(enum.StrEnum):
    """Where an entry goes from the outbox; the value names the directory."""

    DELIVERED = "delivered"
    FAILED = "failed"
    SUPERSEDED = "superseded"


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a deployment that has no result yet.

    :ivar attempts: how often its hook was started.
    :ivar reboots: how often the hook asked for a reboot, and so was not interrupted.
    :ivar reboot_due: it asked for one, and the machine was not rebooted since.
    :ivar hook: the last hook that was started.
    """

    attempts: int = 0
    reboots: int = 0
    reboot_due: bool = False
    hook: Identity | None = None

    @property
    def interruptions(self) -> int:
        """How often a crash or a reboot that it did not ask for ended the hook."""
        return self.attempts - self.reboots


@dataclasses.dataclass
class Entry:
    """A finished deployment and the way its signal has to go.

    :ivar sending: a post may have left for Zaqar; set before it does, so that a crash shows.
    :ivar settled: when the entry left the outbox; 0 while it is there.
    :ivar note: why the entry is where it is, for the operator.
    """

    id: str
    name: str
    group: str
    action: str
    creation_time: str
    attempts: int
    started: float
    finished: float
    transport: Transport
    queue: str
    url: str
    stack_id: str
    resource_name: str
    credentials: Credentials | None
    body: Body
    sending: bool = False
    settled: float = 0
    note: str = ""


class Outbox:
    """The states below one directory.

    :param root: the state directory; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def run_of(self, config_id: str) -> Run:
        """Return what is known of a deployment without a result.

        A record that cannot be read counts as one attempt.

        :raises OSError: the state directory cannot be read.
        """
        try:
            record = durable.read_json(self._path(_RUNNING, config_id))
            if record is None:
                return Run()
            hook = Identity(record["boot"], record["pid"], record["pid_started"])
            due = record["reboot_due"] and hook.boot == boot_id()
            return Run(int(record["attempts"]), int(record["reboots"]), due, hook)
        except (CorruptFileError, TypeError, KeyError, ValueError):
            return Run(attempts=1)

    def unfinished(self) -> Iterator[tuple[str, Run]]:
        """Yield the config id and the run of each deployment that was begun and has no result.

        :raises OSError: the state directory cannot be read.
        """
        for path in self._files(_RUNNING):
            if not self.is_finished(path.stem):
                yield path.stem, self.run_of(path.stem)

    def begin(self, config_id: str, name: str, group: str, hook: Identity) -> int:
        """Record that a hook is about to start; return the number of this attempt, from 1.

        :raises OSError: the state directory cannot be written.
        """
        run = self.run_of(config_id)
        record = {
            "name": name,
            "group": group,
            "started": time.time(),
            "attempts": run.attempts + 1,
            "reboots": run.reboots,
            "reboot_due": False,
            "boot": hook.boot,
            "pid": hook.pid,
            "pid_started": hook.started,
        }
        durable.write_json(self._path(_RUNNING, config_id), record)
        return run.attempts + 1

    def ask_reboot(self, config_id: str) -> None:
        """Record that the hook that was begun wants a reboot, and to be run again after it.

        :raises CorruptFileError, OSError: the state directory cannot be read or written.
        """
        path = self._path(_RUNNING, config_id)
        record = durable.read_json(path)
        reboots = record["reboots"] + 1
        durable.write_json(path, {**record, "reboots": reboots, "reboot_due": True})

    def finish(self, entry: Entry) -> None:
        """Record the result and put its signal into the outbox, in one durable step.

        :raises OSError: the state directory cannot be written.
        """
        durable.write_json(self._path(_PENDING, entry.id), dataclasses.asdict(entry))
        durable.remove(self._path(_RUNNING, entry.id))

    def is_finished(self, config_id: str) -> bool:
        """Whether there is a result, signalled or not."""
        return any(self._path(name, config_id).exists() for name in (_PENDING, *Settled))

    def newest_results(self) -> dict[str, str]:
        """Return for each signal queue when the newest config with a result was made.

        A message that comes late may list a config that this one has replaced.

        :raises OSError: the state directory cannot be read.
        """
        newest: dict[str, str] = {}
        for path in (path for state in (_PENDING, *Settled) for path in self._files(state)):
            with contextlib.suppress(CorruptFileError, TypeError, KeyError):
                record = durable.read_json(path)
                queue = record["queue"]
                newest[queue] = max(record["creation_time"], newest.get(queue, ""))
        newest.pop("", None)
        return newest

    def pending(self) -> list[Entry]:
        """Return the entries that must still be signalled, oldest first.

        An entry that cannot be read is logged and set aside as `ID.json.corrupt`; the deployment
        then counts as not finished, since its result is lost, and runs again.

        :raises OSError: the state directory cannot be read.
        """
        entries = [self._load(path) for path in self._files(_PENDING)]
        return sorted(filter(None, entries), key=lambda entry: entry.finished)

    def find_pending(self, config_id: str) -> Entry | None:
        """Return one entry of the outbox as it is on disk; None where it is not there (any more).

        :raises OSError: the state directory cannot be read.
        """
        path = self._path(_PENDING, config_id)
        return self._load(path) if path.exists() else None

    def mark_sending(self, entry: Entry, sending: bool) -> None:
        """Record that a post may have left, or that it surely did not.

        :raises OSError: the state directory cannot be written.
        """
        entry.sending = sending
        durable.write_json(self._path(_PENDING, entry.id), dataclasses.asdict(entry))

    def settle(self, entry: Entry, where: Settled, note: str) -> None:
        """Move an entry out of the outbox, without its credentials.

        :raises OSError: the state directory cannot be written.
        """
        settled = dataclasses.replace(
            entry, credentials=None, url="", settled=time.time(), note=note
        )
        durable.write_json(self._path(where, entry.id), dataclasses.asdict(settled))
        durable.remove(self._path(_PENDING, entry.id))

    def prune(self) -> None:
        """Remove what is left of configs that ten newer ones of the same resource have followed.

        What no resource of a stack stands behind is kept. What crashes left over goes as well.

        :raises OSError: the state directory cannot be read or written.
        """
        by_resource: dict[tuple[str, str], list[tuple[str, Path]]] = {}
        for path in (path for state in Settled for path in self._files(state)):
            with contextlib.suppress(CorruptFileError, TypeError, KeyError):
                record = durable.read_json(path)
                resource = (record["stack_id"], record["resource_name"])
                if all(resource):
                    by_resource.setdefault(resource, []).append((record["creation_time"], path))
        for found in by_resource.values():
            for _, path in sorted(found, reverse=True)[_KEPT_PER_RESOURCE:]:
                durable.remove(path)
        for path in self._files(_RUNNING):
            if self.is_finished(path.stem):
                durable.remove(path)
        for directory in (self._root, *(path for path in self._root.iterdir() if path.is_dir())):
            durable.remove_abandoned(directory)

    def records(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Yield (state, record) of each deployment ever seen, for people to read.

        :raises OSError: the state directory cannot be read.
        """
        for state in (_RUNNING, _PENDING, *Settled):
            for path in self._files(state):
                if state == _RUNNING and self.is_finished(path.stem):
                    continue
                try:
                    record = durable.read_json(path)
                except CorruptFileError as error:
                    record = {"note": str(error)}
                if not isinstance(record, dict):
                    record = {"note": f"{path} is no record"}
                yield str(state), {**record, "id": path.stem}

    def settled(self, config_id: str) -> tuple[Settled, Entry] | None:
        """Return where the entry of a signal that is done with lies, and the entry.

        :raises CorruptFileError: it cannot be read.
        :raises OSError: the state directory cannot be read.
        """
        for where in reversed(Settled):
            path = self._path(where, config_id)
            if path.exists():
                try:
                    return where, _entry_of(durable.read_json(path))
                except (TypeError, AttributeError, KeyError, ValueError) as error:
                    raise CorruptFileError(f"{path} is no result: {error}") from error
        return None

    def redeem(self, entry: Entry, note: str) -> None:
        """Turn a signal that was given up into a delivered one, since it was sent after all.

        :raises OSError: the state directory cannot be written.
        """
        self.settle(entry, Settled.DELIVERED, note)
        durable.remove(self._path(Settled.FAILED, entry.id))

    def _load(self, path: Path) -> Entry | None:
        for state in Settled:
            if self._path(state, path.stem).exists():
                # A crash came between the two steps of `settle`, perhaps within the first one.
                durable.confirm(self._path(state, path.stem))
                durable.remove(path)
                return None
        try:
            document = durable.read_json(path)
            if document is None and not path.exists():
                return None
            return _entry_of(document)
        except (CorruptFileError, TypeError, AttributeError, KeyError, ValueError) as error:
            aside = durable.set_aside(path)
            _LOG.error(
                "deployment %s: its result cannot be read (%s); moved to %s, it will run again",
                path.stem,
                error,
                aside,
            )
            return None

    def _files(self, state: str) -> list[Path]:
        return sorted((self._root / state).glob("*.json"))

    def _path(self, state: str, config_id: str) -> Path:
        return self._root / state / f"{config_id}.json"


def _entry_of(document: Any) -> Entry:
    login = document.pop("credentials")
    return Entry(
        **{**document, "transport": Transport(document["transport"])},
        credentials=Credentials(**login) if login else None,
    )
