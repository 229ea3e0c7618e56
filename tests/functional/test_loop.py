"""The main job: a stack completes through the booted image."""

import json
import time
from pathlib import Path

import pytest

from testbed.guest import hand_over, wait_for
from testbed.heat import Heat, Script, deployments_template
from tests.functional.conftest import Launcher

GREETING = Script(
    '#!/bin/sh\necho "hello $who"\nprintf %s "$n" >"$heat_outputs_path.number"\n',
    inputs={"who": "world", "n": 7},
    outputs=("number",),
)
FAILING = Script("#!/bin/sh\necho going wrong >&2\nexit 3\n")
LOUD = Script("#!/bin/sh\nhead -c 10000 /dev/zero | tr '\\0' x\n")
FINISHED = ("CREATE_COMPLETE", "CREATE_FAILED")


def test_a_stack_completes_and_shows_the_outputs_of_each_deployment(
    launch: Launcher, heat: Heat
) -> None:
    launch("outputs", deployments_template({"greet": GREETING, "loud": LOUD}))
    stack = heat.wait_for("outputs", ["CREATE_COMPLETE"], 180)
    assert stack.outputs["greet_deploy_stdout"] == "hello world\n"
    assert stack.outputs["greet_number"] == "7"
    assert stack.outputs["greet_deploy_status_code"] == 0
    assert stack.outputs["loud_deploy_stdout"] == "x" * 10000


def test_a_failing_script_fails_its_deployment_with_its_status_code_and_no_other(
    launch: Launcher, heat: Heat
) -> None:
    launch("failing", deployments_template({"greet": GREETING, "fail": FAILING, "loud": LOUD}))
    wait_for(
        lambda: all(
            heat.resource("failing", name).status in FINISHED for name in ("greet", "fail", "loud")
        ),
        180,
        "the deployments do not all end",
    )
    failed = heat.resource("failing", "fail")
    assert failed.status == "CREATE_FAILED"
    assert "Deployment exited with non-zero status code: 3" in failed.reason
    assert "going wrong" in str(failed.attributes["output_values"])
    assert heat.resource("failing", "greet").status == "CREATE_COMPLETE"
    assert heat.resource("failing", "loud").status == "CREATE_COMPLETE"


def test_a_stack_update_runs_the_new_script_once_and_not_the_old(
    launch: Launcher, heat: Heat
) -> None:
    def counting(version: str) -> Script:
        return Script(f"#!/bin/sh\necho {version} >>/var/tmp/runs\necho {version}\n")

    guest = launch("update", deployments_template({"count": counting("old")}))
    heat.wait_for("update", ["CREATE_COMPLETE"], 180)
    template = deployments_template({"count": counting("new")})
    stack = heat.update_stack("update", template, wait=True, timeout=180)
    assert stack.outputs["count_deploy_stdout"] == "new\n"
    assert (guest.root / "var/tmp/runs").read_text() == "old\nnew\n"


@pytest.mark.parametrize("collector", ["cfn", "heat"])
def test_a_server_that_polls_heat_instead_of_zaqar_runs_its_deployments(
    launch: Launcher, heat: Heat, collector: str
) -> None:
    name = f"polls-{collector}"
    transport = f"POLL_SERVER_{collector.upper()}"
    template = deployments_template({"greet": GREETING}, metadata_transport=transport)
    launch(name, template, collector)
    stack = heat.wait_for(name, ["CREATE_COMPLETE"], 180)
    assert stack.outputs["greet_deploy_stdout"] == "hello world\n"


def test_a_deleted_stack_leaves_the_guest_quiet(launch: Launcher, heat: Heat) -> None:
    guest = launch("deleted", deployments_template({"greet": GREETING}))
    heat.wait_for("deleted", ["CREATE_COMPLETE"], 180)
    heat.delete_stack("deleted")
    # Zaqar knows the token for five more minutes; a new login shows the deletion at once.
    guest.run("sh", "-c", "rm /run/heat-config-zaqar/tokens/*", check=True)
    guest.run("systemctl", "restart", "os-collect-config", check=True)

    def journal() -> str:
        return guest.run("journalctl", "-u", "os-collect-config", "-o", "cat").stdout

    wait_for(lambda: "HTTP 401" in journal(), 90, "the guest does not notice", guest.console)
    # The next try is due after 15 to 30 s: polling as before would log dozens of lines by then.
    time.sleep(5)
    assert len([line for line in journal().splitlines() if "HTTP 401" in line]) == 1, journal()
    assert journal().count("attempt 1") == 1, journal()
    assert "Traceback" not in journal()
    assert guest.run("systemctl", "is-active", "os-collect-config").stdout.strip() == "active"


def test_status_lists_each_deployment_for_people_and_for_machines(
    launch: Launcher, heat: Heat
) -> None:
    guest = launch("status", deployments_template({"greet": GREETING}))
    heat.wait_for("status", ["CREATE_COMPLETE"], 180)
    rows: list[dict[str, object]] = []

    def delivered() -> bool:
        rows[:] = json.loads(guest.run("heat-config-zaqar", "status", "--json").stdout)[
            "deployments"
        ]
        return bool(rows) and rows[0]["signal"] == "delivered"

    wait_for(delivered, 60, "the delivery is not recorded")
    assert [row["group"] for row in rows] == ["script"]
    assert "greet" in guest.run("heat-config-zaqar", "status").stdout


def test_the_service_starts_at_boot_and_power_off_is_clean(launch: Launcher, heat: Heat) -> None:
    guest = launch("boot", deployments_template({"greet": GREETING}))
    heat.wait_for("boot", ["CREATE_COMPLETE"], 180)
    assert guest.run("systemctl", "is-enabled", "os-collect-config").stdout.strip() == "enabled"
    guest.power_off()


def test_metadata_is_handed_over_closed_to_other_users(tmp_path: Path) -> None:
    hand_over(tmp_path, {"deployments": []})
    written = tmp_path / "var/lib/heat-cfntools/cfn-init-data"
    assert written.stat().st_mode & 0o777 == 0o600
