"""The services: how each is prepared once, started, asked whether it serves, and stopped.

Invariant: a service's process stays in the foreground, so that the recorded pid is the service.
`needs` names only what a service cannot start without; everything else starts at the same time.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from testbed.cloud import identity, probes
from testbed.cloud.layout import HOST, PORTS, REGION, Layout, http_url
from testbed.cloud.probes import Probe

_RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@dataclass(frozen=True)
class Service:
    """One process of the cloud.

    `needs` are the services that must be up before it starts, `asks` those that its probe goes
    through: asking earlier would load Keystone with logins of a user that it does not know yet.
    `prepare` are commands that run once, before the first start, and `populate` runs once when it
    answered for the first time; `patience` is how long a start may take and `grace` how long a
    stop, in seconds.
    """

    name: str
    command: Sequence[str]
    probe: Probe
    environment: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    prepare: tuple[Sequence[str], ...] = ()
    populate: Callable[[], None] | None = None
    patience: float = 60.0
    grace: float = 10.0


# RabbitMQ's helper: started before and stopped after it, and not a service that anyone asks for.
EPMD = "epmd"
STORES = ("mariadb", "redis", "rabbitmq", EPMD)


def services(layout: Layout, secrets: dict[str, str], engine: Probe) -> dict[str, Service]:
    """Return every process of the cloud by name, each after those that it needs or asks.

    `engine` says whether Heat's engine answers: it has no port of its own.
    """
    return {
        service.name: service
        for service in (
            _mariadb(layout),
            Service(
                "redis",
                ("/usr/bin/redis-server", str(layout.etc / "redis.conf")),
                probes.redis,
            ),
            _epmd(),
            _rabbitmq(layout),
            _keystone(layout, secrets),
            uwsgi(layout.venv, "zaqar", "zaqar.transport.wsgi.app", 2, "/", needs=("redis",)),
            Service(
                "zaqar-websocket",
                (
                    layout.program("zaqar-server"),
                    *("--config-file", str(layout.etc / "zaqar-websocket.conf")),
                ),
                probes.websocket,
                needs=("redis",),
            ),
            # To show a deployment's resource the engine asks the API, which waits for the engine:
            # as many at once as there are processes wait for each other until RPC times out.
            uwsgi(layout.venv, "heat-api", "heat.wsgi.api", 8, "/"),
            uwsgi(layout.venv, "heat-api-cfn", "heat.wsgi.cfn", 1, "/"),
            Service(
                "heat-engine",
                (layout.program("heat-engine"),),
                engine,
                # Not RabbitMQ: the engine tries again until that is there, and they are the
                # two slowest to start.
                needs=("mariadb",),
                asks=("rabbitmq", "keystone", "heat-api"),
                prepare=((layout.program("heat-manage"), "db_sync"),),
            ),
        )
    }


def process_environment(layout: Layout, service: Service) -> dict[str, str]:
    """Return a service's whole environment: nothing of the caller's, its proxies least of all."""
    return {
        "PATH": f"{layout.venv / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(layout.home),
        "LC_ALL": "C.UTF-8",
        # eventlet's own resolver would ask a name server even for addresses.
        "EVENTLET_NO_GREENDNS": "yes",
    } | service.environment


def _mariadb(layout: Layout) -> Service:
    defaults = f"--defaults-file={layout.etc / 'mariadb.cnf'}"
    data = layout.data / "mariadb"
    return Service(
        "mariadb",
        ("/usr/sbin/mariadbd", defaults),
        probes.mariadb,
        prepare=(
            # What an interrupted preparation left is no database, and installing refuses it.
            ("/bin/rm", "-rf", str(data)),
            (
                "/usr/bin/mariadb-install-db",
                defaults,
                "--user=root",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ),
        ),
    )


def _epmd() -> Service:
    return Service(
        EPMD,
        ("/usr/bin/epmd", "-address", HOST, "-port", str(PORTS["epmd"])),
        probes.epmd,
    )


def _rabbitmq(layout: Layout) -> Service:
    base = layout.data / "rabbitmq"
    settings = {
        "HOME": str(base),
        "ERL_EPMD_PORT": str(PORTS["epmd"]),
        "ERL_EPMD_ADDRESS": HOST,
        # The start script becomes the server instead of waiting for it.
        "detached": "1",
        "RABBITMQ_NODENAME": "rabbit@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": HOST,
        "RABBITMQ_NODE_PORT": str(PORTS["rabbitmq"]),
        "RABBITMQ_DIST_PORT": str(PORTS["rabbitmq-distribution"]),
        "RABBITMQ_CONF_ENV_FILE": str(layout.etc / "rabbitmq-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(layout.etc / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(layout.etc / "rabbitmq-plugins"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(base / "config"),
        "RABBITMQ_MNESIA_BASE": str(base),
        "RABBITMQ_LOG_BASE": str(layout.log),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +S 2:2"
        ),
    }
    return Service(
        "rabbitmq",
        (_RABBITMQ_SERVER,),
        probes.rabbitmq,
        environment=settings,
        needs=(EPMD,),
        patience=90.0,
        grace=20.0,
    )


def _keystone(layout: Layout, secrets: dict[str, str]) -> Service:
    config = layout.etc / "keystone.conf"
    manage = (layout.program("keystone-manage"), "--config-file", str(config))
    owner = ("--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid()))
    url = f"{http_url('keystone')}/v3"
    service = uwsgi(
        layout.venv,
        "keystone",
        "keystone.wsgi.api",
        2,
        "/v3",
        needs=("mariadb",),
        environment={
            "OS_KEYSTONE_CONFIG_FILES": str(config),
            # Not on a command line, where every process of the host could read it.
            "OS_BOOTSTRAP_PASSWORD": secrets["admin"],
        },
        prepare=(
            (*manage, "fernet_setup", *owner),
            (*manage, "credential_setup", *owner),
            (*manage, "db_sync"),
            (
                *(*manage, "bootstrap", "--bootstrap-region-id", REGION),
                *("--bootstrap-public-url", url, "--bootstrap-internal-url", url),
            ),
        ),
    )
    return replace(service, populate=lambda: identity.populate(secrets))


def uwsgi(
    venv: Path,
    name: str,
    module: str,
    processes: int,
    path: str,
    *,
    needs: tuple[str, ...] = (),
    prepare: tuple[Sequence[str], ...] = (),
    environment: dict[str, str] | None = None,
    options: Sequence[str] = (),
) -> Service:
    """Return a WSGI application of an environment, on the port of its name.

    `path` is what its probe asks for, `options` are more options of uWSGI's command line.
    """
    settings = {
        "http-socket": f"{HOST}:{PORTS[name]}",
        "module": f"{module}:application",
        "processes": str(processes),
        "buffer-size": "65535",
        # Read a body that the application refuses unread, or the client sees a reset.
        "post-buffering": "65536",
        # While a process waits for Keystone, thousands of guests go on asking.
        "listen": "1024",
        "add-header": "Connection: close",
        "procname-prefix": f"{name} ",
    }
    flags = ("master", "die-on-term", "no-orphans", "need-app", "enable-threads", "thunder-lock")
    command = [str(venv / "bin" / "uwsgi"), *(f"--{flag}" for flag in flags)]
    for option, value in settings.items():
        command += [f"--{option}", value]
    command += options
    return Service(
        name,
        command,
        probes.http(name, path),
        environment=environment or {},
        needs=needs,
        prepare=prepare,
    )
