"""Signals to URLs that are secrets, against a real server on loopback."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from heat_config_zaqar.errors import (
    AmbiguousError,
    HeatConfigError,
    PermanentError,
    RejectedError,
    TemporaryError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.presigned import send_presigned
from tests.unit.wire.test_session import self_signed

SECRET = "?Signature=abcdefgh"


class Service:
    """Answers every request as the test says, and keeps its method, path and headers.

    :ivar answer: status, headers and body.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answer: tuple[int, dict[str, str], bytes] = (201, {}, b"")
        self.requests: list[tuple[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.requests.append((self.command, self.path))
                status, headers, body = service.answer
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


def send(address: str, **settings: object) -> None:
    current = Settings(request_timeout=1, **settings)  # type: ignore[arg-type]  # any setting
    send_presigned("POST", f"{address}/v1/signal/x{SECRET}", "{}", current)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_a_login_page_is_a_refusal_and_not_followed(
    service: Service, status: int
) -> None:
    service.answer = (status, {"Location": f"{service.address}/login"}, b"")
    with pytest.raises(RejectedError, match=str(status)):
        send(service.address)
    assert len(service.requests) == 1


def test_a_page_for_people_is_no_answer_of_the_service(service: Service) -> None:
    service.answer = (200, {"Content-Type": "text/html"}, b"<html>please log in</html>")
    with pytest.raises(AmbiguousError, match="page for people"):
        send(service.address)
    # As Swift answers.
    service.answer = (201, {"Content-Type": "text/html; charset=UTF-8"}, b"")
    send(service.address)


def nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize(
    "address", ["http://host.invalid", "127.0.0.1", "http://[::1", "http://127.0.0.1:99999", "x:"]
)
def test_the_url_is_in_no_message(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(HeatConfigError) as caught:
        send(address)
    everything = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert "abcdefgh" not in everything
    assert "/v1/signal" not in everything


def test_a_host_that_cannot_be_reached_is_away_and_the_url_stays_a_secret() -> None:
    with pytest.raises(TemporaryError, match=r"127\.0\.0\.1: ConnectionRefusedError") as caught:
        send(nobody())
    assert caught.value.is_away
    assert caught.value.__cause__ is None
    assert "abcdefgh" not in str(caught.value)


def test_an_answer_with_odd_headers_shows_no_url_in_the_journal(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.answer = (503, {"X-Odd: a\r\n no header\r\nY": "b"}, b"")
    with pytest.raises(TemporaryError) as caught:
        send(service.address)
    assert not caught.value.is_away
    assert "abcdefgh" not in caplog.text


def test_a_refusal_that_repeats_the_url_does_not_show_it(service: Service) -> None:
    service.answer = (403, {}, f'{{"description": "no {SECRET}"}}'.encode())
    with pytest.raises(RejectedError) as caught:
        send(service.address)
    assert "abcdefgh" not in str(caught.value)


@pytest.mark.parametrize("address", ["no-scheme", "ftp://127.0.0.1", "http://", "http://[::1"])
def test_what_is_no_address_will_never_be_one(address: str) -> None:
    with pytest.raises(PermanentError, match="not an HTTP URL"):
        send(address)


def test_a_host_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        began = time.monotonic()
        with pytest.raises(TemporaryError) as caught:
            send(f"http://127.0.0.1:{listening.getsockname()[1]}")
    assert caught.value.is_away
    assert time.monotonic() - began < 10


def test_a_certificate_that_nobody_signed_is_refused_unless_its_ca_is_named(tmp_path: Path) -> None:
    running = Service(self_signed(tmp_path))
    try:
        with pytest.raises(TemporaryError, match="ca_file"):
            send(running.address)
        assert running.requests == []
        send(running.address, ca_file=str(tmp_path / "certificate.pem"))
    finally:
        running.close()


def test_a_proxy_of_the_settings_is_used_and_one_of_the_environment_is_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", service.address)
    away = nobody()
    with pytest.raises(TemporaryError):
        send(away)
    assert service.requests == []
    send(away, proxy=service.address)
    assert service.requests == [("POST", f"{away}/v1/signal/x{SECRET}")]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "example.org, 127.0.0.0/8"])
def test_a_host_of_no_proxy_is_reached_without_it(service: Service, no_proxy: str) -> None:
    send(service.address, proxy=nobody(), no_proxy=no_proxy)
    assert [path for _, path in service.requests] == [f"/v1/signal/x{SECRET}"]
