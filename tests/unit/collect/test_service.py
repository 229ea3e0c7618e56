"""What systemd hears, by a socket in its place."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heat_config_zaqar.collect import ownership, service
from heat_config_zaqar.collect.collector import Collector
from heat_config_zaqar.collect.service import Service
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state.identity import Standing
from tests.unit.collect.test_launcher import Guest

_UNIT = (
    Path(__file__).resolve().parents[3]
    / "elements/os-collect-config-zaqar/init-scripts/systemd/os-collect-config.service"
)
# The loop is looked after in a tenth of a second, and says so as often.
QUICK = (
    "from heat_config_zaqar.collect import service as s\ns._AGAIN_SECONDS = s._LOOK_SECONDS = 0.1\n"
)
FORGED = "evil\nWATCHDOG=trigger\nMAINPID=1\nSTOPPING=1\x1b[2J\udcff"


class Manager:
    """systemd's end of NOTIFY_SOCKET."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)

    def heard(self, seconds: float = 0.0) -> list[dict[str, str]]:
        """Return the messages of the time until now and so much longer."""
        end = time.monotonic() + seconds
        found: list[dict[str, str]] = []
        while True:
            self._socket.settimeout(max(end - time.monotonic(), 0.001))
            try:
                lines = self._socket.recv(65536).decode("ascii").split("\n")
            except TimeoutError:
                return found
            pairs = [line.partition("=") for line in lines]
            assert len({name for name, _, _ in pairs}) == len(pairs)
            found.append({name: value for name, _, value in pairs})


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(str(tmp_path / "notify"))


