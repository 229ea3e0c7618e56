"""The configuration files of every service, as text.

Invariant: what is not set here has upstream's default. Each line is one that the service does
not work on loopback without, or that keeps it small; none makes a service faster than a cloud's
operator would find it (no token cache, no cheaper password hashes).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from testbed.cloud.layout import HOST, PORTS, REGION, Layout, http_url

Sections = Mapping[str, Mapping[str, object]]

DATABASES = ("keystone", "heat")
SERVICE_PROJECT = {"project_name": "service", "project_domain_id": "default"}
_ZAQAR_STORES = {"message_store": "redis", "management_store": "redis"}
# Heat's CFN API checks its policy without naming a project, so the default, which compares the
# project, refuses every guest. What the guest may see is checked by the engine as well.
_HEAT_POLICY = '"cloudformation:DescribeStackResource": "role:heat_stack_user"\n'


def files(
    layout: Layout,
    secrets: Mapping[str, str],
    token_lifetime: int,
    heat_options: Mapping[str, object],
    costly_passwords: bool = False,
    databases: Sequence[str] = DATABASES,
) -> dict[str, dict[Path, str]]:
    """Return each service's configuration files: their texts by path.

    `token_lifetime` is the life of a Keystone token in seconds, `heat_options` are more options
    of heat.conf's section DEFAULT, `databases` those that the services use; `costly_passwords`
    says whether Keystone hashes passwords as it does by default, or as quickly as it can.
    """
    api = zaqar(secrets, f"redis://{HOST}:{PORTS['redis']}?socket_timeout=5")
    websocket = zaqar_websocket(PORTS["zaqar-websocket"], PORTS["zaqar-notification"])
    heat = {
        layout.home / ".heat" / "heat.conf": ini(_heat(layout, secrets, heat_options)),
        _heat_policy(layout): _HEAT_POLICY,
    }
    return {
        "mariadb": {
            layout.etc / "mariadb.cnf": _mariadb(layout),
            layout.etc / "mariadb.sql": _mariadb_grants(secrets, databases),
        },
        "redis": {layout.etc / "redis.conf": redis(layout)},
        "rabbitmq": {
            layout.etc / "rabbitmq.conf": _rabbitmq(secrets),
            # Present and empty, lest the server read the host's own files in /etc/rabbitmq.
            layout.etc / "rabbitmq-env.conf": "",
            layout.etc / "rabbitmq-plugins": "[].\n",
        },
        "keystone": {
            layout.etc / "keystone.conf": ini(
                _keystone(layout, secrets, token_lifetime, costly_passwords)
            )
        },
        "zaqar": {layout.home / ".zaqar" / "zaqar.conf": ini(api)},
        "zaqar-websocket": {layout.etc / "zaqar-websocket.conf": ini({**api, **websocket})},
        "heat-engine": heat,
        "heat-api": heat,
        "heat-api-cfn": heat,
    }


def ini(sections: Sections) -> str:
    """Return sections of options as a configuration file's text."""
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {value}" for name, value in options.items()]
        lines.append("")
    return "\n".join(lines)


def _mariadb(layout: Layout) -> str:
    options = {
        "datadir": layout.data / "mariadb",
        "user": "root",
        # Relative, so below the data directory: a socket's path has at most 107 characters.
        "socket": "mariadb.sock",
        "pid-file": "mariadb.pid",
        "bind-address": HOST,
        "port": PORTS["mariadb"],
        "skip-name-resolve": "1",
        "init-file": layout.etc / "mariadb.sql",
        "character-set-server": "utf8mb4",
        "max-connections": 600,
        "performance-schema": "off",
        "innodb-buffer-pool-size": "64M",
        "innodb-log-file-size": "32M",
        # Survives kill -9 of the server, not a power cut: the page cache is durable enough here.
        "innodb-flush-log-at-trx-commit": 2,
        "innodb-flush-method": "nosync",
        "innodb-doublewrite": 0,
    }
    return ini({"mariadbd": options})


def _mariadb_grants(secrets: Mapping[str, str], databases: Sequence[str]) -> str:
    # The server reads an init file statement by statement, each on one line.
    lines = [
        f"CREATE USER IF NOT EXISTS 'cloud'@'{HOST}' IDENTIFIED BY '{secrets['mariadb']}';",
    ]
    for name in databases:
        lines.append(f"CREATE DATABASE IF NOT EXISTS {name};")
        lines.append(f"GRANT ALL PRIVILEGES ON {name}.* TO 'cloud'@'{HOST}';")
    return "\n".join(lines) + "\n"


def redis(layout: Layout, name: str = "redis") -> str:
    """Return the text of a Redis server's configuration file."""
    return "\n".join(
        [
            f"bind {HOST}",
            # The mode refuses whoever is not on loopback; no other address than HOST is bound.
            "protected-mode no",
            f"port {PORTS[name]}",
            f"dir {layout.data / name}",
            "daemonize no",
            'save ""',
            # Messages outlive kill -9 of the server, which the tests of a lost store need.
            "appendonly yes",
            "appendfsync no",
            "",
        ]
    )


