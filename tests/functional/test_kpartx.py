"""The stand-in for kpartx, on a disk that diskimage-builder's own code has partitioned."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from diskimage_builder.block_device.level1.mbr import MBR

from testbed import kpartx

MEBIBYTE = 1024 * 1024


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A loop device with one partition in its table, of which the kernel does not know yet."""
    if not kpartx.LOOP_CONTROL.exists():
        pytest.skip("takes loop devices, which this machine has not")
    if not Path(kpartx.REPLACED[0]).exists():
        pytest.skip("takes kpartx, over which the stand-in lies")
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(32 * MEBIBYTE)
    with MBR(str(disk), 32 * MEBIBYTE, MEBIBYTE) as table:
        table.add_partition(True, True, 16 * MEBIBYTE, 0x83)
    set_up = ["losetup", "--find", "--show", str(disk)]
    device = subprocess.run(set_up, check=True, capture_output=True, text=True).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def call(*command: str) -> None:
    subprocess.run(kpartx.in_place(["sudo", *command]), check=True, timeout=60)


def test_a_partition_is_there_between_its_two_calls_and_nothing_afterwards(loop: str) -> None:
    before = set(kpartx.MAPPER.glob("*"))
    link = kpartx.MAPPER / f"{Path(loop).name}p1"
    call("kpartx", "-uvs", loop)
    try:
        size = Path("/sys/class/block", link.name, "size").read_text()
        assert int(size) * 512 == 16 * MEBIBYTE
        subprocess.run(["mkfs.ext4", "-q", str(link)], check=True)
    finally:
        call("kpartx", "-d", loop)
    assert set(kpartx.MAPPER.glob("*")) == before
    assert not Path("/sys/class/block", link.name).exists()


def test_a_build_that_fails_and_asks_dmsetup_leaves_no_link(loop: str) -> None:
    if not Path(kpartx.REPLACED[1]).exists():
        pytest.skip("takes dmsetup, over which the stand-in lies")
    link = kpartx.MAPPER / f"{Path(loop).name}p1"
    call("kpartx", "-av", loop)
    call("dmsetup", "--noudevsync", "mknodes")
    call("dmsetup", "remove", link.name)
    assert not link.is_symlink()
    call("kpartx", "-d", loop)


def test_a_disk_without_a_partition_is_a_failure(loop: str) -> None:
    Path(loop).write_bytes(bytes(512))
    with pytest.raises(subprocess.CalledProcessError):
        call("kpartx", "-uvs", loop)
