"""Deployments and messages as Heat sends them."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from heat_config_zaqar import events
from heat_config_zaqar.collect import sources
from heat_config_zaqar.collect.sources import deployments_now as deployments_now
from heat_config_zaqar.errors import PermanentError
from tests.chaos.disk import Journal

# A busy machine is slow; that says nothing about the code.
settings.register_profile("any", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any")

Make = Callable[..., dict[str, Any]]

SECTION: dict[str, Any] = {
    "collectors": ["zaqar", "local"],
    "zaqar": {
        "user_id": "3c72da6859774d1aa60d2dddc365a476",
        "password": "qmKW2hOdyz^ZFo5DViXIRINn9fGSoV6M",
        "auth_url": "http://127.0.0.1:28500/v3/",
        "project_id": "2e05934bcf02461283d8e27c2fabda11",
        "queue_id": "t1-server-aa4wl7xthqln",
        "region_name": "RegionOne",
    },
}


def make_deployment(config_id: str, **changes: Any) -> dict[str, Any]:
    """Return a deployment of Heat's metadata; keyword arguments are inputs or its own keys."""
    inputs = {
        "deploy_server_id": "ef33c16d-965f-4003-b1ed-e446a2a52e07",
        "deploy_action": "CREATE",
        "deploy_stack_id": "t1/12a3d23e-5e3b-4d7f-aad3-81752bb2f64c",
        "deploy_resource_name": config_id,
        "deploy_signal_transport": "ZAQAR_SIGNAL",
        "deploy_auth_url": "http://127.0.0.1:28500/v3/",
        "deploy_user_id": "afaa4c4a2c344433829d69f6b0211a5e",
        "deploy_password": "2jmF!%it4TDDQ5E4az3%%vXk&Z*cMw^2",
        "deploy_project_id": "2e05934bcf02461283d8e27c2fabda11",
        "deploy_region_name": "RegionOne",
        "deploy_queue_id": f"t1-{config_id}-mpmx6jwjdxiw",
    }
    document: dict[str, Any] = {
        "id": config_id,
        "name": f"00-{config_id}",
        "group": "script",
        "creation_time": "2026-11-22T15:16:26Z",
        "config": "#!/bin/sh\necho hello\n",
        "outputs": [],
        "options": {},
    }
    for key, value in changes.items():
        (document if key in document or key == "inputs" else inputs)[key] = value
    typed = [{"name": name, "type": "String", "value": value} for name, value in inputs.items()]
    document.setdefault("inputs", typed)
    return document


def make_message(*deployments: dict[str, Any], section: Any = SECTION) -> dict[str, Any]:
    """Return the body of a metadata message."""
    return {"deployments": list(deployments), "os-collect-config": section}


@pytest.fixture(autouse=True)
def no_own_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep os-collect-config's options, of which a process has one set, as a test has them."""

    def none(*_: object) -> None:
        raise PermanentError("no source")

    monkeypatch.setattr(sources, "deployments_now", none)


@pytest.fixture
def deployment() -> Make:
    """A function that makes a deployment."""
    return make_deployment


@pytest.fixture
def message() -> Make:
    """A function that makes the body of a metadata message."""
    return make_message


class Said(logging.Handler):
    """What was logged: the event, and the deployment that it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, events.Subject | None]] = []
        self.subjects: list[events.Subject | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.subjects.append(events.subject())
        if event := events.of(record):
            self.events.append((event.name, events.subject()))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Said]:
    """What this process logs."""
    caplog.set_level(logging.INFO)
    handler = Said()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """What a power cut would lose of `state` below the test's directory."""
    watching = Journal(tmp_path / "state", tmp_path / "journal")
    for name in ("rename", "replace", "unlink", "mkdir", "fsync"):
        # What the journal puts there goes at the end of the test.
        monkeypatch.setattr(os, name, getattr(os, name))
    watching.install()
    return watching
