import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from heat_config_zaqar.deliver import delivery, progress
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deliver.progress import Progress
from heat_config_zaqar.deployment import Credentials, Deployment, parse_deployment
from heat_config_zaqar.errors import RejectedError, TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox, entry_for
from tests.unit.conftest import SECTION, make_deployment, make_message


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(progress, "CALM_SECONDS", 0.1)
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.3)
    made = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
    durable.write_json(made.collected_file, 1)
    return made


def told_of(config_id: str, queue: Any = "q-progress", **changes: Any) -> Deployment:
    return parse_deployment(make_deployment(config_id, deploy_progress_queue_id=queue, **changes))


class Listener:
    """Takes the place of what posts; its faults and its slowness are the test's."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.fault: Exception | None = None
        self.before: Callable[[], object] = lambda: None

    def tell(self, _: Deployment, body: dict[str, Any]) -> None:
        self.before()
        if self.fault:
            raise self.fault
        self.bodies.append(body)

    @property
    def heard(self) -> list[tuple[str, int]]:
        return [(body["deploy_config_id"], body.get("attempt", 0)) for body in self.bodies]

    def wait_for(self, number: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.bodies) < number:
            assert time.monotonic() < deadline, self.bodies
            time.sleep(0.01)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def told(current: Settings, listener: Listener) -> Iterator[Progress]:
    """What tells the listener; its thread ends with the test."""
    made = Progress(Outbox(current.state_dir), cast("Callable[[], Delivery]", lambda: listener))
    yield made
    made._due.clear()
    listener.before = lambda: None
    deadline = time.monotonic() + 20
    while threads():
        assert time.monotonic() < deadline, "the thread outlives what it tells"
        time.sleep(0.01)


def now() -> tuple[float, str]:
    return time.monotonic(), ""


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "_work" in thread.name]


def test_a_hook_is_told_when_it_starts_and_each_minute_until_it_ends(
    told: Progress, listener: Listener
) -> None:
    began = time.monotonic()
    told.runs(told_of("a"), 2, lambda: (began - 70, "installing"))
    listener.wait_for(3)
    assert 0.6 < time.monotonic() - began < 20
    told.end("a")
    number = len(listener.bodies)
    time.sleep(0.7)
    assert len(listener.bodies) == number
    first = listener.bodies[0]
    assert 70 <= first.pop("quiet") < 90
    assert 0 <= first.pop("seconds") < 20
    assert first == {"deploy_config_id": "a", "attempt": 2, "line": "installing"}


def test_a_hook_that_is_over_at_once_costs_no_message_and_nor_do_those_behind_it(
    told: Progress, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a busy machine takes for these hooks.
    monkeypatch.setattr(progress, "CALM_SECONDS", 2.0)
    deployments = [told_of(name) for name in "abc"]
    told.waits(deployments)
    for deployment in deployments:
        told.runs(deployment, 1, now)
        time.sleep(0.02)
        told.end(deployment.id)
    time.sleep(2.5)
    assert listener.bodies == []


def test_those_that_wait_are_told_once_and_the_hook_that_runs_before_them(
    told: Progress, listener: Listener
) -> None:
    told.waits([told_of(name) for name in "abc"])
    time.sleep(0.3)
    assert listener.bodies == [], "nothing is told before a hook has started"
    told.runs(told_of("c"), 1, now)
    listener.wait_for(5)
    told.end("c")
    assert sorted(listener.heard[:3]) == [("a", 0), ("b", 0), ("c", 1)]
    assert set(listener.heard[3:]) == {("c", 1)}
    assert listener.bodies[listener.heard.index(("a", 0))] == {"deploy_config_id": "a"}


def test_while_many_wait_the_hook_that_starts_comes_first(
    told: Progress, listener: Listener
) -> None:
    listener.before = lambda: time.sleep(0.05)
    told.waits([told_of(f"w{number}") for number in range(40)])
    time.sleep(0.2)
    told.runs(told_of("a"), 1, now)
    listener.wait_for(10)
    told.end("a")
    assert ("a", 1) in listener.heard[:6]


def test_a_deployment_without_a_progress_queue_is_never_told(
    told: Progress, listener: Listener
) -> None:
    plain = parse_deployment(make_deployment("a"))
    told.waits([plain])
    told.runs(plain, 1, now)
    assert threads() == []
    told.end("a")
    assert listener.bodies == []


@pytest.mark.parametrize(
    "queue", ["", None, "None", "a b", "../x", "x" * 65, 7.5, ["q"], "t1-a-mpmx6jwjdxiw"]
)
def test_what_cannot_be_a_progress_queue_or_is_the_signal_s_is_none(queue: Any) -> None:
    assert told_of("a", queue).progress_queue == ""


def test_the_end_waits_for_a_message_on_its_way_so_that_none_comes_after_it(
    told: Progress, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LAST_SECONDS", 10)
    on_its_way = threading.Event()

    def slow() -> None:
        on_its_way.set()
        time.sleep(0.4)

    listener.before = slow
    told.runs(told_of("a"), 1, now)
    assert on_its_way.wait(10)
    told.end("a")
    assert len(listener.bodies) == 1


def test_a_message_that_hangs_holds_no_signal_up_for_more_than_a_second(
    told: Progress, listener: Listener
) -> None:
    on_its_way, goes_on = threading.Event(), threading.Event()

    def hang() -> None:
        on_its_way.set()
        goes_on.wait(30)

    listener.before = hang
    told.waits([told_of("b")])
    told.runs(told_of("a"), 1, now)
    assert on_its_way.wait(10)
    began = time.monotonic()
    for name in "ab":
        told.end(name)
    assert time.monotonic() - began < 15
    goes_on.set()


@pytest.mark.parametrize("fault", [TemporaryError("away"), RejectedError("403"), KeyError("bug")])
def test_trouble_is_logged_once_and_the_next_minute_is_tried_again(
    told: Progress, listener: Listener, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tries: list[float] = []
    listener.before = lambda: tries.append(time.monotonic())
    listener.fault = fault
    told.waits([told_of(f"w{number}") for number in range(20)])
    time.sleep(0.2)
    told.runs(told_of("a"), 1, now)
    deadline = time.monotonic() + 20
    while len(tries) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert tries[3] - tries[0] > 0.5, "what waits would only wait for the same service"
    listener.fault = None
    listener.wait_for(1)
    told.end("a")
    assert listener.heard[0] == ("a", 1)
    assert len(caplog.records) == 1
    assert caplog.text.count("its progress cannot be shown in Heat") == 1


def test_a_machine_without_room_for_a_thread_runs_its_hook(
    told: Progress, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        told.runs(told_of("a"), 1, now)
    told.runs(told_of("b"), 1, now)
    listener.wait_for(2)
    for name in "ab":
        told.end(name)


def test_a_hook_that_has_signalled_for_itself_is_told_no_more(
    told: Progress, listener: Listener, current: Settings
) -> None:
    told.runs(told_of("a"), 1, now)
    listener.wait_for(1)
    Outbox(current.state_dir).finish(entry_for(told_of("a"), {}, 1, 0))
    time.sleep(0.1)
    number = len(listener.bodies)
    time.sleep(0.7)
    told.end("a")
    assert len(listener.bodies) == number


class PlayedQueue:
    """Stands for a user's connection and the queue; keeps who posted what where."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.posts: list[tuple[str, str, Any, int]] = []
        monkeypatch.setattr(delivery, "Connection", lambda login, **_: login)
        monkeypatch.setattr(delivery, "Queue", self.queue)

    def queue(self, user: Credentials, name: str) -> Any:
        class Queue:
            post = staticmethod(
                lambda body, ttl: self.posts.append((user.user_id, name, body, ttl))
            )

        return Queue


