"""A server that stands where upstream's tests have mocks of client libraries.

Ours talks HTTP by others. So what a mock would answer is answered here, and what arrives is kept,
for the test's mock to be told. Invariant: it answers no request that the mocks know no answer to.
"""

import http.server
import json
import re
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

# Not the region of the tests: it is what a client takes that asks for none.
REGIONS = {"Elsewhere": "/elsewhere", "RegionOne": "/one"}


class Request(NamedTuple):
    """One request as it arrived; `body` is empty where it had none."""

    method: str
    path: str
    body: str


class Cloud:
    """Keystone, Heat and Zaqar, as far as the mocks go, on a port of loopback.

    :param messages: what waits in each queue of Zaqar.
    :param refusal: why Keystone refuses the login; empty where it does not.
    """

    def __init__(self, messages: Sequence[Any] = (), refusal: str = "") -> None:
        self.requests: list[Request] = []
        self._messages = list(messages)
        self._refusal = refusal
        handler = type("CloudHandler", (_Handler,), {"cloud": self})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def answer(self, request: Request) -> tuple[int, Any]:
        """Return status and body."""
        self.requests.append(request)
        if request.path.endswith("/auth/tokens"):
            error = {"code": 403, "title": "Forbidden", "message": self._refusal}
            return (403, {"error": error}) if self._refusal else (201, {"token": self._token()})
        if not re.search("/queues/[^/]+/messages", request.path):
            return 200, {}
        if request.method == "DELETE":
            self._messages = []
            return 204, None
        listed = [
            {
                "body": body,
                "href": f"{request.path}/{number}",
                "age": 1,
                "ttl": 60,
                "id": str(number),
            }
            for number, body in enumerate(self._messages)
        ]
        return 200, {"messages": listed, "links": []}

    def _token(self) -> dict[str, Any]:
        user = {"id": "aaaa", "name": "aaaa", "domain": {"id": "default", "name": "Default"}}
        times = {"issued_at": "2026-01-01T00:00:00.0Z", "expires_at": "2999-01-01T00:00:00.0Z"}
        catalog = [
            {"type": service, "name": service, "id": service, "endpoints": self._endpoints()}
            for service in ("orchestration", "messaging")
        ]
        return {"user": user, "methods": ["password"], "catalog": catalog, **times}

    def _endpoints(self) -> list[dict[str, str]]:
        return [
            {
                "id": region,
                "interface": "public",
                "region": region,
                "region_id": region,
                "url": self.address + path,
            }
            for region, path in REGIONS.items()
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    cloud: Cloud

    def _answer(self) -> None:
        text = self.rfile.read(int(self.headers["content-length"] or 0)).decode()
        status, body = self.cloud.answer(Request(self.command, self.path, text))
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Subject-Token", "token")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_DELETE = do_GET = do_POST = do_PUT = _answer  # noqa: N815 # http.server calls them so

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
