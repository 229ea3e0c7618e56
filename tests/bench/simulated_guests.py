"""Many idle guests in one process: the real collector, one thread for each guest.

Run by `load`, which describes the guests in the file that the command line names. Each guest has
its own state and its own queue.
Invariant: a guest does what the agent's loop does between two changes, and nothing else: collect,
wait until the collector wants to be called again.
"""

import json
import logging
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from os_collect_config import collect

from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.settings import parse

_STACK_BYTES = 512 * 1024


class _Complaints(logging.Handler):
    """Counts by kind what is logged as a warning or worse, before a moment and after it."""

    def __init__(self, settled: float) -> None:
        super().__init__(logging.WARNING)
        self.before: Counter[str] = Counter()
        self.after: Counter[str] = Counter()
        self._settled = settled

    def emit(self, record: logging.LogRecord) -> None:
        counter = self.after if record.created > self._settled else self.before
        counter[f"{record.levelname} {record.name}: {record.msg}"] += 1


def main() -> int:
    """Run the guests of the description until its end; print what happened as JSON."""
    description = json.loads(Path(sys.argv[1]).read_text())
    collect.setup_conf()
    collect.CONF([], prog="os-collect-config")
    complaints = _Complaints(description["settled"])
    logging.getLogger().addHandler(complaints)
    guests, end = description["guests"], description["end"]
    threading.stack_size(_STACK_BYTES)
    with ThreadPoolExecutor(len(guests)) as pool:
        collections = list(pool.map(lambda guest: _live(guest, end), guests))
    json.dump(
        {
            "collections": collections,
            "before": complaints.before,
            "complaints": complaints.after,
        },
        sys.stdout,
    )
    return 0


def _live(guest: dict[str, Any], end: float) -> int:
    """Live from the guest's start to the end; return how often it collected."""
    time.sleep(max(guest["start"] - time.time(), 0))
    settings = parse(guest["settings"], guest["name"])
    collector = Collector(settings, settings.state_dir / "applied.json")
    collections = 0
    while time.time() < end:
        collector.collect()
        collections += 1
        collector.wait(min(collect.CONF.polling_interval, max(end - time.time(), 0)))
    return collections


if __name__ == "__main__":
    sys.exit(main())
