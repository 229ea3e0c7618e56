"""However the command for a real cloud ends, nothing of it stays in the cloud."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from openstack.connection import Connection

from testbed.isolated import has_bridge
from tests.field.conftest import Start

PATIENCE_SECONDS = 400.0


def names_in(cloud: Connection) -> list[str]:
    """The names of everything that the project has."""
    names = [stack.name for stack in cloud.orchestration.stacks()]
    if has_bridge():
        names += [server.name for server in cloud.compute.servers()]
        names += [image.name for image in cloud.image.images() if image.visibility == "private"]
    return names


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that the command does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def begin(acceptance: Start, image: Path, demo: Connection) -> "subprocess.Popen[str]":
    """Start the command, and return when it has something in the cloud: a server, where it can."""
    process = acceptance("--image", str(image), "--flavor", "m1.tiny")
    wanted = "-server-" if has_bridge() else "heat-config-zaqar-"
    wait_until(lambda: any(wanted in name for name in names_in(demo)))
    return process


def end_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait until the command has ended; return what it printed."""
    try:
        return process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it does not end: {process.communicate()}") from None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_has_everything_deleted(
    number: signal.Signals, acceptance: Start, hollow_image: Path, demo: Connection
) -> None:
    process = begin(acceptance, hollow_image, demo)
    process.send_signal(number)
    _, errors = end_of(process)
    assert process.returncode == 1
    assert errors == f"acceptance: ended by {number.name}\n"
    assert names_in(demo) == []


def test_the_command_that_is_printed_first_removes_what_sigkill_leaves(
    acceptance: Start, hollow_image: Path, demo: Connection
) -> None:
    process = begin(acceptance, hollow_image, demo)
    process.kill()
    output, _ = end_of(process)
    assert names_in(demo) != []
    command, name = output.splitlines()[0].rsplit(maxsplit=1)
    assert command.endswith("python -m testbed.acceptance --cloud demo --remove")
    removal = acceptance("--remove", name)
    _, errors = end_of(removal)
    assert removal.returncode == 0, errors
    assert names_in(demo) == []


def test_a_second_signal_while_it_deletes_prints_the_command_that_does_the_rest(
    acceptance: Start, hollow_image: Path, demo: Connection
) -> None:
    process = begin(acceptance, hollow_image, demo)
    process.send_signal(signal.SIGTERM)
    assert process.stdout
    for line in process.stdout:
        if "deleting stack" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, errors = end_of(process)
    assert process.returncode == 1
    told = errors.splitlines()[0]
    assert told.startswith("acceptance: not all is deleted; this does it: python -m testbed.acc")
    removal = acceptance("--remove", told.split()[-1])
    end_of(removal)
    assert names_in(demo) == []
