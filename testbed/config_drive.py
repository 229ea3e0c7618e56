"""What Nova hands a new server: Heat's user-data, on a config drive.

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


def write(directory: Path, user_data: str, server_id: str) -> None:
    """Write the files of a config drive below `directory`."""
    latest = directory / "openstack" / "latest"
    latest.mkdir(parents=True)
    metadata = {"uuid": server_id, "name": "guest", "hostname": "guest", "launch_index": 0}
    (latest / "meta_data.json").write_text(json.dumps(metadata))
    (latest / "user_data").write_text(user_data)


def make_disk(disk: Path, user_data: str, server_id: str) -> None:
    """Write the config drive as a disk, which cloud-init knows by its label.

    Nova makes it of vfat or iso9660; ext4 can be filled without being mounted.
    """
    with disk.open("wb") as file:
        file.truncate(_DISK_BYTES)
    content = disk.with_suffix(".d")
    write(content, user_data, server_id)
    make = ["mkfs.ext4", "-q", "-L", "config-2", "-d", str(content), str(disk)]
    subprocess.run(make, check=True, capture_output=True)
