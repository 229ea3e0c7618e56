"""Files that an operator has asked for, wherever that is.

Invariant: what bears the name is whole, and nobody sees it that is not to.
"""

import contextlib
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
        descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(descriptor)
                os.fchmod(descriptor, mode)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be written: {error.strerror}: name a FILE elsewhere"
        ) from error
