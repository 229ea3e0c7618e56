"""What a disk loses in a power cut: whatever was not fsynced.

A journal beside the guest's state notes each change of a directory until that directory is
fsynced, with what is needed to undo it; and whether a file's content was fsynced when it got its
name. After the cut `lose` undoes a random end of what the journal still holds.
Invariant: what the product fsynced is never undone; the journal is shared by all processes of a
guest and outlives each of them.
"""

import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any


class Journal:
    """The un-fsynced changes below one directory.

    :param root: the state directory that is watched.
    :param directory: where the journal lies, on the same file system.
    :ivar unsynced_contents: how often this process gave a name to content without fsync.
    """

    def __init__(self, root: Path, directory: Path) -> None:
        self._root = str(root)
        self._directory = directory
        self.unsynced_contents = 0
        self._number = 0
        self._synced: set[tuple[int, int]] = set()
        directory.mkdir(exist_ok=True)

    def install(self) -> None:
        """Watch this process's calls, for the rest of its life."""
        os.rename = self._renaming(os.rename)
        os.replace = self._renaming(os.replace)
        os.unlink = self._removing(os.unlink)
        os.mkdir = self._making(os.mkdir)
        os.fsync = self._syncing(os.fsync)  # type: ignore[assignment]  # ours takes numbers only

    def pending(self, pid: int) -> list[str]:
        """Return the changes that a process made and that no fsync covers yet, oldest first."""
        return [
            f"{record['change']} {record['target']}"
            for path in sorted(self._directory.glob(f"*-{pid}-*.json"))
            if (record := _read(path))
        ]

    def lose(self, random: Random) -> int:
        """Undo a random number of the last changes; return how many. No process may be running."""
        paths = sorted(self._directory.glob("*.json"))
        kept = random.randint(0, len(paths))
        for path in reversed(paths[kept:]):
            _undo(_read(path))
        for path in paths[:kept]:
            record = _read(path)
            if record["change"] == "rename" and not record["content synced"]:
                os.truncate(record["target"], 0)
        shutil.rmtree(self._directory)
        self._directory.mkdir()
        return len(paths) - kept

    def _note(self, change: str, target: str, content_synced: bool = True) -> None:
        self._number += 1
        name = f"{time.time_ns():020}-{os.getpid()}-{self._number}"
        backup = self._directory / f"{name}.backup"
        try:
            os.link(target, backup)
            kept = str(backup)
        except OSError:
            kept = ""
        record = {
            "change": change,
            "target": target,
            "backup": kept,
            "content synced": content_synced,
        }
        # Whole or not at all, like what it notes: the process may be killed at any time.
        written = self._directory / f"{name}.part"
        written.write_text(json.dumps(record))
        _rename(written, written.with_suffix(".json"))

    def _watched(self, path: Any) -> bool:
        return str(path).startswith(self._root)

    def _renaming(self, rename: Callable[..., None]) -> Callable[..., None]:
        def wrapped(source: Any, target: Any, **more: Any) -> None:
            if self._watched(target):
                status = Path(source).stat()
                synced = (status.st_dev, status.st_ino) in self._synced
                self.unsynced_contents += not synced
                self._note("rename", os.fspath(target), synced)
            rename(source, target, **more)

        return wrapped

    def _removing(self, unlink: Callable[..., None]) -> Callable[..., None]:
        def wrapped(path: Any, **more: Any) -> None:
            if self._watched(path) and Path(path).exists():
                self._note("unlink", os.fspath(path))
            unlink(path, **more)

        return wrapped

    def _making(self, mkdir: Callable[..., None]) -> Callable[..., None]:
        def wrapped(path: Any, *arguments: Any, **more: Any) -> None:
            mkdir(path, *arguments, **more)
            if self._watched(path):
                self._note("mkdir", os.fspath(path))

        return wrapped

    def _syncing(self, fsync: Callable[[int], None]) -> Callable[[int], None]:
        def wrapped(descriptor: int) -> None:
            fsync(descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                self._forget(Path(f"/proc/self/fd/{descriptor}").readlink())
            else:
                self._synced.add((status.st_dev, status.st_ino))

        return wrapped

    def _forget(self, directory: Path) -> None:
        for path in self._directory.glob("*.json"):
            with suppress(FileNotFoundError, ValueError):
                if Path(_read(path)["target"]).parent == directory:
                    _remove(path)
                    _remove(path.with_suffix(".backup"))


# The journal's own changes must not be noted.
_unlink, _rename = os.unlink, os.rename


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        _unlink(path)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _undo(record: dict[str, Any]) -> None:
    target, backup = record["target"], record["backup"]
    if record["change"] == "mkdir":
        shutil.rmtree(target, ignore_errors=True)
    elif backup:
        _rename(backup, target)
    else:
        _remove(Path(target))
