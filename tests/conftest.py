"""A cloud for the tests that need one; it takes `python -m testbed.isolated` around pytest.

Or around each of pytest's workers, as in `tox -e integration`: then each has a cloud of its own.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cloud import Cloud
from testbed.heat import Heat
from testbed.isolated import require_isolation

BUILD = Path(__file__).resolve().parents[1] / "build"


@pytest.fixture(scope="session")
def cloud_directory() -> Path:
    """Where this run's cloud lives.

    A worker has its own mounted there, in its own namespace: its subprocesses look there as well.
    """
    require_isolation()
    directory = BUILD / "cloud"
    directory.mkdir(parents=True, exist_ok=True)
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        own = BUILD / f"cloud-{worker}"
        own.mkdir(exist_ok=True)
        subprocess.run(["mount", "--bind", own, directory], check=True)
    return directory


@pytest.fixture(scope="session")
def cloud(cloud_directory: Path) -> Iterator[Cloud]:
    """A running cloud without stacks, stopped at the end."""
    cloud = Cloud(cloud_directory)
    cloud.up(print)
    client = Heat(cloud.admin_session())
    for left_behind in client.names():
        client.delete_stack(left_behind)
    yield cloud
    cloud.down()


@pytest.fixture
def heat(cloud: Cloud) -> Heat:
    """A client of the cloud's Heat."""
    return Heat(cloud.admin_session())
