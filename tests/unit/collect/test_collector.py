"""The collector's decisions, on a real store, with the cloud's answers in its place.

What it says to a real cloud is in tests/integration.
"""

import itertools
import time
from pathlib import Path
from typing import Any, cast

import pytest
from os_collect_config import collect

from heat_config_zaqar.collect import collector
from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.deployment import parse_credentials
from heat_config_zaqar.errors import PermanentError, TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.push import Listener
from heat_config_zaqar.wire.session import Connection
from tests.unit.conftest import SECTION, make_deployment, make_message


class Answers:
    """A cloud that gives one answer: a fault that a real Heat does not show on demand."""

    def __init__(self, bodies: list[Any], heat: list[Any] | Exception) -> None:
        self.bodies = bodies
        self.heat = heat
        self.asked = 0

    def play(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be what the collector makes of a connection."""
        monkeypatch.setattr(collector, "Queue", lambda *_: self)
        monkeypatch.setattr(heat, "deployments_of_server", self.deployments)

    def messages(self) -> list[tuple[str, Any]]:
        return [(str(number), body) for number, body in enumerate(self.bodies)]

    def delete(self, ids: list[str]) -> None:
        assert len(ids) == len(self.bodies)

    def deployments(self, *_: Any) -> list[Any]:
        self.asked += 1
        if isinstance(self.heat, Exception):
            raise self.heat
        return self.heat


def received(tmp_path: Path, answers: Answers, times: int = 1) -> list[str]:
    settings = Settings(state_dir=tmp_path, runtime_dir=tmp_path / "run")
    guest = Collector(settings, tmp_path / "zaqar.json")
    with pytest.MonkeyPatch.context() as monkeypatch:
        answers.play(monkeypatch)
        for _ in range(times):
            guest._receive(cast("Connection", answers), "q")
    stored = MetadataStore(settings.metadata_file).read().snapshot
    return sorted(item.id for item in deployments_of(stored or {}))


def in_doubt() -> list[Any]:
    a, b = make_deployment("a"), make_deployment("b")
    return [make_message(a, b), make_message(a)]


def test_heats_answer_decides_a_batch_in_doubt(tmp_path: Path) -> None:
    answers = Answers(in_doubt(), [make_deployment("b"), "text", make_deployment("c")])
    assert received(tmp_path, answers) == ["b", "c"]


def test_without_heat_all_unfinished_deployments_stay_and_heat_is_asked_again(
    tmp_path: Path,
) -> None:
    answers = Answers(in_doubt(), TemporaryError("away"))
    assert received(tmp_path, answers, times=2) == ["a", "b"]
    assert answers.asked == 2


def test_a_heat_that_refuses_is_not_asked_for_the_same_batch_again(tmp_path: Path) -> None:
    answers = Answers(in_doubt(), PermanentError("refused"))
    assert received(tmp_path, answers) == ["a", "b"]
    answers.bodies = []
    assert received(tmp_path, answers) == ["a", "b"]
    assert answers.asked == 1


def test_heat_is_not_asked_where_there_is_no_doubt(tmp_path: Path) -> None:
    answers = Answers([make_message(make_deployment("a"))], [])
    assert received(tmp_path, answers) == ["a"]
    assert answers.asked == 0


def test_messages_are_deleted_only_after_they_are_stored(tmp_path: Path) -> None:
    store = MetadataStore(Settings(state_dir=tmp_path).metadata_file)

    class Looking(Answers):
        def delete(self, ids: list[str]) -> None:
            assert ids == ["0"]
            assert [item.id for item in deployments_of(store.read().snapshot or {})] == ["a"]

    received(tmp_path, Looking([make_message(make_deployment("a"))], []))


@pytest.mark.parametrize(("hours", "asked"), [(0, 0), (2, 1)])
def test_a_guest_that_was_off_for_longer_than_a_message_lives_asks_heat_once(
    tmp_path: Path, hours: int, asked: int
) -> None:
    known = make_message(make_deployment("a"))
    store = MetadataStore(Settings(state_dir=tmp_path).metadata_file)
    store.save(known, time.time() - hours * 3600)
    answers = Answers([], [make_deployment("b")])
    assert received(tmp_path, answers, times=2) == (["b"] if asked else ["a"])
    assert answers.asked == asked


@pytest.fixture(scope="module")
def configuration() -> None:
    """What os-collect-config reads, without a file; a process has one."""
    collect.setup_conf()
    collect.CONF([], prog="os-collect-config", default_config_files=[])


class Pushed:
    """A collector whose WebSocket is up, and its clock."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        current = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
        self.collector = Collector(current, tmp_path / "zaqar.json")
        login = parse_credentials(SECTION["zaqar"])
        assert login is not None
        self._login = login
        self.answers = Answers([], [])
        self.answers.play(monkeypatch)
        monkeypatch.setattr(self.answers, "credentials", login[0], raising=False)
        connection = cast("Connection", self.answers)
        self.listener = Listener(connection, "q", current, self.collector._woken.set)
        self.listener.connected = True
        monkeypatch.setattr(self.collector, "_connection", connection)
        monkeypatch.setattr(self.collector, "_listener", self.listener)
        self.clock = 1000.0
        monkeypatch.setattr(
            "heat_config_zaqar.collect.collector.time.monotonic", lambda: self.clock
        )

    def looks_after_a_wake_up(self, longest: float) -> list[float]:
        """Wake it; return the seconds after which it looks into the queue."""
        woken = self.clock
        self.collector._woken.set()
        found: list[float] = []
        while self.clock - woken < longest:
            found.append(self.clock - woken)
            self.look()
            self.clock = self.collector._due
        return found

    def look(self) -> None:
        self.collector._poll(*self._login)

    def state(self) -> str:
        return self.collector._state[0]


def test_after_a_wake_up_the_queue_is_read_again_for_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Pushed(tmp_path, monkeypatch)
    guest.listener.notified = True
    for _ in range(2):
        guest.clock = 1000.0
        first, second, *_, last = guest.looks_after_a_wake_up(float("inf"))
        assert first == 0
        assert second <= 0.5
        assert 30 <= last <= 62


def test_until_a_notification_came_the_queue_is_read_each_five_minutes_at_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Pushed(tmp_path, monkeypatch).looks_after_a_wake_up(3600)
    assert looks[1] <= 0.5
    pauses = [later - earlier for earlier, later in itertools.pairwise(looks)]
    assert 150 <= max(pauses) <= 300
    assert len(looks) < 40


def test_a_message_that_nothing_announced_ends_the_trust_in_the_websocket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Pushed(tmp_path, monkeypatch)
    guest.looks_after_a_wake_up(100)
    assert guest.state() == "push"
    guest.answers.bodies = [make_message(make_deployment("a"))]
    guest.look()
    assert guest.state() == "polling"
    assert "message_pipeline" in guest.listener.problem
    assert guest.collector._due - guest.clock <= 1


def test_a_message_that_was_announced_in_an_outage_costs_no_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Pushed(tmp_path, monkeypatch)
    guest.looks_after_a_wake_up(100)

    def away(_: list[str]) -> None:
        raise TemporaryError("away")

    guest.answers.bodies = [make_message(make_deployment("a"))]
    with monkeypatch.context() as outage:
        outage.setattr(guest.answers, "delete", away)
        guest.collector._woken.set()
        guest.look()
    assert guest.state() == "away"
    guest.clock += 300
    guest.look()
    assert guest.state() == "push"


@pytest.mark.usefixtures("configuration")
def test_a_guest_that_was_suspended_for_hours_asks_heat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = Pushed(tmp_path, monkeypatch)
    guest.listener.notified = True
    guest.answers.bodies = [make_message(make_deployment("a"))]
    guest.collector._woken.set()
    guest.look()
    guest.answers.bodies = []
    guest.looks_after_a_wake_up(float("inf"))
    now = time.time() + 5 * 3600
    monkeypatch.setattr("heat_config_zaqar.collect.collector.time.time", lambda: now)
    monkeypatch.setattr(guest.collector, "login", lambda: guest._login)
    guest.clock = 2000.0
    guest.collector.collect()
    assert guest.answers.asked == 0
    guest.looks_after_a_wake_up(float("inf"))
    assert guest.answers.asked == 1


@pytest.mark.usefixtures("configuration")
def test_what_was_collected_is_collected_again_while_the_cloud_is_away(tmp_path: Path) -> None:
    nobody = {"zaqar": {**SECTION["zaqar"], "auth_url": "http://127.0.0.1:9/v3/"}}
    known = make_message(make_deployment("a"), section=nobody)
    current = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
    MetadataStore(current.metadata_file).save(known, time.time())
    collector = Collector(current, tmp_path / "zaqar.json")
    for _ in range(2):
        assert dict(collector.collect())["zaqar"] == known