OWN = "afaa4c4a2c344433829d69f6b0211a5e"


@pytest.mark.parametrize(
    ("project", "user"),
    [(SECTION["zaqar"]["project_id"], SECTION["zaqar"]["user_id"]), ("another", OWN)],
)
def test_it_is_told_as_the_user_whose_token_the_signal_needs_and_is_gone_in_minutes(
    current: Settings, monkeypatch: pytest.MonkeyPatch, project: str, user: str
) -> None:
    played = PlayedQueue(monkeypatch)
    MetadataStore(current.metadata_file).save(make_message(), 0)
    deployment = told_of("a", deploy_project_id=project)
    Delivery(Outbox(current.state_dir), current).tell(deployment, {"attempt": 1})
    assert played.posts == [(user, "q-progress", {"attempt": 1}, 300)]


def test_nothing_is_told_before_metadata_was_collected_since_the_boot(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    current.collected_file.unlink()
    Delivery(Outbox(current.state_dir), current).tell(told_of("a"), {})
    assert played.posts == []


def test_nothing_of_it_is_on_disk(told: Progress, listener: Listener, current: Settings) -> None:
    before = sorted(current.state_dir.rglob("*"))
    told.runs(told_of("a"), 1, lambda: (time.monotonic(), "a line"))
    listener.wait_for(2)
    told.end("a")
    assert sorted(current.state_dir.rglob("*")) == before
