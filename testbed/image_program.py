#!/usr/bin/env python3
"""Runs the image's program of this file's name in the image's own files, as its guest would.

Whoever makes links to this file sets IMAGE_ROOT to the directory of those files.
"""

import os
import sys
from pathlib import Path

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main() -> None:
    """Replace this process by the program."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    os.chroot(os.environ["IMAGE_ROOT"])
    os.chdir("/")
    os.execvpe(command[0], command, {"PATH": _PATH, "HOME": "/root", "no_proxy": "*"})


if __name__ == "__main__":
    os.environ["PATH"] = _PATH
    main()
