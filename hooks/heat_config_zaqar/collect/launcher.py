"""os-collect-config as the guest runs it: upstream's main with our collector and our sleep.

Invariant: the command line, the other collectors and the cache are upstream's; only what reads
the `zaqar` source and how long the loop sleeps are ours.
"""

import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from os_collect_config import collect

from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.errors import SettingsError
from heat_config_zaqar.settings import Settings, load
from heat_config_zaqar.state import durable


def main() -> int:
    """Run os-collect-config; the entry point of the service and of `os-collect-config`."""
    try:
        settings = load()
    except SettingsError as error:
        print(f"os-collect-config: {error}", file=sys.stderr)
        return 2
    if settings.insecure:
        print("warning: certificates are not verified: insecure = true", file=sys.stderr)
    install(settings)
    return collect.main(sys.argv) or 0


def install(settings: Settings) -> None:
    """Put our collector and our sleep where upstream's main finds them.

    os-collect-config has a fixed table of collectors, and its sleep grows to 30 s and stays.
    """
    keeper = _Keeper(settings)
    collect.COLLECTORS["zaqar"] = SimpleNamespace(Collector=keeper.collector, name="zaqar")
    collect.time = SimpleNamespace(sleep=keeper.sleep)


class _Keeper:
    """Keeps one collector for the life of the process; upstream makes a new one each time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._collector: Collector | None = None

    def collector(self) -> Collector:
        if self._collector is None:
            # Upstream lets SIGPIPE end the process; a connection that broke is no reason to.
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            self._collector = Collector(self._settings, Path(collect.CONF.cachedir) / "zaqar.json")
        return self._collector

    def sleep(self, seconds: float) -> None:
        """Sleep until the queue is to be read again; as upstream asks where there is no queue."""
        if self._collector is not None and self._collector.login() is not None:
            self._collector.wait(collect.CONF.polling_interval)
            return
        if not self._settings.collected_file.exists():
            durable.write_json(self._settings.collected_file, time.time())
        time.sleep(seconds)
