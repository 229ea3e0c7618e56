import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.collect import sources
from heat_config_zaqar.deliver import delivery, posted, transports
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import Credentials, parse_deployment
from heat_config_zaqar.errors import (
    AmbiguousError,
    PermanentError,
    RejectedError,
    TemporaryError,
    UnacceptableError,
    UnauthorizedError,
)
from heat_config_zaqar.run.apply import apply, read_deployments
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import doubts, durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox, Settled, entry_for
from heat_config_zaqar.wire import heat
from tests.unit.conftest import SECTION, Said, make_deployment, make_message

# A port of loopback where nothing listens.
NOBODY = "http://127.0.0.1:9/v3/"


@pytest.fixture
def current(tmp_path: Path) -> Settings:
    made = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
    durable.write_json(made.collected_file, 1)
    return made


def finish(
    current: Settings, config_id: str, body: dict[str, Any] | None = None, **changes: Any
) -> Outbox:
    outbox = Outbox(current.state_dir)
    document = make_deployment(config_id, deploy_auth_url=NOBODY, **changes)
    body = {"deploy_status_code": 0} | (body or {})
    outbox.finish(entry_for(parse_deployment(document), body, 1, 0))
    return outbox


def states(outbox: Outbox) -> dict[str, str]:
    return {record["id"]: state for state, record in outbox.records()}


def test_a_signal_stays_in_the_outbox_while_nobody_listens(current: Settings) -> None:
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 1
    (entry,) = outbox.pending()
    assert not entry.sending


def test_nothing_is_sent_before_metadata_was_collected_since_the_boot(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    current.collected_file.unlink()
    outbox = finish(current, "a")
    delivery = Delivery(outbox, current)
    delivery.deliver("a")
    assert (delivery.deliver_all(), played.bodies) == (1, [])
    durable.write_json(current.collected_file, 1)
    assert (delivery.deliver_all(), len(played.bodies)) == (0, 1)


def test_what_nobody_waits_for_is_done_with_before_metadata_was_collected(
    current: Settings,
) -> None:
    current.collected_file.unlink()
    outbox = finish(current, "a", deploy_signal_transport="NO_SIGNAL")
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "delivered"}


def test_a_signal_that_another_process_sent_meanwhile_is_not_sent_again(
    current: Settings,
) -> None:
    outbox = finish(current, "a")
    outbox.settle(outbox.pending()[0], Settled.DELIVERED, "")
    Delivery(outbox, current).deliver("a")
    assert states(outbox) == {"a": "delivered"}


@pytest.mark.parametrize(
    "nonsense",
    [
        {"deploy_signal_transport": "PIGEON"},
        *({"deploy_queue_id": name} for name in ("", "../x", "q" * 65, "a b")),
    ],
)
def test_a_result_that_has_nowhere_to_go_by_its_own_address_goes_through_heat(
    current: Settings, monkeypatch: pytest.MonkeyPatch, nonsense: dict[str, Any]
) -> None:
    played = PlayedQueue(monkeypatch)
    outbox = finish(current, "a", **nonsense)
    assert Delivery(outbox, current).deliver_all() == 0
    assert (states(outbox), played.signalled, played.bodies) == ({"a": "delivered"}, ["a"], [])


def test_a_result_without_any_address_is_kept_as_failed_with_the_reason(current: Settings) -> None:
    outbox = finish(current, "a", deploy_signal_transport="PIGEON", deploy_stack_id="")
    Delivery(outbox, current).deliver_all()
    assert states(outbox) == {"a": "failed"}
    note = json.loads((current.state_dir / "failed" / "a.json").read_text())["note"]
    assert "PIGEON" in note


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


def test_a_deployment_without_a_signal_url_is_given_up(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    PlayedQueue(monkeypatch)
    outbox = finish(current, "a", deploy_signal_transport="CFN_SIGNAL")
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "failed"}


