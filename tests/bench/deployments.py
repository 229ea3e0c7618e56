"""How long 7 deployments take that a stack update adds at once to a running guest, by a real Heat.

The guest's refresh command renders the deployments and runs 55-heat-config, as os-refresh-config
would. Kinds that mostly wait are measured at the same time.
Invariant: Heat alone posts the metadata and reads the signals.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from testbed.heat import Heat, Script, deployments_template
from tests.bench.guests import Guest, Kind
from tests.bench.scale import Scale
from tests.bench.servers import queue_of
from tests.bench.site import Site

NUMBER = 7
_DEADLINE_SECONDS = 600.0
_SCRIPT = "#!/bin/sh\necho done\n"


def measure(kinds: Sequence[Kind], site: Site, scale: Scale) -> dict[str, dict[str, float]]:
    """Measure the kinds at the same time; return for each its figures, in seconds."""
    with ThreadPoolExecutor(len(kinds)) as pool:
        results = pool.map(lambda kind: _measure(kind, site, scale), kinds)
        return dict(zip((kind.name for kind in kinds), results, strict=True))


def _measure(kind: Kind, site: Site, scale: Scale) -> dict[str, float]:
    heat = Heat(site.cloud.admin_session())
    stack = f"seven-{kind.name.replace(', ', '-')}"
    heat.delete_stack(stack)
    heat.create_stack(stack, deployments_template({}), wait=True)
    metadata = heat.server_metadata(stack)
    guest = Guest(kind, site.directory / stack, site.runtime / stack, metadata)
    try:
        guest.start(guest.refresh_command)
        time.sleep(kind.settles * scale.patience)
        site.progress(f"{kind.name}: adding {NUMBER} deployments")
        return _add(heat, stack, queue_of(metadata), site)
    finally:
        guest.stop()
        heat.delete_stack(stack)


def _add(heat: Heat, stack: str, queue: str, site: Site) -> dict[str, float]:
    scripts = {f"deployment{number}": Script(_SCRIPT) for number in range(NUMBER)}
    known = len(site.monitor.times(queue))
    began = time.time()
    heat.update_stack(stack, deployments_template(scripts))
    heat.wait_for(stack, ["UPDATE_COMPLETE"], _DEADLINE_SECONDS)
    complete = time.time()
    posts = site.monitor.times(queue)[known:]
    signals = site.monitor.times_of_all(f"{stack}-deployment")
    return {
        "complete": complete - began,
        "last_post": max(posts) - began,
        "last_signal": max(signals) - began,
    }
