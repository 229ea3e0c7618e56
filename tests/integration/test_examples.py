"""Each template of examples/ with a real Heat, its servers played by guests without an image."""

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.heat import Heat, HeatError
from tests.conftest import BUILD
from tests.integration.guest_process import GuestProcess
from tests.integration.test_hooks_of_heat_agents import heat_agents as heat_agents
from tests.integration.test_hooks_of_heat_agents import install

EXAMPLES = BUILD.parent / "examples"
# What else runs: with a stand-in for Nova, and on the booted image.
ELSEWHERE = {
    "server": "tests/integration/test_heat_plugin.py",
    "reboot": "tests/functional/test_reboot.py",
}
MOST_SECONDS = 180


def template_of(name: str) -> dict[str, Any]:
    """Return a template of the gallery."""
    template: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    return template


class Site:
    """A stack of an example, and a guest for each of its servers."""

    def __init__(self, heat: Heat, name: str, directory: Path) -> None:
        self._heat = heat
        self._template = template_of(name)
        self._directory = directory
        self.name = name
        if name == "component":
            # In a cloud without Nova Heat cannot delete what runs at a deletion: it asks Nova for
            # the server. tests/field/test_operator.py has one with Nova.
            resources = self._template["resources"]
            resources["deployment"]["properties"]["actions"].remove("DELETE")
            del resources["component"]["properties"]["configs"][-1]
        self.guests: dict[str, GuestProcess] = {}

    def create(self, parameters: Mapping[str, Any]) -> None:
        """Begin the stack, and make the guests."""
        self._heat.create_stack(self.name, self._template, parameters)
        resources = self._template["resources"].items()
        servers = [name for name, item in resources if item["type"] == "OS::Heat::DeployedServer"]
        for server in servers:
            directory = self._directory / server
            directory.mkdir()
            self.guests[server] = GuestProcess(directory, self._metadata(server))

    def update(self, parameters: Mapping[str, Any]) -> None:
        """Begin an update to other parameters."""
        self._heat.update_stack(self.name, self._template, parameters)

    def serve(self, status: str) -> dict[str, Any]:
        """Have the guests collect and run until the stack has a status; return its outputs."""
        deadline = time.monotonic() + MOST_SECONDS
        while (stack := self._heat.stack(self.name)).status != status:
            assert not stack.status.endswith("_FAILED"), stack
            assert time.monotonic() < deadline, stack
            self.turn()
        return dict(stack.outputs)

    def turn(self) -> None:
        """Have each guest collect and run once."""
        for guest in self.guests.values():
            guest.collect()
            done = guest.apply()
            assert done.returncode == 0, done.stderr

    def _metadata(self, server: str) -> dict[str, Any]:
        deadline = time.monotonic() + MOST_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                # Heat shows the metadata a moment before it has posted them.
                if self._heat.resource(self.name, server).status == "CREATE_COMPLETE":
                    return self._heat.server_metadata(self.name, server)
            time.sleep(0.5)
        raise HeatError(f"the server {server} of {self.name} has no metadata")


@contextlib.contextmanager
def site_of(
    heat: Heat, name: str, directory: Path, parameters: Mapping[str, Any]
) -> Iterator[Site]:
    """Create a stack for the length of the context."""
    site = Site(heat, name, directory)
    try:
        site.create(parameters)
        yield site
    finally:
        heat.delete_stack(name)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("deployed-server", {"said": r"up since \d+ s\n"}),
        ("sequence", {"count": r"\d+", "said": r"\d+ workers\n"}),
    ],
)
def test_an_example_of_scripts_completes_with_its_outputs(
    heat: Heat, tmp_path: Path, name: str, outputs: Mapping[str, str]
) -> None:
    with site_of(heat, name, tmp_path, {}) as site:
        found = site.serve("CREATE_COMPLETE")
        assert set(found) == set(outputs)
        for key, pattern in outputs.items():
            assert re.fullmatch(pattern, str(found[key])), found
        if name == "sequence":
            assert found["said"] == f"{2 * int(found['count'])} workers\n"


def test_the_example_of_a_group_says_what_each_server_said(heat: Heat, tmp_path: Path) -> None:
    with site_of(heat, "group", tmp_path, {}) as site:
        found = site.serve("CREATE_COMPLETE")
        assert found["said"] == {name: f"{item}\n" for name, item in found["servers"].items()}
        assert len(set(found["servers"].values())) == 2


def test_the_example_of_a_component_does_what_belongs_to_each_action(
    heat: Heat, tmp_path: Path
) -> None:
    page = tmp_path / "srv" / "page"
    parameters = {"directory": str(page.parent)}
    with site_of(heat, "component", tmp_path, parameters) as site:
        assert site.serve("CREATE_COMPLETE")["said"] == "CREATE\n"
        assert page.read_text() == "first\n"
        site.update({**parameters, "text": "second"})
        assert site.serve("UPDATE_COMPLETE")["said"] == "UPDATE\n"
        assert page.read_text() == "second\n"


def test_the_example_of_a_secret_hands_it_over_and_shows_it_nowhere(
    heat: Heat, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    parameters = {"password": "correct horse", "file": str(file)}
    with site_of(heat, "secret", tmp_path, parameters) as site:
        assert site.serve("CREATE_COMPLETE")["said"] == "14 bytes\n"
        assert file.read_text() == "correct horse\n"
        assert file.stat().st_mode & 0o077 == 0
        (guest,) = site.guests.values()
        for command in (("status",), ("show", "10-password"), ("logs", "10-password")):
            assert "horse" not in guest.run("heat-config-zaqar", *command).stdout
        guest.assert_no_secret_leaked()


def test_the_examples_of_heat_agents_hooks_do_what_they_say(
    heat: Heat, tmp_path: Path, heat_agents: Path
) -> None:
    (tmp_path / "structured").mkdir()
    with site_of(heat, "structured", tmp_path / "structured", {"workers": 8}) as site:
        (guest,) = site.guests.values()
        install(heat_agents, guest)
        assert site.serve("CREATE_COMPLETE") == {"code": 0}
        data = json.loads((guest.directory / "hieradata" / "web.json").read_text())
        assert data == {"httpd::workers": 8, "httpd::listen": [80, 443]}
    motd = tmp_path / "motd"
    with site_of(heat, "ansible", tmp_path, {"path": str(motd)}) as site:
        (guest,) = site.guests.values()
        install(heat_agents, guest)
        assert site.serve("CREATE_COMPLETE") == {"changed": "True"}
        assert motd.read_text() == "managed by Heat\n"


def test_each_example_is_run_somewhere() -> None:
    tests = Path(__file__).read_text()
    names = {path.stem for path in EXAMPLES.glob("*.yaml")} - {"alerts"}
    assert len(names) == 9
    for name in names:
        where = ELSEWHERE.get(name)
        text = (BUILD.parent / where).read_text() if where else tests
        assert f'"{name}"' in text or f'"{name}.yaml"' in text, name
