"""heat-agents' elements, which no package installs: they are in its source on the package index.

Invariant: it is the one release whose hash is known here, unpacked below `build/`.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

RELEASE = "heat_agents-13.0.0"
_REQUIREMENT = """\
heat-agents==13.0.0 \
--hash=sha256:346099c6e9f16bd5e68913b825013acdd97b6743a1764ebcfc08d6528cefa9d6
"""
_BUILD = Path(__file__).resolve().parents[1] / "build"


def elements_path() -> Path:
    """Return the directory for ELEMENTS_PATH, downloaded where it is missing.

    :raises subprocess.CalledProcessError: pip cannot download it; its error is printed.
    """
    directory = _BUILD / RELEASE
    if not directory.is_dir():
        _BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_BUILD) as scratch:
            requirements = Path(scratch) / "requirements.txt"
            requirements.write_text(_REQUIREMENT)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            pip += ["--disable-pip-version-check", "--no-binary=:all:", "--require-hashes"]
            subprocess.run([*pip, "-d", scratch, "-r", str(requirements)], check=True)
            with tarfile.open(Path(scratch) / f"{RELEASE}.tar.gz") as archive:
                archive.extractall(scratch)  # noqa: S202 - its hash is known
            (Path(scratch) / RELEASE).rename(directory)
    return directory


if __name__ == "__main__":
    print(elements_path())
