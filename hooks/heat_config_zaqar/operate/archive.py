"""Writes one closed tar.gz, which at no moment anybody but root can read.

Invariant: what bears the archive's name is whole, and mode 0600 since its first byte.
"""

import contextlib
import io
import os
import stat
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from heat_config_zaqar.errors import RefusedError

_FOLDER = "heat-config-zaqar"
_TEMPORARY = ".heat-config-zaqar-"
_MODE = 0o600


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz with these files, in a folder of their own."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{_FOLDER}/{name}")
            member.size, member.mode, member.mtime = len(content), _MODE, int(time.time())
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def check_target(path: Path) -> None:
    """Check that an archive can take this name.

    :raises RefusedError: it cannot, for a reason that is seen at once.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise RefusedError(f"{path} is there, and is no regular file: name another FILE")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise RefusedError(f"nothing can be written to {path.parent}: name another FILE")


def write(path: Path, content: bytes) -> None:
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
                os.fsync(stream.fileno())
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be written: {error.strerror}: name a FILE elsewhere"
        ) from error
