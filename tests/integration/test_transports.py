"""Every signal transport of Heat goes through the outbox and arrives."""

import contextlib
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1 import exceptions

from testbed.guest import wait_for
from testbed.heat import Heat, deployments_template
from tests.integration.conftest import Start, script
from tests.integration.guest_process import SCRIPTS, GuestProcess

TRANSPORTS = ("ZAQAR_SIGNAL", "CFN_SIGNAL", "HEAT_SIGNAL", "NO_SIGNAL")


def test_each_transport_completes_its_deployment_and_shows_its_outputs(
    start: Start, heat: Heat
) -> None:
    text = 'echo out; echo err >&2; printf %s "$n" >"$heat_outputs_path.result"'
    scripts = {
        name[:3].lower(): script(text, inputs={"n": 7}, outputs=("result",), signal_transport=name)
        for name in TRANSPORTS
    }
    guest = start("transports", scripts)
    guest.collect()
    guest.apply()
    assert set(guest.states().values()) == {"delivered"}
    stack = heat.wait_for("transports", ["CREATE_COMPLETE"], 180)
    for name in ("zaq", "cfn", "hea"):
        shown = {key: stack.outputs[f"{name}_{key}"] for key in ("deploy_stdout", "result")}
        assert shown == {"deploy_stdout": "out\n", "result": "7"}, name
        assert int(stack.outputs[f"{name}_deploy_status_code"]) == 0


def test_a_resource_may_be_called_what_no_path_of_a_url_may_hold(start: Start, heat: Heat) -> None:
    names = ("a#1", "what?", "50%", "a b")
    scripts = {name: script("echo out", signal_transport="HEAT_SIGNAL") for name in names}
    guest = start("odd-names", scripts)
    guest.collect()
    said = guest.apply().stderr
    assert set(guest.states().values()) == {"delivered"}, said
    stack = heat.wait_for("odd-names", ["CREATE_COMPLETE"], 180)
    assert {stack.outputs[f"{name}_deploy_stdout"] for name in names} == {"out\n"}


def test_a_failure_is_shown_whatever_the_transport(start: Start, heat: Heat) -> None:
    scripts = {
        name[:3].lower(): script("echo why >&2; exit 3", signal_transport=name)
        for name in ("CFN_SIGNAL", "HEAT_SIGNAL")
    }
    guest = start("failures", scripts)
    guest.collect()
    guest.apply()
    failed = dict.fromkeys(scripts, "CREATE_FAILED")
    wait_for(
        lambda: failed.items() <= heat.resource_statuses("failures").items(), 180, "no failure"
    )
    for name in scripts:
        outputs = str(heat.resource("failures", name).attributes["output_values"])
        assert "why" in outputs
        assert re.search("deploy_status_code.{2,5}3", outputs), outputs


def test_output_over_every_limit_is_cut_where_heats_own_apis_take_the_signal(
    start: Start, heat: Heat
) -> None:
    loud = "head -c 5000000 /dev/zero | tr '\\0' x | tee /dev/stderr; echo END"
    scripts = {
        name[:3].lower(): script(loud, signal_transport=name)
        for name in ("CFN_SIGNAL", "HEAT_SIGNAL")
    }
    guest = start("loud-apis", scripts)
    guest.collect()
    guest.apply()
    stack = heat.wait_for("loud-apis", ["CREATE_COMPLETE"], 180)
    for name in scripts:
        stdout = stack.outputs[f"{name}_deploy_stdout"]
        assert re.match(r"\[\d+ characters cut\]\n", stdout), name
        assert stdout.endswith("xEND\n"), name
        assert int(stack.outputs[f"{name}_deploy_status_code"]) == 0


