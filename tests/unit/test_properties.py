"""What holds for any input and any order of steps; tests/fuzz tries far more of both."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from heat_config_zaqar.collect.batch import next_snapshot
from heat_config_zaqar.deployment import parse_deployment
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state.metadata_store import MetadataStore
from heat_config_zaqar.state.outbox import Outbox, Settled, entry_for
from tests.fuzz.hostile import ANY_JSON, Maker, snapshot_of
from tests.fuzz.targets import PARSERS
from tests.unit.conftest import make_deployment, make_message

IDS = st.sampled_from(["a", "b", "c"])


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=200))
def test_no_bytes_break_a_parser(target: str, data: bytes) -> None:
    PARSERS[target](data)


@given(ANY_JSON | st.binary(max_size=80).map(Maker).map(snapshot_of))
def test_no_json_breaks_the_stored_snapshot(stored: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "metadata.json"
        path.write_text(json.dumps(stored))
        store = MetadataStore(path)
        next_snapshot(store.read().snapshot, [stored], lambda _: False)
        assert store.read().login is None


@given(st.lists(st.lists(IDS, unique=True), min_size=1, max_size=6), st.sets(IDS))
def test_no_order_of_messages_loses_an_unfinished_deployment(
    messages: list[list[str]], finished: set[str]
) -> None:
    bodies = [make_message(*map(make_deployment, ids)) for ids in messages]
    snapshot, missing = next_snapshot(None, bodies, finished.__contains__)
    assert snapshot is not None
    kept = {item.id for item in deployments_of(snapshot)}
    known = {config for ids in messages for config in ids}
    assert known - finished <= kept
    assert set(missing) == known - set(messages[-1])


class OutboxMachine(RuleBasedStateMachine):
    """Any order of the outbox's steps, with crashes between the two halves of each."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.root = Path(self._directory.name)
        self.finished: set[str] = set()
        self.settled: set[str] = set()

    def teardown(self) -> None:
        self._directory.cleanup()

    @property
    def outbox(self) -> Outbox:
        """A new process's view."""
        return Outbox(self.root)

    @rule(config=IDS)
    def finish(self, config: str) -> None:
        if not self.outbox.is_finished(config):
            deployment = parse_deployment(make_deployment(config))
            self.outbox.finish(entry_for(deployment, {"deploy_status_code": 0}, 1, 0))
            self.finished.add(config)

    @rule(config=IDS, sending=st.booleans())
    def mark(self, config: str, sending: bool) -> None:
        entry = self.outbox.find_pending(config)
        if entry:
            self.outbox.mark_sending(entry, sending)
            found = self.outbox.find_pending(config)
            assert found
            assert found.sending == sending

    @rule(config=IDS, where=st.sampled_from(Settled), crash=st.booleans())
    def settle(self, config: str, where: Settled, crash: bool) -> None:
        entry = self.outbox.find_pending(config)
        if entry:
            pending = self.root / "outbox" / f"{config}.json"
            content = pending.read_bytes()
            self.outbox.settle(entry, where, "")
            if crash:
                pending.write_bytes(content)
            self.settled.add(config)

    @invariant()
    def what_is_finished_stays_finished_and_waits_until_it_is_settled(self) -> None:
        for config in ("a", "b", "c"):
            assert self.outbox.is_finished(config) == (config in self.finished)
        waiting = {entry.id for entry in self.outbox.pending()}
        assert waiting == self.finished - self.settled

    @invariant()
    def a_password_is_only_where_a_signal_waits(self) -> None:
        for where in Settled:
            for path in (self.root / where).glob("*"):
                assert "2jmF" not in path.read_text()


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
