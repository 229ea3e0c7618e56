"""heat-agents' own hooks run as they are: those of its elements that need no tool of a cloud.

Its source distribution comes by `requirements/heat-agents.txt`. Docker is a script that answers
as docker does; chef, puppet, salt, docker-compose and kubelet need tools that are not here.
"""

import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.heat import Heat, Script
from tests.conftest import BUILD
from tests.integration.conftest import Start
from tests.integration.guest_process import SCRIPTS, GuestProcess

HOOKS = ("ansible", "apply-config", "cfn-init", "docker-cmd", "hiera", "json-file", "script")
PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - copy: {content: "{{ colour }} {{ n }}", dest: "{{ heat_outputs_path }}.result"}
"""
DOCKER = """#!/bin/sh
case $1 in
    inspect) exit 1 ;;
    run) echo 0123456789abcdef ;;
esac
"""


@pytest.fixture(scope="session")
def heat_agents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """heat-agents' source tree."""
    (archive,) = (BUILD / "heat-agents").glob("heat_agents-*.tar.gz")
    directory = tmp_path_factory.mktemp("heat-agents")
    with tarfile.open(archive) as source:
        source.extractall(directory)  # noqa: S202 # its hash was checked
    (root,) = directory.iterdir()
    return root


def install(heat_agents: Path, guest: GuestProcess) -> None:
    """Install the hooks as heat-agents' elements do, and keep what they write in the guest."""
    for name in HOOKS:
        hook = guest.directory / "hooks" / name
        hook.unlink(missing_ok=True)
        hook.write_bytes(
            (heat_agents / f"heat-config-{name}/install.d/hook-{name}.py").read_bytes()
        )
        hook.chmod(0o755)
    for kind in ("SCRIPT", "ANSIBLE"):
        for place in ("WORKING", "OUTPUTS"):
            guest.environment[f"HEAT_{kind}_{place}"] = str(guest.directory / kind / place)
    docker = guest.directory / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    guest.environment |= {
        "PATH": f"{SCRIPTS}:{guest.environment['PATH']}",
        "HEAT_DOCKER_CMD": str(docker),
        "HEAT_PUPPET_HIERA_DATADIR": str(guest.directory / "hieradata"),
        "HEAT_HIERA_CONFIG": str(guest.directory / "hiera.yaml"),
        "HEAT_CFN_INIT_LAST_METADATA_DIR": str(guest.directory / "cfn"),
        "HEAT_CFN_INIT_CMD": "true",
        "OS_CONFIG_APPLIER_TEMPLATES": str(guest.directory / "templates"),
    }
    (guest.directory / "templates").mkdir()


def deployment(group: str, config: Any, **more: Any) -> Script:
    return Script(config, group=group, **more)


def test_heat_agents_own_hooks_run_unchanged(start: Start, heat: Heat, heat_agents: Path) -> None:
    colour = {"inputs": {"colour": "blue", "n": "7"}, "outputs": ("result",)}
    text = '#!/bin/sh\necho "$colour"; printf %s "$colour $n" >"$heat_outputs_path.result"\n'
    scripts: Mapping[str, Script] = {
        "script": deployment("script", text, **colour),
        "ansible": deployment("ansible", PLAYBOOK, **colour),
        "hiera": deployment("hiera", {"hierarchy": ["all"], "datafiles": {"all": {"k": "v"}}}),
        "json": deployment("json-file", {"@FILE@": {"k": "v"}}),
        "apply": deployment("apply-config", ""),
        "cfn": deployment("cfn-init", {"config": {"files": {}}}),
        "docker": deployment("docker-cmd", {"web": {"image": "nginx"}}),
    }
    guest = start("heat-agents", scripts)
    install(heat_agents, guest)
    deployments = json.loads(
        json.dumps(guest.collect()["deployments"]).replace("@FILE@", f"{guest.directory}/x.json")
    )
    guest.write_deployments(deployments)
    # Not `guest.apply`, whose output is searched for secrets: heat-agents' script hook logs each
    # input, and ours takes its place for that.
    subprocess.run([SCRIPTS / "55-heat-config"], env=guest.environment, check=True, timeout=120)
    stack = heat.wait_for("heat-agents", ["CREATE_COMPLETE"], 180)
    assert stack.outputs["script_deploy_stdout"] == "blue\n"
    assert stack.outputs["script_result"] == "blue 7"
    assert stack.outputs["ansible_result"] == "blue 7"
    assert "changed=1" in stack.outputs["ansible_deploy_stdout"]
    assert json.loads((guest.directory / "hieradata/all.json").read_text()) == {"k": "v"}
    assert json.loads((guest.directory / "x.json").read_text()) == {"k": "v"}
    assert stack.outputs["docker_deploy_stdout"] == "0123456789abcdef\n"
    assert "[INFO] success" in stack.outputs["apply_deploy_stderr"]
