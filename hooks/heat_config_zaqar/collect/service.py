"""What systemd is told of the collector: that it runs, that its loop moves, and what it does.

Invariant: only the loop itself says that it moves, so whatever holds it up for longer than the
unit's `WatchdogSec` has it started anew, and nothing else has: waiting and running the command are
moving. Where systemd did not start us, nothing is said to anybody.
"""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from heat_config_zaqar.console import one_line
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Outbox

_SOCKET = "NOTIFY_SOCKET"
_WATCHDOG = "WATCHDOG_USEC"
# What a hook, or a service that it starts, could say in our name, or take for its own.
_OURS = (_SOCKET, _WATCHDOG, "WATCHDOG_PID")
# Without news, for a manager that was busy; and how often the command is looked after.
_AGAIN_SECONDS = 30
_LOOK_SECONDS = 5
_LONGEST_STATUS = 300


class Service:
    """Speaks for one process (sd_notify(3))."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._address = os.environ.get(_SOCKET, "")
        self._told, self._told_at = "", 0.0

    def moves(self) -> None:
        """Tell systemd that the loop moves, and what it does; it does not fail."""
        if not self._address:
            return
        message = f"READY=1\nWATCHDOG=1{self._patience()}\nSTATUS={self._status()}"
        if message == self._told and time.monotonic() - self._told_at < _AGAIN_SECONDS:
            return
        name = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), _datagrams() as manager:
            manager.sendto(message.encode(), name)
            self._told, self._told_at = message, time.monotonic()

    def call(self, *arguments: Any, env: dict[str, str], **more: Any) -> None:
        """Run a command as `subprocess.check_call` does; meanwhile the loop moves.

        :raises CalledProcessError: it failed.
        """
        more["env"] = {name: value for name, value in env.items() if name not in _OURS}
        process = subprocess.Popen(*arguments, **more)
        waiting = threading.Thread(target=process.wait, daemon=True)
        waiting.start()
        while waiting.is_alive():
            self.moves()
            waiting.join(_LOOK_SECONDS)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)

    def connection(self) -> str:
        """Return how metadata comes in, as the collector last recorded it."""
        with contextlib.suppress(Exception):
            known = durable.read_json(self._settings.connection_file)
            if known is not None:
                return f"{known['state']}: {known['detail']}"
        has_any = self._settings.collected_file.exists()
        return "metadata comes from other sources than a queue" if has_any else "no metadata yet"

    def _patience(self) -> str:
        """Return a longer time than the unit's where requests may take longer than usual."""
        usual = Settings().request_timeout
        asked = os.environ.get(_WATCHDOG, "")
        if not asked.isdecimal() or self._settings.request_timeout <= usual:
            return ""
        return f"\n{_WATCHDOG}={int(int(asked) * self._settings.request_timeout / usual)}"

    def _status(self) -> str:
        parts = [self.connection()]
        # What is wrong with the state is for others to notice and to say.
        with contextlib.suppress(Exception):
            parts += self._hook()
            waiting = len(durable.files(self._settings.state_dir / "outbox"))
            parts.append(f"{waiting} signals wait to be sent")
        return one_line("; ".join(parts), _LONGEST_STATUS)

    def _hook(self) -> list[str]:
        if not durable.is_locked(self._settings.state_dir / "apply.lock"):
            return []
        runs = Outbox(self._settings.state_dir).runs
        begun = [(durable.read_json(runs.path(found)), found) for found, _ in runs.begun()]
        if not begun:
            return []
        # What crashes interrupted lies beside it, and is older.
        record, config_id = max(begun, key=lambda item: item[0]["started"])
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["started"]))
        return [f"deployment {config_id} ({record['name']}) runs since {since}"]


def sleep(seconds: float, moves: Callable[[], None]) -> None:
    """Sleep; however long that is, the loop moves."""
    while seconds > 0:
        moves()
        time.sleep(min(seconds, _AGAIN_SECONDS))
        seconds -= _AGAIN_SECONDS


def _datagrams() -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    # A manager that is busy is told the next time.
    manager.setblocking(False)
    return manager
