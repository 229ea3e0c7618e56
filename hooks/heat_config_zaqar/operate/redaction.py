"""Takes the secrets that this guest's files hold out of texts; `[redacted]` stands in their places.

Invariant: what is not known to be harmless is a secret, also in a file that is damaged. One of
eight characters or more is found wherever it stands, whole or cut off, in the spellings that a
message has; a shorter one where no letter or digit stands beside it. What is shorter than four, a
number, or a word of our own would take away what the text is for: it is found behind a name that
says what it is, as is what nobody knew.
"""

import contextlib
import errno
import itertools
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from heat_config_zaqar.deployment import Transport
from heat_config_zaqar.operate.row import Signal, State
from heat_config_zaqar.run.apply import config_file
from heat_config_zaqar.settings import SETTINGS_FILE, SETTINGS_VARIABLE, Settings
from heat_config_zaqar.snapshot import SECTION

REDACTED = "[redacted]"
# Of Heat's metadata, os-collect-config.conf and our own records: what `status` and `show` print,
# and what only counts or times something.
_HARMLESS = {
    *("id", "name", "group", "creation_time", "type", "description", "error_output", "problem"),
    *("auth_url", "ca_file", "project_id", "queue_id", "region_name", "user_id"),
    *("resource_name", "stack_id", "stack_name"),
    *("cachedir", "collectors", "command", "min_polling_interval", "polling_interval", "splay"),
    *("action", "note", "queue", "sending", "sent_at", "server_id", "transport"),
    *("attempts", "finished", "refused_at", "refused_seconds", "settled", "started"),
    *("boot", "pid", "pid_started", "reboot_due", "reboots"),
    *("configs", "current", "detail", "first", "machine", "since", "state"),
}
_HARMLESS_INPUTS = {
    *("deploy_auth_url", "deploy_project_id", "deploy_region_name", "deploy_user_id"),
    *("deploy_queue_id", "deploy_resource_name", "deploy_server_id", "deploy_stack_id"),
    *("deploy_action", "deploy_signal_transport", "deploy_signal_verb"),
}
# Below these, and in metadata beside those, names are somebody else's: they make nothing harmless.
_SECRET_TREES = {"body", "config", "options", "value"}
_OF_METADATA = {"deployments", SECTION}
_METADATA = "snapshot"
# os-collect-config's list of its own files.
_LIST_OF_FILES = "os_config_files.json"

# By so many characters a secret is recognised; what is shorter stands in ordinary words.
_KEY = 8
_SHORTEST = 4
_NUMBER = re.compile(r"[\d.,-]+")
_ORDINARY = {"true", "false", "none", "null", *State, *Signal, *Transport}
_ORDINARY |= {"CREATE", "UPDATE", "DELETE", "SUSPEND", "RESUME", "ROLLBACK"}
# What stands behind a text that was cut.
_CUT_OFF = re.compile(r"\.\.\.|…|['\"]?$| \(|['\"]?\n")
# What is spelled in one way only.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]*")
# A URL's parameters, and the password of its login.
_IN_URLS = re.compile(r"(?<=[=:])[^&;#\s/@]+(?=[&;#\s@]|$)")
_MEMBER = re.compile(r'"([\w-]+)"\s*:\s*"((?:[^"\\]|\\.)*)')
_QUOTE = r"\\*[\"']?"
_NAMES = (
    r"(?:passw(?:or)?d|passphrase|secret|token|private[_-]?key|access[_-]?key|api[_-]?key"
    r"|credential|temp-url-key)[\w.-]{0,40}"
)
# Each keeps its first group, the name; repetitions are bounded, so that none takes for ever.
_PATTERNS = (
    re.compile(rf"(?i)((?:authorization|cookie|x-[\w-]{{0,40}}(?:token|key)){_QUOTE}\s*[:=]).+"),
    re.compile(r"()-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----.*"),
    re.compile(rf"(?i)({_NAMES}{_QUOTE}\s*[:=]).+"),
    re.compile(r"()(?:\?|%3[fF])\S+"),
    re.compile(r"(\w://)[^\s\"'/]+@"),
    # Keystone's tokens are Fernet's, or JWS.
    re.compile(r"()\b(?:gAAAA[\w-]{20,}=*|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+)"),
)


