"""Machines and disks that are copied, by the files that tell them apart."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.errors import ForeignStateError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import identity
from heat_config_zaqar.state.identity import Standing
from heat_config_zaqar.state.metadata_store import MetadataStore
from tests.unit.conftest import SECTION, make_deployment, make_message

OTHER = {**SECTION, "zaqar": {**SECTION["zaqar"], "queue_id": "other", "user_id": "them"}}
POLLING = {"collectors": ["heat"], "heat": {"stack_id": "s", "user_id": "u"}}


class Machine:
    """A machine and its disk; what the kernel and cloud-init say of it are files."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names = directory / "names"
        self.names.mkdir()
        self.disk = directory / "disk"
        self.settings = Settings(
            state_dir=self.disk / "state",
            runtime_dir=directory / "run",
            first_metadata=self.disk / "cfn-init-data",
            conf_file=self.disk / "os-collect-config.conf",
            cache_dir=self.disk / "cache",
        )
        self.settings.cache_dir.mkdir(parents=True)
        files = tuple(self.names / name for name in ("uuid", "instance", "machine-id"))
        monkeypatch.setattr(identity, "_MACHINE_FILES", files)
        monkeypatch.setattr(identity, "_CONTAINER", directory / "container")
        self.name(uuid="ABC-1", instance="i-1", **{"machine-id": "m1"})

    def name(self, **names: str) -> None:
        for file, name in names.items():
            (self.names / file).write_text(f"{name}\n")

    def hand_over(self, section: Any) -> None:
        self.settings.first_metadata.write_text(json.dumps(make_message(section=section)))

    def live(self, section: Any = SECTION) -> None:
        """Be used: start with a first metadata, and receive a deployment."""
        self.hand_over(section)
        identity.own(self.settings)
        message = make_message(make_deployment("a"), section=section)
        MetadataStore(self.settings.metadata_file).save(message, 1)
        self.settings.conf_file.write_text("[zaqar]\npassword = secret\n")
        (self.settings.cache_dir / "zaqar.json").write_text("{}")

    def standing(self) -> Standing:
        return identity.standing(self.settings)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_new_guest_owns_what_it_will_store(machine: Machine) -> None:
    assert machine.standing() is Standing.OWNER
    identity.own(machine.settings)
    machine.hand_over(SECTION)
    assert machine.standing() is Standing.OWNER


@pytest.mark.parametrize("section", [SECTION, POLLING])
def test_a_reboot_a_new_kernel_and_a_resize_are_the_same_machine(
    machine: Machine, section: Any
) -> None:
    machine.live(section)
    machine.name(instance="i-2", **{"machine-id": "m2"})
    assert machine.standing() is Standing.OWNER
    identity.require_ownership(machine.settings)


@pytest.mark.parametrize("section", [SECTION, POLLING])
def test_a_copy_with_the_same_first_metadata_or_none_is_a_stranger(
    machine: Machine, section: Any
) -> None:
    machine.live(section)
    machine.name(uuid="abc-2")
    assert machine.standing() is Standing.STRANGER
    with pytest.raises(ForeignStateError, match="adopt"):
        identity.require_ownership(machine.settings)
    machine.settings.first_metadata.unlink()
    assert machine.standing() is Standing.STRANGER


@pytest.mark.parametrize("section", [SECTION, POLLING])
def test_a_copy_with_a_first_metadata_of_its_own_begins_anew(
    machine: Machine, section: Any
) -> None:
    machine.live(section)
    machine.name(uuid="abc-2")
    machine.hand_over(OTHER)
    assert machine.standing() is Standing.HEIR
    with pytest.raises(ForeignStateError):
        identity.require_ownership(machine.settings)


def test_a_machine_that_is_handed_another_servers_metadata_begins_anew(machine: Machine) -> None:
    machine.live()
    machine.hand_over(OTHER)
    assert machine.standing() is Standing.HEIR


