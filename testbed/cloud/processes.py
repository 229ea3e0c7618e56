"""Starting a service's process, knowing it again later, and ending exactly it.

Invariant: only a process that a record in the run directory names is ever signalled, and only
while it is still that process. A record holds the boot, the pid and the start time, because a
pid alone may have been given to somebody else. Each process leads its own session, so what it
forked is found even when it was killed itself: Linux reuses no pid that still names a session.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.cloud.layout import write_private

_POLL_SECONDS = 0.05
_KILL_SECONDS = 10.0


class CloudError(Exception):
    """The cloud cannot do what was asked; the text names the service and says why."""


@dataclass(frozen=True)
class Record:
    """One started process: the boot it runs in, its pid and start time in clock ticks.

    `digest` stands for its command and configuration, so that a change can be noticed.
    """

    boot: str
    pid: int
    started: int
    digest: str


@dataclass(frozen=True)
class _Stat:
    pid: int
    state: str
    session: int
    started: int


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    record: Path,
    digest: str,
) -> None:
    """Start a process detached from this one, writing to `log`, and record it.

    Raises CloudError where the program cannot be executed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    actions += [(os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()]
    try:
        # Not subprocess.Popen: it warns about a child that outlives it, as these shall.
        pid = os.posix_spawn(
            command[0], list(command), dict(environment), file_actions=actions, setsid=True
        )
    except OSError as error:
        raise CloudError(f"{record.stem}: cannot execute {command[0]}: {error.strerror}") from error
    stat = _read_stat(pid)
    started = stat.started if stat else 0
    write_private(record, json.dumps(asdict(Record(_boot(), pid, started, digest))))


def running(record: Path) -> Record | None:
    """Return the record of a process that still runs, or None."""
    known = _load(record)
    if known is None:
        return None
    stat = _leader(known)
    return known if stat and stat.state != "Z" else None


def stop(record: Path, grace: float) -> None:
    """End the recorded process and what it forked; kill it after `grace` seconds.

    Nothing happens where the record is missing or names a process that is gone. Raises
    CloudError where a process outlives SIGKILL.
    """
    known = _load(record)
    if known is None:
        return
    if running(record):
        _signal(known.pid, signal.SIGTERM)
        _wait_until_gone(known, grace)
    for member in _members(known):
        _signal(member, signal.SIGKILL)
    if not _wait_until_gone(known, _KILL_SECONDS):
        raise CloudError(f"{record.stem}: process {known.pid} does not end")
    record.unlink(missing_ok=True)


def _wait_until_gone(known: Record, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _members(known):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _members(known: Record) -> list[int]:
    _reap(known.pid)
    if known.boot != _boot():
        return []
    leader = _read_stat(known.pid)
    if leader and leader.started != known.started:
        return []
    return [
        stat.pid
        for stat in _all_stats()
        if stat.session == known.pid and stat.started >= known.started and stat.state != "Z"
    ]


def _leader(known: Record) -> _Stat | None:
    _reap(known.pid)
    stat = _read_stat(known.pid) if known.boot == _boot() else None
    return stat if stat and stat.started == known.started else None


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    # Our own child stays a zombie until somebody waits for it; another's is not ours to wait for.
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _load(record: Path) -> Record | None:
    try:
        return Record(**json.loads(record.read_text()))
    except FileNotFoundError:
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _inheritable() -> list[int]:
    result = []
    for path in Path("/proc/self/fd").iterdir():
        # The one that reads this directory is in it, and closed by now.
        with suppress(OSError):
            if int(path.name) > 2 and os.get_inheritable(int(path.name)):
                result.append(int(path.name))
    return result


def _all_stats() -> Iterator[_Stat]:
    for path in Path("/proc").iterdir():
        stat = _read_stat(int(path.name)) if path.name.isdigit() else None
        if stat:
            yield stat


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may hold anything, parentheses too.
    fields = text.rpartition(")")[2].split()
    return _Stat(pid, fields[0], int(fields[3]), int(fields[19]))
