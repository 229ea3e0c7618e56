"""Faults on the wire between the guest and the real services: it delivers in the end, once."""

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.state import entry as entries
from tests.chaos import guest as chaos_guest
from tests.faults.conftest import Loop

BROKEN = [
    "refused",
    "latency",
    "reset_before",
    "reset_after",
    "truncated",
    "empty",
    "garbage",
    "not_json",
    "half_open",
    "swallowed",
    "slow_loris",
]
STATUSES = ["401", "403", "404", "413", "429", "500", "502", "503"]


@pytest.mark.parametrize("service", ["keystone", "zaqar"])
@pytest.mark.parametrize("fault", [*BROKEN, *STATUSES])
def test_a_fault_delays_deployments_and_neither_loses_nor_repeats_one(
    loop: Loop, service: str, fault: str
) -> None:
    loop.around.call("create", 2)
    if service == "keystone":
        loop.guest.reboot()
    loop.around.call("outage", service, fault, 2)
    loop.go_round()
    loop.settle()
    loop.around.call("update", 2)
    loop.around.call("outage", service, fault, 3)
    loop.go_round()
    loop.settle()
    loop.check(4)


@pytest.mark.parametrize("fault", [*BROKEN, *STATUSES])
@pytest.mark.parametrize("request_line", ["POST", "DELETE"])
def test_a_fault_of_the_request_that_changes_something_is_no_different(
    loop: Loop, fault: str, request_line: str
) -> None:
    loop.around.call("create", 1)
    if fault != "refused":
        loop.around.call("outage", "zaqar", fault, 1, f"{request_line} /v2/queues")
    loop.go_round()
    # Heat reads what arrived although the guest cannot know.
    loop.around.call("poll")
    loop.settle()
    loop.around.call("update", 1)
    loop.settle()
    loop.check(2)


@pytest.mark.parametrize(
    "fault", ["refused", "reset_before", "reset_after", "503", "404", "garbage"]
)
def test_heat_away_while_it_is_asked_about_an_unanswered_post(loop: Loop, fault: str) -> None:
    loop.around.call("create", 1)
    loop.around.call("outage", "zaqar", "reset_after", 1, "POST /v2/queues")
    loop.around.call("outage", "heat", fault, 2)
    loop.guest.run("collect")
    loop.guest.run("apply")
    loop.around.call("poll")
    loop.guest.run("deliver")
    loop.settle()
    loop.around.call("update", 1)
    loop.settle()
    loop.check(2)


def test_a_post_that_is_carried_out_after_the_guest_gave_it_up_is_the_only_one(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_guest, "_LATE_SECONDS", entries._LATE_SECONDS)
    loop.around.call("create", 1)
    loop.around.call("outage", "zaqar", "late", 1, "POST /v2/queues")
    # Until after the guest's look for it.
    ends = time.monotonic() + entries._LATE_SECONDS + 20
    while time.monotonic() < ends:
        loop.go_round()
        time.sleep(1)
    loop.around.call("update", 1)
    loop.settle()
    loop.check(2)


def test_an_expired_token_is_replaced(loop: Loop) -> None:
    expired = json.loads(loop.around.token) | {"auth_token": "gAAAAABexpired"}
    for token in (loop.guest.directory / "run" / "tokens").iterdir():
        token.write_text(json.dumps(json.dumps(expired)))
    loop.around.call("create", 1)
    loop.settle()
    loop.check(1)


@pytest.mark.parametrize("days", [-1, 1], ids=["a day back", "a day ahead"])
def test_a_clock_that_jumps_by_a_day_loses_nothing(
    loop: Loop, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.around.call("create", 1)
    loop.settle()
    loop.around.call("create", 1)
    for entry, (main, arguments) in list(chaos_guest._ENTRIES.items()):
        jumping = (at_another_time(main, days), arguments)
        monkeypatch.setitem(chaos_guest._ENTRIES, entry, jumping)
    loop.settle()
    loop.around.call("update", 2)
    loop.settle()
    loop.check(4)


def at_another_time(main: Callable[[], int], days: int) -> Callable[[], int]:
    """Return `main` with a clock that is wrong by so many days; for a process of its own."""
    shift = datetime.timedelta(days=days)
    right = datetime.datetime

    class Wrong(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return right.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            return right.now(datetime.UTC).replace(tzinfo=None) + shift

    def wrong_main() -> int:
        now = time.time
        time.time = lambda: now() + shift.total_seconds()
        datetime.datetime = Wrong  # type: ignore[misc]
        return main()

    return wrong_main


def test_the_log_says_what_is_away_and_no_secret(loop: Loop) -> None:
    loop.around.call("create", 1)
    loop.around.call("outage", "zaqar", "503", 9)
    loop.go_round()
    assert "will try again" in loop.log
    section = Path(loop.guest.directory / "os-collect-config.conf").read_text()
    password = section.partition("password = ")[2].partition("\n")[0].replace("$$", "$")
    assert password not in loop.log
    loop.settle()
    loop.check(1)
