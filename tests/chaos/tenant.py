"""A project of the real Keystone for guests whose Heat is played: users, and regions of endpoints.

A region for each place where a guest may live leads to what that place has of its own.
Invariant: making it again changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from keystoneauth1.adapter import Adapter

from testbed.cloud import Cloud, identity
from testbed.cloud.layout import HOST, PORTS, http_url, load_secrets

_NAME = "chaos"
_PASSWORD = "qmKW2h!@#%^&*Odyz$x"
_FIRST_PORT = 27100
SERVICES = ("mariadb", "redis", "keystone", "zaqar", "zaqar-websocket")


@dataclass(frozen=True)
class Place:
    """Where guests live: the ports by which they reach services and their Heat.

    :param is_direct: they reach Keystone and Zaqar without proxies.
    """

    number: int
    is_direct: bool = False

    @property
    def region(self) -> str:
        """The region whose endpoints are this place's."""
        return f"direct-{self.number}" if self.is_direct else f"place-{self.number}"

    @property
    def keystone(self) -> int:
        """The port of Keystone, or of its proxy."""
        return PORTS["keystone"] if self.is_direct else _FIRST_PORT + 10 * self.number

    @property
    def zaqar(self) -> int:
        """The port of Zaqar, or of its proxy."""
        return PORTS["zaqar"] if self.is_direct else _FIRST_PORT + 10 * self.number + 1

    @property
    def heat(self) -> int:
        """The port of the played Heat, or of its proxy."""
        return _FIRST_PORT + 10 * self.number + 2


@dataclass(frozen=True)
class Tenant:
    """The project, the guests' user and the user that plays Heat.

    :ivar token: of who plays Heat.
    :ivar guest_token: keystoneauth's state of a login of the guests' user.
    """

    project: str
    guest: str
    password: str
    token: str
    guest_token: str

    def section(self, place: Place, queue: str) -> dict[str, str]:
        """Return what Heat's metadata says under `os-collect-config.zaqar`."""
        return {
            "auth_url": f"http://{HOST}:{place.keystone}/v3/",
            "user_id": self.guest,
            "password": self.password,
            "project_id": self.project,
            "queue_id": queue,
            "region_name": place.region,
        }


def start(cloud: Cloud) -> None:
    """Start the services that a guest needs where Heat is played."""
    for service in SERVICES:
        cloud.start(service)


def make(cloud: Cloud, places: Iterable[Place]) -> Tenant:
    """Make project, users and regions in a running Keystone; log in as who plays Heat."""
    secrets = load_secrets(cloud.layout)
    keystone = Adapter(
        identity.session("admin", secrets["admin"], "admin"),
        service_type="identity",
        endpoint_override=f"{http_url('keystone')}/v3",
    )
    project = identity._ensure(keystone, "project", {"name": _NAME, "domain_id": "default"})
    role = identity._ensure(keystone, "role", {"name": "member"})
    users = {}
    for name in ("guest", "heat"):
        users[name] = identity._user(keystone, f"{_NAME}-{name}", _PASSWORD, "default")
        identity._grant(keystone, f"projects/{project}", users[name], role)
    for place in places:
        _add_region(keystone, place)
    token = identity.session(f"{_NAME}-heat", _PASSWORD, _NAME).get_token()
    guest = identity.session(f"{_NAME}-guest", _PASSWORD, _NAME)
    guest.get_token()
    state = getattr(guest.auth, "get_auth_state")()  # noqa: B009 # keystoneauth1's base lacks it
    return Tenant(project, users["guest"], _PASSWORD, token or "", str(state))


def _add_region(keystone: Adapter, place: Place) -> None:
    known = keystone.get("/regions").json()["regions"]
    if place.region not in [region["id"] for region in known]:
        keystone.put(f"/regions/{place.region}", json={"region": {"description": _NAME}})
    addresses = {
        "messaging": f"http://{HOST}:{place.zaqar}",
        "messaging-websocket": f"ws://{HOST}:{PORTS['zaqar-websocket']}",
        "orchestration": f"http://{HOST}:{place.heat}/v1/%(tenant_id)s",
    }
    for kind, url in addresses.items():
        service = keystone.get("/services", params={"type": kind}).json()["services"][0]["id"]
        query = {"service_id": service, "region_id": place.region}
        if not keystone.get("/endpoints", params=query).json()["endpoints"]:
            body = {**query, "interface": "public", "url": url}
            keystone.post("/endpoints", json={"endpoint": body})
