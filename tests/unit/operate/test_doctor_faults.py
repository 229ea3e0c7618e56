"""Faults that are planted, each on its own, and the check that has to be the first problem.

What can be planted with files, processes and sockets of this machine is here;
`tests/integration/test_doctor_faults.py` has what takes a cloud. `systemctl` is a stand-in that
prints what systemd prints: no service of this machine is ours to stop.
"""

import contextlib
import http.server
import json
import os
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of

from heat_config_zaqar.operate.doctor import examination as doctor
from heat_config_zaqar.operate.doctor import guest as examined
from heat_config_zaqar.operate.doctor.examination import Finding, Result
from heat_config_zaqar.state import durable
from tests.unit.conftest import SECTION, make_deployment
from tests.unit.operate.test_cli import JSON, NOBODY, Guest

Login = dict[str, str]


class Patient:
    """A guest that nothing is wrong with but that its Keystone does not answer, before the fault.

    :ivar ends: what is to end with the test.
    """

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch, ends: ExitStack) -> None:
        self.directory = directory
        self.patch = patch
        self.ends = ends
        self.guest = Guest(directory)
        for name, value in self.guest.environment.items():
            patch.setenv(name, value)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy"):
            patch.delenv(name, raising=False)
        patch.setattr(examined, "FIRST_METADATA", directory / "cfn-init-data")
        patch.setattr(examined, "CONFIG_FILE", self.conf)
        patch.setattr(examined, "CACHE_DIRECTORY", self.cache)
        self.cache.mkdir()
        (self.cache / "zaqar.json.last").write_text("{}")
        self.use_keystone(NOBODY)
        self.write_conf(**SECTION["zaqar"])
        self.systemd(["active", "0", 1], ["active", None, 1])

    @property
    def conf(self) -> Path:
        return self.directory / "os-collect-config.conf"

    @property
    def cache(self) -> Path:
        return self.directory / "cache"

    @property
    def state(self) -> Path:
        return self.guest.settings.state_dir

    def set(self, line: str) -> None:
        path = self.directory / "settings.toml"
        name = line.partition(" ")[0]
        lines = [old for old in path.read_text().splitlines() if not old.startswith(f"{name} ")]
        path.write_text("\n".join([*lines, line, ""]))

    def use_keystone(self, auth_url: str) -> None:
        section = {**SECTION, "zaqar": {**SECTION["zaqar"], "auth_url": auth_url}}
        self.guest.collect(make_deployment("a"), section=section)

    def write_conf(self, **login: str) -> None:
        lines = [f"{key} = {value}" for key, value in login.items()]
        self.conf.write_text("\n".join(["[DEFAULT]", "collectors = zaqar", "", "[zaqar]", *lines]))

    def systemd(self, *units: list[Any]) -> None:
        """Have systemd say state, restarts (a timer has none) and seconds since the last start."""
        blocks = []
        for state, restarts, ago in units:
            lines = [f"NRestarts={restarts}"] if restarts else []
            entered = (time.clock_gettime(time.CLOCK_MONOTONIC) - ago) * 1e6
            lines += [f"ActiveState={state}", f"ActiveEnterTimestampMonotonic={entered:.0f}"]
            blocks.append("\n".join(lines))
        program = self.directory / "bin" / "systemctl"
        program.parent.mkdir(exist_ok=True)
        answer = "\n\n".join(blocks)
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
        program.chmod(0o755)
        self.patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    with ExitStack() as ends:
        yield Patient(tmp_path, monkeypatch, ends)


def first_problem(findings: list[Finding]) -> Finding:
    return next(item for item in findings if item.result is Result.PROBLEM)


