"""Boots the built image: in systemd-nspawn for speed, in QEMU for the image's own kernel.

Invariant: a guest runs only where its packets cannot leave, on a copy of the image that is thrown
away, and ends with the object's context. The metadata that a cloud would hand over is written
into a container's copy before it boots, as an operator of OS::Heat::DeployedServer does, or comes
on a config drive, as Nova's does. In a virtual machine's disk nothing is changed: what it needs of
the test bed comes on the config drive as well.
"""

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from testbed.cloud.layout import PORTS
from testbed.image import Image
from testbed.isolated import require_isolation

METADATA_FILE = "var/lib/heat-cfntools/cfn-init-data"
_NSPAWN = (
    *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"),
    *("--machine=guest", "--resolv-conf=off", "--link-journal=no"),
)
MAC = "52:54:00:12:34:56"  # of a virtual machine's interface
_REBOOT_CODE = 133  # of systemd-nspawn with --keep-unit, for whoever keeps the unit
QEMU_HOST = "10.0.2.2"  # where QEMU's user networking shows the host's loopback
_FORWARDED = ("keystone", "zaqar", "zaqar-websocket", "heat-api", "heat-api-cfn")


class GuestError(Exception):
    """A guest did not do what it was waited for; holds the end of its console."""


def unpack(archive: Path, directory: Path) -> Path:
    """Unpack an image's tar once; return the directory, which guests only read."""
    stamp = directory / ".unpacked"
    wanted = f"{archive.stat().st_mtime_ns} {archive.stat().st_size}"
    root = directory / "root"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        root.mkdir(parents=True)
        # tarfile's way to keep everything as it is differs between patch releases of Python 3.11.
        unpack_all = ["tar", "--extract", "--numeric-owner", "--preserve-permissions", "--xattrs"]
        subprocess.run([*unpack_all, "--file", str(archive), "-C", str(root)], check=True)
        stamp.write_text(wanted)
    return root


def hand_over(root: Path, metadata: dict[str, Any]) -> None:
    """Write the metadata where Heat's user-data would have put it."""
    path = root / METADATA_FILE
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(json.dumps(metadata))
    path.chmod(0o600)


def copy_changes(changes: Path, target: Path) -> None:
    """Copy what a disk has beyond the image, with what overlayfs notes in it."""
    subprocess.run(["cp", "-a", str(changes), str(target)], check=True)


