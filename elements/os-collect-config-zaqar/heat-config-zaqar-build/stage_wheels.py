"""Put everything the chroot installs into one directory, on the build host.

The host's own pip configuration (index, proxy, certificates, credentials)
fetches the wheels here, so the chroot needs no network and the image keeps
nothing of it. A cache makes the second build work offline.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# The oldest C library of a supported guest is 2.34 (CentOS Stream 9).
NEWEST_GLIBC = 34
# Written into the build host's package when that is built.
VERSION_FILE = "version.txt"
# What that is where the builder had neither git nor a release: tools/build_backend.py.
SOURCE = "0+source"
# Modification times in the package's wheel: the oldest that a zip file can hold.
EPOCH = "315532800"


class StagingError(Exception):
    """What stops the build, as one line for the person who started it."""


def main() -> int:
    options = parse(sys.argv[1:])
    try:
        pythons = wanted_pythons(options.pythons)
        machine = machine_of(options.arch)
        hooks = package_source(options.hooks)
        if options.check:
            return 0
        wheels = cached_wheels(hooks, machine, pythons, options.cache, options.offline)
        package = cached_package(hooks, options.cache, options.offline)
    except StagingError as error:
        print(f"os-collect-config-zaqar: {error}", file=sys.stderr)
        return 1
    for version, directory in wheels.items():
        shutil.copytree(directory, options.out / "wheels" / tag(version), dirs_exist_ok=True)
    shutil.copytree(package, options.out / "package", dirs_exist_ok=True)
    shutil.copy(hooks / "requirements.txt", options.out / "requirements.txt")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Stage the wheels of a guest.")
    parser.add_argument("--hooks", type=Path, required=True, help="the guest package's source")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", required=True, help="diskimage-builder's ARCH")
    parser.add_argument("--pythons", required=True, help="versions, separated by blanks")
    parser.add_argument("--offline", action="store_true", help="use what the cache holds")
    parser.add_argument("--check", action="store_true", help="judge the arguments, stage nothing")
    return parser.parse_args(arguments)


def wanted_pythons(text: str) -> list[str]:
    versions = text.replace(",", " ").split()
    for version in versions:
        if version not in PYTHONS:
            raise StagingError(
                f"DIB_HEAT_CONFIG_ZAQAR_PYTHONS names {version!r}; known are {' '.join(PYTHONS)}"
            )
    if not versions:
        raise StagingError("DIB_HEAT_CONFIG_ZAQAR_PYTHONS is empty")
    return versions


def machine_of(arch: str) -> str:
    if arch not in MACHINES:
        raise StagingError(f"no wheels for ARCH {arch!r}; supported are amd64 and arm64")
    return MACHINES[arch]


def package_source(hooks: Path) -> Path:
    if not (hooks / "pyproject.toml").is_file() or not (hooks / "requirements.txt").is_file():
        raise StagingError(
            f"{hooks} is missing: ELEMENTS_PATH has to name the elements/ folder of a"
            " complete checkout, with hooks/ beside it"
        )
    return hooks.resolve()


def tag(version: str) -> str:
    return "cp" + version.replace(".", "")


def cached_wheels(
    hooks: Path, machine: str, versions: Sequence[str], cache: Path, offline: bool
) -> dict[str, Path]:
    """The directory of wheels for each Python version, downloaded where it is not cached."""
    lists = [hooks / "requirements.txt", Path(__file__).parent / "pip.txt"]
    key = digest([(path.name, path.read_bytes()) for path in lists] + [("arch", machine.encode())])
    found = {}
    for version in versions:
        directory = cache / "wheels" / key / tag(version)
        if not directory.is_dir():
            if offline:
                raise StagingError(
                    f"DIB_OFFLINE is set and {cache} has no wheels for Python {version} and"
                    " this requirements.txt: build once without --offline"
                )
            into_cache(directory, download_command(lists, version, machine))
        found[version] = directory
    return found


def download_command(lists: Sequence[Path], version: str, machine: str) -> list[str]:
    command = ["download", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", "cp", "--python-version", version]
    command += ["--abi", tag(version), "--abi", "abi3", "--abi", "none"]
    for minor in range(NEWEST_GLIBC, 4, -1):
        command += ["--platform", f"manylinux_2_{minor}_{machine}"]
    command += ["--platform", f"manylinux2014_{machine}", "--platform", f"linux_{machine}"]
    for path in lists:
        command += ["-r", str(path)]
    return [*command, "--dest"]


def cached_package(hooks: Path, cache: Path, offline: bool) -> Path:
    """The directory that holds the wheel of the guest package, built where it is not cached."""
    sources = list(source_files(hooks))
    sources.append((VERSION_FILE, version_of(hooks, digest(sources)).encode()))
    directory = cache / "package" / digest(sources)
    if not directory.is_dir():
        if offline:
            raise StagingError(
                f"DIB_OFFLINE is set and {cache} has no wheel of this {hooks}:"
                " build once without --offline"
            )
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / "source"  # a build writes into its source tree
            for name, content in sources:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).write_bytes(content)
            into_cache(directory, ["wheel", "--no-deps", str(copy), "--wheel-dir"])
    return directory


def source_files(hooks: Path) -> Iterator[tuple[str, bytes]]:
    """What the package is built from; requirements and what tools leave behind are not."""
    top = [hooks / "pyproject.toml", hooks / "setup.py"]
    for path in sorted([*top, *hooks.glob("heat_config_zaqar/**/*")]):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(hooks)), path.read_bytes()


def version_of(hooks: Path, source: str) -> str:
    """The version of the release that these elements were installed from, which git gave it.

    A checkout has none, and git may refuse to speak to another user: its guests name their source.
    """
    release = hooks / VERSION_FILE
    if release.is_file() and not (hooks.parent / ".git").exists():
        version = release.read_text().strip()
        if version != SOURCE:
            return version
    return f"{SOURCE}.{source}"


def digest(parts: Sequence[tuple[str, bytes]]) -> str:
    lines = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in parts]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def into_cache(directory: Path, pip_arguments: Sequence[str]) -> None:
    """Run pip with a scratch directory as its last argument; keep that as `directory`."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".new-") as scratch:
        target = Path(scratch) / "wheels"
        command = [*pip(), pip_arguments[0], "--disable-pip-version-check", *pip_arguments[1:]]
        run = subprocess.run(
            [*command, str(target)],
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if run.returncode:
            print("\n".join(run.stdout.splitlines()[-20:]), file=sys.stderr)
            raise StagingError(f"pip {pip_arguments[0]} failed on the build host, see above")
        if not directory.exists():
            target.rename(directory)


def pip() -> list[str]:
    module = [sys.executable, "-m", "pip"]
    if subprocess.run([*module, "--version"], capture_output=True).returncode == 0:
        return module
    command = shutil.which("pip3") or shutil.which("pip")
    if command is None:
        raise StagingError("pip is needed on the build host: install python3-pip")
    return [command]


if __name__ == "__main__":
    sys.exit(main())
