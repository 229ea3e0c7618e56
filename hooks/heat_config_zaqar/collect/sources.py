"""os-collect-config's sources, guarded: what one of them says ends nothing and costs no other.

Upstream's main ends with whatever a source raises, makes a cache file of each name that it is told,
and complains in each round.
Invariant: whatever a source finds, names that leave here can be cache files and are no other
source's; the same complaint is logged once in ten minutes, without what follows a URL's `?`.
"""

import contextlib
import functools
import hashlib
import locale
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import requests
from os_collect_config import cache, collect, exc, local, merger

from heat_config_zaqar.deployment import Credentials, Deployment, parse_deployment
from heat_config_zaqar.errors import HeatConfigError, InvalidMetadataError, PermanentError
from heat_config_zaqar.nesting import MOST_LEVELS, too_deep
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.presigned import PresignedSession
from heat_config_zaqar.wire.session import Connection, proxy_for

_UNGROUPED = "Heat::Ungrouped"
_APPLIED = ("os-apply-config", _UNGROUPED)
_LONGEST_NAME = 200
_RESERVED = {*collect.COLLECTORS, "os_config_files"}
_QUIET_SECONDS = 600
# Around what was judged by itself: the map, its list, a deployment.
_LEVELS_OF_A_SNAPSHOT = 3
# What differs each time, and what may be the signature of a pre-signed URL.
_VOLATILE = re.compile(r"0x[0-9a-f]+|\?\S+")

_LOG = logging.getLogger(__name__)


def guard() -> None:
    """Put a guard before each source that os-collect-config has."""
    quiet = _Quiet()
    for logger in (__name__, "os-collect-config", *(f"os_collect_config.{n}" for n in _RESERVED)):
        logging.getLogger(logger).addFilter(quiet)
    for name, module in collect.COLLECTORS.items():
        guarded = functools.partial(_Source, name, module.Collector)
        collect.COLLECTORS[name] = SimpleNamespace(Collector=guarded, name=name)
    merger.merged_list_from_content = merged
    collect.cache = SimpleNamespace(**{**vars(cache), "store": _store})
    # It restores a locale that it cannot always name, to sort by code points.
    neutral = {"getlocale": str, "setlocale": lambda *_: None, "strxfrm": str}
    local.locale = SimpleNamespace(**{**vars(locale), **neutral})


def take_proxies_from(settings: Settings) -> None:
    """Have this process's sources use the settings' proxy: `requests` asks the environment."""

    def proxies(url: str, no_proxy: str | None = None) -> dict[str, str]:  # noqa: ARG001
        proxy = proxy_for(url, settings)
        return {"http": proxy, "https": proxy} if proxy else {}

    for module in (requests.sessions, requests.utils):
        vars(module)["get_environ_proxies"] = proxies


def deployments_now(
    server_id: str, settings: Settings, connect: Callable[[Credentials], Connection]
) -> list[Deployment]:
    """Ask the first source that os-collect-config.conf has for what there is now; store nothing.

    Not for programs that run os-collect-config itself, whose options this sets.

    :raises TemporaryError, PermanentError: it cannot be asked, or there is none.
    """
    try:
        options = dict(_configured(settings.conf_file).heat)
    except (collect.cfg.Error, OSError, ValueError) as error:
        raise PermanentError(f"{settings.conf_file}: {type(error).__name__}") from None
    if server_id and options["auth_url"] and options["password"]:
        # Upstream's `heat` logs in anew each time, and waits for an answer without end.
        keys = ("auth_url", "user_id", "project_id", "region_name", "password")
        login = Credentials(**{key: options[key] or "" for key in keys})
        answer = heat.deployments_of_server(connect(login), server_id)
        return deployments_of({"deployments": answer})
    # What our session raises is to come through.
    nothing = SimpleNamespace(RequestException=())
    client = SimpleNamespace(
        Session=functools.partial(PresignedSession, settings), exceptions=nothing
    )
    for name in ("cfn", "request", "local"):
        try:
            pairs = collect.COLLECTORS[name].Collector(requests_impl=client).collect()
        except exc.SourceNotConfigured as error:
            if isinstance(error.__cause__, HeatConfigError):
                raise error.__cause__ from None
            continue
        found = [content for _, content in pairs if isinstance(content, dict)]
        if found:
            return [item for content in found for item in deployments_of(content)]
    raise PermanentError(f"{settings.conf_file} names no source that has anything")


