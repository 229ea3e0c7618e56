"""Where the cloud keeps its things: ports, paths and secrets.

Invariant: a path, a port or a password is named here once, and everything else asks for it.
Ports are fixed, well away from the services' defaults and below the kernel's ephemeral range,
so that no outgoing connection of a busy test can ever hold one of them.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from testbed.isolated import address

# Loopback, or the address of the bridge that guests of Nova are on.
HOST = address()
REGION = "RegionOne"

PORTS = {
    "mariadb": 28306,
    "redis": 28379,
    "rabbitmq": 28567,
    "rabbitmq-distribution": 28568,
    "epmd": 28369,
    "keystone": 28500,
    "zaqar": 28888,
    "zaqar-websocket": 28900,
    "zaqar-notification": 28901,
    "zaqar-1": 28881,
    "zaqar-2": 28882,
    "zaqar-websocket-1": 28911,
    "zaqar-websocket-2": 28912,
    "zaqar-notification-1": 28921,
    "zaqar-notification-2": 28922,
    "redis-2": 28380,
    "redis-3": 28381,
    "sentinel-1": 28391,
    "sentinel-2": 28392,
    "sentinel-3": 28393,
    "heat-api": 28004,
    "heat-api-cfn": 28005,
    "placement": 28778,
    "glance": 28292,
    "neutron": 28696,
    "nova-api": 28774,
}

SECRET_NAMES = (
    "admin",
    "demo",
    "heat",
    "heat_domain_admin",
    "zaqar",
    "placement",
    "glance",
    "neutron",
    "nova",
    "mariadb",
    "rabbitmq",
    "signed_url",
    "auth_encryption_key",
)


def http_url(service: str) -> str:
    """Return the base URL, without a trailing slash, of an HTTP service named in PORTS."""
    return f"http://{HOST}:{PORTS[service]}"


@dataclass(frozen=True)
class Layout:
    """The paths of one cloud, all absolute.

    `directory` holds everything that the cloud writes, `venv` the Python services.
    """

    directory: Path
    venv: Path

    @property
    def nova_venv(self) -> Path:
        """The environment of Nova and what comes with it, beside that of the other services."""
        return self.venv.with_name(f"{self.venv.name.removesuffix('-venv')}-nova-venv")

    @property
    def log(self) -> Path:
        """The directory of the logs, one file for each service."""
        return self.directory / "log"

    @property
    def etc(self) -> Path:
        """The directory of the configuration files that can be named on a command line."""
        return self.directory / "etc"

    @property
    def home(self) -> Path:
        """The services' HOME: where Zaqar's and Heat's WSGI applications look for a file."""
        return self.directory / "home"

    @property
    def data(self) -> Path:
        """The directory of the stores' data and Keystone's keys."""
        return self.directory / "data"

    @property
    def run(self) -> Path:
        """The directory of the process records."""
        return self.directory / "run"

    @property
    def prepared(self) -> Path:
        """The directory of the marks that say which one-time preparations are done."""
        return self.directory / "prepared"

    @property
    def with_nova(self) -> Path:
        """The mark of a cloud that has Nova."""
        return self.prepared / "with-nova"

    def log_file(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.log / f"{service}.log"

    def record(self, service: str) -> Path:
        """Return the record of a service's process."""
        return self.run / f"{service}.json"

    def program(self, name: str) -> str:
        """Return the path of a program in the cloud's virtual environment."""
        return str(self.venv / "bin" / name)

    def nova_program(self, name: str) -> str:
        """Return the path of a program in Nova's virtual environment."""
        return str(self.nova_venv / "bin" / name)

    @property
    def libvirt_socket(self) -> Path:
        """Where the cloud's libvirtd listens."""
        return self.data / "libvirt" / "run" / "libvirt-sock"

    def create(self) -> None:
        """Create the directories, closed to other users, where they are missing."""
        for path in (self.directory, self.log, self.etc, self.data, self.run, self.prepared):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (".zaqar", ".heat"):
            (self.home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("keystone", "redis", "rabbitmq"):
            (self.data / name).mkdir(mode=0o700, exist_ok=True)


def load_secrets(layout: Layout) -> dict[str, str]:
    """Return the cloud's passwords and keys by name; make them on the first call.

    They are hexadecimal because oslo.config would interpolate a `$` and URLs need no quoting.
    """
    path = layout.directory / "secrets.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in SECRET_NAMES if name not in known]
    if missing:
        known |= {name: secrets.token_hex(16) for name in missing}
        write_private(path, json.dumps(known, indent=2))
    return known


def write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner can read; readers see the old or the new text."""
    temporary = path.with_name(f"{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.replace(path)
