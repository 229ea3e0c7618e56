"""heat-config-zaqar against the real cloud: resend, rerun, and doctor with each fault provoked."""

import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.adapter import Adapter

from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Entry, Settled
from testbed.cloud import Cloud
from testbed.cloud.layout import REGION
from testbed.guest import wait_for
from testbed.heat import Heat, Script, deployments_template
from tests.integration.guest_process import GuestProcess
from tests.integration.test_cloud import Guest

Start = Callable[[str, str], GuestProcess]
# Ends 55-heat-config between the result and its signal, as a crash does.
CRASH_BEFORE_SIGNAL = (
    "import os\n"
    "from heat_config_zaqar.deliver import delivery as deliver\n"
    "from heat_config_zaqar.run import apply\n"
    "deliver.Delivery.deliver = lambda *a, **k: os._exit(137)\n"
    "apply.main()"
)
CAN_BE_UNKNOWN = {"service", "clock", "collector"}


def template(text: str) -> dict[str, Any]:
    return deployments_template({"one": Script(f"#!/bin/sh\n{text}\n", outputs=["answer"])})


@contextlib.contextmanager
def stack_with_guest(heat: Heat, name: str, text: str, directory: Path) -> Iterator[GuestProcess]:
    """Create a stack of one deployment, and a guest that has collected it."""
    heat.create_stack(name, template(text))
    try:
        metadata = heat.server_metadata_when_ready(name)
        reader = Guest(metadata)
        posted = lambda: any(body["deployments"] for body in reader.messages())  # noqa: E731
        wait_for(posted, 90, f"the deployment of {name} is not posted")
        guest = GuestProcess(directory, metadata)
        guest.collect()
        yield guest
    finally:
        heat.delete_stack(name)


