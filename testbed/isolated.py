"""Runs a command where no packet can leave: in namespaces that hold only a loopback interface.

`python -m testbed.isolated COMMAND…`; with `--bridge` before the command there is a bridge with an
address as well, for guests that are machines of their own. Invariant: whatever the command started
is gone when it ends, however it ends; mounts that it made are gone as well.
"""

import os
import socket
import sys

BRIDGE = "guests"
BRIDGE_ADDRESS = "10.77.0.1"
BRIDGE_NETWORK = "10.77.0.0/24"
_LOOPBACK_ADDRESS = "127.0.0.1"

# The shell stays as the first process of the namespace: it reaps what the others leave behind.
_SCRIPT = 'ip link set lo up && "$@"'
# The sysfs of before shows the machine's interfaces; Nova looks for its own in it.
_SCRIPT_WITH_BRIDGE = f"""
mount -t sysfs sysfs /sys && ip link set lo up || exit
ip link add {BRIDGE} type bridge || {{
    echo "testbed.isolated: this kernel has no bridge (module bridge)" >&2
    exit 1
}}
ip address add {BRIDGE_ADDRESS}/24 dev {BRIDGE} && ip link set {BRIDGE} up && "$@"
"""


class NotIsolatedError(Exception):
    """A guest was to be started where its packets could leave the machine."""


def is_isolated() -> bool:
    """Whether this process can reach nothing but itself and guests on the bridge."""
    names = {name for _, name in socket.if_nameindex()}
    if BRIDGE in names:
        # Nova's name for a guest's end of a wire that only the bridge holds the other end of.
        names = {name for name in names if name != BRIDGE and not name.startswith("tap")}
    return names == {"lo"}


def has_bridge() -> bool:
    """Whether there is a bridge for guests here."""
    return BRIDGE in {name for _, name in socket.if_nameindex()}


def address() -> str:
    """Return the address for services: where guests on the bridge reach them, or loopback."""
    return BRIDGE_ADDRESS if has_bridge() else _LOOPBACK_ADDRESS


def require_isolation() -> None:
    """Refuse to go on where packets can leave.

    :raises NotIsolatedError: there is another interface than loopback and the guests' bridge.
    """
    if not is_isolated():
        raise NotIsolatedError(
            "guests may only run isolated: call this through `python -m testbed.isolated`"
        )


def enter(command: list[str], *, bridge: bool = False) -> None:
    """Replace this process by `command`, isolated; needs root.

    :param bridge: make a bridge for guests as well.
    :raises OSError: unshare is missing.
    """
    namespaces = ["--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
    script = _SCRIPT_WITH_BRIDGE if bridge else _SCRIPT
    os.execvp("unshare", ["unshare", *namespaces, "sh", "-c", script, "sh", *command])


def main() -> None:
    """Run the command line's command isolated."""
    command = sys.argv[1:]
    bridge = command[:1] == ["--bridge"]
    command = command[bridge:]
    if not command:
        sys.exit("usage: python -m testbed.isolated [--bridge] COMMAND…")
    if os.geteuid() != 0:
        sys.exit("testbed.isolated: needs root, to make namespaces: call it with sudo")
    enter(command, bridge=bridge)


if __name__ == "__main__":
    main()
