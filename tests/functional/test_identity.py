"""Copies of a used guest's disk, and disks that were put back, on the booted image."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.cloud import Cloud
from testbed.guest import Container, copy_changes, wait_for
from testbed.heat import Heat
from tests.integration.test_cloud import Guest
from tests.servers import HELD, HOLD, STATE, Servers, first_metadata, runs, saying


@pytest.fixture
def servers(cloud: Cloud, heat: Heat, root: Path, tmp_path: Path) -> Iterator[Servers]:
    made = Servers(cloud, heat, root, tmp_path)
    yield made
    made.close()


def waiting_in(queue: str, stack: str, heat: Heat) -> list[dict[str, Any]]:
    """Return the messages of a queue of the stack's project."""
    reader = Guest(heat.server_metadata(stack))
    reader.queue = queue
    return reader.messages()


def signal_queue(guest: Container) -> str:
    """Return the signal queue of the guest's one deployment, which its updates share."""
    records = (guest.root / STATE / "delivered").glob("*.json")
    (queue,) = {json.loads(record.read_text())["queue"] for record in records}
    return str(queue)


def await_rest(guest: Container) -> None:
    """Wait until the guest has noted that Heat has its signals, and 55-heat-config has ended."""
    guest.run("heat-config-zaqar", "status", "--wait", "50", check=True)
    free = ("flock", "-n", f"/{STATE}/apply.lock", "true")
    wait_for(lambda: guest.run(*free).returncode == 0, 60, "a hook goes on", guest.console)


def says(guest: Container, command: str, text: str) -> Callable[[], bool]:
    return lambda: text in guest.run("heat-config-zaqar", command).stdout


def test_a_copy_with_another_stacks_metadata_becomes_that_stacks_server(
    servers: Servers, heat: Heat
) -> None:
    first = servers.boot(servers.stack("original", "one"))
    heat.wait_for("original", ["CREATE_COMPLETE"], 180)
    await_rest(first)
    copy = servers.boot(servers.stack("copied", "two"), first)
    heat.wait_for("copied", ["CREATE_COMPLETE"], 180)
    assert runs(copy) == ["one", "two"], "the first line came with the disk"
    # The original goes on: its update is its own.
    stack = heat.update_stack("original", saying("three"), wait=True, timeout=180)
    assert stack.outputs["say_deploy_stdout"] == "three\n"
    assert runs(first) == ["one", "three"]
    assert runs(copy) == ["one", "two"]
    (aside,) = (copy.root / "var/lib").glob("heat-config-zaqar.of-original-*")
    assert aside.stat().st_mode & 0o777 == 0o700
    assert "original" not in copy.run("cat", "/etc/os-collect-config.conf").stdout


@pytest.mark.parametrize("has_metadata", [True, False], ids=["the same", "none"])
def test_a_copy_without_metadata_of_its_own_does_nothing_until_it_is_adopted(
    servers: Servers, heat: Heat, has_metadata: bool
) -> None:
    metadata = servers.stack("owner", "one")
    first = servers.boot(metadata)
    heat.wait_for("owner", ["CREATE_COMPLETE"], 180)
    await_rest(first)
    copy = servers.boot(metadata if has_metadata else None, first)
    wait_for(says(copy, "status", "another machine"), 60, "the copy says nothing", copy.console)
    assert says(copy, "doctor", "another machine")()
    stack = heat.update_stack("owner", saying("two"), wait=True, timeout=180)
    assert stack.outputs["say_deploy_stdout"] == "two\n"
    assert (runs(first), runs(copy)) == (["one", "two"], ["one"])
    first.power_off()
    copy.run("heat-config-zaqar", "adopt", check=True)
    # It runs and signals what its disk has lost before anything else is asked of it: an update in
    # the second between its last look and that signal is what docs/reliability.md does not promise.
    wait_for(
        lambda: runs(copy) == ["one", "two"], 60, "what the disk lost does not run", copy.console
    )
    copy.run("heat-config-zaqar", "status", "--wait", "50", check=True)
    heat.update_stack("owner", saying("three"), wait=True, timeout=180)
    assert runs(copy)[-1] == "three"


def make_older(disk: Path, seconds: float) -> None:
    """Move each time that a disk holds into the past: the files', and those in the state."""
    for path in disk.rglob("*"):
        status = path.lstat()
        times = (status.st_atime - seconds, status.st_mtime - seconds)
        os.utime(path, times, follow_symlinks=False)
    for path in (disk / STATE).rglob("*.json"):
        path.write_text(json.dumps(older(json.loads(path.read_text()), seconds)))


