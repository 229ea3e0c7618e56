"""Hostile metadata: what a template's author, a broken service or an attacker can have sent.

Everything is made of bytes, so that the fuzzer and hypothesis share it: each byte is a choice, and
out of bytes each choice is the first. So short inputs are simple ones.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.cloud import SECTION

# Any JSON that Python reads and writes, halves of characters and numbers without an end too.
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=12), inner)
    ),
    max_leaves=12,
)

KEYS = (
    *("deployments", "os-collect-config", "zaqar", "id", "name", "group", "creation_time"),
    *("config", "configs", "inputs", "outputs", "options", "value", "type", "actions", "tool"),
    *("deploy_queue_id", "deploy_signal_transport", "deploy_action", "deploy_auth_url"),
    *("deploy_password", "deploy_stack_id", "deploy_resource_name", "deploy_signal_id"),
    *("auth_url", "user_id", "project_id", "password", "queue_id", "region_name", "ca_file"),
    *("deploy_timeout", "deploy_signal_verb", "deploy_user_id", "deploy_project_id"),
    *("collectors", "polling_interval", "splay", "command", "heat", "cfn", "request", "local"),
    *("deploy_stdout", "deploy_stderr", "deploy_status_code", "deploy_config_id", "answer"),
)
TEXTS = (
    *("", "a", "String", "Json", "Number", "ZAQAR_SIGNAL", "CFN_SIGNAL", "TEMP_URL_SIGNAL"),
    *("HEAT_SIGNAL", "NO_SIGNAL", "CREATE", "component", "script", "Heat::Ungrouped"),
    *("os-apply-config", "../../etc/x", "app/install", ".setup", "..", "x" * 201, "x" * 5000),
    *("漢" * 90, "\0", "\n", "\r\n[x]", "a\x1bb\x7f", "ü", "\U0001f600", "\ud800", "\udfff\ud83d"),
    *("2026-11-22T15:16:26Z", "http://cloud.test/signal/a", "cloud.test/signal/a", "http://[::1"),
    *("http://cloud.test:port/", "ftp://cloud.test/", "http://", "a#1", "what?", "%2e", "{{x}}"),
    *("$x", "zaqar", "os_config_files", "metadata", "neighbour", "0", "1", "-1", "nan", "1e999"),
)
_HUGE = ("x" * 70000, "\ud800" * 50000, "x" * 300000)
NUMBERS = (0, 1, -1, 194, 0.5, -0.0, 1e308, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**70)
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
TRANSPORTS = ("ZAQAR_SIGNAL", "CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL")
# Its hook has nothing to hide.
NEIGHBOURS_GROUP = "neighbour"
_DEPTHS = (89, 91, 300, 510, 512)


class Maker:
    """Makes JSON of bytes."""

    def __init__(self, data: bytes) -> None:
        self._bytes: Iterator[int] = iter(data)

    def next(self) -> int:
        """Return the next byte."""
        return next(self._bytes, 0)

    def one_of(self, choices: Sequence[Any]) -> Any:
        """Choose."""
        return choices[self.next() % len(choices)]

    def value(self, depth: int = 3) -> Any:
        """Any JSON that Python can make."""
        kind = self.next() % 12
        if kind == 0:
            return self.one_of((None, True, False, "", [], {}))
        if kind < 3 and depth:
            return {self.key(): self.value(depth - 1) for _ in range(self.next() % 5)}
        if kind < 5 and depth:
            return [self.value(depth - 1) for _ in range(self.next() % 4)]
        if kind < 7:
            return self.one_of((*NUMBERS, *NOT_FINITE))
        if kind == 7 and depth == 3:
            return self._deep()
        return self.text()

    def key(self) -> str:
        """Mostly a word that Heat or we use."""
        return self.one_of(KEYS) if self.next() < 200 else self.text()

    def text(self) -> str:
        """A text that somebody stumbled over, or any."""
        number = self.next()
        if number == 255 and self.next() < 16:
            return str(self.one_of(_HUGE))
        if number < 2 * len(TEXTS):
            return TEXTS[number // 2]
        return "".join(chr(self.next() * 16 + self.next()) for _ in range(number % 9))

    def _deep(self) -> Any:
        made: Any = self.text()
        as_map = self.next() % 2
        for _ in range(self.one_of(_DEPTHS)):
            made = {"a": made} if as_map else [made]
        return made


@dataclass
class Case:
    """A snapshot for one guest, and what its hooks will do.

    :ivar neighbours: the ids of deployments that are in order, and must not notice the others.
    :ivar hooks: standard output and exit code of each hook that is run, in order, then again.
    """

    snapshot: Any
    hooks: list[tuple[bytes, int]] = field(default_factory=list)
    neighbours: list[str] = field(default_factory=list)

    @property
    def deployments(self) -> list[dict[str, Any]]:
        """The entries of `deployments` that are maps."""
        listed = self.snapshot.get("deployments") if isinstance(self.snapshot, dict) else None
        documents = listed if isinstance(listed, list) else []
        return [item for item in documents if isinstance(item, dict)]


def case_of(data: bytes) -> Case:
    """Make a snapshot with hostile deployments, a neighbour among them, and what hooks print."""
    maker = Maker(data)
    transport = maker.one_of(TRANSPORTS)
    made = [hostile_deployment(maker, number) for number in range(1 + maker.next() % 3)]
    neighbour = {**good_deployment("neighbour", transport), "group": NEIGHBOURS_GROUP}
    made.insert(maker.next() % (len(made) + 1), neighbour)
    snapshot: dict[str, Any] = {"deployments": made, "os-collect-config": SECTION}
    if maker.next() > 200:
        snapshot["os-collect-config"] = {maker.key(): maker.value(2), **SECTION}
    if maker.next() > 200:
        snapshot = {maker.key(): maker.value(), **snapshot}
    hooks = [(printed_by_hook(maker), maker.one_of((0, 0, 1, 255, -9))) for _ in made]
    return Case(snapshot, hooks, ["neighbour"])


def snapshot_of(maker: Maker) -> Any:
    """A message that may be anything, and mostly is a snapshot; ids come again in the next."""
    if maker.next() > 240:
        return maker.value()
    made = [hostile_deployment(maker, maker.next() % 4) for _ in range(maker.next() % 4)]
    section = maker.value() if maker.next() > 128 else SECTION
    return {"deployments": made, "os-collect-config": section}


def hostile_deployment(maker: Maker, number: int) -> Any:
    """One entry of `deployments`: in order but for a few things."""
    if maker.next() > 250:
        return maker.value()
    transport = maker.one_of((*TRANSPORTS, "NO_SIGNAL"))
    made = good_deployment(f"0a1b-{number}", transport)
    for _ in range(maker.next() % 4):
        _spoil(made, maker)
    return made


def _spoil(made: dict[str, Any], maker: Maker) -> None:
    hit = maker.one_of(("inputs", "key", "name", "missing", "group", "any", "id"))
    inputs = made.get("inputs")
    if hit == "inputs" and isinstance(inputs, list) and inputs:
        inputs[maker.next() % len(inputs)] = {
            **maker.one_of(good_deployment("0a1b-0", "ZAQAR_SIGNAL")["inputs"]),
            maker.one_of(("value", "value", "value", "type", "name")): maker.value(2),
        }
    elif hit == "key" and made:
        made[maker.one_of(sorted(made))] = maker.value()
    elif hit == "missing" and made:
        made.pop(maker.one_of(sorted(made)))
    elif hit == "any":
        made[maker.key()] = maker.value()
    else:
        made[hit] = maker.text()


def good_deployment(config_id: str, transport: str) -> dict[str, Any]:
    """A deployment as Heat makes it."""
    inputs = {
        "deploy_server_id": "ef33c16d-965f-4003-b1ed-e446a2a52e07",
        "deploy_action": "CREATE",
        "deploy_stack_id": "t1/12a3d23e-5e3b-4d7f-aad3-81752bb2f64c",
        "deploy_resource_name": config_id,
        "deploy_signal_transport": transport,
        "deploy_auth_url": "http://cloud.test/v3/",
        "deploy_user_id": f"user-of-{config_id}",
        "deploy_password": "2jmF!%it4TDDQ5E4az3%%vXk&Z*cMw^2",
        "deploy_project_id": "2e05934bcf02461283d8e27c2fabda11",
        "deploy_region_name": "RegionOne",
        "deploy_queue_id": f"t1-{config_id}-mpmx6jwjdxiw",
        "deploy_signal_id": f"http://cloud.test/signal/{config_id}",
        "colour": "blue",
    }
    return {
        "id": config_id,
        "name": f"00-{config_id}",
        "group": "script",
        "creation_time": "2026-11-22T15:16:26Z",
        "config": "#!/bin/sh\necho hello\n",
        "inputs": [{"name": key, "type": "String", "value": inputs[key]} for key in inputs],
        "outputs": [{"name": "answer", "type": "String"}],
        "options": {},
    }


def printed_by_hook(maker: Maker) -> bytes:
    """What a hook prints: mostly a map of outputs."""
    if maker.next() > 230:
        return maker.text().encode("utf-8", "surrogatepass")
    return json.dumps({maker.key(): maker.value() for _ in range(maker.next() % 4)}).encode()
