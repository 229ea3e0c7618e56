"""One deployment as an operator sees it, made of what the outbox and the metadata say of it.

Invariant: whatever a record holds becomes a row.
"""

import contextlib
import dataclasses
import enum
import os
import time
from typing import Any

from heat_config_zaqar.deployment import Deployment, Transport, for_its_action
from heat_config_zaqar.errors import InvalidMetadataError
from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.run.apply import GROUPS_WITHOUT_HOOK
from heat_config_zaqar.run.processes import identify
from heat_config_zaqar.signal_body import STATUS_CODE
from heat_config_zaqar.state.outbox import Settled

Record = dict[str, Any]


class State(enum.StrEnum):
    """How far a deployment has come."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    NO_HOOK = "no hook"
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
    def is_present(self) -> bool:
        """Whether Heat's metadata holds it, or it runs or waits all the same."""
        return self.current or self.is_moving

    @property
    def is_moving(self) -> bool:
        """Whether it goes on without anybody: something runs, or waits for its turn."""
        # What was interrupted is run again while the metadata holds it, and only then.
        is_to_end = self.state in (State.WAITING, State.RUNNING) or (
            self.state is State.INTERRUPTED and self.current
        )
        return is_to_end or self.signal is Signal.PENDING


def row_of(
    config_id: str, directory: str, record: Record, item: Deployment | None, **known: bool
) -> Row:
    """Make the row of one deployment.

    :param directory: where its record lies; empty where there is none.
    :param item: what the metadata says of it.
    :param known: `current`, as in `Row`, and `is_applying`, as in `Report`.
    """
    code = record["body"].get(STATUS_CODE) if isinstance(record.get("body"), dict) else None
    started, finished = number(record.get("started")), number(record.get("finished"))
    seconds = (finished or time.time()) - started if started else None
    if directory == "running":
        seconds = _age(record) or seconds
    return Row(
        id=config_id,
        name=text(record.get("name")) or (item.name if item else ""),
        group=text(record.get("group")) or (item.group if item else ""),
        action=text(record.get("action")) or (item.action if item else ""),
        state=_state(directory, record, known["is_applying"]) if directory else _new_state(item),
        status_code=code if isinstance(code, int | str) else None,
        attempts=int(number(record.get("attempts"))),
        started=started,
        finished=finished,
        seconds=None if seconds is None else round(max(seconds, 0), 1),
        signal=_signal(directory, record),
        settled=number(record.get("settled")),
        note=text(record.get("note")),
        current=known["current"],
    )


def group_without_hook(item: Deployment) -> str:
    """Return the group of a deployment if this image has no hook for it; else nothing."""
    try:
        group = for_its_action(item).group
    except InvalidMetadataError:
        return ""
    return "" if hook_runner.find(group) else group


def is_success(code: Any) -> bool:
    """Whether Heat takes a status code for success."""
    return code in (None, 0, "", "0")


def text(value: Any) -> str:
    """Return what a record says, where it is text."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float:
    """Return a time or count of a record; 0 for what cannot be one."""
    is_one = isinstance(value, int | float) and 0 <= value < 1e11
    return float(value) if is_one else 0.0


def _state(directory: str, record: Record, is_applying: bool) -> State:
    if directory == "running" and "started" in record:
        return State.RUNNING if is_applying else State.INTERRUPTED
    body = record.get("body")
    if not isinstance(body, dict):
        return State.UNREADABLE
    return State.COMPLETE if is_success(body.get(STATUS_CODE)) else State.FAILED


def _new_state(item: Deployment | None) -> State:
    """Return the state of a deployment without a record: a hook that is missing is run, to fail."""
    group = group_without_hook(item) if item else ""
    return State.NO_HOOK if group in GROUPS_WITHOUT_HOOK else State.WAITING


def _age(record: Record) -> float | None:
    """Return for how many seconds the process of a hook is there, whatever the clock did since."""
    pid = record.get("pid")
    with contextlib.suppress(OSError, OverflowError):
        hook = identify(pid) if isinstance(pid, int) else None
        if hook and (hook.boot, hook.started) == (record.get("boot"), record.get("pid_started")):
            since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
            return since_boot - hook.started / os.sysconf("SC_CLK_TCK")
    return None


def _signal(directory: str, record: Record) -> Signal:
    if directory == Settled.DELIVERED and record.get("transport") == Transport.NONE:
        return Signal.NOT_WANTED
    names = {"": Signal.NONE, "running": Signal.NONE, "outbox": Signal.PENDING}
    return names.get(directory) or Signal(directory)
