import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.run.processes import identify
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Entry, Outbox, Settled, entry_for
from heat_config_zaqar.state.runs import Run
from heat_config_zaqar.succession import Succession
from tests.chaos.disk import Journal
from tests.unit.conftest import make_deployment


def entry(config_id: str = "d0") -> Entry:
    deployment = parse_deployment(make_deployment(config_id))
    return entry_for(deployment, {"deploy_status_code": 0}, 1, 0)


def begin(outbox: Outbox, config_id: str) -> int:
    return outbox.runs.begin(config_id, "n", "script", identify(os.getpid()))


def test_attempts_are_counted_until_a_deployment_is_finished(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.runs.of("d0").attempts == 0
    assert begin(outbox, "d0") == 1
    assert begin(outbox, "d0") == 2
    assert not outbox.is_finished("d0")
    assert [config_id for config_id, _ in outbox.unfinished()] == ["d0"]
    outbox.finish(entry())
    assert outbox.is_finished("d0")
    assert list(outbox.unfinished()) == []


def test_a_reboot_that_was_asked_for_is_no_interruption(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    begin(outbox, "d0")
    outbox.runs.ask_reboot("d0")
    run = outbox.runs.of("d0")
    assert (run.attempts, run.reboots, run.interruptions, run.asked_reboot) == (1, 1, 0, True)
    begin(outbox, "d0")
    run = outbox.runs.of("d0")
    assert (run.attempts, run.reboots, run.interruptions, run.asked_reboot) == (2, 1, 1, False)


@pytest.mark.parametrize("content", ["{", "[]", "{}", "3", '{"attempts": 2}'])
def test_a_record_that_cannot_be_read_counts_as_one_attempt(tmp_path: Path, content: str) -> None:
    (tmp_path / "running").mkdir()
    (tmp_path / "running" / "d0.json").write_text(content)
    assert Outbox(tmp_path).runs.of("d0") == Run(attempts=1)


def settled(outbox: Outbox, config_id: str, where: Settled, **changes: Any) -> None:
    document = make_deployment(config_id, **changes)
    outbox.finish(entry_for(parse_deployment(document), {"deploy_status_code": 0}, 1, 0))
    outbox.settle(outbox.pending()[0], where, "")


def test_only_what_ten_newer_configs_of_its_resource_have_followed_is_pruned(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path)
    for number in range(12):
        where = list(Settled)[number % 3]
        time = f"2026-11-22T15:{59 - number:02}:00Z"
        settled(outbox, f"u{number}", where, deploy_resource_name="one", creation_time=time)
    settled(outbox, "other", Settled.DELIVERED, creation_time="2020-01-01T00:00:00Z")
    outbox.prune()
    kept = {record["id"] for _, record in outbox.records()}
    assert kept == {*(f"u{number}" for number in range(10)), "other"}
    outbox.prune()
    assert kept == {record["id"] for _, record in outbox.records()}


def test_what_crashes_left_over_is_pruned(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.finish(entry())
    begin(outbox, entry().id)
    begin(outbox, "unfinished")
    for directory in (tmp_path, tmp_path / "outbox"):
        for name, age in (("old", 3700), ("new", 0)):
            path = directory / f".tmp-{name}"
            path.touch()
            os.utime(path, (time.time() - age,) * 2)
    outbox.prune()
    assert [path.stem for path in (tmp_path / "running").iterdir()] == ["unfinished"]
    assert {path.name for path in tmp_path.rglob(".tmp-*")} == {".tmp-new"}


def test_what_no_stack_stands_behind_and_what_cannot_be_read_is_never_pruned(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path)
    for number in range(12):
        settled(outbox, f"u{number}", Settled.DELIVERED, deploy_stack_id="")
    (tmp_path / "delivered" / "bad.json").write_text("{")
    outbox.prune()
    assert len(list((tmp_path / "delivered").iterdir())) == 13


def test_a_finished_deployment_is_pending_with_all_that_its_signal_needs(tmp_path: Path) -> None:
    Outbox(tmp_path).finish(entry())
    assert Outbox(tmp_path).pending() == [entry_with_time_of(Outbox(tmp_path).pending()[0])]


def entry_with_time_of(other: Entry) -> Entry:
    made = entry()
    made.finished = other.finished
    return made


def test_a_body_is_stored_as_every_store_takes_it(tmp_path: Path) -> None:
    deployment = parse_deployment(make_deployment("d0"))
    Outbox(tmp_path).finish(entry_for(deployment, {"n": 2**70, "t": "\ud800"}, 1, 0))
    assert Outbox(tmp_path).pending()[0].body == {"n": str(2**70), "t": "\\ud800"}


def test_of_two_settled_records_the_later_directory_counts(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for where in (Settled.SUPERSEDED, Settled.DELIVERED, Settled.FAILED):
        outbox.settle(entry(), where, str(where))
    found = outbox.settled("d0")
    assert found is not None
    assert (found[0], found[1].note) == (Settled.SUPERSEDED, "superseded")
    assert outbox.settled("other") is None


@pytest.mark.parametrize("content", ["{", "[]", "{}", "null", "[" * 100_000])
def test_a_settled_record_that_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "d0.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"d0\.json"):
        Outbox(tmp_path).settled("d0")


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Entry)])
@pytest.mark.parametrize("value", [None, "text", 3, [], {}])
def test_a_record_whose_values_make_no_sense_stops_nothing(
    tmp_path: Path, key: str, value: Any
) -> None:
    outbox = Outbox(tmp_path)
    for state in ("outbox", "delivered"):
        item = dataclasses.asdict(entry(f"bad-{state}")) | {key: value}
        durable.write_json(tmp_path / state / f"bad-{state}.json", item)
    outbox.finish(entry("good"))
    Succession(outbox.results())
    outbox.prune()
    assert "good" in [item.id for item in outbox.pending()]
    for kept in outbox.pending():
        assert isinstance(kept.body, dict)
        assert isinstance(kept.url.partition("/"), tuple)
        assert kept.started + kept.finished + kept.refused_seconds >= 0


def test_a_record_of_an_earlier_version_is_still_an_entry(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.finish(entry())
    path = tmp_path / "outbox" / "d0.json"
    record = json.loads(path.read_text())
    for key in ("server_id", "refused_at", "refused_seconds"):
        del record[key]
    path.write_text(json.dumps(record))
    assert [item.id for item in outbox.pending()] == ["d0"]


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


def test_a_crash_within_settling_and_then_a_power_cut_loses_no_state(
    tmp_path: Path, journal: Journal
) -> None:
    outbox = Outbox(tmp_path / "state")
    outbox.finish(entry())
    # As a process leaves it that is killed after the rename, before the directory's fsync.
    (tmp_path / "state" / "delivered").mkdir()
    (tmp_path / "new").write_text("{}")
    os.rename(tmp_path / "new", tmp_path / "state" / "delivered" / "d0.json")
    assert outbox.pending() == []
    assert [change for change in journal.pending(os.getpid()) if "rename" in change] == []


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
    begin(outbox, "runs")
    outbox.finish(entry("waits"))
    outbox.finish(entry("gone"))
    outbox.settle(entry("gone"), Settled.DELIVERED, "")
    shown = {(record["id"], state) for state, record in outbox.records()}
    assert shown == {("runs", "running"), ("waits", "outbox"), ("gone", "delivered")}
