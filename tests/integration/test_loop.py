"""Receipt, execution and delivery against the real cloud, and what a crash or outage does to them.

A crash at a certain step is a real process that ends itself there, in place of the next step.
"""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from testbed.cloud import Cloud
from testbed.guest import wait_for
from testbed.heat import Heat, deployments_template
from tests.integration.conftest import Start, script
from tests.integration.guest_process import kill_group
from tests.integration.test_cloud import Guest

DIE = "lambda *a, **k: os._exit(137)"


def has_lines(path: Path, number: int) -> bool:
    return path.exists() and path.read_text().count("\n") == number


def test_collected_deployments_run_and_complete_the_stack(start: Start, heat: Heat) -> None:
    guest = start("loop", {"one": script("echo $n", inputs={"n": 3}), "two": script("echo two")})
    assert len(guest.collect()["deployments"]) == 2
    assert guest.apply().returncode == 0
    stack = heat.wait_for("loop", ["CREATE_COMPLETE"], 90)
    assert stack.outputs["one_deploy_stdout"] == "3\n"


def test_collecting_twice_gives_the_same_content(start: Start) -> None:
    guest = start("twice", {"one": script("echo one")})
    assert guest.collect() == guest.collect()


def test_a_crash_between_storing_and_deleting_loses_nothing(start: Start, heat: Heat) -> None:
    guest = start("crash-receipt", {"one": script("echo one")})
    conf = guest.directory / "os-collect-config.conf"
    crashed = guest.run_python(
        "import os, sys\n"
        "from heat_config_zaqar.collect import launcher\n"
        "from heat_config_zaqar.wire import queue\n"
        f"queue.Queue.delete = {DIE}\n"
        f"sys.argv = ['o', '--config-file', '{conf}', '--one-time', 'zaqar']\n"
        "launcher.main()"
    )
    assert crashed.returncode == 137
    assert guest.settings.metadata_file.exists()
    assert len(guest.collect()["deployments"]) == 1
    guest.apply()
    heat.wait_for("crash-receipt", ["CREATE_COMPLETE"], 90)


def test_a_crash_before_storing_leaves_the_messages_in_the_queue(start: Start) -> None:
    guest = start("crash-store", {"one": script("echo one")})
    conf = guest.directory / "os-collect-config.conf"
    crashed = guest.run_python(
        "import os, sys\n"
        "from heat_config_zaqar.collect import launcher\n"
        "from heat_config_zaqar.state import metadata_store\n"
        f"metadata_store.MetadataStore.save = {DIE}\n"
        f"sys.argv = ['o', '--config-file', '{conf}', '--one-time', 'zaqar']\n"
        "launcher.main()"
    )
    assert crashed.returncode == 137
    assert not guest.settings.metadata_file.exists()
    assert len(guest.collect()["deployments"]) == 1


def test_the_stored_metadata_stays_in_use_while_zaqar_is_away(start: Start, cloud: Cloud) -> None:
    guest = start("away", {"one": script("echo one")})
    before = guest.collect()
    cloud.stop("zaqar")
    try:
        assert guest.collect() == before
    finally:
        cloud.start("zaqar")


