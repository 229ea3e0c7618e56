"""Guests that all come back at once: when, and what the control plane's busiest second costs.

Each guest has a token of its own. After each event every guest is sent a message; it is back when
it has stored that.
Invariant: bounded in time; an event begins when all are back from the one before it.
"""

import base64
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

from tests.bench.control_plane import SERVICES, cpu_of_session
from tests.bench.figures import summary
from tests.bench.fleet import Fleet
from tests.bench.scale import Scale
from tests.bench.servers import Configs, Metadata
from tests.bench.site import Site

# Two logins, and what Zaqar's WebSocket server asks for one guest, are a second of Keystone's CPU.
_STARTS_PER_SECOND = 2.0
_SETTLE_SECONDS = 90.0
_ORDINARY_SECONDS = 60.0
_AWAY_SECONDS = 600.0
_LONGEST_SECONDS = 900.0
_POSTS = 5


class _Watch(threading.Thread):
    """Reads each second what the control plane has used.

    :ivar seconds: CPU seconds in each second until now.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self._leaders = [site.meter.leader(name) for name in SERVICES]

    def run(self) -> None:
        """Read for as long as the process lives."""
        last = sum(map(cpu_of_session, self._leaders))
        while True:
            began = time.monotonic()
            time.sleep(1)
            now = sum(map(cpu_of_session, self._leaders))
            self.seconds.append(max(now - last, 0) / (time.monotonic() - began))
            last = now


def measure(site: Site, scale: Scale) -> Iterator[dict[str, Any]]:
    """Bring the guests up and let the events befall them; yield after each how all went so far."""
    keystone = site.cloud.layout.data / "keystone" / "fernet"

    def restart() -> None:
        site.cloud.stop("zaqar-websocket")
        site.cloud.start("zaqar-websocket")

    def replace_keys() -> None:
        for path in keystone.iterdir():
            path.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))

    def away() -> None:
        for service in ("zaqar-websocket", "zaqar"):
            site.cloud.stop(service)
        time.sleep(_AWAY_SECONDS * scale.patience)
        for service in ("zaqar", "zaqar-websocket"):
            site.cloud.start(service)

    events: dict[str, Callable[[], None]] = {
        "the WebSocket server restarts": restart,
        f"Zaqar is away for {_AWAY_SECONDS * scale.patience:.0f} s": away,
        # The last one: what Zaqar has asked Keystone about it goes on believing for five minutes.
        "Keystone's keys are replaced": replace_keys,
    }
    with Fleet(site, "herd", scale.herd, _STARTS_PER_SECOND, own_tokens=True) as fleet:
        site.progress(f"{scale.herd} guests: all are up in {fleet.all_up - time.time():.0f} s")
        fleet.start(fleet.all_up, time.time() + 4 * _LONGEST_SECONDS)
        time.sleep(fleet.all_up + _SETTLE_SECONDS * scale.patience - time.time())
        found: dict[str, Any] = {"guests": scale.herd, "states": fleet.states(), "events": {}}
        watch = _Watch(site)
        watch.start()
        time.sleep(_ORDINARY_SECONDS)
        found["ordinary"] = max(watch.seconds)
        configs = Configs(site.servers.deployment)
        for name, event in events.items():
            site.progress(name)
            watch.seconds.clear()
            event()
            watch.seconds.clear()
            found["events"][name] = _come_back(site, fleet, configs, watch)
            yield found
            time.sleep(_SETTLE_SECONDS * scale.patience)


def _post(site: Site, queue: str, body: Metadata) -> None:
    """Post a message, again where Zaqar's API has no room for it beside the guests.

    :raises RequestException: it has had none for minutes.
    """
    for attempt in range(_POSTS):
        try:
            site.servers.zaqar.post(queue, body)
        except requests.RequestException:
            if attempt == _POSTS - 1:
                raise
        else:
            return


def _come_back(site: Site, fleet: Fleet, configs: Configs, watch: _Watch) -> dict[str, Any]:
    """Send each guest a message and wait until all have stored theirs and listen as before."""
    began = time.time()
    sent: dict[str, tuple[str, float]] = {}
    stored: dict[str, float] = {}
    listen: dict[str, float] = {}
    site.servers.zaqar.renew_token()
    for name in fleet.names:
        config = configs.next(name)
        _post(site, name, {**fleet.snapshot(name), "deployments": [config]})
        sent[name] = (config["id"], time.time())
    while time.time() - began < _LONGEST_SECONDS:
        for name in set(fleet.names) - set(stored):
            config_id, posted = sent[name]
            if config_id in fleet.stored(name):
                stored[name] = time.time() - posted
        for name in set(fleet.by_websocket) - set(listen):
            if fleet.state(name) == "push":
                listen[name] = time.time() - began
        if len(stored) == len(sent) and len(listen) == len(fleet.by_websocket):
            break
        time.sleep(1)
    return {
        "stored": summary(list(stored.values())),
        "listen": summary(list(listen.values())),
        "lost": len(sent) - len(stored),
        "deaf": len(fleet.by_websocket) - len(listen),
        "busiest": max(watch.seconds),
    }
