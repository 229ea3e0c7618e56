"""The parts of the archive for support: each is one file of it, made by itself.

To add one, write the function and name it in `STRANDS`.
Invariant: a part that is not `told` holds nothing but fields and values that are known to be
harmless; what others have said, in a message or a note, is in the parts that are.
"""

import contextlib
import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.errors import CorruptFileError, InvalidMetadataError, SettingsError
from heat_config_zaqar.operate import journal
from heat_config_zaqar.operate.doctor import examination
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.operate.row import Row, number, text
from heat_config_zaqar.operate.status import document, shown_rows
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable

_JOURNAL_BYTES = 1024 * 1024
_MOST_ROWS = 500
_LONGEST_CODE = 4
CLOUD_INIT = Path("/run/cloud-init")
_PACKAGES = (
    "heat-config-zaqar-guest",
    "os-collect-config",
    "os-apply-config",
    "os-refresh-config",
    "python-zaqarclient",
    "keystoneauth1",
    "requests",
    "websocket-client",
)


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a part is made by.

    :ivar settings: those that can be used.
    :ivar deadline: in seconds of the monotonic clock; what comes later is left out.
    """

    settings: Settings
    deadline: float

    @property
    def seconds(self) -> float:
        """How much time is left."""
        return max(self.deadline - time.monotonic(), 0)


Made = tuple[Any, str]


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of the archive.

    :ivar name: of the file.
    :ivar make: returns its content, text or a document for JSON, and what is to be known about it.
    :ivar told: it holds what others said.
    """

    name: str
    make: Callable[[Terms], Made]
    told: bool = True


def _status(terms: Terms) -> Made:
    report = Report(terms.settings)
    rows = shown_rows(report, with_earlier=False)
    return document(report, rows[-_MOST_ROWS:]), _of_rows(rows)


def _state(terms: Terms) -> Made:
    """What became of each deployment, also of earlier ones, without a word that a hook said."""
    report = Report(terms.settings)
    return [_facts(report, row) for row in report.rows[-_MOST_ROWS:]], _of_rows(report.rows)


def _of_rows(rows: list[Row]) -> str:
    hidden = len(rows[:-_MOST_ROWS])
    return f"{len(rows)} deployments" + (f", without the {hidden} oldest" if hidden else "")


def _facts(report: Report, row: Row) -> dict[str, Any]:
    where, record = report.records.get(row.id, ("", {}))
    item = report.deployments.get(row.id)
    transport = text(record.get("transport"))
    with contextlib.suppress(InvalidMetadataError):
        transport = transport or (item.transport if item else "")
    known = dataclasses.asdict(row)
    del known["note"]
    return {
        **known,
        # A hook may call anything its status code.
        "status_code": "unusual" if len(str(row.status_code)) > _LONGEST_CODE else row.status_code,
        "directory": where,
        "transport": transport,
        "resource_name": text(record.get("resource_name")),
        "creation_time": text(record.get("creation_time")) or (item.creation_time if item else ""),
        "reboots": int(number(record.get("reboots"))),
        "sending": record.get("sending") is True,
        "refused_seconds": number(record.get("refused_seconds")),
    }


def _settings(terms: Terms) -> Made:
    known = {
        name: value for name, value in dataclasses.asdict(terms.settings).items() if name != "proxy"
    }
    shown = {
        name: str(value) if isinstance(value, Path) else value for name, value in known.items()
    }
    shown["proxy"] = "set" if terms.settings.proxy else ""
    try:
        settings.load()
    except SettingsError:
        return shown, "what can be used of a file that holds errors: see doctor.json"
    return shown, "in force"


def _doctor(terms: Terms) -> Made:
    findings = examination.examine(terms.seconds)
    is_cut = terms.seconds == 0
    note = "cut short: `heat-config-zaqar doctor` takes its time" if is_cut else "complete"
    return [dataclasses.asdict(finding) for finding in findings], note


def _journal(terms: Terms) -> Made:
    return journal.newest(_JOURNAL_BYTES, terms.seconds)


def _versions(_: Terms) -> Made:
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    found |= {"python": platform.python_version(), "machine": platform.machine()}
    found["kernel"] = platform.release()
    try:
        found["distribution"] = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        found["distribution"] = "unknown"
    return found, ""


def _cloud_init(_: Terms) -> Made:
    found: dict[str, Any] = {}
    for name in ("result", "status"):
        path = CLOUD_INIT / f"{name}.json"
        try:
            found[name] = durable.read_json(path)
        except CorruptFileError:
            found[name] = "is not JSON"
    if not any(found.values()):
        raise FileNotFoundError(f"there is no result in {CLOUD_INIT}")
    return found, ""


# One after the other: what reads the state may set a damaged file aside. Beside each other: what
# waits for something else.
STRANDS = (
    (
        Part("status.json", _status),
        Part("state.json", _state, told=False),
        Part("doctor.json", _doctor),
    ),
    (Part("journal.txt", _journal),),
    (Part("cloud-init.json", _cloud_init),),
    (Part("settings.json", _settings, told=False), Part("versions.json", _versions, told=False)),
)