def older(value: Any, seconds: float) -> Any:
    if isinstance(value, dict):
        return {key: older(item, seconds) for key, item in value.items()}
    if isinstance(value, list):
        return [older(item, seconds) for item in value]
    is_time = isinstance(value, int | float) and value > 1_000_000_000
    return value - seconds if is_time else value


@pytest.mark.parametrize("is_over", [True, False], ids=["after an update", "in its middle"])
@pytest.mark.parametrize("minutes", [10, 120])
def test_a_disk_that_is_put_back_runs_what_it_lost_and_leaves_no_old_signal(
    servers: Servers, heat: Heat, tmp_path: Path, minutes: int, is_over: bool
) -> None:
    """The time goes by on the disk alone: what it says of when is moved into the past.

    The clock of this machine is not ours to set, and one that goes wrong in the guest's processes
    would not be what happens: a machine whose disk is put back has the right time. What Zaqar
    forgets in two hours, which is each message that Heat has posted more than one ago, is deleted.
    """
    guest = servers.boot(servers.stack("restored", "one"))
    heat.wait_for("restored", ["CREATE_COMPLETE"], 180)
    await_rest(guest)
    guest.power_off()
    kept = tmp_path / "kept"
    copy_changes(guest.changes, kept)
    guest.boot()
    if not is_over:
        (guest.root / HOLD).touch()
    heat.update_stack("restored", saying("two", HELD), wait=is_over, timeout=180)
    wait_for(lambda: runs(guest) == ["one", "two"], 60, "two does not run", guest.console)
    queue = signal_queue(guest)
    guest.kill()
    make_older(kept, minutes * 60)
    guest.put_back(kept)
    if minutes > 60:
        Guest(heat.server_metadata("restored")).empty()
    guest.boot()
    wait_for(lambda: runs(guest) == ["one", "two"], 60, "two does not run again", guest.console)
    wait_for(
        lambda: len(list((guest.root / STATE / "delivered").iterdir())) == 2,
        60,
        "the result is not delivered",
        guest.console,
    )
    stack = heat.wait_for("restored", ["UPDATE_COMPLETE"], 60)
    assert stack.outputs["say_deploy_stdout"] == "two\n"
    assert waiting_in(queue, "restored", heat) == []
    stack = heat.update_stack("restored", saying("three"), wait=True, timeout=180)
    assert stack.outputs["say_deploy_stdout"] == "three\n"
    assert runs(guest) == ["one", "two", "three"]


def test_a_golden_image_is_cleaned_and_its_copies_are_servers_of_their_own(
    servers: Servers, heat: Heat
) -> None:
    first = servers.boot(servers.stack("golden", "one"))
    heat.wait_for("golden", ["CREATE_COMPLETE"], 180)
    await_rest(first)
    first.run("heat-config-zaqar", "clean", "--yes", check=True)
    first.power_off()
    password = first_metadata(heat, "golden")["os-collect-config"]["zaqar"]["password"]
    # What cloud-init keeps of its own `cloud-init clean` removes.
    places = (
        "etc",
        STATE,
        "var/lib/os-collect-config",
        "var/lib/heat-cfntools",
        "var/lib/cloud/data",
    )
    search = ["grep", "-rlF", "--", password, *(str(first.root / place) for place in places)]
    assert subprocess.run(search, capture_output=True, text=True, check=False).stdout == ""
    copy = servers.boot(servers.stack("minted", "two"), first)
    heat.wait_for("minted", ["CREATE_COMPLETE"], 180)
    assert runs(copy) == ["one", "two"]
    assert not list((copy.root / "var/lib").glob("heat-config-zaqar.of-*"))


def test_the_image_carries_no_identity(root: Path) -> None:
    assert (root / "etc/machine-id").read_text().strip() in ("", "uninitialized")
    dbus = root / "var/lib/dbus/machine-id"
    assert dbus.is_symlink() or not dbus.exists() or dbus.read_text() == ""
    assert list(root.glob("etc/ssh/ssh_host_*")) == []
    assert not (root / "var/lib/systemd/random-seed").exists()
    assert list(root.glob("var/lib/cloud/instance*")) == []
    assert list(root.glob("var/lib/dhcp/*.leases")) == []
    found = (root / "var/log").rglob("*")
    logs = [path for path in found if path.is_file() and not path.is_symlink()]
    assert [path for path in logs if path.stat().st_size] == []
    assert list((root / STATE).iterdir()) == []
    assert list((root / "var/lib/os-collect-config").glob("*.json*")) == []
    assert not (root / "var/lib/heat-cfntools/cfn-init-data").exists()