class PlayedQueue:
    """A user's connection and its one queue; the faults that `post` raises are the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bodies: list[Any] = []
        self.faults: list[Exception] = []
        self.signalled: list[str] = []
        self.codes: list[int] = []
        self.at_heat: list[Any] = []
        self.users: list[Credentials] = []
        self.on_post: Callable[[], object] = lambda: None
        monkeypatch.setattr(delivery, "Connection", self.connect)
        monkeypatch.setattr(posted, "Queue", lambda *_: self)
        monkeypatch.setattr(transports, "Queue", lambda *_: self)
        monkeypatch.setattr(heat, "signal_resource", self.signal_resource)
        monkeypatch.setattr(heat, "deployments_of_server", self.deployments_of_server)

    def connect(self, login: Credentials, **_: Any) -> "PlayedQueue":
        self.users.append(login)
        return self

    def deployments_of_server(self, _: Any, server_id: str) -> list[Any]:
        assert server_id == "ef33c16d-965f-4003-b1ed-e446a2a52e07"
        return self.at_heat

    def messages(self) -> list[tuple[str, Any]]:
        return [(str(number), body) for number, body in enumerate(self.bodies)]

    def signal_resource(self, _: Any, __: str, resource_name: str, body: dict[str, Any]) -> None:
        self.codes.append(body["deploy_status_code"])
        self.signalled.append(resource_name)

    def largest_post(self) -> int:
        return 262_144

    def post(self, body: dict[str, Any], _: int) -> None:
        self.on_post()
        fault = self.faults.pop() if self.faults else None
        if not isinstance(fault, PermanentError):
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
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 61)
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "delivered"}
    assert (played.signalled, played.codes) == (["a"], [0])
    assert played.bodies == []


def test_a_post_that_arrives_after_its_sender_gave_up_completes_no_later_update(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    played.faults = [AmbiguousError("no answer")]
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 1
    late = played.bodies.pop()
    assert Delivery(outbox, current).deliver_all() == 1
    assert played.signalled == []
    played.bodies.append(late)
    assert Delivery(outbox, current).deliver_all() == 0
    assert (states(outbox), played.signalled) == ({"a": "delivered"}, [])


@pytest.mark.parametrize("step", [61, -61], ids=["a minute later", "a clock that was set back"])
def test_a_post_without_an_answer_is_waited_for_a_minute(
    current: Settings, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    played = PlayedQueue(monkeypatch)
    played.faults = [AmbiguousError("no answer")]
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 1
    played.bodies.clear()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 0.9 * step)
    assert Delivery(outbox, current).deliver_all() == 1
    monkeypatch.setattr(time, "time", lambda: now() + step)
    assert Delivery(outbox, current).deliver_all() == 0
    assert (played.signalled, played.bodies) == (["a"], [])


def test_what_may_have_been_signalled_before_the_disk_was_put_back_goes_through_heat(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    outbox = finish(current, "a")
    doubts.note(current, outbox, [])
    assert Delivery(outbox, current).deliver_all() == 0
    assert (played.signalled, played.bodies) == (["a"], [])


def test_of_what_a_disk_that_was_put_back_has_lost_heat_says_whether_there_is_newer(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "a")
    MetadataStore(current.metadata_file).save(make_message(make_deployment("a")), 0)
    doubts.note(current, outbox, [])
    played = PlayedQueue(monkeypatch)
    newer = make_deployment("c", deploy_resource_name="a", creation_time="2026-11-22T16:00:00Z")
    played.at_heat = [newer]
    assert Delivery(outbox, current).deliver_all() == 0
    assert (states(outbox), played.signalled) == ({"a": "superseded"}, [])


@pytest.mark.parametrize("error", [TemporaryError("away"), RejectedError("not in the catalog")])
def test_a_cloud_whose_heat_no_guest_reaches_gets_a_doubtful_signal_by_the_queue_in_the_end(
    current: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    played = PlayedQueue(monkeypatch)

    def away(*_: Any) -> None:
        raise error

    monkeypatch.setattr(heat, "signal_resource", away)
    outbox = finish(current, "a")
    doubts.note(current, outbox, [])
    assert Delivery(outbox, current).deliver_all() == 1
    assert played.bodies == []
    noted = durable.read_json(current.doubtful_file)
    durable.write_json(current.doubtful_file, {**noted, "since": time.monotonic() - 601})
    assert Delivery(outbox, current).deliver_all() == 0
    assert len(played.bodies) == 1


def test_a_clock_that_steps_ends_no_doubt(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)

    def away(*_: Any) -> None:
        raise TemporaryError("away")

    monkeypatch.setattr(heat, "signal_resource", away)
    outbox = finish(current, "a")
    doubts.note(current, outbox, [])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 25 * 3600)
    assert Delivery(outbox, current).deliver_all() == 1
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


NO_LOGIN: dict[str, Any] = {
    "deploy_password": "",
    "deploy_signal_id": "http://127.0.0.1:9/?Signature=x",
}


def away() -> TemporaryError:
    error = TemporaryError("no connection")
    error.is_away = True
    return error


def finish_one_of_each(current: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Finish a deployment of each transport; return where pre-signed signals go."""
    sent: list[str] = []
    monkeypatch.setattr(transports, "send_presigned", lambda method, *_: sent.append(method))
    for name in ("ZAQAR", "HEAT", "NO"):
        finish(current, name, deploy_signal_transport=f"{name}_SIGNAL")
    for name in ("CFN", "TEMP_URL"):
        finish(current, name, deploy_signal_transport=f"{name}_SIGNAL", **NO_LOGIN)
    return sent


