"""What sources may say: whatever it is, the others go on and the daemon lives."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from os_collect_config import cache, collect, config_drive, exc, local

from heat_config_zaqar.collect.sources import file_name, guard, merged
from heat_config_zaqar.snapshot import deployments_of
from tests.unit.conftest import make_deployment

KEYS = ["deployments"]


@pytest.fixture
def guarded(upstream: None, tmp_path: Path) -> Iterator[Path]:  # noqa: ARG001 # ends it
    """Upstream's table with a guard, until the end of the test; returns the cache directory."""
    guard()
    with pytest.MonkeyPatch.context() as options:
        options.setattr(cache, "cfg", SimpleNamespace(CONF=SimpleNamespace(cachedir=str(tmp_path))))
        yield tmp_path


@pytest.mark.parametrize("content", [None, 3, "text", [], {}, {"deployments": 3}])
def test_content_of_any_kind_is_passed_on(content: Any) -> None:
    assert merged(content, KEYS, "zaqar") == [("zaqar", content)]


def test_a_deployment_without_a_config_or_a_name_costs_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = {"name": "good", "config": {"a": 1}}
    listed = [3, None, {"name": "x", "id": "no-config"}, {"config": {}, "id": "no-name"}, good]
    content = {"deployments": [*listed, {**good, "group": "script"}]}
    assert merged(content, KEYS, "cfn") == [("cfn", content), ("good", {"a": 1})]
    assert "no-config" in caplog.text
    assert "no-name" in caplog.text


@pytest.mark.parametrize(
    "name",
    ["zaqar", "ec2", "os_config_files", "app/install", "a:b", "\0", "x" * 201, "漢" * 90, "\ud800"],
)
def test_a_name_that_can_be_no_cache_file_becomes_another(name: str, tmp_path: Path) -> None:
    found = file_name("cfn", name)
    assert found != name
    assert found == file_name("cfn", name)
    (tmp_path / f"{found}.json.last").write_text("")


@pytest.mark.parametrize("name", ["00-app", ".setup", "zaqar2", "two words", "漢"])
def test_any_other_name_stays(name: str) -> None:
    assert file_name("cfn", name) == name


def test_a_source_keeps_its_own_name() -> None:
    assert file_name("zaqar", "zaqar") == "zaqar"


@pytest.mark.parametrize("error", [KeyError("config"), RecursionError(), OSError(28, "full")])
def test_a_source_that_fails_is_one_that_has_nothing(
    guarded: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert guarded

    def failing(_: Any) -> Any:
        raise error

    monkeypatch.setattr(local.Collector, "collect", failing)
    with pytest.raises(exc.SourceNotConfigured):
        collect.COLLECTORS["local"].Collector().collect()


def test_what_is_nested_too_deep_is_left_out(
    guarded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarded
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    found = [("deep", deep), ("flat", {}), ("mixed", {"deep": deep, "flat": 1})]
    monkeypatch.setattr(local.Collector, "collect", lambda _: found)
    left = [("deep", {}), ("flat", {}), ("mixed", {"deep": [], "flat": 1})]
    assert collect.COLLECTORS["local"].Collector().collect() == left


def test_a_deployment_that_is_nested_too_deep_costs_no_neighbour_and_says_so_itself(
    guarded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarded
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    listed = [make_deployment("a", config=deep), make_deployment("b"), [deep]]
    monkeypatch.setattr(local.Collector, "collect", lambda _: [("local", {"deployments": listed})])
    ((_, content),) = collect.COLLECTORS["local"].Collector().collect()
    first, second = deployments_of(content)
    assert (first.id, second.id) == ("a", "b")
    assert "levels deep" in first.problem
    assert first.text_input("deploy_queue_id")
    assert second.problem == ""


@pytest.mark.parametrize("last", ["", "{", "\ufeff", "[" * 100_000])
def test_an_unreadable_last_file_counts_as_changed(guarded: Path, last: str) -> None:
    collect.cache.store("one", {"a": 1})
    collect.cache.commit("one")
    assert collect.cache.store("one", {"a": 1})[0] is False
    (guarded / "one.json.last").write_text(last)
    assert collect.cache.store("one", {"a": 1}) == (True, str(guarded / "one.json"))
    assert json.loads((guarded / "one.json").read_text()) == {"a": 1}
    collect.cache.commit("one")
    assert collect.cache.store("one", {"a": 1})[0] is False


def test_the_same_complaint_is_logged_once_in_ten_minutes(
    guarded: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarded
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    for number in range(3):
        logging.getLogger("os_collect_config.ec2").warning("<object at 0x%x> failed", number)
    assert len(caplog.records) == 1
    clock[0] += 601
    logging.getLogger("os_collect_config.ec2").warning("<object at 0x5> failed")
    assert len(caplog.records) == 2


def test_a_machine_without_a_config_drive_has_no_trouble(
    guarded: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert guarded
    blkid = tmp_path / "blkid"
    blkid.write_text("#!/bin/sh\nexit 2\n")
    blkid.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    caplog.set_level(logging.INFO)
    assert config_drive.get_metadata() == {}
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_no_signature_of_a_pre_signed_url_is_logged(
    guarded: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert guarded
    logging.getLogger("os_collect_config.cfn").warning("no route to /v1/?Signature=secret now")
    assert "secret" not in caplog.text
    assert "now" in caplog.text