def test_a_killed_hook_runs_again_and_completes(start: Start, heat: Heat, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    text = f"echo run >>{runs}\n[ $(wc -l <{runs}) -gt 1 ] || sleep 60"
    guest = start("killed", {"one": script(text)})
    guest.collect()
    process = guest.start_applying()
    wait_for(partial(has_lines, runs, 1), 90, "the hook does not start")
    kill_group(process)
    assert guest.apply().returncode == 0
    heat.wait_for("killed", ["CREATE_COMPLETE"], 90)
    assert runs.read_text() == "run\nrun\n"
    assert guest.apply().returncode == 0
    assert runs.read_text() == "run\nrun\n"


def test_a_hook_that_never_survives_is_given_up_with_the_reason(
    start: Start, heat: Heat, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    guest = start("hopeless", {"one": script(f"echo run >>{runs}\nsleep 60")})
    guest.collect()
    for number in range(1, 4):
        process = guest.start_applying()
        wait_for(partial(has_lines, runs, number), 90, "the hook does not start")
        kill_group(process)
    guest.apply()
    wait_for(lambda: heat.resource_statuses("hopeless")["one"] == "CREATE_FAILED", 90, "no failure")
    assert "interrupted 3 times" in str(heat.resource("hopeless", "one").attributes)
    assert runs.read_text().count("run") == 3


def test_a_crash_between_result_and_signal_still_signals_and_does_not_run_again(
    start: Start, heat: Heat, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    guest = start("crash-signal", {"one": script(f"echo run >>{runs}")})
    guest.collect()
    crashed = guest.run_python(
        "import os\n"
        "from heat_config_zaqar.deliver import delivery as deliver\n"
        "from heat_config_zaqar.run import apply\n"
        f"deliver.Delivery.deliver = {DIE}\n"
        "apply.main()"
    )
    assert crashed.returncode == 137
    guest.deliver()
    heat.wait_for("crash-signal", ["CREATE_COMPLETE"], 90)
    assert runs.read_text() == "run\n"


@pytest.mark.parametrize("waited", [0, 60])
def test_a_crash_after_the_post_never_completes_the_next_update_with_old_outputs(
    start: Start, heat: Heat, waited: int
) -> None:
    name = f"crash-post-{waited}"
    guest = start(name, {"one": script("echo old")})
    guest.collect()
    crashed = guest.run_python(
        "import os\n"
        "from heat_config_zaqar.run import apply\n"
        "from heat_config_zaqar.state import outbox\n"
        f"outbox.Outbox.settle = {DIE}\n"
        "apply.main()"
    )
    assert crashed.returncode == 137
    heat.wait_for(name, ["CREATE_COMPLETE"], 90)
    guest.change_pending(sent_at=time.time() - waited)
    guest.deliver()
    assert len(guest.outbox.pending()) == (0 if waited else 1)
    old = guest.collect()["deployments"]
    heat.update_stack(name, deployments_template({"one": script("echo new")}))
    wait_for(lambda: guest.collect()["deployments"] != old, 60, "no message for the update")
    guest.apply()
    stack = heat.wait_for(name, ["UPDATE_COMPLETE"], 90)
    assert stack.outputs["one_deploy_stdout"] == "new\n"
    assert guest.outbox.pending() == []


def test_a_pending_signal_is_dropped_when_a_newer_config_took_its_queue(
    start: Start, heat: Heat
) -> None:
    guest = start("superseded", {"one": script("echo old")})
    guest.collect()
    guest.run_python(
        "import os\n"
        "from heat_config_zaqar.deliver import delivery as deliver\n"
        "from heat_config_zaqar.run import apply\n"
        f"deliver.Delivery.deliver = {DIE}\n"
        "apply.main()"
    )
    (old,) = guest.outbox.pending()
    # As after a stack update: another config, later, for the same signal queue.
    newer = guest.deployments()
    newer[0].update(id="newer", creation_time="2099-01-01T00:00:00Z", config="#!/bin/sh\necho new")
    guest.write_deployments(newer)
    guest.apply()
    stack = heat.wait_for("superseded", ["CREATE_COMPLETE"], 90)
    assert stack.outputs["one_deploy_stdout"] == "new\n"
    states = {record["id"]: state for state, record in guest.outbox.records()}
    assert states == {old.id: "superseded", "newer": "delivered"}


@pytest.mark.parametrize("service", ["zaqar", "keystone"])
def test_a_signal_waits_for_a_service_that_is_away(
    start: Start, cloud: Cloud, service: str
) -> None:
    guest = start(f"no-{service}", {"one": script("echo one")})
    guest.collect()
    guest.forget_tokens()
    cloud.stop(service)
    try:
        assert guest.apply().returncode == 0
        assert len(guest.outbox.pending()) == 1
    finally:
        cloud.start(service)
    guest.deliver()
    assert guest.outbox.pending() == []


def test_output_over_the_queues_limit_is_cut_with_a_marker(start: Start, heat: Heat) -> None:
    loud = script("head -c 5000000 /dev/zero | tr '\\0' x | tee /dev/stderr; echo END; exit 4")
    guest = start("loud", {"one": loud})
    guest.collect()
    guest.apply()
    wait_for(lambda: heat.resource_statuses("loud")["one"] == "CREATE_FAILED", 90, "no failure")
    outputs = str(heat.resource("loud", "one").attributes["output_values"])
    assert "characters cut]" in outputs
    assert "END" in outputs
    assert "'deploy_status_code': 4" in outputs or '"deploy_status_code": 4' in outputs


def test_a_missing_hook_fails_its_deployment_and_names_the_group(start: Start, heat: Heat) -> None:
    guest = start("no-hook", {"one": script("true", group="chef"), "two": script("echo two")})
    guest.collect()
    guest.apply()
    ended = {"one": "CREATE_FAILED", "two": "CREATE_COMPLETE"}
    wait_for(lambda: ended.items() <= heat.resource_statuses("no-hook").items(), 90, "no neighbour")
    assert "no hook for group" in str(heat.resource("no-hook", "one").attributes)


def test_hostile_messages_are_skipped_and_removed_and_the_good_one_is_applied(
    start: Start, heat: Heat
) -> None:
    guest = start("hostile", {"one": script("echo one")})
    metadata = heat.server_metadata("hostile")
    posting = Guest(metadata)
    bodies: list[Any] = ["text", 7, {"deployments": "x"}, {"deployments": [{"id": "../../etc/x"}]}]
    for body in bodies:
        posting.post(posting.queue, body)
    found = guest.collect()
    assert [item["name"] for item in found["deployments"]] == ["one"]
    assert posting.messages() == []
    guest.apply()
    heat.wait_for("hostile", ["CREATE_COMPLETE"], 90)


def test_every_file_of_the_state_is_for_root_alone(start: Start) -> None:
    guest = start("closed", {"one": script("echo one")})
    guest.collect()
    guest.apply()
    for directory in (guest.settings.state_dir, guest.settings.runtime_dir):
        for path in [directory, *directory.rglob("*")]:
            wanted = 0o700 if path.is_dir() else 0o600
            assert path.stat().st_mode & 0o777 == wanted, path
    assert os.listdir(guest.settings.state_dir / "outbox") == []