@pytest.mark.parametrize("error", [TemporaryError("503"), away(), RejectedError("403")])
@pytest.mark.parametrize("has_queue", [True, False])
def test_where_nobody_can_say_what_is_new_each_signal_waits(
    current: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception, has_queue: bool
) -> None:
    sent = finish_one_of_each(current, monkeypatch)
    if has_queue:
        MetadataStore(current.metadata_file).save(make_message(), 0)
    played = PlayedQueue(monkeypatch)
    monkeypatch.setattr(played, "messages", raising(error))
    monkeypatch.setattr(heat, "deployments_of_server", raising(error))
    monkeypatch.setattr(sources, "deployments_now", raising(error))
    outbox = Outbox(current.state_dir)
    assert Delivery(outbox, current).deliver_all() == 4
    waiting = dict.fromkeys(("ZAQAR", "HEAT", "CFN", "TEMP_URL"), "outbox")
    assert states(outbox) == {**waiting, "NO": "delivered"}
    assert (played.bodies, played.signalled, sent) == ([], [], [])


def test_without_a_source_of_its_own_a_server_waits_for_whom_it_can_ask_alone(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_one_of_each(current, monkeypatch)
    PlayedQueue(monkeypatch)
    monkeypatch.setattr(heat, "deployments_of_server", raising(TemporaryError("503")))
    outbox = Outbox(current.state_dir)
    assert Delivery(outbox, current).deliver_all() == 2
    sent = dict.fromkeys(("CFN", "TEMP_URL", "NO"), "delivered")
    assert states(outbox) == {"ZAQAR": "outbox", "HEAT": "outbox", **sent}


def test_a_signal_is_held_back_for_ten_minutes_of_tries_and_then_sent_without_a_look(
    current: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(transports, "send_presigned", lambda method, *_: sent.append(method))
    monkeypatch.setattr(sources, "deployments_now", raising(TemporaryError("503")))
    outbox = finish(current, "a", deploy_signal_transport="CFN_SIGNAL", **NO_LOGIN)
    refuse_for(current, monkeypatch, [30, *[30] * 20])
    assert sent == []
    assert "all the same" not in caplog.text
    refuse_for(current, monkeypatch, [30])
    assert sent == ["POST"]
    assert "deployment a: signalling all the same: newer metadata cannot be" in caplog.text
    assert states(outbox) == {"a": "delivered"}


def test_a_queue_that_cannot_be_read_leaves_heat_to_say_what_is_new_for_a_signal_without_a_login(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "a", deploy_signal_transport="CFN_SIGNAL", **NO_LOGIN)
    MetadataStore(current.metadata_file).save(make_message(), 0)
    played = PlayedQueue(monkeypatch)
    monkeypatch.setattr(played, "messages", raising(TemporaryError("503")))
    played.at_heat = [NEWER]
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "superseded"}
    assert {user.user_id for user in played.users} == {SECTION["zaqar"]["user_id"]}


NEWER = make_deployment("new", deploy_resource_name="a", creation_time="2026-11-22T16:00:00Z")


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "TEMP_URL_SIGNAL"])
def test_a_signal_without_a_login_is_dropped_where_the_server_s_own_source_has_newer_metadata(
    current: Settings, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(transports, "send_presigned", lambda _, url, *__: sent.append(url))
    asked: list[str] = []

    def deployments_now(server_id: str, *_: Any) -> list[Any]:
        asked.append(server_id)
        return [parse_deployment(NEWER)]

    monkeypatch.setattr(sources, "deployments_now", deployments_now)
    outbox = finish(current, "a", deploy_signal_transport=transport, **NO_LOGIN)
    finish(current, "b", deploy_signal_transport=transport, **NO_LOGIN)
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "superseded", "b": "delivered"}
    assert (sent, asked) == (
        [NO_LOGIN["deploy_signal_id"]],
        ["ef33c16d-965f-4003-b1ed-e446a2a52e07"],
    )


