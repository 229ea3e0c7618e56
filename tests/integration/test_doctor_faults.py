"""Faults that are planted in a guest of the real cloud, and the check that is the first problem.

What takes no cloud is in `tests/unit/operate/test_doctor_faults.py`.
"""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.operate.doctor import examination as doctor
from heat_config_zaqar.operate.doctor import guest as examined
from heat_config_zaqar.operate.doctor.examination import Finding, Result
from heat_config_zaqar.run.processes import identify
from heat_config_zaqar.state import durable
from testbed.cloud import Cloud
from testbed.cloud.layout import PORTS
from testbed.heat import Heat
from tests.integration.guest_process import GuestProcess
from tests.integration.test_operator import stack_with_guest

CAN_BE_UNKNOWN = {"service", "clock", "collector"}
RECORD = {"attempts": 1, "name": "00-stuck", "group": "script"}


class Patient:
    """A guest that did its work, before the fault.

    :ivar ends: what is to end with the test.
    """

    def __init__(self, process: GuestProcess, cloud: Cloud, ends: ExitStack) -> None:
        self.process = process
        self.cloud = cloud
        self.ends = ends

    @property
    def state(self) -> Path:
        return self.process.settings.state_dir

    def change_stored(self, change: Callable[[dict[str, Any]], Any]) -> None:
        stored = json.loads(self.process.settings.metadata_file.read_text())
        change(stored)
        self.process.settings.metadata_file.write_text(json.dumps(stored))

    def change_login(self, **changes: str) -> None:
        section = "os-collect-config"
        self.change_stored(lambda stored: stored["snapshot"][section]["zaqar"].update(changes))

    def write_record(self, directory: str, **changes: Any) -> None:
        """Write what is left of another deployment, made of the one that was delivered."""
        record = json.loads(next((self.state / "delivered").glob("*.json")).read_text())
        durable.write_json(self.state / directory / "other.json", {**record, **changes})

    def stop(self, service: str) -> None:
        self.cloud.stop(service)
        self.ends.callback(self.cloud.start, service)


@pytest.fixture(scope="module")
def process(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestProcess]:
    heat = Heat(cloud.admin_session())
    directory = tmp_path_factory.mktemp("patient")
    with stack_with_guest(heat, "doctor", "echo one", directory) as guest:
        guest.apply()
        yield guest


@pytest.fixture
def patient(
    process: GuestProcess, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Patient]:
    """The guest, whose files are put back afterwards."""
    healthy = tmp_path / "healthy"
    shutil.copytree(process.directory, healthy, symlinks=True)
    for name, value in process.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(examined, "FIRST_METADATA", process.directory / "cfn-init-data")
    monkeypatch.setattr(examined, "CONFIG_FILE", process.directory / "os-collect-config.conf")
    monkeypatch.setattr(examined, "CACHE_DIRECTORY", process.directory / "cache")
    try:
        with ExitStack() as ends:
            yield Patient(process, cloud, ends)
    finally:
        shutil.rmtree(process.directory)
        shutil.copytree(healthy, process.directory, symlinks=True)


def first_problem(findings: list[Finding]) -> Finding:
    return next(item for item in findings if item.result is Result.PROBLEM)


def stop(service: str) -> Callable[[Patient], None]:
    return lambda patient: patient.stop(service)


def login(**changes: str) -> Callable[[Patient], None]:
    return lambda patient: patient.change_login(**changes)


def record(directory: str, **changes: Any) -> Callable[[Patient], None]:
    return lambda patient: patient.write_record(directory, **changes)


def silent(service: str) -> Callable[[Patient], None]:
    """A service that takes connections and never answers."""

    def plant(patient: Patient) -> None:
        patient.stop(service)
        listener = socket.create_server(("127.0.0.1", PORTS[service]))
        patient.ends.enter_context(listener)
        patient.process.set(request_timeout="10")

    return plant


def silent_name_server(patient: Patient) -> None:
    """It takes questions and never answers; only this mount namespace asks it."""
    server = patient.ends.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.53", 53))
    resolv = patient.process.directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.53\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)
    unmount = ["umount", "/etc/resolv.conf"]
    patient.ends.callback(lambda: subprocess.run(unmount, check=True))
    patient.change_login(auth_url="http://keystone.example:5000/v3/")


def large_metadata(patient: Patient) -> None:
    def grow(stored: dict[str, Any]) -> None:
        stored["snapshot"]["deployments"][0]["config"] += "#" * 230_000

    patient.change_stored(grow)


def no_hook(patient: Patient) -> None:
    def change(stored: dict[str, Any]) -> None:
        stored["snapshot"]["deployments"][0]["group"] = "salt"

    patient.change_stored(change)


def no_server_id(patient: Patient) -> None:
    """The first deployment's message has expired, and no other one names the server."""

    def forget(stored: dict[str, Any]) -> None:
        stored["snapshot"]["deployments"] = []
        stored["current"] -= 7200

    patient.change_stored(forget)
    patient.process.write_deployments([])
    patient.process.settings.collected_file.unlink()


def no_message(patient: Patient) -> None:
    stored = json.loads(patient.process.settings.metadata_file.read_text())
    (patient.process.directory / "cfn-init-data").write_text(json.dumps(stored["snapshot"]))
    patient.process.settings.metadata_file.unlink()
    patient.process.write_deployments([])


def collector_says(state: str) -> Callable[[Patient], None]:
    said = {"state": state, "since": 1e9, "detail": "for a reason that has gone"}
    return lambda patient: durable.write_json(patient.process.settings.connection_file, said)