@pytest.fixture
def start(heat: Heat, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as ends:
        yield lambda name, text: ends.enter_context(stack_with_guest(heat, name, text, tmp_path))


def give_up(guest: GuestProcess) -> Entry:
    """Leave the guest with a result whose signal was given up, and nothing sent."""
    guest.run_python(CRASH_BEFORE_SIGNAL)
    (entry,) = guest.outbox.pending()
    guest.outbox.settle(entry, Settled.FAILED, "Keystone refused the login for an hour")
    return entry


def signal_messages(heat: Heat, stack: str, queue: str) -> list[Any]:
    """Return what lies in the signal queue, and has to be nothing where Heat does not read it."""
    reader = Guest(heat.server_metadata(stack))
    reader.queue = queue
    return reader.messages()


def fail_in_heat(cloud: Cloud, heat: Heat, stack: str) -> None:
    """Have Heat give the deployment up, as its timeout would."""
    api = Adapter(cloud.admin_session(), service_type="orchestration", region_name=REGION)
    path = f"/stacks/{stack}/{heat.stack(stack).id}/resources/one/signal"
    api.post(path, json={"deploy_status_code": 1, "deploy_stderr": "gave up"})
    wait_for(lambda: heat.stack(stack).status.endswith("_FAILED"), 90, f"{stack} does not fail")


def update(guest: GuestProcess, heat: Heat, stack: str, text: str) -> None:
    """Update the stack, and collect and run what Heat posts."""
    old = guest.collect()["deployments"]
    heat.update_stack(stack, template(text))
    wait_for(lambda: guest.collect()["deployments"] != old, 90, "no message for the update")
    guest.apply()


def test_a_signal_that_was_given_up_is_sent_again_and_completes_the_stack(
    start: Start, heat: Heat
) -> None:
    guest = start("resend", "echo once")
    entry = give_up(guest)
    done = guest.run("heat-config-zaqar", "resend", "one")
    assert (done.returncode, done.stdout) == (0, "sent\n"), done.stderr
    stack = heat.wait_for("resend", ["CREATE_COMPLETE"], 90)
    assert stack.outputs["one_deploy_stdout"] == "once\n"
    assert signal_messages(heat, "resend", entry.queue) == []
    again = guest.run("heat-config-zaqar", "resend", "one")
    assert again.returncode == 1
    assert "is delivered" in again.stderr


def test_a_resend_after_heat_gave_up_leaves_nothing_for_the_next_update(
    start: Start, heat: Heat, cloud: Cloud
) -> None:
    guest = start("resend-late", "echo old")
    entry = give_up(guest)
    fail_in_heat(cloud, heat, "resend-late")
    guest.run("heat-config-zaqar", "resend", "one")
    assert signal_messages(heat, "resend-late", entry.queue) == []
    update(guest, heat, "resend-late", "echo new")
    stack = heat.wait_for("resend-late", ["UPDATE_COMPLETE"], 90)
    assert stack.outputs["one_deploy_stdout"] == "new\n"


def test_a_resend_is_refused_when_heat_has_a_newer_config_than_the_guest(
    start: Start, heat: Heat, cloud: Cloud
) -> None:
    guest = start("resend-stale", "echo old")
    entry = give_up(guest)
    fail_in_heat(cloud, heat, "resend-stale")
    heat.update_stack("resend-stale", template("echo new"))

    def has_newer() -> bool:
        known = heat.server_metadata("resend-stale")["deployments"]
        return any(item["id"] != entry.id for item in known)

    wait_for(has_newer, 90, "Heat does not make a newer config")
    done = guest.run("heat-config-zaqar", "resend", "one")
    assert done.returncode == 1
    assert f"Heat has a newer config in place of deployment {entry.id}" in done.stderr
    assert signal_messages(heat, "resend-stale", entry.queue) == []
    collected = lambda: entry.id != guest.collect()["deployments"][-1]["id"]  # noqa: E731
    wait_for(collected, 90, "the update is not posted")
    guest.apply()
    stack = heat.wait_for("resend-stale", ["UPDATE_COMPLETE"], 90)
    assert stack.outputs["one_deploy_stdout"] == "new\n"


def test_a_rerun_of_what_was_delivered_leaves_nothing_for_the_next_update(
    start: Start, heat: Heat, tmp_path: Path
) -> None:
    text = f"echo run >>{tmp_path}/runs; wc -l <{tmp_path}/runs >$heat_outputs_path.answer"
    guest = start("rerun", text)
    guest.apply()
    heat.wait_for("rerun", ["CREATE_COMPLETE"], 90)
    (record,) = [record for _, record in guest.outbox.records()]
    done = guest.run("heat-config-zaqar", "rerun", "one")
    assert done.returncode == 0
    assert "output answer:\n    2\n" in done.stdout
    assert signal_messages(heat, "rerun", record["queue"]) == []
    update(guest, heat, "rerun", "echo new")
    stack = heat.wait_for("rerun", ["UPDATE_COMPLETE"], 90)
    assert stack.outputs["one_deploy_stdout"] == "new\n"


@pytest.mark.parametrize("state", ["waiting", "pending", "failed"])
def test_a_rerun_before_heat_has_a_signal_signals_its_result(
    start: Start, heat: Heat, tmp_path: Path, state: str
) -> None:
    """The first run fails; what Heat hears of is the operator's run, once."""
    name = f"rerun-{state}"
    guest = start(name, f"echo run >>{tmp_path}/runs; [ $(wc -l <{tmp_path}/runs) = 2 ]")
    if state == "waiting":
        (tmp_path / "runs").write_text("by hand\n")
    elif state == "pending":
        guest.run_python(CRASH_BEFORE_SIGNAL)
    else:
        give_up(guest)
    done = guest.run("heat-config-zaqar", "rerun", "one")
    assert done.returncode == 0, done.stderr
    assert "status code: 0" in done.stdout
    heat.wait_for(name, ["CREATE_COMPLETE"], 90)
    ((where, record),) = guest.outbox.records()
    assert where == "delivered"
    assert signal_messages(heat, name, record["queue"]) == []
    assert (tmp_path / "runs").read_text().count("\n") == 2


@pytest.fixture(scope="module")
def patient(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestProcess]:
    """A guest that did its work, for the doctor."""
    heat = Heat(cloud.admin_session())
    directory = tmp_path_factory.mktemp("patient")
    with stack_with_guest(heat, "doctor", "echo one", directory) as guest:
        guest.apply()
        yield guest


@pytest.fixture
def guest(patient: GuestProcess) -> Iterator[GuestProcess]:
    """The doctor's guest, with its stored metadata and settings put back afterwards."""
    kept = (patient.settings.metadata_file, patient.directory / "settings.toml")
    before = [path.read_bytes() for path in kept]
    yield patient
    for path, content in zip(kept, before, strict=True):
        path.write_bytes(content)


def diagnose(guest: GuestProcess) -> tuple[int, dict[str, dict[str, str]]]:
    done = guest.run("heat-config-zaqar", "doctor", "--json")
    return done.returncode, {item["check"]: item for item in json.loads(done.stdout)}


def first_problem(guest: GuestProcess) -> tuple[str, str]:
    code, found = diagnose(guest)
    assert code == 1, found
    problems = [item for item in found.values() if item["result"] == "problem"]
    assert all(item["advice"] for item in problems)
    return problems[0]["check"], problems[0]["detail"]


def change_login(guest: GuestProcess, **changes: str) -> None:
    stored = json.loads(guest.settings.metadata_file.read_text())
    stored["snapshot"]["os-collect-config"]["zaqar"].update(changes)
    guest.settings.metadata_file.write_text(json.dumps(stored))


def test_the_doctor_finds_nothing_wrong_with_a_healthy_guest(guest: GuestProcess) -> None:
    code, found = diagnose(guest)
    assert code == 0, found
    results = {name: item["result"] for name, item in found.items()}
    unknown = {name for name, result in results.items() if result == "not checked"}
    assert unknown <= CAN_BE_UNKNOWN
    assert set(results.values()) <= {"ok", "not checked"}
    assert found["heat"]["detail"] == "answers; it has 1 deployments for this server"


@pytest.mark.parametrize(
    ("service", "check"),
    [("keystone", "connection"), ("zaqar", "queue"), ("heat-api", "heat")],
)
def test_the_doctor_names_the_service_that_is_away(
    guest: GuestProcess, cloud: Cloud, service: str, check: str
) -> None:
    cloud.stop(service)
    try:
        found, detail = first_problem(guest)
    finally:
        cloud.start(service)
    assert (found, detail[-18:]) == (check, "Connection refused"), detail


def test_the_doctor_names_a_wrong_password_and_does_not_show_it(guest: GuestProcess) -> None:
    change_login(guest, password="wrong-Secret1")
    assert first_problem(guest)[0] == "keystone"
    for arguments in (("doctor",), ("doctor", "--json")):
        done = guest.run("heat-config-zaqar", *arguments)
        assert "wrong-Secret1" not in done.stdout + done.stderr


def test_the_doctor_names_a_region_without_zaqar(guest: GuestProcess) -> None:
    change_login(guest, region_name="Nowhere")
    check, detail = first_problem(guest)
    assert (check, "catalog" in detail) == ("queue", True), detail


def test_the_doctor_names_a_name_that_does_not_resolve(guest: GuestProcess) -> None:
    change_login(guest, auth_url="http://nonexistent.invalid:5000/v3/")
    check, detail = first_problem(guest)
    assert (check, "nonexistent.invalid" in detail) == ("name", True)


class _Dated(http.server.BaseHTTPRequestHandler):
    """Answers anything, with a clock that is an hour slow where the server says so."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) - self.server.slow)  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def loopback_server(slow: float, certificate: Path | None = None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Dated)
    server.slow = slow  # type: ignore[attr-defined]
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scheme = "https" if certificate else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}/v3/"
    finally:
        server.shutdown()
        server.server_close()


def make_certificate(directory: Path) -> Path:
    """Make a self-signed certificate for loopback; its key is in the same file."""
    path = directory / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", path, "-out", directory / "ca.pem"], check=True)
    path.write_bytes(path.read_bytes() + (directory / "ca.pem").read_bytes())
    return path


def test_the_doctor_names_a_certificate_that_is_not_trusted(
    guest: GuestProcess, tmp_path: Path
) -> None:
    with loopback_server(0, make_certificate(tmp_path)) as url:
        change_login(guest, auth_url=url)
        check, detail = first_problem(guest)
        assert (check, "self-signed certificate" in detail) == ("certificate", True), detail
        guest.set(ca_file=f'"{tmp_path}/ca.pem"')
        _, found = diagnose(guest)
        assert found["certificate"] == {
            "check": "certificate",
            "result": "ok",
            "detail": "trusted",
            "advice": "",
        }
        guest.set(insecure="true")
        assert first_problem(guest)[0] == "settings"


@pytest.mark.parametrize(("slow", "side"), [(7200, "ahead of"), (-7200, "behind")])
def test_the_doctor_names_a_wrong_clock_before_the_certificate(
    guest: GuestProcess, tmp_path: Path, slow: float, side: str
) -> None:
    with loopback_server(slow, make_certificate(tmp_path)) as url:
        change_login(guest, auth_url=url)
        check, detail = first_problem(guest)
    assert (check, f"s {side} Keystone's" in detail) == ("clock", True), detail


def test_the_doctor_names_a_full_disk(guest: GuestProcess, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        (disk / "fill").write_bytes(bytes(48 * 1024))
        settings = (guest.directory / "settings.toml").read_text()
        state = str(guest.settings.state_dir)
        (guest.directory / "settings.toml").write_text(settings.replace(state, str(disk)))
        check, detail = first_problem(guest)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert (check, "No space left" in detail) == ("disk", True), detail


def test_the_doctor_names_metadata_that_grows_to_the_queues_limit(guest: GuestProcess) -> None:
    stored = json.loads(guest.settings.metadata_file.read_text())
    stored["snapshot"]["deployments"][0]["config"] += "#" * 230_000
    guest.settings.metadata_file.write_text(json.dumps(stored))
    check, detail = first_problem(guest)
    assert (check, "of 262144 bytes" in detail) == ("size limit", True)


def test_the_doctor_names_a_hook_that_hangs_and_one_that_was_interrupted(
    guest: GuestProcess,
) -> None:
    running = guest.settings.state_dir / "running" / "stuck.json"
    record = {"attempts": 1, "started": time.time() - 7200, "name": "00-stuck", "group": "script"}
    durable.write_json(running, record)
    try:
        with durable.locked(guest.settings.state_dir / "apply.lock"):
            check, detail = first_problem(guest)
            assert (check, detail[:31]) == ("hooks", "00-stuck (stuck) has run for 72")
        assert first_problem(guest) == ("hooks", "00-stuck (stuck) was interrupted")
    finally:
        running.unlink()


def test_the_doctor_names_signals_that_cannot_be_sent(guest: GuestProcess) -> None:
    delivered = next((guest.settings.state_dir / "delivered").glob("*.json"))
    record = json.loads(delivered.read_text())
    waiting = guest.settings.state_dir / "outbox" / "waits.json"
    durable.write_json(waiting, {**record, "finished": time.time() - 600})
    try:
        check, detail = first_problem(guest)
    finally:
        waiting.unlink()
    assert (check, "1 cannot be sent" in detail) == ("signals", True)
