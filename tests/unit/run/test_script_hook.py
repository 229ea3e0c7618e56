import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from heat_config_zaqar.settings import SETTINGS_VARIABLE

HOOK = (sys.executable, "-m", "heat_config_zaqar.run.script_hook")


@pytest.fixture(autouse=True)
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "settings.toml").write_text(f'working_dir = "{tmp_path / "work"}"')
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "settings.toml"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3] / "hooks"))
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


def run_document(
    document: dict[str, Any], exit_code: int = 0, wrapper: tuple[str, ...] = ()
) -> Any:
    done = subprocess.run(
        [*wrapper, *HOOK],
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


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("echo no shebang", "its first line does not start with #!"),
        ("", "its first line does not start with #!"),
        ("\ufeff#!/bin/sh\n", "its first line does not start with #!"),
        ("#!/bin/bash\r\necho hello\r\n", "its first line ends in a carriage return"),
        ("#! /no/such/shell -e\n", "its interpreter '/no/such/shell' does not exist"),
        ("#!\n", "its interpreter '' does not exist"),
    ],
)
def test_a_script_that_cannot_be_started_says_why(config: str, reason: str) -> None:
    body, _ = run(config)
    assert body["deploy_status_code"] == 126
    assert body["deploy_stderr"].startswith(f"the script cannot be run: {reason}")


def test_a_script_on_a_file_system_without_execution_says_so(working_dir: Path) -> None:
    working_dir.mkdir()
    mount = f'mount -t tmpfs -o noexec none {working_dir} && exec "$@"'
    document = {"id": "d0", "config": "#!/bin/sh\n"}
    wrapper = ("unshare", "--mount", "sh", "-c", mount, "sh")
    body, _ = run_document(document, wrapper=wrapper)
    assert f"{working_dir}/d0 is on a file system that is mounted noexec" in body["deploy_stderr"]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"small": "s", "big": "x" * 131_072}, "input 'big' takes 131077 bytes, a variable"),
        ({f"i{number}": "x" * 100_000 for number in range(100)}, " bytes together, more than"),
    ],
)
def test_inputs_that_no_environment_can_hold_are_named(inputs: dict[str, Any], reason: str) -> None:
    body, _ = run("#!/bin/sh\n", inputs)
    assert body["deploy_status_code"] == 126
    assert reason in body["deploy_stderr"]


def test_a_script_finds_what_upstreams_hook_gives_it(
    working_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    os.umask(0o022)
    text = '#!/bin/sh\necho "$HOME"; pwd; stat -c %a .; echo "${heat_outputs_path##*/}"\n'
    body, _ = run(text)
    assert body["deploy_stdout"] == f"/root\n{working_dir}\n700\nd0\n"
    monkeypatch.setenv("HOME", "/home/of/service")
    assert run(text)[0]["deploy_stdout"].startswith("/home/of/service\n")


@pytest.mark.parametrize("config_id", ["../up", ".hidden", "x" * 300, "run-", "..", "a b\0c"])
def test_no_id_makes_files_elsewhere_or_none(working_dir: Path, config_id: str) -> None:
    text = '#!/bin/sh\necho 42 >"$heat_outputs_path.result"; echo "$heat_outputs_path"\n'
    document = {"id": config_id, "config": text, "outputs": [{"name": "result"}]}
    body, _ = run_document(document)
    assert body["result"] == "42\n"
    assert body["deploy_stdout"].startswith(f"{working_dir}/")
    assert list(working_dir.iterdir()) == []


def test_an_output_cannot_stand_in_for_what_the_hook_says() -> None:
    text = '#!/bin/sh\necho 0 >"$heat_outputs_path.deploy_status_code"; exit 3\n'
    assert run(text, outputs=("deploy_status_code",))[0]["deploy_status_code"] == 3


@pytest.mark.parametrize("name", ["x" * 300, "nul\0", "half\ud800", "directory", "fifo", "gone"])
def test_an_output_that_is_no_file_costs_no_other(name: str) -> None:
    text = (
        '#!/bin/sh\nmkdir "$heat_outputs_path.directory"; mkfifo "$heat_outputs_path.fifo"\n'
        'printf 42 >"$heat_outputs_path.result"\n'
    )
    body, _ = run(text, outputs=(name, "result"))
    assert (body.get(name), body["result"]) == (None, "42")


# Of address space: what Python takes anyway, and a little more than what is kept.
LITTLE_MEMORY = ("sh", "-c", 'ulimit -v 500000; exec "$@"', "sh")


@pytest.mark.parametrize(
    "text",
    [
        'yes | head -c 9000000 >"$heat_outputs_path.big"',
        'yes | head -c 300000000 >"$heat_outputs_path.big"',
        'truncate -s 300M "$heat_outputs_path.big"',
        'for name in a b c d e f g h; do truncate -s 9M "$heat_outputs_path.$name"; done',
        "head -c 1500000 /dev/zero; head -c 1500000 /dev/zero >&2",
    ],
)
def test_however_much_a_script_says_it_is_cut_and_its_status_code_kept(text: str) -> None:
    outputs = [{"name": name} for name in ("small", "big", *"abcdefgh")]
    config = f'#!/bin/sh\n{text}\nprintf small >"$heat_outputs_path.small"\n'
    document = {"id": "d0", "config": config, "outputs": outputs}
    body, _ = run_document(document, wrapper=LITTLE_MEMORY)
    assert (body["deploy_status_code"], body["small"]) == (0, "small")
    assert len(json.dumps(body)) <= 8 * 1024 * 1024
    assert any("cut]\n" in str(value) for value in body.values())


def test_what_a_script_leaves_behind_can_go_on_printing(tmp_path: Path) -> None:
    loop = (
        f"for i in $(seq 30); do sleep 0.1; echo tick $i || exit; echo $i >>{tmp_path}/alive; done"
    )
    document = {"id": "d0", "config": f"#!/bin/sh\n({loop}) &\n"}
    with (tmp_path / "log").open("wb") as log:
        subprocess.run(
            HOOK, input=json.dumps(document).encode(), stdout=log, stderr=log, check=True
        )
    await_lines(tmp_path / "alive", 30)
    await_text(tmp_path / "log", "tick 29\ntick 30\n")


def await_text(path: Path, text: str, count: int = 1) -> None:
    deadline = time.monotonic() + 30
    while path.read_text().count(text) != count:
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.05)


def await_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_output_cannot_be_read_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    # The script helps: it makes the directory that the name leads through.
    text = '#!/bin/sh\nmkdir "$heat_outputs_path.x"\n'
    body, _ = run(text, outputs=("x/../../../secret",))
    assert set(body) == {"deploy_stdout", "deploy_stderr", "deploy_status_code"}


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
