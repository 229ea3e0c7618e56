"""The guest's console: what somebody sees who has no login, `openstack console log show` for one.

Owns the console's lines and the files `console.N` beside the tokens, which count them.
Invariant: no program waits for the console, but for a second at its end; a line is short and plain
text; all our processes together write at most `_MOST_LINES` in `_WINDOW_SECONDS`, and say how many
they left out. What the journal writes there itself is not written again.
"""

import contextlib
import logging
import os
import queue
import re
import threading
import time
from pathlib import Path

from heat_config_zaqar import events
from heat_config_zaqar.errors import SettingsError
from heat_config_zaqar.settings import Settings, load

_MOST_LINES = 60
_WINDOW_SECONDS = 600
_LONGEST_LINE = 170
_MOST_WAITING = 100
_LAST_WORDS_SECONDS = 1
# Ours, and os-collect-config's main loop; not its sources, of which most are away in most clouds.
_OURS = ("heat_config_zaqar", "55-heat-config", "os-collect-config")
_TRUE = ("1", "yes", "y", "true", "t", "on", "")
_IN_FILES = re.compile(r"^[ \t]*ForwardToConsole[ \t]*=[ \t]*(\S+)", re.MULTILINE)
_FOR_KERNEL = re.compile(r"(?<!\S)systemd\.journald\.forward_to_console(?:=(\S*))?(?!\S)")


class Console(logging.Handler):
    """Writes each trouble, and the events of `events.ON_CONSOLE`, as one line."""

    def __init__(self) -> None:
        super().__init__()
        try:
            settings = load()
        except SettingsError:
            # Which is among the troubles that are to be seen.
            settings = Settings()
        self._path = "" if journal_forwards(Path("/")) else settings.console
        self._counters = settings.runtime_dir
        self._waiting: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Leave a line to the thread that writes: to open or close a console may take long."""
        if not (self._path and _is_for_the_console(record)):
            return
        # Where it jams, or there can be no thread any more: no reason for anything to fail.
        with contextlib.suppress(Exception):
            level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
            if self._waiting.qsize() < _MOST_WAITING:
                self._waiting.put(f"heat-config-zaqar: {level}{one_line(record.getMessage())}")
            if self._writer is None:
                writer = threading.Thread(target=self._write_all, name="console", daemon=True)
                writer.start()
                self._writer = writer

    def flush(self) -> None:
        """Wait for what is still to be written, a second at most."""
        if self._writer is not None:
            done = threading.Event()
            self._waiting.put(done)
            done.wait(_LAST_WORDS_SECONDS)

    def _write_all(self) -> None:
        while True:
            line = self._waiting.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            # None there, nobody reads it, or it is a device that this unit may not open.
            with contextlib.suppress(OSError):
                self._write(line)

    def _write(self, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY
        console = os.open(self._path, flags)
        try:
            left_out = count_line(self._counters)
            if left_out is not None:
                text = f"{line}\r\n"
                if left_out:
                    text = f"heat-config-zaqar: {left_out} lines were left out\r\n{text}"
                os.write(console, text.encode())
        finally:
            os.close(console)


def one_line(text: str, longest: int = _LONGEST_LINE) -> str:
    """Return text as plain ASCII on one line; of what is too long both ends.

    An 8-bit terminal takes a byte of many a letter's UTF-8 for a control character.
    """
    if len(text) > 2 * longest:
        text = text[:longest] + text[-longest:]
    plain = text.encode("unicode_escape").decode()
    if len(plain) <= longest:
        return plain
    half = longest // 2
    return f"{plain[: half - 3]}...{plain[-half:]}"


def count_line(directory: Path) -> int | None:
    """Count a line of this process with those of the others.

    :returns: how many were left out before; None where this one is to be left out.
    :raises OSError: it cannot be counted.
    """
    window = int(time.clock_gettime(time.CLOCK_BOOTTIME) // _WINDOW_SECONDS)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"console.{window}"
    # Each process's byte has a place of its own, without a lock that one could hold for ever.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, b".")
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)
    if place > 1:
        return 0 if place <= _MOST_LINES else None
    left_out = 0
    for older in set(directory.glob("console.*")) - {path}:
        with contextlib.suppress(FileNotFoundError):
            left_out += max(older.stat().st_size - _MOST_LINES, 0)
            older.unlink()
    return left_out


def journal_forwards(root: Path) -> bool:
    """Whether journald writes to the console what it is told, by its configuration below `root`."""
    tops = ("usr/lib", "run", "etc")
    drop_ins = [path for top in tops for path in root.glob(f"{top}/systemd/journald.conf.d/*.conf")]
    # The last word counts, and the kernel's command line has it.
    places = [(root / "etc/systemd/journald.conf", _IN_FILES)]
    places += [(path, _IN_FILES) for path in sorted(drop_ins, key=lambda path: path.name)]
    said = [False]
    for path, pattern in (*places, (root / "proc/cmdline", _FOR_KERNEL)):
        with contextlib.suppress(OSError):
            found = pattern.findall(path.read_text(errors="replace"))
            said += [value.lower() in _TRUE for value in found]
    return said[-1]


def _is_for_the_console(record: logging.LogRecord) -> bool:
    is_trouble = record.levelno >= logging.WARNING and record.name.partition(".")[0] in _OURS
    return is_trouble or events.of(record) in events.ON_CONSOLE
