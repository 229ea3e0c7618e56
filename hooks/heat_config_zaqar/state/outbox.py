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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from heat_config_zaqar.deployment import Credentials, Deployment, Transport
from heat_config_zaqar.errors import CorruptFileError, InvalidMetadataError
from heat_config_zaqar.signal_body import Body
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.runs import Run, Runs
from heat_config_zaqar.succession import Target, target_of

_PENDING = "outbox"
_KEPT_PER_RESOURCE = 10

_LOG = logging.getLogger(__name__)


class Settled(enum.StrEnum):
    """Where an entry goes from the outbox; the value names the directory."""

    DELIVERED = "delivered"
    FAILED = "failed"
    SUPERSEDED = "superseded"


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

    @property
    def target(self) -> Target:
        """Which deployment resource of Heat this is a result of."""
        return target_of(self.stack_id, self.resource_name, self.queue)


class Result(NamedTuple):
    """What a record says about which config it is the result of; see `Config`."""

    id: str
    creation_time: str
    target: Target
    path: Path


def entry_for(deployment: Deployment, body: Body, attempts: int, started: float) -> Entry:
    """Make the outbox entry of a result.

    A deployment that says nonsense about where to signal is kept with no signal, for the operator.
    """
    fields: dict[str, Any] = {"transport": Transport.NONE, "queue": "", "note": ""}
    try:
        fields = {"transport": deployment.transport, "queue": deployment.queue, "note": ""}
    except InvalidMetadataError as error:
        _LOG.error("%s; its result cannot be signalled", error)
        fields["note"] = str(error)
    login = deployment.credentials
    return Entry(
        id=deployment.id,
        name=deployment.name,
        group=deployment.group,
        action=deployment.action,
        creation_time=deployment.creation_time,
        attempts=attempts,
        started=started,
        finished=time.time(),
        url=deployment.text_input("deploy_signal_id"),
        stack_id=deployment.text_input("deploy_stack_id"),
        resource_name=deployment.text_input("deploy_resource_name"),
        credentials=login if login.auth_url and login.password else None,
        body=body,
        **fields,
    )


class Outbox:
    """The states below one directory.

    :param root: the state directory; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.runs = Runs(root / "running")

    def finish(self, entry: Entry) -> None:
        """Record the result and put its signal into the outbox, in one durable step.

        The record of the run stays: a hook that signals for itself still goes on.

        :raises OSError: the state directory cannot be written.
        """
        durable.write_json(self._path(_PENDING, entry.id), dataclasses.asdict(entry))

    def is_finished(self, config_id: str) -> bool:
        """Whether there is a result, signalled or not."""
        return any(self._path(name, config_id).exists() for name in (_PENDING, *Settled))

    def unfinished(self) -> Iterator[tuple[str, Run]]:
        """Yield config id and run of each deployment that was begun and has no result.

        :raises OSError: the state directory cannot be read.
        """
        for config_id, run in self.runs.begun():
            if not self.is_finished(config_id):
                yield config_id, run

    def results(self) -> Iterator[Result]:
        """Yield each result that can be read, signalled or not.

        A message that comes late may list a config that one of them has replaced.

        :raises OSError: the state directory cannot be read.
        """
        for path in self._files(_PENDING, *Settled):
            with contextlib.suppress(CorruptFileError, TypeError, KeyError):
                record = durable.read_json(path)
                place = (record["stack_id"], record["resource_name"], record["queue"])
                yield Result(path.stem, record["creation_time"], target_of(*place), path)

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
        by_resource: dict[Target, list[tuple[str, Path]]] = {}
        pending = set(self._files(_PENDING))
        for result in self.results():
            if result.path not in pending and len(result.target) > 1:
                found = by_resource.setdefault(result.target, [])
                found.append((result.creation_time, result.path))
        for found in by_resource.values():
            for _, path in sorted(found, reverse=True)[_KEPT_PER_RESOURCE:]:
                durable.remove(path)
        for config_id, _ in self.runs.begun():
            if self.is_finished(config_id):
                self.runs.end(config_id)
        for directory in (self._root, *(path for path in self._root.iterdir() if path.is_dir())):
            durable.remove_abandoned(directory)

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (state, record) of each deployment ever seen, for people to read.

        :raises OSError: the state directory cannot be read.
        """
        running = [self.runs.path(config_id) for config_id, _ in self.unfinished()]
        for path in (*running, *self._files(_PENDING, *Settled)):
            try:
                record = durable.read_json(path)
            except CorruptFileError as error:
                record = {"note": str(error)}
            if not isinstance(record, dict):
                record = {"note": f"{path} is no record"}
            yield path.parent.name, {**record, "id": path.stem}

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

    def _files(self, *states: str) -> list[Path]:
        return [path for state in states for path in durable.files(self._root / state)]

    def _path(self, state: str, config_id: str) -> Path:
        return self._root / state / f"{config_id}.json"


def _entry_of(document: Any) -> Entry:
    login = document.pop("credentials")
    return Entry(
        **{**document, "transport": Transport(document["transport"])},
        credentials=Credentials(**login) if login else None,
    )
