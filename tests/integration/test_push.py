"""The wake-up by WebSocket against the real server, and what happens when it breaks.

The guest is the real collector as a daemon; the test posts snapshots as Heat does and takes the
time until os-collect-config runs its command.
"""

import contextlib
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from testbed.cloud import Cloud
from testbed.cloud.layout import PORTS
from testbed.guest import wait_for
from testbed.heat import Heat, deployments_template
from tests.integration.guest_process import GuestProcess, kill_group
from tests.integration.proxy import Proxy
from tests.integration.test_cloud import Guest as Poster

# 1 s after the service is back, plus the cap of the back-off and some for a busy machine.
LATEST_SECONDS = 1 + 30 + 20
# With a wake-up; what nothing announces takes twice as long at least in these tests.
WOKEN_SECONDS = 10
# After a wake-up the queue is read for the last time before this.
LAST_LOOK_SECONDS = 20
# What nothing announces is found by then, and a connection that is dead.
UNANNOUNCED_SECONDS = 65


class Listening:
    """A collecting guest; `post` a snapshot and see when it was applied."""

    def __init__(self, guest: GuestProcess, poster: Poster, metadata: dict[str, Any]) -> None:
        self.guest = guest
        self.poster = poster
        self._metadata = metadata
        self._applied = guest.directory / "applied"

    @property
    def command(self) -> str:
        """What os-collect-config runs: it copies the snapshot."""
        new = f"{self._applied}.new"
        return f'cp "${{OS_CONFIG_FILES%%:*}}" {new}; mv {new} {self._applied}'

    def post(self) -> str:
        """Post a snapshot with a deployment of a new id; return the id."""
        config_id = uuid.uuid4().hex
        deployment = {"id": config_id, "name": "one", "group": "script", "inputs": []}
        self.poster.post(self.poster.queue, {**self._metadata, "deployments": [deployment]})
        return config_id

    def applied(self, config_id: str) -> bool:
        return self._applied.exists() and config_id in self._applied.read_text()

    def seconds_to_apply(self) -> float:
        began = time.monotonic()
        config_id = self.post()
        wait_for(lambda: self.applied(config_id), 120, self.log())
        return time.monotonic() - began

    def log(self) -> str:
        return (self.guest.directory / "collector.log").read_text()


Listen = Callable[..., contextlib.AbstractContextManager[Listening]]


@pytest.fixture
def listen(heat: Heat, tmp_path: Path) -> Iterator[Listen]:
    """Run a guest of a stack without deployments, until it is woken by WebSocket."""
    heat.create_stack("push", deployments_template({}))
    metadata = heat.server_metadata_when_ready("push")

    @contextlib.contextmanager
    def listening(states: tuple[str, ...] = ("push",), **login: str) -> Iterator[Listening]:
        found = Listening(GuestProcess(tmp_path, metadata, **login), Poster(metadata), metadata)
        process = found.guest.start_collecting(found.command)
        try:
            wait_for(lambda: found.guest.connection_state() in states, 180, f"not {states}")
            yield found
        finally:
            kill_group(process)

    yield listening
    heat.delete_stack("push")


def requests_of(cloud: Cloud, service: str, what: str) -> int:
    """How many requests for `what` the service has logged."""
    return cloud.layout.log_file(service).read_text(errors="replace").count(what)


def test_a_message_wakes_the_collector_and_an_idle_guest_reads_nothing(
    listen: Listen, cloud: Cloud
) -> None:
    def counted() -> tuple[int, int]:
        polls = requests_of(cloud, "zaqar", f"GET /v2/queues/{guest.poster.queue}/messages")
        return polls, requests_of(cloud, "keystone", "POST /v3/auth/tokens")

    with listen() as guest:
        times = [guest.seconds_to_apply() for _ in range(3)]
        assert max(times) < WOKEN_SECONDS, times
        time.sleep(LAST_LOOK_SECONDS)
        before = counted()
        assert min(before) > 0
        time.sleep(8)
        assert counted() == before
        assert guest.seconds_to_apply() < WOKEN_SECONDS


def test_deliveries_go_on_while_the_websocket_server_is_killed_and_started(
    listen: Listen, cloud: Cloud
) -> None:
    with listen() as guest:
        guest.seconds_to_apply()
        cloud.stop("zaqar-websocket")
        try:
            wait_for(lambda: guest.guest.connection_state() == "polling", 60, guest.log())
            assert guest.seconds_to_apply() < LATEST_SECONDS
        finally:
            cloud.start("zaqar-websocket")
        wait_for(lambda: guest.guest.connection_state() == "push", LATEST_SECONDS, guest.log())
        assert guest.seconds_to_apply() < WOKEN_SECONDS
        assert guest.log().count("no wake-up by WebSocket") == 1


@pytest.fixture
def address_that_goes() -> Iterator[str]:
    """One of this machine that a test may take away."""
    address = "192.0.2.7"
    change_address("replace", address)
    yield address
    change_address("replace", address)
    change_address("del", address)


def change_address(change: str, address: str) -> None:
    subprocess.run(["ip", "address", change, f"{address}/32", "dev", "lo"], check=True)


