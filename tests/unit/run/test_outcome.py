import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heat_config_zaqar.run.outcome import Outcome, body_of
from heat_config_zaqar.signal_body import STATUS_CODE, STDERR, STDOUT, Body, fit


def from_hook(hook: str, stdout: bytes, stderr: str, returncode: int) -> Body:
    return body_of(hook, Outcome(stdout[:4096], stdout, 0, stderr, returncode))


def test_what_a_hook_prints_is_the_body() -> None:
    printed = {STDOUT: "out", STDERR: "err", STATUS_CODE: 0, "result": "42"}
    assert from_hook("script", json.dumps(printed).encode(), "log", 0) == printed


def test_a_hook_that_has_nothing_to_say_succeeded_without_outputs() -> None:
    assert from_hook("script", b"{}", "log", 0) == {STATUS_CODE: 0}


@pytest.mark.parametrize(
    "printed", [b"", b"\n", b"plain text", b"42", b"[1]", b'{"a": ', b"[" * 100000]
)
def test_text_of_a_hook_that_exits_with_0_is_what_heat_shows(printed: bytes) -> None:
    body = from_hook("bash", printed, "the log", 0)
    assert body == {STDOUT: printed.decode(), STDERR: "the log", STATUS_CODE: 0}


@pytest.mark.parametrize("printed", [b"", b"plain text"])
def test_text_of_a_hook_that_fails_comes_with_the_reason(printed: bytes) -> None:
    body = from_hook("bash", printed, "the log", 2)
    reason = "hook bash exited with 2\nthe log"
    assert body == {STDOUT: printed.decode(), STDERR: reason, STATUS_CODE: 2}


def test_outputs_may_follow_other_text_in_a_line_of_their_own() -> None:
    assert from_hook("docker-cmd", b'0123abcd\n{"deploy_status_code": 0}\n', "", 0) == {
        STATUS_CODE: 0
    }


@pytest.mark.parametrize("code", ['"0"', "0", "null", "false", '""'])
def test_no_status_code_in_the_outputs_talks_a_failing_exit_code_away(code: str) -> None:
    printed = f'{{"deploy_status_code": {code}, "deploy_stderr": "why"}}'.encode()
    for returncode, reason in ((1, "exited with 1"), (-15, "was killed by signal 15")):
        body = from_hook("x", printed, "log", returncode)
        assert body == {STATUS_CODE: returncode, STDERR: f"hook x {reason}\nwhy"} | {STDOUT: ""}


def test_a_map_that_is_nested_too_deep_fails_and_says_so() -> None:
    body = from_hook("x", b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "", 0)
    assert body[STATUS_CODE] == 1
    assert "printed JSON that is nested over 90 levels deep" in body[STDERR]


def test_a_killed_hook_fails_with_the_signal() -> None:
    body = from_hook("x", b"", "", -9)
    assert (body[STATUS_CODE], body[STDERR]) == (-9, "hook x was killed by signal 9")


def test_the_status_code_that_a_hook_reports_is_kept_when_the_hook_itself_exits_otherwise() -> None:
    body = from_hook("x", json.dumps({STATUS_CODE: 3, STDERR: "why"}).encode(), "", 1)
    assert body == {STATUS_CODE: 3, STDERR: "why"}


def test_a_hook_that_exits_with_an_error_but_reports_none_fails() -> None:
    assert from_hook("x", b'{"deploy_stdout": "a"}', "", 2)[STATUS_CODE] == 2


@given(st.binary(), st.text(), st.integers(-20, 255))
def test_anything_a_hook_prints_becomes_a_map_that_zaqar_takes(
    stdout: bytes, stderr: str, returncode: int
) -> None:
    body = from_hook("x", stdout, stderr, returncode)
    assert json.dumps(body)
    if returncode:
        assert body[STATUS_CODE]


def test_of_megabytes_that_are_no_json_the_end_is_kept_and_quickly_cut() -> None:
    began = time.process_time()
    body = from_hook("script", bytes(8_000_000) + b"END", "", 0)
    assert body["deploy_stdout"].endswith("END")
    assert len(body["deploy_stdout"]) < 1_100_000
    assert len(json.dumps(fit(body, 262_144))) <= 262_144
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        (b'{"result": "', b'x", "deploy_status_code": 0}', 0),
        (b'{"result": "', b'x", "deploy_status_code": 3}', 3),
        (b'{"result": "', b'x", "deploy_status_code":"3"}', 3),
        (b'{"deploy_status_code": 3, "result": "', b'x"}', 3),
        (b'{"result": "\\"deploy_status_code\\": 3', b'x"}', 0),
        (b'{"result": "', b'x"}', 0),
        (b"text", b"text", 0),
    ],
)
def test_of_outputs_that_are_too_long_the_status_code_is_kept(
    start: bytes, end: bytes, code: int
) -> None:
    body = body_of("script", Outcome(start, end, 9_000_000, "log", 0))
    assert body[STATUS_CODE] == code
    assert body[STDOUT] == "[9000000 bytes cut]\n" + end.decode()
