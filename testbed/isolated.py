"""Runs a command where no packet can leave: in namespaces that hold only a loopback interface.

`python -m testbed.isolated COMMAND…`. Invariant: whatever the command started is gone when it
ends, however it ends; mounts that it made are gone as well.
"""

import os
import socket
import sys

# The shell stays as the first process of the namespace: it reaps what the others leave behind.
_SCRIPT = 'ip link set lo up && "$@"'


class NotIsolatedError(Exception):
    """A guest was to be started where its packets could leave the machine."""


def is_isolated() -> bool:
    """Whether this process can reach nothing but itself."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]


def require_isolation() -> None:
    """Refuse to go on where packets can leave.

    :raises NotIsolatedError: there is another interface than loopback.
    """
    if not is_isolated():
        raise NotIsolatedError(
            "guests may only run isolated: call this through `python -m testbed.isolated`"
        )


def enter(command: list[str]) -> None:
    """Replace this process by `command`, isolated; needs root.

    :raises OSError: unshare is missing.
    """
    namespaces = ["--net", "--pid", "--mount", "--mount-proc", "--fork", "--kill-child"]
    os.execvp("unshare", ["unshare", *namespaces, "sh", "-c", _SCRIPT, "sh", *command])


def main() -> None:
    """Run the command line's command isolated."""
    if len(sys.argv) < 2:
        sys.exit("usage: python -m testbed.isolated COMMAND…")
    if os.geteuid() != 0:
        sys.exit("testbed.isolated: needs root, to make namespaces: call it with sudo")
    enter(sys.argv[1:])


if __name__ == "__main__":
    main()
