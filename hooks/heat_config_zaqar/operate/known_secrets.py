"""The secret values that this guest's files hold, for whoever has to keep them out of a text.

Invariant: what is not known to be harmless is a secret, also in a file that is damaged; what could
not be read is known by name.
"""

import contextlib
import enum
import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from heat_config_zaqar.run.apply import config_file
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import STDERR, STDOUT
from heat_config_zaqar.snapshot import SECTION

# Of Heat's metadata, os-collect-config.conf and our own records: what `status` and `show` print,
# and what only counts or times something.
_HARMLESS = {
    *("id", "name", "group", "creation_time", "type", "description", "error_output", "problem"),
    *("auth_url", "ca_file", "project_id", "queue_id", "region_name", "user_id"),
    *("resource_name", "stack_id", "stack_name"),
    *("cachedir", "collectors", "command", "min_polling_interval", "polling_interval", "splay"),
    *("action", "note", "queue", "sending", "server_id", "transport"),
    *("attempts", "finished", "refused_at", "refused_seconds", "settled", "started"),
    *("boot", "pid", "pid_started", "reboot_due", "reboots"),
    *("configs", "current", "detail", "first", "machine", "since", "state"),
}
_HARMLESS_INPUTS = {
    *("deploy_auth_url", "deploy_project_id", "deploy_region_name", "deploy_user_id"),
    *("deploy_queue_id", "deploy_resource_name", "deploy_server_id", "deploy_stack_id"),
    *("deploy_action", "deploy_signal_transport", "deploy_signal_verb"),
}
# What may be long, and has many lines that are no secret by themselves.
_CONFIG = "config"
_TEXTS = (_CONFIG, STDOUT, STDERR)
_SHORT_TEXT = 256
# Below these, and in metadata beside those, names are somebody else's: they make nothing harmless.
_SECRET_TREES = ("body", _CONFIG, "options", "value")
_KEYS_OF_METADATA = {"deployments", SECTION}
_METADATA = "snapshot"
# Of a token's file the rest is the catalog, which is no secret.
_TOKEN = "auth_token"  # noqa: S105
# os-collect-config's list of its own files.
_LIST_OF_FILES = "os_config_files.json"

_MEMBER = re.compile(r'"([\w-]+)"\s*:\s*"((?:[^"\\]|\\.)*)')
_QUERY = re.compile(r"[?&;][\w.-]+=([^&;#\s]+)")


class Kind(enum.Enum):
    """What a part of a document is, and so which names in it can be relied on."""

    RECORD = enum.auto()
    METADATA = enum.auto()
    SECRET = enum.auto()


class KnownSecrets:
    """What was found by now; a file that has not changed is read once.

    :ivar values: the secrets, as they are.
    :ivar texts: configs and what hooks printed, where that is long: each line is a secret.
    :ivar unread: the files that could not be read, or not in time.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: dict[Path, tuple[int, ...]] = {}
        self.values: set[str] = set(_within(settings.proxy))
        self.texts: set[str] = set()
        self.unread: set[Path] = set()

    def look(self, deadline: float) -> None:
        """Look for what there is now.

        :param deadline: until when, in seconds of the monotonic clock.
        :raises PermissionError: a file is for root alone, and this is not root.
        """
        self.unread = set()
        for path in self._paths():
            if time.monotonic() > deadline:
                self.unread.add(path)
                continue
            try:
                self._read(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if isinstance(error, PermissionError) and os.geteuid() != 0:
                    raise
                self.unread.add(path)

    def _paths(self) -> list[Path]:
        """Return the files, those first that hold logins."""
        current = self._settings
        found = [current.conf_file, current.metadata_file, current.first_metadata, config_file()]
        aside = current.state_dir.parent.glob(f"{current.state_dir.name}.of-*")
        for directory in (current.runtime_dir, current.cache_dir, current.state_dir, *aside):
            if directory.exists() and not os.access(directory, os.R_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "for root alone", str(directory))
            found += sorted(directory.rglob("*.json*"))
        return [path for path in found if path.name != _LIST_OF_FILES]

    def _read(self, path: Path) -> None:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if self._seen.get(path) == stamp:
            return
        text = path.read_bytes().decode("utf-8", "replace")
        if path.is_relative_to(self._settings.token_dir):
            self.values.update(_tokens(text))
        else:
            current = self._settings
            is_cache = path.is_relative_to(current.cache_dir) or path == current.first_metadata
            self.add(text, Kind.METADATA if is_cache else Kind.RECORD)
        self._seen[path] = stamp

    def add(self, text: str, kind: Kind) -> None:
        """Take the secrets from the text of a file."""
        for key, value in _secrets(text, kind):
            if key in _TEXTS and len(value) > _SHORT_TEXT:
                self.texts.add(value)
                self.values.update(_assigned(value) if key == _CONFIG else ())
            else:
                self.values.update(_within(value))


def _secrets(text: str, kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield name and value of the secrets in a file; of one that is no JSON, what can be read."""
    with contextlib.suppress(ValueError, RecursionError):
        yield from _leaves(json.loads(text), kind)
        return
    for key, value in _MEMBER.findall(text):
        if key not in _HARMLESS:
            yield key, _unescaped(value)
    for line in set(text.splitlines()):
        key = re.split("[=:]", line, maxsplit=1)[0].strip()
        if key not in _HARMLESS and line[:1] != "[":
            yield from ((key, value.replace("$$", "$")) for value in (line, *_assigned(line)))


