import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.deliver import progress
from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import Deployment, parse_deployment
from heat_config_zaqar.errors import CorruptFileError, RebootDueError
from heat_config_zaqar.run import apply
from heat_config_zaqar.run.processes import identify
from heat_config_zaqar.settings import SETTINGS_VARIABLE, Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Outbox, entry_for
from heat_config_zaqar.state.runs import Run
from tests.unit.conftest import Said, make_deployment
from tests.unit.run.test_hook_runner import hook, is_gone
from tests.unit.run.test_script_hook import await_lines
from tests.unit.state.test_outbox import begin


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    monkeypatch.setenv("HEAT_CONFIG_HOOKS", str(hooks))
    hook(hooks, f'echo run >>{tmp_path}/runs; echo \'{{"result": "42"}}\'')
    hook(hooks, "echo garbage; echo why >&2; exit 2", "bad")
    hook(hooks, f"echo '{{\"a\": {'[' * 600 + ']' * 600}}}'", "deep")
    made = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")
    durable.write_json(made.collected_file, 1)
    return made


def applied(current: Settings, *documents: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    path = current.state_dir.parent / "heat-config"
    path.write_text(json.dumps(list(documents)))
    apply.apply(apply.read_deployments(path), current)
    return {
        record["id"]: (state, record.get("body", {}))
        for state, record in Outbox(current.state_dir).records()
    }


def quiet(config_id: str, **changes: Any) -> dict[str, Any]:
    return make_deployment(config_id, deploy_signal_transport="NO_SIGNAL", **changes)


def test_each_deployment_runs_once_however_often_it_is_applied(
    current: Settings, tmp_path: Path
) -> None:
    for _ in range(3):
        found = applied(current, quiet("a"), quiet("b"))
    assert found["a"] == ("delivered", {"result": "42", "deploy_status_code": 0})
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_nothing_that_talks_http_is_imported_before_there_is_something_to_deliver(
    current: Settings,
) -> None:
    heavy = {"http", "keystoneauth1", "requests", "ssl", "urllib3", "zaqarclient"}
    code = (
        "import pathlib, sys\n"
        "from heat_config_zaqar.run import apply\n"
        "from heat_config_zaqar.settings import Settings\n"
        f"apply.apply([], Settings(state_dir=pathlib.Path({str(current.state_dir)!r})))\n"
        f"print({heavy!r}.intersection(sys.modules))\n"
    )
    path = {"PYTHONPATH": str(Path(apply.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_config_whose_successor_has_a_result_never_runs(
    current: Settings, tmp_path: Path
) -> None:
    new = quiet("new", deploy_resource_name="r", creation_time="2026-11-22T16:00:00Z")
    old = quiet("old", deploy_resource_name="r")
    assert set(applied(current, new)) == {"new"}
    # As in a message that was late.
    assert set(applied(current, old, quiet("other"))) == {"new", "other"}
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_trouble_with_one_deployment_stops_no_other(current: Settings) -> None:
    found = applied(
        current,
        "text",
        quiet("garbage", group="bad"),
        quiet("missing", group="chef"),
        quiet("component", group="component", config={"configs": []}),
        quiet("deep", group="deep"),
        quiet("too-deep", config=json.loads("[" * 600 + "]" * 600)),
        quiet("transport", group="script")
        | {"inputs": [{"name": "deploy_signal_transport", "value": "PIGEON"}]},
        quiet("good"),
    )
    failed = {"garbage", "missing", "component", "deep", "too-deep", "transport"}
    assert set(found) == {*failed, "good"}
    assert found["good"][1]["deploy_status_code"] == 0
    assert found["garbage"][1]["deploy_stderr"] == "hook bad exited with 2\nwhy"
    assert "chef" in found["missing"][1]["deploy_stderr"]
    assert "CREATE" in found["component"][1]["deploy_stderr"]
    assert "nested over 90 levels" in found["deep"][1]["deploy_stderr"]


@pytest.mark.parametrize("exit_code", [0, 3, 194])
def test_a_hook_that_signals_by_heat_config_notify_has_that_result(
    current: Settings, monkeypatch: pytest.MonkeyPatch, exit_code: int
) -> None:
    directory = current.state_dir.parent
    use_settings(current, monkeypatch)
    # Nobody listens there, so that its own signal still waits when the hook ends.
    document = make_deployment("a", group="notifying", deploy_auth_url="http://127.0.0.1:9/v3/")
    config = directory / "config.json"
    config.write_text(json.dumps(document))
    notify = f"{sys.executable} -m heat_config_zaqar.deliver.notify {config}"
    text = f"echo '{{\"result\": \"its own\"}}' | {notify} && echo '{{}}'; exit {exit_code}"
    hook(directory / "hooks", text, "notifying")
    found = applied(current, document, quiet("b"))
    assert found["a"] == ("outbox", {"result": "its own"})
    assert found["b"][0] == "delivered"


@pytest.mark.parametrize("group", ["os-apply-config", "Heat::Ungrouped"])
def test_groups_that_never_had_a_hook_are_skipped(current: Settings, group: str) -> None:
    assert applied(current, quiet("a", group=group)) == {}


@pytest.mark.parametrize("transport", ["ZAQAR_SIGNAL", "CFN_SIGNAL"])
def test_what_os_apply_config_has_applied_is_signalled_where_heat_waits(
    current: Settings, transport: str
) -> None:
    # Nobody listens there.
    address = "http://127.0.0.1:9/v3/"
    signal = {"deploy_auth_url": address, "deploy_signal_id": address}
    signal["deploy_signal_transport"] = transport
    waited_for = make_deployment("a", group="os-apply-config", **signal)
    found = applied(current, waited_for, quiet("b"))
    success = {"deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}
    assert found["a"] == ("outbox", success)
    assert found["b"][0] == "delivered"


@pytest.mark.parametrize("name", ["app/install", ".setup", "x" * 300, "n\u00fcl"])
def test_no_name_of_a_group_stops_its_neighbour(current: Settings, name: str) -> None:
    found = applied(current, quiet("a", group=name), quiet("b"))
    assert "no hook for group" in found["a"][1]["deploy_stderr"]
    assert found["b"][1]["deploy_status_code"] == 0


def test_a_hook_that_was_interrupted_too_often_fails_with_the_reason(current: Settings) -> None:
    for _ in range(3):
        begin(Outbox(current.state_dir), "a")
    state, body = applied(current, quiet("a"))["a"]
    assert (state, body["deploy_status_code"]) == ("delivered", 1)
    assert "interrupted 3 times" in body["deploy_stderr"]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that only says that it was asked: this machine is not to reboot."""
    programs = tmp_path / "programs"
    programs.mkdir()
    hook(programs, f'echo "$@" >>{tmp_path}/asked', "systemctl")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return tmp_path / "asked"


def reboot(current: Settings) -> None:
    """Make the records look as after a reboot."""
    for path in (current.state_dir / "running").iterdir():
        path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "the one before"}))


def test_a_hook_that_exits_194_reboots_and_runs_again_before_the_others(
    current: Settings, systemctl: Path, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    text = f"echo $HEAT_CONFIG_REBOOTS >>{tmp_path}/boots; [ $HEAT_CONFIG_REBOOTS = 2 ] || exit 194"
    hook(hooks, f"{text}; echo '{{}}'", "booter")
    documents = [quiet("a", group="booter"), quiet("b")]
    for number in (1, 2):
        with pytest.raises(RebootDueError, match="deployment a .*booter"):
            applied(current, *documents)
        # Until the machine is down, os-collect-config tries again.
        with pytest.raises(RebootDueError):
            applied(current, *reversed(documents))
        assert systemctl.read_text() == "reboot\nreboot\n" * number
        assert not (tmp_path / "runs").exists()
        reboot(current)
    found = applied(current, *documents)
    assert (tmp_path / "boots").read_text() == "0\n1\n2\n"
    assert {state for state, _ in found.values()} == {"delivered"}
    assert found["a"][1]["deploy_status_code"] == 0


def test_a_hook_that_never_has_enough_of_reboots_fails(
    current: Settings, systemctl: Path, tmp_path: Path
) -> None:
    hook(tmp_path / "hooks", "exit 194", "booter")
    for _ in range(5):
        with pytest.raises(RebootDueError):
            applied(current, quiet("a", group="booter"))
        reboot(current)
    _, body = applied(current, quiet("a", group="booter"))["a"]
    assert body["deploy_status_code"] == 194
    assert "hook booter asked for a reboot again after 5" in body["deploy_stderr"]
    assert systemctl.read_text().count("reboot") == 5


def test_a_reboot_that_is_refused_fails_the_deployment_and_stops_no_other(
    current: Settings, systemctl: Path, tmp_path: Path
) -> None:
    hook(tmp_path / "programs", "echo no bus >&2; exit 1", "systemctl")
    hook(tmp_path / "hooks", "exit 194", "booter")
    found = applied(current, quiet("a", group="booter"), quiet("b"))
    assert "asked for a reboot: no bus" in found["a"][1]["deploy_stderr"]
    assert found["b"][1]["deploy_status_code"] == 0
    assert not systemctl.exists()


def test_a_deployments_own_timeout_comes_before_the_default(
    current: Settings, tmp_path: Path
) -> None:
    hook(tmp_path / "hooks", "sleep 60", "slow")
    _, body = applied(current, quiet("a", group="slow", deploy_timeout="0.5"))["a"]
    assert "was killed after 0.5 seconds" in body["deploy_stderr"]


def test_a_hook_that_outlives_the_settings_timeout_fails_with_that_reason(
    current: Settings, tmp_path: Path
) -> None:
    hook(tmp_path / "hooks", "sleep 60", "slow")
    short = dataclasses.replace(current, hook_timeout=0.5)
    found = applied(short, quiet("a", group="slow"), quiet("b"))
    assert "was killed after 0.5 seconds" in found["a"][1]["deploy_stderr"]
    assert found["b"][1]["deploy_status_code"] == 0


def test_a_timeout_that_is_no_number_fails_the_deployment_and_names_it(current: Settings) -> None:
    _, body = applied(current, quiet("a", deploy_timeout="soon"))["a"]
    assert body["deploy_status_code"] == 1
    assert "deploy_timeout is not a number of seconds: 'soon'" in body["deploy_stderr"]


def test_a_hook_that_outlives_its_killed_starter_is_ended_before_it_runs_again(
    current: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    # A grandchild does the work, as with a script.
    whose = f"sh -c 'echo $PPID' >{tmp_path}/worker"
    work = f"echo start; [ -e {tmp_path}/second ] || sleep 100; echo end"
    hook(tmp_path / "hooks", f"({whose}; {work}) >>{log}; echo '{{}}'", "slow")
    path = current.state_dir.parent / "heat-config"
    path.write_text(json.dumps([quiet("a", group="slow")]))
    settings_file = tmp_path / "settings.toml"
    settings_file.write_text(f'state_dir = "{current.state_dir}"')
    process = subprocess.Popen(
        [sys.executable, "-m", "heat_config_zaqar.run.apply"],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(apply.__file__).parents[2]),
            "HEAT_CONFIG_ZAQAR_SETTINGS": str(settings_file),
            "HEAT_SHELL_CONFIG": str(path),
        },
    )
    deadline = time.monotonic() + 60
    while not log.exists() or not log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    worker = int((tmp_path / "worker").read_text())
    assert not is_gone(worker)
    (tmp_path / "second").touch()
    applied(current, quiet("a", group="slow"))
    assert is_gone(worker)
    assert log.read_text() == "start\nstart\nend\n"
    assert "deployment a: its hook" in caplog.text


def test_a_hook_that_has_signalled_for_itself_is_known_until_it_ends(
    current: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = current.state_dir.parent
    document = make_deployment("a", group="notifying", deploy_auth_url="http://127.0.0.1:9/v3/")
    (directory / "config.json").write_text(json.dumps(document))
    use_settings(current, monkeypatch)
    notify = f"{sys.executable} -m heat_config_zaqar.deliver.notify {directory}/config.json"
    records = f"ls {current.state_dir}/running >{directory}/seen"
    hook(directory / "hooks", f"echo '{{}}' | {notify}; {records}", "notifying")
    assert applied(current, document)["a"][0] == "outbox"
    assert (directory / "seen").read_text() == "a.json\n"
    assert list((current.state_dir / "running").iterdir()) == []


def test_a_rerun_whose_terminal_is_closed_leaves_no_hook_that_goes_on_beside_the_next(
    current: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    once = f"[ -e {log} ] && exit; echo start >>{log}; sleep 60; echo end >>{log}"
    hook(tmp_path / "hooks", once)
    outbox = Outbox(current.state_dir)
    deployment = parse_deployment(quiet("a"))
    outbox.finish(entry_for(deployment, {"deploy_status_code": 1}, 1, 0))
    (tmp_path / "a.json").write_text(json.dumps(quiet("a")))
    use_settings(current, monkeypatch)
    text = (
        "import json, pathlib, signal, sys\n"
        "from heat_config_zaqar import settings\n"
        "from heat_config_zaqar.deployment import parse_deployment\n"
        "from heat_config_zaqar.run import apply, hook_runner\n"
        "from heat_config_zaqar.state.outbox import Outbox\n"
        # As in a terminal, whatever runs these tests.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "deployment = parse_deployment(json.loads(pathlib.Path(sys.argv[1]).read_text()))\n"
        "current = settings.load()\n"
        "hook = hook_runner.find('script')\n"
        "apply.run_hook(deployment, hook, Outbox(current.state_dir), current)\n"
    )
    rerun = subprocess.Popen([sys.executable, "-c", text, tmp_path / "a.json"])
    await_lines(log, 1)
    rerun.send_signal(signal.SIGHUP)
    assert rerun.wait() == -signal.SIGHUP
    run = outbox.runs.of("a")
    assert run.hook is not None
    assert os.getsid(run.hook.pid) == run.hook.pid, "the hook is not there any more"
    applied(current, quiet("b"))
    assert is_gone(run.hook.pid)
    assert log.read_text() == "start\n"
    assert outbox.runs.of("a") == Run()


def test_a_rerun_ends_what_is_left_of_another_before_it_starts(
    current: Settings, tmp_path: Path
) -> None:
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    outbox = Outbox(current.state_dir)
    outbox.runs.begin("other", "other", "script", identify(left.pid))
    script = tmp_path / "hooks" / "script"
    body = apply.run_hook(parse_deployment(quiet("a")), script, outbox, current)
    assert left.wait() == -signal.SIGKILL
    assert body["result"] == "42"


def use_settings(current: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the settings those of the processes that a test starts."""
    path = current.state_dir.parent / "settings.toml"
    lines = [f'{name} = "{getattr(current, name)}"' for name in ("state_dir", "runtime_dir")]
    path.write_text("\n".join(lines))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(path))


def test_a_process_that_took_the_pid_of_a_hook_is_left_alone(current: Settings) -> None:
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        identity = identify(other.pid)
        earlier = dataclasses.replace(identity, started=identity.started - 1)
        Outbox(current.state_dir).runs.begin("a", "a", "script", earlier)
        applied(current, quiet("a"))
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_result_that_cannot_be_made_durable_is_an_error_for_os_collect_config(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "heat-config").write_text(json.dumps([quiet("a")]))
    (tmp_path / "settings.toml").write_text('state_dir = "/proc/nowhere"')
    monkeypatch.setenv("HEAT_CONFIG_ZAQAR_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("HEAT_SHELL_CONFIG", str(tmp_path / "heat-config"))
    assert apply.main() == 1


@pytest.mark.parametrize("content", ['{"a": 1}', "3", "{"])
def test_a_file_that_is_no_list_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "heat-config").write_text(content)
    with pytest.raises(CorruptFileError, match="heat-config"):
        apply.read_deployments(tmp_path / "heat-config")


@pytest.mark.parametrize("content", ["null", '""', "[]", "{}", "", "\n", " \n\t"])
def test_no_deployments_yet_is_no_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "heat-config").write_text(content)
    assert apply.read_deployments(tmp_path / "heat-config") == []


@pytest.mark.parametrize("is_journal", [True, False])
def test_a_warning_has_its_priority_where_the_journal_reads_it_and_only_there(
    tmp_path: Path, is_journal: bool
) -> None:
    path = tmp_path / "stderr"
    with path.open("wb") as stderr:
        stream = os.fstat(stderr.fileno())
        journal = f"{stream.st_dev}:{stream.st_ino if is_journal else 0}"
        subprocess.run(
            [sys.executable, "-m", "heat_config_zaqar.run.apply"],
            env={**os.environ, "HEAT_SHELL_CONFIG": str(tmp_path), "JOURNAL_STREAM": journal},
            stderr=stderr,
            check=False,
        )
    assert path.read_text().startswith("<3>55-heat-config ERROR" if is_journal else "55-heat")


def test_each_record_of_a_deployment_says_which_one_and_its_hooks_start_and_end_are_events(
    current: Settings, said: Said
) -> None:
    applied(current, quiet("a"), quiet("b", group="absent"))
    a, b = ("a", "00-a"), ("b", "00-b")
    assert said.events == [("HOOK_STARTED", a), ("HOOK_ENDED", a), ("HOOK_ENDED", b)]
    assert said.subjects == [a, a, b]


def test_a_hook_that_went_on_and_one_that_wants_a_reboot_are_named(
    current: Settings, said: Said, systemctl: Path
) -> None:
    hook(current.state_dir.parent / "hooks", "exit 194", "booter")
    with pytest.raises(RebootDueError):
        applied(current, quiet("a", group="booter"))
    assert said.subjects[-1] == ("a", "00-a")
    assert systemctl.read_text()
    left = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Outbox(current.state_dir).runs.begin("b", "00-b", "script", identify(left.pid))
    applied(current)
    assert left.wait() == -signal.SIGKILL
    assert said.subjects[-1] == ("b", "")


@pytest.fixture
def told(current: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is told while hooks run, and the ids of what is signalled; it takes no second."""
    monkeypatch.setattr(progress, "CALM_SECONDS", 0.1)
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.4)
    found: list[Any] = []
    monkeypatch.setattr(Delivery, "tell", lambda _, __, body: found.append(body))
    monkeypatch.setattr(Delivery, "deliver", lambda _, config_id: found.append(config_id))
    monkeypatch.setattr(Delivery, "deliver_all", lambda _: 0)
    script = current.state_dir.parent / "hooks" / "script"
    script.unlink()
    script.symlink_to(Path(sys.executable).with_name("heat-config-zaqar-script-hook"))
    use_settings(dataclasses.replace(current), monkeypatch)
    return found


def telling(config_id: str, **changes: Any) -> dict[str, Any]:
    return make_deployment(config_id, deploy_progress_queue_id=f"{config_id}-progress", **changes)


# Its outputs are secrets; it prints on both streams, the second line later.
SCRIPT = """#!/bin/sh
echo s3cret-output >$heat_outputs_path.result
echo first; sleep 2; printf '\\033[31msecond\\007\\n\\n' >&2; sleep 2
"""


def test_the_last_line_of_a_script_is_told_while_it_runs_and_nothing_after_the_end(
    current: Settings, told: list[Any]
) -> None:
    outputs = [{"name": "result"}]
    one = telling("a", config=SCRIPT, outputs=outputs)
    apply.apply([parse_deployment(one), parse_deployment(telling("b"))], current)
    time.sleep(1)
    ends = {name: told.index(name) for name in "ab"}
    messages = [item for item in told if isinstance(item, dict)]
    for place, item in enumerate(told):
        if isinstance(item, dict):
            assert place < ends[item["deploy_config_id"]], "told after the signal"
    assert {"deploy_config_id": "b"} in messages
    running = [item for item in messages if item["deploy_config_id"] == "a"]
    assert {item["attempt"] for item in running} == {1}
    lines = [item["line"] for item in running if item["line"]]
    assert sorted(set(lines), key=lines.index) == ["first", "second"]
    assert "s3cret-output" not in str(messages)
    assert max(item["seconds"] for item in running) >= 2
    assert max(item["quiet"] for item in running) >= 1


@pytest.mark.parametrize("group", ["loud", "script"])
def test_what_goes_to_no_signal_or_is_not_wanted_is_not_told(
    current: Settings, told: list[Any], group: str
) -> None:
    text = "echo deploy_password=s3cret >&2; sleep 1; echo '{}'"
    hook(current.state_dir.parent / "hooks", text, "loud")
    current = dataclasses.replace(current, progress_line=group != "script")
    apply.apply([parse_deployment(telling("a", group=group, config=f"#!/bin/sh\n{text}"))], current)
    assert [item["line"] for item in told[:-1]] == [""] * (len(told) - 1)
    assert len(told) > 1


def test_a_config_that_will_not_run_is_not_told(current: Settings, told: list[Any]) -> None:
    same = {"deploy_resource_name": "r", "deploy_queue_id": "r"}
    new = telling("new", creation_time="2026-11-22T16:00:00Z", **same)
    Outbox(current.state_dir).finish(entry_for(parse_deployment(new), {}, 1, 0))
    slow = telling("slow", config="#!/bin/sh\nsleep 1\n")
    apply.apply([parse_deployment(item) for item in (slow, telling("old", **same))], current)
    assert {item["deploy_config_id"] for item in told[:-1]} == {"slow"}


def test_no_hook_waits_for_what_is_told_and_its_signal_a_second_at_most(
    current: Settings, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()

    def hang(_: Delivery, __: Deployment, ___: Any) -> None:
        goes_on.wait(60)

    monkeypatch.setattr(Delivery, "tell", hang)
    began = time.monotonic()
    apply.apply([parse_deployment(telling("a", config="#!/bin/sh\nsleep 1\n"))], current)
    seconds = time.monotonic() - began
    goes_on.set()
    assert seconds < 30
    assert told == ["a"]


def test_what_a_hook_asks_a_reboot_for_is_not_told_any_more(
    current: Settings, told: list[Any], systemctl: Path
) -> None:
    one = telling("a", config="#!/bin/sh\nsleep 0.5; exit 194\n")
    with pytest.raises(RebootDueError):
        apply.apply([parse_deployment(one)], current)
    number = len(told)
    time.sleep(1)
    assert (len(told), systemctl.read_text()) == (number, "reboot\n")
