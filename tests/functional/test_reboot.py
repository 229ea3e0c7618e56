"""Reboots of the booted image: in the middle of a hook, before the signal, and those asked for."""

import json
import time
from typing import Any

import pytest
import yaml

from testbed.cloud import Cloud
from testbed.guest import Container, wait_for
from testbed.heat import Heat, Script, deployments_template
from tests.conftest import BUILD
from tests.functional.conftest import Launcher
from tests.integration.test_cloud import Guest
from tests.integration.test_delivery import paused

LOG = "var/tmp/runs"


GATE = "var/tmp/go"
WAITING = f"#!/bin/sh\necho run >>/{LOG}\nuntil [ -e /{GATE} ]; do sleep 0.2; done\n"
PYTHON = "/opt/heat-config-zaqar/bin/python"
LIST = "var/tmp/deployments.json"
DIE_BEFORE_DELIVERY = (
    "import os\n"
    "from heat_config_zaqar.deliver import delivery as deliver\n"
    "from heat_config_zaqar.run import apply\n"
    "deliver.Delivery.deliver = lambda *_: os._exit(137)\n"
    "apply.main()"
)


def lines(guest: Container) -> list[str]:
    path = guest.root / LOG
    return path.read_text().splitlines() if path.exists() else []


def open_gate(guest: Container) -> None:
    """Let the hooks end that wait."""
    (guest.root / GATE).touch()


def die_before_delivery(guest: Container) -> int:
    """Apply what is in the list until a result is stored, and crash then; return the exit code."""
    command = (f"HEAT_SHELL_CONFIG=/{LIST}", PYTHON, "-c", DIE_BEFORE_DELIVERY)
    return guest.run("env", *command).returncode


def signals(guest: Container, state: str) -> list[dict[str, Any]]:
    """Return the guest's records of one state."""
    directory = guest.root / "var/lib/heat-config-zaqar" / state
    return [json.loads(path.read_text()) for path in directory.glob("*.json")]


def tries(guest: Container) -> int:
    """Return how often the delivery unit has warned that it could not send a signal."""
    warnings = ("journalctl", "-u", "heat-config-zaqar-deliver", "-p", "warning", "-o", "cat")
    return guest.run(*warnings).stdout.count("not sent yet")


@pytest.mark.parametrize("clean", [True, False], ids=["rebooted", "unplugged"])
def test_a_hook_that_a_reboot_interrupts_runs_again_and_completes(
    launch: Launcher, heat: Heat, clean: bool
) -> None:
    name = f"middle-{clean}".lower()
    text = (
        f"#!/bin/sh\necho start >>/{LOG}\n[ $(wc -l </{LOG}) -gt 1 ] || sleep 300\n"
        f"echo end >>/{LOG}\n"
    )
    guest = launch(name, deployments_template({"one": Script(text)}))
    wait_for(lambda: lines(guest) == ["start"], 240, "the hook does not start", guest.console)
    if clean:
        guest.run("systemctl", "reboot")
        guest.await_reboot()
    else:
        guest.kill()
        guest.boot()
    heat.wait_for(name, ["CREATE_COMPLETE"], 240)
    assert lines(guest) == ["start", "start", "end"]


def test_a_hook_that_exits_194_reboots_the_machine_and_runs_again(
    launch: Launcher, heat: Heat
) -> None:
    text = (
        f"#!/bin/sh\necho first $HEAT_CONFIG_REBOOTS >>/{LOG}\n"
        "[ $HEAT_CONFIG_REBOOTS = 1 ] || exit 194\n"
    )
    second = f"#!/bin/sh\necho second >>/{LOG}\n"
    template = deployments_template({"a": Script(text), "b": Script(second)})
    guest = launch("on-purpose", template)
    guest.await_reboot()
    stack = heat.wait_for("on-purpose", ["CREATE_COMPLETE"], 240)
    assert stack.outputs["a_deploy_status_code"] == 0
    assert sorted(lines(guest)) == ["first 0", "first 1", "second"]
    journal = guest.run("journalctl", "-u", "os-collect-config", "-o", "cat").stdout
    assert "attempt 2" in journal
    assert "Traceback" not in journal


def test_the_example_of_a_reboot_completes_after_it(launch: Launcher, heat: Heat) -> None:
    example = BUILD.parent / "examples" / "reboot.yaml"
    guest = launch("example", yaml.safe_load(example.read_text()))
    guest.await_reboot()
    stack = heat.wait_for("example", ["CREATE_COMPLETE"], 240)
    assert stack.outputs["said"] == "rebooted 1 times\n"


def test_a_reboot_between_hook_and_signal_loses_and_repeats_nothing(
    launch: Launcher, heat: Heat, cloud: Cloud
) -> None:
    guest = launch("between", deployments_template({"one": Script(WAITING)}))
    wait_for(lambda: lines(guest) == ["run"], 240, "the hook does not start", guest.console)
    # Not stopped: Heat would fail the stack by itself.
    with paused(cloud, "zaqar"):
        open_gate(guest)
        wait_for(lambda: len(signals(guest, "outbox")) == 1, 60, "no result", guest.console)
        guest.kill()
    guest.boot()
    heat.wait_for("between", ["CREATE_COMPLETE"], 240)
    wait_for(lambda: len(signals(guest, "delivered")) == 1, 240, "not delivered", guest.console)
    assert lines(guest) == ["run"]
    (record,) = signals(guest, "delivered")
    reader = Guest(heat.server_metadata("between"))
    reader.queue = record["queue"]
    assert reader.messages() == []


def test_a_signal_that_a_crash_left_behind_is_sent_at_once_and_again_without_a_busy_loop(
    launch: Launcher, heat: Heat, cloud: Cloud
) -> None:
    guest = launch("left", deployments_template({"one": Script(WAITING), "two": Script(WAITING)}))
    wait_for(lambda: lines(guest) == ["run"], 240, "the hook does not start", guest.console)
    guest.run(
        "systemctl", "stop", "os-collect-config", "heat-config-zaqar-deliver.timer", check=True
    )
    guest.run("sh", "-c", "kill -9 $(pidof -x 55-heat-config)", check=True)
    # Heat may have posted the second deployment only after the guest began with the first.
    wait_for(
        lambda: len(heat.server_metadata("left")["deployments"]) == 2, 60, "no second deployment"
    )
    (guest.root / LIST).touch(mode=0o600)
    (guest.root / LIST).write_text(json.dumps(heat.server_metadata("left")["deployments"]))
    open_gate(guest)
    assert die_before_delivery(guest) == 137
    # Timer and collector are stopped: the end of 55-heat-config alone can have it sent.
    wait_for(lambda: len(signals(guest, "delivered")) == 1, 120, "not sent", guest.console)
    cloud.stop("zaqar")
    try:
        assert die_before_delivery(guest) == 137
        wait_for(lambda: tries(guest) > 0, 120, "not tried", guest.console)
        time.sleep(10)
        assert tries(guest) == 1
    finally:
        cloud.start("zaqar")
    guest.run("systemctl", "start", "heat-config-zaqar-deliver.timer", check=True)
    wait_for(lambda: len(signals(guest, "delivered")) == 2, 240, "not sent", guest.console)
