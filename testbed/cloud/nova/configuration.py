"""The configuration files of Placement, Glance, Neutron, libvirt and Nova, as text.

Invariant: what is not set here has upstream's default. Each line is one that the service does
not work without in one isolated namespace, or that keeps it small.
"""

from collections.abc import Mapping
from pathlib import Path

from testbed.cloud.configuration import (
    SERVICE_PROJECT,
    Sections,
    database,
    ini,
    service_user,
    token_check,
    transport_url,
)
from testbed.cloud.layout import HOST, REGION, Layout

DATABASES = ("placement", "glance", "neutron", "nova_api", "nova", "nova_cell0")
COMPUTE_HOST = "testbed"
PHYSICAL_NETWORK = "guests"

# What Python's package metadata must say for Neutron to find a mechanism driver by its name.
_DRIVER = "testbed_tap"
_DRIVER_SOURCE = Path(__file__).with_name("mechanism_driver.py")
_ENTRY_POINTS = f"[neutron.ml2.mechanism_drivers]\n{_DRIVER} = {_DRIVER}:TapMechanismDriver\n"


def files(layout: Layout, secrets: Mapping[str, str]) -> dict[str, dict[Path, str]]:
    """Return each service's configuration files: their texts by path."""
    common = layout.etc / "nova.conf"
    control = {common: ini(_nova(layout, secrets) | _nova_databases(secrets))}
    driver = driver_directory(layout)
    return {
        "placement": {layout.etc / "placement.conf": ini(_placement(secrets))},
        "glance": {layout.etc / "glance-api.conf": ini(_glance(layout, secrets))},
        "neutron": {
            layout.etc / "neutron.conf": ini(_neutron(layout, secrets)),
            driver / f"{_DRIVER}.py": _DRIVER_SOURCE.read_text(),
            driver / f"{_DRIVER}-1.dist-info" / "METADATA": f"Name: {_DRIVER}\nVersion: 1\n",
            driver / f"{_DRIVER}-1.dist-info" / "entry_points.txt": _ENTRY_POINTS,
        },
        "libvirtd": {
            layout.etc / "libvirt" / "qemu.conf": _QEMU,
            layout.etc / "libvirt" / "libvirtd.conf": 'auth_unix_rw = "none"\n',
        },
        "nova-api": control,
        "nova-conductor": control,
        "nova-scheduler": control,
        "nova-compute": {
            layout.etc / "nova-compute.conf": ini(
                _nova(layout, secrets) | _nova_compute(layout, secrets)
            )
        },
    }


def driver_directory(layout: Layout) -> Path:
    """Return where Neutron's Python finds the mechanism driver."""
    return layout.etc / "neutron-driver"


# Guests run as the one user that there is, and nothing here has cgroups or a security module.
_QEMU = """
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
remember_owner = 0
stdio_handler = "file"
"""


def _client(name: str, secrets: Mapping[str, str]) -> dict[str, object]:
    return service_user(name, secrets) | SERVICE_PROJECT | {"region_name": REGION}


def _locks(layout: Layout) -> dict[str, object]:
    return {"lock_path": layout.data / "locks"}


def _placement(secrets: Mapping[str, str]) -> Sections:
    return {
        "placement_database": database("placement", secrets),
        "keystone_authtoken": token_check("placement", secrets),
    }


def _glance(layout: Layout, secrets: Mapping[str, str]) -> Sections:
    data = layout.data / "glance"

    def store(name: str) -> dict[str, object]:
        return {"filesystem_store_datadir": data / name}

    return {
        "DEFAULT": {"enabled_backends": "file:file"},
        "glance_store": {"default_backend": "file"},
        "file": store("images"),
        "os_glance_tasks_store": store("tasks"),
        "os_glance_staging_store": store("staging"),
        "database": database("glance", secrets),
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": layout.nova_venv / "etc" / "glance" / "glance-api-paste.ini",
        },
        "oslo_concurrency": _locks(layout),
        "keystone_authtoken": token_check("glance", secrets),
    }


def _neutron(layout: Layout, secrets: Mapping[str, str]) -> Sections:
    return {
        "DEFAULT": {
            "core_plugin": "ml2",
            "service_plugins": "",
            "transport_url": transport_url(secrets),
            "api_paste_config": layout.nova_venv / "etc" / "neutron" / "api-paste.ini",
            "state_path": layout.data / "neutron",
            # Nova waits for no port here: it is bound as soon as it is made.
            "notify_nova_on_port_status_changes": False,
            "notify_nova_on_port_data_changes": False,
        },
        "database": database("neutron", secrets),
        "oslo_concurrency": _locks(layout),
        "keystone_authtoken": token_check("neutron", secrets),
        "ml2": {
            # Guests are on the flat one; of others there is the API.
            "type_drivers": "flat,local",
            "tenant_network_types": "local",
            "mechanism_drivers": _DRIVER,
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": PHYSICAL_NETWORK},
    }


def _nova(layout: Layout, secrets: Mapping[str, str]) -> dict[str, Mapping[str, object]]:
    return {
        "DEFAULT": {
            "transport_url": transport_url(secrets),
            "my_ip": HOST,
            "host": COMPUTE_HOST,
            "state_path": layout.data / "nova",
        },
        "conductor": {"workers": 1},
        # The compute host is in its cell as soon as it has shown itself.
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 5},
        "oslo_concurrency": _locks(layout),
        "keystone_authtoken": token_check("nova", secrets),
        # Neutron lets a user's token touch a server's port only where Nova's comes with it.
        "service_user": {**_client("nova", secrets), "send_service_user_token": True},
        "placement": _client("placement", secrets),
        "neutron": _client("neutron", secrets),
    }


def _nova_databases(secrets: Mapping[str, str]) -> dict[str, Mapping[str, object]]:
    return {
        "api_database": database("nova_api", secrets),
        "database": database("nova", secrets),
    }


def _nova_compute(layout: Layout, secrets: Mapping[str, str]) -> dict[str, Mapping[str, object]]:
    # nova-compute refuses a file that names a database, so it has its own.
    helper = layout.nova_program("privsep-helper")
    privileged = {
        "helper_command": f"{helper} --config-file {layout.etc / 'nova-compute.conf'}",
    }
    return {
        "DEFAULT": {
            **_nova(layout, secrets)["DEFAULT"],
            "compute_driver": "libvirt.LibvirtDriver",
            # There is no DHCP and no metadata service: a guest reads its address from there.
            "force_config_drive": True,
            "mkisofs_cmd": "genisoimage",
            "vif_plugging_timeout": 0,
            "vif_plugging_is_fatal": False,
            # Guests mostly wait: more of them than two cores would be given at once.
            "cpu_allocation_ratio": 16.0,
        },
        "libvirt": {
            "connection_uri": f"qemu+unix:///system?socket={layout.libvirt_socket}",
            "virt_type": "qemu",
            "cpu_mode": "custom",
            "cpu_models": "qemu64",
            "inject_partition": -2,
            "images_type": "qcow2",
        },
        # Nova compares the host's processor with the guest's, which emulation does not need.
        "workarounds": {"skip_cpu_compare_at_startup": True, "skip_cpu_compare_on_dest": True},
        "vnc": {"enabled": False},
        "nova_sys_admin": privileged,
        "privsep_osbrick": privileged,
        "vif_plug_linux_bridge_privileged": privileged,
        "vif_plug_ovs_privileged": privileged,
    }
