"""Questions whose answer shows that a service serves, not merely that a port is open.

Invariant: a probe returns False for "not yet" and never raises, within a few seconds.
"""

import socket
from collections.abc import Callable
from pathlib import Path

import requests
from keystoneauth1 import exceptions
from keystoneauth1.session import Session

from testbed.cloud.layout import HOST, PORTS, REGION, http_url

Probe = Callable[[], bool]

_TIMEOUT_SECONDS = 5.0


def mariadb() -> bool:
    """Say whether MariaDB greets: its packet's fifth byte is the protocol's version, 10."""
    return _exchange(PORTS["mariadb"], b"")[4:5] == b"\x0a"


def redis(name: str = "redis") -> bool:
    """Say whether Redis has read its data and answers a ping."""
    return _exchange(PORTS[name], b"PING\r\n") == b"+PONG\r\n"


def rabbitmq() -> bool:
    """Say whether RabbitMQ opens an AMQP connection: a method frame (1) on channel 0."""
    return _exchange(PORTS["rabbitmq"], b"AMQP\x00\x00\x09\x01")[:3] == b"\x01\x00\x00"


def epmd() -> bool:
    """Say whether Erlang's port mapper names itself by its own port."""
    answer = _exchange(PORTS["epmd"], b"\x00\x01n")
    return int.from_bytes(answer[:4], "big") == PORTS["epmd"]


def http(service: str, path: str) -> Probe:
    """Return a probe that asks a service for a path; refusing (4xx) is an answer too."""

    def probe() -> bool:
        with requests.Session() as session:
            session.trust_env = False
            try:
                response = session.get(
                    f"{http_url(service)}{path}", timeout=_TIMEOUT_SECONDS, allow_redirects=False
                )
            except requests.RequestException:
                return False
        return response.status_code < 500

    return probe


def websocket(name: str = "zaqar-websocket") -> bool:
    """Say whether Zaqar's WebSocket server accepts the upgrade of a connection."""
    request = (
        "GET / HTTP/1.1\r\n"
        f"Host: {HOST}:{PORTS[name]}\r\n"
        "Upgrade: websocket\r\n"
        "Connection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = _exchange(PORTS[name], request.encode())
    return answer.startswith(b"HTTP/1.1 101 ")


def unix_socket(path: Path) -> Probe:
    """Return a probe that connects to a socket of the file system."""

    def probe() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            try:
                connection.connect(str(path))
            except OSError:
                return False
        return True

    return probe


def heat_engine(session: Session) -> Probe:
    """Return a probe that lists a project's stacks, which Heat's API asks the engine for."""

    def probe() -> bool:
        try:
            session.get(
                "/stacks",
                endpoint_filter={"service_type": "orchestration", "region_name": REGION},
                timeout=_TIMEOUT_SECONDS,
                connect_retries=0,
            )
        except exceptions.ClientException:
            return False
        return True

    return probe


def port_is_taken(port: int) -> bool:
    """Say whether anything accepts connections on a port of the cloud's address."""
    try:
        with socket.create_connection((HOST, port), timeout=_TIMEOUT_SECONDS):
            return True
    except OSError:
        return False


def _exchange(port: int, request: bytes) -> bytes:
    try:
        with socket.create_connection((HOST, port), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(request)
            return connection.recv(4096)
    except OSError:
        return b""
