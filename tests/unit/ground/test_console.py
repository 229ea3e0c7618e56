"""The console, on a terminal that the test holds the other end of."""

import logging
import os
import select
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

import pytest

from heat_config_zaqar import console
from heat_config_zaqar.console import Console, journal_forwards, one_line
from heat_config_zaqar.events import ON_CONSOLE, Event
from heat_config_zaqar.settings import SETTINGS_VARIABLE


class Screen:
    """A terminal; what is written to it is read here."""

    def __init__(self) -> None:
        self.other, self._end = os.openpty()
        tty.setraw(self._end)
        self.path = os.ttyname(self._end)

    def lines(self) -> list[str]:
        """Return what was written since."""
        text = b""
        while select.select([self.other], [], [], 0.3)[0]:
            text += os.read(self.other, 65536)
        # Nothing but lines, and nothing in them but what a typewriter prints.
        assert text == b"" or text.endswith(b"\r\n")
        found = text.decode("ascii").split("\r\n")[:-1]
        assert all(line.isprintable() for line in found)
        return found


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Screen:
    found = Screen()
    settings = f'console = "{found.path}"\nruntime_dir = "{tmp_path}/run"\n'
    (tmp_path / "settings.toml").write_text(settings)
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "settings.toml"))
    # A busy machine takes long to make the files that the lines are counted in.
    monkeypatch.setattr(console, "_LAST_WORDS_SECONDS", 30)
    return found


def say(*records: tuple[str, int, str], event: Event | None = None) -> None:
    """Log to a new handler, as a process has one, and wait for it."""
    handler = Console()
    for name, level, text in records:
        made = logging.LogRecord(name, level, "", 0, text, None, None)
        made.event = event
        handler.handle(made)
    handler.flush()


def trouble(text: str) -> tuple[str, int, str]:
    return ("heat_config_zaqar.collect.collector", logging.WARNING, text)


def test_trouble_of_ours_and_the_chosen_events_are_shown(screen: Screen) -> None:
    say(
        trouble("no network"),
        ("55-heat-config", logging.ERROR, "disk full"),
        ("os-collect-config", logging.ERROR, "Command failed"),
        ("55-heat-config", logging.INFO, "quiet"),
        ("os_collect_config.ec2", logging.WARNING, "not this cloud"),
        ("urllib3", logging.ERROR, "a secret"),
    )
    assert screen.lines() == [
        "heat-config-zaqar: WARNING no network",
        "heat-config-zaqar: ERROR disk full",
        "heat-config-zaqar: ERROR Command failed",
    ]
    for event in Event:
        say(("55-heat-config", logging.INFO, "text"), event=event)
        expected = ["heat-config-zaqar: text"] if event in ON_CONSOLE else []
        assert screen.lines() == expected, event


HOSTILE = ("\x1b[2J\x07", "a\r\nlogin: ", "\x9b2J", "Û", "\u202e", "\0", "\udc9b", "x" * 1_000_000)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_steers_no_terminal_and_hides_nothing_behind_it(screen: Screen, name: str) -> None:
    say(trouble(f"deployment a ({name}): status code 7 after 0.50 s"))
    [line] = screen.lines()
    assert len(line) <= 200
    assert line.startswith("heat-config-zaqar: WARNING deployment a (")
    assert line.endswith("): status code 7 after 0.50 s")


def test_a_line_stays_short_whatever_it_holds() -> None:
    for length in range(160, 360):
        assert len(one_line("x" * length)) <= 170
        assert len(one_line("\n" * length)) <= 170
    assert one_line("x" * 170) == "x" * 170


