"""The collector's decisions, on a real store, with the cloud's answers in its place.

What it says to a real cloud is in tests/integration.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from os_collect_config import collect

from heat_config_zaqar.collect import collector
from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import TemporaryError, UnauthorizedError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state.metadata_store import MetadataStore
from tests.unit.collect.test_receiver import Answers
from tests.unit.conftest import SECTION, make_deployment, make_message


@pytest.fixture(autouse=True, scope="module")
def configuration() -> None:
    """What os-collect-config reads, without a file; a process has one."""
    collect.setup_conf()
    collect.CONF([], prog="os-collect-config", default_config_files=[])


class User:
    """A connection that nothing is said over."""

    def __init__(self, credentials: Credentials, _: Settings) -> None:
        self.credentials = credentials


class Socket:
    """A listener whose connection is up."""

    def __init__(self, connection: User, queue: str, _: Settings, wake: Callable[[], None]) -> None:
        self.connection = connection
        self.queue = queue
        self.wake = wake
        self.connected = self.stopped = False
        self.starts = 0
        self.problem = ""

    def start(self) -> None:
        self.starts += 1
        self.connected = True
        self.wake()

    def stop(self) -> None:
        self.stopped = True


class Guest:
    """A collector with a stored login, and its clock."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
        self.store = MetadataStore(self.settings.metadata_file)
        self.store.save(make_message(), time.time())
        self.answers = Answers([], [])
        self.answers.play(monkeypatch)
        self.clock = 1000.0
        monkeypatch.setattr(collector, "Connection", User)
        monkeypatch.setattr(collector, "Listener", Socket)
        monkeypatch.setattr("time.monotonic", lambda: self.clock)
        self.collector = Collector(self.settings, tmp_path / "zaqar.json")

    @property
    def listener(self) -> Any:
        """The present listener."""
        return self.collector._listener

    def turn(self) -> str:
        """Collect and wait as os-collect-config does; return the state."""
        self.collector.collect()
        self.collector._woken.set()
        self.collector.wait(30)
        return str(json.loads(self.settings.connection_file.read_text())["state"])


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    return Guest(tmp_path, monkeypatch)


def test_a_listener_is_there_once_the_queue_was_read(guest: Guest) -> None:
    assert guest.turn() == "polling"
    assert guest.listener.queue == SECTION["zaqar"]["queue_id"]
    assert guest.turn() == "push"


def test_a_listener_is_started_again_once_the_queue_can_be_read_again(guest: Guest) -> None:
    guest.turn()
    before = guest.listener.starts
    guest.answers.bodies = UnauthorizedError("no such user")
    assert guest.turn() == "refused"
    assert guest.listener.starts == before
    guest.answers.bodies = []
    guest.turn()
    assert guest.listener.starts > before


def test_another_login_has_a_listener_of_its_own(guest: Guest) -> None:
    guest.turn()
    before = guest.listener
    section = {"zaqar": {**SECTION["zaqar"], "user_id": "another", "queue_id": "another"}}
    guest.store.save(make_message(section=section), time.time())
    guest.turn()
    assert before.stopped
    assert guest.listener.queue == "another"
    assert guest.listener.connection.credentials.user_id == "another"


def test_a_message_that_was_announced_in_an_outage_is_found_after_it(guest: Guest) -> None:
    guest.turn()
    assert guest.turn() == "push"
    guest.answers.bodies = TemporaryError("away")
    assert guest.turn() == "away"
    guest.answers.bodies = [make_message(make_deployment("a"))]
    guest.collector._woken.clear()
    guest.clock += 1
    assert guest.turn() == "push"
    assert [item.id for item in guest.store.read().deployments] == ["a"]


def test_a_guest_that_was_suspended_for_hours_asks_heat(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.answers.heat = [make_deployment("a")]
    guest.answers.bodies = [make_message(make_deployment("a"))]
    guest.turn()
    guest.answers.bodies = []
    guest.turn()
    asked = guest.answers.asked
    now = time.time() + 5 * 3600
    monkeypatch.setattr("time.time", lambda: now)
    guest.turn()
    assert guest.answers.asked == asked + 1


@pytest.mark.parametrize("error", [TemporaryError("away"), RecursionError(), OSError(28, "full")])
def test_what_was_collected_is_collected_again_while_the_cloud_is_away(
    guest: Guest, error: Exception
) -> None:
    known = make_message(make_deployment("a"))
    guest.store.save(known, time.time())
    guest.answers.bodies = error
    for _ in range(2):
        guest.clock += 60
        assert dict(guest.collector.collect())["zaqar"] == known
        assert guest.collector._due > guest.clock


def test_an_outage_is_logged_with_its_reason_and_then_once_in_ten_minutes(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    guest.answers.bodies = TemporaryError("no route to Zaqar")
    for _ in range(25):
        guest.turn()
        guest.clock += 61
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert lines == [
        "no route to Zaqar; the stored metadata stays in use, will try again",
        "no route to Zaqar; for 10 minutes now",
        "no route to Zaqar; for 20 minutes now",
    ]


def test_what_keeps_heat_from_being_asked_is_told_to_the_operator(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heat_config_zaqar.state.identity._MACHINE_FILES", ())
    guest.store.save(make_message(), 0)
    guest.turn()
    known = json.loads(guest.settings.connection_file.read_text())
    assert known["state"] == "polling"
    assert "no deployment names the server" in known["detail"]
