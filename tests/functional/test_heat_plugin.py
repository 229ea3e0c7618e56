"""What `signal_transport: AUTO` becomes, through the booted image."""

import json

import pytest

from testbed.cloud import Cloud
from testbed.guest import Container, wait_for
from testbed.heat import Heat, Script, deployments_template
from tests.functional.conftest import Launcher

GREETING = Script("#!/bin/sh\necho hello\n", signal_transport="AUTO")


def transports(guest: Container) -> list[str]:
    """Return the transport of each signal that the guest has delivered."""
    delivered = guest.root / "var/lib/heat-config-zaqar/delivered"
    return [json.loads(path.read_text())["transport"] for path in delivered.glob("*.json")]


@pytest.mark.usefixtures("plugin")
def test_a_stack_whose_deployments_say_auto_completes_by_zaqar(
    launch: Launcher, heat: Heat
) -> None:
    guest = launch("automatic", deployments_template({"greet": GREETING}))
    stack = heat.wait_for("automatic", ["CREATE_COMPLETE"], 180)
    assert stack.outputs["greet_deploy_stdout"] == "hello\n"
    wait_for(lambda: transports(guest) == ["ZAQAR_SIGNAL"], 60, "the delivery is not recorded")


@pytest.mark.usefixtures("plugin")
def test_a_stack_whose_deployments_say_auto_completes_in_a_cloud_without_zaqar(
    cloud: Cloud, launch: Launcher, heat: Heat
) -> None:
    template = deployments_template({"greet": GREETING}, metadata_transport="POLL_SERVER_HEAT")
    with cloud.changed_catalog({"messaging": None, "messaging-websocket": None}):
        guest = launch("no-zaqar", template, collector="heat")
        stack = heat.wait_for("no-zaqar", ["CREATE_COMPLETE"], 180)
        assert stack.outputs["greet_deploy_stdout"] == "hello\n"
        wait_for(lambda: transports(guest) == ["CFN_SIGNAL"], 60, "the delivery is not recorded")