def test_a_source_that_is_away_is_asked_once_for_all_that_waits(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def deployments_now(server_id: str, *_: Any) -> None:
        asked.append(server_id)
        raise away()

    monkeypatch.setattr(sources, "deployments_now", deployments_now)
    for name in ("a", "b"):
        outbox = finish(current, name, deploy_signal_transport="CFN_SIGNAL", **NO_LOGIN)
    assert Delivery(outbox, current).deliver_all() == 2
    assert len(asked) == 1


@pytest.mark.parametrize("transport", ["HEAT_SIGNAL", "ZAQAR_SIGNAL"])
def test_without_a_metadata_queue_heat_says_that_a_stack_was_updated_while_the_hook_ran(
    current: Settings, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    outbox = finish(current, "a", deploy_signal_transport=transport)
    finish(current, "b", deploy_signal_transport=transport)
    played = PlayedQueue(monkeypatch)
    newer = make_deployment("c", deploy_resource_name="a", creation_time="2026-11-22T16:00:00Z")
    played.at_heat = [newer, make_deployment("b")]
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "superseded", "b": "delivered"}


def test_where_the_metadata_queue_cannot_be_read_heat_says_what_is_new(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "a", deploy_signal_transport="HEAT_SIGNAL")
    MetadataStore(current.metadata_file).save(make_message(), 0)
    played = PlayedQueue(monkeypatch)
    monkeypatch.setattr(played, "messages", raising(TemporaryError("away")))
    newer = make_deployment("c", deploy_resource_name="a", creation_time="2026-11-22T16:00:00Z")
    played.at_heat = [newer]
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "superseded"}


