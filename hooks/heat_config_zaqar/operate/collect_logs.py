"""collect-logs: one archive about this guest that may be handed to whoever supports it.

Invariant: no secret that the guest holds is in it, nor what hooks print; where the secrets could
not all be read, nothing is in it that others said. A part that fails is named, and stops no other.
All of it takes under five seconds and five megabytes.
"""

import argparse
import contextlib
import functools
import json
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.errors import HeatConfigError, RefusedError, SettingsError
from heat_config_zaqar.operate import archive
from heat_config_zaqar.operate.archive_parts import STRANDS, Part, Terms
from heat_config_zaqar.operate.known_secrets import KnownSecrets
from heat_config_zaqar.operate.redaction import Redactor
from heat_config_zaqar.operate.report import require_access
from heat_config_zaqar.operate.terminal import Exit, one_line
from heat_config_zaqar.settings import SETTINGS_FILE, SETTINGS_VARIABLE, Settings
from heat_config_zaqar.wire.failures import brief

# Since the start of the process: the parts, the secrets, and taking those out of these; writing
# takes a part of a second.
_LONGEST_START_SECONDS = 1.5
_PARTS_SECONDS = 2.5
_PATIENCE_SECONDS = 0.5
_SECRETS_SECONDS = 3.6
_MOST_SECONDS = 4.3
_MOST_PART_BYTES = 1280 * 1024
_LONGEST_TEXT = 1000
# Even where nothing can be compressed.
_MOST_BYTES = 4608 * 1024
_MOST_SETTINGS_BYTES = 16 * 1024
_MOST_SETTINGS = 100
_FALLBACK = Path("/root")
_NEVER = (
    "passwords, tokens, keys, signatures of URLs, values of inputs and outputs, texts of configs, "
    "what hooks print"
)


def run(options: argparse.Namespace) -> int:
    """Write the archive; print its path, and what is in it and what is not.

    :raises PermissionError: the caller may not see the state.
    :raises RefusedError: the archive cannot be written there.
    """
    # Most of what came before was Python's own start.
    began = time.monotonic() - min(time.process_time(), _LONGEST_START_SECONDS)
    current = _usable_settings()
    require_access(current)
    targets = _targets(options.file)
    parts: dict[Part, Future[Any]] = {part: Future() for strand in STRANDS for part in strand}
    terms = Terms(current, began + _PARTS_SECONDS)
    for strand in STRANDS:
        _begin([(parts[part], functools.partial(part.make, terms)) for part in strand])
    clean: Future[tuple[dict[str, bytes], dict[str, str]]] = Future()
    find = functools.partial(_redactor, terms, parts.values(), began + _SECRETS_SECONDS)
    _begin([(clean, lambda: _files(parts, find()))])
    wait([clean], max(began + _MOST_SECONDS - time.monotonic(), 0))
    problem = clean.exception() if clean.done() else TimeoutError()
    if isinstance(problem, PermissionError):
        raise problem
    files, missing = _files(parts, None) if problem else clean.result()
    print(one_line(str(_write(targets, archive.packed(files)))))
    absent = "".join(f"{name} ({why}), " for name, why in missing.items())
    print(one_line(f"in it: {', '.join(files)}; not in it: {absent}{_NEVER}"))
    return Exit.DONE


def _usable_settings() -> Settings:
    """Return the settings; of a file that cannot be used, the lines that can be."""
    with contextlib.suppress(SettingsError):
        return settings.load()
    path, kept = Path(os.environ.get(SETTINGS_VARIABLE, SETTINGS_FILE)), ""
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as stream:
        lines = [line for line in stream.read(_MOST_SETTINGS_BYTES).splitlines() if "=" in line]
        for line in lines[:_MOST_SETTINGS]:
            with contextlib.suppress(SettingsError):
                settings.parse(f"{kept}{line}\n", str(path))
                kept += f"{line}\n"
    return settings.parse(kept, str(path))