def test_heat_config_notify_completes_a_deployment_with_the_outputs_that_it_is_given(
    start: Start, heat: Heat
) -> None:
    guest = start("by-hand", {"one": script("echo never", outputs=("result",))})
    guest.collect()
    config = guest.directory / "config.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(guest.deployments()[0]))
    done = subprocess.run(
        [SCRIPTS / "heat-config-notify", config],
        env=guest.environment,
        input=json.dumps({"deploy_stdout": "by hand", "deploy_status_code": 0, "result": "42"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    stack = heat.wait_for("by-hand", ["CREATE_COMPLETE"], 180)
    assert stack.outputs["one_result"] == "42"
    guest.apply()
    assert list(guest.states().values()) == ["delivered"]
    assert "never" not in str(list(guest.outbox.records()))


class Store:
    """Stands for the object store of TEMP_URL_SIGNAL: the test cloud has no Swift."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, Any]] = []
        self.status = 201
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                store.received.append((self.command, self.path, json.loads(body)))
                self.send_response(store.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Stay quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/object?temp_url_sig=s3cr3t"


@pytest.fixture
def store() -> Iterator[Store]:
    found = Store()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def signalled_to(store: Store, deployment: dict[str, Any]) -> dict[str, Any]:
    """Return the deployment as it would be with TEMP_URL_SIGNAL."""
    changed = {"deploy_signal_transport": "TEMP_URL_SIGNAL", "deploy_signal_id": store.url}
    kept = [item for item in deployment["inputs"] if item["name"] not in changed]
    added = [{"name": name, "type": "String", "value": value} for name, value in changed.items()]
    return {**deployment, "inputs": kept + added}


def test_a_temporary_url_is_put_once_and_again_only_while_its_store_is_in_trouble(
    start: Start, store: Store
) -> None:
    guest = start("temp-url", {"one": script("echo out")})
    (deployment,) = guest.collect()["deployments"]
    guest.write_deployments([signalled_to(store, deployment)])
    store.status = 503
    printed = guest.apply()
    assert "s3cr3t" not in printed.stdout + printed.stderr
    assert len(guest.outbox.pending()) == 1
    store.status = 201
    guest.deliver()
    guest.deliver()
    assert guest.states() == {deployment["id"]: "delivered"}
    assert len(store.received) == 2
    method, path, body = store.received[-1]
    assert (method, path) == ("PUT", "/v1/object?temp_url_sig=s3cr3t")
    assert body == {"deploy_stdout": "out\n", "deploy_stderr": "", "deploy_status_code": 0}


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "TEMP_URL_SIGNAL"])
def test_a_server_that_polls_heat_sends_no_signal_for_what_was_updated_while_its_hook_ran(
    heat: Heat, tmp_path: Path, store: Store, transport: str
) -> None:
    stack = f"polls-{transport[:3].lower()}"

    def polled(text: str) -> dict[str, Any]:
        scripts = {"one": script(text, signal_transport="CFN_SIGNAL")}
        return deployments_template(scripts, metadata_transport="POLL_SERVER_HEAT")

    def deployments() -> list[dict[str, Any]]:
        with contextlib.suppress(exceptions.NotFound):
            return list(heat.server_metadata(stack).get("deployments", []))
        return []

    guest = GuestProcess(tmp_path, {"os-collect-config": {"zaqar": {}}})
    slow = f"touch {tmp_path}/runs; until [ -e {tmp_path}/goes-on ]; do sleep 0.1; done; echo old"
    heat.create_stack(stack, polled(slow))
    try:
        wait_for(lambda: bool(deployments()), 180, "no deployment")
        guest.collect_from("heat", heat.server_metadata(stack)["os-collect-config"]["heat"])
        (old,) = deployments()
        assert "deploy_password" not in {item["name"] for item in old["inputs"]}
        is_put = transport == "TEMP_URL_SIGNAL"
        guest.write_deployments([signalled_to(store, old) if is_put else old])
        applying = guest.start_applying()
        wait_for((tmp_path / "runs").exists, 60, "the hook does not run")
        heat.signal(stack, "one", {"deploy_stdout": "by hand", "deploy_status_code": 0})
        heat.wait_for(stack, ["CREATE_COMPLETE"], 180)
        heat.update_stack(stack, polled("echo new"))
        wait_for(lambda: deployments() not in ([], [old]), 180, "no update")
        (tmp_path / "goes-on").touch()
        assert applying.wait(60) == 0
        assert guest.states() == {old["id"]: "superseded"}
        assert store.received == []
        guest.write_deployments(deployments())
        guest.apply()
        assert (
            heat.wait_for(stack, ["UPDATE_COMPLETE"], 180).outputs["one_deploy_stdout"] == "new\n"
        )
    finally:
        heat.delete_stack(stack)
