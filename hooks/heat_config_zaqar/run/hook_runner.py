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
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from heat_config_zaqar.run.outcome import Outcome
from heat_config_zaqar.run.processes import end, identify
from heat_config_zaqar.run.streams import Stream, follow
from heat_config_zaqar.state.runs import Identity

# Upstream's order.
_HOOK_DIRECTORIES = ("/usr/libexec/heat-config/hooks", "/var/lib/heat-config/hooks")
_HOOKS_VARIABLE = "HEAT_CONFIG_HOOKS"
# A hook that exits with it wants the machine rebooted, and to be run again after that.
REBOOT_CODE = 194
_REBOOT_COMMAND = ("systemctl", "reboot")
_REBOOT_SECONDS = 60
MOST_OUTPUT_BYTES = 8 * 1024 * 1024
_KEPT_LOG_BYTES = 64 * 1024
# A shell's exit codes for a program that it cannot start.
_NOT_STARTED = (126, 127)
_LONGEST_LINE = 4096
# Our hook for group `script`, which passes on what its script prints.
_SCRIPT_HOOK = "heat-config-zaqar-script-hook"
# What upstream's hooks find; systemd's services have none.
HOME = {"HOME": "/root"}
# Becomes the hook when it reads a line: the first that we write to its standard input. If we die
# before, it reads the end instead. `read` takes no byte more than the line from a pipe.
_GATE = ("/bin/sh", "-c", 'read -r _ && exec "$0"')


def find(group: str) -> Path | None:
    """Return the executable for a group, in upstream's order; None where there is none."""
    name = "".join(letter for letter in group if letter.isalnum() or letter in "-_")
    for directory in (os.environ.get(_HOOKS_VARIABLE), *_HOOK_DIRECTORIES):
        path = Path(directory or "", name)
        # Unlike `is_file`, it does not raise where a name is too long for a file.
        if directory and name and os.path.isfile(path):  # noqa: PTH113
            return path
    return None


def run(
    hook: Path,
    document: dict[str, Any],
    timeout: float,
    on_start: Callable[[Identity], object],
    environment: Mapping[str, str],
    watch: Callable[[Stream], object] = id,
) -> Outcome:
    """Run a hook to its end; what it logs is passed on to our standard error as it comes.

    :param document: the deployment, for the hook's standard input.
    :param timeout: seconds until the hook and all that it started is killed; 0 for none.
    :param on_start: called with the hook's process, which leads a session, before the hook does
        anything; where it raises, the hook never does.
    :param environment: variables beside our own.
    :param watch: called with what takes its log, when it has started; returns at once.
    :raises TemporaryError: a hook that took too long does not end.
    :raises: what `on_start` raises.
    """
    process = subprocess.Popen(
        [*_GATE, hook],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**HOME, **os.environ, **environment},
    )
    leader = identify(process.pid)
    printed = Stream(process.stdout, MOST_OUTPUT_BYTES, is_log=False)
    logged = Stream(process.stderr, _KEPT_LOG_BYTES)
    problem = ""
    try:
        on_start(leader)
        threading.Thread(target=_feed, args=(process, document), daemon=True).start()
        watch(logged)
        if not follow(process, printed, logged, seconds=timeout):
            problem = f"was killed after {timeout:g} seconds"
            end(leader)
            follow(process, printed, logged)
        elif process.returncode in _NOT_STARTED and (flaw := flaw_of(hook)):
            problem = f"cannot be started: {flaw}"
    except BaseException:
        end(leader)
        raise
    output = (printed.start, printed.kept, printed.cut)
    return Outcome(*output, logged.text(), process.returncode, problem)


def logs_what_is_signalled(hook: Path) -> bool:
    """Whether all that a hook logs is what Heat gets as its deploy_stdout and deploy_stderr anyway.

    Others log for the journal alone, heat-agents' among them inputs and commands, with what is
    secret in these.
    """
    return hook.resolve().name == _SCRIPT_HOOK


def flaw_of(program: Path) -> str:
    """Return what keeps the kernel from starting a program; empty where nothing is seen."""
    with contextlib.suppress(OSError, ValueError):
        if os.statvfs(program).f_flag & os.ST_NOEXEC:
            return f"{program.parent} is on a file system that is mounted noexec"
        if not os.access(program, os.X_OK):
            return f"{program} is not executable"
        with program.open("rb") as stream:
            first = stream.readline(_LONGEST_LINE).removesuffix(b"\n")
        if not first.startswith(b"#!"):
            return "" if first.startswith(b"\x7fELF") else "its first line does not start with #!"
        if first.endswith(b"\r"):
            return "its first line ends in a carriage return, as in files of Windows"
        interpreter = b" ".join(first[2:].split()[:1]).decode("utf-8", "replace")
        if not os.path.exists(interpreter):  # noqa: PTH110
            return f"its interpreter {interpreter!r} does not exist"
    return ""


def reboot() -> str:
    """Ask the machine to reboot; return why it will not, empty where it does."""
    try:
        done = subprocess.run(
            _REBOOT_COMMAND, capture_output=True, text=True, check=False, timeout=_REBOOT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""


def _feed(process: subprocess.Popen[bytes], document: dict[str, Any]) -> None:
    assert process.stdin
    # A hook may end, or close its input, without having read it.
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(b"\n" + json.dumps(document).encode())
