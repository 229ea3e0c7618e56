import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.operate.doctor import deployments
from heat_config_zaqar.operate.doctor import examination as doctor
from heat_config_zaqar.operate.doctor import guest as examined
from heat_config_zaqar.operate.doctor.examination import Finding, Result
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Settled
from tests.unit.conftest import SECTION, make_deployment
from tests.unit.operate.test_cli import NOBODY, Guest


def section_with(auth_url: str) -> dict[str, Any]:
    section: dict[str, Any] = json.loads(json.dumps(SECTION))
    section["zaqar"]["auth_url"] = auth_url
    return section


AWAY = section_with(NOBODY)


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(examined, "FIRST_METADATA", tmp_path / "cfn-init-data")
    return made


def examine() -> dict[str, Finding]:
    return {finding.check: finding for finding in doctor.examine()}


def first_problem() -> str:
    return next(item.check for item in doctor.examine() if item.result is Result.PROBLEM)


def test_without_metadata_the_doctor_says_where_it_has_to_come_from(guest: Guest) -> None:
    found = examine()
    assert found["metadata"].result is Result.PROBLEM
    assert str(guest.directory / "cfn-init-data") in found["metadata"].advice
    assert found["keystone"] == Finding("keystone", Result.NOT_CHECKED, "no login is known")


def test_before_the_first_message_the_login_of_the_first_metadata_is_checked(guest: Guest) -> None:
    (guest.directory / "cfn-init-data").write_text(json.dumps({"os-collect-config": AWAY}))
    found = examine()
    assert found["metadata"].detail == "none yet but the first login"
    assert "refused" in found["connection"].detail


@pytest.mark.parametrize("content", ["{", "[]", '{"os-collect-config": 3}', "\xff"])
def test_a_damaged_first_metadata_counts_as_none(guest: Guest, content: str) -> None:
    (guest.directory / "cfn-init-data").write_text(content, encoding="latin-1")
    assert "no login is known" in examine()["metadata"].detail


def test_a_broken_settings_file_is_the_first_problem_and_stops_what_needs_it(guest: Guest) -> None:
    (guest.directory / "settings.toml").write_text("max_attempts = 'many'")
    found = examine()
    assert next(iter(found.values())).result is Result.PROBLEM
    assert "max_attempts" in found["settings"].detail
    assert found["disk"].detail == "the settings cannot be read"


def test_a_service_that_does_not_listen_stops_no_later_check(guest: Guest) -> None:
    guest.collect(make_deployment("a"), section=AWAY)
    found = examine()
    assert "Connection refused" in found["connection"].detail
    assert found["queue"].result is Result.NOT_CHECKED
    assert found["signals"] == Finding("signals", Result.OK, "0 wait to be sent")


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1:port/", "nonsense", ""])
def test_an_address_that_is_none_is_a_problem(guest: Guest, url: str) -> None:
    guest.collect(section=section_with(url))
    assert any(item.result is Result.PROBLEM for item in doctor.examine()) or not url


def test_a_file_that_was_set_aside_is_named(guest: Guest) -> None:
    guest.collect(section=AWAY)
    guest.settings.metadata_file.with_name("metadata.json.corrupt").write_text("{")
    assert "metadata.json.corrupt" in examine()["state"].detail
    assert first_problem() == "state"


def test_a_state_directory_that_cannot_be_written_is_named(guest: Guest) -> None:
    (guest.directory / "settings.toml").write_text('state_dir = "/proc/self"')
    assert first_problem() == "disk"


def test_a_signal_that_was_given_up_is_named_while_it_matters(guest: Guest) -> None:
    guest.collect(make_deployment("a"), section=AWAY)
    for config_id in ("a", "old"):
        guest.finish(make_deployment(config_id))
        guest.settle(config_id, Settled.FAILED, "Keystone refuses the user")
    found = examine()["signals"]
    assert (found.result, "00-a (a)" in found.detail) == (Result.PROBLEM, True)
    assert found.advice.startswith("heat-config-zaqar resend a")
    guest.collect(section=AWAY)
    assert examine()["signals"].result is Result.OK


def test_the_collector_s_own_trouble_is_named(guest: Guest) -> None:
    guest.collect(section=AWAY)
    said = {"state": "refused", "since": 1e9, "detail": "the user is unknown"}
    durable.write_json(guest.settings.connection_file, said)
    found = examine()["collector"]
    assert (found.result, found.detail[:28]) == (Result.PROBLEM, "refused the user is unknown ")


def test_the_doctor_leaves_nothing_behind(guest: Guest) -> None:
    guest.collect(section=AWAY)
    before = sorted(guest.directory.rglob("*"))
    doctor.examine()
    assert sorted(guest.directory.rglob("*")) == before


def test_a_group_cannot_steer_the_terminal(
    guest: Guest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_CHECKS", deployments.CHECKS)
    guest.collect(make_deployment("a", group="salt\x1b[2J"), section=AWAY)
    assert doctor.run(argparse.Namespace(json=False)) == 1
    said = capsys.readouterr().out
    assert "heat-config-salt\\x1b[2J" in said
    assert "\x1b" not in said
