"""What OpenStack's own tests need of an image, where the test cloud has Nova.

The image's guest serves the scenarios. ZaqarSignalTransportTest is its own guest instead: it calls
os-collect-config and heat-config-notify of its host, which are the image's here, and its server is
an empty disk, lest a guest read the queue as well. Invariant: mounts are made only in a namespace
that ends with the run.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import openstack
from openstack.connection import Connection

from testbed import image as images
from testbed.cloud import Cloud
from testbed.cloud.nova.content import NETWORK
from testbed.guest import unpack
from testbed.isolated import require_isolation

_PROGRAM = Path(__file__).with_name("image_program.py")
_PROGRAMS = ("os-collect-config", "heat-config-notify")
_TRANSPORTS = """\
resource_registry:
  Heat::InstallConfigAgent: OS::Heat::SoftwareConfig
parameters:
  signal_transport: ZAQAR_SIGNAL
  software_config_transport: ZAQAR_MESSAGE
"""


def options(cloud: Cloud, image: images.Image, workspace: Path) -> dict[str, object]:
    """Upload the image and an empty disk; return options of tempest.conf's heat_plugin.

    :raises ImageError: the image has no boot loader or no tar beside it.
    """
    if not image.partitioned or image.qcow2 is None or image.tar is None:
        raise images.ImageError("Nova boots partitioned images, and the tests take a tar as well")
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(cloud.clouds_yaml)
    admin = openstack.connect(cloud="admin")
    empty = workspace / "empty.raw"
    with empty.open("wb") as stream:
        stream.truncate(1 << 20)
    transports = workspace / "transports.yaml"
    transports.write_text(_TRANSPORTS)
    return {
        "image_ref": _uploaded(admin, "tempest-guest", image.qcow2, "qcow2"),
        "minimal_image_ref": _uploaded(admin, "tempest-empty", empty, "raw"),
        "instance_type": "m1.small",
        "minimal_instance_type": "m1.tiny",
        "fixed_network_name": NETWORK,
        "fixed_subnet_name": f"{NETWORK}-subnet",
        "network_for_ssh": NETWORK,
        "boot_config_env": transports,
        "build_timeout": 3000,  # seconds; guests are emulated
        "heat_config_notify_script": workspace / "bin" / "heat-config-notify",
    }


def environment(image: images.Image, workspace: Path) -> Mapping[str, str]:
    """Make the image's programs callable; return the environment to call them with.

    :raises NotIsolatedError: the mounts would outlive the run.
    """
    require_isolation()
    assert image.tar is not None
    root = unpack(image.tar, workspace / "unpacked")
    shared = workspace / "tmp"
    for place in (shared, root / shared.relative_to("/")):
        place.mkdir(parents=True, exist_ok=True)
    for mounted in (Path("/proc"), Path("/dev"), shared):
        inside = root / mounted.relative_to("/")
        subprocess.run(["mount", "--rbind", mounted, inside], check=True)
    programs = workspace / "bin"
    programs.mkdir(exist_ok=True)
    for name in _PROGRAMS:
        (programs / name).unlink(missing_ok=True)
        (programs / name).symlink_to(_PROGRAM)
    return {
        "IMAGE_ROOT": str(root),
        "TMPDIR": str(shared),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }


def _uploaded(admin: Connection, name: str, file: Path, disk_format: str) -> str:
    known = admin.image.find_image(name)
    if known:
        admin.delete_image(known.id, wait=True)
    made = admin.create_image(
        name,
        filename=str(file),
        disk_format=disk_format,
        container_format="bare",
        visibility="public",
        wait=True,
    )
    assert made
    return str(made.id)