@functools.cache
def _configured(path: Path) -> Any:
    collect.setup_conf()
    files = [str(path)] if path.exists() else []
    collect.CONF([], default_config_files=files, default_config_dirs=[])
    guard()
    return collect.CONF


def merged(content: Any, keys: list[str], source: str) -> list[tuple[Any, Any]]:
    """Return the content, and after it each deployment for os-apply-config, as (name, config)."""
    pairs = [(source, content)]
    found = [content.get(key) for key in keys] if isinstance(content, dict) else []
    for item in (item for listed in found if isinstance(listed, list) for item in listed):
        if not isinstance(item, dict) or item.get("group", _UNGROUPED) not in _APPLIED:
            continue
        if "name" in item and "config" in item:
            pairs.append((item["name"], _without(keys, item["config"])))
        else:
            _LOG.warning("ignored a deployment without name or config: %s", item.get("id"))
    return pairs


def _signalled(listed: list[Any]) -> Iterator[Any]:
    """Yield each entry, of a deployment that is nested too deep what its signal needs."""
    for item in listed:
        if not too_deep(item):
            yield item
            continue
        with contextlib.suppress(InvalidMetadataError):
            yield parse_deployment(item).document


def _without(keys: list[str], config: Any) -> Any:
    """Return a config for os-apply-config, which would merge another list of deployments."""
    if not isinstance(config, dict):
        return config
    return {key: value for key, value in config.items() if key not in keys}


def file_name(source: str, name: Any) -> str:
    """Return what to call the cache file of what a source names so.

    :param source: the one name of another source's file that it may have; empty for none.
    """
    text = str(name)
    raw = text.encode("utf-8", "backslashreplace")
    # A colon ends a path in OS_CONFIG_FILES.
    usable = len(raw) <= _LONGEST_NAME and not re.search(r"[/:\0\ud800-\udfff]", text)
    if text == source or (usable and text not in _RESERVED):
        return text
    return hashlib.sha256(raw).hexdigest()


def _store(name: str, content: Any) -> tuple[bool, str]:
    try:
        changed, path = cache.store(name, content)
    except (ValueError, RecursionError) as error:
        # What was committed last cannot be read, as after a full disk; the new file is there.
        _LOG.warning("%s.json.last: %s; it counts as changed", name, error)
        return True, cache.get_path(name)
    return changed, path


class _Source:
    """One source; upstream makes a new one for each round."""

    def __init__(self, name: str, make: Callable[..., Any], **more: Any) -> None:
        self._name = name
        self._make = functools.partial(make, **more)

    def collect(self) -> list[tuple[str, Any]]:
        """Return (name of a cache file, content) pairs.

        :raises SourceNotConfigured: there is nothing; the reason was logged.
        """
        try:
            pairs = self._make().collect()
        except (exc.SourceNotAvailable, exc.SourceNotConfigured) as error:
            # Of a source that is not available upstream's main complains in each round.
            raise exc.SourceNotConfigured from error
        except Exception as error:
            # Whatever it is: the other sources, and the next round, must go on.
            _LOG.error("source %s cannot be used: %r", self._name, error)
            raise exc.SourceNotConfigured from error
        # The first pair is the source itself; what follows is named by whoever wrote a template.
        sources = (self._name, *("" for _ in pairs[1:]))
        named = [
            (file_name(source, name), content)
            for source, (name, content) in zip(sources, pairs, strict=False)
        ]
        return [(name, self._shallow(name, content)) for name, content in named]

    def _shallow(self, name: str, content: Any) -> Any:
        """Return what nobody has to recurse into too deep; a deployment that is says so itself."""
        if not too_deep(content, MOST_LEVELS + _LEVELS_OF_A_SNAPSHOT):
            return content
        _LOG.error("left out a part of %s of source %s: nested too deep", name, self._name)
        found = content if isinstance(content, dict) else {}
        lists = {key: value for key, value in found.items() if isinstance(value, list)}
        others = {key: value for key, value in found.items() if not too_deep(value)}
        return {**others, **{key: list(_signalled(value)) for key, value in lists.items()}}


class _Quiet(logging.Filter):
    """Lets a complaint pass once in ten minutes; what the main loop itself says always."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be logged."""
        if record.module == "collect":
            return True
        if record.module == "config_drive" and "blkid" in record.getMessage():
            # So it ends on each machine that has no such drive.
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        record.msg, record.args = _VOLATILE.sub("…", record.getMessage()), None
        now = time.monotonic()
        lately = {text: at for text, at in self._passed.items() if now - at < _QUIET_SECONDS}
        self._passed = {record.msg: now, **lately}
        return record.msg not in lately
