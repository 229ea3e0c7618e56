"""The benchmark's command line: `python -m tests.bench run`, see docs/performance.md.

Invariant: a part that ran replaces its own results in build/bench/results.json and no other's, so
that parts can be run one by one; and a load of some guests that of as many.
"""

import argparse
import dataclasses
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from testbed.cloud import Cloud
from testbed.isolated import require_isolation
from tests.bench import delivery, deployments, herd, load, ours, report, signals, upstream
from tests.bench.control_plane import Meter
from tests.bench.guests import KINDS
from tests.bench.scale import FULL, QUICK, Scale
from tests.bench.servers import Servers
from tests.bench.site import Site
from tests.bench.store_monitor import StoreMonitor

_BUILD = ours.REPOSITORY / "build"
_HOME = _BUILD / "bench"
_RESULTS = _HOME / "results.json"
_RESULTS_OF_A_TRIAL = _HOME / "quick.json"
_ALONE_SECONDS = 60.0


def main() -> int:
    """Run one command; return 0, or 1 where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install both agents; takes a package index")
    run = commands.add_parser("run", help="measure, print the tables")
    run.add_argument("--quick", action="store_true", help="only try whether everything works")
    run.add_argument("--guests", type=int, help="of the part load; default: 1,000")
    run.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}; default: all"
    )
    commands.add_parser("publish", help="write tables and plot into docs/")
    options = parser.parse_args()
    if options.command == "install":
        ours.install()
        upstream.install(_progress)
    elif options.command == "run":
        unknown = set(options.parts) - set(_PARTS)
        if unknown:
            parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(_PARTS)}")
        results = _RESULTS_OF_A_TRIAL if options.quick else _RESULTS
        scale = QUICK if options.quick else FULL
        scale = dataclasses.replace(scale, simulated=options.guests or scale.simulated)
        _run(options.parts or list(_PARTS), scale, results)
        print(report.text(_read(results)))
    else:
        report.publish(_read(_RESULTS), ours.REPOSITORY / "docs")
    return 0


def _run(parts: list[str], scale: Scale, results: Path) -> None:
    require_isolation()
    upstream.require()
    directory = _HOME / "guests"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    cloud = Cloud(_BUILD / "cloud", costly_passwords=True)
    with ExitStack() as ends:
        ends.callback(cloud.down)
        cloud.up(_progress)
        # What a guest has in /run is in memory; a machine's own /run need not be.
        runtime = Path(ends.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        monitor = ends.enter_context(StoreMonitor())
        _progress(f"creating {scale.guests} servers")
        servers = Servers(cloud, scale.guests)
        site = Site(cloud, servers, Meter(cloud), monitor, directory, runtime, _progress)
        for part in parts:
            began = time.monotonic()
            for result in _PARTS[part](site, scale):
                _save(results, part, result, time.monotonic() - began)


Steps = Iterator[dict[str, Any]]


def _delivery(site: Site, scale: Scale) -> Steps:
    alone = delivery.measure_nothing(site, _ALONE_SECONDS * scale.patience).document()
    kinds: dict[str, Any] = {}
    for kind in KINDS:
        kinds[kind.name] = delivery.measure(kind, site, scale)
        yield {"alone": alone, "kinds": kinds}


def _deployments(site: Site, scale: Scale) -> Steps:
    found: dict[str, Any] = {}
    # Upstream mostly sleeps: its two kinds do not disturb each other.
    theirs = [kind for kind in KINDS if kind.is_upstream]
    for together in (*([kind] for kind in KINDS if not kind.is_upstream), theirs):
        found |= deployments.measure(together, site, scale)
        yield found


def _signals(site: Site, scale: Scale) -> Steps:
    found: dict[str, Any] = {}
    # How metadata arrives is no matter here; polling is what both sides have.
    for kind in KINDS:
        if not kind.push:
            found[kind.name] = signals.measure(kind, site, scale)
            yield found


def _load_guests(site: Site, scale: Scale) -> Steps:
    yield {f"{scale.simulated}": load.measure(site, scale)}


def _herd(site: Site, scale: Scale) -> Steps:
    yield from herd.measure(site, scale)


# Each gives what it has measured by now after each step, so that trouble later on costs nothing.
_PARTS: dict[str, Callable[[Site, Scale], Steps]] = {
    "delivery": _delivery,
    "deployments": _deployments,
    "signals": _signals,
    "load": _load_guests,
    "herd": _herd,
}


def _save(results: Path, part: str, result: dict[str, Any], seconds: float) -> None:
    known = _read(results) if results.exists() else {}
    known[part] = known.get(part, {}) | result
    name = " ".join([part, *result]) if part == "load" else part
    known.setdefault("runs", {})[name] = {
        "seconds": seconds,
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": _machine(),
    }
    results.write_text(json.dumps(known, indent=1))


def _machine() -> str:
    cpu = Path("/proc/cpuinfo").read_text()
    model = cpu.partition("model name")[2].partition(":")[2].partition("\n")[0].strip()
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024**2
    cores = cpu.count("processor\t")
    system = f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    return f"{cores} cores ({model}), {memory} GiB, {system}"


def _read(results: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(results.read_text())
    return known


def _progress(message: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {message}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
