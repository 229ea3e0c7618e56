"""A proxy between a guest and one real service, which can do to each request what networks do.

A fault is a function that gets the `Exchange` and decides what becomes of it.
Invariant: without a fault the proxy passes request and answer on unchanged, but for keep-alive.
"""

import json
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

_STEP_SECONDS = 0.05


class Exchange:
    """One request that arrived at the proxy."""

    def __init__(self, client: socket.socket, request: bytes, port: int, end: threading.Event):
        self.request = request
        self._client = client
        self._port = port
        self._end = end

    @property
    def line(self) -> str:
        """The request line: method, path and version."""
        return self.request.partition(b"\r\n")[0].decode("latin-1")

    def forward(self) -> bytes:
        """Send the request to the service and return its whole answer."""
        head, _, body = self.request.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection")]
        answer = bytearray()
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as service:
            service.sendall(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
            while chunk := service.recv(65536):
                answer += chunk
        return bytes(answer)

    def send(self, data: bytes) -> None:
        """Send bytes to the guest."""
        self._client.sendall(data)

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.close()

    def wait(self, seconds: float) -> None:
        """Do nothing for so long, or until the proxy is closed."""
        self._end.wait(seconds)


Fault = Callable[[Exchange], None]


def passed_on(exchange: Exchange) -> None:
    """No fault."""
    with suppress(ConnectionRefusedError):
        exchange.send(exchange.forward())


def reset_before(exchange: Exchange) -> None:
    """The connection breaks before the service has the request."""
    exchange.reset()


def reset_after(exchange: Exchange) -> None:
    """The connection breaks after the service has carried the request out."""
    exchange.forward()
    exchange.reset()


def truncated(exchange: Exchange) -> None:
    """The answer ends in its middle."""
    answer = exchange.forward()
    exchange.send(answer[: len(answer) * 2 // 3])
    exchange.reset()


def empty(exchange: Exchange) -> None:
    """The request is carried out, and the connection closed without an answer."""
    exchange.forward()


def garbage(exchange: Exchange) -> None:
    """The request is carried out; the answer is no HTTP."""
    exchange.forward()
    exchange.send(b"\x16\x03\x01\x00garbage\xff\xfe\r\n" * 4)


def not_json(exchange: Exchange) -> None:
    """The request is carried out; a captive portal answers 200 in its place."""
    exchange.forward()
    exchange.send(answer(200, b"<html>please log in</html>", {"Content-Type": "text/html"}))


def half_open(exchange: Exchange) -> None:
    """The request is carried out; no answer ever comes, and no end of the connection."""
    exchange.forward()
    exchange.wait(60)


def swallowed(exchange: Exchange) -> None:
    """The service never sees the request, and the connection stays open."""
    exchange.wait(60)


def late(exchange: Exchange) -> None:
    """The request is carried out twenty seconds later, and its answer lost."""
    exchange.wait(20)
    exchange.forward()


def slow_loris(exchange: Exchange) -> None:
    """The answer comes byte after byte, for 20 seconds."""
    answer = exchange.forward()
    with suppress(OSError):
        for byte in answer:
            exchange.send(bytes([byte]))
            exchange.wait(20 / len(answer))


def latency(exchange: Exchange) -> None:
    """The answer takes two seconds."""
    exchange.wait(2)
    passed_on(exchange)


def status(code: int, headers: dict[str, str] | None = None) -> Fault:
    """Return a fault that answers in the place of the service, which never sees the request."""

    def refused(exchange: Exchange) -> None:
        body = json.dumps({"title": "fault", "description": f"a proxy says {code}"}).encode()
        exchange.send(answer(code, body, {"Content-Type": "application/json", **(headers or {})}))

    return refused


def answer(code: int, body: bytes, headers: dict[str, str]) -> bytes:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {code} Fault", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class FaultProxy:
    """Listens on 127.0.0.1 for a service that listens on another port of it.

    :param service_port: where the service is.
    :param port: where to listen; 0 for any free port.
    :param tls: makes the proxy speak TLS to the guest.
    """

    def __init__(self, service_port: int, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.fault: Fault = passed_on
        self.requests: list[str] = []
        self._service_port = service_port
        self._tls = tls
        self._port = port
        self._server: _Server | None = None
        self._end = threading.Event()
        self.accept()

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        return self._port

    def only(self, fault: Fault, times: int, wanted: str = "") -> None:
        """Apply a fault to so many requests whose request line holds `wanted`, then none."""
        left = [times]

        def limited(exchange: Exchange) -> None:
            if wanted in exchange.line and left[0] > 0:
                left[0] -= 1
                fault(exchange)
            else:
                passed_on(exchange)

        self.fault = limited

    def accept(self) -> None:
        """Listen, again after `refuse`."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self._port), self._handle)
            self._port = self._server.server_address[1]
            threading.Thread(
                target=self._server.serve_forever, args=(_STEP_SECONDS,), daemon=True
            ).start()

    def refuse(self) -> None:
        """Stop listening: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> "FaultProxy":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self.refuse()

    def _handle(self, client: socket.socket) -> None:
        client.settimeout(60)
        with suppress(OSError):
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            request = _read_request(client)
            if request:
                exchange = Exchange(client, request, self._service_port, self._end)
                self.requests.append(exchange.line)
                self.fault(exchange)
        with suppress(OSError):
            client.close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handle: Callable[[socket.socket], None]) -> None:
        self._handle = handle
        super().__init__(address, socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        self._handle(request)

    def shutdown_request(self, request: Any) -> None:
        """Leave closing to the handler: a reset must not become an orderly end."""
        del request


def _read_request(client: socket.socket) -> bytes:
    received = bytearray()
    deadline = time.monotonic() + 60
    while b"\r\n\r\n" not in received:
        chunk = client.recv(65536)
        if not chunk or time.monotonic() > deadline:
            return b""
        received += chunk
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        chunk = client.recv(65536)
        if not chunk:
            return b""
        body += chunk
    return head + b"\r\n\r\n" + body
