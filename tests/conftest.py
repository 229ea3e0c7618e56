"""A cloud for the tests that need one; it takes `python -m testbed.isolated` around pytest."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cloud import Cloud
from testbed.heat import Heat

BUILD = Path(__file__).resolve().parents[1] / "build"


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """A running cloud without stacks, stopped at the end."""
    cloud = Cloud(BUILD / "cloud")
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
