"""What the fuzzer does with one input: each target takes bytes and asserts what must hold."""

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from os_apply_config.apply_config import render_moustache  # type: ignore[import-untyped]

from heat_config_zaqar import settings, signal_body
from heat_config_zaqar.collect.batch import next_snapshot
from heat_config_zaqar.deployment import (
    Deployment,
    Transport,
    for_its_action,
    parse_credentials,
    parse_deployment,
)
from heat_config_zaqar.errors import InvalidMetadataError, SettingsError
from heat_config_zaqar.run.outcome import Outcome, body_of
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state.outbox import Outbox, entry_for
from tests.fuzz.chain import Guest
from tests.fuzz.hostile import TRANSPORTS, Maker, case_of, printed_by_hook, snapshot_of

Target = Callable[[bytes], None]

_LIMITS = (64, 300, 4096)


def metadata(data: bytes) -> None:
    """Messages of any structure, built of the words that Heat uses."""
    maker = Maker(data)
    _receive([snapshot_of(maker) for _ in range(3)])


def message(data: bytes) -> None:
    """Messages of any text that is JSON."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return
    _receive([body])


def hook_output(data: bytes) -> None:
    """Whatever a hook prints, whatever it exits with."""
    returncode = data[0] - 128 if data else 0
    cut = len(data) % 3
    outcome = Outcome(data[1:9], data[1 + cut :], cut, data.decode("latin-1")[-50:], returncode)
    body = body_of("script", outcome)
    assert isinstance(body, dict)
    assert returncode >= 0 or body[signal_body.STATUS_CODE] == returncode
    _store(body)
    for limit in _LIMITS:
        fitted = signal_body.fit({**body, signal_body.CONFIG_ID: "c"}, max(limit, _least(body)))
        assert len(json.dumps(fitted)) <= max(limit, _least(body))
        code = body[signal_body.STATUS_CODE]
        # A text of any length is none.
        assert fitted[signal_body.STATUS_CODE] == code or len(json.dumps(code)) >= 200


def settings_file(data: bytes) -> None:
    """Settings of any text."""
    try:
        settings.parse(data.decode("utf-8", "replace"), "file")
    except SettingsError as error:
        assert "file" in str(error)


def state_file(data: bytes) -> None:
    """An outbox entry of any content."""
    with tempfile.TemporaryDirectory(dir=_memory()) as directory:
        path = Path(directory) / "outbox" / "x.json"
        path.parent.mkdir()
        path.write_bytes(data)
        assert len(Outbox(Path(directory)).pending()) <= 1


def chain(data: bytes) -> None:
    """A whole snapshot, from the queue to Heat."""
    _GUESTS[-1].run(case_of(data))


def signal(data: bytes) -> None:
    """What one hook prints, to Heat by any transport."""
    maker = Maker(data)
    transport, code = maker.one_of(TRANSPORTS), maker.one_of((0, 0, 1, 255, -9))
    printed = printed_by_hook(maker)
    _GUESTS[-1].signal(printed, code, transport)


def rendered(data: bytes) -> None:
    """What the collector stores is what 55-heat-config reads, as os-apply-config renders it."""
    snapshot, _ = next_snapshot(None, [snapshot_of(Maker(data))], lambda _: False)
    if snapshot is None:
        return
    stored = json.dumps(snapshot, indent=1)
    text = render_moustache("{{deployments}}\n", json.loads(stored))
    documents = json.loads(text)
    assert json.dumps(documents) == json.dumps(snapshot["deployments"])
    for document in documents:
        assert parse_deployment(document).document == document


PARSERS: dict[str, Target] = {
    "metadata": metadata,
    "message": message,
    "hook_output": hook_output,
    "settings_file": settings_file,
    "state_file": state_file,
    "rendered": rendered,
}
# These take `a_guest()` around them.
CHAINS: dict[str, Target] = {"chain": chain, "signal": signal}
TARGETS = {**PARSERS, **CHAINS}

_GUESTS: list[Guest] = []


@contextlib.contextmanager
def a_guest() -> Iterator[Guest]:
    """Make a guest in memory, which `CHAINS` work with."""
    with tempfile.TemporaryDirectory(dir=_memory()) as directory, Guest(Path(directory)) as guest:
        _GUESTS.append(guest)
        yield guest
        _GUESTS.pop()


def _receive(bodies: list[Any]) -> None:
    snapshot, missing = next_snapshot(None, bodies, lambda config_id: config_id == "done")
    if snapshot is None:
        return
    json.dumps(snapshot)
    found = deployments_of(snapshot)
    assert set(missing) <= {item.id for item in found}
    for item in found:
        _use(item)
    # What was stored combines with itself to the same, and without doubt.
    assert next_snapshot(snapshot, [snapshot], lambda _: False)[1] == []


def _use(item: Deployment) -> None:
    assert "/" not in item.id
    assert item.id not in (".", "..")
    assert len(item.id) <= 128
    json.dumps(item.document, indent=1)
    try:
        for_its_action(item)
    except InvalidMetadataError as error:
        assert item.id in str(error)
    entry = entry_for(item, {}, 1, 0)
    assert entry.transport is not Transport.ZAQAR or "/" not in entry.queue
    parse_credentials(item.document)


def _store(body: dict[str, Any]) -> None:
    """Do with a result what the outbox does, on no disk."""
    entry = entry_for(Deployment("a", "a", "script", "", {}), body, 1, 0)
    json.dumps(dataclasses.asdict(entry), indent=1)


def _least(body: dict[str, Any]) -> int:
    """Return what a body takes that holds nothing but its status code."""
    code = {key: body[key] for key in (signal_body.STATUS_CODE,) if key in body}
    return len(json.dumps({**signal_body.failure("x" * 90), **code, signal_body.CONFIG_ID: "c"}))


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
