import json
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar import apply
from heat_config_zaqar.errors import CorruptFileError
from heat_config_zaqar.outbox import Outbox
from heat_config_zaqar.settings import Settings
from tests.unit.conftest import make_deployment
from tests.unit.test_hook_runner import hook


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    monkeypatch.setenv("HEAT_CONFIG_HOOKS", str(hooks))
    hook(hooks, f'echo run >>{tmp_path}/runs; echo \'{{"result": "42"}}\'')
    hook(hooks, "echo garbage; echo why >&2", "bad")
    return Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")


def applied(current: Settings, *documents: Any) -> dict[str, tuple[str, dict[str, Any]]]:
    path = current.state_dir.parent / "heat-config"
    path.write_text(json.dumps(list(documents)))
    apply.apply(apply.read_deployments(path), current)
    return {
        record["id"]: (state, record.get("body", {}))
        for state, record in Outbox(current.state_dir).records()
    }


def quiet(config_id: str, **changes: Any) -> dict[str, Any]:
    return make_deployment(config_id, deploy_signal_transport="NO_SIGNAL", **changes)


def test_each_deployment_runs_once_however_often_it_is_applied(
    current: Settings, tmp_path: Path
) -> None:
    for _ in range(3):
        found = applied(current, quiet("a"), quiet("b"))
    assert found["a"] == ("delivered", {"result": "42", "deploy_status_code": 0})
    assert (tmp_path / "runs").read_text() == "run\nrun\n"


def test_trouble_with_one_deployment_stops_no_other(current: Settings) -> None:
    found = applied(
        current,
        "text",
        quiet("../../etc/x"),
        quiet("garbage", group="bad"),
        quiet("missing", group="chef"),
        quiet("component", group="component", config={"configs": []}),
        quiet("transport", group="script")
        | {"inputs": [{"name": "deploy_signal_transport", "value": "PIGEON"}]},
        quiet("good"),
    )
    assert set(found) == {"garbage", "missing", "component", "transport", "good"}
    assert found["good"][1]["deploy_status_code"] == 0
    assert "did not print JSON" in found["garbage"][1]["deploy_stderr"]
    assert "chef" in found["missing"][1]["deploy_stderr"]
    assert "CREATE" in found["component"][1]["deploy_stderr"]


@pytest.mark.parametrize("group", ["os-apply-config", "Heat::Ungrouped"])
def test_groups_that_never_had_a_hook_are_skipped(current: Settings, group: str) -> None:
    assert applied(current, quiet("a", group=group)) == {}


def test_a_hook_that_was_interrupted_too_often_fails_with_the_reason(current: Settings) -> None:
    for _ in range(3):
        Outbox(current.state_dir).begin("a", "a", "script")
    state, body = applied(current, quiet("a"))["a"]
    assert (state, body["deploy_status_code"]) == ("delivered", 1)
    assert "interrupted 3 times" in body["deploy_stderr"]


def test_a_result_that_cannot_be_made_durable_is_an_error_for_os_collect_config(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "heat-config").write_text(json.dumps([quiet("a")]))
    (tmp_path / "settings.toml").write_text('state_dir = "/proc/nowhere"')
    monkeypatch.setenv("HEAT_CONFIG_ZAQAR_SETTINGS", str(tmp_path / "settings.toml"))
    monkeypatch.setenv("HEAT_SHELL_CONFIG", str(tmp_path / "heat-config"))
    assert apply.main() == 1


@pytest.mark.parametrize("content", ['{"a": 1}', "3", "{"])
def test_a_file_that_is_no_list_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "heat-config").write_text(content)
    with pytest.raises(CorruptFileError, match="heat-config"):
        apply.read_deployments(tmp_path / "heat-config")


@pytest.mark.parametrize("content", ["null", '""', "[]"])
def test_no_deployments_yet_is_no_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "heat-config").write_text(content)
    assert apply.read_deployments(tmp_path / "heat-config") == []
