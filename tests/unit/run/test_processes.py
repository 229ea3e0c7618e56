import dataclasses
import os
import subprocess
from collections.abc import Iterator

import pytest

from heat_config_zaqar.run.processes import end, identify


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session, and has a child in it."""
    process = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], start_new_session=True, stdout=subprocess.PIPE
    )
    identity = identify(process.pid)
    yield process
    end(identity)
    process.wait()


def child_of(leader: subprocess.Popen[bytes]) -> int:
    assert leader.stdout is not None
    return int(leader.stdout.readline())


def test_all_of_a_session_ends(leader: subprocess.Popen[bytes]) -> None:
    identity = identify(leader.pid)
    assert os.getsid(child_of(leader)) == leader.pid
    assert end(identity)
    assert leader.wait() == -9
    assert not end(identity)


def test_what_a_leader_left_behind_ends(leader: subprocess.Popen[bytes]) -> None:
    identity = identify(leader.pid)
    child = child_of(leader)
    leader.kill()
    leader.wait()
    assert os.getsid(child) == identity.pid
    assert end(identity)
    assert not end(identity)


@pytest.mark.parametrize("change", [{"boot": "another"}, {"started": 1}])
def test_a_process_of_another_boot_or_start_is_left_alone(
    leader: subprocess.Popen[bytes], change: dict[str, object]
) -> None:
    identity = dataclasses.replace(identify(leader.pid), **change)  # type: ignore[arg-type]
    assert not end(identity)
    assert leader.poll() is None


def test_a_process_that_is_not_there_has_no_identity() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError, match=str(process.pid)):
        identify(process.pid)


def test_what_is_older_than_a_leader_is_not_of_its_session(
    leader: "subprocess.Popen[bytes]",
) -> None:
    identity = identify(leader.pid)
    child_of(leader)
    leader.kill()
    leader.wait()
    # As if the pid had been given away: only the child is left, which another leader has started.
    later = dataclasses.replace(identity, started=identity.started + 10_000_000)
    assert not end(later)
    assert end(identity)
