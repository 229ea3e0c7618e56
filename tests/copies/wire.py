"""One machine's wire: the HTTP proxy by which it reaches the cloud, from an address of its own.

A copy has the login and the tokens of the machine that it was made of, and Zaqar's client makes a
new Client-ID for each process: what tells two machines apart in Zaqar's access log is the address.
Invariant: all that the machine says is kept; what the wire refuses never reaches a service.
"""

import re
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_REFUSED = b"HTTP/1.1 503 Held\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_CONNECTED = b"HTTP/1.1 200 Connected\r\n\r\n"
# Of uWSGI's line for a request: the client's address, the method and the queue.
_REQUEST = re.compile(
    r"^\[pid: .*?\] ([\d.]+) \(.*?\) \{.*?\} \[.*?\] ([A-Z]+) /v2/queues/([^/? ]+)"
)


class Wire:
    """The wire of one machine.

    :param number: no two machines have the same.
    :ivar refuses: a pattern of request lines that are answered 503 here; empty for none.
    """

    def __init__(self, number: int) -> None:
        self.address = f"127.1.{number // 250}.{1 + number % 250}"
        self.refuses = ""
        self._said: list[bytearray] = []
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def setting(self) -> str:
        """The line of a guest's settings that leads all that it says through this wire."""
        return f'proxy = "http://127.0.0.1:{self._server.getsockname()[1]}"'

    def said(self) -> bytes:
        """Return all that the machine has said, to whomever; what a WebSocket masks is unmasked."""
        return b"\n".join(_in_clear(bytes(said)) for said in self._said)

    def close(self) -> None:
        """Accept nothing more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            said = bytearray()
            while _HEAD_END not in said:
                chunk = client.recv(65536)
                if not chunk:
                    return
                said += chunk
            self._said.append(said)
            line, _, rest = bytes(said).partition(b"\r\n")
            if self.refuses and re.search(self.refuses, line.decode("latin-1")):
                self._refuse(client, said)
                return
            method, target, version = line.decode("latin-1").split(" ")
            is_tunnel = method == "CONNECT"
            url = urlsplit(f"//{target}" if is_tunnel else target)
            own = (self.address, 0)
            with socket.create_connection((url.hostname, url.port), source_address=own) as service:
                if is_tunnel:
                    client.sendall(_CONNECTED)
                else:
                    path = target.partition(url.netloc)[2] or "/"
                    service.sendall(f"{method} {path} {version}\r\n".encode("latin-1") + rest)
                arguments = (client, service, said)
                threading.Thread(target=_pass_on, args=arguments, daemon=True).start()
                _pass_on(service, client, bytearray())

    def _refuse(self, client: socket.socket, said: bytearray) -> None:
        """Answer when the whole request has come: else the client may see a reset."""
        head, _, body = bytes(said).partition(_HEAD_END)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        missing = (int(length[1]) if length else 0) - len(body)
        while missing > 0 and (chunk := client.recv(65536)):
            said += chunk
            missing -= len(chunk)
        client.sendall(_REFUSED)


class Request(NamedTuple):
    """A request to Zaqar about a queue, as its access log has it."""

    address: str
    method: str
    queue: str


class AccessLog:
    """What Zaqar logs from now on of requests about queues."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size

    def requests(self) -> list[Request]:
        """Return them all, oldest first."""
        with self._path.open(errors="replace") as log:
            log.seek(self._start)
            return [Request(*found.groups()) for line in log if (found := _REQUEST.match(line))]


def _pass_on(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            kept += chunk
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _in_clear(said: bytes) -> bytes:
    """Return what was said on one connection, where a client masks its frames (RFC 6455, 5.2)."""
    if not said.startswith(b"CONNECT "):
        return said
    tunnel, _, inside = said.partition(_HEAD_END)
    upgrade, _, frames = inside.partition(_HEAD_END)
    text = bytearray(tunnel + upgrade)
    while len(frames) > 2:
        length, start = frames[1] & 0x7F, 2
        if length > 125:
            start += 2 if length == 126 else 8
            length = int.from_bytes(frames[2:start], "big")
        mask, begin = frames[start : start + 4], start + 4
        masked = frames[begin : begin + length]
        text += bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked)) + b"\n"
        frames = frames[begin + length :]
    return bytes(text)
