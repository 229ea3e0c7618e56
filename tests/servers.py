"""Guests that are booted as Nova boots servers, each with a config drive and an id of its own.

Invariant: what tells two of them apart is what tells two servers of Nova apart, and nothing else.
"""

import shutil
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from testbed import config_drive
from testbed.cloud import Cloud
from testbed.guest import Container
from testbed.heat import Heat, Script, deployments_template

STATE = "var/lib/heat-config-zaqar"
# What each script that ran has said, a line for each run; scripts write there by themselves.
RUNS = "var/tmp/runs"
# While this file is there, a script with this line goes on.
HOLD = "var/tmp/hold"
HELD = f"while [ -e /{HOLD} ]; do sleep 0.1; done"
_SETTINGS = "etc/heat-config-zaqar.toml"


def first_metadata(heat: Heat, stack: str) -> dict[str, Any]:
    """Return the metadata that is in a new Nova server's user-data.

    Heat builds that before there is a deployment, and gives a server of Nova's one collector more
    than a deployed server.
    """
    login = heat.server_metadata_when_ready(stack)["os-collect-config"]
    login["collectors"] = ["ec2", *login["collectors"]]
    return {"deployments": [], "os-collect-config": login}


def saying(text: str, meanwhile: str = "") -> dict[str, Any]:
    """Return a template whose one script notes that it ran, and says the text.

    :param meanwhile: a line of shell that runs in between.
    """
    lines = ["#!/bin/sh", f"echo {text} >>/{RUNS}", meanwhile, f"echo {text}", ""]
    return deployments_template({"say": Script("\n".join(lines))})


def runs(guest: Container) -> list[str]:
    """Return what the scripts of `saying` have noted on this guest's disk."""
    path = guest.root / RUNS
    return path.read_text().splitlines() if path.exists() else []


class Servers:
    """Makes servers and their stacks, and ends what is left of them.

    :param root: the unpacked image, left as it is.
    :param directory: where the guests' disks go.
    """

    def __init__(self, cloud: Cloud, heat: Heat, root: Path, directory: Path) -> None:
        self._cloud = cloud
        self._heat = heat
        self._root = root
        self._directory = directory
        self._ends = ExitStack()

    def stack(self, name: str, text: str) -> dict[str, Any]:
        """Create a stack; return the first metadata of its server."""
        self._heat.create_stack(name, saying(text))
        self._ends.callback(self._heat.delete_stack, name)
        return first_metadata(self._heat, name)

    def make(
        self,
        metadata: dict[str, Any] | None,
        disk_of: Container | Path | None = None,
        settings: str = "",
    ) -> Container:
        """Make a new server, from the image or from the disk of another one as it is now.

        :param settings: a line for the guest's settings file, in the place of all that is there.
        """
        guest = Container(self._root, self._directory / uuid.uuid4().hex)
        self._ends.callback(guest.close)
        guest.prepare(None, disk_of.changes if isinstance(disk_of, Container) else disk_of)
        if settings:
            (guest.root / _SETTINGS).write_text(f"{settings}\n")
        shutil.rmtree(guest.root / config_drive.SEED, ignore_errors=True)
        user_data = (
            config_drive.user_data(self._cloud.layout.program("python"), metadata)
            if metadata
            else ""
        )
        config_drive.write(guest.root / config_drive.SEED, user_data, str(uuid.uuid4()))
        return guest

    def boot(
        self, metadata: dict[str, Any] | None, disk_of: Container | Path | None = None
    ) -> Container:
        """Make a new server and switch it on."""
        guest = self.make(metadata, disk_of)
        guest.boot()
        return guest

    def close(self) -> None:
        """End all guests, then delete the stacks."""
        self._ends.close()
