"""Our agent as an image has it: the virtual environment that the element makes, with its own tools.

Invariant: what is measured are the packages of hooks/requirements.txt and the package in hooks/ as
it is now, installed as in the image; nothing of the tests' environment.
"""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_TOOLS = REPOSITORY / "elements" / "os-collect-config-zaqar" / "heat-config-zaqar-build"
_HOME = REPOSITORY / "build" / "bench-ours"
SCRIPTS = _HOME / "venv" / "bin"
TEMPLATES = REPOSITORY / "elements" / "heat-config-zaqar" / "os-apply-config"
APPLY = SCRIPTS / "55-heat-config"
SCRIPT_HOOK = SCRIPTS / "heat-config-zaqar-script-hook"


def install() -> None:
    """Install it below build/; takes a package index the first time.

    :raises subprocess.CalledProcessError: one of the element's tools failed; it says why.
    """
    with tempfile.TemporaryDirectory() as staged:
        stage: list[str | Path] = ["--hooks", REPOSITORY / "hooks", "--out", staged]
        stage += ["--cache", _HOME / "cache", "--arch", platform.machine()]
        _run("stage_wheels.py", *stage, "--pythons", f"3.{sys.version_info[1]}")
        manifest = _HOME / "manifest"
        _run("build_venv.py", "--staged", staged, "--venv", _HOME / "venv", "--manifest", manifest)


def _run(tool: str, *arguments: str | Path) -> None:
    subprocess.run([sys.executable, _TOOLS / tool, *arguments], check=True)