def mounted(patient: Patient, options: str) -> Path:
    """Have the state directory on a file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("takes root, to mount a file system")
    disk = patient.directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
    patient.ends.callback(lambda: subprocess.run(["umount", "-l", disk], check=True))
    patient.set(f'state_dir = "{disk}"')
    return disk


def full_disk(patient: Patient) -> None:
    (mounted(patient, "size=64k") / "fill").write_bytes(bytes(48 * 1024))


def read_only_disk(patient: Patient) -> None:
    mounted(patient, "ro,size=64k")


def unreadable_record(patient: Patient) -> None:
    (patient.state / "delivered").mkdir()
    (patient.state / "delivered" / "a.json").write_text('{"id": ')


def unreadable_run(patient: Patient) -> None:
    (patient.state / "running").mkdir()
    (patient.state / "running" / "a.json").write_text("")


def lost_metadata(patient: Patient) -> None:
    patient.guest.settings.metadata_file.write_text("")
    (patient.directory / "cfn-init-data").write_text(json.dumps({"os-collect-config": SECTION}))


def empty_cache_file(patient: Patient) -> None:
    (patient.cache / "ec2.json.last").write_text("")


def cache_file_of_bytes(patient: Patient) -> None:
    (patient.cache / "zaqar.json.last").write_bytes(b"\xff\xfe\x00")


def directory_for_a_cache_file(patient: Patient) -> None:
    (patient.cache / "local.json.last").mkdir()


def conf_without_zaqar(patient: Patient) -> None:
    patient.conf.write_text("[DEFAULT]\ncommand = os-refresh-config\n")


def conf_without_password(patient: Patient) -> None:
    login = dict(SECTION["zaqar"])
    del login["password"]
    patient.write_conf(**login)


def conf_that_is_none(patient: Patient) -> None:
    patient.conf.write_bytes(b"\xff[zaqar\n")


def no_metadata(patient: Patient) -> None:
    patient.guest.settings.metadata_file.unlink()


def first_metadata_without_queue(patient: Patient) -> None:
    no_metadata(patient)
    login = {key: value for key, value in SECTION["zaqar"].items() if key != "queue_id"}
    first = {"os-collect-config": {"zaqar": login}}
    (patient.directory / "cfn-init-data").write_text(json.dumps(first))


def metadata_without_password(patient: Patient) -> None:
    login = {**SECTION["zaqar"], "password": None}
    patient.guest.collect(section={**SECTION, "zaqar": login})


class _Answer(http.server.BaseHTTPRequestHandler):
    """Answers each request alike; its clock may be wrong."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    do_POST = do_GET  # noqa: N815 # http.server's name

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) - self.server.slow)  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def server(slow: float = 0, status: int = 200, certificate: Path | None = None) -> Iterator[int]:
    """Run a server; yield its port."""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    running.slow, running.status = slow, status  # type: ignore[attr-defined]
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        running.socket = context.wrap_socket(running.socket, server_side=True)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield running.server_port
    finally:
        running.shutdown()
        running.server_close()


def make_certificate(directory: Path, name: str = "IP:127.0.0.1") -> Path:
    """Make a self-signed certificate; its key is in the same file."""
    path = directory / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=loopback", "-addext", f"subjectAltName={name}"]
    command += ["-keyout", str(path), "-out", str(directory / "ca.pem")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + (directory / "ca.pem").read_bytes())
    return path


def keystone_at(url: str) -> Callable[[Patient], None]:
    return lambda patient: patient.use_keystone(url)


def keystone_is(scheme: str = "http", **how: Any) -> Callable[[Patient], None]:
    def plant(patient: Patient) -> None:
        port = patient.ends.enter_context(server(**how))
        patient.use_keystone(f"{scheme}://127.0.0.1:{port}/v3/")

    return plant


def untrusted(slow: float = 0, name: str = "IP:127.0.0.1", trust: str = "") -> Any:
    def plant(patient: Patient) -> None:
        certificate = make_certificate(patient.directory, name)
        keystone_is("https", slow=slow, certificate=certificate)(patient)
        if trust:
            patient.set(f'ca_file = "{patient.directory}/{trust}"')

    return plant


def silent_keystone(patient: Patient) -> None:
    """It takes connections and says nothing."""
    listener = patient.ends.enter_context(socket.create_server(("127.0.0.1", 0)))
    patient.use_keystone(f"http://127.0.0.1:{listener.getsockname()[1]}/v3/")


def black_hole(patient: Patient) -> None:
    """Its host drops what comes, as firewalls do: the queue of connections is full."""
    listener = patient.ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    address = listener.getsockname()
    for _ in range(2):
        waiting = patient.ends.enter_context(socket.socket())
        waiting.setblocking(False)
        waiting.connect_ex(address)
    patient.use_keystone(f"http://127.0.0.1:{address[1]}/v3/")


def ipv6_only(patient: Patient) -> None:
    """Keystone's name has an IPv6 address alone, and nothing answers there."""
    port = patient.ends.enter_context(server())
    patient.use_keystone(f"http://[::1]:{port}/v3/")


def proxy_that_refuses(patient: Patient) -> None:
    patient.set('proxy = "http://somebody:TopSecret@127.0.0.1:9"')


def proxy_of_the_environment_alone(patient: Patient) -> None:
    patient.patch.setenv("http_proxy", "http://somebody:TopSecret@127.0.0.1:9")


def services(*units: list[Any]) -> Callable[[Patient], None]:
    return lambda patient: patient.systemd(*units)


def setting(line: str) -> Callable[[Patient], None]:
    return lambda patient: patient.set(line)


