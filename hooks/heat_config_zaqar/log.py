"""How our programs log: to standard error; where that is the journal, with fields of ours.

Invariant: in the journal each record has its level's priority, and what a name says is never a
field; a record that the journal's socket does not take is written as lines. Elsewhere nothing of
this shows, and nothing goes to the console.
"""

import contextlib
import logging
import logging.handlers
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heat_config_zaqar import events
from heat_config_zaqar.console import Console

_STDERR = 2
_SOCKET = "/run/systemd/journal/socket"
# A journal that does not read keeps nobody for longer.
_SEND_SECONDS = 1
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4}
# The delivery's unit keeps nothing below it.
_EVENT_PRIORITY = 5
_INFO_PRIORITY = 6


def log_to_stderr() -> None:
    """Set up logging to standard error; in the journal, a record's level becomes its priority."""
    layout = "%(name)s %(levelname)s %(message)s"
    logging.basicConfig(handlers=_handlers(layout), level=logging.INFO)


def log_to_journal() -> None:
    """Set up logging where standard error is the journal, for os-collect-config's own process.

    Elsewhere upstream sets up its own, which says the same without a priority.
    """
    if _is_journal():
        logging.basicConfig(handlers=_handlers("%(message)s"))
        logging.getLogger(__package__).setLevel(logging.INFO)


def _handlers(layout: str) -> list[logging.Handler]:
    lines = logging.StreamHandler()
    if not _is_journal():
        lines.setFormatter(logging.Formatter(layout))
        return [lines]
    lines.setFormatter(_Lines(layout))
    return [_Journal(lines, layout), Console()]


def _is_journal() -> bool:
    """Whether the journal reads standard error itself (systemd.exec(5)).

    Somebody between us and the journal would show a priority as text.
    """
    stream = os.fstat(_STDERR)
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def _priority(record: logging.LogRecord) -> int:
    least = _INFO_PRIORITY if events.of(record) is None else _EVENT_PRIORITY
    return _PRIORITIES.get(record.levelno, least)


class _Lines(logging.Formatter):
    """Puts the priority before each line, as the journal reads it (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        text, priority = super().format(record), _priority(record)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


class _Journal(logging.handlers.DatagramHandler):
    """Sends records in the journal's own protocol, by which alone they can have fields.

    :param lines: takes what the socket does not: there is none, or the record is too large.
    """

    def __init__(self, lines: logging.Handler, layout: str) -> None:
        super().__init__(_SOCKET, None)
        self._lines = lines
        self._unit = _own_unit()
        self.setFormatter(logging.Formatter(layout))

    def makeSocket(self) -> Any:  # type: ignore[override] # noqa: N802 # of logging
        socket = super().makeSocket()
        socket.settimeout(_SEND_SECONDS)
        return socket

    def makePickle(self, record: logging.LogRecord) -> bytes:  # noqa: N802 # of logging
        return b"".join(_field(name, value) for name, value in self._fields(record))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 # of logging
        self._lines.handle(record)

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", self.format(record)
        yield "PRIORITY", str(_priority(record))
        if self._unit:
            yield "SYSLOG_IDENTIFIER", self._unit.removesuffix(".service")
            # The journal may ask for our unit when we have ended: `journalctl -u` finds this.
            yield "OBJECT_SYSTEMD_UNIT", self._unit
        if event := events.of(record):
            yield "MESSAGE_ID", event.value
        if subject := events.subject():
            yield "HEAT_CONFIG_ID", subject.id
            yield "HEAT_CONFIG_NAME", subject.name


def _field(name: str, value: str) -> bytes:
    """Return a field with its length before it, so that no line of the value begins another."""
    data = value.encode("utf-8", "backslashreplace")
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def _own_unit() -> str:
    with contextlib.suppress(OSError):
        found = re.findall(r"[^/\n]+\.service(?![^/\n])", Path("/proc/self/cgroup").read_text())
        return str(found[-1]) if found else ""
    return ""
