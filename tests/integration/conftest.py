"""Stacks on the cloud, each with a guest without an image."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from testbed.cloud import Cloud
from testbed.guest import wait_for
from testbed.heat import Heat, Script, Template, deployments_template
from tests import leaks
from tests.conftest import BUILD
from tests.integration.guest_process import GuestProcess
from tests.integration.test_cloud import Guest

PLUGIN = BUILD.parent / "heat-plugin"

Engine = Callable[..., None]
Start = Callable[[str, Mapping[str, Script]], GuestProcess]


def script(text: str, **more: Any) -> Script:
    """Return a deployment of a shell script."""
    return Script(f"#!/bin/sh\n{text}\n", **more)


def template_of(scripts: Mapping[str, Script]) -> Template:
    """Return the template of a guest's stack, each deployment with a secret that may not leak."""
    return leaks.plant(deployments_template(scripts))


@contextmanager
def stack_with_guest(
    heat: Heat, name: str, scripts: Mapping[str, Script], directory: Path
) -> Iterator[GuestProcess]:
    """Create a stack and a guest for its server, and wait until its deployments are posted.

    In the end the guest is searched for secrets where none may be, and the stack deleted.
    """
    heat.create_stack(name, template_of(scripts))
    try:
        metadata = heat.server_metadata_when_ready(name, 180)
        reader = Guest(metadata)
        wait_for(
            lambda: any(len(body["deployments"]) == len(scripts) for body in reader.messages()),
            180,
            f"the deployments of {name} are not posted",
        )
        guest = GuestProcess(directory, metadata)
        yield guest
        guest.assert_no_secret_leaked()
    finally:
        heat.delete_stack(name)


@pytest.fixture
def start(heat: Heat, tmp_path: Path) -> Iterator[Start]:
    """Start stacks, each with a guest."""
    numbers = itertools.count()
    with ExitStack() as ends:

        def create(name: str, scripts: Mapping[str, Script]) -> GuestProcess:
            directory = tmp_path / f"guest-{next(numbers)}"
            directory.mkdir()
            return ends.enter_context(stack_with_guest(heat, name, scripts, directory))

        yield create


@pytest.fixture(scope="module")
def engine(cloud: Cloud) -> Iterator[Engine]:
    """Run Heat with the plug-ins of some directories; at the end with none, as before."""

    def run(*directories: Path, **options: str) -> None:
        options["plugin_dirs"] = ",".join(map(str, directories))
        Cloud(cloud.layout.directory, heat_options=options).up(print)

    yield run
    cloud.up(print)


@pytest.fixture(scope="module")
def heat_of_module(cloud: Cloud) -> Heat:
    """A client of the cloud's Heat for the stacks that a module's tests share."""
    return Heat(cloud.admin_session())
