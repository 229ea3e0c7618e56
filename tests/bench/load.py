"""Idle guests against one Zaqar: what they cost, and whether any of them has trouble.

They are brought up one after the other, then watched. They share a few stack users and their
tokens, because a thousand logins would measure Keystone; what a login costs is measured by itself.
Invariant: bounded in time and in number, whatever happens.
"""

import time
from typing import Any

from tests.bench.fleet import Fleet
from tests.bench.scale import Scale
from tests.bench.site import Site

# Zaqar's WebSocket server authenticates one guest after the other, in half a second of CPU, and
# each guest polls once a second in its first minute: together half of what two cores have.
_STARTS_PER_SECOND = 1.6
# The last guest's quick polling after its start is over, and its backoff has grown.
_SETTLE_SECONDS = 90.0
_ALONE_SECONDS = 60.0
_LOGINS = 20


def measure(site: Site, scale: Scale) -> dict[str, Any]:
    """Bring the guests up, watch them, end them; return what they cost while idle."""
    before = site.meter.read()
    time.sleep(_ALONE_SECONDS * scale.patience)
    alone = site.meter.read().since(before)
    before = site.meter.read()
    for _ in range(_LOGINS):
        site.servers.zaqar.login()
    login = site.meter.read().since(before)
    with Fleet(site, "load", scale.simulated, _STARTS_PER_SECOND) as fleet:
        settled = fleet.all_up + _SETTLE_SECONDS * scale.patience
        end = settled + scale.simulated_seconds
        site.progress(f"{scale.simulated} guests: all are up in {fleet.all_up - time.time():.0f} s")
        before = site.meter.read()
        fleet.start(settled, end)
        time.sleep(max(settled - time.time(), 0))
        bringing_up = site.meter.read().since(before)
        site.progress(f"{scale.simulated} guests: idle for {scale.simulated_seconds:.0f} s")
        cpu, before = fleet.cpu_seconds, site.meter.read()
        time.sleep(max(end - 1 - time.time(), 0))
        used, cpu = site.meter.read().since(before), fleet.cpu_seconds - cpu
        document = {
            **used.document(),
            "guests": scale.simulated,
            "by_websocket": len(fleet.by_websocket),
            "states": fleet.states(),
            "alone": alone.document(),
            "login_cpu_seconds": login.total_cpu / _LOGINS,
            "agent_cpu_seconds": cpu,
            "agent_bytes": fleet.resident_bytes,
            "service_bytes": site.meter.memory(),
            "bringing_up": bringing_up.document(),
        }
        outcomes = fleet.outcomes()
    return {
        **document,
        "collections": sum(sum(outcome["collections"]) for outcome in outcomes),
        "complaints_bringing_up": _added([outcome["before"] for outcome in outcomes]),
        "complaints": _added([outcome["complaints"] for outcome in outcomes]),
    }


def _added(counts: list[dict[str, int]]) -> dict[str, int]:
    return {key: sum(count.get(key, 0) for count in counts) for key in sorted(set().union(*counts))}
