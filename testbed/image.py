"""Build a guest image by README's own commands, for the demo and the functional tests.

Invariant: the commands of README's section "Use it in a pipeline" are run as they stand there, in a
copy of this tree; another distribution, release or list of elements takes the place of the words
that it names. The image is a whole disk with a boot loader where this machine can partition one,
by its device mapper or by `testbed.kpartx`; elsewhere it is one file system. Beside it lie its
files as a tar, and kernel and initrd for QEMU.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from testbed import heat_agents, image_files, kpartx
from testbed.image_files import ImageError as ImageError

REPOSITORY = Path(__file__).resolve().parent.parent
SECTION = "## Use it in a pipeline"
DEVICE_MAPPER = Path("/dev/mapper/control")
APT_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
KEYRINGS = Path("/usr/share/keyrings")  # where debootstrap looks

TOOLS = {
    "debootstrap": "debootstrap",
    "mkfs.ext4": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "sudo": "sudo",
}
TOOLS_TO_PARTITION = {"kpartx": "kpartx", "sgdisk": "gdisk"}

README_ELEMENTS = ("cloud-init", "heat-config-zaqar")
# OpenStack's scenario deploys by these hooks of heat-agents too, with the programs they call.
SCENARIO_ELEMENTS = ("heat-config-cfn-init", "heat-config-puppet", "-p heat-cfntools,puppet-agent")
README_RELEASE = "bookworm"
README_PATH = "$(heat-config-zaqar-elements)"

PHASE = re.compile(r"dib-run-parts Running \S*?/([a-z-]+)\.d/(\S+)")
NO_NETWORK = re.compile(
    r"Temporary failure resolving|Could not resolve|Failed to fetch|Unable to connect to"
    r"|Failed getting release file|Couldn't download|Could not connect|Invalid Release file"
    r"|Network is unreachable"
    r"|No matching distribution found|Failed to establish a new connection"
)
OUR_LINE = re.compile(r"(?:os-collect|heat)-config-zaqar: .+")


@dataclasses.dataclass(frozen=True)
class Distribution:
    """What disk-image-create needs to know of a distribution."""

    element: str
    releases: tuple[str, ...]
    environment: Mapping[str, str]
    keyring: Path


DISTRIBUTIONS = {
    "debian": Distribution(
        "debian-minimal", ("bookworm", "trixie"), {}, KEYRINGS / "debian-archive-keyring.gpg"
    ),
    "ubuntu": Distribution(
        "ubuntu-minimal",
        ("noble", "resolute"),
        {"DIB_UBUNTU_KERNEL": "linux-image-virtual"},
        KEYRINGS / "ubuntu-archive-keyring.gpg",
    ),
}


@dataclasses.dataclass(frozen=True)
class Image:
    """A built image.

    :param partitioned: a whole disk with a boot loader, or one file system?
    :param reason: why it is the one and not the other.
    :param command_line: what to run, in a shell at the top of the repository, for the same image.
    :param kernel: for QEMU's direct boot, as `initrd` is; taken from the tar, None without one.
    """

    log: Path
    command_line: str
    partitioned: bool
    reason: str
    seconds: float
    qcow2: Path | None = None
    tar: Path | None = None
    kernel: Path | None = None
    initrd: Path | None = None


def build(
    out: Path,
    *,
    distribution: str = "debian",
    release: str = README_RELEASE,
    partitioned: bool | None = None,
    elements: Sequence[str] = README_ELEMENTS,
    extra_elements_path: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = print,
) -> Image:
    """Build an image; its files get the path `out` with the type as suffix.

    :param partitioned: None decides by what the machine can do.
    :param environment: DIB_ variables, over those of this process.
    :raises ImageError: something is missing, or the build failed; its text is one line.
    """
    started = time.monotonic()
    known = _distribution(distribution, release)
    whole_disk, stand_in, reason = _partitioning(partitioned)
    if not whole_disk:
        progress(f"one file system, with kernel and initrd beside it: {reason}")
    _require_tools(whole_disk)
    if not known.keyring.exists():
        progress(f"the archive's signatures are not checked: no {known.keyring}, see README")
    variables = {
        **known.environment,
        **_security_mirror(distribution),
        **_debootstrap_script(release),
        **(environment or {}),
    }
    named = [known.element, *(["vm"] if whole_disk else []), *elements]
    commands = _commands(named, release, extra_elements_path)
    shell = ["bash", "-euc", commands]
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_name(f"{out.name}.log")
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        source = _copy_of_this_tree(Path(scratch))
        _run(kpartx.in_place(shell) if stand_in else shell, source, variables, log, progress)
        _take(source / "guest", out)
    tar = image_files.archive(out, whole_disk)
    kernel, initrd = image_files.boot_files(tar, out)
    return Image(
        log=log,
        command_line=_command_line(variables, commands),
        partitioned=whole_disk,
        reason=reason,
        seconds=time.monotonic() - started,
        qcow2=out.with_name(f"{out.name}.qcow2"),
        tar=tar,
        kernel=kernel,
        initrd=initrd,
    )


def pipeline() -> list[str]:
    """Return the blocks of commands in README's section, without their indentation."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.split(f"\n{SECTION}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^ {4}.*\n)+", section, re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks]


