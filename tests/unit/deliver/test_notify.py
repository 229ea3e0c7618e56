"""heat-config-notify, upstream's command: a signal by hand goes the way of every other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.settings import SETTINGS_VARIABLE
from heat_config_zaqar.state.outbox import Outbox, Settled
from tests.unit.conftest import make_deployment

DEEP = "[" * 600 + "]" * 600
# A port of loopback where nothing listens.
NOBODY = {"deploy_auth_url": "http://127.0.0.1:9/v3/"}


@pytest.fixture(autouse=True)
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    lines = [f'{name}_dir = "{tmp_path / name}"' for name in ("state", "runtime")]
    (tmp_path / "settings.toml").write_text("\n".join(lines))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "settings.toml"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "hooks"))
    return Outbox(tmp_path / "state")


def notify(directory: Path, config: Any, signal: str) -> tuple[int, str]:
    path = directory / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return call(path, signal)


def call(path: Path, signal: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "heat_config_zaqar.deliver.notify", str(path)]
    done = subprocess.run(command, input=signal, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_signal_waits_in_the_outbox_while_nobody_listens(tmp_path: Path, outbox: Outbox) -> None:
    code, _ = notify(tmp_path, make_deployment("a", **NOBODY), '{"result": "42"}')
    assert code == 0
    (entry,) = outbox.pending()
    assert entry.body == {"result": "42"}


def test_nothing_on_standard_input_is_a_signal_without_outputs(
    tmp_path: Path, outbox: Outbox
) -> None:
    quiet = make_deployment("a", deploy_signal_transport="NO_SIGNAL")
    assert notify(tmp_path, quiet, "") == (0, "")
    assert [(state, record["body"]) for state, record in outbox.records()] == [("delivered", {})]


def test_a_second_call_succeeds_as_upstream_s_does_and_the_first_result_stays(
    tmp_path: Path, outbox: Outbox
) -> None:
    deployment = make_deployment("a", **NOBODY)
    notify(tmp_path, deployment, '{"result": "first"}')
    code, said = notify(tmp_path, deployment, '{"result": "second"}')
    assert code == 0
    assert "deployment a has a result" in said
    assert [entry.body for entry in outbox.pending()] == [{"result": "first"}]


def test_a_second_call_after_the_first_result_was_given_up_says_how_to_send_it(
    tmp_path: Path, outbox: Outbox
) -> None:
    deployment = make_deployment("a", **NOBODY)
    notify(tmp_path, deployment, "{}")
    outbox.settle(outbox.pending()[0], Settled.FAILED, "refused")
    code, said = notify(tmp_path, deployment, "{}")
    assert (code, "deployment a has a result that was given up" in said) == (1, True), said


@pytest.mark.parametrize(
    ("signal", "problem"),
    [
        ("garbage\n", "is not JSON"),
        ("[]", "is not a map"),
        (f'{{"a": {DEEP}}}', "is nested over 90 levels deep"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_signal_that_is_no_map_succeeds_as_upstream_s_does_and_nothing_of_it_is_lost(
    tmp_path: Path, outbox: Outbox, signal: str, problem: str
) -> None:
    code, said = notify(tmp_path, make_deployment("a", **NOBODY), signal)
    assert (code, f"the signal {problem}" in said) == (0, True), said
    assert [entry.body for entry in outbox.pending()] == [{"deploy_stdout": signal}]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("{", "config.json is not JSON"),
        ("[" * 100_000, "config.json is not JSON"),
        ([], "not a map"),
        ({"name": "x"}, "has no id"),
    ],
)
def test_a_config_that_is_malformed_is_named(
    tmp_path: Path, outbox: Outbox, config: Any, named: str
) -> None:
    code, said = notify(tmp_path, config, "{}")
    assert (code, named in said) == (1, True), said
    assert list(outbox.records()) == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, said = call(tmp_path / "nothing.json", "{}")
    assert (code, f"there is no deployment in {tmp_path}/nothing.json" in said) == (1, True), said
