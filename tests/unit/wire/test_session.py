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
from typing import Any, ClassVar

import pytest

from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import (
    AmbiguousError,
    HeatConfigError,
    PermanentError,
    RejectedError,
    TemporaryError,
    UnauthorizedError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.state import durable
from heat_config_zaqar.wire import heat
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection, tls_verification
from tests.faults import proxy
from tests.faults.proxy import FaultProxy


class _Cloud(BaseHTTPRequestHandler):
    """Answers every login with a catalog, every post with 201, and any other request as told."""

    logins = 0
    answer: ClassVar[Any] = {}
    post_answer: ClassVar[Any] = {"resources": ["/1"]}
    posted: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        self._send(200, body)

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
        services = [
            {"type": kind, "name": kind, "id": kind, "endpoints": [endpoint]}
            for kind in ("messaging", "orchestration")
        ]
        token = {
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "methods": ["password"],
            "catalog": services,
            "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "d", "name": "d"}},
            "roles": [],
        }
        login = self.path.endswith("/auth/tokens")
        type(self).logins += login
        body = json.dumps({"token": token} if login else self.post_answer).encode()
        _Cloud.posted.append(self.path)
        self._send(201, body)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Subject-Token", "token")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(name="cloud_port")
def cloud_port_fixture() -> Iterator[int]:
    _Cloud.logins = 0
    _Cloud.posted.clear()
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


@pytest.mark.parametrize("answer", [[], {}, 3, None, {"status": "ok"}])
def test_what_answers_a_post_in_another_way_than_zaqar_proves_nothing(
    tmp_path: Path, cloud_port: int, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = connection(tmp_path, f"http://127.0.0.1:{cloud_port}")
    monkeypatch.setattr(_Cloud, "post_answer", answer)
    with pytest.raises(AmbiguousError, match="not Zaqar"):
        Queue(user, "q").post({}, 60)


DEEP = b"[" * 100_000
_NO_MESSAGES: list[Any] = [None, 3, "x", [None], [3], [{}], [{"id": 1}]]


@pytest.mark.parametrize(
    "answer",
    [
        *({"messages": value} for value in _NO_MESSAGES),
        {"messages": [{"id": str(number), "body": {}} for number in range(20)]},
        {"messages": [{"id": "1", "body": {}}] * 20, "links": [{"href": "http://[::1"}]},
        {"_max_messages_post_size": "x"},
        {"_max_messages_post_size": None},
        {},
        b"{" + DEEP,
        DEEP,
        b"\xff",
        b"1e999",
    ],
)
def test_answers_that_make_no_sense_are_an_error_of_the_package_and_the_next_try_works(
    tmp_path: Path, cloud_port: int, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = connection(tmp_path, f"http://127.0.0.1:{cloud_port}")
    monkeypatch.setattr(_Cloud, "answer", answer)
    for ask in (
        Queue(user, "q").messages,
        Queue(user, "q").largest_post,
        lambda: heat.deployments_of_server(user, "s"),
    ):
        try:
            ask()
        except HeatConfigError as error:
            assert not getattr(error, "is_away", False)
    href = "/v2/queues/q/messages/1"
    message = {"id": "1", "body": 7, "ttl": 60, "age": 1, "href": href}
    monkeypatch.setattr(_Cloud, "answer", {"messages": [message]})
    assert Queue(user, "q").messages() == [("1", 7)]


@pytest.mark.parametrize(
    "content",
    [
        *(b"[]", b'"[]"', b'"{}"', b'"null"', b"3", b"{", b'"' + DEEP + b'"', DEEP, b"\xff"),
        json.dumps(json.dumps({"auth_token": 5, "body": {"token": {}}})).encode(),
        json.dumps(json.dumps({"auth_token": "t", "body": {"token": {"expires_at": 3}}})).encode(),
    ],
)
def test_a_token_file_that_makes_no_sense_is_as_good_as_none(
    tmp_path: Path, cloud_port: int, content: bytes
) -> None:
    first = connection(tmp_path, f"http://127.0.0.1:{cloud_port}")
    first.token()
    (path,) = (tmp_path / "tokens").glob("*.json")
    path.write_bytes(content)
    assert connection(tmp_path, f"http://127.0.0.1:{cloud_port}").token() == "token"
    assert _Cloud.logins == 2


@pytest.mark.parametrize(("expires", "logins"), [(-3600, 2), (30, 2), (3600, 1)])
def test_a_token_of_an_earlier_process_is_used_until_it_expires(
    tmp_path: Path, cloud_port: int, expires: float, logins: int
) -> None:
    connection(tmp_path, f"http://127.0.0.1:{cloud_port}").token()
    (path,) = (tmp_path / "tokens").glob("*.json")
    state = json.loads(durable.read_json(path))
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(time.time() + expires))
    state["body"]["token"]["expires_at"] = moment
    durable.write_json(path, json.dumps(state))
    assert connection(tmp_path, f"http://127.0.0.1:{cloud_port}").token() == "token"
    assert _Cloud.logins == logins


@pytest.mark.parametrize("address", ["http://[::1", "no-scheme", "", "ftp://127.0.0.1"])
def test_a_login_whose_address_is_none_is_refused_and_waits_for_nobody(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(PermanentError, match="not an HTTP URL"):
        connection(tmp_path, address)


def test_names_of_stacks_and_resources_are_quoted(tmp_path: Path, cloud_port: int) -> None:
    user = connection(tmp_path, f"http://127.0.0.1:{cloud_port}")
    for name in ("a#1", "what?", "50%", "a b", "é", "\ud800"):
        heat.signal_resource(user, "st?ck/12a3", name, {})
    assert [path.split("/")[-2] for path in _Cloud.posted if path.endswith("/signal")] == [
        *("a%231", "what%3F", "50%25", "a%20b", "%C3%A9", "%3F")
    ]
    assert all("/stacks/st%3Fck/12a3/resources/" in path for path in _Cloud.posted[1:])


def test_the_ca_file_of_the_metadata_goes_before_that_of_the_settings(tmp_path: Path) -> None:
    for name in ("metadata.pem", "settings.pem"):
        (tmp_path / name).touch()
    current = Settings(ca_file=str(tmp_path / "settings.pem"))
    login = Credentials("http://127.0.0.1/", "u", "p", "", "secret", str(tmp_path / "metadata.pem"))
    assert tls_verification(current, login) == str(tmp_path / "metadata.pem")
    assert tls_verification(current) == str(tmp_path / "settings.pem")


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
