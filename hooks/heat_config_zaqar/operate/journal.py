"""The newest part of what our services said in the journal, without what others printed there.

Invariant: only what our own programs logged, by the journal's own protocol or in their forms, and
systemd's about our units; hooks write to the same place and may print anything, so of other lines
there is only their number.
"""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import Any

from heat_config_zaqar.errors import HeatConfigError

UNITS = ("os-collect-config.service", "heat-config-zaqar-deliver.service")
_OURS = {unit.removesuffix(".service") for unit in UNITS}
_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,_PID,_TRANSPORT"
_COMMAND = (
    *("journalctl", "--quiet", "--no-pager", "--output=json", f"--output-fields={_FIELDS}"),
    *("--reverse", "--lines=5000", *(f"--unit={unit}" for unit in UNITS)),
)
# Of what has only standard error to say something.
_FORMS = re.compile(
    r"\[[\d:, -]+\] \(os-refresh-config\) \[[A-Z]+\] "
    r"|\[\d{4}/\d\d/\d\d [\d:]{8} [AP]M\] \[[A-Z]+\] "
    r"|dib-run-parts |(?:os-collect-config|heat-config-zaqar|heat-config-notify): "
)


def newest(seconds: float) -> list[str]:
    """Return the newest lines, oldest first.

    :param seconds: until journalctl is ended; what it has said by then counts.
    :raises HeatConfigError: there is no journalctl, or it fails.
    """
    note = []
    try:
        done = subprocess.run(_COMMAND, capture_output=True, timeout=seconds, check=True)
        said = done.stdout
    except subprocess.TimeoutExpired as late:
        said, note = late.stdout or b"", ["[journalctl was cut short by the time]"]
    except FileNotFoundError:
        raise HeatConfigError("there is no journalctl here") from None
    except subprocess.CalledProcessError as error:
        raise HeatConfigError(f"journalctl ended with {error.returncode}") from None
    return [*note, *reversed(list(_shown(said.splitlines())))]


def _shown(entries: Iterable[bytes]) -> Iterator[str]:
    """Yield what is shown of entries, as JSON: a line for each of ours, one for those between."""
    others = 0
    for entry in entries:
        line = _line_of(entry)
        if line and others:
            yield f"[{others} lines of hooks and other programs]"
            others = 0
        if line:
            yield line
        else:
            others += 1
    if others:
        yield f"[{others} lines of hooks and other programs]"


def _line_of(entry: bytes) -> str:
    """Return the line of an entry that one of our programs made; empty for any other."""
    with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError, OverflowError):
        fields = json.loads(entry)
        source, message = fields["SYSLOG_IDENTIFIER"], fields["MESSAGE"]
        if isinstance(message, str) and _is_ours(fields, source, message):
            made = time.gmtime(int(fields["__REALTIME_TIMESTAMP"]) / 1e6)
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", made)
            return f"{moment} {source}[{fields['_PID']}]: {message}"
    return ""


def _is_ours(fields: dict[str, Any], source: str, message: str) -> bool:
    if source == "systemd":
        return bool(fields["_PID"] == "1")
    logged = fields["_TRANSPORT"] == "journal" and source in _OURS
    return logged or bool(_FORMS.match(message))
