"""A result always reaches Heat, and only the deployment that it is for."""

import contextlib
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from keystoneauth1 import exceptions

from heat_config_zaqar.signal_body import storable
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection
from testbed.cloud import Cloud
from testbed.guest import wait_for
from testbed.heat import Heat, deployments_template
from tests.conftest import BUILD
from tests.integration.conftest import Start, script, template_of
from tests.integration.guest_process import GuestProcess
from tests.integration.lossy_proxy import LossyProxy
from tests.integration.test_cloud import Guest, inputs_of

DIE_BEFORE_DELIVERY = (
    "import os, signal\n"
    "from heat_config_zaqar.deliver import delivery as deliver\n"
    "from heat_config_zaqar.run import apply\n"
    "deliver.Delivery.deliver = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    "apply.main()"
)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def proxy() -> Iterator[LossyProxy]:
    with LossyProxy() as running:
        yield running


def signal_queue(guest: GuestProcess, heat: Heat, stack: str) -> Guest:
    """Return a reader of the signal queue of the guest's only deployment."""
    (deployment,) = guest.deployments()
    reader = Guest(heat.server_metadata(stack))
    reader.queue = inputs_of(deployment)["deploy_queue_id"]
    return reader


def update(guest: GuestProcess, heat: Heat, stack: str, text: str) -> None:
    """Update the stack to a script that says `text`, and run that."""
    old = guest.deployments()
    heat.update_stack(stack, template_of({"one": script(f"echo {text}")}))
    wait_for(lambda: guest.collect()["deployments"] != old, 180, "no message for the update")
    guest.apply()


