import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.deliver import delivery, posted, transports
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.errors import AmbiguousError, TemporaryError, UnauthorizedError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox, Settled, entry_for
from heat_config_zaqar.wire import heat
from tests.unit.conftest import make_deployment, make_message

# A port of loopback where nothing listens.
NOBODY = "http://127.0.0.1:9/v3/"


@pytest.fixture
def current(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")


def finish(current: Settings, config_id: str, **changes: Any) -> Outbox:
    outbox = Outbox(current.state_dir)
    document = make_deployment(config_id, deploy_auth_url=NOBODY, **changes)
    outbox.finish(entry_for(parse_deployment(document), {"deploy_status_code": 0}, 1, 0))
    return outbox


def states(outbox: Outbox) -> dict[str, str]:
    return {record["id"]: state for state, record in outbox.records()}


def test_a_signal_stays_in_the_outbox_while_nobody_listens(current: Settings) -> None:
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 1
    (entry,) = outbox.pending()
    assert not entry.sending


def test_a_signal_that_another_process_sent_meanwhile_is_not_sent_again(
    current: Settings,
) -> None:
    outbox = finish(current, "a")
    outbox.settle(outbox.pending()[0], Settled.DELIVERED, "")
    Delivery(outbox, current).deliver("a")
    assert states(outbox) == {"a": "delivered"}


def test_a_deployment_that_says_nonsense_about_its_signal_is_kept_as_failed(
    current: Settings,
) -> None:
    outbox = finish(current, "a", deploy_signal_transport="PIGEON")
    Delivery(outbox, current).deliver_all()
    assert states(outbox) == {"a": "failed"}
    note = json.loads((current.state_dir / "failed" / "a.json").read_text())["note"]
    assert "PIGEON" in note


@pytest.mark.parametrize("queue", ["../x", "q" * 65, "a b"])
def test_a_hostile_queue_name_never_reaches_the_network(current: Settings, queue: str) -> None:
    outbox = finish(current, "a", deploy_queue_id=queue)
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "failed"}


def test_only_a_newer_config_for_the_same_resource_supersedes(current: Settings) -> None:
    outbox = finish(current, "a")
    delivery = Delivery(outbox, current)
    later = {"creation_time": "2026-11-22T16:00:00Z"}
    delivery.supersede([parse_deployment(make_deployment("b", **later))])
    assert states(outbox) == {"a": "outbox"}
    same = {"deploy_queue_id": "t1-a-mpmx6jwjdxiw", "deploy_resource_name": "a"}
    earlier = {"creation_time": "2026-11-22T14:00:00Z"}
    delivery.supersede([parse_deployment(make_deployment("b", **same, **earlier))])
    assert states(outbox) == {"a": "outbox"}
    delivery.supersede([parse_deployment(make_deployment("b", **same, **later))])
    assert states(outbox) == {"a": "superseded"}


def test_a_deployment_without_a_signal_url_is_given_up(current: Settings) -> None:
    outbox = finish(current, "a", deploy_signal_transport="CFN_SIGNAL")
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "failed"}


class PlayedQueue:
    """A user's connection and its one queue; the faults that `post` raises are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bodies: list[Any] = []
        self.faults: list[Exception] = []
        self.signalled: list[str] = []
        self.on_post: Callable[[], object] = lambda: None
        monkeypatch.setattr(delivery, "Connection", lambda *_, **__: self)
        monkeypatch.setattr(posted, "Queue", lambda *_: self)
        monkeypatch.setattr(transports, "Queue", lambda *_: self)
        monkeypatch.setattr(heat, "signal_resource", self.signal_resource)

    def messages(self) -> list[tuple[str, Any]]:
        return [(str(number), body) for number, body in enumerate(self.bodies)]

    def signal_resource(self, _: Any, __: str, resource_name: str, body: dict[str, Any]) -> None:
        assert body["deploy_status_code"] == 0
        self.signalled.append(resource_name)

    def post(self, body: dict[str, Any], _: int) -> None:
        self.on_post()
        fault = self.faults.pop() if self.faults else None
        if not isinstance(fault, UnauthorizedError):
            self.bodies.append(body)
        if fault:
            raise fault


def test_a_post_without_an_answer_is_looked_for_before_anything_is_sent(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    played.faults = [AmbiguousError("no answer")]
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 1
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "delivered"}
    assert len(played.bodies) == 1


def test_a_post_that_is_not_in_the_queue_goes_through_heat_and_is_never_posted_again(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    played.faults = [AmbiguousError("no answer")]
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 1
    played.bodies.clear()  # it never arrived, or Heat has read it
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "delivered"}
    assert played.signalled == ["a"]
    assert played.bodies == []


def test_an_entry_is_marked_on_disk_before_the_post(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    outbox = finish(current, "a")
    marks: list[bool] = []
    played.on_post = lambda: marks.append(outbox.pending()[0].sending)
    Delivery(outbox, current).deliver_all()
    assert marks == [True]


def test_a_login_that_is_refused_for_a_while_costs_no_signal(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    played.faults = [UnauthorizedError("401")]
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 1
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "delivered"}


def test_a_signal_is_dropped_where_newer_metadata_waits_that_nobody_has_read(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "a")
    MetadataStore(current.metadata_file).save(make_message(make_deployment("a")), 0)
    played = PlayedQueue(monkeypatch)
    later = {"creation_time": "2026-11-22T16:00:00Z", "deploy_queue_id": "t1-a-mpmx6jwjdxiw"}
    newer = make_deployment("b", deploy_resource_name="a", **later)
    played.bodies = ["text", make_message(newer)]
    Delivery(outbox, current).deliver("a")
    assert states(outbox) == {"a": "superseded"}
    assert len(played.bodies) == 2


def test_a_metadata_queue_that_cannot_be_read_delays_signals_to_zaqar_alone(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "zaqar")
    finish(current, "none", deploy_signal_transport="NO_SIGNAL")
    MetadataStore(current.metadata_file).save(make_message(), 0)
    played = PlayedQueue(monkeypatch)
    monkeypatch.setattr(played, "messages", raising(TemporaryError("away")))
    assert Delivery(outbox, current).deliver_all() == 1
    assert states(outbox) == {"zaqar": "outbox", "none": "delivered"}


def raising(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
