"""The cloud's own virtual environments, each pinned by a requirements.txt.

Invariant: an environment with a stamp is complete and holds exactly the pinned versions for the
interpreter that made it. The stamp is written last, and anything else is made anew.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from testbed.cloud.processes import CloudError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def ensure(
    venv: Path,
    log: Path,
    progress: Callable[[str], None],
    requirements: Path = REQUIREMENTS,
) -> None:
    """Make the environment where it is missing, incomplete or of other requirements.

    Raises CloudError, with the end of pip's log, where the installation fails.
    """
    stamp = venv / "cloud-requirements.sha256"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    progress(f"installing the cloud's services into {venv}")
    shutil.rmtree(venv, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(venv)], log)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    # uWSGI holds the very Python that it was built with; pip's cache knows only its minor version.
    built_here = ["--no-cache-dir", "--no-binary", "uwsgi", "--no-deps"]
    _run([*pip, *built_here, "-c", str(requirements), "uwsgi"], log)
    _run([*pip, "-r", str(requirements)], log)
    stamp.write_text(wanted)


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log file, or a remark that it is missing."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return f"({log} does not exist)"
    return "\n".join(text.splitlines()[-lines:])


def _run(command: list[str], log: Path) -> None:
    with log.open("ab") as stream:
        result = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        raise CloudError(f"{' '.join(command)} failed; the end of {log}:\n{tail(log)}")