def _targets(named: Path | None) -> list[Path]:
    """Return where the archive may go, the best first.

    :raises RefusedError: it can go nowhere.
    """
    if named is not None:
        archive.check_target(named.absolute())
        return [named.absolute()]
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node()).strip("-.")[:64] or "guest"
    name = f"heat-config-zaqar-{host}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar.gz"
    targets = [_FALLBACK / name]
    # The working directory may be gone.
    with contextlib.suppress(RefusedError, OSError):
        here = Path(name).absolute()
        archive.check_target(here)
        targets.insert(0, here)
    return targets


def _write(targets: list[Path], content: bytes) -> Path:
    """Write the archive to the first place that takes it, and return that."""
    for path in targets[:-1]:
        with contextlib.suppress(RefusedError):
            archive.write(path, content)
            return path
    archive.write(targets[-1], content)
    return targets[-1]


def _begin(jobs: list[tuple[Future[Any], Callable[[], Any]]]) -> None:
    """Do one job after the other; who does not want to wait for them leaves them to themselves."""

    def work() -> None:
        for future, job in jobs:
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 # raised where it is waited for
                future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()


def _redactor(terms: Terms, parts: Collection[Future[Any]], deadline: float) -> Redactor | None:
    """Return what takes the secrets out of a text; None where not all of them can be known.

    Returns when the parts have ended, or their time is over.

    :raises PermissionError: they are for root alone.
    """
    secrets = KnownSecrets(terms.settings)
    # Before and after: what a part has seen may be gone by now, or have come meanwhile.
    secrets.look(terms.deadline)
    wait(parts, terms.seconds + _PATIENCE_SECONDS)
    secrets.look(deadline)
    return None if secrets.unread else Redactor(secrets.values, secrets.texts)


def _files(
    parts: Mapping[Part, Future[Any]], redactor: Redactor | None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files of the archive, and why others are not in it."""
    files, notes, missing, room = {}, {}, {}, _MOST_BYTES
    cleaner = redactor or Redactor()
    for part, made in parts.items():
        problem = _problem(part, made, redactor)
        if problem:
            missing[part.name] = cleaner.clean(problem)
            continue
        content, note = made.result()
        content = content if isinstance(content, str) else _shortened(content)
        files[part.name] = _encoded(cleaner.clean(content), room)
        room -= len(files[part.name])
        notes[part.name] = cleaner.clean(note)
    contents = {
        "host": cleaner.clean(platform.node()),
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "in it": notes,
        "not in it": missing,
        "never in it": _NEVER,
    }
    return {"contents.json": _encoded(contents, _MOST_PART_BYTES), **files}, missing


def _shortened(document: Any) -> Any:
    """Return a document without the ends of texts that are too long for what they should be."""
    if isinstance(document, dict):
        return {name: _shortened(below) for name, below in document.items()}
    if isinstance(document, list):
        return [_shortened(below) for below in document]
    is_long = isinstance(document, str) and len(document) > _LONGEST_TEXT
    return f"{document[:_LONGEST_TEXT]}..." if is_long else document


def _problem(part: Part, made: Future[Any], redactor: Redactor | None) -> str:
    """Return why a part cannot be in the archive; empty where it can."""
    if not made.done():
        return "did not end in time"
    if part.told and redactor is None:
        return "left out, since not all secrets could be read that may be in it"
    error = made.exception()
    if error is None:
        return ""
    is_expected = isinstance(error, HeatConfigError | OSError) and redactor is not None
    return brief(error) if is_expected else f"failed with {type(error).__name__}"


def _encoded(content: Any, room: int) -> bytes:
    """Return the bytes of a file; of a text that is too long the end, of a document the start."""
    is_text, most = isinstance(content, str), min(room, _MOST_PART_BYTES)
    text = content if is_text else f"{json.dumps(content, indent=1)}\n"
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= most:
        return raw
    return raw[len(raw) - most :] if is_text else raw[:most]
