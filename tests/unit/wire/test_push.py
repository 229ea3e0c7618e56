"""The listener's decisions; what it says to a real server is in tests/integration."""

import threading
from pathlib import Path
from typing import cast

import pytest

from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire import push
from heat_config_zaqar.wire.session import Connection


class Catalog:
    """A cloud that gets a WebSocket while the guest runs."""

    def __init__(self) -> None:
        self.asked = 0
        self.asked_again = threading.Event()

    def endpoint(self, _: str) -> str:
        self.asked += 1
        if self.asked > 1:
            self.asked_again.set()
        return ""


def test_a_catalog_without_a_websocket_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(push, "_RENEWAL_SECONDS", 0.01)
    caplog.set_level("INFO")
    catalog = Catalog()
    connection = cast("Connection", catalog)
    listener = push.Listener(connection, "q", Settings(state_dir=tmp_path), lambda: None)
    listener.start()
    assert catalog.asked_again.wait(30)
    listener.stop()
    assert listener.problem == "the catalog has no messaging-websocket"
    assert len(caplog.records) == 1