def _commands(named: Sequence[str], release: str, extra_elements_path: Sequence[Path]) -> str:
    (commands,) = (block for block in pipeline() if "disk-image-create" in block)
    for readmes, ours in (
        (" ".join(["debian-minimal", "vm", *README_ELEMENTS]), " ".join(named)),
        (README_RELEASE, release),
        (README_PATH, ":".join([README_PATH, *map(str, extra_elements_path)])),
    ):
        assert readmes in commands, f"README's commands lack {readmes}"
        commands = commands.replace(readmes, ours)
    return commands


def _copy_of_this_tree(scratch: Path) -> Path:
    """Return what a checkout of this tree would be, to build in it and leave nothing here."""
    made_here = shutil.ignore_patterns("build", "dist", ".*", "__pycache__", "*.egg-info")
    return shutil.copytree(REPOSITORY, scratch / "source", ignore=made_here)


def _distribution(name: str, release: str) -> Distribution:
    if name not in DISTRIBUTIONS:
        raise ImageError(f"unknown distribution {name!r}; known are {', '.join(DISTRIBUTIONS)}")
    known = DISTRIBUTIONS[name]
    if release not in known.releases:
        raise ImageError(
            f"unknown release {release!r} of {name}; known are {', '.join(known.releases)}"
        )
    return known


def _partitioning(wanted: bool | None) -> tuple[bool, bool, str]:
    """Return whether to make a whole disk, whether the stand-in for kpartx has to, and why."""
    if wanted is False:
        return False, False, "asked for"
    try:
        DEVICE_MAPPER.open("rb").close()
    except OSError as error:
        missing = f"{DEVICE_MAPPER}: {error.strerror}"
    else:
        return True, False, "the device mapper works"
    if kpartx.LOOP_CONTROL.exists() and shutil.which("partx"):
        return True, True, f"loop devices have partitions, without a device mapper ({missing})"
    if wanted:
        raise ImageError(f"a partitioned image takes a device mapper or loop devices: {missing}")
    return False, False, f"nothing here partitions a disk ({missing}; no loop devices)"


def _require_tools(whole_disk: bool) -> None:
    wanted = {**TOOLS, **(TOOLS_TO_PARTITION if whole_disk else {})}
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [package for tool, package in wanted.items() if shutil.which(tool, path=path) is None]
    if missing:
        raise ImageError(f"tools of the build host are missing: install {' '.join(missing)}")
    if not (REPOSITORY / "hooks" / "pyproject.toml").is_file():
        raise ImageError(f"{REPOSITORY / 'hooks'} is missing: the elements need it beside them")


