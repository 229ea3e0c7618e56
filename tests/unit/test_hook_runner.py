import json
import time
from pathlib import Path

import pytest

from heat_config_zaqar import hook_runner


def hook(directory: Path, text: str, name: str = "script") -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_document_arrives_on_standard_input_and_both_streams_come_back(tmp_path: Path) -> None:
    outcome = hook_runner.run(hook(tmp_path, "cat; echo log >&2; exit 3"), {"id": "ü"}, 0)
    assert json.loads(outcome.stdout) == {"id": "ü"}
    assert (outcome.stderr, outcome.returncode, outcome.problem) == ("log\n", 3, "")


def test_a_hook_that_takes_too_long_is_killed_with_all_it_started(tmp_path: Path) -> None:
    started = time.monotonic()
    outcome = hook_runner.run(hook(tmp_path, "sleep 60 & sleep 60"), {}, 0.5)
    assert time.monotonic() - started < 10
    assert outcome.problem == "was killed after 0.5 seconds"
    assert outcome.returncode == -9


def test_a_hook_that_leaves_a_daemon_behind_ends_all_the_same(tmp_path: Path) -> None:
    started = time.monotonic()
    outcome = hook_runner.run(hook(tmp_path, "sleep 20 & echo '{}'"), {}, 0)
    assert time.monotonic() - started < 10
    assert outcome.returncode == 0


def test_a_hook_that_does_not_read_its_input_is_no_trouble(tmp_path: Path) -> None:
    outcome = hook_runner.run(hook(tmp_path, "exit 0"), {"x": "y" * 1_000_000}, 0)
    assert outcome.returncode == 0


def test_output_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    text = "head -c 100000000 /dev/zero; head -c 10000000 /dev/zero >&2"
    outcome = hook_runner.run(hook(tmp_path, text), {}, 0)
    assert len(outcome.stdout) == 64 * 1024 * 1024
    assert len(outcome.stderr) == 64 * 1024


def test_a_hook_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("no shebang")
    path.chmod(0o755)
    assert "cannot be started" in hook_runner.run(path, {}, 0).problem


def test_the_variable_comes_first_and_a_group_cannot_leave_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEAT_CONFIG_HOOKS", str(tmp_path))
    hook(tmp_path, "true", "my-hook_1")
    assert hook_runner.find("my-hook_1") == tmp_path / "my-hook_1"
    assert hook_runner.find("../my-hook_1") == tmp_path / "my-hook_1"
    for group in ("missing", "", "..", "/"):
        assert hook_runner.find(group) is None
