"""The wake-up by WebSocket: a subscription to the metadata queue, kept by a thread of its own.

Owns Zaqar's WebSocket protocol (`zaqar.transport.websocket`).
Invariant: a notification is not a receipt; it only wakes the collector, which reads the queue, and
again a little later: Zaqar notifies before it stores. While `connected` is true each notification
wakes it, or the connection is found dead within `_PING_SECONDS + _PONG_SECONDS`. To become
connected and to lose the connection wake it too, so that nothing posted before or meanwhile waits;
for a notification that Zaqar lost, the renewal does, within a message's life. Zaqar accepts
subscriptions also where its notifier is not configured: only a notification shows that it is.
"""

import json
import logging
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websocket

from heat_config_zaqar.backoff import Backoff
from heat_config_zaqar.errors import (
    HeatConfigError,
    PermanentError,
    TemporaryError,
    UnauthorizedError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.session import Connection, tls_verification

# Zaqar sends no pings and notices nothing by itself.
_PING_SECONDS = 15
_PONG_SECONDS = 5
_RECONNECT_CAP_SECONDS = 30
# The server logs in one guest after the other, about two in a second. One that gives up early and
# comes again only makes the queue longer; meanwhile the metadata queue is polled.
_REPLY_SECONDS = 120
# A connection that lasted this long was a good one: the next trouble is a new one.
_GOOD_SECONDS = 10
# A subscription lapses silently and cannot be prolonged (409): a new connection renews it. What a
# killed server leaves behind is gone after this time.
_SUBSCRIPTION_SECONDS = 3600
_RENEWAL_SECONDS = 2700
_EXPIRED = 4003

_LOG = logging.getLogger(__name__)


class Listener:
    """Wakes the collector when a message arrives in a queue.

    :param connection: the server's user; its token is shared with whoever else uses it.
    :param queue: the name of the metadata queue.
    :param wake: called from the listener's thread.
    :ivar connected: whether new messages wake the collector at the moment, as far as is known.
    :ivar notified: whether a notification has shown that.
    :ivar problem: why not; empty where nothing was tried yet.
    :ivar refused: Keystone refused the user: this listener has ended.
    """

    def __init__(
        self, connection: Connection, queue: str, settings: Settings, wake: Callable[[], None]
    ) -> None:
        self.connected = False
        self.notified = False
        self.problem = ""
        self.refused = False
        self._connection = connection
        self._queue = queue
        self._settings = settings
        self._wake = wake
        self._silent = False
        self._client_id = str(uuid.uuid4())
        self._backoff = Backoff(1, _RECONNECT_CAP_SECONDS, least=0)
        self._stopped = threading.Event()
        # A daemon: it may sit in a read while the process ends.
        self._thread = threading.Thread(target=self._run, name="push", daemon=True)

    def start(self) -> None:
        """Begin to listen, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End within a ping's time; what it still says meanwhile is harmless."""
        self._stopped.set()

    def distrust(self) -> None:
        """A message came without a notification: not `connected` until there is one again."""
        self._silent = True
        self.connected = self.notified = False
        self.problem = (
            "the WebSocket announces no messages: "
            "is zaqar.notification.notifier in the message_pipeline of zaqar.conf?"
        )
        _LOG.warning("%s; polling the queue", self.problem)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                address = self._connection.endpoint("messaging-websocket")
                if address:
                    self._listen(address)
                else:
                    self._await_endpoint()
            except UnauthorizedError:
                # The collector is refused as well, says so, and tries less and less often.
                self.refused = True
                return
            except (HeatConfigError, websocket.WebSocketException, OSError, ValueError) as error:
                self._report_trouble(error)
                self._stopped.wait(self._backoff.next())

    def _await_endpoint(self) -> None:
        """Wait until the catalog is worth another look: each token has the one of its time."""
        if not self.problem:
            self.problem = "the catalog has no messaging-websocket"
            _LOG.info("%s: polling the queue", self.problem)
        self._stopped.wait(_RENEWAL_SECONDS)

    def _listen(self, address: str) -> None:
        """Keep one connection until its subscription is to be renewed.

        :raises HeatConfigError, WebSocketException, OSError, ValueError: it could not be made, or
            ended before.
        """
        socket = websocket.create_connection(
            address,
            timeout=_REPLY_SECONDS,
            sslopt=_tls_options(tls_verification(self._settings, self._connection.credentials)),
            suppress_origin=True,
        )
        began = time.monotonic()
        try:
            self._subscribe(socket)
            if not self._silent:
                self._report_connected()
            self._pass_on(socket, began + _RENEWAL_SECONDS)
        finally:
            if time.monotonic() - began > _GOOD_SECONDS:
                self._backoff.reset()
            if self.connected:
                self.connected = False
                self._wake()
            socket.shutdown()  # type: ignore[no-untyped-call]  # of websocket-client

    def _subscribe(self, socket: websocket.WebSocket) -> None:
        token = self._connection.token()
        try:
            self._call(socket, "authenticate", {}, {"X-Auth-Token": token})
        except PermanentError:
            self._connection.forget_token()
            raise
        body = {"queue_name": self._queue, "ttl": _SUBSCRIPTION_SECONDS}
        self._call(socket, "subscription_create", body, {})

    def _call(
        self, socket: websocket.WebSocket, action: str, body: dict[str, Any], more: dict[str, str]
    ) -> None:
        """Send one request and wait for its reply; a notification may come first."""
        project = self._connection.credentials.project_id
        headers = {"Client-ID": self._client_id, "X-Project-ID": project, **more}
        socket.send(json.dumps({"action": action, "headers": headers, "body": body}))
        deadline = time.monotonic() + _REPLY_SECONDS
        while time.monotonic() < deadline:
            opcode, data = socket.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise TemporaryError(f"the server closed during {action} ({_close_code(data)})")
            reply = _frame(data) if opcode == websocket.ABNF.OPCODE_TEXT else {}
            request = reply.get("request")
            if isinstance(request, dict) and request.get("action") == action:
                _check(action, reply)
                return
        raise TemporaryError(f"no reply to {action} in {_REPLY_SECONDS} s")

    def _pass_on(self, socket: websocket.WebSocket, until: float) -> None:
        """Wake the collector for each notification, until the subscription is to be renewed."""
        pinged = False
        while not self._stopped.is_set() and time.monotonic() < until:
            socket.settimeout(_PONG_SECONDS if pinged else _PING_SECONDS)
            try:
                opcode, data = socket.recv_data(control_frame=True)
            except websocket.WebSocketTimeoutException:
                if pinged:
                    raise TemporaryError("the connection is dead: no answer to a ping") from None
                socket.ping()
                pinged = True
                continue
            pinged = False
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                self._closed(_close_code(data))
            elif opcode == websocket.ABNF.OPCODE_TEXT:
                if _frame(data).get("Message_Type") == "Notification":
                    self._heard()
                self._wake()

    def _heard(self) -> None:
        self.notified = True
        if self._silent:
            self._silent = False
            self._report_connected()

    def _closed(self, code: int) -> None:
        if code == _EXPIRED:
            # The server's clock decides, not ours.
            self._connection.forget_token()
        raise TemporaryError(f"the server closed the connection ({code})")

    def _report_connected(self) -> None:
        if self.problem:
            _LOG.info("a WebSocket wakes the collector again")
        self.problem = ""
        self.connected = True
        self._wake()

    def _report_trouble(self, error: Exception) -> None:
        """Log when the trouble begins, not each try; the end of a token is none."""
        expired = str(_EXPIRED) in str(error)
        if not self.problem and not expired:
            _LOG.warning("no wake-up by WebSocket: %s; polling the queue meanwhile", error)
            self.problem = " ".join(str(error).split())[:300] or type(error).__name__


def _check(action: str, reply: dict[str, Any]) -> None:
    headers = reply.get("headers")
    status = headers.get("status") if isinstance(headers, dict) else None
    if not isinstance(status, int) or status >= 400:
        raise PermanentError(f"Zaqar answered {status} to {action} over the WebSocket")


def _frame(data: bytes) -> dict[str, Any]:
    frame = json.loads(data)
    return frame if isinstance(frame, dict) else {}


def _close_code(data: bytes) -> int:
    return int.from_bytes(data[:2], "big")


def _tls_options(verification: bool | str) -> dict[str, Any]:
    if verification is False:
        return {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if isinstance(verification, str):
        return {"ca_cert_path" if Path(verification).is_dir() else "ca_certs": verification}
    return {}
