"""What Nova needs of the machine, beyond what the rest of the cloud does."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from testbed.cloud.processes import CloudError
from testbed.isolated import BRIDGE, has_bridge, is_isolated

# Debian's package by program.
PROGRAMS = {
    "libvirtd": "libvirt-daemon",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "genisoimage": "genisoimage",
    "unshare": "util-linux",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TUN = Path("/dev/net/tun")


def missing(programs: Mapping[str, str] = PROGRAMS, tun: Path = _TUN) -> list[str]:
    """Return what this machine lacks, each with what brings it.

    `programs` are Debian's packages by program, `tun` is the kernel's device.
    """
    lacking = [
        f"{program} (Debian's package {package})"
        for program, package in programs.items()
        if not shutil.which(program, path=_PATH)
    ]
    if not tun.exists():
        lacking.append(f"{tun} (the kernel's module tun)")
    return lacking


def require_machine() -> None:
    """Raise CloudError where Nova cannot run here, naming everything that is missing."""
    if not has_bridge() or not is_isolated():
        raise CloudError(
            f"Nova's guests need a bridge {BRIDGE} where no packet can leave: call this through "
            "`python -m testbed.isolated --bridge`"
        )
    if lacking := missing():
        raise CloudError(
            f"Nova needs {', '.join(lacking)}; `tools/bootstrap nova` installs Debian's packages"
        )
