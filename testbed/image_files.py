"""What lies beside an image: its files as a tar, and kernel and initrd for QEMU.

Invariant: the image itself is only read.
"""

import os
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
from pathlib import Path


class ImageError(Exception):
    """Why there is no image, in one line."""


def archive(out: Path, whole_disk: bool) -> Path:
    """Write the files of the image at `out` as a tar beside it; return that.

    :param whole_disk: has it a partition table?
    """
    root = [] if os.geteuid() == 0 else ["sudo"]
    tar = out.with_name(f"{out.name}.tar")
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch, tar.open("wb") as sink:
        disk, mounted = Path(scratch, "disk"), Path(scratch, "mounted")
        mounted.mkdir()
        qcow2 = str(out.with_name(f"{out.name}.qcow2"))
        subprocess.run(["qemu-img", "convert", "-O", "raw", qcow2, str(disk)], check=True)
        options = f"ro,loop,offset={_root_offset(disk) if whole_disk else 0}"
        subprocess.run([*root, "mount", "-o", options, str(disk), str(mounted)], check=True)
        try:
            files = ["tar", "--create", "--numeric-owner", "--xattrs", "-C", str(mounted), "."]
            subprocess.run([*root, *files], check=True, stdout=sink)
        finally:
            subprocess.run([*root, "umount", str(mounted)], check=True)
    return tar


def _root_offset(disk: Path) -> int:
    """Return where the largest partition of an MBR begins, in bytes: the `vm` element's."""
    with disk.open("rb") as file:
        table = file.read(512)[446:510]
    starts = {sectors: start for start, sectors in struct.iter_unpack("<8xII", table)}
    return 512 * int(starts[max(starts)])


def boot_files(archive: Path, out: Path) -> tuple[Path, Path]:
    """Take the newest kernel and its initrd out of an image's tar; return where they are.

    :raises ImageError: there is none.
    """
    with tarfile.open(archive) as tar:
        members = {
            name.removeprefix("./boot/vmlinuz-"): name
            for name in tar.getnames()
            if name.startswith("./boot/vmlinuz-")
        }
        if not members:
            raise ImageError(f"{archive} holds no kernel in /boot")
        version = max(members, key=_version_key)
        kernel = out.with_name(f"{out.name}.vmlinuz")
        initrd = out.with_name(f"{out.name}.initrd")
        for source, target in (
            (members[version], kernel),
            (f"./boot/initrd.img-{version}", initrd),
        ):
            content = tar.extractfile(source)
            if content is None:
                raise ImageError(f"{archive}: {source} is no file")
            with content, target.open("wb") as sink:
                shutil.copyfileobj(content, sink)
    return kernel, initrd


def _version_key(version: str) -> list[tuple[int, str]]:
    return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D*)", version)]
