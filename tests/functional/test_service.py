"""The units in the booted image: the delivery works shut in, a stop is quick, all is accounted."""

import time

from testbed.guest import Container, wait_for
from testbed.heat import Heat, Script, deployments_template
from tests.functional.conftest import Launcher

DELIVERY_LOCK = "/var/lib/heat-config-zaqar/deliver.lock"


def echo(text: str) -> Script:
    return Script(f"#!/bin/sh\necho {text}\n")


def count(guest: Container, state: str) -> int:
    return len(list((guest.root / "var/lib/heat-config-zaqar" / state).glob("*.json")))


def test_the_timers_delivery_sends_what_a_killed_run_left_behind(
    launch: Launcher, heat: Heat
) -> None:
    guest = launch("delivery", deployments_template({"echo": echo("old")}))
    heat.wait_for("delivery", ["CREATE_COMPLETE"], 180)
    wait_for(lambda: count(guest, "delivered") == 1, 60, "the delivery is not recorded")
    new = Script("#!/bin/sh\ntouch /var/tmp/begun\nsleep 10\necho new\n")
    heat.update_stack("delivery", deployments_template({"echo": new}))
    wait_for((guest.root / "var/tmp/begun").exists, 120, "the new script does not begin")
    # While the lock is held the result is on disk and stays there.
    guest.run("systemd-run", "--unit=holder", "flock", DELIVERY_LOCK, "sleep", "600", check=True)
    wait_for(lambda: count(guest, "outbox") == 1, 120, "the new script does not end")
    guest.run("systemctl", "kill", "--kill-whom=all", "-s", "KILL", "os-collect-config", check=True)
    guest.run("systemctl", "stop", "os-collect-config", "holder", check=True)
    stack = heat.wait_for("delivery", ["UPDATE_COMPLETE"], 120)
    assert stack.outputs["echo_deploy_stdout"] == "new\n"
    unit = "heat-config-zaqar-deliver.service"
    assert guest.run("systemctl", "show", "-P", "Result", unit).stdout.strip() == "success"


def test_a_stop_takes_seconds_and_leaves_a_hook_that_is_under_way_to_its_result(
    launch: Launcher, heat: Heat
) -> None:
    slow = Script("#!/bin/sh\ntouch /var/tmp/begun\nsleep 15\necho done\n")
    guest = launch("stop", deployments_template({"slow": slow}))
    wait_for((guest.root / "var/tmp/begun").exists, 120, "the hook does not begin")
    begun = time.monotonic()
    guest.run("systemctl", "stop", "os-collect-config", check=True)
    assert time.monotonic() - begun < 10
    stack = heat.wait_for("stop", ["CREATE_COMPLETE"], 120)
    assert stack.outputs["slow_deploy_stdout"] == "done\n"


def test_what_the_service_and_its_hooks_use_is_accounted(launch: Launcher, heat: Heat) -> None:
    guest = launch("accounting", deployments_template({"echo": echo("x")}))
    heat.wait_for("accounting", ["CREATE_COMPLETE"], 180)

    def shown(name: str) -> str:
        return guest.run("systemctl", "show", "-P", name, "os-collect-config").stdout.strip()

    # A container has the controllers that its host's kernel and supervisor left to it.
    controllers = guest.run("cat", "/sys/fs/cgroup/cgroup.controllers").stdout.split()
    figures = {"cpu": "CPUUsageNSec", "memory": "MemoryCurrent", "pids": "TasksCurrent"}
    for accounting in ("CPUAccounting", "MemoryAccounting", "TasksAccounting"):
        # systemd 258 and later always account for the CPU and have no property for it.
        assert shown(accounting) == "yes" or (accounting, shown(accounting)) == (
            "CPUAccounting",
            "",
        )
    for controller, name in figures.items():
        assert controller not in controllers or int(shown(name)) > 0, name