def test_what_zaqar_will_not_take_goes_through_heat(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    played.faults = [UnacceptableError("400")]
    outbox = finish(current, "a")
    assert Delivery(outbox, current).deliver_all() == 0
    assert (states(outbox), played.signalled) == ({"a": "delivered"}, ["a"])


def test_trouble_with_one_signal_delays_no_other(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "a")
    finish(current, "b")
    played = PlayedQueue(monkeypatch)
    played.faults = [AmbiguousError("503")]
    assert Delivery(outbox, current).deliver_all() == 1
    assert states(outbox) == {"a": "outbox", "b": "delivered"}


def test_a_host_that_is_away_delays_only_what_has_to_go_there(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def send(_: str, url: str, *__: Any) -> None:
        tried.append(url)
        if "away" in url:
            error = TemporaryError("no connection")
            error.is_away = True
            raise error

    monkeypatch.setattr(transports, "send_presigned", send)
    PlayedQueue(monkeypatch)
    for number, host in enumerate(("away", "away", "there")):
        url = f"http://{host}/{number}"
        finish(current, f"d{number}", deploy_signal_transport="CFN_SIGNAL", deploy_signal_id=url)
    outbox = Outbox(current.state_dir)
    assert Delivery(outbox, current).deliver_all() == 2
    assert tried == ["http://away/0", "http://there/2"]
    assert states(outbox) == {"d0": "outbox", "d1": "outbox", "d2": "delivered"}


@pytest.mark.parametrize(
    "url", ["127.0.0.1/no-scheme?Signature=x", "http://[::1", "ftp://127.0.0.1/", "http://"]
)
def test_a_signal_url_that_is_none_is_given_up_and_delays_no_other(
    current: Settings, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    PlayedQueue(monkeypatch)
    outbox = finish(current, "a", deploy_signal_transport="CFN_SIGNAL", deploy_signal_id=url)
    finish(current, "b")
    assert Delivery(outbox, current).deliver_all() == 0
    assert states(outbox) == {"a": "failed", "b": "delivered"}


def refuse_for(current: Settings, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    """Deliver what is always refused, once after each pause of so many seconds of the clock."""
    clock = [1e9]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    for pause in pauses:
        clock[0] += pause
        Delivery(Outbox(current.state_dir), current).deliver_all()


def always_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    PlayedQueue(monkeypatch)
    monkeypatch.setattr(PlayedQueue, "post", raising(RejectedError("403")))


def test_what_is_refused_for_an_hour_is_given_up(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "a")
    always_refused(monkeypatch)
    refuse_for(current, monkeypatch, [30] * 120)
    assert states(outbox) == {"a": "outbox"}
    refuse_for(current, monkeypatch, [1e4, 30])
    assert states(outbox) == {"a": "failed"}


def test_a_clock_that_is_set_gives_no_signal_up(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = finish(current, "a")
    always_refused(monkeypatch)
    refuse_for(current, monkeypatch, [7200, 30, 7200, -7200, 30, 1e7])
    assert states(outbox) == {"a": "outbox"}


def test_the_server_s_login_is_used_for_its_own_project_alone(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {**SECTION["zaqar"], "auth_url": NOBODY}
    MetadataStore(current.metadata_file).save(make_message(section={"zaqar": section}), 0)
    for project, user in (
        (section["project_id"], section["user_id"]),
        ("other", "afaa4c4a2c344433829d69f6b0211a5e"),
    ):
        played = PlayedQueue(monkeypatch)
        outbox = finish(current, project, deploy_project_id=project)
        Delivery(outbox, current).deliver(project)
        assert played.users[-1].user_id == user


def test_a_large_result_leaves_room_for_the_envelope_of_its_message(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    outbox = finish(current, "a", body={"deploy_stdout": "x" * 500_000})
    assert Delivery(outbox, current).deliver_all() == 0
    (body,) = played.bodies
    request = json.dumps({"messages": [{"body": body, "ttl": 24 * 3600}]})
    assert 200_000 < len(request) <= played.largest_post()


@pytest.mark.parametrize(
    ("transport", "least", "most"),
    [("CFN_SIGNAL", 1_000_000, 1024 * 1024), ("TEMP_URL_SIGNAL", 3_000_000, 8 * 1024 * 1024)],
)
def test_a_result_is_cut_to_the_limit_of_its_own_transport(
    current: Settings, monkeypatch: pytest.MonkeyPatch, transport: str, least: int, most: int
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(transports, "send_presigned", lambda _, __, body, ___: sent.append(body))
    PlayedQueue(monkeypatch)
    address = {"deploy_signal_transport": transport, "deploy_signal_id": "http://127.0.0.1:9/"}
    outbox = finish(current, "a", body={"deploy_stdout": "x" * 3_000_000}, **address)
    assert Delivery(outbox, current).deliver_all() == 0
    assert least < len(sent[0]) <= most


def test_a_result_by_heats_own_signal_is_cut_to_its_limit_and_not_to_zaqars(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    PlayedQueue(monkeypatch)
    sent: list[Any] = []
    monkeypatch.setattr(heat, "signal_resource", lambda *arguments: sent.append(arguments[-1]))
    for config_id, length in (("a", 500_000), ("b", 3_000_000)):
        stdout = {"deploy_stdout": "x" * length}
        outbox = finish(current, config_id, body=stdout, deploy_signal_transport="HEAT_SIGNAL")
        assert Delivery(outbox, current).deliver_all() == 0
    whole, cut = sent
    assert whole["deploy_stdout"] == "x" * 500_000
    assert 1_000_000 < len(json.dumps(cut)) <= 1024 * 1024


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("transport", ["HEAT_SIGNAL", "ZAQAR_SIGNAL"])
def test_a_deployment_of_any_name_and_id_runs_and_what_cannot_run_fails_where_heat_sees_it(
    current: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    hook = tmp_path / "script"
    hook.write_text("#!/bin/sh\ncat >/dev/null\necho '{}'\n")
    hook.chmod(0o755)
    monkeypatch.setenv("HEAT_CONFIG_HOOKS", str(tmp_path))
    names = ("app/install", ".setup", "x" * 201, "\u754c" * 90, "\ud800", "", 5, None)
    ids = ("../x", "i" * 300, "/etc/passwd", "\0", "\ud800")
    broken: list[dict[str, Any]] = [
        *({"id": value} for value in ("", None, 7, ["x"])),
        *({"group": value} for value in (3, ["script"])),
        {"config": json.loads("[" * 95 + "]" * 95)},
        {"group": "no-such-hook"},
        {"group": "component", "config": None},
    ]
    changes: list[dict[str, Any]] = [{"name": name} for name in names]
    changes += [{"id": config_id} for config_id in ids]
    documents = [
        {**make_deployment(f"d{number}", deploy_signal_transport=transport), **change}
        for number, change in enumerate([*changes, *broken])
    ]
    malformed = make_deployment("inputs", deploy_signal_transport=transport)
    malformed["inputs"].append(7)
    rendered = tmp_path / "heat-config"
    rendered.write_text(json.dumps([*documents, malformed, 3, {"name": "nobody waits"}]))
    played = PlayedQueue(monkeypatch)
    for _ in range(2):
        apply(read_deployments(rendered), current)
        codes = played.codes or [body["deploy_status_code"] for body in played.bodies]
        assert codes == [0] * len(changes) + [1] * (len(broken) + 1)
    assert set(states(Outbox(current.state_dir)).values()) == {"delivered"}
    below = {path.name for path in current.state_dir.rglob("*.json")}
    assert "d0.json" in below
    assert all(len(name) <= 69 for name in below)


def test_what_becomes_of_a_signal_is_an_event_of_its_deployment(
    current: Settings, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = PlayedQueue(monkeypatch)
    nobody = finish(current, "nobody", deploy_signal_transport="NO_SIGNAL")
    Delivery(nobody, current).deliver("nobody")
    assert said.events == []
    Delivery(finish(current, "sent"), current).deliver("sent")
    outbox = finish(current, "given", deploy_signal_transport="CFN_SIGNAL")
    Delivery(outbox, current).deliver("given")
    for fault in (TemporaryError("away"), RejectedError("no")):
        played.faults = [fault]
        Delivery(finish(current, "late"), current).deliver("late")
    same = {"deploy_queue_id": "t1-late-mpmx6jwjdxiw", "deploy_resource_name": "late"}
    newer = make_deployment("b", creation_time="2026-11-22T16:00:00Z", **same)
    Delivery(outbox, current).supersede([parse_deployment(newer)])
    assert said.events == [
        ("SIGNAL_DELIVERED", ("sent", "00-sent")),
        ("SIGNAL_GIVEN_UP", ("given", "00-given")),
        ("SIGNAL_NOT_SENT", ("late", "00-late")),
        ("SIGNAL_NOT_SENT", ("late", "00-late")),
        ("SIGNAL_SUPERSEDED", ("late", "00-late")),
    ]
