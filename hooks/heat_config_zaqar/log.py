"""How our programs log: to standard error, with the priorities that systemd's journal reads.

Invariant: in the journal each line of a record has the record's priority, elsewhere none has.
"""

import logging
import os

_STDERR = 2
_PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4}
_INFO_PRIORITY = 6


def log_to_stderr() -> None:
    """Set up logging to standard error; in the journal, a record's level becomes its priority."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(name)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)


class _Formatter(logging.Formatter):
    """Puts the priority before each line where systemd's journal reads it (sd-daemon(3))."""

    def __init__(self, layout: str) -> None:
        super().__init__(layout)
        stream = os.fstat(_STDERR)
        # Somebody between us and the journal would show the prefix as text.
        self._is_journal = os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._is_journal:
            return text
        priority = _PRIORITIES.get(record.levelno, _INFO_PRIORITY)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())
