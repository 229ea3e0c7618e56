"""Files that survive a crash: every write is whole, on disk, and readable by root alone.

Invariant: after a function here returned, a power cut leaves the new state; before, the old
one. Nobody ever sees half a file. Nothing else in the package writes below the state directory.
Each function raises OSError where the file system refuses: full, read-only, or not ours.
"""

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heat_config_zaqar.errors import CorruptFileError

_TEMPORARY = ".tmp-"
# No write takes that long.
_ABANDONED_SECONDS = 3600


def make_directory(path: Path) -> None:
    """Create `path` and its parents, durable, `path` itself with mode 0700."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    _sync_directory(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Replace `path` with `content` as JSON, mode 0600; a failure leaves the old file."""
    make_directory(path.parent)
    descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_directory(path.parent)


def read_json(path: Path) -> Any:
    """Return the content of `path`, or None where there is no such file.

    :raises CorruptFileError: the file does not hold JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is not JSON: {error}") from error


def files(directory: Path) -> list[Path]:
    """Return the JSON files of a directory by name; none where there is no directory."""
    return sorted(directory.glob("*.json"))


def remove(path: Path) -> None:
    """Remove `path`; a file that is gone already is fine."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        _sync_directory(path.parent)


def remove_abandoned(directory: Path) -> None:
    """Remove what writes that were killed an hour ago or more have left in `directory`."""
    for path in directory.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                remove(path)


def confirm(path: Path) -> None:
    """Make durable that `path` is there, where a crash may have cut `write_json` short."""
    _sync_directory(path.parent)


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used to `NAME.corrupt`, for the operator; return that path."""
    aside = path.with_name(path.name + ".corrupt")
    os.replace(path, aside)
    _sync_directory(path.parent)
    return aside


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` against other processes; waits for as long as it takes.

    The lock ends with the process, however it ends.
    """
    make_directory(path.parent)
    with open(path, "a", opener=lambda name, flags: os.open(name, flags, mode=0o600)) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on `path`."""
    try:
        with open(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
