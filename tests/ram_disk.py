"""A file system in memory, where an fsync costs nothing."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(directory: Path) -> Iterator[Path]:
    """Mount one for the length of the context."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", directory.name, str(directory)], check=True)
    try:
        yield directory
    finally:
        # Lazily: a guest's hook may still sit in it.
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
