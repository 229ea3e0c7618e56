"""Receipt against the real cloud: what is read, stored, deleted and handed to the command, and
what a crash at any step, a wrong order or an expired message does to it.

The snapshots are Heat's own: they are taken from the queue of a real stack, before and after an
update, and posted again for each test.
"""

import json
import ssl
import subprocess
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import entry_for
from testbed.cloud import Cloud
from testbed.cloud.layout import PORTS
from testbed.guest import wait_for
from testbed.heat import Heat, Script, deployments_template
from tests.integration.guest_process import GuestProcess, kill_group
from tests.integration.proxy import Proxy
from tests.integration.test_cloud import Guest as Poster

STACK = "receipt"


@dataclass
class Captured:
    """Heat's snapshots of one server: while it was created, and after an update of `a`."""

    metadata: dict[str, Any]
    poster: Poster
    creation: list[dict[str, Any]]
    update: dict[str, Any]

    @property
    def full(self) -> dict[str, Any]:
        """The snapshot with every deployment of the creation."""
        return max(self.creation, key=lambda body: len(body["deployments"]))


def ids(snapshot: dict[str, Any]) -> set[str]:
    return {item["id"] for item in snapshot["deployments"]}


def signal_queue(deployment: dict[str, Any]) -> str:
    values = {item["name"]: item["value"] for item in deployment["inputs"]}
    queue: str = values["deploy_queue_id"]
    return queue


def scripts(first: str) -> dict[str, Script]:
    return {"a": Script(first), "b": Script("echo b"), "c": Script("echo c")}


def taken(poster: Poster, number: int, old: Set[str] = frozenset()) -> list[dict[str, Any]]:
    """Wait for a snapshot with that many deployments, not all old, and take all from the queue.

    What Heat posts of a stack's creation may come as late as during its update.
    """
    found: list[dict[str, Any]] = []

    def complete() -> bool:
        found[:] = [body for body in poster.messages() if not ids(body) <= old]
        return any(len(body["deployments"]) == number for body in found)

    wait_for(complete, 90, f"no snapshot with {number} deployments")
    poster.empty()
    return found


@pytest.fixture(scope="module")
def captured(cloud: Cloud) -> Iterator[Captured]:
    heat = Heat(cloud.admin_session())
    heat.create_stack(STACK, deployments_template(scripts("echo old")))
    metadata = heat.server_metadata_when_ready(STACK)
    poster = Poster(metadata)
    creation = taken(poster, 3)
    full = max(creation, key=lambda body: len(body["deployments"]))
    for deployment in full["deployments"]:
        poster.post(signal_queue(deployment), {"deploy_status_code": 0})
    heat.wait_for(STACK, ["CREATE_COMPLETE"], 90)
    heat.update_stack(STACK, deployments_template(scripts("echo new")))
    update = taken(poster, 3, old=ids(full))[-1]
    yield Captured(metadata, poster, creation, update)
    heat.delete_stack(STACK)


@pytest.fixture
def guest(captured: Captured, tmp_path: Path) -> GuestProcess:
    captured.poster.empty()
    made = GuestProcess(tmp_path, captured.metadata)
    # It has looked since its boot; else it would ask Heat, which has gone on since the capture.
    durable.write_json(made.settings.collected_file, time.time())
    return made


