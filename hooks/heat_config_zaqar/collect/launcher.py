"""os-collect-config as the guest runs it: upstream's main with our collector and our sleep.

Invariant: the command line, the other collectors and the cache are upstream's; only what reads
the `zaqar` source, how long the loop sleeps and who may read the cache are ours.
"""

import contextlib
import functools
import hashlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from os_collect_config import collect

from heat_config_zaqar import version
from heat_config_zaqar.collect import sources
from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.collect.ownership import await_ownership
from heat_config_zaqar.collect.service import Service, sleep
from heat_config_zaqar.errors import CorruptFileError, ForeignStateError, SettingsError
from heat_config_zaqar.events import Event
from heat_config_zaqar.log import log_to_journal
from heat_config_zaqar.settings import Settings, load
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state import doubts, durable, identity
from heat_config_zaqar.state.outbox import Outbox

# What os-refresh-config and the hooks expect, and what no file of ours is to have.
_COMMAND_UMASK = 0o022
_OWN_UMASK = 0o077

_ONE_TIME = {"--one-time", "--print", "--force"}

_LOG = logging.getLogger(__name__)
_collect_all = collect.collect_all


def main() -> int:
    """Run os-collect-config; the entry point of the service and of `os-collect-config`."""
    log_to_journal()
    is_service = not _ONE_TIME.intersection(sys.argv)
    if not is_service:
        # Whoever calls us so is the service, where there is one.
        os.environ.pop("NOTIFY_SOCKET", None)
    try:
        settings = load()
    except SettingsError as error:
        _LOG.error("os-collect-config: %s", error)
        return 2
    if settings.insecure:
        _LOG.warning("warning: certificates are not verified: insecure = true")
    try:
        await_ownership(settings, is_service, Service(settings).moves)
    except (ForeignStateError, OSError) as error:
        _LOG.error("os-collect-config: %s", error)
        return 1
    sources.take_proxies_from(settings)
    install(settings)
    return collect.main(sys.argv) or 0


def install(settings: Settings) -> None:
    """Put ours where upstream's main finds it: it has a fixed table of collectors and no hooks."""
    # shutil copies the cache with the process's umask before it sets the mode.
    os.umask(_OWN_UMASK)
    service = Service(settings)
    run = functools.partial(service.call, umask=_COMMAND_UMASK)
    failed = subprocess.CalledProcessError
    collect.subprocess = SimpleNamespace(check_call=run, CalledProcessError=failed)
    # Of the option `splay`, which is a float: randrange takes none since Python 3.12.
    collect.random = SimpleNamespace(randrange=random.uniform)
    keeper = _Keeper(settings, service)
    collect.time = SimpleNamespace(sleep=keeper.sleep)
    collect.collect_all = keeper.collect_all
    collect.COLLECTORS["zaqar"] = SimpleNamespace(Collector=keeper.collector, name="zaqar")
    sources.guard()


class _Keeper:
    """Keeps one collector for the life of the process; upstream makes a new one each time."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self._settings = settings
        self._service = service
        self._received: dict[str, str] | None = None
        self._collector: Collector | None = None

    def collector(self) -> Collector:
        if self._collector is None:
            self._collector = Collector(self._settings, Path(collect.CONF.cachedir) / "zaqar.json")
        return self._collector

    def collect_all(self, *arguments: Any, **more: Any) -> tuple[set[str], Any]:
        """Ask each source; where the disk refuses, nothing has changed for now."""
        # Upstream lets SIGPIPE end the process; a connection that broke is no reason to.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._service.moves()
        try:
            found: tuple[set[str], Any] = _collect_all(*arguments, **more)
        except OSError as error:
            _LOG.error("%s; nothing is collected for now", error)
            return set(), []
        with contextlib.suppress(OSError, CorruptFileError):
            self._note_collected(found[1])
        with contextlib.suppress(OSError):
            self._say(found[0])
        return found

    def _say(self, changed: set[str]) -> None:
        """Say once that the loop runs, and each time that a source has what it had not before.

        What the command failed on counts as changed until it does not.
        """
        if self._received is None:
            self._received = {}
            if not (collect.CONF.one_time or collect.CONF.print_only):
                # What is wrong with it has been said.
                _say_started(self._service.connection().partition(":")[0])
        paths = {name: Path(collect.cache.get_path(name)) for name in sorted(changed)}
        now = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
        if new := [name for name in now if self._received.get(name) != now[name]]:
            self._received |= now
            received = Event.METADATA_RECEIVED.extra
            _LOG.info("metadata received: %s", ", ".join(new), extra=received)

    def _note_collected(self, found: Any) -> None:
        """Note that there was metadata since the boot where no queue is read, and what is doubtful.

        As `Receiver` does where one is: doubtful is what is unfinished when metadata first comes
        after a boot, but for a guest that has never run anything.

        :param found: the content of each source, or the files with it.
        """
        if self._reads_queue() or self._settings.collected_file.exists():
            return
        read = (durable.read_json(Path(path)) for path in found)
        contents = found.values() if isinstance(found, dict) else read
        snapshots = [item for item in contents if isinstance(item, dict) and "deployments" in item]
        outbox = Outbox(self._settings.state_dir)
        if snapshots and any(outbox.records()):
            known = {item.id for snapshot in snapshots for item in deployments_of(snapshot)}
            doubts.note(self._settings, outbox, known)
        if snapshots:
            durable.write_json(self._settings.collected_file, time.time())

    def _reads_queue(self) -> bool:
        return self._collector is not None and self._collector.configured

    def sleep(self, seconds: float) -> None:
        """Sleep until the queue is to be read again; as upstream asks where there is no queue."""
        if self._collector is not None and self._reads_queue():
            self._collector.wait(collect.CONF.polling_interval, self._service.moves)
            return
        sleep(seconds, self._service.moves)


def _say_started(connection: str) -> None:
    names = (os.uname().nodename, identity.server_id(()))
    _LOG.info(
        "version %s started on %s: %s",
        version(),
        " ".join(filter(None, names)),
        connection,
        extra=Event.AGENT_STARTED.extra,
    )
