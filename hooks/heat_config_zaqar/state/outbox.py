"""Deployment states and the outbox: which deployments ran, and which results must still go out.

    absent --begin--> running/ --finish--> outbox/ --settle--> delivered/ failed/ superseded/

A state is a directory, an entry a file `ID.json` in it. `finish` makes result and outbox entry
durable in one rename. An entry in a later directory overrules one in an earlier directory, so a
crash between "write the new" and "remove the old" changes nothing.
Invariant: a deployment that has an entry beyond running/ is never run again; an entry leaves
outbox/ only by `settle`. Credentials live in outbox/ alone. To add a state, add it to `Settled`.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.entry import Entry, Settled, entry_for, read_entry
from heat_config_zaqar.state.runs import Run, Runs
from heat_config_zaqar.succession import Target

__all__ = ["Entry", "Outbox", "Settled", "entry_for"]

_PENDING = "outbox"
_KEPT_PER_RESOURCE = 10

_LOG = logging.getLogger(__name__)


class Outbox:
    """The states below one directory; OSError is raised where it cannot be read or written.

    :param root: the state directory; made when first needed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.runs = Runs(root / "running")

    def finish(self, entry: Entry) -> None:
        """Record the result and its signal, in one durable step; a hook may still go on."""
        durable.write_json(self._path(_PENDING, entry.id), dataclasses.asdict(entry))

    def is_finished(self, config_id: str) -> bool:
        """Whether there is a result, signalled or not."""
        return any(self._path(name, config_id).exists() for name in (_PENDING, *Settled))

    def unfinished(self) -> Iterator[tuple[str, Run]]:
        """Yield config id and run of each deployment that was begun and has no result."""
        for config_id, run in self.runs.begun():
            if not self.is_finished(config_id):
                yield config_id, run

    def results(self) -> Iterator[Entry]:
        """Yield each result that can be read, signalled or not, without its body.

        A message that comes late may list a config that one of them has replaced.
        """
        for _, entry in self._readable(_PENDING, *Settled):
            yield dataclasses.replace(entry, body={})

    def pending(self) -> list[Entry]:
        """Return the entries that must still be signalled, oldest first.

        An entry that cannot be read is logged and set aside as `ID.json.corrupt`; the deployment
        then counts as not finished, since its result is lost, and runs again.
        """
        entries = [self._load(path) for path in self._files(_PENDING)]
        return sorted(filter(None, entries), key=lambda entry: entry.finished)

    def find_pending(self, config_id: str) -> Entry | None:
        """Return one entry of the outbox as it is on disk; None where it is not there."""
        path = self._path(_PENDING, config_id)
        return self._load(path) if path.exists() else None

    def mark_sending(self, entry: Entry, sending: bool) -> None:
        """Record that a post may leave now, or that it surely did not."""
        entry.sending, entry.sent_at = sending, time.time()
        durable.write_json(self._path(_PENDING, entry.id), dataclasses.asdict(entry))

    def mark_refused(self, entry: Entry) -> None:
        """Record that a service refused the signal, and so for how long by now."""
        entry.count_refusal()
        durable.write_json(self._path(_PENDING, entry.id), dataclasses.asdict(entry))

    def settle(self, entry: Entry, where: Settled, note: str) -> None:
        """Move an entry out of the outbox, without its credentials."""
        settled = dataclasses.replace(
            entry, credentials=None, url="", settled=time.time(), note=note
        )
        durable.write_json(self._path(where, entry.id), dataclasses.asdict(settled))
        durable.remove(self._path(_PENDING, entry.id))

    def settled(self, config_id: str) -> tuple[Settled, Entry] | None:
        """Return where the entry of a signal that is done with lies, and the entry.

        :raises CorruptFileError: it cannot be read.
        """
        for where in reversed(Settled):
            entry = read_entry(self._path(where, config_id))
            if entry is not None:
                return where, entry
        return None

    def redeem(self, entry: Entry, note: str) -> None:
        """Turn a signal that was given up into a delivered one, since it was sent after all."""
        self.settle(entry, Settled.DELIVERED, note)
        durable.remove(self._path(Settled.FAILED, entry.id))

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield (state, record) of each deployment ever seen, for people to read."""
        running = [self.runs.path(config_id) for config_id, _ in self.unfinished()]
        for path in (*running, *self._files(_PENDING, *Settled)):
            try:
                record = durable.read_json(path)
            except CorruptFileError as error:
                record = {"note": str(error)}
            if not isinstance(record, dict):
                record = {"note": f"{path} is no record"}
            yield path.parent.name, {**record, "id": path.stem}

    def prune(self) -> None:
        """Remove what nothing can ask for any more, and what crashes left over."""
        for path in _outlived(self._readable(*Settled)):
            durable.remove(path)
        for config_id, _ in self.runs.begun():
            if self.is_finished(config_id):
                self.runs.end(config_id)
        for directory in (self._root, *(path for path in self._root.iterdir() if path.is_dir())):
            durable.remove_abandoned(directory)

    def _load(self, path: Path) -> Entry | None:
        for state in Settled:
            if self._path(state, path.stem).exists():
                # A crash came between the two steps of `settle`, perhaps within the first one.
                durable.confirm(self._path(state, path.stem))
                durable.remove(path)
                return None
        try:
            return read_entry(path)
        except CorruptFileError as error:
            report = "deployment %s: its result cannot be read (%s); moved to %s, it will run again"
            _LOG.error(report, path.stem, error, durable.set_aside(path))
            return None

    def _readable(self, *states: str) -> Iterator[tuple[Path, Entry]]:
        for path in self._files(*states):
            with contextlib.suppress(CorruptFileError):
                entry = read_entry(path)
                if entry is not None:
                    yield path, entry

    def _files(self, *states: str) -> list[Path]:
        return [path for state in states for path in durable.files(self._root / state)]

    def _path(self, state: str, config_id: str) -> Path:
        return self._root / state / f"{config_id}.json"


def _outlived(results: Iterable[tuple[Path, Entry]]) -> Iterator[Path]:
    """Yield the records of configs that ten newer ones of the same resource have followed.

    Heat lists one config of a resource, its newest, so these can never be asked for again. What no
    resource of a stack stands behind is kept.
    """
    by_resource: dict[Target, list[tuple[str, Path]]] = {}
    for path, entry in results:
        if len(entry.target) > 1:
            by_resource.setdefault(entry.target, []).append((entry.creation_time, path))
    for found in by_resource.values():
        yield from (path for _, path in sorted(found, reverse=True)[_KEPT_PER_RESOURCE:])