class Secrets:
    """What was found by now; a file that has not changed is read once.

    :ivar unread: the files that could not be read, or not in time.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: dict[Path, tuple[int, ...]] = {}
        self._values = {settings.proxy}
        self.unread: set[Path] = set()

    def look(self, deadline: float) -> None:
        """Look for what there is now.

        :param deadline: until when, in seconds of the monotonic clock.
        :raises PermissionError: a file is for root alone, and this is not root.
        """
        self.unread = set()
        for path in self._paths():
            try:
                if time.monotonic() > deadline:
                    raise TimeoutError
                self._read(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if isinstance(error, PermissionError) and os.geteuid() != 0:
                    raise
                self.unread.add(path)

    def redactor(self) -> "Redactor":
        """Return what takes the secrets out that are known by now."""
        return Redactor(self._values)

    def _paths(self) -> list[Path]:
        """Return the files, those first that hold logins."""
        current = self._settings
        own = Path(os.environ.get(SETTINGS_VARIABLE, SETTINGS_FILE))
        found = [own, current.conf_file, current.first_metadata, config_file()]
        aside = current.state_dir.parent.glob(f"{current.state_dir.name}.of-*")
        for directory in (current.runtime_dir, current.cache_dir, current.state_dir, *aside):
            if directory.exists() and not os.access(directory, os.R_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "for root alone", str(directory))
            found += sorted(directory.rglob("*.json*"))
        return [path for path in found if path.name != _LIST_OF_FILES]

    def _read(self, path: Path) -> None:
        status = path.stat()
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        if stat.S_ISDIR(status.st_mode) or self._seen.get(path) == stamp:
            return
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        current, text = self._settings, path.read_bytes().decode("utf-8", "replace")
        if current.token_dir in path.parents:
            self._values.update(_token_in(text))
        else:
            is_metadata = current.cache_dir in path.parents or path == current.first_metadata
            self._values.update(_secrets_in(text, is_metadata))
        self._seen[path] = stamp


class Redactor:
    """Knows the spellings of secrets.

    :param secrets: as they are; a line of one is one as well.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._long: dict[str, list[str]] = {}
        lines = {line for secret in secrets for line in (secret, *secret.splitlines())}
        pieces = lines | {line.strip() for line in lines}
        found = {text for piece in pieces if not _is_ordinary(piece) for text in _spellings(piece)}
        for spelling in sorted(found, key=len, reverse=True):
            if len(spelling) >= _KEY:
                self._long.setdefault(spelling[:_KEY], []).append(spelling)
        short = sorted(map(re.escape, (text for text in found if len(text) < _KEY)), reverse=True)
        self._short = re.compile(rf"(?<!\w)(?:{'|'.join(short)})(?!\w)" if short else "(?!)")

    def clean(self, document: Any) -> Any:
        """Return a document, or a text, without secrets; the names in it are not looked at."""
        if isinstance(document, dict):
            return {name: self.clean(below) for name, below in document.items()}
        if isinstance(document, list):
            return [self.clean(below) for below in document]
        if isinstance(document, bool | None):
            return document
        text = document if isinstance(document, str) else json.dumps(document)
        cleaned = self._text(text)
        return document if cleaned == text else cleaned

    def _text(self, text: str) -> str:
        text = "".join(self._without_long(text))
        text = self._short.sub(REDACTED, text)
        for pattern in _PATTERNS:
            text = pattern.sub(lambda found: f"{found[1]}{REDACTED}", text)
        return text

    def _without_long(self, text: str) -> Iterator[str]:
        done, keys = 0, self._long
        # Most of a text is harmless, and passed by in one go.
        for at in [at for at in range(len(text) - _KEY + 1) if text[at : at + _KEY] in keys]:
            end = at + max(_length(text, at, spelling) for spelling in keys[text[at : at + _KEY]])
            # Secrets may overlap: what of the second comes after the first is one as well.
            if end > max(at, done):
                if at >= done:
                    yield text[done:at]
                    yield REDACTED
                done = end
        yield text[done:]


