"""Lies where heat-agents' tests look for the module heat-config-notify: runs our command.

They put mocks in the place of `requests`, `ksclient` and `heatclient` and ask them what was
called. Ours is a process; what it says to a server on loopback is told to these mocks.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from cloud_on_loopback import REGIONS, Cloud, Request  # type: ignore[import-not-found]  # beside this file

SCRIPTS = Path(sys.executable).parent
MOCK_HOST = "mock://192.0.2.3"

requests: Any = None
Retry: Any = None
HTTPAdapter: Any = None
ksclient: Any = None
heatclient: Any = None
init_logging: Any = None


def main(argv: list[str], stdin: IO[str]) -> int:
    """Run heat-config-notify as `argv` says; return its exit code."""
    cloud = Cloud()
    with tempfile.TemporaryDirectory() as directory:
        arguments = []
        for number, name in enumerate(argv[1:]):
            path = Path(directory, str(number))
            if Path(name).exists():
                path.write_text(Path(name).read_text().replace(MOCK_HOST, cloud.address))
            arguments.append(str(path))
        command = [str(SCRIPTS / "heat-config-notify"), *arguments]
        done = subprocess.run(command, input=stdin.read(), text=True, check=False, timeout=60)
    _tell(cloud.requests)
    return done.returncode


def _tell(received: list[Request]) -> None:
    """Call the mocks as heat-agents' command does for what was received."""
    keystone = None
    for method, path, body in received:
        if path.endswith("/auth/tokens"):
            keystone = _tell_of_login(path, json.loads(body)["auth"])
        elif keystone is not None:
            _tell_of_signal(keystone, path, json.loads(body))
        else:
            send = getattr(requests.Session(), method.lower())
            send(MOCK_HOST + path, data=body, headers={"content-type": "application/json"})


def _tell_of_login(path: str, login: dict[str, Any]) -> Any:
    user = login["identity"]["password"]["user"]
    return ksclient.Client(
        # Keystone's version belongs to the request.
        auth_url=MOCK_HOST + path.removesuffix("/v3/auth/tokens"),
        user_id=user["id"],
        password=user["password"],
        project_id=login["scope"]["project"]["id"],
    )


def _tell_of_signal(keystone: Any, path: str, body: dict[str, Any]) -> None:
    _, prefix, _, stack, _, resource, _ = path.split("/")
    endpoint = keystone.service_catalog.url_for(
        service_type="orchestration",
        endpoint_type="publicURL",
        region_name="RegionOne" if f"/{prefix}" == REGIONS["RegionOne"] else None,
    )
    client = heatclient.Client("1", endpoint, token=keystone.auth_token)
    client.resources.signal(stack, resource, data=body)
