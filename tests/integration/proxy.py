"""A TCP proxy on loopback between a guest and a service, which a test can break.

Invariant: it changes no byte; each fault is one that a network can show.
"""

import contextlib
import socket
import ssl
import threading
from typing import Self


class Proxy:
    """Forwards connections from a port of its own to another one on loopback.

    :param tls: speak TLS with the guest, and none with the service.
    :param host: the address to listen on.
    """

    def __init__(
        self, target: int, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._target = target
        self._tls = tls
        self._server = socket.create_server((host, 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for pair in self._pairs:
            for end in pair:
                end.close()

    @property
    def connections(self) -> int:
        """How many have been made so far."""
        return len(self._pairs)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                try:
                    if self._tls:
                        ours = self._tls.wrap_socket(ours, server_side=True)
                    theirs = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    ours.close()
                    continue
                self._pairs.append((ours, theirs))
                for source, sink in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=_forward, args=(source, sink), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
