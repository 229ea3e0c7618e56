"""A cloud, with Nova where `python -m testbed.isolated --bridge` is around pytest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import openstack
import pytest
from openstack.connection import Connection

from testbed.cloud import Cloud
from testbed.heat import Heat
from testbed.isolated import has_bridge
from tests.conftest import BUILD

Start = Callable[..., "subprocess.Popen[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests run with another image."""
    parser.addoption(
        "--image",
        type=Path,
        default=BUILD / "image" / "guest",
        help="what `python -m testbed.image --out` was given",
    )


@pytest.fixture(scope="session")
def cloud(cloud_directory: Path) -> Iterator[Cloud]:
    """A running cloud without stacks, stopped at the end."""
    directory = BUILD / "cloud-on-bridge" if has_bridge() else cloud_directory
    cloud = Cloud(
        directory, venv=BUILD / "cloud-venv", with_nova=has_bridge(), costly_passwords=has_bridge()
    )
    cloud.up(print)
    heat = Heat(cloud.admin_session())
    for left_behind in heat.names():
        heat.delete_stack(left_behind)
    yield cloud
    cloud.down()


@pytest.fixture(scope="session")
def cloud_with_nova(cloud: Cloud) -> Cloud:
    """The cloud, which has Nova."""
    if not has_bridge():
        pytest.skip("Nova takes `python -m testbed.isolated --bridge` around pytest")
    return cloud


@pytest.fixture
def demo(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """The project that owns the stacks, also for the programs that a test starts."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds_yaml))
    monkeypatch.setenv("no_proxy", "*")
    return openstack.connect(cloud="demo")


@pytest.fixture
def acceptance(demo: Connection) -> Iterator[Start]:
    """Start testbed.acceptance; whatever still runs at the end is killed."""
    assert demo
    started = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-u", "-m", "testbed.acceptance", "--cloud", "demo", *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def hollow_image(tmp_path: Path) -> Path:
    """An image that never comes up: an empty disk for Nova; a tar whose unpacking never ends."""
    disk = tmp_path / "hollow.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1M"], check=True)
    tar = tmp_path / "hollow.tar"
    os.mkfifo(tar)
    description = {
        "log": "",
        "command_line": "",
        "partitioned": True,
        "reason": "",
        "seconds": 0.0,
        "qcow2": str(disk),
        "tar": str(tar),
        "kernel": None,
        "initrd": None,
    }
    (tmp_path / "hollow.json").write_text(json.dumps(description))
    return tmp_path / "hollow"
