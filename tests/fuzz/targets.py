"""What the fuzzer does with one input: each target takes bytes and asserts what must hold."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from heat_config_zaqar import settings, signal_body
from heat_config_zaqar.collect.batch import next_snapshot
from heat_config_zaqar.deployment import Deployment, for_its_action, parse_credentials
from heat_config_zaqar.errors import InvalidMetadataError, SettingsError
from heat_config_zaqar.run.outcome import Outcome, body_of
from heat_config_zaqar.snapshot import deployments_of
from heat_config_zaqar.state.outbox import Outbox, entry_for

_KEYS = (
    *("deployments", "os-collect-config", "zaqar", "id", "name", "group", "creation_time"),
    *("config", "configs", "inputs", "outputs", "options", "value", "type", "actions", "tool"),
    *("deploy_queue_id", "deploy_signal_transport", "deploy_action", "deploy_auth_url"),
    *("deploy_password", "deploy_stack_id", "deploy_resource_name", "deploy_signal_id"),
    *("auth_url", "user_id", "project_id", "password", "queue_id", "region_name", "ca_file"),
)
_TEXTS = (
    *("", "a", "String", "Json", "ZAQAR_SIGNAL", "CFN_SIGNAL", "CREATE", "component", "script"),
    *("../../etc/x", "a" * 300, "2026-11-22T15:16:26Z", "http://127.0.0.1/", "\0", "ü", "\ud800"),
)
_LIMITS = (64, 300, 4096)


def metadata(data: bytes) -> None:
    """Messages of any structure, built of the words that Heat uses."""
    builder = _Builder(data)
    _receive([builder.message() for _ in range(3)])


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
        assert fitted[signal_body.STATUS_CODE] == body[signal_body.STATUS_CODE]


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


TARGETS: dict[str, Callable[[bytes], None]] = {
    "metadata": metadata,
    "message": message,
    "hook_output": hook_output,
    "settings_file": settings_file,
    "state_file": state_file,
}


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
    assert "/" not in entry.queue
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


class _Builder:
    """Makes JSON of bytes; out of bytes it makes None."""

    def __init__(self, data: bytes) -> None:
        self._bytes: Iterator[int] = iter(data)

    def message(self) -> Any:
        """Mostly a map with a list of deployments."""
        if self._next() < 16:
            return self._value(3)
        body = {"deployments": [self._deployment() for _ in range(self._next() % 4)]}
        if self._next() < 128:
            body["os-collect-config"] = self._value(3)
        return body

    def _deployment(self) -> Any:
        if self._next() < 16:
            return self._value(3)
        made: dict[str, Any] = {"id": ("a", "b", "done", "c")[self._next() % 4]}
        made["inputs"] = [
            {"name": self._key(), "type": self._text(), "value": self._value(2)}
            for _ in range(self._next() % 6)
        ]
        for _ in range(self._next() % 6):
            made[self._key()] = self._value(3)
        return made

    def _value(self, depth: int) -> Any:
        kind = self._next() % 8
        if kind == 0 and depth:
            return {self._key(): self._value(depth - 1) for _ in range(self._next() % 5)}
        if kind == 1 and depth:
            return [self._value(depth - 1) for _ in range(self._next() % 4)]
        simple = [None, True, self._next(), -0.5, float("1e308"), 10**30]
        return self._text() if kind > 4 else simple[self._next() % len(simple)]

    def _key(self) -> str:
        return _KEYS[self._next() % len(_KEYS)]

    def _text(self) -> str:
        number = self._next()
        return _TEXTS[number] if number < len(_TEXTS) else chr(number) * (number % 9)

    def _next(self) -> int:
        return next(self._bytes, 0)