def test_metadata_that_is_handed_over_after_the_start_sets_nothing_aside(machine: Machine) -> None:
    identity.own(machine.settings)
    MetadataStore(machine.settings.metadata_file).save(make_message(), 1)
    machine.hand_over(SECTION)
    assert machine.standing() is Standing.OWNER


def test_an_image_that_was_booted_outside_heat_belongs_to_whoever_boots_it(
    machine: Machine,
) -> None:
    identity.own(machine.settings)
    machine.name(uuid="abc-2")
    assert machine.standing() is Standing.OWNER
    machine.hand_over(OTHER)
    assert machine.standing() is Standing.OWNER


def test_a_container_is_known_by_its_instance_and_not_by_its_hosts_dmi(
    machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "container").touch()
    machine.live()
    machine.name(uuid="the next host")
    assert machine.standing() is Standing.OWNER
    machine.name(instance="i-2")
    assert machine.standing() is Standing.STRANGER


@pytest.mark.parametrize("nothing", ["00000000-0000-0000-0000-000000000000", "FFFF-FF", ""])
def test_firmware_without_an_identity_tells_no_machines_apart(
    machine: Machine, nothing: str
) -> None:
    machine.name(uuid=nothing)
    machine.live()
    machine.name(uuid="abc-2")
    assert machine.standing() is Standing.OWNER
    machine.name(instance="i-2")
    assert machine.standing() is Standing.STRANGER


def test_what_is_set_aside_is_closed_whole_and_leaves_nothing(machine: Machine) -> None:
    machine.live()
    machine.name(uuid="abc-2")
    machine.hand_over(OTHER)
    older = machine.disk / "state.of-older"
    older.mkdir()
    aside = identity.set_aside(machine.settings)
    assert aside == machine.disk / "state.of-t1-server-aa4wl7xthqln"
    assert aside.stat().st_mode & 0o777 == 0o700
    kept = {path.name for path in aside.iterdir()}
    assert kept == {"apply.lock", "metadata.json", "owner.json", "zaqar.json"}
    assert not older.exists()
    assert "secret" not in machine.settings.conf_file.read_text()
    assert list(machine.settings.state_dir.iterdir()) == []
    assert machine.standing() is Standing.OWNER


@pytest.mark.parametrize("moves", range(1, 5))
def test_setting_aside_that_a_crash_cut_short_goes_on_where_it_stopped(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    machine.live()
    (machine.settings.state_dir / "outbox").mkdir()
    machine.name(uuid="abc-2")
    machine.hand_over(OTHER)
    move, left = shutil.move, [1] * moves

    def cut_short(source: Path, target: Path) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        move(source, target)

    with monkeypatch.context() as crash:
        crash.setattr(shutil, "move", cut_short)
        with pytest.raises(KeyboardInterrupt):
            identity.set_aside(machine.settings)
    assert machine.standing() is Standing.HEIR
    aside = identity.set_aside(machine.settings)
    assert (aside / "metadata.json").exists()
    assert machine.standing() is Standing.OWNER


def test_a_machine_that_is_handed_over_to_and_fro_keeps_the_last_state(machine: Machine) -> None:
    for number in range(3):
        machine.live(SECTION)
        (machine.settings.state_dir / "delivered").mkdir()
        (machine.settings.state_dir / "delivered" / f"{number}.json").touch()
        machine.hand_over(OTHER)
        aside = identity.set_aside(machine.settings)
        assert [path.name for path in (aside / "delivered").iterdir()] == [f"{number}.json"]
    assert len(list(machine.disk.glob("state.of-*"))) == 1


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"machine": 3}', '{"machine": [1], "first": 2}']
)
def test_an_owner_that_cannot_be_read_stops_nothing(machine: Machine, content: str) -> None:
    machine.live()
    (machine.settings.state_dir / "owner.json").write_text(content)
    assert machine.standing() in Standing
    identity.own(machine.settings)
    assert machine.standing() is Standing.OWNER
