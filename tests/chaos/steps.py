"""The names of every durable step, and a process that kills itself at one of them.

Installed from outside, in a guest process that was forked for one run: it wraps the product's
functions that write to disk or talk to a service.
Invariant: a durable step that has no name here is an error, so that a new one cannot go untested.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.state import durable
from heat_config_zaqar.wire import heat, queue

# Function that writes -> what the step is called; empty for files that a reboot may take.
_WRITES = {
    "save": "receive: snapshot stored",
    "begin": "execute: running recorded",
    "ask_reboot": "execute: reboot wanted",
    "finish": "execute: result stored",
    "mark_sending": "signal: sending marked",
    "mark_refused": "signal: refusal counted",
    "settle": "signal: settled",
    "own": "identity: owner recorded",
    "note": "",
    "_save_token": "",
    "_receive": "",
    "_report": "",
    "_note_collected": "",
}
_REMOVES = {
    "end": "execute: running removed",
    "prune": "execute: old record removed",
    "settle": "signal: outbox entry removed",
    "_load": "signal: leftover removed",
    "remove_abandoned": "",
}
_CALLS = {
    (queue.Queue, "messages"): "queue read",
    (queue.Queue, "delete"): "receive: messages deleted",
    (queue.Queue, "post"): "signal: posted",
    (heat, "deployments_of_server"): "receive: Heat asked",
    (heat, "signal_resource"): "signal: Heat signalled",
}
_HOOK = "execute: hook"
_HOOK_SECONDS = 0.02

WRITE_PHASES = ("before", "written", "renamed", "after")
REMOVE_PHASES = ("before", "removed", "after")
CALL_PHASES = ("before", "after")
STEPS = [
    *(f"{name}, {phase}" for name in _WRITES.values() if name for phase in WRITE_PHASES),
    *(f"{name}, {phase}" for name in _REMOVES.values() if name for phase in REMOVE_PHASES),
    *(f"{name}, {phase}" for name in _CALLS.values() for phase in CALL_PHASES),
    *(f"{_HOOK}, {phase}" for phase in ("before", "runs", "after")),
]


class UnnamedStepError(Exception):
    """The product makes something durable in a function that this module does not name."""


class Steps:
    """Kills this process when it reaches the armed step.

    :param armed: one of `STEPS`, or empty.
    :param mark: a file that then holds the step's name.
    """

    def __init__(self, armed: str, mark: Path) -> None:
        self._armed = armed
        self._mark = mark
        self._current = ""
        # What the journal of the disk wrapped already.
        self._rename, self._unlink = os.rename, os.unlink

    def install(self) -> None:
        """Wrap the product's functions, for the rest of this process."""
        self._wrap_write(durable.write_json)
        self._wrap_remove(durable.remove)
        os.rename = self._named(self._rename, "written", "renamed")
        os.unlink = self._named(self._unlink, "", "removed")
        for (owner, method), name in _CALLS.items():
            setattr(owner, method, self._called(getattr(owner, method), name))
        self._wrap_hook(hook_runner.run)

    def _reach(self, name: str, phase: str) -> None:
        if name and f"{name}, {phase}" == self._armed:
            self._die()

    def _die(self) -> NoReturn:
        self._mark.write_text(self._armed)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("outlived SIGKILL")

    def _wrap_write(self, write: Callable[..., None]) -> None:
        def wrapped(path: Path, content: Any) -> None:
            self._durable(_name(_WRITES, path), write, path, content)

        durable.write_json = wrapped

    def _wrap_remove(self, remove: Callable[..., None]) -> None:
        def wrapped(path: Path) -> None:
            self._durable(_name(_REMOVES, path), remove, path)

        durable.remove = wrapped

    def _durable(self, name: str, action: Callable[..., None], *arguments: Any) -> None:
        self._reach(name, "before")
        self._current = name
        try:
            action(*arguments)
        finally:
            self._current = ""
        self._reach(name, "after")

    def _named(self, action: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            self._reach(self._current, before)
            result = action(*arguments, **more)
            self._reach(self._current, after)
            return result

        return wrapped

    def _called(self, action: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            self._reach(name, "before")
            result = action(*arguments, **more)
            self._reach(name, "after")
            return result

        return wrapped

    def _wrap_hook(self, run: Callable[..., Any]) -> None:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            self._reach(_HOOK, "before")
            if self._armed == f"{_HOOK}, runs":
                threading.Timer(_HOOK_SECONDS, self._die).start()
            result = run(*arguments, **more)
            self._reach(_HOOK, "after")
            return result

        hook_runner.run = wrapped


def _name(table: dict[str, str], path: Path) -> str:
    """Name a step by the product's function that asked for it."""
    function = sys._getframe(2).f_code.co_name
    if function not in table:
        raise UnnamedStepError(f"{function} makes {path} durable: name that step in {__file__}")
    return table[function]
