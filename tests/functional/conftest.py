"""The image of this run, and guests that are booted from it."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testbed import image as images
from testbed.guest import Container, container, unpack
from testbed.heat import Heat, Template
from tests.conftest import BUILD


@pytest.fixture(scope="session")
def image() -> images.Image:
    """The image that `python -m testbed.image` built."""
    return images.load(BUILD / "image" / "guest")


@pytest.fixture(scope="session")
def root(image: images.Image) -> Path:
    """The image's files, which no test changes."""
    assert image.tar is not None
    return unpack(image.tar, BUILD / "image" / "unpacked")


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
