"""How long metadata takes to a guest, and what idle guests cost, one kind of agent at a time.

Guests of one kind are started one after the other, get a message each, by which ours learn that the
WebSocket announces them, and are left alone until their backoff has grown; then comes a window in
which nothing happens, for the idle cost; then messages at random moments, each guest by itself. The
command that an agent runs is replaced by one that notes the time.
Invariant: only one kind of agent runs at a time, so that none pays for another's load.
"""

import math
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from tests.bench.control_plane import Usage
from tests.bench.figures import summary
from tests.bench.guests import Guest, Kind
from tests.bench.scale import Scale
from tests.bench.servers import Configs, queue_of
from tests.bench.site import Site

# Notes when it started, and the configs that it was started for.
_COMMAND = """#!/bin/sh
now=$(date +%s.%N)
known=$(cat $(echo "$OS_CONFIG_FILES" | tr : ' ') | grep -o 'bench-[0-9][0-9a-f-]*')
echo "$now" $known >>"{starts}"
"""
_DEADLINE_SECONDS = 150.0
_START_INTERVAL_SECONDS = 1.0


def measure(kind: Kind, site: Site, scale: Scale) -> dict[str, Any]:
    """Run guests of one kind; return their latencies, and what they cost while idle."""
    with ExitStack() as ends:
        guests = []
        before = site.meter.read()
        for place, metadata in enumerate(site.servers.metadata[: scale.guests]):
            site.servers.zaqar.empty(queue_of(metadata))
            name = f"{kind.name.replace(', ', '-')}-{place}"
            guest = Guest(kind, site.directory / name, site.runtime / name, metadata)
            ends.callback(guest.stop)
            guest.start(_command(guest))
            guests.append(guest)
            time.sleep(_START_INTERVAL_SECONDS)
        site.progress(f"{kind.name}: {len(guests)} guests run; a first message to each")
        _deliver(guests, kind, site, replace(scale, deliveries=1))
        site.progress(f"{kind.name}: waiting until they are idle")
        time.sleep(kind.settles * scale.patience)
        started = site.meter.read().since(before)
        idle = _idle(guests, site, scale)
        site.progress(f"{kind.name}: delivering {scale.deliveries} messages to each")
        latencies = _deliver(guests, kind, site, scale)
    return {
        "latency": summary(latencies),
        "latencies": sorted(latencies),
        "idle": idle,
        "start": started.document(),
    }


def measure_nothing(site: Site, seconds: float) -> Usage:
    """Return what the cloud spends while no guest is there."""
    site.progress(f"the cloud alone, for {seconds:.0f} s")
    before = site.meter.read()
    time.sleep(seconds)
    return site.meter.read().since(before)


def _command(guest: Guest) -> str:
    command = guest.directory / "command"
    command.write_text(_COMMAND.format(starts=guest.directory / "starts"))
    command.chmod(0o700)
    return str(command)


def _idle(guests: Sequence[Guest], site: Site, scale: Scale) -> dict[str, Any]:
    site.progress(f"{guests[0].kind.name}: idle for {scale.idle_seconds:.0f} s")
    cpu = sum(guest.cpu() for guest in guests)
    before = site.meter.read()
    time.sleep(scale.idle_seconds)
    used = site.meter.read().since(before)
    return {
        **used.document(),
        "guests": len(guests),
        "agent_cpu_seconds": sum(guest.cpu() for guest in guests) - cpu,
        "agent_bytes": [guest.memory() for guest in guests],
    }


def _deliver(guests: Sequence[Guest], kind: Kind, site: Site, scale: Scale) -> list[float]:
    configs = Configs(site.servers.deployment)
    posting = threading.Lock()

    def deliver_all_to(guest: Guest, metadata: dict[str, Any]) -> list[float]:
        # The guest has been idle for longer than any pause: the first one needs none.
        chance = random.Random(guest.directory.name)  # noqa: S311 # the same moments in each run
        pauses = [chance.uniform(0, kind.pause[1] - kind.pause[0])]
        pauses += [chance.uniform(*kind.pause) for _ in range(scale.deliveries - 1)]
        found = []
        for pause in pauses:
            time.sleep(pause * scale.patience)
            found.append(_deliver_one(guest, metadata, configs, site, posting))
        return found

    with ThreadPoolExecutor(len(guests)) as pool:
        results = pool.map(deliver_all_to, guests, site.servers.metadata[: len(guests)])
        return [latency for result in results for latency in result]


def _deliver_one(
    guest: Guest, metadata: dict[str, Any], configs: Configs, site: Site, posting: threading.Lock
) -> float:
    """Return the seconds from the message's being in the queue to the command's start."""
    queue = queue_of(metadata)
    with posting:
        config = configs.next(f"{queue}-signal")
        known = len(site.monitor.times(queue))
        site.servers.zaqar.post(queue, {**metadata, "deployments": [config]})
    posted = site.monitor.wait(queue, known + 1, 10)[known]
    return _start_for(guest, config["id"]) - posted


def _start_for(guest: Guest, config_id: str) -> float:
    starts = guest.directory / "starts"
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for line in starts.read_text().splitlines() if starts.exists() else []:
            when, *configs = line.split()
            if config_id in configs:
                return float(when)
        time.sleep(0.2)
    # A message that does not arrive is a result, and belongs into the percentiles.
    return math.inf
