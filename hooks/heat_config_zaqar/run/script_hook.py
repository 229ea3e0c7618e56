"""The hook for group `script`: runs the config as an executable with the inputs as environment.

Reads the deployment on standard input, prints the outputs, passes the script's own output on to
the journal while it runs. An output NAME is what the script wrote to `$heat_outputs_path.NAME`.
A script that exits with 194 asks for a reboot, so the hook does.
Invariant: memory stays bounded however much a script prints; the end of each stream is kept.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.run.hook_runner import REBOOT_CODE
from heat_config_zaqar.run.streams import Stream, follow
from heat_config_zaqar.signal_body import STATUS_CODE, STDERR, STDOUT, Body

# Zaqar's own limit is 256 KiB by default; the rest is cut when the signal is sent.
_KEPT_BYTES = 1024 * 1024


def main() -> int:
    """Run the script of the deployment on standard input."""
    deployment = json.load(sys.stdin)
    directory = settings.load().working_dir / deployment["id"]
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    outputs_path = directory / "output"
    environment = {**os.environ, **_environment(deployment.get("inputs") or [])}
    environment["heat_outputs_path"] = str(outputs_path)
    script = directory / "script"
    config = deployment.get("config")
    text = config if isinstance(config, str) else json.dumps(config)
    script.write_bytes(_encodable(text).encode())
    script.chmod(0o700)
    body = _run(script, environment)
    for name in _output_names(deployment.get("outputs")):
        path = Path(f"{outputs_path}.{name}")
        if path.parent == directory and path.is_file():
            body[name] = path.read_bytes().decode("utf-8", "replace")
    shutil.rmtree(directory, ignore_errors=True)
    json.dump(body, sys.stdout)
    return REBOOT_CODE if body[STATUS_CODE] == REBOOT_CODE else 0


def _output_names(outputs: Any) -> list[str]:
    listed = outputs if isinstance(outputs, list) else []
    names = [item.get("name") for item in listed if isinstance(item, dict)]
    return [name for name in names if isinstance(name, str)]


def _encodable(text: str) -> str:
    """Return the text without halves of characters, which JSON can hold and nothing else."""
    return text.encode("utf-8", "replace").decode()


def _environment(inputs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the inputs as text: JSON for what is not a string, so that a list stays one."""
    found = {}
    for item in inputs:
        name, value = str(item["name"]), item.get("value")
        text = value if isinstance(value, str) else json.dumps(value)
        if name and "=" not in name and "\0" not in name + text:
            found[_encodable(name)] = "" if value is None else _encodable(text)
        else:
            print(f"input {name!r} cannot be in the environment: left out", file=sys.stderr)
    return found


def _run(script: Path, environment: dict[str, str]) -> Body:
    try:
        process = subprocess.Popen(
            [script],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        reason = f"the script cannot be run: {error.strerror}; does it start with #! ?"
        return {STDOUT: "", STDERR: reason, STATUS_CODE: 126}
    stdout = Stream(process.stdout, _KEPT_BYTES)
    stderr = Stream(process.stderr, _KEPT_BYTES)
    follow(process, stdout, stderr)
    code = process.returncode
    return {
        STDOUT: stdout.text(),
        STDERR: stderr.text(),
        STATUS_CODE: code if code >= 0 else 128 - code,
    }


if __name__ == "__main__":
    sys.exit(main())