def _length(text: str, at: int, spelling: str) -> int:
    """Return how much of a spelling stands there: all, or what is left of one that was cut."""
    pairs = zip(text[at : at + len(spelling)], spelling, strict=False)
    length = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return length if length == len(spelling) or _CUT_OFF.match(text, at + length) else 0


def _is_ordinary(text: str) -> bool:
    is_number = len(text) < _KEY and _NUMBER.fullmatch(text)
    words = {text, text.lower(), text.upper()}
    return len(text) < _SHORTEST or bool(is_number) or not _ORDINARY.isdisjoint(words)


def _spellings(text: str) -> Iterator[str]:
    """Yield how a text may stand in a message: as it is, as Python shows it, in JSON, in a URL."""
    if _PLAIN.fullmatch(text):
        yield text
        return
    storable = text.encode("utf-8", "backslashreplace").decode()
    once = json.dumps(text)[1:-1]
    yield from (text, repr(text)[1:-1], once, json.dumps(once)[1:-1])
    yield from (json.dumps(text, ensure_ascii=False)[1:-1], " ".join(text.split()))
    yield from (quote(storable), quote(storable, safe=""), quote_plus(storable))


def _token_in(text: str) -> Iterator[str]:
    """Yield the token in a file of keystoneauth's, JSON inside JSON; the rest is the catalog."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        yield str(json.loads(json.loads(text))["auth_token"])
        return
    yield from _secrets_in(text, is_metadata=False)


def _secrets_in(text: str, is_metadata: bool) -> Iterator[str]:
    """Yield the secrets in the text of a file; of one that is no JSON, what can be read."""
    with contextlib.suppress(ValueError, RecursionError):
        yield from _leaves(json.loads(text), is_metadata)
        return
    for key, value in _MEMBER.findall(text):
        if key not in _HARMLESS:
            with contextlib.suppress(ValueError):
                yield json.loads(f'"{value}"')
    for line in set(text.splitlines()):
        key = re.split("[=:]", line, maxsplit=1)[0].strip()
        if key not in _HARMLESS and line[:1] != "[":
            yield from _within(line.replace("$$", "$"))


def _leaves(document: Any, is_metadata: bool) -> Iterator[str]:
    """Yield all that is not known to be harmless; numbers as JSON has them.

    :param is_metadata: at the top stand names that Heat's users chose, beside Heat's.
    """
    # Whether names say what is harmless: below a part of the user's they do not.
    waiting: list[tuple[Any, str, bool]] = [(document, _METADATA if is_metadata else "", True)]
    while waiting:
        item, key, is_ours = waiting.pop()
        if isinstance(item, dict):
            waiting += _members(item, key, is_ours)
        elif isinstance(item, list):
            waiting += [(below, key, is_ours) for below in item]
        elif not isinstance(item, bool | None) and not (is_ours and key in _HARMLESS):
            yield from _within(item if isinstance(item, str) else json.dumps(item))


def _members(item: dict[str, Any], key: str, is_ours: bool) -> Iterator[tuple[Any, str, bool]]:
    is_input = is_ours and isinstance(item.get("value"), str)
    for name, below in item.items():
        if is_input and name == "value" and item.get("name") in _HARMLESS_INPUTS:
            continue
        if key == _METADATA and is_ours:
            yield below, name, name in _OF_METADATA
        else:
            yield below, name, is_ours and name not in _SECRET_TREES


def _within(value: str) -> Iterator[str]:
    """Yield a secret, and what in it may be told without the rest, of URLs, code and JSON."""
    yield value
    for line in value.splitlines():
        for sign in "=:":
            found = line.partition(sign)[2].strip()
            yield from (found, found.strip("\"'"))
    if "://" in value:
        yield from map(unquote, _IN_URLS.findall(value))
    if value.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            inner = json.loads(value)
            if isinstance(inner, dict | list):
                yield from _leaves({"value": inner}, is_metadata=False)
