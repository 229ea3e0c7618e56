"""The server's own source, asked for what there is now: upstream's collectors on a real server."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from os_collect_config import collect

from heat_config_zaqar.collect import sources
from heat_config_zaqar.deployment import Credentials
from heat_config_zaqar.errors import PermanentError, RejectedError, TemporaryError
from heat_config_zaqar.settings import Settings
from heat_config_zaqar.wire import heat
from tests.unit.conftest import deployments_now, make_deployment, make_message
from tests.unit.wire.test_presigned import Service

SERVER = "ef33c16d-965f-4003-b1ed-e446a2a52e07"
XML = (
    "<DescribeStackResourceResponse><DescribeStackResourceResult><StackResourceDetail>"
    "<Metadata>{}</Metadata>"
    "</StackResourceDetail></DescribeStackResourceResult></DescribeStackResourceResponse>"
)

Ask = Callable[[str], list[str]]


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


@pytest.fixture
def ask(upstream: None, tmp_path: Path) -> Iterator[Ask]:  # noqa: ARG001 # ends it
    """A function that takes os-collect-config.conf, and returns the ids of what its source has."""
    settings = Settings(conf_file=tmp_path / "os-collect-config.conf", request_timeout=1)
    users: list[Any] = []

    def connect(login: Credentials) -> Any:
        users.append(login)
        return login

    def ask_with(conf: str) -> list[str]:
        settings.conf_file.write_text(f"[DEFAULT]\ncachedir = {tmp_path}/cache\n{conf}")
        return [item.id for item in deployments_now(SERVER, settings, connect)]

    collect.CONF.reset()
    yield ask_with
    assert not (tmp_path / "cache").exists()
    collect.CONF.reset()
    sources._configured.cache_clear()


def cfn(service: Service) -> str:
    url = f"metadata_url = {service.address}/v1/\npath = server.Metadata"
    return f"[cfn]\n{url}\naccess_key_id = key\nsecret_access_key = s3cr3t\nstack_name = s\n"


def test_heat_is_asked_with_the_login_of_the_server_that_polls_it(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deployments_of_server(login: Any, server_id: str) -> list[Any]:
        assert login == Credentials("http://heat.example/v3", "user", "project", "", "pa$$word")
        assert server_id == SERVER
        return [make_deployment("new")]

    monkeypatch.setattr(heat, "deployments_of_server", deployments_of_server)
    login = "user_id = user\nproject_id = project\npassword = pa$$$$word"
    assert ask(f"[heat]\nauth_url = http://heat.example/v3\n{login}\n") == ["new"]


def test_what_cloud_formation_and_an_object_store_have_now_is_read(
    ask: Ask, service: Service
) -> None:
    metadata = json.dumps(make_message(3, make_deployment("new")))  # type: ignore[arg-type]
    service.answer = (200, {"Content-Type": "text/xml"}, XML.format(escape(metadata)).encode())
    assert ask(cfn(service)) == ["new"]


def test_an_object_whose_url_is_for_get_alone_is_read(ask: Ask, service: Service) -> None:
    service.answer = (200, {}, json.dumps(make_message(make_deployment("new"))).encode())
    assert ask(f"[request]\nmetadata_url = {service.address}/o?temp_url_sig=x\n") == ["new"]


def test_files_by_hand_are_read(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir(mode=0o700)
    (tmp_path / "local" / "heat").write_text(json.dumps(make_message(make_deployment("new"))))
    assert ask(f"[local]\npath = {tmp_path}/local\n") == ["new"]


def test_a_guest_without_a_source_is_told_from_one_whose_source_has_nothing_new(
    ask: Ask, tmp_path: Path
) -> None:
    with pytest.raises(PermanentError, match="no source"):
        ask(f"[local]\npath = {tmp_path}/local\n")


@pytest.mark.parametrize(
    ("status", "kind"), [(403, RejectedError), (302, RejectedError), (503, TemporaryError)]
)
def test_a_source_that_refuses_says_so_without_its_signature(
    ask: Ask,
    service: Service,
    status: int,
    kind: type[Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "os_collect_config")
    service.answer = (status, {"Location": f"{service.address}/login"}, b"")
    with pytest.raises(kind, match=str(status)) as caught:
        ask(cfn(service))
    assert "Signature" in str(service.requests)
    assert "Signature" not in caplog.text + str(caught.value)


def test_a_source_that_is_away_is_told_from_one_that_answers(ask: Ask, service: Service) -> None:
    service.close()
    with pytest.raises(TemporaryError) as caught:
        ask(cfn(service))
    assert caught.value.is_away


def test_a_configuration_that_cannot_be_read_is_an_error_without_its_text(ask: Ask) -> None:
    with pytest.raises(PermanentError, match=r"os-collect-config\.conf") as caught:
        ask("password s3cr3t\n")
    assert "s3cr3t" not in str(caught.value)
