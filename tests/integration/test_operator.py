"""heat-config-zaqar against the real cloud: resend and rerun."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from keystoneauth1.adapter import Adapter

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