def _security_mirror(distribution: str) -> dict[str, str]:
    """The build host's own mirror of Debian's security updates, if its apt names one.

    Where the host sits behind a mirror, the element's default may be out of reach.
    """
    variable = "DIB_DEBIAN_SECURITY_MIRROR"
    if distribution != "debian" or variable in os.environ:
        return {}
    for text in _apt_sources():
        for paragraph in re.split(r"\n\s*\n", text):
            for uri in re.findall(
                r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(http\S+-security\S*|http\S+//security\.\S+)",
                paragraph,
                re.MULTILINE,
            ):
                return {variable: uri.rstrip("/")}
    return {}


def _debootstrap_script(release: str) -> dict[str, str]:
    """Every Ubuntu since gutsy is bootstrapped alike; older debootstraps lack the newer names."""
    scripts = Path("/usr/share/debootstrap/scripts")
    if (scripts / release).exists() or not (scripts / "gutsy").exists():
        return {}
    return {"DIB_DEBIAN_DEBOOTSTRAP_SCRIPT": str(scripts / "gutsy")}


def _apt_sources() -> Iterator[str]:
    for place in APT_SOURCES:
        paths = sorted(place.iterdir()) if place.is_dir() else [place]
        for path in paths:
            with contextlib.suppress(OSError):
                yield path.read_text(encoding="utf-8", errors="replace")


def _command_line(variables: Mapping[str, str], commands: str) -> str:
    words = [f"{name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    return f"export {' '.join(words)}\n{commands}" if words else commands


def _run(
    command: Sequence[str],
    source: Path,
    variables: Mapping[str, str],
    log: Path,
    progress: Callable[[str], None],
) -> None:
    """Run README's commands in `source` with their output in `log`, and say where it is."""
    # tox's PYTHONPATH would have the elements found in this tree, not where pip has put them.
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    with (
        log.open("w", encoding="utf-8") as sink,
        subprocess.Popen(
            command,
            cwd=source,
            env={**outside, "PATH": path, "DIB_NO_TMPFS": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        try:
            _follow(process, sink.write, progress)
            status = process.wait()
        except BaseException:
            # its own trap unmounts what it has mounted
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if status:
        raise ImageError(f"{_failure(log)} (the build ended with {status}; log: {log})")


def _follow(
    process: subprocess.Popen[str], write: Callable[[str], int], progress: Callable[[str], None]
) -> None:
    phase, started = "", time.monotonic()
    assert process.stdout is not None
    for line in process.stdout:
        write(line)
        found = PHASE.search(line)
        reached = found[1] if found else "qcow2" if "Converting image" in line else phase
        if reached != phase:
            phase = reached
            progress(f"{time.monotonic() - started:4.0f} s  {phase}")


def _failure(log: Path) -> str:
    """The line of the log that tells most about why the build failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-200:]
    for line in lines:
        if OUR_LINE.match(_without_stamp(line)):  # pip, too, says our name
            return _without_stamp(line)
    for line in lines:
        if NO_NETWORK.search(line):
            return f"packages could not be fetched, is there a network? {_without_stamp(line)}"
    errors = [line for line in lines if re.search(r"\b(ERROR|[Ee]rror|E):", line)]
    return _without_stamp((errors or lines or ["no output"])[-1])


def _without_stamp(line: str) -> str:
    return re.sub(r"^[\d-]+ [\d:.]+ \| (> )?", "", line).strip()


def _take(built: Path, out: Path) -> None:
    """Move the image, and the directory of its manifests, to where they were asked for."""
    manifests = out.with_name(f"{out.name}.d")
    shutil.rmtree(manifests, ignore_errors=True)
    built.with_name(f"{built.name}.d").rename(manifests)
    built.with_name(f"{built.name}.qcow2").replace(out.with_name(f"{out.name}.qcow2"))


def save(image: Image, out: Path) -> None:
    """Write beside the image what `load` returns."""
    text = json.dumps(dataclasses.asdict(image), default=str, indent=1)
    out.with_name(f"{out.name}.json").write_text(text, encoding="utf-8")


def load(out: Path) -> Image:
    """Return what `save` wrote for the image at `out`.

    :raises ImageError: there is no such image.
    """
    description = out.with_name(f"{out.name}.json")
    try:
        fields = json.loads(description.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ImageError(f"no image at {out}: build it with python -m testbed.image") from None
    for name in ("log", "qcow2", "tar", "kernel", "initrd"):
        fields[name] = Path(fields[name]) if fields[name] else None
    return Image(**fields)


def main() -> int:
    """Build the image of the functional tests, which is README's."""
    parser = argparse.ArgumentParser(prog="python -m testbed.image", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="path of the image, no suffix")
    parser.add_argument("--distribution", default="debian")
    parser.add_argument("--release", default="bookworm")
    parser.add_argument(
        "--scenario", action="store_true", help="with what OpenStack's own scenario deploys by"
    )
    options = parser.parse_args()
    try:
        image = build(
            options.out.absolute(),
            distribution=options.distribution,
            release=options.release,
            elements=(*README_ELEMENTS, *(SCENARIO_ELEMENTS if options.scenario else ())),
            extra_elements_path=(heat_agents.elements_path(),) if options.scenario else (),
        )
    except (ImageError, subprocess.CalledProcessError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    save(image, options.out.absolute())
    print(f"built in {image.seconds:.0f} s: {image.qcow2}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
