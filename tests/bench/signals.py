"""What running deployments and signalling their results costs, beside the hooks themselves.

55-heat-config is run on deployments like Heat's: one with a trivial hook, again and again, for the
time from the hook's end to the signal in the queue; then many in one metadata update with each
side's own script hook.
Invariant: Heat waits for none of these signals, so that every request counted is the guest's.
"""

import json
import os
import subprocess
import time
from statistics import mean
from typing import Any

from tests.bench.figures import summary
from tests.bench.guests import TRIVIAL_GROUP, Guest, Kind
from tests.bench.scale import Scale
from tests.bench.servers import Configs, Metadata, queue_of
from tests.bench.site import Site

_SCRIPT = "#!/bin/sh\necho done\n"
# Before a batch and after it again: on a machine with neighbours a hook's time moves by a third.
_HOOK_RUNS = 20


def measure(kind: Kind, site: Site, scale: Scale) -> dict[str, Any]:
    """Measure the programs of one side."""
    metadata = site.servers.metadata[0]
    name = f"signals-{kind.name.replace(', ', '-')}"
    guest = Guest(kind, site.directory / name, site.runtime / name, metadata)
    configs = Configs(site.servers.deployment)
    _collect(guest, metadata, configs, site)
    site.progress(f"{name}: {scale.single_signals} single deployments")
    singles = [_single(guest, configs, name, site) for _ in range(scale.single_signals)]
    batches = []
    for number in scale.batches:
        site.progress(f"{name}: {number} deployments in one update")
        batches.append(_batch(guest, configs, name, number, site))
    return {
        "hook_end_to_queue": summary([latency for latency, _ in singles]),
        "requests_of_single": singles[-1][1],
        "batches": batches,
    }


def _collect(guest: Guest, metadata: Metadata, configs: Configs, site: Site) -> None:
    """Let the agent collect once, and 55-heat-config run once: a running guest has a live token."""
    queue = queue_of(metadata)
    site.servers.zaqar.empty(queue)
    site.servers.zaqar.post(queue, {**metadata, "deployments": []})
    collected = guest.directory / "collected"
    guest.start(f"touch {collected}")
    try:
        deadline = time.monotonic() + 60
        while not collected.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing collected, see {guest.log}")
            time.sleep(0.1)
    finally:
        guest.stop()
    _apply(guest, [configs.next(f"{queue}-first", TRIVIAL_GROUP)])


def _single(
    guest: Guest, configs: Configs, prefix: str, site: Site
) -> tuple[float, dict[str, int]]:
    """Return the seconds from the hook's end to its signal's being in the queue, and requests."""
    config = configs.next(f"{prefix}-single", TRIVIAL_GROUP)
    known = len(site.monitor.times(f"{prefix}-single"))
    before = site.meter.read()
    _apply(guest, [config])
    arrived = site.monitor.wait(f"{prefix}-single", known + 1, 10)[known]
    ended = float((guest.directory / "hook-ends").read_text().split()[-1])
    return arrived - ended, dict(site.meter.read().since(before).requests)


def _batch(guest: Guest, configs: Configs, prefix: str, number: int, site: Site) -> dict[str, Any]:
    batch = f"{prefix}-{number}-of"
    deployments = [configs.next(f"{batch}-{place}", "script", _SCRIPT) for place in range(number)]
    hooks = _hooks_alone(guest, configs)
    before = site.meter.read()
    wall, cpu = _apply(guest, deployments)
    used = site.meter.read().since(before)
    hooks += _hooks_alone(guest, configs)
    arrived = len(site.monitor.times_of_all(batch))
    if arrived != number:
        raise RuntimeError(f"{arrived} signals of {number} deployments, see {guest.log}")
    return {
        "deployments": number,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "hooks_wall_seconds": mean(wall for wall, _ in hooks) * number,
        "hooks_cpu_seconds": mean(cpu for _, cpu in hooks) * number,
        "control_plane_cpu_seconds": used.total_cpu,
        "requests": dict(used.requests),
    }


def _hooks_alone(guest: Guest, configs: Configs) -> list[tuple[float, float]]:
    """Return wall and CPU seconds of each of some script hooks run by themselves."""
    runs = []
    for _ in range(_HOOK_RUNS):
        document = json.dumps(configs.next("none", "script", _SCRIPT))
        runs.append(_run(guest, [str(guest.hook_path("script"))], document))
    return runs


def _apply(guest: Guest, deployments: list[Metadata]) -> tuple[float, float]:
    guest.rendered.parent.mkdir(parents=True, exist_ok=True)
    guest.rendered.write_text(json.dumps(deployments))
    return _run(guest, [str(guest.apply_program)])


def _run(guest: Guest, command: list[str], text: str = "") -> tuple[float, float]:
    """Run a program of the guest; return wall and CPU seconds, of all that it started as well.

    :raises RuntimeError: it failed.
    """
    with (guest.directory / "input").open("w+") as stdin, guest.log.open("ab") as log:
        stdin.write(text)
        stdin.seek(0)
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=guest.environment, stdin=stdin, stdout=log, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}, see {guest.log}")
    return wall, usage.ru_utime + usage.ru_stime