def _assigned(text: str) -> Iterator[str]:
    """Yield what comes after an equals sign or a colon, to the end of the line."""
    for line in set(text.splitlines()):
        for sign in "=:":
            value = line.partition(sign)[2].strip()
            yield from (value, value.strip("\"'"))


def _tokens(text: str) -> Iterator[str]:
    """Yield the tokens in a file of keystoneauth's, which is JSON inside JSON."""
    unwrapped = text
    with contextlib.suppress(ValueError, RecursionError):
        inner = json.loads(text)
        unwrapped = inner if isinstance(inner, str) else text
    yield from (_unescaped(value) for key, value in _MEMBER.findall(unwrapped) if key == _TOKEN)


def _leaves(document: Any, kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield name and value of all that is not known to be harmless; numbers as JSON has them."""
    waiting: list[tuple[Any, str, Kind]] = [(document, "", kind)]
    while waiting:
        item, key, kind = waiting.pop()
        if isinstance(item, dict):
            harmless = _harmless_member(item) if kind is Kind.RECORD else ""
            waiting += [
                (below, name, _kind_of(name, kind))
                for name, below in item.items()
                if name != harmless
            ]
        elif isinstance(item, list):
            waiting += [(below, key, kind) for below in item]
        elif isinstance(item, bool | None) or (kind is Kind.RECORD and key in _HARMLESS):
            continue
        else:
            yield key, item if isinstance(item, str) else json.dumps(item)


def _harmless_member(item: dict[str, Any]) -> str:
    """Return `value` where this is an input of Heat's own that tells nothing."""
    is_text = isinstance(item.get("name"), str) and isinstance(item.get("value"), str)
    return "value" if is_text and item["name"] in _HARMLESS_INPUTS else ""


def _kind_of(name: str, kind: Kind) -> Kind:
    """Return what a member of a part of a document is."""
    if kind is Kind.METADATA:
        return Kind.RECORD if name in _KEYS_OF_METADATA else Kind.SECRET
    if kind is Kind.SECRET or name not in (*_SECRET_TREES, _METADATA):
        return kind
    return Kind.METADATA if name == _METADATA else Kind.SECRET


def _within(value: str) -> Iterator[str]:
    """Yield a secret and what in it may be told without the rest: parts of URLs, and of JSON."""
    yield value
    logins = [word.partition("://")[2].rpartition("@")[0] for word in value.split() if "@" in word]
    passwords = [login.partition(":")[2] or login for login in logins]
    for found in (*passwords, *_QUERY.findall(value)):
        yield from (found, unquote(found))
    if value.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            yield from (below for _, below in _leaves(json.loads(value), Kind.SECRET))


def _unescaped(literal: str) -> str:
    with contextlib.suppress(ValueError):
        return str(json.loads(f'"{literal}"'))
    return literal
