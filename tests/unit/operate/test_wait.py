import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from heat_config_zaqar.operate import status
from heat_config_zaqar.operate.report import Report
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Settled
from tests.unit.conftest import make_deployment
from tests.unit.operate.test_cli import ENDED_BY_CTRL_C, LATER, Guest, Run, wait_until
from tests.unit.operate.test_cli import guest as guest
from tests.unit.operate.test_cli import run as run

# The command line, which says by a file that it has looked and begins to wait.
WAITING = """
import pathlib, sys, time
from heat_config_zaqar.operate import cli
sleep, waits = time.sleep, pathlib.Path(sys.argv.pop(1))
def wait(seconds):
    waits.touch()
    sleep(seconds)
time.sleep = wait
sys.exit(cli.main())
"""


class Waiting:
    """`status --wait`, which has looked once and still waits."""

    def __init__(self, guest: Guest, *arguments: str) -> None:
        waits = guest.directory / "waits"
        waits.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*ENDED_BY_CTRL_C, sys.executable, "-c", WAITING, waits, "status", *arguments],
            env={**os.environ, **guest.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(waits.exists)
        assert self.process.poll() is None

    def end(self) -> tuple[int, str, str]:
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, out, error


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the command looked at the disk."""
    moments: list[float] = []

    class Watched(Report):
        def __init__(self, settings: Settings) -> None:
            moments.append(time.monotonic())
            super().__init__(settings)

    monkeypatch.setattr(status, "Report", Watched)
    return moments


def test_what_is_settled_is_printed_at_once(guest: Guest, run: Run, looks: list[float]) -> None:
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.DELIVERED)
    code, out, _ = run("status", "--wait")
    assert (code, "delivered" in out, len(looks)) == (0, True, 1)


def test_it_waits_for_hooks_and_then_for_their_signals(guest: Guest) -> None:
    guest.collect(make_deployment("a"), make_deployment("b"))
    guest.finish(make_deployment("a"), 3)
    guest.settle("a", Settled.DELIVERED)
    waiting = Waiting(guest, "--wait")
    guest.finish(make_deployment("b"))
    time.sleep(1.5)
    assert waiting.process.poll() is None
    guest.settle("b", Settled.DELIVERED)
    code, out, error = waiting.end()
    assert (code, error, out.count("delivered"), out.count("ATTEMPTS")) == (1, "", 2, 1)


def test_it_waits_for_the_first_metadata_and_for_what_that_brings(guest: Guest) -> None:
    waiting = Waiting(guest, "--wait", "--json")
    guest.collect(make_deployment("a"))
    time.sleep(1.5)
    assert waiting.process.poll() is None
    guest.collect()
    code, out, _ = waiting.end()
    assert (code, json.loads(out)["deployments"]) == (0, [])


def test_metadata_that_changes_meanwhile_is_waited_for(guest: Guest) -> None:
    same = {"deploy_queue_id": "q", "deploy_resource_name": "r"}
    old, new = make_deployment("old", **same), make_deployment("new", **same, **LATER)
    guest.collect(old)
    waiting = Waiting(guest, "--wait", "60")
    guest.collect(new)
    guest.finish(new)
    guest.settle("new", Settled.DELIVERED)
    code, out, _ = waiting.end()
    assert (code, "00-new" in out, "00-old" in out) == (0, True, False)


def test_when_the_time_is_over_it_says_what_is_not_settled(
    guest: Guest, run: Run, looks: list[float]
) -> None:
    guest.collect(make_deployment("a"))
    began = time.monotonic()
    code, out, _ = run("status", "--wait", "2.5")
    assert 2.5 <= time.monotonic() - began < 10
    assert (code, "waiting" in out) == (3, True)
    # At the beginning, after one second and after two, and at the end.
    assert 2 <= len(looks) <= 4
    assert all(after - before >= 1 for before, after in pairwise(looks[:-1]))


def test_no_seconds_are_one_look(guest: Guest, run: Run, looks: list[float]) -> None:
    guest.collect(make_deployment("a"))
    assert (run("status", "--wait", "0")[0], len(looks)) == (3, 1)


@pytest.mark.usefixtures("guest")
@pytest.mark.parametrize("seconds", ["-1", "-0.5", "nan", "inf", "1e300", "soon", "", "315360001"])
def test_what_is_no_number_of_seconds_is_refused(run: Run, seconds: str) -> None:
    code, _, error = run("status", "--wait", seconds)
    assert code == 2
    assert f"{seconds!r} is not a number of seconds from 0 to 315360000" in error


def test_ctrl_c_ends_the_wait_without_a_word(guest: Guest) -> None:
    guest.collect(make_deployment("a"))
    waiting = Waiting(guest, "--wait")
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.end() == (130, "", "")


def test_a_clock_that_is_set_changes_no_wait(
    guest: Guest, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.collect(make_deployment("a"))
    moments = iter(range(10**10, 0, -(10**6)))
    monkeypatch.setattr(time, "time", lambda: float(next(moments)))
    began = time.monotonic()
    assert run("status", "--wait", "1.5")[0] == 3
    assert 1.5 <= time.monotonic() - began < 10


def test_what_is_malformed_is_complained_of_once(guest: Guest) -> None:
    guest.collect(make_deployment("a"), {"name": "neither id nor address"})
    process = guest.start("status", "--wait", "2.5")
    _, error = process.communicate(timeout=60)
    assert error.count("ignored: ") == 1


def test_a_record_that_moves_is_no_damaged_one(
    guest: Guest, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed where it was, and gone from there when it is read."""
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.DELIVERED)
    real = durable.read_json
    moved = iter([None])

    def read(path: Path) -> object:
        return next(moved, real(path)) if path.name == "a.json" else real(path)

    monkeypatch.setattr(durable, "read_json", read)
    code, out, _ = run("status", "--wait")
    assert (code, "unreadable" in out) == (0, False)


def test_what_stays_damaged_is_not_waited_for(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a"))
    durable.write_json(guest.settings.state_dir / "failed" / "a.json", [])
    assert run("status", "--wait")[0] == 1


def test_what_was_interrupted_and_replaced_holds_up_nobody(guest: Guest, run: Run) -> None:
    guest.collect()
    record = {"attempts": 1, "started": time.time(), "name": "00-a", "group": "script"}
    durable.write_json(guest.settings.state_dir / "running" / "a.json", record)
    assert run("status", "--wait", "5")[0] == 0
    guest.collect(make_deployment("a"))
    assert run("status", "--wait", "0")[0] == 3
