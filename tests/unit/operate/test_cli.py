import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.operate import cli
from heat_config_zaqar.run.processes import identify
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox, Settled, entry_for
from tests.unit.conftest import SECTION, make_deployment, make_message
from tests.unit.run.test_hook_runner import hook

# A port of loopback where nothing listens.
NOBODY = "http://127.0.0.1:9/v3/"
# Whoever runs the tests in the background may ignore the signal, and we inherit that.
ENDED_BY_CTRL_C = ("env", "--default-signal=INT")
PROGRAM = Path(sys.executable).with_name("heat-config-zaqar")
LATER = {"creation_time": "2099-01-01T00:00:00Z"}
UNSENT = {"deploy_auth_url": NOBODY}


class Guest:
    """A state directory as 55-heat-config and the collector leave it, and the command on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = Settings(
            state_dir=directory / "state",
            runtime_dir=directory / "run",
            working_dir=directory / "work",
            request_timeout=2,
        )
        self.outbox = Outbox(self.settings.state_dir)
        text = "".join(
            f'{name} = "{getattr(self.settings, name)}"\n'
            for name in ("state_dir", "runtime_dir", "working_dir")
        )
        (directory / "settings.toml").write_text(f"{text}request_timeout = 2\n")
        (directory / "hooks").mkdir()
        hook(directory / "hooks", f'echo run >>{directory}/runs; echo \'{{"answer": "42"}}\'')
        self.environment = {
            "HEAT_CONFIG_ZAQAR_SETTINGS": str(directory / "settings.toml"),
            "HEAT_CONFIG_HOOKS": str(directory / "hooks"),
            "HEAT_SHELL_CONFIG": str(directory / "heat-config"),
        }

    def collect(self, *documents: dict[str, Any], section: Any = SECTION) -> None:
        message = make_message(*documents, section=section)
        MetadataStore(self.settings.metadata_file).save(message, time.time())
        durable.write_json(self.settings.collected_file, 1)

    def finish(self, document: dict[str, Any], code: int = 0, **body: Any) -> None:
        entry = entry_for(parse_deployment(document), {"deploy_status_code": code, **body}, 1, 0)
        self.outbox.finish(dataclasses.replace(entry, started=entry.finished - 3))

    def settle(self, config_id: str, where: Settled, note: str = "") -> None:
        entry = self.outbox.find_pending(config_id)
        assert entry is not None
        self.outbox.settle(entry, where, note)

    def record(self, config_id: str) -> tuple[str, dict[str, Any]]:
        found = {record["id"]: (state, record) for state, record in self.outbox.records()}
        return found[config_id]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*ENDED_BY_CTRL_C, PROGRAM, *arguments],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guest:
    made = Guest(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def run(
    guest: Guest,  # noqa: ARG001 # the command reads its files
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["heat-config-zaqar", *arguments])
        capfd.readouterr()
        try:
            code = cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capfd.readouterr()

    return call


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_before_any_metadata_status_says_that_it_waits(run: Run) -> None:
    code, out, _ = run("status")
    assert code == 3
    assert out.splitlines()[0] == "connection: unknown"
    assert "no metadata was received yet" in out


def test_metadata_without_deployments_is_settled(guest: Guest, run: Run) -> None:
    guest.collect()
    assert run("status")[:2] == (0, "connection: unknown\nthe metadata holds no deployment\n")


def test_status_lists_deployments_whatever_their_names(guest: Guest, run: Run) -> None:
    names = ("app/install", ".setup", "x" * 201, "\u754c" * 90)
    guest.collect(*(make_deployment(f"{n}", name=name) for n, name in enumerate(names)))
    code, out, _ = run("status")
    assert (code, [name for name in names if name not in out]) == (3, [])


def test_status_shows_how_the_collector_hears_of_metadata(guest: Guest, run: Run) -> None:
    guest.collect()
    said = {"state": "away", "since": 1e9, "detail": "Zaqar answered 503"}
    durable.write_json(guest.settings.connection_file, said)
    line = run("status")[1].splitlines()[0]
    assert line.startswith("connection: away since 2001-09-0")
    assert line.endswith(": Zaqar answered 503")


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"state": 3, "since": "x"}'])
def test_a_damaged_connection_file_is_an_unknown_connection(
    guest: Guest, run: Run, content: str
) -> None:
    guest.collect()
    guest.settings.connection_file.write_text(content)
    assert run("status")[1].startswith("connection: unknown\n")


def test_status_is_a_table_of_what_the_metadata_holds(guest: Guest, run: Run) -> None:
    done, bad = make_deployment("3f2a91c0-aa"), make_deployment("77e0b1d2-bb")
    guest.collect(done, bad, make_deployment("9d3bb0f1-cc"))
    guest.finish(done)
    guest.settle("3f2a91c0-aa", Settled.DELIVERED)
    guest.finish(bad, 3)
    code, out, _ = run("status")
    assert [" ".join(line.split()) for line in out.splitlines()[1:]] == [
        "ID NAME GROUP ACTION STATE CODE ATTEMPTS DURATION SIGNAL",
        "3f2a91c0 00-3f2a91c0-aa script CREATE complete 0 1 3.0 s delivered",
        "77e0b1d2 00-77e0b1d2-bb script CREATE failed 3 1 3.0 s pending",
        "9d3bb0f1 00-9d3bb0f1-cc script CREATE waiting - 0 - -",
    ]
    assert code == 1


def test_ids_are_shortened_only_as_far_as_they_stay_unique(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("aaaaaaaa-1111"), make_deployment("aaaaaaaa-1222"))
    shown = {line.split()[0] for line in run("status")[1].splitlines()[2:]}
    assert shown == {"aaaaaaaa-11", "aaaaaaaa-12"}


@pytest.mark.parametrize(
    ("code", "settle", "expected"),
    [(0, "delivered", 0), (0, None, 3), (4, "delivered", 1), (0, "failed", 1), (4, None, 1)],
)
def test_the_exit_code_tells_trouble_from_not_settled_yet(
    guest: Guest, run: Run, code: int, settle: str | None, expected: int
) -> None:
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"), code)
    if settle:
        guest.settle("a", Settled(settle))
    assert run("status")[0] == expected
    assert run("show", "a")[0] == expected


def test_what_the_metadata_no_longer_holds_is_history(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("new"))
    for config_id, code in (("new", 0), ("old", 7)):
        guest.finish(make_deployment(config_id), code)
        guest.settle(config_id, Settled.DELIVERED)
    code, out, _ = run("status")
    assert (code, "old" in out) == (0, False)
    assert "1 earlier: `heat-config-zaqar status --all` lists them" in out
    code, out, _ = run("status", "--all")
    assert (code, "00-old" in out) == (0, True)


def test_an_older_config_of_the_same_queue_is_history(guest: Guest, run: Run) -> None:
    old = make_deployment("old", deploy_queue_id="q", deploy_resource_name="r")
    new = make_deployment("new", deploy_queue_id="q", deploy_resource_name="r", **LATER)
    guest.collect(new)
    (guest.directory / "heat-config").write_text(json.dumps([old]))
    assert [row["id"] for row in json.loads(run("status", "--json")[1])["deployments"]] == ["new"]


def test_a_deployment_that_nothing_runs_is_listed_and_not_waited_for(
    guest: Guest, run: Run
) -> None:
    ungrouped = make_deployment("b")
    del ungrouped["group"]
    guest.collect(make_deployment("a", group="os-apply-config"), ungrouped)
    code, out, _ = run("status")
    assert [" ".join(line.split()) for line in out.splitlines()[2:]] == [
        "a 00-a os-apply-config CREATE no hook - 0 - -",
        "b 00-b Heat::Ungrouped CREATE no hook - 0 - -",
    ]
    assert code == 0
    assert run("logs", "b")[0] == 2
    code, _, error = run("rerun", "b")
    assert (code, "has nothing to run" in error) == (1, True)


def test_a_deployment_whose_hook_is_missing_is_waited_for_since_it_will_fail(
    guest: Guest, run: Run
) -> None:
    guest.collect(make_deployment("a", group="salt"))
    code, out, _ = run("status", "--json")
    assert (code, json.loads(out)["deployments"][0]["state"]) == (3, "waiting")


def test_a_guest_that_cannot_ask_heat_says_that_messages_may_have_expired(
    guest: Guest, run: Run
) -> None:
    guest.collect()
    MetadataStore(guest.settings.metadata_file).save(make_message(), time.time() - 7200)
    durable.write_json(guest.settings.collected_file, time.time())
    assert "expired" not in run("status")[1]
    guest.settings.collected_file.unlink()
    code, out, _ = run("status")
    assert (code, "messages may have expired" in out) == (0, True)


def test_a_hook_is_no_older_for_a_clock_that_was_set(guest: Guest, run: Run) -> None:
    """The record says that it started a year ago, its process that it is this one."""
    guest.collect(make_deployment("a"))
    hook = identify(os.getpid())
    known = {"boot": hook.boot, "pid": hook.pid, "pid_started": hook.started}
    record = {"attempts": 1, "started": time.time() - 365 * 86400, **known}
    durable.write_json(guest.settings.state_dir / "running" / "a.json", record)
    with durable.locked(guest.settings.state_dir / "apply.lock"):
        (row,) = json.loads(run("status", "--json")[1])["deployments"]
    assert (row["state"], row["seconds"] < 86400) == ("running", True)


def test_a_hook_that_ended_with_its_process_is_interrupted(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a"))
    record = {"attempts": 1, "started": time.time(), "name": "00-a", "group": "script"}
    durable.write_json(guest.settings.state_dir / "running" / "a.json", record)
    assert json.loads(run("status", "--json")[1])["deployments"][0]["state"] == "interrupted"
    with durable.locked(guest.settings.state_dir / "apply.lock"):
        code, out, _ = run("status", "--json")
    assert (code, json.loads(out)["deployments"][0]["state"]) == (3, "running")


def test_show_and_status_keep_every_secret(guest: Guest, run: Run) -> None:
    document = make_deployment("a", user_secret="TopSecret", deploy_signal_id="http://x/?sig=abc")
    guest.collect(document)
    guest.finish(document, answer="42")
    for arguments in (("show", "a"), ("show", "--json", "a"), ("status", "--json"), ("status",)):
        text = "".join(map(str, run(*arguments)[1:]))
        for secret in ("2jmF", "qmKW2", "TopSecret", "sig=abc"):
            assert secret not in text
    out = run("show", "a")[1]
    assert "deploy_password" in out
    assert "output answer:\n    42\n" in out


def test_show_takes_an_id_the_beginning_of_one_or_a_name(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("abc-1", name="one"), make_deployment("abd-2", name="two"))
    for wanted in ("abc-1", "abc", "one"):
        code, out, _ = run("show", "--json", wanted)
        assert (code, json.loads(out)["id"]) == (3, "abc-1")
    code, _, error = run("show", "ab")
    assert (code, "abc-1, abd-2" in error) == (2, True)
    assert run("show", "nothing")[0] == 2


def test_a_name_means_its_deployment_of_now(guest: Guest, run: Run) -> None:
    for config_id in ("old", "new"):
        guest.finish(make_deployment(config_id, name="one"))
    guest.collect(make_deployment("new", name="one"))
    assert json.loads(run("show", "--json", "one")[1])["id"] == "new"


def test_logs_prints_what_the_hook_printed_to_each_stream(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"), deploy_stdout="said\n\udcff", deploy_stderr="warned\n")
    assert run("logs", "a") == (0, "said\n\\udcff", "warned\n")


def test_logs_of_a_hook_that_has_not_run_says_so(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a"))
    code, _, error = run("logs", "a")
    assert (code, "has not run yet" in error) == (2, True)


def test_a_name_cannot_steer_the_terminal(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a", name="x\x1b[2J\ny"))
    out = run("status")[1]
    assert "\x1b" not in out
    assert "x\\x1b[2J\\x0ay" in out


def test_nothing_that_a_hook_or_a_service_said_can_steer_the_terminal(
    guest: Guest, run: Run
) -> None:
    hook(guest.directory / "hooks", """echo '{"deploy_status_code": "1\\u001b[2J"}'""")
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    (entry,) = guest.outbox.pending()
    guest.outbox.settle(dataclasses.replace(entry, queue="\x1b[2J"), Settled.FAILED, "\x1b[2J")
    record = guest.settings.state_dir / "failed" / "a.json"
    known = json.loads(record.read_text())
    durable.write_json(record, {**known, "\x1b[2J": 1})
    nowhere = {**known, "id": "b", "transport": "NO_SIGNAL"}
    durable.write_json(record.with_name("b.json"), nowhere)
    for command in (["status"], ["show", "a"], ["resend", "b"], ["rerun", "a"]):
        _, out, error = run(*command)
        assert "\x1b" not in out + error, command


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
RECORD = JSON | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["id", "name", "started", "finished", "settled", "attempts", "body", "note", "transport"],
        JSON,
    ),
)


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@settings_of(max_examples=30)
@given(record=RECORD, state=st.sampled_from(["running", "outbox", *Settled]))
def test_no_record_however_damaged_gives_a_traceback(record: Any, state: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = Guest(Path(directory))
        made.collect(make_deployment("good"))
        durable.write_json(made.settings.state_dir / state / "a.json", record)
        with environment(made.environment), pytest.MonkeyPatch.context() as patch:
            for arguments in (["status"], ["status", "--json"], ["show", "a"], ["resend", "a"]):
                patch.setattr(sys, "argv", ["heat-config-zaqar", *arguments])
                assert cli.main() in range(5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100000,
        b'{"snapshot": "text"}',
        b'{"snapshot": {"deployments": 3, "os-collect-config": {"zaqar": 3}}}',
    ],
)
@pytest.mark.parametrize("name", ["delivered/a.json", "metadata.json", "running/a.json"])
def test_no_file_however_damaged_gives_a_traceback(
    guest: Guest, run: Run, name: str, content: bytes
) -> None:
    guest.collect()
    path = guest.settings.state_dir / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert run("status")[0] in (0, 1, 3)
    assert run("show", "a")[0] in (1, 2, 3)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "status",
        "show",
        "logs",
        "resend",
        "rerun",
        "deliver",
        "doctor",
        "collect-logs",
        "metrics",
        "version",
    ],
)
def test_help_has_examples_and_exit_codes(run: Run, command: str) -> None:
    code, out, _ = run(*filter(None, [command]), "--help")
    assert code == 0
    assert "130  interrupted" in out
    assert not command or f"examples:\n  heat-config-zaqar {command}" in out


def test_a_wrong_command_line_is_2(run: Run) -> None:
    assert run("stauts")[0] == 2
    assert run()[0] == 2
    assert run("show")[0] == 2


def test_a_broken_settings_file_is_named(guest: Guest, run: Run) -> None:
    (guest.directory / "settings.toml").write_text("nonsense = 1")
    code, _, error = run("status")
    assert code == 1
    assert error.startswith("heat-config-zaqar: ")
    assert "unknown key 'nonsense'" in error


def test_a_reader_that_goes_away_is_no_trouble(guest: Guest) -> None:
    documents = [make_deployment(f"{number:08d}") for number in range(1000)]
    guest.collect(*documents)
    process = guest.start("status")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_without_roots_rights_what_is_public_is_shown() -> None:
    if os.geteuid() != 0:
        pytest.skip("takes root, to become another user")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        made = Guest(directory)
        made.collect(make_deployment("a"))
        try:
            results = {
                command: subprocess.run(
                    [PROGRAM, *command],
                    env={**os.environ, **made.environment},
                    user=65534,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                for command in (
                    ("status",),
                    ("status", "--json"),
                    ("status", "--wait"),
                    ("show", "a"),
                    ("doctor",),
                )
            }
        except PermissionError:
            pytest.skip("takes a virtual environment that other users may read")
    for done in results.values():
        assert done.returncode == 4, done
        assert "call it with sudo" in done.stderr
        assert "Traceback" not in done.stderr
    assert results["status",].stdout.startswith("heat-config-zaqar 0.")
    assert json.loads(results["status", "--json"].stdout)["version"].startswith("0.")
    assert "is for root alone" in results["doctor",].stdout


def test_a_delivered_signal_is_not_sent_again(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.DELIVERED)
    code, _, error = run("resend", "a")
    assert (code, "would complete the next stack update" in error) == (1, True)
    assert guest.record("a")[0] == "delivered"


def test_a_superseded_signal_is_not_sent_again(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.SUPERSEDED)
    code, _, error = run("resend", "a")
    assert (code, "newer config" in error) == (1, True)


def test_a_signal_is_not_sent_again_once_a_newer_config_is_known(guest: Guest, run: Run) -> None:
    same = {"deploy_queue_id": "q", "deploy_resource_name": "r"}
    guest.collect(make_deployment("a", **same), make_deployment("b", **same, **LATER))
    guest.finish(make_deployment("a", **same))
    guest.settle("a", Settled.FAILED, "refused")
    code, _, error = run("resend", "a")
    assert (code, "b took its place" in error) == (1, True)
    assert guest.record("a")[0] == "failed"


def test_a_signal_is_not_sent_again_once_the_metadata_lacks_its_deployment(
    guest: Guest, run: Run
) -> None:
    guest.collect(make_deployment("b"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.FAILED, "refused")
    code, _, error = run("resend", "a")
    assert (code, "no longer holds deployment a" in error) == (1, True)


def test_a_signal_that_cannot_be_sent_again_stays_given_up(guest: Guest, run: Run) -> None:
    document = make_deployment("a", **UNSENT)
    guest.collect(document)
    guest.finish(document)
    guest.settle("a", Settled.FAILED, "refused")
    assert run("resend", "a")[0] == 1
    assert guest.record("a")[0] == "failed"
    assert "2jmF" not in (guest.settings.state_dir / "failed" / "a.json").read_text()


def test_a_pending_signal_is_tried_at_once_and_stays_pending(guest: Guest, run: Run) -> None:
    document = make_deployment("a", **UNSENT)
    guest.collect(document, section={})
    guest.finish(document)
    code, out, _ = run("resend", "a")
    assert (code, "not sent yet" in out) == (3, True)
    assert guest.record("a")[0] == "outbox"


def test_nothing_is_sent_before_metadata_was_collected_since_the_start(
    guest: Guest, run: Run
) -> None:
    document = make_deployment("a", **UNSENT)
    guest.collect(document, make_deployment("b"))
    guest.finish(document)
    guest.settings.collected_file.unlink()
    for arguments in (("resend", "a"), ("rerun", "b")):
        code, _, error = run(*arguments)
        assert (code, "no metadata was collected" in error) == (1, True)
    assert not (guest.directory / "runs").exists()


def test_delivery_waits_for_metadata_that_was_collected_since_the_start(
    guest: Guest, run: Run
) -> None:
    document = make_deployment("a", **UNSENT)
    guest.collect(document)
    guest.finish(document)
    guest.settings.collected_file.unlink()
    assert run("deliver")[:2] == (
        0,
        "not delivering yet: no metadata was collected since the machine started\n",
    )
    durable.write_json(guest.settings.collected_file, 1)
    assert "1 signals could not be sent yet" in run("deliver")[1]


def test_a_rerun_of_what_heat_knows_changes_no_record(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"), 3)
    guest.settle("a", Settled.DELIVERED)
    before = guest.record("a")
    code, out, _ = run("rerun", "a")
    assert code == 0
    assert "output answer:\n    42\n" in out
    assert "not signalled: Heat has the former result" in out
    assert guest.record("a") == before
    assert (guest.directory / "runs").read_text() == "run\n"


def test_a_rerun_of_what_has_no_result_is_the_run_it_waits_for(guest: Guest, run: Run) -> None:
    guest.collect(make_deployment("a", deploy_signal_transport="NO_SIGNAL"))
    assert run("rerun", "a")[0] == 0
    state, record = guest.record("a")
    assert (state, record["body"]["answer"], record["attempts"]) == ("delivered", "42", 1)


def test_a_rerun_replaces_a_result_that_never_left(guest: Guest, run: Run) -> None:
    document = make_deployment("a", **UNSENT)
    guest.collect(document, section={})
    guest.finish(document, 3)
    assert run("rerun", "a")[0] == 0
    state, record = guest.record("a")
    assert (state, record["body"]["deploy_status_code"], record["attempts"]) == ("outbox", 0, 2)


def test_a_rerun_replaces_no_result_that_may_have_left(guest: Guest, run: Run) -> None:
    document = make_deployment("a", **UNSENT)
    guest.collect(document, section={})
    guest.finish(document, 3)
    (entry,) = guest.outbox.pending()
    guest.outbox.mark_sending(entry, True)
    run("rerun", "a")
    assert guest.record("a")[1]["body"]["deploy_status_code"] == 3


def test_a_rerun_of_a_failed_hook_is_1(guest: Guest, run: Run) -> None:
    hook(guest.directory / "hooks", "exit 5")
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.DELIVERED)
    code, out, _ = run("rerun", "a")
    assert (code, "status code: 5" in out) == (1, True)


def test_a_config_that_was_replaced_is_not_run_again(guest: Guest, run: Run) -> None:
    same = {"deploy_queue_id": "q", "deploy_resource_name": "r"}
    guest.collect(make_deployment("a", **same), make_deployment("b", **same, **LATER))
    guest.finish(make_deployment("a", **same))
    guest.settle("a", Settled.SUPERSEDED)
    code, _, error = run("rerun", "a")
    assert (code, "b took its place" in error) == (1, True)
    assert not (guest.directory / "runs").exists()


def test_a_rerun_waits_for_the_deployments_that_run(guest: Guest) -> None:
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.DELIVERED)
    with durable.locked(guest.settings.state_dir / "apply.lock"):
        process = guest.start("rerun", "a")
        assert process.stderr is not None
        assert "waiting for the os-refresh-config" in process.stderr.readline()
        time.sleep(0.5)
        assert not (guest.directory / "runs").exists()
    assert process.wait(60) == 0
    assert (guest.directory / "runs").exists()


def test_an_interrupted_rerun_ends_its_hook_without_a_traceback(guest: Guest) -> None:
    runs = guest.directory / "runs"
    hook(guest.directory / "hooks", f"echo $$ >{runs}.new; mv {runs}.new {runs}; exec sleep 100")
    guest.collect(make_deployment("a"))
    guest.finish(make_deployment("a"))
    guest.settle("a", Settled.DELIVERED)
    process = guest.start("rerun", "a")
    wait_until(runs.exists)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    wait_until(lambda: not Path("/proc", runs.read_text().strip()).exists())
