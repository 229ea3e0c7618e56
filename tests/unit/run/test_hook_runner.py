import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.run import hook_runner
from heat_config_zaqar.run.outcome import Outcome
from heat_config_zaqar.run.streams import Stream
from heat_config_zaqar.state.runs import Identity
from tests.unit.run.test_script_hook import await_lines, await_text


def hook(directory: Path, text: str, name: str = "script") -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def run(path: Path, document: dict[str, Any], timeout: float) -> Outcome:
    return hook_runner.run(path, document, timeout, lambda _: None, {})


def test_the_document_arrives_on_standard_input_and_both_streams_come_back(tmp_path: Path) -> None:
    outcome = run(hook(tmp_path, "cat; echo log >&2; exit 3"), {"id": "ü"}, 0)
    assert json.loads(outcome.end) == {"id": "ü"}
    assert (outcome.log, outcome.returncode, outcome.problem) == ("log\n", 3, "")


def test_a_hook_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    outcome = run(hook(tmp_path, "sleep 60 & sleep 60"), {}, 0.5)
    assert time.monotonic() - started < 10
    assert outcome.problem == "was killed after 0.5 seconds"
    assert outcome.returncode == -9


def test_a_hook_that_takes_too_long_ends_with_what_has_left_its_group_or_its_session(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    text = (
        f"timeout 60 sleep 50 & echo $! >>{pids}\nsetsid sleep 60 & echo $! >>{pids}\n"
        f"setsid sh -c 'echo $$ >>{pids}; setsid sleep 60 & echo $! >>{pids}; wait' &\nwait"
    )
    # Its time counts from when all has started, however long a busy machine takes for that.
    path = hook(tmp_path, text)
    outcome = hook_runner.run(path, {}, 1, print, {}, lambda _: await_lines(pids, 4))
    assert outcome.problem == "was killed after 1 seconds"
    for pid in pids.read_text().split():
        assert is_gone(int(pid))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def in_a_process(text: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Start Python with what a test needs of the package; `hook` is the first argument."""
    head = "import os, sys, pathlib\nfrom heat_config_zaqar.run import hook_runner, streams\n"
    return subprocess.Popen([sys.executable, "-c", head + text], **options)


def test_what_a_hook_leaves_behind_can_go_on_printing_after_55_heat_config(tmp_path: Path) -> None:
    loop = (
        f"for i in $(seq 30); do sleep 0.1; echo tick $i || exit; echo $i >>{tmp_path}/alive; done"
    )
    path = hook(tmp_path, f"({loop}) &\n({loop}) >&2 &\necho '{{}}'")
    with (tmp_path / "log").open("wb") as log:
        text = (
            f"print(hook_runner.run(pathlib.Path({str(path)!r}), {{}}, 0, print, {{}}).returncode)"
        )
        assert in_a_process(text, stdout=log, stderr=log).wait() == 0
    await_lines(tmp_path / "alive", 60)
    # Between a pipe and the log stands a process of its own.
    await_text(tmp_path / "log", "tick 30\n", 2)


def test_a_log_that_nobody_reads_holds_no_hook_up(tmp_path: Path) -> None:
    path = hook(tmp_path, "head -c 1000000 /dev/zero >&2; echo why >&2; echo '{}'")
    text = (
        "streams._PATIENCE_SECONDS = 0.5\n"
        f"outcome = hook_runner.run(pathlib.Path({str(path)!r}), {{}}, 20, lambda _: None, {{}})\n"
        "print(outcome.problem, outcome.end, outcome.log[-4:])"
    )
    process = in_a_process(text, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    with process.stdout, process.stderr:
        assert process.stdout.read() == b" bytearray(b'{}\\n') why\n\n"
    assert process.wait() == 0


def test_a_hook_that_leaves_a_daemon_behind_ends_all_the_same(tmp_path: Path) -> None:
    started = time.monotonic()
    outcome = run(hook(tmp_path, "sleep 20 & echo '{}'"), {}, 0)
    assert time.monotonic() - started < 10
    assert outcome.returncode == 0


def test_a_hook_that_does_not_read_its_input_is_no_trouble(tmp_path: Path) -> None:
    outcome = run(hook(tmp_path, "exit 0"), {"x": "y" * 1_000_000}, 0)
    assert outcome.returncode == 0


def test_output_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    text = "head -c 100000000 /dev/zero; head -c 10000000 /dev/zero >&2"
    outcome = run(hook(tmp_path, text), {}, 0)
    assert len(outcome.end) == 8 * 1024 * 1024
    assert outcome.cut == 100_000_000 - len(outcome.end)
    assert outcome.log == f"[{10_000_000 - 65536} bytes cut]\n" + "\0" * 65536


@pytest.mark.parametrize(
    ("first", "mode", "reason"),
    [
        ("#!/bin/sh", 0o644, "{path} is not executable"),
        ("#!/no/such/interpreter", 0o755, "its interpreter '/no/such/interpreter' does not exist"),
        ("#!/bin/sh\r", 0o755, "its first line ends in a carriage return, as in files of Windows"),
    ],
)
def test_a_hook_that_cannot_be_started_says_why(
    tmp_path: Path, first: str, mode: int, reason: str
) -> None:
    path = hook(tmp_path, "")
    path.write_bytes(f"{first}\n".encode())
    path.chmod(mode)
    assert run(path, {}, 0).problem == f"cannot be started: {reason.format(path=path)}"


@pytest.mark.parametrize("text", ["exit 127", 'rm "$0"; exit 127'])
def test_a_hook_that_exits_with_a_shells_code_has_only_failed(tmp_path: Path, text: str) -> None:
    outcome = run(hook(tmp_path, text), {}, 0)
    assert (outcome.returncode, outcome.problem) == (127, "")


def test_a_hook_has_roots_home_where_the_service_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    assert run(hook(tmp_path, "echo $HOME"), {}, 0).end == b"/root\n"


def test_a_hook_does_nothing_before_its_process_is_recorded(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def record(leader: Identity) -> None:
        assert os.getsid(leader.pid) == leader.pid
        time.sleep(0.5)
        assert not started.exists()

    hook_runner.run(hook(tmp_path, f"touch {started}"), {}, 0, record, {})
    assert started.exists()


def test_a_hook_whose_process_cannot_be_recorded_never_runs(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def refuse(_: Identity) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        hook_runner.run(hook(tmp_path, f"touch {started}"), {}, 0, refuse, {})
    assert not started.exists()


def test_a_hook_whose_starter_is_killed_before_the_record_never_runs(tmp_path: Path) -> None:
    started = tmp_path / "started"
    path = hook(tmp_path, f"touch {started}")
    text = (
        "import os, pathlib\n"
        "from heat_config_zaqar.run import hook_runner\n"
        "def die(leader):\n"
        "    print(leader.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        f"hook_runner.run(pathlib.Path({str(path)!r}), {{}}, 0, die, {{}})\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(hook_runner.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, check=False
    )
    assert done.returncode == -9
    gate = Path(f"/proc/{int(done.stdout)}")
    deadline = time.monotonic() + 10
    while gate.exists() and "Z" not in (gate / "stat").read_text().split():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not started.exists()


def test_variables_reach_the_hook_beside_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "1")
    path = hook(tmp_path, 'echo "$OURS $THEIRS"')
    outcome = hook_runner.run(path, {}, 0, lambda _: None, {"THEIRS": "2"})
    assert outcome.end == b"1 2\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("exit 0", ""), ("echo no bus >&2; exit 1", "no bus"), ("exit 4", "code 4")],
)
def test_a_reboot_that_is_refused_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    asked = tmp_path / "asked"
    hook(tmp_path, f'echo "$@" >{asked}; {text}', "systemctl")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    problem = hook_runner.reboot()
    assert reason in problem
    assert bool(problem) == bool(reason)
    assert asked.read_text() == "reboot\n"


def test_the_variable_comes_first_and_a_group_cannot_leave_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEAT_CONFIG_HOOKS", str(tmp_path))
    hook(tmp_path, "true", "my-hook_1")
    assert hook_runner.find("my-hook_1") == tmp_path / "my-hook_1"
    assert hook_runner.find("../my-hook_1") == tmp_path / "my-hook_1"
    for group in ("missing", "", "..", "/"):
        assert hook_runner.find(group) is None


def test_a_hook_in_libexec_comes_before_one_in_lib(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"/usr/libexec/heat-config/hooks/script", "/var/lib/heat-config/hooks/script"}
    monkeypatch.delenv("HEAT_CONFIG_HOOKS", raising=False)
    monkeypatch.setattr(os.path, "isfile", lambda path: str(path) in there)
    assert hook_runner.find("script") == Path("/usr/libexec/heat-config/hooks/script")
    there.remove("/usr/libexec/heat-config/hooks/script")
    assert hook_runner.find("script") == Path("/var/lib/heat-config/hooks/script")


@pytest.mark.parametrize("group", ["x" * 300, "\0", "half\ud800", ".", "/"])
def test_a_group_that_no_file_can_be_named_after_has_no_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    monkeypatch.setenv("HEAT_CONFIG_HOOKS", str(tmp_path))
    assert hook_runner.find(group) is None


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        (b"", ""),
        (b"\n \r\n", ""),
        (b"one\ntwo\n", "two"),
        (b"one\ntwo: ", "two:"),
        (b"10%\r20%\r", "20%"),
        (b"one\n\x1b[1;31mred\x1b[0m\x1b[K\n", "red"),
        (b"a\x00b\x07c\xff\xe2\x80\xaed", "a b c\ufffd d"),
        ("\u00fc\n".encode() * 2000, "\u00fc"),
        (b"x" * 1_000_000, "x" * 200),
        (b"one\n" + b"\n" * 5000, ""),
    ],
)
def test_the_last_line_is_what_a_person_can_read(printed: bytes, line: str) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as source, open(writing, "wb", buffering=0) as sink:
        stream = Stream(source, 64 * 1024, is_log=False)
        began = stream.last
        for start in range(0, len(printed), 4096):
            sink.write(printed[start : start + 4096])
            assert stream.take()
        assert stream.last_line() == line
        assert (stream.last > began) is bool(printed)
        sink.close()
        seen = stream.last
        assert not stream.take()
        assert stream.last == seen, "the end of a stream is nothing that was printed"


def test_only_our_own_hook_logs_nothing_but_what_is_signalled(tmp_path: Path) -> None:
    ours = tmp_path / "script"
    ours.symlink_to(Path(sys.executable).with_name("heat-config-zaqar-script-hook"))
    assert hook_runner.logs_what_is_signalled(ours)
    assert not hook_runner.logs_what_is_signalled(hook(tmp_path, "", "puppet"))
