"""What Nova hands a new server: Heat's user-data, the operator's vendor-data and the network.

Owns the layout of a config drive. Invariant: the user-data is what Heat's own code makes of a
server's metadata.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

# Where cloud-init's ConfigDrive source looks before it looks for a disk.
SEED = "var/lib/cloud/seed/config_drive"
_DISK_BYTES = 8 * 1024 * 1024
_BUILD_USERDATA = """
import json, sys
from heat.engine.clients.os.nova import NovaClientPlugin
metadata = json.load(sys.stdin)
sys.stdout.write(NovaClientPlugin.build_userdata(None, metadata, "", None, "SOFTWARE_CONFIG"))
"""


def user_data(heat_python: str, metadata: dict[str, Any]) -> str:
    """Return the user-data of a OS::Nova::Server with `user_data_format: SOFTWARE_CONFIG`.

    :param heat_python: a Python interpreter that has Heat installed.
    :param metadata: the server's metadata when Heat creates it.
    """
    return subprocess.run(
        [heat_python, "-c", _BUILD_USERDATA],
        input=json.dumps(metadata),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def static_network(mac: str, address: str, gateway: str) -> dict[str, Any]:
    """Return the network of a server on a subnet without DHCP, as in Nova's network_data.json.

    :param address: IPv4, of a network of 256 addresses.
    """
    route = {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": gateway}  # noqa: S104
    network = {"id": "network0", "type": "ipv4", "link": "port0", "ip_address": address}
    return {
        "links": [{"id": "port0", "type": "phy", "ethernet_mac_address": mac, "mtu": 1500}],
        "networks": [{**network, "netmask": "255.255.255.0", "routes": [route]}],
        "services": [],
    }


def write(
    directory: Path,
    user_data: str,
    server_id: str,
    vendor_data: str | None = None,
    network: dict[str, Any] | None = None,
) -> None:
    """Write the files of a config drive below `directory`."""
    latest = directory / "openstack" / "latest"
    latest.mkdir(parents=True)
    metadata = {"uuid": server_id, "name": "guest", "hostname": "guest", "launch_index": 0}
    (latest / "meta_data.json").write_text(json.dumps(metadata))
    (latest / "user_data").write_text(user_data)
    if vendor_data is not None:
        (latest / "vendor_data.json").write_text(json.dumps({"cloud-init": vendor_data}))
    if network is not None:
        (latest / "network_data.json").write_text(json.dumps(network))


def make_disk(
    disk: Path,
    user_data: str,
    server_id: str,
    vendor_data: str | None = None,
    network: dict[str, Any] | None = None,
) -> None:
    """Write the config drive as a disk, which cloud-init knows by its label.

    Nova makes it of vfat or iso9660; ext4 can be filled without being mounted.
    """
    with disk.open("wb") as file:
        file.truncate(_DISK_BYTES)
    content = disk.with_suffix(".d")
    write(content, user_data, server_id, vendor_data, network)
    make = ["mkfs.ext4", "-q", "-L", "config-2", "-d", str(content), str(disk)]
    subprocess.run(make, check=True, capture_output=True)