@pytest.fixture
def current(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")


@pytest.fixture
def told(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> Manager:
    """The manager of this process."""
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    return manager


@pytest.fixture
def applying(current: Settings) -> Iterator[None]:
    """Somebody holds 55-heat-config's lock."""
    current.state_dir.mkdir()
    lock = current.state_dir / "apply.lock"
    holder = subprocess.Popen(
        ["flock", str(lock), "sh", "-c", "echo held; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout
        holder.stdout.readline()
        yield
        assert holder.stdin
        holder.stdin.close()


def begun(current: Settings, config_id: str, name: str, started: float) -> None:
    directory = current.state_dir / "running"
    directory.mkdir(exist_ok=True)
    record = {"name": name, "group": "script", "started": started, "attempts": 1, "reboots": 0}
    (directory / f"{config_id}.json").write_text(json.dumps(record))


def run(guest: Guest, manager: Manager, *arguments: str, before: str = QUICK) -> None:
    """Run the collector until its fourth round begins."""
    stop = (
        "from os_collect_config import local\nrounds, real = [], local.Collector.collect\n"
        "def collect(self):\n"
        "    rounds.append(1)\n"
        "    if len(rounds) == 4: os._exit(0)\n"
        "    return real(self)\n"
        "local.Collector.collect = collect\n"
    )
    often = ("--min-polling-interval", "0.2", "--polling-interval", "0.2")
    done = guest.run(*often, *arguments, before=before + stop, NOTIFY_SOCKET=manager.path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("is_abstract", [True, False])
def test_systemd_hears_that_the_collector_runs_and_that_its_loop_moves(
    guest: Guest, tmp_path: Path, is_abstract: bool
) -> None:
    manager = Manager(f"@{tmp_path}" if is_abstract else str(tmp_path / "notify"))
    run(guest, manager, "--command", "true")
    heard = manager.heard()
    assert [(item["READY"], item["WATCHDOG"]) for item in heard] == [("1", "1")] * len(heard)
    assert heard[0]["STATUS"] == "no metadata yet; 0 signals wait to be sent"
    assert len(heard) >= 3


def test_a_command_that_takes_long_is_no_hang_and_does_not_speak_for_us(
    guest: Guest, manager: Manager
) -> None:
    made = guest.directory / "made"
    heard: list[dict[str, str]] = []

    def listen() -> None:
        # Its queue holds a dozen.
        while not made.exists():
            heard.extend(manager.heard(0.1))

    threading.Thread(target=listen, daemon=True).start()
    run(guest, manager, "--command", f"sleep 3; env > {made}")
    # Beside a command of no time it says no more than three times that it moves.
    assert len(heard) >= 6
    assert not re.search(r"NOTIFY_SOCKET|WATCHDOG", made.read_text())


def test_a_command_that_fails_is_tried_again(guest: Guest, manager: Manager) -> None:
    made = guest.directory / "made"
    run(guest, manager, "--command", f"echo >> {made}; exit 3")
    assert made.read_text() == "\n" * 3


@pytest.mark.parametrize("where", ["fcntl.flock(open(sys.argv[2]), 2)", "server.accept()"])
def test_a_source_that_hangs_is_not_said_to_move(
    guest: Guest, manager: Manager, where: str
) -> None:
    hang = (
        f"{QUICK}import fcntl, socket, threading\n"
        "from os_collect_config import local\n"
        "other = open(os.environ['HEAT_CONFIG_ZAQAR_SETTINGS'].replace('settings.toml', 'conf'))\n"
        "fcntl.flock(other, 2)\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "def collect(self):\n"
        "    print('hangs', file=sys.stderr, flush=True)\n"
        f"    threading.Timer(2, os._exit, [7]).start()\n    {where}\n"
        "local.Collector.collect = collect"
    )
    done = guest.run("--command", "true", before=hang, NOTIFY_SOCKET=manager.path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (7, "hangs")
    # That it began, and that its first round did: no more in two seconds.
    assert len(manager.heard()) <= 2


@pytest.mark.parametrize("mode", ["--one-time", "--print", "--force"])
def test_who_runs_it_once_is_no_service(guest: Guest, manager: Manager, mode: str) -> None:
    done = guest.run(mode, "--command", "true", NOTIFY_SOCKET=manager.path)
    assert done.returncode == 0
    assert manager.heard() == []


def test_without_systemd_nothing_is_said_and_all_works(guest: Guest, manager: Manager) -> None:
    environment = {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "1"}
    assert guest.run("--one-time", "--command", "true", **environment).returncode == 0
    run(guest, Manager(str(guest.directory / "other")), "--command", "true")
    assert manager.heard() == []


@pytest.mark.usefixtures("applying")
def test_the_status_names_the_hook_that_runs_and_counts_what_waits(
    told: Manager, current: Settings
) -> None:
    begun(current, "older", "interrupted", 1000)
    begun(current, "an-id", "10-install", 1795480601)
    (current.state_dir / "outbox").mkdir()
    for name in "ab":
        (current.state_dir / f"outbox/{name}.json").write_text("{}")
    current.runtime_dir.mkdir()
    current.connection_file.write_text('{"state": "push", "detail": "woken", "since": 0}')
    Service(current).moves()
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1795480601))
    [message] = told.heard()
    assert message["STATUS"] == (
        f"push: woken; deployment an-id (10-install) runs since {since}; 2 signals wait to be sent"
    )


def test_what_was_interrupted_does_not_run(told: Manager, current: Settings) -> None:
    current.state_dir.mkdir()
    begun(current, "an-id", "10-install", 1795480601)
    Service(current).moves()
    assert told.heard()[0]["STATUS"] == "no metadata yet; 0 signals wait to be sent"


@pytest.mark.usefixtures("applying")
def test_no_name_says_anything_to_systemd(told: Manager, current: Settings) -> None:
    begun(current, "an-id", FORGED + "x" * 1_000_000, 1795480601)
    Service(current).moves()
    [message] = told.heard()
    assert set(message) == {"READY", "WATCHDOG", "STATUS"}
    assert message["WATCHDOG"] == "1"
    assert len(message["STATUS"]) <= 300
    assert "(evil\\nWATCHDOG" in message["STATUS"]


@pytest.mark.usefixtures("applying")
@pytest.mark.parametrize("text", ["{", "[]", '{"started": "soon"}', '{"started": 1e300}'])
def test_a_state_that_cannot_be_read_does_not_stop_the_loop(
    told: Manager, current: Settings, text: str
) -> None:
    for path in (current.state_dir / "running/a.json", current.connection_file):
        path.parent.mkdir()
        path.write_text(text)
    Service(current).moves()
    assert told.heard()[0]["STATUS"].startswith("no metadata yet")


def test_a_manager_that_does_not_read_holds_up_nothing_and_hears_it_later(
    told: Manager, current: Settings
) -> None:
    began = time.monotonic()
    for number in range(2000):
        current.runtime_dir.mkdir(exist_ok=True)
        known = {"state": "push", "detail": str(number)}
        current.connection_file.write_text(json.dumps(known))
        speaker = Service(current)
        speaker.moves()
        assert time.monotonic() - began < 30
    assert told.heard()[-1]["STATUS"] != "push: 1999; 0 signals wait to be sent"
    speaker.moves()
    assert told.heard()[-1]["STATUS"].startswith("push: 1999")
    speaker.moves()
    assert told.heard() == []


def test_a_pause_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[float] = []
    monkeypatch.setattr(service, "_AGAIN_SECONDS", 0.1)
    service.sleep(1.05, lambda: moved.append(time.monotonic()))
    assert len(moved) == 11
    assert 1 < time.monotonic() - moved[0] < 5


def test_a_wait_for_a_message_is_no_hang(
    monkeypatch: pytest.MonkeyPatch, current: Settings
) -> None:
    collector = Collector(current, current.state_dir / "zaqar.json")
    collector._due = time.monotonic() + 3600
    monkeypatch.setattr("heat_config_zaqar.collect.collector._MOVE_SECONDS", 0.1)
    moved: list[int] = []
    began = time.monotonic()
    collector.wait(1.05, lambda: moved.append(1))
    assert len(moved) >= 10
    assert 1 < time.monotonic() - began < 5
    threading.Timer(0.3, collector._woken.set).start()
    collector.wait(30)
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("applying")
def test_a_machine_that_may_not_act_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, current: Settings
) -> None:
    standings = iter([Standing.STRANGER] * 3 + [Standing.HEIR])
    standing = "heat_config_zaqar.state.identity.standing"
    monkeypatch.setattr(standing, lambda _: next(standings))
    moved: list[int] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert len(slept) < 100

    monkeypatch.setattr("time.sleep", sleep)

    class EnoughError(Exception):
        pass

    def moves() -> None:
        moved.append(1)
        if len(moved) == 20:
            raise EnoughError

    # The fourth look finds an heir, who waits for the hook that goes on.
    with pytest.raises(EnoughError):
        ownership.await_ownership(current, True, moves)
    assert list(standings) == []


@pytest.mark.parametrize(
    ("request_timeout", "unit", "patience"),
    [
        (10, "1800000000", None),
        (1, "1800000000", None),
        (600, "1800000000", "108000000000"),
        (600, None, None),
        (600, "", None),
    ],
)
def test_where_requests_may_take_longer_so_may_a_round(
    told: Manager,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request_timeout: float,
    unit: str | None,
    patience: str | None,
) -> None:
    if unit is not None:
        monkeypatch.setenv("WATCHDOG_USEC", unit)
    Service(Settings(request_timeout=request_timeout, state_dir=tmp_path)).moves()
    assert told.heard()[0].get("WATCHDOG_USEC") == patience


def test_the_unit_lets_a_slow_guest_live_and_a_hook_go_on() -> None:
    unit = dict(re.findall(r"^(\w+)=(.*)$", _UNIT.read_text(), re.MULTILINE))
    assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "main")
    assert (unit["KillMode"], unit["Restart"], unit["TimeoutStartSec"]) == (
        "process",
        "always",
        "infinity",
    )
    # No core, which would hold passwords.
    assert unit["WatchdogSignal"] == "SIGKILL"
    minutes = int(unit["WatchdogSec"].removesuffix("min"))
    assert minutes * 60 >= 100 * Settings().request_timeout
    assert minutes * 60 >= 10 * service._AGAIN_SECONDS


def test_in_the_journal_the_agent_says_what_it_does_and_elsewhere_nothing(
    guest: Guest, manager: Manager
) -> None:
    path = guest.directory / "stderr"
    with path.open("w") as stream:
        found = os.fstat(stream.fileno())
    journal = (
        f"{QUICK}from heat_config_zaqar import log\nlog._SOCKET = '/nowhere/socket'\n"
        f"os.dup2(os.open({str(path)!r}, os.O_WRONLY | os.O_APPEND), 2)\n"
    )
    settings = guest.directory / "settings.toml"
    settings.write_text(f'{settings.read_text()}console = ""\ninsecure = true\n')
    stream_id = f"{found.st_dev}:{found.st_ino}"
    for is_journal in (False, True):
        os.environ["JOURNAL_STREAM"] = stream_id if is_journal else "0:0"
        try:
            run(guest, manager, "--command", "false", before=journal)
        finally:
            del os.environ["JOURNAL_STREAM"]
        text, _ = path.read_text(), path.write_text("")
        insecure = "warning: certificates are not verified: insecure = true"
        if not is_journal:
            assert text.splitlines()[0] == insecure
            assert "<" not in text
            assert "started on" not in text
            continue
        lines = text.splitlines()
        assert lines[0] == f"<4>{insecure}"
        assert re.fullmatch(r"<5>version \S+ started on .+: no metadata yet", lines[1])
        # The command fails, so that each round has it once more: it was received once.
        assert [line for line in lines if "received" in line] == ["<5>metadata received: a.json"]
        assert any(line.startswith("<3>Command failed") for line in lines)


def test_settings_that_cannot_be_used_are_an_error_in_the_journal_too(guest: Guest) -> None:
    (guest.directory / "settings.toml").write_text("colour = 1")
    done = guest.run("--one-time", "--command", "true")
    assert done.returncode == 2
    assert done.stderr.startswith("os-collect-config: ")
    assert done.stderr.count("\n") == 1
