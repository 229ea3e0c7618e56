"""The listener's decisions; what it says to a real server is in tests/integration.

The server's frames are played: no real one loses a subscription or falls silent on demand.
"""

import json
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import websocket
from keystoneauth1 import access

from heat_config_zaqar import backoff
from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire import push
from heat_config_zaqar.wire.push import Listener
from heat_config_zaqar.wire.session import Connection

EXPIRED = (websocket.ABNF.OPCODE_CLOSE, (4003).to_bytes(2))
LOGIN = Credentials("http://keystone/v3", "user", "project", "", "password")
SOON = 30


class Zaqar:
    """A catalog, a user's token, and a WebSocket server.

    :ivar waiting: what a look into the queue answers.
    :ivar frames: what the server says unasked.
    :ivar connections: grows by one for each connection that subscribed.
    """

    def __init__(self) -> None:
        self.credentials = LOGIN
        self.address = "ws://zaqar"
        self.waiting: dict[str, Any] | None = {"messages": []}
        self.frames: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self.connections = threading.Semaphore(0)
        self.catalogs = threading.Semaphore(0)
        self.looks = threading.Semaphore(0)
        self.wakes = threading.Semaphore(0)
        self.tokens_forgotten = threading.Event()

    def endpoint(self, _: str) -> str:
        self.catalogs.release()
        return self.address

    def token(self) -> str:
        return "token"

    def forget_token(self) -> None:
        self.tokens_forgotten.set()

    def say(self, frame: Any) -> None:
        self.frames.put((websocket.ABNF.OPCODE_TEXT, json.dumps(frame).encode()))

    # What websocket-client's socket does, as far as the listener asks for it.

    def settimeout(self, seconds: float) -> None:
        self.timeout = seconds

    def send(self, text: str) -> None:
        request = json.loads(text)
        if request["action"] == "subscription_create":
            self.connections.release()
        if request["action"] == "message_list":
            self.looks.release()
            if self.waiting is None:
                return
            self.say({"request": request, "body": self.waiting, "headers": {"status": 200}})
        else:
            self.say({"request": request, "body": {}, "headers": {"status": 201}})

    def recv_data(self, control_frame: bool) -> tuple[int, bytes]:
        assert control_frame
        try:
            return self.frames.get(timeout=self.timeout)
        except queue.Empty:
            raise websocket.WebSocketTimeoutException from None

    def shutdown(self) -> None:
        pass


