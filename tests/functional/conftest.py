"""A cloud and the image of this run, for the functional tests."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed import image as images
from testbed.cloud import Cloud
from testbed.guest import Container, container, unpack
from testbed.heat import Heat, Template

BUILD = Path(__file__).resolve().parents[2] / "build"


@pytest.fixture(scope="session")
def image() -> images.Image:
    """The image that `python -m testbed.image` built."""
    return images.load(BUILD / "image" / "guest")


@pytest.fixture(scope="session")
def root(image: images.Image) -> Path:
    """The image's files, which no test changes."""
    assert image.tar is not None
    return unpack(image.tar, BUILD / "image" / "unpacked")


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """A running cloud, stopped at the end."""
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


Launcher = Callable[[str, Template], Container]


@pytest.fixture
def launch(heat: Heat, root: Path, tmp_path: Path) -> Iterator[Launcher]:
    """Start stacks, each with a guest that is booted with its server's metadata."""
    numbers = itertools.count()
    with ExitStack() as ends:

        def start(name: str, template: Template) -> Container:
            heat.create_stack(name, template)
            ends.callback(heat.delete_stack, name)
            metadata = heat.server_metadata_when_ready(name)
            where = tmp_path / f"guest-{next(numbers)}"
            return ends.enter_context(container(root, where, metadata))

        yield start
