"""How `pip install .` builds the build host's package: setuptools, in a copy of the source.

Owns the version: git's, that of an sdist, or `0+source` where neither tells. Invariant: a wheel
holds what is in the tree at that moment. setuptools alone would add what an earlier build left in
build/, write into a tree that may be read-only, and stop where git is missing.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import setuptools_scm
from setuptools import build_meta

# An sdist holds what git knows, and is made from a clone: tools/build-package.
from setuptools.build_meta import build_sdist, get_requires_for_build_sdist

__all__ = [
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_sdist",
    "prepare_metadata_for_build_wheel",
]

_SOURCES = ("LICENSE", "README.md", "pyproject.toml", "elements", "hooks")
_PACKAGE = "heat_config_zaqar_elements"
_LEFT_BEHIND = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
_Settings = Mapping[str, Any] | None


def prepare_metadata_for_build_wheel(
    metadata_directory: str, config_settings: _Settings = None
) -> str:
    """Write the metadata into `metadata_directory`; return its directory's name."""
    with _copy_of_the_source():
        return build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_wheel(
    wheel_directory: str,
    config_settings: _Settings = None,
    metadata_directory: str | None = None,
) -> str:
    """Build the wheel into `wheel_directory`; return its name."""
    with _copy_of_the_source():
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


@contextlib.contextmanager
def _copy_of_the_source() -> Iterator[None]:
    source = Path.cwd()
    os.environ["SETUPTOOLS_SCM_PRETEND_VERSION"] = _version(source)
    with tempfile.TemporaryDirectory() as scratch:
        for name in (*_SOURCES, _PACKAGE):
            if (source / name).is_dir():
                shutil.copytree(source / name, Path(scratch, name), ignore=_LEFT_BEHIND)
            else:
                shutil.copy(source / name, scratch)
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(source)


def _version(source: Path) -> str:
    # It logs that git is missing with a traceback.
    logging.getLogger("setuptools_scm").setLevel(logging.CRITICAL)
    try:
        return setuptools_scm.get_version(str(source))
    except (LookupError, OSError, subprocess.SubprocessError):
        return "0+source"
