import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.settings import SETTINGS_VARIABLE


@pytest.fixture(autouse=True)
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "settings.toml").write_text(f'working_dir = "{tmp_path / "work"}"')
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "settings.toml"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "hooks"))
    return tmp_path / "work"


def run(
    config: Any,
    inputs: dict[str, Any] | None = None,
    outputs: tuple[str, ...] = (),
    exit_code: int = 0,
) -> Any:
    document = {
        "id": "d0",
        "config": config,
        "inputs": [{"name": key, "value": value} for key, value in (inputs or {}).items()],
        "outputs": [{"name": name} for name in outputs],
    }
    return run_document(document, exit_code)


def run_document(document: dict[str, Any], exit_code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "heat_config_zaqar.run.script_hook"],
        input=json.dumps(document).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == exit_code, done.stderr
    return json.loads(done.stdout), done.stderr.decode("utf-8", "replace")


def test_numbers_booleans_lists_maps_and_none_reach_the_script() -> None:
    inputs = {"n": 7, "b": True, "l": ["a", 1], "m": {"k": "v"}, "z": None, "s": "text"}
    body, _ = run('#!/bin/sh\necho "$n|$b|$l|$m|$z|$s"\n', inputs)
    assert body["deploy_stdout"] == '7|true|["a", 1]|{"k": "v"}||text\n'


def test_an_output_is_what_the_script_wrote_to_its_file() -> None:
    body, _ = run(
        '#!/bin/sh\nprintf %s 42 >"$heat_outputs_path.result"\n', outputs=("result", "unset")
    )
    assert body["result"] == "42"
    assert "unset" not in body
    assert body["deploy_status_code"] == 0


def test_the_exit_code_is_the_status_code_and_a_signal_adds_128() -> None:
    assert run("#!/bin/sh\nexit 3\n")[0]["deploy_status_code"] == 3
    assert run("#!/bin/sh\nkill -9 $$\n")[0]["deploy_status_code"] == 137


def test_a_script_that_asks_for_a_reboot_makes_the_hook_ask_for_it() -> None:
    assert run("#!/bin/sh\nexit 194\n", exit_code=194)[0]["deploy_status_code"] == 194


def test_the_scripts_output_is_passed_on_and_its_end_is_kept() -> None:
    body, log = run("#!/bin/sh\nseq 1 400000\necho why >&2\n")
    assert body["deploy_stdout"].endswith("400000\n")
    marker, _, end = body["deploy_stdout"].partition("\n")
    assert marker == f"[{len(log) - len('why') - 1 - len(end)} bytes cut]"
    assert len(end) == 1024 * 1024
    assert body["deploy_stderr"] == "why\n"
    assert log.startswith(("1\n2\n", "why\n1\n2\n"))


def test_output_that_is_not_utf_8_becomes_text() -> None:
    body, _ = run("#!/bin/sh\nprintf 'a\\377b'\n")
    assert body["deploy_stdout"] == "a\ufffdb"


def test_a_script_without_a_shebang_fails_and_says_so() -> None:
    body, _ = run("echo no shebang")
    assert body["deploy_status_code"] == 126
    assert "#!" in body["deploy_stderr"]


def test_an_output_cannot_be_read_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    body, _ = run("#!/bin/sh\ntrue\n", outputs=("x/../../../secret",))
    assert "secret" not in json.dumps(body)


def test_an_input_that_no_environment_can_hold_is_left_out_and_named() -> None:
    body, log = run('#!/bin/sh\necho "$good"\n', {"a=b": "x", "good": "y", "nul": "a\0b"})
    assert body["deploy_stdout"] == "y\n"
    assert "'a=b'" in log
    assert "'nul'" in log


def test_nothing_of_the_script_stays_on_the_disk(working_dir: Path) -> None:
    run("#!/bin/sh\ntrue\n")
    assert list(working_dir.iterdir()) == []


@pytest.mark.parametrize("outputs", ["text", [7], [{"no": "name"}], [{"name": 7}], {"name": "x"}])
def test_outputs_that_make_no_sense_cost_no_result(outputs: Any) -> None:
    document = {"id": "d0", "config": "#!/bin/sh\necho done\n", "outputs": outputs}
    assert run_document(document)[0]["deploy_stdout"] == "done\n"


def test_halves_of_characters_are_replaced() -> None:
    body, _ = run("#!/bin/sh\necho \ud800 $half\n", {"half": "\udfff", "\ud800": "x"})
    assert body["deploy_stdout"] == "? ?\n"
