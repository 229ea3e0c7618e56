"""A deployment runs as often as promised, at whatever step 55-heat-config is killed.

Each durable step of a deployment is listed; 55-heat-config kills itself with SIGKILL in place of
one of them, and is then started again, as os-collect-config does.
"""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.guest import wait_for
from testbed.heat import Heat, Script
from tests.integration.conftest import Start, script, stack_with_guest
from tests.integration.guest_process import GuestProcess
from tests.integration.test_cloud import Guest, inputs_of

STEPS = (
    "write running",
    "wait for the hook",
    "write outbox",
    "remove running",
    "write outbox",
    "post",
    "write delivered",
    "remove outbox",
)
ONCE = ["start", "end"]
# By the number of the fatal step: the hook has begun, and its result is not on disk yet.
RUNS = {1: ["start", *ONCE], 2: [*ONCE, *ONCE]}

STEPPING = """
import os, signal, sys, time
from heat_config_zaqar.run import apply, hook_runner
from heat_config_zaqar.state import durable
from heat_config_zaqar.wire import queue
fatal, runs, steps = {fatal}, {runs!r}, []

def step(name):
    if len(steps) == fatal:
        while name == "wait for the hook" and not os.path.exists(runs):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
    steps.append(name)

def stepping(owner, name, describe):
    original = getattr(owner, name)
    def replacement(*arguments, **more):
        described = describe(*arguments)
        if described:
            step(described)
        return original(*arguments, **more)
    setattr(owner, name, replacement)

def of_file(kind):
    return lambda path, *_: "state" in path.parts and f"{{kind}} {{path.parent.name}}"

stepping(durable, "write_json", of_file("write"))
stepping(durable, "remove", of_file("remove"))
stepping(hook_runner, "follow", lambda *_: "wait for the hook")
stepping(queue.Queue, "post", lambda *_: "post")
code = apply.main()
step("the end")
print(*steps, sep="\\n")
sys.exit(code)
"""


@pytest.fixture(scope="module")
def shared(
    heat_of_module: Heat, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GuestProcess]:
    """A collected stack with one deployment for each step: deployment N is for step N."""
    directory = tmp_path_factory.mktemp("killed")
    # The hook that is killed in its middle must still be there when it is looked for.
    scripts = {
        f"d{number}": counting(runs_of(directory, number), 300 if number == 1 else 0)
        for number in range(len(STEPS) + 1)
    }
    with stack_with_guest(heat_of_module, "steps", scripts, directory) as guest:
        guest.collect()
        yield guest


def counting(log: Path, seconds: int) -> Script:
    """Return a script that logs when it starts and ends, and sleeps between in its first run."""
    return script(
        f"echo start >>{log}\n[ $(wc -l <{log}) != 1 ] || sleep {seconds}\necho end >>{log}"
    )


def runs_of(directory: Path, number: int) -> Path:
    """Return the file that the hook of a deployment writes to when it starts and ends."""
    return directory / f"runs-{number}"


def guest_of(shared: GuestProcess, number: int, directory: Path, heat: Heat) -> GuestProcess:
    """Return a guest that knows only one of the deployments."""
    guest = GuestProcess(directory, heat.server_metadata("steps"))
    guest.write_deployments([item for item in shared.deployments() if item["name"] == f"d{number}"])
    guest.settings.state_dir.mkdir(mode=0o700)
    shutil.copy2(shared.settings.metadata_file, guest.settings.metadata_file)
    return guest


@pytest.mark.parametrize("number", range(len(STEPS) + 1))
def test_a_deployment_that_is_killed_at_any_step_completes_and_signals_once(
    shared: GuestProcess, heat: Heat, tmp_path: Path, number: int
) -> None:
    guest = guest_of(shared, number, tmp_path, heat)
    (deployment,) = guest.deployments()
    log = runs_of(shared.directory, number)
    killed = guest.run_python(STEPPING.format(fatal=number, runs=str(log)))
    assert killed.returncode == -9, killed.stderr
    assert guest.apply().returncode == 0
    # The post's answer may have been lost with the process; a delivery after the minute in which
    # it may still arrive finds out.
    guest.change_pending(sent_at=time.time() - 60)
    guest.reboot()
    guest.settings.runtime_dir.mkdir(exist_ok=True)
    guest.settings.collected_file.write_text("0")
    guest.deliver()
    wait_for(
        lambda: heat.resource("steps", f"d{number}").status == "CREATE_COMPLETE", 180, "no signal"
    )
    assert guest.states() == {deployment["id"]: "delivered"}
    assert log.read_text().splitlines() == RUNS.get(number, ONCE)
    reader = Guest(heat.server_metadata("steps"))
    reader.queue = inputs_of(deployment)["deploy_queue_id"]
    assert reader.messages() == []
    guest.assert_no_secret_leaked()


def test_the_steps_above_are_all_that_there_are(start: Start) -> None:
    guest = start("all-steps", {"one": script("true")})
    guest.collect()
    done = guest.run_python(STEPPING.format(fatal=99, runs=""))
    assert tuple(done.stdout.splitlines()[: len(STEPS) + 1]) == (*STEPS, "the end"), done.stderr


def test_a_deployments_own_timeout_ends_its_hook_and_heat_shows_it(
    start: Start, heat: Heat
) -> None:
    scripts = {
        "slow": script("sleep 60", inputs={"deploy_timeout": 1}),
        "odd": script("true", inputs={"deploy_timeout": "soon"}),
        "quick": script("true", inputs={"deploy_timeout": "60"}),
    }
    guest = start("timeouts", scripts)
    guest.collect()
    guest.apply()
    statuses = {"slow": "CREATE_FAILED", "odd": "CREATE_FAILED", "quick": "CREATE_COMPLETE"}
    wait_for(
        lambda: statuses.items() <= heat.resource_statuses("timeouts").items(), 180, "no results"
    )
    for name, reason in (("slow", "killed after 1 seconds"), ("odd", "deploy_timeout")):
        assert reason in json.dumps(dict(heat.resource("timeouts", name).attributes))
