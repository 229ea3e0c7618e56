"""What Nova and Neutron must hold before a tenant can boot a server; and whether Nova's parts live.

Invariant: everything here may run again on a cloud that already has some or all of it. Nova's own
processes have no port: their state is what Nova's API tells of their heartbeats.
"""

from collections.abc import Callable, Mapping
from typing import Any

from keystoneauth1 import exceptions
from keystoneauth1.adapter import Adapter

from testbed.cloud import identity
from testbed.cloud.layout import REGION
from testbed.cloud.nova.configuration import PHYSICAL_NETWORK
from testbed.cloud.probes import Probe
from testbed.isolated import BRIDGE_ADDRESS, BRIDGE_NETWORK

FLAVORS = {"m1.tiny": (64, 1), "m1.small": (1024, 4)}  # MiB of memory, GiB of disk
NETWORK = "private"
_SUBNET = "private-subnet"
_TIMEOUT_SECONDS = 5.0


def populate(secrets: Mapping[str, str]) -> None:
    """Create the flavors and the network that every project uses.

    Raises keystoneauth1's ClientException where a service refuses or is away.
    """
    compute = _api(secrets, "compute")
    known = {flavor["name"] for flavor in compute.get("/flavors").json()["flavors"]}
    for name, (memory, disk) in FLAVORS.items():
        if name not in known:
            body = {"name": name, "ram": memory, "vcpus": 2, "disk": disk}
            compute.post("/flavors", json={"flavor": body})
    network = _ensure(secrets, "network", NETWORK, _shared_network())
    _ensure(secrets, "subnet", _SUBNET, {"network_id": network, **_addresses()})


def reports(secrets: Mapping[str, str], binary: str) -> Probe:
    """Return a probe that asks Nova's API whether a binary of Nova has reported lately."""
    return _probe(
        secrets,
        f"/os-services?binary={binary}",
        lambda body: any(service["state"] == "up" for service in body["services"]),
    )


def has_hypervisor(secrets: Mapping[str, str]) -> Probe:
    """Return a probe that asks Nova's API whether a compute host has reported and has its cell."""
    return _probe(
        secrets,
        "/os-hypervisors",
        lambda body: any(host["state"] == "up" for host in body["hypervisors"]),
    )


def _probe(secrets: Mapping[str, str], path: str, good: Callable[[Any], bool]) -> Probe:
    compute = _api(secrets, "compute")

    def probe() -> bool:
        try:
            return good(compute.get(path, timeout=_TIMEOUT_SECONDS).json())
        except exceptions.ClientException:
            return False

    return probe


def _api(secrets: Mapping[str, str], service_type: str) -> Adapter:
    return Adapter(
        identity.session("admin", secrets["admin"], "admin"),
        service_type=service_type,
        region_name=REGION,
        connect_retries=0,
    )


def _shared_network() -> dict[str, object]:
    return {
        "shared": True,
        "provider:network_type": "flat",
        "provider:physical_network": PHYSICAL_NETWORK,
    }


def _addresses() -> dict[str, object]:
    prefix = BRIDGE_ADDRESS.rpartition(".")[0]
    return {
        "ip_version": 4,
        "cidr": BRIDGE_NETWORK,
        "gateway_ip": BRIDGE_ADDRESS,
        "enable_dhcp": False,
        "allocation_pools": [{"start": f"{prefix}.100", "end": f"{prefix}.199"}],
    }


def _ensure(
    secrets: Mapping[str, str], kind: str, name: str, properties: Mapping[str, object]
) -> str:
    """Return the id of Neutron's thing of that kind and name, created where it is missing."""
    api = _api(secrets, "network")
    known = api.get(f"/v2.0/{kind}s", params={"name": name}).json()[f"{kind}s"]
    if known:
        return str(known[0]["id"])
    body = {kind: {"name": name, **properties}}
    return str(api.post(f"/v2.0/{kind}s", json=body).json()[kind]["id"])
