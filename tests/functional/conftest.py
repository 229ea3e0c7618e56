"""The image of this run, and guests that are booted from it."""

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from testbed import image as images
from testbed.cloud import Cloud
from testbed.guest import Container, container, unpack
from testbed.heat import Heat
from tests import leaks
from tests.conftest import BUILD


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests run with an image of another distribution."""
    parser.addoption(
        "--image",
        type=Path,
        default=BUILD / "image" / "guest",
        help="what `python -m testbed.image --out` was given",
    )


@pytest.fixture(scope="session")
def image(pytestconfig: pytest.Config) -> images.Image:
    """The image that `python -m testbed.image` built."""
    return images.load(pytestconfig.getoption("--image").absolute())


@pytest.fixture(scope="session")
def root(image: images.Image) -> Path:
    """The image's files, which no test changes."""
    assert image.tar is not None
    return unpack(image.tar, image.tar.parent / "unpacked")


@pytest.fixture(scope="module")
def plugin(cloud: Cloud) -> Iterator[None]:
    """Heat with our plug-in; at the end without it, as before."""
    options = {"plugin_dirs": str(BUILD.parent / "heat-plugin")}
    Cloud(cloud.layout.directory, heat_options=options).up(print)
    yield
    cloud.up(print)


class Launcher(Protocol):
    """Creates a stack and boots a guest with the metadata of its server."""

    def __call__(
        self, name: str, template: dict[str, Any], collector: str = "zaqar"
    ) -> Container: ...


@pytest.fixture
def launch(heat: Heat, root: Path, tmp_path: Path) -> Iterator[Launcher]:
    """Start stacks, each with a guest that is booted with its server's metadata."""
    numbers = itertools.count()
    with ExitStack() as ends:

        def start(name: str, template: dict[str, Any], collector: str = "zaqar") -> Container:
            heat.create_stack(name, leaks.plant(template))
            ends.callback(heat.delete_stack, name)
            metadata = heat.server_metadata_when_ready(name, collector=collector)
            where = tmp_path / f"guest-{next(numbers)}"
            guest = ends.enter_context(container(root, where, metadata))
            ends.callback(_assert_no_secret_leaked, guest, where / "changes", metadata)
            return guest

        yield start


def _assert_no_secret_leaked(guest: Container, changes: Path, metadata: dict[str, Any]) -> None:
    """Search the guest's journal, its processes and the files that it wrote for secrets."""
    secrets = leaks.secrets_of_metadata(metadata)
    stored = changes / "var/lib/heat-config-zaqar/metadata.json"
    if stored.exists():
        secrets |= leaks.secrets_of_metadata(json.loads(stored.read_text())["snapshot"])
    tokens = guest.run("sh", "-c", "cat /run/heat-config-zaqar/tokens/*.json").stdout
    secrets |= set(re.findall(r"gAAAA[\w-]{50,}", tokens))
    for command in (("journalctl", "-o", "cat"), ("ps", "axww", "-o", "args")):
        leaks.assert_absent(secrets, guest.run(*command).stdout, " ".join(command))
    leaks.assert_files_closed(secrets, changes)
