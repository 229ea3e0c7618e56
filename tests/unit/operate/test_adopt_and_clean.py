"""What an operator says about who this machine is."""

import argparse
from pathlib import Path

import pytest

from heat_config_zaqar import settings
from heat_config_zaqar.errors import ForeignStateError, RefusedError
from heat_config_zaqar.operate import adopt, clean, deliver, rerun, resend
from heat_config_zaqar.operate.doctor import examination
from heat_config_zaqar.state import durable, identity
from heat_config_zaqar.state.identity import Standing
from tests.unit.conftest import SECTION
from tests.unit.state.test_identity import OTHER, Machine

NO_OPTIONS = argparse.Namespace(yes=True, json=False, id="a")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path, monkeypatch)
    monkeypatch.setattr(settings, "load", lambda: made.settings)
    monkeypatch.setenv("PATH", str(tmp_path))
    return made


def test_a_stranger_that_adopts_the_state_goes_on_with_it(machine: Machine) -> None:
    machine.live()
    machine.name(uuid="abc-2")
    for command in (deliver, resend, rerun):
        with pytest.raises(ForeignStateError):
            command.run(NO_OPTIONS)
    assert adopt.run(NO_OPTIONS) == 0
    assert machine.standing() is Standing.OWNER
    assert (machine.settings.state_dir / "metadata.json").exists()


def test_who_has_metadata_of_its_own_takes_nobodys_place(machine: Machine) -> None:
    machine.live()
    machine.name(uuid="abc-2")
    machine.hand_over(OTHER)
    with pytest.raises(RefusedError, match="another server's metadata"):
        adopt.run(NO_OPTIONS)
    assert machine.standing() is Standing.HEIR


def test_doctor_names_a_copied_disk_before_what_follows_from_it(machine: Machine) -> None:
    machine.live()
    machine.name(uuid="abc-2")
    found = [finding for finding in examination.examine() if finding.result == "problem"]
    assert found[0].check == "identity"
    assert "copy" in found[0].detail


def test_a_clean_guest_has_nothing_left_of_its_life(machine: Machine) -> None:
    machine.live()
    (machine.disk / "state.of-somebody").mkdir()
    assert clean.run(NO_OPTIONS) == 0
    left = [path for path in machine.disk.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {"os-collect-config.conf", "apply.lock"}
    password = SECTION["zaqar"]["password"]
    assert not any(password in path.read_text() for path in left)
    assert "secret" not in machine.settings.conf_file.read_text()
    machine.name(uuid="abc-2")
    assert machine.standing() is Standing.OWNER


def test_nothing_is_cleaned_while_a_hook_runs(machine: Machine) -> None:
    machine.live()
    lock = machine.settings.state_dir / "apply.lock"
    with durable.locked(lock), pytest.raises(RefusedError, match="a hook runs"):
        clean.run(NO_OPTIONS)
    assert machine.standing() is Standing.OWNER
    assert identity.recorded(machine.settings) is not None


def test_nothing_is_cleaned_without_a_yes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.live()
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert clean.run(argparse.Namespace(yes=False)) == 1
    assert (machine.settings.state_dir / "metadata.json").exists()
