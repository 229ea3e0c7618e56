"""Files that an operator has asked for, wherever that is.

Invariant: what bears the name is whole, and nobody sees it that is not to.
"""

import contextlib
import functools
import os
import stat
import tempfile
from pathlib import Path

from heat_config_zaqar.errors import RefusedError

_TEMPORARY = ".heat-config-zaqar-"


def check(path: Path) -> None:
    """Check that a file can take this name.

    :raises RefusedError: it cannot, for a reason that is seen at once.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise RefusedError(f"{path} is there, and is no regular file: name another FILE")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise RefusedError(f"nothing can be written to {path.parent}: name another FILE")


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file, or replace it.

    :raises RefusedError: the file system refuses; an older file is as it was.
    """
    try:
        # Like every file of `tempfile`, it is nobody else's whatever the umask.
        make = functools.partial(tempfile.NamedTemporaryFile, prefix=_TEMPORARY, delete=False)
        with make(dir=path.parent) as stream:
            try:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                os.fchmod(stream.fileno(), mode)
                os.rename(stream.name, path)
            except BaseException:
                os.unlink(stream.name)
                raise
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be written: {error.strerror}: name a FILE elsewhere"
        ) from error
