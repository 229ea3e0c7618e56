"""What the journal is told, by a socket in its place that speaks its protocol."""

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heat_config_zaqar import events, log
from heat_config_zaqar.console import Console
from heat_config_zaqar.events import Event
from heat_config_zaqar.settings import SETTINGS_VARIABLE

_OPERATIONS = Path(__file__).resolve().parents[3] / "docs/operations.md"
FORGED = "evil\nMESSAGE_ID=0\nPRIORITY\n\x01\0\0\0\0\0\0\x000\n_UID=7"


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The journal's socket, where standard error is the journal."""
    monkeypatch.setattr(log, "_SOCKET", str(tmp_path / "socket"))
    stream = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino}")
    (tmp_path / "settings.toml").write_text(f'console = ""\nruntime_dir = "{tmp_path}/run"\n')
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "settings.toml"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(5)
        yield journal


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    found = logging.getLogger("55-heat-config")
    # `level` alone leaves what was found out about it before.
    found.setLevel(logging.INFO)
    found.propagate = False
    yield found
    found.propagate = True
    found.setLevel(logging.NOTSET)
    found.handlers.clear()


def listen(logger: logging.Logger) -> None:
    logger.handlers = log._handlers("%(name)s %(levelname)s %(message)s")


def fields(journal: socket.socket) -> dict[str, bytes]:
    """Read one record as systemd.journal-native says; a field that is there twice is an error."""
    data, found = journal.recv(1 << 20), {}
    while data:
        name, _, data = data.partition(b"\n")
        # A name with `=` would be a field with its value on the same line.
        assert re.fullmatch(rb"[A-Z_]+", name)
        assert name.decode() not in found
        size = int.from_bytes(data[:8], "little")
        found[name.decode()] = data[8 : 8 + size]
        assert data[8 + size : 9 + size] == b"\n"
        data = data[9 + size :]
    return found


def test_a_record_has_its_event_its_deployment_and_its_priority(
    sent: socket.socket, logger: logging.Logger
) -> None:
    listen(logger)
    with events.about("an id", "a name"):
        logger.info("it begins", extra=Event.HOOK_STARTED.extra)
    assert fields(sent) | {"SYSLOG_IDENTIFIER": b"", "OBJECT_SYSTEMD_UNIT": b""} == {
        "MESSAGE": b"55-heat-config INFO it begins",
        "PRIORITY": b"5",
        "SYSLOG_IDENTIFIER": b"",
        "OBJECT_SYSTEMD_UNIT": b"",
        "MESSAGE_ID": Event.HOOK_STARTED.value.encode(),
        "HEAT_CONFIG_ID": b"an id",
        "HEAT_CONFIG_NAME": b"a name",
    }


def test_a_record_that_is_no_event_and_about_nothing_says_neither(
    sent: socket.socket, logger: logging.Logger
) -> None:
    listen(logger)
    found = []
    for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "text")
        found.append(fields(sent))
    assert [item["PRIORITY"] for item in found] == [b"6", b"4", b"3", b"2"]
    assert not {"MESSAGE_ID", "HEAT_CONFIG_ID", "HEAT_CONFIG_NAME"}.intersection(*found)


@pytest.mark.parametrize("name", [FORGED, "a\0b", "\udcff\ud800", "=", "\n", "x\x1b[2J"])
def test_no_name_forges_a_field(sent: socket.socket, logger: logging.Logger, name: str) -> None:
    listen(logger)
    with events.about("an id", name):
        logger.warning("deployment %s (%s)", "an id", name)
    found = fields(sent)
    text = name.encode("utf-8", "backslashreplace")
    assert found["HEAT_CONFIG_NAME"] == text
    assert found["MESSAGE"] == b"55-heat-config WARNING deployment an id (" + text + b")"
    assert (found["PRIORITY"], "MESSAGE_ID" in found, "_UID" in found) == (b"4", False, False)


def test_what_the_socket_does_not_take_is_written_as_lines(
    sent: socket.socket, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    listen(logger)
    logger.error("one\n%s", "x" * 1_000_000)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "<3>55-heat-config ERROR one"
    assert second == f"<3>{'x' * 1_000_000}"
    os.unlink(sent.getsockname())
    logger.warning("two")
    assert capsys.readouterr().err == "<4>55-heat-config WARNING two\n"


def test_a_journal_that_does_not_read_holds_nobody_up_for_long(
    sent: socket.socket, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    listen(logger)
    sent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    began, said = time.monotonic(), ""
    while not said and time.monotonic() - began < 30:
        logger.info("x" * 10_000)
        said = capsys.readouterr().err
    assert said.startswith("<6>55-heat-config INFO xxx")
    assert time.monotonic() - began < 30


def test_elsewhere_nothing_is_sent_and_nothing_goes_to_the_console(
    sent: socket.socket,
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "0:0")
    listen(logger)
    logger.info("it begins", extra=Event.HOOK_STARTED.extra)
    assert capsys.readouterr().err == "55-heat-config INFO it begins\n"
    assert [type(handler) for handler in logger.handlers] == [logging.StreamHandler]
    sent.settimeout(0)
    with pytest.raises(BlockingIOError):
        sent.recv(1)


@pytest.mark.usefixtures("sent")
def test_in_the_journal_the_console_is_told_as_well(logger: logging.Logger) -> None:
    listen(logger)
    assert isinstance(logger.handlers[1], Console)


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/os-collect-config.service\n", "os-collect-config.service"),
        ("2:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n", "a.service"),
        ("0::/user.slice/user@0.service/app.slice/run-1.scope\n", "user@0.service"),
        ("0::/\n", ""),
    ],
)
def test_the_unit_is_the_one_of_our_control_group(
    monkeypatch: pytest.MonkeyPatch, cgroup: str, unit: str
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: cgroup)
    assert log._own_unit() == unit


def test_operators_find_each_event_in_the_one_table() -> None:
    found = re.findall(
        r"^\| `([A-Z_]+)` \| `([0-9a-f]{32})` \|", _OPERATIONS.read_text(), re.MULTILINE
    )
    assert dict(found) == {event.name: event.value for event in Event}
    assert len({event.value for event in Event}) == len(found)


def test_what_is_said_about_one_deployment_ends_with_it() -> None:
    with events.about("outer"), pytest.raises(ZeroDivisionError), events.about("inner", "name"):
        assert events.subject() == ("inner", "name")
        sys.stdout.write(str(1 / 0))
    assert events.subject() is None
