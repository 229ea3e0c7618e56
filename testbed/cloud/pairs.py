"""Zaqar with two of everything: two APIs and two WebSocket servers behind HAProxy, and Redis with
two replicas and three Sentinels.

Invariant: clients find HAProxy where the one server is otherwise, so that nobody else has to know.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from testbed.cloud import configuration, probes
from testbed.cloud.layout import HOST, PORTS, Layout
from testbed.cloud.services import Service, uwsgi

PAIR = ("1", "2")
APIS = tuple(f"zaqar-{number}" for number in PAIR)
WEBSOCKETS = tuple(f"zaqar-websocket-{number}" for number in PAIR)
REDIS = ("redis", "redis-2", "redis-3")
SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
HAPROXY = "haproxy"
# The name by which Sentinel knows the stores.
STORE = "zaqar"
_REDIS_SERVER = "/usr/bin/redis-server"
# A WebSocket server answers nobody else while it logs in the guests that came back to it.
_HERD_SECONDS = 180
# A primary that Sentinel has replaced is told so only after up to ten seconds. Without replicas it
# takes nothing meanwhile that would be lost; with one of two away all goes on.
MIN_REPLICAS = 1
_REPLICATION = f"""\
min-replicas-to-write {MIN_REPLICAS}
min-replicas-max-lag 3
repl-diskless-sync-delay 0
"""

_HAPROXY = """\
global
    maxconn 4000
    stats socket {socket} level admin
    log stdout format raw local0
defaults
    log global
    timeout connect 5s
    timeout client 24h
    timeout server 24h
    timeout check 3s
    retries 3
    option redispatch
frontend zaqar
    mode http
    option httplog
    bind {host}:{zaqar}
    default_backend zaqar
backend zaqar
    mode http
    balance roundrobin
    option httpchk GET /
    http-check expect status 200-499
{apis}
frontend zaqar-websocket
    mode tcp
    bind {host}:{websocket}
    default_backend zaqar-websocket
backend zaqar-websocket
    mode tcp
    balance leastconn
{websockets}
"""


def admin_socket(layout: Layout) -> Path:
    """Return where HAProxy takes commands."""
    return layout.run / "haproxy.sock"


def services(layout: Layout, base: Mapping[str, Service]) -> dict[str, Service]:
    """Return the services of `base` with pairs in the places of Zaqar's, by name."""
    others = {
        name: service
        for name, service in base.items()
        if name not in ("redis", "zaqar", "zaqar-websocket")
    }
    stores = [_redis(layout, name) for name in REDIS]
    sentinels = [_sentinel(layout, name) for name in SENTINELS]
    apis = [
        uwsgi(layout.venv, name, "zaqar.transport.wsgi.app", 2, "/", needs=(*REDIS, *SENTINELS))
        for name in APIS
    ]
    websockets = [
        replace(
            base["zaqar-websocket"],
            name=name,
            command=(
                layout.program("zaqar-server"),
                *("--config-file", str(layout.etc / f"{name}.conf")),
            ),
            probe=lambda name=name: probes.websocket(name),  # type: ignore[misc]
            needs=(*REDIS, *SENTINELS),
            patience=_HERD_SECONDS,
        )
        for name in WEBSOCKETS
    ]
    proxy = Service(
        HAPROXY,
        ("/usr/sbin/haproxy", "-db", "-f", str(layout.etc / "haproxy.cfg")),
        lambda: probes.http("zaqar", "/")() and probes.websocket(),
        needs=(*APIS, *WEBSOCKETS),
        patience=_HERD_SECONDS,
    )
    made = [*stores, *sentinels, *apis, *websockets, proxy]
    return {service.name: service for service in made} | others


def files(layout: Layout, secrets: Mapping[str, str]) -> dict[str, dict[Path, str]]:
    """Return each service's configuration files: their texts by path."""
    sentinels = ",".join(f"{HOST}:{PORTS[name]}" for name in SENTINELS)
    uri = f"redis://{sentinels}?master={STORE}&socket_timeout=5"
    zaqar = configuration.zaqar(secrets, uri)
    found: dict[str, dict[Path, str]] = {
        name: {layout.home / ".zaqar" / "zaqar.conf": configuration.ini(zaqar)} for name in APIS
    }
    for number, name in zip(PAIR, WEBSOCKETS, strict=True):
        ports = (PORTS[name], PORTS[f"zaqar-notification-{number}"])
        sections = {**zaqar, **configuration.zaqar_websocket(*ports)}
        found[name] = {layout.etc / f"{name}.conf": configuration.ini(sections)}
    for name in REDIS:
        found[name] = {layout.etc / f"{name}.conf": _redis_text(layout, name)}
    for name in SENTINELS:
        found[name] = {layout.etc / f"{name}.conf": _sentinel_text(layout, name)}
    found[HAPROXY] = {layout.etc / "haproxy.cfg": _haproxy_text(layout)}
    return found


def _redis(layout: Layout, name: str) -> Service:
    # Who is the primary changes, and Redis and Sentinel write that into their own files.
    own = layout.data / name / "redis.conf"
    return Service(
        name,
        (_REDIS_SERVER, str(own)),
        lambda: probes.redis(name),
        prepare=(
            ("/bin/mkdir", "-p", str(own.parent)),
            ("/bin/cp", str(layout.etc / f"{name}.conf"), str(own)),
        ),
    )


def _sentinel(layout: Layout, name: str) -> Service:
    own = layout.data / name / "sentinel.conf"
    return Service(
        name,
        (_REDIS_SERVER, str(own), "--sentinel"),
        lambda: probes.redis(name),
        needs=REDIS,
        prepare=(
            ("/bin/mkdir", "-p", str(own.parent)),
            ("/bin/cp", str(layout.etc / f"{name}.conf"), str(own)),
        ),
    )


def _redis_text(layout: Layout, name: str) -> str:
    text = configuration.redis(layout, name) + _REPLICATION
    first = REDIS[0]
    return text if name == first else f"{text}replicaof {HOST} {PORTS[first]}\n"


def _sentinel_text(layout: Layout, name: str) -> str:
    lines = [
        f"bind {HOST}",
        "protected-mode no",
        f"port {PORTS[name]}",
        f"dir {layout.data / name}",
        f"sentinel monitor {STORE} {HOST} {PORTS[REDIS[0]]} 2",
        f"sentinel down-after-milliseconds {STORE} 2000",
        f"sentinel failover-timeout {STORE} 10000",
        "",
    ]
    return "\n".join(lines)


def _haproxy_text(layout: Layout) -> str:
    def servers(names: tuple[str, ...]) -> str:
        check = "check inter 1s fall 2 rise 2"
        return "\n".join(f"    server {name} {HOST}:{PORTS[name]} {check}" for name in names)

    return _HAPROXY.format(
        socket=admin_socket(layout),
        host=HOST,
        zaqar=PORTS["zaqar"],
        websocket=PORTS["zaqar-websocket"],
        apis=servers(APIS),
        websockets=servers(WEBSOCKETS),
    )
