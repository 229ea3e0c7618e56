"""The first example, to the letter, on a real Nova; its guest is seen by its console alone."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from openstack.connection import Connection

from testbed import image as images
from testbed.cloud import Cloud
from testbed.cloud.nova.content import NETWORK
from testbed.guest import wait_for
from testbed.heat import Heat
from tests.conftest import BUILD

EXAMPLE = BUILD.parent / "examples" / "server.yaml"
# An emulated boot takes minutes on a machine that is busy.
MOST_SECONDS = 1800
SAYS = "heat-config-zaqar: "


@pytest.fixture
def uploaded(
    cloud_with_nova: Cloud, demo: Connection, pytestconfig: pytest.Config
) -> Iterator[str]:
    """The id of the built image in Glance."""
    assert cloud_with_nova
    built: Path = pytestconfig.getoption("--image")
    disk = images.load(built.absolute()).qcow2
    found = demo.create_image("console", filename=str(disk), disk_format="qcow2", wait=True)
    assert found
    yield str(found.id)
    demo.delete_image(found.id, wait=True)


@pytest.mark.timeout(2 * MOST_SECONDS)
def test_the_first_example_completes_and_the_servers_console_says_what_came_of_it(
    cloud_with_nova: Cloud, demo: Connection, uploaded: str
) -> None:
    heat = Heat(cloud_with_nova.admin_session())
    parameters = {"image": uploaded, "flavor": "m1.small", "network": NETWORK}
    with ExitStack() as ends:
        heat.create_stack("console", yaml.safe_load(EXAMPLE.read_text()), parameters)
        ends.callback(heat.delete_stack, "console")
        stack = heat.wait_for("console", ["CREATE_COMPLETE"], MOST_SECONDS)
        assert stack.outputs["said"].startswith("hello from ")
        server = heat.resource("console", "server").physical_id

        def said() -> list[str]:
            shown = demo.compute.get_server_console_output(server)["output"]
            return [line for line in shown.splitlines() if SAYS in line]

        wait_for(lambda: any("status code 0" in line for line in said()), 60, "nothing of its end")
        lines = said()
    print("\n".join(lines))
    assert "version" in lines[0]
    assert sum("(10-greet): hook " in line for line in lines) == 1
    assert sum("(10-greet): status code 0" in line for line in lines) == 1
