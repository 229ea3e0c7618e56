"""Replaces secrets in texts, in whatever spelling they are there, by `[redacted]`.

Invariant: a secret of eight characters or more is found wherever it stands, whole, by its lines, or
cut off at its end; a shorter one where no letter or digit stands beside it. What is shorter than
four characters, a number, or a word that everything is full of, would take away what the text is
for: it is found behind a name that says what it is, as is what nobody knew.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from heat_config_zaqar.deployment import Transport
from heat_config_zaqar.operate.row import Signal, State
from heat_config_zaqar.operate.terminal import one_line

REDACTED = "[redacted]"
# By so many characters a secret is recognised; what is shorter stands in ordinary words.
_KEY = 8
_SHORTEST = 4
# Longer ones are taken in pieces, so that all their spellings stay small.
_PIECE = 1024
# What `requests` leaves as it is.
_SAFE_IN_URLS = "!#$%&'()*+,/:;=?@[]~"
_NUMBER = re.compile(r"[\d.,-]+")
_ESCAPE_IN_URLS = re.compile("%[0-9A-F]{2}")
_SPECIAL_TO_SHELLS = re.compile(r"([^\w@%+=:,./-])")
# What no spelling but an encoding as a whole changes.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]*")
_URL_SAFE = str.maketrans("+/", "-_")
_ORDINARY = {"true", "false", "none", "null", *State, *Signal, *Transport}
_ORDINARY |= {word.removesuffix("_SIGNAL") for word in Transport} | {"CREATE", "UPDATE", "DELETE"}
# What stands behind a text that was cut: see `brief` and `_shown`.
_CUT_OFF = re.compile(r"\.\.\.|…|;|['\"]?$| \(|['\"]?\n")
_URL_OR_PATH = re.compile(r"\w+://|/")

_QUOTE = r"\\*[\"']?"
_HEADERS = r"authorization|x-[\w-]{0,40}(?:token|temp-url-key)[\w-]{0,9}|cookie"
_NAMES = (
    r"(?:passw(?:or)?d|passphrase|secret|token|private[_-]?key|access[_-]?key|api[_-]?key"
    r"|credential)[\w.-]{0,40}"
)
_KIND = r"[A-Z ]{0,20}PRIVATE KEY"
_PARAMETERS = (
    r"signature|awsaccesskeyid|temp_url_\w+|sig|x-amz-[\w-]+|x-goog-[\w-]+|token|password|key"
)
_VALUE = r"(?:\\*\"(?:[^\"\\]|\\.)*|\\*'[^']*|[^\s\"'\\,;&]+)"
# Each keeps its first group, the name; repetitions are bounded, so that none takes for ever.
_PATTERNS = (
    re.compile(rf"(?s)()-----BEGIN {_KIND}-----(?:.{{0,16384}}?-----END {_KIND}-----|[^\n]*)"),
    re.compile(rf"(?i)((?:{_HEADERS}){_QUOTE}\s*[:=]\s*{_QUOTE})[^\"'\\\r\n]+"),
    re.compile(rf"(?i)((?:[?&;]|%3f|%26|%3b)(?:{_PARAMETERS})(?:=|%3d))(?:(?!%26)[^&;\s\"'<>])+"),
    re.compile(r"(\w://)[^\s\"'/]+@"),
    re.compile(rf"(?i)({_NAMES}{_QUOTE}\s*[:=]\s*){_VALUE}"),
    # Keystone's tokens are Fernet's, or JWS.
    re.compile(r"()\b(?:gAAAA[\w-]{20,}=*|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+)"),
)


class Redactor:
    """Knows the spellings of secrets.

    :param values: the secrets, as they are.
    :param texts: of which whole lines are secrets, in the spellings that a message has.
    """

    def __init__(self, values: Iterable[str] = (), texts: Iterable[str] = ()) -> None:
        self._long: dict[str, list[str]] = {}
        pieces = {piece for value in values for piece in _pieces(value)}
        lines = {piece for text in texts for piece in _pieces(text)} - pieces
        spellings = {
            text
            for found, spelled in ((pieces, _spellings), (lines, _written))
            for piece in found
            if not _is_ordinary(piece)
            for text in spelled(piece)
        }
        for spelling in sorted(spellings, key=len, reverse=True):
            if len(spelling) >= _KEY:
                self._long.setdefault(spelling[:_KEY], []).append(spelling)
        short = [text for text in spellings if len(text) < _KEY and not _is_ordinary(text)]
        words = "|".join(re.escape(text) for text in sorted(short, key=len, reverse=True))
        self._short = re.compile(rf"(?<!\w)(?:{words})(?!\w)") if short else None

    def clean(self, document: Any) -> Any:
        """Return a document, or a text, without secrets; the names in it are not looked at."""
        if isinstance(document, str):
            return self._text(document)
        if isinstance(document, dict):
            return {name: self.clean(below) for name, below in document.items()}
        if isinstance(document, list | tuple):
            return [self.clean(below) for below in document]
        is_number = isinstance(document, int | float) and not isinstance(document, bool)
        return REDACTED if is_number and self._text(str(document)) != str(document) else document

    def _text(self, text: str) -> str:
        text = "".join(self._without_long(text))
        if self._short:
            text = self._short.sub(REDACTED, text)
        for pattern in _PATTERNS:
            text = pattern.sub(lambda found: f"{found[1]}{REDACTED}", text)
        return text

    def _without_long(self, text: str) -> Iterator[str]:
        done, keys = 0, self._long
        # Most of a text is harmless, and passed by in one go.
        for at in [at for at in range(len(text) - _KEY + 1) if text[at : at + _KEY] in keys]:
            end = at + self._length(text, at, keys[text[at : at + _KEY]])
            # Secrets may overlap: what of the second comes after the first is one as well.
            if end > max(at, done):
                if at >= done:
                    yield text[done:at]
                    yield REDACTED
                done = end
        yield text[done:]

    def _length(self, text: str, at: int, spellings: Iterable[str]) -> int:
        """Return how much of a text, from one place on, is a secret; 0 for nothing."""
        longest = 0
        for spelling in spellings:
            if text.startswith(spelling, at):
                return max(len(spelling), longest)
            if not _URL_OR_PATH.match(spelling):
                longest = max(longest, _cut_length(text, at, spelling))
        return longest


def _cut_length(text: str, at: int, spelling: str) -> int:
    """Return how much of a spelling stands there, if the text was cut in the middle of it."""
    length = _KEY
    there = text[at : at + len(spelling)]
    while length < len(there) and there[length] == spelling[length]:
        length += 1
    return length if _CUT_OFF.match(text, at + length) else 0


def _is_ordinary(text: str) -> bool:
    return bool(
        len(text) < _SHORTEST
        or (len(text) < _KEY and _NUMBER.fullmatch(text))
        or not _ORDINARY.isdisjoint((text, text.lower(), text.upper()))
    )


def _pieces(value: str) -> Iterator[str]:
    """Yield a secret, and each line of it: the journal has one line in each entry."""
    if len(value) <= _PIECE:
        yield value
    for line in (value.strip(), *value.splitlines()):
        stripped = line.strip()
        yield from (stripped[at : at + _PIECE] for at in range(0, len(stripped), _PIECE))


def _spellings(value: str) -> Iterator[str]:
    """Yield how a text may stand in another: as it is, escaped, quoted or encoded."""
    yield from _written(value)
    storable = value.encode("utf-8", "backslashreplace")
    raw = storable.decode()
    yield from (storable.hex(), *_base64(storable))
    if _PLAIN.fullmatch(raw):
        return
    for safe in ("", "/", _SAFE_IN_URLS):
        quoted = quote(raw, safe=safe)
        lower = _ESCAPE_IN_URLS.sub(lambda found: found[0].lower(), quoted)
        yield from (quoted, lower, quoted.replace("%20", "+"), lower.replace("%20", "+"))
    yield from (raw, " ".join(raw.split()), raw.replace("$", "$$"), raw.replace("%", "%%"))
    yield from (repr(storable)[2:-1], one_line(value), html.escape(raw))
    yield from (raw.replace("'", "'\\''"), raw.replace("'", "'\"'\"'"))
    yield _SPECIAL_TO_SHELLS.sub(r"\\\1", raw)


def _written(text: str) -> Iterator[str]:
    """Yield a text as it is, as Python shows it, in JSON, and in JSON that stands in JSON."""
    yield text
    if not _PLAIN.fullmatch(text):
        yield repr(text)[1:-1]
        for is_ascii in (True, False):
            once = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
            yield from (once, json.dumps(once, ensure_ascii=is_ascii)[1:-1])


def _base64(raw: bytes) -> Iterator[str]:
    """Yield base64 of bytes, wherever they stand in what is encoded, without their neighbours."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        inside = text[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        yield from (inside, inside.translate(_URL_SAFE))
