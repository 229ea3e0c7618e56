"""collect-logs: one archive about this guest that may be handed to whoever supports it.

Invariant: no secret that the guest holds is in it, nor what hooks print; where not all secrets
could be read, nothing that others said is in it. A part that fails is named, and stops no other.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import io
import json
import platform
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.errors import HeatConfigError, SettingsError
from heat_config_zaqar.operate import files, journal
from heat_config_zaqar.operate.doctor import examination
from heat_config_zaqar.operate.redaction import Redactor, Secrets
from heat_config_zaqar.operate.report import Report, require_access
from heat_config_zaqar.operate.terminal import Exit, one_line
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.wire.failures import brief

CLOUD_INIT = Path("/run/cloud-init")
_NEVER = "passwords, tokens, keys, inputs, outputs, texts of configs, what hooks print"
# All of it takes under five seconds, Python's start and the packing included.
_PARTS_SECONDS = 2.5
_JOURNAL_SECONDS = 1.0
# Four parts may be as large, and all is to be under 5 MB even where nothing can be compressed.
_MOST_BYTES = 1024 * 1024
_MODE = 0o600
_MOST_ROWS = 500
_LONGEST_TEXT = 1000
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


def run(options: argparse.Namespace) -> int:
    """Write the archive; print its path, and what is in it and what is not.

    :raises PermissionError: the caller may not see the state.
    :raises RefusedError: the archive cannot be written there.
    """
    end = time.monotonic() + _PARTS_SECONDS
    current = _usable_settings()
    require_access(current)
    target = (options.file or _default_target()).absolute()
    files.check(target)
    secrets = Secrets(current)
    secrets.look(end)
    made = {name: _made(part, current, end) for name, part in _PARTS.items()}
    # Again: what a part has seen may have come meanwhile.
    secrets.look(end + _PARTS_SECONDS)
    content, missing = _files(made, None if secrets.unread else secrets.redactor())
    files.write(target, _packed(content), _MODE)
    print(one_line(str(target)))
    absent = "".join(f"{name} ({why}), " for name, why in missing.items())
    print(one_line(f"in it: {', '.join(content)}; not in it: {absent}{_NEVER}"))
    return Exit.DONE


def _usable_settings() -> Settings:
    """Return the settings; the defaults where their file cannot be used, which doctor says."""
    with contextlib.suppress(SettingsError):
        return settings.load()
    return Settings()


def _status(current: Settings, _: float) -> Any:
    """Return how metadata comes in, and what became of each deployment, also of earlier ones."""
    report = Report(current)
    rows = [dataclasses.asdict(row) for row in report.rows[-_MOST_ROWS:]]
    older = max(len(report.rows) - _MOST_ROWS, 0)
    return {"connection": report.connection, "older": older, "deployments": rows}


def _doctor(_: Settings, end: float) -> Any:
    return list(map(dataclasses.asdict, examination.examine(max(end - time.monotonic(), 0))))


def _journal(_: Settings, end: float) -> Any:
    seconds = min(_JOURNAL_SECONDS, max(end - time.monotonic(), 0))
    return journal.newest(seconds)


def _cloud_init(_: Settings, __: float) -> Any:
    found = {name: durable.read_json(CLOUD_INIT / f"{name}.json") for name in ("result", "status")}
    if not any(found.values()):
        raise FileNotFoundError(f"there is no result in {CLOUD_INIT}")
    return found


def _settings(current: Settings, _: float) -> Any:
    known = dataclasses.asdict(current) | {"proxy": "set" if current.proxy else ""}
    return {name: str(value) if isinstance(value, Path) else value for name, value in known.items()}


def _versions(_: Settings, __: float) -> Any:
    found = {package: _installed(package) for package in _PACKAGES}
    found |= {"python": platform.python_version(), "kernel": platform.release()}
    with contextlib.suppress(OSError):
        found["distribution"] = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    return found


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


Part = Callable[[Settings, float], Any]
# The doctor last: it takes what time is left.
_PARTS: dict[str, Part] = {
    "settings.json": _settings,
    "versions.json": _versions,
    "status.json": _status,
    "cloud-init.json": _cloud_init,
    "journal.txt": _journal,
    "doctor.json": _doctor,
}
# Which hold nothing that others said.
_OUR_OWN = ("settings.json", "versions.json")


def _made(part: Part, current: Settings, end: float) -> Any:
    """Return what a part is, or why there is none."""
    try:
        return part(current, end)
    except PermissionError:
        raise
    except Exception as error:  # noqa: BLE001 # support is asked where things are broken
        return error


def _files(
    made: Mapping[str, Any], redactor: Redactor | None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files of the archive, and why others are not in it."""
    found, missing = {}, {}
    clean = (redactor or Redactor(())).clean
    for name, content in made.items():
        if redactor is None and name not in _OUR_OWN:
            missing[name] = "left out, since not all secrets could be read that may be in it"
        elif isinstance(content, Exception):
            is_expected = isinstance(content, HeatConfigError | OSError)
            missing[name] = clean(brief(content) if is_expected else type(content).__name__)
        else:
            found[name] = _encoded(clean(_shortened(content)))
    contents = {"host": platform.node(), "not in it": missing, "never in it": _NEVER}
    return {"contents.json": _encoded(clean(contents)), **found}, missing


def _shortened(document: Any) -> Any:
    """Return a document without the ends of texts that are too long for what they should be."""
    if isinstance(document, dict):
        return {name: _shortened(below) for name, below in document.items()}
    if isinstance(document, list):
        return [_shortened(below) for below in document]
    is_long = isinstance(document, str) and len(document) > _LONGEST_TEXT
    return f"{document[:_LONGEST_TEXT]}..." if is_long else document


def _encoded(content: Any) -> bytes:
    """Return the bytes of a file; of lines that are too many the last, of a document the start."""
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        return "".join(f"{line}\n" for line in content).encode("utf-8", "replace")[-_MOST_BYTES:]
    return f"{json.dumps(content, indent=1)}\n".encode()[:_MOST_BYTES]


def _default_target() -> Path:
    return Path(time.strftime("heat-config-zaqar-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime()))


def _packed(content: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz with these files, in a folder of their own."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, raw in content.items():
            member = tarfile.TarInfo(f"heat-config-zaqar/{name}")
            member.size, member.mode, member.mtime = len(raw), _MODE, int(time.time())
            archive.addfile(member, io.BytesIO(raw))
    return made.getvalue()