def _rabbitmq(secrets: Mapping[str, str]) -> str:
    return "\n".join(
        [
            f"listeners.tcp.default = {HOST}:{PORTS['rabbitmq']}",
            "default_user = cloud",
            f"default_pass = {secrets['rabbitmq']}",
            "log.console = true",
            "log.file = false",
            "",
        ]
    )


def database(name: str, secrets: Mapping[str, str]) -> dict[str, object]:
    """Return the options of a section that names a database."""
    address = f"{HOST}:{PORTS['mariadb']}"
    return {"connection": f"mysql+pymysql://cloud:{secrets['mariadb']}@{address}/{name}"}


def transport_url(secrets: Mapping[str, str]) -> str:
    """Return RabbitMQ's address, with its password."""
    return f"rabbit://cloud:{secrets['rabbitmq']}@{HOST}:{PORTS['rabbitmq']}/"


def service_user(name: str, secrets: Mapping[str, str]) -> dict[str, object]:
    """Return the options of a section by which a service logs in."""
    return {
        "auth_type": "password",
        "auth_url": f"{http_url('keystone')}/v3",
        "username": name,
        "password": secrets[name],
        "user_domain_id": "default",
    }


def token_check(name: str, secrets: Mapping[str, str]) -> dict[str, object]:
    """Return a service's section keystone_authtoken."""
    return service_user(name, secrets) | {
        "www_authenticate_uri": f"{http_url('keystone')}/v3",
        **SERVICE_PROJECT,
        "region_name": REGION,
    }


def _keystone(
    layout: Layout, secrets: Mapping[str, str], token_lifetime: int, costly_passwords: bool
) -> Sections:
    keys = layout.data / "keystone"
    return {
        # Each user of Heat's and each login takes one hash: half a second of CPU by default.
        "identity": {} if costly_passwords else {"password_hash_rounds": 4},
        "DEFAULT": {"public_endpoint": http_url("keystone")},
        "database": database("keystone", secrets),
        "token": {"provider": "fernet", "expiration": token_lifetime},
        "fernet_tokens": {"key_repository": keys / "fernet"},
        "fernet_receipts": {"key_repository": keys / "fernet"},
        "credential": {"key_repository": keys / "credential"},
    }


def zaqar(secrets: Mapping[str, str], store_uri: str) -> Sections:
    """Return Zaqar's configuration, with the address of its store."""
    store = {"uri": store_uri}
    return {
        "DEFAULT": {"auth_strategy": "keystone"},
        "drivers": {"transport": "wsgi", **_ZAQAR_STORES},
        "drivers:message_store:redis": store,
        "drivers:management_store:redis": store,
        # Without the notifier no subscription, and so no WebSocket, hears of a message.
        "storage": {"message_pipeline": "zaqar.notification.notifier"},
        "signed_url": {"secret_key": secrets["signed_url"]},
        "keystone_authtoken": token_check("zaqar", secrets),
        "trustee": service_user("zaqar", secrets),
    }


def zaqar_websocket(port: int, notification_port: int) -> Sections:
    """Return what the configuration of a WebSocket server has beside Zaqar's."""
    return {
        "drivers": {"transport": "websocket", **_ZAQAR_STORES},
        "drivers:transport:websocket": {
            "bind": HOST,
            "port": port,
            "notification_bind": HOST,
            "notification_port": notification_port,
        },
    }


def _heat_policy(layout: Layout) -> Path:
    return layout.home / ".heat" / "policy.yaml"


def _heat(
    layout: Layout, secrets: Mapping[str, str], heat_options: Mapping[str, object]
) -> Sections:
    shipped = layout.venv / "etc" / "heat"
    return {
        "DEFAULT": {
            "transport_url": transport_url(secrets),
            "num_engine_workers": 1,
            "region_name_for_services": REGION,
            "stack_user_domain_name": "heat",
            "stack_domain_admin": "heat_domain_admin",
            "stack_domain_admin_password": secrets["heat_domain_admin"],
            "auth_encryption_key": secrets["auth_encryption_key"],
            "heat_metadata_server_url": http_url("heat-api-cfn"),
            "environment_dir": shipped / "environment.d",
            "template_dir": shipped / "templates",
            **heat_options,
        },
        "paste_deploy": {"api_paste_config": shipped / "api-paste.ini"},
        "oslo_policy": {"policy_file": _heat_policy(layout)},
        "database": database("heat", secrets),
        "keystone_authtoken": token_check("heat", secrets),
        "trustee": service_user("heat", secrets),
        # Heat discovers the address of its guests' `auth_url` here: it becomes …/v3/.
        "clients_keystone": {"auth_uri": http_url("keystone")},
        # Heat's CFN API logs in to have a signature checked, and appends /v3/ec2tokens.
        "ec2authtoken": service_user("heat", secrets)
        | SERVICE_PROJECT
        | {"endpoint_override": http_url("keystone")},
    }
