"""Knows a process again after the one that started it is gone, and ends what it leads.

Owns what is read from /proc. A pid alone may have been given to somebody else since, so a process
is its boot, pid and start time. A hook leads a session of its own, so what it started is found
even where it ended itself: Linux gives no pid away that still names a session.
Invariant: nothing but members of the very session that an `Identity` names is ever signalled.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from heat_config_zaqar.errors import TemporaryError
from heat_config_zaqar.state.runs import Identity

_PROC = Path("/proc")
_POLL_SECONDS = 0.02
_GONE_SECONDS = 30


class _Stat(NamedTuple):
    pid: int
    state: str
    session: int
    started: int


def boot_id() -> str:
    """Return an id of this boot: of the kernel, and in it of the init that a container reboots."""
    kernel = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    init = _read_stat(1)
    return f"{kernel}/{init.started if init else 0}"


def identify(pid: int) -> Identity:
    """Return the identity of a process that is there.

    :raises ProcessLookupError: it is not.
    """
    stat = _read_stat(pid)
    if stat is None:
        raise ProcessLookupError(f"there is no process {pid}")
    return Identity(boot_id(), pid, stat.started)


def end_session(leader: Identity) -> bool:
    """Kill what is left of the session that a process leads; return whether there was anything.

    :raises TemporaryError: a process does not end within half a minute, such as one that waits
        for a disk.
    """
    found = False
    deadline = time.monotonic() + _GONE_SECONDS
    while members := _members(leader):
        if time.monotonic() > deadline:
            raise TemporaryError(f"process {members[0]} does not end when it is killed")
        found = True
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    return found


def _members(leader: Identity) -> list[int]:
    if leader.boot != boot_id():
        return []
    current = _read_stat(leader.pid)
    if current is not None and current.started != leader.started:
        return []
    return [
        stat.pid
        for stat in _all_stats()
        if stat.session == leader.pid and stat.started >= leader.started and stat.state != "Z"
    ]


def _all_stats() -> Iterator[_Stat]:
    for path in _PROC.iterdir():
        stat = _read_stat(int(path.name)) if path.name.isdigit() else None
        if stat is not None:
            yield stat


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    fields = text.rpartition(")")[2].split()
    return _Stat(pid, fields[0], int(fields[3]), int(fields[19]))
