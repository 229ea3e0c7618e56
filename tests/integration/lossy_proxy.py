"""An HTTP proxy between a guest and the cloud: counts what passes, and loses answers.

A guest is told of it by the setting `proxy`, as by an operator, so neither the guest's code nor the
cloud's catalog knows that it is there.
Invariant: a request that the proxy has taken reaches the service, whatever becomes of the answer.
"""

import socket
import threading
from collections.abc import Callable
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "transfer-encoding")

Request = tuple[str, str]


class LossyProxy:
    """A proxy on a free port of loopback, for the length of its context.

    :ivar requests: method and URL of each request that passed.
    :ivar connections: how many connections guests have opened.
    :ivar loses: tells of which requests the answer is lost, the connection closed in its place.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.loses: Callable[[Request], bool] = lambda _: False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "LossyProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def setting(self) -> str:
        """The value of a guest's `proxy`, as TOML, that leads its requests through here."""
        return f'"http://127.0.0.1:{self._server.server_address[1]}"'

    def matching(self, method: str, part: str) -> list[Request]:
        """Return the requests of a method whose URL contains `part`."""
        return [request for request in self.requests if request[0] == method and part in request[1]]


def _handler(proxy: LossyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            proxy.connections += 1

        def _pass_on(self) -> None:
            request = (self.command, self.path)
            status, headers, body = _fetch(self)
            proxy.requests.append(request)
            if proxy.loses(request):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in (*_HOP_BY_HOP, "content-length"):
                    self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass_on  # noqa: N815 # http.server's names

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    return Handler


def _fetch(handler: BaseHTTPRequestHandler) -> tuple[int, list[tuple[str, str]], bytes]:
    target = urlsplit(handler.path)
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    headers = {
        name: value for name, value in handler.headers.items() if name.lower() not in _HOP_BY_HOP
    }
    connection = HTTPConnection(target.netloc, timeout=60)
    try:
        path = target._replace(scheme="", netloc="").geturl()
        connection.request(handler.command, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()
