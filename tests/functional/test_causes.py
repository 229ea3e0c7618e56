"""Why a deployment is in progress, told without a login to the guest.

The six causes of docs/operations.md, "When a deployment hangs": what Heat shows with the plug-in,
and where Heat shows nothing, the console.
"""

import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from testbed.guest import Container, container, wait_for
from testbed.heat import Heat, Script, deployments_template
from tests.servers import first_metadata

pytestmark = pytest.mark.usefixtures("plugin")

NAMES = ("a", "b")
GO = "var/tmp/go"
HELD = f"#!/bin/sh\necho begun\nuntil [ -e /{GO} ]; do sleep 0.2; done\necho done\n"
RUNS = re.compile(
    r"Hook runs since (\S+)Z \(attempt 1\), alive at (\S+)Z, printed at (\S+)Z: begun"
)
# Of the guest's messages about a hook that runs, and what Heat may take to show one.
HEARTBEAT_SECONDS = 60
SHOWN_SECONDS = 60
SAYS = "heat-config-zaqar: "


def reason(heat: Heat, stack: str, resource: str) -> str:
    """Return what Heat says of a deployment that is in progress."""
    found = heat.resource(stack, resource)
    assert found.status == "CREATE_IN_PROGRESS", found
    return found.reason


def times(heat: Heat, name: str) -> list[float]:
    """Return when a hook began, was alive and printed last, as Heat says."""
    found = RUNS.fullmatch(reason(heat, "causes", name))
    assert found is not None
    return [datetime.fromisoformat(f"{text}+00:00").timestamp() for text in found.groups()]


def console(guest: Container) -> str:
    """Return what is on the guest's console."""
    assert guest.console is not None
    return guest.console.tail(1000)


@pytest.fixture
def off(heat: Heat, root: Path, tmp_path: Path) -> Iterator[Container]:
    """A guest of the stack `silent`, which is not switched on."""
    heat.create_stack("silent", deployments_template({"one": Script(HELD)}))
    is_begun = lambda: heat.resource_statuses("silent").get("one") == "CREATE_IN_PROGRESS"  # noqa: E731
    wait_for(is_begun, 120, "the deployment is not begun")
    guest = Container(root, tmp_path / "guest")
    guest.prepare(heat.server_metadata_when_ready("silent"))
    yield guest
    guest.close()
    heat.delete_stack("silent")


def test_of_a_guest_that_never_booted_heat_and_the_console_say_nothing(
    heat: Heat, off: Container
) -> None:
    time.sleep(5)
    assert reason(heat, "silent", "one") == "state changed"
    assert off.console is None


def test_of_a_guest_without_network_the_console_says_so(heat: Heat, off: Container) -> None:
    off.boot(has_network=False)

    def says_so() -> bool:
        return f"{SAYS}WARNING" in console(off) and "will try again" in console(off)

    wait_for(says_so, 120, "the console is silent", off.console)
    assert reason(heat, "silent", "one") == "state changed"


def test_of_a_guest_whose_agent_does_not_run_the_console_ends_with_the_login(
    heat: Heat, off: Container
) -> None:
    unit = off.root / "etc/systemd/system/os-collect-config.service"
    unit.unlink(missing_ok=True)
    unit.symlink_to("/dev/null")
    off.boot()
    wait_for(lambda: "login:" in console(off), 60, "there is no login", off.console)
    time.sleep(5)
    assert SAYS not in console(off)
    assert reason(heat, "silent", "one") == "state changed"


@pytest.fixture
def busy(heat: Heat, root: Path, tmp_path: Path) -> Iterator[Container]:
    """A guest of the stack `causes`, which gets two deployments at once."""
    heat.create_stack("causes", deployments_template(dict.fromkeys(NAMES, Script(HELD))))
    metadata = first_metadata(heat, "causes")

    def are_posted() -> bool:
        return len(heat.server_metadata("causes")["deployments"]) == len(NAMES)

    wait_for(are_posted, 60, "Heat does not post both")
    with container(root, tmp_path / "guest", metadata) as guest:
        yield guest
    heat.delete_stack("causes")


def test_what_waits_runs_and_hangs_is_told_apart_in_heat_and_begin_and_end_on_the_console(
    busy: Container, heat: Heat
) -> None:
    def running() -> list[str]:
        return [name for name in NAMES if RUNS.fullmatch(reason(heat, "causes", name))]

    wait_for(lambda: len(running()) == 1, 2 * SHOWN_SECONDS, "none is shown to run")
    (runs,) = running()
    (waits,) = {*NAMES} - {runs}
    wait_for(
        lambda: reason(heat, "causes", waits).startswith("Guest has it since "),
        SHOWN_SECONDS,
        "the other is not shown to wait",
    )
    began, alive, printed = times(heat, runs)
    wait_for(
        lambda: times(heat, runs)[1] > alive + 1,
        HEARTBEAT_SECONDS + SHOWN_SECONDS,
        "it does not live on",
    )
    # What hangs is alive, and prints nothing. Messages have whole seconds, and so has their age,
    # and Heat takes the time of its look for Zaqar's.
    then_began, then_alive, then_printed = times(heat, runs)
    assert then_alive - alive > HEARTBEAT_SECONDS / 2
    assert abs(then_began - began) < HEARTBEAT_SECONDS / 4
    assert abs(then_printed - printed) < HEARTBEAT_SECONDS / 4
    (busy.root / GO).touch()
    heat.wait_for("causes", ["CREATE_COMPLETE"], 120)
    # The first of them follows the login's prompt, on the same line.
    said = [line for line in console(busy).splitlines() if SAYS in line]
    assert "version" in said[0], said
    for name in NAMES:
        assert len([line for line in said if f"({name}): hook " in line]) == 1, said
        assert len([line for line in said if f"({name}): status code 0" in line]) == 1, said
