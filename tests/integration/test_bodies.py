"""Whatever a hook prints arrives in the queue as the product says, by the real Zaqar.

And the fuzzer's Zaqar refuses what the real one refuses, with the same status.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heat_config_zaqar.deliver.delivery import Delivery
from heat_config_zaqar.deployment import parse_credentials, parse_deployment
from heat_config_zaqar.run.outcome import Outcome, body_of
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.signal_body import CONFIG_ID, STATUS_CODE
from heat_config_zaqar.state import durable
from heat_config_zaqar.state.outbox import Outbox, entry_for
from heat_config_zaqar.wire.queue import Queue
from heat_config_zaqar.wire.session import Connection
from testbed.heat import Heat
from tests.fuzz.cloud import zaqar_answer
from tests.fuzz.hostile import ANY_JSON, Maker
from tests.integration.test_cloud import start_deployment

BODIES = 300
# Of the 256 KiB that Zaqar takes in a request by default, what is left beside its envelope.
ROOM_BYTES = 255 * 1024
_DEEPEST = (100, 400, 508, 509, 510, 511, 512, 513, 600, 900)
CORPUS: dict[str, Any] = {
    **{f"the number {number}": {"a": number} for number in (2**63 - 1, 2**63, -(2**63) - 1, 2**70)},
    "numbers that are none": {"a": [float("nan"), float("inf"), float("-inf"), -0.0, 1e308]},
    "half a character": {"a": "\ud800"},
    "half a character as a name": {"\udfff": 1},
    "two halves": {"a": "\ud83d\ude00"},
    "control characters": {"\0": "\0\x1b\x7f\u2028"},
    "an empty name": {"": ""},
    "nothing": {},
    "a name of 300 characters": {"x" * 300: "漢" * 90},
    "70,000 characters": {"deploy_stdout": "x" * 70_000},
    "300,000 characters": {"deploy_stdout": "x" * 300_000},
    "80,000 halves": {"deploy_stdout": "\ud800" * 80_000},
    **{f"{levels} levels": {"a": json.loads("[" * levels + "]" * levels)} for levels in _DEEPEST},
    "no map": [1],
    "null": None,
}
ANY_BODY = st.dictionaries(st.text(max_size=8), ANY_JSON, max_size=4) | st.binary(max_size=120).map(
    lambda data: {"answer": Maker(data).value()}
)


class Guest:
    """The product's delivery for the server of a real stack, and its queues."""

    def __init__(self, directory: Path, metadata: dict[str, Any]) -> None:
        self._section = metadata["os-collect-config"]["zaqar"]
        login = parse_credentials(self._section)
        assert login is not None
        self._settings = Settings(
            state_dir=directory / "state", runtime_dir=directory / "run", request_timeout=60
        )
        durable.write_json(self._settings.collected_file, 0)
        self._connection = Connection(login[0], self._settings)
        self._outbox = Outbox(self._settings.state_dir)
        self._numbers = itertools.count()

    def deliver(self, printed: bytes) -> tuple[str, dict[str, Any], list[Any]]:
        """Deliver what a hook printed; return the entry's state, its record and what arrived."""
        queue = f"bodies-{next(self._numbers)}"
        inputs = {
            "deploy_signal_transport": "ZAQAR_SIGNAL",
            "deploy_queue_id": queue,
            **{f"deploy_{key}": self._section[key] for key in ("auth_url", "user_id")},
            **{f"deploy_{key}": self._section[key] for key in ("project_id", "password")},
            # Histories of chaos leave regions of their own in the catalog.
            "deploy_region_name": self._section["region_name"],
        }
        listed = [{"name": key, "value": inputs[key]} for key in inputs]
        deployment = parse_deployment({"id": queue, "group": "script", "inputs": listed})
        body = body_of("script", Outcome(end=printed, returncode=0))
        self._outbox.finish(entry_for(deployment, body, 1, 0))
        Delivery(self._outbox, self._settings).deliver(queue)
        (found,) = [item for item in self._outbox.records() if item[1]["id"] == queue]
        for path in self._settings.state_dir.glob("outbox/*.json"):
            path.unlink()
        return *found, [body for _, body in Queue(self._connection, queue).messages()]

    def post(self, raw: bytes) -> tuple[int, list[Any]]:
        """Post as it is; return the status, and what is in the queue then."""
        queue = f"raw-{next(self._numbers)}"
        address = self._connection.endpoint("messaging")
        headers = {"X-Auth-Token": self._connection.token(), "Client-ID": "0" * 32}
        headers |= {"X-Project-ID": self._section["project_id"]}
        url = f"{address}/v2/queues/{queue}/messages"
        answer = requests.post(
            url, data=raw, headers=headers | {"Content-Type": "application/json"}, timeout=60
        )
        messages = Queue(self._connection, queue).messages() if answer.ok else []
        return answer.status_code, [body for _, body in messages]


@pytest.fixture(scope="module")
def guest(heat_of_module: Heat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    start_deployment(heat_of_module, "bodies")
    metadata = heat_of_module.server_metadata("bodies")
    yield Guest(tmp_path_factory.mktemp("guest"), metadata)
    heat_of_module.delete_stack("bodies")


def text_of(value: Any) -> str:
    """JSON tells NaN from NaN, and -0.0 from 0, where `==` does not."""
    return json.dumps(value, sort_keys=True)


def check(guest: Guest, body: Any, log: pytest.LogCaptureFixture) -> None:
    raw = json.dumps({"messages": [{"body": body, "ttl": 300}]}).encode()
    assert text_of(guest.post(raw)) == text_of(zaqar_answer(raw))
    log.clear()
    state, record, arrived = guest.deliver(json.dumps(body).encode())
    assert state == "delivered", log.text
    (message,) = arrived
    sent = {**record["body"], CONFIG_ID: record["id"]}
    if len(text_of(sent)) <= ROOM_BYTES:
        assert text_of(message) == text_of(sent)
    else:
        assert " cut]" in text_of(message) or "did not fit" in text_of(message)
    code = STATUS_CODE
    assert text_of(message[code]) == text_of(record["body"][code])


@pytest.mark.parametrize("name", CORPUS)
def test_a_body_arrives_as_it_was_sent(
    name: str, guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    check(guest, CORPUS[name], caplog)


def test_any_body_arrives_as_it_was_sent(guest: Guest, caplog: pytest.LogCaptureFixture) -> None:
    @settings(
        max_examples=BODIES - len(CORPUS),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ANY_BODY)
    def arrives(body: dict[str, Any]) -> None:
        check(guest, body, caplog)

    arrives()
