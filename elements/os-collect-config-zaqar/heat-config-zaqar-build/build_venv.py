"""Make the guest's virtual environment from the staged wheels, in the chroot.

No network, no pip configuration and no Python package of the distribution but
the interpreter are used; pip runs from its own wheel and does not stay.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

# What runs in the guest has to import with what was left out of requirements.txt.
IMPORTS = (
    "heat_config_zaqar, heatclient.v1.client, os_apply_config.apply_config,"
    " os_collect_config.collect, os_refresh_config.os_refresh_config,"
    " zaqarclient.queues.v2.client, zaqarclient.transport.ws"
)

# Half of what the wheels unpack to: tests, vendors of network cards, owners of addresses, parts of
# lxml but its parser, what was compiled, and commands for a client that is not there.
DEAD_WEIGHT = (
    "*/**/tests",
    "heatclient/osc",
    "jsonschema/benchmarks",
    "netaddr/eui/*.idx",
    "netaddr/eui/*.txt",
    "netaddr/ip/*.xml",
    "lxml/*.p[xy][dix]",
    "lxml/html",
    "lxml/includes",
    "lxml/isoschematron",
    "lxml/objectify.*",
    "lxml/sax.*",
    "wrapt/*.c",
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the guest's virtual environment.")
    parser.add_argument("--staged", type=Path, required=True, help="what stage_wheels.py wrote")
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True, help="list of wheels to write")
    options = parser.parse_args()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    wheels: Path = options.staged / "wheels" / f"cp{version.replace('.', '')}"
    if not wheels.is_dir():
        print(
            f"os-collect-config-zaqar: the image has Python {version}, for which no wheels were"
            f" fetched: add {version} to DIB_HEAT_CONFIG_ZAQAR_PYTHONS",
            file=sys.stderr,
        )
        return 1
    packages = sorted((options.staged / "package").glob("*.whl"))
    venv.create(options.venv, with_pip=False, symlinks=True, clear=True)
    python = str(options.venv / "bin" / "python")
    requirements = str(options.staged / "requirements.txt")
    pip_wheel = next(wheels.glob("pip-*.whl"))
    pip = [python, str(pip_wheel / "pip"), "--isolated", "--disable-pip-version-check", "install"]
    pip += ["--quiet", "--root-user-action=ignore", "--no-cache-dir", "--no-index", "--no-deps"]
    subprocess.run(
        [*pip, "--find-links", str(wheels), "--require-hashes", "-r", requirements], check=True
    )
    subprocess.run([*pip, *map(str, packages)], check=True)
    remove_dead_weight(options.venv)
    subprocess.run([python, "-c", f"import {IMPORTS}"], check=True)
    installed = [path for path in sorted(wheels.glob("*.whl")) if path != pip_wheel] + packages
    options.manifest.parent.mkdir(parents=True, exist_ok=True)
    options.manifest.write_text("".join(f"{sha256(path)}  {path.name}\n" for path in installed))
    size = sum(path.lstat().st_size for path in options.venv.glob("**/*") if path.is_file())
    print(f"Installed {len(installed)} packages, {size / 2**20:.1f} MiB, in {options.venv}")
    return 0


def remove_dead_weight(environment: Path) -> None:
    (packages,) = environment.glob("lib/python3.*/site-packages")
    for path in [path for pattern in DEAD_WEIGHT for path in packages.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
