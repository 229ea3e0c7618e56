"""What Heat serves over HTTP to a guest: its own API, that of CloudFormation, and Swift's objects.

The formats are those of heat.api.openstack.v1, heat.api.cfn.v1 and Swift's temporary URLs.
Invariant: each request is for the `PlayedHeat` whose server it names, and for no other.
"""

import contextlib
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

from testbed.cloud.layout import HOST
from tests.chaos.heat import PlayedHeat

# `max_json_body_size` of Heat.
_MOST_BYTES = 1024 * 1024


class OrchestrationApi:
    """The server.

    :param port: 0 for a free one.
    :ivar heats: whom it serves; CloudFormation's metadata, which name no server, the last of them.
    """

    def __init__(self, port: int = 0) -> None:
        self.heats: list[PlayedHeat] = []
        self._server = ThreadingHTTPServer((HOST, port), partial(_Handler, self))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def read(self, parts: list[str]) -> tuple[int, str, str]:
        """Return status, type and content of what stands at a path."""
        if parts[1:2] == ["cfn"] and self.heats:
            metadata = f"<Metadata>{escape(json.dumps(self.heats[-1].snapshot()))}</Metadata>"
            return 200, "text/xml", _XML.format(metadata)
        heat = self._named(parts)
        if heat is None:
            return 404, "application/json", "{}"
        if parts[-3:] == ["software_deployments", "metadata", heat.server]:
            heat.asked += 1
            content = {"metadata": heat.snapshot()["deployments"]}
            return 200, "application/json", json.dumps(content)
        if parts[-4:] == [heat.server, "resources", "server", "metadata"]:
            return 200, "application/json", json.dumps({"metadata": heat.snapshot()})
        return 404, "application/json", "{}"

    def take(self, method: str, parts: list[str], body: Any) -> bool:
        """Take a signal; return whether there is such a place."""
        heat = self._named(parts)
        if heat is None:
            return False
        if method == "PUT" and parts[1:-1] == ["swift", heat.server]:
            heat.put_object(parts[-1], body)
        elif method == "POST" and parts[1:-1] == ["cfn", "v1", "signal", heat.server]:
            heat.take_signal(parts[-1], body, "CloudFormation's API")
        elif method == "POST" and (parts[-3], parts[-1]) == ("resources", "signal"):
            heat.take_signal(parts[-2], body, "Heat's API")
        else:
            return False
        return True

    def _named(self, parts: list[str]) -> PlayedHeat | None:
        return next((heat for heat in self.heats if heat.server in parts), None)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, api: OrchestrationApi, *arguments: Any) -> None:
        self._api = api
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer(*self._api.read(self._parts()))

    def do_POST(self) -> None:
        self._take("POST")

    def do_PUT(self) -> None:
        self._take("PUT")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _take(self, method: str) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if len(text) > _MOST_BYTES:
            self._answer(400, "application/json", "{}")
            return
        found = self._api.take(method, self._parts(), json.loads(text or b"null"))
        self._answer(200 if found else 404, "application/json", "{}")

    def _parts(self) -> list[str]:
        return [unquote(part) for part in urlsplit(self.path).path.split("/")]

    def _answer(self, status: int, kind: str, content: str) -> None:
        text = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        # A guest that was killed, or has given up, is no trouble of ours.
        with contextlib.suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(text)


_XML = (
    "<DescribeStackResourceResponse><DescribeStackResourceResult><StackResourceDetail>"
    "{}"
    "</StackResourceDetail></DescribeStackResourceResult></DescribeStackResourceResponse>"
)