class Console:
    """What a guest prints, kept in a file; a thread reads it."""

    def __init__(self, stream: IO[bytes] | int, log: Path) -> None:
        descriptor = stream if isinstance(stream, int) else stream.fileno()
        self.log = log
        self._thread = threading.Thread(target=self._read, args=(descriptor,), daemon=True)
        self._thread.start()

    def _read(self, descriptor: int) -> None:
        with self.log.open("wb") as sink, contextlib.suppress(OSError):
            while chunk := os.read(descriptor, 4096):
                sink.write(chunk)
                sink.flush()

    def tail(self, lines: int = 30) -> str:
        """Return the last lines."""
        text = self.log.read_bytes().decode("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Container:
    """The image under its own systemd in systemd-nspawn, on the network of this process.

    :param root: the unpacked image, left as it is.
    :param directory: where this guest's changes and its console's log go; a new one.
    """

    def __init__(self, root: Path, directory: Path) -> None:
        self._base = root
        self._directory = directory
        self.root = directory / "root"
        self.console: Console | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    @property
    def changes(self) -> Path:
        """What this guest's disk has beyond the image, to make a copy of the disk."""
        return self._directory / "changes"

    def prepare(self, metadata: dict[str, Any] | None, changes: Path | None = None) -> None:
        """Make the guest's own copy of the image, with the metadata in it.

        :param changes: of another guest, whose disk this one's is a copy of.
        """
        for name in ("work", "root"):
            (self._directory / name).mkdir(parents=True)
        if changes is None:
            self.changes.mkdir()
        else:
            copy_changes(changes, self.changes)
        self._mount()
        if metadata is not None:
            hand_over(self.root, metadata)

    def put_back(self, changes: Path) -> None:
        """Give the guest, which does not run, the disk that it had when this copy was made."""
        subprocess.run(["umount", str(self.root)], check=True)
        shutil.rmtree(self.changes)
        copy_changes(changes, self.changes)
        self._mount()

    def _mount(self) -> None:
        layers = f"lowerdir={self._base},upperdir={self._directory / 'changes'}"
        options = f"{layers},workdir={self._directory / 'work'}"
        subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True
        )
        mask = self.root / "etc/systemd/system/iscsid.service"  # takes hardware
        mask.unlink(missing_ok=True)
        mask.symlink_to("/dev/null")

    def boot(self, has_network: bool = True) -> None:
        """Start systemd and wait until it runs.

        :param has_network: the network of this process; else it has none but its own loopback, and
            what waits for a network is not waited for.
        :raises GuestError: it does not within three minutes.
        """
        require_isolation()
        ours, theirs = os.openpty()
        self._process = subprocess.Popen(
            [*_NSPAWN, *([] if has_network else ["--private-network"]), "-D", str(self.root)],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.console = Console(ours, self._directory / f"console-{time.time_ns()}.log")
        self._leader = 0
        states = ("running", "degraded", *(() if has_network else ("starting",)))
        wait_for(lambda: self._state() in states, 180, "the guest does not start", self.console)

    def _state(self) -> str:
        """Return what systemd says of itself; empty before it can."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        if not self._leader:
            for pid in children.read_text().split() if children.exists() else []:
                # systemd-nspawn has helpers, which are soon gone.
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                        self._leader = int(pid)
        if not self._leader:
            return ""
        return self.run("systemctl", "is-system-running").stdout.strip()

    def run(self, *command: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest as root; return what it printed."""
        entry = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-p", "-C", "-r", "-w"]
        return subprocess.run(
            [*entry, "env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", *command],
            capture_output=True,
            text=True,
            check=check,
            timeout=60,
        )

    def await_reboot(self) -> None:
        """Wait until the guest goes down to reboot, within four minutes, and boot it again.

        :raises GuestError: it does not go down, or powers off instead.
        """
        process = self._process
        assert process is not None
        # Of those minutes Heat may take some, for what the guest goes down for.
        wait_for(
            lambda: process.poll() is not None, 240, "the guest does not go down", self.console
        )
        if process.returncode != _REBOOT_CODE:
            raise GuestError(f"the guest ended with {process.returncode}, not to reboot")
        self.boot()

    def kill(self) -> None:
        """Pull the plug."""
        if self._process is not None:
            if self._leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._leader, 9)
            self._process.kill()
            self._process.wait()
            self._process = None

    def power_off(self) -> None:
        """Shut down cleanly, within two minutes.

        :raises GuestError: it does not.
        """
        if self._process is None or self.console is None:
            return
        self.run("systemctl", "poweroff")
        process = self._process
        wait_for(lambda: process.poll() is not None, 120, "no clean power-off", self.console)
        self._process = None

    def close(self) -> None:
        """End the guest and forget its copy of the image."""
        self.kill()
        subprocess.run(["umount", "-l", str(self.root)], check=False, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def container(root: Path, directory: Path, metadata: dict[str, Any] | None) -> Iterator[Container]:
    """Boot the image in systemd-nspawn for the length of the context."""
    guest = Container(root, directory)
    try:
        guest.prepare(metadata)
        guest.boot()
        yield guest
    finally:
        guest.close()


@contextlib.contextmanager
def virtual_machine(
    image: Image, directory: Path, config_drive: Path | None = None, network: str = "user,id=n"
) -> Iterator[Console]:
    """Boot the image in QEMU for the length of the context, with nothing changed in it.

    A whole disk starts by its own boot loader; one file system by its own kernel.

    :param config_drive: a raw disk, from which cloud-init takes the metadata.
    :param network: QEMU's `-netdev`, of id n.
    """
    require_isolation()
    directory.mkdir(parents=True)
    command = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-no-reboot", "-m", "1024"]
    command += ["-smp", "2", "-serial", "stdio", "-netdev", network]
    command += ["-device", f"virtio-net-pci,netdev=n,mac={MAC}"]
    command += ["-drive", f"file={image.qcow2},format=qcow2,if=virtio,cache=unsafe,snapshot=on"]
    if config_drive is not None:
        command += ["-drive", f"file={config_drive},format=raw,if=virtio,readonly=on"]
    if not image.partitioned:
        command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
        command += ["-append", "root=/dev/vda ro console=ttyS0"]
    # Without KVM: a KVM that is there may still not run a stock kernel; TCG always does.
    command += ["-accel", "tcg,thread=multi", "-cpu", "max"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(directory)},  # of the snapshot
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        yield Console(process.stdout, directory / "console.log")
    finally:
        process.kill()
        process.wait()


def forwards() -> str:
    """Return a cloud-boothook that shows the cloud's ports on the virtual machine's loopback.

    The test cloud's catalog says 127.0.0.1; in QEMU that is the guest itself.
    """
    lines = ["#cloud-boothook", "#!/bin/sh"]
    for service in _FORWARDED:
        port = PORTS[service]
        # The boot waits for this hook: it must not wait for the boot.
        socket = "--socket-property=DefaultDependencies=no"
        socket += f" --socket-property=ListenStream=127.0.0.1:{port}"
        proxy = f"/lib/systemd/systemd-socket-proxyd {QEMU_HOST}:{port}"
        lines.append(f"systemd-run --unit=cloud-{service} {socket} {proxy}")
    return "\n".join(lines) + "\n"


def wait_for(
    condition: Callable[[], bool], seconds: float, what: str, console: Console | None = None
) -> None:
    """Wait until `condition` holds.

    :raises GuestError: it does not within `seconds`; with the end of the console.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            end = f"; the end of its console:\n{console.tail()}" if console else ""
            raise GuestError(f"{what} within {seconds:g} s{end}")
        time.sleep(0.1)
