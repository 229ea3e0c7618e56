"""os-collect-config as the guest runs it: upstream's main with our collector and our sleep.

Invariant: the command line, the other collectors and the cache are upstream's; only what reads
the `zaqar` source, how long the loop sleeps and who may read the cache are ours.
"""

import contextlib
import functools
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

from heat_config_zaqar.collect import sources
from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.collect.ownership import await_ownership
from heat_config_zaqar.errors import CorruptFileError, ForeignStateError, SettingsError
from heat_config_zaqar.settings import Settings, load
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state import doubts, durable
from heat_config_zaqar.state.outbox import Outbox

# What os-refresh-config and the hooks expect, and what no file of ours is to have.
_COMMAND_UMASK = 0o022
_OWN_UMASK = 0o077

_ONE_TIME = {"--one-time", "--print"}

_LOG = logging.getLogger(__name__)
_collect_all = collect.collect_all


def main() -> int:
    """Run os-collect-config; the entry point of the service and of `os-collect-config`."""
    try:
        settings = load()
    except SettingsError as error:
        print(f"os-collect-config: {error}", file=sys.stderr)
        return 2
    if settings.insecure:
        print("warning: certificates are not verified: insecure = true", file=sys.stderr)
    try:
        await_ownership(settings, forever=not _ONE_TIME.intersection(sys.argv))
    except (ForeignStateError, OSError) as error:
        print(f"os-collect-config: {error}", file=sys.stderr)
        return 1
    sources.take_proxies_from(settings)
    install(settings)
    return collect.main(sys.argv) or 0


def install(settings: Settings) -> None:
    """Put ours where upstream's main finds it: it has a fixed table of collectors and no hooks."""
    # shutil copies the cache with the process's umask before it sets the mode.
    os.umask(_OWN_UMASK)
    run = functools.partial(subprocess.check_call, umask=_COMMAND_UMASK)
    failed = subprocess.CalledProcessError
    collect.subprocess = SimpleNamespace(check_call=run, CalledProcessError=failed)
    # Of the option `splay`, which is a float: randrange takes none since Python 3.12.
    collect.random = SimpleNamespace(randrange=random.uniform)
    keeper = _Keeper(settings)
    collect.time = SimpleNamespace(sleep=keeper.sleep)
    collect.collect_all = keeper.collect_all
    collect.COLLECTORS["zaqar"] = SimpleNamespace(Collector=keeper.collector, name="zaqar")
    sources.guard()


class _Keeper:
    """Keeps one collector for the life of the process; upstream makes a new one each time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._collector: Collector | None = None

    def collector(self) -> Collector:
        if self._collector is None:
            self._collector = Collector(self._settings, Path(collect.CONF.cachedir) / "zaqar.json")
        return self._collector

    def collect_all(self, *arguments: Any, **more: Any) -> tuple[set[str], Any]:
        """Ask each source; where the disk refuses, nothing has changed for now."""
        # Upstream lets SIGPIPE end the process; a connection that broke is no reason to.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        try:
            found: tuple[set[str], Any] = _collect_all(*arguments, **more)
        except OSError as error:
            _LOG.error("%s; nothing is collected for now", error)
            return set(), []
        with contextlib.suppress(OSError, CorruptFileError):
            self._note_collected(found[1])
        return found

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
            self._collector.wait(collect.CONF.polling_interval)
            return
        time.sleep(seconds)