@pytest.fixture
def zaqar(monkeypatch: pytest.MonkeyPatch) -> Zaqar:
    playing = Zaqar()
    monkeypatch.setattr(websocket, "create_connection", lambda *_, **__: playing)
    monkeypatch.setattr(push, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(backoff, "spread", lambda seconds, **_: min(seconds, 0.05))
    return playing


@pytest.fixture
def listener(zaqar: Zaqar, tmp_path: Path) -> Iterator[Listener]:
    settings = Settings(state_dir=tmp_path)
    listening = Listener(cast("Connection", zaqar), "q", settings, zaqar.wakes.release)
    listening.start()
    yield listening
    listening.stop()


def times(events: threading.Semaphore, number: int) -> bool:
    """Whether something happens so often soon."""
    return all(events.acquire(timeout=SOON) for _ in range(number))


def test_a_quiet_connection_is_looked_over_again_and_again(
    zaqar: Zaqar, listener: Listener
) -> None:
    assert times(zaqar.looks, 3)
    assert listener.connected
    assert times(zaqar.wakes, 1)
    assert not zaqar.wakes.acquire(blocking=False)


def test_a_notification_wakes_the_collector(zaqar: Zaqar, listener: Listener) -> None:
    assert times(zaqar.wakes, 1)
    zaqar.say({"Message_Type": "Notification"})
    assert times(zaqar.wakes, 1)
    assert listener.connected


def test_what_a_look_finds_and_nothing_announced_renews_the_subscription(
    zaqar: Zaqar, listener: Listener
) -> None:
    assert times(zaqar.connections, 1)
    assert listener.problem == ""
    zaqar.waiting = {"messages": [{"id": "1"}]}
    assert times(zaqar.connections, 1)
    # Up, down, and up again.
    assert times(zaqar.wakes, 3)


def test_a_look_that_zaqar_cannot_answer_wakes_the_collector_and_costs_no_login(
    zaqar: Zaqar, listener: Listener
) -> None:
    assert times(zaqar.connections, 1)
    zaqar.waiting = {"error": "Redis is away"}
    assert times(zaqar.wakes, 3)
    assert listener.connected
    assert not zaqar.connections.acquire(blocking=False)


def test_a_server_that_answers_a_look_late_is_polled_meanwhile_and_not_left(
    zaqar: Zaqar, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that logs in a thousand guests answers nobody else for minutes."""
    monkeypatch.setattr(push, "_ANSWER_SECONDS", 0.05)
    assert times(zaqar.connections, 1)
    zaqar.waiting = None
    # Up, and down.
    assert times(zaqar.wakes, 2)
    assert not listener.connected
    assert "no answer" in listener.problem
    zaqar.waiting = {"messages": []}
    zaqar.say({"request": {"action": "message_list"}, "body": {"messages": []}})
    assert times(zaqar.wakes, 1)
    assert listener.connected
    assert listener.problem == ""
    assert times(zaqar.looks, 3)
    assert not zaqar.connections.acquire(blocking=False)


def test_a_server_that_never_answers_a_look_is_gone(
    zaqar: Zaqar,
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(push, "_ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(push, "_REPLY_SECONDS", 0.05)
    assert listener.problem == ""
    zaqar.waiting = None
    assert times(zaqar.connections, 2)
    assert "no answer" in caplog.text
    # Up, and down.
    assert times(zaqar.wakes, 2)


def test_a_subscription_is_renewed_before_it_lapses(
    monkeypatch: pytest.MonkeyPatch, zaqar: Zaqar, request: pytest.FixtureRequest
) -> None:
    assert push._RENEWAL_SECONDS + push._REPLY_SECONDS < push._SUBSCRIPTION_SECONDS
    monkeypatch.setattr(push, "_RENEWAL_SECONDS", 0.2)
    listener: Listener = request.getfixturevalue("listener")
    assert times(zaqar.connections, 3)
    assert listener.problem == ""


def test_a_token_that_the_server_says_has_expired_is_forgotten(
    zaqar: Zaqar, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    assert times(zaqar.connections, 1)
    zaqar.frames.put(EXPIRED)
    assert zaqar.tokens_forgotten.wait(SOON)
    assert times(zaqar.connections, 1)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
    assert listener.problem == ""


def test_a_catalog_without_a_websocket_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Each look has Keystone make a catalog.
    assert push._CATALOG_SECONDS == 45 * 60
    monkeypatch.setattr(push, "_CATALOG_SECONDS", 0.01)
    caplog.set_level("INFO")
    zaqar = Zaqar()
    zaqar.address = ""
    settings = Settings(state_dir=tmp_path)
    listener = Listener(cast("Connection", zaqar), "q", settings, lambda: None)
    listener.start()
    assert times(zaqar.catalogs, 2)
    listener.stop()
    assert listener.problem == "the catalog has no messaging-websocket"
    assert len(caplog.records) == 1


def test_a_catalog_without_a_websocket_is_no_trouble(tmp_path: Path) -> None:
    """The real catalog of keystoneauth, which raises where a service is not in it."""
    messaging = {"interface": "public", "region": "r", "region_id": "r", "url": "http://zaqar"}
    catalog = [{"type": "messaging", "name": "zaqar", "endpoints": [messaging]}]
    token = {"catalog": catalog, "expires_at": "2999-01-01T00:00:00Z", "methods": ["password"]}
    connection = Connection(LOGIN, Settings(runtime_dir=tmp_path))
    connection._auth.auth_ref = access.create(body={"token": token}, auth_token="token")
    assert connection.endpoint("messaging") == "http://zaqar"
    assert connection.endpoint("messaging-websocket") == ""


def test_a_frame_that_nobody_can_parse_ends_the_connection_and_not_the_listener(
    zaqar: Zaqar, listener: Listener
) -> None:
    assert times(zaqar.connections, 1)
    for text in (b"{", b"[" * 100_000, b"\xff"):
        zaqar.frames.put((websocket.ABNF.OPCODE_TEXT, text))
        assert times(zaqar.connections, 1)
    assert listener._thread
    assert listener._thread.is_alive()


@pytest.mark.parametrize("address", ["http://[::1", "ws://", "zaqar", "ws://\0/"])
def test_an_address_that_is_none_is_trouble_like_any_other(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "spread", lambda *_, **__: 0.01)
    zaqar = Zaqar()
    zaqar.address = address
    settings = Settings(state_dir=tmp_path)
    listener = Listener(cast("Connection", zaqar), "q", settings, lambda: None)
    listener.start()
    assert times(zaqar.catalogs, 3)
    listener.stop()
    assert listener.problem


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_the_websocket_goes_through_the_proxy_of_the_settings_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            client, _ = proxy.accept()
            with client:
                asked.append(client.recv(4096).partition(b"\r\n")[0])
                client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        port = proxy.getsockname()[1]
        settings = Settings(state_dir=tmp_path, proxy=f"http://127.0.0.1:{port}")
        zaqar = cast("Connection", Zaqar())
        with pytest.raises(websocket.WebSocketException):
            Listener(zaqar, "q", settings, lambda: None)._listen(f"{scheme}://zaqar.test:9000/")
        thread.join(10)
    assert asked == [b"CONNECT zaqar.test:9000 HTTP/1.1"]
