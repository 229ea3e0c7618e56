"""What an operator sees of this guest's deployments: one row for each, whatever state it is in.

Joins the records of the outbox with the deployments that Heat's metadata holds now.
Invariant: only reads; neither a credential nor a pre-signed URL leaves here; a damaged record
becomes a row that says so and hides no other.
"""

import dataclasses
import enum
import errno
import math
import os
import time
from typing import Any

from heat_config_zaqar.deployment import Deployment, Transport, for_its_action
from heat_config_zaqar.errors import (
    CorruptFileError,
    HeatConfigError,
    InvalidMetadataError,
    RefusedError,
)
from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.run.apply import GROUPS_WITHOUT_HOOK, config_file, read_deployments
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import STATUS_CODE, Body
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore, Stored
from heat_config_zaqar.state.outbox import Outbox, Settled
from heat_config_zaqar.succession import Succession

# A git-like length: short enough for a table, long enough to stay unique for a while.
_SHORTEST_ID = 8
_SECRET_KEYS = ("credentials", "url")


class UnknownDeploymentError(HeatConfigError):
    """No deployment, or more than one, goes by what the operator typed."""


class State(enum.StrEnum):
    """How far a deployment has come."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    FAILED = "failed"
    UNREADABLE = "unreadable"


class Signal(enum.StrEnum):
    """How far its result has come; the first is for one that has none yet."""

    NONE = "-"
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    NOT_WANTED = "not wanted"


@dataclasses.dataclass(frozen=True)
class Row:
    """One deployment.

    :ivar started: epoch seconds of the last start of its hook, 0 for never; so are
        `finished`, when the result was there, and `settled`, when its signal was done with.
    :ivar seconds: how long the hook took, or has taken until now; None where it never started.
    :ivar current: Heat's metadata holds it; what is not current is history.
    """

    id: str
    name: str
    group: str
    action: str
    state: State
    status_code: int | str | None
    attempts: int
    started: float
    finished: float
    seconds: float | None
    signal: Signal
    settled: float
    note: str
    current: bool

    @property
    def is_trouble(self) -> bool:
        """Whether somebody has to look at it: the hook failed, or Heat will never hear of it."""
        return self.state in (State.FAILED, State.UNREADABLE) or self.signal is Signal.FAILED

    @property
    def is_moving(self) -> bool:
        """Whether it goes on without anybody: something runs, or waits for its turn."""
        started = (State.WAITING, State.RUNNING, State.INTERRUPTED)
        return self.state in started or self.signal is Signal.PENDING


class Report:
    """The state of the guest at the moment it is made.

    :ivar settings: with the CA file that the metadata names.
    :ivar is_applying: 55-heat-config, or a rerun, is at work.
    :raises PermissionError: the state directory is for root alone.
    :raises OSError: another file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        require_access(settings)
        self.connection = _connection(settings)
        self.stored = stored = MetadataStore(settings.metadata_file).read()
        ca_file = (stored.login[0].ca_file if stored.login else "") or settings.ca_file
        self.settings = dataclasses.replace(settings, ca_file=ca_file)
        self.outbox = Outbox(settings.state_dir)
        self.deployments = _known_deployments(stored)
        self.has_metadata = stored.snapshot is not None or bool(self.deployments)
        self.is_applying = durable.is_locked(settings.state_dir / "apply.lock")
        self._succession = Succession(self.deployments.values())
        self.records = {record["id"]: (state, record) for state, record in self.outbox.records()}
        ids = [*self.records, *filter(self._is_waiting, self.deployments)]
        self.rows = sorted(map(self._row, ids), key=lambda row: (row.started or math.inf, row.name))

    def find(self, wanted: str) -> Row:
        """Return the deployment with this id, with the only id that begins so, or of this name.

        Of several with one name, the one that Heat's metadata holds now.

        :raises UnknownDeploymentError: there is none, or it is not clear which.
        """
        found = [row for row in self.rows if row.id == wanted] or [
            row for row in self.rows if row.id.startswith(wanted) or row.name == wanted
        ]
        if len(found) > 1:
            found = [row for row in found if row.current] or found
        if not found:
            raise UnknownDeploymentError(f"no deployment {wanted!r}: `status --all` lists them")
        if len(found) > 1:
            ids = ", ".join(row.id for row in found)
            raise UnknownDeploymentError(f"{wanted!r} may be any of {ids}: type more of the id")
        return found[0]

    def short_ids(self) -> dict[str, str]:
        """Return for each id its shortest beginning, of 8 characters or more, that is unique."""
        length = _SHORTEST_ID
        ids = [row.id for row in self.rows]
        while len({name[:length] for name in ids}) < len(ids):
            length += 1
        return {name: name[:length] for name in ids}

    def details(self, row: Row) -> dict[str, Any]:
        """Return all that is known of one deployment, but for credentials and URLs.

        Inputs are named without their values: any of them may be a secret.
        """
        shown = dataclasses.asdict(row)
        for key, value in self._record(row.id).items():
            if key not in _SECRET_KEYS:
                shown.setdefault(key, value)
        item = self.deployments.get(row.id)
        if item is not None:
            shown["creation_time"] = item.creation_time
            shown["inputs"] = [entry["name"] for entry in item.document["inputs"]]
        return shown

    def body(self, row: Row) -> Body:
        """Return the outputs of a result; empty where there is none, or it is damaged."""
        body = self._record(row.id).get("body")
        return body if isinstance(body, dict) else {}

    def newest(self, config_id: str) -> Deployment:
        """Return a deployment, if it is the newest config of its resource that is known here.

        :raises RefusedError: it is not, or the metadata does not hold it any more.
        """
        deployment = self.deployments.get(config_id)
        if deployment is None:
            raise RefusedError(
                f"the metadata of this server no longer holds deployment {config_id}"
            )
        newer = self._succession.successor(deployment)
        if newer is not None:
            raise RefusedError(f"deployment {config_id} is out of date: {newer.id} took its place")
        return deployment

    def _record(self, config_id: str) -> dict[str, Any]:
        return self.records.get(config_id, ("", {}))[1]

    def _is_current(self, config_id: str) -> bool:
        if not self.has_metadata:
            return True
        item = self.deployments.get(config_id)
        return item is not None and self._succession.successor(item) is None

    def _is_waiting(self, config_id: str) -> bool:
        is_new = config_id not in self.records and self._is_current(config_id)
        return is_new and _has_hook(self.deployments[config_id])

    def _row(self, config_id: str) -> Row:
        directory, record = self.records.get(config_id, ("", {}))
        item = self.deployments.get(config_id)
        code = record["body"].get(STATUS_CODE) if isinstance(record.get("body"), dict) else None
        started, finished = _number(record, "started"), _number(record, "finished")
        end = finished or time.time()
        return Row(
            id=config_id,
            name=_text(record, "name") or (item.name if item else ""),
            group=_text(record, "group") or (item.group if item else ""),
            action=_text(record, "action") or (item.action if item else ""),
            state=self._state(directory, record, code),
            status_code=code if isinstance(code, int | str) else None,
            attempts=int(_number(record, "attempts")),
            started=started,
            finished=finished,
            seconds=round(max(end - started, 0), 1) if started else None,
            signal=_signal(directory, record),
            settled=_number(record, "settled"),
            note=_text(record, "note"),
            current=self._is_current(config_id),
        )

    def _state(self, directory: str, record: dict[str, Any], code: Any) -> State:
        if not directory:
            return State.WAITING
        if directory == "running":
            return State.RUNNING if self.is_applying else State.INTERRUPTED
        if not isinstance(record.get("body"), dict):
            return State.UNREADABLE
        return State.COMPLETE if is_success(code) else State.FAILED