@contextmanager
def paused(cloud: Cloud, service: str) -> Iterator[None]:
    """Stop a service's processes in their tracks, as a machine without a processor would."""
    leader = json.loads(cloud.layout.record(service).read_text())["pid"]
    os.killpg(leader, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(leader, signal.SIGCONT)


def is_signal(request: tuple[str, str]) -> bool:
    return request[0] == "POST" and request[1].endswith("/messages")


def test_a_lost_answer_to_a_post_that_heat_has_read_completes_no_later_update(
    start: Start, heat: Heat, proxy: LossyProxy
) -> None:
    guest = start("lost-read", {"one": script("echo old")})
    guest.set(proxy=proxy.setting)
    guest.collect()
    proxy.loses = is_signal
    guest.apply()
    heat.wait_for("lost-read", ["CREATE_COMPLETE"], 180)
    (entry,) = guest.outbox.pending()
    assert entry.sending
    proxy.loses = lambda _: False
    guest.deliver()
    assert len(guest.outbox.pending()) == 1
    guest.change_pending(sent_at=time.time() - 60)
    guest.deliver()
    assert guest.outbox.pending() == []
    assert len(proxy.matching("POST", "/messages")) == 1
    assert signal_queue(guest, heat, "lost-read").messages() == []
    update(guest, heat, "lost-read", "new")
    stack = heat.wait_for("lost-read", ["UPDATE_COMPLETE"], 180)
    assert stack.outputs["one_deploy_stdout"] == "new\n"
    assert signal_queue(guest, heat, "lost-read").messages() == []


def test_a_lost_answer_to_a_post_that_heat_has_not_read_is_found_in_the_queue(
    start: Start, heat: Heat, cloud: Cloud, proxy: LossyProxy
) -> None:
    guest = start("lost-unread", {"one": script("echo old")})
    guest.set(proxy=proxy.setting)
    guest.collect()
    reader = signal_queue(guest, heat, "lost-unread")
    with paused(cloud, "heat-engine"):
        proxy.loses = is_signal
        guest.apply()
        proxy.loses = lambda _: False
        assert len(reader.messages()) == 1
        guest.deliver()
        assert guest.outbox.pending() == []
        assert len(reader.messages()) == 1
    heat.wait_for("lost-unread", ["CREATE_COMPLETE"], 180)
    assert proxy.matching("POST", "/signal") == []
    update(guest, heat, "lost-unread", "new")
    stack = heat.wait_for("lost-unread", ["UPDATE_COMPLETE"], 180)
    assert stack.outputs["one_deploy_stdout"] == "new\n"
    assert reader.messages() == []


def test_the_signals_of_one_run_share_one_login_and_one_connection(
    start: Start, heat: Heat, proxy: LossyProxy
) -> None:
    number = 10
    guest = start("shared", {f"d{item}": script("true") for item in range(number)})
    guest.collect()
    guest.forget_tokens()
    guest.set(proxy=proxy.setting)
    began = time.monotonic()
    guest.apply()
    took = time.monotonic() - began
    heat.wait_for("shared", ["CREATE_COMPLETE"], 180)
    assert len(proxy.matching("POST", "/auth/tokens")) == 1
    assert len(proxy.matching("POST", "/messages")) == number
    # Beside these, it looks for newer metadata, each second at most.
    assert len(proxy.requests) <= number + 2 + took, proxy.requests
    assert proxy.connections == 1


def test_a_signal_outlives_an_outage_of_zaqar_and_keystone_that_outlasts_its_token(
    start: Start, cloud: Cloud
) -> None:
    lifetime = 10
    guest = start("outage", {"one": script("echo one")})
    guest.collect()
    guest.forget_tokens()
    brief = Cloud(BUILD / "cloud", token_lifetime=lifetime)
    brief.up(print)
    try:
        guest.collect()
        logged_in = time.monotonic()
        for service in ("zaqar", "keystone"):
            brief.stop(service)
        assert guest.apply().returncode == 0
        time.sleep(max(logged_in + lifetime + 1 - time.monotonic(), 0))
        guest.deliver()
        assert len(guest.outbox.pending()) == 1
    finally:
        # With its usual lifetime of tokens.
        cloud.up(print)
    guest.deliver()
    assert set(guest.states().values()) == {"delivered"}


def test_the_signal_of_a_stack_that_was_updated_while_the_guest_was_off_is_not_sent(
    start: Start, heat: Heat
) -> None:
    guest = start("off", {"one": script("echo old")})
    guest.collect()
    assert guest.run_python(DIE_BEFORE_DELIVERY).returncode == -9
    (old,) = guest.outbox.pending()
    # Off, and somebody else signals in its place: Heat does not update what waits for a signal.
    heat.signal("off", "one", {"deploy_stdout": "by hand", "deploy_status_code": 0})
    heat.wait_for("off", ["CREATE_COMPLETE"], 180)
    heat.update_stack("off", template_of({"one": script("echo new")}))
    reader = Guest(heat.server_metadata("off"))
    wait_for(lambda: len(reader.messages()) > 0, 180, "no message for the update")
    guest.reboot()
    guest.deliver()
    assert [entry.id for entry in guest.outbox.pending()] == [old.id]
    wait_for(
        lambda: [item["id"] for item in guest.collect()["deployments"]] != [old.id],
        180,
        "no update",
    )
    guest.deliver()
    assert guest.states() == {old.id: "superseded"}
    guest.apply()
    stack = heat.wait_for("off", ["UPDATE_COMPLETE"], 180)
    assert stack.outputs["one_deploy_stdout"] == "new\n"


def test_a_signal_whose_stack_was_deleted_is_given_up_with_one_line(
    start: Start, heat: Heat
) -> None:
    guest = start("gone", {"one": script("echo one")})
    guest.collect()
    assert guest.run_python(DIE_BEFORE_DELIVERY).returncode == -9
    heat.delete_stack("gone")
    guest.forget_tokens()
    # Keystone may refuse everybody for a while: not given up at once.
    assert "not sent yet" in guest.deliver().stderr
    (entry,) = guest.outbox.pending()
    guest.change_pending(refused_seconds=3600)
    lines = guest.deliver().stderr.splitlines()
    assert len([line for line in lines if entry.id in line and "given up" in line]) == 1
    assert not any("Traceback" in line for line in lines)
    assert guest.states() == {entry.id: "failed"}
    assert entry.id not in guest.deliver().stderr
    assert guest.apply().returncode == 0
    assert guest.states() == {entry.id: "failed"}


def test_a_body_that_zaqar_refuses_goes_through_heat(start: Start, heat: Heat) -> None:
    guest = start("refused-body", {"one": script("true", outputs=("result",))})
    guest.collect()
    assert guest.run_python(DIE_BEFORE_DELIVERY).returncode == -9
    # What the guest would not store itself; Zaqar's store has numbers of 64 bits.
    guest.change_pending(body={"deploy_status_code": 0, "result": 2**70})
    said = guest.deliver().stderr
    assert "signalling through Heat" in said
    stack = heat.wait_for("refused-body", ["CREATE_COMPLETE"], 180)
    assert int(stack.outputs["one_result"]) == 2**70


def test_zaqar_and_heat_take_whatever_json_outputs_are(start: Start, heat: Heat) -> None:
    guest = start("any-json", {"one": script("true", outputs=("result",))})
    guest.collect()
    login = MetadataStore(guest.settings.metadata_file).read().login
    assert login
    queue = Queue(Connection(login[0], guest.settings), f"{login[1][:50]}-any-json")
    odd = {"number": 2**70, "text": "\ud800", "none": [math.nan, math.inf], "\udfff": {}}

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @example(odd)
    @given(st.dictionaries(st.text(), JSON))
    def post(body: dict[str, Any]) -> None:
        queue.post(storable(body), 60)
        ((message, stored),) = queue.messages()
        queue.delete([message])
        assert stored == storable(body)

    post()
    assert guest.run_python(DIE_BEFORE_DELIVERY).returncode == -9
    guest.change_pending(body=storable({"deploy_status_code": 0, "result": odd}))
    guest.deliver()
    stack = heat.wait_for("any-json", ["CREATE_COMPLETE"], 180)
    assert str(2**70) in str(stack.outputs["one_result"])


def test_a_server_that_polls_heat_does_not_signal_for_a_deployment_that_was_updated_meanwhile(
    heat: Heat, tmp_path: Path
) -> None:
    def polled(text: str) -> dict[str, Any]:
        scripts = {"one": script(f"echo {text}", signal_transport="HEAT_SIGNAL")}
        return deployments_template(scripts, metadata_transport="POLL_SERVER_HEAT")

    def posted(old: list[Any]) -> bool:
        with contextlib.suppress(exceptions.NotFound):
            found = heat.server_metadata("polls").get("deployments", [])
            guest.write_deployments(found)
            return bool(found) and found != old
        return False

    guest = GuestProcess(tmp_path, {"os-collect-config": {"zaqar": {}}})
    heat.create_stack("polls", polled("old"))
    try:
        wait_for(lambda: posted([]), 180, "no deployment")
        assert guest.run_python(DIE_BEFORE_DELIVERY).returncode == -9
        (old,) = guest.outbox.pending()
        heat.signal("polls", "one", {"deploy_stdout": "by hand", "deploy_status_code": 0})
        heat.wait_for("polls", ["CREATE_COMPLETE"], 180)
        before = guest.deployments()
        heat.update_stack("polls", polled("new"))
        wait_for(lambda: posted(before), 180, "no update")
        newer = guest.deployments()
        guest.write_deployments(before)
        guest.deliver()
        assert guest.states() == {old.id: "superseded"}
        guest.write_deployments(newer)
        guest.apply()
        stack = heat.wait_for("polls", ["UPDATE_COMPLETE"], 180)
        assert stack.outputs["one_deploy_stdout"] == "new\n"
    finally:
        heat.delete_stack("polls")
