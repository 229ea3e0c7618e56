"""Nova's services and those that Nova needs: how each is prepared, started and asked.

Invariant: as in `testbed.cloud.services`. What libvirtd started, guests above all, ends with it.
"""

import shlex
from dataclasses import replace
from pathlib import Path

from testbed.cloud import identity
from testbed.cloud.layout import Layout, http_url
from testbed.cloud.nova import content
from testbed.cloud.nova.configuration import driver_directory
from testbed.cloud.probes import unix_socket
from testbed.cloud.services import Service, uwsgi

_CATALOG = {
    "placement": ("placement", http_url("placement")),
    "glance": ("image", http_url("glance")),
    "neutron": ("network", http_url("neutron")),
    "nova": ("compute", f"{http_url('nova-api')}/v2.1"),
}
# Nine services that read much Python, on the machine whose guests are emulated.
_PATIENCE_SECONDS = 180.0
_LIBVIRT_HOOK = Path(__file__).with_name("libvirt-hook")


def services(layout: Layout, secrets: dict[str, str]) -> dict[str, Service]:
    """Return every process by name, each after those that it needs or asks."""
    return {
        service.name: replace(service, patience=_PATIENCE_SECONDS)
        for service in (
            _placement(layout, secrets),
            _glance(layout),
            _neutron(layout),
            _nova_api(layout),
            _nova(layout, secrets, "conductor"),
            _nova(layout, secrets, "scheduler"),
            _libvirtd(layout),
            _nova_compute(layout, secrets),
        )
    }


def _environment(layout: Layout, **more: str) -> dict[str, str]:
    path = f"{layout.nova_venv / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, **more}


def _placement(layout: Layout, secrets: dict[str, str]) -> Service:
    config = str(layout.etc / "placement.conf")

    def populate() -> None:
        for user, (service_type, url) in _CATALOG.items():
            identity.add_service(secrets, user, service_type, url)

    service = uwsgi(
        layout.nova_venv,
        "placement",
        "placement.wsgi.api",
        1,
        "/",
        needs=("keystone",),
        prepare=((layout.nova_program("placement-manage"), "--config-file", config, "db", "sync"),),
        environment=_environment(layout, OS_PLACEMENT_CONFIG_DIR=str(layout.etc)),
        options=("--lazy-apps",),
    )
    return replace(service, populate=populate)


def _glance(layout: Layout) -> Service:
    config = str(layout.etc / "glance-api.conf")
    return uwsgi(
        layout.nova_venv,
        "glance",
        "glance.wsgi.api",
        2,
        "/",
        needs=("mariadb",),
        prepare=((layout.nova_program("glance-manage"), "--config-file", config, "db_sync"),),
        environment=_environment(layout, OS_GLANCE_CONFIG_DIR=str(layout.etc)),
        # Nova sends a snapshot in chunks of 1 MiB: with their framing they are over uWSGI's own
        # limit; and between two of them a busy machine takes longer than its four seconds.
        options=(
            "--lazy-apps",
            *("--chunked-input-limit", str(4 << 20)),
            *("--chunked-input-timeout", "60"),
        ),
    )


def _neutron(layout: Layout) -> Service:
    config = str(layout.etc / "neutron.conf")
    manage = layout.nova_program("neutron-db-manage")
    return uwsgi(
        layout.nova_venv,
        "neutron",
        "neutron.wsgi.api",
        2,
        "/",
        needs=("mariadb",),
        prepare=((manage, "--config-file", config, "upgrade", "head"),),
        environment=_environment(layout, PYTHONPATH=str(driver_directory(layout))),
        options=("--lazy-apps", "--pyargv", f"--config-file {config}"),
    )


def _nova_api(layout: Layout) -> Service:
    config = str(layout.etc / "nova.conf")
    manage = (layout.nova_program("nova-manage"), "--config-file", config)
    paste = layout.nova_venv / "etc" / "nova" / "api-paste.ini"
    return uwsgi(
        layout.nova_venv,
        "nova-api",
        "nova.wsgi.osapi_compute",
        2,
        "/",
        needs=("mariadb",),
        prepare=(
            (*manage, "api_db", "sync"),
            (*manage, "cell_v2", "map_cell0"),
            (*manage, "db", "sync"),
            (*manage, "cell_v2", "create_cell", "--name", "cell1"),
        ),
        environment=_environment(layout, OS_NOVA_CONFIG_FILES=f"{paste};{config}"),
        options=("--lazy-apps",),
    )


def _nova(layout: Layout, secrets: dict[str, str], part: str) -> Service:
    name = f"nova-{part}"
    return Service(
        name,
        (layout.nova_program(name), "--config-file", str(layout.etc / "nova.conf")),
        content.reports(secrets, name),
        environment=_environment(layout),
        # At its start it looks Placement up, as a user whom Placement's own content made.
        needs=("nova-api", "placement"),
        asks=("rabbitmq", "keystone"),
    )


def _nova_compute(layout: Layout, secrets: dict[str, str]) -> Service:
    config = str(layout.etc / "nova-compute.conf")
    return Service(
        "nova-compute",
        (layout.nova_program("nova-compute"), "--config-file", config),
        content.has_hypervisor(secrets),
        environment=_environment(layout),
        needs=("libvirtd", "placement", "nova-conductor"),
        asks=("nova-scheduler", "neutron"),
        prepare=(("/bin/mkdir", "-p", str(layout.data / "nova" / "instances")),),
        populate=lambda: content.populate(secrets),
    )


def _libvirtd(layout: Layout) -> Service:
    return Service(
        "libvirtd",
        # The first process of its process namespace is a shell: it reaps guests, and takes them
        # with it. The mount namespace puts the cloud's files where libvirt is compiled to look.
        (
            *("/usr/bin/unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"),
            *("/bin/sh", "-e", "-c", _libvirtd_script(layout)),
        ),
        unix_socket(layout.libvirt_socket),
        environment={"LIBVIRT_LOG_OUTPUTS": "3:stderr"},
        grace=1.0,
    )


def _libvirtd_script(layout: Layout) -> str:
    run = layout.libvirt_socket.parent
    etc = layout.etc / "libvirt"
    directories = {
        etc: "/etc/libvirt",
        run: "/run/libvirt",
        layout.data / "libvirt" / "lib": "/var/lib/libvirt",
        layout.data / "libvirt" / "cache": "/var/cache/libvirt",
        layout.log / "libvirt": "/var/log/libvirt",
    }
    steps: list[tuple[str, ...]] = [
        # What it says of guests that ended with an earlier libvirtd would be taken for true.
        ("rm", "-rf", str(run)),
        ("mkdir", "-p", str(etc / "hooks"), *map(str, directories), *directories.values()),
        ("ln", "-sfn", str(_LIBVIRT_HOOK), str(etc / "hooks" / "qemu")),
        *(("mount", "--bind", str(own), place) for own, place in directories.items()),
        # Its own default is one file for the whole machine.
        ("/usr/sbin/libvirtd", "--pid-file", "/run/libvirt/libvirtd.pid"),
        # Not the last command, or the shell would become it.
        ("exit",),
    ]
    return "\n".join(shlex.join(step) for step in steps)
