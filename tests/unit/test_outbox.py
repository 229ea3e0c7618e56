import json
from pathlib import Path

import pytest

from heat_config_zaqar.apply import entry_for
from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.outbox import Entry, Outbox, Settled
from tests.unit.conftest import make_deployment


def entry(config_id: str = "d0") -> Entry:
    deployment = parse_deployment(make_deployment(config_id))
    return entry_for(deployment, {"deploy_status_code": 0}, 1, 0)


def test_attempts_are_counted_until_a_deployment_is_finished(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.attempts("d0") == 0
    assert outbox.begin("d0", "n", "script") == 1
    assert outbox.begin("d0", "n", "script") == 2
    assert not outbox.is_finished("d0")
    outbox.finish(entry())
    assert outbox.is_finished("d0")


def test_a_finished_deployment_is_pending_with_all_that_its_signal_needs(tmp_path: Path) -> None:
    Outbox(tmp_path).finish(entry())
    assert Outbox(tmp_path).pending() == [entry_with_time_of(Outbox(tmp_path).pending()[0])]


def entry_with_time_of(other: Entry) -> Entry:
    made = entry()
    made.finished = other.finished
    return made


@pytest.mark.parametrize("where", list(Settled))
def test_a_settled_entry_stays_finished_and_keeps_no_password(
    tmp_path: Path, where: Settled
) -> None:
    outbox = Outbox(tmp_path)
    outbox.finish(entry())
    outbox.settle(outbox.pending()[0], where, "why")
    assert outbox.pending() == []
    assert outbox.is_finished("d0")
    text = (tmp_path / where / "d0.json").read_text()
    assert "2jmF" not in text
    assert json.loads(text)["note"] == "why"


def test_a_crash_between_settling_and_removing_does_not_send_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.finish(entry())
    pending = (tmp_path / "outbox" / "d0.json").read_bytes()
    outbox.settle(outbox.pending()[0], Settled.DELIVERED, "")
    (tmp_path / "outbox" / "d0.json").write_bytes(pending)
    assert outbox.pending() == []
    assert not (tmp_path / "outbox" / "d0.json").exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}", "null", '{"credentials": 3}'])
def test_an_entry_that_cannot_be_read_is_logged_and_costs_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    outbox = Outbox(tmp_path)
    outbox.finish(entry("good"))
    (tmp_path / "outbox" / "bad.json").write_text(content)
    assert [item.id for item in outbox.pending()] == ["good"]
    assert "deployment bad: its result cannot be read" in caplog.text
    assert (tmp_path / "outbox" / "bad.json.corrupt").exists()


def test_records_show_each_deployment_once_in_its_last_state(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.begin("runs", "n", "script")
    outbox.finish(entry("waits"))
    outbox.finish(entry("gone"))
    outbox.settle(entry("gone"), Settled.DELIVERED, "")
    shown = {(record["id"], state) for state, record in outbox.records()}
    assert shown == {("runs", "running"), ("waits", "outbox"), ("gone", "delivered")}
