"""The command for a real cloud, as far as the test cloud has its services."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cloud import Cloud
from testbed.cloud.layout import load_secrets
from testbed.heat import Heat

CLOUDS = """
clouds:
  test:
    auth_type: v3password
    auth:
      auth_url: {auth_url}
      username: demo
      password: {password}
      project_name: demo
      user_domain_id: default
      project_domain_id: default
    region_name: RegionOne
"""


def test_the_command_for_a_real_cloud_passes_says_what_it_left_out_and_leaves_nothing(
    cloud: Cloud, heat: Heat, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    password = load_secrets(cloud.layout)["demo"]
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text(CLOUDS.format(auth_url=cloud.auth_url, password=password))
    command = [sys.executable, "-m", "testbed.acceptance", "--cloud", "test"]
    command += ["--image", str(pytestconfig.getoption("--image"))]
    done = subprocess.run(
        command,
        env={**os.environ, "OS_CLIENT_CONFIG_FILE": str(clouds), "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "left out, the cloud has no compute, image, network" in done.stdout
    assert "UPDATE_COMPLETE, all outputs are right" in done.stdout
    assert heat.names() == []
