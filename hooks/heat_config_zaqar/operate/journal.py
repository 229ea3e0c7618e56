"""The newest part of what our services said in the journal, without what others printed there.

Invariant: only lines in the forms in which our own programs log, and systemd's about our units;
hooks write to the same place and may print anything, so of other lines there is only their number.
"""

import contextlib
import json
import os
import re
import select
import subprocess
import time
from typing import Any

from heat_config_zaqar.errors import HeatConfigError

UNITS = ("os-collect-config.service", "heat-config-zaqar-deliver.service")
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_PID"
_COMMAND = (
    "journalctl",
    "--quiet",
    "--no-pager",
    "--reverse",
    "--output=json",
    f"--output-fields={_FIELDS}",
    *(f"--unit={unit}" for unit in UNITS),
)
_LOGGERS = r"(?:55-heat-config|os-collect-config|os_collect_config\.\w+|heat_config_zaqar[\w.]*)"
_LEVELS = r"(?:DEBUG|INFO|WARNING|ERROR|CRITICAL)"
_OUR_FORMS = re.compile(
    rf"{_LOGGERS} {_LEVELS} "
    rf"|\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} \d+ {_LEVELS} {_LOGGERS} "
    rf"|\[[\d:, -]+\] \(os-refresh-config\) \[{_LEVELS}\] "
    rf"|\[\d{{4}}/\d\d/\d\d [\d:]{{8}} [AP]M\] \[{_LEVELS}\] "
    r"|dib-run-parts |(?:os-collect-config|heat-config-zaqar|heat-config-notify): "
)
_SYSTEMD = ("systemd", "1")
_CHUNK_BYTES = 64 * 1024
_LONGEST_LINE = 4096


def newest(most_bytes: int, seconds: float) -> tuple[str, str]:
    """Return the newest lines, oldest first, and what is to be known about them.

    :param most_bytes: of the text.
    :param seconds: until journalctl is ended; what it has said by then counts.
    :raises HeatConfigError: there is no journalctl.
    """
    lines, nothing = _Lines(most_bytes), subprocess.DEVNULL
    try:
        process = subprocess.Popen(_COMMAND, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing)
    except FileNotFoundError:
        raise HeatConfigError("there is no journalctl here") from None
    with process:
        try:
            problem = _read(process, lines, time.monotonic() + seconds)
        finally:
            process.kill()
    return lines.text(), "; ".join(filter(None, (lines.summary(), problem)))


def _read(process: subprocess.Popen[bytes], lines: "_Lines", deadline: float) -> str:
    """Take entries until there are enough; return why some are missing, empty where none are."""
    assert process.stdout
    descriptor, rest = process.stdout.fileno(), b""
    while (left := deadline - time.monotonic()) > 0 and lines.has_room:
        if not select.select([descriptor], [], [], left)[0]:
            break
        chunk = os.read(descriptor, _CHUNK_BYTES)
        if not chunk:
            code = process.wait()
            return f"journalctl ended with {code}" if code else ""
        *whole, rest = (rest + chunk).split(b"\n")
        for entry in whole:
            lines.add(entry)
    return "journalctl was cut short by the time" if lines.has_room else "older lines are left out"


class _Lines:
    """The lines that were taken, newest first, until they fill their room.

    :ivar has_room: for one more.
    """

    def __init__(self, most_bytes: int) -> None:
        self.has_room = True
        self._most = most_bytes
        self._size = self._ours = self._others = self._others_here = 0
        self._kept: list[str] = []

    def add(self, entry: bytes) -> None:
        """Take one entry of the journal, as JSON; of what is not ours it is counted."""
        line = _line_of(entry)
        if line:
            self._count_others()
            self._keep(line)
            self._ours += 1
        else:
            self._others_here += 1

    def text(self) -> str:
        self._count_others()
        return "".join(reversed(self._kept))

    def summary(self) -> str:
        return f"{self._ours} lines, without {self._others} of hooks and other programs"

    def _count_others(self) -> None:
        if self._others_here:
            self._keep(f"[{self._others_here} lines of hooks and other programs]")
            self._others += self._others_here
        self._others_here = 0

    def _keep(self, line: str) -> None:
        self._kept.append(f"{line}\n")
        self._size += len(line.encode("utf-8", "backslashreplace")) + 1
        self.has_room = self._size < self._most


def _line_of(entry: bytes) -> str:
    """Return the line of an entry that one of our programs made; empty for any other."""
    with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError, OverflowError):
        fields = json.loads(entry)
        message, source = _text(fields["MESSAGE"]), fields["SYSLOG_IDENTIFIER"]
        if _OUR_FORMS.match(message) or (source, fields["_PID"]) == _SYSTEMD:
            made = time.gmtime(int(fields["__REALTIME_TIMESTAMP"]) / 1e6)
            shown = message if len(message) <= _LONGEST_LINE else f"{message[:_LONGEST_LINE]}..."
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", made)
            return f"{moment} {source}[{fields['_PID']}]: {shown}"
    return ""


def _text(message: Any) -> str:
    """Return a message, which the journal has as a list of bytes where it is no plain text."""
    if isinstance(message, list):
        return bytes(message).decode("utf-8", "replace")
    return message if isinstance(message, str) else ""
