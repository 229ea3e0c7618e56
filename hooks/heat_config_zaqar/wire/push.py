"""The wake-up by WebSocket: a subscription to the metadata queue, kept by a thread of its own.

Owns Zaqar's WebSocket protocol (`zaqar.transport.websocket`).
Invariant: a notification saves time, and nothing relies on it. While `connected` is true each one
wakes the collector, and so does a look into the queue over the same socket each minute, where
none came: Zaqar's store may lose a subscription, and its notifier may not be configured. While a
look has no answer `connected` is false. To become connected and to lose the connection wake the
collector too, so that nothing posted before or meanwhile waits.
"""

import json
import logging
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT
from typing import Any
from urllib.parse import urlsplit

import websocket

from heat_config_zaqar import backoff
from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import (
    HeatConfigError,
    PermanentError,
    TemporaryError,
    UnauthorizedError,
)
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire.session import Connection, proxy_for, tls_verification

# The longest pause before a look, and after how long without an answer the queue is polled.
_LOOK_SECONDS = 55
_ANSWER_SECONDS = 10
# The server logs in one guest after the other, about two in a second, and answers nobody else
# meanwhile. It logs in those too that have given up: three hundred who come again after two minutes
# keep it busy for ever. So a guest waits as long as a server with two thousand may take.
_REPLY_SECONDS = 900
# A server that is gone acknowledges nothing, and the kernel ends the connection.
_UNACKNOWLEDGED_SECONDS = 30
# A connection that lasted this long was a good one: the next trouble is a new one.
_GOOD_SECONDS = 10
# A subscription lapses silently and cannot be prolonged (409): a new connection renews it, which
# has Zaqar log in to Keystone. Where tokens live for an hour, it ends before. What a killed server
# leaves behind is gone after this time.
_SUBSCRIPTION_SECONDS = 4 * 3600
_RENEWAL_SECONDS = 3 * 3600
# Each token has the catalog of its time.
_CATALOG_SECONDS = 2700
_EXPIRED = 4003

_LOG = logging.getLogger(__name__)


class Listener:
    """Wakes the collector when a message arrives in a queue.

    :param connection: the server's user; its token is shared with whoever else uses it.
    :param queue: the name of the metadata queue.
    :param wake: called from the listener's thread.
    :ivar connected: whether new messages wake the collector at the moment, as far as is known.
    :ivar problem: why not; empty where nothing was tried yet.
    """

    def __init__(
        self, connection: Connection, queue: str, settings: Settings, wake: Callable[[], None]
    ) -> None:
        self.connected = False
        self.problem = ""
        self._connection = connection
        self._queue = queue
        self._settings = settings
        self._wake = wake
        self._well = time.monotonic()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen in the background, where it does not; it ends where Keystone refuses the user."""
        if self._thread is None or not self._thread.is_alive():
            # A daemon: it may sit in a read while the process ends.
            self._thread = threading.Thread(target=self._run, name="push", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End within a minute; what it still says meanwhile is harmless."""
        self._stopped.set()

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
                return
            except (HeatConfigError, websocket.WebSocketException, OSError, ValueError) as error:
                self._report_trouble(error)
                wait = backoff.pause(time.monotonic() - self._well, 1, 30)
                self._stopped.wait(backoff.spread(wait, least=0))

    def _await_endpoint(self) -> None:
        """Wait until the catalog is worth another look."""
        if not self.problem:
            self.problem = "the catalog has no messaging-websocket"
            _LOG.info("%s: polling the queue", self.problem)
        self._stopped.wait(_CATALOG_SECONDS)

    def _listen(self, address: str) -> None:
        """Keep one connection until its subscription is to be renewed, or raise what ended it."""
        socket = _connect(address, self._settings, self._connection.credentials)
        began = time.monotonic()
        try:
            channel = _Channel(socket, self._connection, self._queue)
            channel.subscribe()
            self._report_connected()
            self._pass_on(channel, began)
        finally:
            self._report_lost(began)
            socket.shutdown()  # type: ignore[no-untyped-call]  # of websocket-client

    def _pass_on(self, channel: "_Channel", began: float) -> None:
        """Wake the collector for what comes, until the subscription is to be renewed."""
        due, looking = _next_look(), False
        while not self._stopped.is_set() and time.monotonic() < began + _RENEWAL_SECONDS:
            frame = channel.next_frame(due - time.monotonic())
            if _answers(frame, "message_list"):
                due, looking = _next_look(), False
                if not self._take(frame):
                    return
            elif frame:
                self._wake()
            elif time.monotonic() >= due and looking:
                due = self._await_answer(began)
            elif time.monotonic() >= due:
                channel.send("message_list", {"echo": True, "limit": 1})
                due, looking = time.monotonic() + _ANSWER_SECONDS, True

    def _take(self, answer: dict[str, Any]) -> bool:
        """Take the answer to a look; return whether all that waits was announced."""
        if not self.connected:
            self._report_connected()
        waiting = _map(answer.get("body")).get("messages")
        if waiting:
            _LOG.info("the queue holds what nothing announced: renewing the subscription")
        if waiting is None:
            # Zaqar's store may be away: the collector finds out.
            self._wake()
        return not waiting

    def _await_answer(self, began: float) -> float:
        """Have the queue polled while a look has no answer; return until when to wait for it."""
        if not self.connected:
            raise TemporaryError(f"the connection is dead: silent for {_REPLY_SECONDS} s")
        self._report_trouble(TemporaryError(f"no answer for {_ANSWER_SECONDS} s"))
        self._report_lost(began)
        return time.monotonic() + _REPLY_SECONDS

    def _report_connected(self) -> None:
        if self.problem:
            _LOG.info("a WebSocket wakes the collector again")
        self.problem = ""
        self.connected = True
        self._wake()

    def _report_lost(self, began: float) -> None:
        if self.connected:
            self.connected = False
            if time.monotonic() - began > _GOOD_SECONDS:
                self._well = time.monotonic()
            self._wake()

    def _report_trouble(self, error: Exception) -> None:
        """Log when the trouble begins, not each try; the end of a token is none."""
        expired = str(_EXPIRED) in str(error)
        if not self.problem and not expired:
            _LOG.warning("no wake-up by WebSocket: %s; polling the queue meanwhile", error)
            self.problem = " ".join(str(error).split())[:300] or type(error).__name__


