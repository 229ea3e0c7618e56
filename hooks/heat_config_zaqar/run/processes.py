"""Knows a process again after the one that started it is gone, and ends what it has started.

Owns what is read from /proc. A pid alone may have been given to somebody else since, so a process
is its boot, pid and start time, in clock ticks: psutil's start times move with the clock. A hook
leads a session of its own, so what it started is found even where it ended itself: Linux gives no
pid away that still names a session.
Invariant: nothing but members of the very session that an `Identity` names, and what these have
started, is ever signalled.
"""

import contextlib
import os
import signal
import time
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
    parent: int
    session: int
    started: int


def boot_id() -> str:
    """Return an id of this boot: of the kernel, and in it of the init that a container reboots."""
    kernel = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{kernel}/{_stat(1).started}"


def identify(pid: int) -> Identity:
    """Return the identity of a process that is there.

    :raises ProcessLookupError: it is not.
    """
    return Identity(boot_id(), pid, _stat(pid).started)


def end(leader: Identity) -> bool:
    """Kill what is left of a session and of what it started; return whether there was anything.

    :param leader: the process that leads, or led, the session.
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
    there = {}
    for path in _PROC.glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            there[int(path.name)] = _stat(int(path.name))
    if leader.pid in there and there[leader.pid].started != leader.started:
        return []
    found = {
        stat.pid
        for stat in there.values()
        if stat.session == leader.pid and stat.started >= leader.started
    }
    while children := {stat.pid for stat in there.values() if stat.parent in found} - found:
        found |= children
    # Parents first: none is to go on because its child has ended. A tick is a hundredth second.
    found_in_order = sorted(found, key=lambda pid: (there[pid].started, pid))
    return [pid for pid in found_in_order if there[pid].state != "Z"]


def _stat(pid: int) -> _Stat:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(f"there is no process {pid}") from None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    fields = text.rpartition(")")[2].split()
    return _Stat(pid, fields[0], int(fields[1]), int(fields[3]), int(fields[19]))
