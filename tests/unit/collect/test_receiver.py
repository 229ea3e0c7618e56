"""What becomes of messages and doubts, on a real store, with the cloud's answers in its place.

What it says to a real cloud is in tests/integration.
"""

import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from heat_config_zaqar.collect import receiver
from heat_config_zaqar.collect.receiver import Receiver
from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.errors import PermanentError, TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox, entry_for
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.session import Connection
from tests.unit.conftest import make_deployment, make_message


class Answers:
    """A cloud that gives one answer: a fault that a real Heat does not show on demand."""

    def __init__(self, bodies: list[Any] | Exception, heat: list[Any] | Exception) -> None:
        self.bodies = bodies
        self.heat = heat
        self.servers: list[str] = []

    @property
    def asked(self) -> int:
        """How often Heat was asked."""
        return len(self.servers)

    def play(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be what the receiver makes of a connection."""
        monkeypatch.setattr(receiver, "Queue", lambda *_: self)
        monkeypatch.setattr(heat, "deployments_of_server", self.deployments)

    def messages(self) -> list[tuple[str, Any]]:
        if isinstance(self.bodies, Exception):
            raise self.bodies
        return [(str(number), body) for number, body in enumerate(self.bodies)]

    def delete(self, ids: list[str]) -> None:
        assert isinstance(self.bodies, list)
        assert len(ids) == len(self.bodies)

    def deployments(self, _: Any, server_id: str) -> list[Any]:
        self.servers.append(server_id)
        if isinstance(self.heat, Exception):
            raise self.heat
        return self.heat


def received(
    tmp_path: Path, answers: Answers, times: int = 1, has_booted: bool = True
) -> list[str]:
    settings = Settings(state_dir=tmp_path, runtime_dir=tmp_path / "run")
    if not has_booted:
        durable.write_json(settings.collected_file, time.time())
    guest = Receiver(settings, tmp_path / "zaqar.json")
    with pytest.MonkeyPatch.context() as monkeypatch:
        answers.play(monkeypatch)
        for _ in range(times):
            guest.receive(cast("Connection", answers), "q")
    stored = MetadataStore(settings.metadata_file).read().snapshot
    return sorted(item.id for item in deployments_of(stored or {}))


def in_doubt() -> list[Any]:
    a, b = make_deployment("a"), make_deployment("b")
    return [make_message(a, b), make_message(a)]


def test_heats_answer_decides_a_batch_in_doubt(tmp_path: Path) -> None:
    answers = Answers(in_doubt(), [make_deployment("b"), "text", make_deployment("c")])
    assert received(tmp_path, answers, has_booted=False) == ["b", "c"]


@pytest.mark.parametrize("is_there", [True, False])
def test_heat_says_whether_a_finished_deployment_that_the_last_message_lacks_is_still_there(
    tmp_path: Path, is_there: bool
) -> None:
    Outbox(tmp_path).finish(entry_for(parse_deployment(make_deployment("b")), {}, 1, 0))
    there = [make_deployment("a"), make_deployment("b")]
    answers = Answers(in_doubt(), there if is_there else there[:1])
    expected = ["a", "b"] if is_there else ["a"]
    assert received(tmp_path, answers, has_booted=False) == expected


def test_a_finished_deployment_that_the_last_message_lacks_leaves_no_doubt(tmp_path: Path) -> None:
    Outbox(tmp_path).finish(entry_for(parse_deployment(make_deployment("b")), {}, 1, 0))
    answers = Answers(in_doubt(), TemporaryError("away"))
    assert received(tmp_path, answers, has_booted=False) == ["a"]
    answers.bodies = []
    assert received(tmp_path, answers, has_booted=False) == ["a"]
    assert answers.asked == 1


def test_a_message_without_deployments_hides_no_finished_one(tmp_path: Path) -> None:
    a = make_deployment("a")
    Outbox(tmp_path).finish(entry_for(parse_deployment(a), {}, 1, 0))
    answers = Answers([make_message(a)], [a])
    assert received(tmp_path, answers, has_booted=False) == ["a"]
    answers.bodies = [make_message()]
    assert received(tmp_path, answers, has_booted=False) == ["a"]
    assert answers.asked == 1


def test_without_heat_all_unfinished_deployments_stay_and_heat_is_asked_again(
    tmp_path: Path,
) -> None:
    answers = Answers(in_doubt(), TemporaryError("away"))
    assert received(tmp_path, answers, times=2) == ["a", "b"]
    assert answers.asked == 2


def test_one_404_of_a_proxy_does_not_settle_a_doubt(tmp_path: Path) -> None:
    answers = Answers(in_doubt(), PermanentError("404"))
    assert received(tmp_path, answers) == ["a", "b"]
    answers.bodies, answers.heat = [], [make_deployment("b")]
    # As a new process, which does not know how long the last one was to wait.
    assert received(tmp_path, answers) == ["b"]


def test_a_heat_that_goes_on_refusing_is_asked_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers(in_doubt(), PermanentError("404"))
    answers.play(monkeypatch)
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    guest = Receiver(Settings(state_dir=tmp_path, runtime_dir=tmp_path / "run"), tmp_path / "none")
    guest.receive(cast("Connection", answers), "q")
    answers.bodies = []
    pauses = []
    while clock[0] < 6 * 3600:
        pauses.append(guest.ask_at - clock[0])
        clock[0] = guest.ask_at
        guest.receive(cast("Connection", answers), "q")
    assert answers.asked == len(pauses) + 1 < 60
    assert pauses[0] <= 1
    assert 450 <= pauses[-1] <= 900
    assert guest.doubt == "404"


def test_heat_is_not_asked_where_there_is_no_doubt(tmp_path: Path) -> None:
    answers = Answers([make_message(make_deployment("a"))], [])
    assert received(tmp_path, answers, has_booted=False) == ["a"]
    assert answers.asked == 0


def test_messages_are_deleted_only_after_they_are_stored(tmp_path: Path) -> None:
    store = MetadataStore(Settings(state_dir=tmp_path).metadata_file)

    class Looking(Answers):
        def delete(self, ids: list[str]) -> None:
            assert ids == ["0"]
            assert [item.id for item in deployments_of(store.read().snapshot or {})] == ["a"]

    received(tmp_path, Looking([make_message(make_deployment("a"))], []), has_booted=False)


@pytest.mark.parametrize("hours", [0, 2])
def test_a_guest_that_has_booted_asks_heat_once(tmp_path: Path, hours: int) -> None:
    known = make_message(make_deployment("a"))
    store = MetadataStore(Settings(state_dir=tmp_path).metadata_file)
    store.save(known, time.time() - hours * 3600)
    answers = Answers([], [make_deployment("b")])
    assert received(tmp_path, answers, times=2) == ["b"]
    assert answers.asked == 1


def test_a_guest_that_has_booted_and_whom_heat_does_not_answer_goes_on_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = MetadataStore(Settings(state_dir=tmp_path).metadata_file)
    store.save(make_message(make_deployment("a")), time.time())
    answers = Answers([], TemporaryError("away"))
    assert received(tmp_path, answers, times=2) == ["a"]
    assert answers.asked == 1
    assert caplog.text == ""


def doubtful(tmp_path: Path) -> list[str]:
    found: list[str] = durable.read_json(Settings(runtime_dir=tmp_path / "run").doubtful_file)[
        "configs"
    ]
    return found


def test_what_a_used_guest_finds_after_a_boot_may_have_been_finished_before(tmp_path: Path) -> None:
    a, b, c = (make_deployment(name) for name in "abc")
    MetadataStore(Settings(state_dir=tmp_path).metadata_file).save(make_message(a), time.time())
    received(tmp_path, Answers([make_message(a, b)], [a, b, c]))
    assert doubtful(tmp_path) == ["a", "b", "c"]
    # What comes later is new.
    received(tmp_path, Answers([make_message(make_deployment("d"))], []))
    assert doubtful(tmp_path) == ["a", "b", "c"]


def test_what_waits_for_a_new_guest_is_new_and_what_only_heat_knows_may_be_not(
    tmp_path: Path,
) -> None:
    a, b = make_deployment("a"), make_deployment("b")
    received(tmp_path, Answers([make_message(a)], [a, b]))
    assert doubtful(tmp_path) == ["b"]


def test_a_result_that_waited_over_a_boot_may_have_been_signalled_before(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.finish(entry_for(parse_deployment(make_deployment("a")), {}, 1, 0))
    MetadataStore(Settings(state_dir=tmp_path).metadata_file).save(make_message(), time.time())
    received(tmp_path, Answers([], []))
    assert doubtful(tmp_path) == ["a"]


def test_a_clock_that_went_back_says_nothing_of_how_long_a_guest_was_off(tmp_path: Path) -> None:
    store = MetadataStore(Settings(state_dir=tmp_path).metadata_file)
    store.save(make_message(make_deployment("a")), time.time() + 3600)
    answers = Answers([], [make_deployment("b")])
    assert received(tmp_path, answers, times=2, has_booted=False) == ["b"]
    assert answers.asked == 1


def test_two_processes_that_receive_at_once_lose_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody types `os-collect-config --print` beside the service."""
    settings = Settings(state_dir=tmp_path, runtime_dir=tmp_path / "run")
    late = Answers([make_message(make_deployment("b"))], TemporaryError("away"))
    late.play(monkeypatch)
    monkeypatch.setattr(receiver, "Queue", lambda answers, _: answers)

    def receive(answers: Answers) -> None:
        Receiver(settings, tmp_path / "zaqar.json").receive(cast("Connection", answers), "q")

    other = threading.Thread(target=receive, args=(late,))

    class Slow(Answers):
        def messages(self) -> list[tuple[str, Any]]:
            other.start()
            other.join(0.5)
            assert other.is_alive(), "both read the queue"
            return super().messages()

    receive(Slow([make_message(make_deployment("a"))], []))
    other.join()
    stored = MetadataStore(settings.metadata_file).read()
    assert sorted(item.id for item in stored.deployments) == ["a", "b"]


def test_a_doubt_that_another_process_settled_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = Answers(in_doubt(), TemporaryError("away"))
    answers.play(monkeypatch)
    settings = Settings(state_dir=tmp_path, runtime_dir=tmp_path / "run")
    guest = Receiver(settings, tmp_path / "none")
    guest.receive(cast("Connection", answers), "q")
    assert guest.doubt
    MetadataStore(settings.metadata_file).save(make_message(), time.time())
    answers.bodies = []
    guest.receive(cast("Connection", answers), "q")
    assert (guest.doubt, guest.ask_at) == ("", float("inf"))


SERVER = "1b0b9a3e-6ff6-4b0e-8c1a-5c2f6f1a3c11"


def test_a_guest_that_comes_too_late_for_its_first_message_asks_heat_as_nova_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = tmp_path / "product_uuid"
    product.write_text(f"{SERVER.upper()}\n")
    monkeypatch.setattr(identity, "_MACHINE_FILES", (tmp_path / "missing", product))
    answers = Answers([], [make_deployment("a")])
    assert received(tmp_path, answers, times=2, has_booted=False) == ["a"]
    assert answers.servers == [SERVER]


def test_a_guest_that_nothing_names_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonsense = tmp_path / "instance-id"
    nonsense.write_text("iid-datasource-none\n")
    monkeypatch.setattr(identity, "_MACHINE_FILES", (nonsense,))
    answers = Answers([], [])
    answers.play(monkeypatch)
    guest = Receiver(Settings(state_dir=tmp_path, runtime_dir=tmp_path / "run"), tmp_path / "none")
    guest.receive(cast("Connection", answers), "q")
    assert answers.asked == 0
    assert "no deployment names the server" in guest.doubt


def test_a_guest_that_finds_its_first_message_asks_nobody(tmp_path: Path) -> None:
    answers = Answers([make_message()], [])
    assert received(tmp_path, answers, times=2) == []
    assert answers.asked == 0
