"""Load: what a guest is asked at most, and what it needs for that."""

import dataclasses
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.state.outbox import entry_for
from tests.chaos import guest as chaos_guest
from tests.faults.conftest import Loop
from tests.unit.conftest import make_deployment

OLD_RECORDS = 10_000
# An idle guest polls each 10 s where there is no push: 8640 times a day.
IDLE_POLLS = int(os.environ.get("IDLE_POLLS", "2000"))
MEBIBYTE = 1024 * 1024


def largest_child() -> float:
    """Return the peak of the memory of any process that was waited for, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def report(record: Callable[[str, object], None], **figures: float) -> None:
    """Keep figures for the table in docs/reliability.md."""
    for name, value in figures.items():
        record(name, round(value, 1))
    print("measured:", {name: round(value, 1) for name, value in figures.items()})


def test_a_hundred_deployments_in_one_update(
    loop: Loop, record_property: Callable[[str, object], None]
) -> None:
    loop.around.call("create", 100)
    began = time.monotonic()
    loop.settle()
    report(record_property, seconds=time.monotonic() - began, mebibytes=largest_child())
    loop.check(100)


def test_a_script_that_fills_a_message(loop: Loop) -> None:
    loop.around.call("set_script", "#!/bin/sh\n" + "# padding\n" * 20_000)
    loop.around.call("create", 1)
    loop.settle()
    loop.around.call("update", 1)
    loop.settle()
    loop.check(2)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_hook_that_writes_a_gigabyte(
    loop: Loop, stream: str, record_property: Callable[[str, object], None]
) -> None:
    loop.guest.set_hook(f"head -c 1000000000 /dev/zero >/dev/{stream}")
    loop.around.call("create", 1)
    began = time.monotonic()
    # The log of a gigabyte is the journal's business, not this test's.
    (loop.guest.directory / "log").symlink_to("/dev/null")
    loop.settle()
    report(record_property, seconds=time.monotonic() - began, mebibytes=largest_child())
    assert largest_child() < 400
    state = sum(path.stat().st_size for path in loop.guest.state.rglob("*") if path.is_file())
    assert state < 10 * MEBIBYTE
    loop.check(1)


def test_ten_thousand_old_records(
    loop: Loop, record_property: Callable[[str, object], None]
) -> None:
    old = entry_for(parse_deployment(make_deployment("old")), {"deploy_stdout": "x" * 500}, 1, 0)
    directory = loop.guest.state / "delivered"
    directory.mkdir(parents=True)
    for number in range(OLD_RECORDS):
        record = dataclasses.replace(
            old, id=f"old-{number}", resource_name=f"r{number}", queue="q", credentials=None
        )
        (directory / f"{record.id}.json").write_text(json.dumps(dataclasses.asdict(record)))
    loop.around.call("create", 1)
    loop.guest.run("collect")
    began = time.monotonic()
    loop.guest.run("apply")
    report(record_property, seconds=time.monotonic() - began, mebibytes=largest_child())
    loop.settle()
    loop.check(1)


def test_an_idle_guest_needs_no_more_after_a_long_time(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    loop.around.call("create", 1)
    loop.settle()
    figures = loop.guest.directory / "figures"
    main, arguments = chaos_guest._ENTRIES["service"]
    polling = (lambda: polled_main(main, figures), arguments)
    monkeypatch.setitem(chaos_guest._ENTRIES, "service", polling)
    monkeypatch.setattr(chaos_guest, "_LONGEST_SECONDS", 3600)
    loop.guest.run("service")
    measured = [tuple(map(int, line.split())) for line in figures.read_text().splitlines()]
    (early, files), (late, files_late) = measured[len(measured) // 5], measured[-1]
    grown = (late - early) / 1024
    report(record_property, polls=IDLE_POLLS, grown_mebibytes=grown, mebibytes=late / 1024)
    assert len(measured) > 10
    assert files_late == files
    assert grown < 2


def polled_main(main: Callable[[], int], figures: Path) -> int:
    """Poll so many times without a pause, and write memory in KiB and open files to `figures`."""
    polls = [0]

    def wait(collector: Collector, _: float) -> None:
        collector._due = 0
        polls[0] += 1
        if polls[0] % (IDLE_POLLS // 20) == 0:
            status = Path("/proc/self/status").read_text()
            memory = status.partition("VmRSS:")[2].split()[0]
            with figures.open("a") as stream:
                stream.write(f"{memory} {len(os.listdir('/proc/self/fd'))}\n")
        if polls[0] == IDLE_POLLS:
            raise SystemExit(0)

    patched: Any = Collector
    patched.wait = wait
    return main()
