"""Upstream's agent, as released: os-collect-config in a virtual environment, heat-agents' programs.

Invariant: nothing of it is changed but the version of Zaqar's API that heat-config-notify speaks:
it imports a client that python-zaqarclient 4 removed and calls an API that Zaqar 22 removed, so
that without the change it cannot signal at all.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.ours import REPOSITORY

_REQUIREMENTS = REPOSITORY / "requirements"
_HOME = REPOSITORY / "build" / "bench-upstream"
SCRIPTS = _HOME / "venv" / "bin"
_AGENTS = _HOME / "heat-agents"
TEMPLATES = _AGENTS / "heat-config" / "os-apply-config"
APPLY = _AGENTS / "heat-config" / "os-refresh-config" / "configure.d" / "55-heat-config"
NOTIFY = _AGENTS / "heat-config" / "bin" / "heat-config-notify"
SCRIPT_HOOK = _AGENTS / "heat-config-script" / "install.d" / "hook-script.py"

_TO_API_V2 = (
    ("from zaqarclient.queues.v1 import client", "from zaqarclient.queues.v2 import client"),
    ("Client(endpoint, conf=conf, version=1.1)", "Client(endpoint, conf=conf, version=2)"),
)


class UpstreamError(Exception):
    """Upstream's release is not what this was written for, or is not installed."""


def install(progress: Callable[[str], None]) -> None:
    """Install it below build/, once; takes a package index.

    :raises UpstreamError: heat-agents does not hold what is to be changed.
    :raises subprocess.CalledProcessError: pip failed; it says why.
    """
    pins = [_REQUIREMENTS / "upstream.txt", _REQUIREMENTS / "heat-agents.txt"]
    wanted = sys.version + "".join(path.read_text() for path in pins)
    stamp = _HOME / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    progress(f"installing upstream's agent into {_HOME}")
    shutil.rmtree(_HOME, ignore_errors=True)
    _HOME.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", SCRIPTS.parent], check=True)
    pip: list[str | Path] = [SCRIPTS / "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--require-hashes", "-r", pins[0]], check=True)
    fetch = ["download", "--no-deps", "--no-binary=:all:", "--no-build-isolation"]
    subprocess.run([*pip, *fetch, "--dest", _HOME, "--require-hashes", "-r", pins[1]], check=True)
    _unpack(next(_HOME.glob("heat_agents-*.tar.gz")))
    speak_api_v2(NOTIFY)
    for program in (APPLY, NOTIFY, SCRIPT_HOOK):
        _run_by_venv(program)
    stamp.write_text(wanted)


def require() -> None:
    """Check that it is installed.

    :raises UpstreamError: it is not.
    """
    if not (_HOME / "installed").exists():
        raise UpstreamError("upstream's agent is missing: python -m tests.bench install")


def speak_api_v2(notify: Path) -> None:
    """Move heat-config-notify's two calls of the Zaqar client from API v1.1 to v2.

    :raises UpstreamError: one of them is not there.
    """
    text = notify.read_text()
    for old, new in _TO_API_V2:
        if text.count(old) != 1:
            raise UpstreamError(f"{notify} does not hold {old!r} once")
        text = text.replace(old, new)
    notify.write_text(text)


def _unpack(archive: Path) -> None:
    subprocess.run(["tar", "--extract", "--file", archive, "-C", _HOME], check=True)
    next(_HOME.glob("heat_agents-*/")).rename(_AGENTS)


def _run_by_venv(program: Path) -> None:
    lines = program.read_text().splitlines(keepends=True)
    program.write_text("".join([f"#!{SCRIPTS / 'python3'}\n", *lines[1:]]))
    program.chmod(0o755)