def test_a_console_that_nobody_reads_delays_nothing(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_MOST_LINES", 10_000)
    began = time.monotonic()
    for _ in range(10):
        say(*[trouble("x" * 150)] * 90)
    assert time.monotonic() - began < 10
    # What came when there was room is there, and whole but for the line that filled it.
    assert os.read(screen.other, 65536).startswith(b"heat-config-zaqar: WARNING xxx")


@pytest.mark.usefixtures("screen")
def test_a_console_that_cannot_even_be_opened_holds_up_no_record_and_an_end_for_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "_LAST_WORDS_SECONDS", 1)
    jam = threading.Event()
    monkeypatch.setattr(Console, "_write", lambda *_: jam.wait(60))
    handler = Console()
    began = time.monotonic()
    for _ in range(1000):
        handler.handle(logging.makeLogRecord({"name": "55-heat-config", "levelno": 40, "msg": "x"}))
    assert time.monotonic() - began < 20
    assert handler._waiting.qsize() <= 100
    began = time.monotonic()
    handler.flush()
    seconds = time.monotonic() - began
    jam.set()
    assert 0.9 < seconds < 20


def test_the_console_becomes_nobodys_terminal(screen: Screen) -> None:
    text = (
        "import logging, os\n"
        "from heat_config_zaqar.console import Console\n"
        "os.setsid()\n"
        "log = logging.getLogger('55-heat-config')\n"
        "log.addHandler(Console())\n"
        "log.error('seen')\n"
        "log.handlers[0].flush()\n"
        "print(open('/proc/self/stat').read().rpartition(')')[2].split()[4])\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert screen.lines() == ["heat-config-zaqar: ERROR seen"]
    assert done.stdout.strip() == "0"


def test_all_processes_together_write_so_many_lines_and_say_how_many_they_left_out(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.clock_gettime", lambda _: now)
    found = []
    for number in range(3):
        say(*[trouble(f"{number}")] * 40)
        found += screen.lines()
    assert len(found) == 60
    now += 600
    say(trouble("later"), trouble("and later"))
    assert screen.lines() == [
        "heat-config-zaqar: 60 lines were left out",
        "heat-config-zaqar: WARNING later",
        "heat-config-zaqar: WARNING and later",
    ]
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_lines_that_no_console_took_count_for_nothing(screen: Screen, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(settings.read_text().replace(screen.path, "/nowhere/console"))
    say(trouble("x"))
    assert not (tmp_path / "run").exists()


def test_an_empty_setting_turns_it_off(screen: Screen, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(settings.read_text().replace(screen.path, ""))
    say(trouble("x"))
    assert not (tmp_path / "run").exists()
    assert screen.lines() == []


@pytest.mark.usefixtures("screen")
def test_settings_that_cannot_be_read_are_trouble_for_the_default_console(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("colour = 1")
    assert Console()._path == "/dev/console"


@pytest.mark.parametrize(
    ("files", "forwards"),
    [
        ({}, False),
        ({"etc/systemd/journald.conf": "[Journal]\n#ForwardToConsole=yes\n"}, False),
        ({"etc/systemd/journald.conf": "[Journal]\n  ForwardToConsole = Yes\n"}, True),
        ({"etc/systemd/journald.conf": "ForwardToConsole=\nTTYPath=yes"}, False),
        (
            {
                "etc/systemd/journald.conf": "ForwardToConsole=yes",
                "usr/lib/systemd/journald.conf.d/50-x.conf": "ForwardToConsole=no",
            },
            False,
        ),
        (
            {
                "etc/systemd/journald.conf.d/10-x.conf": "ForwardToConsole=no",
                "run/systemd/journald.conf.d/50-x.conf": "ForwardToConsole=1",
            },
            True,
        ),
        ({"proc/cmdline": "quiet systemd.journald.forward_to_console\n"}, True),
        ({"proc/cmdline": "systemd.journald.forward_to_console=1 quiet"}, True),
        ({"proc/cmdline": "xsystemd.journald.forward_to_console=1"}, False),
        (
            {
                "etc/systemd/journald.conf": "ForwardToConsole=yes",
                "proc/cmdline": "systemd.journald.forward_to_console=0",
            },
            False,
        ),
    ],
)
def test_what_the_journal_writes_there_itself_is_not_written_twice(
    tmp_path: Path, files: dict[str, str], forwards: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert journal_forwards(tmp_path) is forwards
