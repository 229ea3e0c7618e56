"""The pure parts of the test bed's cloud with Nova, and of what is run against it."""

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from testbed import isolated
from testbed.cloud import nova
from testbed.cloud.layout import SECRET_NAMES, Layout
from testbed.cloud.nova import machine
from testbed.heat import Heat, Stack
from testbed.operator_actions import (
    ACTIONS,
    FAREWELL,
    Trial,
    TrialError,
    group_template,
    template,
)
from testbed.tempest import EXPECTED, expected, judge, not_run

SERVER = {"image": "guest", "flavor": "m1.small", "networks": [{"network": "private"}]}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A cloud's paths; nothing is there."""
    return Layout(tmp_path / "cloud", tmp_path / "cloud-venv")


def test_what_nova_lacks_is_said_by_name_and_by_what_brings_it(tmp_path: Path) -> None:
    lacking = machine.missing({"libvirtd-of-nowhere": "libvirt-daemon"}, tmp_path / "tun")
    assert lacking == [
        "libvirtd-of-nowhere (Debian's package libvirt-daemon)",
        f"{tmp_path / 'tun'} (the kernel's module tun)",
    ]
    assert machine.missing({"sh": "dash"}, tmp_path) == []


def test_every_package_that_nova_asks_for_by_name_is_in_bindep() -> None:
    bindep = (Path(nova.__file__).parents[3] / "bindep.txt").read_text()
    assert set(machine.PROGRAMS.values()) <= set(re.findall(r"^[\w.-]+", bindep, re.MULTILINE))


def test_nova_compute_is_told_of_no_database(layout: Layout) -> None:
    secrets = dict.fromkeys(SECRET_NAMES, "secret")
    files = nova.files(layout, secrets)
    text = files["nova-compute"][layout.etc / "nova-compute.conf"]
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(text)
    assert not {"database", "api_database"} & set(parsed.sections())
    assert "mysql" not in text
    assert "mysql" in files["nova-api"][layout.etc / "nova.conf"]


def test_the_environments_of_the_cloud_and_of_nova_lie_side_by_side(layout: Layout) -> None:
    assert layout.nova_venv == layout.venv.with_name("cloud-nova-venv")


def test_libvirts_hook_and_the_namespace_mean_the_same_bridge() -> None:
    hook = Path(nova.__file__).with_name("libvirt-hook").read_text()
    assert f"master {isolated.BRIDGE} up" in hook


def test_a_guests_wire_to_the_bridge_is_isolated_and_a_card_of_the_machine_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def isolated_with(*names: str) -> bool:
        monkeypatch.setattr("socket.if_nameindex", lambda: list(enumerate(names)))
        return isolated.is_isolated()

    assert isolated_with("lo")
    assert isolated_with("lo", "guests", "tap0c9a")
    assert not isolated_with("lo", "eth0")
    assert not isolated_with("lo", "guests", "eth0")
    assert not isolated_with("lo", "tap0c9a")


def test_only_a_stack_with_a_farewell_has_a_deployment_at_its_end() -> None:
    assert FAREWELL not in template("world", SERVER)["resources"]
    farewell = template("world", SERVER, farewell=True)["resources"][FAREWELL]
    assert farewell["properties"]["actions"] == ["DELETE"]


def test_a_group_deploys_to_both_servers_of_nova() -> None:
    resources = group_template("world", SERVER)["resources"]
    servers = resources["both"]["properties"]["servers"].values()
    names = [server["get_resource"] for server in servers]
    assert [resources[name]["type"] for name in names] == ["OS::Nova::Server"] * 2


class InstantHeat:
    """A Heat whose guest does at once whatever it is given."""

    def __init__(self, *, restores: bool) -> None:
        self._restores = restores
        self._status = "CREATE_COMPLETE"
        self._who = self._kept = "create"

    def stack(self, name: str) -> Stack:
        outputs = {
            "greet_deploy_stdout": f"hello {self._who}\n",
            "greet_number": "7",
            "greet_deploy_status_code": 0,
            "loud_deploy_stdout": "x" * 10000,
        }
        return Stack(name, "id", self._status, "", outputs)

    def resource_statuses(self, stack: str) -> dict[str, str]:
        assert stack
        return {}

    def update_stack(self, name: str, changed: Mapping[str, Any]) -> None:
        assert name
        self._who = changed["resources"]["greet"]["properties"]["input_values"]["who"]
        self._status = "UPDATE_COMPLETE"

    def snapshot_stack(self, name: str) -> str:
        self._kept = self._who
        self._status = "SNAPSHOT_COMPLETE"
        return f"snapshot of {name}"

    def restore_stack(self, name: str, snapshot: str) -> None:
        assert snapshot == f"snapshot of {name}"
        self._status = "RESTORE_COMPLETE"
        if self._restores:
            self._who = self._kept


def trial_with(heat: InstantHeat, told: list[str]) -> Trial:
    return Trial(cast(Any, None), cast(Heat, heat), "stack", SERVER, 1.0, told.append)


def test_an_action_is_followed_by_a_deployment_and_says_what_each_took() -> None:
    told: list[str] = []
    trial_with(InstantHeat(restores=True), told).run("restore")
    assert told[0] == "action restore"
    assert re.fullmatch(r"restore took \d+ s, the deployment after it \d+ s", told[-1])


def test_a_restored_stack_must_show_what_it_had_at_its_snapshot() -> None:
    with pytest.raises(TrialError, match="hello undone"):
        ACTIONS["restore"](trial_with(InstantHeat(restores=False), []))


def test_a_failure_that_is_not_listed_fails_the_run() -> None:
    results = {"a.b": "success", "a.c": "skip", "a.d[id-1]": "fail", "a.e": "fail"}
    verdict = judge(results, {r"a\.d": "no DNS here"})
    assert (verdict.passed, verdict.skipped) == (1, 1)
    assert verdict.expected == {"a.d[id-1]": "no DNS here"}
    assert verdict.unexpected == ["a.e"]
    assert not verdict.good


def test_a_run_without_any_test_is_not_good() -> None:
    assert not judge({}, {}).good
    assert not judge({"a": "skip"}, {}).good


def test_a_listed_test_that_passes_is_named() -> None:
    verdict = judge({"a.b": "success", "a.c": "success"}, {"a.b": "slow"})
    assert verdict.mended == ["a.b"]
    assert verdict.good


def test_each_listed_failure_has_a_reason() -> None:
    for with_nova in (False, True):
        for test, reason in expected(EXPECTED, with_nova=with_nova).items():
            assert re.compile(test)
            assert reason.strip()
    assert all(reason.strip() for reason in not_run(EXPECTED).values())