def test_a_connection_that_leads_nowhere_is_replaced(
    listen: Listen, cloud: Cloud, address_that_goes: str
) -> None:
    with Proxy(PORTS["zaqar-websocket"], host=address_that_goes) as proxy:
        address = f"ws://{address_that_goes}:{proxy.port}"
        region = f"leads-nowhere-{proxy.port}"
        http = f"http://127.0.0.1:{PORTS['zaqar']}"
        cloud.add_region(region, {"messaging": http, "messaging-websocket": address})
        with listen(region_name=region) as guest:
            guest.seconds_to_apply()
            time.sleep(LAST_LOOK_SECONDS)
            change_address("del", address_that_goes)
            assert guest.seconds_to_apply() < UNANNOUNCED_SECONDS + 5
            assert "Connection to remote host was lost" in guest.log()
            change_address("replace", address_that_goes)
            wait_for(lambda: guest.guest.connection_state() == "push", 60, guest.log())
            assert proxy.connections == 2
            assert guest.seconds_to_apply() < WOKEN_SECONDS


def test_a_message_that_is_stored_after_its_notification_is_applied(
    listen: Listen, cloud: Cloud
) -> None:
    """The test notifies in Zaqar's place, before it posts; Zaqar does so by a few milliseconds."""
    with listen() as guest:
        guest.seconds_to_apply()
        [subscriber] = guest.poster.unsubscribe(guest.poster.queue)
        polled = f"GET /v2/queues/{guest.poster.queue}/messages"
        before = requests_of(cloud, "zaqar", polled)
        requests.post(subscriber, json={"body": {}}, timeout=60).raise_for_status()
        wait_for(lambda: requests_of(cloud, "zaqar", polled) > before, 30, "no look")
        assert guest.seconds_to_apply() < 2 * WOKEN_SECONDS
        assert guest.guest.connection_state() == "push"


def flush_redis() -> None:
    """Lose what Zaqar has stored, as when its Redis fails over to an empty one."""
    with socket.create_connection(("127.0.0.1", PORTS["redis"]), 60) as redis:
        redis.sendall(b"FLUSHALL\r\n")
        assert redis.recv(100).startswith(b"+OK")


def test_what_nothing_announces_is_delayed_by_no_more_than_a_minute(listen: Listen) -> None:
    """As where the store has lost its subscriptions, or never notifies: zaqar.conf's default."""
    with listen() as guest:
        queue = guest.poster.queue
        for lose in (flush_redis, lambda: guest.poster.unsubscribe(queue)):
            time.sleep(LAST_LOOK_SECONDS)
            lose()
            assert guest.poster.subscriptions(queue) == []
            assert guest.seconds_to_apply() < UNANNOUNCED_SECONDS
            wait_for(lambda: len(guest.poster.subscriptions(queue)) == 1, 30, guest.log())
            wait_for(lambda: guest.guest.connection_state() == "push", 30, guest.log())
            assert guest.seconds_to_apply() < WOKEN_SECONDS


def test_deliveries_go_on_beside_the_subscriptions_of_connections_that_are_gone(
    listen: Listen,
) -> None:
    """Zaqar keeps them for an hour, and takes longer to store what it notifies them of."""
    with listen() as guest:
        [(_, subscriber)] = guest.poster.subscriptions(guest.poster.queue)
        for _ in range(8):
            guest.poster.subscribe(guest.poster.queue, f"{subscriber[:-36]}{uuid.uuid4()}")
        times = [guest.seconds_to_apply() for _ in range(10)]
        assert max(times) < 2 * WOKEN_SECONDS, times


def test_tokens_of_25_seconds_lose_nothing(listen: Listen, cloud: Cloud) -> None:
    short_lived = Cloud(cloud.layout.directory, token_lifetime=25)
    try:
        for each in ("stop", "start"):
            getattr(short_lived, each)("keystone")
        subscribed = requests_of(cloud, "zaqar-websocket", '201. Request: action "subscription_cr')
        with listen(("push", "polling")) as guest:
            ends = time.monotonic() + 60
            times = []
            while time.monotonic() < ends:
                times.append(guest.seconds_to_apply())
                time.sleep(1)
        assert max(times) < LATEST_SECONDS, times
        now = requests_of(cloud, "zaqar-websocket", '201. Request: action "subscription_cr')
        assert now - subscribed > 1, times
    finally:
        cloud.stop("keystone")
        cloud.start("keystone")


def test_zaqar_and_its_websocket_away_then_back(listen: Listen, cloud: Cloud) -> None:
    with listen() as guest:
        guest.seconds_to_apply()
        cloud.stop("zaqar-websocket")
        cloud.stop("zaqar")
        try:
            wait_for(lambda: guest.guest.connection_state() == "away", 60, guest.log())
            time.sleep(10)
        finally:
            cloud.start("zaqar")
            cloud.start("zaqar-websocket")
        assert guest.seconds_to_apply() < LATEST_SECONDS
        assert guest.log().count("will try again") == 1
        assert guest.log().count("works again") == 1


def test_the_state_file_says_how_metadata_comes_in(listen: Listen) -> None:
    with listen() as guest:
        known = json.loads(guest.guest.settings.connection_file.read_text())
        assert known["state"] == "push"
        assert time.time() - 120 < known["since"] <= time.time()
        assert known["detail"]