TIMER = ["active", None, 1]
FAULTS: dict[str, tuple[Callable[[Patient], None], str, str]] = {
    "a setting with a typo": (setting("hook_timeuot = 3"), "settings", "'hook_timeuot'"),
    "a setting of a wrong type": (setting('max_attempts = "many"'), "settings", "max_attempts"),
    "settings that are not TOML": (setting("[["), "settings", "not TOML"),
    "a full disk": (full_disk, "disk", "No space left"),
    "a read-only disk": (read_only_disk, "disk", "Read-only"),
    "a record that is cut off": (unreadable_record, "state", "a could not be read"),
    "an empty record of a run": (unreadable_run, "state", "a could not be read"),
    "stored metadata that is empty": (lost_metadata, "state", "metadata.json.corrupt"),
    "an empty cache file": (empty_cache_file, "cache", "ec2.json.last"),
    "a cache file that is not text": (cache_file_of_bytes, "cache", "zaqar.json.last"),
    "a directory for a cache file": (directory_for_a_cache_file, "cache", "local.json.last"),
    "a conf without [zaqar]": (conf_without_zaqar, "conf", "[zaqar]"),
    "a conf that lacks a key": (conf_without_password, "conf", "password"),
    "a conf that cannot be read": (conf_that_is_none, "conf", "utf-8"),
    "a stopped service": (services(["inactive", "0", 9], TIMER), "service", "is inactive"),
    "a failed service": (services(["failed", "5", 9], TIMER), "service", "os-collect-config"),
    "a failed timer": (
        services(["active", "0", 9], ["failed", None, 9]),
        "service",
        "heat-config-zaqar-deliver.timer is failed",
    ),
    "a service that waits for its next start": (
        services(["activating", "37", 7], TIMER),
        "service",
        "37 times",
    ),
    "a service that will crash again": (
        services(["active", "4", 1], TIMER),
        "service",
        "is restarted",
    ),
    "no metadata": (no_metadata, "metadata", "no metadata was ever received"),
    "a first metadata that lacks a key": (first_metadata_without_queue, "metadata", "queue_id"),
    "a message that lacks a key": (metadata_without_password, "metadata", "password"),
    "a proxy that refuses": (proxy_that_refuses, "proxy", "proxy 127.0.0.1:9"),
    "a proxy of the environment alone": (
        proxy_of_the_environment_alone,
        "proxy",
        "not reached without proxy 127.0.0.1:9",
    ),
    "an address that is none": (keystone_at("http://["), "metadata", "auth_url"),
    "an address with a word for a port": (keystone_at("http://a:b/v3"), "metadata", "auth_url"),
    "an address without a scheme": (keystone_at("keystone:5000/v3"), "metadata", "auth_url"),
    "a name that cannot be one": (keystone_at("http://a..b:5000/v3/"), "name", "a..b"),
    "a port that refuses": (keystone_at(NOBODY), "connection", "Connection refused"),
    "a host that drops packets": (black_hole, "connection", "timed out"),
    "a server that never answers": (silent_keystone, "connection", "timed out"),
    "an IPv6 address alone": (ipv6_only, "connection", "IPv6"),
    "a clock ahead": (keystone_is(slow=7200), "clock", "s ahead of"),
    "a clock behind": (keystone_is(slow=-7200), "clock", "s behind"),
    "a clock ahead, and TLS": (untrusted(slow=7200), "clock", "s ahead of"),
    "a CA that is not trusted": (untrusted(), "certificate", "self-signed"),
    "a wrong CA file": (untrusted(trust="settings.toml"), "certificate", "ca"),
    "a CA file that is not there": (untrusted(trust="gone.pem"), "certificate", "gone.pem"),
    "a certificate of another host": (
        untrusted(name="DNS:other.example", trust="ca.pem"),
        "certificate",
        "127.0.0.1",
    ),
    "plain HTTP for HTTPS": (keystone_is("https"), "certificate", "SSL"),
    "a portal in place of Keystone": (keystone_is(), "keystone", "logging in"),
    "a Keystone in trouble": (keystone_is(status=500), "keystone", "500"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_doctor_names_the_fault_first(patient: Patient, name: str) -> None:
    plant, check, word = FAULTS[name]
    plant(patient)
    began = time.monotonic()
    found = first_problem(doctor.examine())
    assert (found.check, word in found.detail) == (check, True), found
    assert found.advice
    assert "TopSecret" not in f"{found}"
    # A service that does not answer costs one `request_timeout`, which is 2 s here.
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("consequence", "cause"),
    [
        ("an empty cache file", "a full disk"),
        ("a service that waits for its next start", "a setting with a typo"),
        ("a service that waits for its next start", "an empty cache file"),
        ("a service that waits for its next start", "a conf that cannot be read"),
        ("no metadata", "a stopped service"),
        ("a CA that is not trusted", "a failed service"),
    ],
)
def test_the_doctor_names_the_cause_and_not_what_follows_from_it(
    patient: Patient, cause: str, consequence: str
) -> None:
    FAULTS[consequence][0](patient)
    FAULTS[cause][0](patient)
    assert first_problem(doctor.examine()).check == FAULTS[cause][1]


def test_what_is_no_fault_is_no_problem(patient: Patient) -> None:
    """Foreign files in the cache, a service that was restarted once upon a time, an odd conf."""
    (patient.cache / "notes.txt").write_text("mine")
    (patient.cache / "zaqar.json").write_bytes(b"\xff")
    (patient.cache / "zaqar.json.orig").write_text("")
    patient.systemd(["active", "9", 86400], TIMER)
    patient.write_conf(**SECTION["zaqar"], extra="50% off ${HOME}")
    assert first_problem(doctor.examine()).check == "connection"


def test_without_systemd_the_services_are_not_checked(patient: Patient) -> None:
    program = patient.directory / "bin" / "systemctl"
    program.write_text("#!/bin/sh\necho 'System has not been booted with systemd' >&2\nexit 1\n")
    found = {item.check: item.result for item in doctor.examine()}
    assert found["service"] is Result.NOT_CHECKED


def test_verifying_no_certificate_is_named_but_hides_no_fault(patient: Patient) -> None:
    patient.set("insecure = true")
    findings = doctor.examine()
    assert first_problem(findings).check == "connection"
    assert (findings[-1].check, findings[-1].result) == ("insecure", Result.PROBLEM)


def test_a_service_that_sends_a_byte_now_and_then_does_not_stop_the_doctor(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_CHECK_SECONDS", 3)
    monkeypatch.setattr(doctor, "_MOST_SECONDS", 6)
    listener = patient.ends.enter_context(socket.create_server(("127.0.0.1", 0)))
    ended = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not ended.wait(0.5):
                connection.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    patient.use_keystone(f"http://127.0.0.1:{listener.getsockname()[1]}/v3/")
    began = time.monotonic()
    findings = doctor.examine()
    took = time.monotonic() - began
    ended.set()
    thread.join()
    assert took < 30
    assert "did not end within 3 s" in first_problem(findings).detail
    assert findings[-1].result is Result.NOT_CHECKED


HOSTILE = [
    b"",
    b"{",
    b"null",
    b"true",
    b"[]",
    b"[[], {}, null]",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"1" * 5000,
    b"1" * 400,
    b"-1e400",
    b"NaN",
    b'"\\ud800"',
    json.dumps({"started": 10**400, "attempts": 10**400, "pid": 10**400, "body": 3}).encode(),
    json.dumps({"snapshot": {}, "current": 10**400}).encode(),
    json.dumps({"snapshot": {"deployments": [3]}, "current": float("nan")}).encode(),
    json.dumps({"os-collect-config": {"zaqar": [1, 2]}, "deployments": {"a": 1}}).encode(),
    json.dumps({"snapshot": {"os-collect-config": {"zaqar": {"auth_url": 3}}}}).encode(),
    json.dumps({"state": ["away"], "since": "x", "detail": {"a": 1}}).encode(),
    json.dumps([{"id": "x", "name": "n", "group": "g" * 200, "inputs": [{"name": 1}]}]).encode(),
    b"[zaqar]\nauth_url\n%(a)s = ${b}\n",
    b"[DEFAULT]\n[zaqar]\nauth_url = %(auth_url)s\n",
]
FILES = (
    "state/metadata.json",
    "state/running/a.json",
    "state/outbox/a.json",
    "state/delivered/a.json",
    "run/connection.json",
    "run/collected",
    "cfn-init-data",
    "os-collect-config.conf",
    "cache/zaqar.json.last",
    "heat-config",
    "settings.toml",
)


@pytest.mark.parametrize("name", FILES)
def test_no_content_of_a_file_breaks_the_doctor(patient: Patient, name: str) -> None:
    path = patient.directory / name
    path.parent.mkdir(exist_ok=True)
    for content in HOSTILE:
        path.write_bytes(content)
        for finding in doctor.examine():
            assert "a bug" not in finding.advice, (finding, content[:80])
        for leftover in patient.state.rglob("*.corrupt"):
            leftover.unlink()


@settings_of(max_examples=30)
@given(content=JSON)
def test_no_json_breaks_the_doctor(content: Any) -> None:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as ends:
        directory = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        Patient(directory, patch, ends)
        for name in FILES[:-1]:
            durable.write_json(directory / name, content)
        for finding in doctor.examine():
            assert "a bug" not in finding.advice, finding
