"""What becomes of the network's faults: each as a kind of error that callers treat rightly.

A played Keystone and Zaqar stand behind the proxy; the real ones are in tests/faults.
"""

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import (
    AmbiguousError,
    HeatConfigError,
    RejectedError,
    TemporaryError,
    UnauthorizedError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection
from tests.faults import proxy
from tests.faults.proxy import FaultProxy


class _Cloud(BaseHTTPRequestHandler):
    """Answers every login with a catalog, and every post with 201."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        address = f"http://127.0.0.1:{self.headers['Host'].rpartition(':')[2]}"
        endpoint = {
            "interface": "public",
            "region": "r",
            "region_id": "r",
            "url": address,
            "id": "e",
        }
        service = {"type": "messaging", "name": "z", "id": "s", "endpoints": [endpoint]}
        token = {
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "methods": ["password"],
            "catalog": [service],
            "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "d", "name": "d"}},
            "roles": [],
        }
        login = self.path.endswith("/auth/tokens")
        body = json.dumps({"token": token} if login else {"resources": ["/1"]}).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Subject-Token", "token")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(name="cloud_port")
def cloud_port_fixture() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Cloud) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def connection(tmp_path: Path, address: str) -> Connection:
    login = Credentials(f"{address}/v3/", "u", "p", "", "secret")
    return Connection(login, Settings(runtime_dir=tmp_path, request_timeout=1))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (proxy.reset_before, AmbiguousError),
        (proxy.reset_after, AmbiguousError),
        (proxy.empty, AmbiguousError),
        (proxy.truncated, AmbiguousError),
        (proxy.garbage, AmbiguousError),
        (proxy.not_json, AmbiguousError),
        (proxy.half_open, AmbiguousError),
        (proxy.status(500), AmbiguousError),
        (proxy.status(502), AmbiguousError),
        (proxy.status(503), AmbiguousError),
        (proxy.status(429), TemporaryError),
        (proxy.status(408), TemporaryError),
        (proxy.status(401), UnauthorizedError),
        (proxy.status(403), RejectedError),
        (proxy.status(404), RejectedError),
        (proxy.status(413), RejectedError),
    ],
)
def test_a_request_that_may_have_arrived_is_ambiguous(
    tmp_path: Path, cloud_port: int, fault: proxy.Fault, kind: type[HeatConfigError]
) -> None:
    with FaultProxy(cloud_port) as between:
        queue = Queue(connection(tmp_path, f"http://127.0.0.1:{between.port}"), "q")
        queue.post({}, 60)
        between.only(fault, 10, "/messages")
        with pytest.raises(HeatConfigError) as caught:
            queue.post({}, 60)
    assert type(caught.value) is kind, caught.value
    assert "secret" not in str(caught.value)


def test_a_service_that_nobody_listens_for_is_temporary(tmp_path: Path, cloud_port: int) -> None:
    with FaultProxy(cloud_port) as between:
        queue = Queue(connection(tmp_path, f"http://127.0.0.1:{between.port}"), "q")
        queue.post({}, 60)
        between.refuse()
        with pytest.raises(TemporaryError) as caught:
            queue.post({}, 60)
    assert type(caught.value) is TemporaryError


def test_a_service_that_never_answers_is_given_up(tmp_path: Path, cloud_port: int) -> None:
    with FaultProxy(cloud_port) as between:
        between.fault = proxy.swallowed
        began = time.monotonic()
        with pytest.raises(TemporaryError):
            Queue(connection(tmp_path, f"http://127.0.0.1:{between.port}"), "q").post({}, 60)
        assert time.monotonic() - began < 20


def test_a_certificate_that_nobody_signed_is_refused_and_the_hint_helps(
    tmp_path: Path, cloud_port: int
) -> None:
    tls = self_signed(tmp_path)
    with FaultProxy(cloud_port, tls=tls) as between:
        queue = Queue(connection(tmp_path, f"https://127.0.0.1:{between.port}"), "q")
        with pytest.raises(TemporaryError, match="ca_file"):
            queue.post({}, 60)


def self_signed(directory: Path) -> ssl.SSLContext:
    """Return a server's context with a new certificate that no CA knows."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
