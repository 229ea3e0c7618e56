"""Finds and runs hooks: one executable for each group, as heat-agents' elements install them.

A hook reads the deployment as JSON on its standard input, logs to its standard error and prints
a map of outputs as JSON.
Invariant: a hook does nothing before its caller has recorded its process; it cannot block for ever
where it has a timeout, nor fill the memory; whatever it does ends in an `Outcome`. Nothing here
knows Heat, the state directory or the network.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

# Upstream's order.
_HOOK_DIRECTORIES = ("/usr/libexec/heat-config/hooks", "/var/lib/heat-config/hooks")
_HOOKS_VARIABLE = "HEAT_CONFIG_HOOKS"
# A hook that exits with it wants the machine rebooted, and to be run again after that.
REBOOT_CODE = 194
_REBOOT_COMMAND = ("systemctl", "reboot")
_REBOOT_SECONDS = 60
_MOST_OUTPUT_BYTES = 8 * 1024 * 1024
_KEPT_LOG_BYTES = 64 * 1024
_CHUNK_BYTES = 64 * 1024
# Becomes the hook when it reads a line: the first that we write to its standard input. If we die
# before, it reads the end instead. `read` takes no byte more than the line from a pipe.
_GATE = ("/bin/sh", "-c", 'read -r _ && exec "$0"')


class Outcome(NamedTuple):
    """What came of a hook.

    :ivar stdout: all that it printed, or the first 8 MiB of more.
    :ivar stderr: the last 64 KiB of what it logged.
    :ivar returncode: its exit code; negative for the signal that killed it.
    :ivar problem: why it could not be run to its end, empty where it was.
    """

    stdout: bytes
    stderr: str
    returncode: int
    problem: str


def find(group: str) -> Path | None:
    """Return the executable for a group, in upstream's order; None where there is none."""
    name = "".join(letter for letter in group if letter.isalnum() or letter in "-_")
    for directory in (os.environ.get(_HOOKS_VARIABLE), *_HOOK_DIRECTORIES):
        if directory and name and (path := Path(directory, name)).is_file():
            return path
    return None


def run(
    hook: Path,
    document: dict[str, Any],
    timeout: float,
    on_start: Callable[[int], None],
    environment: Mapping[str, str],
) -> Outcome:
    """Run a hook to its end; what it logs is passed on to our standard error as it comes.

    :param document: the deployment, for the hook's standard input.
    :param timeout: seconds until the hook and all that it started is killed; 0 for none.
    :param on_start: called with the hook's pid, which is also its session's, before the hook does
        anything; where it raises, the hook never does.
    :param environment: variables beside our own.
    :raises: what `on_start` raises.
    """
    if not os.access(hook, os.X_OK):
        return Outcome(b"", "", 1, f"cannot be started: {hook} is not executable")
    process = subprocess.Popen(
        [*_GATE, hook],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **environment},
    )
    assert process.stdin and process.stdout and process.stderr
    try:
        on_start(process.pid)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    output: deque[bytes] = deque()
    log: deque[bytes] = deque()
    text = b"\n" + json.dumps(document).encode()
    threads = [
        threading.Thread(target=_feed, args=(process.stdin, text), daemon=True),
        threading.Thread(target=_keep_start, args=(process.stdout, output), daemon=True),
        threading.Thread(target=_pass_on, args=(process.stderr, log), daemon=True),
    ]
    for thread in threads:
        thread.start()
    problem = _wait(process, threads, timeout)
    stderr = b"".join(log)[-_KEPT_LOG_BYTES:].decode("utf-8", "replace")
    return Outcome(b"".join(output), stderr, process.returncode, problem)


def reboot() -> str:
    """Ask the machine to reboot; return why it will not, empty where it does."""
    try:
        done = subprocess.run(
            _REBOOT_COMMAND, capture_output=True, text=True, check=False, timeout=_REBOOT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""


def _wait(process: subprocess.Popen[bytes], threads: list[threading.Thread], limit: float) -> str:
    problem = ""
    try:
        process.wait(limit or None)
    except subprocess.TimeoutExpired:
        problem = f"was killed after {limit:g} seconds"
        _kill_session(process)
        process.wait()
    except BaseException:
        _kill_session(process)
        raise
    for thread in threads:
        # A daemon that the hook left behind may hold the pipes open; the hook itself has ended.
        thread.join(1)
    return problem


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _feed(stream: IO[bytes], text: bytes) -> None:
    # A hook may end, or close its input, without having read it.
    with contextlib.suppress(BrokenPipeError), stream:
        stream.write(text)


def _keep_start(stream: IO[bytes], kept: deque[bytes]) -> None:
    room = _MOST_OUTPUT_BYTES
    while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
        if room > 0:
            kept.append(chunk[:room])
            room -= len(chunk)


def _pass_on(stream: IO[bytes], kept: deque[bytes]) -> None:
    size = 0
    while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.buffer.write(chunk)
            sys.stderr.buffer.flush()
        kept.append(chunk)
        size += len(chunk)
        while size - len(kept[0]) >= _KEPT_LOG_BYTES:
            size -= len(kept.popleft())
