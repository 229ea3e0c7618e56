"""Faults of the disk: a clear message, no lost result, and recovery when the cause is gone."""

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import guest as chaos_guest
from tests.faults.conftest import Loop

NOTHING = [b"", b"{", b"null", b"[]", b"7", b'"text"', b"\xff\xfe\x00", b"{}"]


@pytest.fixture
def small_disk(loop: Loop) -> Iterator[Path]:
    """The guest's state directory on a disk of 256 KiB."""
    state = loop.guest.state
    state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "small", str(state)]
    subprocess.run(mount, check=True)
    yield state
    subprocess.run(["umount", "--lazy", str(state)], check=True)


def fill(disk: Path) -> None:
    """Fill a disk to its last byte."""
    with (disk / "filler").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_a_full_disk_stops_nothing_for_ever(loop: Loop, small_disk: Path) -> None:
    loop.around.call("create", 2)
    loop.guest.run("collect")
    fill(small_disk)
    loop.guest.may_fail = True
    loop.go_round(2)
    assert "No space left" in loop.log
    assert loop.around.call("poll") == 2
    (small_disk / "filler").unlink()
    loop.guest.may_fail = False
    loop.settle()
    loop.check(2)


def test_a_disk_that_a_hook_fills_costs_a_second_run_and_no_signal(
    loop: Loop, small_disk: Path
) -> None:
    loop.around.call("create", 1)
    loop.guest.run("collect")
    loop.guest.set_hook(f"head -c 1000000 /dev/zero >{small_disk}/filler 2>/dev/null")
    loop.guest.may_fail = True
    loop.guest.run("apply")
    assert "No space left" in loop.log
    assert "will try again" in loop.log
    (small_disk / "filler").unlink()
    loop.guest.set_hook(":")
    loop.guest.may_fail = False
    loop.settle()
    loop.check(1, runs=2)


def test_metadata_that_no_longer_fits_on_the_disk_waits_in_its_queue(
    loop: Loop, small_disk: Path
) -> None:
    fill(small_disk)
    loop.around.call("create", 1)
    loop.guest.may_fail = True
    loop.guest.run("collect")
    assert "No space left" in loop.log
    (small_disk / "filler").unlink()
    loop.guest.may_fail = False
    loop.settle()
    loop.check(1)


def test_a_read_only_disk_is_named_and_what_waited_goes_on_afterwards(
    loop: Loop, small_disk: Path
) -> None:
    loop.around.call("create", 1)
    loop.guest.run("collect")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    loop.guest.may_fail = True
    loop.go_round()
    assert "Read-only file system" in loop.log
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    loop.guest.may_fail = False
    loop.settle()
    loop.check(1)


@pytest.mark.parametrize("entry", ["collect", "apply", "deliver"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_failing_disk_costs_no_result(
    loop: Loop, entry: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.around.call("create", 1)
    loop.around.call("outage", "zaqar", "503", 2, "POST")
    if entry != "collect":
        loop.guest.run("collect")
    if entry == "deliver":
        loop.guest.run("apply")
    main, arguments = chaos_guest._ENTRIES[entry]
    loop.guest.may_fail = True
    with monkeypatch.context() as patch:
        patch.setitem(chaos_guest._ENTRIES, entry, (with_bad_disk(main, nth), arguments))
        loop.guest.run(entry)
    loop.guest.may_fail = False
    loop.settle()
    runs = [what for what, _, _ in loop.guest.runs()].count("start")
    # A result that the disk refused is made again.
    loop.check(1, runs=min(runs, 2))


def with_bad_disk(main: Callable[[], int], nth: int) -> Callable[[], int]:
    """Return `main` on a disk that fails at the nth fsync; for a process of its own."""

    def unlucky_main() -> int:
        fsync = os.fsync
        count = [0]

        def failing(descriptor: int) -> None:
            count[0] += 1
            if count[0] == nth:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(descriptor)

        os.fsync = failing  # type: ignore[assignment]
        return main()

    return unlucky_main


@pytest.mark.parametrize("content", NOTHING, ids=repr)
@pytest.mark.parametrize("where", ["metadata.json", "running", "outbox", "delivered"])
def test_a_file_that_holds_nonsense_stops_nothing(loop: Loop, where: str, content: bytes) -> None:
    loop.around.call("create", 2)
    loop.guest.run("collect")
    if where == "running":
        loop.guest.run("apply", "execute: running recorded, after")
    elif where == "outbox":
        loop.around.call("outage", "zaqar", "503", 9, "POST")
        loop.guest.run("apply")
    elif where == "delivered":
        loop.guest.run("apply")
    path = loop.guest.state / where
    spoilt = [path] if path.is_file() else sorted(path.glob("*.json"))
    assert spoilt
    for one in spoilt:
        one.write_bytes(content)
    loop.settle()
    runs = [what for what, _, _ in loop.guest.runs()].count("start")
    # Where the only copy of a result is gone, the hook runs again.
    loop.check(2, runs=4 if where == "outbox" else 2)
    assert runs == (4 if where == "outbox" else 2)


@pytest.mark.parametrize("content", NOTHING, ids=repr)
def test_nonsense_in_the_runtime_directory_stops_nothing(loop: Loop, content: bytes) -> None:
    loop.around.call("create", 1)
    loop.settle()
    for path in (loop.guest.directory / "run").rglob("*.json"):
        path.write_bytes(content)
    (loop.guest.directory / "run" / "collected").write_bytes(content)
    loop.around.call("update", 1)
    loop.settle()
    loop.check(2)


def test_directories_and_files_that_others_made_are_used_and_closed_to_others(loop: Loop) -> None:
    for name in ("running", "outbox", "delivered"):
        (loop.guest.state / name).mkdir(parents=True)
        (loop.guest.state / name).chmod(0o777)
    loop.around.call("create", 1)
    loop.settle()
    loop.check(1)
    for path in loop.guest.state.glob("*/*.json"):
        assert path.stat().st_mode & 0o077 == 0


def test_the_state_of_the_first_version_is_understood(loop: Loop) -> None:
    """Written by 0.1.0: `received` in the snapshot's file, no process in a running record."""
    loop.around.call("create", 1)
    loop.guest.run("collect")
    stored = json.loads((loop.guest.state / "metadata.json").read_text())
    old = {"received": 1795000000.0, "snapshot": stored["snapshot"]}
    (loop.guest.state / "metadata.json").write_text(json.dumps(old))
    config = stored["snapshot"]["deployments"][0]["id"]
    (loop.guest.state / "running").mkdir()
    record = {"attempts": 1, "started": 1795000000.0, "name": "r0", "group": "script"}
    (loop.guest.state / "running" / f"{config}.json").write_text(json.dumps(record))
    loop.settle()
    loop.check(1)
    delivered = json.loads((loop.guest.state / "delivered" / f"{config}.json").read_text())
    assert delivered["attempts"] == 2
