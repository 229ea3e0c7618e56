"""The hook for group `script`: runs the config as an executable with the inputs as environment.

Reads the deployment on standard input, prints the outputs, passes the script's own output on to
the journal while it runs. An output NAME is what the script wrote to `$heat_outputs_path.NAME`.
A script that exits with 194 asks for a reboot, so the hook does.
Invariant: memory stays bounded however much a script prints; the end of each stream is kept.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from heat_config_zaqar import settings
from heat_config_zaqar.run.hook_runner import HOME, MOST_OUTPUT_BYTES, REBOOT_CODE, flaw_of
from heat_config_zaqar.run.streams import Stream, end_of, follow
from heat_config_zaqar.signal_body import STATUS_CODE, STDERR, STDOUT, Body, fit

# Zaqar's own limit is 256 KiB by default; the rest is cut when the signal is sent.
_KEPT_BYTES = 1024 * 1024
_MOST_OUTPUTS_BYTES = 4 * _KEPT_BYTES
# Heat's ids are UUIDs; others serve as the name of a file only without these.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|^\.")


def main() -> int:
    """Run the script of the deployment on standard input."""
    deployment = json.load(sys.stdin)
    name = _UNSAFE.sub("_", deployment["id"])[-100:]
    directory = settings.load().working_dir / name
    shutil.rmtree(directory, ignore_errors=True)
    for path in (directory.parent, directory):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    outputs_path = directory / name
    environment = {**HOME, **os.environ, **_environment(deployment.get("inputs") or [])}
    environment["heat_outputs_path"] = str(outputs_path)
    script = directory / f"run-{name}"
    config = deployment.get("config")
    text = config if isinstance(config, str) else json.dumps(config)
    script.write_bytes(_encodable(text).encode())
    script.chmod(0o700)
    streams = _run(script, environment)
    outputs = _outputs(outputs_path, _output_names(deployment.get("outputs")))
    shutil.rmtree(directory, ignore_errors=True)
    json.dump(fit({**outputs, **streams}, MOST_OUTPUT_BYTES), sys.stdout)
    return REBOOT_CODE if streams[STATUS_CODE] == REBOOT_CODE else 0


def _outputs(outputs_path: Path, names: list[str]) -> Body:
    """Return what the script wrote for each output; of long ones the end."""
    sizes = {}
    for name in names:
        # Not all that JSON can hold is a name that a file can have.
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(f"{outputs_path}.{name}")  # noqa: PTH116
            if stat.S_ISREG(status.st_mode) and "/" not in name:
                sizes[name] = status.st_size
    found, room = {}, _MOST_OUTPUTS_BYTES
    for done, name in enumerate(sorted(sizes, key=sizes.__getitem__)):
        limit = min(room // (len(sizes) - done), _KEPT_BYTES)
        with contextlib.suppress(OSError), open(f"{outputs_path}.{name}", "rb") as stream:
            cut = stream.seek(max(sizes[name] - limit, 0))
            found[name] = end_of(stream.read(limit), limit, cut)
            room -= min(sizes[name], limit)
    return found


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
            # As upstream: what the scripts of all deployments share.
            cwd=script.parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        is_too_long = error.errno == errno.E2BIG
        why = _too_long(environment) if is_too_long else flaw_of(script) or error.strerror
        return {STDOUT: "", STDERR: f"the script cannot be run: {why}", STATUS_CODE: 126}
    stdout = Stream(process.stdout, _KEPT_BYTES)
    stderr = Stream(process.stderr, _KEPT_BYTES)
    follow(process, stdout, stderr)
    code = process.returncode
    return {
        STDOUT: stdout.text(),
        STDERR: stderr.text(),
        STATUS_CODE: code if code >= 0 else 128 - code,
    }


def _too_long(environment: dict[str, str]) -> str:
    """Return why the kernel does not take an environment."""
    most = 32 * os.sysconf("SC_PAGE_SIZE")
    sizes = {name: len(os.fsencode(f"{name}={value}")) + 1 for name, value in environment.items()}
    for name, size in sizes.items():
        if size > most:
            return (
                f"input {name!r} takes {size} bytes, a variable of the environment at most {most}"
            )
    return f"the inputs take {sum(sizes.values())} bytes together, more than an environment can"


if __name__ == "__main__":
    sys.exit(main())
