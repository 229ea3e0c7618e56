"""Where guests are measured: the cloud, its servers, what watches it, and where files go."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.cloud import Cloud
from tests.bench.control_plane import Meter
from tests.bench.servers import Servers
from tests.bench.store_monitor import StoreMonitor


@dataclass(frozen=True)
class Site:
    """One run's surroundings.

    :param directory: for the guests' files; new.
    :param runtime: the same in memory, for what a guest has in /run.
    :param progress: says what is going on.
    """

    cloud: Cloud
    servers: Servers
    meter: Meter
    monitor: StoreMonitor
    directory: Path
    runtime: Path
    progress: Callable[[str], None]
