"""What Keystone must know before Heat and Zaqar work: users, roles, the domain and the catalog.

Invariant: everything here may run again on a Keystone that already knows some or all of it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import requests
from keystoneauth1.adapter import Adapter
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from testbed.cloud.layout import HOST, PORTS, REGION, http_url

DEMO_PROJECT = "demo"

_CATALOG = {
    "orchestration": ("heat", f"{http_url('heat-api')}/v1/%(tenant_id)s"),
    "cloudformation": ("heat-cfn", f"{http_url('heat-api-cfn')}/v1"),
    "messaging": ("zaqar", http_url("zaqar")),
    "messaging-websocket": ("zaqar-websocket", f"ws://{HOST}:{PORTS['zaqar-websocket']}"),
}


def session(user: str, password: str, project: str) -> Session:
    """Return a session of a user of the default domain, scoped to a project of it.

    It ignores proxies and certificates in the environment: the cloud is on this machine.
    """
    transport = requests.Session()
    transport.trust_env = False
    auth = v3.Password(
        auth_url=f"{http_url('keystone')}/v3",
        username=user,
        password=password,
        user_domain_id="default",
        project_name=project,
        project_domain_id="default",
    )
    return Session(auth=auth, session=transport)


def clouds_yaml(secrets: Mapping[str, str]) -> str:
    """Return a clouds.yaml with the entries `demo`, who owns the stacks, and `admin`."""
    entries = {
        user: {
            "auth": {
                "auth_url": f"{http_url('keystone')}/v3",
                "username": user,
                "password": secrets[user],
                "project_name": project,
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
            "region_name": REGION,
        }
        for user, project in (("demo", DEMO_PROJECT), ("admin", "admin"))
    }
    # YAML takes JSON.
    return json.dumps({"clouds": entries}, indent=2)


def populate(secrets: Mapping[str, str]) -> None:
    """Create what the services need in a bootstrapped Keystone.

    Raises keystoneauth1's ClientException where Keystone refuses or is away.
    """
    keystone = _administrator(secrets)
    for service_type, (name, url) in _CATALOG.items():
        _catalog_entry(keystone, service_type, name, url, REGION)
    roles = {
        name: _ensure(keystone, "role", {"name": name})
        for name in ("admin", "member", "heat_stack_owner", "heat_stack_user")
    }
    service = _ensure(keystone, "project", {"name": "service", "domain_id": "default"})
    demo = _ensure(keystone, "project", {"name": DEMO_PROJECT, "domain_id": "default"})
    for name in ("heat", "zaqar"):
        user = _user(keystone, name, secrets[name], "default")
        _grant(keystone, f"projects/{service}", user, roles["admin"])
    user = _user(keystone, "demo", secrets["demo"], "default")
    for role in ("member", "heat_stack_owner"):
        _grant(keystone, f"projects/{demo}", user, roles[role])
    domain = _ensure(keystone, "domain", {"name": "heat"})
    user = _user(keystone, "heat_domain_admin", secrets["heat_domain_admin"], domain)
    _grant(keystone, f"domains/{domain}", user, roles["admin"])


def add_service(secrets: Mapping[str, str], user: str, service_type: str, url: str) -> None:
    """Give the catalog a service, and Keystone its user, which may do and vouch for anything.

    Raises keystoneauth1's ClientException where Keystone refuses or is away.
    """
    keystone = _administrator(secrets)
    _catalog_entry(keystone, service_type, user, url, REGION)
    project = _ensure(keystone, "project", {"name": "service", "domain_id": "default"})
    user_id = _user(keystone, user, secrets[user], "default")
    for role in ("admin", "service"):
        _grant(keystone, f"projects/{project}", user_id, _ensure(keystone, "role", {"name": role}))


def add_region(secrets: Mapping[str, str], region: str, endpoints: Mapping[str, str]) -> None:
    """Give a region of the catalog these endpoints, by service type, where it lacks them.

    Raises keystoneauth1's ClientException where Keystone refuses or is away.
    """
    keystone = _administrator(secrets)
    if region not in [known["id"] for known in keystone.get("/regions").json()["regions"]]:
        keystone.post("/regions", json={"region": {"id": region}})
    for service_type, url in endpoints.items():
        _catalog_entry(keystone, service_type, _CATALOG[service_type][0], url, region)


@contextmanager
def changed_catalog(
    secrets: Mapping[str, str], endpoints: Mapping[str, str | None]
) -> Iterator[None]:
    """Put endpoints into the catalog, or take them out where the URL is None, until it is left.

    Raises keystoneauth1's ClientException where Keystone refuses or is away.
    """
    keystone = _administrator(secrets)
    with ExitStack() as ends:
        for service_type, url in endpoints.items():
            query = {"type": service_type}
            known = keystone.get("/services", params=query).json()["services"]
            if url is None:
                path = f"/services/{known[0]['id']}"
                keystone.patch(path, json={"service": {"enabled": False}})
                ends.callback(keystone.patch, path, json={"service": {"enabled": True}})
            else:
                service = _catalog_entry(keystone, service_type, service_type, url, REGION)
                ends.callback(keystone.delete, f"/services/{service}")
        yield


def _administrator(secrets: Mapping[str, str]) -> Adapter:
    return Adapter(
        session("admin", secrets["admin"], "admin"),
        service_type="identity",
        endpoint_override=f"{http_url('keystone')}/v3",
    )


def _catalog_entry(keystone: Adapter, service_type: str, name: str, url: str, region: str) -> str:
    service = _ensure(keystone, "service", {"name": name, "type": service_type})
    # Keystone takes any number of equal endpoints, so look before adding one.
    query = {"service_id": service, "region_id": region}
    if not keystone.get("/endpoints", params=query).json()["endpoints"]:
        body = {"service_id": service, "interface": "public", "region_id": region, "url": url}
        keystone.post("/endpoints", json={"endpoint": body})
    return service


def _user(keystone: Adapter, name: str, password: str, domain: str) -> str:
    body = {"name": name, "domain_id": domain, "password": password}
    return _ensure(keystone, "user", body)


def _ensure(keystone: Adapter, kind: str, body: Mapping[str, str]) -> str:
    """Return the id of the thing of that kind and name, created where it is missing."""
    query = {key: body[key] for key in ("name", "domain_id") if key in body}
    known = keystone.get(f"/{kind}s", params=query).json()[f"{kind}s"]
    if known:
        return str(known[0]["id"])
    return str(keystone.post(f"/{kind}s", json={kind: dict(body)}).json()[kind]["id"])


def _grant(keystone: Adapter, target: str, user: str, role: str) -> None:
    keystone.put(f"/{target}/users/{user}/roles/{role}")