class _Channel:
    """What one connection says and hears; its errors are those of `Listener._listen`."""

    def __init__(self, socket: websocket.WebSocket, user: Connection, queue: str) -> None:
        self._socket = socket
        self._user = user
        self._queue = queue
        self._client_id = str(uuid.uuid4())

    def subscribe(self) -> None:
        """Log in, and have the queue's messages announced on this connection."""
        token = self._user.token()
        try:
            self._call("authenticate", {}, **{"X-Auth-Token": token})
        except PermanentError:
            self._user.forget_token()
            raise
        self._call("subscription_create", {"ttl": _SUBSCRIPTION_SECONDS})

    def send(self, action: str, body: dict[str, Any], **more: str) -> None:
        """Send one request about the queue; the answer comes as a frame."""
        project = self._user.credentials.project_id
        headers = {"Client-ID": self._client_id, "X-Project-ID": project, **more}
        body = {"queue_name": self._queue, **body}
        self._socket.send(json.dumps({"action": action, "headers": headers, "body": body}))

    def next_frame(self, seconds: float) -> dict[str, Any]:
        """Return what the server says next; empty where that is nothing, or no text."""
        self._socket.settimeout(max(seconds, 0.01))
        try:
            opcode, data = self._socket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return {}
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self._closed(int.from_bytes(data[:2], "big"))
        if opcode != websocket.ABNF.OPCODE_TEXT:
            return {}
        try:
            return _map(json.loads(data))
        except RecursionError:
            raise TemporaryError("the server says what is nested too deep") from None

    def _call(self, action: str, body: dict[str, Any], **headers: str) -> None:
        """Send a request and wait for its reply; a notification may come first."""
        self.send(action, body, **headers)
        deadline = time.monotonic() + _REPLY_SECONDS
        reply: dict[str, Any] = {}
        while not _answers(reply, action):
            if time.monotonic() > deadline:
                raise TemporaryError(f"no reply to {action} in {_REPLY_SECONDS} s")
            reply = self.next_frame(deadline - time.monotonic())
        status = _map(reply.get("headers")).get("status")
        if not isinstance(status, int) or status >= 400:
            raise PermanentError(f"Zaqar answered {status} to {action} over the WebSocket")

    def _closed(self, code: int) -> None:
        if code == _EXPIRED:
            # The server's clock decides, not ours.
            self._user.forget_token()
        raise TemporaryError(f"the server closed the connection ({code})")


def _connect(address: str, settings: Settings, credentials: Credentials) -> websocket.WebSocket:
    return websocket.create_connection(
        address,
        timeout=_REPLY_SECONDS,
        sslopt=_tls_options(tls_verification(settings, credentials)),
        sockopt=[(IPPROTO_TCP, TCP_USER_TIMEOUT, _UNACKNOWLEDGED_SECONDS * 1000)],
        suppress_origin=True,
        **_proxy_options(address, settings),
    )


def _next_look() -> float:
    return time.monotonic() + backoff.spread(_LOOK_SECONDS, least=0.9)


def _answers(frame: dict[str, Any], action: str) -> bool:
    return bool(_map(frame.get("request")).get("action") == action)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _proxy_options(address: str, settings: Settings) -> dict[str, Any]:
    proxy = urlsplit(proxy_for(address.replace("ws", "http", 1), settings))
    if not proxy.hostname:
        # Else it would take the environment's.
        return {"http_no_proxy": ["*"]}
    login = (proxy.username, proxy.password or "") if proxy.username else None
    host = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port or 80}
    return {**host, "http_proxy_auth": login, "proxy_type": "http"}


def _tls_options(verification: bool | str) -> dict[str, Any]:
    if verification is False:
        return {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    if isinstance(verification, str):
        return {"ca_cert_path" if Path(verification).is_dir() else "ca_certs": verification}
    return {}
