"""The first boot as in a cloud: from power-on to CREATE_COMPLETE with no hand in the guest."""

import json
from pathlib import Path
from typing import Any

from testbed import config_drive
from testbed.cloud import Cloud
from testbed.guest import Container, virtual_machine
from testbed.heat import Heat, Script, deployments_template
from testbed.image import Image

GREETING = Script(
    '#!/bin/sh\necho "hello $who"\nprintf %s "$n" >"$heat_outputs_path.number"\n',
    inputs={"who": "world", "n": 7},
    outputs=("number",),
)


def first_metadata(heat: Heat, stack: str) -> dict[str, Any]:
    """Return the metadata that is in a new Nova server's user-data.

    Heat builds that before there is a deployment, and gives a server of Nova's one collector more
    than a deployed server.
    """
    login = heat.server_metadata_when_ready(stack)["os-collect-config"]
    login["collectors"] = ["ec2", *login["collectors"]]
    return {"deployments": [], "os-collect-config": login}


def test_a_stack_completes_through_heats_user_data_and_nobody_else_can_read_the_password(
    cloud: Cloud, heat: Heat, root: Path, tmp_path: Path
) -> None:
    heat.create_stack("first", deployments_template({"greet": GREETING}))
    metadata = first_metadata(heat, "first")
    user_data = config_drive.user_data(cloud.layout.program("python"), metadata)
    guest = Container(root, tmp_path / "guest")
    try:
        guest.prepare(None)
        config_drive.write(guest.root / config_drive.SEED, user_data, "a-server")
        (guest.root / config_drive.SEED).chmod(0o700)  # a disk of its own in a cloud
        guest.boot()
        stack = heat.wait_for("first", ["CREATE_COMPLETE"], 180)
        assert stack.outputs["greet_number"] == "7"
        # The boothook in it calls a program of heat-cfntools, which is not there.
        status = json.loads(guest.run("cloud-init", "status", "--wait", "--format=json").stdout)
        assert status["status"] == "done", status
        password = metadata["os-collect-config"]["zaqar"]["password"]
        search = ("grep", "-rslF", "--", password, "/etc", "/run", "/tmp", "/var")
        as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *search)
        assert "cfn-init-data" in guest.run(*search).stdout
        assert guest.run(*as_nobody).stdout == ""
    finally:
        guest.close()
        heat.delete_stack("first")


def test_the_images_own_kernel_completes_a_stack_from_a_config_drive_in_qemu(
    cloud: Cloud, image: Image, heat: Heat, tmp_path: Path
) -> None:
    assert image.qcow2 and image.kernel and image.initrd
    heat.create_stack("qemu", deployments_template({"greet": GREETING}))
    metadata = first_metadata(heat, "qemu")
    user_data = config_drive.user_data(cloud.layout.program("python"), metadata)
    drive = tmp_path / "config-drive.raw"
    config_drive.make_disk(drive, user_data, "a-server")
    machine = virtual_machine(image.qcow2, image.kernel, image.initrd, tmp_path / "machine", drive)
    with machine as console:
        try:
            stack = heat.wait_for("qemu", ["CREATE_COMPLETE"], 600)
        finally:
            print(console.tail(60))
    assert stack.outputs["greet_deploy_stdout"] == "hello world\n"
    heat.delete_stack("qemu")