def applied(guest: GuestProcess) -> list[set[str]]:
    """The deployments of each snapshot that the command was run with."""
    runs = sorted((guest.directory / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return [ids(json.loads(path.read_text())) for path in runs]


def keep_runs(guest: GuestProcess) -> str:
    """A command that keeps the snapshot it was run with."""
    runs = guest.directory / "runs"
    runs.mkdir(exist_ok=True)
    return f'cp "${{OS_CONFIG_FILES%%:*}}" $(mktemp {runs}/XXXXXX)'


STEPS = {
    "before it is stored": ("metadata_store.MetadataStore", "save", "before"),
    "after it is stored": ("metadata_store.MetadataStore", "save", "after"),
    "before it is deleted": ("queue.Queue", "delete", "before"),
    "after it is deleted": ("queue.Queue", "delete", "after"),
    "before the command": ("launcher.collect", "call_command", "before"),
    "before the commit": ("launcher.collect", "call_command", "after"),
    "after a commit of part": ("launcher.collect.cache", "commit", "after"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_deployment_runs_after_a_crash(
    step: str, captured: Captured, guest: GuestProcess
) -> None:
    captured.poster.post(captured.poster.queue, captured.full)
    owner, function, when = STEPS[step]
    conf = guest.directory / "os-collect-config.conf"
    command = keep_runs(guest)
    arguments = ["o", "--config-file", str(conf), "--one-time", "--command", command, "zaqar"]
    crashed = guest.run_python(
        "import os, sys\n"
        "from heat_config_zaqar.collect import launcher\n"
        "from heat_config_zaqar.state import metadata_store\n"
        "from heat_config_zaqar.wire import queue\n"
        f"real = {owner}.{function}\n"
        "def dying(*arguments, **more):\n"
        f"    if {when == 'after'}: real(*arguments, **more)\n"
        "    os._exit(137)\n"
        f"{owner}.{function} = dying\n"
        f"sys.argv = {arguments!r}\n"
        "launcher.main()"
    )
    assert crashed.returncode == 137, crashed.stderr
    assert guest.collect_and_run(command).returncode == 0
    assert applied(guest)[-1] == ids(captured.full)
    assert captured.poster.messages() == []
    once = len(applied(guest))
    guest.collect_and_run(command)
    assert len(applied(guest)) == once


def test_a_command_that_fails_is_run_again_until_it_succeeds(
    captured: Captured, guest: GuestProcess
) -> None:
    captured.poster.post(captured.poster.queue, captured.full)
    tries = guest.directory / "tries"
    command = f"echo >>{tries}; test $(wc -l <{tries}) -ge 3"
    process = guest.start_collecting(command)
    try:
        wait_for(lambda: tries.exists() and tries.read_text().count("\n") == 3, 90, "no retry")
        time.sleep(3)
        assert tries.read_text().count("\n") == 3
    finally:
        kill_group(process)


def test_45_waiting_messages_are_applied_in_one_collection(
    captured: Captured, guest: GuestProcess
) -> None:
    for body in (captured.creation * 45)[:44]:
        captured.poster.post(captured.poster.queue, body)
    captured.poster.post(captured.poster.queue, captured.update)
    guest.collect_and_run(keep_runs(guest))
    assert applied(guest) == [ids(captured.update)]
    assert captured.poster.messages() == []


@pytest.mark.parametrize("newest", ["first", "last"])
@pytest.mark.parametrize("heat_is", ["reachable", "away"])
def test_snapshots_in_any_order_lose_no_deployment_and_run_no_superseded_config(
    newest: str, heat_is: str, captured: Captured, guest: GuestProcess, cloud: Cloud
) -> None:
    batch = [*captured.creation, captured.update]
    for body in batch if newest == "last" else reversed(batch):
        captured.poster.post(captured.poster.queue, body)
    if heat_is == "away":
        cloud.stop("heat-api")
    try:
        assert ids(guest.collect()) == ids(captured.update)
    finally:
        if heat_is == "away":
            cloud.start("heat-api")
    # Nothing of it is a secret that only the queue knew.
    assert ids(guest.collect()) == ids(captured.update)


def test_a_late_message_takes_nothing_finished_out_of_sight(
    captured: Captured, guest: GuestProcess
) -> None:
    captured.poster.post(captured.poster.queue, captured.update)
    for document in guest.collect()["deployments"]:
        entry = entry_for(parse_deployment(document), {"deploy_status_code": 1}, 1, time.time())
        guest.outbox.finish(entry)
    late = min(captured.creation, key=lambda body: len(body["deployments"]))
    assert not ids(captured.update) <= ids(late)
    captured.poster.post(captured.poster.queue, late)
    assert ids(guest.collect()) == ids(captured.update)


def let_two_hours_pass(guest: GuestProcess) -> None:
    """Make it as if a guest had been off that long, in which the message of the update expired."""
    stored = durable.read_json(guest.settings.metadata_file)
    durable.write_json(guest.settings.metadata_file, {**stored, "current": time.time() - 7200})
    guest.settings.collected_file.unlink()


def test_a_guest_that_was_off_for_longer_than_a_message_lives_asks_heat(
    captured: Captured, guest: GuestProcess
) -> None:
    captured.poster.post(captured.poster.queue, captured.full)
    guest.collect()
    let_two_hours_pass(guest)
    assert ids(guest.collect()) == ids(captured.update)


def test_a_doubt_that_heat_could_not_settle_outlives_the_process(
    captured: Captured, guest: GuestProcess, cloud: Cloud
) -> None:
    captured.poster.post(captured.poster.queue, captured.full)
    guest.collect()
    let_two_hours_pass(guest)
    cloud.stop("heat-api")
    try:
        assert ids(guest.collect()) == ids(captured.full)
    finally:
        cloud.start("heat-api")
    assert ids(guest.collect()) == ids(captured.update)


def test_another_source_that_changes_takes_no_deployment_away(
    captured: Captured, guest: GuestProcess
) -> None:
    local = guest.directory / "local"
    local.mkdir()
    guest.environment["LC_ALL"] = "C"
    with (guest.directory / "os-collect-config.conf").open("a") as conf:
        conf.write(f"[local]\npath = {local}\n")
    captured.poster.post(captured.poster.queue, captured.full)
    for text in ('{"a": 1}', '{"a": 2}'):
        (local / "a.json").write_text(text)
        done = guest.collect_and_run(keep_runs(guest), "zaqar", "local")
        assert done.returncode == 0, done.stderr
    assert applied(guest) == [ids(captured.full)] * 2


def test_a_snapshot_without_a_usable_section_leaves_the_guest_its_login(
    captured: Captured, guest: GuestProcess
) -> None:
    captured.poster.post(captured.poster.queue, captured.full)
    guest.collect()
    for section in (None, "text", {"zaqar": {"password": 7}}):
        broken = {**captured.update, "os-collect-config": section}
        captured.poster.post(captured.poster.queue, broken)
        found = guest.collect()
        assert ids(found) == ids(captured.update)
        assert found["os-collect-config"] == captured.full["os-collect-config"]


def test_a_stored_snapshot_that_is_lost_is_replaced(
    captured: Captured, guest: GuestProcess
) -> None:
    captured.poster.post(captured.poster.queue, captured.full)
    guest.collect_and_run("true")
    guest.settings.metadata_file.write_text("{")
    # Heat is asked as well, since nothing says how old the copy is.
    assert ids(guest.collect()) == ids(captured.update)
    assert (guest.settings.state_dir / "metadata.json.corrupt").exists()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    path = tmp_path / "cloud.pem"
    subject = ["-subj", "/CN=cloud", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*new, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_certificates_are_verified_over_https_and_wss(
    captured: Captured, tmp_path: Path, cloud: Cloud, certificate: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    captured.poster.empty()
    captured.poster.post(captured.poster.queue, captured.full)
    with Proxy(PORTS["zaqar"], tls) as http, Proxy(PORTS["zaqar-websocket"], tls) as push:
        region = f"tls-{http.port}"
        endpoints = {
            "messaging": f"https://127.0.0.1:{http.port}",
            "messaging-websocket": f"wss://127.0.0.1:{push.port}",
        }
        cloud.add_region(region, endpoints)
        (tmp_path / "strict").mkdir()
        strict = GuestProcess(tmp_path / "strict", captured.metadata, region_name=region)
        refused = strict.run("heat-config-zaqar-collect", *strict.one_time)
        assert "is the CA of the cloud in ca_file?" in refused.stderr
        assert len(captured.poster.messages()) == 1
        (tmp_path / "private").mkdir()
        login = {"region_name": region, "ca_file": f"{certificate}.crt"}
        private = GuestProcess(tmp_path / "private", captured.metadata, **login)
        process = private.start_collecting("true")
        try:
            wait_for(lambda: private.connection_state() == "push", 120, "no push over wss")
        finally:
            kill_group(process)
        assert captured.poster.messages() == []
        (tmp_path / "open").mkdir()
        unverified = GuestProcess(tmp_path / "open", captured.metadata, region_name=region)
        unverified.set(insecure="true")
        captured.poster.post(captured.poster.queue, captured.full)
        done = unverified.run("heat-config-zaqar-collect", *unverified.one_time)
        assert ids(json.loads(done.stdout)["zaqar"]) == ids(captured.full)
        assert "certificates are not verified" in done.stderr
