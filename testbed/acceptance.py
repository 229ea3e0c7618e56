"""The built image against a real cloud, by a clouds.yaml entry: create, check, update, delete.

Invariant: whatever it made in the cloud, the image included, is deleted at the end, however it
ends. Where the cloud has no Nova or Glance, as the test cloud, it says so, and the image is booted
here as an OS::Heat::DeployedServer.
"""

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException

from testbed import image as images
from testbed.guest import GuestError, container, unpack
from testbed.heat import SERVER, Heat, HeatError, Script, deployments_template
from testbed.isolated import NotIsolatedError

_NEEDED = ("orchestration", "messaging")
_TO_BOOT_THERE = ("compute", "image", "network")
_TIMEOUT_SECONDS = 900


class AcceptanceError(Exception):
    """What the cloud lacks, or showed instead of what it should."""


_EXPECTED = (
    *(AcceptanceError, images.ImageError, GuestError, HeatError, NotIsolatedError),
    *(SDKException, ClientException),
)


def main() -> int:
    """Run the built image in a cloud of clouds.yaml, with Zaqar in both directions."""
    options = _parser().parse_args()
    try:
        _accept(options)
    except _EXPECTED as error:
        print(f"acceptance: {error}", file=sys.stderr)
        return 1
    print("accepted; everything is deleted again")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed.acceptance", description=main.__doc__)
    parser.add_argument("--cloud", required=True, help="an entry of clouds.yaml")
    parser.add_argument(
        "--image", type=Path, required=True, help="what `python -m testbed.image --out` was given"
    )
    parser.add_argument("--flavor", default="m1.small", help="default: m1.small")
    parser.add_argument("--network", default="private", help="default: private")
    return parser


def _accept(options: argparse.Namespace) -> None:
    cloud = openstack.connect(cloud=options.cloud)
    offered = {service["type"] for service in cloud.service_catalog}
    if lacking := sorted({*_NEEDED} - offered):
        raise AcceptanceError(f"cloud {options.cloud} has no {' and no '.join(lacking)} service")
    image = images.load(options.image.absolute())
    heat = Heat(cloud.session, cloud.config.region_name)
    name = f"heat-config-zaqar-{uuid.uuid4().hex[:8]}"
    if missing := sorted({*_TO_BOOT_THERE} - offered):
        print(f"left out, the cloud has no {', '.join(missing)}: the upload and Nova's server")
        try:
            _check_here(heat, name, image)
        finally:
            heat.delete_stack(name)
        return
    with _uploaded(cloud, name, image):
        server = _nova_server(name, options.flavor, options.network)
        try:
            heat.create_stack(name, _template("world", server))
            _check(heat, name, server)
        finally:
            heat.delete_stack(name, timeout=_TIMEOUT_SECONDS)


@contextmanager
def _uploaded(cloud: Connection, name: str, image: images.Image) -> Iterator[None]:
    if not image.partitioned:
        raise AcceptanceError(f"{image.qcow2} is one file system: Nova boots partitioned images")
    print(f"uploading {image.qcow2}")
    try:
        cloud.create_image(
            name, filename=str(image.qcow2), disk_format="qcow2", container_format="bare", wait=True
        )
        yield
    finally:
        cloud.delete_image(name, wait=True)


def _nova_server(image: str, flavor: str, network: str) -> dict[str, Any]:
    properties = {
        "image": image,
        "flavor": flavor,
        "networks": [{"network": network}],
        "user_data_format": "SOFTWARE_CONFIG",
        "software_config_transport": "ZAQAR_MESSAGE",
    }
    return {"type": "OS::Nova::Server", "properties": properties}


def _template(who: str, server: Mapping[str, Any] | None) -> dict[str, Any]:
    scripts = {
        "greet": Script(
            '#!/bin/sh\necho "hello $who"\nprintf %s "$n" >"$heat_outputs_path.number"\n',
            inputs={"who": who, "n": 7},
            outputs=("number",),
        ),
        "loud": Script("#!/bin/sh\nhead -c 10000 /dev/zero | tr '\\0' x\n"),
    }
    template = deployments_template(scripts)
    if server is not None:
        template["resources"][SERVER] = server
    return template


def _check_here(heat: Heat, name: str, image: images.Image) -> None:
    if image.tar is None:
        raise AcceptanceError("the image was built without a tar, from which it is booted here")
    heat.create_stack(name, _template("world", None))
    metadata = heat.server_metadata_when_ready(name)
    root = unpack(image.tar, image.tar.parent / "unpacked")
    with (
        tempfile.TemporaryDirectory() as scratch,
        container(root, Path(scratch) / "guest", metadata),
    ):
        _check(heat, name, None)


def _check(heat: Heat, name: str, server: Mapping[str, Any] | None) -> None:
    begun = time.monotonic()
    for status, who in (("CREATE_COMPLETE", "world"), ("UPDATE_COMPLETE", "again")):
        if status == "UPDATE_COMPLETE":
            heat.update_stack(name, _template(who, server))
        outputs = heat.wait_for(name, [status], _TIMEOUT_SECONDS).outputs
        expected = {
            "greet_deploy_stdout": f"hello {who}\n",
            "greet_number": "7",
            "greet_deploy_status_code": 0,
            "loud_deploy_stdout": "x" * 10000,
        }
        wrong = {key: outputs.get(key) for key in expected if outputs.get(key) != expected[key]}
        if wrong:
            raise AcceptanceError(f"after {status} these outputs are wrong: {wrong}")
        print(f"{status}, all outputs are right, {time.monotonic() - begun:.0f} s since the start")


if __name__ == "__main__":
    sys.exit(main())
