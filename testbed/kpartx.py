#!/usr/bin/python3
"""A kpartx for build machines without a device mapper; the test bed alone uses it.

diskimage-builder writes a partition table to a loop device, calls `kpartx -uvs DEVICE` (in Docker
`kpartx -av DEVICE` and `dmsetup mknodes`), finds the partitions as /dev/mapper/loopNpM, and ends
with `kpartx -d DEVICE`, or `dmsetup remove loopNpM` if it fails. A loop device can have partitions
without a device mapper: as kpartx and dmsetup, this program adds and removes those, and owns the
links to them in /dev/mapper. Invariant: nothing of it stays there after `kpartx -d`.

It makes no kernel know vfat: where that is missing, `block-device-efi` cannot be built either way.
"""

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STAND_IN = Path(__file__).resolve()
MAPPER = Path("/dev/mapper")
LOOP_CONTROL = Path("/dev/loop-control")
REPLACED = ("/usr/sbin/kpartx", "/usr/sbin/dmsetup")

# <linux/loop.h>: struct loop_info64 and what is used of it
_SET_STATUS64, _GET_STATUS64 = 0x4C04, 0x4C05
_INFO_SIZE, _FLAGS_OFFSET, _FLAG_PARTSCAN = 232, 52, 8


def in_place(command: Sequence[str]) -> list[str]:
    """Return a command that runs `command`, as this user, where the stand-in is kpartx.

    sudo looks for programs on a PATH of its own, so it lies over the real ones, in a mount
    namespace that ends with the command.
    """
    binds = [f"mount --bind {STAND_IN} {path}" for path in REPLACED if Path(path).exists()]
    root: list[str] = []
    user: list[str] = []
    if os.geteuid() != 0:
        root = ["sudo", "--preserve-env", "env", f"PATH={os.environ.get('PATH', os.defpath)}"]
        user = ["setpriv", f"--reuid={os.getuid()}", f"--regid={os.getgid()}", "--init-groups"]
    namespace = ["unshare", "--mount", "--propagation", "slave"]
    script = " && ".join([*binds, 'exec "$@"'])
    return [*root, *namespace, "sh", "-c", script, "sh", *user, *command]


def main() -> int:
    """Do what kpartx or dmsetup is called for."""
    *options, device = sys.argv[1:]
    if Path(sys.argv[0]).name == "dmsetup":
        if options == ["remove"]:
            (MAPPER / device).unlink(missing_ok=True)
        return 0
    if "-d" in options:
        return _remove(device)
    return _add(device)


def _add(device: str) -> int:
    _allow_partitions(device)
    # The kernel may have no parser of partition tables: partx has.
    subprocess.run(["partx", "--update", device], check=True)
    MAPPER.mkdir(exist_ok=True)
    name = Path(device).name
    partitions = sorted(Path("/sys/class/block", name).glob(f"{name}p*"))
    for partition in partitions:
        node = _node(partition)
        with contextlib.suppress(FileExistsError):
            (MAPPER / node.name).symlink_to(node)
        print(f"add map {node.name}")
    return 0 if partitions else 1


def _allow_partitions(device: str) -> None:
    loop = os.open(device, os.O_RDWR)
    info = bytearray(_INFO_SIZE)
    fcntl.ioctl(loop, _GET_STATUS64, info)
    (flags,) = struct.unpack_from("=I", info, _FLAGS_OFFSET)
    struct.pack_into("=I", info, _FLAGS_OFFSET, flags | _FLAG_PARTSCAN)
    fcntl.ioctl(loop, _SET_STATUS64, bytes(info))
    os.close(loop)


def _node(partition: Path) -> Path:
    """Return the partition's device, made where no devtmpfs makes it."""
    node = Path("/dev", partition.name)
    if not node.exists():
        major, minor = (partition / "dev").read_text().split(":")
        os.mknod(node, 0o060660, os.makedev(int(major), int(minor)))
    return node


def _remove(device: str) -> int:
    for link in MAPPER.glob(f"{Path(device).name}p*"):
        link.unlink()
    subprocess.run(["partx", "--delete", device], check=False)
    # GRUB's probes leave a control node behind, which is that of no device mapper.
    try:
        (MAPPER / "control").open("rb").close()
    except OSError:
        (MAPPER / "control").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        MAPPER.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
