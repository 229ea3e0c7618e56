"""1,000 idle guests against one Zaqar: what they cost, and whether any of them has trouble.

The guests are simulated, with the real collector (see `simulated_guests`), some hundred in one
process, every other one by WebSocket; they are brought up one after the other, then watched. They
share a few stack users and their tokens, because a thousand logins would measure Keystone.
Invariant: bounded in time and in number, whatever happens.
"""

import copy
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from heat_config_zaqar.state.metadata_store import MetadataStore
from tests.bench.control_plane import cpu_of_session, memory_of_session
from tests.bench.guests import settings_text
from tests.bench.scale import Scale
from tests.bench.site import Site

_PROCESSES = 4
_USERS = 4
# The first guest of each user logs in before the others start.
_LOGIN_SECONDS = 20.0
# Zaqar's WebSocket server authenticates one guest after the other, each in more than half a second.
_STARTS_PER_SECOND = 1.6
# The last guest's quick polling after its start is over, and its backoff has grown.
_SETTLE_SECONDS = 90.0


def measure(site: Site, scale: Scale) -> dict[str, Any]:
    """Bring the guests up, watch them, end them; return what they cost while idle."""
    began = time.time() + 5
    all_up = began + _LOGIN_SECONDS + scale.simulated / _STARTS_PER_SECOND
    settled = all_up + _SETTLE_SECONDS * scale.patience
    end = settled + scale.simulated_seconds
    guests = [_guest(number, began, site) for number in range(scale.simulated)]
    site.progress(f"{scale.simulated} guests: all are up in {all_up - began:.0f} s")
    before = site.meter.read()
    processes = [
        _start(guests[first::_PROCESSES], settled, end, site) for first in range(_PROCESSES)
    ]
    try:
        time.sleep(max(settled - time.time(), 0))
        bringing_up = site.meter.read().since(before)
        site.progress(f"{scale.simulated} guests: idle for {scale.simulated_seconds:.0f} s")
        cpu = sum(cpu_of_session(process.pid) for process in processes)
        before = site.meter.read()
        time.sleep(max(end - 1 - time.time(), 0))
        used = site.meter.read().since(before)
        cpu = sum(cpu_of_session(process.pid) for process in processes) - cpu
        memory = sum(memory_of_session(process.pid) for process in processes)
        services = site.meter.memory()
        states = Counter(_state(site, guest["name"]) for guest in guests)
        outcomes = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return {
        **used.document(),
        "guests": len(guests),
        "states": states,
        "collections": sum(sum(outcome["collections"]) for outcome in outcomes),
        "complaints_bringing_up": _added([outcome["before"] for outcome in outcomes]),
        "complaints": _added([outcome["complaints"] for outcome in outcomes]),
        "agent_cpu_seconds": cpu,
        "agent_bytes": memory,
        "service_bytes": services,
        "bringing_up": bringing_up.document(),
    }


def _guest(number: int, began: float, site: Site) -> dict[str, Any]:
    """Describe a guest that has stored a snapshot before: its login and an empty queue."""
    name = f"load-{number:04}"
    user = number % min(_USERS, len(site.servers.metadata))
    state, runtime = site.directory / "load" / name, site.runtime / name
    snapshot = copy.deepcopy(site.servers.metadata[user])
    snapshot["os-collect-config"]["zaqar"]["queue_id"] = name
    snapshot["deployments"] = []
    MetadataStore(state / "metadata.json").save(snapshot, time.time())
    tokens = site.runtime / "load-tokens"
    tokens.mkdir(mode=0o700, exist_ok=True)
    runtime.mkdir()
    (runtime / "tokens").symlink_to(tokens)
    start = began + (_LOGIN_SECONDS if number >= _USERS else 0) + number / _STARTS_PER_SECOND
    # Users and processes go round by an even number: every second round is by WebSocket.
    push = number // _USERS % 2 == 0
    return {"name": name, "start": start, "settings": settings_text(state, runtime, push)}


def _start(
    guests: list[dict[str, Any]], settled: float, end: float, site: Site
) -> "subprocess.Popen[bytes]":
    description = site.directory / f"process-{guests[0]['name']}.json"
    description.write_text(json.dumps({"guests": guests, "settled": settled, "end": end}))
    with description.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.bench.simulated_guests", description],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )


def _state(site: Site, name: str) -> str:
    """Return how a guest hears of metadata, as it tells its operator."""
    path: Path = site.runtime / name / "connection.json"
    return str(json.loads(path.read_text())["state"]) if path.exists() else "none"


def _added(counts: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(count.get(key, 0) for count in counts) for key in sorted(set().union(*counts))}