def require_access(settings: Settings) -> None:
    """Check that the caller may see the state; what is not there yet may be seen.

    :raises PermissionError: it is for root alone.
    """
    directory = settings.state_dir
    if directory.exists() and not os.access(directory, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "for root alone", str(directory))


def is_success(code: Any) -> bool:
    """Whether Heat takes a status code for success."""
    return code in (None, 0, "", "0")


def _known_deployments(stored: Stored) -> dict[str, Deployment]:
    """Return by id what the stored metadata holds and what was handed to 55-heat-config.

    The second has the deployments of the other collectors as well.
    """
    try:
        rendered = read_deployments(config_file())
    except CorruptFileError:
        rendered = []
    return {item.id: item for item in [*rendered, *stored.deployments]}


def _connection(settings: Settings) -> dict[str, Any]:
    """Return what the collector last said of its way to the metadata: state, since, detail."""
    try:
        said = durable.read_json(settings.connection_file)
    except CorruptFileError:
        said = None
    said = said if isinstance(said, dict) else {}
    return {
        "state": _text(said, "state") or "unknown",
        "since": _number(said, "since"),
        "detail": _text(said, "detail"),
    }


def _has_hook(item: Deployment) -> bool:
    """Whether anything is to be run for it; a hook that is missing is, to fail."""
    try:
        group = for_its_action(item).group
    except InvalidMetadataError:
        return True
    return group not in GROUPS_WITHOUT_HOOK or hook_runner.find(group) is not None


def _signal(directory: str, record: dict[str, Any]) -> Signal:
    if directory == Settled.DELIVERED and record.get("transport") == Transport.NONE:
        return Signal.NOT_WANTED
    names = {"": Signal.NONE, "running": Signal.NONE, "outbox": Signal.PENDING}
    return names.get(directory) or Signal(directory)


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    return value if isinstance(value, str) else ""


def _number(record: dict[str, Any], key: str) -> float:
    """Return a time or count of a record; 0 for what cannot be one."""
    value = record.get(key)
    if not isinstance(value, int | float) or not 0 <= value < 1e11:
        return 0.0
    return float(value)