def stuck(patient: Patient) -> None:
    started = time.time() - 7200
    durable.write_json(patient.state / "running" / "other.json", {**RECORD, "started": started})
    lock = durable.locked(patient.state / "apply.lock")
    patient.ends.enter_context(lock)


def interrupted(patient: Patient) -> None:
    """The metadata still holds the deployment, so that it is to run again."""
    (delivered,) = (patient.state / "delivered").glob("*.json")
    running = patient.state / "running" / delivered.name
    durable.write_json(running, {**json.loads(delivered.read_text()), "started": time.time()})
    delivered.unlink()


def given_up(patient: Patient) -> None:
    (patient.state / "delivered").rename(patient.state / "failed")


FAULTS: dict[str, tuple[Callable[[Patient], None], str, str]] = {
    "no Keystone": (stop("keystone"), "connection", "Connection refused"),
    "no Zaqar": (stop("zaqar"), "queue", "Connection refused"),
    "no Heat": (stop("heat-api"), "heat", "Connection refused"),
    "a Zaqar that never answers": (silent("zaqar"), "queue", "timed out"),
    "a Heat that never answers": (silent("heat-api"), "heat", "timed out"),
    "a name that does not resolve": (
        login(auth_url="http://nonexistent.invalid:5000/v3/"),
        "name",
        "nonexistent.invalid",
    ),
    "a name server that never answers": (silent_name_server, "name", "keystone.example"),
    "a wrong password": (login(password="wrong-Secret1"), "keystone", "401"),
    "the user of a deleted stack": (login(user_id="0" * 32), "keystone", "401"),
    "another project": (login(project_id="0" * 32), "keystone", "401"),
    "a catalog without messaging": (login(region_name="Nowhere"), "queue", "catalog"),
    "metadata near the queue's limit": (large_metadata, "size limit", "of 262144 bytes"),
    "no server id": (no_server_id, "heat", "no deployment names this server"),
    "no message": (no_message, "collector", "no message was received yet"),
    "a collector that is away": (collector_says("away"), "collector", "a reason that has gone"),
    "a collector that was refused": (collector_says("refused"), "collector", "refused"),
    "a group without a hook": (no_hook, "hooks", "'salt'"),
    "a hook that hangs": (stuck, "hooks", "has run for 72"),
    "an interrupted hook": (interrupted, "hooks", "was interrupted"),
    "a late signal": (record("outbox", finished=1e9), "signals", "1 cannot be sent"),
    "a signal from before the clock was set back": (
        record("outbox", finished=9e9),
        "signals",
        "1 cannot be sent",
    ),
    "a signal that was given up": (
        given_up,
        "signals",
        "was given up",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_doctor_names_the_fault_first(patient: Patient, name: str) -> None:
    plant, check, word = FAULTS[name]
    plant(patient)
    began = time.monotonic()
    found = first_problem(doctor.examine())
    assert (found.check, word in found.detail) == (check, True), found
    assert found.advice
    assert time.monotonic() - began < 90


@pytest.mark.parametrize(
    ("cause", "consequences"),
    [
        ("no Zaqar", ["a collector that is away", "a late signal"]),
        ("a wrong password", ["a collector that was refused", "a signal that was given up"]),
        ("no Keystone", ["no message", "a late signal"]),
        ("a catalog without messaging", ["a collector that is away"]),
        ("a group without a hook", ["a late signal"]),
    ],
)
def test_the_doctor_names_the_cause_and_not_what_follows_from_it(
    patient: Patient, cause: str, consequences: list[str]
) -> None:
    for name in (cause, *consequences):
        FAULTS[name][0](patient)
    assert first_problem(doctor.examine()).check == FAULTS[cause][1]


def test_the_doctor_finds_nothing_wrong_with_a_healthy_guest(patient: Patient) -> None:
    done = patient.process.run("heat-config-zaqar", "doctor", "--json")
    found = {item["check"]: item for item in json.loads(done.stdout)}
    assert done.returncode == 0, found
    unknown = {name for name, item in found.items() if item["result"] == "not checked"}
    assert unknown <= CAN_BE_UNKNOWN | {"conf"}
    assert {item["result"] for item in found.values()} <= {"ok", "not checked"}
    assert found["heat"]["detail"] == "answers; it has 1 deployments for this server"


def test_a_password_is_not_shown(patient: Patient) -> None:
    FAULTS["a wrong password"][0](patient)
    for arguments in (("doctor",), ("doctor", "--json")):
        done = patient.process.run("heat-config-zaqar", *arguments)
        assert done.returncode == 1
        assert "wrong-Secret1" not in done.stdout + done.stderr


def test_a_hook_is_no_older_for_a_clock_that_was_set(patient: Patient) -> None:
    """It started before the clock went forward by two hours, just now."""
    hook = identify(os.getpid())
    known = {"boot": hook.boot, "pid": hook.pid, "pid_started": hook.started}
    started = time.time() - 7200
    written = {**RECORD, **known, "started": started}
    durable.write_json(patient.state / "running" / "other.json", written)
    with durable.locked(patient.state / "apply.lock"):
        found = {item.check: item for item in doctor.examine()}
    # These tests take less than the hour that a hook may take.
    assert found["hooks"].result is Result.OK


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no Zaqar", 0),
        ("a wrong password", 0),
        ("no message", 3),
        ("an interrupted hook", 3),
        ("a late signal", 3),
        ("a hook that hangs", 3),
        ("a signal that was given up", 1),
    ],
)
def test_the_exit_code_of_status_is_about_deployments(
    patient: Patient, name: str, code: int
) -> None:
    FAULTS[name][0](patient)
    assert patient.process.run("heat-config-zaqar", "status").returncode == code
