"""Takes what a process prints while it runs: keeps the end of it, passes all on to our own stderr.

Invariant: memory stays bounded however much is printed; a log that nobody reads holds no process
up for longer than a moment; what outlives the process can go on printing.
"""

import contextlib
import math
import os
import re
import select
import selectors
import subprocess
import time
from collections.abc import Callable
from typing import IO

_CHUNK_BYTES = 64 * 1024
_STDERR = 2
# How long a reader of our stderr may take for the next piece, before it misses what follows.
_PATIENCE_SECONDS = 10.0
# What the process has printed may still be on its way through a child that has not ended yet.
_REST_SECONDS = 1
_FOREVER_SECONDS = 86400
_LINE_BYTES = 1024
_LINE_LETTERS = 200
# What colours a terminal, or moves its cursor.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Reads until nobody can print any more, even where what it passes on is no longer taken.
_READER = ("/bin/sh", "-c", "cat; exec cat >/dev/null")


class Stream:
    """One output of a process.

    :param source: where it can be read.
    :param limit: how many bytes of its end are kept.
    :param is_log: pass it on to our standard error.
    :ivar start: its first few thousand bytes, or all of it.
    :ivar kept: its end, or all of it.
    :ivar cut: how many bytes came before the end.
    :ivar last: when something came, by the monotonic clock; at first, when this was made.
    """

    def __init__(self, source: IO[bytes] | None, limit: int, is_log: bool = True) -> None:
        assert source
        self.source = source
        self.start = b""
        self.kept = bytearray()
        self.cut = 0
        self.last = time.monotonic()
        self._limit = limit
        self._is_log = is_log
        self._patience = _PATIENCE_SECONDS

    def take(self) -> bool:
        """Take what is there, waiting for it; return whether there may be more."""
        chunk = os.read(self.source.fileno(), _CHUNK_BYTES)
        self.last = time.monotonic() if chunk else self.last
        self.start += chunk if len(self.start) < select.PIPE_BUF else b""
        self.kept += chunk
        excess = max(len(self.kept) - self._limit, 0)
        self.cut += excess
        del self.kept[:excess]
        if self._is_log:
            self._patience = _pass_on(chunk, self._patience)
        return bool(chunk)

    def text(self) -> str:
        """Return its end, which says how much is missing."""
        return end_of(self.kept, self._limit, self.cut)

    def last_line(self) -> str:
        """Return the last line that is not blank, of printable characters; from any thread."""
        text = bytes(self.kept[-_LINE_BYTES:]).decode("utf-8", "replace")
        lines = [line for line in _ESCAPES.sub("", text).splitlines() if line.strip()]
        shown = "".join(letter if letter.isprintable() else " " for letter in "".join(lines[-1:]))
        return shown.strip()[:_LINE_LETTERS]

    def hand_over(self) -> None:
        """Let what holds the other end go on printing, to our standard error."""
        subprocess.Popen(_READER, stdin=self.source, stdout=_STDERR, start_new_session=True)


def follow(process: subprocess.Popen[bytes], *streams: Stream, seconds: float = 0) -> bool:
    """Take the streams until the process has ended; return False where that takes too long.

    :param seconds: until then; 0 for no limit.
    """
    ended = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.source, selectors.EVENT_READ, stream)
        selector.register(ended, selectors.EVENT_READ)
        try:
            _take(selector, lambda: process.poll() is not None, seconds or math.inf)
        finally:
            selector.unregister(ended)
            os.close(ended)
        if process.returncode is None:
            return False
        _take(selector, lambda: not selector.get_map(), _REST_SECONDS)
        for key in list(selector.get_map().values()):
            key.data.hand_over()
    for stream in streams:
        stream.source.close()
    return True


def end_of(printed: bytes | bytearray, limit: int, cut: int = 0) -> str:
    """Return the last bytes as text, after a marker that says how many are missing.

    :param cut: how many were missing before.
    """
    cut += max(len(printed) - limit, 0)
    marker = f"[{cut} bytes cut]\n" if cut else ""
    return marker + printed[max(len(printed) - limit, 0) :].decode("utf-8", "replace")


def _take(selector: selectors.BaseSelector, is_done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_done() and (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(min(left, _FOREVER_SECONDS)):
            if key.data and not key.data.take():
                selector.unregister(key.fileobj)


def _pass_on(chunk: bytes, patience: float) -> float:
    """Write to our standard error; return how long its reader may take for the next chunk."""
    with contextlib.suppress(OSError):
        for start in range(0, len(chunk), select.PIPE_BUF):
            if not select.select([], [_STDERR], [], patience)[1]:
                return 0
            # No longer than what fits for sure, so it cannot block.
            os.write(_STDERR, chunk[start : start + select.PIPE_BUF])
    return _PATIENCE_SECONDS
